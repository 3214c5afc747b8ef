//! Images whose chunks are whole and whose parts do not belong together.

use prejoin_formats::verity::{self, Superblock, Verity};
use prejoin_store::chunks::{ChunkStore, compressor};
use prejoin_store::folder::system_path;
use prejoin_wire::digest::ChunkDigest;
use prejoin_wire::manifest::Range;
use prejoin_wire::node::NodeManifest;
use prejoin_wire::system::{SystemManifest, Volume};

use crate::session::Session;
use crate::tiny::built;

const MANIFEST: &str = "out/one.manifest.json";

/// Replaces bytes in chunks of ranges.
fn forge(session: &Session, ranges: &mut [Range], from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    let store = ChunkStore::create(&session.path("out")).unwrap();
    let mut changed = 0;
    for range in ranges {
        let Range::Data { length, digest } = *range else {
            continue;
        };
        let mut bytes = store.read(&digest, length).unwrap();
        let Some(at) = bytes.windows(from.len()).position(|window| window == from) else {
            continue;
        };
        bytes[at..at + to.len()].copy_from_slice(to);
        *range = put(&store, &bytes);
        changed += 1;
    }
    assert!(changed > 0, "{} is nowhere", String::from_utf8_lossy(from));
}

fn put(store: &ChunkStore, bytes: &[u8]) -> Range {
    let digest = ChunkDigest::of(bytes);
    store
        .put(&digest, bytes, &mut compressor().unwrap())
        .unwrap();
    Range::Data {
        length: bytes.len() as u64,
        digest,
    }
}

/// Changes the manifest of node one.
fn with_node(session: &Session, change: impl FnOnce(&mut NodeManifest)) {
    let mut node = NodeManifest::clone(&session.image("one").node);
    change(&mut node);
    session.write(MANIFEST, node.to_json());
}

/// Gives node one another system, which is whole in itself.
fn with_system(session: &Session, change: impl FnOnce(&mut SystemManifest)) {
    let mut system = SystemManifest::clone(&session.image("one").system);
    change(&mut system);
    let text = system.to_json();
    std::fs::write(system_path(&session.path("out"), &system.digest()), text).unwrap();
    with_node(session, |node| node.system = system.digest());
}

/// Replaces bytes on the boot partition of node one's system.
fn forge_boot(session: &Session, from: &str, to: &str) {
    with_system(session, |system| {
        let mut ranges = system.boot.ranges.clone();
        forge(session, &mut ranges, from.as_bytes(), to.as_bytes());
        system.boot = Volume::of(ranges);
    });
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
    let hash = format!("roothash={}", session.image("one").system.root_hash);
    for (what, from, to) in [
        (
            "another root hash",
            hash.as_str(),
            format!("roothash={}", "0".repeat(64)),
        ),
        (
            "no root hash",
            &hash,
            hash.replace("roothash=", "r00thash="),
        ),
        (
            "a root partition",
            " prejoin.slot=a ro",
            " root=/dev/sda1 ro".to_owned(),
        ),
        ("nothing", ".cmdline", ".cmdl1ne".to_owned()),
    ] {
        forge_boot(&session, from, &to);
        refused(&mut session, &good, &format!("the kernel is told {what}"));
    }
    session.quietly("verify");
    session.golden("forged-kernel");
}

#[test]
fn an_identity_is_of_its_node() {
    let Some(mut session) = built() else { return };
    let good = session.read(MANIFEST);
    with_node(&session, |node| node.handoff.node = "two".into());
    refused(&mut session, &good, "the hand-off of another node");
    with_node(&session, |node| {
        let ranges = node.identity.get_mut("node.cpio").unwrap();
        forge(&session, ranges, b"TRAILER!!!", b"TRAILER!!?");
    });
    refused(&mut session, &good, "another node.cpio");
    with_node(&session, |node| drop(node.identity.remove("node.cpio")));
    refused(&mut session, &good, "no node.cpio");
    session.quietly("verify");
    session.golden("forged-identity");
}

/// Two documents, each sound in itself, that do not make an image.
#[test]
fn a_node_and_its_system_belong_together() {
    let Some(mut session) = built() else { return };
    let good = session.read(MANIFEST);
    with_system(&session, |system| system.board = "other".into());
    refused(&mut session, &good, "a system for another board");
    with_system(&session, |system| {
        let mut ranges = system.verity.ranges.clone();
        ranges.push(Range::Zero { length: 1 << 30 });
        system.verity = Volume::of(ranges);
    });
    refused(&mut session, &good, "a system that is too large");
    with_system(&session, |system| {
        let mut ranges = system.verity.ranges.clone();
        let store = ChunkStore::create(&session.path("out")).unwrap();
        ranges.push(put(&store, &[b'x'; 4096]));
        system.verity = Volume::of(ranges);
    });
    refused(&mut session, &good, "data behind the dm-verity tree");
    with_node(&session, |node| {
        drop(node.boot.insert("cmdline.txt".into(), "root=x\n".into()));
    });
    refused(&mut session, &good, "a text that has no place");
    session.quietly("verify");
    session.golden("forged-system");
}

