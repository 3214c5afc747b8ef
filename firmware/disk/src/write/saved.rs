//! The old partition tables, so that they can be put back.

use std::fmt;

use prejoin_formats::gpt::{self, Finding, Place};
use prejoin_wire::disk::{Extent, Kept, Plan, merge};
use serde::{Deserialize, Serialize};

use super::Phase;
use super::error::{Error, Spot};
use super::kept::{self, Fingerprint};
use super::table::{self, Copies, Tables};
use crate::device::{ReadAt, WriteAt};
use crate::{probe, region};

/// Most bytes of one saved area: a table of 1024 entries of 4096 bytes is 4 MiB.
const LIMIT: u64 = 8 << 20;

/// What a power cut writes whole or not at all, on any disk.
const SECTOR: usize = 512;

/// What a disk had in the places where its new table goes, and proof of what it keeps. It serialises: a file of some
/// 100 kB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    /// What was written over it.
    pub plan: Plan,
    /// MBR and both copies of the GPT, the copy that counted if it was elsewhere, and the boot records of logical
    /// partitions, in the order of the disk.
    pub areas: Vec<Area>,
    /// Each partition of [`Plan::kept`] as it was.
    pub kept: Vec<Fingerprint>,
}

/// Some bytes of a disk.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Area {
    /// First byte.
    pub offset: u64,
    /// The bytes; in documents as hexadecimal digits.
    #[serde(with = "hex")]
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Area({}+{})", self.offset, self.bytes.len())
    }
}

impl Saved {
    /// Whether what is on the disk may be what `plan`, or another one that did not come to its end, has made of what was
    /// saved: then this is what the disk was like before, and the table that is there now is half of the new one.
    pub fn precedes(&self, plan: &Plan, disk: &dyn ReadAt) -> Result<bool, Error> {
        let tables = Tables::of(plan)?;
        let half_done = tables.half_done(disk);
        // What came to the disk since is in no table that was saved then, unless it was the run itself that brought it.
        let had = |kept: &Kept| {
            let mut was = self.plan.kept.iter();
            was.any(|was| (&was.guid, was.extent) == (&kept.guid, kept.extent))
                || half_done.iter().any(|guid| guid.to_string() == kept.guid)
        };
        if !plan.kept.iter().all(had) {
            return Ok(false);
        }
        let first = self.areas.iter().find(|area| area.offset == 0);
        let Some(area) = first.filter(|_| self.geometry() == (plan.size, plan.sector_size)) else {
            return Ok(false);
        };
        self.check()?;
        if tables.has_partial(disk) {
            return Ok(true);
        }
        // A power cut leaves any mixture of the old sectors and the new ones.
        let now = read(disk, 0, area.bytes.len() as u64)?;
        let sectors = now
            .chunks(SECTOR)
            .zip(area.bytes.chunks(SECTOR))
            .zip((0..).step_by(SECTOR));
        let new = [&tables.partial, &tables.whole];
        let is_new = |at: usize, sector: &[u8]| {
            let mut new = new.into_iter().chain(&tables.released);
            new.any(|new| new.primary.get(at..at + sector.len()) == Some(sector))
        };
        Ok(sectors
            .into_iter()
            .all(|((now, old), at)| now == old || is_new(at, now)))
    }

    /// Each kept partition, and whether it is what it was. One that is not was used since, or this is another disk.
    pub fn compare(&self, disk: &dyn ReadAt) -> Result<Vec<(&Kept, bool)>, Error> {
        self.check()?;
        let same = |(kept, was): (&Kept, &Fingerprint)| {
            Ok(kept::fingerprint(kept, disk, Phase::Compare)? == *was)
        };
        let kept = self.plan.kept.iter().zip(&self.kept);
        kept.map(|one| Ok((one.0, same(one)?))).collect()
    }

