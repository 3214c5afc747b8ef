//! Reading ext2, ext3 and ext4, as much of them as finding a few paths needs (kernel
//! `Documentation/filesystems/ext4/`).
//!
//! For disks of unknown state: checksums are not asked for, so that one damaged group does not hide the rest; memory,
//! reads and steps are bounded, whatever the disk says; and features that only matter elsewhere do not matter. A
//! journal that was not played back is said to be one ([`Ext::gaps`]).
//!
//! ext4-view, which the tests compare with, is for file systems that are known to be sound: it takes memory for a
//! link's target and a journal's revocations by what the disk says, and refuses a whole file system for one bad
//! checksum, for `meta_bg` and for `inline_data`.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::files::{Child, Entry, Files, Kind, LARGEST_FILE, MOST_ENTRIES};
use super::window::Window;
use crate::probe::bytes::{le16, le32};

/// Number of the root directory.
pub(crate) const ROOT: u32 = 2;
/// Largest directory that is read, in bytes.
const LARGEST_DIRECTORY: u64 = 4 << 20;
/// Links followed on the way along one path.
const MOST_LINKS: u32 = 8;
/// Directories that are looked into to see whether there is something in one of them.
const MOST_HOLLOW: u32 = 256;
/// Components of one path, with those of its links.
const MOST_COMPONENTS: u32 = 64;

const ENCRYPTED: u32 = 0x800;
const EXTENTS: u32 = 0x8_0000;
const INLINE: u32 = 0x1000_0000;

/// A file system.
pub(crate) struct Ext<'a> {
    window: &'a Window<'a>,
    block: u64,
    first_block: u64,
    blocks_per_group: u64,
    inodes: u32,
    inodes_per_group: u32,
    inode_size: u64,
    descriptor: u64,
    /// First block of descriptors that lie in their own groups (`meta_bg`).
    first_meta: u64,
    sparse: bool,
    gaps: RefCell<BTreeSet<String>>,
}

#[derive(Clone)]
struct Inode {
    number: u32,
    mode: u16,
    size: u64,
    flags: u32,
    blocks: Vec<u8>,
}

impl<'a> Ext<'a> {
    /// Opens it; `None` if it is none, or if its superblock makes no sense.
    pub(crate) fn open(window: &'a Window<'a>) -> Option<Self> {
        let superblock = window
            .bytes(1024, 1024)
            .filter(|bytes| le16(bytes, 0x38) == 0xef53)?;
        let word = |at| le32(&superblock, at);
        let modern = word(0x4c) > 0;
        let incompatible = if modern { word(0x60) } else { 0 };
        let block = 1024_u64 << Some(word(0x18)).filter(|&shift| shift <= 6)?;
        let inode_size = if modern {
            u64::from(le16(&superblock, 0x58))
        } else {
            128
        };
        let wide = incompatible & 0x80 != 0;
        let descriptor = if wide {
            u64::from(le16(&superblock, 0xfe))
        } else {
            32
        };
        let possible = (128..=block).contains(&inode_size) && (32..=block).contains(&descriptor);
        // A journal on a device of its own has no files.
        if !possible || word(0x28) == 0 || word(0x20) == 0 || incompatible & 0x8 != 0 {
            return None;
        }
        let mut gaps = BTreeSet::new();
        if incompatible & 0x4 != 0 {
            gaps.insert("its journal was not played back".to_owned());
        }
        Some(Ext {
            window,
            block,
            first_block: u64::from(word(0x14)),
            blocks_per_group: u64::from(word(0x20)),
            inodes: word(0),
            inodes_per_group: word(0x28),
            inode_size,
            descriptor,
            first_meta: if incompatible & 0x10 == 0 {
                u64::MAX
            } else {
                u64::from(word(0x104))
            },
            sparse: word(0x64) & 1 != 0,
            gaps: RefCell::new(gaps),
        })
    }

    fn lacks(&self, what: impl Into<String>) {
        let mut gaps = self.gaps.borrow_mut();
        if gaps.len() < 8 {
            gaps.insert(what.into());
        }
    }

    /// Whole blocks, or a part of one.
    fn bytes(&self, block: u64, from: u64, length: usize) -> Option<Vec<u8>> {
        let bytes = block
            .checked_mul(self.block)
            .and_then(|at| self.window.bytes(at.checked_add(from)?, length));
        if bytes.is_none() {
            let why = if self.window.is_exhausted() {
                "it leads in circles"
            } else {
                "a block cannot be read"
            };
            self.lacks(why);
        }
        bytes
    }

