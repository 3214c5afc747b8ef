//! The two copies of the partition table, replaced so that one of them always counts.

use std::cell::RefCell;
use std::io;

use prejoin_formats::gpt::{self, Partition, Place, Table};
use prejoin_wire::disk::{Entry, Extent, Origin, Plan};
use prejoin_wire::handoff;
use uuid::{Uuid, uuid};

use super::error::{Error, Spot};
use super::{Phase, REPAIRS};
use crate::device::{ReadAt, WriteAt};

/// Type of the image's partitions until everything in them was written and read back, and of those that a node makes
/// for itself until it has made what goes into them: no other state or data partition is ever formatted. Nothing mounts
/// such a partition by itself. It is prejoin's own
/// (a random GUID, as the specification wants it), in the place of the "partition with incomplete contents" of systemd's
/// `sysupdate`.
pub const PARTIAL: Uuid = uuid!("a9e5177f-8d53-4732-8f48-a9b1d50c6590");

/// Type of a partition that goes, because somebody named it or because it is of another node's system, from before its
/// first byte is cleared until the new table stands. The names that it was released by may lie in what is cleared: whoever
/// finds one of this type knows that it was released by all of them. It is prejoin's own, a random GUID.
pub const RELEASED: Uuid = uuid!("6b68886e-e8a1-4054-a47b-a510fcc53f0f");

/// The tables of a plan.
pub(super) struct Tables {
    /// With what is kept and what goes, and nothing new; if anything goes that was not the node's own.
    pub(super) released: Option<Copies>,
    /// With the image's partitions marked [`PARTIAL`].
    pub(super) partial: Copies,
    /// With everything as planned.
    pub(super) whole: Copies,
    kept: Vec<Partition>,
    /// The same as the table of before lists them: their GUIDs may change.
    kept_before: Vec<Partition>,
    /// GUID and extent of all that was on the disk when the plan was made, or is put there.
    known: Vec<(Uuid, Extent)>,
    size: u64,
    sector_size: u32,
}

/// A table as bytes.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Copies {
    /// The disk's own GUID.
    pub(super) disk_guid: Uuid,
    /// Protective MBR and primary copy, at byte 0.
    pub(super) primary: Vec<u8>,
    /// How many bytes of it are MBR and header; the rest is entries.
    pub(super) head: usize,
    /// The backup copy.
    pub(super) backup: Vec<u8>,
    /// Where it goes.
    pub(super) backup_at: u64,
}

impl Tables {
    pub(super) fn of(plan: &Plan) -> Result<Self, Error> {
        let partitions = plan
            .after
            .iter()
            .map(partition)
            .collect::<Result<Vec<_>, _>>()?;
        let table = Table {
            disk_guid: plan.disk_guid,
            sector_size: plan.sector_size,
            disk_size: plan.size,
            partitions,
        };
        let mut partial = table.clone();
        let mut kept = Vec::new();
        for (entry, partition) in plan.after.iter().zip(&mut partial.partitions) {
            match entry.origin {
                Origin::Image | Origin::Node => partition.type_guid = PARTIAL,
                // Not a state that is wiped: it keeps its place, not its type, and nothing that is in it.
                Origin::Kept if plan.kept.iter().any(|kept| kept.number == entry.number) => {
                    kept.push(partition.clone());
                }
                Origin::Kept => {}
                Origin::Replaced | Origin::Deleted => {
                    return Err(Error::Plan(format!(
                        "partition {} goes and is in the new table",
                        entry.number
                    )));
                }
            }
        }
        for partition in &plan.kept {
            let Extent { start, length } = partition.extent;
            let same = |p: &&Partition| {
                p.number == partition.number && p.start == start && p.size == length
            };
            if kept
                .iter()
                .find(same)
                .is_none_or(|p| !p.guid.to_string().eq_ignore_ascii_case(&partition.guid))
            {
                let (number, name) = (partition.number, &partition.name);
                return Err(Error::Plan(format!(
                    "partition {number} {name:?} is kept and not in the new table"
                )));
            }
        }
        let released = plan
            .released
            .iter()
            .map(partition)
            .collect::<Result<Vec<_>, _>>()?;
        let released = (!released.is_empty()).then(|| Table {
            partitions: [kept.clone(), released].concat(),
            ..table.clone()
        });
        let released = released.as_ref().map(Copies::of).transpose()?;
        let before = plan.before.iter().filter(|was| was.origin == Origin::Kept);
        let kept_before = before.filter_map(|was| partition(was).ok()).collect();
        let (partial, whole) = (Copies::of(&partial)?, Copies::of(&table)?);
        for extent in [whole.primary_extent(), whole.backup_extent()] {
            if !plan
                .table_extents
                .iter()
                .any(|planned| planned.covers(&extent))
            {
                return Err(Error::Plan(format!(
                    "no table is planned at {}+{}",
                    extent.start, extent.length
                )));
            }
        }
        let entries = plan.before.iter().chain(&plan.after).chain(&plan.released);
        let known = entries
            .filter_map(|entry| Some((guid(&entry.guid).ok()?, entry.extent)))
            .collect();
        Ok(Tables {
            released,
            partial,
            whole,
            kept,
            kept_before,
            known,
            size: plan.size,
            sector_size: plan.sector_size,
        })
    }

