//! What several fuzz targets need.

use std::io::{self, Read};

use prejoin_formats::tree::ContentDigest;
use prejoin_image_builder::deb::{Sink, SinkError};

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
