//! Partition schemes that are recognised and not read: whoever has one keeps it.

use prejoin_wire::disk::{Place, Scheme, Table};

use super::bytes::{be16, be32, le32};
use super::record::Recorder;

/// Windows keeps the first `PRIVHEAD` of a dynamic disk in sector 6, and in the metadata partition if there is a GPT.
const LDM_METADATA: &str = "5808c8aa-7e8f-42e0-85d2-e1e90434cfb3";

/// Every foreign table; `tables` are the others.
pub(crate) fn tables(disk: &Recorder, tables: &[Table]) -> Vec<Table> {
    let mut found = Vec::new();
    let mut add = |scheme, offset| {
        let table = Table {
            scheme,
            place: if offset < 1 << 20 {
                Place::Primary
            } else {
                Place::Stray
            },
            offset,
            sector_size: 512,
            valid: false,
            problems: vec!["it is of a foreign kind, and its partitions are not read".into()],
            id: None,
            partitions: Vec::new(),
        };
        if !found.contains(&table) {
            found.push(table);
        }
    };
    let start = disk.bytes(0, 8192).unwrap_or_default();
    let part = |from: usize| start.get(from..).unwrap_or_default();
    // Apple's map begins in the second block, whose size (512, 2048) is in the driver descriptor.
    for block in [512, 1024, 2048, 4096] {
        if part(block).starts_with(b"PM\0\0") {
            add(Scheme::Apple, block as u64);
        }
    }
    // BSD: in sector 1, at the start of sector 0, or 64 bytes into it (Alpha); the magic number is there twice.
    for label in [0, 64, 512] {
        if le32(&start, label) == 0x8256_4557 && le32(&start, label + 132) == 0x8256_4557 {
            add(Scheme::Bsd, label as u64);
        }
    }
    // Sun: the sector's 16-bit words come to 0.
    if be16(&start, 508) == 0xdabe
        && (0..256).fold(0, |sum, word| sum ^ be16(&start, 2 * word)) == 0
    {
        add(Scheme::Sun, 0);
    }
    if be32(&start, 0) == 0x0be5_a941 {
        add(Scheme::Sgi, 0);
    }
    if part(6 * 512).starts_with(b"PRIVHEAD") {
        add(Scheme::Ldm, 6 * 512);
    }
    for partition in tables
        .iter()
        .flat_map(|table| &table.partitions)
        .filter(|p| p.type_id == LDM_METADATA)
        .take(8)
    {
        let extent = partition.extent;
        // Copies: the partition's first sectors and its last (Linux-NTFS project, "LDM documentation").
        for from in [extent.start, extent.end().saturating_sub(8192)] {
            let bytes = disk.bytes(from, 8192).unwrap_or_default();
            for (sector, at) in bytes.chunks(512).zip((from..).step_by(512)) {
                if sector.starts_with(b"PRIVHEAD") {
                    add(Scheme::Ldm, at);
                }
            }
        }
    }
    found
}
