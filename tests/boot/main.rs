//! Images started in QEMU, as a machine would start them: from the disk image alone, by its own firmware. What a node
//! says about itself is golden text under `golden/` (`PREJOIN_BLESS=1` rewrites it); times are written to
//! `target/tests/boot-times.txt` and never judged.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests run programs and write files"
)]
#![expect(unreachable_pub, reason = "a test has no public names")]

#[path = "../support/cluster.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod cluster;
mod damage;
mod drives;
mod mounts;
#[path = "../support/qemu.rs"]
mod qemu;
mod raspberry;
mod rescue;
#[path = "../support/ssh.rs"]
mod ssh;
mod times;
#[path = "../support/tools.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod tools;
mod uefi;
