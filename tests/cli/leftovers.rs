//! What is left behind: by runs that end in the middle, by nodes that are gone, by what was built before; and what
//! happens to images where several programs, or somebody else, write to one cache.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use prejoin_image_builder::debian::deb::Limits;
use prejoin_image_builder::io::known::Known;
use prejoin_image_builder::io::pack;
use prejoin_image_builder::io::unpack::{Deb, unpack};
use prejoin_wire::digest::Digest;
use prejoin_wire::manifest::Range;
use serde_json::Value;

use crate::made::{self, Member};
use crate::session::{Session, skipped};
use crate::tiny::{self, cached, files, manifests};

/// How often something is tried: a few times, or as often as `tests/run full` wants.
fn rounds(few: u32) -> u32 {
    let wanted = std::env::var("PREJOIN_RACE_ROUNDS").ok();
    wanted.map_or(few, |text| text.parse().unwrap())
}

/// What starts a program as process 1 of its own name space; none where the machine forbids that.
fn own_processes() -> Option<Vec<&'static str>> {
    let ways = [
        vec!["unshare", "--pid", "--fork"],
        vec!["unshare", "--pid", "--fork", "--map-root-user"],
    ];
    let way = ways.into_iter().find(|way| {
        let mut command = Command::new(way[0]);
        command.args(&way[1..]).args(["sh", "-c", "test $$ = 1"]);
        command.status().is_ok_and(|status| status.success())
    });
    if way.is_none() {
        skipped("process name spaces need root or user name spaces");
    }
    way
}

fn forget(session: &Session, folders: &[&str]) {
    for folder in folders {
        let _ = fs::remove_dir_all(session.path(folder));
    }
}

/// Both have process number 1, as in two containers, and one cache and one output folder.
#[test]
fn builds_with_one_process_id_give_one_image() {
    let (Some(session), Some(way)) = (tiny::session(), own_processes()) else {
        return;
    };
    session.quietly("lock");
    session.quietly("build");
    let expected = manifests(&session, "out");
    let rounds = rounds(20);
    for round in 0..rounds {
        forget(&session, &["out", "cache/unpacked"]);
        let build = || {
            let mut command = session.wrapped(&way, "build --offline");
            command.stdout(Stdio::null()).stderr(Stdio::piped());
            command.spawn().unwrap()
        };
        let first = build();
        std::thread::sleep(Duration::from_millis(600) * round / rounds);
        for child in [first, build()] {
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "round {round}: {said}");
        }
        assert_eq!(manifests(&session, "out"), expected, "round {round}");
        session.quietly("verify");
        assert_eq!(freed(&session), BTreeSet::new(), "round {round}");
    }
}

/// The same where each has an output folder of its own: what meets in the cache are packs.
#[test]
fn unpacking_with_one_process_id_gives_one_pack() {
    let (Some(session), Some(way)) = (tiny::session(), own_processes()) else {
        return;
    };
    session.quietly("lock");
    session.quietly("build --out expected");
    let expected = manifests(&session, "expected");
    let rounds = rounds(20);
    for round in 0..rounds {
        let outs = ["a", "b"];
        forget(&session, &["a", "b", "cache/unpacked"]);
        let children = outs.map(|out| {
            let mut command = session.wrapped(&way, &format!("build --offline --out {out}"));
            command.stdout(Stdio::null()).stderr(Stdio::piped());
            let child = command.spawn().unwrap();
            std::thread::sleep(Duration::from_millis(200) * round / rounds);
            child
        });
        for child in children {
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "round {round}: {said}");
        }
        for out in outs {
            assert_eq!(manifests(&session, out), expected, "round {round}");
            session.quietly(&format!("verify --out {out}"));
        }
    }
}

/// Writes to the cache what comes of another package in the place of what comes of `hello`.
fn forge(session: &Session) -> PathBuf {
    let members = [
        Member::file("./usr/bin/hello", b"#!/bin/sh\necho evil\n"),
        Member::file("./usr/share/doc/hello/copyright", b"kept\n"),
    ];
    let bytes = made::deb("hello", "", &members);
    let path = session.path("evil.deb");
    fs::write(&path, &bytes).unwrap();
    let sha256 = Digest::of(&bytes);
    let name = "hello_2_all".to_owned();
    let (deb, cache) = (Deb { path, sha256, name }, session.path("evil"));
    unpack(
        &[deb],
        &cache,
        &Known::default(),
        &Limits::default(),
        &|_| {},
    )
    .unwrap();
    let name = cached(session, "hello");
    let real = name.file_name().unwrap().to_str().unwrap().parse().unwrap();
    let target = pack::path(&session.path("cache"), &real);
    fs::copy(pack::path(&cache, &sha256), &target).unwrap();
    target
}

