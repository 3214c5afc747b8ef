//! How long starts took, for people and for the benchmarks' tables.

use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::qemu::Machine;
use crate::ssh::Login;
use crate::tools::{folder, say};

/// Whether the file is this run's.
static BEGUN: AtomicBool = AtomicBool::new(false);

/// Adds a start to `target/tests/boot-times.txt`: the agent's own account, and systemd's.
pub fn note(what: &str, machine: &Machine, login: &Login) {
    let seen = machine.seen();
    let agent = seen
        .lines()
        .find(|line| line.contains("handing over after"))
        .unwrap_or_default();
    let agent = agent.split_once("prejoin: ").map_or("", |(_, agent)| agent);
    let systemd = login.run("systemd-analyze time; systemd-analyze critical-chain --no-pager");
    let text = format!("== {what}\n{agent}\n{systemd}\n");
    say(&text);
    let path = folder("").join("boot-times.txt");
    if !BEGUN.swap(true, Ordering::Relaxed) {
        fs::write(&path, "").unwrap();
    }
    fs::File::options()
        .append(true)
        .open(path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
}
