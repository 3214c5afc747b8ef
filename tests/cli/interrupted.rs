//! Builds that end in the middle, and builds side by side.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use crate::session::Session;
use crate::tiny::{self, files, manifests};

/// A session that is built, and whose next build has much more to do.
fn ready() -> Option<Session> {
    let session = tiny::built()?;
    session.write(
        "cluster.yaml",
        session.read("cluster.yaml") + "packages: [bulk]\n",
    );
    session.edit("cluster.yaml", "10.0.0.11", "10.0.0.13");
    for (from, to) in [
        (
            "root-a, purpose: root, size: 96",
            "root-a, purpose: root, size: 256",
        ),
        (
            "root-a-verity, purpose: verity, size: 1",
            "root-a-verity, purpose: verity, size: 4",
        ),
    ] {
        session.edit("profiles/layouts/tiny.yaml", from, to);
    }
    session.quietly("lock");
    // What the lock has fetched and unpacked, the build does again.
    fs::remove_dir_all(session.path("cache")).unwrap();
    Some(session)
}

/// When a build is killed.
type Reached = fn(&Session, usize) -> bool;

/// Points in a build that can be seen from outside.
const POINTS: [(&str, Reached); 5] = [
    ("downloading", |session, _| {
        session
            .path("cache/partial")
            .read_dir()
            .is_ok_and(|mut list| list.next().is_some())
    }),
    ("unpacking", |session, _| {
        session
            .path("cache/unpacked")
            .read_dir()
            .is_ok_and(|mut list| list.next().is_some())
    }),
    ("the first chunks", |session, before| {
        files(&session.path("out/chunks")).len() > before
    }),
    ("many chunks", |session, before| {
        files(&session.path("out/chunks")).len() > before + 25
    }),
    ("most chunks", |session, before| {
        files(&session.path("out/chunks")).len() > before + 45
    }),
];

#[test]
fn a_killed_build_leaves_the_last_one_whole() {
    let Some(session) = ready() else { return };
    let before = manifests(&session, "out");
    let chunks = files(&session.path("out/chunks")).len();
    session.quietly("build --out expected");
    let expected = manifests(&session, "expected");
    assert_ne!(before, expected);
    let mut killed = 0;
    for (point, reached) in POINTS {
        let _ = fs::remove_dir_all(session.path("cache"));
        let mut command = session.command("build");
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while child.try_wait().unwrap().is_none() && !reached(&session, chunks) {
            std::thread::sleep(Duration::from_micros(200));
        }
        child.kill().unwrap();
        killed += usize::from(child.wait().unwrap().code().is_none());
        let now = manifests(&session, "out");
        // One that was faster than the kill is whole, too.
        assert!(now == before || now == expected, "killed while {point}");
        session.quietly("verify");
    }
    assert!(killed >= 3, "only {killed} builds were killed");
    session.quietly("build");
    assert_eq!(manifests(&session, "out"), expected);
    session.quietly("verify");
}

#[test]
fn builds_side_by_side_share_a_cache() {
    let Some(session) = ready() else { return };
    let _ = fs::remove_dir_all(session.path("cache"));
    // Two into one folder, one into another, all from an empty cache.
    let children: Vec<_> = ["build", "build", "build --out other"]
        .map(|arguments| {
            session
                .command(arguments)
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .into_iter()
        .map(|child| child.wait_with_output().unwrap())
        .collect();
    for output in children {
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    assert_eq!(manifests(&session, "out"), manifests(&session, "other"));
    session.quietly("verify");
    session.quietly("verify --out other");
    let unfinished = files(&session.path("")).into_iter().filter(|path| {
        let path = path.to_string_lossy();
        path.ends_with(".part") || path.starts_with("cache/partial/")
    });
    assert_eq!(
        unfinished.collect::<Vec<_>>(),
        Vec::<std::path::PathBuf>::new()
    );
}
