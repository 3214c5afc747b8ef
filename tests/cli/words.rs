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
    session.write("cluster.yaml", "mine\n");
    session.run("init --example pi5-k3s");
    assert_eq!(session.read("cluster.yaml"), "mine\n");
    session.run("init --example pi6");
    session.run("init --file no/such/folder.yaml");
    session.golden("init");
}

#[test]
fn every_example_is_sound() {
    let mut session = Session::new();
    for (name, _) in CLUSTERS {
        let file = format!("{name}.yaml");
        session.quietly(&format!("init --example {name} --file {file}"));
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
