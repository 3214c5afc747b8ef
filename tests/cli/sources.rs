//! Files that a cluster file brings to its nodes.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::session::{Session, checked};
use crate::tiny::{self, built};

/// A session whose nodes get a file from `source`.
fn with_source(source: &str) -> Option<Session> {
    let session = built()?;
    let files = format!("files: [{{ path: /etc/extra, source: {source} }}]\n");
    session.write("cluster.yaml", session.read("cluster.yaml") + &files);
    session.quietly("lock");
    Some(session)
}

#[test]
fn a_source_is_a_regular_file_of_the_folder() {
    let Some(mut session) = with_source("./files/extra") else {
        return;
    };
    fs::create_dir(session.path("files")).unwrap();
    let place = session.path("files/extra");
    let outside = tempfile::NamedTempFile::new().unwrap();
    let huge = session.path("huge");
    File::create(&huge).unwrap().set_len(20 << 30).unwrap();
    type Make<'a> = Box<dyn Fn() + 'a>;
    let cases: [(&str, Make); 7] = [
        (
            "a named pipe",
            Box::new(|| drop(checked(std::process::Command::new("mkfifo").arg(&place)))),
        ),
        ("a folder", Box::new(|| fs::create_dir(&place).unwrap())),
        ("20 GB", Box::new(|| fs::rename(&huge, &place).unwrap())),
        (
            "a link to a file of this machine",
            Box::new(|| symlink(outside.path(), &place).unwrap()),
        ),
        (
            "a link that goes up",
            Box::new(|| symlink("../../../etc/hostname", &place).unwrap()),
        ),
        (
            "a device",
            Box::new(|| symlink("/dev/zero", &place).unwrap()),
        ),
        (
            "a link through /proc",
            Box::new(|| symlink("/proc/self/root/etc/hostname", &place).unwrap()),
        ),
    ];
    for (what, make) in cases {
        make();
        session.note(&format!("{what}\n"));
        let wait = ["timeout", "60"];
        let output = session
            .wrapped(&wait, "build one --offline --out new")
            .output()
            .unwrap();
        session.record("prejoin build one --offline --out new", &output);
        assert_eq!(output.status.code(), Some(3), "{what}");
        assert!(!session.path("new/one.manifest.json").exists(), "{what}");
        if fs::symlink_metadata(&place).unwrap().is_dir() {
            fs::remove_dir(&place).unwrap();
        } else {
            fs::remove_file(&place).unwrap();
        }
    }
    session.write("shared/extra", "shared\n");
    symlink("../shared/extra", &place).unwrap();
    session.quietly("build one --offline --out new");
    session.golden("sources");
}

/// Files and folders below `folder` that others than the owner can use.
fn open_to_others(session: &Session, folder: &str) -> Vec<String> {
    let files = tiny::files(&session.path(folder));
    let folders = files.iter().filter_map(|file| file.parent());
    let mut all: Vec<_> = folders
        .chain(files.iter().map(|file| file.as_path()))
        .collect();
    all.sort();
    all.dedup();
    let mode = |path: &std::path::Path| {
        let path = session.path(folder).join(path);
        fs::metadata(path).unwrap().permissions().mode() & 0o077
    };
    let open = all.into_iter().filter(|path| mode(path) != 0);
    open.map(|path| path.display().to_string()).collect()
}

#[test]
fn what_holds_a_private_file_is_private() {
    let Some(session) = built() else { return };
    let public = open_to_others(&session, "out").len();
    assert!(public > 10, "chunks of what everybody may read are shared");
    let files = "files: [{ path: /etc/secret, content: sesame, mode: \"0600\" }]\n";
    session.write("cluster.yaml", session.read("cluster.yaml") + files);
    let check = session.command("check").output().unwrap();
    let said = String::from_utf8(check.stderr).unwrap();
    assert!(said.contains("warning[file-private]"), "{said}");
    session.quietly("lock");
    for out in ["new", "out"] {
        session.quietly(&format!("build --offline --out {out}"));
        for format in ["raw", "raw.zst", "img.xz"] {
            let to = format!("{out}-exported");
            session.quietly(&format!(
                "export one --out {out} --format {format} --to {to}"
            ));
            assert_eq!(open_to_others(&session, &to), [""; 0], "{out} {format}");
        }
    }
    assert_eq!(open_to_others(&session, "new"), [""; 0]);
    // What was there before is what everybody may read.
    let open = open_to_others(&session, "out");
    assert!(open.len() <= public, "{open:?}");
    assert!(!open.iter().any(|path| path.ends_with("one.manifest.json")));
}

/// A named pipe nobody writes to, in the place of everything that a user names or lays beside the cluster file.
#[test]
fn nothing_waits_for_a_pipe() {
    let Some(mut session) = tiny::session() else {
        return;
    };
    session.quietly("lock");
    session.quietly("build");
    for (path, command) in [
        ("cluster.yaml", "check"),
        ("prejoin.lock", "build"),
        ("profiles/os/tiny.yaml", "check"),
        ("profiles/keys/tiny.asc", "lock"),
        ("profiles/overlays/one.dtbo", "build"),
        ("out/one.manifest.json", "verify one"),
    ] {
        let file = session.path(path);
        let kept = session.path("kept");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let was = std::fs::rename(&file, &kept).is_ok();
        checked(std::process::Command::new("mkfifo").arg(&file));
        session.note(&format!("{path} is a pipe\n"));
        session.run(command);
        std::fs::remove_file(&file).unwrap();
        if was {
            std::fs::rename(&kept, &file).unwrap();
        }
    }
    session.golden("pipes");
}
