//! A file system's extent of a disk, read within a budget.

use std::cell::Cell;

use prejoin_wire::disk::Extent;

use crate::probe::record::Recorder;

/// Bytes that looking into one file system may read. The directories looked at take a few hundred kilobytes; more is
/// a file system that leads in circles.
const BUDGET: u64 = 32 << 20;

pub(crate) struct Window<'a> {
    disk: &'a Recorder<'a>,
    of: Extent,
    left: Cell<u64>,
}

impl<'a> Window<'a> {
    pub(crate) fn new(disk: &'a Recorder<'a>, of: Extent) -> Self {
        Window {
            disk,
            of,
            left: Cell::new(BUDGET),
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.of.length
    }

    /// `length` bytes at `offset`; `None` if they are not all there, not readable, or over budget.
    pub(crate) fn bytes(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        offset
            .checked_add(length as u64)
            .filter(|&end| end <= self.of.length)?;
        self.left.set(self.left.get().checked_sub(length as u64)?);
        let bytes = self
            .disk
            .bytes(self.of.start.checked_add(offset)?, length)?;
        (bytes.len() == length).then_some(bytes)
    }

    /// Whether nothing more is read.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.left.get() < 64 << 10
    }
}
