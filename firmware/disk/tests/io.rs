//! Disks and their users, on recorded machines and on this one's loop devices.

#[path = "io/devices.rs"]
mod devices;
#[path = "io/recorded.rs"]
mod recorded;
#[path = "io/targets.rs"]
mod targets;
