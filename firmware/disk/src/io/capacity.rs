//! Whether a disk is as large as it says.

use std::io;

use crate::device::WriteAt;

use super::{ALIGNMENT, Buffer};

/// How much is written at the disk's end.
const MIB: u64 = 1 << 20;
/// The least that a memory card of false size might really have, as a power of two.
const SMALLEST: u32 = 24;

/// A disk that is smaller than it says: what is written behind its real end is lost, or lands somewhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fake {
    /// The last bytes do not keep what is written to them.
    #[error(
        "the disk says it has {size} bytes, but does not keep what is written to the last MiB of them"
    )]
    Lost {
        /// What the disk says.
        size: u64,
    },
    /// The last bytes are the same as others further in front.
    #[error(
        "the disk says it has {size} bytes, but what is written to the last MiB shows up at byte {at}"
    )]
    Folded {
        /// What the disk says.
        size: u64,
        /// Where it shows up.
        at: u64,
    },
}

/// Writes a pattern to the last MiB of a disk of `size` bytes, reads it back from the medium, and restores what was
/// there. Found inside the error if the disk is one of false size: [`Fake`].
///
/// To be called through a [`crate::guard::Guarded`], and only where the plan has the last MiB anyway: until it is
/// restored, a power cut leaves the pattern there. On a disk that folds addresses, restoring it also restores what
/// the pattern had overwritten.
pub fn last_mib_check<T: WriteAt>(disk: &T, size: u64) -> io::Result<()> {
    let length = size.min(MIB);
    let start = size - length;
    let mut before = Buffer::new(length as usize);
    disk.read_at(start, &mut before)?;
    let pattern = pattern(&before, start);

    let tried = attempt(disk, start, size, &pattern);
    // Also after a failure: part of the pattern may have been written. The refusal of a guard comes before that.
    let restored = disk.write_at(start, &before).and_then(|()| disk.flush());
    tried?;
    restored?;
    disk.forget()?;
    let mut after = Buffer::new(length as usize);
    disk.read_at(start, &mut after)?;
    if *after == *before {
        Ok(())
    } else {
        Err(io::Error::other(Fake::Lost { size }))
    }
}

impl Fake {
    /// Whether an error of [`last_mib_check`] says that the disk is one of false size.
    pub fn of(error: &io::Error) -> Option<Fake> {
        error.get_ref()?.downcast_ref().copied()
    }
}

fn attempt<T: WriteAt>(disk: &T, start: u64, size: u64, pattern: &[u8]) -> io::Result<()> {
    disk.write_at(start, pattern)?;
    disk.flush()?;
    disk.forget()?;
    let mut found = Buffer::new(pattern.len());
    disk.read_at(start, &mut found)?;
    if *found != *pattern {
        return Err(io::Error::other(Fake::Lost { size }));
    }
    // Where the last MiB would be on a disk of 2, 4, 8, ... GiB that ignores the highest bits of addresses.
    let folded = (SMALLEST..u64::BITS)
        .map(|bits| 1u64 << bits)
        .take_while(|&real| real <= start);
    for at in folded.map(|real| start % real) {
        let sample = pattern.len().min(ALIGNMENT);
        let mut found = Buffer::new(sample);
        disk.read_at(at, &mut found)?;
        if *found == pattern[..sample] {
            return Err(io::Error::other(Fake::Folded { size, at }));
        }
    }
    Ok(())
}

/// Bytes that depend on where they are and on what was there: never the same as that, nor as another disk's.
fn pattern(before: &[u8], start: u64) -> Buffer {
    let mut pattern = Buffer::copy_of(before);
    for (at, word) in (start..).step_by(8).zip(pattern.chunks_mut(8)) {
        // The finaliser of splitmix64; the lowest bit makes every first byte differ from what it was.
        let mut mixed = at.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        for (byte, key) in word
            .iter_mut()
            .zip(((mixed ^ mixed >> 31) | 1).to_le_bytes())
        {
            *byte ^= key;
        }
    }
    pattern
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use prejoin_profiles::disk::Extent;

    use super::*;
    use crate::device::ReadAt;
    use crate::guard::{Guarded, Refused};

    /// Says it has `size` bytes and keeps fewer: addresses are folded, or what is behind the end is dropped.
    struct Card {
        size: u64,
        folds: bool,
        bytes: Mutex<Vec<u8>>,
    }

    impl Card {
        fn new(size: u64, real: u64, folds: bool) -> Self {
            let byte = |at: u64| (at * 31 / 8) as u8;
            Card {
                size,
                folds,
                bytes: Mutex::new((0..real).map(byte).collect()),
            }
        }

        /// Calls `each` for every byte that exists, with its index in the request.
        fn visit(&self, offset: u64, length: usize, mut each: impl FnMut(usize, &mut u8)) {
            assert!(offset + length as u64 <= self.size);
            let mut bytes = self.bytes.lock().unwrap();
            let real = bytes.len() as u64;
            for (index, at) in (offset..offset + length as u64).enumerate() {
                if at < real || self.folds {
                    each(index, &mut bytes[(at % real) as usize]);
                }
            }
        }
    }

    impl ReadAt for Card {
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
            buffer.fill(0);
            self.visit(offset, buffer.len(), |index, byte| buffer[index] = *byte);
            Ok(())
        }
    }

    impl WriteAt for Card {
        fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            self.visit(offset, bytes.len(), |index, byte| *byte = bytes[index]);
            Ok(())
        }

        fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
            self.write_at(offset, &vec![0; length as usize])
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }

        fn forget(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn checked(card: &Card) -> io::Result<()> {
        let before = card.bytes.lock().unwrap().clone();
        let end = card.size.saturating_sub(MIB);
        let result = last_mib_check(
            &Guarded::new(card, vec![Extent::between(end, card.size)]),
            card.size,
        );
        assert!(
            *card.bytes.lock().unwrap() == before,
            "everything is as before"
        );
        result
    }

    #[test]
    fn honest_disks_are_left_as_they_were() {
        for size in [1 << 10, MIB, 3 * MIB + 512, 40 * MIB] {
            checked(&Card::new(size, size, false)).unwrap();
        }
    }

    #[test]
    fn false_ones_are_found() {
        let size = 40 * MIB;
        let error = checked(&Card::new(size, 20 * MIB, false)).unwrap_err();
        assert_eq!(Fake::of(&error), Some(Fake::Lost { size }));
        let error = checked(&Card::new(size, 32 * MIB, true)).unwrap_err();
        assert_eq!(Fake::of(&error), Some(Fake::Folded { size, at: 7 * MIB }));
    }

    #[test]
    fn a_plan_without_the_last_mib_forbids_it() {
        let card = Card::new(4 * MIB, 4 * MIB, false);
        let before = card.bytes.lock().unwrap().clone();
        let error = last_mib_check(
            &Guarded::new(&card, vec![Extent::between(0, 3 * MIB)]),
            card.size,
        )
        .unwrap_err();
        assert!(error.get_ref().is_some_and(|error| error.is::<Refused>()));
        assert!(*card.bytes.lock().unwrap() == before);
    }
}
