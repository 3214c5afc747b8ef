//! Disks as people have them, and what each of them would miss, made from a seed.

use std::collections::BTreeSet;
use std::fmt;

use prejoin_formats::gpt::{self, Partition, Table, types};
use prejoin_wire::disk::Extent;
use uuid::Uuid;

use crate::node::{self, MIB, Node, SYSTEM, guid};
use crate::sparse::Sparse;
use crate::support::Random;

/// What something of a user's looks like to whoever might take it for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A partition with a file system and a name of its own.
    Plain,
    /// It is called as one of the system's, or as state or data.
    Called,
    /// Bytes that nothing knows.
    Raw,
    /// The image of a whole disk.
    Nested,
    /// A second EFI partition.
    Esp,
    /// Nothing was written to it yet.
    Blank,
    /// Its entry is gone, its file system is whole.
    Lost,
    /// Its entry is gone, and nothing knows its bytes.
    LostRaw,
    /// The state or data of a node, with a file system.
    State,
    /// The same, used as it is: a raw volume.
    RawState,
    /// A state or data with another name, or another type.
    Renamed,
    /// In an MBR, or in an extended partition of one.
    Logical,
    /// The whole disk.
    Whole,
}

impl Kind {
    pub(crate) const ALL: [Kind; 13] = [
        Kind::Plain,
        Kind::Called,
        Kind::Raw,
        Kind::Nested,
        Kind::Esp,
        Kind::Blank,
        Kind::Lost,
        Kind::LostRaw,
        Kind::State,
        Kind::RawState,
        Kind::Renamed,
        Kind::Logical,
        Kind::Whole,
    ];
}

/// A part of a disk that is a user's.
#[derive(Clone, Debug)]
pub(crate) struct Owned {
    pub(crate) kind: Kind,
    pub(crate) extent: Extent,
    /// Its entry, where a GPT has one.
    pub(crate) entry: Option<Partition>,
    /// The user has named it for deletion.
    pub(crate) named: bool,
}

impl fmt::Display for Owned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Extent { start, length } = self.extent;
        let entry = self.entry.as_ref();
        let name = entry.map_or("no entry", |entry| entry.name.as_str());
        write!(f, "{:?} at {start}+{length} ({name})", self.kind)
    }
}

/// A disk that is made, part by part.
pub(crate) struct Maker<'a> {
    pub(crate) random: &'a mut Random,
    pub(crate) disk: Sparse,
    pub(crate) table: Table,
    pub(crate) owned: Vec<Owned>,
    pub(crate) delete: BTreeSet<String>,
}

