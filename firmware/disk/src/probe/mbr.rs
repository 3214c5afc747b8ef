//! Master boot records, and the chain of extended boot records that holds logical partitions.

use std::collections::BTreeSet;

use prejoin_wire::disk::{Extent, Partition, Place, Scheme, Table};

use super::bytes::{le16, le32};
use super::record::Recorder;
use super::table::overlaps;

/// Logical partitions, at most; the kernel stops at 255 minors.
const MOST_LOGICAL: u32 = 256;

const PROTECTIVE: u8 = 0xee;

/// An MBR, and where its parts are.
pub(crate) struct Mbr {
    pub(crate) table: Table,
    /// Its sector, and those of the extended boot records.
    pub(crate) parts: Vec<Extent>,
    /// Sectors of the disk that a protective entry was made for.
    pub(crate) protects: Option<u64>,
}

/// The MBR of a disk with this sector size; `None` if there is none.
pub(crate) fn read(disk: &Recorder, size: u64, sector: u32) -> Option<Mbr> {
    let bytes = disk
        .bytes(0, 512)
        .filter(|bytes| le16(bytes, 510) == 0xaa55)?;
    let entries = Entry::all(&bytes);
    let used: Vec<&Entry> = entries.iter().filter(|entry| entry.is_used()).collect();
    if boot_sector(&bytes)
        && (used.is_empty() || !used.iter().all(|entry| entry.is_possible(size, sector)))
    {
        return None;
    }
    let mut problems = Vec::new();
    let protective = used.iter().find(|entry| entry.kind == PROTECTIVE);
    let scheme = match (protective, used.len()) {
        (None, _) => Scheme::Mbr,
        (Some(_), 1) => Scheme::ProtectiveMbr,
        (Some(_), _) => Scheme::HybridMbr,
    };
    let protects = protective.map(|entry| u64::from(entry.start) + u64::from(entry.count));
    let sectors = size / u64::from(sector);
    if let Some(protects) = protects.filter(|&end| end != sectors && end <= u64::from(u32::MAX)) {
        problems.push(format!(
            "its protective entry is for a disk of {protects} sectors, this one has {sectors}"
        ));
    }
    if boot_sector(&bytes) {
        problems.push("the sector is the boot sector of a file system, too".into());
    }
    let valid = entries.iter().all(|entry| matches!(entry.flag, 0 | 0x80));
    if !valid {
        problems.push("a boot flag is neither set nor clear".into());
    }

    let mut parts = vec![Extent {
        start: 0,
        length: u64::from(sector),
    }];
    let mut partitions = Vec::new();
    for (entry, number) in entries.iter().zip(1..).filter(|(entry, _)| entry.is_used()) {
        partitions.push(entry.partition(number, 0, sector));
    }
    let mut apart = partitions.clone();
    if scheme == Scheme::HybridMbr {
        // The protective entry may cover whatever it protects.
        apart.retain(|partition| partition.type_id != "ee");
    }
    problems.extend(overlaps(&apart));
    for entry in entries.iter().filter(|entry| entry.is_extended()) {
        logical(
            disk,
            entry,
            sector,
            &mut partitions,
            &mut parts,
            &mut problems,
        );
    }
    for partition in partitions
        .iter()
        .filter(|partition| partition.type_id != "ee" && partition.extent.end() > size)
    {
        problems.push(format!(
            "partition {} reaches past the end of the disk",
            partition.number
        ));
    }
    let id = Some(format!("{:08x}", le32(&bytes, 0x1b8)));
    let place = Place::Primary;
    let table = Table {
        scheme,
        place,
        offset: 0,
        sector_size: sector,
        valid,
        problems,
        id,
        partitions,
    };
    Some(Mbr {
        table,
        parts,
        protects,
    })
}

/// Follows the chain: each record has the partition, relative to itself, and the next record, relative to the extended
/// partition.
fn logical(
    disk: &Recorder,
    extended: &Entry,
    sector: u32,
    partitions: &mut Vec<Partition>,
    parts: &mut Vec<Extent>,
    problems: &mut Vec<String>,
) {
    let first = u64::from(extended.start);
    let mut number = partitions
        .iter()
        .map(|partition| partition.number)
        .max()
        .unwrap_or(0)
        .max(4);
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    let mut next = Some(first);
    while let Some(lba) = next {
        if !seen.insert(lba) {
            problems.push("the chain of its logical partitions goes in circles".into());
            break;
        }
        if number >= 4 + MOST_LOGICAL {
            problems.push(format!(
                "it has more than {MOST_LOGICAL} logical partitions"
            ));
            break;
        }
        let start = lba.saturating_mul(u64::from(sector));
        let Some(bytes) = disk
            .bytes(start, 512)
            .filter(|bytes| le16(bytes, 510) == 0xaa55)
        else {
            problems.push(format!(
                "the chain of its logical partitions breaks off at sector {lba}"
            ));
            break;
        };
        parts.push(Extent {
            start,
            length: u64::from(sector),
        });
        let entries = Entry::all(&bytes);
        // Only the first two are defined, but the kernel takes the others as well.
        for entry in entries
            .iter()
            .filter(|entry| entry.is_used() && !entry.is_extended())
        {
            number += 1;
            found.push(entry.partition(number, lba, sector));
        }
        let link = entries
            .iter()
            .find(|entry| entry.is_extended() && entry.is_used());
        next = link.map(|entry| first + u64::from(entry.start));
    }
    problems.extend(overlaps(&found));
    partitions.append(&mut found);
}

/// Whether it is the first sector of a FAT, NTFS, exFAT, ReFS or BitLocker volume, which ends in 55 AA like an MBR.
fn boot_sector(bytes: &[u8]) -> bool {
    let at = |at: usize, text: &[u8]| bytes.get(at..).is_some_and(|rest| rest.starts_with(text));
    let fat = at(0x36, b"FAT") || at(0x52, b"FAT32   ") || at(0x52, b"MSWIN") || at(0x36, b"MSDOS");
    fat || at(3, b"NTFS    ") || at(3, b"EXFAT   ") || at(3, b"-FVE-FS-") || at(3, b"ReFS\0")
}

struct Entry {
    flag: u8,
    kind: u8,
    start: u32,
    count: u32,
}

impl Entry {
    fn all(bytes: &[u8]) -> Vec<Entry> {
        let table = bytes.get(446..510).unwrap_or_default();
        table.chunks_exact(16).map(Entry::new).collect()
    }

    fn new(bytes: &[u8]) -> Self {
        Entry {
            flag: bytes[0],
            kind: bytes[4],
            start: le32(bytes, 8),
            count: le32(bytes, 12),
        }
    }

    fn is_used(&self) -> bool {
        self.kind != 0 && self.count > 0
    }

    fn is_extended(&self) -> bool {
        matches!(self.kind, 0x05 | 0x0f | 0x85)
    }

    fn is_possible(&self, size: u64, sector: u32) -> bool {
        matches!(self.flag, 0 | 0x80)
            && self.start > 0
            && self.partition(1, 0, sector).extent.end() <= size
    }

    fn partition(&self, number: u32, base: u64, sector: u32) -> Partition {
        let start = (base + u64::from(self.start)).saturating_mul(u64::from(sector));
        Partition {
            number,
            extent: Extent {
                start,
                length: u64::from(self.count).saturating_mul(u64::from(sector)),
            },
            type_id: format!("{:02x}", self.kind),
            guid: String::new(),
            name: String::new(),
            attributes: u64::from(self.flag),
        }
    }
}
