//! Disks in memory.

use std::cell::Cell;
use std::io;

use prejoin_disk::device::ReadAt;
use prejoin_wire::disk::Extent;

/// A disk of one byte but for some pieces, the last one of which wins.
#[derive(Clone)]
pub(crate) struct Sparse {
    pub(crate) size: u64,
    pub(crate) fill: u8,
    pub(crate) pieces: Vec<(u64, Vec<u8>)>,
}

/// A disk full of numbers that only its seed decides.
pub(crate) struct Noise {
    pub(crate) seed: u64,
    pub(crate) size: u64,
}

/// A disk parts of which cannot be read.
pub(crate) struct Broken<'a> {
    pub(crate) disk: &'a Sparse,
    pub(crate) bad: Extent,
    pub(crate) errors: Cell<u32>,
}

impl<'a> Broken<'a> {
    pub(crate) fn new(disk: &'a Sparse, bad: Extent) -> Self {
        Broken {
            disk,
            bad,
            errors: Cell::new(0),
        }
    }
}

/// An empty disk that counts.
pub(crate) struct Counted {
    pub(crate) size: u64,
    pub(crate) reads: Cell<u64>,
    pub(crate) bytes: Cell<u64>,
    pub(crate) largest: Cell<u64>,
}

impl Counted {
    pub(crate) fn new(size: u64) -> Self {
        Counted {
            size,
            reads: Cell::new(0),
            bytes: Cell::new(0),
            largest: Cell::new(0),
        }
    }
}

fn check(size: u64, offset: u64, buffer: &[u8]) -> io::Result<()> {
    let end = offset
        .checked_add(buffer.len() as u64)
        .filter(|&end| end <= size);
    end.map(|_| ()).ok_or(io::ErrorKind::UnexpectedEof.into())
}

impl ReadAt for Sparse {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        check(self.size, offset, buffer)?;
        buffer.fill(self.fill);
        let wanted = Extent {
            start: offset,
            length: buffer.len() as u64,
        };
        for (at, bytes) in &self.pieces {
            if let Some(common) = wanted.common(&Extent {
                start: *at,
                length: bytes.len() as u64,
            }) {
                let (from, to) = (
                    (common.start - at) as usize,
                    (common.start - offset) as usize,
                );
                let length = common.length as usize;
                buffer[to..to + length].copy_from_slice(&bytes[from..from + length]);
            }
        }
        Ok(())
    }
}

impl ReadAt for Noise {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        check(self.size, offset, buffer)?;
        for (index, byte) in buffer.iter_mut().enumerate() {
            // SplitMix64 of the byte's place.
            let mut word = (offset + index as u64)
                .wrapping_add(self.seed << 56)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15);
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *byte = (word >> 32) as u8;
        }
        Ok(())
    }
}

impl ReadAt for Broken<'_> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let wanted = Extent {
            start: offset,
            length: buffer.len() as u64,
        };
        if self.bad.meets(&wanted) {
            self.errors.set(self.errors.get() + 1);
            return Err(io::Error::other("bad sector"));
        }
        self.disk.read_at(offset, buffer)
    }
}

impl ReadAt for Counted {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        check(self.size, offset, buffer)?;
        self.reads.set(self.reads.get() + 1);
        self.bytes.set(self.bytes.get() + buffer.len() as u64);
        self.largest
            .set(self.largest.get().max(buffer.len() as u64));
        buffer.fill(0);
        Ok(())
    }
}
