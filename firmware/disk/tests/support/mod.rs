//! Disks in memory, and small images and plans made from a seed.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test uses its own part of it"
)]
#![allow(clippy::unwrap_used, reason = "this is test code")]

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use prejoin_disk::device::{ReadAt, WriteAt};
use prejoin_disk::write::{
    Chunks, Error, Event, Job, Journal, Options, RELEASED, Record, Sizes, Written, write,
};
use prejoin_formats::gpt::{self, Partition, Table, types};
use prejoin_wire::architecture::Architecture;
use prejoin_wire::digest::{ChunkDigest, Digest};
use prejoin_wire::disk::{Clear, Entry, Extent, Kept, Mode, Origin, Plan, merge};
use prejoin_wire::manifest::{self, Manifest, Range};
use uuid::Uuid;

/// Where partitions begin on these disks.
const UNIT: u64 = 16 << 10;

/// Sizes that give a disk of a megabyte several groups, heads and pieces.
pub const SIZES: Sizes = Sizes {
    head: 8 << 10,
    group: 64 << 10,
    zero: 24 << 10,
};

/// SplitMix64 (Steele, Lea, Flood 2014): the same numbers for a seed on every machine.
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&self.next().to_le_bytes()[..part.len()]);
        }
    }

    fn guid(&mut self) -> Uuid {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        Uuid::from_bytes(bytes)
    }
}

/// What happened to a disk and its journal, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Write(u64, Vec<u8>),
    Zero(u64, u64),
    Flush,
    Append(Record),
    Reset,
}

impl Op {
    pub fn extent(&self) -> Option<Extent> {
        match self {
            Op::Write(start, bytes) => Some(Extent {
                start: *start,
                length: bytes.len() as u64,
            }),
            Op::Zero(start, length) => Some(Extent {
                start: *start,
                length: *length,
            }),
            _ => None,
        }
    }

    pub fn apply(&self, disk: &mut [u8]) {
        match self {
            Op::Write(start, bytes) => {
                disk[*start as usize..][..bytes.len()].copy_from_slice(bytes)
            }
            Op::Zero(start, length) => disk[*start as usize..][..*length as usize].fill(0),
            _ => {}
        }
    }
}

/// How a disk misbehaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    /// The operation of this number (reads, writes, zeroes, flushes, all counted together) fails, a write half done.
    Fail(u64),
    /// All operations from this number on fail.
    Dead(u64),
    /// The write or zero of this number stores one wrong bit.
    Flip(u64),
    /// Every write or zero over this byte stores it wrongly.
    Stuck(u64),
    /// The write of this number also changes a byte elsewhere.
    Stray(u64, u64),
}

/// A disk in memory, which also writes down what is done to it.
#[derive(Default)]
pub struct Medium {
    state: Mutex<State>,
    /// Time that a flush takes to return after it took effect: time for other threads to write something.
    pause: Duration,
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    log: Vec<Op>,
    fault: Fault,
    operations: u64,
    writes: u64,
}

impl Medium {
    pub fn new(bytes: Vec<u8>) -> Self {
        Medium {
            state: Mutex::new(State {
                bytes,
                ..State::default()
            }),
            ..Medium::default()
        }
    }

    pub fn with(bytes: Vec<u8>, fault: Fault) -> Self {
        Medium {
            state: Mutex::new(State {
                bytes,
                fault,
                ..State::default()
            }),
            ..Medium::default()
        }
    }

