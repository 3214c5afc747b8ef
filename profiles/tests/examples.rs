//! The data files of this crate are sound: every example passes the check without a finding, and what stands in a
//! folder is what the program carries.
#![expect(
    clippy::disallowed_methods,
    reason = "tests compare what is embedded with what is on the disk"
)]
#![allow(clippy::print_stderr, reason = "a skipped test says so")]
#![allow(clippy::unwrap_used, reason = "test helpers fail like tests")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use prejoin_profiles::catalog::{CLUSTERS, Catalog, Kind};
use prejoin_profiles::check;
use prejoin_profiles::cluster::{Cluster, with_id, with_keys};
use prejoin_profiles::finding::{Code, Severity};
use uuid::Uuid;

fn folder(name: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let names = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .map(|name| {
            name.strip_suffix(".yaml")
                .expect("only YAML files")
                .to_owned()
        })
        .collect()
}

/// Somebody's key, with a comment that YAML would take for something else.
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIABlOcBMddiKzm5nnTEJPs9MNvNNanpaFCwQiPyP1gMD me: \"it's #1\"";

#[test]
fn every_example_is_sound() {
    let catalog = Catalog::embedded();
    for (name, text) in CLUSTERS {
        // As `prejoin init` writes them: an id that all of the world has would tell nobody from anybody.
        assert_eq!(Cluster::parse(text).unwrap().id, None, "{name}");
        // Nor does everybody's key: the file as it is lets in whoever has the other half of the placeholder.
        let placeholder = check::read(text, &catalog).expect_err(name);
        let refused = placeholder
            .iter()
            .filter(|finding| finding.severity == Severity::Error);
        let codes: Vec<Code> = refused.map(|finding| finding.code).collect();
        assert_eq!(codes, [Code::Key], "{name}");
        let text = with_keys(text, &[KEY.parse().unwrap()]);
        let text = &with_id(&text, &Uuid::from_bytes([7; 16])).expect(name);
        match check::read(text, &catalog) {
            Ok((_, findings)) => assert_eq!(check::render(&findings, name, text), "", "{name}"),
            Err(findings) => panic!("{name}:\n{}", check::render(&findings, name, text)),
        }
    }
}

/// Without a key the file stays a cluster file, and the check says that nobody gets in.
#[test]
fn an_example_without_a_key_says_so() {
    let catalog = Catalog::embedded();
    for (name, text) in CLUSTERS {
        let text = with_id(&with_keys(text, &[]), &Uuid::from_bytes([7; 16])).expect(name);
        let (cluster, findings) = check::read(&text, &catalog).expect(name);
        assert!(cluster.users[0].keys.is_empty(), "{name}");
        assert!(
            findings.iter().any(|finding| finding.code == Code::Login),
            "{name}: {findings:?}"
        );
    }
}

#[test]
fn the_four_node_example_fits_a_screen() {
    let (_, text) = CLUSTERS
        .iter()
        .find(|(name, _)| *name == "pi5-kubeadm-longhorn")
        .unwrap();
    let said = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
        .count();
    assert!(said <= 40, "{said} lines");
}

#[test]
fn every_file_in_a_folder_is_embedded_and_whole() {
    let catalog = Catalog::embedded();
    for kind in [Kind::Board, Kind::Os, Kind::Layout, Kind::Set] {
        let mut files = folder(kind.folder());
        if kind == Kind::Board {
            // These two are only inherited from.
            assert!(files.remove("uefi") && files.remove("raspberry-pi"));
        }
        assert_eq!(files, catalog.names(kind).into_iter().collect(), "{kind:?}");
        for name in &files {
            let problem = match kind {
                Kind::Board => catalog.board(name).err(),
                Kind::Os => catalog.os(name).err(),
                Kind::Layout => catalog.layout(name).err(),
                Kind::Set => catalog.set(name).err(),
            };
            assert_eq!(problem, None);
        }
    }
    assert_eq!(
        folder("clusters"),
        CLUSTERS
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect()
    );
}

#[test]
fn boards_name_only_operating_systems_and_repositories_that_exist() {
    let catalog = Catalog::embedded();
    for name in catalog.names(Kind::Board) {
        let board = catalog.board(&name).unwrap();
        for (os, kernel) in &board.kernel {
            let os = catalog.os(os).unwrap();
            if let Some(repository) = &kernel.repository {
                assert!(
                    os.repositories.contains_key(repository),
                    "{name} on {}",
                    os.name
                );
            }
        }
        let modules: BTreeSet<_> = board.initramfs_modules.iter().collect();
        for wanted in [
            "dm_verity",
            "ext4",
            "overlay",
            "vfat",
            "nls_ascii",
            "virtio_blk",
        ] {
            assert!(
                modules.contains(&wanted.to_owned()),
                "{name} lacks {wanted}"
            );
        }
    }
    let (pi5, kernel) = catalog
        .board("rpi5")
        .map(|b| b.on("debian-13").map(|(b, k)| (b, k.clone())).unwrap())
        .unwrap();
    assert_eq!(kernel.repository.as_deref(), Some("backports"));
    assert!(pi5.initramfs_modules.contains(&"rp1_pci".to_owned()));
    assert!(pi5.config_txt.contains(&"arm_64bit=1".to_owned()));
}

/// Python's jsonschema and YAML reader judge schema and examples.
#[test]
fn a_stranger_finds_the_examples_valid_and_a_bad_one_not() {
    const SCRIPT: &str = r#"
import json, sys, yaml, jsonschema
schema = json.load(sys.stdin)
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
for path in sys.argv[1:]:
    with open(path) as file: document = yaml.safe_load(file)
    errors = [f"{path}: {list(e.path)}: {e.message}" for e in validator.iter_errors(document)]
    assert not errors, errors
    for spoil in [lambda d: d.update(nmae="x"), lambda d: d.pop("os"), lambda d: d["nodes"][0].update(role="king"),
                  lambda d: d["network"].update(mtu=70000), lambda d: d["kubernetes"].update(version="latest")]:
        with open(path) as file: document = yaml.safe_load(file)
        spoil(document)
        assert list(validator.iter_errors(document)), "the schema is too lax"
def described(part, path):
    for key, value in part.get("properties", {}).items():
        assert value.get("description"), f"{path}/{key} has no description"
described(schema, "")
for name, part in schema["$defs"].items(): described(part, name)
print(len(sys.argv) - 1)
"#;
    let tools = Command::new("/usr/bin/python3")
        .args(["-c", "import yaml, jsonschema"])
        .output();
    if !tools.is_ok_and(|output| output.status.success()) {
        assert!(
            std::env::var_os("CI").is_none(),
            "python3 with yaml and jsonschema is needed"
        );
        eprintln!("SKIPPED: python3 with yaml and jsonschema is not here");
        return;
    }
    let clusters = Path::new(env!("CARGO_MANIFEST_DIR")).join("clusters");
    let paths = CLUSTERS
        .iter()
        .map(|(name, _)| clusters.join(format!("{name}.yaml")));
    let mut child = Command::new("/usr/bin/python3")
        .args(["-c", SCRIPT])
        .args(paths)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(
        &mut child.stdin.take().unwrap(),
        Cluster::schema().as_bytes(),
    )
    .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        CLUSTERS.len().to_string()
    );
}