    fn inode(&self, number: u32) -> Option<Inode> {
        let index = Some(number)
            .filter(|&number| number <= self.inodes)?
            .checked_sub(1)?;
        let group = u64::from(index / self.inodes_per_group);
        let (block, at) = self.descriptor_place(group);
        let descriptor = self.bytes(block, at, self.descriptor as usize)?;
        let high = if self.descriptor >= 64 {
            le32(&descriptor, 0x28)
        } else {
            0
        };
        let table = u64::from(high) << 32 | u64::from(le32(&descriptor, 8));
        let at = u64::from(index % self.inodes_per_group) * self.inode_size;
        let bytes = self.bytes(table.checked_add(at / self.block)?, at % self.block, 128)?;
        Some(Inode {
            number,
            mode: le16(&bytes, 0),
            size: u64::from(le32(&bytes, 0x6c)) << 32 | u64::from(le32(&bytes, 4)),
            flags: le32(&bytes, 0x20),
            blocks: bytes[0x28..0x28 + 60].to_vec(),
        })
    }

    /// Block and offset of a group's descriptor.
    fn descriptor_place(&self, group: u64) -> (u64, u64) {
        let per_block = (self.block / self.descriptor).max(1);
        let (meta, at) = (group / per_block, group % per_block * self.descriptor);
        // Behind the superblock's block, which is not the first one if blocks of 1 KiB are counted from 0 (bigalloc).
        let superblock = 1024 / self.block;
        if meta < self.first_meta {
            return (superblock + 1 + meta, at);
        }
        // The first group of those that a block describes has it, behind a superblock if there is one.
        let first = meta * per_block;
        let behind = u64::from(!self.sparse || has_superblock(first));
        let start = self
            .first_block
            .saturating_add(first.saturating_mul(self.blocks_per_group));
        (start.max(superblock).saturating_add(behind), at)
    }

    /// The disk's block for a file's; `None` for a hole and for what makes no sense.
    fn block_of(&self, inode: &Inode, index: u64) -> Option<u64> {
        if inode.flags & EXTENTS == 0 {
            return self.mapped(inode, index);
        }
        let mut node = inode.blocks.clone();
        for _ in 0..6 {
            if le16(&node, 0) != 0xf30a {
                self.lacks("an extent tree is damaged");
                return None;
            }
            let count = usize::from(le16(&node, 2)).min(node.len().saturating_sub(12) / 12);
            let at = (1..=count)
                .map(|n| 12 * n)
                .rfind(|&at| u64::from(le32(&node, at)) <= index)?;
            if le16(&node, 6) == 0 {
                let (first, length) = (u64::from(le32(&node, at)), u64::from(le16(&node, at + 4)));
                let start = u64::from(le16(&node, at + 6)) << 32 | u64::from(le32(&node, at + 8));
                // Above 32768 they are reserved, and read as zeroes.
                return (length <= 32768 && index - first < length)
                    .then(|| start + (index - first));
            }
            let next = u64::from(le16(&node, at + 8)) << 32 | u64::from(le32(&node, at + 4));
            node = self.bytes(next, 0, self.block as usize)?;
        }
        None
    }

    /// Twelve blocks, then three trees of pointers of growing depth.
    fn mapped(&self, inode: &Inode, index: u64) -> Option<u64> {
        let present = |block: u32| Some(u64::from(block)).filter(|&block| block > 0);
        if index < 12 {
            return present(le32(&inode.blocks, 4 * index as usize));
        }
        let (mut index, per_block) = (index - 12, self.block / 4);
        for depth in 1..=3 {
            let span = per_block.pow(depth);
            if index >= span {
                index -= span;
                continue;
            }
            let mut block = present(le32(&inode.blocks, 4 * (11 + depth as usize)))?;
            for level in (0..depth).rev() {
                let pointer = index / per_block.pow(level) % per_block;
                block = present(le32(&self.bytes(block, pointer * 4, 4)?, 0))?;
            }
            return Some(block);
        }
        None
    }

