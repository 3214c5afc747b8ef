//! The two copies of the partition table, replaced so that one of them always counts.

use std::cell::RefCell;
use std::io;

use prejoin_formats::gpt::{self, Partition, Place, Table};
use prejoin_formats::guid::Guid;
use prejoin_profiles::disk::{Entry, Extent, Origin, Plan};

use super::error::{Error, Spot};
use super::{Phase, REPAIRS};
use crate::device::{ReadAt, WriteAt};

/// Type of the image's partitions until everything in them was written and read back. Nothing mounts such a partition
/// by itself; whoever finds one knows that writing was interrupted. It is prejoin's own
/// (a random GUID, as the specification wants it), in the place of the "partition with incomplete contents" of systemd's
/// `sysupdate`.
pub const PARTIAL: Guid = match Guid::parse("a9e5177f-8d53-4732-8f48-a9b1d50c6590") {
    Some(guid) => guid,
    None => panic!("the GUID is misspelt"),
};

/// The tables of a plan.
pub(super) struct Tables {
    /// With the image's partitions marked [`PARTIAL`].
    pub(super) partial: Copies,
    /// With everything as planned.
    pub(super) whole: Copies,
    kept: Vec<Partition>,
    /// The same as the table of before lists them: their GUIDs may change.
    kept_before: Vec<Partition>,
    /// GUID and extent of all that was on the disk when the plan was made, or is put there.
    known: Vec<(Guid, Extent)>,
    size: u64,
    sector_size: u32,
}

/// A table as bytes.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Copies {
    /// Protective MBR and primary copy, at byte 0.
    pub(super) primary: Vec<u8>,
    /// How many bytes of it are MBR and header; the rest is entries.
    head: usize,
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
        let disk_guid = guid(&plan.disk_guid)?;
        let table = Table {
            disk_guid,
            sector_size: plan.sector_size,
            disk_size: plan.size,
            partitions,
        };
        let mut partial = table.clone();
        let mut kept = Vec::new();
        for (entry, partition) in plan.after.iter().zip(&mut partial.partitions) {
            match entry.origin {
                Origin::Image | Origin::Node => partition.type_guid = PARTIAL,
                Origin::Kept => kept.push(partition.clone()),
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
        let entries = plan.before.iter().chain(&plan.after);
        let known = entries
            .map(|entry| (guid(&entry.guid).unwrap_or_default(), entry.extent))
            .collect();
        Ok(Tables {
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
        let sector = u64::from(self.sector_size);
        let usual = self.whole.backup.len() as u64;
        let start = match found.place {
            Place::Primary => sector,
            Place::Backup { lba } => ((lba + 1) * sector).saturating_sub(usual),
        };
        let mut extents = vec![Extent {
            start,
            length: usual,
        }];
        for finding in &found.findings {
            if let gpt::Finding::UnusualEntries { lba, count, size } = *finding {
                extents.push(Extent {
                    start: lba * sector,
                    length: u64::from(count) * u64::from(size),
                });
            }
        }
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

    /// Whether the table on the disk lists a partition that was not written to its end.
    pub(super) fn has_partial(&self, disk: &dyn ReadAt) -> bool {
        let found = self.read(disk, false, &RefCell::new(None));
        found.is_some_and(|found| {
            found
                .table
                .partitions
                .iter()
                .any(|partition| partition.type_guid == PARTIAL)
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

    fn lists(&self, found: &gpt::Found) -> bool {
        let has = |partition: &Partition| found.table.partitions.contains(partition);
        self.kept.iter().all(|kept| {
            let same = |was: &&Partition| {
                (was.number, was.start, was.size) == (kept.number, kept.start, kept.size)
            };
            has(kept) || self.kept_before.iter().find(same).is_some_and(has)
        })
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
    fn of(table: &Table) -> Result<Self, Error> {
        let (backup_at, backup) = table.backup().map_err(Error::Table)?;
        let head = 2 * table.sector_size as usize;
        Ok(Copies {
            primary: table.primary().map_err(Error::Table)?,
            head,
            backup,
            backup_at,
        })
    }

    fn primary_extent(&self) -> Extent {
        Extent {
            start: 0,
            length: self.primary.len() as u64,
        }
    }

    fn backup_extent(&self) -> Extent {
        Extent {
            start: self.backup_at,
            length: self.backup.len() as u64,
        }
    }

    /// How many of the two copies are on the disk.
    pub(super) fn count(&self, disk: &dyn ReadAt) -> usize {
        [(0, &self.primary), (self.backup_at, &self.backup)]
            .into_iter()
            .filter(|(at, bytes)| is(disk, *at, bytes))
            .count()
    }

    fn put(&self, relied: &[Extent], disk: &dyn WriteAt, phase: Phase) -> Result<u64, Error> {
        let (head, entries) = self.primary.split_at(self.head);
        // Its header last: until then a damaged one may be all that says where the backup copy is, on a disk that has
        // grown.
        let primary = [(self.head as u64, entries), (0, head)];
        let backup = [(self.backup_at, self.backup.as_slice())];
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

fn put(at: u64, bytes: &[u8], disk: &dyn WriteAt, phase: Phase) -> Result<u64, Error> {
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

fn is(disk: &dyn ReadAt, at: u64, bytes: &[u8]) -> bool {
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

fn guid(text: &str) -> Result<Guid, Error> {
    text.parse()
        .map_err(|error: prejoin_formats::guid::NotGuid| Error::Plan(error.to_string()))
}
