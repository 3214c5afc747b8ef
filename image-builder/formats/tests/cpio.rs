//! cpio archives, judged by GNU cpio.
#![expect(
    clippy::disallowed_methods,
    reason = "strangers judge, and strangers read files"
)]

mod tools;

use std::collections::BTreeMap;

use prejoin_formats::cpio::{Error, join, read, read_tree, write};
use prejoin_formats::image::Image;
use prejoin_formats::tree::{Content, ContentDigest, Contents, Entry, Kind, NoContents, Tree};
use tools::{Noise, bytes, have, run};

fn node(kind: Kind, mode: u16) -> Entry {
    Entry {
        kind,
        ..Entry::directory(mode)
    }
}

fn tree() -> Tree {
    let mut tree = Tree::new();
    let date = 1_600_000_000;
    tree.insert("init", Entry::file(*b"#!/bin/sh\n", 0o755).dated(date));
    tree.insert(
        "etc/empty",
        Entry::file(*b"", 0o600).owned(1000, 65534).dated(date),
    );
    tree.insert(
        "etc/big",
        Entry::file(vec![b'b'; 10_001], 0o4755).dated(date),
    );
    tree.insert(
        "etc/again",
        node(Kind::HardLink(b"etc/big".to_vec()), 0o4755).dated(date),
    );
    tree.insert(
        "usr/also",
        node(Kind::HardLink(b"etc/big".to_vec()), 0o4755).dated(date),
    );
    tree.insert(
        "dev/console",
        node(
            Kind::Device {
                block: false,
                major: 5,
                minor: 1,
            },
            0o600,
        )
        .dated(date),
    );
    tree.insert(
        "dev/sda",
        node(
            Kind::Device {
                block: true,
                major: 8,
                minor: 0,
            },
            0o660,
        )
        .dated(date),
    );
    tree.insert("run/pipe", node(Kind::Fifo, 0o644).dated(date));
    tree.insert("bin", Entry::symlink("usr/bin").dated(date));
    tree
}

/// What reading gives back: of several names, the first in the archive is the file.
fn canonical() -> Tree {
    let mut tree = tree();
    let big = tree.entry("etc/big").cloned().expect("just made");
    let link = node(Kind::HardLink(b"etc/again".to_vec()), 0o4755).dated(big.mtime);
    tree.insert("etc/again", big);
    tree.insert("etc/big", link.clone());
    tree.insert("usr/also", link);
    tree
}

#[test]
fn gnu_cpio_lists_and_unpacks_it() {
    if !have(&["cpio"]) {
        return;
    }
    let directory = tempfile::tempdir().expect("making a directory");
    let path = directory
        .path()
        .join("archive")
        .to_str()
        .expect("temporary names are text")
        .to_owned();
    std::fs::write(
        &path,
        bytes(&write(&tree()).expect("the tree is sound"), &NoContents),
    )
    .expect("writing");
    let list = run("cpio", &["-itvn", "--quiet", "-F", &path]);
    assert_eq!(list, include_str!("golden/cpio.txt"));

    let target = directory.path().join("out");
    std::fs::create_dir(&target).expect("making a directory");
    let target = target.to_str().expect("temporary names are text");
    run(
        "cpio",
        &[
            "-idm",
            "--quiet",
            "--no-preserve-owner",
            "-D",
            target,
            "-F",
            &path,
            "etc/*",
            "usr/*",
            "bin",
            "init",
        ],
    );
    for name in ["etc/big", "etc/again", "usr/also"] {
        assert_eq!(
            std::fs::read(format!("{target}/{name}")).expect("reading"),
            vec![b'b'; 10_001]
        );
    }
    assert_eq!(
        run("stat", &["-c", "%h %a %Y", &format!("{target}/usr/also")]),
        "3 4755 1600000000\n"
    );
}

#[test]
fn reads_back_what_was_written() {
    let mut archive = bytes(&write(&tree()).expect("the tree is sound"), &NoContents);
    assert_eq!(archive.len() % 4, 0);
    assert_eq!(read_tree(&archive, 1 << 20).as_ref(), Ok(&canonical()));
    archive.extend([0; 512]);
    assert_eq!(read_tree(&archive, 1 << 20).as_ref(), Ok(&canonical()));
    // The order of insertion is of no importance.
    let again = write(&canonical()).expect("the tree is sound");
    assert_eq!(
        read_tree(&bytes(&again, &NoContents), 1 << 20),
        Ok(canonical())
    );
}

#[test]
fn archives_stand_in_a_row() {
    let mut early = Tree::new();
    early.insert(
        "kernel/x86/microcode/GenuineIntel.bin",
        Entry::file([1; 33], 0o644),
    );
    let early = write(&early).expect("the tree is sound");
    let mut compressed = Image::zero(7);
    compressed.put_bytes(0, *b"\x28\xb5\x2f\xfdzst");
    let row = bytes(
        &join(&[early.clone(), write(&tree()).expect("sound"), compressed]),
        &NoContents,
    );
    let mut items = read(&row, 1 << 20);
    let names: Vec<_> = items
        .by_ref()
        .map(|item| item.expect("both are sound").name)
        .collect();
    assert_eq!(names.first(), Some(&&b"kernel"[..]));
    assert_eq!(names.last(), Some(&&b"usr/also"[..]));
    assert_eq!(items.rest(), b"\x28\xb5\x2f\xfdzst");
}

struct Store(BTreeMap<ContentDigest, Vec<u8>>);

impl Contents for Store {
    fn read_at(
        &self,
        digest: &ContentDigest,
        offset: u64,
        buffer: &mut [u8],
    ) -> std::io::Result<()> {
        buffer.copy_from_slice(&self.0[digest][offset as usize..][..buffer.len()]);
        Ok(())
    }
}

#[test]
fn blobs_stay_references() {
    let store = Store([([1; 32], vec![b'x'; 5001]), ([2; 32], vec![b'y'; 3])].into());
    let mut tree = Tree::new();
    tree.insert("a", Entry::blob([1; 32], 5001, 0o644));
    tree.insert("b", Entry::blob([2; 32], 3, 0o644));
    let image = write(&tree).expect("the tree is sound");
    let read = read_tree(&bytes(&image, &store), 1 << 20).expect("just written");
    let content = |path| match &read.entry(path).expect("just written").kind {
        Kind::File(Content::Bytes(bytes)) => bytes.to_vec(),
        kind => panic!("{kind:?}"),
    };
    assert_eq!(
        (content("a"), content("b")),
        (vec![b'x'; 5001], b"yyy".to_vec())
    );
}

#[test]
fn no_mutant_makes_the_reader_panic() {
    let mut tree = tree();
    tree.insert("etc/big", Entry::file(*b"small", 0o644));
    let good = bytes(&write(&tree).expect("the tree is sound"), &NoContents);
    let mut noise = Noise::new(3);
    let (mut read_well, mut short) = (0, 0);
    for _ in 0..100_000 {
        let mut mutant = good.clone();
        let times = 1 + noise.below(4);
        noise.spoil(&mut mutant, times);
        if noise.below(2) == 0 {
            mutant.truncate(noise.below(good.len()));
        }
        match read_tree(&mutant, 1 << 20) {
            Ok(_) => read_well += 1,
            Err(Error::Short(_)) => short += 1,
            Err(_) => {}
        }
    }
    assert!(read_well > 100 && short > 100, "{read_well} {short}");
}
