//! Partition tables, judged by sgdisk, the kernel and the `gpt` crate.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "strangers judge, and strangers read files"
)]

mod tools;

use std::io::Cursor;

use crc::{CRC_32_ISO_HDLC, Crc};
use prejoin_formats::gpt::{
    Fault, Finding, Found, Partition, Place, ReadError, Table, read, types,
};
use tools::{Loop, Noise, have, run};
use uuid::Uuid;

const MIB: u64 = 1 << 20;

fn table(sector_size: u32) -> Table {
    let part = |number, type_guid, start, size, attributes, name: &str| {
        let mut guid = [0x11; 16];
        guid[15] = number as u8;
        let name = name.to_owned();
        Partition {
            number,
            type_guid,
            guid: Uuid::from_bytes(guid),
            start: start * MIB,
            size: size * MIB,
            attributes,
            name,
        }
    };
    Table {
        disk_guid: "01234567-89ab-cdef-0123-456789abcdef".parse().unwrap(),
        sector_size,
        disk_size: 64 * MIB,
        partitions: vec![
            part(1, types::ESP, 1, 20, 0, "esp"),
            part(
                2,
                types::ROOT_AMD64,
                21,
                8,
                types::READ_ONLY | types::NO_AUTO,
                "root-a",
            ),
            part(
                3,
                types::ROOT_VERITY_AMD64,
                29,
                1,
                types::READ_ONLY,
                "root-a-verity",
            ),
            part(6, types::BASIC_DATA, 30, 1, 0, "identität"),
            part(
                7,
                types::VAR,
                31,
                30,
                types::GROW_FILE_SYSTEM,
                "state-0123456789-0123456789-01234567",
            ),
        ],
    }
}

fn disk(table: &Table) -> Vec<u8> {
    let mut disk = vec![0; table.disk_size as usize];
    let primary = table.primary().unwrap();
    disk[..primary.len()].copy_from_slice(&primary);
    let (offset, backup) = table.backup().unwrap();
    disk[offset as usize..].copy_from_slice(&backup);
    disk
}

fn read_bytes(disk: &[u8], sector_size: u32) -> Result<Found, ReadError> {
    let fill = |offset: u64, buffer: &mut [u8]| {
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|from| disk.get(from..)?.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    };
    read(fill, disk.len() as u64, sector_size)
}

#[test]
fn sgdisk_finds_nothing_wrong_and_reads_the_same() {
    if !have(&["sgdisk", "losetup"]) {
        return;
    }
    for (sector_size, golden) in [(512, GOLDEN_512), (4096, GOLDEN_4096)] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), disk(&table(sector_size))).unwrap();
        let Some(device) = Loop::new(file.path(), sector_size) else {
            return;
        };
        let verdict = run("sgdisk", &["-v", &device.0]);
        assert!(verdict.contains("No problems found."), "{verdict}");
        let print =
            run("sgdisk", &["-p", "-i", "2", "-i", "7", &device.0]).replace(&device.0, "DISK");
        assert_eq!(print, golden);
    }
}

const GOLDEN_512: &str = include_str!("golden/gpt-512.txt");
const GOLDEN_4096: &str = include_str!("golden/gpt-4096.txt");

#[test]
fn the_gpt_crate_reads_what_we_write() {
    for sector_size in [512, 4096] {
        let table = table(sector_size);
        let size = if sector_size == 512 {
            gpt::disk::LogicalBlockSize::Lb512
        } else {
            gpt::disk::LogicalBlockSize::Lb4096
        };
        let config = gpt::GptConfig::new()
            .writable(false)
            .logical_block_size(size)
            .only_valid_headers(true);
        let found = config.open_from_device(Cursor::new(disk(&table))).unwrap();
        assert_eq!(found.guid().to_string(), table.disk_guid.to_string());
        assert!(found.primary_header().is_ok() && found.backup_header().is_ok());
        for (ours, theirs) in table.partitions.iter().zip(found.partitions().values()) {
            assert_eq!(theirs.part_guid.to_string(), ours.guid.to_string());
            assert_eq!(
                theirs.part_type_guid.guid.to_string(),
                ours.type_guid.to_string()
            );
            assert_eq!(
                (theirs.first_lba * u64::from(sector_size), theirs.flags),
                (ours.start, ours.attributes)
            );
            assert_eq!(theirs.name, ours.name);
        }
        assert_eq!(found.partitions().len(), table.partitions.len());
    }
}

#[test]
fn reads_back_what_was_written() {
    for sector_size in [512, 4096] {
        let table = table(sector_size);
        let found = read_bytes(&disk(&table), sector_size).unwrap();
        assert_eq!(
            found,
            Found {
                table,
                place: Place::Primary,
                findings: vec![]
            }
        );
        assert!(found.is_editable());
    }
}

