//! The root file system as the kernel shows it: every path as it should be, and nothing that only one machine may have.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use prejoin_formats::tree::{Content, Contents, Entry, Kind};
use prejoin_profiles::timezones;
use prejoin_wire::digest::Digest;

use crate::cluster::{Lab, NODES, lab};
use crate::tools::{checked, folder, golden, line, skipped, tool, tried};
use crate::tree::{self, Expected};

/// A root file system mounted read-only until dropped.
pub struct Mount(PathBuf);

impl Mount {
    /// The kernel's mount of a node's root partition; none, loudly, where mounting is not allowed.
    pub fn new(lab: &Lab, node: &str) -> Option<Mount> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let at = folder(&format!(
            "mounts/{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        ));
        let partition = lab.extract(node, "root-a");
        let (mounted, said) = tried(&mut line(
            "mount -t ext4 -o ro,loop {} {}",
            &[&partition, &at],
        ));
        if !mounted {
            skipped(&format!("mounting needs root and loop devices: {said}"));
        }
        mounted.then_some(Mount(at))
    }

    /// A path in it.
    pub fn path(&self, path: &[u8]) -> PathBuf {
        self.0.join(OsStr::from_bytes(path))
    }

    /// Every path in it but its root, with what `lstat` says, in order.
    pub fn walk(&self) -> BTreeMap<Vec<u8>, Metadata> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let metadata = fs::symlink_metadata(&path).unwrap();
                if metadata.is_dir() {
                    folders.push(path.clone());
                }
                found.insert(
                    path.strip_prefix(&self.0)
                        .unwrap()
                        .as_os_str()
                        .as_bytes()
                        .to_vec(),
                    metadata,
                );
            }
        }
        found
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A program that another test is just starting may hold a file for a moment.
        let _ = tool("umount").arg("--lazy").arg(&self.0).status();
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn the_kernel_shows_every_path_as_planned() {
    let Some(lab) = lab() else { return };
    for node in NODES {
        let Some(mount) = Mount::new(lab, node) else {
            return;
        };
        let expected = tree::expected(lab, node);
        let found = mount.walk();
        let planned: BTreeSet<&[u8]> = expected.root.iter().skip(1).map(|(path, _)| path).collect();
        let shown: BTreeSet<&[u8]> = found
            .keys()
            .map(Vec::as_slice)
            .filter(|path| *path != b"lost+found")
            .collect();
        let difference: Vec<_> = planned
            .symmetric_difference(&shown)
            .map(|p| String::from_utf8_lossy(p))
            .collect();
        assert!(difference.is_empty(), "{node}: {difference:?}");
        for (path, entry) in expected.root.iter().skip(1) {
            compare(&mount, path, entry, &found[path], &expected);
        }
        // Extended attributes in one go: getfattr lists files that have any, and none is planned with any.
        assert!(
            expected
                .root
                .iter()
                .all(|(_, entry)| entry.xattrs.is_empty()),
            "{node}: attributes are planned"
        );
        let attributes = checked(
            tool("getfattr")
                .args(["-R", "-h", "-d", "-m", "-"])
                .arg(mount.path(b"")),
        );
        assert_eq!(
            attributes, "",
            "{node}: nobody asked for extended attributes"
        );
    }
}

fn compare(mount: &Mount, path: &[u8], entry: &Entry, seen: &Metadata, expected: &Expected) {
    let name = String::from_utf8_lossy(path);
    let entry = match &entry.kind {
        Kind::HardLink(target) => expected.root.entry(target).unwrap(),
        _ => entry,
    };
    assert_eq!(
        seen.mode() & 0o7777,
        u32::from(entry.mode),
        "mode of {name}"
    );
    assert_eq!(
        (seen.uid(), seen.gid()),
        (entry.uid, entry.gid),
        "owner of {name}"
    );
    assert_eq!(
        (seen.mtime(), seen.mtime_nsec()),
        (entry.mtime, 0),
        "time of {name}"
    );
    match &entry.kind {
        Kind::Directory => assert!(seen.is_dir(), "{name}"),
        Kind::Symlink(target) => {
            assert_eq!(
                fs::read_link(mount.path(path))
                    .unwrap()
                    .as_os_str()
                    .as_bytes(),
                target,
                "{name}"
            );
        }
        Kind::File(content) => {
            assert!(
                seen.is_file() && seen.len() == content.len(),
                "{name}: {} bytes",
                seen.len()
            );
            let mut bytes = Vec::new();
            fs::File::open(mount.path(path))
                .unwrap()
                .read_to_end(&mut bytes)
                .unwrap();
            let same = match content {
                Content::Bytes(planned) => planned[..] == bytes[..],
                Content::Blob { digest, .. } => Digest::of(&bytes).0 == *digest,
                other => other.read(&expected.contents.store).unwrap() == bytes,
            };
            assert!(same, "content of {name}");
        }
        other => panic!("{name} is {other:?}: no root file system needs one"),
    }
}

/// The contents are read by digest above; this is the other way to them, so that a wrong digest would be noticed.
#[test]
fn contents_are_what_their_digests_say() {
    let Some(lab) = lab() else { return };
    let expected = tree::expected(lab, "pc");
    let mut checked = 0;
    for (path, entry) in expected.root.iter() {
        if let Kind::File(Content::Blob { digest, size }) = &entry.kind {
            let mut bytes = vec![0; *size as usize];
            expected
                .contents
                .store
                .read_at(digest, 0, &mut bytes)
                .unwrap();
            assert_eq!(
                Digest::of(&bytes).0,
                *digest,
                "{}",
                String::from_utf8_lossy(path)
            );
            checked += 1;
        }
    }
    assert!(checked > 1000, "{checked} files");
}

