//! GUID partition tables (UEFI specification 2.10, section 5.3).
//!
//! [`Table`] is the model: change it, then write [`Table::primary`] and [`Table::backup`]. [`read`] gets one off a
//! disk, trusting nothing on it, and says which copy was good.

pub mod types;

mod read;

use std::ops::Range;

use crc::{CRC_32_ISO_HDLC, Crc};

use uuid::Uuid;

pub use read::{Fault, Finding, Found, Place, ReadError, read};

/// Where partitions begin and free space is cut: every SSD erase block and RAID stripe in use divides it.
pub const ALIGNMENT: u64 = 1 << 20;

/// Entries of the tables written here: what the specification asks for as a minimum and every tool expects.
const ENTRIES: u32 = 128;
const ENTRY_SIZE: u32 = 128;
/// Bytes of the entry array: 16 KiB, a whole number of sectors of either size.
const ENTRIES_SIZE: u64 = ENTRIES as u64 * ENTRY_SIZE as u64;
const HEADER_SIZE: usize = 92;
const NAME_UNITS: usize = 36;

static CRC: Crc<u32, crc::Table<16>> = Crc::<u32, crc::Table<16>>::new(&CRC_32_ISO_HDLC);

/// A partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The disk's own GUID.
    pub disk_guid: Uuid,
    /// Logical sector size in bytes: 512 or 4096.
    pub sector_size: u32,
    /// Size in bytes of the disk the table is made for; the backup copy ends there.
    pub disk_size: u64,
    /// The used entries, in any order.
    pub partitions: Vec<Partition>,
}

/// One used entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Position in the table, from 1; the kernel's partition number.
    pub number: u32,
    /// What it is for; see [`types`].
    pub type_guid: Uuid,
    /// Its own name: `PARTUUID`.
    pub guid: Uuid,
    /// First byte; a multiple of the sector size.
    pub start: u64,
    /// Length in bytes; a multiple of the sector size, never 0.
    pub size: u64,
    /// Attribute bits; see [`types`].
    pub attributes: u64,
    /// `PARTLABEL`: at most 36 UTF-16 units.
    pub name: String,
}

/// A table that cannot be written. Offsets and sizes are bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither 512 nor 4096.
    #[error("a sector size of {0} bytes is not supported")]
    SectorSize(u32),
    /// No room for the two copies of the table.
    #[error("a disk of {0} bytes is too small for a partition table")]
    DiskSize(u64),
    /// A number outside 1..=128.
    #[error("partition number {0} is not within 1..=128")]
    Number(u32),
    /// The same number, or the same GUID, twice.
    #[error("partition {0} appears twice (same number or same GUID)")]
    Twice(u32),
    /// An entry with a nil type would read back as unused.
    #[error("partition {0} has a nil type")]
    Nil(u32),
    /// Start or size is 0 or no multiple of the sector size.
    #[error("partition {number} ({start}+{size}) is empty or not made of whole sectors")]
    Alignment {
        /// The partition.
        number: u32,
        /// Its first byte.
        start: u64,
        /// Its length.
        size: u64,
    },
    /// It reaches into a copy of the table or past the end of the disk.
    #[error("partition {number} ({start}+{size}) reaches outside the usable range {}..{}", usable.start, usable.end)]
    Range {
        /// The partition.
        number: u32,
        /// Its first byte.
        start: u64,
        /// Its length.
        size: u64,
        /// What partitions may cover.
        usable: Range<u64>,
    },
    /// Two partitions share bytes.
    #[error("partitions {0} and {1} overlap")]
    Overlap(u32, u32),
    /// The name has more than 36 UTF-16 units, or a NUL.
    #[error("partition {0} has a name that is longer than 36 UTF-16 units or holds a NUL: {1:?}")]
    Name(u32, String),
}

impl Table {
    /// The range partitions may cover, in bytes: between the two copies of the table. Empty if the disk is too small.
    pub fn usable(&self) -> Range<u64> {
        let sector = u64::from(self.sector_size);
        let start = 2 * sector + ENTRIES_SIZE;
        let end = self
            .sectors()
            .saturating_mul(sector)
            .saturating_sub(sector + ENTRIES_SIZE);
        start..end.max(start)
    }

    /// Moves the backup copy to the end of a disk of another size (a larger one, or a smaller one that still holds
    /// every partition). The old backup copy becomes free space; wiping it is the caller's work.
    pub fn grow(&mut self, disk_size: u64) -> Result<(), Error> {
        let moved = Table {
            disk_size,
            ..self.clone()
        };
        moved.check()?;
        *self = moved;
        Ok(())
    }

    /// The partition with this number.
    pub fn partition(&self, number: u32) -> Option<&Partition> {
        self.partitions
            .iter()
            .find(|partition| partition.number == number)
    }

