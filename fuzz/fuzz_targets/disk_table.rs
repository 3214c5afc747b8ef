//! A disk that is looked at: its tables, what is blank, and what its file systems hold. The input holds only the
//! sectors that are not empty.
#![no_main]

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use libfuzzer_sys::fuzz_target;
use prejoin_disk::device::ReadAt;
use prejoin_disk::probe::probe;
use prejoin_fuzz::unpack;

const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

struct Counted(Vec<u8>, AtomicU64);

impl ReadAt for Counted {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.1.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.0[..].read_at(offset, buffer)
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((sector, bytes)) = bytes.split_first() else { return };
    let mut disk = unpack(bytes, 2 << 20);
    if sector & 2 != 0 {
        // Checksums that fit, which no mutation would hit.
        for sector in [512, 4096] {
            seal(&mut disk, sector, 2 * sector);
            if let Some(header) = disk.len().checked_sub(sector) {
                seal(&mut disk, header, header.saturating_sub(16 << 10));
            }
        }
    }
    let disk = Counted(disk, AtomicU64::new(0));
    let size = disk.0.len() as u64;
    let content = probe(&disk, size, if sector % 2 == 0 { 512 } else { 4096 });
    assert!(content.unreadable.is_empty(), "memory can be read: {:?}", content.unreadable);
    let read = disk.1.into_inner();
    assert!(read < 2 << 30, "{read} bytes were read");
    for blank in content.blankness.iter() {
        assert!(blank.read <= blank.of.length && blank.of.end() <= size);
        assert!(blank.first.is_none_or(|first| blank.of.start <= first && first < blank.of.end()));
        // Of so small a disk everything is looked at.
        if content.tables.is_empty() && blank.of.length == size {
            let sectors = disk.0.chunks(512).all(|s| s.iter().all(|&b| b == 0) || s.iter().all(|&b| b == 0xff));
            assert_eq!(blank.first.is_none(), sectors);
        }
    }
});

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