    pub fn slow(self) -> Self {
        Medium {
            pause: Duration::from_millis(1),
            ..self
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.state().bytes.clone()
    }

    pub fn log(&self) -> Vec<Op> {
        self.state().log.clone()
    }

    /// Somebody else overwrites it.
    pub fn damage(&self, extent: &Extent) {
        Op::Zero(extent.start, extent.length).apply(&mut self.state().bytes);
    }

    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    pub fn writes(&self) -> u64 {
        self.state().writes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    fn operation(&mut self) -> io::Result<()> {
        self.operations += 1;
        match self.fault {
            Fault::Fail(number) if number == self.operations => {
                Err(io::Error::other("made to fail"))
            }
            Fault::Dead(number) if number <= self.operations => Err(io::Error::other("dead")),
            _ => Ok(()),
        }
    }

    fn store(&mut self, op: Op) -> io::Result<()> {
        let extent = op.extent().unwrap();
        assert!(
            extent.end() <= self.bytes.len() as u64,
            "{extent:?} is past the disk's end"
        );
        self.writes += 1;
        if let Err(error) = self.operation() {
            let half = match op {
                Op::Write(start, bytes) => Op::Write(start, bytes[..bytes.len() / 2].to_vec()),
                other => other,
            };
            half.apply(&mut self.bytes);
            return Err(error);
        }
        op.apply(&mut self.bytes);
        match self.fault {
            Fault::Flip(number) if number == self.writes => {
                self.bytes[(extent.start + extent.length * 2 / 3) as usize] ^= 4;
            }
            Fault::Stuck(at) if extent.start <= at && at < extent.end() => {
                self.bytes[at as usize] ^= 4
            }
            Fault::Stray(number, at) if number == self.writes => self.bytes[at as usize] ^= 4,
            _ => {}
        }
        self.log.push(op);
        Ok(())
    }
}

impl ReadAt for Medium {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        state.operation()?;
        state.bytes.read_at(offset, buffer)
    }
}

impl WriteAt for Medium {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.state().store(Op::Write(offset, bytes.to_vec()))
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        self.state().store(Op::Zero(offset, length))
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.state();
        state.operation()?;
        state.log.push(Op::Flush);
        drop(state);
        thread::sleep(self.pause);
        Ok(())
    }

    fn forget(&self) -> io::Result<()> {
        self.state().operation()
    }
}

/// A journal in memory, whose records also stand in the log of a disk.
pub struct Notes<'a> {
    pub records: Mutex<Vec<Record>>,
    medium: &'a Medium,
}

impl<'a> Notes<'a> {
    pub fn new(medium: &'a Medium, records: Vec<Record>) -> Self {
        Notes {
            records: Mutex::new(records),
            medium,
        }
    }
}

impl Journal for Notes<'_> {
    fn load(&self) -> io::Result<Vec<Record>> {
        Ok(self.records.lock().unwrap().clone())
    }

    fn append(&self, record: &Record) -> io::Result<()> {
        self.records.lock().unwrap().push(record.clone());
        self.medium.state().log.push(Op::Append(record.clone()));
        Ok(())
    }

    fn reset(&self) -> io::Result<()> {
        self.records.lock().unwrap().clear();
        self.medium.state().log.push(Op::Reset);
        Ok(())
    }
}

/// Chunks in memory; one of them may be wrong.
#[derive(Default)]
pub struct Store {
    pub chunks: BTreeMap<ChunkDigest, Vec<u8>>,
    pub wrong: Option<ChunkDigest>,
}

impl Chunks for Store {
    fn read(
        &self,
        digest: &ChunkDigest,
        into: &mut [u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        into.copy_from_slice(self.chunks.get(digest).ok_or("no such chunk")?);
        if self.wrong == Some(*digest) {
            into[0] ^= 1;
        }
        Ok(())
    }
}

/// What the old table of a disk is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Old {
    Good,
    BadPrimary,
    BadBackup,
    /// The disk has grown since: the backup copy is in its midst, and goes.
    Grown,
    /// The same, and the primary copy is broken but for the place of the backup.
    GrownBadPrimary,
    /// The same on a disk that has grown by so little that the new backup copy goes over a part of the old one.
    ShiftedBadPrimary,
    /// No table, and nothing that is kept.
    Blank,
    /// What is kept has other GUIDs than it is to have.
    TakenOver,
}

impl Old {
    pub const ALL: [Old; 7] = [
        Old::Good,
        Old::BadPrimary,
        Old::BadBackup,
        Old::Grown,
        Old::GrownBadPrimary,
        Old::Blank,
        Old::ShiftedBadPrimary,
    ];
}

/// A disk, an image for it, and what is to come of both.
pub struct Scenario {
    pub plan: Plan,
    pub manifest: Manifest,
    pub store: Store,
    pub old: Vec<u8>,
    pub new: Vec<u8>,
    pub whole: Table,
}

struct Maker {
    random: Random,
    table: Table,
    image: Vec<Extent>,
    kept: Vec<Extent>,
    free: Vec<Extent>,
    names: u32,
}

