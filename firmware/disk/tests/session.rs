//! A session on files: what it leaves no way around, and what it does when it is cut or deceived.
#![allow(clippy::unwrap_used, reason = "tests")]
#![expect(clippy::disallowed_methods, reason = "disks in files")]

mod support;
#[path = "power_cut/world.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod world;

use std::error::Error as Anything;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use prejoin_disk::io::FileJournal;
use prejoin_disk::io::keep::Tables;
use prejoin_disk::session::{
    Agreed, Consent, Error, Judged, Person, Return, Session, Unattended, agree, typed_name,
};
use prejoin_disk::write::{Chunks, Journal as _, Options, Record, Sizes};
use prejoin_formats::gpt::{Partition, Table};
use prejoin_wire::digest::ChunkDigest;
use prejoin_wire::disk::Verdict;
use prejoin_wire::manifest::Range;
use support::Store;
use world::{MIB, Node, SIZE, entry, guid};

/// A folder with a disk in a file, and a place for what is kept.
struct Desk {
    folder: tempfile::TempDir,
    node: Node,
}

impl Desk {
    fn new() -> Self {
        let desk = Desk {
            folder: tempfile::tempdir().unwrap(),
            node: Node::new("w1", "13", 0, 512),
        };
        desk.add("disk");
        desk
    }

    /// One more disk, which is blank.
    fn add(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        File::create(&path).unwrap().set_len(SIZE).unwrap();
        fs::canonicalize(path).unwrap()
    }

    fn disk(&self) -> PathBuf {
        fs::canonicalize(self.folder.path().join("disk")).unwrap()
    }

    fn keep(&self) -> PathBuf {
        self.folder.path().join("keep")
    }

    fn session<'a>(&'a self, chunks: &'a dyn Chunks, keep: &'a Path) -> Session<'a> {
        let sizes = Sizes {
            head: 64 << 10,
            group: MIB,
            ..Sizes::default()
        };
        Session {
            options: Options {
                threads: 1,
                sizes,
                ..Options::default()
            },
            ..Session::new(self.node.image(), chunks, keep)
        }
    }

    fn judge<'a>(&'a self, session: &Session<'a>, disk: &Path) -> Judged<'a> {
        let looked = session.hold(disk).unwrap();
        let intent = looked.usual_intent();
        looked.judge(intent)
    }

    /// Fails unless the disk has every byte of the image's partitions.
    fn check(&self, disk: &Path) {
        let file = File::open(disk).unwrap();
        for (at, range) in self.node.manifest.placed() {
            if let Range::Data { length, digest } = range {
                let mut bytes = vec![0; length as usize];
                file.read_exact_at(&mut bytes, at).unwrap();
                assert_eq!(ChunkDigest::of(&bytes), digest, "at {at}");
            }
        }
    }

    /// How many files with old tables there are.
    fn saved(&self) -> usize {
        let files = fs::read_dir(self.keep()).into_iter().flatten().flatten();
        let names = files.map(|file| file.file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".saved.json")).count()
    }
}

/// Somebody else divides the disk.
fn divide(disk: &Path, name: &str) {
    let table = Table {
        disk_guid: guid(name, "disk"),
        sector_size: 512,
        disk_size: SIZE,
        partitions: vec![entry(1, 900 * MIB, 64 * MIB, name, guid(name, "data"))],
    };
    put(disk, &table);
}

fn put(disk: &Path, table: &Table) {
    let file = File::options().write(true).open(disk).unwrap();
    let (at, backup) = table.backup().unwrap();
    file.write_all_at(&backup, at).unwrap();
    file.write_all_at(&table.primary().unwrap(), 0).unwrap();
}

/// Both copies of the table.
fn tables(disk: &Path) -> [Vec<u8>; 2] {
    let file = File::open(disk).unwrap();
    [0, SIZE - 33 * 512].map(|at| {
        let mut bytes = vec![0; 33 * 512];
        file.read_exact_at(&mut bytes, at).unwrap();
        bytes
    })
}

/// Somebody who types what is asked for, and takes his time: `meanwhile` something happens.
struct Typist<F> {
    meanwhile: F,
    asked: AtomicUsize,
}

impl<F: Fn() + Sync> Typist<F> {
    fn new(meanwhile: F) -> Self {
        Typist {
            meanwhile,
            asked: AtomicUsize::new(0),
        }
    }
}

impl<F: Fn() + Sync> Person for Typist<F> {
    type Error = Error;

    fn consent(&self, judged: &Judged) -> Result<Consent, Error> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        (self.meanwhile)();
        Ok(Consent::Typed(typed_name(&judged.facts().device).1))
    }
}

/// Somebody with one answer to everything.
struct Says(Consent);

impl Person for Says {
    type Error = Error;

