//! Every fix-up on what it reads of packages shaped as Debian 13's, compared with golden text and judged by other
//! programs. `tests/image` does the same with the packages themselves.
//!
//! `PREJOIN_BLESS=1` rewrites the golden text.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests read golden text and run other programs"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use prejoin_formats::tree::{Entry, Kind, NoContents, Tree};
use prejoin_image_builder::package::Package;
use prejoin_image_builder::tree::fixups::{self, Cause, Context, RULES, Root};
use prejoin_profiles::distribution::System;
use prejoin_profiles::os::Os;
use prejoin_wire::architecture::Architecture;

const INPUTS: &str = include_str!("fixups/packages.txt");
const EPOCH: i64 = 1_763_000_000;

/// Files that are compared as a whole.
const WHOLE: &[&str] = &[
    "etc/passwd",
    "etc/group",
    "etc/shadow",
    "etc/gshadow",
    "usr/lib/sysusers.d/00-image-pinned.conf",
    "etc/nsswitch.conf",
    "etc/pam.d/common-auth",
    "etc/pam.d/common-account",
    "etc/pam.d/common-password",
    "etc/pam.d/common-session",
    "etc/pam.d/common-session-noninteractive",
    "etc/shells",
    "etc/ca-certificates.conf",
    "etc/cloud/cloud.cfg",
    "etc/containerd/config.toml",
    "usr/lib/tmpfiles.d/00-image-var.conf",
    "usr/lib/os-release",
];

/// The packages, and the tree of their payloads.
fn inputs() -> (BTreeMap<String, Package>, Tree) {
    let (mut packages, mut tree) = (BTreeMap::new(), Tree::new());
    let mut sections = INPUTS.split("#### ");
    sections.next();
    for section in sections {
        let (head, text) = section.split_once('\n').unwrap();
        let [package, path, mode] = head.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
        let entry = match (mode.strip_prefix("-> "), path.ends_with('/')) {
            (Some(target), _) => Entry::symlink(target),
            (None, true) => Entry::directory(u16::from_str_radix(mode, 8).unwrap()),
            (None, false) => Entry::file(text.as_bytes(), u16::from_str_radix(mode, 8).unwrap()),
        };
        let path = path.trim_end_matches('/').as_bytes().to_vec();
        tree.insert(&path, entry.clone());
        packages
            .entry(package.to_owned())
            .or_insert_with(|| self::package(package))
            .entries
            .push((path, entry));
    }
    for (link, target) in [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib")] {
        tree.insert(link, Entry::symlink(target));
    }
    (packages, tree)
}

fn package(name: &str) -> Package {
    Package {
        name: name.to_owned(),
        version: "1".into(),
        architecture: "amd64".into(),
        control: format!(
            "Package: {name}\nVersion: 1\nArchitecture: amd64\nMaintainer: nobody\nDescription: test\n"
        ),
        conffiles: Vec::new(),
        scripts: BTreeMap::new(),
        entries: Vec::new(),
        modules: Vec::new(),
        libraries: BTreeMap::new(),
    }
}

fn apply(packages: &BTreeMap<String, Package>, tree: Tree) -> Result<Root<'static>, fixups::Error> {
    let os = System::default().over(Os::built_in("debian-13").unwrap());
    let packages: Vec<&Package> = packages.values().collect();
    let context = Context {
        os: &os,
        board: "test",
        architecture: Architecture::Amd64,
        epoch: EPOCH,
        packages: &packages,
    };
    let mut root = Root::new(tree, &NoContents, EPOCH);
    let applied = fixups::apply(&mut root, &context)?;
    assert_eq!(applied.len(), RULES.len());
    Ok(root)
}

fn fixed() -> Tree {
    let (packages, tree) = inputs();
    apply(&packages, tree).unwrap().into_tree()
}

fn text(tree: &Tree, path: &str) -> String {
    match &tree.entry(path).unwrap_or_else(|| panic!("no {path}")).kind {
        Kind::File(content) => String::from_utf8(content.read(&NoContents).unwrap()).unwrap(),
        other => panic!("{path} is {other:?}"),
    }
}

fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixups")
        .join(name);
    if std::env::var_os("PREJOIN_BLESS").is_some() {
        fs::write(&path, found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap();
    for (number, (expected, found)) in expected.lines().zip(found.lines()).enumerate() {
        assert_eq!(found, expected, "{name}, line {}", number + 1);
    }
    assert_eq!(found.len(), expected.len(), "{name}");
}

#[test]
fn the_whole_tree_is_as_expected() {
    let mut listing = String::new();
    for (path, entry) in fixed().iter() {
        let path = String::from_utf8_lossy(path);
        let Entry { mode, uid, gid, .. } = entry;
        let _ = match &entry.kind {
            Kind::Symlink(target) => {
                writeln!(listing, "/{path} -> {}", String::from_utf8_lossy(target))
            }
            Kind::Directory => writeln!(listing, "/{path}/ {mode:04o} {uid}:{gid}"),
            _ => writeln!(listing, "/{path} {mode:04o} {uid}:{gid}"),
        };
    }
    golden("tree.txt", &listing);
}

#[test]
fn generated_files_are_as_expected() {
    let tree = fixed();
    let whole: String = WHOLE
        .iter()
        .map(|path| format!("#### {path}\n{}", text(&tree, path)))
        .collect();
    golden("files.txt", &whole);
}

#[test]
fn the_same_input_gives_the_same_tree() {
    let tree = fixed();
    assert_eq!(tree, fixed());
    assert!(tree.iter().all(|(_, entry)| entry.mtime <= EPOCH));
}

#[test]
fn a_user_may_have_fewer_packages() {
    let (mut packages, tree) = inputs();
    let mut needed = Vec::new();
    for gone in packages.keys().cloned().collect::<Vec<_>>() {
        let mut tree = tree.clone();
        let package = packages.remove(&gone).unwrap();
        for (path, _) in package.entries.iter().rev() {
            if !matches!(tree.entry(path).unwrap().kind, Kind::Directory) {
                tree.remove(path);
            }
        }
        if let Err(error) = apply(&packages, tree) {
            needed.push(format!("{gone}: {}", error.cause));
        }
        packages.insert(gone, package);
    }
    // Without account files there are no owners to give to files.
    assert_eq!(
        needed,
        ["base-passwd: there is no group `_ssh` (usr/bin/ssh-agent)"]
    );
}

#[test]
fn a_package_without_its_files_is_an_error() {
    for (path, package) in [
        ("usr/share/base-passwd/passwd.master", "base-passwd"),
        ("usr/share/openssh/sshd_config", "openssh-server"),
        (
            "usr/lib/systemd/system-generators/systemd-gpt-auto-generator",
            "systemd",
        ),
        ("usr/bin/nc.openbsd", "netcat-openbsd"),
        ("etc/sudoers", "sudo"),
        ("etc/cloud/cloud.cfg", "cloud-init"),
    ] {
        let (packages, mut tree) = inputs();
        tree.remove(path);
        match apply(&packages, tree)
            .map(|_| ())
            .map_err(|error| error.cause)
        {
            Err(Cause::Input {
                package: named,
                path: missing,
            }) => {
                assert_eq!((named.as_str(), missing.as_str()), (package, path));
            }
            other => panic!("without {path}: {other:?}"),
        }
    }
}

/// Whether a program can be run; on CI it must be there.
fn there(program: &str) -> bool {
    let found = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"]
        .iter()
        .any(|folder| Path::new(folder).join(program).exists());
    assert!(
        found || std::env::var_os("CI").is_none_or(|value| value != "true"),
        "{program} is not installed"
    );
    if !found {
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            format!("SKIPPED: no {program}\n").as_bytes(),
        );
    }
    found
}

fn run(command: &mut Command) -> String {
    let path = format!(
        "/usr/sbin:/sbin:{}",
        std::env::var("PATH").unwrap_or_default()
    );
    let output = command
        .env("PATH", path)
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{text}",
        output.status
    );
    text
}

#[test]
fn pwck_and_grpck_find_nothing() {
    if !there("pwck") || !there("grpck") {
        return;
    }
    let (tree, folder) = (fixed(), tempfile::tempdir().unwrap());
    let file = |name: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text(&tree, &format!("etc/{name}"))).unwrap();
        path
    };
    run(Command::new("pwck")
        .args(["-r", "-q"])
        .arg(file("passwd"))
        .arg(file("shadow")));
    run(Command::new("grpck")
        .arg("-r")
        .arg(file("group"))
        .arg(file("gshadow")));
}

