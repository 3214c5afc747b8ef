//! Machines with UEFI: first and second start.

use std::path::Path;

use prejoin_wire::manifest::Manifest;
use serde_json::Value;

use crate::cluster::{Lab, lab};
use crate::drives::Drives;
use crate::qemu::{self, Machine};
use crate::ssh::Login;
use crate::times;
use crate::tools::{golden, say};

/// What is true on a node, whenever it starts.
const FACTS: &str = include_str!("facts.sh");
/// Makes a container image, imports it and runs it.
const CONTAINER: &str = include_str!("container.sh");
/// Removes what the cluster file's own commands wrote (`bootcmd`, `runcmd`, `write_files`).
const TIDY: &str = "sudo rm -r /opt/lab /var/lib/lab/boots /var/lib/lab/runs";
/// What a node makes for itself on its first start, and must keep.
const KEPT: &str = "cat /etc/machine-id; sudo sha256sum /etc/ssh/ssh_host_*; sudo blkid /dev/vda[78]; sudo ctr images ls -q";

#[test]
fn amd64_starts_and_starts_again() {
    start_twice("pc", 80, "10.0.2.15", "52:54:00:12:34:15", Machine::pc);
}

#[test]
fn arm64_starts_and_starts_again() {
    start_twice(
        "server",
        24,
        "10.0.2.16",
        "52:54:00:12:34:16",
        Machine::server,
    );
}

fn start_twice(
    node: &str,
    gibibytes: u64,
    address: &str,
    mac: &str,
    machine: fn(&Path, &str, &str, &[String]) -> Machine,
) {
    if qemu::absent() {
        return;
    }
    let Some(lab) = lab() else { return };
    qemu::fresh(node);
    let disk = lab.disk(node, node, gibibytes << 30);
    let mut kept = Vec::new();
    for start in 1..=2 {
        say(&format!("{node}: start {start}"));
        // One start is enough for them, and each takes its time.
        let drives = (node == "pc" && start == 2)
            .then(|| Drives::make(lab))
            .flatten();
        let more = drives.as_ref().map(Drives::arguments).unwrap_or_default();
        let mut machine = machine(&disk, address, mac, &more);
        let login = Login::new(lab, &machine);
        assert_eq!(login.wait(&mut machine), "running", "{}", login.run(FACTS));
        let facts = redacted(&login.run(FACTS), &lab.manifest(node));
        golden(&format!("boot/golden/{node}.txt"), &facts);
        assert_eq!(
            login.run("sudo cat /var/lib/lab/boots").lines().count(),
            start,
            "bootcmd runs at every start"
        );
        assert_eq!(
            login.run("sudo cat /var/lib/lab/runs"),
            "ran\n",
            "runcmd runs once"
        );
        if start == 1 {
            let said = login.run(CONTAINER);
            assert_eq!(
                said,
                format!("hello from process 1 on {node} with Linux\nlab (enforce)\n")
            );
        }
        kept.push(login.run(KEPT));
        times::note(&format!("{node}, start {start}"), &machine, &login);
        drives.iter().for_each(|drives| drives.check(&login));
        if start == 2 {
            login.run(TIDY);
        }
        login.power_off();
        machine.wait_off();
        state_can_go(lab, node, &disk, start == 2);
        drives.iter().for_each(Drives::check_off);
    }
    assert!(
        kept[0].starts_with(|first: char| first.is_ascii_hexdigit()),
        "a machine-id: {}",
        kept[0]
    );
    assert!(kept[0].contains("lab.test/hello:1"), "{}", kept[0]);
    assert_eq!(
        kept[0], kept[1],
        "what a node made for itself on its first start"
    );
    own_identity(lab, node, &kept[0]);
}

/// A node that has started has nothing in its state that is not known: to make it anew is one question. What the cluster
/// file's own commands wrote is told by its folders.
fn state_can_go(lab: &Lab, node: &str, disk: &Path, tidy: bool) {
    let look = |more: &str| {
        let arguments = "--mode wipe-state --dry-run --json --accept ID-EXPECTMISMATCH";
        let mut command = lab.prejoin(&format!("flash {node} {arguments} {more}"));
        let output = command.arg(disk).output().unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = answer["targets"][0]["report"]["findings"]
            .as_array()
            .unwrap();
        let grave = findings
            .iter()
            .filter(|finding| finding["severity"] != "info");
        let told = |finding: &Value| {
            let of = |key: &str| finding[key].as_str().unwrap().to_owned();
            (of("severity"), of("code"), of("evidence"))
        };
        grave.map(told).collect::<Vec<_>>()
    };
    let codes = |found: &[(String, String, String)]| {
        let codes = found
            .iter()
            .map(|(severity, code, _)| format!("{severity} {code}"));
        codes.collect::<Vec<_>>()
    };
    let mut found = look("");
    if !tidy {
        assert_eq!(
            codes(&found),
            ["refuse DT-NESTED", "confirm DT-STATE"],
            "{found:?}"
        );
        let own = "/opt/lab (/opt/lab/written); /var/lib/lab (/var/lib/lab/";
        assert!(
            found[0].2.contains(own) && found[0].2.matches(';').count() == 1,
            "{found:?}"
        );
        found = look("--delete /opt/lab --delete /var/lib/lab --accept DT-DELETE");
    }
    assert_eq!(codes(&found), ["confirm DT-STATE"], "{found:?}");
}

/// Nothing that a node makes for itself was in its image.
fn own_identity(lab: &Lab, node: &str, kept: &str) {
    let id = kept.lines().next().unwrap();
    assert!(
        id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()),
        "machine-id {id}"
    );
    for file in lab.files(node, "identity") {
        let bytes = lab.read(node, "identity", &file);
        assert!(
            !bytes
                .windows(id.len())
                .any(|window| window == id.as_bytes()),
            "{file} has the machine-id"
        );
    }
}

/// The facts with the image's own digests by name.
fn redacted(facts: &str, manifest: &Manifest) -> String {
    let hash = manifest.root_hash.to_string();
    assert!(
        facts.contains(&hash),
        "dm-verity has another root hash than the image:\n{facts}"
    );
    let mut text = String::new();
    for line in facts.replace(&hash, "[ROOT HASH]").lines() {
        match line.split_once("[ROOT HASH] ") {
            Some((before, _)) => text.push_str(&format!("{before}[ROOT HASH] [SALT]")),
            None => text.push_str(line.trim_end()),
        }
        text.push('\n');
    }
    text
}
