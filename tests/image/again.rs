//! The same lock gives the same bytes: in another folder, at another time zone and locale, with other rights for new
//! files, and with packages that were never unpacked before.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::cluster::{cache, lab};
use crate::tools::{PATH, checked, folder, say, tool};

#[test]
fn a_second_build_is_the_same() {
    let Some(lab) = lab() else { return };
    let again = folder("again");
    fs::remove_dir_all(&again).unwrap();
    fs::create_dir_all(again.join("cache")).unwrap();
    // The downloads, and nothing that was made of them.
    for part in ["sha256", "releases"] {
        symlink(
            fs::canonicalize(cache().join(part)).unwrap(),
            again.join("cache").join(part),
        )
        .unwrap();
    }
    say("build again, from downloads alone");
    let mut build = tool("sh");
    build.args([
        "-c",
        "umask 077; exec \"$@\"",
        "sh",
        env!("CARGO_BIN_EXE_prejoin"),
    ]);
    build
        .args(["build", "pc", "server", "--offline", "--out"])
        .arg(again.join("elsewhere"));
    build
        .current_dir(&lab.folder)
        .env_clear()
        .env("PATH", PATH)
        .env("PREJOIN_CACHE", again.join("cache"));
    build
        .env("TZ", "Asia/Kathmandu")
        .env("LC_ALL", "tr_TR.UTF-8")
        .env("SOURCE_DATE_EPOCH", "1");
    checked(&mut build);
    assert!(
        again.join("cache/unpacked").is_dir(),
        "packages were unpacked again"
    );
    let mut compared = 0;
    for entry in fs::read_dir(again.join("elsewhere")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "json") {
            let name = path.file_name().unwrap();
            let first = fs::read(lab.folder.join("out").join(name)).unwrap();
            assert!(
                first == fs::read(&path).unwrap(),
                "{} differs from the first build",
                name.display()
            );
            compared += 1;
        }
    }
    let systems = |out: &Path| {
        let entries = fs::read_dir(out.join("systems")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let first = systems(&lab.folder.join("out"));
    let all = systems(&again.join("elsewhere"));
    assert!(all.iter().all(|name| first.contains(name)), "{all:?}");
    assert_eq!(compared, 4, "manifests and bills of materials of two nodes");
    fs::remove_dir_all(again).unwrap();
}
