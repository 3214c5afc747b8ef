//! Walking a finished file system with other code than the code that wrote it, bounded whatever it says.
//!
//! The readers (ext4-view, fatfs) do not panic on what is damaged, but they believe it: a count of block groups that
//! asks for 30 GB of memory, a directory that is its own child, a chain of clusters that is a ring. So sizes are
//! compared before anything is loaded, and the bytes read, the depth and the number of paths have an end.

use std::io::{self, Read, Seek, SeekFrom, Write};

use ext4_view::{DirEntry, Ext4, Ext4Error, Ext4Read};
use object::LittleEndian;
use object::pe::{ImageDosHeader, ImageNtHeaders64};
use object::read::pe::ImageNtHeaders;
use object::read::{ReadCache, ReadRef};

/// Directories below directories, at most; a Debian system has 17. What is deeper is not taken from a package.
pub const DEEPEST: usize = 64;

/// Most paths of one file system.
const MOST: usize = 4 << 20;

/// Longest command line that is read; the kernel takes 2048 bytes at most (`COMMAND_LINE_SIZE`).
const LONGEST: u64 = 4096;

/// Why a file system cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The reader of ext4 refuses it.
    #[error(transparent)]
    Ext4(#[from] Ext4Error),
    /// The reader of FAT refuses it, or it needs more reading than its size explains.
    #[error(transparent)]
    Fat(#[from] io::Error),
    /// The superblock could not be read.
    #[error("reading the superblock: {0}")]
    Superblock(Box<dyn std::error::Error + Send + Sync>),
    /// A number of its superblock or boot sector cannot be true.
    #[error("{what} of {claimed} bytes in a partition of {size}")]
    Size {
        /// Which part it describes.
        what: &'static str,
        /// What it says.
        claimed: u128,
        /// Bytes there are.
        size: u64,
    },
    /// A directory is its own descendant, or nearly.
    #[error("directories deeper than {DEEPEST}, or more than {MOST} paths")]
    Endless,
    /// A file has fewer bytes than its directory says.
    #[error("{name} ends after {read} of {size} bytes")]
    Short {
        /// The file.
        name: String,
        /// Bytes found.
        read: u64,
        /// Bytes announced.
        size: u64,
    },
    /// A file does not say what it should.
    #[error("{name}: {why}")]
    Content {
        /// The file.
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

/// A file that can be read anywhere.
pub trait File: Read + Seek {}

impl<F: Read + Seek> File for F {}

/// Lists every directory of an ext4 file system of at most `size` bytes and looks at every entry; returns how many
/// there are.
pub fn ext4(reader: Box<dyn Ext4Read>, size: u64) -> Result<usize, Error> {
    walk(reader, size, |_, _| Ok(()))
}

/// Reads every regular file of an ext4 file system of at most `size` bytes; `look` gets paths without a leading slash. A
/// file with several names is read by each.
pub fn ext4_files(
    reader: Box<dyn Ext4Read>,
    size: u64,
    mut look: impl FnMut(&[u8], &[u8]),
) -> Result<(), Error> {
    walk(reader, size, |file_system, entry| {
        let found = entry.metadata()?;
        if !found.file_type().is_regular_file() {
            return Ok(());
        }
        if found.len() > size {
            return Err(Error::Size {
                what: "a file",
                claimed: u128::from(found.len()),
                size,
            });
        }
        let path = entry.path();
        let bytes = file_system.read(&path)?;
        let path: &[u8] = path.as_ref();
        look(path.strip_prefix(b"/").unwrap_or(path), &bytes);
        Ok(())
    })
    .map(drop)
}

/// Goes through all directories; returns how many entries there are.
fn walk(
    mut reader: Box<dyn Ext4Read>,
    size: u64,
    mut look: impl FnMut(&Ext4, &DirEntry) -> Result<(), Error>,
) -> Result<usize, Error> {
    let mut superblock = [0; 1024];
    reader
        .read(1024, &mut superblock)
        .map_err(Error::Superblock)?;
    let claimed = ext4_size(&superblock);
    if claimed > u128::from(size) {
        return Err(Error::Size {
            what: "an ext4 file system",
            claimed,
            size,
        });
    }
    let file_system = Ext4::load(reader)?;
    let mut paths = 0;
    let mut folders = vec![(ext4_view::PathBuf::new("/"), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in file_system.read_dir(&folder)? {
            let entry = entry?;
            if entry.file_name() == "." || entry.file_name() == ".." {
                continue;
            }
            paths += 1;
            if depth > DEEPEST || paths > MOST {
                return Err(Error::Endless);
            }
            if entry.file_type()?.is_dir() {
                folders.push((entry.path(), depth + 1));
            }
            look(&file_system, &entry)?;
        }
    }
    Ok(paths)
}

/// Blocks times block size (`struct ext4_super_block`, kernel `Documentation/filesystems/ext4/super.rst`). A group has
/// at least one block, so this bounds their number too.
fn ext4_size(superblock: &[u8; 1024]) -> u128 {
    let word =
        |at: usize| u32::from_le_bytes(superblock[at..at + 4].try_into().expect("four bytes"));
    let blocks = u64::from(word(0x150)) << 32 | u64::from(word(0x4));
    u128::from(blocks) << word(0x18).saturating_add(10).min(32)
}

/// Reads every file of a FAT file system of `size` bytes to its end; returns how many there are. `look` then
/// gets it with its path, and says what is wrong with it.
pub fn fat(
    mut volume: impl Read + Write + Seek,
    size: u64,
    mut look: impl FnMut(&str, &mut dyn File) -> Result<(), String>,
) -> Result<usize, Error> {
    let mut boot_sector = [0; 512];
    volume.read_exact(&mut boot_sector)?;
    volume.rewind()?;
    let claimed = fat_size(&boot_sector);
    if claimed > u128::from(size) {
        return Err(Error::Size {
            what: "a FAT file system",
            claimed,
            size,
        });
    }
    // Each byte twice, the table of clusters twice more, and as much again.
    let volume = Bounded {
        volume,
        left: size.saturating_mul(3).saturating_add(1 << 20),
    };
    let file_system = fatfs::FileSystem::new(volume, fatfs::FsOptions::new())?;
    let (mut files, mut paths) = (0, 0);
    let mut folders = vec![(file_system.root_dir(), String::new(), 0)];
    while let Some((folder, above, depth)) = folders.pop() {
        for entry in folder.iter() {
            let entry = entry?;
            paths += 1;
            if depth > DEEPEST || paths > MOST {
                return Err(Error::Endless);
            }
            let name = format!("{above}{}", entry.file_name());
            if entry.is_dir() {
                if entry.file_name() != "." && entry.file_name() != ".." {
                    folders.push((entry.to_dir(), format!("{name}/"), depth + 1));
                }
                continue;
            }
            let mut file = entry.to_file();
            let read = io::copy(&mut file, &mut io::sink())?;
            if read != entry.len() {
                return Err(Error::Short {
                    name,
                    read,
                    size: entry.len(),
                });
            }
            file.rewind()?;
            look(&name, &mut file).map_err(|why| Error::Content { name, why })?;
            files += 1;
        }
    }
    Ok(files)
}

/// The kernel command line in a unified kernel image (UAPI.5, section `.cmdline`): exactly one.
pub fn command_line(image: &mut dyn File) -> Result<String, String> {
    let data = &ReadCache::new(image);
    let broken = |error: object::read::Error| format!("not a unified kernel image: {error}");
    let mut offset = ImageDosHeader::parse(data)
        .map_err(broken)?
        .nt_headers_offset()
        .into();
    let (headers, _) = ImageNtHeaders64::parse(data, &mut offset).map_err(broken)?;
    let sections = headers.sections(data, offset).map_err(broken)?;
    let mut lines = sections
        .iter()
        .filter(|section| section.raw_name() == b".cmdline");
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Err("not exactly one section .cmdline".into());
    };
    let size = line
        .virtual_size
        .get(LittleEndian)
        .min(line.size_of_raw_data.get(LittleEndian))
        .into();
    let start = line.pointer_to_raw_data.get(LittleEndian).into();
    if size > LONGEST {
        return Err(format!("a command line of {size} bytes"));
    }
    let bytes = data
        .read_bytes_at(start, size)
        .map_err(|()| "the section .cmdline reaches past the end".to_owned())?;
    String::from_utf8(bytes.to_vec()).map_err(|_| "a command line that is no text".into())
}

/// A file of at most `most` bytes.
pub fn bytes(file: &mut dyn File, most: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    file.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 <= most {
        Ok(bytes)
    } else {
        Err(format!("longer than {most} bytes"))
    }
}

/// What its sectors, or those before the first cluster, come to: fatfs multiplies these numbers in 32 bits
/// (Microsoft, "FAT: General Overview of On-Disk Format", "Boot Sector and BPB").
fn fat_size(boot_sector: &[u8; 512]) -> u128 {
    let half = |at: usize| u128::from(u16::from_le_bytes([boot_sector[at], boot_sector[at + 1]]));
    let word = |at: usize| half(at) | half(at + 2) << 16;
    let either = |short: u128, long: u128| if short == 0 { long } else { short };
    let (sector, tables) = (half(11), u128::from(boot_sector[16]));
    let before = (half(14) + tables * either(half(22), word(36))) * sector + half(17) * 32;
    before.max(either(half(19), word(32)) * sector)
}

/// Lets so many bytes through and no more.
struct Bounded<V> {
    volume: V,
    left: u64,
}

impl<V: Read> Read for Bounded<V> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.volume.read(buffer)?;
        let left = self.left.checked_sub(count as u64);
        self.left = left.ok_or_else(|| {
            io::Error::other("its directories or chains of clusters go in circles")
        })?;
        Ok(count)
    }
}

impl<V: Seek> Seek for Bounded<V> {
    fn seek(&mut self, target: SeekFrom) -> io::Result<u64> {
        self.volume.seek(target)
    }
}

impl<V: Write> Write for Bounded<V> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.volume.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.volume.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use prejoin_formats::image::Image;
    use prejoin_formats::tree::{Entry, NoContents, Tree};
    use prejoin_formats::{ext4 as ext4_format, fat as fat_format};

    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::new();
        for (path, text) in [
            ("a/b/c.txt", "one"),
            ("a/long name.yaml", "two"),
            ("d.txt", "three"),
        ] {
            tree.insert(path, Entry::file(text.as_bytes(), 0o644));
        }
        tree
    }

    fn all(image: &Image) -> Vec<u8> {
        let mut bytes = vec![0; image.size() as usize];
        image.read_at(&NoContents, 0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn ext4_is_walked_and_its_size_is_not_believed() {
        let size = 4 << 20;
        let mut image = all(
            &ext4_format::plan(&tree(), &ext4_format::Options::new(size, [1; 16]))
                .unwrap()
                .image,
        );
        // The five of the tree, and lost+found.
        assert_eq!(ext4(Box::new(image.clone()), size).unwrap(), 6);
        assert!(matches!(
            ext4(Box::new(image.clone()), size - 1),
            Err(Error::Size { .. })
        ));
        image[1024 + 0x150..1024 + 0x154].fill(0xff);
        assert!(matches!(
            ext4(Box::new(image), size),
            Err(Error::Size { .. })
        ));
        assert!(matches!(
            ext4(Box::new(vec![0; 100]), 100),
            Err(Error::Superblock(_))
        ));
    }

    fn volume() -> Vec<u8> {
        let options = fat_format::Options {
            size: 1 << 20,
            sector_size: 512,
            width: None,
            label: String::new(),
            volume_id: 1,
            time: 0,
            hidden_sectors: 0,
        };
        all(&fat_format::write(&tree(), &options).unwrap().image)
    }

    /// Offset of the first record with this short name.
    fn record(volume: &[u8], name: &[u8; 11]) -> usize {
        volume
            .chunks(32)
            .position(|record| record.starts_with(name))
            .unwrap()
            * 32
    }

    /// Reads it without looking into its files.
    fn walk(volume: Vec<u8>, size: u64) -> Result<usize, Error> {
        fat(Cursor::new(volume), size, |_, _| Ok(()))
    }

    #[test]
    fn fat_is_read_to_the_end() {
        let volume = volume();
        assert_eq!(walk(volume.clone(), volume.len() as u64).unwrap(), 3);
        let mut large = volume.clone();
        large[22..24].fill(0xff);
        for (volume, size) in [(volume, (1 << 20) - 1), (large, 1 << 20)] {
            assert!(matches!(walk(volume, size), Err(Error::Size { .. })));
        }
    }

    #[test]
    fn a_fat_directory_that_is_its_own_child_ends() {
        let mut volume = volume();
        let (parent, child) = (
            record(&volume, b"A          "),
            record(&volume, b"B          "),
        );
        let cluster = volume[parent + 26..parent + 28].to_vec();
        volume[child + 26..child + 28].copy_from_slice(&cluster);
        assert!(matches!(walk(volume, 1 << 20), Err(Error::Endless)));
    }

    #[test]
    fn a_fat_directory_that_is_a_ring_ends() {
        let mut volume = volume();
        let parent = record(&volume, b"A          ");
        let cluster = u16::from_le_bytes([volume[parent + 26], volume[parent + 27]]);
        let table = usize::from(u16::from_le_bytes([volume[14], volume[15]])) * 512;
        let sectors = usize::from(u16::from_le_bytes([volume[22], volume[23]]));
        let tables = usize::from(volume[16]);
        let root = usize::from(u16::from_le_bytes([volume[17], volume[18]])) * 32;
        let size = usize::from(volume[13]) * 512;
        // No record of the cluster is free or the last one, so that reading goes on in the next cluster: itself.
        let start = table + tables * sectors * 512 + root + usize::from(cluster - 2) * size;
        volume[start..start + size]
            .chunks_mut(32)
            .for_each(|record| record[0] = 0xe5);
        // A FAT12 entry has one and a half bytes.
        let entry = table + usize::from(cluster) * 3 / 2;
        let old = u16::from_le_bytes([volume[entry], volume[entry + 1]]);
        let new = if cluster.is_multiple_of(2) {
            old & 0xf000 | cluster
        } else {
            old & 0x000f | cluster << 4
        };
        volume[entry..entry + 2].copy_from_slice(&new.to_le_bytes());
        let error = walk(volume, 1 << 20).unwrap_err();
        assert!(error.to_string().contains("circles"), "{error}");
    }

    #[test]
    fn fat_files_are_looked_into() {
        let mut seen = Vec::new();
        let look = |path: &str, file: &mut dyn File| {
            seen.push((
                path.to_ascii_lowercase(),
                String::from_utf8(super::bytes(file, 5)?).unwrap(),
            ));
            Ok(())
        };
        fat(Cursor::new(volume()), 1 << 20, look).unwrap();
        seen.sort();
        let expected = [
            ("a/b/c.txt", "one"),
            ("a/long name.yaml", "two"),
            ("d.txt", "three"),
        ];
        assert_eq!(
            seen,
            expected.map(|(path, text)| (path.to_owned(), text.to_owned()))
        );
        let look = |_: &str, file: &mut dyn File| super::bytes(file, 4).map(drop);
        let error = fat(Cursor::new(volume()), 1 << 20, look).unwrap_err();
        assert_eq!(
            error.to_string().to_ascii_lowercase(),
            "d.txt: longer than 4 bytes"
        );
    }

    /// A PE file of these sections, as small as can be.
    fn image(sections: &[(&[u8; 8], &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; 0x58 + 240];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[0x3c] = 0x40;
        bytes[0x40..0x44].copy_from_slice(b"PE\0\0");
        bytes[0x46] = sections.len() as u8;
        bytes[0x54] = 240;
        bytes[0x58..0x5a].copy_from_slice(&0x20bu16.to_le_bytes());
        bytes[0x58 + 108] = 16;
        let mut at = bytes.len() + sections.len() * 40;
        for (name, content) in sections {
            bytes.extend(*name);
            for word in [content.len(), 0, content.len(), at] {
                bytes.extend((word as u32).to_le_bytes());
            }
            bytes.extend([0; 16]);
            at += content.len();
        }
        sections
            .iter()
            .for_each(|(_, content)| bytes.extend(*content));
        bytes
    }

    #[test]
    fn one_command_line_is_found_in_an_image() {
        let found = |bytes: Vec<u8>| command_line(&mut Cursor::new(bytes));
        let line: (&[u8; 8], &[u8]) = (b".cmdline", b"root=x roothash=y");
        let good = image(&[(b".osrel\0\0", b"ID=x"), line]);
        assert_eq!(found(good.clone()).unwrap(), "root=x roothash=y");
        assert!(
            found(image(&[line, line]))
                .unwrap_err()
                .contains("exactly one")
        );
        assert!(
            found(image(&[(b".linux\0\0", b"x")]))
                .unwrap_err()
                .contains("exactly one")
        );
        assert!(
            found(image(&[(b".cmdline", &[b'x'; 5000])]))
                .unwrap_err()
                .contains("5000 bytes")
        );
        assert!(
            found(image(&[(b".cmdline", b"\xff")]))
                .unwrap_err()
                .contains("no text")
        );
        for length in 0..good.len() {
            assert!(found(good[..length].to_vec()).is_err(), "{length}");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x80;
            let _ = found(bad);
        }
    }
}