    /// The partition with this GUID.
    pub fn with_guid(&self, guid: &Uuid) -> Option<&Partition> {
        self.partitions
            .iter()
            .find(|partition| partition.guid == *guid)
    }

    /// Whether the table can be written: everything [`Error`] lists.
    pub fn check(&self) -> Result<(), Error> {
        if !matches!(self.sector_size, 512 | 4096) {
            return Err(Error::SectorSize(self.sector_size));
        }
        let usable = self.usable();
        if usable.is_empty() {
            return Err(Error::DiskSize(self.disk_size));
        }
        for partition in &self.partitions {
            self.check_partition(partition, &usable)?;
        }
        for (index, a) in self.partitions.iter().enumerate() {
            for b in &self.partitions[..index] {
                if a.number == b.number || a.guid == b.guid {
                    return Err(Error::Twice(a.number));
                }
                if a.start < b.start + b.size && b.start < a.start + a.size {
                    return Err(Error::Overlap(
                        a.number.min(b.number),
                        a.number.max(b.number),
                    ));
                }
            }
        }
        Ok(())
    }

    fn check_partition(&self, partition: &Partition, usable: &Range<u64>) -> Result<(), Error> {
        let &Partition {
            number,
            start,
            size,
            ..
        } = partition;
        let sector = u64::from(self.sector_size);
        if !(1..=ENTRIES).contains(&number) {
            return Err(Error::Number(number));
        }
        if partition.type_guid.is_nil() {
            return Err(Error::Nil(number));
        }
        if size == 0 || start % sector != 0 || size % sector != 0 {
            return Err(Error::Alignment {
                number,
                start,
                size,
            });
        }
        if start < usable.start || start.checked_add(size).is_none_or(|end| end > usable.end) {
            return Err(Error::Range {
                number,
                start,
                size,
                usable: usable.clone(),
            });
        }
        if partition.name.encode_utf16().count() > NAME_UNITS || partition.name.contains('\0') {
            return Err(Error::Name(number, partition.name.clone()));
        }
        Ok(())
    }

    /// The bytes for offset 0: protective MBR, header and entries (17 408 or 24 576 bytes).
    pub fn primary(&self) -> Result<Vec<u8>, Error> {
        self.check()?;
        let sector = self.sector_size as usize;
        let entries = self.entries();
        let mut bytes = self.protective_mbr();
        bytes.resize(sector, 0);
        bytes.extend(self.header(1, self.sectors() - 1, 2, &entries));
        bytes.resize(2 * sector, 0);
        bytes.extend(entries);
        Ok(bytes)
    }

    /// The backup copy and the offset where it belongs: entries, then the header in the disk's last sector.
    pub fn backup(&self) -> Result<(u64, Vec<u8>), Error> {
        self.check()?;
        let sector = u64::from(self.sector_size);
        let last = self.sectors() - 1;
        let first = last - ENTRIES_SIZE / sector;
        let mut bytes = self.entries();
        let header = self.header(last, 1, first, &bytes);
        bytes.extend(header);
        bytes.resize((ENTRIES_SIZE + sector) as usize, 0);
        Ok((first * sector, bytes))
    }

    fn sectors(&self) -> u64 {
        self.disk_size / u64::from(self.sector_size.max(1))
    }

    /// One partition of type 0xEE over the whole disk (section 5.2.3): old tools see a full disk, not an empty one.
    fn protective_mbr(&self) -> Vec<u8> {
        let mut bytes = vec![0; 512];
        let sectors = u32::try_from(self.sectors() - 1).unwrap_or(u32::MAX);
        bytes[447..450].copy_from_slice(&[0x00, 0x02, 0x00]);
        bytes[450] = 0xee;
        bytes[451..454].copy_from_slice(&[0xff, 0xff, 0xff]);
        bytes[454..458].copy_from_slice(&1u32.to_le_bytes());
        bytes[458..462].copy_from_slice(&sectors.to_le_bytes());
        bytes[510..].copy_from_slice(&[0x55, 0xaa]);
        bytes
    }

