//! Trees to write.

use std::collections::BTreeMap;

use prejoin_formats::tree::{Entry, Kind, Tree};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use crate::judge::Stored;

/// An access control list as `getxattr` shows it: a named user beside the usual three and the mask.
pub(crate) const ACL: &[u8] = b"\x02\0\0\0\
    \x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\xe8\x03\0\0\x04\0\x04\0\xff\xff\xff\xff\
    \x10\0\x04\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff";
/// `cap_net_raw+ep` as the kernel stores it.
pub(crate) const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// The last second that e2fsck does not take for one before 1970.
const LATEST: i64 = 0x2_7fff_ffff;

/// A tree with one of everything, no wider than a kernel mount can be compared with.
pub(crate) fn every_kind(stored: &Stored) -> Tree {
    let mut tree = Tree::new();
    let mut put = |path: &str, entry: Entry| {
        tree.insert(path, entry.dated(1_700_000_000 + path.len() as i64))
    };
    let with = |entry: Entry, xattrs: &[(&str, &[u8])]| Entry {
        xattrs: xattrs
            .iter()
            .map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec()))
            .collect(),
        ..entry
    };
    put(
        "bin/ping",
        with(
            stored.entry(&[0xcc; 70_000]),
            &[("security.capability", CAPABILITY)],
        ),
    );
    put(
        "bin/ping4",
        Entry {
            kind: Kind::HardLink(b"bin/ping".to_vec()),
            ..Entry::file(*b"", 0)
        },
    );
    put(
        "a-link-before",
        Entry {
            kind: Kind::HardLink(b"bin/ping".to_vec()),
            ..Entry::file(*b"", 0)
        },
    );
    put("bin/sudo", Entry::file(*b"#!", 0o4755));
    put("empty", Entry::file(*b"", 0o600));
    put("one-block", stored.entry(&[1; 4096]));
    put("odd", stored.entry(&[2; 4097]).owned(70_000, 4_000_000_000));
    put("tmp", Entry::directory(0o1777));
    put("short", Entry::symlink("../usr/lib"));
    put("short-59", Entry::symlink("s".repeat(59)));
    put("long-60", Entry::symlink("l/".repeat(30)));
    put("long-4095", Entry::symlink(&"l/".repeat(2048)[..4095]));
    put("ümläut/日本語", Entry::file(*b"names", 0o644));
    put(
        &format!("long/{}", "n".repeat(255)),
        Entry::file(*b"long name", 0o644),
    );
    for (name, block, major, minor) in [
        ("null", false, 1, 3),
        ("sda", true, 8, 0),
        ("new", true, 259, 70_000),
    ] {
        put(
            &format!("dev/{name}"),
            Entry {
                kind: Kind::Device {
                    block,
                    major,
                    minor,
                },
                ..Entry::file(*b"", 0o660)
            },
        );
    }
    put(
        "dev/fifo",
        Entry {
            kind: Kind::Fifo,
            ..Entry::file(*b"", 0o622)
        },
    );
    put(
        "acl",
        with(
            Entry::directory(0o755),
            &[
                ("system.posix_acl_access", ACL),
                ("system.posix_acl_default", ACL),
            ],
        ),
    );
    let long = [0x5a; 1000];
    let many: &[(&str, &[u8])] = &[
        ("user.z", b""),
        ("user.long", &long),
        ("user.odd", b"12345"),
        ("trusted.t", b"t"),
        ("security.capability", CAPABILITY),
        ("user.\u{fc}ml\u{e4}ut", b"non-ascii name"),
    ];
    put("xattrs", with(Entry::file(*b"has many", 0o644), many));
    put(
        "xattr-link",
        with(Entry::symlink("x"), &[("trusted.long", &long)]),
    );
    tree
}

/// Files from the first second to the last. `ext4-view` 1.0.0 takes seconds of more than 31 bits for corrupt.
pub(crate) fn times() -> Tree {
    let mut tree = Tree::new();
    for time in [
        -0x8000_0000,
        -1,
        0,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        1 << 32,
        0x1_8000_0000,
        LATEST,
    ] {
        tree.insert(format!("{time}"), Entry::file(*b"", 0o644).dated(time));
    }
    tree
}