    /// A file's first bytes.
    fn contents(&self, inode: &Inode) -> Vec<u8> {
        let size = inode.size.min(LARGEST_FILE as u64) as usize;
        if inode.flags & INLINE != 0 {
            if inode.size > 60 {
                self.lacks("a file inside its inode was not read to its end");
            }
            return inode.blocks[..size.min(60)].to_vec();
        }
        let mut bytes = Vec::new();
        for index in 0..(size as u64).div_ceil(self.block) {
            let block = self.block_of(inode, index);
            let found = block.and_then(|block| self.bytes(block, 0, self.block as usize));
            bytes.extend(found.unwrap_or_else(|| vec![0; self.block as usize]));
        }
        bytes.truncate(size);
        bytes
    }

    /// Calls `each` with number and name of a directory's entries until it returns false. Indexed directories are
    /// read like others: to a reader that knows no index its blocks are empty ones.
    fn entries(&self, inode: &Inode, mut each: impl FnMut(u32, &[u8]) -> bool) {
        if inode.flags & ENCRYPTED != 0 {
            return self.lacks("a directory is encrypted");
        }
        if inode.flags & INLINE != 0 {
            // The number of the directory above, then entries; what does not fit is in an attribute.
            if inode.size > 60 {
                self.lacks("a directory inside its inode was not read to its end");
            }
            if let Block::Damaged = block_entries(&inode.blocks[4..], &mut each) {
                self.lacks("a directory is damaged");
            }
            return;
        }
        if inode.size > LARGEST_DIRECTORY {
            self.lacks("a directory is larger than 4 MiB");
        }
        for index in 0..inode.size.min(LARGEST_DIRECTORY).div_ceil(self.block) {
            let Some(block) = self.block_of(inode, index) else {
                self.lacks("a directory has a hole");
                continue;
            };
            let Some(bytes) = self.bytes(block, 0, self.block as usize) else {
                return;
            };
            match block_entries(&bytes, &mut each) {
                Block::Whole => (),
                Block::Damaged => self.lacks("a directory is damaged"),
                Block::Enough => return,
            }
        }
    }

    /// What is in a directory, by the number of its inode. What cannot be read of it is among the gaps.
    pub(crate) fn children(&self, directory: u32) -> Vec<Child> {
        let mut found = Vec::new();
        let Some(inode) = self.inode(directory) else {
            self.lacks("a directory's inode cannot be read");
            return Vec::new();
        };
        // One inside its inode has no entry for itself.
        let mut is_itself = inode.flags & (INLINE | ENCRYPTED) != 0;
        if inode.is_directory() {
            self.entries(&inode, |number, name| {
                match name {
                    b"." => is_itself |= number == directory,
                    b".." => (),
                    name => found.push((number, name.to_vec())),
                }
                found.len() < MOST_ENTRIES
            });
        }
        if !inode.is_directory() || !is_itself {
            self.lacks("a directory is damaged");
        }
        if found.len() >= MOST_ENTRIES {
            self.lacks("a directory has too many entries");
        }
        // The inode decides what it is, as for the kernel; the entry's word on it may be wrong.
        let child = |(number, name)| {
            let kind = match self.inode(number).map(|inode| inode.mode & 0xf000) {
                Some(0x4000) => Kind::Directory,
                Some(0xa000) => Kind::Link,
                Some(0x1000 | 0x2000 | 0x6000 | 0xc000) => Kind::Special,
                Some(_) => Kind::File,
                None => {
                    self.lacks("an inode cannot be read");
                    Kind::File
                }
            };
            Child { name, number, kind }
        };
        found.into_iter().map(child).collect()
    }

    /// Whether there is nothing in a directory but further directories, as far as a few steps tell.
    pub(crate) fn is_hollow(&self, path: &str) -> bool {
        let mut todo = Vec::from_iter(self.find(path).map(|inode| inode.number));
        for _ in 0..MOST_HOLLOW {
            let Some(directory) = todo.pop() else {
                return true;
            };
            for child in self.children(directory) {
                match child.kind {
                    Kind::Directory => todo.push(child.number),
                    Kind::File | Kind::Link => return false,
                    Kind::Special => (),
                }
            }
        }
        false
    }

    fn child(&self, directory: &Inode, name: &str) -> Option<Inode> {
        let mut found = None;
        self.entries(directory, |number, entry| {
            if entry == name.as_bytes() {
                found = Some(number);
            }
            found.is_none()
        });
        self.inode(found?)
    }

