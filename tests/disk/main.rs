//! A gallery of disks, made by the field's own tools: for each, what those tools say of it, what we find on it, and
//! what we would do to it, as golden text under `golden/` (`PREJOIN_BLESS=1` rewrites it).
//!
//! Disks are sparse files below `target/tests/disks/gallery`, made once for each recipe, without root and without any
//! block device. What no tool writes into a plain file (arrays, LVM, ZFS, Ceph, SPDK, ...) is written from its documented
//! layout by `gallery/labels.py`, and what blkid, mdadm, pvck say of it is in the golden text.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests run programs and write files"
)]
#![expect(unreachable_pub, reason = "a test has no public names")]

mod case;
mod cases;
mod gallery;
mod node;
mod said;
#[path = "../support/tools.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod tools;
