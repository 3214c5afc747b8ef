//! Disks made by the field's own tools, and what is found on them.
#![expect(clippy::unwrap_used, reason = "tests")]

mod disk;
mod inside;
mod state;
mod tables;
