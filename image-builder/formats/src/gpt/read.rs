//! Reading a table off a disk, trusting nothing on it.

use std::fmt;
use std::io;

use super::{CRC, ENTRIES, ENTRY_SIZE, HEADER_SIZE, Partition, Table, Uuid};

/// Entries a foreign table may have; the specification sets no limit, and the kernel stops at 1 MiB of them.
const MOST_ENTRIES: u32 = 1024;
/// Bytes an entry may have; the specification allows any power of two from 128.
const LARGEST_ENTRY: u32 = 4096;

/// A table found on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it says. Its `disk_size` is the one it was made for: [`Table::grow`] it to the disk's before writing.
    pub table: Table,
    /// Which copy it was read from.
    pub place: Place,
    /// What is not as it should be.
    pub findings: Vec<Finding>,
}

/// One of the two copies of a table; in words, `primary copy` or `backup copy in sector 204799`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At sector 1.
    Primary,
    /// In this sector, the last one if all is well.
    Backup {
        /// Sector of its header.
        lba: u64,
    },
}

/// Something unusual about a table that could be read all the same; in words, what is unusual.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Finding {
    /// Sector 0 holds no protective MBR: firmware and kernel may not look for a GPT at all.
    #[error("there is no protective MBR in sector 0")]
    NoProtectiveMbr,
    /// A copy that cannot be used.
    #[error("the {0} cannot be used: {1}")]
    BadCopy(Place, Fault),
    /// Both copies are valid and say different things; the primary was taken.
    #[error("the two copies differ, and the primary one is taken")]
    CopiesDiffer,
    /// The backup copy is not in the disk's last sector: the disk has grown since.
    #[error("the backup copy is in sector {lba}, which is not the disk's last")]
    NotAtEnd {
        /// Sector of the backup header.
        lba: u64,
    },
    /// Not 128 entries of 128 bytes at sector 2 (or before the backup header): writing this table back would move them.
    #[error("it has {count} entries of {size} bytes from sector {lba} on, which is unusual")]
    UnusualEntries {
        /// First sector of the entry array.
        lba: u64,
        /// Number of entries.
        count: u32,
        /// Bytes of each.
        size: u32,
    },
    /// An entry that ends before it starts or reaches past the disk; it is not in [`Found::table`].
    #[error("entry {0} is not a range of the disk")]
    BadEntry(u32),
    /// A name that is not valid UTF-16; wrong units were replaced by U+FFFD.
    #[error("the name of partition {0} is not UTF-16")]
    BadName(u32),
    /// The table breaks a rule of [`Table::check`].
    #[error("it breaks a rule: {0}")]
    Breaks(super::Error),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Primary => f.write_str("primary copy"),
            Place::Backup { lba } => write!(f, "backup copy in sector {lba}"),
        }
    }
}

/// Why a copy cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The device did not deliver the bytes.
    #[error("reading it failed: {0}")]
    Unreadable(String),
    /// No `EFI PART`.
    #[error("no signature")]
    NoSignature,
    /// A revision other than 1.0.
    #[error("unknown revision {0:#x}")]
    Revision(u32),
    /// Header size not within 92..=sector size.
    #[error("header size {0} is out of range")]
    HeaderSize(u32),
    /// Header checksum wrong.
    #[error("header checksum is wrong")]
    HeaderCrc,
    /// It says it belongs elsewhere.
    #[error("header says it is sector {0}")]
    OwnLba(u64),
    /// First or last usable sector outside the disk, or the wrong way round.
    #[error("usable range {0}..={1} is impossible on this disk")]
    Usable(u64, u64),
    /// Entry size no power of two within 128..=4096, or more than 1024 entries, or entries outside the disk or inside
    /// the usable range.
    #[error("{count} entries of {size} bytes at sector {lba} are not possible")]
    Entries {
        /// First sector.
        lba: u64,
        /// Number of entries.
        count: u32,
        /// Bytes of each.
        size: u32,
    },
    /// Entry array checksum wrong.
    #[error("entries checksum is wrong")]
    EntriesCrc,
}

/// No table could be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Neither 512 nor 4096, or the disk has fewer than 6 sectors.
    #[error(
        "a disk of {disk_size} bytes in sectors of {sector_size} cannot hold a partition table"
    )]
    Geometry {
        /// Bytes of the disk.
        disk_size: u64,
        /// Bytes of a sector.
        sector_size: u32,
    },
    /// There is no sign of a table: no copy has the signature. (Try the other sector size.)
    #[error("no partition table")]
    None,
    /// There is, or was, a table, and no copy of it is whole.
    #[error("partition table is broken: primary: {primary}; backup: {backup}")]
    Broken {
        /// What is wrong with the primary copy.
        primary: Fault,
        /// What is wrong with the backup copy.
        backup: Fault,
    },
}

