//! Signatures on a disk of any size: the input holds only the sectors that are not empty, and a disk that is larger
//! than what is in memory repeats itself, so that the far copies have something in them, too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prejoin_disk::device::ReadAt;
use prejoin_disk::probe::signature::scan;
use prejoin_fuzz::unpack;
use prejoin_wire::disk::Extent;

struct Repeating {
    bytes: Vec<u8>,
    size: u64,
}

impl ReadAt for Repeating {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        assert!(buffer.len() <= 1 << 20, "a read of {} bytes", buffer.len());
        let end = offset.checked_add(buffer.len() as u64).expect("no read goes past what can be counted");
        assert!(end <= self.size, "a read past the end");
        let mut at = (offset % self.bytes.len() as u64) as usize;
        let mut rest = buffer;
        while !rest.is_empty() {
            let length = rest.len().min(self.bytes.len() - at);
            let (part, next) = rest.split_at_mut(length);
            part.copy_from_slice(&self.bytes[at..at + length]);
            (rest, at) = (next, 0);
        }
        Ok(())
    }
}

fuzz_target!(|bytes: &[u8]| {
    let bytes = unpack(bytes, 2 << 20);
    let length = bytes.len() as u64;
    if length == 0 {
        return;
    }
    let mut disk = Repeating { bytes, size: length };
    for size in [length, length.saturating_sub(513), 2 << 40, u64::MAX] {
        disk.size = size;
        check(&disk, Extent { start: 0, length: size });
    }
    // A partition's offsets are its own.
    check(&disk, Extent { start: length, length });
});

fn check(disk: &Repeating, of: Extent) {
    let (found, unreadable) = scan(disk, of);
    assert!(unreadable.is_empty() && found.len() < 512);
    assert!(found.is_sorted_by_key(|signature| signature.magic.start));
    for signature in &found {
        assert!(of.covers(&signature.header) && signature.header.covers(&signature.magic), "{signature:?}");
        let texts = [&signature.version, &signature.uuid, &signature.label];
        assert!(texts.into_iter().flatten().all(|text| text.len() < 4096 && !text.chars().any(char::is_control)));
    }
}
