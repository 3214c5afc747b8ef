//! Unified kernel images: a systemd stub with kernel, initramfs and command line appended as PE sections
//! (UAPI.5 "Unified Kernel Image"; Microsoft "PE Format").
//!
//! Pure byte work: header fields are changed in a copy of the stub, contents stay references.

use std::ops::Range;

use crate::image::Image;
use crate::tree::Content;

/// Bytes of a section header.
const SECTION_HEADER: usize = 40;
/// The Windows loader's limit; EDK2 has none.
const MOST_SECTIONS: usize = 96;
/// Readable, initialised data.
const DATA: u32 = 0x4000_0040;
/// Sections begin on pages in memory whatever smaller alignment the stub was linked for.
const PAGE: u64 = 4096;
/// Largest alignment that makes sense; keeps the sums below far from overflow.
const LARGEST_ALIGNMENT: u64 = 1 << 20;

/// A unified kernel image that cannot be built or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not a 64-bit PE file.
    #[error("not a 64-bit PE file: {0}")]
    NotPe(&'static str),
    /// A header field that contradicts the file.
    #[error("broken PE file: {0}")]
    Broken(&'static str),
    /// The stub carries a signature, which appending sections would break.
    #[error("stub is signed already")]
    Signed,
    /// No room for more section headers before the first section.
    #[error("stub has room for {room} more section headers, {needed} are needed")]
    NoSpace {
        /// Headers that fit.
        room: usize,
        /// Headers wanted.
        needed: usize,
    },
    /// A name of no or more than 8 bytes, or one the stub or this image has already.
    #[error("section name {0:?} is taken, empty or longer than 8 bytes")]
    Name(String),
    /// A section without content; leave it out instead.
    #[error("section {0:?} is empty")]
    Empty(String),
    /// The image would not fit into 32-bit offsets.
    #[error("image is larger than a PE file can be")]
    Large,
}

/// A section of a PE file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name without padding; bytes that are no UTF-8 are replaced.
    pub name: String,
    /// Its bytes in the file, without padding.
    pub range: Range<usize>,
}

/// A unified kernel image, and where its parts are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unified {
    /// Its bytes.
    pub image: Image,
    /// First byte of every appended section, in their order.
    pub starts: Vec<u64>,
}

/// Appends sections to a stub, in the given order (`.osrel`, `.cmdline`, `.uname`, `.ucode`, `.dtb`, `.initrd`,
/// `.linux`: the stub finds them by name).
pub fn build(stub: &[u8], sections: &[(&str, Content)]) -> Result<Unified, Error> {
    let pe = Pe::parse(stub)?;
    pe.check_appendable(sections)?;
    // What follows the last section is a symbol table at most; signing tools warn about gaps between sections.
    let mut bytes = stub[..pe.file_end].to_vec();
    bytes.resize(pe.file_end.next_multiple_of(pe.file_alignment as usize), 0);
    bytes[pe.coff + 8..pe.coff + 16].fill(0);

    // Headers.
    let mut file = bytes.len() as u64;
    let mut memory = pe.memory_end.next_multiple_of(pe.memory_alignment);
    let mut initialised = u64::from(u32_at(stub, pe.optional + 8).unwrap_or(0));
    let mut places = Vec::with_capacity(sections.len());
    for ((name, content), index) in sections.iter().zip(pe.sections.len()..) {
        let length = content.len();
        let padded = length.next_multiple_of(pe.file_alignment);
        let mut header = [0; SECTION_HEADER];
        header[..name.len()].copy_from_slice(name.as_bytes());
        for (at, value) in [
            (8, length),
            (12, memory),
            (16, padded),
            (20, file),
            (36, u64::from(DATA)),
        ] {
            header[at..at + 4].copy_from_slice(
                &u32::try_from(value)
                    .map_err(|_| Error::Large)?
                    .to_le_bytes(),
            );
        }
        let at = pe.table + index * SECTION_HEADER;
        bytes[at..at + SECTION_HEADER].copy_from_slice(&header);
        places.push((file, content));
        file += padded;
        memory = (memory + length).next_multiple_of(pe.memory_alignment);
        initialised += padded;
    }
    let count = (pe.sections.len() + sections.len()) as u16;
    bytes[pe.coff + 2..pe.coff + 4].copy_from_slice(&count.to_le_bytes());
    // SizeOfInitializedData, SizeOfImage, and no checksum: firmware does not look at it.
    for (at, value) in [(8, initialised), (56, memory), (64, 0)] {
        let value = u32::try_from(value).map_err(|_| Error::Large)?;
        bytes[pe.optional + at..pe.optional + at + 4].copy_from_slice(&value.to_le_bytes());
    }

    // Contents.
    let starts = places.iter().map(|(start, _)| *start).collect();
    let mut image = Image::zero(u64::from(u32::try_from(file).map_err(|_| Error::Large)?));
    image.put_bytes(0, bytes);
    for (offset, content) in places {
        image.put_content(offset, content, 0, content.len());
    }
    image.sort();
    Ok(Unified { image, starts })
}