/// systemd-sysusers, given only the pinned file, must come to the same accounts on a node that has none of them.
#[test]
fn systemd_sysusers_makes_the_same_accounts() {
    if !there("systemd-sysusers") {
        return;
    }
    let (tree, folder) = (fixed(), tempfile::tempdir().unwrap());
    let (etc, data) = (
        folder.path().join("etc"),
        folder.path().join("usr/lib/sysusers.d"),
    );
    fs::create_dir_all(&etc).unwrap();
    fs::create_dir_all(&data).unwrap();
    // Versions before 257 do not know the modifier.
    let pinned = text(&tree, "usr/lib/sysusers.d/00-image-pinned.conf").replace("\nu! ", "\nu ");
    fs::write(data.join("00-image-pinned.conf"), &pinned).unwrap();
    let names: Vec<&str> = pinned
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .collect();
    let (mut ours, mut masters) = (BTreeMap::new(), BTreeMap::new());
    for file in ["passwd", "group"] {
        let all = text(&tree, &format!("etc/{file}"));
        let made = |line: &&str| names.contains(&line.split(':').next().unwrap());
        ours.insert(file, sorted(&all));
        masters.insert(
            file,
            all.lines()
                .filter(|line| !made(line))
                .map(|line| format!("{line}\n"))
                .collect::<String>(),
        );
        fs::write(etc.join(file), &masters[file]).unwrap();
    }
    assert_ne!(sorted(&masters["passwd"]), ours["passwd"]);
    run(Command::new("systemd-sysusers").arg(format!("--root={}", folder.path().display())));
    for (file, ours) in ours {
        assert_eq!(
            sorted(&fs::read_to_string(etc.join(file)).unwrap()),
            ours,
            "{file}"
        );
    }
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn openssl_makes_the_same_hash_links() {
    if !there("openssl") {
        return;
    }
    let (tree, folder) = (fixed(), tempfile::tempdir().unwrap());
    let mut ours = BTreeMap::new();
    for (name, entry) in tree.children(b"etc/ssl/certs") {
        let name = std::str::from_utf8(name).unwrap();
        let Kind::Symlink(target) = &entry.kind else {
            continue;
        };
        let target = std::str::from_utf8(target).unwrap();
        match target.strip_prefix('/') {
            Some(target) => fs::write(folder.path().join(name), text(&tree, target)).unwrap(),
            None => assert!(ours.insert(name.to_owned(), target.to_owned()).is_none()),
        }
    }
    assert_eq!(ours.len(), 5);
    run(Command::new("openssl").arg("rehash").arg(folder.path()));
    let mut theirs = BTreeMap::new();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if let Ok(target) = fs::read_link(&path) {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            theirs.insert(name, target.to_str().unwrap().to_owned());
        }
    }
    assert_eq!(ours, theirs);
}

#[test]
fn dpkg_reads_the_database() {
    if !there("dpkg-query") {
        return;
    }
    let (tree, folder) = (fixed(), tempfile::tempdir().unwrap());
    for (path, entry) in tree.below("usr/lib/sysimage/dpkg") {
        let path = std::str::from_utf8(path).unwrap();
        let out = folder.path().join(&path["usr/lib/sysimage/dpkg/".len()..]);
        match entry.kind {
            Kind::Directory => fs::create_dir_all(out).unwrap(),
            _ => fs::write(out, text(&tree, path)).unwrap(),
        }
    }
    let query = |arguments: &[&str]| {
        run(Command::new("dpkg-query")
            .arg(format!("--admindir={}", folder.path().display()))
            .args(arguments))
    };
    let shown = query(&["--show", "--showformat=${Package} ${db:Status-Abbrev}\n"]);
    let (packages, _) = inputs();
    assert_eq!(
        shown,
        packages
            .keys()
            .map(|name| format!("{name} ii \n"))
            .collect::<String>()
    );
    assert_eq!(
        query(&["--search", "/usr/bin/nc.openbsd"]),
        "netcat-openbsd: /usr/bin/nc.openbsd\n"
    );
}
