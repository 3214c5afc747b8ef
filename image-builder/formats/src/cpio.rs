//! cpio archives in the `newc` form: what the kernel unpacks as initramfs
//! (kernel `Documentation/driver-api/early-userspace/buffer-format.rst`).
//!
//! Archives may stand in a row: an uncompressed one with microcode first, a compressed one after it.

use std::collections::BTreeMap;

use crate::image::Image;
use crate::tree::{Content, Entry, Kind, Tree};

const MAGIC: &[u8] = b"070701";
const HEADER_SIZE: usize = 110;
const TRAILER: &[u8] = b"TRAILER!!!";
/// Longest name with its NUL: the kernel's `PATH_MAX`; it skips entries with longer ones.
const LONGEST_NAME: usize = 4096;
/// Longest component of a path on any Linux file system.
const LONGEST_COMPONENT: usize = 255;
/// Contents up to this size are copied between the headers; larger ones stay references.
const INLINE: u64 = 4096;

const TYPE_MASK: u32 = 0o170_000;
const FIFO: u32 = 0o010_000;
const CHARACTER: u32 = 0o020_000;
const DIRECTORY: u32 = 0o040_000;
const BLOCK: u32 = 0o060_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// An archive that cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A size field has 32 bits.
    #[error("{path} has {size} bytes, more than a cpio archive can hold")]
    Large {
        /// The file.
        path: String,
        /// Its size.
        size: u64,
    },
    /// The path does not fit into 4096 bytes with its NUL.
    #[error("{0} is too long a name for a cpio archive")]
    LongName(String),
    /// A hard link to something that is no regular file of the tree, or of the archive.
    #[error("{0} is a hard link to no file")]
    Link(String),
    /// The archive ends within an entry.
    #[error("cpio archive ends early at byte {0}")]
    Short(usize),
    /// Not a `newc` header.
    #[error("no cpio header at byte {0}")]
    Magic(usize),
    /// A header field that is no 8-digit hexadecimal number, or a name without NUL at its end.
    #[error("malformed cpio header at byte {0}")]
    Header(usize),
    /// A name longer than 4096 or a file larger than the caller's limit.
    #[error("cpio entry at byte {at} is larger than allowed ({size} > {limit})")]
    Limit {
        /// Where.
        at: usize,
        /// What it claims.
        size: u64,
        /// What is allowed.
        limit: u64,
    },
    /// See [`safe_path`].
    #[error("cpio entry with the unsafe name {0:?}")]
    Unsafe(String),
    /// An entry below something that is not a directory (a symbolic link, perhaps).
    #[error("cpio entry {0:?} lies below something that is not a directory")]
    Below(String),
    /// A file type that is none of Linux's, or a socket.
    #[error("cpio entry {name:?} has the unknown mode {mode:o}")]
    Mode {
        /// The entry.
        name: String,
        /// Its mode field.
        mode: u32,
    },
}

/// Writes a tree as one archive with trailer, a multiple of 4 bytes long.
///
/// Entries come in path order, the root directory itself is left out, inode numbers count from 1. Names of one file
/// share an inode number and the last of them carries the bytes, as GNU cpio does it. Times outside 1970..2106 are
/// clamped. Extended attributes have no place in the format and are dropped.
pub fn write(tree: &Tree) -> Result<Image, Error> {
    let links = links(tree)?;
    let mut archive = Archive::default();
    let mut inode = 0;
    for (path, entry) in tree.iter().skip(1) {
        if path.len() >= LONGEST_NAME {
            return Err(Error::LongName(text(path)));
        }
        if safe_path(path)? == TRAILER {
            return Err(Error::Unsafe(text(path)));
        }
        let (first, entry) = match &entry.kind {
            Kind::HardLink(target) => (
                target.as_slice(),
                tree.entry(target).expect("`links` has checked the target"),
            ),
            _ => (path, entry),
        };
        let (number, count, carries) = match links.get(first) {
            Some(names) => (names.inode, names.count, names.last == path),
            None => (0, if entry.kind == Kind::Directory { 2 } else { 1 }, true),
        };
        // Files with several names are numbered after all others, so that numbers stay unique.
        inode += u32::from(number == 0);
        let number = if number == 0 {
            inode
        } else {
            tree.len() as u32 + number
        };
        archive.entry(path, entry, number, count, carries)?;
    }
    archive.header(TRAILER, [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    Ok(archive.finish())
}

/// Puts archives (compressed or not) in a row, each beginning on a multiple of 4 bytes; the kernel skips the zeroes
/// between them.
pub fn join(archives: &[Image]) -> Image {
    let size = archives
        .iter()
        .fold(0u64, |size, image| size.next_multiple_of(4) + image.size());
    let mut joined = Image::zero(size);
    let mut at = 0u64;
    for image in archives {
        at = at.next_multiple_of(4);
        joined.put_image(at, image);
        at += image.size();
    }
    joined.sort();
    joined
}

/// The names of one file.
struct Names<'a> {
    inode: u32,
    count: u32,
    last: &'a [u8],
}

/// Files with several names, by the path that is no [`Kind::HardLink`].
fn links(tree: &Tree) -> Result<BTreeMap<&[u8], Names<'_>>, Error> {
    let mut links: BTreeMap<&[u8], Names<'_>> = BTreeMap::new();
    for (path, entry) in tree.iter() {
        let Kind::HardLink(target) = &entry.kind else {
            continue;
        };
        if !matches!(
            tree.entry(target),
            Some(Entry {
                kind: Kind::File(_),
                ..
            })
        ) {
            return Err(Error::Link(text(path)));
        }
        let inode = links.len() as u32 + 1;
        let names = links.entry(target).or_insert(Names {
            inode,
            count: 1,
            last: target,
        });
        names.count += 1;
        names.last = names.last.max(path);
    }
    Ok(links)
}