#[test]
fn a_forged_pack_is_not_built_in() {
    let Some(session) = tiny::built() else { return };
    let expected = manifests(&session, "out");
    forge(&session);
    for out in ["out", "fresh"] {
        session.quietly(&format!("build --offline --out {out}"));
        assert_eq!(manifests(&session, out), expected, "into {out}");
        // Whatever was remembered before is not asked for this.
        forge(&session);
        forget(&session, &["out/memo", "fresh/memo"]);
        session.quietly(&format!("build --offline --out {out}"));
        assert_eq!(manifests(&session, out), expected, "into {out}");
        forge(&session);
    }
    // Without its package nobody can say whose pack it is.
    fs::remove_file(cached(&session, "hello")).unwrap();
    let output = session
        .command("build --offline --out other")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("hello_1.0_all is not in the cache"), "{said}");
    // With a network it is fetched.
    session.quietly("build --out other");
    assert_eq!(manifests(&session, "other"), expected);
}

/// Nothing that lies in the cache says what came of what: there would be a second way in.
#[test]
fn a_cache_holds_nothing_that_is_taken_on_trust() {
    let Some(session) = tiny::built() else { return };
    let folders: BTreeSet<_> = fs::read_dir(session.path("cache"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    // Named by their digest; judged by it; signed.
    let known = ["sha256", "partial", "unpacked", "releases"];
    assert_eq!(folders, BTreeSet::from(known.map(str::to_owned)));
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn flipped_bits_heal() {
    let Some(session) = tiny::built() else { return };
    let expected = manifests(&session, "out");
    let all = |folder: &str| -> Vec<PathBuf> {
        let folder = session.path(folder);
        files(&folder)
            .iter()
            .map(|path| folder.join(path))
            .collect()
    };
    for chunk in all("out/chunks") {
        flip(&chunk, fs::metadata(&chunk).unwrap().len() as usize / 2);
    }
    let output = session.command("verify one").output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    session.quietly("build");
    session.quietly("verify");

    // The content of a pack, whose index stays: where chunks went, and where nothing is remembered either.
    let hello = cached(&session, "greeting");
    let digest = hello
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    let pack = pack::path(&session.path("cache"), &digest);
    for forgotten in [&["out/chunks"][..], &["out/chunks", "out/memo"]] {
        flip(&pack, 1 << 20);
        forget(&session, forgotten);
        session.quietly("build");
        session.quietly("verify");
        assert_eq!(manifests(&session, "out"), expected, "{forgotten:?}");
    }
    for deb in all("cache/sha256") {
        flip(&deb, 100);
    }
    forget(&session, &["cache/unpacked", "out"]);
    session.quietly("lock");
    session.quietly("build");
    assert_eq!(manifests(&session, "out"), expected);
}

/// The files that `prune` finds.
fn freed(session: &Session) -> BTreeSet<PathBuf> {
    let found: Value = serde_json::from_str(&session.quietly("prune --dry-run --json")).unwrap();
    let files = found["files"].as_array().unwrap().iter();
    files
        .map(|file| file["path"].as_str().unwrap().into())
        .collect()
}

/// Starts something with much to do and ends it after a while, in one of two ways.
fn interrupt(session: &Session, what: &str, after: Duration, signal: &str) -> bool {
    let mut command = session.command(what);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    std::thread::sleep(after);
    let _ = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .stderr(Stdio::null())
        .status();
    child.wait().unwrap().code().is_none()
}

#[test]
fn interrupted_runs_leave_nothing() {
    let Some(session) = tiny::built() else { return };
    let clean = tiny::session().unwrap();
    let exports = ["raw", "raw.zst", "img.xz"]
        .map(|format| format!("export one --format {format} --to files"));
    let everything: Vec<&str> = ["lock", "build"]
        .into_iter()
        .chain(exports.iter().map(String::as_str))
        .collect();
    let prepare = |what: &str| match what {
        "lock" => forget(&session, &["cache", "out/memo"]),
        "build" => forget(&session, &["cache/unpacked", "out/chunks", "out/memo"]),
        _ => drop(session.quietly("build")),
    };
    // How long each takes here and now, undisturbed: they are ended at every part of that.
    let whole: Vec<Duration> = everything
        .iter()
        .map(|what| {
            prepare(what);
            let start = Instant::now();
            session.quietly(what);
            start.elapsed()
        })
        .collect();
    let rounds = rounds(40);
    let mut ended = 0;
    for round in 0..rounds {
        let index = round as usize % everything.len();
        prepare(everything[index]);
        let signal = ["-TERM", "-KILL"][round as usize / 5 % 2];
        let after = whole[index] * round / rounds;
        ended += u32::from(interrupt(&session, everything[index], after, signal));
    }
    assert!(ended > 2, "only {ended} of {rounds} runs were ended");
    for session in [&session, &clean] {
        everything
            .iter()
            .for_each(|what| drop(session.quietly(what)));
        assert_eq!(freed(session), BTreeSet::new());
    }
    for folder in ["cache", "out", "files"] {
        let [left, expected] = [&session, &clean].map(|session| files(&session.path(folder)));
        assert_eq!(left, expected, "{folder}");
    }
}

/// The chunks that the manifests of an output folder name.
fn named(session: &Session) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for name in files(&session.path("out")) {
        let name = name.to_string_lossy().into_owned();
        if name.ends_with(".manifest.json") {
            let opened = session.image(name.trim_end_matches(".manifest.json"));
            let (node, system) = (&opened.node, &opened.system);
            let volumes = [&system.root, &system.verity, &system.boot];
            let ranges = volumes.into_iter().flat_map(|volume| &volume.ranges);
            let ranges = ranges.chain(node.identity.values().flatten());
            named.extend(ranges.filter_map(|range| match range {
                Range::Data { digest, .. } => Some(format!("{digest}.zst")),
                _ => None,
            }));
        }
    }
    named
}

fn stored(session: &Session) -> BTreeSet<String> {
    let chunks = files(&session.path("out/chunks")).into_iter();
    chunks
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn what_nobody_needs_is_pruned() {
    let Some(session) = tiny::built() else { return };
    assert_eq!(freed(&session), BTreeSet::new());
    let second = "  - { name: two, board: tiny-arm64, address: 10.0.0.12, disk: { serial: A2 } }\n";
    session.edit("cluster.yaml", second, "");
    session.edit("cluster.yaml", "10.0.0.11", "10.0.0.13");
    session.quietly("lock");
    session.quietly("build");
    let output = session.command("verify").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("two is not in cluster.yaml any more"),
        "{said}"
    );
    assert!(!String::from_utf8_lossy(&output.stdout).contains("two"));

    // What was not used for 40 days, and what a dead run left; what a live one writes stays.
    let old = SystemTime::now() - Duration::from_secs(40 * 24 * 3600);
    let deb = cached(&session, "hello");
    let times = fs::FileTimes::new().set_accessed(old).set_modified(old);
    fs::File::open(&deb).unwrap().set_times(times).unwrap();
    session.write("out/chunks/.0.0.prejoin.part", "left");
    session.write("cache/unpacked/.1.0.prejoin.part", "written now");
    let live = fs::File::open(session.path("cache/unpacked/.1.0.prejoin.part")).unwrap();
    live.lock().unwrap();
    session.write("out/notes.txt", "somebody's");

    let expected = freed(&session);
    let before = (files(&session.path("cache")), files(&session.path("out")));
    assert!(expected.contains(&deb), "{expected:?}");
    assert!(
        expected.contains(Path::new("out/two.manifest.json")),
        "{expected:?}"
    );
    assert!(expected.contains(Path::new("out/chunks/.0.0.prejoin.part")));
    assert!(stored(&session).len() > named(&session).len());
    let said = session.quietly("prune");
    assert!(said.trim_end().ends_with(" freed"), "{said}");
    let after = (files(&session.path("cache")), files(&session.path("out")));
    let went = before.0.len() - after.0.len() + before.1.len() - after.1.len();
    assert_eq!(went, expected.len());
    assert_eq!(stored(&session), named(&session));
    assert!(session.path("cache/unpacked/.1.0.prejoin.part").exists());
    assert!(session.path("out/notes.txt").exists());
    session.quietly("verify");
    session.quietly("build --offline");
    assert_eq!(freed(&session), BTreeSet::new());

    // Chunks are not removed where nobody knows what is named.
    session.write("out/three.manifest.json", "[");
    let output = session.command("prune").output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(stored(&session), named_but(&session, "three"));
}

fn named_but(session: &Session, node: &str) -> BTreeSet<String> {
    fs::remove_file(session.path(&format!("out/{node}.manifest.json"))).unwrap();
    named(session)
}

/// A manifest is whole, and its chunks stay, as long as somebody reads them.
#[test]
fn pruning_waits_for_readers_and_says_so() {
    let Some(session) = tiny::built() else { return };
    let held = fs::File::open(session.path("out")).unwrap();
    held.lock_shared().unwrap();
    let mut command = session.command("prune");
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 64];
    let stderr = child.stderr.as_mut().unwrap();
    let count = std::io::Read::read(stderr, &mut said).unwrap();
    let said = String::from_utf8_lossy(&said[..count]);
    assert!(said.starts_with("waiting for another prejoin"), "{said}");
    assert_eq!(child.try_wait().unwrap(), None);
    drop(held);
    assert!(child.wait().unwrap().success());
}
