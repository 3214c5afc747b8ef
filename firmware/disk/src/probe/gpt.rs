//! One copy of a GPT, damaged or not (UEFI specification 2.10, section 5.3).
//!
//! [`prejoin_formats::gpt::read`] says which table to use; here every copy counts, with entries that reach past the
//! disk or into each other. Both hold the same copies for valid (`tests/probe.rs`).

use crc::{CRC_32_ISO_HDLC, Crc};
use prejoin_wire::disk::{Extent, Partition, Place, Scheme, Table};
use uuid::Uuid;

use super::bytes::{le16, le32, le64, sixteen};
use super::record::Recorder;
use super::table::overlaps;

/// As [`prejoin_formats::gpt::read`] has them.
const MOST_ENTRIES: u32 = 1024;
const SMALLEST_ENTRY: u32 = 128;
const LARGEST_ENTRY: u32 = 4096;
const HEADER_SIZE: usize = 92;
/// Entries of a kind that are told one by one.
const MOST_TOLD: usize = 16;

static CRC: Crc<u32, crc::Table<16>> = Crc::<u32, crc::Table<16>>::new(&CRC_32_ISO_HDLC);

/// A copy, and where its parts are.
pub(crate) struct Copy {
    pub(crate) table: Table,
    /// Header and entries.
    pub(crate) parts: Vec<Extent>,
    /// Where the header says that it is.
    pub(crate) own: Option<u64>,
    /// Where the header says that the other copy is.
    pub(crate) other: Option<u64>,
    /// First usable byte, and the first after the usable ones.
    usable: (u64, u64),
}

impl Copy {
    /// Whether both say the same of the disk.
    pub(crate) fn agrees(&self, other: &Copy) -> bool {
        let what = |copy: &Copy| {
            (
                copy.table.id.clone(),
                copy.table.partitions.clone(),
                copy.usable,
            )
        };
        what(self) == what(other)
    }
}

/// The copy whose header is at `offset`; `None` if there is no header.
pub(crate) fn copy(disk: &Recorder, size: u64, sector: u32, offset: u64) -> Option<Copy> {
    let bytes = disk
        .bytes(offset, sector as usize)
        .filter(|bytes| bytes.starts_with(b"EFI PART"))?;
    let sectors = size / u64::from(sector);
    let header = Header::new(&bytes);
    let mut faults = header.faults(&bytes, offset / u64::from(sector), sectors);
    let mut problems = Vec::new();
    let mut parts = vec![Extent {
        start: offset,
        length: u64::from(sector),
    }];
    let mut partitions = Vec::new();

    let at = header.entries.checked_mul(u64::from(sector));
    let length = (header.count as usize).saturating_mul(header.entry as usize);
    let entries = at
        .filter(|_| header.countable())
        .and_then(|at| Some((at, disk.bytes(at, length)?)));
    match entries.filter(|(_, bytes)| bytes.len() == length) {
        None => faults.push("its entries cannot be read".into()),
        Some((at, bytes)) => {
            parts.push(Extent {
                start: at,
                length: length as u64,
            });
            if CRC.checksum(&bytes) != header.entries_crc {
                faults.push("the checksum of its entries is wrong".into());
            }
            partitions = header.partitions(&bytes, sector, sectors, &mut problems);
        }
    }
    problems.extend(overlaps(&partitions));
    if header.countable() && (header.count, header.entry) != (128, SMALLEST_ENTRY) {
        problems.push(format!(
            "it has {} entries of {} bytes, which is unusual",
            header.count, header.entry
        ));
    }
    let byte = |lba: u64| lba.checked_mul(u64::from(sector));
    Some(Copy {
        parts,
        own: byte(header.own),
        other: byte(header.other),
        usable: (header.first_usable, header.last_usable),
        table: Table {
            scheme: Scheme::Gpt,
            place: place(offset, size, sector),
            offset,
            sector_size: sector,
            valid: faults.is_empty(),
            problems: faults.into_iter().chain(problems).collect(),
            id: Some(Uuid::from_bytes_le(sixteen(&bytes, 56)).to_string()),
            partitions,
        },
    })
}

fn place(offset: u64, size: u64, sector: u32) -> Place {
    let sector = u64::from(sector);
    match offset / sector {
        1 => Place::Primary,
        lba if lba + 1 == size / sector => Place::Backup,
        _ => Place::Stray,
    }
}

struct Header {
    length: u32,
    own: u64,
    other: u64,
    first_usable: u64,
    last_usable: u64,
    entries: u64,
    count: u32,
    entry: u32,
    entries_crc: u32,
}