impl Scenario {
    /// A disk of about a megabyte, cut into partitions of the image, kept ones and gaps in any order.
    pub fn new(seed: u64, old: Old, sector_size: u32) -> Self {
        let mut random = Random(seed);
        let disk_size = UNIT * (40 + random.below(30));
        let disk_guid = random.guid();
        let table = Table {
            disk_guid,
            sector_size,
            disk_size,
            partitions: Vec::new(),
        };
        let mut maker = Maker {
            random,
            table,
            image: Vec::new(),
            kept: Vec::new(),
            free: Vec::new(),
            names: 0,
        };
        maker.cut(old);
        maker.scenario(old)
    }

    pub fn random(seed: u64) -> Self {
        let mut random = Random(seed ^ 0x5eed);
        let old = Old::ALL[random.below(Old::ALL.len() as u64) as usize];
        Scenario::new(seed, old, if random.chance(30) { 4096 } else { 512 })
    }

    /// Runs the writer as the tests want it: one thread, so that a run is the same each time.
    pub fn write(
        &self,
        disk: &Medium,
        journal: Option<&dyn Journal>,
        verify_first: bool,
    ) -> Result<Written, Error> {
        let options = Options {
            verify_first,
            threads: 1,
            sizes: SIZES,
            ..Options::default()
        };
        self.run(disk, journal, options, &|_| {})
    }

    pub fn run(
        &self,
        disk: &(dyn WriteAt + Sync),
        journal: Option<&dyn Journal>,
        options: Options,
        events: &(dyn Fn(Event) + Sync),
    ) -> Result<Written, Error> {
        let Scenario {
            plan,
            manifest,
            store,
            ..
        } = self;
        write(&Job {
            plan,
            manifest,
            chunks: store,
            disk,
            journal,
            options,
            events,
        })
    }

    /// That nothing which is kept was lost: to the bit, and listed by a valid table; and that the image is whole if the
    /// table says so. (A disk without kept partitions may be without a table for a while.)
    pub fn check(&self, disk: &[u8]) -> Result<(), String> {
        for kept in &self.plan.kept {
            let Extent { start, length } = kept.extent;
            let part = |disk: &[u8]| disk[start as usize..][..length as usize].to_vec();
            if part(disk) != part(&self.old) {
                return Err(format!("kept partition {} is not what it was", kept.number));
            }
        }
        let found = gpt::read(
            |at, buffer| disk.read_at(at, buffer),
            self.plan.size,
            self.plan.sector_size,
        );
        let found = match found {
            Ok(found) => found,
            Err(_) if self.plan.kept.is_empty() => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        for kept in &self.plan.kept {
            let now = self.whole.partition(kept.number).unwrap();
            let mut before = self.plan.before.iter();
            let then = before.find(|entry| entry.number == kept.number).unwrap();
            let then = Partition {
                guid: then.guid.parse().unwrap(),
                ..now.clone()
            };
            let listed = found.table.partition(kept.number);
            if listed != Some(now) && listed != Some(&then) {
                return Err(format!(
                    "kept partition {} is not listed by the {}",
                    kept.number, found.place
                ));
            }
        }
        let image = self
            .plan
            .after
            .iter()
            .filter(|entry| matches!(entry.origin, Origin::Image | Origin::Node));
        if image.into_iter().any(|entry| {
            found
                .table
                .partitions
                .contains(self.whole.partition(entry.number).unwrap())
        }) {
            for extent in &self.plan.image_extents {
                let part = extent.start as usize..extent.end() as usize;
                if disk[part.clone()] != self.new[part] {
                    return Err(format!(
                        "{extent:?} is not the image's, and the {} has its real types",
                        found.place
                    ));
                }
            }
        }
        Ok(())
    }

    /// What the table that counts lists.
    pub fn listed(&self, disk: &[u8]) -> Option<Vec<Partition>> {
        let read = |at, into: &mut [u8]| disk.read_at(at, into);
        let found = gpt::read(read, self.plan.size, self.plan.sector_size);
        found.ok().map(|found| found.table.partitions)
    }

    /// The disk was divided by an MBR with logical partitions, whose boot records are where the image goes.
    pub fn logical(seed: u64) -> Self {
        let mut scenario = Scenario::new(seed, Old::Blank, 512);
        let places = [1, 5].map(|part| {
            let extents = &scenario.plan.image_extents;
            let extent = extents[extents.len() * part / 6];
            extent.start / 512 * 512
        });
        let [first, second] = places.map(|place| (place / 512) as u32);
        let mut record = |at: u64, entries: &[(u8, u32, u32)]| {
            let sector = &mut scenario.old[at as usize..][..512];
            sector.fill(0);
            for (&(kind, start, count), entry) in entries.iter().zip(sector[446..].chunks_mut(16)) {
                entry[4] = kind;
                entry[8..12].copy_from_slice(&start.to_le_bytes());
                entry[12..16].copy_from_slice(&count.to_le_bytes());
            }
            sector[510..].copy_from_slice(&[0x55, 0xaa]);
        };
        record(0, &[(0x83, 40, 8), (0x05, first, second - first + 16)]);
        record(places[0], &[(0x83, 2, 2), (0x05, second - first, 16)]);
        record(places[1], &[(0x83, 2, 8)]);
        scenario
    }

    /// Where anything may be written at all.
    pub fn allowed(&self) -> Vec<Extent> {
        let clear = self.plan.clear.iter().map(|clear| clear.extent);
        merge(
            self.plan
                .image_extents
                .iter()
                .chain(&self.plan.table_extents)
                .copied()
                .chain(clear)
                .collect(),
        )
    }
}

impl Maker {
    /// Cuts the disk into partitions of the image, kept ones, and gaps.
    fn cut(&mut self, old: Old) {
        let usable = self.table.usable();
        let mut at = usable.start.next_multiple_of(UNIT);
        while at + 6 * UNIT <= usable.end {
            let random = &mut self.random;
            let extent = Extent {
                start: at,
                length: 4096 * (1 + random.below(5 * UNIT / 4096)),
            };
            match random.below(10) {
                0..=4 => self.image.push(extent),
                5..=7 if old != Old::Blank => self.kept.push(extent),
                _ => self.free.push(extent),
            }
            at = extent
                .end()
                .next_multiple_of(if random.chance(50) { 4096 } else { UNIT });
        }
        if self.image.is_empty() {
            self.image
                .push(self.kept.pop().or_else(|| self.free.pop()).unwrap());
        }
    }

