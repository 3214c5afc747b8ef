//! The ext4 writer, judged by e2fsck, dumpe2fs, the `ext4-view` crate and the kernel.
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests run tools and write scratch files"
)]

mod judge;
mod kernel;
mod stability;
mod trees;

use std::collections::BTreeMap;
use std::sync::Arc;

use judge::{Stored, check, fsck, plan_and_check, write};
use prejoin_formats::ext4::{self, Error, Options};
use prejoin_formats::image::Source;
use prejoin_formats::tree::{Entry, Kind, Tree};
use proptest::prelude::*;

/// 2025-06-15, so that e2fsck does not find it in the future.
const TIME: i64 = 1_750_000_000;

fn options(size: u64) -> Options {
    Options {
        label: "root-a".into(),
        time: TIME,
        ..Options::new(size, *b"prejoin-ext4-uid")
    }
}

#[test]
fn every_kind_of_entry() {
    let stored = Stored::default();
    plan_and_check(&trees::every_kind(&stored), &options(16 << 20), &stored);
}

#[test]
fn smallest_and_odd_sizes() {
    let mut tree = Tree::new();
    tree.insert("a", Entry::file(*b"a", 0o644).dated(TIME));
    for size in [
        64 << 10,
        1 << 20,
        (1 << 27) + 4096,
        (1 << 27) + (64 << 10),
        700 << 20,
        (3 << 30) + 12288,
    ] {
        plan_and_check(&tree, &options(size), &Stored::default());
    }
}

#[test]
fn times_of_four_centuries() {
    fsck(
        write(
            &ext4::plan(&trees::times(), &options(1 << 20))
                .unwrap()
                .image,
            &Stored::default(),
        )
        .path(),
    );
}

#[test]
fn read_only_feature() {
    let options = Options {
        read_only: true,
        ..options(8 << 20)
    };
    plan_and_check(&Tree::new(), &options, &Stored::default());
}

#[test]
fn same_input_same_bytes() {
    let stored = Stored::default();
    let tree = trees::every_kind(&stored);
    let all = || {
        let image = ext4::plan(&tree, &options(16 << 20)).unwrap().image;
        let mut bytes = vec![0; image.size() as usize];
        image.read_at(&stored, 0, &mut bytes).unwrap();
        bytes
    };
    assert!(all() == all());
}

#[test]
fn big_directories() {
    // One block, one level of index, two levels; short and longest names.
    for (count, length) in [(120, 8), (3_000, 200), (40_000, 12), (12_000, 255)] {
        let mut tree = Tree::new();
        for number in 0..count {
            tree.insert(format!("d/{number:0length$}"), Entry::file(*b"", 0o644));
        }
        let options = options(ext4::recommended_size(&tree));
        let filesystem = ext4::plan(&tree, &options).unwrap();
        let file = write(&filesystem.image, &Stored::default());
        fsck(file.path());
        if count < 10_000 {
            check(&tree, &options, file.path(), &Stored::default());
        }
    }
}

#[test]
fn large_and_sparse_files() {
    let stored = Stored::default();
    let mut tree = Tree::new();
    let pattern: Vec<u8> = (0..3_000_000u32).map(|at| (at >> 8) as u8 | 1).collect();
    tree.insert("dense", stored.entry(&pattern));
    tree.insert("empty", Entry::file(*b"", 0o644));
    // Three gigabytes and a bit, of which the ends exist.
    let length = (3u64 << 30) + 12_345;
    tree.insert("sparse", Entry::blob([1; 32], length, 0o644));
    stored.virtual_zeroes([1; 32], length);
    // Every other block a hole: a tree of extents.
    let striped: Vec<u8> = (0..8_000_000u32)
        .map(|at| if at >> 12 & 1 == 1 { 0 } else { 7 })
        .collect();
    tree.insert("striped", stored.entry(&striped));
    let holes = BTreeMap::from([
        (
            b"sparse".to_vec(),
            std::iter::once(5000..length - 5000).collect(),
        ),
        (
            b"striped".to_vec(),
            (0..1000)
                .map(|at| (2 * at + 1) * 4096..(2 * at + 2) * 4096)
                .collect(),
        ),
    ]);
    let options = Options {
        holes,
        ..options(32 << 20)
    };
    let filesystem = ext4::plan(&tree, &options).unwrap();
    assert!(filesystem.summary.extents > 970);
    let file = write(&filesystem.image, &stored);
    fsck(file.path());
    tree.remove("sparse");
    check(&tree, &options, file.path(), &stored);
}

