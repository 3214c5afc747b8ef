//! System calls that the standard library does not have: mounts, kernel modules, block devices, device-mapper, the
//! clock, and programs run in another root.
//!
//! The only crate of the workspace where `unsafe` is allowed: for the ioctls rustix has no function for, and for
//! what happens between `fork` and `exec`. Every function returns the kernel's error as it is; what was being done is
//! said by the caller.

pub mod block;
pub mod clock;
pub mod directory;
pub mod mapper;
pub mod module;
pub mod mount;
pub mod nvme;
pub mod opal;
pub mod process;