impl Header {
    fn new(bytes: &[u8]) -> Self {
        Header {
            length: le32(bytes, 12),
            own: le64(bytes, 24),
            other: le64(bytes, 32),
            first_usable: le64(bytes, 40),
            last_usable: le64(bytes, 48),
            entries: le64(bytes, 72),
            count: le32(bytes, 80),
            entry: le32(bytes, 84),
            entries_crc: le32(bytes, 88),
        }
    }

    /// Whether its entries can be told apart: at most 4 MiB of them.
    fn countable(&self) -> bool {
        let sizes =
            self.entry.is_power_of_two() && (SMALLEST_ENTRY..=LARGEST_ENTRY).contains(&self.entry);
        sizes && (1..=MOST_ENTRIES).contains(&self.count)
    }

    /// Everything that makes the copy unusable, but for its entries' bytes.
    fn faults(&self, bytes: &[u8], lba: u64, sectors: u64) -> Vec<String> {
        let mut faults = Vec::new();
        match le32(bytes, 8) {
            0x0001_0000 => (),
            other => faults.push(format!("its revision {other:#x} is unknown")),
        }
        match bytes
            .get(..self.length as usize)
            .filter(|header| header.len() >= HEADER_SIZE)
        {
            None => faults.push(format!("its header size {} is out of range", self.length)),
            Some(header) => {
                let mut header = header.to_vec();
                header[16..20].fill(0);
                if CRC.checksum(&header) != le32(bytes, 16) {
                    faults.push("the checksum of its header is wrong".into());
                }
            }
        }
        if self.own != lba {
            faults.push(format!(
                "its header says that it is in sector {}, but it is in sector {lba}",
                self.own
            ));
        }
        let (first, last) = (self.first_usable, self.last_usable);
        if first > last || first < 2 || last >= sectors {
            faults.push(format!(
                "its usable range {first}..={last} is impossible on a disk of {sectors} sectors"
            ));
        }
        let length = u64::from(self.count).saturating_mul(u64::from(self.entry));
        let end = self
            .entries
            .saturating_add(length.div_ceil((bytes.len() as u64).max(1)));
        let apart = end <= first || self.entries > last;
        if !self.countable() || self.entries < 2 || end > sectors || !apart {
            let (lba, count, size) = (self.entries, self.count, self.entry);
            faults.push(format!(
                "{count} entries of {size} bytes at sector {lba} are not possible"
            ));
        }
        faults
    }

    fn partitions(
        &self,
        bytes: &[u8],
        sector: u32,
        sectors: u64,
        problems: &mut Vec<String>,
    ) -> Vec<Partition> {
        let mut partitions: Vec<Partition> = Vec::new();
        let mut guids = std::collections::BTreeMap::new();
        let mut told = Vec::new();
        for (entry, number) in bytes.chunks_exact(self.entry as usize).zip(1..) {
            if sixteen(entry, 0) == [0; 16] {
                continue;
            }
            let (first, last) = (le64(entry, 32), le64(entry, 40));
            if first > last {
                told.push(format!("entry {number} ends before it begins"));
            } else if last >= sectors {
                told.push(format!("entry {number} reaches past the end of the disk"));
            } else if first < self.first_usable || last > self.last_usable {
                told.push(format!("entry {number} reaches outside the usable range"));
            }
            let guid = Uuid::from_bytes_le(sixteen(entry, 16)).to_string();
            if let Some(other) = guids.insert(guid.clone(), number) {
                told.push(format!("entries {other} and {number} have the same GUID"));
            }
            let name = name(entry).unwrap_or_else(|lossy| {
                told.push(format!("the name of entry {number} is not UTF-16"));
                lossy
            });
            let byte = |lba: u64| lba.saturating_mul(u64::from(sector));
            let end = if first > last {
                byte(first)
            } else {
                byte(last.saturating_add(1))
            };
            partitions.push(Partition {
                number,
                extent: Extent::between(byte(first), end),
                type_id: Uuid::from_bytes_le(sixteen(entry, 0)).to_string(),
                guid,
                name,
                attributes: le64(entry, 48),
            });
        }
        if told.len() > MOST_TOLD {
            let more = told.split_off(MOST_TOLD).len();
            told.push(format!("{more} more of its entries are wrong"));
        }
        problems.append(&mut told);
        partitions
    }
}

/// Its name, or the nearest to it that is text.
fn name(entry: &[u8]) -> Result<String, String> {
    let units = (0..36)
        .map(|unit| le16(entry, 56 + 2 * unit))
        .take_while(|&unit| unit != 0);
    let units: Vec<u16> = units.collect();
    String::from_utf16(&units).map_err(|_| String::from_utf16_lossy(&units))
}
