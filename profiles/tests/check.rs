//! One small bad cluster per finding, with exactly what the user sees; and thousands of spoilt ones that nothing may
//! panic on.
//!
//! `UPDATE_EXPECTED=1 cargo test -p prejoin-profiles --test check` writes the texts anew; read the difference.
#![expect(
    clippy::disallowed_methods,
    reason = "tests read their cases from files"
)]
#![allow(clippy::unwrap_used, reason = "test helpers fail like tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use prejoin_profiles::catalog::{CLUSTERS, Catalog, Kind};
use prejoin_profiles::check;
use prejoin_profiles::finding::{Code, Finding};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut cases: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    cases.sort();
    cases
}

fn findings(text: &str, catalog: &Catalog) -> Vec<Finding> {
    check::read(text, catalog).map_or_else(|findings| findings, |(_, warnings)| warnings)
}

#[test]
fn every_finding_is_shown_as_expected() {
    let mut catalog = Catalog::embedded();
    // A user's own, for what is wrong with no operating system of the program's.
    let bare = "name: bare\ndescription: Makes no file systems\n";
    catalog
        .extend(Kind::Os, "bare", "profiles/os/bare.yaml", bare)
        .unwrap();
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for path in cases() {
        let document = std::fs::read_to_string(&path).unwrap();
        let findings = findings(&document, &catalog);
        let shown = check::render(&findings, "cluster.yaml", &document);
        let case = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(
            findings
                .iter()
                .any(|finding| case.starts_with(finding.code.name())),
            "{case}:\n{shown}"
        );
        for finding in &findings {
            assert!(
                finding.hint.is_some() || finding.code == Code::Document,
                "{case}: no hint\n{shown}"
            );
            assert!(finding.position.line > 0, "{case}: no position\n{shown}");
        }
        seen.extend(findings.iter().map(|finding| finding.code));
        let expected = path.with_extension("txt");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write(&expected, &shown).unwrap();
        }
        let expected = std::fs::read_to_string(&expected).unwrap_or_default();
        if shown != expected {
            wrong.push(format!("{case}: shown\n{shown}\nexpected\n{expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let missing: Vec<_> = Code::ALL
        .iter()
        .filter(|code| !seen.contains(code))
        .map(|code| code.name())
        .collect();
    assert_eq!(missing, [""; 0], "findings without a case");
}

#[test]
fn secrets_are_never_shown() {
    let catalog = Catalog::embedded();
    for case in [
        "private-key",
        "private-key-unreadable",
        "password",
        "password-plain",
        "url",
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/check/{case}.yaml"));
        let document = std::fs::read_to_string(path).unwrap();
        let findings = findings(&document, &catalog);
        let shown = format!(
            "{}{findings:?}",
            check::render(&findings, "cluster.yaml", &document)
        );
        for secret in [
            "b3BlbnNzaC1r",
            "MHcCAQEEIIrYSSNQ",
            "correct-horse",
            "user:secret",
        ] {
            assert!(!shown.contains(secret), "{case}: {shown}");
        }
    }
}

/// xorshift64*: the same inputs on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % bound
    }
}

/// Replaces, repeats, removes and swaps pieces of sound and unsound files.
fn spoil(texts: &[Vec<char>], random: &mut Random) -> String {
    const PIECES: [&str; 24] = [
        "&a ",
        "*a",
        "<<: *a",
        "- ",
        ": ",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "'",
        "|\n",
        ">-\n",
        "!!binary ",
        "!x ",
        "\t",
        "\n",
        "\0",
        "~",
        "99999999999999999999",
        "0.0.0.0/0",
        "::/0",
        "é\u{202e}",
        "---\n",
    ];
    let mut text = texts[random.below(texts.len())].clone();
    for _ in 0..1 + random.below(3) {
        let at = random.below(text.len() + 1);
        let to = (at + random.below(12)).min(text.len());
        match random.below(5) {
            0 => drop(text.splice(at..to, PIECES[random.below(PIECES.len())].chars())),
            1 => drop(text.drain(at..to)),
            2 => {
                let copy: Vec<_> = text[at..to].to_vec();
                drop(text.splice(at..at, copy));
            }
            3 => {
                let other = &texts[random.below(texts.len())];
                let from = random.below(other.len());
                let piece: Vec<_> =
                    other[from..(from + random.below(60)).min(other.len())].to_vec();
                drop(text.splice(at..at, piece));
            }
            _ => {
                if let Some(c) = text.get_mut(at) {
                    *c = char::from(u8::try_from(32 + random.below(95)).unwrap());
                }
            }
        }
    }
    text.into_iter().collect()
}

#[test]
fn twenty_thousand_spoilt_files_panic_nowhere() {
    let catalog = Catalog::embedded();
    let mut texts: Vec<Vec<char>> = CLUSTERS
        .iter()
        .map(|(_, text)| text.chars().collect())
        .collect();
    texts.extend(
        cases()
            .iter()
            .map(|path| std::fs::read_to_string(path).unwrap().chars().collect()),
    );
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut read, mut broken) = (0, 0);
    for _ in 0..20_000 {
        let text = spoil(&texts, &mut random);
        let findings = findings(&text, &catalog);
        let shown = check::render(&findings, "cluster.yaml", &text);
        assert!(shown.len() < 200_000, "{text}");
        let lines = text.lines().count() + 1;
        assert!(
            findings
                .iter()
                .all(|f| (1..=lines).contains(&(f.position.line as usize))),
            "{findings:?}\n{text}"
        );
        assert!(
            !shown.chars().any(|c| c.is_control() && c != '\n'),
            "{shown:?}"
        );
        if findings
            .iter()
            .any(|finding| finding.code == Code::Document)
        {
            broken += 1
        } else {
            read += 1
        }
    }
    // Both happen, or the mutations are too tame or too wild to test anything.
    assert!(
        read > 2000 && broken > 2000,
        "{read} read, {broken} not YAML or not the keys of a cluster"
    );
}