    fn scenario(mut self, old: Old) -> Scenario {
        let kept: Vec<Partition> = self
            .kept
            .clone()
            .into_iter()
            .map(|extent| self.partition(extent))
            .collect();
        let mut before = self.table.clone();
        before.partitions = kept.clone();
        if old == Old::TakenOver {
            for partition in &mut before.partitions {
                partition.guid = self.random.guid();
            }
        }
        // What the image replaces, and what somebody named for deletion, was elsewhere in part.
        for extent in [self.image.clone(), self.free.clone()].concat() {
            if self.random.chance(60) {
                before.partitions.push(self.partition(extent));
            }
        }
        let mut whole = self.table.clone();
        whole.partitions = kept.clone();
        for extent in self.image.clone() {
            let mut partition = self.partition(extent);
            if self.random.chance(40) {
                partition.type_guid = types::ESP;
            }
            whole.partitions.push(partition);
        }
        let image = whole.partitions[kept.len()..].to_vec();
        let (manifest, store, content) = self.manifest(&image);
        let mut bytes = vec![0; self.table.disk_size as usize];
        self.random.fill(&mut bytes);
        let mut clear = self.free.clone();
        clear.retain(|_| self.random.chance(70));
        if self.random.chance(50) {
            let Extent { start, length } = self.image[0];
            clear.push(Extent {
                start,
                length: length / 2 / 512 * 512,
            });
        }
        clear.extend(self.put_old(old, &before, &mut bytes));
        let plan = self.plan(&before, &whole, &kept, &content, &manifest, merge(clear));

        let mut new = bytes.clone();
        for clear in &plan.clear {
            Op::Zero(clear.extent.start, clear.extent.length).apply(&mut new);
        }
        for (start, bytes) in content {
            Op::Write(start, bytes).apply(&mut new);
        }
        put_table(&whole, &mut new, true, true);
        Scenario {
            plan,
            manifest,
            store,
            old: bytes,
            new,
            whole,
        }
    }

