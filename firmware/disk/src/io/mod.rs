//! Everything of this crate that touches devices and files.

pub mod inventory;
pub mod target;
