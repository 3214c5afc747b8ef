//! Memory that `O_DIRECT` can use.

use std::ops::{Deref, DerefMut};

/// What memory, offsets and lengths are aligned to: no logical sector, and no DMA engine, wants more.
pub const ALIGNMENT: usize = 4096;

/// Bytes whose address is a multiple of [`ALIGNMENT`]. A write from, or read into, one is done without copying.
#[derive(Debug)]
pub struct Buffer {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl Buffer {
    /// `length` zeroes.
    pub fn new(length: usize) -> Self {
        let memory = vec![0; length.saturating_add(ALIGNMENT)];
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        Buffer {
            memory,
            start,
            length,
        }
    }

    /// A copy of `bytes`.
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut buffer = Buffer::new(bytes.len());
        buffer.copy_from_slice(bytes);
        buffer
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.length]
    }
}

/// Whether the memory of `bytes` can be used as it is.
pub(super) fn is_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().align_offset(ALIGNMENT) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_stay_so_when_moved() {
        for length in [0, 1, 511, 4096, 1 << 20] {
            let buffer = Box::new(Buffer::new(length));
            assert!(is_aligned(&buffer) && buffer.len() == length);
            let moved = *buffer;
            assert!(is_aligned(&moved) && moved.iter().all(|&byte| byte == 0));
        }
        assert_eq!(*Buffer::copy_of(b"abc"), *b"abc");
    }
}
