//! From packages to bootable images: resolve, unpack, fix up, plan, render.
//!
//! `Profile + Lock -> ImagePlan -> Image + Manifest`. Everything but [`io`] is pure.

pub mod artifact;
pub mod assemble;
pub mod class;
pub mod cleartext;
pub mod control;
pub mod deb;
pub mod elf;
pub mod events;
pub mod fixups;
pub mod initramfs;
pub mod io;
pub mod keyring;
pub mod libraries;
pub mod locking;
pub mod module;
pub mod node;
pub mod overlays;
pub mod pack;
pub mod package;
pub mod readback;
pub mod relation;
pub mod release;
pub mod repository;
pub mod resolve;
pub mod sbom;
pub mod scripts;
pub mod sources;
pub mod system;
pub mod version;