    fn header(&self, own: u64, other: u64, first_entry: u64, entries: &[u8]) -> Vec<u8> {
        let sector = u64::from(self.sector_size);
        let usable = self.usable();
        let mut bytes = Vec::with_capacity(HEADER_SIZE);
        bytes.extend(b"EFI PART");
        bytes.extend(0x0001_0000u32.to_le_bytes());
        bytes.extend((HEADER_SIZE as u32).to_le_bytes());
        bytes.extend([0; 8]); // CRC, filled in below; reserved
        for lba in [own, other, usable.start / sector, usable.end / sector - 1] {
            bytes.extend(lba.to_le_bytes());
        }
        bytes.extend(self.disk_guid.to_bytes_le());
        bytes.extend(first_entry.to_le_bytes());
        for number in [ENTRIES, ENTRY_SIZE, CRC.checksum(entries)] {
            bytes.extend(number.to_le_bytes());
        }
        let crc = CRC.checksum(&bytes);
        bytes[16..20].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn entries(&self) -> Vec<u8> {
        let sector = u64::from(self.sector_size);
        let mut bytes = vec![0; ENTRIES_SIZE as usize];
        for partition in &self.partitions {
            let at = ((partition.number - 1) * ENTRY_SIZE) as usize;
            let entry = &mut bytes[at..at + ENTRY_SIZE as usize];
            entry[..16].copy_from_slice(&partition.type_guid.to_bytes_le());
            entry[16..32].copy_from_slice(&partition.guid.to_bytes_le());
            entry[32..40].copy_from_slice(&(partition.start / sector).to_le_bytes());
            entry[40..48]
                .copy_from_slice(&((partition.start + partition.size) / sector - 1).to_le_bytes());
            entry[48..56].copy_from_slice(&partition.attributes.to_le_bytes());
            for (unit, slot) in partition
                .name
                .encode_utf16()
                .zip(entry[56..].chunks_exact_mut(2))
            {
                slot.copy_from_slice(&unit.to_le_bytes());
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn partition(number: u32, start: u64, size: u64) -> Partition {
        let mut guid = [7; 16];
        guid[15] = number as u8;
        let guid = Uuid::from_bytes(guid);
        Partition {
            number,
            type_guid: types::LINUX,
            guid,
            start,
            size,
            attributes: 0,
            name: "root-ä".to_owned(),
        }
    }

    fn table() -> Table {
        Table {
            disk_guid: Uuid::from_bytes([9; 16]),
            sector_size: 512,
            disk_size: 100 * MIB,
            partitions: vec![partition(1, MIB, 10 * MIB), partition(4, 20 * MIB, 5 * MIB)],
        }
    }

    fn broken(change: impl FnOnce(&mut Table)) -> Error {
        let mut table = table();
        change(&mut table);
        assert_eq!(table.primary().map(drop), table.backup().map(drop));
        table.check().unwrap_err()
    }

    #[test]
    fn refuses_what_cannot_be_written() {
        table().check().unwrap();
        assert_eq!(broken(|t| t.sector_size = 1024), Error::SectorSize(1024));
        assert_eq!(broken(|t| t.sector_size = 0), Error::SectorSize(0));
        assert_eq!(
            broken(|t| t.disk_size = 34 * 512),
            Error::DiskSize(34 * 512)
        );
        assert_eq!(broken(|t| t.partitions[0].number = 0), Error::Number(0));
        assert_eq!(broken(|t| t.partitions[0].number = 129), Error::Number(129));
        assert_eq!(broken(|t| t.partitions[0].number = 4), Error::Twice(4));
        assert_eq!(
            broken(|t| t.partitions[1].guid = t.partitions[0].guid),
            Error::Twice(4)
        );
        assert_eq!(
            broken(|t| t.partitions[1].type_guid = Uuid::nil()),
            Error::Nil(4)
        );
        assert_eq!(
            broken(|t| t.partitions[1].start = 15 * MIB - 512 + 512 - 5 * MIB),
            Error::Overlap(1, 4)
        );
        assert!(matches!(
            broken(|t| t.partitions[1].size = 0),
            Error::Alignment { number: 4, .. }
        ));
        assert!(matches!(
            broken(|t| t.partitions[1].start += 100),
            Error::Alignment { number: 4, .. }
        ));
        assert!(matches!(
            broken(|t| t.partitions[0].start = 33 * 512),
            Error::Range { number: 1, .. }
        ));
        assert!(matches!(
            broken(|t| t.partitions[1].size = 80 * MIB),
            Error::Range { number: 4, .. }
        ));
        assert!(matches!(
            broken(|t| t.partitions[1].size = u64::MAX - 511),
            Error::Range { number: 4, .. }
        ));
        assert!(matches!(
            broken(|t| t.partitions[0].name = "x".repeat(37)),
            Error::Name(1, _)
        ));
    }

    #[test]
    fn grows_and_shrinks() {
        let mut table = table();
        table.grow(1000 * MIB).unwrap();
        assert_eq!(table.backup().unwrap().0, 1000 * MIB - 33 * 512);
        assert!(matches!(
            table.grow(24 * MIB),
            Err(Error::Range { number: 4, .. })
        ));
        assert_eq!(table.disk_size, 1000 * MIB);
        table.grow(26 * MIB).unwrap();
    }
}
