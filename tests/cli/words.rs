//! What the program says of itself, and what it says of cluster files: no archive is needed.

use prejoin_profiles::catalog::CLUSTERS;
use serde_json::Value;

use crate::session::Session;

#[test]
fn help() {
    let mut session = Session::new();
    for command in [
        "",
        "init",
        "check",
        "schema",
        "lock",
        "build",
        "export",
        "verify",
        "prune",
        "disk",
        "disk inspect",
        "disk list",
        "disk restore",
        "flash",
        "demo",
    ] {
        session.run(&format!("{command} --help"));
    }
    session.golden("help");
}

#[test]
fn wrong_usage() {
    let mut session = Session::new();
    for arguments in [
        "",
        "biuld",
        "build --sector-size 513000",
        "export",
        "export one --format iso",
        "lock --mirror",
        "check --color blue",
    ] {
        let output = session.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}");
    }
    session.golden("usage");
}

#[test]
fn init_never_overwrites() {
    let mut session = Session::new();
    session.run("init --example list");
    session.run("init");
    let schema = session.read("prejoin.schema.json");
    assert_eq!(schema, session.quietly("schema"));
    let first = session
        .read("cluster.yaml")
        .lines()
        .next()
        .unwrap()
        .to_owned();
    assert_eq!(first, "# yaml-language-server: $schema=prejoin.schema.json");
    session.write("cluster.yaml", "mine\n");
    session.run("init --example pi5-k3s");
    assert_eq!(session.read("cluster.yaml"), "mine\n");
    session.run("init --example pi6");
    session.run("init --file no/such/folder.yaml");
    session.golden("init");
}

/// Somebody's public key.
pub const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIABlOcBMddiKzm5nnTEJPs9MNvNNanpaFCwQiPyP1gMD";

/// The key is found, chosen or named; the examples' own opens nothing.
#[test]
fn init_writes_a_key() {
    let mut session = Session::new();
    let keys = |session: &Session, file: &str| session.read(file).matches(KEY).count();
    session.set("HOME", session.path("home").display().to_string());
    session.run("init --file none.yaml");
    session.run("check --file none.yaml");
    session.write("home/.ssh/id_rsa.pub", "no key\n");
    session.write(
        "home/.ssh/id_ed25519.pub",
        format!("ssh-ed25519 {KEY} me@home\n"),
    );
    session.run("init --file found.yaml");
    assert_eq!(keys(&session, "found.yaml"), 1);
    session.run("check --file found.yaml");
    session.write(
        "other.pub",
        format!("\nssh-ed25519 {KEY} one\nssh-ed25519 {KEY} two: \"#\"\n"),
    );
    session.run("init --file named.yaml --ssh-key other.pub");
    assert_eq!(keys(&session, "named.yaml"), 2);
    session.run("check --file named.yaml");
    session.run("init --file nothing.yaml --ssh-key home/.ssh/id_rsa.pub");
    session.run("init --file nothing.yaml --ssh-key nowhere.pub");
    assert!(!session.path("nothing.yaml").exists());
    let (_, example) = CLUSTERS[0];
    session.write("copied.yaml", example);
    let output = session.run("check --file copied.yaml");
    assert_eq!(output.status.code(), Some(1));
    session.golden("init-key");
}

#[test]
fn every_example_is_sound() {
    let mut session = Session::new();
    session.write("key.pub", format!("ssh-ed25519 {KEY} me\n"));
    for (name, _) in CLUSTERS {
        let file = format!("{name}.yaml");
        session.quietly(&format!(
            "init --example {name} --file {file} --ssh-key key.pub"
        ));
        let output = session.run(&format!("check --file {file}"));
        assert_eq!(output.status.code(), Some(0), "{name}");
    }
    session.golden("examples");
}

const SOUND: &str = "\
name: lab
os: debian-13
kubernetes: { distribution: kubeadm, version: v1.36.3 }
network: { subnet: 10.0.0.0/24, gateway: 10.0.0.1 }
nodes:
  - { name: one, board: rpi5, address: 10.0.0.11, role: control-plane, disk: { transport: nvme } }
users: [{ name: me, sudo: true, ssh_keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIABlOcBMddiKzm5nnTEJPs9MNvNNanpaFCwQiPyP1gMD] }]
id: 7c1f0a52-3b0e-4c8b-9a55-0d8f6f3a1e01
";

#[test]
fn findings() {
    let mut session = Session::new();
    session.run("check");
    session.write("cluster.yaml", "name: [unclosed\nos: debian-13\n");
    session.run("check");
    session.write("cluster.yaml", b"name: lab\xff\n");
    session.run("check");
    session.write(
        "cluster.yaml",
        SOUND
            .replace("rpi5", "rpi6")
            .replace("10.0.0.11", "10.0.1.11"),
    );
    session.run("check");
    session.run("check --json");
    session.run("check --color always");
    session.run("build");
    session.write("cluster.yaml", SOUND);
    session.run("check --json");
    session.run("check");
    session.golden("findings");
}

#[test]
fn unreadable_profiles() {
    let mut session = Session::new();
    session.write("cluster.yaml", SOUND);
    session.write("profiles/boards/mine.yaml", "name: mine\n  kernel: x\n");
    session.run("check");
    session.write("profiles/boards/mine.yaml", "name: other\n");
    session.run("check");
    std::fs::remove_file(session.path("profiles/boards/mine.yaml")).unwrap();
    session.write("profiles/os/debian-13.yaml", "name: debian-13\n");
    session.run("check");
    std::fs::remove_file(session.path("profiles/os/debian-13.yaml")).unwrap();
    session.write("profiles/keys/broken.asc", "no key\n");
    session.run("lock --mirror debian=file:///nowhere --mirror debian-security=file:///nowhere");
    session.golden("profiles");
}

#[test]
fn missing_things() {
    let mut session = Session::new();
    session.write("cluster.yaml", SOUND);
    session.run("build");
    session.run("lock --mirror debian");
    session.run("lock --mirror debian=ftp://mirror.example");
    session.run("lock --mirror debain=https://mirror.example/debian");
    session.run("verify");
    session.run("verify one");
    session.run("export one");
    session.write("prejoin.lock", "version: 1\nepoch: yesterday\n");
    session.run("build");
    session.golden("missing");
}

#[test]
fn the_schema_is_json() {
    let session = Session::new();
    let schema: Value = serde_json::from_str(&session.quietly("schema")).unwrap();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    assert!(schema["properties"]["nodes"].is_object());
}