    fn partition(&mut self, extent: Extent) -> Partition {
        self.names += 1;
        let (type_guid, guid) = (types::LINUX, self.random.guid());
        let (number, attributes) = (self.names, self.random.next());
        let Extent {
            start,
            length: size,
        } = extent;
        Partition {
            number,
            type_guid,
            guid,
            start,
            size,
            attributes,
            name: format!("part-{number}"),
        }
    }

    /// Ranges of all kinds, which follow no partition's borders; also in `content`, where they are in a partition.
    fn manifest(&mut self, image: &[Partition]) -> (Manifest, Store, Vec<(u64, Vec<u8>)>) {
        let size = image.last().map_or(0, |last| last.start + last.size);
        let (mut ranges, mut store, mut content) = (Vec::new(), Store::default(), Vec::new());
        let mut at = 0;
        while at < size {
            let random = &mut self.random;
            let length = (512 * (1 + random.below(40))).min(size - at);
            let mut bytes = vec![0; length as usize];
            let here = Extent { start: at, length };
            let defined = match random.below(10) {
                0..=5 => {
                    random.fill(&mut bytes);
                    let digest = ChunkDigest::of(&bytes);
                    ranges.push(Range::Data { length, digest });
                    store.chunks.insert(digest, bytes.clone());
                    true
                }
                6..=7 => {
                    ranges.push(Range::Zero { length });
                    true
                }
                _ => {
                    ranges.push(Range::Skip { length });
                    false
                }
            };
            for partition in image.iter().filter(|_| defined) {
                let Partition {
                    start,
                    size: length,
                    ..
                } = *partition;
                if let Some(part) = here.common(&Extent { start, length }) {
                    content.push((
                        part.start,
                        bytes[(part.start - at) as usize..][..part.length as usize].to_vec(),
                    ));
                }
            }
            at += length;
        }
        let partitions = image
            .iter()
            .zip(1..)
            .map(|(partition, number)| manifest::Partition {
                number,
                name: partition.name.clone(),
                type_guid: partition.type_guid,
                guid: partition.guid,
                start: partition.start,
                size: partition.size,
                used: partition.size,
                digest: Digest::of(b"not looked at"),
            });
        let manifest = Manifest {
            version: manifest::VERSION,
            cluster: "lab".into(),
            node: "w1".into(),
            board: "uefi-amd64".into(),
            architecture: Architecture::Amd64,
            sector_size: self.table.sector_size,
            size,
            root_hash: Digest::of(b"root"),
            lock: Digest::of(b"lock"),
            partitions: partitions.collect(),
            ranges,
        };
        (manifest, store, content)
    }

    /// Puts the old table on the disk; returns what of it is to be cleared.
    fn put_old(&mut self, old: Old, before: &Table, bytes: &mut [u8]) -> Option<Extent> {
        let sector = before.sector_size as usize;
        let end = bytes.len();
        match old {
            Old::Good | Old::TakenOver => put_table(before, bytes, true, true),
            Old::BadPrimary => put_table(before, bytes, false, true),
            Old::BadBackup => put_table(before, bytes, true, false),
            Old::Blank => {
                // Zeroes where a table would be, or an old MBR with code in it.
                let start = if self.random.chance(50) { 0 } else { 446 };
                bytes[start..3 * sector].fill(0);
                bytes[end - sector..].fill(0);
            }
            Old::Grown | Old::GrownBadPrimary => {
                let last = before
                    .partitions
                    .iter()
                    .map(|p| p.start + p.size)
                    .max()
                    .unwrap_or(UNIT);
                let mut small = before.clone();
                small.disk_size =
                    (last + 33 * before.sector_size as u64).next_multiple_of(4096) + 4096;
                if small.grow(small.disk_size.min(before.disk_size)).is_err()
                    || small.disk_size >= before.disk_size
                {
                    put_table(before, bytes, true, true);
                    return None;
                }
                put_table(&small, bytes, true, true);
                bytes[end - sector..].fill(0);
                if old == Old::GrownBadPrimary {
                    bytes[2 * sector + 3] ^= 0xff;
                }
                let (start, backup) = small.backup().unwrap();
                let stale = Extent {
                    start,
                    length: backup.len() as u64,
                };
                let ours = before.backup().unwrap().0;
                return (stale.end() <= ours).then_some(stale);
            }
            Old::ShiftedBadPrimary => {
                let (start, backup) = before.backup().unwrap();
                let mut small = before.clone();
                small.disk_size -= (1 + self.random.below(backup.len() as u64 / sector as u64 - 1))
                    * sector as u64;
                put_table(&small, bytes, true, true);
                let old = small.backup().unwrap().0;
                assert!(old < start && start < old + backup.len() as u64);
                bytes[end - sector..].fill(0);
                // The header, or the entries.
                let at = if self.random.chance(50) {
                    sector + 16
                } else {
                    2 * sector + 3
                };
                bytes[at] ^= 0xff;
            }
        }
        None
    }