    fn consent(&self, _judged: &Judged) -> Result<Consent, Error> {
        Ok(self.0.clone())
    }
}

/// A source that breaks off after some chunks.
struct Torn<'a> {
    store: &'a Store,
    left: AtomicUsize,
}

impl Chunks for Torn<'_> {
    fn read(
        &self,
        digest: &ChunkDigest,
        into: &mut [u8],
    ) -> Result<(), Box<dyn Anything + Send + Sync>> {
        let left = |left: usize| left.checked_sub(1);
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left)
            .map_err(|_| "the wire was cut")?;
        self.store.read(digest, into)
    }
}

/// A source that lacks a chunk and says so.
struct Lacking<'a>(&'a Store);

impl Chunks for Lacking<'_> {
    fn read(
        &self,
        digest: &ChunkDigest,
        into: &mut [u8],
    ) -> Result<(), Box<dyn Anything + Send + Sync>> {
        self.0.read(digest, into)
    }

    fn find(&self, _: &ChunkDigest, _: u64) -> Result<(), Box<dyn Anything + Send + Sync>> {
        Err("no such chunk".into())
    }
}

#[test]
fn a_disk_is_written_and_read_back_and_its_old_table_kept() {
    let desk = Desk::new();
    let keep = desk.keep();
    let session = desk.session(&desk.node.store, &keep);
    let mut judged = desk.judge(&session, &desk.disk());
    assert_eq!(judged.report().verdict, Verdict::Ok);
    let written = judged
        .agree(&Unattended)
        .unwrap()
        .write(&Unattended)
        .unwrap();
    drop(judged);
    desk.check(&desk.disk());
    assert!(written.report.verified > 0);
    assert_eq!(Tables::read(&written.saved).unwrap().node, "w1");
    let journals = fs::read_dir(&keep).unwrap().flatten();
    let journal = journals
        .map(|file| file.path())
        .find(|path| path.extension().is_some_and(|end| end == "journal"));
    let records = FileJournal::open(&journal.unwrap())
        .unwrap()
        .load()
        .unwrap();
    assert_eq!(records.last(), Some(&Record::Done));

    // The same again compares, and writes nothing.
    let mut session = session;
    session.options.verify_first = true;
    let mut judged = desk.judge(&session, &desk.disk());
    let agreed = judged.agree(&Says(Consent::Tokens(vec![token(&judged)])));
    let again = agreed.unwrap().write(&Unattended).unwrap();
    assert_eq!((again.report.written, again.report.tables), (0, 0));
}

fn token(judged: &Judged) -> String {
    judged.report().token.clone().unwrap()
}

#[test]
fn nothing_is_written_without_a_yes_to_this() {
    let desk = Desk::new();
    let keep = desk.keep();
    let session = desk.session(&desk.node.store, &keep);
    let mut judged = desk.judge(&session, &desk.disk());
    let tokens = Says(Consent::Tokens(vec!["another".into()]));
    assert!(matches!(
        judged.agree(&tokens).err(),
        Some(Error::Unconfirmed { .. })
    ));
    let typed = Says(Consent::Typed("another".into()));
    assert!(matches!(
        judged.agree(&typed).err(),
        Some(Error::NotNamed { .. })
    ));
    drop(judged);

    // What goes needs a yes, and nobody has named it before.
    divide(&desk.disk(), "theirs");
    let looked = session.hold(&desk.disk()).unwrap();
    let mut intent = looked.usual_intent();
    let name = guid("theirs", "data").to_string();
    intent.wish.delete.insert(name);
    let mut judged = looked.judge(intent);
    let report = judged.report();
    assert_eq!(
        report.verdict,
        Verdict::NeedsConfirmation,
        "{:?}",
        report.findings
    );
    let error = judged.agree(&Unattended).err();
    assert!(matches!(error, Some(Error::Unasked { .. })), "{error:?}");
    drop(judged);

    let without = Session {
        folder: None,
        ..session
    };
    let mut judged = desk.judge(&without, &desk.disk());
    let error = judged.agree(&Typist::new(|| ())).err();
    assert!(matches!(error, Some(Error::NoFolder)), "{error:?}");
    drop(judged);

    let lacking = Lacking(&desk.node.store);
    let session = desk.session(&lacking, &keep);
    let mut judged = desk.judge(&session, &desk.disk());
    let typist = Typist::new(|| ());
    let error = judged.agree(&typist).err();
    assert!(matches!(error, Some(Error::Chunk { .. })), "{error:?}");
    assert_eq!(typist.asked.into_inner(), 0, "nobody is asked in vain");
}