#[test]
fn full_to_the_last_block() {
    // Files that fill what is there exactly, so that pieces must be halved down to single blocks.
    let empty = ext4::plan(&Tree::new(), &options(8 << 20))
        .unwrap()
        .summary
        .free_blocks;
    let stored = Stored::default();
    let fill = |blocks: u64| {
        let mut tree = Tree::new();
        let mut left = blocks;
        for (number, size) in [700, 300, 257, 100, 33, 31, 9, 7, 5, 3, 2, 1]
            .into_iter()
            .enumerate()
        {
            let size = if number == 11 { left } else { left.min(size) };
            tree.insert(
                format!("{number}"),
                stored.entry(&vec![number as u8 + 1; size as usize * 4096]),
            );
            left -= size;
        }
        tree
    };
    // Leave the blocks that extent trees of the fragments take.
    plan_and_check(&fill(empty - 4), &options(8 << 20), &stored);
    let error = ext4::plan(&fill(empty + 1), &options(8 << 20)).unwrap_err();
    assert_eq!(
        error,
        Error::NoSpace {
            needed: empty + 1 + 2,
            available: empty + 2
        }
    );
}

#[test]
fn refuses_what_ext4_cannot_hold() {
    let file = || Entry::file(*b"x", 0o644);
    let refused = |path: &[u8], entry: Entry| {
        let mut tree = Tree::new();
        tree.insert("dir/file", file());
        tree.insert(path, entry);
        ext4::plan(&tree, &options(1 << 20)).unwrap_err()
    };
    let with = |name: &[u8], value: &[u8]| {
        let mut entry = file();
        entry.xattrs.insert(name.to_vec(), value.to_vec());
        entry
    };
    let link = |target: &[u8]| Entry {
        kind: Kind::HardLink(target.to_vec()),
        ..file()
    };
    let device = |major, minor| Entry {
        kind: Kind::Device {
            block: true,
            major,
            minor,
        },
        ..file()
    };

    for name in [
        vec![b'n'; 256],
        b"a//b".to_vec(),
        b"a/../b".to_vec(),
        b".".to_vec(),
        b"a\0b".to_vec(),
    ] {
        assert!(
            matches!(refused(&name, file()), Error::Name { .. }),
            "{name:?}"
        );
    }
    for target in ["missing", "dir", "", "link"] {
        assert!(
            matches!(
                refused(b"link", link(target.as_bytes())),
                Error::HardLink { .. }
            ),
            "{target:?}"
        );
    }
    for target in [vec![], vec![b't'; 4096], b"a\0b".to_vec()] {
        assert!(matches!(
            refused(b"link", Entry::symlink(target)),
            Error::Symlink { .. }
        ));
    }
    for (major, minor) in [(4096, 0), (0, 1 << 20)] {
        assert!(matches!(
            refused(b"device", device(major, minor)),
            Error::Device { .. }
        ));
    }
    for name in [
        &b"system.data"[..],
        b"user.",
        b"other.name",
        b"user.a\0",
        b"",
        b"system.posix_acl_accessx",
    ] {
        assert!(
            matches!(refused(b"file", with(name, b"")), Error::XattrName { .. }),
            "{name:?}"
        );
    }
    for value in [
        &b""[..],
        b"\x02\0\0\0\x01\0\x07\0",
        b"\x02\0\0\0\x03\0\x07\0\0\0\0\0",
        b"\x01\0\0\0",
    ] {
        let error = refused(b"file", with(b"system.posix_acl_access", value));
        assert!(
            matches!(error, Error::AccessControlList { .. }),
            "{value:?}"
        );
    }
    assert!(matches!(
        refused(b"file", with(b"user.large", &[1; 4096])),
        Error::XattrSize { .. }
    ));
    assert_eq!(refused(b"lost+found", file()), Error::LostAndFound);
    assert!(matches!(refused(b"", file()), Error::Parent { .. }));
    let huge = Entry::blob([2; 32], u64::MAX, 0o644);
    assert!(matches!(refused(b"huge", huge), Error::FileSize { .. }));
    let mut long = options(1 << 20);
    long.label = "seventeen letters".into();
    assert_eq!(
        ext4::plan(&Tree::new(), &long).unwrap_err(),
        Error::Label { length: 17 }
    );
}

