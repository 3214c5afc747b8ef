//! A partition table on a disk of either sector size; then what the agent does with it. The input holds only the
//! sectors that are not empty.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prejoin_disk::layout;
use prejoin_formats::gpt::{self, Found};
use prejoin_fuzz::Disk;
use prejoin_wire::handoff::{Format, Partition};
use uuid::Uuid;

fuzz_target!(|bytes: &[u8]| {
    let mut disk = Disk::new(bytes, 16 << 20);
    for sector in [512, 4096] {
        read(&disk, sector);
        disk.seal(sector);
        read(&disk, sector);
    }
});

fn read(disk: &Disk, sector: usize) {
    let read = |offset: u64, buffer: &mut [u8]| disk.read(offset, buffer);
    if let Ok(found) = gpt::read(read, disk.len(), sector as u32) {
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
            type_guid: Uuid::from_bytes([1; 16]),
            guid: Uuid::from_bytes([name.len() as u8; 16]),
            uuid: Uuid::from_bytes([2; 16]),
            size,
            min_size: None,
            format: Format::Ext4,
        });
        if let Ok(plan) = layout::complete(&table, 1 << 40, &wanted) {
            plan.table.check().expect("a plan can be written");
        }
    }
}
