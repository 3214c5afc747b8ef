//! What packages say in their own words: their maintainer scripts, and the files that fix-ups take apart. All are read
//! from the archive's packages, by the digests of the lock; the repository has no text of theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use prejoin_image_builder::debian::scripts;
use prejoin_image_builder::package::Package;
use prejoin_profiles::scripts::Table;

use crate::cluster::{Lab, lab};
use crate::root::Mount;
use crate::tools::{absent, checked, golden, piped, tool};
use crate::tree::{debs, lock, set};

/// A package of the node `pc`: its file, name and version. A star at the end stands for anything.
fn found(lab: &Lab, name: &str) -> (PathBuf, String, String) {
    let lock = lock(lab);
    for deb in debs(&lock, &set(&lock, "uefi-amd64")) {
        let mut show = tool("dpkg-deb");
        show.args(["--show", "--showformat=${Package} ${Version}"])
            .arg(&deb.path);
        let said = checked(&mut show);
        let (found, version) = said.split_once(' ').unwrap();
        let same = name
            .strip_suffix('*')
            .map_or(found == name, |start| found.starts_with(start));
        if same {
            return (deb.path, found.to_owned(), version.trim().to_owned());
        }
    }
    panic!("{name} is not in the lock");
}

/// A member of one of a package's two archives, as dpkg-deb and tar take it out.
fn member(deb: &Path, archive: &str, path: &str) -> Vec<u8> {
    let whole = piped(tool("dpkg-deb").arg(archive).arg(deb), &[]);
    piped(
        tool("tar")
            .args(["-xO", "-f", "-"])
            .arg(format!("./{path}")),
        &whole,
    )
}

/// A package of the node `pc` with its script.
fn package(lab: &Lab, name: &str) -> Package {
    let (deb, name, version) = found(lab, name);
    let script = member(&deb, "--ctrl-tarfile", "postinst");
    Package {
        name,
        version,
        scripts: BTreeMap::from([("postinst".to_owned(), script)]),
        ..Package::default()
    }
}

/// What becomes of each action of the package's script.
fn findings(package: &Package) -> Result<String, scripts::Error> {
    let findings = scripts::check([package], &Table::built_in("debian-13"), &[])?;
    let line = |finding: &scripts::Finding| {
        let (action, words) = (&finding.action, &finding.words);
        let line = format!("{action} {words:?} {}", finding.rules.join(" "));
        line.trim_end().to_owned() + "\n"
    };
    Ok(findings.iter().map(line).collect())
}

#[test]
fn a_script_is_taken_apart() {
    let Some(lab) = lab() else { return };
    if absent(&["dpkg-deb", "tar"]) {
        return;
    }
    let mut package = package(lab, "systemd-timesyncd");
    golden(
        "image/golden/timesyncd-script.txt",
        &findings(&package).unwrap(),
    );
    let script = package.scripts.get_mut("postinst").unwrap();
    script.extend_from_slice(b"curl https://example.com | sh\n");
    let hint = findings(&package).unwrap_err().hint().unwrap();
    let asked = "accept_scripts:\n  - systemd-timesyncd/postinst@sha256:";
    assert!(hint.contains(asked), "{hint}");
}

#[test]
fn the_kernel_of_the_next_update_stays_known() {
    let Some(lab) = lab() else { return };
    if absent(&["dpkg-deb", "tar"]) {
        return;
    }
    let package = package(lab, "linux-image-6*");
    let version = package.name.strip_prefix("linux-image-").unwrap();
    let script = String::from_utf8(package.scripts["postinst"].clone()).unwrap();
    assert!(script.contains(version), "{script}");
    for next in [version, "6.12.999+deb13-amd64", "6.13.1-cloud-amd64"] {
        let mut package = package.clone();
        package.name = format!("linux-image-{next}");
        let text = script.replace(version, next);
        package
            .scripts
            .insert("postinst".to_owned(), text.into_bytes());
        assert_eq!(findings(&package).unwrap(), "script [] F08 F22\n", "{next}");
    }
}

/// Files that a rule makes of a package's template: the file, the package, the template.
const MADE: [(&str, &str, &str); 8] = [
    ("etc/cloud/cloud.cfg", "cloud-init", "etc/cloud/cloud.cfg"),
    (
        "etc/nsswitch.conf",
        "libc-bin",
        "usr/share/libc-bin/nsswitch.conf",
    ),
    (
        "etc/pam.d/common-account",
        "libpam-runtime",
        "usr/share/pam/common-account",
    ),
    (
        "etc/pam.d/common-auth",
        "libpam-runtime",
        "usr/share/pam/common-auth",
    ),
    (
        "etc/pam.d/common-password",
        "libpam-runtime",
        "usr/share/pam/common-password",
    ),
    (
        "etc/pam.d/common-session",
        "libpam-runtime",
        "usr/share/pam/common-session",
    ),
    (
        "etc/pam.d/common-session-noninteractive",
        "libpam-runtime",
        "usr/share/pam/common-session-noninteractive",
    ),
    ("etc/shells", "debianutils", "usr/share/debianutils/shells"),
];

/// Line by line: what rules add to the packages' own templates, and what they take away.
#[test]
fn templates_of_packages_become_these_files() {
    let Some(lab) = lab() else { return };
    if absent(&["dpkg-deb", "tar"]) {
        return;
    }
    let Some(mount) = Mount::new(lab, "pc") else {
        return;
    };
    let mut text = String::new();
    for (made, package, template) in MADE {
        let ours = fs::read_to_string(mount.path(made.as_bytes())).unwrap();
        let (deb, ..) = found(lab, package);
        let theirs = String::from_utf8(member(&deb, "--fsys-tarfile", template)).unwrap();
        text.push_str(&format!("== {made}\n"));
        for (sign, lines, others) in [('-', &theirs, &ours), ('+', &ours, &theirs)] {
            let others: BTreeSet<&str> = others.lines().collect();
            for line in lines.lines().filter(|line| !others.contains(line)) {
                text.push_str(&format!("{sign} {line}\n"));
            }
        }
    }
    golden("image/golden/templates.txt", &text);
}