    /// Where the copy lies that counts now (header and entries), which lists everything that is kept and must stay until
    /// another one does. Nowhere if there is none, and nothing is kept.
    pub(super) fn relied(&self, disk: &dyn ReadAt, phase: Phase) -> Result<Vec<Extent>, Error> {
        let broken = RefCell::new(None);
        let whole = self
            .read(disk, false, &broken)
            .filter(|found| self.lists(found));
        // With the primary copy out of sight, the backup speaks.
        let found = whole.or_else(|| {
            self.read(disk, true, &broken)
                .filter(|found| self.lists(found))
        });
        let Some(found) = found else {
            let Some(kept) = self.kept.first() else {
                return Ok(Vec::new());
            };
            return Err(match broken.into_inner() {
                Some((spot, source)) => Error::Io {
                    phase,
                    doing: "reading",
                    spot,
                    source,
                },
                None => Error::NotListed {
                    number: kept.number,
                    name: kept.name.clone(),
                },
            });
        };
        // Nothing stops other programs from writing a table to a disk that is ours alone.
        let is_known = |p: &&Partition| {
            self.known.contains(&(
                p.guid,
                Extent {
                    start: p.start,
                    length: p.size,
                },
            ))
        };
        if let Some(appeared) = found
            .table
            .partitions
            .iter()
            .find(|partition| !is_known(partition))
        {
            return Err(Error::Appeared {
                phase,
                number: appeared.number,
                name: appeared.name.clone(),
            });
        }
        let extents = self.whole.relied(&found);
        let meets = |copy: Extent| extents.iter().any(|extent| extent.meets(&copy));
        if !self.kept.is_empty()
            && meets(self.whole.primary_extent())
            && meets(self.whole.backup_extent())
        {
            return Err(Error::Plan(
                "the table that lists what is kept lies where both copies of the new one go".into(),
            ));
        }
        Ok(extents)
    }

    /// GUIDs of the partitions that the table on the disk lists as half done: not written to their end, or about to go.
    pub(super) fn half_done(&self, disk: &dyn ReadAt) -> Vec<Uuid> {
        let found = self.read(disk, false, &RefCell::new(None));
        let partitions = found.map(|found| found.table.partitions);
        let partial = partitions.into_iter().flatten();
        partial
            .filter(|partition| [PARTIAL, RELEASED].contains(&partition.type_guid))
            .map(|partition| partition.guid)
            .collect()
    }

    /// Whether the table on the disk lists a partition of an image that was not written to its end.
    pub(super) fn has_partial(&self, disk: &dyn ReadAt) -> bool {
        let found = self.read(disk, false, &RefCell::new(None));
        found.is_some_and(|found| {
            found.table.partitions.iter().any(|partition| {
                partition.type_guid == PARTIAL && !handoff::is_made_by_node(&partition.name)
            })
        })
    }

    /// Reads the table; notes in `broken` what the disk did not deliver.
    fn read(
        &self,
        disk: &dyn ReadAt,
        hide_primary: bool,
        broken: &RefCell<Option<(Spot, io::Error)>>,
    ) -> Option<gpt::Found> {
        let read = |offset, buffer: &mut [u8]| {
            if hide_primary && offset == u64::from(self.sector_size) {
                buffer.fill(0);
                return Ok(());
            }
            disk.read_at(offset, buffer).inspect_err(|error| {
                let copy = io::Error::new(error.kind(), error.to_string());
                broken.replace(Some((spot(offset, buffer.len() as u64), copy)));
            })
        };
        gpt::read(read, self.size, self.sector_size).ok()
    }

