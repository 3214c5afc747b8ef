//! A root file system out of unpacked packages and programs: put together, made right by named rules, and checked.

pub mod artifact;
pub mod assemble;
pub mod elf;
pub mod fixups;
pub mod libraries;
pub mod module;
