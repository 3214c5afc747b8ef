//! Looking at disks: drawings, sentences, and documents that can be given back.

use std::fs::File;
use std::process::Command;

use serde_json::Value;

use crate::session::{Session, absent, checked};
use crate::tiny::built;

const MIB: u64 = 1 << 20;

fn blank(session: &Session, name: &str, size: u64) {
    File::create(session.path(name))
        .unwrap()
        .set_len(size)
        .unwrap();
}

#[test]
fn disks_are_drawn() {
    let mut session = Session::new();
    if ["sgdisk", "mkfs.ext4", "mkswap"].into_iter().any(absent) {
        return;
    }
    blank(&session, "blank.img", 64 * MIB);
    session.run("disk inspect blank.img");

    blank(&session, "disk.img", 512 * MIB);
    let disk = session.path("disk.img");
    let mut table = Command::new("sgdisk");
    table.args([
        "-U",
        "0f7f1c6a-54a4-4b6f-9b31-2f0f2a8bb111",
        "-n",
        "1:1M:+32M",
        "-t",
        "1:ef00",
        "-c",
        "1:esp",
    ]);
    table.args([
        "-u",
        "1:6b1bbd0a-98ef-4a5d-8c1c-1c0e4c3e2a01",
        "-n",
        "2:64M:+200M",
        "-c",
        "2:tank",
    ]);
    table.args([
        "-u",
        "2:6b1bbd0a-98ef-4a5d-8c1c-1c0e4c3e2a02",
        "-n",
        "3:400M:0",
        "-c",
        "3:bad\u{1b}[2Jname",
    ]);
    checked(
        table
            .args(["-u", "3:6b1bbd0a-98ef-4a5d-8c1c-1c0e4c3e2a03"])
            .arg(&disk),
    );
    session.write(
        "tank/longhorn-disk.cfg",
        "{\"diskUUID\":\"8a2f9a0c-1111-4e1e-9c5e-0d6c1a3f7b11\"}",
    );
    session.write("tank/replicas/pvc-1/volume.meta", "{}");
    let mut make = Command::new("mkfs.ext4");
    make.args([
        "-q",
        "-F",
        "-L",
        "tank",
        "-U",
        "a5f2c1de-0f0b-4b0f-9a52-7a4b6a7a9c10",
        "-d",
    ])
    .arg(session.path("tank"));
    checked(
        make.args(["-E", "offset=67108864"])
            .arg(&disk)
            .arg("204800k"),
    );
    session.run("disk inspect disk.img");
    session.run("disk inspect disk.img --color always");

    // What was recorded is as good as the disk.
    let facts = session.quietly("disk inspect disk.img --json");
    session.write("facts.json", &facts);
    let drawn = session.quietly("disk inspect disk.img");
    std::fs::remove_file(&disk).unwrap();
    assert_eq!(session.quietly("disk inspect facts.json"), drawn);
    assert_eq!(session.quietly("disk inspect facts.json --json"), facts);
    assert!(
        drawn.chars().all(|c| c == '\n' || !c.is_control()),
        "names of partitions reach the terminal"
    );

    // Not in the middle: the path of the disk in it is as long as it is.
    session.write("torn.json", &facts[..facts.find("\"signatures\"").unwrap()]);
    assert_eq!(session.run("disk inspect torn.json").status.code(), Some(3));
    session.write(
        "future.json",
        facts.replacen(
            "\"version\": 1,\n  \"device\"",
            "\"version\": 9,\n  \"device\"",
            1,
        ),
    );
    session.write("other.json", "{\"name\": 1}");
    assert_eq!(
        session.run("disk inspect other.json").status.code(),
        Some(3)
    );
    session.run("disk inspect nothing.img");
    session.run("disk inspect .");
    session.run("disk");
    session.golden("disk");
}

#[test]
fn the_image_of_a_node_is_known_again() {
    let Some(mut session) = built() else { return };
    session.quietly("export one --format raw --to .");
    let drawn = session.quietly("disk inspect one.raw");
    assert!(drawn.contains("\nThis is: node one\n"), "{drawn}");
    session.write("facts.json", session.quietly("disk inspect one.raw --json"));
    let judged = |arguments: &str| {
        session
            .command(&format!("flash one {arguments}"))
            .output()
            .unwrap()
    };
    let facts = judged("--facts facts.json --dry-run --json");
    let document: Value = serde_json::from_slice(&facts.stdout).unwrap();
    let report = &document["targets"][0]["report"];
    assert_eq!(report["plan"]["mode"], "reimage");
    assert!(
        report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .any(|finding| finding["code"] == "LY-OURS"),
        "{report}"
    );
    // What the facts say is what the disk says.
    let disk: Value = serde_json::from_slice(&judged("one.raw --dry-run --json").stdout).unwrap();
    assert_eq!(disk["targets"], document["targets"]);
    session.run("disk list three");
    let list: Value = serde_json::from_str(&session.quietly("disk list one --json")).unwrap();
    let disks = list["disks"].as_array().unwrap();
    assert!(
        disks
            .iter()
            .all(|disk| disk["mismatches"].is_array() && disk["device"]["path"].is_string())
    );
    assert_eq!(list["chosen"].is_null(), list["finding"].is_object());
    session.quietly("disk list");
    session.golden("disk-list");
}