    /// Whether all that is kept is in a table as it is to be; one of the node's own may have the mark of the run that is
    /// completed.
    fn lists(&self, found: &gpt::Found) -> bool {
        let has = |partition: &Partition| found.table.partitions.contains(partition);
        let lists = |kept: &Partition| {
            let marked = Partition {
                type_guid: PARTIAL,
                ..kept.clone()
            };
            // One that is taken over gets another GUID, and nothing else.
            let same = |was: &&Partition| {
                (was.number, was.start, was.size, was.attributes, &was.name)
                    == (
                        kept.number,
                        kept.start,
                        kept.size,
                        kept.attributes,
                        &kept.name,
                    )
            };
            has(kept) || has(&marked) || self.kept_before.iter().find(same).is_some_and(has)
        };
        self.kept.iter().all(lists)
    }

    /// Puts a table on the disk: the backup copy, then, when the medium has it, the primary one; the other way round where
    /// the copy that counts now lies in the place of the new backup.
    /// A copy that is there already is left alone. Returns the bytes written.
    ///
    /// "Backup first" would not do: whoever was interrupted while the primary copy was written has only the backup.
    pub(super) fn put(
        &self,
        copies: &Copies,
        disk: &dyn WriteAt,
        phase: Phase,
    ) -> Result<u64, Error> {
        let relied = self.relied(disk, phase)?;
        copies.put(&relied, disk, phase)
    }
}

impl Copies {
    pub(super) fn of(table: &Table) -> Result<Self, Error> {
        let (backup_at, backup) = table.backup().map_err(Error::Table)?;
        let head = 2 * table.sector_size as usize;
        Ok(Copies {
            disk_guid: table.disk_guid,
            primary: table.primary().map_err(Error::Table)?,
            head,
            backup,
            backup_at,
        })
    }

    pub(super) fn primary_extent(&self) -> Extent {
        Extent {
            start: 0,
            length: self.primary.len() as u64,
        }
    }

    pub(super) fn backup_extent(&self) -> Extent {
        Extent {
            start: self.backup_at,
            length: self.backup.len() as u64,
        }
    }

    /// Where the header and the entries of a copy of that size are, as everybody writes them.
    pub(super) fn usual_extent(&self, place: Place, sector: u64) -> Extent {
        let length = self.backup.len() as u64;
        let start = match place {
            Place::Primary => sector,
            Place::Backup { lba } => ((lba + 1) * sector).saturating_sub(length),
        };
        Extent { start, length }
    }

    /// Where the header and the entries of the copy lie by which a table was found; it counts until another one does.
    fn relied(&self, found: &gpt::Found) -> Vec<Extent> {
        let sector = u64::from(found.table.sector_size);
        let mut extents = vec![self.usual_extent(found.place, sector)];
        for finding in &found.findings {
            if let gpt::Finding::UnusualEntries { lba, count, size } = *finding {
                extents.push(Extent {
                    start: lba * sector,
                    length: u64::from(count) * u64::from(size),
                });
            }
        }
        extents
    }

    /// How many of the two copies are on the disk.
    pub(super) fn count(&self, disk: &dyn ReadAt) -> usize {
        [(0, &self.primary), (self.backup_at, &self.backup)]
            .into_iter()
            .filter(|(at, bytes)| is(disk, *at, bytes))
            .count()
    }

    /// What it has in one of the two places; nothing anywhere else.
    pub(super) fn bytes(&self, place: &Extent) -> &[u8] {
        match place.start {
            0 => &self.primary,
            start if start == self.backup_at => &self.backup,
            _ => &[],
        }
    }

    /// A disk that has nothing else.
    pub(super) fn reader(&self) -> impl Fn(u64, &mut [u8]) -> io::Result<()> {
        let places = [(0, &self.primary), (self.backup_at, &self.backup)];
        move |at: u64, into: &mut [u8]| {
            into.fill(0);
            let found = places.iter().find_map(|(start, bytes)| {
                let from = usize::try_from(at.checked_sub(*start)?).ok()?;
                bytes.get(from..from.checked_add(into.len())?)
            });
            found
                .into_iter()
                .for_each(|bytes| into.copy_from_slice(bytes));
            Ok(())
        }
    }

