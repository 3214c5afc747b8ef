//! Images whose chunks are whole and whose parts do not belong together.

use std::ops::Range as Span;

use prejoin_store::chunks::{ChunkStore, compressor};
use prejoin_wire::digest::ChunkDigest;
use prejoin_wire::manifest::{Manifest, Range, digest_of};

use crate::session::Session;
use crate::tiny::built;

const MANIFEST: &str = "out/one.manifest.json";

/// Replaces bytes in a part of node one's image, with all digests that the manifest has of them.
fn forge(session: &Session, place: impl Fn(&Manifest) -> Span<u64>, from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    let mut manifest = Manifest::parse(session.read(MANIFEST).as_bytes()).unwrap();
    let store = ChunkStore::create(&session.path("out")).unwrap();
    let place = place(&manifest);
    let placed: Vec<(u64, Range)> = manifest.placed().collect();
    let mut changed = 0;
    for (index, (start, range)) in placed.into_iter().enumerate() {
        let Range::Data { length, digest } = range else {
            continue;
        };
        if !place.contains(&start) {
            continue;
        }
        let mut bytes = store.read(&digest, length).unwrap();
        let Some(at) = bytes.windows(from.len()).position(|window| window == from) else {
            continue;
        };
        bytes[at..at + to.len()].copy_from_slice(to);
        let digest = ChunkDigest::of(&bytes);
        store
            .put(&digest, &bytes, &mut compressor().unwrap())
            .unwrap();
        manifest.ranges[index] = Range::Data { length, digest };
        changed += 1;
    }
    assert!(changed > 0, "{} is nowhere", String::from_utf8_lossy(from));
    write(session, manifest);
}

/// Writes a manifest whose partitions have the digests of its ranges.
fn write(session: &Session, mut manifest: Manifest) {
    let placed: Vec<(u64, Range)> = manifest.placed().collect();
    for partition in &mut manifest.partitions {
        let used = partition.start..partition.start + partition.used;
        let inside = placed.iter().filter(|(start, _)| used.contains(start));
        partition.digest = digest_of(&inside.map(|(_, range)| *range).collect::<Vec<_>>());
    }
    session.write(MANIFEST, manifest.to_json());
}

/// Where a partition's content lies.
fn partition(name: &str) -> impl Fn(&Manifest) -> Span<u64> {
    move |manifest| {
        let partition = manifest.partition(name).unwrap();
        partition.start..partition.start + partition.used
    }
}

/// Verifies node one, which must be refused, and puts its manifest back.
fn refused(session: &mut Session, good: &str, what: &str) {
    session.note(&format!("{what}\n"));
    assert_eq!(session.run("verify one").status.code(), Some(5), "{what}");
    session.write(MANIFEST, good);
}

#[test]
fn a_kernel_starts_from_its_own_root() {
    let Some(mut session) = built() else { return };
    let good = session.read(MANIFEST);
    let manifest = Manifest::parse(good.as_bytes()).unwrap();
    let hash = format!("roothash={}", manifest.root_hash);
    let guid = format!(
        "root=PARTUUID={}",
        manifest.partition("root-a").unwrap().guid
    );
    for (what, from, to) in [
        (
            "another root hash",
            hash.clone(),
            format!("roothash={}", "0".repeat(64)),
        ),
        (
            "no root hash",
            hash.clone(),
            hash.replace("roothash=", "r00thash="),
        ),
        (
            "another root partition",
            guid.clone(),
            guid[..guid.len() - 12].to_owned() + &"0".repeat(12),
        ),
        (
            "two root partitions",
            " prejoin.slot=a ro".to_owned(),
            " root=/dev/sda1 ro".to_owned(),
        ),
        ("nothing", ".cmdline".to_owned(), ".cmdl1ne".to_owned()),
    ] {
        forge(&session, partition("boot"), from.as_bytes(), to.as_bytes());
        refused(&mut session, &good, &format!("the kernel is told {what}"));
    }
    session.quietly("verify");
    session.golden("forged-kernel");
}

#[test]
fn an_identity_is_of_its_node() {
    let Some(mut session) = built() else { return };
    let good = session.read(MANIFEST);
    for (what, from, to) in [
        (
            "node.json of another node",
            "\"node\": \"one\"",
            "\"node\": \"two\"",
        ),
        (
            "node.json that is none",
            "\"node\": \"one\"",
            "\"node\": \"one}",
        ),
        ("another node.cpio", "TRAILER!!!", "TRAILER!!?"),
    ] {
        forge(
            &session,
            partition("identity"),
            from.as_bytes(),
            to.as_bytes(),
        );
        refused(&mut session, &good, what);
    }
    session.quietly("verify");
    session.golden("forged-identity");
}