    /// Partitions that the disk has now and would not have any more: number and name.
    pub fn drops(&self, disk: &dyn ReadAt) -> Vec<(u32, String)> {
        let (size, sector_size) = self.geometry();
        let now = gpt::read(|at, into| disk.read_at(at, into), size, sector_size);
        let partitions = |found: gpt::Found| found.table.partitions;
        let then = self.old().map(partitions).unwrap_or_default();
        let stays = |now: &gpt::Partition| {
            then.iter()
                .any(|then| (then.guid, then.start) == (now.guid, now.start))
        };
        now.map(partitions)
            .unwrap_or_default()
            .into_iter()
            .filter(|now| !stays(now))
            .map(|now| (now.number, now.name))
            .collect()
    }

    /// Whether a disk carries what this is about: the table that was saved, the one that was written over it (whatever
    /// somebody has changed in it since), or what a cut has left of both. Anything else is another disk.
    pub fn is_of(&self, disk: &dyn ReadAt) -> Result<bool, Error> {
        self.check()?;
        let tables = Tables::of(&self.plan)?;
        let (size, sector_size) = self.geometry();
        let (partial, whole, put) = (&tables.partial, &tables.whole, self.copies(&tables)?);
        let copies = [partial, whole, &put].into_iter().chain(&tables.released);
        // A power cut leaves any mixture of the old sectors and the new ones.
        let mixed = |extent: Extent| -> Result<bool, Error> {
            let now = read(disk, extent.start, extent.length)?;
            let old = self.bytes(extent).unwrap_or_default();
            Ok(now
                .chunks(SECTOR)
                .zip((0..).step_by(SECTOR))
                .all(|(now, at)| {
                    let new =
                        |copy: &Copies| copy.bytes(&extent).get(at..at + now.len()) == Some(now);
                    old.get(at..at + now.len()) == Some(now) || copies.clone().any(new)
                }))
        };
        let first = Extent {
            start: 0,
            length: SECTOR as u64,
        };
        if let Ok(found) = gpt::read(|at, into| disk.read_at(at, into), size, sector_size) {
            // Without a protective MBR it is only what the MBR has left of it.
            let counts = !found.findings.contains(&Finding::NoProtectiveMbr) || mixed(first)?;
            let old = self.old().map(|found| found.table.disk_guid);
            let known = [Some(whole.disk_guid), old];
            if counts && known.contains(&Some(found.table.disk_guid)) {
                return Ok(true);
            }
        }
        Ok(mixed(whole.primary_extent())? && mixed(whole.backup_extent())?)
    }

    /// Where [`restore`] writes.
    pub fn writes(&self) -> Result<Vec<Extent>, Error> {
        self.check()?;
        let tables = Tables::of(&self.plan)?;
        let copies = [tables.whole.primary_extent(), tables.whole.backup_extent()];
        Ok(merge([&copies[..], &self.records()].concat()))
    }

    /// The old table, if it was a GPT.
    fn old(&self) -> Option<gpt::Found> {
        let (size, sector_size) = self.geometry();
        let read = |at, into: &mut [u8]| {
            let length = into.len() as u64;
            match self.bytes(Extent { start: at, length }) {
                Some(bytes) => into.copy_from_slice(bytes),
                None => into.fill(0),
            }
            Ok(())
        };
        gpt::read(read, size, sector_size).ok()
    }

    /// What goes to the two places of the new table: what was there; where the copy that counted was somewhere else,
    /// that table as everybody writes it. Its own place may be somebody's by now.
    fn copies(&self, tables: &Tables) -> Result<Copies, Error> {
        let (size, sector_size) = self.geometry();
        let last = size / u64::from(sector_size) - 1;
        let saved = |extent| {
            let bytes = self.bytes(extent).map(<[u8]>::to_vec);
            bytes.ok_or_else(|| Error::Plan("not all of the old table was saved".into()))
        };
        let primary = saved(tables.whole.primary_extent())?;
        let backup = saved(tables.whole.backup_extent())?;
        let elsewhere = |found: &gpt::Found| {
            let unusual = |finding: &Finding| matches!(finding, Finding::UnusualEntries { .. });
            matches!(found.place, Place::Backup { lba } if lba != last)
                || found.findings.iter().any(unusual)
        };
        let moved = self.old().filter(elsewhere).and_then(|mut found| {
            found.table.grow(size).ok()?;
            Copies::of(&found.table).ok()
        });
        Ok(match moved {
            Some(mut moved) => {
                // What starts the machine from there, and a hybrid MBR's partitions.
                moved.primary[..SECTOR].copy_from_slice(&primary[..SECTOR]);
                moved
            }
            None => Copies {
                primary,
                backup,
                ..tables.whole.clone()
            },
        })
    }

