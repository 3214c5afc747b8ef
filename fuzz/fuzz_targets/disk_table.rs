//! A disk that is looked at: its tables, what is blank, and what its file systems hold. The input holds only the
//! sectors that are not empty.
#![no_main]

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use libfuzzer_sys::fuzz_target;
use prejoin_disk::device::ReadAt;
use prejoin_disk::probe::probe;
use prejoin_fuzz::Disk;

struct Counted(Disk, AtomicU64);

impl ReadAt for Counted {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.1.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.0.read(offset, buffer)
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((sector, bytes)) = bytes.split_first() else { return };
    let mut disk = Disk::new(bytes, 2 << 20);
    if sector & 2 != 0 {
        disk.seal(512);
        disk.seal(4096);
    }
    let disk = Counted(disk, AtomicU64::new(0));
    let size = disk.0.len();
    let content = probe(&disk, size, if sector % 2 == 0 { 512 } else { 4096 });
    assert!(content.unreadable.is_empty(), "memory can be read: {:?}", content.unreadable);
    let read = disk.1.into_inner();
    assert!(read < 2 << 30, "{read} bytes were read");
    for blank in content.blankness.iter() {
        assert!(blank.read <= blank.of.length && blank.of.end() <= size);
        assert!(blank.first.is_none_or(|first| blank.of.start <= first && first < blank.of.end()));
        // Of so small a disk everything is looked at.
        if content.tables.is_empty() && blank.of.length == size {
            let sectors = disk.0.sectors().all(|s| s.iter().all(|&b| b == 0) || s.iter().all(|&b| b == 0xff));
            assert_eq!(blank.first.is_none(), sectors);
        }
    }
});
