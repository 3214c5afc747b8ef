//! Disks: know what is on them, refuse what must not be touched, write without losing data.
//!
//! Who writes disks wants [`session`]: the way of a flash as types that leave no step out. Behind it, [`io::inventory`] and
//! [`probe`] look things up ([`prejoin_wire::disk::Facts`]), [`judge`] passes a verdict on a plan (pure: the same on the
//! workstation, on the node, in a dry run, on recorded facts), [`write`] carries it out and proves what it did; [`select`]
//! finds the one disk that is meant. Nothing in here draws, asks or decompresses: the caller brings the image's chunks,
//! shows the events and says yes. `examples/install.rs` is the shortest program that does it.

pub mod device;
pub mod guard;
pub mod io;
pub mod judge;
pub mod known;
pub mod layout;
pub mod plan;
mod pool;
pub mod probe;
pub mod region;
pub mod select;
pub mod session;
mod takeover;
pub mod write;