/// An archive being laid out.
#[derive(Default)]
struct Archive {
    size: u64,
    /// Bytes made here, up to the next reference.
    bytes: Vec<u8>,
    pieces: Vec<(u64, Content)>,
}

impl Archive {
    fn entry(
        &mut self,
        path: &[u8],
        entry: &Entry,
        inode: u32,
        count: u32,
        carries: bool,
    ) -> Result<(), Error> {
        let nothing = Content::Bytes([].into());
        let target;
        let (kind, content, device) = match &entry.kind {
            Kind::Directory => (DIRECTORY, &nothing, (0, 0)),
            Kind::File(content) => (FILE, if carries { content } else { &nothing }, (0, 0)),
            Kind::Symlink(to) => {
                target = Content::Bytes(to.as_slice().into());
                (SYMLINK, &target, (0, 0))
            }
            Kind::Device {
                block,
                major,
                minor,
            } => (
                if *block { BLOCK } else { CHARACTER },
                &nothing,
                (*major, *minor),
            ),
            Kind::Fifo => (FIFO, &nothing, (0, 0)),
            Kind::HardLink(_) => return Err(Error::Link(text(path))),
        };
        let size = u32::try_from(content.len()).map_err(|_| Error::Large {
            path: text(path),
            size: content.len(),
        })?;
        let mtime = entry.mtime.clamp(0, i64::from(u32::MAX)) as u32;
        let mode = kind | u32::from(entry.mode);
        self.header(
            path,
            [
                inode, mode, entry.uid, entry.gid, count, mtime, size, 0, 0, device.0, device.1,
            ],
        );
        self.content(content);
        Ok(())
    }

    /// Everything up to the name's size and the unused checksum, in the order of the format.
    fn header(&mut self, name: &[u8], fields: [u32; 11]) {
        self.bytes.extend(MAGIC);
        for field in fields.into_iter().chain([name.len() as u32 + 1, 0]) {
            self.bytes.extend(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend(name);
        self.bytes.push(0);
        self.pad();
    }

    fn content(&mut self, content: &Content) {
        match content {
            Content::Bytes(bytes) if bytes.len() as u64 <= INLINE => self.bytes.extend(&bytes[..]),
            _ => {
                self.flush();
                self.pieces.push((self.size, content.clone()));
                self.size += content.len();
            }
        }
        self.pad();
    }

    fn pad(&mut self) {
        let end = self.size + self.bytes.len() as u64;
        let padding = end.next_multiple_of(4) - end;
        self.bytes.extend(&[0; 4][..padding as usize]);
    }

    fn flush(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let length = bytes.len() as u64;
        self.pieces.push((self.size, Content::Bytes(bytes.into())));
        self.size += length;
    }

    fn finish(mut self) -> Image {
        self.flush();
        let mut image = Image::zero(self.size);
        for (offset, content) in &self.pieces {
            image.put_content(*offset, content, 0, content.len());
        }
        image.sort();
        image
    }
}

/// One entry of an archive, as it stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// Path; check it with [`safe_path`] before using it.
    pub name: &'a [u8],
    /// Inode number: entries that share it (and have `nlink` > 1) are one file.
    pub inode: u32,
    /// File type and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of names.
    pub nlink: u32,
    /// Modification time, seconds since 1970.
    pub mtime: u32,
    /// Major and minor number of a device node.
    pub device: (u32, u32),
    /// A file's bytes, or a symbolic link's target.
    pub data: &'a [u8],
}

/// The entries of an archive, and of the archives right behind it, without trailers. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    bytes: &'a [u8],
    at: usize,
    largest: u64,
    done: bool,
}

