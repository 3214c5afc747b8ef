//! The house's own rules: which crate may use which, and where unsafe code may be.
#![expect(
    clippy::disallowed_methods,
    reason = "tests run programs and read files"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Every allowed edge between our crates (docs/architecture.md, "Dependency rules").
const ALLOWED: &[(&str, &[&str])] = &[
    ("prejoin-wire", &[]),
    ("prejoin-formats", &[]),
    ("prejoin-sys", &[]),
    ("prejoin-store", &["prejoin-formats", "prejoin-wire"]),
    ("prejoin-profiles", &["prejoin-wire"]),
    ("prejoin-identity", &["prejoin-profiles", "prejoin-wire"]),
    ("prejoin-boot", &["prejoin-profiles", "prejoin-wire"]),
    (
        "prejoin-disk",
        &["prejoin-formats", "prejoin-sys", "prejoin-wire"],
    ),
    (
        "prejoin-image-builder",
        &[
            "prejoin-boot",
            "prejoin-formats",
            "prejoin-profiles",
            "prejoin-store",
            "prejoin-wire",
        ],
    ),
    (
        "prejoin-netboot",
        &[
            "prejoin-boot",
            "prejoin-profiles",
            "prejoin-store",
            "prejoin-wire",
        ],
    ),
    (
        "prejoin-agent",
        &[
            "prejoin-disk",
            "prejoin-formats",
            "prejoin-sys",
            "prejoin-wire",
        ],
    ),
    (
        "prejoin",
        &[
            "prejoin-boot",
            "prejoin-disk",
            "prejoin-formats",
            "prejoin-identity",
            "prejoin-image-builder",
            "prejoin-netboot",
            "prejoin-profiles",
            "prejoin-store",
            "prejoin-wire",
        ],
    ),
];

/// Licences that may be linked into a permissive program.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "bzip2-1.0.6",
];

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

#[test]
fn crates_use_only_whom_they_may() {
    let allowed: BTreeMap<&str, BTreeSet<&str>> = ALLOWED
        .iter()
        .map(|(name, uses)| (*name, uses.iter().copied().collect()))
        .collect();
    let mut seen = BTreeSet::new();
    for package in metadata()["packages"].as_array().expect("a list") {
        let name = package["name"].as_str().expect("a name");
        if !name.starts_with("prejoin") {
            continue;
        }
        seen.insert(name.to_owned());
        let allowed = allowed
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not in the table of dependency rules"));
        for dependency in package["dependencies"].as_array().expect("a list") {
            let uses = dependency["name"].as_str().expect("a name");
            let for_tests = dependency["kind"] == "dev";
            assert!(
                !uses.starts_with("prejoin") || for_tests || allowed.contains(uses),
                "{name} must not use {uses}"
            );
        }
    }
    let table: BTreeSet<String> = allowed.keys().map(|name| (*name).to_owned()).collect();
    assert_eq!(
        seen, table,
        "the table and the workspace name different crates"
    );
}

#[test]
fn every_dependency_may_be_linked() {
    for package in metadata()["packages"].as_array().expect("a list") {
        let licence = package["license"].as_str().unwrap_or("none");
        // `A AND B` needs both, `A OR B` one; parentheses never nest deeper in what crates declare.
        let fits = licence
            .replace(['(', ')'], "")
            .replace('/', " OR ")
            .split(" AND ")
            .all(|group| {
                group
                    .split(" OR ")
                    .any(|one| LICENCES.contains(&one.split(" WITH ").next().unwrap_or(one).trim()))
            });
        assert!(
            fits,
            "{} {} has licence {licence}",
            package["name"], package["version"]
        );
    }
}