    /// The primary copy in the order in which it is written: its header last, for until then a damaged one may be all
    /// that says where the backup copy is, on a disk that has grown.
    pub(super) fn primary_parts(&self) -> [(u64, &[u8]); 2] {
        let (head, entries) = self.primary.split_at(self.head);
        [(self.head as u64, entries), (0, head)]
    }

    fn put(&self, relied: &[Extent], disk: &dyn WriteAt, phase: Phase) -> Result<u64, Error> {
        let primary = self.primary_parts();
        // Its header last, too: entries of ours without a header are known for what they are, a header without entries is not.
        let (entries, header) = self.backup.split_at(self.backup.len() - self.head / 2);
        let backup = [
            (self.backup_at, entries),
            (self.backup_at + entries.len() as u64, header),
        ];
        let primary_first = relied
            .iter()
            .any(|extent| extent.meets(&self.backup_extent()));
        let order = if primary_first {
            [&primary[..], &backup]
        } else {
            [&backup[..], &primary]
        };
        let mut written = 0;
        for &(at, bytes) in order.into_iter().flatten() {
            written += put(at, bytes, disk, phase)?;
        }
        Ok(written)
    }
}

/// Replaces a disk's table by another one, so that one whole copy of the one or the other counts at any time. `found` is
/// what the disk has now. Each copy is read back from the medium and repaired. Returns the bytes written.
pub fn replace_table(disk: &dyn WriteAt, found: &gpt::Found, table: &Table) -> Result<u64, Error> {
    let copies = Copies::of(table)?;
    copies.put(&copies.relied(found), disk, Phase::Table)
}

/// Which of the two copies, the primary one and that in the last sector, count by themselves.
pub(super) fn standing(
    read: &dyn Fn(u64, &mut [u8]) -> io::Result<()>,
    size: u64,
    sector_size: u32,
) -> [bool; 2] {
    let sector = u64::from(sector_size);
    let backup = |at: u64, into: &mut [u8]| {
        if at == sector {
            into.fill(0);
            return Ok(());
        }
        read(at, into)
    };
    let last = size / sector - 1;
    [
        gpt::read(read, size, sector_size).is_ok_and(|found| found.place == Place::Primary),
        gpt::read(backup, size, sector_size)
            .is_ok_and(|found| found.place == Place::Backup { lba: last }),
    ]
}

pub(super) fn put(at: u64, bytes: &[u8], disk: &dyn WriteAt, phase: Phase) -> Result<u64, Error> {
    let spot = || spot(at, bytes.len() as u64);
    let flushing = |source| Error::Flush { phase, source };
    if is(disk, at, bytes) {
        // Found in a cache perhaps: an interrupted run wrote it and did not come to flush it.
        disk.flush().map_err(flushing)?;
        return Ok(0);
    }
    for _ in 0..=REPAIRS {
        let failed = |source| Error::Io {
            phase,
            doing: "writing",
            spot: spot(),
            source,
        };
        disk.write_at(at, bytes).map_err(failed)?;
        disk.flush()
            .and_then(|()| disk.forget())
            .map_err(flushing)?;
        if is(disk, at, bytes) {
            return Ok(bytes.len() as u64);
        }
    }
    Err(Error::Unstable {
        phase,
        spot: spot(),
        repairs: REPAIRS,
    })
}

fn spot(offset: u64, length: u64) -> Spot {
    Spot {
        offset,
        length,
        owner: "partition table".into(),
    }
}

pub(super) fn is(disk: &dyn ReadAt, at: u64, bytes: &[u8]) -> bool {
    let mut found = vec![0; bytes.len()];
    disk.read_at(at, &mut found).is_ok() && found == bytes
}

fn partition(entry: &Entry) -> Result<Partition, Error> {
    Ok(Partition {
        number: entry.number,
        type_guid: guid(&entry.type_guid)?,
        guid: guid(&entry.guid)?,
        start: entry.extent.start,
        size: entry.extent.length,
        attributes: entry.attributes,
        name: entry.name.clone(),
    })
}

fn guid(text: &str) -> Result<Uuid, Error> {
    text.parse()
        .map_err(|_| Error::Plan(format!("{text:?} is not a GUID")))
}
