//! Disks and their users, on recorded machines and on this one's loop devices.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests make disks and users of disks"
)]

#[path = "io/devices.rs"]
mod devices;
#[path = "io/recorded.rs"]
mod recorded;
#[path = "io/targets.rs"]
mod targets;
