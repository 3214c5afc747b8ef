//! The blocks of a directory: one block of names, or leaves below an index of hashes.
//!
//! The kernel splits a leaf at the middle of its names; here the *range of hashes* is halved until the names fit. So
//! where a leaf begins does not depend on the order of insertion nor on other names, and a name that comes or goes
//! changes one leaf. (kernel `fs/ext4/namei.c`, `fs/ext4/ext4.h`: `struct dx_root`, `struct dx_node`)

use super::checksum::Checksum;
use super::hash::half_md4;
use super::raw::{BLOCK, put16, put32};

/// Bytes for names in a block: the last 12 look like an unused entry and hold the checksum.
const ROOM: usize = BLOCK - 12;
/// Entries of the index's first block, and of the blocks of a second level; the last 8 bytes hold the checksum.
const ROOT_LIMIT: usize = (BLOCK - 32 - 8) / 8;
const NODE_LIMIT: usize = (BLOCK - 8 - 8) / 8;
/// Half MD4; the superblock's flags say that bytes are signed.
pub(super) const HASH_VERSION: u8 = 1;

/// A name, the inode it stands for, and that inode's kind as directories store it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name<'a> {
    pub(super) name: &'a [u8],
    pub(super) inode: u32,
    pub(super) kind: u8,
}

/// A directory's content.
#[derive(Clone, Debug)]
pub(super) struct Blocks {
    pub(super) bytes: Vec<u8>,
    /// Whether there is an index.
    pub(super) indexed: bool,
}

/// What the blocks of a directory need to know of the rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) own: u32,
    pub(super) parent: u32,
    pub(super) hash_seed: &'a [u32; 4],
    /// The file system's checksum seed.
    pub(super) checksum: Checksum,
}

/// Number of blocks that directories of these many bytes of names take, for estimates.
pub(super) fn estimate(bytes: u64) -> u64 {
    let blocks = bytes.div_ceil(ROOM as u64);
    // Halving leaves leaves filled by ln 2 on average.
    if blocks <= 1 {
        1
    } else {
        1 + blocks * 3 / 2 + blocks / 256
    }
}

/// Bytes of an entry with a name this long.
pub(super) fn entry_length(name: usize) -> usize {
    (8 + name).next_multiple_of(4)
}

/// Lays a directory out.
pub(super) fn blocks(names: &[Name<'_>], place: Place<'_>) -> Blocks {
    let dot = Name {
        name: b".",
        inode: place.own,
        kind: 2,
    };
    let dot_dot = Name {
        name: b"..",
        inode: place.parent,
        kind: 2,
    };
    let all = || [dot, dot_dot].into_iter().chain(names.iter().copied());
    let mut writer = Writer {
        bytes: Vec::new(),
        checksum: place.checksum.of_inode(place.own),
    };
    if all()
        .map(|name| entry_length(name.name.len()))
        .sum::<usize>()
        <= ROOM
    {
        writer.names(all());
        return Blocks {
            bytes: writer.bytes,
            indexed: false,
        };
    }
    let mut hashed: Vec<(u32, Name<'_>)> = names
        .iter()
        .map(|name| (half_md4(name.name, place.hash_seed), *name))
        .collect();
    hashed.sort_by_key(|(hash, name)| (*hash, name.name));
    let mut leaves = Vec::new();
    if split(&hashed, 0, 1 << 32, &mut leaves) && leaves.len() <= ROOT_LIMIT * NODE_LIMIT {
        writer.tree(dot, dot_dot, &leaves);
        return Blocks {
            bytes: writer.bytes,
            indexed: true,
        };
    }
    // Slow to search but correct: names with equal hashes fill more than a block, or an index of two levels is full.
    writer.rows(all().collect());
    Blocks {
        bytes: writer.bytes,
        indexed: false,
    }
}

/// Names of one block and the least hash that belongs there.
struct Leaf<'a> {
    from: u32,
    names: &'a [(u32, Name<'a>)],
}

