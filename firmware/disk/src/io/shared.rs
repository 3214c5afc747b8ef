//! A disk that others use at the same time.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use prejoin_sys::block;

use crate::device::{ReadAt, WriteAt};

/// What zeroes are written in.
const STEP: usize = 1 << 16;

/// A disk that partitions of are mounted, as those of a running node are: it can be neither claimed nor locked. It is
/// read and written through the page cache, where those who read its partitions by the whole disk look, too.
///
/// Everybody else who writes wants [`Target`](super::target::Target).
#[derive(Debug)]
pub struct Shared(File);

impl Shared {
    /// The whole disk, opened for reading and writing.
    pub fn new(disk: File) -> Self {
        Shared(disk)
    }
}

impl ReadAt for Shared {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
}

impl WriteAt for Shared {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        let zeroes = [0; STEP];
        let mut at = offset;
        while at < offset + length {
            let step = (offset + length - at).min(STEP as u64);
            self.write_at(at, &zeroes[..step as usize])?;
            at += step;
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn forget(&self) -> io::Result<()> {
        self.flush()?;
        match self.0.metadata()?.is_file() {
            true => block::forget(&self.0),
            false => block::flush(&self.0),
        }
    }
}