/// The agent is static on both architectures, without a C compiler: nothing that it links may build or link C.
#[test]
fn the_agent_links_no_c_code() {
    let tree = |package: &str| {
        let arguments = [
            "tree",
            "--locked",
            "--edges=normal",
            "--prefix=none",
            "--format={p} {f}",
            "--package",
            package,
        ];
        let output = Command::new(env!("CARGO"))
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output();
        let output = output.expect("cargo runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("cargo prints UTF-8")
    };
    let metadata = metadata();
    let links = |name: &str| {
        let package = metadata["packages"]
            .as_array()
            .expect("a list")
            .iter()
            .find(|package| package["name"] == name);
        package.is_some_and(|package| !package["links"].is_null())
    };
    for package in ["prejoin-agent", "prejoin-disk"] {
        let tree = tree(package);
        let names: Vec<&str> = tree
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        assert!(names.contains(&"sha2"), "{names:?}");
        let pure = tree
            .lines()
            .any(|line| line.starts_with("blake3 ") && line.contains("pure"));
        assert!(
            pure || package != "prejoin-agent",
            "blake3 compiles C unless it is `pure`:\n{tree}"
        );
        for name in names {
            // The standard library's own interface to the kernel.
            assert!(!links(name) || name == "libc", "{package} links {name}");
            assert!(
                !name.ends_with("-sys") || name == "linux-raw-sys" || name == "prejoin-sys",
                "{package} uses {name}"
            );
        }
    }
}

#[test]
fn unsafe_code_has_one_home() {
    let output = Command::new("git")
        .args([
            "grep",
            "-nE",
            r"^\s*(pub )?unsafe |unsafe \{|allow\(unsafe_code",
            "--",
            "*.rs",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("git runs");
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let home = line.starts_with("firmware/sys/") || line.starts_with("tests/architecture.rs");
        assert!(home, "unsafe code outside firmware/sys: {line}");
    }
}

/// Whoever lands something does not draw lots: proptest's seed is fixed for `cargo test` (`.cargo/config.toml`).
#[test]
fn property_tests_draw_the_same_cases_each_time() {
    let seed = std::env::var("PROPTEST_RNG_SEED").expect("no seed is set");
    seed.parse::<u64>().expect("proptest takes a number");
}

/// Phrases that licences put at the head of a file, and what Debian's tools leave in a script. They are in two halves,
/// so that this file has none of them.
const FOREIGN: [(&str, &str); 8] = [
    ("SPDX-License", "-Identifier"),
    ("free software; ", "you can redistribute"),
    ("under the terms of ", "the GNU"),
    ("Licensed under ", "the Apache License"),
    ("Permission is ", "hereby granted"),
    ("All rights ", "reserved"),
    ("This file is ", "part of "),
    ("#DEB", "HELPER#"),
];

/// The tree is under its two licences as a whole: what somebody else wrote is fetched when a test runs, not kept.
#[test]
fn every_text_is_ours() {
    let output = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("git runs");
    let names = String::from_utf8(output.stdout).expect("our names are UTF-8");
    let mut seen = 0;
    for name in names.split_terminator('\0') {
        if name.starts_with("LICENSE-") {
            continue;
        }
        // A file that is removed but not yet committed.
        let Ok(bytes) = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/").to_owned() + name)
        else {
            continue;
        };
        seen += 1;
        for line in String::from_utf8_lossy(&bytes).lines() {
            assert!(!foreign(line), "{name} is somebody else's: {line}");
        }
    }
    assert!(seen > 500, "only {seen} files were looked at");
}

/// Whether a line says that the file is somebody else's.
fn foreign(line: &str) -> bool {
    FOREIGN
        .iter()
        .any(|(start, end)| line.split(start).skip(1).any(|rest| rest.starts_with(end)))
        || holder(line)
        || generated(line)
}

/// The word for it followed by a year, a sign or a name, not by other words.
fn holder(line: &str) -> bool {
    let lower = line.to_lowercase();
    lower.split("copyright").skip(1).any(|rest| {
        let rest = rest.trim_start_matches([' ', '\t', ':']);
        let year = rest.split(|letter: char| !letter.is_ascii_digit()).next();
        rest.starts_with("(c)")
            || rest.starts_with('\u{a9}')
            || year.is_some_and(|year| year.len() == 4)
            || (rest.starts_with("the ") && rest.contains("author"))
    })
}

/// The mark of a debhelper program with its whole version: ours name none, or a short one.
fn generated(line: &str) -> bool {
    let Some((_, mark)) = line.split_once("Automatically added by dh_") else {
        return false;
    };
    let version = mark.split_once('/').map_or("", |(_, version)| version);
    let numbers = version
        .split('.')
        .filter(|number| number.starts_with(|letter: char| letter.is_ascii_digit()));
    numbers.count() > 2
}

#[test]
fn somebody_elses_lines_are_recognised() {
    for (line, expected) in [
        ("# C.pyright \u{a9} 2003 Somebody", true),
        ("// c.pyright (C) Somebody", true),
        ("C.pyright: 2020, Somebody", true),
        ("# C.pyright The Example Authors.", true),
        ("keep: [usr/share/doc/*/c.pyright]", false),
        ("# Automatically added by d._installsystemd/13.24.2", true),
        ("# Automatically added by d._installsystemd/13", false),
    ] {
        // With the letter that keeps this file from being found.
        let line = line
            .replace("c.p", "cop")
            .replace("C.p", "Cop")
            .replace("d._", "dh_");
        assert_eq!(foreign(&line), expected, "{line}");
    }
    for (start, end) in FOREIGN {
        assert!(foreign(&format!("#  {start}{end}")), "{start}");
    }
}
