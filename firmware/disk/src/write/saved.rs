//! The old partition tables, so that they can be put back.

use std::{fmt, io};

use prejoin_formats::gpt::{self, Place};
use prejoin_profiles::disk::{Extent, Kept, Plan, merge};
use serde::{Deserialize, Serialize};

use super::error::{Error, Spot};
use super::kept::{self, Fingerprint};
use super::table::Tables;
use super::{Phase, REPAIRS};
use crate::device::{ReadAt, WriteAt};

/// Most bytes of one saved area: a table of 1024 entries of 4096 bytes is 4 MiB.
const LIMIT: u64 = 8 << 20;

/// What a power cut writes whole or not at all, on any disk.
const SECTOR: usize = 512;

/// What a disk had in the places where its new table goes, and proof of what it keeps. It serialises: a file of some
/// 70 kB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    /// Bytes of the disk.
    pub size: u64,
    /// Logical sector size of the table.
    pub sector_size: u32,
    /// MBR and both copies of the GPT, in the order of the disk.
    pub areas: Vec<Area>,
    /// Each kept partition as it was.
    pub kept: Vec<(Kept, Fingerprint)>,
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
            let mut was = self.kept.iter();
            was.any(|(was, _)| (&was.guid, was.extent) == (&kept.guid, kept.extent))
                || half_done.iter().any(|guid| guid.to_string() == kept.guid)
        };
        if !plan.kept.iter().all(had) {
            return Ok(false);
        }
        let first = self.areas.iter().find(|area| area.offset == 0);
        let Some(area) =
            first.filter(|_| (self.size, self.sector_size) == (plan.size, plan.sector_size))
        else {
            return Ok(false);
        };
        self.check()?;
        if !half_done.is_empty() {
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
        let same = |(kept, was): &(Kept, Fingerprint)| {
            Ok(kept::fingerprint(kept, disk, Phase::Compare)? == *was)
        };
        self.kept
            .iter()
            .map(|one| Ok((&one.0, same(one)?)))
            .collect()
    }

    /// Partitions that the disk has now and would not have any more: number and name.
    pub fn drops(&self, disk: &dyn ReadAt) -> Vec<(u32, String)> {
        let table = |read: &dyn Fn(u64, &mut [u8]) -> io::Result<()>| {
            gpt::read(read, self.size, self.sector_size)
                .map(|found| found.table.partitions)
                .unwrap_or_default()
        };
        let then = table(&|offset, buffer| {
            let bytes = self
                .areas
                .iter()
                .filter(|area| area.offset <= offset)
                .find_map(|area| {
                    let from = usize::try_from(offset - area.offset).ok()?;
                    area.bytes.get(from..from.checked_add(buffer.len())?)
                });
            match bytes {
                Some(bytes) => buffer.copy_from_slice(bytes),
                None => buffer.fill(0),
            }
            Ok(())
        });
        let stays = |now: &gpt::Partition| {
            then.iter()
                .any(|then| (then.guid, then.start) == (now.guid, now.start))
        };
        let now = table(&|offset, buffer| disk.read_at(offset, buffer));
        now.into_iter()
            .filter(|now| !stays(now))
            .map(|now| (now.number, now.name))
            .collect()
    }

    /// Fails unless all of it is on the disk, and no old table is where a kept partition is.
    fn check(&self) -> Result<(), Error> {
        let areas = || {
            self.areas.iter().map(|area| Extent {
                start: area.offset,
                length: area.bytes.len() as u64,
            })
        };
        let kept = || self.kept.iter().map(|(kept, _)| kept.extent);
        let inside = |extent: Extent| {
            extent
                .start
                .checked_add(extent.length)
                .is_some_and(|end| end <= self.size)
        };
        if !areas().chain(kept()).all(inside) {
            return Err(Error::Plan(format!(
                "what was saved is not from a disk of {} bytes",
                self.size
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

/// Reads what [`restore`] would put back. To be called, and its result to be kept elsewhere, before
/// [`write()`](super::write()).
pub fn before(plan: &Plan, disk: &dyn ReadAt) -> Result<Saved, Error> {
    let phase = Phase::Table;
    let mut extents = plan.table_extents.clone();
    extents.extend(Tables::of(plan)?.relied(disk, phase)?);
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
    let kept = plan
        .kept
        .iter()
        .cloned()
        .zip(kept::fingerprints(plan, disk, phase)?)
        .collect();
    Ok(Saved {
        size: plan.size,
        sector_size: plan.sector_size,
        areas,
        kept,
    })
}

/// Puts the old tables back, in an order in which one of them counts at any time. What the image's partitions held is
/// not restored: nobody has it.
pub fn restore(disk: &dyn WriteAt, saved: &Saved) -> Result<(), Error> {
    let phase = Phase::Table;
    saved.check()?;
    let read = |offset, buffer: &mut [u8]| disk.read_at(offset, buffer);
    let now = gpt::read(read, saved.size, saved.sector_size);
    let only_backup = now.is_ok_and(|found| found.place != Place::Primary);
    let mut areas: Vec<&Area> = saved.areas.iter().collect();
    areas.sort_by_key(|area| (area.offset == 0) != only_backup);
    for area in areas {
        put(disk, area, phase)?;
    }
    Ok(())
}

fn put(disk: &dyn WriteAt, area: &Area, phase: Phase) -> Result<(), Error> {
    let spot = || spot(area.offset, area.bytes.len() as u64);
    let failed = |doing| {
        move |source| Error::Io {
            phase,
            doing,
            spot: spot(),
            source,
        }
    };
    for _ in 0..=REPAIRS {
        disk.write_at(area.offset, &area.bytes)
            .map_err(failed("writing"))?;
        disk.flush()
            .and_then(|()| disk.forget())
            .map_err(|source| Error::Flush { phase, source })?;
        let mut found = vec![0; area.bytes.len()];
        disk.read_at(area.offset, &mut found)
            .map_err(failed("reading"))?;
        if found == area.bytes {
            return Ok(());
        }
    }
    Err(Error::Unstable {
        phase,
        spot: spot(),
        repairs: REPAIRS,
    })
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
