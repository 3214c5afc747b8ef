//! What a dynamic ELF file needs (System V ABI, "Dynamic Linking"), read with a handful of small reads.

use std::io;

use crate::package::Linkage;

/// Reads bytes at an offset of the file; short data is an error.
pub type ReadAt<'a> = dyn FnMut(u64, &mut [u8]) -> io::Result<()> + 'a;

/// Most program headers, dynamic entries and string bytes that are looked at: real files stay far below.
const HEADERS: u64 = 512;
const DYNAMIC: u64 = 64 << 10;
const STRINGS: u64 = 4 << 20;

const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;
const DT_SONAME: u64 = 14;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

/// The linkage of the ELF file behind `read`; `None` for what is not a little-endian ELF file with a dynamic
/// section (scripts, static programs, foreign byte orders, damaged files).
pub fn linkage(read: &mut ReadAt<'_>) -> Option<Linkage> {
    let mut identity = [0; 64];
    read(0, &mut identity[..52]).ok()?;
    if !identity.starts_with(b"\x7fELF") || identity[5] != 1 {
        return None;
    }
    let wide = identity[4] == 2;
    if wide {
        read(0, &mut identity).ok()?;
    }
    let (segments, dynamic) = segments(read, &identity, wide)?;
    let strings = strings(read, &segments, &dynamic)?;
    let text = |tag: u64| {
        dynamic
            .iter()
            .filter(move |entry| entry.0 == tag)
            .filter_map(|entry| {
                let from = strings.get(usize::try_from(entry.1).ok()?..)?;
                let text = from.split(|&byte| byte == 0).next()?;
                Some(String::from_utf8_lossy(text).into_owned())
            })
    };
    // DT_RPATH counts only where there is no DT_RUNPATH (ld.so(8)).
    let runpath = text(DT_RUNPATH)
        .next()
        .or_else(|| text(DT_RPATH).next())
        .unwrap_or_default();
    Some(Linkage {
        needed: text(DT_NEEDED).collect(),
        soname: text(DT_SONAME).next(),
        runpath: runpath
            .split(':')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect(),
    })
}

/// A loaded segment: file offset, address, bytes in the file.
type Segment = (u64, u64, u64);

/// A dynamic entry: tag and value.
type Dynamic = (u64, u64);

/// The loaded segments and the dynamic entries.
fn segments(
    read: &mut ReadAt<'_>,
    header: &[u8; 64],
    wide: bool,
) -> Option<(Vec<Segment>, Vec<Dynamic>)> {
    let (table, size, count) = if wide {
        (
            word(header, 32, 8)?,
            word(header, 54, 2)?,
            word(header, 56, 2)?,
        )
    } else {
        (
            word(header, 28, 4)?,
            word(header, 42, 2)?,
            word(header, 44, 2)?,
        )
    };
    if size != (if wide { 56 } else { 32 }) || count > HEADERS {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(size * count).ok()?];
    read(table, &mut bytes).ok()?;
    let mut loaded = Vec::new();
    let mut dynamic = None;
    for header in bytes.chunks_exact(usize::try_from(size).ok()?) {
        let segment = if wide {
            (
                word(header, 8, 8)?,
                word(header, 16, 8)?,
                word(header, 32, 8)?,
            )
        } else {
            (
                word(header, 4, 4)?,
                word(header, 8, 4)?,
                word(header, 16, 4)?,
            )
        };
        match word(header, 0, 4)? {
            PT_LOAD => loaded.push(segment),
            PT_DYNAMIC => dynamic = Some(segment),
            _ => {}
        }
    }
    let (offset, _, length) = dynamic?;
    if length > DYNAMIC {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    read(offset, &mut bytes).ok()?;
    let width = if wide { 8 } else { 4 };
    let entries = bytes
        .chunks_exact(2 * width)
        .map_while(|entry| Some((word(entry, 0, width)?, word(entry, width, width)?)));
    Some((loaded, entries.take_while(|entry| entry.0 != 0).collect()))
}

/// The dynamic string table.
fn strings(read: &mut ReadAt<'_>, segments: &[Segment], dynamic: &[Dynamic]) -> Option<Vec<u8>> {
    let value = |tag| {
        dynamic
            .iter()
            .find(|entry| entry.0 == tag)
            .map(|entry| entry.1)
    };
    let (address, size) = (value(DT_STRTAB)?, value(DT_STRSZ)?);
    let &(offset, start, length) = segments
        .iter()
        .find(|&&(_, start, length)| address >= start && address - start < length)?;
    if size > STRINGS || size > length - (address - start) {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(size).ok()?];
    read(offset.checked_add(address - start)?, &mut bytes).ok()?;
    Some(bytes)
}

fn word(bytes: &[u8], offset: usize, width: usize) -> Option<u64> {
    let mut word = [0; 8];
    word[..width].copy_from_slice(bytes.get(offset..offset + width)?);
    Some(u64::from_le_bytes(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_no_linkage_and_no_panic() {
        let mut bytes = vec![0_u8; 256];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        for seed in 0..20_000_u64 {
            let at = 6 + (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % 250;
            bytes[at] = (seed.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33) as u8;
            let mut read = |offset: u64, buffer: &mut [u8]| {
                let start = usize::try_from(offset).map_err(io::Error::other)?;
                let from = bytes.get(start..).and_then(|rest| rest.get(..buffer.len()));
                buffer.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            };
            let _ = linkage(&mut read);
        }
    }
}