/// What `prejoin check` takes for a time zone is one on the node.
#[test]
fn every_time_zone_that_the_check_knows_is_there() {
    let Some(lab) = lab() else { return };
    let expected = tree::expected(lab, "pc");
    for zone in timezones::names() {
        let path = format!("usr/share/zoneinfo/{zone}");
        assert!(expected.root.entry(path.as_bytes()).is_some(), "{zone}");
    }
}

#[test]
fn nothing_of_one_machine_and_nothing_of_the_build_is_in_it() {
    let Some(lab) = lab() else { return };
    let epoch = tree::lock(lab).epoch;
    for node in NODES {
        let Some(mount) = Mount::new(lab, node) else {
            return;
        };
        let mut privileged = String::new();
        for (path, seen) in mount.walk() {
            let name = String::from_utf8_lossy(&path).into_owned();
            assert!(seen.mtime() <= epoch, "{name} is newer than the image");
            let database = name == "var/lib" || name.starts_with("var/lib/dpkg");
            assert!(
                (!name.starts_with("var/") || database) && !name.starts_with("boot/"),
                "{name}"
            );
            let secret = name.contains("ssh_host_")
                || name.ends_with("/random-seed")
                || name.ends_with("credential.secret");
            assert!(!secret, "{name} must be made by each machine for itself");
            let mode = seen.mode();
            let writable = mode & 0o002 != 0 && !seen.is_symlink() && mode & 0o1000 == 0;
            assert!(!writable, "{name} can be written by everybody: {mode:o}");
            if mode & 0o6000 != 0 && seen.is_file() {
                privileged.push_str(&format!(
                    "{:04o} {}:{} {name}\n",
                    mode & 0o7777,
                    seen.uid(),
                    seen.gid()
                ));
            }
        }
        assert_eq!(
            fs::read(mount.path(b"etc/machine-id")).unwrap(),
            b"",
            "{node}: systemd fills it on the first start"
        );
        for id in [
            "var/lib/dbus/machine-id",
            "etc/iscsi/initiatorname.iscsi",
            "etc/nvme/hostid",
            "etc/hostid",
        ] {
            assert!(
                !mount.path(id.as_bytes()).exists(),
                "{node}: {id} belongs to one machine"
            );
        }
        let shadow = fs::read_to_string(mount.path(b"etc/shadow")).unwrap();
        for line in shadow.lines() {
            let password = line.split(':').nth(1).unwrap();
            assert!(
                password.starts_with(['*', '!']),
                "{node}: a password works for {line}"
            );
        }
        golden("image/golden/privileged.txt", &privileged);
    }
}

/// What no node uses, with whose return an update of Debian's, or a new dependency, would surprise us.
#[test]
fn what_is_left_out_stays_out() {
    let Some(lab) = lab() else { return };
    for node in NODES {
        let Some(mount) = Mount::new(lab, node) else {
            return;
        };
        let mut conversions = 0;
        for path in mount.walk().keys() {
            let name = String::from_utf8_lossy(path);
            let file = name.rsplit('/').next().unwrap();
            // networkd loads it by asking for nl80211, and it looks for regulatory.db.
            assert!(!file.starts_with("cfg80211.ko"), "{node}: {name}");
            assert!(
                !name.starts_with("usr/lib/raspi-firmware") && !file.ends_with("-runc-v1"),
                "{node}: {name}"
            );
            conversions += usize::from(name.contains("/gconv/") && name.ends_with(".so"));
        }
        assert!(
            (1..12).contains(&conversions),
            "{node}: {conversions} character sets"
        );
        let profiles = fs::read_dir(mount.path(b"etc/apparmor.d")).unwrap();
        for entry in profiles.map(Result::unwrap) {
            assert!(
                entry.path().is_dir(),
                "{node}: {:?} is a profile",
                entry.path()
            );
        }
    }
}

#[test]
fn fat_files_have_the_time_of_the_image() {
    let Some(lab) = lab() else { return };
    if crate::tools::absent(&["mdir"]) {
        return;
    }
    let day =
        checked(tool("date").args(["-u", "+%F", "-d", &format!("@{}", tree::lock(lab).epoch)]));
    for node in NODES {
        for partition in ["boot", "identity"] {
            let said = checked(tool("mdir").args(["-/", "-a", "-i", &lab.fat(node, partition)]));
            // The entry that leads back to the root directory, which has no time of its own, is not a file.
            let files = said.lines().filter(|line| !line.starts_with(".. "));
            let dates: Vec<&str> = files
                .flat_map(str::split_whitespace)
                .filter(|word| is_date(word))
                .collect();
            assert!(
                dates.len() > 4 && dates.iter().all(|date| *date == day.trim()),
                "{node} {partition}: {said}"
            );
        }
    }
}

fn is_date(word: &str) -> bool {
    word.len() == 10
        && word.bytes().enumerate().all(|(at, b)| {
            if at == 4 || at == 7 {
                b == b'-'
            } else {
                b.is_ascii_digit()
            }
        })
}

/// A file's bytes, not following links.
pub fn content(path: &Path) -> Option<Vec<u8>> {
    let metadata = fs::symlink_metadata(path).ok()?;
    metadata.is_file().then(|| fs::read(path).unwrap())
}
