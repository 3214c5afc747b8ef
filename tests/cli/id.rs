//! A cluster's id: drawn once, kept, and never exchanged in silence.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use prejoin_profiles::cluster::Cluster;
use prejoin_profiles::lock::Lock;

use crate::session::Session;
use crate::tiny;
use crate::words::KEY;

/// The id in a cluster file.
fn id_in(session: &Session, file: &str) -> Option<String> {
    let cluster = Cluster::parse(&session.read(file)).unwrap();
    cluster.id.map(|id| id.to_string())
}

/// The cluster file without its line.
fn without_id(session: &Session) -> String {
    let text = session.read("cluster.yaml");
    let lines = text.split_inclusive('\n');
    lines.filter(|line| !line.starts_with("id:")).collect()
}

/// Runs a command that must fail as wrong input; returns what it said on stderr.
fn refused(session: &mut Session, command: &str) -> String {
    let output = session.run(command);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{command}: {said}");
    said
}

#[test]
fn init_draws_an_id_of_its_own() {
    let session = Session::new();
    session.write("key.pub", format!("ssh-ed25519 {KEY} me\n"));
    let ids = ["one.yaml", "two.yaml"].map(|file| {
        session.quietly(&format!(
            "init --example pi5-k3s --file {file} --ssh-key key.pub"
        ));
        let said = session.quietly(&format!("check --file {file}"));
        assert!(said.contains("0 warnings"), "{said}");
        id_in(&session, file).unwrap()
    });
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn lock_writes_a_missing_id_and_touches_nothing_else() {
    let Some(mut session) = tiny::session() else {
        return;
    };
    let before = format!("# mine\n{}# the end", without_id(&session));
    session.write("cluster.yaml", &before);
    let path = session.path("cluster.yaml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("cluster.yaml", session.path("link.yaml")).unwrap();
    let said = session.run("check").stderr;
    assert!(String::from_utf8_lossy(&said).contains("warning[id]"));

    let output = session.run("lock --file link.yaml");
    let id = id_in(&session, "cluster.yaml").unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains(&format!("has no id: writing a new one into it, {id}")),
        "{said}"
    );
    let after = session.read("cluster.yaml");
    let mut lines: Vec<&str> = after.split_inclusive('\n').collect();
    let at = lines.iter().position(|line| line.starts_with("id:"));
    assert!(lines.remove(at.unwrap()).contains(&id));
    assert_eq!(lines.concat(), before);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o640
    );
    assert!(
        fs::symlink_metadata(session.path("link.yaml"))
            .unwrap()
            .is_symlink()
    );
    let lock = Lock::parse(&session.read("link.lock")).unwrap();
    assert_eq!(lock.id.unwrap().to_string(), id);
    // Once: then it is there.
    session.quietly("lock");
    assert_eq!(session.read("cluster.yaml"), after);
}

#[test]
fn a_lost_id_comes_back_from_the_lock() {
    let Some(session) = tiny::session() else {
        return;
    };
    session.quietly("lock");
    let id = id_in(&session, "cluster.yaml");
    session.write("cluster.yaml", without_id(&session));
    session.quietly("lock");
    assert_eq!(id_in(&session, "cluster.yaml"), id);
}

#[test]
fn what_was_locked_with_another_id_is_neither_built_nor_replaced() {
    let Some(mut session) = tiny::session() else {
        return;
    };
    session.quietly("lock");
    let lock = session.read("prejoin.lock");
    let id = id_in(&session, "cluster.yaml").unwrap();
    let other = id.replace(&id[..8], "11111111");
    session.edit("cluster.yaml", &id, &other);
    for command in ["build", "lock"] {
        let said = refused(&mut session, command);
        assert!(
            said.contains(&id) && said.contains(&other),
            "{command}: {said}"
        );
        assert!(said.contains("put the former back"), "{command}: {said}");
    }
    assert_eq!(session.read("prejoin.lock"), lock);
}

#[test]
fn nothing_is_built_without_an_id() {
    let Some(mut session) = tiny::session() else {
        return;
    };
    session.quietly("lock");
    let id = id_in(&session, "cluster.yaml").unwrap();
    session.write("cluster.yaml", without_id(&session));
    for command in ["build", "build --json"] {
        let said = refused(&mut session, command);
        assert!(said.contains("cluster.yaml has no id"), "{said}");
        assert!(said.contains("run `prejoin lock`"), "{said}");
        assert!(said.contains(&format!("id: {id}")), "the lock's: {said}");
    }
    assert!(!session.path("out/one.manifest.json").exists());
    // A lock of before clusters had ids: it has to be written anew.
    session.write(
        "cluster.yaml",
        without_id(&session).replacen('\n', &format!("\nid: {id}\n"), 1),
    );
    session.edit("prejoin.lock", &format!("id: {id}\n"), "");
    let said = refused(&mut session, "build");
    assert!(said.contains("before the cluster had an id"), "{said}");
    session.quietly("lock");
    session.quietly("build");
}

#[test]
fn what_cannot_be_edited_safely_is_left_to_its_owner() {
    let Some(mut session) = tiny::session() else {
        return;
    };
    let flow = r#"{ name: lab, os: tiny, kubernetes: { distribution: none },
  network: { subnet: 10.0.0.0/24, gateway: 10.0.0.1 },
  defaults: { role: worker, layout: tiny, disk: { serial: X1 } },
  nodes: [{ name: one, board: tiny-amd64, address: 10.0.0.11 }] }
"#;
    session.write("cluster.yaml", flow);
    let said = refused(&mut session, "lock");
    assert!(said.contains("add this line to it: id: "), "{said}");
    assert_eq!(session.read("cluster.yaml"), flow);
    assert!(!session.path("prejoin.lock").exists());
}
