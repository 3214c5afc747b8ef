//! Places that cannot be written to: full, read-only, somebody else's.

use std::fs;
use std::process::Command;

use crate::session::{PROGRAM, Session, own_mounts};
use crate::tiny::{self, built, manifests};

/// Runs a script with mounts of its own; `$prejoin` is the program.
fn mounted(session: &mut Session, way: &[&str], script: &str) -> Option<i32> {
    let mut command: Command = session.wrapped(&[way, &["env"]].concat(), "");
    command = {
        // `wrapped` gives environment and folder; the arguments are the script's.
        let mut shell = Command::new(way[0]);
        shell.args(&way[1..]).args(["sh", "-c", script]);
        shell
            .current_dir(command.get_current_dir().unwrap())
            .env_clear();
        for (name, value) in command.get_envs() {
            shell.env(name, value.unwrap_or_default());
        }
        shell.env("prejoin", PROGRAM);
        shell
    };
    let output = command.output().unwrap();
    session.record(&format!("sh -c '{script}'"), &output);
    output.status.code()
}

#[test]
fn full_disks() {
    let (Some(mut session), Some(way)) = (built(), own_mounts()) else {
        return;
    };
    let before = manifests(&session, "out");
    fs::create_dir(session.path("small")).unwrap();
    let mount = "mount -t tmpfs -o size=1m tmpfs small && ";
    for (what, command, rest) in [
        (
            "the output is full",
            "$prejoin build --out small",
            "find small -name '*.json' -o -name '*.part'",
        ),
        (
            "there is no room to unpack",
            "rm -r cache/unpacked && mkdir cache/unpacked && \
             mount -t tmpfs -o size=1m tmpfs cache/unpacked && $prejoin build --offline --out other",
            "find cache/unpacked -name '*.part'",
        ),
        (
            "the cache is full",
            "rm -r cache && $prejoin build --cache small",
            "find small -name '*.part'",
        ),
        (
            "the export is full",
            "$prejoin export one --format raw --to small",
            "ls -A small",
        ),
        (
            "the export is full",
            "$prejoin export one --format raw.zst --to small",
            "ls -A small",
        ),
        (
            "the export is full",
            "$prejoin export one --format img.xz --to small",
            "ls -A small",
        ),
    ] {
        session.note(&format!("{what}\n"));
        let code = mounted(
            &mut session,
            &way,
            &format!("{mount}{command}; code=$?; {rest}; exit $code"),
        );
        assert_eq!(code, Some(6), "{command}");
    }
    assert_eq!(manifests(&session, "out"), before);
    session.quietly("verify");
    session.golden("full");
}

#[test]
fn read_only_places() {
    let (Some(mut session), Some(way)) = (built(), own_mounts()) else {
        return;
    };
    let before = manifests(&session, "out");
    // The shell is in the folder as it was before the mount, until it goes there again.
    let bind = |folder: &str| {
        format!(
            "mount --bind {folder} {folder} && mount -o remount,ro,bind $PWD/{folder} && cd $PWD && "
        )
    };
    session.edit("cluster.yaml", "10.0.0.11", "10.0.0.13");
    session.quietly("lock");
    // Which folders chunks go into depends on their digests.
    for folder in 0..=255 {
        fs::create_dir_all(session.path(&format!("out/chunks/{folder:02x}"))).unwrap();
    }
    for (what, folder, command) in [
        ("the output is read-only", "out", "$prejoin build"),
        (
            "the export is read-only",
            "out",
            "$prejoin export one --format raw",
        ),
        ("the folder of the lock is read-only", ".", "$prejoin lock"),
        (
            "the folder of the cluster file is read-only",
            ".",
            "$prejoin init --file new.yaml",
        ),
    ] {
        session.note(&format!("{what}\n"));
        let code = mounted(&mut session, &way, &(bind(folder) + command));
        assert_eq!(code, Some(6), "{command}");
    }
    session.note("a cache that has everything may be read-only\n");
    let code = mounted(
        &mut session,
        &way,
        &(bind("cache") + "$prejoin build --offline --out other"),
    );
    assert_eq!(code, Some(0));
    assert_eq!(manifests(&session, "out"), before);
    session.quietly("verify");
    session.golden("read-only");
}

#[test]
fn places_of_other_kinds() {
    let Some(mut session) = tiny::session() else {
        return;
    };
    session.quietly("lock");
    session.write("file", "x");
    assert_eq!(session.run("build --out file").status.code(), Some(6));
    assert_eq!(session.run("build --cache file").status.code(), Some(6));
    // No place to write to, but an input that is none.
    assert_eq!(session.run("check --file profiles").status.code(), Some(3));
    session.golden("places");
}
