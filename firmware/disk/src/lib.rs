//! Disks: know what is on them, refuse what must not be touched, write without losing data.
//!
//! The way of a flash: [`io::inventory`] and [`probe`] look things up ([`prejoin_wire::disk::Facts`]), [`select`]
//! finds the one disk that is meant, [`judge`] passes a verdict on a plan (pure: the same on the workstation, on the
//! node, in a dry run, on recorded facts), [`write`] carries it out and proves what it did. Nothing in here draws,
//! asks or decompresses: the caller brings the image's chunks, shows the events and carries the confirmation.

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
mod takeover;
pub mod write;
