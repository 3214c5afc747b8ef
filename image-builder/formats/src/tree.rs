//! A file tree in memory: what goes into a file system, before anyone decides where.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::image::Image;

/// SHA-256 of a file's content.
pub type ContentDigest = [u8; 32];

/// A whole tree, keyed by path.
///
/// Paths are bytes without a leading or trailing slash (`usr/bin/sh`); the root directory is the empty path and
/// always exists. A path's parent is always a directory of the tree: [`Tree::insert`] makes missing parents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    entries: BTreeMap<Vec<u8>, Entry>,
}

/// One path's metadata and content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Permission bits including setuid, setgid and sticky (`0o7777` mask).
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time in seconds since 1970.
    pub mtime: i64,
    /// Extended attributes by full name (`security.capability`).
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory; its children are the paths below it.
    Directory,
    /// A regular file.
    File(Content),
    /// A symbolic link and its target, byte for byte.
    Symlink(Vec<u8>),
    /// Another name of the regular file at this path of the same tree; metadata is that file's.
    HardLink(Vec<u8>),
    /// A character or block device node.
    Device {
        /// Block device, else character device.
        block: bool,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// A regular file's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Made by us and small: held in memory.
    Bytes(Arc<[u8]>),
    /// Kept elsewhere under its digest; read through [`Contents`].
    Blob {
        /// SHA-256 of the bytes.
        digest: ContentDigest,
        /// Length in bytes.
        size: u64,
    },
    /// Put together from others (a unified kernel image in a boot partition), and never copied for it.
    Image(Arc<Image>),
}

/// Where the bytes of [`Content::Blob`] come from.
pub trait Contents: Sync {
    /// Fills `buffer` with the blob's bytes from `offset`; short data is an error.
    fn read_at(
        &self,
        digest: &ContentDigest,
        offset: u64,
        buffer: &mut [u8],
    ) -> std::io::Result<()>;
}

/// A source that holds no blob: for trees made of [`Content::Bytes`] alone.
pub struct NoContents;

impl Contents for NoContents {
    fn read_at(
        &self,
        digest: &ContentDigest,
        _offset: u64,
        _buffer: &mut [u8],
    ) -> std::io::Result<()> {
        Err(std::io::Error::new(
            std::io::ErrorKind::NotFound,
            format!("no content is stored under {:02x?}", &digest[..4]),
        ))
    }
}

impl Default for Tree {
    fn default() -> Self {
        let root = Entry::directory(0o755);
        Tree {
            entries: BTreeMap::from([(Vec::new(), root)]),
        }
    }
}

impl Tree {
    /// A tree that holds the root directory only.
    pub fn new() -> Self {
        Self::default()
    }

    /// The entry at `path`, not following links.
    pub fn entry(&self, path: impl AsRef<[u8]>) -> Option<&Entry> {
        self.entries.get(path.as_ref())
    }

    /// The entry at `path`, for changing its metadata or content.
    pub fn entry_mut(&mut self, path: impl AsRef<[u8]>) -> Option<&mut Entry> {
        self.entries.get_mut(path.as_ref())
    }

    /// Puts `entry` at `path`, replacing what was there (a replaced directory keeps its children only if the new
    /// entry is a directory too). Missing parents become directories, 0755, owned by root, with the entry's time.
    pub fn insert(&mut self, path: impl AsRef<[u8]>, entry: Entry) {
        let path = path.as_ref();
        let mut at = path;
        while let Some(slash) = at.iter().rposition(|&b| b == b'/') {
            at = &at[..slash];
            if matches!(
                self.entries.get(at),
                Some(Entry {
                    kind: Kind::Directory,
                    ..
                })
            ) {
                break;
            }
            self.entries.insert(
                at.to_vec(),
                Entry {
                    mtime: entry.mtime,
                    ..Entry::directory(0o755)
                },
            );
        }
        if entry.kind != Kind::Directory {
            self.remove_children(path);
        }
        self.entries.insert(path.to_vec(), entry);
    }

