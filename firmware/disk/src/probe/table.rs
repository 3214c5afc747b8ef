//! Every partition table of a disk: of both sector sizes, at both ends, and left behind in the middle.

use std::collections::BTreeSet;

use prejoin_wire::disk::{Extent, Partition, Place, Scheme, Table};

use super::gpt::{self, Copy};
use super::record::Recorder;
use super::{foreign, mbr};
use crate::write::{PARTIAL, RELEASED};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Bytes of a GPT's entries as we write them, and of each.
const ENTRIES: u64 = 16 << 10;
const ENTRY: usize = 128;
/// Pairs of overlapping partitions that are told one by one.
const MOST_TOLD: usize = 16;
/// Partitions whose ends are looked at.
const MOST_ENDS: usize = 256;

/// What was found.
pub(crate) struct Tables {
    /// The one to be believed first.
    pub(crate) tables: Vec<Table>,
    /// Where tables are, which is no unknown content.
    pub(crate) parts: Vec<Extent>,
}

/// Finds every table of a disk; `sector_size` is the device's, 0 if it has none.
pub(crate) fn find(disk: &Recorder, size: u64, sector_size: u32) -> Tables {
    let own = if sector_size == 4096 { 4096 } else { 512 };
    let sizes = [own, if own == 512 { 4096 } else { 512 }];
    let mbr = mbr::read(disk, size, own);

    let mut copies: Vec<Copy> = Vec::new();
    let mut offsets = BTreeSet::new();
    for sector in sizes {
        let last = (size / u64::from(sector)).saturating_sub(1) * u64::from(sector);
        for offset in [u64::from(sector), last] {
            let copy = offsets
                .insert((sector, offset))
                .then(|| gpt::copy(disk, size, sector, offset));
            copies.extend(copy.flatten());
        }
    }
    stray(disk, size, mbr.as_ref(), &mut copies, &mut offsets);
    compare(&mut copies, size);

    let mut parts: Vec<Extent> = copies.iter().flat_map(|copy| copy.parts.clone()).collect();
    parts.extend(sizes.iter().flat_map(|sector| begun(disk, size, *sector)));
    let guarded = mbr.as_ref().is_some_and(|mbr| mbr.protects.is_some());
    let divided = mbr
        .as_ref()
        .is_some_and(|mbr| !guarded && !mbr.table.partitions.is_empty());
    let mut tables: Vec<Table> = copies.into_iter().map(|copy| copy.table).collect();
    for table in tables
        .iter_mut()
        .filter(|table| !guarded && table.place != Place::Stray)
    {
        table
            .problems
            .push("there is no protective MBR in sector 0".into());
    }
    if let Some(mbr) = mbr {
        parts.extend(mbr.parts);
        tables.push(mbr.table);
    }
    let others = foreign::tables(disk, &tables);
    parts.extend(others.iter().map(|table| Extent {
        start: table.offset / 512 * 512,
        length: 512,
    }));
    tables.extend(others);
    // A system that sees partitions in the MBR and no protective entry does not look for a GPT (kernel
    // `block/partitions/efi.c`, `is_pmbr_valid`).
    tables.sort_by_key(|table| (!table.valid, rank(table, own, divided), table.offset));
    Tables { tables, parts }
}

/// Sectors of a table of ours that was being written when the power failed: entries that no header speaks for yet. Their
/// types are nobody else's.
fn begun(disk: &Recorder, size: u64, sector: u32) -> Vec<Extent> {
    let sector = u64::from(sector);
    let ours = [PARTIAL.to_bytes_le(), RELEASED.to_bytes_le()];
    let is_ours = |entry: &[u8]| ours.iter().any(|ours| entry.starts_with(ours));
    let is_blank = |entry: &[u8]| entry.iter().all(|byte| *byte == 0);
    let end = size / sector * sector;
    let mut parts = Vec::new();
    for at in [2 * sector, end.saturating_sub(ENTRIES + sector)] {
        let bytes = disk.bytes(at, ENTRIES as usize).unwrap_or_default();
        for (bytes, start) in bytes
            .chunks(sector as usize)
            .zip((at..).step_by(sector as usize))
        {
            let mut entries = bytes.chunks(ENTRY);
            if entries.clone().any(is_ours)
                && entries.all(|entry| is_ours(entry) || is_blank(entry))
            {
                let length = sector;
                parts.push(Extent { start, length });
            }
        }
    }
    parts
}