/// Reads the table of a disk of `disk_size` bytes through `read`, which fills a buffer from a byte offset.
///
/// The primary copy is taken if it is whole, else the backup in the last sector, else the backup where the primary
/// header says it is. At most 4 MiB are read at once.
pub fn read(
    mut read: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
    disk_size: u64,
    sector_size: u32,
) -> Result<Found, ReadError> {
    if !matches!(sector_size, 512 | 4096) || disk_size / u64::from(sector_size) < 6 {
        return Err(ReadError::Geometry {
            disk_size,
            sector_size,
        });
    }
    let mut disk = Disk {
        read: &mut read,
        sector_size,
        sectors: disk_size / u64::from(sector_size),
    };
    let last = disk.sectors - 1;
    let mut findings = Vec::new();
    if !disk.has_protective_mbr() {
        findings.push(Finding::NoProtectiveMbr);
    }

    let (place, header, entries) = match disk.copy(1) {
        Ok((header, entries)) => {
            disk.compare_backup(&header, &entries, &mut findings);
            (Place::Primary, header, entries)
        }
        Err(primary) => {
            let (lba, header, entries) = disk.any_backup(&primary)?;
            findings.push(Finding::BadCopy(Place::Primary, primary));
            (Place::Backup { lba }, header, entries)
        }
    };
    let backup = if place == Place::Primary {
        header.other
    } else {
        header.own
    };
    if backup < last {
        findings.push(Finding::NotAtEnd { lba: backup });
    }
    let table = disk.table(&header, &entries, backup, &mut findings);
    Ok(Found {
        table,
        place,
        findings,
    })
}

impl Found {
    /// Whether writing the table back (after changes) loses nothing: every entry was understood, the array is where
    /// [`Table::primary`] would put it, and the table keeps its own rules.
    pub fn is_editable(&self) -> bool {
        !self.findings.iter().any(|finding| {
            matches!(
                finding,
                Finding::UnusualEntries { .. } | Finding::BadEntry(_) | Finding::Breaks(_)
            )
        })
    }
}

/// A header that passed every check.
#[derive(PartialEq, Eq)]
struct Header {
    own: u64,
    other: u64,
    first_usable: u64,
    last_usable: u64,
    guid: Uuid,
    entries: u64,
    count: u32,
    size: u32,
}

struct Disk<'a> {
    read: &'a mut dyn FnMut(u64, &mut [u8]) -> io::Result<()>,
    sector_size: u32,
    sectors: u64,
}

