//! Reading through a recorder: every byte looked at goes into one digest, and what cannot be read is noted once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::OnceLock;

use prejoin_wire::digest::Digest;
use prejoin_wire::disk::{Extent, Unreadable};
use sha2::{Digest as _, Sha256};

use crate::device::ReadAt;
use crate::io::Buffer;
use crate::pool;

/// Places that could not be read, at most: a dead disk has too many to list.
const MOST_UNREADABLE: usize = 256;
/// Reads that a disk is given at once: it is the disk that takes its time, not the processor. On a loop device over a file
/// (direct I/O) looking at a disk took 0.27 to 0.33 s one by one, and 0.10 to 0.17 s so, on a machine that was not idle.
const AT_ONCE: usize = 8;
/// Bytes that are read before they are looked at.
const BATCH: u64 = 4 << 20;

/// Longest read that is kept, in bytes, and how many are.
const SMALL: usize = 4096;
const MOST_SMALL: usize = 1024;

/// A disk of a known size that remembers what was read from it.
pub(crate) struct Recorder<'a> {
    disk: &'a (dyn ReadAt + Sync),
    size: u64,
    seen: RefCell<Seen>,
}

#[derive(Default)]
struct Seen {
    digest: Sha256,
    /// Small reads by offset and length: a walk through a file system's folders comes by the same blocks again and again.
    small: BTreeMap<(u64, usize), Vec<u8>>,
    unreadable: Vec<Unreadable>,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(disk: &'a (dyn ReadAt + Sync), size: u64) -> Self {
        Recorder {
            disk,
            size,
            seen: RefCell::default(),
        }
    }

    /// `length` bytes, or what is left of the disk there; `None` if nothing is, or if it cannot be read.
    pub(crate) fn bytes(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        let left = self.size.checked_sub(offset).filter(|&left| left > 0)?;
        let mut buffer = vec![0; length.min(usize::try_from(left).unwrap_or(usize::MAX))];
        self.read_at(offset, &mut buffer).ok()?;
        Some(buffer)
    }

    /// Reads many extents of the disk, several at once, and shows in their order those that could be read.
    pub(crate) fn each(&self, extents: &[Extent], mut see: impl FnMut(Extent, &[u8])) {
        let mut rest = extents;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |extent: &&Extent| {
                bytes += extent.length;
                bytes <= BATCH
            };
            let (batch, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            rest = later;
            let reads: Vec<_> = batch
                .iter()
                .map(|&extent| (extent, OnceLock::new()))
                .collect();
            let Ok(()) = pool::each(
                AT_ONCE,
                &reads,
                || (),
                |(extent, result), ()| {
                    let mut buffer = Buffer::new(extent.length as usize);
                    let read = self
                        .disk
                        .read_at(extent.start, &mut buffer)
                        .map(|()| buffer);
                    result.set(read).expect("every item comes once");
                    Ok::<_, Infallible>(())
                },
            );
            for (extent, result) in reads {
                let result = result.into_inner().expect("every item was read");
                self.note(extent, result.as_deref());
                if let Ok(bytes) = result {
                    see(extent, &bytes);
                }
            }
        }
    }

    fn note(&self, extent: Extent, read: Result<&[u8], &io::Error>) {
        let mut seen = self.seen.borrow_mut();
        seen.digest.update(extent.start.to_le_bytes());
        seen.digest.update(extent.length.to_le_bytes());
        match read {
            Ok(bytes) => seen.digest.update(bytes),
            Err(error) => {
                seen.digest.update(b"unreadable");
                let unreadable = Unreadable {
                    extent,
                    error: error.to_string(),
                };
                if seen.unreadable.len() < MOST_UNREADABLE && !seen.unreadable.contains(&unreadable)
                {
                    seen.unreadable.push(unreadable);
                }
            }
        }
    }

    /// What could not be read, in order of offset, and the digest of offset, length and bytes of every read.
    pub(crate) fn finish(self) -> (Vec<Unreadable>, Digest) {
        let Seen {
            digest,
            mut unreadable,
            ..
        } = self.seen.into_inner();
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
        let small = buffer.len() <= SMALL;
        if let Some(bytes) = self
            .seen
            .borrow()
            .small
            .get(&(offset, buffer.len()))
            .filter(|_| small)
        {
            buffer.copy_from_slice(bytes);
            return Ok(());
        }
        let read = self.disk.read_at(offset, buffer);
        self.note(
            Extent {
                start: offset,
                length,
            },
            read.as_ref().map(|()| &*buffer),
        );
        let mut seen = self.seen.borrow_mut();
        if small && read.is_ok() && seen.small.len() < MOST_SMALL {
            seen.small.insert((offset, buffer.len()), buffer.to_vec());
        }
        read
    }
}