/// Reads an archive, refusing entries of more than `largest` bytes.
pub fn read(bytes: &[u8], largest: u64) -> Items<'_> {
    Items {
        bytes,
        at: 0,
        largest,
        done: false,
    }
}

impl<'a> Items<'a> {
    /// What has not been read: after the last entry, whatever follows the archive (a compressed one, perhaps).
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn item(&mut self) -> Result<Item<'a>, Error> {
        let at = self.at;
        let header = self
            .bytes
            .get(at..at + HEADER_SIZE)
            .ok_or(Error::Short(at))?;
        if !header.starts_with(MAGIC) {
            return Err(Error::Magic(at));
        }
        let mut fields = [0u32; 13];
        for (field, digits) in fields.iter_mut().zip(header[MAGIC.len()..].chunks_exact(8)) {
            *field = number(digits).ok_or(Error::Header(at))?;
        }
        let [
            inode,
            mode,
            uid,
            gid,
            nlink,
            mtime,
            size,
            _,
            _,
            major,
            minor,
            name_size,
            _,
        ] = fields;
        for (size, limit) in [
            (u64::from(name_size), LONGEST_NAME as u64),
            (u64::from(size), self.largest),
        ] {
            if size > limit {
                return Err(Error::Limit { at, size, limit });
            }
        }
        let name = self.slice(at + HEADER_SIZE, name_size)?;
        let name = name
            .strip_suffix(&[0])
            .filter(|name| !name.contains(&0))
            .ok_or(Error::Header(at))?;
        let data = self.slice(
            (at + HEADER_SIZE + name_size as usize).next_multiple_of(4),
            size,
        )?;
        let end = (at + HEADER_SIZE + name_size as usize).next_multiple_of(4) + data.len();
        self.at = end.next_multiple_of(4).min(self.bytes.len());
        Ok(Item {
            name,
            inode,
            mode,
            uid,
            gid,
            nlink,
            mtime,
            device: (major, minor),
            data,
        })
    }

    fn slice(&self, from: usize, length: u32) -> Result<&'a [u8], Error> {
        let bytes = self
            .bytes
            .get(from..)
            .and_then(|bytes| bytes.get(..length as usize));
        bytes.ok_or(Error::Short(self.at))
    }

    /// Goes past the zeroes behind a trailer; tells whether another uncompressed archive begins there.
    fn another(&mut self) -> bool {
        let zeroes = self.rest().iter().take_while(|&&byte| byte == 0).count();
        self.at += zeroes;
        self.rest().starts_with(MAGIC)
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Item<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.done {
            match self.item() {
                Ok(item) if item.name == TRAILER => self.done = !self.another(),
                Ok(item) => return Some(Ok(item)),
                Err(error) => {
                    self.done = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, &digit| {
        Some(number << 4 | char::from(digit).to_digit(16)?)
    })
}

/// The tree path of a name in an archive: `./` before it and the name `.` are accepted, as `find . | cpio` makes them.
///
/// Refused: absolute names, `..`, `.` or nothing between slashes, NUL, components of more than 255 bytes. A name
/// that passes stays below the directory it is used in as long as no symbolic link stands on the way;
/// [`read_tree`] checks that too.
pub fn safe_path(name: &[u8]) -> Result<&[u8], Error> {
    if name == b"." || name == b"./" {
        return Ok(b"");
    }
    let path = name.strip_prefix(b"./").unwrap_or(name);
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let safe = path.len() < LONGEST_NAME
        && path.split(|&byte| byte == b'/').all(|component| {
            !matches!(component, b"" | b"." | b"..")
                && component.len() <= LONGEST_COMPONENT
                && !component.contains(&0)
        });
    if safe {
        Ok(path)
    } else {
        Err(Error::Unsafe(text(name)))
    }
}

/// Reads an archive into a tree; every name is checked by [`safe_path`], and no entry may lie below something that is
/// not a directory. Later entries replace earlier ones of the same name.
pub fn read_tree(bytes: &[u8], largest: u64) -> Result<Tree, Error> {
    let mut tree = Tree::new();
    // First path of every file with several names; its bytes may come with a later one.
    let mut files: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    for item in read(bytes, largest) {
        let item = item?;
        let path = safe_path(item.name)?;
        let mut parents = path;
        while let Some(slash) = parents.iter().rposition(|&byte| byte == b'/') {
            parents = &parents[..slash];
            if tree
                .entry(parents)
                .is_some_and(|entry| entry.kind != Kind::Directory)
            {
                return Err(Error::Below(text(item.name)));
            }
        }
        let mut entry = item.entry()?;
        if matches!(entry.kind, Kind::File(_)) && item.nlink > 1 {
            match files.get(&item.inode) {
                Some(first) if first != path => {
                    let Some(Entry {
                        kind: Kind::File(content),
                        ..
                    }) = tree.entry_mut(first)
                    else {
                        return Err(Error::Link(text(item.name)));
                    };
                    if !item.data.is_empty() {
                        *content = Content::Bytes(item.data.into());
                    }
                    entry.kind = Kind::HardLink(first.clone());
                }
                _ => drop(files.insert(item.inode, path.to_vec())),
            }
        }
        if path.is_empty() && entry.kind != Kind::Directory {
            return Err(Error::Unsafe(text(item.name)));
        }
        tree.insert(path, entry);
    }
    Ok(tree)
}

impl Item<'_> {
    fn entry(&self) -> Result<Entry, Error> {
        let kind = match self.mode & TYPE_MASK {
            DIRECTORY => Kind::Directory,
            FILE => Kind::File(Content::Bytes(self.data.into())),
            SYMLINK => Kind::Symlink(self.data.to_vec()),
            FIFO => Kind::Fifo,
            kind @ (CHARACTER | BLOCK) => Kind::Device {
                block: kind == BLOCK,
                major: self.device.0,
                minor: self.device.1,
            },
            _ => {
                return Err(Error::Mode {
                    name: text(self.name),
                    mode: self.mode,
                });
            }
        };
        Ok(Entry {
            kind,
            mode: (self.mode & 0o7777) as u16,
            uid: self.uid,
            gid: self.gid,
            mtime: i64::from(self.mtime),
            xattrs: BTreeMap::new(),
        })
    }
}

fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_could_escape_are_refused() {
        for name in [
            "", "/", "/etc", "..", "../a", "a/../b", "a/..", "a//b", "a/./b", ".//a", "./",
            "././a", "a\0b",
        ] {
            let expected = if name == "./" {
                Ok(&b""[..])
            } else {
                Err(Error::Unsafe(name.to_owned()))
            };
            assert_eq!(safe_path(name.as_bytes()), expected, "{name:?}");
        }
        assert!(safe_path(&[b'a'; 256]).is_err());
        for (name, path) in [
            (".", ""),
            ("./a/b", "a/b"),
            ("a/", "a"),
            ("...", "..."),
            ("a/..b", "a/..b"),
        ] {
            assert_eq!(safe_path(name.as_bytes()), Ok(path.as_bytes()));
        }
    }

    #[test]
    fn links_of_hostile_archives_are_not_followed() {
        let archive = |entries: &[(&[u8], Entry)]| {
            let mut archive = Archive::default();
            for ((name, entry), inode) in entries.iter().zip(1..) {
                archive.entry(name, entry, inode, 1, true).unwrap();
            }
            archive.header(TRAILER, [0; 11]);
            let image = archive.finish();
            let mut bytes = vec![0; image.size() as usize];
            image
                .read_at(&crate::tree::NoContents, 0, &mut bytes)
                .unwrap();
            bytes
        };
        let through = archive(&[
            (b"a", Entry::symlink("/etc")),
            (b"a/passwd", Entry::file(*b"x", 0o644)),
        ]);
        assert_eq!(
            read_tree(&through, 100),
            Err(Error::Below("a/passwd".to_owned()))
        );
        let up = archive(&[(b"../a", Entry::file(*b"x", 0o644))]);
        assert_eq!(read_tree(&up, 100), Err(Error::Unsafe("../a".to_owned())));
        let root = archive(&[(b".", Entry::symlink("/etc"))]);
        assert_eq!(read_tree(&root, 100), Err(Error::Unsafe(".".to_owned())));
        let large = archive(&[(b"a", Entry::file([0; 101], 0o644))]);
        assert_eq!(
            read_tree(&large, 100),
            Err(Error::Limit {
                at: 0,
                size: 101,
                limit: 100
            })
        );
    }

    #[test]
    fn what_cannot_be_archived_is_named() {
        let mut tree = Tree::new();
        tree.insert("big", Entry::blob([0; 32], 1 << 32, 0o644));
        assert_eq!(
            write(&tree).unwrap_err(),
            Error::Large {
                path: "big".to_owned(),
                size: 1 << 32
            }
        );
        let mut tree = Tree::new();
        tree.insert(
            "link",
            Entry {
                kind: Kind::HardLink(b"gone".to_vec()),
                ..Entry::directory(0)
            },
        );
        assert_eq!(write(&tree).unwrap_err(), Error::Link("link".to_owned()));
        let mut tree = Tree::new();
        tree.insert(vec![b'x'; 4096], Entry::directory(0o755));
        assert!(matches!(write(&tree), Err(Error::LongName(_))));
        for path in ["TRAILER!!!", "a/../b", "a\0b"] {
            let mut tree = Tree::new();
            tree.insert(path, Entry::file(*b"x", 0o644));
            assert!(matches!(write(&tree), Err(Error::Unsafe(_))), "{path:?}");
        }
    }
}
