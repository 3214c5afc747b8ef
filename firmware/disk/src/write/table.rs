//! The two copies of the partition table, replaced so that one of them always counts.

use prejoin_formats::gpt::{self, Partition, Place, Table};
use prejoin_formats::guid::Guid;
use prejoin_profiles::disk::{Entry, Extent, Origin, Plan};

use super::error::{Error, Spot};
use super::{Phase, REPAIRS};
use crate::device::{ReadAt, WriteAt};

/// Type of the image's partitions until everything in them was written and read back. Nothing mounts such a partition
/// by itself and no firmware starts from it; whoever finds one knows that writing was interrupted. It is prejoin's own
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
    size: u64,
    sector_size: u32,
}

/// A table as bytes.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Copies {
    /// Protective MBR and primary copy, at byte 0.
    pub(super) primary: Vec<u8>,
    /// The backup copy.
    pub(super) backup: Vec<u8>,
    /// Where it goes.
    pub(super) backup_at: u64,
}

/// Which copy on the disk lists everything that is kept, and must stay until another one does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Relied {
    /// None, and nothing is kept.
    None,
    /// The primary one.
    Primary,
    /// The backup one in the last sector.
    Backup,
    /// A backup one in the midst of a disk that has grown.
    Elsewhere,
}

impl Tables {
    pub(super) fn of(plan: &Plan) -> Result<Self, Error> {
        let partitions = plan.after.iter().map(partition).collect::<Result<Vec<_>, _>>()?;
        let disk_guid = guid(&plan.disk_guid)?;
        let table = Table { disk_guid, sector_size: plan.sector_size, disk_size: plan.size, partitions };
        let mut partial = table.clone();
        let mut kept = Vec::new();
        for (entry, partition) in plan.after.iter().zip(&mut partial.partitions) {
            match entry.origin {
                Origin::Image => partition.type_guid = PARTIAL,
                Origin::Kept => kept.push(partition.clone()),
                Origin::Replaced | Origin::Deleted => {
                    return Err(Error::Plan(format!("partition {} goes and is in the new table", entry.number)));
                }
            }
        }
        for partition in &plan.kept {
            let Extent { start, length } = partition.extent;
            let same = |p: &&Partition| p.number == partition.number && p.start == start && p.size == length;
            if kept.iter().find(same).is_none_or(|p| !p.guid.to_string().eq_ignore_ascii_case(&partition.guid)) {
                let (number, name) = (partition.number, &partition.name);
                return Err(Error::Plan(format!("partition {number} {name:?} is kept and not in the new table")));
            }
        }
        let (partial, whole) = (Copies::of(&partial)?, Copies::of(&table)?);
        for extent in [whole.primary_extent(), whole.backup_extent()] {
            if !plan.table_extents.iter().any(|planned| planned.covers(&extent)) {
                return Err(Error::Plan(format!("no table is planned at {}+{}", extent.start, extent.length)));
            }
        }
        Ok(Tables { partial, whole, kept, size: plan.size, sector_size: plan.sector_size })
    }

    /// Which copy on the disk counts now, and where it lies (header and entries).
    pub(super) fn relied(&self, disk: &dyn ReadAt) -> Result<(Relied, Vec<Extent>), Error> {
        let whole = self.read(disk, false).filter(|found| self.lists(found));
        // With the primary copy out of sight, the backup speaks.
        let found = whole.or_else(|| self.read(disk, true).filter(|found| self.lists(found)));
        let Some(found) = found else {
            return match self.kept.first() {
                Some(kept) => Err(Error::NotListed { number: kept.number, name: kept.name.clone() }),
                None => Ok((Relied::None, Vec::new())),
            };
        };
        let sector = u64::from(self.sector_size);
        let (relied, header) = match found.place {
            Place::Primary => (Relied::Primary, 1),
            Place::Backup { lba } if lba == self.size / sector - 1 => (Relied::Backup, lba),
            Place::Backup { lba } => (Relied::Elsewhere, lba),
        };
        let usual = self.whole.backup.len() as u64;
        let start = if header == 1 { sector } else { (header * sector + sector).saturating_sub(usual) };
        let mut extents = vec![Extent { start, length: usual }];
        for finding in &found.findings {
            if let gpt::Finding::UnusualEntries { lba, count, size } = *finding {
                extents.push(Extent { start: lba * sector, length: u64::from(count) * u64::from(size) });
            }
        }
        Ok((relied, extents))
    }

