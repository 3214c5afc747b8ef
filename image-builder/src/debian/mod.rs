//! Everything that knows Debian: its repositories, what packages say of themselves, and what their scripts do.

pub mod cleartext;
pub mod control;
pub mod deb;
pub mod keyring;
pub mod locking;
pub mod relation;
pub mod release;
pub mod repository;
pub mod resolve;
pub mod scripts;
pub mod sources;
pub mod version;