    /// Takes `path` and everything below it out. Removing the root empties it.
    pub fn remove(&mut self, path: impl AsRef<[u8]>) -> Option<Entry> {
        let path = path.as_ref();
        self.remove_children(path);
        if path.is_empty() {
            None
        } else {
            self.entries.remove(path)
        }
    }

    fn remove_children(&mut self, path: &[u8]) {
        let below: Vec<Vec<u8>> = self.below(path).map(|(p, _)| p.to_vec()).collect();
        for path in below {
            self.entries.remove(&path);
        }
    }

    /// Every entry strictly below `path`, at any depth, in byte order of the path.
    pub fn below(&self, path: impl AsRef<[u8]>) -> impl Iterator<Item = (&[u8], &Entry)> {
        let mut prefix = path.as_ref().to_vec();
        if !prefix.is_empty() {
            prefix.push(b'/');
        }
        let start = if prefix.is_empty() {
            Bound::Excluded(Vec::new())
        } else {
            Bound::Included(prefix.clone())
        };
        self.entries
            .range((start, Bound::Unbounded))
            .take_while(move |(path, _)| path.starts_with(&prefix))
            .map(|(path, entry)| (path.as_slice(), entry))
    }

    /// The direct children of `path`: name and entry, in byte order.
    pub fn children<'a>(&'a self, path: &[u8]) -> impl Iterator<Item = (&'a [u8], &'a Entry)> {
        let skip = if path.is_empty() { 0 } else { path.len() + 1 };
        self.below(path)
            .map(move |(p, e)| (&p[skip..], e))
            .filter(|(name, _)| !name.contains(&b'/'))
    }

    /// Every entry, the root first, parents before children.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        self.entries
            .iter()
            .map(|(path, entry)| (path.as_slice(), entry))
    }

    /// Every entry, for changing metadata.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&[u8], &mut Entry)> {
        self.entries
            .iter_mut()
            .map(|(path, entry)| (path.as_slice(), entry))
    }

    /// Number of entries, the root included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Never true: the root is always there. Present for symmetry with [`Tree::len`].
    pub fn is_empty(&self) -> bool {
        false
    }
}

impl Entry {
    fn new(kind: Kind, mode: u16) -> Self {
        Entry {
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: 0,
            xattrs: BTreeMap::new(),
        }
    }

    /// A directory owned by root.
    pub fn directory(mode: u16) -> Self {
        Self::new(Kind::Directory, mode)
    }

    /// A regular file owned by root.
    pub fn file(bytes: impl Into<Arc<[u8]>>, mode: u16) -> Self {
        Self::new(Kind::File(Content::Bytes(bytes.into())), mode)
    }

    /// A regular file owned by root whose bytes are stored elsewhere.
    pub fn blob(digest: ContentDigest, size: u64, mode: u16) -> Self {
        Self::new(Kind::File(Content::Blob { digest, size }), mode)
    }

    /// A symbolic link.
    pub fn symlink(target: impl AsRef<[u8]>) -> Self {
        Self::new(Kind::Symlink(target.as_ref().to_vec()), 0o777)
    }

    /// The same entry with another owner.
    pub fn owned(self, uid: u32, gid: u32) -> Self {
        Entry { uid, gid, ..self }
    }

    /// The same entry with another modification time.
    pub fn dated(self, mtime: i64) -> Self {
        Entry { mtime, ..self }
    }
}

impl Content {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Blob { size, .. } => *size,
            Content::Image(image) => image.size(),
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bytes, for small files; the caller checks [`Content::len`] first.
    pub fn read(&self, contents: &dyn Contents) -> std::io::Result<Vec<u8>> {
        match self {
            Content::Bytes(bytes) => Ok(bytes.to_vec()),
            Content::Blob { digest, size } => {
                let mut buffer = vec![0; usize::try_from(*size).map_err(std::io::Error::other)?];
                contents.read_at(digest, 0, &mut buffer)?;
                Ok(buffer)
            }
            Content::Image(image) => {
                let mut buffer =
                    vec![0; usize::try_from(image.size()).map_err(std::io::Error::other)?];
                image.read_at(contents, 0, &mut buffer)?;
                Ok(buffer)
            }
        }
    }
}