#[test]
fn spoilt_profiles_panic_nowhere() {
    let embedded = ["rpi5", "uefi-amd64", "longhorn", "ceph"];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let texts: Vec<(Kind, Vec<char>)> = [
        (Kind::Board, embedded[0]),
        (Kind::Board, embedded[1]),
        (Kind::Layout, embedded[2]),
    ]
    .into_iter()
    .map(|(kind, name)| {
        let path = folder.join(kind.folder()).join(format!("{name}.yaml"));
        (
            kind,
            std::fs::read_to_string(path)
                .unwrap()
                .replace(&format!("name: {name}"), "name: mine")
                .chars()
                .collect(),
        )
    })
    .collect();
    let mut random = Random(7);
    for (kind, text) in &texts {
        let pool = [text.clone()];
        for _ in 0..500 {
            let mut catalog = Catalog::embedded();
            let spoilt = spoil(&pool, &mut random);
            let result = catalog
                .extend(*kind, "mine", "profiles/mine.yaml", &spoilt)
                .and_then(|()| match kind {
                    Kind::Board => catalog.board("mine").map(drop),
                    _ => catalog.layout("mine").map(drop),
                });
            if let Err(error) = result {
                assert!(
                    error.to_string().starts_with("profiles/mine.yaml:")
                        || error.to_string().contains("there is no")
                );
            }
        }
    }
}

#[test]
fn large_clusters_are_read_and_endless_ones_refused() {
    let head = "name: lab\nid: 7c1f0a52-3b0e-4c8b-9a55-0d8f6f3a1e01\nos: debian-13\nkubernetes: { distribution: kubeadm, version: v1.36.3 }\n\
                network: { subnet: 10.0.0.0/8, gateway: 10.0.0.1, pods: 172.0.0.0/9, services: 192.168.0.0/16 }\n\
                users: [{ name: me, sudo: true, ssh_keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIABlOcBMddiKzm5nnTEJPs9MNvNNanpaFCwQiPyP1gMD] }]\n\
                defaults: { board: uefi-amd64, disk: { transport: nvme } }\nnodes:\n";
    let cluster = |nodes: u32| {
        let mut text = head.to_owned();
        for i in 0..nodes {
            let role = if i == 0 { "control-plane" } else { "worker" };
            let [_, a, b, c] = (i + 256).to_be_bytes();
            text.push_str(&format!(
                "  - {{ name: n{i}, role: {role}, address: 10.{a}.{b}.{c}, mac: \"02:00:00:{a:02x}:{b:02x}:{c:02x}\" }}\n"
            ));
        }
        text
    };
    let catalog = Catalog::embedded();
    let (large, findings) = check::read(&cluster(5000), &catalog).unwrap();
    assert_eq!((large.nodes.len(), findings.len()), (5000, 0));
    let findings = check::read(&cluster(6000), &catalog).unwrap_err();
    assert_eq!(findings.len(), 1);
    assert_eq!(
        (findings[0].message.as_str(), findings[0].position.line),
        ("there are more than 5000 of these", 5009)
    );
    // All wrong at once: shown in part, counted in whole.
    let text = cluster(5000).replace("role: worker, address: 10.", "role: worker, address: 11.");
    let findings = check::read(&text, &catalog).unwrap_err();
    assert_eq!(findings.len(), 4999);
    let shown = check::render(&findings, "cluster.yaml", &text);
    assert!(shown.ends_with("the first 50 of 4999; 4999 errors, 0 warnings\n"));
}
