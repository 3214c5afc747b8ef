//! Whether a disk is as large as it says.

use std::io;

use prejoin_wire::disk::Extent;

use crate::device::WriteAt;

use super::{ALIGNMENT, Buffer};

/// The least that a memory card of false size might really have, as a power of two.
const SMALLEST: u32 = 24;

/// A disk that is smaller than it says: what is written behind its real end is lost, or lands somewhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fake {
    /// The last bytes do not keep what is written to them.
    #[error(
        "the disk says it has {size} bytes, but does not keep what is written to the last of them"
    )]
    Lost {
        /// What the disk says.
        size: u64,
    },
    /// The last bytes are the same as others further in front.
    #[error(
        "the disk says it has {size} bytes, but what is written to the last of them shows up at byte {at}"
    )]
    Folded {
        /// What the disk says.
        size: u64,
        /// Where it shows up.
        at: u64,
    },
}

/// Turns every bit of `end`, an extent at the end of a disk of `size` bytes, reads that back from the medium, and puts
/// back what was there. Found inside the error if the disk is one of false size: [`Fake`].
///
/// Only for what is to be written anyway and is not needed till then: a power cut leaves the turned bits there. A sector
/// that was blank is blank then, too, and one that was not is not, so that the disk is taken for what it was. On a disk
/// that folds addresses, putting back what was there also puts back what was overwritten further in front.
pub fn size_check(disk: &(impl WriteAt + ?Sized), end: Extent, size: u64) -> io::Result<()> {
    let Extent { start, length } = end;
    let mut before = Buffer::new(length as usize);
    disk.read_at(start, &mut before)?;
    let mut turned = Buffer::copy_of(&before);
    turned.iter_mut().for_each(|byte| *byte = !*byte);
    let samples = samples(disk, start, length)?;

    let tried = attempt(disk, start, size, &turned, &samples);
    // Also after a failure: some of it may have been written. The refusal of a guard comes before that.
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
    /// Whether an error of [`size_check`] says that the disk is one of false size.
    pub fn of(error: &io::Error) -> Option<Fake> {
        error.get_ref()?.downcast_ref().copied()
    }
}

/// What is where `start` would be on a disk of 2, 4, 8, ... GiB that ignores the highest bits of addresses.
fn samples(
    disk: &(impl WriteAt + ?Sized),
    start: u64,
    length: u64,
) -> io::Result<Vec<(u64, Buffer)>> {
    let folded = (SMALLEST..u64::BITS)
        .map(|bits| 1u64 << bits)
        .take_while(|&real| real <= start);
    folded
        .map(|real| {
            let at = start % real;
            let mut sample = Buffer::new(ALIGNMENT.min(length as usize));
            disk.read_at(at, &mut sample).map(|()| (at, sample))
        })
        .collect()
}

fn attempt(
    disk: &(impl WriteAt + ?Sized),
    start: u64,
    size: u64,
    turned: &[u8],
    samples: &[(u64, Buffer)],
) -> io::Result<()> {
    disk.write_at(start, turned)?;
    disk.flush()?;
    disk.forget()?;
    let mut found = Buffer::new(turned.len());
    disk.read_at(start, &mut found)?;
    if *found != *turned {
        return Err(io::Error::other(Fake::Lost { size }));
    }
    for (at, before) in samples {
        let mut found = Buffer::new(before.len());
        disk.read_at(*at, &mut found)?;
        if *found != **before {
            return Err(io::Error::other(Fake::Folded { size, at: *at }));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::device::ReadAt;
    use crate::guard::{Guarded, Refused};

    const MIB: u64 = 1 << 20;
    /// What a GPT has at a disk's end.
    const TABLE: u64 = 33 * 512;

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
        let end = Extent::between(card.size.saturating_sub(TABLE), card.size);
        let result = size_check(&Guarded::new(card, vec![end]), end, card.size);
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
        assert_eq!(
            Fake::of(&error),
            Some(Fake::Folded {
                size,
                at: 8 * MIB - TABLE
            })
        );
    }

    #[test]
    fn what_the_plan_does_not_allow_is_not_tried() {
        let card = Card::new(4 * MIB, 4 * MIB, false);
        let before = card.bytes.lock().unwrap().clone();
        let guarded = Guarded::new(&card, vec![Extent::between(0, 3 * MIB)]);
        let end = Extent::between(4 * MIB - TABLE, 4 * MIB);
        let error = size_check(&guarded, end, card.size).unwrap_err();
        assert!(error.get_ref().is_some_and(|error| error.is::<Refused>()));
        assert!(*card.bytes.lock().unwrap() == before);
    }
}
