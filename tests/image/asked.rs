//! Packages that somebody asks for by name work: with their libraries, accounts, names of programs and data, whole,
//! and instead of what they replace. One of each kind, from Debian's archive, run in their own image.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::cluster::{Lab, lab};
use crate::root::Mount;
use crate::tools::{checked, folder, said, tool, tried};

const CLUSTER: &str = "name: asked
id: 7c1f0a52-3b0e-4c8b-9a55-0d8f6f3a1e01
os: debian-13
kubernetes: { distribution: none }
network: { subnet: 10.0.2.0/24, gateway: 10.0.2.2, ntp: [10.0.2.2] }
users: [{ name: tester, sudo: true, ssh_keys: [KEY] }]
defaults: { board: uefi-amd64, disk: { min_size: 20 GB } }
nodes:
  - { name: one, address: 10.0.2.15, mac: \"52:54:00:12:34:15\" }
packages: [PACKAGES]
";

/// A lab of this name whose node has these packages, locked.
fn locked(name: &str, packages: &str) -> Option<(Lab, std::process::Output)> {
    let key = fs::read_to_string(lab()?.key().with_extension("pub")).unwrap();
    let asked = Lab {
        folder: folder(name),
    };
    let text = CLUSTER
        .replace("KEY", &format!("{:?}", key.trim()))
        .replace("PACKAGES", packages);
    fs::write(asked.folder.join("cluster.yaml"), text).unwrap();
    let output = asked.prejoin("lock").output().unwrap();
    Some((asked, output))
}

#[test]
fn packages_asked_for_by_name_work() {
    let Some((asked, output)) = locked("asked-work", "chrony, cron, curl, vim") else {
        return;
    };
    assert!(output.status.success(), "{}", said(&output));
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(
        talk.contains("chrony takes the place of systemd-timesyncd"),
        "{talk}"
    );
    checked(&mut asked.prejoin("build"));
    checked(&mut asked.prejoin("export one --format raw"));
    let Some(mount) = Mount::new(&asked, "one") else {
        return;
    };
    let there = |path: &str| fs::symlink_metadata(mount.path(path.as_bytes())).is_ok();

    // The one that was asked for, and nothing of the other.
    assert!(there(
        "etc/systemd/system/multi-user.target.wants/chrony.service"
    ));
    assert!(!there("usr/lib/systemd/systemd-timesyncd"));
    // A group that no profile numbers: the lock does, and the program that needs it belongs to it.
    let lock = prejoin_profiles::lock::Lock::parse(
        &fs::read_to_string(asked.folder.join("prejoin.lock")).unwrap(),
    )
    .unwrap();
    let crontab = fs::metadata(mount.path(b"usr/bin/crontab")).unwrap();
    assert_eq!(crontab.mode() & 0o7777, 0o2755);
    assert_eq!(crontab.gid(), lock.ids.groups["crontab"]);
    assert!(there(
        "etc/systemd/system/multi-user.target.wants/cron.service"
    ));
    assert!(there("etc/cron.d/.placeholder"), "what cron reads is there");
    // Names that update-alternatives would have made, and data that the base leaves out.
    for name in ["vim", "vi", "editor"] {
        let target = fs::read_link(mount.path(format!("usr/bin/{name}").as_bytes())).unwrap();
        assert_eq!(target, Path::new("vim.basic"), "{name}");
    }
    assert!(there("usr/share/vim/vim91/syntax/yaml.vim"));
    assert!(there("usr/share/doc/curl/changelog.Debian.gz"), "whole");
    assert!(!there("usr/share/doc/bash/changelog.Debian.gz"));

    run(&mount, "curl --version", "OpenLDAP");
    run(&mount, "chronyd --version", "chronyd (chrony) version");
    run(&mount, "vim --version", "VIM - Vi IMproved");
    run(&mount, "awk 'BEGIN{print 1}'", "1");
}

/// Runs a program in the image, which is mounted read-only, with the kernel's folders and without a network.
fn run(mount: &Mount, words: &str, expected: &str) {
    let inside = "mount --bind /dev $1/dev; mount -t proc proc $1/proc; mount -t tmpfs run $1/run; \
                  exec chroot $1 /bin/sh -c \"$2\"";
    let mut unshare = tool("unshare");
    unshare.args(["--mount", "--net", "sh", "-c", inside, "sh"]);
    let (done, said) = tried(unshare.arg(mount.path(b"")).arg(words));
    assert!(done && said.contains(expected), "{words}: {said}");
}

#[test]
fn a_number_once_given_stays() {
    let Some((asked, output)) = locked("asked-number", "cron") else {
        return;
    };
    assert!(output.status.success(), "{}", said(&output));
    let path = asked.folder.join("prejoin.lock");
    let text = fs::read_to_string(&path).unwrap();
    let given = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("crontab: "))
        .unwrap();
    // As if it had been given to avoid another account's.
    fs::write(
        &path,
        text.replace(&format!("crontab: {given}"), "crontab: 777"),
    )
    .unwrap();
    for packages in ["cron, htop", "htop", "cron"] {
        let (_, output) = locked("asked-number", packages).unwrap();
        assert!(output.status.success(), "{}", said(&output));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("crontab: 777"), "{packages}: {text}");
    }
    fs::remove_file(&path).unwrap();
}

#[test]
fn what_nobody_gets_is_said_by_lock() {
    let Some((_, output)) = locked("asked-refused", "unattended-upgrades") else {
        return;
    };
    let text = said(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(
        text.contains("package unattended-upgrades: nothing is installed on a node"),
        "{text}"
    );
}