/// The sections of a PE file, in the order of their headers.
pub fn sections(bytes: &[u8]) -> Result<Vec<Section>, Error> {
    Pe::parse(bytes).map(|pe| pe.sections)
}

/// Where things are in a 64-bit PE file.
struct Pe {
    /// Offset of the COFF header, behind the signature.
    coff: usize,
    /// Offset of the optional header.
    optional: usize,
    /// Offset of the section headers.
    table: usize,
    /// End of the room for section headers.
    headers_end: usize,
    file_alignment: u64,
    memory_alignment: u64,
    /// End of the last section in memory.
    memory_end: u64,
    /// End of the last section, or of the headers, in the file.
    file_end: usize,
    signed: bool,
    sections: Vec<Section>,
}

impl Pe {
    fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if !bytes.starts_with(b"MZ") {
            return Err(Error::NotPe("no MZ"));
        }
        let short = Error::NotPe("headers end early");
        let start = u32_at(bytes, 0x3c).ok_or(short.clone())? as usize;
        if bytes.get(start..).and_then(|bytes| bytes.get(..4)) != Some(b"PE\0\0") {
            return Err(Error::NotPe("no PE signature"));
        }
        let coff = start + 4;
        let optional = coff + 20;
        let word = |at| u32_at(bytes, at).ok_or(short.clone());
        let half = |at| u16_at(bytes, at).ok_or(short.clone());
        if half(optional)? != 0x20b {
            return Err(Error::NotPe("not PE32+"));
        }
        let table = optional + usize::from(half(coff + 16)?);
        let (memory_alignment, file_alignment) = (
            u64::from(word(optional + 32)?),
            u64::from(word(optional + 36)?),
        );
        for alignment in [memory_alignment, file_alignment] {
            if !alignment.is_power_of_two() || alignment > LARGEST_ALIGNMENT {
                return Err(Error::Broken("impossible alignment"));
            }
        }
        // Data directory 4 is the certificate table; there may be fewer directories.
        let signed =
            word(optional + 108)? > 4 && table >= optional + 152 && word(optional + 148)? != 0;
        let mut pe = Pe {
            coff,
            optional,
            table,
            headers_end: word(optional + 60)? as usize,
            file_alignment,
            memory_alignment: memory_alignment.max(PAGE),
            memory_end: 0,
            file_end: 0,
            signed,
            sections: Vec::new(),
        };
        let count = usize::from(half(coff + 2)?);
        if count > MOST_SECTIONS {
            return Err(Error::Broken("too many sections"));
        }
        let headers = bytes
            .get(table..)
            .and_then(|bytes| bytes.get(..count * SECTION_HEADER))
            .ok_or(short.clone())?;
        pe.file_end = pe.headers_end.max(table + headers.len());
        if pe.file_end > bytes.len() {
            return Err(short);
        }
        for header in headers.chunks_exact(SECTION_HEADER) {
            pe.section(header, bytes.len())?;
        }
        Ok(pe)
    }

    fn section(&mut self, header: &[u8], file_size: usize) -> Result<(), Error> {
        let word = |at| u32_at(header, at).expect("a section header has 40 bytes");
        let (in_memory, address, in_file, offset) =
            (word(8), word(12), word(16), word(20) as usize);
        let length = in_memory.min(in_file) as usize;
        let range = if length == 0 {
            0..0
        } else {
            offset..offset.saturating_add(length)
        };
        if range.end > file_size {
            return Err(Error::Broken("a section reaches past the end"));
        }
        if length > 0 {
            self.headers_end = self.headers_end.min(offset);
            self.file_end = self.file_end.max(range.end);
        }
        let name = header[..8]
            .split(|&byte| byte == 0)
            .next()
            .unwrap_or_default();
        self.memory_end = self
            .memory_end
            .max(u64::from(address) + u64::from(in_memory.max(in_file)));
        self.sections.push(Section {
            name: String::from_utf8_lossy(name).into_owned(),
            range,
        });
        Ok(())
    }

    fn check_appendable(&self, sections: &[(&str, Content)]) -> Result<(), Error> {
        if self.signed {
            return Err(Error::Signed);
        }
        let used = self.table + self.sections.len() * SECTION_HEADER;
        let room = self.headers_end.saturating_sub(used) / SECTION_HEADER;
        let room = room.min(MOST_SECTIONS - self.sections.len());
        if room < sections.len() {
            return Err(Error::NoSpace {
                room,
                needed: sections.len(),
            });
        }
        for (index, (name, content)) in sections.iter().enumerate() {
            let taken = self.sections.iter().any(|section| section.name == *name)
                || sections[..index].iter().any(|(other, _)| other == name);
            if taken || !(1..=8).contains(&name.len()) {
                return Err(Error::Name((*name).to_owned()));
            }
            if content.is_empty() {
                return Err(Error::Empty((*name).to_owned()));
            }
            if content.len() > u64::from(u32::MAX) {
                return Err(Error::Large);
            }
        }
        Ok(())
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|bytes| u16::from_le_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A PE file of one section, with room for `room` more headers.
    fn stub(room: usize) -> Vec<u8> {
        let headers = 0x40 + 24 + 240 + (1 + room) * SECTION_HEADER;
        let mut bytes = vec![0; headers];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[0x3c] = 0x40;
        bytes[0x40..0x44].copy_from_slice(b"PE\0\0");
        bytes[0x46] = 1;
        bytes[0x54] = 240;
        let optional = 0x58;
        let mut put =
            |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        put(optional, 0x20b);
        put(optional + 32, 4096);
        put(optional + 36, 16);
        put(optional + 60, headers as u32);
        put(optional + 108, 16);
        for (at, value) in [(8, 5), (12, 8192), (16, 16), (20, headers as u32)] {
            put(optional + 240 + at, value);
        }
        bytes[optional + 240..optional + 245].copy_from_slice(b".text");
        bytes.extend([0xcc; 16]);
        bytes
    }

    fn content(length: usize) -> Content {
        Content::Bytes(vec![7; length].into())
    }

    #[test]
    fn appends_and_reads_back() {
        let Unified { image, starts } = build(
            &stub(2),
            &[(".osrel", content(5)), (".linux", content(5000))],
        )
        .unwrap();
        let mut bytes = vec![0; image.size() as usize];
        image
            .read_at(&crate::tree::NoContents, 0, &mut bytes)
            .unwrap();
        let sections = sections(&bytes).unwrap();
        let names: Vec<_> = sections
            .iter()
            .map(|section| (section.name.as_str(), section.range.len()))
            .collect();
        assert_eq!(names, [(".text", 5), (".osrel", 5), (".linux", 5000)]);
        let found: Vec<_> = sections[1..].iter().map(|s| s.range.start as u64).collect();
        assert_eq!(starts, found);
        assert!(
            bytes[sections[2].range.clone()]
                .iter()
                .all(|&byte| byte == 7)
        );
        // .text ends at 8192 + 16, so: 12288, 16384, and two pages for the last.
        assert_eq!(u32_at(&bytes, 0x58 + 56), Some(16384 + 8192));
    }

    #[test]
    fn refuses_what_would_not_boot() {
        let error = |room, sections: &[(&str, Content)]| build(&stub(room), sections).unwrap_err();
        assert_eq!(
            error(1, &[(".osrel", content(1)), (".linux", content(1))]),
            Error::NoSpace { room: 1, needed: 2 }
        );
        for names in [
            [".text", ".b"],
            [".a", ".a"],
            ["", ".b"],
            [".ninechar", ".b"],
        ] {
            let refused = names.map(|name| (name, content(1)));
            assert_eq!(error(2, &refused), Error::Name(names[0].to_owned()));
        }
        assert_eq!(
            error(2, &[(".a", content(0))]),
            Error::Empty(".a".to_owned())
        );
        let huge = Content::Blob {
            digest: [0; 32],
            size: u64::from(u32::MAX) - 100,
        };
        assert_eq!(error(2, &[(".a", huge)]), Error::Large);
        let mut signed = stub(2);
        signed[0x58 + 148] = 1;
        assert_eq!(build(&signed, &[]).unwrap_err(), Error::Signed);
        assert_eq!(
            build(b"MZ", &[]).unwrap_err(),
            Error::NotPe("headers end early")
        );
        assert_eq!(build(b"", &[]).unwrap_err(), Error::NotPe("no MZ"));
    }

    #[test]
    fn every_truncation_and_byte_change_is_survived() {
        let good = stub(1);
        // Eleven bytes of padding are not missed.
        for length in 0..good.len() - 11 {
            assert!(sections(&good[..length]).is_err());
        }
        for at in 0..good.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                if sections(&bad).is_ok() {
                    let _ = build(&bad, &[(".a", content(1))]);
                }
            }
        }
    }
}
