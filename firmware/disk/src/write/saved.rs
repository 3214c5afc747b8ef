//! The old partition tables, so that they can be put back.

use std::fmt;

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

/// Reads what [`restore`] would put back. To be called, and its result to be kept elsewhere, before
/// [`write()`](super::write()).
pub fn before(plan: &Plan, disk: &dyn ReadAt) -> Result<Saved, Error> {
    let phase = Phase::Table;
    let mut extents = plan.table_extents.clone();
    extents.extend(Tables::of(plan)?.relied(disk, phase)?);
    let mut areas = Vec::new();
    for Extent { start, length } in merge(extents) {
        if length > LIMIT || start.checked_add(length).is_none_or(|end| end > plan.size) {
            return Err(Error::Plan(format!("a partition table at {start}+{length}")));
        }
        let mut bytes = vec![0; length as usize];
        let failed = |source| Error::Io { phase, doing: "reading", spot: spot(start, length), source };
        disk.read_at(start, &mut bytes).map_err(failed)?;
        areas.push(Area { offset: start, bytes });
    }
    let kept = plan.kept.iter().cloned().zip(kept::fingerprints(plan, disk, phase)?).collect();
    Ok(Saved { size: plan.size, sector_size: plan.sector_size, areas, kept })
}

/// Puts the old tables back, in an order in which one of them counts at any time. What the image's partitions held is
/// not restored: nobody has it.
pub fn restore(disk: &dyn WriteAt, saved: &Saved) -> Result<(), Error> {
    let phase = Phase::Table;
    let inside = |area: &Area| area.offset.checked_add(area.bytes.len() as u64).is_some_and(|end| end <= saved.size);
    if !saved.areas.iter().all(inside) {
        return Err(Error::Plan(format!("what was saved is not from a disk of {} bytes", saved.size)));
    }
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
    let failed = |doing| move |source| Error::Io { phase, doing, spot: spot(), source };
    for _ in 0..=REPAIRS {
        disk.write_at(area.offset, &area.bytes).map_err(failed("writing"))?;
        disk.flush().and_then(|()| disk.forget()).map_err(|source| Error::Flush { phase, source })?;
        let mut found = vec![0; area.bytes.len()];
        disk.read_at(area.offset, &mut found).map_err(failed("reading"))?;
        if found == area.bytes {
            return Ok(());
        }
    }
    Err(Error::Unstable { phase, spot: spot(), repairs: REPAIRS })
}

fn spot(offset: u64, length: u64) -> Spot {
    Spot { offset, length, owner: "old partition table".into() }
}

mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        let pairs = text.as_bytes().chunks(2);
        let bytes = pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?));
        bytes.collect::<Option<_>>().ok_or_else(|| de::Error::custom("not pairs of hexadecimal digits"))
    }
}