    /// The boot records of logical partitions, where the old table was an MBR.
    fn records(&self) -> Vec<Extent> {
        let apart = |area: &Area| region::without(area.extent(), &self.plan.table_extents);
        match self.old() {
            Some(_) => Vec::new(),
            None => self.areas.iter().flat_map(apart).collect(),
        }
    }

    /// Saved bytes.
    fn bytes(&self, extent: Extent) -> Option<&[u8]> {
        self.areas.iter().find_map(|area| {
            let from = usize::try_from(extent.start.checked_sub(area.offset)?).ok()?;
            let length = usize::try_from(extent.length).ok()?;
            area.bytes.get(from..from.checked_add(length)?)
        })
    }

    fn geometry(&self) -> (u64, u32) {
        (self.plan.size, self.plan.sector_size)
    }

    /// Fails unless all of it is on the disk, and no old table is where a kept partition is.
    fn check(&self) -> Result<(), Error> {
        let areas = || self.areas.iter().map(Area::extent);
        let kept = || self.plan.kept.iter().map(|kept| kept.extent);
        let inside = |extent: Extent| {
            extent
                .start
                .checked_add(extent.length)
                .is_some_and(|end| end <= self.plan.size)
        };
        if !areas().chain(kept()).all(inside) {
            return Err(Error::Plan(format!(
                "what was saved is not from a disk of {} bytes",
                self.plan.size
            )));
        }
        if self.kept.len() != self.plan.kept.len() {
            let (prints, kept) = (self.kept.len(), self.plan.kept.len());
            return Err(Error::Plan(format!(
                "what was saved has {prints} fingerprints of {kept} kept partitions"
            )));
        }
        match kept().find(|kept| areas().any(|area| area.meets(kept))) {
            Some(kept) => {
                let Extent { start, length } = kept;
                Err(Error::Plan(format!(
                    "an old table would go over the kept partition at {start}+{length}"
                )))
            }
            None => Ok(()),
        }
    }
}

impl Area {
    fn extent(&self) -> Extent {
        Extent {
            start: self.offset,
            length: self.bytes.len() as u64,
        }
    }
}

/// Reads what [`restore`] would put back. To be called, and its result to be kept elsewhere, before
/// [`write()`](super::write()).
pub fn before(plan: &Plan, disk: &(dyn ReadAt + Sync)) -> Result<Saved, Error> {
    let phase = Phase::Table;
    let tables = Tables::of(plan)?;
    let mut extents = plan.table_extents.clone();
    extents.extend(tables.relied(disk, phase)?);
    if gpt::read(
        |at, into| disk.read_at(at, into),
        plan.size,
        plan.sector_size,
    )
    .is_err()
    {
        extents.extend(probe::mbr_parts(disk, plan.size, plan.sector_size));
    }
    let mut areas = Vec::new();
    for Extent { start, length } in merge(extents) {
        if length > LIMIT || start.checked_add(length).is_none_or(|end| end > plan.size) {
            return Err(Error::Plan(format!(
                "a partition table at {start}+{length}"
            )));
        }
        areas.push(Area {
            offset: start,
            bytes: read(disk, start, length)?,
        });
    }
    Ok(Saved {
        plan: plan.clone(),
        areas,
        kept: kept::fingerprints(plan, disk, phase)?,
    })
}

