//! Signatures: every one is found where it is put, by hand and by the tools that make them; libblkid is the judge of
//! names, UUIDs and labels wherever it sees them; chance makes none.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests read files and run tools"
)]

#[path = "signature/hand.rs"]
mod hand;
#[path = "signature/sparse.rs"]
mod sparse;
#[path = "signature/tools.rs"]
mod tools;

use std::path::Path;

use prejoin_disk::device::ReadAt;
use prejoin_disk::probe::signature::scan;
use prejoin_wire::disk::{Extent, Signature};
use sparse::{Broken, Noise, Sparse};

const MIB: u64 = 1 << 20;

fn whole(size: u64) -> Extent {
    Extent {
        start: 0,
        length: size,
    }
}

/// All of an extent's signatures; nothing may be unreadable, and what is true of each is checked.
fn signatures(disk: &dyn ReadAt, of: Extent) -> Vec<Signature> {
    let (found, unreadable) = scan(disk, of);
    assert_eq!(unreadable, []);
    assert!(found.is_sorted_by_key(|signature| signature.magic.start));
    for signature in &found {
        assert!(
            of.covers(&signature.header) && of.covers(&signature.magic),
            "{signature:?}"
        );
        assert!(
            signature.header.covers(&signature.magic) && signature.of == of,
            "{signature:?}"
        );
        let original = |other: &&Signature| {
            other.kind == signature.kind && other.uuid == signature.uuid && !other.copy
        };
        assert!(
            found.iter().any(|other| original(&other)),
            "a copy without an original: {signature:?}"
        );
    }
    found
}

/// One line each: where the magic number is, the header, and what it says.
fn text(found: &[Signature]) -> String {
    let line = |signature: &Signature| {
        let field = |name: &str, value: &Option<String>| {
            value
                .iter()
                .map(|value| format!(" {name}={value}"))
                .collect::<String>()
        };
        format!(
            "{:#x}+{} {}{} header {:#x}+{:#x}{}{}{}\n",
            signature.magic.start,
            signature.magic.length,
            signature.kind,
            if signature.copy { " copy" } else { "" },
            signature.header.start,
            signature.header.length,
            field("version", &signature.version),
            field("uuid", &signature.uuid),
            field("label", &signature.label),
        )
    };
    found.iter().map(line).collect()
}

#[test]
fn chance_makes_none() {
    for seed in 1..=24 {
        for size in [
            0,
            1,
            511,
            4096,
            65536,
            MIB,
            3 * MIB + 512,
            64 * MIB,
            3 << 40,
            u64::MAX >> 1,
        ] {
            let noise = Noise { seed, size };
            assert_eq!(
                text(&signatures(&noise, whole(size))),
                "",
                "seed {seed}, {size} bytes"
            );
        }
    }
}

#[test]
fn blank_has_none() {
    for byte in [0, 0xff] {
        let size = 20 << 30;
        let disk = Sparse {
            size,
            fill: byte,
            pieces: Vec::new(),
        };
        assert_eq!(text(&signatures(&disk, whole(size))), "");
    }
}

/// Every hand-made disk, once alone and once as a partition in the middle of another disk.
#[test]
fn found_where_they_are_put() {
    let mut all = String::new();
    for case in hand::cases() {
        let alone = signatures(&case.disk, whole(case.disk.size));
        assert!(!alone.is_empty(), "{}: nothing found", case.name);
        all += &format!(
            "== {} ({} MiB)\n{}",
            case.name,
            case.disk.size / MIB,
            text(&alone)
        );

        let start = 7 * MIB + 512;
        let pieces = case
            .disk
            .pieces
            .iter()
            .map(|(at, bytes)| (at + start, bytes.clone()))
            .collect();
        let disk = Sparse {
            size: case.disk.size + 9 * MIB,
            fill: 0,
            pieces,
        };
        let of = Extent {
            start,
            length: case.disk.size,
        };
        let mut moved = signatures(&disk, of);
        for signature in &mut moved {
            signature.magic.start -= start;
            signature.header.start -= start;
        }
        assert_eq!(text(&moved), text(&alone), "{}", case.name);
    }
    golden("tests/signature/hand.txt", &all);
}

