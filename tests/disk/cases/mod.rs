//! All disks of the gallery.

mod blank;
mod filesystems;
mod kubernetes;
mod ours;
mod systems;
mod tables;
mod volumes;

use crate::case::Case;

/// Every case, in the order in which they are made.
pub fn all() -> Vec<Case> {
    let kinds = [
        blank::cases(),
        tables::cases(),
        filesystems::cases(),
        volumes::cases(),
        systems::cases(),
        kubernetes::cases(),
        ours::cases(),
    ];
    kinds.into_iter().flatten().collect()
}
