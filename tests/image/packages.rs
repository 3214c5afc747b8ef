//! The root file system against its packages, unpacked by Debian's own tool, and the bill of materials.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::cluster::{NODES, lab};
use crate::root::{Mount, content};
use crate::tools::{absent, checked, folder, golden, tool};
use crate::tree::{debs, lock, set};

#[test]
fn files_are_those_of_their_packages() {
    let Some(lab) = lab() else { return };
    if absent(&["dpkg-deb"]) {
        return;
    }
    let Some(mount) = Mount::new(lab, "pc") else {
        return;
    };
    let lock = lock(lab);
    let unpacked = folder("unpacked");
    fs::remove_dir_all(&unpacked).unwrap();
    fs::create_dir_all(&unpacked).unwrap();
    // Where the merged directories lead, so that a package's `/lib` lands in `/usr/lib`.
    for name in ["bin", "sbin", "lib", "lib64"] {
        fs::create_dir_all(unpacked.join("usr").join(name)).unwrap();
        std::os::unix::fs::symlink(format!("usr/{name}"), unpacked.join(name)).unwrap();
    }
    let debs = debs(&lock, &set(&lock, "uefi-amd64"));
    for deb in &debs {
        let mut archive = tool("dpkg-deb");
        let mut files = archive
            .arg("--fsys-tarfile")
            .arg(&deb.path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut tar = tool("tar");
        tar.args([
            "-x",
            "-p",
            "--numeric-owner",
            "--keep-directory-symlink",
            "-C",
        ])
        .arg(&unpacked);
        tar.stdin(files.stdout.take().unwrap());
        checked(&mut tar);
        assert!(files.wait().unwrap().success(), "{}", deb.path.display());
    }

    let release = kernel(&mount);
    let (mut same, mut lists, mut linked, mut text) = (0, 0, 0, String::new());
    for (path, seen) in mount.walk() {
        if !seen.is_file() {
            continue;
        }
        let name = String::from_utf8(path.clone()).unwrap();
        let shown = name.replace(&release, "[KERNEL]");
        if name.starts_with("usr/lib/sysimage/dpkg/info/") && name.ends_with(".list") {
            lists += 1;
            continue;
        }
        // The second name under which scanners of an image find it.
        if let Some(file) = name.strip_prefix("var/lib/dpkg/") {
            let first = mount.path(format!("usr/lib/sysimage/dpkg/{file}").as_bytes());
            let first = fs::symlink_metadata(first).unwrap();
            assert_eq!((seen.ino(), seen.nlink()), (first.ino(), 2), "{name}");
            linked += 1;
            continue;
        }
        let original = unpacked.join(&name);
        let Some(bytes) = content(&original) else {
            text.push_str(&format!("made {shown}\n"));
            continue;
        };
        let kept = fs::symlink_metadata(&original).unwrap();
        if bytes != fs::read(mount.path(&path)).unwrap() {
            text.push_str(&format!("changed {shown}\n"));
        } else if (kept.mode(), kept.uid(), kept.gid()) != (seen.mode(), seen.uid(), seen.gid()) {
            text.push_str(&format!(
                "access of {shown}: {:o} {}:{}\n",
                seen.mode() & 0o7777,
                seen.uid(),
                seen.gid()
            ));
        } else {
            same += 1;
        }
    }
    assert!(same > 3000, "{same} files are as in their packages");
    assert_eq!(lists, debs.len(), "dpkg's database lists every package");
    assert!(
        linked > lists,
        "{linked} files of the database are where scanners look"
    );
    golden("image/golden/made-or-changed.txt", &text);
}

/// The kernel's release.
fn kernel(mount: &Mount) -> String {
    let entry = fs::read_dir(mount.path(b"usr/lib/modules"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    entry.file_name().into_string().unwrap()
}

#[test]
fn the_bill_of_materials_is_complete() {
    let Some(lab) = lab() else { return };
    let lock = lock(lab);
    for node in NODES {
        let manifest = lab.manifest(node);
        let set = set(&lock, &manifest.board);
        let text = fs::read(bill(&lab.folder.join("out"), &set)).unwrap();
        let bill: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(bill["spdxVersion"], "SPDX-2.3");
        let listed: BTreeMap<String, String> = bill["packages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| {
                (
                    p["name"].as_str().unwrap().to_owned(),
                    p["versionInfo"].as_str().unwrap().to_owned(),
                )
            })
            .collect();
        let wanted: BTreeSet<&str> = lock.sets[&set]
            .packages
            .iter()
            .map(|name| name.split([':', '=', ' ', '_']).next().unwrap())
            .collect();
        let found: BTreeSet<&str> = listed.keys().map(String::as_str).collect();
        assert_eq!(wanted, found, "{node}");
        assert!(listed.values().all(|version| !version.is_empty()), "{node}");
        let namespace = bill["documentNamespace"].as_str().unwrap();
        assert!(
            namespace.ends_with(&manifest.root_hash.to_string()),
            "{node}: {namespace}"
        );
    }
}

fn bill(out: &Path, set: &str) -> PathBuf {
    out.join(format!("{}.spdx.json", set.replace('/', "-")))
}