    fn read(&self, disk: &dyn ReadAt, hide_primary: bool) -> Option<gpt::Found> {
        let read = |offset, buffer: &mut [u8]| {
            if hide_primary && offset == u64::from(self.sector_size) {
                buffer.fill(0);
                return Ok(());
            }
            disk.read_at(offset, buffer)
        };
        gpt::read(read, self.size, self.sector_size).ok()
    }

    fn lists(&self, found: &gpt::Found) -> bool {
        self.kept.iter().all(|kept| found.table.partitions.contains(kept))
    }

    /// Puts a table on the disk: first the copy that nothing relies on, then, when the medium has it, the other one.
    /// A copy that is there already is left alone. Returns the bytes written.
    ///
    /// "Backup first" would not do: whoever was interrupted while the primary copy was written has only the backup.
    pub(super) fn put(&self, copies: &Copies, disk: &dyn WriteAt, phase: Phase) -> Result<u64, Error> {
        let relied = self.relied(disk)?.0;
        copies.put(relied, disk, phase)
    }
}

impl Copies {
    fn of(table: &Table) -> Result<Self, Error> {
        let (backup_at, backup) = table.backup().map_err(Error::Table)?;
        Ok(Copies { primary: table.primary().map_err(Error::Table)?, backup, backup_at })
    }

    fn primary_extent(&self) -> Extent {
        Extent { start: 0, length: self.primary.len() as u64 }
    }

    fn backup_extent(&self) -> Extent {
        Extent { start: self.backup_at, length: self.backup.len() as u64 }
    }

    /// How many of the two copies are on the disk.
    pub(super) fn count(&self, disk: &dyn ReadAt) -> usize {
        [(0, &self.primary), (self.backup_at, &self.backup)]
            .into_iter()
            .filter(|(at, bytes)| is(disk, *at, bytes))
            .count()
    }

    pub(super) fn put(&self, relied: Relied, disk: &dyn WriteAt, phase: Phase) -> Result<u64, Error> {
        let (primary, backup) = ((0, self.primary.as_slice()), (self.backup_at, self.backup.as_slice()));
        let order = if relied == Relied::Backup { [primary, backup] } else { [backup, primary] };
        let mut written = 0;
        for (at, bytes) in order {
            written += put(at, bytes, disk, phase)?;
        }
        Ok(written)
    }
}

fn put(at: u64, bytes: &[u8], disk: &dyn WriteAt, phase: Phase) -> Result<u64, Error> {
    let spot = || Spot { offset: at, length: bytes.len() as u64, owner: "partition table".into() };
    let flushing = |source| Error::Flush { phase, source };
    if is(disk, at, bytes) {
        // Found in a cache perhaps: an interrupted run wrote it and did not come to flush it.
        disk.flush().map_err(flushing)?;
        return Ok(0);
    }
    for _ in 0..=REPAIRS {
        let failed = |source| Error::Io { phase, doing: "writing", spot: spot(), source };
        disk.write_at(at, bytes).map_err(failed)?;
        disk.flush().and_then(|()| disk.forget()).map_err(flushing)?;
        if is(disk, at, bytes) {
            return Ok(bytes.len() as u64);
        }
    }
    Err(Error::Unstable { phase, spot: spot(), repairs: REPAIRS })
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
    text.parse().map_err(|error: prejoin_formats::guid::NotGuid| Error::Plan(error.to_string()))
}
