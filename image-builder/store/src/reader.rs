//! Reading an image back through its manifest, as if it were a disk.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use prejoin_wire::manifest::{Manifest, Range};

use crate::chunks::{ChunkStore, Error};

/// A manifest and its store as a byte range that can be read anywhere; `skip` reads as zero.
///
/// Keeps the last few chunks, since readers of file systems jump between metadata and data.
#[derive(Debug)]
pub struct ImageReader {
    manifest: Arc<Manifest>,
    store: Arc<ChunkStore>,
    starts: Vec<u64>,
    recent: Vec<(usize, Arc<[u8]>)>,
}

const KEPT: usize = 16;

impl ImageReader {
    /// A reader of the whole image.
    pub fn new(manifest: &Arc<Manifest>, store: &Arc<ChunkStore>) -> Self {
        let starts = manifest.placed().map(|(offset, _)| offset).collect();
        ImageReader {
            manifest: manifest.clone(),
            store: store.clone(),
            starts,
            recent: Vec::new(),
        }
    }

    /// Fills `buffer` from `offset`; past the end of the image is an error.
    pub fn read_at(&mut self, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            if offset >= self.manifest.size {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let index = self.starts.partition_point(|&start| start <= offset) - 1;
            let range = self.manifest.ranges[index];
            let inside = offset - self.starts[index];
            let count = (range.length() - inside).min(buffer.len() as u64) as usize;
            let (now, rest) = buffer.split_at_mut(count);
            match range {
                Range::Data { .. } => {
                    let chunk = self.chunk(index).map_err(io::Error::other)?;
                    now.copy_from_slice(&chunk[inside as usize..inside as usize + count]);
                }
                Range::Zero { .. } | Range::Skip { .. } => now.fill(0),
            }
            offset += count as u64;
            buffer = rest;
        }
        Ok(())
    }

    fn chunk(&mut self, index: usize) -> Result<Arc<[u8]>, Error> {
        if let Some(at) = self.recent.iter().position(|(kept, _)| *kept == index) {
            let hit = self.recent.remove(at);
            self.recent.push(hit);
        } else {
            let Range::Data { length, digest } = self.manifest.ranges[index] else {
                unreachable!("only data ranges are asked for");
            };
            let bytes = self.store.read(&digest, length)?;
            if self.recent.len() == KEPT {
                self.recent.remove(0);
            }
            self.recent.push((index, bytes.into()));
        }
        Ok(self
            .recent
            .last()
            .expect("something was just put there")
            .1
            .clone())
    }
}

/// One partition of an image as a seekable stream, for readers that want one. Writing is refused.
#[derive(Debug)]
pub struct PartitionReader {
    image: ImageReader,
    start: u64,
    size: u64,
    position: u64,
}

impl PartitionReader {
    /// `size` bytes of the image from `start`.
    pub fn new(image: ImageReader, start: u64, size: u64) -> Self {
        PartitionReader {
            image,
            start,
            size,
            position: 0,
        }
    }

    /// Fills `buffer` from `offset` of the partition.
    pub fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let fits = offset
            .checked_add(buffer.len() as u64)
            .is_some_and(|end| end <= self.size);
        if !fits {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.image.read_at(self.start + offset, buffer)
    }
}

impl Read for PartitionReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.size.saturating_sub(self.position);
        let count = left.min(buffer.len() as u64) as usize;
        self.read_at(self.position, &mut buffer[..count])?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for PartitionReader {
    fn seek(&mut self, target: SeekFrom) -> io::Result<u64> {
        let position = match target {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl Write for PartitionReader {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
