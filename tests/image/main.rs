//! Strangers judge the images of all four boards: Debian's tools, the kernel's own mount, and two readers that share
//! no code with the writers. Lists that should not grow unnoticed are golden text under `golden/` (`PREJOIN_BLESS=1`
//! rewrites it).
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests run programs and write files"
)]
#![expect(unreachable_pub, reason = "a test has no public names")]

mod again;
mod asked;
#[path = "../support/cluster.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod cluster;
mod disk;
mod firmware;
mod initramfs;
mod packages;
mod root;
mod scripts;
#[path = "../support/tools.rs"]
mod tools;
mod tree;
