//! The same lock gives the same bytes: whoever builds, wherever, with whatever settings.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::session::{PROGRAM, Session, checked, skipped};
use crate::tiny::{self, manifests};

/// Starts the program as user nobody.
const NOBODY: [&str; 4] = [
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
];

/// A second session with the same cluster, profiles and lock in a folder of its own.
fn twin(first: &Session) -> Session {
    let second = Session::new();
    for name in ["cluster.yaml", "prejoin.lock", "profiles"] {
        checked(
            Command::new("cp")
                .arg("-r")
                .arg(first.path(name))
                .arg(second.path(name)),
        );
    }
    second
}

/// A shell that sets a umask before it starts the program.
fn umask(mask: &str) -> [String; 4] {
    [
        "sh".into(),
        "-c".into(),
        format!("umask {mask}; exec \"$@\""),
        "sh".into(),
    ]
}

#[test]
fn builds_are_the_same_everywhere() {
    let Some(first) = tiny::built() else { return };
    let expected = manifests(&first, "out");
    let raw = |session: &Session, node: &str| {
        session.quietly(&format!("export {node} --format raw"));
        let path = session.path(&format!("out/{node}.raw"));
        checked(
            Command::new("sha256sum")
                .arg("-b")
                .stdin(fs::File::open(path).unwrap()),
        )
    };
    let images = ["one", "two"].map(|node| raw(&first, node));

    let settings: [(&str, &[(&str, &str)]); 2] = [
        (
            "000",
            &[
                ("TZ", "Asia/Kathmandu"),
                ("LC_ALL", "de_DE.UTF-8"),
                ("LANG", "tr_TR.UTF-8"),
                ("RAYON_NUM_THREADS", "1"),
            ],
        ),
        (
            "077",
            &[
                ("TZ", "America/St_Johns"),
                ("LC_ALL", "C"),
                ("SOURCE_DATE_EPOCH", "1"),
                ("RAYON_NUM_THREADS", "7"),
            ],
        ),
    ];
    for (mask, variables) in settings {
        let mut second = twin(&first);
        second.set("PREJOIN_MIRROR_TINY", tiny::TINY.archive.address());
        for (name, value) in variables {
            second.set(name, *value);
        }
        let mut ways: Vec<Vec<String>> = vec![umask(mask).to_vec()];
        if rustix_is_root() {
            // The files of the first are root's: nobody starts from nothing, in folders of its own.
            ways.push([NOBODY.map(str::to_owned).to_vec(), umask(mask).to_vec()].concat());
        } else {
            skipped("building as another user needs root");
        }
        for way in ways {
            let user = way.len();
            let out = format!("out{user}");
            for folder in [&out, &format!("cache{user}")] {
                fs::create_dir(second.path(folder)).unwrap();
                if user > 4 {
                    std::os::unix::fs::chown(second.path(folder), Some(65534), Some(65534))
                        .unwrap();
                }
            }
            let way: Vec<&str> = way.iter().map(String::as_str).collect();
            for state in ["cold", "warm"] {
                let arguments = format!("build --out {out} --cache cache{user}");
                checked_as(&mut second.wrapped(&way, &arguments), state);
                assert_eq!(
                    manifests(&second, &out),
                    expected,
                    "umask {mask}, {variables:?}, {way:?}, {state} cache"
                );
                let _ = fs::remove_dir_all(second.path(&out).join("chunks"));
            }
        }
        second.quietly("build");
        assert_eq!(["one", "two"].map(|node| raw(&second, node)), images);
    }
}

/// The lock, too, is the same wherever it is made.
#[test]
fn locks_are_the_same_everywhere() {
    let Some(first) = tiny::session() else { return };
    first.quietly("lock");
    let mut second = twin(&first);
    fs::remove_file(second.path("prejoin.lock")).unwrap();
    for (name, value) in [("TZ", "Asia/Kathmandu"), ("LC_ALL", "tr_TR.UTF-8")] {
        second.set(name, value);
    }
    second.set("PREJOIN_MIRROR_TINY", tiny::TINY.archive.address());
    second.quietly("lock");
    assert_eq!(second.read("prejoin.lock"), first.read("prejoin.lock"));
}

fn rustix_is_root() -> bool {
    assert!(Path::new(PROGRAM).exists());
    std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap()) == 0
}

fn checked_as(command: &mut Command, what: &str) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{what}: {command:?}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