#[test]
fn a_file_put_over_a_directory_is_noticed() {
    let mut tree = Tree::new();
    tree.insert("dir/file", Entry::file(*b"x", 0o644));
    tree.entry_mut("dir").unwrap().kind = Kind::Fifo;
    assert!(matches!(
        ext4::plan(&tree, &options(1 << 20)),
        Err(Error::Parent { .. })
    ));
}

#[test]
fn too_many_files_and_links() {
    let mut tree = Tree::new();
    tree.insert("file", Entry::file(*b"x", 0o644));
    let limited = Options {
        inodes: Some(16),
        ..options(16 << 20)
    };
    for number in 0..5 {
        tree.insert(format!("{number}"), Entry::file(*b"x", 0o644));
        let expected = if number < 4 {
            None
        } else {
            Some(Error::TooManyInodes {
                needed: 6,
                available: 5,
            })
        };
        assert_eq!(ext4::plan(&tree, &limited).err(), expected);
    }
    // However few are asked for, there is a block of them.
    let none = Options {
        inodes: Some(0),
        ..options(16 << 20)
    };
    fsck(
        write(
            &ext4::plan(&Tree::new(), &none).unwrap().image,
            &Stored::default(),
        )
        .path(),
    );
    for number in 0..65_000 {
        tree.insert(
            format!("l{number}"),
            Entry {
                kind: Kind::HardLink(b"file".to_vec()),
                ..Entry::file(*b"", 0o644)
            },
        );
    }
    let error = ext4::plan(&tree, &options(16 << 20)).unwrap_err();
    assert_eq!(
        error,
        Error::Links {
            path: "file".into(),
            links: 65_001
        }
    );
    tree.remove("l0");
    let filesystem = ext4::plan(&tree, &options(16 << 20)).unwrap();
    fsck(write(&filesystem.image, &Stored::default()).path());
}

#[test]
fn more_subdirectories_than_links() {
    let mut tree = Tree::new();
    for number in 0..65_010 {
        tree.insert(format!("d/{number}"), Entry::directory(0o755));
    }
    let filesystem = ext4::plan(&tree, &options(ext4::recommended_size(&tree))).unwrap();
    fsck(write(&filesystem.image, &Stored::default()).path());
}

#[test]
fn described_by_dumpe2fs() {
    let stored = Stored::default();
    let mut tree = trees::every_kind(&stored);
    tree.insert(
        "more",
        Entry::file(Arc::<[u8]>::from(vec![1; 1 << 20]), 0o644),
    );
    let options = Options {
        read_only: true,
        ..options(200 << 20)
    };
    let filesystem = ext4::plan(&tree, &options).unwrap();
    let file = write(&filesystem.image, &stored);
    let Some(said) = judge::dumpe2fs(file.path()) else {
        return;
    };
    let summary = filesystem.summary;
    insta::assert_snapshot!(format!("{summary:#?}\n{said}"));
}

/// A change here moves files of every image that was ever built, so that each update is a whole download.
#[test]
fn places_are_for_ever() {
    let stored = Stored::default();
    let image = ext4::plan(&trees::every_kind(&stored), &options(16 << 20))
        .unwrap()
        .image;
    let lines = image.pieces().iter().map(|piece| {
        let what = match &piece.source {
            Source::Bytes { .. } => "made".to_string(),
            Source::Blob { digest, start } => format!("blob {} from {start}", digest[7]),
        };
        format!(
            "{:5} + {:4}: {:5} bytes, {what}\n",
            piece.offset / 4096,
            piece.offset % 4096,
            piece.length
        )
    });
    insta::assert_snapshot!(lines.collect::<String>());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn random_trees(tree in trees::random(), inodes in prop::option::of(2000u32..6000)) {
        let mut options = options(ext4::recommended_size(&tree.0));
        options.inodes = inodes;
        plan_and_check(&tree.0, &options, &Stored::default());
    }
}
