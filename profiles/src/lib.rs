//! What people write: clusters, and the profiles of what there is, without any I/O.
//!
//! A [`board::Board`] and an [`os::Os`] together say what is on a node's disk before it is any particular node;
//! they are data files under `boards/` and `os/`, embedded in the program, and a user may lay further ones beside
//! the cluster file. What crosses a crate or a wire as bytes is `prejoin_wire`'s.

pub mod board;
pub mod catalog;
pub mod check;
pub mod cluster;
pub mod distribution;
pub mod finding;
pub mod kernel_args;
pub mod keys;
pub mod layout;
pub mod lock;
pub mod os;
pub mod scripts;
pub mod set;
pub mod timezones;
pub mod units;
pub mod yaml;