/// The command line of a Raspberry Pi is a file of its own, and each node's own.
#[test]
fn a_raspberry_pi_starts_from_its_own_root() {
    let Some(mut session) = crate::raspios::session() else {
        return;
    };
    session.quietly("lock");
    session.quietly("build one");
    let good = session.read(MANIFEST);
    let image = session.image("one");
    let hash = image.system.root_hash.to_string();
    let guid = image.image.partition("root-a").unwrap().guid.to_string();
    let line = |session: &Session, from: &str, to: &str| {
        with_node(session, |node| {
            let text = node.boot.get_mut("cmdline.txt").unwrap();
            assert!(text.contains(from), "{text}");
            *text = text.replace(from, to);
        });
    };
    line(&session, &hash, &"0".repeat(64));
    refused(&mut session, &good, "cmdline.txt has another root hash");
    let other = guid[..24].to_owned() + &"0".repeat(12);
    line(&session, &guid, &other);
    refused(
        &mut session,
        &good,
        "cmdline.txt has another root partition",
    );
    line(&session, " prejoin.slot=a ro", " root=/dev/sda1 ro");
    refused(&mut session, &good, "cmdline.txt has two root partitions");
    line(&session, "\n", " longer\n");
    refused(&mut session, &good, "cmdline.txt is longer than its place");
    with_node(&session, |node| node.boot.clear());
    refused(&mut session, &good, "there is no cmdline.txt");
    session.quietly("verify one");
    session.golden("forged-pi");
}

#[test]
fn a_manifest_that_contradicts_itself_is_not_written_anywhere() {
    let Some(mut session) = built() else { return };
    let good = session.read(MANIFEST);
    let disk = std::fs::File::create(session.path("disk.img")).unwrap();
    disk.set_len(1500 << 20).unwrap();
    drop(disk);
    for what in ["a partition's digest", "the root hash"] {
        with_system(&session, |system| match what {
            "the root hash" => system.root_hash.0 = [0; 32],
            _ => system.boot.digest.0 = [0; 32],
        });
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
        session.write(MANIFEST, &good);
    }
    session.golden("contradictions");
}

/// Everything in the image agrees with everything else: chunks, dm-verity, root hash, kernel command line. Only the packages
/// say something else.
#[test]
fn a_root_is_what_its_packages_make() {
    let Some(mut session) = built() else { return };
    let good = session.read(MANIFEST);
    session.note("as it was built\n");
    session.run("verify one");
    let (before, after) = replace_root(&session, b"Hello!", b"Hacked");
    forge_boot(&session, &before, &after);
    session.note("a file was changed, and all digests with it\n");
    session.run("verify one --no-packages");
    assert_eq!(session.run("verify one").status.code(), Some(5));
    session.write(MANIFEST, &good);
    session.note("a package is not in the cache\n");
    std::fs::remove_dir_all(session.path("cache")).unwrap();
    session.run("verify one");
    session.note("no cluster file\n");
    std::fs::rename(session.path("cluster.yaml"), session.path("other.yaml")).unwrap();
    session.run("verify one");
    session.golden("forged-root");
}

/// Replaces bytes in node one's root file system, with a dm-verity tree over it; gives the root hashes of before and after.
fn replace_root(session: &Session, from: &[u8], to: &[u8]) -> (String, String) {
    let image = session.image("one");
    let before = image.system.root_hash.to_string();
    let mut after = String::new();
    with_system(session, |system| {
        forge(session, &mut system.root.ranges, from, to);
        system.root = Volume::of(system.root.ranges.clone());
        let bytes = all(session, &system.root.ranges);
        let old = Superblock::parse(&all(session, &system.verity.ranges)).unwrap();
        let salt: [u8; 32] = old.salt.as_slice().try_into().unwrap();
        let (blocks, _) = bytes.as_chunks::<{ verity::BLOCK }>();
        let leaves = blocks.iter().map(|block| verity::leaf(&salt, block));
        let tree = Verity::from_leaves(leaves.collect(), &salt, old.uuid);
        let store = ChunkStore::create(&session.path("out")).unwrap();
        let ranges = tree.bytes.chunks(1 << 20).map(|part| put(&store, part));
        system.verity = Volume::of(ranges.collect());
        system.root_hash.0 = tree.root_hash;
        after = system.root_hash.to_string();
    });
    (before, after)
}

fn all(session: &Session, ranges: &[Range]) -> Vec<u8> {
    let store = ChunkStore::open(&session.path("out"));
    let mut bytes = Vec::new();
    for range in ranges {
        match range {
            Range::Data { length, digest } => bytes.extend(store.read(digest, *length).unwrap()),
            other => bytes.resize(bytes.len() + other.length() as usize, 0),
        }
    }
    bytes
}
