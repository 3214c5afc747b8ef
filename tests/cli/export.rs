//! Images as files, judged by the tools that people write them to disks with, and images that were damaged.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::session::{absent, checked};
use crate::tiny::{self, built, files};

fn same(one: &Path, other: &Path) {
    checked(Command::new("cmp").arg(one).arg(other));
}

#[test]
fn every_kind_of_file_is_the_same_image() {
    let Some(mut session) = built() else { return };
    if ["xz", "zstd", "bmaptool", "sgdisk", "sha256sum"]
        .into_iter()
        .any(absent)
    {
        return;
    }
    for format in ["raw", "raw.zst", "img.xz"] {
        session.run(&format!("export one --format {format} --to files"));
    }
    session.run("export one --format raw --to files --json");
    session.run("export three");
    let path = |name: &str| session.path("files").join(name);
    let raw = path("one.raw");
    for (tool, packed, plain) in [
        ("zstd", "one.raw.zst", "from-zst"),
        ("xz", "one.img.xz", "from-xz"),
    ] {
        let out = fs::File::create(path(plain)).unwrap();
        let status = Command::new(tool)
            .args(["-d", "-c"])
            .arg(path(packed))
            .stdout(out)
            .status()
            .unwrap();
        assert!(status.success(), "{tool}");
        same(&raw, &path(plain));
    }
    checked(
        Command::new("sha256sum")
            .args(["--check", "--strict", "SHA256SUMS"])
            .current_dir(path("")),
    );
    // With the block map that lies beside the file; every checksum in it is looked at.
    let said = checked(
        Command::new("bmaptool")
            .arg("copy")
            .arg(path("one.img.xz"))
            .arg(path("copied")),
    );
    assert!(!said.contains("warning"), "{said}");
    same(&raw, &path("copied"));
    let table = checked(Command::new("sgdisk").arg("-v").arg(&raw));
    assert!(table.contains("No problems found."), "{table}");
    let table = checked(Command::new("sgdisk").arg("-p").arg(&raw));
    session.note(&format!(
        "sgdisk -p\n{}",
        table.split_once("Number").unwrap().1
    ));
    session.golden("export");
}

#[test]
fn sectors_of_4096_bytes() {
    let Some(mut session) = tiny::session() else {
        return;
    };
    // A FAT32 file system has at least 65525 clusters: 256 MiB with such sectors.
    session.edit(
        "profiles/layouts/tiny.yaml",
        "boot, purpose: boot, size: 40 MiB",
        "boot, purpose: boot, size: 300 MiB",
    );
    session.quietly("lock");
    session.run("build one --sector-size 4096");
    session.run("verify one");
    session.run("build one --sector-size 1024");
    session.quietly("export one --format raw");
    if let Some(device) = Loop::attach(&session.path("out/one.raw")) {
        let table = checked(Command::new("sgdisk").arg("-v").arg(&device.0));
        assert!(table.contains("No problems found."), "{table}");
        let table = checked(Command::new("sgdisk").arg("-p").arg(&device.0));
        assert!(table.contains("4096 bytes"), "{table}");
    }
    session.golden("sectors");
}

/// A loop device with sectors of 4096 bytes.
struct Loop(String);

impl Loop {
    fn attach(image: &Path) -> Option<Self> {
        if absent("losetup") || absent("sgdisk") {
            return None;
        }
        let mut command = Command::new("losetup");
        let output = command
            .args(["--find", "--show", "--read-only", "--sector-size", "4096"])
            .arg(image)
            .output()
            .unwrap();
        if output.status.success() {
            return Some(Loop(
                String::from_utf8(output.stdout).unwrap().trim().to_owned(),
            ));
        }
        crate::session::skipped("loop devices need root");
        None
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        checked(Command::new("losetup").args(["--detach", &self.0]));
    }
}

#[test]
fn damage_is_found() {
    let Some(mut session) = built() else { return };
    assert_eq!(session.run("verify").status.code(), Some(0));
    assert_eq!(session.run("verify one --json").status.code(), Some(0));
    let whole = session.path("whole");
    checked(
        Command::new("cp")
            .arg("-a")
            .arg(session.path("out"))
            .arg(&whole),
    );
    let found = |session: &mut crate::session::Session, what: &str| {
        session.note(&format!("{what}\n"));
        assert_eq!(session.run("verify one").status.code(), Some(5), "{what}");
    };
    let chunk = largest(&session.path("out/chunks"));
    let good = fs::read(&chunk).unwrap();
    let mut bytes = good.clone();
    bytes[good.len() / 2] ^= 1;
    fs::write(&chunk, &bytes).unwrap();
    found(&mut session, "a byte of a chunk was flipped");
    assert_eq!(
        session.run("export one --format raw").status.code(),
        Some(5)
    );
    assert!(!session.path("out/one.raw").exists());
    fs::write(&chunk, &good[..good.len() - 1]).unwrap();
    found(&mut session, "a chunk was cut");
    fs::remove_file(&chunk).unwrap();
    found(&mut session, "a chunk is missing");
    session.note("the chunk is made again by the next build\n");
    session.quietly("build");
    session.quietly("verify");

    let manifest = "out/one.manifest.json";
    let good = session.read(manifest);
    let system = session.image("one").node.system.to_string();
    for (what, from, to) in [
        (
            "a system that is not there",
            system.as_str(),
            "0".repeat(64),
        ),
        (
            "another partition name",
            "\"name\": \"root-a\"",
            "\"name\": \"root-c\"".to_owned(),
        ),
        ("no JSON", "{", "[".to_owned()),
        (
            "a version to come",
            "\"version\": 3",
            "\"version\": 9".to_owned(),
        ),
    ] {
        session.edit(manifest, from, &to);
        found(&mut session, &format!("the manifest has {what}"));
        session.write(manifest, &good);
    }
    let manifest = &format!("out/systems/{system}.json");
    let good = session.read(manifest);
    let digest = |key: &str| good.split(&format!("\"{key}\": \"")).nth(1).unwrap()[..64].to_owned();
    for (what, from) in [
        ("another root hash", digest("root_hash")),
        ("another digest of a partition", digest("digest")),
    ] {
        session.edit(manifest, &from, &"0".repeat(64));
        found(&mut session, &format!("the system's manifest has {what}"));
        session.write(manifest, &good);
    }
    session.quietly("verify");
    session.golden("damage");
}

fn largest(chunks: &Path) -> PathBuf {
    let path = files(chunks)
        .into_iter()
        .max_by_key(|path| fs::metadata(chunks.join(path)).unwrap().len())
        .unwrap();
    chunks.join(path)
}
