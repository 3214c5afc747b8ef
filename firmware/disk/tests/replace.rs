//! A node changes the table of the disk that it runs from, and the power fails: one whole table is there at any instant,
//! the old one or the new one.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/mod.rs"]
mod support;

use prejoin_disk::io::Shared;
use prejoin_disk::write::replace_table;
use prejoin_formats::gpt::{self, Partition, Table, types};
use support::{Medium, Op};
use uuid::Uuid;

const MIB: u64 = 1 << 20;
const SIZE: u64 = 8 * MIB;
const SECTOR: usize = 512;

fn partition(number: u32) -> Partition {
    Partition {
        number,
        type_guid: types::LINUX,
        guid: Uuid::from_u128(number.into()),
        start: u64::from(number) * MIB,
        size: MIB,
        attributes: 0,
        name: format!("partition {number}"),
    }
}

fn table(partitions: u32, disk_size: u64) -> Table {
    Table {
        disk_guid: Uuid::from_u128(99),
        sector_size: SECTOR as u32,
        disk_size,
        partitions: (1..=partitions).map(partition).collect(),
    }
}

/// A disk with two partitions; its table was made when the disk had `size` bytes.
fn disk(size: u64) -> Vec<u8> {
    let mut disk = vec![0xa5; SIZE as usize];
    let table = table(2, size);
    let primary = table.primary().unwrap();
    disk[..primary.len()].copy_from_slice(&primary);
    let (at, backup) = table.backup().unwrap();
    disk[at as usize..][..backup.len()].copy_from_slice(&backup);
    disk
}

fn read(disk: &[u8]) -> Option<gpt::Found> {
    let read = |at: u64, into: &mut [u8]| {
        into.copy_from_slice(&disk[at as usize..][..into.len()]);
        Ok(())
    };
    gpt::read(read, SIZE, SECTOR as u32).ok()
}

/// Replaces the table, and cuts the power after every sector of every write.
fn replace_and_cut(name: &str, old: &[u8]) {
    let found = read(old).unwrap();
    let new = table(3, SIZE);
    let medium = Medium::new(old.to_vec());
    replace_table(&medium, &found, &new).unwrap();
    let end = read(&medium.bytes()).unwrap();
    assert!(end.table == new && end.findings.is_empty(), "{name}");
    let mut disk = old.to_vec();
    for op in medium.log() {
        let Op::Write(start, bytes) = op else {
            continue;
        };
        for (at, sector) in (start as usize..).step_by(SECTOR).zip(bytes.chunks(SECTOR)) {
            disk[at..at + sector.len()].copy_from_slice(sector);
            let table = read(&disk).map(|found| found.table.partitions);
            let whole = [Some(table_of(2)), Some(table_of(3))].contains(&table);
            assert!(whole, "{name}: cut after byte {at}, the table is {table:?}");
        }
    }
}

fn table_of(partitions: u32) -> Vec<Partition> {
    table(partitions, SIZE).partitions
}

#[test]
fn a_whole_table_counts_at_any_instant() {
    replace_and_cut("both copies are good", &disk(SIZE));
    replace_and_cut("the disk has grown", &disk(SIZE - 3 * MIB));
    let mut damaged = disk(SIZE);
    damaged[SECTOR..2 * SECTOR].fill(0);
    replace_and_cut("only the backup copy is good", &damaged);
    let mut damaged = disk(SIZE);
    damaged[SIZE as usize - SECTOR..].fill(0);
    replace_and_cut("only the primary copy is good", &damaged);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a disk in a file")]
fn on_a_disk_that_others_use_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    std::fs::write(&path, disk(SIZE)).unwrap();
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let other = std::fs::File::open(&path).unwrap();
    other.lock().unwrap();
    let found = read(&disk(SIZE)).unwrap();
    let new = table(3, SIZE);
    let shared = Shared::new(file);
    assert!(replace_table(&shared, &found, &new).unwrap() > 0);
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(read(&bytes).unwrap().table, new);
    let found = read(&bytes).unwrap();
    assert_eq!(
        replace_table(&shared, &found, &new).unwrap(),
        0,
        "what is there already is left alone"
    );
}