#[test]
fn nothing_lies_beside_the_partitions() {
    let Some(mut session) = built() else { return };
    let good = session.read(MANIFEST);
    let manifest = Manifest::parse(good.as_bytes()).unwrap();
    let last = manifest
        .ranges
        .iter()
        .rposition(|range| matches!(range, Range::Skip { .. }))
        .unwrap();
    let Range::Skip { length } = manifest.ranges[last] else {
        unreachable!()
    };
    let with = |ranges: &[Range]| {
        let mut manifest = manifest.clone();
        manifest.ranges.splice(last..=last, ranges.iter().copied());
        manifest
    };
    let stowaway = vec![b'x'; 4096];
    let data = Range::Data {
        length: 4096,
        digest: ChunkDigest::of(&stowaway),
    };
    let store = ChunkStore::create(&session.path("out")).unwrap();
    store
        .put(
            &ChunkDigest::of(&stowaway),
            &stowaway,
            &mut compressor().unwrap(),
        )
        .unwrap();
    for (what, changed) in [
        (
            "zeroes where the image has nothing",
            with(&[Range::Zero { length }]),
        ),
        (
            "data behind what a partition uses",
            with(&[
                data,
                Range::Skip {
                    length: length - 4096,
                },
            ]),
        ),
        ("nothing behind the table", {
            let mut manifest = manifest.clone();
            let zero = manifest
                .ranges
                .iter_mut()
                .find(|range| matches!(range, Range::Zero { .. }))
                .unwrap();
            *zero = Range::Skip {
                length: zero.length(),
            };
            manifest
        }),
        ("nothing where a partition has zeroes", {
            let mut manifest = manifest.clone();
            let long = |range: &Range| matches!(range, Range::Zero { length } if *length > 8 << 20);
            let index = manifest.ranges.iter().rposition(long).unwrap();
            // Its beginning depends on how long the kernel with its agent is.
            let (rest, length) = (manifest.ranges[index].length() - (1 << 20), 1 << 20);
            manifest.ranges.splice(
                index..=index,
                [Range::Zero { length: rest }, Range::Skip { length }],
            );
            manifest
        }),
    ] {
        write(&session, changed);
        refused(&mut session, &good, what);
    }
    // The signature of the protective MBR is at its end; what is before it, firmware would start.
    let mut code = vec![0; 446];
    let mut started = code.clone();
    started[..2].copy_from_slice(&[0xeb, 0xfe]);
    for bytes in [&mut code, &mut started] {
        bytes.extend([0x00, 0x00, 0x02, 0x00, 0xee]);
    }
    forge(&session, |_| 0..1, &code, &started);
    refused(&mut session, &good, "code in the first sector");
    session.quietly("verify");
    session.golden("forged-ranges");
}

/// The command line of a Raspberry Pi is a file of its own.
#[test]
fn a_raspberry_pi_starts_from_its_own_root() {
    let Some(mut session) = crate::raspios::session() else {
        return;
    };
    session.quietly("lock");
    session.quietly("build one");
    let good = session.read(MANIFEST);
    let hash = Manifest::parse(good.as_bytes())
        .unwrap()
        .root_hash
        .to_string();
    forge(
        &session,
        partition("boot"),
        hash.as_bytes(),
        "0".repeat(64).as_bytes(),
    );
    refused(&mut session, &good, "cmdline.txt has another root hash");
    session.quietly("verify one");
    session.golden("forged-pi");
}

#[test]
fn a_manifest_that_contradicts_itself_is_not_written_anywhere() {
    let Some(mut session) = built() else { return };
    let good = session.read(MANIFEST);
    let manifest = Manifest::parse(good.as_bytes()).unwrap();
    let digest = manifest.partition("boot").unwrap().digest.to_string();
    let hash = manifest.root_hash.to_string();
    let zeroes = "0".repeat(64);
    let disk = std::fs::File::create(session.path("disk.img")).unwrap();
    disk.set_len(1500 << 20).unwrap();
    drop(disk);
    for (what, from) in [("a partition's digest", digest), ("the root hash", hash)] {
        session.write(MANIFEST, good.replace(&from, &zeroes));
        session.note(&format!("{what}\n"));
        for command in [
            "export one --format raw",
            "flash one disk.img --accept ID-EXPECTMISMATCH --dry-run",
            "verify one",
        ] {
            let code = session.run(command).status.code();
            assert_eq!(code, Some(5), "{what}: {command}");
        }
        assert!(!session.path("out/one.raw").exists());
    }
    session.golden("contradictions");
}