    /// Follows a path and the links on it.
    fn find(&self, path: &str) -> Option<Inode> {
        let split =
            |path: &str| -> Vec<String> { path.split('/').rev().map(str::to_owned).collect() };
        let mut todo = split(path);
        let mut above = vec![self.inode(ROOT)?];
        let (mut links, mut steps) = (0, 0);
        while let Some(name) = todo.pop() {
            steps += 1;
            match name.as_str() {
                _ if steps > MOST_COMPONENTS => return None,
                "" | "." => continue,
                ".." if above.len() > 1 => drop(above.pop()),
                ".." => (),
                name => {
                    let directory = above.last().filter(|inode| inode.is_directory())?;
                    let inode = self.child(directory, name)?;
                    if inode.mode & 0xf000 != 0xa000 {
                        above.push(inode);
                        continue;
                    }
                    links += 1;
                    let target = self.target(&inode).filter(|_| links <= MOST_LINKS)?;
                    if target.starts_with('/') {
                        above.truncate(1);
                    }
                    todo.extend(split(&target));
                }
            }
        }
        above.pop()
    }

    /// Where a symbolic link leads.
    fn target(&self, inode: &Inode) -> Option<String> {
        let bytes = match inode.size {
            0..60 => inode.blocks[..inode.size as usize].to_vec(),
            60..4096 => self.contents(inode),
            _ => return None,
        };
        String::from_utf8(bytes).ok()
    }
}

impl Files for Ext<'_> {
    fn list(&self, path: &str) -> Option<Vec<Entry>> {
        let directory = self.find(path).filter(Inode::is_directory)?;
        let mut found = Vec::new();
        self.entries(&directory, |number, name| {
            if name != b"." && name != b".." {
                found.push((number, String::from_utf8_lossy(name).into_owned()));
            }
            found.len() < MOST_ENTRIES
        });
        // Whether it is a directory is asked of the inode: not every file system keeps it in the entry.
        let entries = found
            .into_iter()
            .enumerate()
            .map(|(index, (number, name))| Entry {
                name,
                directory: index < 1024
                    && self.inode(number).is_some_and(|inode| inode.is_directory()),
            });
        Some(entries.collect())
    }

    fn read(&self, path: &str) -> Option<Vec<u8>> {
        let file = self
            .find(path)
            .filter(|inode| inode.mode & 0xf000 == 0x8000)?;
        Some(self.contents(&file))
    }

    fn gaps(&self) -> Vec<String> {
        self.gaps.borrow().iter().cloned().collect()
    }
}

impl Inode {
    fn is_directory(&self) -> bool {
        self.mode & 0xf000 == 0x4000
    }
}

/// How the entries of a block were read.
enum Block {
    /// To its end.
    Whole,
    /// Until there were enough.
    Enough,
    /// As far as they make sense.
    Damaged,
}

/// Entries of one block: inode (4 bytes), length of the record (2), of the name (1), type (1), name.
fn block_entries(bytes: &[u8], each: &mut impl FnMut(u32, &[u8]) -> bool) -> Block {
    let (mut rest, mut whole) = (bytes, true);
    while rest.len() >= 8 {
        let length = match le16(rest, 4) {
            0 | u16::MAX if bytes.len() == 64 << 10 => rest.len(),
            length => usize::from(length),
        };
        let (inode, name) = (le32(rest, 0), rest.get(8..8 + usize::from(rest[6])));
        match name {
            Some(name) if inode != 0 && !each(inode, name) => return Block::Enough,
            None if inode != 0 => whole = false,
            _ => (),
        }
        match rest.get(length..).filter(|_| length >= 8) {
            Some(next) => rest = next,
            None => return Block::Damaged,
        }
    }
    match whole && rest.is_empty() {
        true => Block::Whole,
        false => Block::Damaged,
    }
}

/// Groups 0 and 1 and the powers of 3, 5 and 7 have a copy of the superblock (`sparse_super`).
fn has_superblock(group: u64) -> bool {
    let power = |base: u64| {
        std::iter::successors(Some(base), move |n| n.checked_mul(base))
            .take_while(move |&n| n <= group)
    };
    group < 2
        || [3, 5, 7]
            .into_iter()
            .any(|base| power(base).any(|n| n == group))
}
