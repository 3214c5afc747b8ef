//! Programs that are not packages: pinned, built in and listed.

use prejoin_wire::digest::Digest;
use serde_json::Value;

use crate::server::{Server, Trouble};
use crate::session::Session;
use crate::tiny;

/// As far as it is looked at: an ELF file for 64-bit machines of one kind.
fn program(machine: u8) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(18, 0);
    bytes.extend([machine, 0]);
    bytes.resize(5000, machine);
    bytes
}

/// The tiny cluster with k3s, and a folder `files` that has it for both architectures.
fn session() -> Option<Session> {
    let session = tiny::session()?;
    session.edit(
        "cluster.yaml",
        "kubernetes: { distribution: none }",
        "kubernetes: { distribution: k3s, version: v1.36.3+k3s1 }",
    );
    session.edit("cluster.yaml", "role: worker, ", "");
    session.edit(
        "cluster.yaml",
        "board: tiny-amd64,",
        "role: control-plane, board: tiny-amd64,",
    );
    session.edit(
        "cluster.yaml",
        "board: tiny-arm64,",
        "role: worker, board: tiny-arm64,",
    );
    session.write(
        "cluster.yaml",
        session.read("cluster.yaml") + "artifacts: { from: ./files }\n",
    );
    for (architecture, machine) in [("amd64", 62), ("arm64", 183)] {
        let (name, bytes) = (format!("k3s-v1.36.3+k3s1-{architecture}"), program(machine));
        session.write(&format!("files/{name}"), &bytes);
        session.write(
            &format!("files/{name}.sha256"),
            format!("{}  {name}\n", Digest::of(&bytes)),
        );
    }
    Some(session)
}

#[test]
fn programs_are_pinned_and_listed() {
    let Some(mut session) = session() else { return };
    session.run("lock");
    session.quietly("build");
    session.quietly("verify");
    for (architecture, machine) in [("amd64", 62), ("arm64", 183)] {
        let bill = tiny::files(&session.path("out"))
            .into_iter()
            .find(|path| {
                path.to_string_lossy()
                    .starts_with(&format!("tiny-tiny-{architecture}"))
                    && !path.ends_with(".raw")
            })
            .unwrap();
        let bill: Value =
            serde_json::from_str(&session.read(&format!("out/{}", bill.display()))).unwrap();
        let packages = bill["packages"].as_array().unwrap();
        let k3s: Vec<&Value> = packages
            .iter()
            .filter(|package| package["name"] == "k3s")
            .collect();
        assert_eq!(k3s.len(), 1, "{architecture}");
        let digest = Digest::of(&program(machine)).to_string();
        assert_eq!(
            k3s[0]["checksums"][0]["checksumValue"], digest,
            "{architecture}"
        );
        for package in packages {
            session.note(&format!(
                "{}\n",
                package["externalRefs"][0]["referenceLocator"]
                    .as_str()
                    .unwrap()
            ));
        }
    }
    session.golden("programs");
}

#[test]
fn a_checksum_that_cannot_be_seen() {
    let Some(mut session) = session() else { return };
    let checksum = "files/k3s-v1.36.3+k3s1-arm64.sha256";
    std::fs::remove_file(session.path(checksum)).unwrap();
    session.note("there is none\n");
    assert_eq!(session.run("lock").status.code(), Some(0));
    std::fs::remove_file(session.path("prejoin.lock")).unwrap();

    session.write(checksum, format!("{}  k3s-of-old\n", Digest::of(b"old")));
    session.note("it is of something else\n");
    assert_eq!(session.run("lock").status.code(), Some(0));
    std::fs::remove_file(session.path("prejoin.lock")).unwrap();

    session.write(checksum, format!("{}\n", Digest::of(b"other")));
    session.note("it is another one\n");
    assert_eq!(session.run("lock").status.code(), Some(5));

    session.write(checksum, format!("{}\n", Digest::of(&program(183))));
    let server = Server::start(&session.path("files"));
    server.trouble("k3s-v1.36.3+k3s1-arm64.sha256", [Trouble::CutAfter(10); 9]);
    session.edit("cluster.yaml", "./files", &server.address);
    session.note("the connection breaks\n");
    assert_eq!(session.run("lock").status.code(), Some(4));
    assert!(!session.path("prejoin.lock").exists());
    session.golden("checksums");
}

#[test]
fn a_folder_may_have_blanks_and_what_it_lacks_is_said_at_once() {
    let Some(mut session) = session() else { return };
    std::fs::rename(session.path("files"), session.path("my files, 100%")).unwrap();
    session.edit("cluster.yaml", "./files", "'./my files, 100%'");
    session.note("in the cluster file\n");
    assert_eq!(session.run("lock").status.code(), Some(0));
    std::fs::remove_file(session.path("prejoin.lock")).unwrap();

    let folder = session.path("my files, 100%");
    session.edit(
        "cluster.yaml",
        "artifacts: { from: './my files, 100%' }\n",
        "",
    );
    let mirror = format!("artifacts={}", folder.display());
    let output = session
        .command("lock --mirror")
        .arg(&mirror)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    std::fs::remove_file(session.path("prejoin.lock")).unwrap();

    for architecture in ["amd64", "arm64"] {
        std::fs::remove_file(folder.join(format!("k3s-v1.36.3+k3s1-{architecture}"))).unwrap();
    }
    let mut lock = session.command("lock --mirror");
    let output = lock.arg(&mirror).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("2 files cannot be found"), "{said}");
    for architecture in ["amd64", "arm64"] {
        let missing = format!("\n  k3s v1.36.3+k3s1 for {architecture} cannot be found");
        assert!(said.contains(&missing), "{said}");
    }
    session.golden("folders");
}

#[test]
fn two_cluster_files_in_a_folder() {
    let Some(mut session) = tiny::session() else {
        return;
    };
    let text = session.read("cluster.yaml");
    let id = text.lines().find(|line| line.starts_with("id: ")).unwrap();
    let other = text.replace(id, "id: 7c1f0a52-3b0e-4c8b-9a55-0d8f6f3a1eff");
    session.quietly("lock");
    session.write("home.yaml", other);
    session.note("home.yaml beside it is another cluster\n");
    assert_eq!(
        session.run("build one --file home.yaml").status.code(),
        Some(3)
    );
    assert_eq!(session.run("lock --file home.yaml").status.code(), Some(0));
    assert!(session.path("home.lock").exists());
    session.quietly("build one --file home.yaml --out home");
    session.quietly("build one");
    session.note("the lock of one is taken for the other's\n");
    session.write("home.lock", session.read("prejoin.lock"));
    assert_eq!(
        session.run("build one --file home.yaml").status.code(),
        Some(3)
    );
    session.golden("two-clusters");
}
