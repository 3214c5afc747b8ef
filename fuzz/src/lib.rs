//! What several fuzz targets need.

use std::collections::BTreeMap;
use std::io::{self, Read};

use prejoin_formats::tree::ContentDigest;
use prejoin_image_builder::debian::deb::{Sink, SinkError};

/// A disk image out of a short input: its size in units of 64 KiB (2 bytes), then records of a sector's number
/// (2 bytes) and its 512 bytes; numbers are little-endian, and sectors that no record has are zeroes. What lies past
/// the end is left out, and so is what is past `limit` bytes.
pub fn unpack(input: &[u8], limit: usize) -> Vec<u8> {
    let Some((size, records)) = input.split_first_chunk::<2>() else { return Vec::new() };
    let mut image = vec![0; (usize::from(u16::from_le_bytes(*size)) << 16).min(limit)];
    for record in records.chunks(2 + 512) {
        let Some((sector, bytes)) = record.split_first_chunk::<2>() else { break };
        let at = usize::from(u16::from_le_bytes(*sector)) * 512;
        if let Some(place) = image.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }
    image
}

/// Reads the files of a package and keeps nothing.
pub struct Nowhere;

impl Sink for Nowhere {
    fn file(&mut self, _: &[u8], size: u64, content: &mut dyn Read) -> Result<ContentDigest, SinkError> {
        let read = io::copy(&mut content.take(size), &mut io::sink()).map_err(SinkError::Content)?;
        if read == size { Ok([0; 32]) } else { Err(SinkError::Content(io::ErrorKind::UnexpectedEof.into())) }
    }
}

const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// The same disk without its memory: sectors that no record has are not held, so that a large one costs nothing.
pub struct Disk {
    size: usize,
    sectors: BTreeMap<usize, [u8; 512]>,
}

impl Disk {
    /// As [`unpack`].
    pub fn new(input: &[u8], limit: usize) -> Self {
        let (size, records) = input.split_first_chunk::<2>().unwrap_or((&[0; 2], &[]));
        let size = (usize::from(u16::from_le_bytes(*size)) << 16).min(limit);
        let mut disk = Disk { size, sectors: BTreeMap::new() };
        for record in records.chunks(2 + 512) {
            let Some((sector, bytes)) = record.split_first_chunk::<2>() else { break };
            disk.write(usize::from(u16::from_le_bytes(*sector)) * 512, bytes);
        }
        disk
    }

    /// Its size in bytes.
    pub fn len(&self) -> u64 {
        self.size as u64
    }

    /// Whether there is nothing of it.
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// What is held; everything else is zeroes.
    pub fn sectors(&self) -> impl Iterator<Item = &[u8; 512]> {
        self.sectors.values()
    }

    /// Reads at any place; past the end is an error.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = offset.checked_add(buffer.len()).filter(|end| *end <= self.size);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.fill(0);
        for (number, sector) in self.sectors.range(offset / 512..end.div_ceil(512)) {
            let (from, to) = ((number * 512).max(offset), (number * 512 + 512).min(end));
            buffer[from - offset..to - offset].copy_from_slice(&sector[from % 512..from % 512 + (to - from)]);
        }
        Ok(())
    }

    /// Writes what is not past the end.
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        for (index, byte) in bytes.iter().enumerate().take(self.size.saturating_sub(offset)) {
            let at = offset + index;
            self.sectors.entry(at / 512).or_insert([0; 512])[at % 512] = *byte;
        }
    }

    /// Writes checksums that fit, which no mutation would hit, to both headers of a GUID partition table.
    pub fn seal(&mut self, sector: usize) {
        self.seal_one(sector, 2 * sector);
        if let Some(header) = self.size.checked_sub(sector) {
            self.seal_one(header, header.saturating_sub(16 << 10));
        }
    }

    fn seal_one(&mut self, header: usize, entries: usize) {
        let (Some(count), Some(size)) = (self.word(header + 80), self.word(header + 84)) else { return };
        let length = count.saturating_mul(size);
        if let Some(array) = self.bytes(entries, length) {
            self.write(header + 88, &CRC.checksum(&array).to_le_bytes());
        }
        let Some(size) = self.word(header + 12).filter(|size| (92..=4096).contains(size)) else { return };
        self.write(header + 16, &[0; 4]);
        if let Some(bytes) = self.bytes(header, size) {
            self.write(header + 16, &CRC.checksum(&bytes).to_le_bytes());
        }
    }

    fn word(&self, at: usize) -> Option<usize> {
        let bytes = self.bytes(at, 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    }

    /// None if they are not all there.
    fn bytes(&self, at: usize, length: usize) -> Option<Vec<u8>> {
        at.checked_add(length).filter(|end| *end <= self.size)?;
        let mut bytes = vec![0; length];
        self.read(at as u64, &mut bytes).ok()?;
        Some(bytes)
    }
}