/// A byte changed anywhere in a magic number makes it go away.
#[test]
fn a_magic_number_counts_whole() {
    for case in hand::cases() {
        for signature in signatures(&case.disk, whole(case.disk.size)) {
            // A few have two: the text that names them, and what else they consist of.
            if signature.kind == "zfs_member" || case.name.contains("one page of") {
                continue;
            }
            for at in [0, signature.magic.length - 1] {
                let mut disk = case.disk.clone();
                let place = signature.magic.start + at;
                let mut byte = [0];
                disk.read_at(place, &mut byte).unwrap();
                disk.pieces.push((place, vec![byte[0] ^ 0x55]));
                let after = signatures(&disk, whole(disk.size));
                let same = |other: &&Signature| {
                    other.magic == signature.magic && other.kind == signature.kind
                };
                assert!(
                    !after.iter().any(|other| same(&other)),
                    "{}: {signature:?}",
                    case.name
                );
            }
        }
    }
}

/// What cannot be read is said, and hides nothing else.
#[test]
fn errors_hide_nothing() {
    let case = hand::cases()
        .into_iter()
        .find(|case| case.name == "zfs, four labels")
        .unwrap();
    let size = case.disk.size;
    let all = signatures(&case.disk, whole(size));
    assert_eq!(all.len(), 4);

    // One bad sector in the first label: the other three are found, and 4 KiB are not known.
    let bad = Extent {
        start: 20 << 10,
        length: 512,
    };
    let (found, unreadable) = scan(&Broken::new(&case.disk, bad), whole(size));
    assert_eq!(found.len(), 3, "{}", text(&found));
    assert!(
        !found[0].copy && found[1].copy,
        "the first that is left is no copy"
    );
    let extents: Vec<Extent> = unreadable
        .iter()
        .map(|unreadable| unreadable.extent)
        .collect();
    assert_eq!(
        extents,
        [Extent {
            start: 20 << 10,
            length: 4096
        }]
    );
    assert!(unreadable[0].error.contains("bad sector"), "{unreadable:?}");

    // The first half is gone: the labels at the end remain.
    let (found, unreadable) = scan(&Broken::new(&case.disk, whole(size / 2)), whole(size));
    assert_eq!(found.len(), 2, "{}", text(&found));
    assert!(
        unreadable
            .iter()
            .any(|unreadable| unreadable.extent.covers(&whole(MIB)))
    );

    // Nothing can be read: that is not the same as nothing there, and it is not tried for ever.
    let dead = Broken::new(&case.disk, whole(size));
    let (found, unreadable) = scan(&dead, whole(size));
    assert_eq!(found, []);
    assert!(
        unreadable
            .iter()
            .any(|unreadable| unreadable.extent.end() == size)
    );
    assert!(dead.errors.get() <= 128, "{} errors", dead.errors.get());
}

/// A scan of a large disk reads little of it.
#[test]
fn bounded() {
    for size in [0, 1, 100 << 20, 4 << 40, u64::MAX] {
        let disk = sparse::Counted::new(size);
        let (found, unreadable) = scan(&disk, whole(size));
        assert!(found.is_empty() && unreadable.is_empty());
        assert!(
            disk.bytes.get() <= 3 * MIB && disk.reads.get() <= 100,
            "{} reads",
            disk.reads.get()
        );
        assert!(disk.largest.get() <= MIB);
    }
}

/// Compares with golden text; `PREJOIN_BLESS=1` rewrites it.
fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("PREJOIN_BLESS").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (expected, found)) in expected.lines().zip(found.lines()).enumerate() {
        assert_eq!(found, expected, "{name}, line {}", number + 1);
    }
    assert_eq!(found.len(), expected.len(), "{name} against\n{found}");
}