#[test]
fn falls_back_to_the_backup() {
    for sector_size in [512u32, 4096] {
        let table = table(sector_size);
        let sector = sector_size as usize;
        let last = table.disk_size / u64::from(sector_size) - 1;
        // A byte in the header, a byte in the entries, everything.
        for (at, length, fault) in [
            (sector + 60, 1, Fault::HeaderCrc),
            (2 * sector + 300, 1, Fault::EntriesCrc),
            (0, 2 * sector, Fault::NoSignature),
        ] {
            let mut disk = disk(&table);
            disk[at..at + length].fill(0xd7);
            let found = read_bytes(&disk, sector_size).unwrap();
            assert_eq!(
                (found.place, &found.table),
                (Place::Backup { lba: last }, &table)
            );
            assert!(
                found
                    .findings
                    .contains(&Finding::BadCopy(Place::Primary, fault))
            );
            assert_eq!(found.findings.contains(&Finding::NoProtectiveMbr), at == 0);
            let at_end = disk.len() - sector;
            disk[at_end] = 0;
            let error = read_bytes(&disk, sector_size).unwrap_err();
            assert_eq!(error == ReadError::None, at == 0, "{error}");
        }
    }
}

#[test]
fn finds_the_old_backup_on_a_grown_disk() {
    let table = table(512);
    let mut disk = disk(&table);
    disk.resize(80 * MIB as usize, 0);
    let lba = 64 * MIB / 512 - 1;
    let found = read_bytes(&disk, 512).unwrap();
    let words = found.findings[0].to_string();
    assert_eq!(
        words,
        "the backup copy is in sector 131071, which is not the disk's last"
    );
    assert_eq!(
        (&found.table, found.findings),
        (&table, vec![Finding::NotAtEnd { lba }])
    );
    disk[2000] = 1; // in the entries, so that the header still leads to the backup
    let found = read_bytes(&disk, 512).unwrap();
    assert_eq!((&found.table, found.place), (&table, Place::Backup { lba }));
    let words = found
        .findings
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>();
    let bad =
        words.contains(&"the primary copy cannot be used: entries checksum is wrong".to_owned());
    assert!(bad, "{words:?}");

    let mut grown = found.table;
    grown.grow(disk.len() as u64).unwrap();
    let primary = grown.primary().unwrap();
    disk[..primary.len()].copy_from_slice(&primary);
    let (offset, backup) = grown.backup().unwrap();
    disk[offset as usize..].copy_from_slice(&backup);
    assert_eq!(
        read_bytes(&disk, 512).unwrap(),
        Found {
            table: grown,
            place: Place::Primary,
            findings: vec![]
        }
    );
}

#[test]
fn an_empty_disk_has_no_table() {
    assert_eq!(read_bytes(&vec![0; 1 << 20], 512), Err(ReadError::None));
    assert!(matches!(
        read_bytes(&[0; 2048], 512),
        Err(ReadError::Geometry { .. })
    ));
    assert!(matches!(
        read_bytes(&[0; 2048], 0),
        Err(ReadError::Geometry { .. })
    ));
    let failing = |_: u64, _: &mut [u8]| Err(std::io::Error::other("medium error"));
    assert!(matches!(
        read(failing, 1 << 30, 512),
        Err(ReadError::Broken {
            primary: Fault::Unreadable(_),
            ..
        })
    ));
}

/// Puts right both checksums of the copy whose header is at `at`, as far as its numbers make sense.
fn repair(disk: &mut [u8], at: usize, sector_size: usize) {
    static CRC: Crc<u32, crc::Table<16>> = Crc::<u32, crc::Table<16>>::new(&CRC_32_ISO_HDLC);
    let number = |disk: &[u8], from: usize| {
        u32::from_le_bytes(disk[at + from..][..4].try_into().unwrap()) as usize
    };
    let start = number(disk, 72).saturating_mul(sector_size);
    let length = number(disk, 80).saturating_mul(number(disk, 84));
    if let Some(entries) = disk.get(start..).and_then(|disk| disk.get(..length)) {
        let crc = CRC.checksum(entries);
        disk[at + 88..at + 92].copy_from_slice(&crc.to_le_bytes());
    }
    let size = number(disk, 12).clamp(20, sector_size);
    disk[at + 16..at + 20].fill(0);
    let crc = CRC.checksum(&disk[at..at + size]);
    disk[at + 16..at + 20].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn no_mutant_makes_the_reader_panic() {
    let mut noise = Noise::new(1);
    for sector_size in [512usize, 4096] {
        let mut small = table(sector_size as u32);
        small.disk_size = MIB;
        small.partitions.truncate(2);
        for (partition, start) in small.partitions.iter_mut().zip([256, 300]) {
            (partition.start, partition.size) = (start << 10, 40 << 10);
        }
        let good = disk(&small);
        let mut readable = 0;
        let mut edited = good.clone();
        for _ in 0..50_000 {
            let backup = good.len() - sector_size;
            for header in [sector_size, backup] {
                let times = noise.below(4);
                noise.spoil(&mut edited[header + 8..header + 92], times);
            }
            let times = noise.below(8);
            noise.spoil(&mut edited[2 * sector_size..2 * sector_size + 256], times);
            repair(&mut edited, sector_size, sector_size);
            repair(&mut edited, backup, sector_size);
            if let Ok(found) = read_bytes(&edited, sector_size as u32) {
                readable += 1;
                let written = found.table.primary().is_ok() && found.table.backup().is_ok();
                let breaks = found
                    .findings
                    .iter()
                    .any(|finding| matches!(finding, Finding::Breaks(_)));
                assert_ne!(written, breaks, "{found:?}");
            }
            for range in [0..2 * sector_size + 256, backup..good.len()] {
                edited[range.clone()].copy_from_slice(&good[range]);
            }
        }
        assert!(
            readable > 5_000,
            "only {readable} mutants got past the header"
        );
    }
}
