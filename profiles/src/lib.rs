//! What things are: the documents prejoin reads and writes, without any I/O.
//!
//! A [`board::Board`] and an [`os::Os`] together say what is on a node's disk before it is any particular node;
//! they are data files under `boards/` and `os/`, embedded in the program, and a user may lay further ones beside
//! the cluster file. A type that leaves its crate as bytes (lock, manifest, hand-off) lives here, has a version and
//! round-trips in a test.

pub mod architecture;
pub mod board;
pub mod catalog;
pub mod check;
pub mod cluster;
pub mod derived;
pub mod digest;
pub mod disk;
pub mod distribution;
pub mod finding;
pub mod handoff;
pub mod kernel_args;
pub mod keys;
pub mod layout;
pub mod lock;
pub mod manifest;
pub mod os;
pub mod path;
pub mod printable;
pub mod scripts;
pub mod set;
pub mod timezones;
pub mod units;
pub mod yaml;