fn rank(table: &Table, own: u32, divided: bool) -> u8 {
    match (table.scheme, table.place) {
        (Scheme::Mbr, _) if divided => 0,
        (Scheme::Gpt, Place::Primary) if table.sector_size == own => 1,
        (Scheme::Gpt, Place::Backup) if table.sector_size == own => 2,
        (Scheme::Gpt, Place::Primary) => 3,
        (Scheme::Gpt, Place::Backup) => 4,
        (Scheme::Gpt, Place::Stray) => 5,
        (Scheme::HybridMbr, _) => 6,
        (Scheme::Mbr, _) => 7,
        (Scheme::ProtectiveMbr, _) => 8,
        _ => 9,
    }
}

/// Looks for copies where a header points to and where a smaller disk or image may have ended.
fn stray(
    disk: &Recorder,
    size: u64,
    mbr: Option<&mbr::Mbr>,
    copies: &mut Vec<Copy>,
    seen: &mut BTreeSet<(u32, u64)>,
) {
    let partitions = copies
        .iter()
        .map(|copy| &copy.table)
        .chain(mbr.map(|mbr| &mbr.table));
    let mut edges: Vec<u64> = partitions
        .flat_map(|table| &table.partitions)
        .map(|part| part.extent.end())
        .take(MOST_ENDS)
        .collect();
    edges.extend(
        mbr.and_then(|mbr| mbr.protects)
            .into_iter()
            .flat_map(|end| [end * 512, end * 4096]),
    );
    let starts = ends(size, &edges)
        .into_iter()
        .filter(|&end| end <= size)
        .filter_map(|end| end.checked_sub(4096));
    let reads: Vec<Extent> = starts
        .map(|start| Extent {
            start,
            length: 4096,
        })
        .collect();
    let mut headers = Vec::new();
    disk.each(&reads, |read, bytes| {
        headers.extend(self::headers(read.end(), bytes))
    });
    for (sector, offset) in headers {
        if copies.len() < 64 && seen.insert((sector, offset)) {
            copies.extend(gpt::copy(disk, size, sector, offset));
        }
    }
    // Copies found on the way point to more of them; each names one other at most.
    let mut at = 0;
    while at < copies.len() && copies.len() < 64 {
        let (sector, places) = (
            copies[at].table.sector_size,
            [copies[at].own, copies[at].other],
        );
        for offset in places.into_iter().flatten().filter(|&offset| offset < size) {
            if seen.insert((sector, offset)) {
                copies.extend(gpt::copy(disk, size, sector, offset));
            }
        }
        at += 1;
    }
}

/// Sector size and offset of what begins as a header in the last 512, or the last 4096, bytes before `end`.
fn headers(end: u64, bytes: &[u8]) -> impl Iterator<Item = (u32, u64)> {
    let begins = |sector: u32| bytes[bytes.len() - sector as usize..].starts_with(b"EFI PART");
    [512, 4096]
        .map(|sector| (sector, begins(sector)))
        .into_iter()
        .filter_map(move |(sector, begins)| {
            let offset = end - u64::from(sector);
            (begins && offset.is_multiple_of(u64::from(sector))).then_some((sector, offset))
        })
}

/// Where disks and images end, under 2000 places: every MiB of small images, then coarser, sizes that disks are sold
/// in, the disk's own last 64 MiB, and right after each of `edges`.
fn ends(size: u64, edges: &[u64]) -> BTreeSet<u64> {
    let mut ends = BTreeSet::new();
    let mut steps = |from: u64, to: u64, step: u64| ends.extend((from..=to).step_by(step as usize));
    steps(MIB, 256 * MIB, MIB);
    steps(256 * MIB, 4 * GIB, 16 * MIB);
    steps(4 * GIB, 16 * GIB, 64 * MIB);
    steps(16 * GIB, 256 * GIB, GIB);
    let tail = size / MIB * MIB;
    steps(tail.saturating_sub(64 * MIB).max(MIB), tail.max(MIB), MIB);
    for power in 20..50 {
        ends.extend([1, 3, 5, 7].map(|factor| factor << power));
    }
    for capacity in SOLD {
        // Sectors of a disk of so many decimal gigabytes (IDEMA LBA1-03), and a plain count of bytes.
        let sectors = 97_696_368 + 1_953_504 * (i64::from(*capacity) - 50);
        ends.extend(u64::try_from(sectors).ok().map(|sectors| sectors * 512));
        ends.insert(u64::from(*capacity) * 1_000_000_000);
    }
    for &edge in edges {
        let up = edge.checked_next_multiple_of(MIB).unwrap_or(0);
        // An image that ends with its partition, one more MiB, or nothing but the backup's 33 (5) sectors after it.
        ends.extend([
            edge,
            up,
            up.saturating_add(MIB),
            edge.saturating_add(33 * 512),
            edge.saturating_add(5 * 4096),
        ]);
    }
    ends.retain(|&end| end <= size && end.is_multiple_of(512) && end >= 4096);
    ends
}