/// Halves `from..to` until the names of each part fit a block; false if one hash has too many.
fn split<'a>(names: &'a [(u32, Name<'a>)], from: u64, to: u64, leaves: &mut Vec<Leaf<'a>>) -> bool {
    if names.is_empty() {
        return true;
    }
    if names
        .iter()
        .map(|(_, name)| entry_length(name.name.len()))
        .sum::<usize>()
        <= ROOM
    {
        leaves.push(Leaf {
            from: from as u32,
            names,
        });
        return true;
    }
    if to - from <= 2 {
        return false;
    }
    let middle = from + (to - from) / 2;
    let (low, high) = names.split_at(names.partition_point(|(hash, _)| u64::from(*hash) < middle));
    split(low, from, middle, leaves) && split(high, middle, to, leaves)
}

struct Writer {
    bytes: Vec<u8>,
    checksum: Checksum,
}

impl Writer {
    /// A block of names, the last entry reaching to the checksum.
    fn names<'a>(&mut self, names: impl Iterator<Item = Name<'a>>) {
        let mut block = [0; BLOCK];
        let (mut at, mut last) = (0, 0);
        for name in names {
            let length = entry_length(name.name.len());
            entry(&mut block[at..], name, length);
            (last, at) = (at, at + length);
        }
        put16(&mut block, last + 4, (ROOM - last) as u16);
        put16(&mut block, ROOM + 4, 12);
        block[ROOM + 7] = 0xde;
        let checksum = self.checksum.then(&block[..ROOM]).value();
        put32(&mut block, ROOM + 8, checksum);
        self.bytes.extend_from_slice(&block);
    }

    /// As many blocks of names as it takes.
    fn rows(&mut self, mut rest: Vec<Name<'_>>) {
        while !rest.is_empty() {
            let mut used = 0;
            let fits = |name: &&Name<'_>| {
                used += entry_length(name.name.len());
                used <= ROOM
            };
            let count = rest.iter().take_while(fits).count();
            self.names(rest.drain(..count));
        }
    }

    /// The index, of one or two levels, then the leaves.
    fn tree(&mut self, dot: Name<'_>, dot_dot: Name<'_>, leaves: &[Leaf<'_>]) {
        let nodes: Vec<&[Leaf<'_>]> = if leaves.len() > ROOT_LIMIT {
            leaves.chunks(NODE_LIMIT).collect()
        } else {
            Vec::new()
        };
        let first = 1 + nodes.len();
        let mut root = [0; BLOCK];
        entry(&mut root, dot, 12);
        entry(&mut root[12..], dot_dot, BLOCK - 12);
        root[28] = HASH_VERSION;
        root[29] = 8;
        root[30] = u8::from(!nodes.is_empty());
        if nodes.is_empty() {
            let entries = leaves
                .iter()
                .enumerate()
                .map(|(at, leaf)| (leaf.from, first + at));
            self.index(root, 32, ROOT_LIMIT, entries);
        } else {
            let entries = nodes
                .iter()
                .enumerate()
                .map(|(at, node)| (node[0].from, 1 + at));
            self.index(root, 32, ROOT_LIMIT, entries);
        }
        for (at, node) in nodes.iter().enumerate() {
            let mut block = [0; BLOCK];
            put16(&mut block, 4, BLOCK as u16);
            let entries = node
                .iter()
                .enumerate()
                .map(|(leaf, leaves)| (leaves.from, first + at * NODE_LIMIT + leaf));
            self.index(block, 8, NODE_LIMIT, entries);
        }
        for leaf in leaves {
            self.names(leaf.names.iter().map(|(_, name)| *name));
        }
    }

    /// A block of index entries from `start` on; the first entry's hash gives way to limit and count.
    fn index(
        &mut self,
        mut block: [u8; BLOCK],
        start: usize,
        limit: usize,
        entries: impl Iterator<Item = (u32, usize)>,
    ) {
        let mut count = 0;
        for (hash, target) in entries {
            put32(&mut block, start + 8 * count, hash);
            put32(&mut block, start + 8 * count + 4, target as u32);
            count += 1;
        }
        put16(&mut block, start, limit as u16);
        put16(&mut block, start + 2, count as u16);
        // The reserved word before the checksum and the checksum itself count as zero.
        let checksum = self
            .checksum
            .then(&block[..start + 8 * count])
            .then(&[0; 8])
            .value();
        put32(&mut block, start + 8 * limit + 4, checksum);
        self.bytes.extend_from_slice(&block);
    }
}

/// One entry (`struct ext4_dir_entry_2`).
fn entry(at: &mut [u8], name: Name<'_>, length: usize) {
    put32(at, 0, name.inode);
    put16(at, 4, length as u16);
    at[6] = name.name.len() as u8;
    at[7] = name.kind;
    at[8..8 + name.name.len()].copy_from_slice(name.name);
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: Name<'_> = Name {
        name: &[b'n'; 255],
        inode: 12,
        kind: 1,
    };

    #[test]
    fn too_many_equal_hashes_have_no_index() {
        // Fifteen entries of 264 bytes fit a block.
        let of = |count| split(&vec![(6, NAME); count], 0, 1 << 32, &mut Vec::new());
        assert!(of(15) && !of(16));
    }

    #[test]
    fn leaves_begin_where_halving_says() {
        let names: Vec<_> = (0..40).map(|at| (at * 0x0600_0000, NAME)).collect();
        let mut leaves = Vec::new();
        assert!(split(&names, 0, 1 << 32, &mut leaves));
        let shape: Vec<_> = leaves
            .iter()
            .map(|leaf| (leaf.from, leaf.names.len()))
            .collect();
        assert_eq!(
            shape,
            [
                (0, 11),
                (0x4000_0000, 11),
                (0x8000_0000, 10),
                (0xc000_0000, 8)
            ]
        );
    }

    #[test]
    fn rows_hold_every_name() {
        let mut writer = Writer {
            bytes: Vec::new(),
            checksum: Checksum::START,
        };
        writer.rows(vec![NAME; 31]);
        let mut found = 0;
        for block in writer.bytes.as_chunks::<BLOCK>().0 {
            let mut at = 0;
            while at < ROOM {
                assert_eq!((block[at], block[at + 6]), (12, 255));
                at += usize::from(u16::from_le_bytes([block[at + 4], block[at + 5]]));
                found += 1;
            }
            assert_eq!(at, ROOM);
        }
        assert_eq!((found, writer.bytes.len()), (31, 3 * BLOCK));
    }
}