    /// On every third disk what goes had to be named.
    fn released(&self, before: &Table, kept: &[Partition]) -> Vec<Entry> {
        if !self.names.is_multiple_of(3) {
            return Vec::new();
        }
        let gone = before.partitions.iter();
        // What is taken over has another GUID afterwards.
        let place = |partition: &Partition| (partition.number, partition.start, partition.size);
        let gone = gone.filter(|gone| kept.iter().all(|kept| place(kept) != place(gone)));
        let entry = |partition: &Partition| Entry {
            number: partition.number,
            extent: Extent {
                start: partition.start,
                length: partition.size,
            },
            type_guid: RELEASED.to_string(),
            guid: partition.guid.to_string(),
            name: partition.name.clone(),
            attributes: partition.attributes,
            origin: Origin::Deleted,
        };
        gone.map(entry).collect()
    }

    fn plan(
        &self,
        before: &Table,
        whole: &Table,
        kept: &[Partition],
        content: &[(u64, Vec<u8>)],
        manifest: &Manifest,
        clear: Vec<Extent>,
    ) -> Plan {
        let entry = |partition: &Partition, other: Origin| Entry {
            number: partition.number,
            extent: Extent {
                start: partition.start,
                length: partition.size,
            },
            type_guid: partition.type_guid.to_string(),
            guid: partition.guid.to_string(),
            name: partition.name.clone(),
            attributes: partition.attributes,
            origin: if kept.iter().any(|kept| kept.number == partition.number) {
                Origin::Kept
            } else {
                other
            },
        };
        let extents = content.iter().map(|(start, bytes)| Extent {
            start: *start,
            length: bytes.len() as u64,
        });
        let (backup_at, backup) = whole.backup().unwrap();
        let primary = Extent {
            start: 0,
            length: whole.primary().unwrap().len() as u64,
        };
        Plan {
            mode: Mode::Reimage,
            image: Digest::of(manifest.to_json().as_bytes()),
            size: whole.disk_size,
            sector_size: whole.sector_size,
            disk_guid: whole.disk_guid,
            before: before
                .partitions
                .iter()
                .map(|partition| entry(partition, Origin::Replaced))
                .collect(),
            after: whole
                .partitions
                .iter()
                .map(|partition| entry(partition, Origin::Image))
                .collect(),
            released: self.released(before, kept),
            clear: clear
                .into_iter()
                .map(|extent| Clear {
                    extent,
                    why: "stale".into(),
                })
                .collect(),
            image_extents: merge(extents.collect()),
            table_extents: vec![
                primary,
                Extent {
                    start: backup_at,
                    length: backup.len() as u64,
                },
            ],
            kept: kept
                .iter()
                .map(|partition| Kept {
                    number: partition.number,
                    guid: partition.guid.to_string(),
                    name: partition.name.clone(),
                    extent: Extent {
                        start: partition.start,
                        length: partition.size,
                    },
                    what: "ext4".into(),
                })
                .collect(),
        }
    }
}

/// Writes a table; a copy that is not wanted gets a wrong checksum.
fn put_table(table: &Table, bytes: &mut [u8], primary: bool, backup: bool) {
    let sector = table.sector_size as usize;
    let (at, copy) = table.backup().unwrap();
    Op::Write(at, copy).apply(bytes);
    Op::Write(0, table.primary().unwrap()).apply(bytes);
    if !primary {
        bytes[sector + 16] ^= 0xff;
    }
    if !backup {
        bytes[table.disk_size as usize - sector + 16] ^= 0xff;
    }
}