/// Puts the old table back, so that one whole table counts at any time: the one that is there until the old one does.
/// What the image's partitions held is not restored: nobody has it.
pub fn restore(disk: &dyn WriteAt, saved: &Saved) -> Result<(), Error> {
    let phase = Phase::Table;
    saved.check()?;
    let tables = Tables::of(&saved.plan)?;
    let old = saved.copies(&tables)?;
    put_records(disk, saved, &tables)?;

    let (size, sector_size) = saved.geometry();
    let now = table::standing(&|at, into| disk.read_at(at, into), size, sector_size);
    let then = table::standing(&old.reader(), size, sector_size);
    let (primary, backup) = (old.primary_parts(), (old.backup_at, &old.backup[..]));
    let [entries, head] = primary;
    // A copy that is alone, and where the new backup goes: at the end of a disk that was a little smaller, too.
    let alone = |place| match place {
        Place::Primary => false,
        backup => old
            .usual_extent(backup, sector_size.into())
            .meets(&old.backup_extent()),
    };
    let found = gpt::read(|at, into| disk.read_at(at, into), size, sector_size);
    let primary_first = found.is_ok_and(|found| alone(found.place));
    let (first, header) = head.1.split_at(sector_size as usize);
    let order = match then {
        // As `Copies::put`, which has the reason.
        [true, true] if primary_first => vec![entries, head, backup],
        // Only one of the old copies counts by itself: it comes while the other one of now still does.
        [true, false] => {
            if now == [true, false] && !table::is(disk, 0, &old.primary) {
                second_copy(disk, saved)?;
            }
            vec![entries, head, backup]
        }
        [_, true] => {
            if now == [false, true] && !table::is(disk, old.backup_at, &old.backup) {
                second_copy(disk, saved)?;
            }
            vec![backup, entries, head]
        }
        // An MBR counts from its sector on. Of a GPT that is nowhere whole, the header may say where it would be.
        [false, false] => vec![(0, first), backup, (first.len() as u64, header), entries],
    };
    for (at, bytes) in order {
        table::put(at, bytes, disk, phase)?;
    }
    Ok(())
}

/// Puts the boot records of logical partitions back. They may lie in what is the image's by now: it is marked as partial
/// before, and stays listed until the MBR comes.
fn put_records(disk: &dyn WriteAt, saved: &Saved, tables: &Tables) -> Result<(), Error> {
    let phase = Phase::Table;
    let records = saved.records();
    let records: Vec<(u64, &[u8])> = records
        .iter()
        .filter_map(|extent| Some((extent.start, saved.bytes(*extent)?)))
        .filter(|(at, bytes)| !table::is(disk, *at, bytes))
        .collect();
    if !records.is_empty() {
        tables.put(&tables.partial, disk, phase)?;
    }
    for (at, bytes) in records {
        table::put(at, bytes, disk, phase)?;
    }
    Ok(())
}

/// Gives the table that counts its other copy, which somebody has damaged.
fn second_copy(disk: &dyn WriteAt, saved: &Saved) -> Result<(), Error> {
    let (size, sector_size) = saved.geometry();
    let Ok(mut found) = gpt::read(|at, into| disk.read_at(at, into), size, sector_size) else {
        return Ok(());
    };
    found.table.grow(size).map_err(Error::Table)?;
    let copies = Copies::of(&found.table)?;
    let [entries, head] = copies.primary_parts();
    let missing = match found.place {
        Place::Primary => vec![(copies.backup_at, &copies.backup[..])],
        Place::Backup { .. } => vec![entries, head],
    };
    for (at, bytes) in missing {
        table::put(at, bytes, disk, Phase::Table)?;
    }
    Ok(())
}

fn read(disk: &dyn ReadAt, start: u64, length: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; length as usize];
    let failed = |source| Error::Io {
        phase: Phase::Table,
        doing: "reading",
        spot: spot(start, length),
        source,
    };
    disk.read_at(start, &mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn spot(offset: u64, length: u64) -> Spot {
    Spot {
        offset,
        length,
        owner: "old partition table".into(),
    }
}

mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(
            &bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>(),
        )
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        let pairs = text.as_bytes().chunks(2);
        let bytes = pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?));
        bytes
            .collect::<Option<_>>()
            .ok_or_else(|| de::Error::custom("not pairs of hexadecimal digits"))
    }
}