impl Maker<'_> {
    /// Partitions of a user's beside what is there.
    pub(crate) fn add_some(&mut self, behind: u64) {
        for _ in 0..1 + self.random.below(4) {
            let kind = match self.random.below(12) {
                0..=2 => Kind::Called,
                3..=4 => Kind::Raw,
                5 => Kind::Nested,
                6 => Kind::Esp,
                7 => Kind::Blank,
                _ => Kind::Plain,
            };
            self.add(kind, behind);
        }
    }

    fn add(&mut self, kind: Kind, behind: u64) {
        let Some(extent) = self.place(behind) else {
            return;
        };
        let Some(number) = (1..=128).find(|&number| self.table.partition(number).is_none()) else {
            return;
        };
        let name = match kind {
            Kind::Called => {
                let names = SYSTEM.map(|(name, _)| name);
                let which = self.random.below(8) as usize;
                names.get(which).copied().unwrap_or("data")
            }
            Kind::Esp => "EFI system partition",
            Kind::Raw => "backup",
            _ => ["photos", "", "work", "Basic data partition"][self.random.below(4) as usize],
        };
        let esp = kind == Kind::Esp || name == "boot" && self.random.chance(50);
        let entry = Partition {
            number,
            type_guid: if esp { types::ESP } else { types::LINUX },
            guid: random_guid(self.random),
            start: extent.start,
            size: extent.length,
            attributes: 0,
            name: name.into(),
        };
        let raw = kind == Kind::Raw || kind == Kind::Called && self.random.chance(50);
        match kind {
            Kind::Blank => {}
            Kind::Nested => self.nested(extent),
            _ if raw => self.raw(extent),
            _ if esp => self.boot(extent),
            _ => self.photos(extent),
        }
        let listed = Owned {
            kind,
            extent,
            entry: Some(entry.clone()),
            named: false,
        };
        self.table.partitions.push(entry);
        self.owned.push(listed);
    }

    /// A free place at a MiB, from `behind` on.
    fn place(&mut self, behind: u64) -> Option<Extent> {
        let usable = self.table.usable();
        let mut taken: Vec<Extent> = self.table.partitions.iter().map(extent).collect();
        taken.extend(self.owned.iter().map(|owned| owned.extent));
        taken.sort();
        let mut gaps = Vec::new();
        let mut from = usable.start.max(behind).next_multiple_of(MIB);
        let end = Extent::between(usable.end / MIB * MIB, usable.end / MIB * MIB);
        for part in taken.into_iter().chain([end]) {
            if part.start >= from + 8 * MIB {
                gaps.push(Extent::between(from, part.start));
            }
            from = from.max(part.end().next_multiple_of(MIB));
        }
        if gaps.is_empty() {
            return None;
        }
        let gap = gaps[self.random.below(gaps.len() as u64) as usize];
        let room = gap.length / MIB - 8;
        let apart = match self.random.below(3) {
            0 => 0,
            1 => room.min(1),
            _ => self.random.below(room + 1),
        };
        let length = (8 + self.random.below(120)).min(gap.length / MIB - apart) * MIB;
        Some(Extent {
            start: gap.start + apart * MIB,
            length,
        })
    }

    /// Somebody has made room behind what the node has made.
    pub(crate) fn shrink(&mut self) {
        let last = self.table.partitions.iter_mut().max_by_key(|p| p.start);
        if let Some(last) = last.filter(|last| ["state", "data"].contains(&last.name.as_str())) {
            last.size = last.size.min(1 << 30);
        }
    }

    /// Somebody has used a node's state or data.
    pub(crate) fn use_own(&mut self, name: &str) {
        let found = ["w1", "w2"].map(|node| guid(node, name));
        let mut partitions = self.table.partitions.iter();
        let Some(entry) = partitions
            .find(|entry| found.contains(&entry.guid))
            .cloned()
        else {
            return;
        };
        let extent = extent(&entry);
        let kind = match self.random.below(10) {
            0..=4 => Kind::State,
            5..=7 => Kind::RawState,
            _ => return,
        };
        match kind {
            Kind::RawState => self.raw(extent),
            _ => self.photos(extent),
        }
        self.owned.push(Owned {
            kind,
            extent,
            entry: Some(entry),
            named: false,
        });
    }

    /// Entries that somebody has renamed, retyped or lost.
    pub(crate) fn edit(&mut self) {
        for owned in &mut self.owned {
            let Some(entry) = &owned.entry else { continue };
            let own = matches!(owned.kind, Kind::State | Kind::RawState);
            let index = self.table.partitions.iter().position(|p| p == entry);
            let Some(index) = index else { continue };
            if self.random.chance(20) && owned.kind != Kind::Blank {
                self.table.partitions.remove(index);
                owned.entry = None;
                let raw = looks_raw(&self.disk, owned.extent);
                owned.kind = if raw { Kind::LostRaw } else { Kind::Lost };
            } else if own && self.random.chance(25) {
                let entry = &mut self.table.partitions[index];
                if self.random.chance(50) {
                    entry.name = "old".into();
                } else {
                    entry.type_guid = types::BASIC_DATA;
                }
                owned.entry = Some(entry.clone());
                owned.kind = Kind::Renamed;
            }
        }
    }

    /// Writes the table; one copy of it may be damaged.
    pub(crate) fn put_table(&mut self) {
        let sector = u64::from(self.table.sector_size);
        let (at, backup) = self.table.backup().unwrap();
        self.disk.write(at, &backup);
        self.disk.write(0, &self.table.primary().unwrap());
        let header = match self.random.below(20) {
            0 => sector,
            1 => at + backup.len() as u64 - sector,
            _ => return,
        };
        self.disk.write(header + 16, &[0xff; 4]);
    }

    /// An MBR with three primary partitions, one of them with logical ones in it.
    pub(crate) fn put_mbr(&mut self) {
        let mut at = MIB * (1 + self.random.below(60));
        let mut places = Vec::new();
        for _ in 0..4 {
            let length = MIB * (8 + self.random.below(60));
            places.push(Extent { start: at, length });
            at += length + MIB * (1 + self.random.below(3));
        }
        let lba = |at: u64| (at / 512) as u32;
        let extended = Extent::between(places[2].start - MIB, places[3].end());
        let link = lba(places[3].start - MIB - extended.start);
        let count = |extent: Extent| lba(extent.length);
        let behind = lba(MIB);
        let mut record = |at: u64, entries: &[(u8, u32, u32)]| {
            let mut sector = [0; 512];
            for (&(kind, start, count), entry) in entries.iter().zip(sector[446..].chunks_mut(16)) {
                entry[4] = kind;
                entry[8..12].copy_from_slice(&start.to_le_bytes());
                entry[12..16].copy_from_slice(&count.to_le_bytes());
            }
            sector[510..].copy_from_slice(&[0x55, 0xaa]);
            self.disk.write(at, &sector);
        };
        record(
            0,
            &[
                (0x83, lba(places[0].start), count(places[0])),
                (0x07, lba(places[1].start), count(places[1])),
                (0x05, lba(extended.start), count(extended)),
            ],
        );
        let second = count(places[3]) + behind;
        record(
            extended.start,
            &[(0x83, behind, count(places[2])), (0x05, link, second)],
        );
        record(places[3].start - MIB, &[(0x83, behind, count(places[3]))]);
        for extent in places {
            match self.random.chance(30) {
                true => self.raw(extent),
                false => self.photos(extent),
            }
            self.owned.push(Owned {
                kind: Kind::Logical,
                extent,
                entry: None,
                named: false,
            });
        }
    }

    /// Something without any table.
    pub(crate) fn put_whole(&mut self) {
        let extent = Extent::between(0, self.disk.size);
        match self.random.below(3) {
            0 => return,
            1 => self.raw(extent),
            _ => self.photos(extent),
        }
        self.owned.push(Owned {
            kind: Kind::Whole,
            extent,
            entry: None,
            named: false,
        });
    }

    /// Names for deletion: what lies where the image goes more often than other things.
    pub(crate) fn name_some(&mut self, node: &Node, all: bool) {
        let image = Extent::between(0, node.manifest.size);
        for owned in &mut self.owned {
            let chance = match owned.extent.meets(&image) {
                true => 60,
                false => 12,
            };
            if !(all || self.random.chance(chance)) {
                continue;
            }
            owned.named = true;
            self.delete.insert(match &owned.entry {
                Some(entry) if self.random.chance(70) => entry.guid.to_string(),
                _ => format!("@{}", owned.extent.start),
            });
        }
    }

    /// Random bytes from the first one on, and here and there behind.
    fn raw(&mut self, extent: Extent) {
        let mut bytes = vec![0; (2 * MIB).min(extent.length) as usize];
        self.random.fill(&mut bytes);
        self.disk.write(extent.start, &bytes);
        for part in 1..16 {
            let at = extent.start + extent.length / 16 * part / 512 * 512;
            let mut bytes = vec![0; (64 << 10).min(extent.end() - at) as usize];
            self.random.fill(&mut bytes);
            self.disk.write(at, &bytes);
        }
    }

    fn photos(&mut self, extent: Extent) {
        let size = extent.length.min(8 * MIB) / 4096 * 4096;
        let uuid = random_guid(self.random);
        let bytes = match self.random.chance(15) {
            true => node::linux(size, uuid),
            false => node::photos(size, uuid),
        };
        self.disk.write(extent.start, &bytes);
    }

    fn boot(&mut self, extent: Extent) {
        let size = extent.length.min(8 * MIB);
        let bytes = node::boot(size, self.table.sector_size);
        self.disk.write(extent.start, &bytes);
    }

    /// A disk in a partition, which has a table of its own at both ends.
    fn nested(&mut self, within: Extent) {
        let inner = Table {
            disk_guid: random_guid(self.random),
            sector_size: self.table.sector_size,
            disk_size: within.length,
            partitions: vec![Partition {
                number: 1,
                type_guid: types::LINUX,
                guid: random_guid(self.random),
                start: MIB,
                size: within.length - 2 * MIB,
                attributes: 0,
                name: ["root-a", "state", "disk"][self.random.below(3) as usize].into(),
            }],
        };
        let (at, backup) = inner.backup().unwrap();
        self.disk.write(within.start, &inner.primary().unwrap());
        self.disk.write(within.start + at, &backup);
        let part = Extent {
            start: within.start + MIB,
            length: within.length - 2 * MIB,
        };
        self.photos(part);
    }
}

/// Whether nothing of ours would know a file system there.
fn looks_raw(disk: &Sparse, of: Extent) -> bool {
    let magic = |at: u64, length: u64| {
        disk.bytes(Extent {
            start: of.start + at,
            length,
        })
    };
    magic(1080, 2) != [0x53, 0xef] && magic(510, 2) != [0x55, 0xaa]
}

pub(crate) fn extent(partition: &gpt::Partition) -> Extent {
    Extent {
        start: partition.start,
        length: partition.size,
    }
}

pub(crate) fn random_guid(random: &mut Random) -> Uuid {
    let mut bytes = [0; 16];
    random.fill(&mut bytes);
    Uuid::from_bytes(bytes)
}