impl Disk<'_> {
    fn bytes(&mut self, lba: u64, length: usize) -> Result<Vec<u8>, Fault> {
        let mut buffer = vec![0; length];
        let offset = lba * u64::from(self.sector_size);
        (self.read)(offset, &mut buffer).map_err(|error| Fault::Unreadable(error.to_string()))?;
        Ok(buffer)
    }

    fn has_protective_mbr(&mut self) -> bool {
        self.bytes(0, self.sector_size as usize).is_ok_and(|mbr| {
            mbr[510..512] == [0x55, 0xaa]
                && mbr[446..510].chunks_exact(16).any(|entry| entry[4] == 0xee)
        })
    }

    /// The copy whose header is in sector `lba`.
    fn copy(&mut self, lba: u64) -> Result<(Header, Vec<u8>), Fault> {
        let sector = self.bytes(lba, self.sector_size as usize)?;
        let (header, crc) = self.header(&sector, lba)?;
        // Both factors are bounded by `header`: 4 MiB at most, and inside the disk.
        let entries = self.bytes(header.entries, (header.count * header.size) as usize)?;
        if CRC.checksum(&entries) != crc {
            return Err(Fault::EntriesCrc);
        }
        Ok((header, entries))
    }

    /// Checks everything about a header but its entries; returns their checksum beside it.
    fn header(&self, sector: &[u8], lba: u64) -> Result<(Header, u32), Fault> {
        if &sector[..8] != b"EFI PART" {
            return Err(Fault::NoSignature);
        }
        if u32_at(sector, 8) != 0x0001_0000 {
            return Err(Fault::Revision(u32_at(sector, 8)));
        }
        let length = u32_at(sector, 12);
        let Some(own_bytes) = sector
            .get(..length as usize)
            .filter(|bytes| bytes.len() >= HEADER_SIZE)
        else {
            return Err(Fault::HeaderSize(length));
        };
        let mut zeroed = own_bytes.to_vec();
        zeroed[16..20].fill(0);
        if CRC.checksum(&zeroed) != u32_at(sector, 16) {
            return Err(Fault::HeaderCrc);
        }
        let header = Header {
            own: u64_at(sector, 24),
            other: u64_at(sector, 32),
            first_usable: u64_at(sector, 40),
            last_usable: u64_at(sector, 48),
            guid: guid_at(sector, 56),
            entries: u64_at(sector, 72),
            count: u32_at(sector, 80),
            size: u32_at(sector, 84),
        };
        if header.own != lba {
            return Err(Fault::OwnLba(header.own));
        }
        if header.first_usable > header.last_usable
            || header.first_usable < 2
            || header.last_usable >= self.sectors
        {
            return Err(Fault::Usable(header.first_usable, header.last_usable));
        }
        self.check_entries(&header)?;
        Ok((header, u32_at(sector, 88)))
    }

    fn check_entries(&self, header: &Header) -> Result<(), Fault> {
        let &Header {
            entries: lba,
            count,
            size,
            ..
        } = header;
        let fault = Fault::Entries { lba, count, size };
        let sizes = size.is_power_of_two() && (ENTRY_SIZE..=LARGEST_ENTRY).contains(&size);
        if !sizes || !(1..=MOST_ENTRIES).contains(&count) || lba < 2 {
            return Err(fault);
        }
        let sectors = (u64::from(count) * u64::from(size)).div_ceil(u64::from(self.sector_size));
        match lba.checked_add(sectors) {
            Some(end)
                if end <= self.sectors
                    && (end <= header.first_usable || lba > header.last_usable) =>
            {
                Ok(())
            }
            _ => Err(fault),
        }
    }

    /// Notes how the backup copy differs from a good primary one.
    fn compare_backup(&mut self, primary: &Header, entries: &[u8], findings: &mut Vec<Finding>) {
        let lba = primary.other;
        let backup = if lba >= self.sectors {
            Err(Fault::OwnLba(lba))
        } else {
            self.copy(lba)
        };
        match backup {
            Err(fault) => findings.push(Finding::BadCopy(Place::Backup { lba }, fault)),
            Ok((backup, backup_entries)) => {
                let same = backup.guid == primary.guid
                    && backup.first_usable == primary.first_usable
                    && backup.last_usable == primary.last_usable
                    && backup_entries == entries;
                if !same {
                    findings.push(Finding::CopiesDiffer);
                }
            }
        }
    }

    /// The backup in the last sector, or where a primary header (even a damaged one) says it is.
    fn any_backup(&mut self, primary: &Fault) -> Result<(u64, Header, Vec<u8>), ReadError> {
        let last = self.sectors - 1;
        let at_end = match self.copy(last) {
            Ok((header, entries)) => return Ok((last, header, entries)),
            Err(fault) => fault,
        };
        let hint = self
            .bytes(1, self.sector_size as usize)
            .ok()
            .filter(|sector| &sector[..8] == b"EFI PART")
            .map(|sector| u64_at(&sector, 32))
            .filter(|lba| (2..last).contains(lba));
        let elsewhere = hint.map(|lba| (lba, self.copy(lba)));
        if let Some((lba, Ok((header, entries)))) = elsewhere {
            return Ok((lba, header, entries));
        }
        if *primary == Fault::NoSignature && at_end == Fault::NoSignature {
            return Err(ReadError::None);
        }
        Err(ReadError::Broken {
            primary: primary.clone(),
            backup: at_end,
        })
    }

    fn table(
        &self,
        header: &Header,
        entries: &[u8],
        backup: u64,
        findings: &mut Vec<Finding>,
    ) -> Table {
        let sector = u64::from(self.sector_size);
        let standard = u64::from(ENTRIES * ENTRY_SIZE) / sector;
        let expected = if header.own == 1 {
            2
        } else {
            header.own.saturating_sub(standard)
        };
        if (header.entries, header.count, header.size) != (expected, ENTRIES, ENTRY_SIZE) {
            let &Header {
                entries: lba,
                count,
                size,
                ..
            } = header;
            findings.push(Finding::UnusualEntries { lba, count, size });
        }
        let mut partitions = Vec::new();
        for (entry, number) in entries.chunks_exact(header.size as usize).zip(1..) {
            if guid_at(entry, 0).is_nil() {
                continue;
            }
            match self.partition(entry, number, findings) {
                Some(partition) => partitions.push(partition),
                None => findings.push(Finding::BadEntry(number)),
            }
        }
        // A backup said to lie past the end (a truncated copy of a larger disk) cannot be kept there.
        let disk_size = backup.saturating_add(1).min(self.sectors) * sector;
        let table = Table {
            disk_guid: header.guid,
            sector_size: self.sector_size,
            disk_size,
            partitions,
        };
        if let Err(error) = table.check() {
            findings.push(Finding::Breaks(error));
        }
        table
    }

    fn partition(
        &self,
        entry: &[u8],
        number: u32,
        findings: &mut Vec<Finding>,
    ) -> Option<Partition> {
        let (first, last) = (u64_at(entry, 32), u64_at(entry, 40));
        if first > last || last >= self.sectors {
            return None;
        }
        let units: Vec<u16> = entry[56..128]
            .chunks_exact(2)
            .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
            .take_while(|&unit| unit != 0)
            .collect();
        let name = String::from_utf16(&units).unwrap_or_else(|_| {
            findings.push(Finding::BadName(number));
            String::from_utf16_lossy(&units)
        });
        let sector = u64::from(self.sector_size);
        Some(Partition {
            number,
            type_guid: guid_at(entry, 0),
            guid: guid_at(entry, 16),
            start: first * sector,
            size: (last - first + 1) * sector,
            attributes: u64_at(entry, 48),
            name,
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn guid_at(bytes: &[u8], at: usize) -> Uuid {
    Uuid::from_bytes_le(bytes[at..at + 16].try_into().expect("sixteen bytes"))
}