/// A tree whose failure is shown in lines a human can read.
pub(crate) struct Shown(pub(crate) Tree);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (path, entry) in self.0.iter() {
            let kind = format!("{:?}", entry.kind);
            writeln!(
                f,
                "{} {:o} {} {}",
                path.escape_ascii(),
                entry.mode,
                entry.mtime,
                &kind[..kind.len().min(60)]
            )?;
        }
        Ok(())
    }
}

/// Any tree that ext4 can hold.
pub(crate) fn random() -> impl Strategy<Value = Shown> {
    (
        vec((path(), entry()), 0..120),
        0..400usize,
        vec((any::<prop::sample::Index>(), path()), 0..20),
    )
        .prop_map(|(entries, wide, links)| {
            let mut tree = Tree::new();
            for (path, entry) in entries {
                // Only an own lost+found that is a directory is allowed, and the root stays one.
                tree.insert(path, entry);
            }
            for number in 0..wide {
                tree.insert(format!("wide/{number:060}"), Entry::symlink("x"));
            }
            link(&mut tree, links);
            Shown(tree)
        })
}

/// Adds hard links to files of the tree at paths that are free.
fn link(tree: &mut Tree, links: Vec<(prop::sample::Index, Vec<u8>)>) {
    let files: Vec<Vec<u8>> = tree
        .iter()
        .filter(|(_, entry)| matches!(entry.kind, Kind::File(_)))
        .map(|(path, _)| path.to_vec())
        .collect();
    for (index, path) in links {
        let path = [b"links/", &path[..]].concat();
        if !files.is_empty() && tree.entry(&path).is_none() {
            let target = index.get(&files).clone();
            let kind = Kind::HardLink(target);
            tree.insert(
                path,
                Entry {
                    kind,
                    ..Entry::file(*b"", 0)
                },
            );
        }
    }
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    vec(name(), 1..4).prop_map(|names| names.join(&b'/'))
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => "[a-f]{1,2}".prop_map(String::into_bytes),
        2 => vec(any::<u8>(), 1..=255),
        1 => "[日本語ü ]{1,40}".prop_map(String::into_bytes),
    ]
    .prop_map(|mut name| {
        name.iter_mut()
            .filter(|byte| matches!(**byte, 0 | b'/'))
            .for_each(|byte| *byte = b'_');
        if name.iter().all(|&byte| byte == b'.') {
            vec![b'x']
        } else {
            name
        }
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    (
        kind(),
        0..0o10000u16,
        any::<[u32; 2]>(),
        (0..3i64, 0..1i64 << 31),
        xattrs(),
    )
        .prop_map(|(kind, mode, [uid, gid], (epoch, seconds), xattrs)| Entry {
            kind,
            mode,
            uid,
            gid,
            mtime: epoch << 32 | seconds,
            xattrs,
        })
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        3 => Just(Kind::Directory),
        6 => (any::<u8>(), prop_oneof![0..10_000usize, Just(4096), 0..300_000usize])
            .prop_map(|(byte, length)| Entry::file(vec![byte; length], 0).kind),
        3 => prop_oneof![1..80usize, 1..4096usize].prop_map(|length| Kind::Symlink("t/".repeat(length).into_bytes()[..length].to_vec())),
        1 => (any::<bool>(), 0..4096u32, prop_oneof![0..256u32, 0..1u32 << 20])
            .prop_map(|(block, major, minor)| Kind::Device { block, major, minor }),
        1 => Just(Kind::Fifo),
    ]
}

fn xattrs() -> impl Strategy<Value = BTreeMap<Vec<u8>, Vec<u8>>> {
    let name = ("(user|trusted|security)", vec(1..=255u8, 1..30))
        .prop_map(|(space, name)| [space.as_bytes(), b".", &name].concat());
    let value = prop_oneof![vec(any::<u8>(), 0..40), vec(any::<u8>(), 0..300)];
    prop_oneof![3 => Just(BTreeMap::new()), 1 => btree_map(name, value, 0..10)]
}