#[test]
fn all_disks_or_none() {
    let desk = Desk::new();
    let (keep, second) = (desk.keep(), desk.add("second"));
    // Something in the way of the image.
    let table = Table {
        disk_guid: guid("theirs", "disk"),
        sector_size: 512,
        disk_size: SIZE,
        partitions: vec![Partition {
            start: 2 * MIB,
            size: SIZE - 4 * MIB,
            ..entry(1, 0, 0, "all", guid("theirs", "all"))
        }],
    };
    put(&second, &table);
    let file = File::options().write(true).open(&second).unwrap();
    file.write_all_at(&[7; 4096], 2 * MIB).unwrap();
    let session = desk.session(&desk.node.store, &keep);
    let mut cases = [desk.disk(), second].map(|disk| desk.judge(&session, &disk));
    assert_eq!(cases[0].report().verdict, Verdict::Ok);
    let typist = Typist::new(|| ());
    let error = agree(&mut cases, &typist).err();
    assert!(matches!(error, Some(Error::Refused { .. })), "{error:?}");
    assert_eq!(typist.asked.into_inner(), 0);
    assert!(!keep.exists() && tables(&desk.disk()).concat().iter().all(|byte| *byte == 0));
}

#[test]
fn what_changes_while_somebody_is_asked_is_seen() {
    let desk = Desk::new();
    let keep = desk.keep();
    let session = desk.session(&desk.node.store, &keep);
    let mut judged = desk.judge(&session, &desk.disk());
    let agreed = judged.agree(&Typist::new(|| divide(&desk.disk(), "theirs")));
    let now = tables(&desk.disk());
    let stopped = agreed.unwrap().write(&Unattended).unwrap_err();
    assert!(matches!(*stopped.error, Error::Changed { .. }), "{stopped}");
    assert!(!stopped.has_begun && stopped.saved.is_none());
    assert!(tables(&desk.disk()) == now, "their table stays");
    drop(judged);

    // Nothing has changed: it goes through.
    let mut judged = desk.judge(&session, &desk.disk());
    let agreed = judged.agree(&Typist::new(|| ())).unwrap();
    agreed.write(&Unattended).unwrap();
    desk.check(&desk.disk());
}

#[test]
fn who_agrees_twice_looks_again() {
    let desk = Desk::new();
    let keep = desk.keep();
    let session = desk.session(&desk.node.store, &keep);
    let mut judged = desk.judge(&session, &desk.disk());
    let first: Agreed = judged.agree(&Unattended).unwrap();
    first.write(&Unattended).unwrap();
    let second = judged.agree(&Unattended).unwrap();
    let stopped = second.write(&Unattended).unwrap_err();
    assert!(matches!(*stopped.error, Error::Changed { .. }), "{stopped}");
}

#[test]
fn an_interrupted_run_is_completed_and_names_the_first_table() {
    let desk = Desk::new();
    divide(&desk.disk(), "theirs");
    let (keep, before) = (desk.keep(), tables(&desk.disk()));
    let torn = Torn {
        store: &desk.node.store,
        left: AtomicUsize::new(4),
    };
    let session = desk.session(&torn, &keep);
    let mut judged = desk.judge(&session, &desk.disk());
    let agreed = judged.agree(&Typist::new(|| ())).unwrap();
    let stopped = agreed.write(&Unattended).unwrap_err();
    drop(judged);
    assert!(stopped.has_begun, "{stopped}");
    let first = stopped.saved.unwrap();

    let session = desk.session(&desk.node.store, &keep);
    let mut judged = desk.judge(&session, &desk.disk());
    let agreed = judged.agree(&Typist::new(|| ())).unwrap();
    let written = agreed.write(&Unattended).unwrap();
    drop(judged);
    desk.check(&desk.disk());
    assert!(written.report.resumed > 0, "{:?}", written.report);
    assert_eq!((&written.saved, desk.saved()), (&first, 2));

    // And back to what was there before both.
    let found = Return::look(&first, &desk.disk()).unwrap();
    let name = typed_name(found.device()).1;
    assert!(matches!(
        found.confirm("another").err(),
        Some(Error::NotNamed { .. })
    ));
    found.confirm(&name).unwrap().write().unwrap();
    assert!(tables(&desk.disk()) == before);
}

#[test]
fn a_disk_that_is_divided_anew_while_somebody_is_asked_keeps_its_table() {
    let desk = Desk::new();
    let keep = desk.keep();
    let session = desk.session(&desk.node.store, &keep);
    let mut judged = desk.judge(&session, &desk.disk());
    let agreed = judged.agree(&Unattended).unwrap();
    let written = agreed.write(&Unattended).unwrap();
    drop(judged);
    let found = Return::look(&written.saved, &desk.disk()).unwrap();
    let confirmed = found.confirm(&typed_name(found.device()).1).unwrap();
    divide(&desk.disk(), "theirs");
    let now = tables(&desk.disk());
    let error = confirmed.write().unwrap_err();
    assert!(matches!(error, Error::Changed { .. }), "{error}");
    assert!(tables(&desk.disk()) == now);
}
