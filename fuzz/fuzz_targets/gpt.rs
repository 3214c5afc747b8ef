//! A partition table on a disk of either sector size; then what the agent does with it. The input holds only the
//! sectors that are not empty.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prejoin_disk::layout;
use prejoin_formats::gpt::{self, Found};
use prejoin_fuzz::unpack;
use prejoin_profiles::handoff::{Format, Partition, Uuid};

const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

fuzz_target!(|bytes: &[u8]| {
    let mut disk = unpack(bytes, 16 << 20);
    for sector in [512, 4096] {
        read(&disk, sector);
        // Once more with checksums that fit, which no mutation would hit.
        seal(&mut disk, sector, 2 * sector);
        if let Some(header) = disk.len().checked_sub(sector) {
            seal(&mut disk, header, header.saturating_sub(16 << 10));
        }
        read(&disk, sector);
    }
});

fn read(disk: &[u8], sector: usize) {
    let read = |offset: u64, buffer: &mut [u8]| {
        let found = usize::try_from(offset).ok().and_then(|offset| disk.get(offset..)?.get(..buffer.len()));
        buffer.copy_from_slice(found.ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    };
    if let Ok(found) = gpt::read(read, disk.len() as u64, sector as u32) {
        edit(found);
    }
}

fn edit(found: Found) {
    assert!(found.table.check().is_ok() || !found.is_editable());
    let mut table = found.table;
    for disk_size in [0, 1 << 20, 16 << 20, 1 << 40, u64::MAX] {
        if table.grow(disk_size).is_ok() {
            let primary = table.primary().expect("it was checked");
            let (offset, backup) = table.backup().expect("it was checked");
            assert!(offset + backup.len() as u64 <= disk_size && primary.len() < 32 << 10);
        }
    }
    for size in [None, Some(1 << 20), Some(u64::MAX)] {
        let wanted = ["state", "data"].map(|name| Partition {
            name: name.into(),
            type_guid: Uuid([1; 16]),
            guid: Uuid([name.len() as u8; 16]),
            uuid: Uuid([2; 16]),
            size,
            min_size: None,
            format: Format::Ext4,
        });
        if let Ok(plan) = layout::complete(&table, 1 << 40, &wanted) {
            plan.table.check().expect("a plan can be written");
        }
    }
}

/// Writes both checksums of the table whose header is at `header`.
fn seal(disk: &mut [u8], header: usize, entries: usize) {
    let word = |disk: &[u8], at: usize| Some(u32::from_le_bytes(*disk.get(at..)?.first_chunk()?) as usize);
    let (Some(count), Some(size)) = (word(disk, header + 80), word(disk, header + 84)) else { return };
    let length = count.saturating_mul(size);
    if let Some(array) = entries.checked_add(length).and_then(|end| disk.get(entries..end)) {
        let crc = CRC.checksum(array);
        disk[header + 88..header + 92].copy_from_slice(&crc.to_le_bytes());
    }
    let Some(size) = word(disk, header + 12) else { return };
    if (92..=4096).contains(&size) && header + size <= disk.len() {
        disk[header + 16..header + 20].fill(0);
        let crc = CRC.checksum(&disk[header..header + size]);
        disk[header + 16..header + 20].copy_from_slice(&crc.to_le_bytes());
    }
}