/// Decimal gigabytes.
const SOLD: &[u16] = &[
    8, 16, 30, 32, 60, 64, 80, 100, 118, 120, 128, 160, 200, 240, 250, 256, 320, 400, 480, 500,
    512, 600, 640, 750, 800, 900, 960, 1000, 1024, 1200, 1500, 1600, 1800, 1920, 2000, 2048, 3000,
    3200, 3840, 4000, 4096, 5000, 6000, 6400, 7680, 8000, 10000, 12000, 12800, 14000, 15360, 16000,
    18000, 20000,
];

/// Says of each primary copy what is wrong with the other, and of every stray one what it is.
fn compare(copies: &mut [Copy], size: u64) {
    for index in 0..copies.len() {
        let copy = &copies[index];
        let sector = u64::from(copy.table.sector_size);
        let last = (size / sector).saturating_sub(1) * sector;
        let mut problems = Vec::new();
        let at = |offset: u64| {
            copies.iter().find(|copy| {
                copy.table.offset == offset && u64::from(copy.table.sector_size) == sector
            })
        };
        let other = copy.other.and_then(at);
        match copy.table.place {
            Place::Primary if copy.table.valid => {
                if copy.other != Some(last) {
                    let place = copy.other.map_or(0, |offset| offset / sector);
                    problems.push(format!(
                        "its backup belongs in sector {place}, which is not the disk's last"
                    ));
                }
                match other {
                    None => problems.push("there is no backup copy where it should be".into()),
                    Some(other) if !other.table.valid => {
                        problems.push("the backup copy cannot be used".into())
                    }
                    Some(other) if !copy.agrees(other) => {
                        problems.push("the backup copy says something else".into())
                    }
                    Some(_) => (),
                }
            }
            Place::Backup if copy.table.valid => match at(sector) {
                None => problems.push("there is no primary copy".into()),
                Some(other) if !other.table.valid => {
                    problems.push("the primary copy cannot be used".into())
                }
                Some(other) if !copy.agrees(other) => {
                    problems.push("the primary copy says something else".into())
                }
                Some(_) => (),
            },
            Place::Stray => {
                problems.push("it is neither at the start nor at the end of the disk".into());
                let primary = at(sector).filter(|primary| primary.table.valid);
                if primary.is_some_and(|primary| copy.table.valid && !copy.agrees(primary)) {
                    problems.push("it says something else than the primary copy".into());
                }
            }
            _ => (),
        }
        copies[index].table.problems.extend(problems);
    }
}

/// Which partitions share bytes, in words.
pub(crate) fn overlaps(partitions: &[Partition]) -> Vec<String> {
    let mut sorted: Vec<&Partition> = partitions
        .iter()
        .filter(|partition| partition.extent.length > 0)
        .collect();
    sorted.sort_by_key(|partition| (partition.extent, partition.number));
    let mut problems = Vec::new();
    // The one that reaches furthest of those before.
    let mut furthest: Option<&Partition> = None;
    for partition in sorted {
        if let Some(other) = furthest.filter(|other| other.extent.meets(&partition.extent)) {
            let (a, b) = (
                other.number.min(partition.number),
                other.number.max(partition.number),
            );
            problems.push(format!("partitions {a} and {b} overlap"));
        }
        if furthest.is_none_or(|other| other.extent.end() < partition.extent.end()) {
            furthest = Some(partition);
        }
    }
    if problems.len() > MOST_TOLD {
        let more = problems.split_off(MOST_TOLD).len();
        problems.push(format!("{more} more partitions overlap"));
    }
    problems
}
