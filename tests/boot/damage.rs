//! A changed byte in the root partition is found when the machine starts, and nothing of it is run.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::cluster::lab;
use crate::qemu::{self, Machine};
use crate::tools::{absent, checked, golden, line, say};

/// The first program of the operating system.
const INIT: &str = "/usr/lib/systemd/systemd";

#[test]
fn a_changed_byte_is_found() {
    if qemu::absent() || absent(&["debugfs"]) {
        return;
    }
    let Some(lab) = lab() else { return };
    qemu::fresh("damaged");
    let disk = lab.disk("pc", "damaged", 80 << 30);
    let root = lab.manifest("pc").partition("root-a").unwrap().clone();
    let partition = lab.extract("pc", "root-a");
    // The first block behind the ELF header, in the middle of its code.
    let mut debugfs = line("debugfs -R", &[]);
    let blocks = checked(debugfs.arg(format!("bmap {INIT} 4")).arg(&partition));
    let block: u64 = blocks
        .trim()
        .parse()
        .unwrap_or_else(|_| panic!("debugfs says {blocks}"));
    let at = root.start + block * 4096 + 1234;
    let file = File::options().read(true).write(true).open(&disk).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    drop(file);

    say("damaged: one bit of the first program is changed");
    let mut machine = Machine::pc(&disk, "10.0.2.15", "52:54:00:12:34:15", &[]);
    let seen = machine.wait_for(&[
        "The machine waits",
        "The machine restarts",
        "systemd[1]:",
        " login:",
    ]);
    assert!(!seen.contains("systemd[1]:"), "it was run:\n{seen}");
    let kernel = seen
        .lines()
        .find(|line| line.contains("verity") && line.contains("corrupted"));
    assert!(
        kernel.is_some_and(|line| line.contains(&format!("data block {block} "))),
        "{kernel:?}"
    );
    let start = seen.find("This node did not boot.").unwrap();
    let screen: Vec<&str> = seen[start..]
        .lines()
        .take_while(|line| !line.starts_with("===="))
        .collect();
    let screen: Vec<&str> = screen
        .into_iter()
        .filter(|line| !line.starts_with('['))
        .collect();
    golden(
        "boot/golden/damaged.txt",
        &format!("{}\n", redacted(&screen.join("\n")).trim_end()),
    );
}

/// Without the versions of agent and kernel.
fn redacted(screen: &str) -> String {
    let line = |line: &str| match line.split_once("kernel ") {
        Some((before, _)) if line.starts_with("Versions:") => format!("{before}kernel [VERSION]"),
        _ => line.to_owned(),
    };
    screen.lines().map(line).collect::<Vec<_>>().join("\n")
}
