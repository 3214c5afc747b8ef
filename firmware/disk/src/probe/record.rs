//! Reading through a recorder: every byte looked at goes into one digest, and what cannot be read is noted once.

use std::cell::RefCell;
use std::io;

use prejoin_profiles::digest::Digest;
use prejoin_profiles::disk::{Extent, Unreadable};
use sha2::{Digest as _, Sha256};

use crate::device::ReadAt;

/// Places that could not be read, at most: a dead disk has too many to list.
const MOST_UNREADABLE: usize = 256;

/// A disk of a known size that remembers what was read from it.
pub(crate) struct Recorder<'a> {
    disk: &'a dyn ReadAt,
    size: u64,
    seen: RefCell<Seen>,
}

#[derive(Default)]
struct Seen {
    digest: Sha256,
    unreadable: Vec<Unreadable>,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(disk: &'a dyn ReadAt, size: u64) -> Self {
        Recorder { disk, size, seen: RefCell::default() }
    }

    /// `length` bytes, or what is left of the disk there; `None` if nothing is, or if it cannot be read.
    pub(crate) fn bytes(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        let left = self.size.checked_sub(offset).filter(|&left| left > 0)?;
        let mut buffer = vec![0; length.min(usize::try_from(left).unwrap_or(usize::MAX))];
        self.read_at(offset, &mut buffer).ok()?;
        Some(buffer)
    }

    /// What could not be read, in order of offset, and the digest of offset, length and bytes of every read.
    pub(crate) fn finish(self) -> (Vec<Unreadable>, Digest) {
        let Seen { digest, mut unreadable } = self.seen.into_inner();
        unreadable.sort_by(|a, b| (a.extent, &a.error).cmp(&(b.extent, &b.error)));
        (unreadable, Digest(digest.finalize().into()))
    }
}

impl ReadAt for Recorder<'_> {
    /// Past the end there is nothing to read, which is no fault of the disk.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let length = buffer.len() as u64;
        if offset.checked_add(length).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let read = self.disk.read_at(offset, buffer);
        let mut seen = self.seen.borrow_mut();
        seen.digest.update(offset.to_le_bytes());
        seen.digest.update(length.to_le_bytes());
        match &read {
            Ok(()) => seen.digest.update(&buffer),
            Err(error) => {
                seen.digest.update(b"unreadable");
                let unreadable = Unreadable { extent: Extent { start: offset, length }, error: error.to_string() };
                if seen.unreadable.len() < MOST_UNREADABLE && !seen.unreadable.contains(&unreadable) {
                    seen.unreadable.push(unreadable);
                }
            }
        }
        read
    }
}
