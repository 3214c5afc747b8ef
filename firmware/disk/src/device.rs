//! What is read from and written to: a block device, an image file, or a test's disk in memory.

use std::io;

/// Reads at any offset. A disk that answers nothing but errors is still one.
pub trait ReadAt {
    /// Fills `buffer` from `offset` bytes on.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

/// Writes at any offset.
///
/// Offsets, lengths and the memory of buffers given to [`WriteAt::write_at`] are multiples of 4096 unless the disk's
/// end or a table of 512-byte sectors rules that out; an implementation that needs alignment (`O_DIRECT`) sees to the
/// rest itself.
pub trait WriteAt: ReadAt {
    /// Writes all of `bytes` from `offset` on.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes `length` bytes zero, by the hardware if it can.
    fn zero(&self, offset: u64, length: u64) -> io::Result<()>;

    /// Brings everything written to the medium: after this, a power cut loses nothing of it.
    fn flush(&self) -> io::Result<()>;

    /// Makes the next reads come from the medium, not from a cache.
    fn forget(&self) -> io::Result<()>;
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, buffer)
    }
}

impl<T: WriteAt + ?Sized> WriteAt for &T {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        (**self).write_at(offset, bytes)
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        (**self).zero(offset, length)
    }

    fn flush(&self) -> io::Result<()> {
        (**self).flush()
    }

    fn forget(&self) -> io::Result<()> {
        (**self).forget()
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).ok();
        let bytes = start.and_then(|start| self.get(start..start.checked_add(buffer.len())?));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}
