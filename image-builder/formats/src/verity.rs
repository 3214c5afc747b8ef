//! dm-verity hash devices, as `veritysetup format` lays them out: a superblock, then the levels of the hash tree,
//! the top one first (kernel `Documentation/admin-guide/device-mapper/verity.rst`; cryptsetup `lib/verity/`).
//!
//! One parameter set: hash type 1, SHA-256, 4096-byte blocks, hashes on a device of their own.

use sha2::{Digest, Sha256};

use uuid::Uuid;

/// Bytes of a data block and of a hash block.
pub const BLOCK: usize = 4096;
/// Hashes in a hash block.
const PER_BLOCK: u64 = (BLOCK / 32) as u64;
/// The superblock has a block to itself; the tree starts in the next one.
const TREE_START: u64 = 1;
/// Where the top of the tree is in the hash device, in bytes.
pub const TOP: u64 = TREE_START * BLOCK as u64;
const SUPERBLOCK_SIZE: usize = 512;
const LARGEST_SALT: usize = 256;
/// Data blocks a superblock may claim: 16 TiB of data. Keeps all later arithmetic far from overflow.
const MOST_BLOCKS: u64 = 1 << 32;

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// A hash device made for some data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verity {
    /// What the command line's `roothash=` vouches for.
    pub root_hash: Hash,
    /// The hash device's content, [`hash_size`] bytes.
    pub bytes: Vec<u8>,
}

/// What the superblock of a hash device says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Name of the hash device.
    pub uuid: Uuid,
    /// Number of 4096-byte data blocks.
    pub data_blocks: u64,
    /// Hashed before every block; at most 256 bytes.
    pub salt: Vec<u8>,
}

/// A hash device whose every hash has been checked up to the root hash.
#[derive(Clone, Debug)]
pub struct Tree {
    superblock: Superblock,
    root_hash: Hash,
    /// The lowest level, one hash for each data block; empty if there is only one block.
    leaves: Vec<u8>,
}

/// A hash device that cannot be used, or data that does not match it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No `verity` at the start.
    #[error("no verity superblock")]
    NoSuperblock,
    /// A superblock this crate does not handle.
    #[error("verity superblock with an unsupported {0}")]
    Unsupported(&'static str),
    /// A superblock that cannot be right.
    #[error("verity superblock with an impossible {0}")]
    Impossible(&'static str),
    /// The hash device is shorter than its tree.
    #[error("verity hash device has {actual} of {needed} bytes")]
    Short {
        /// Bytes there.
        actual: u64,
        /// Bytes the tree takes.
        needed: u64,
    },
    /// A hash block does not match the level above it (or the top one the root hash).
    #[error("verity hash block {0} does not match the hash above it")]
    Tree(u64),
    /// A data block does not match its hash, or there is no such block.
    #[error("data block {0} does not match its hash")]
    Data(u64),
}

/// The hash of one data block.
pub fn leaf(salt: &[u8], block: &[u8; BLOCK]) -> Hash {
    hash(salt, block)
}

/// The hash of a block of zeroes: worth computing once, most of an image is holes.
pub fn zero_leaf(salt: &[u8]) -> Hash {
    hash(salt, &[0; BLOCK])
}

/// Bytes of the hash device for `data_size` bytes of data (rounded up to whole blocks), superblock included.
pub fn hash_size(data_size: u64) -> u64 {
    (TREE_START + levels(data_size.div_ceil(BLOCK as u64)).iter().sum::<u64>()) * BLOCK as u64
}

impl Verity {
    /// Builds the tree over the hashes of all data blocks in order.
    ///
    /// # Panics
    /// If there are none: a device of no blocks cannot be mapped.
    pub fn from_leaves(leaves: Vec<Hash>, salt: &[u8; 32], uuid: Uuid) -> Self {
        assert!(!leaves.is_empty(), "verity over no data");
        let superblock = Superblock {
            uuid,
            data_blocks: leaves.len() as u64,
            salt: salt.to_vec(),
        };
        let mut levels = Vec::new();
        let mut hashes = leaves;
        while hashes.len() > 1 {
            let mut level = hashes.concat();
            level.resize(level.len().next_multiple_of(BLOCK), 0);
            hashes = level
                .chunks_exact(BLOCK)
                .map(|block| hash(salt, block))
                .collect();
            levels.push(level);
        }
        let mut bytes = superblock.encode();
        bytes.resize(BLOCK, 0);
        for level in levels.iter().rev() {
            bytes.extend_from_slice(level);
        }
        Verity {
            root_hash: hashes[0],
            bytes,
        }
    }
}

impl Superblock {
    /// Reads the first 512 bytes of a hash device.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let bytes = bytes.get(..SUPERBLOCK_SIZE).ok_or(Error::NoSuperblock)?;
        if &bytes[..8] != b"verity\0\0" {
            return Err(Error::NoSuperblock);
        }
        let word =
            |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        if word(8) != 1 {
            return Err(Error::Unsupported("version"));
        }
        if word(12) != 1 {
            return Err(Error::Unsupported("hash type"));
        }
        if bytes[32..64].split(|&b| b == 0).next() != Some(b"sha256") {
            return Err(Error::Unsupported("hash algorithm"));
        }
        if word(64) != BLOCK as u32 || word(68) != BLOCK as u32 {
            return Err(Error::Unsupported("block size"));
        }
        let data_blocks = u64::from_le_bytes(bytes[72..80].try_into().expect("eight bytes"));
        if !(1..=MOST_BLOCKS).contains(&data_blocks) {
            return Err(Error::Impossible("number of data blocks"));
        }
        let salt_size = usize::from(u16::from_le_bytes([bytes[80], bytes[81]]));
        if salt_size > LARGEST_SALT {
            return Err(Error::Impossible("salt size"));
        }
        let uuid = Uuid::from_bytes(bytes[16..32].try_into().expect("sixteen bytes"));
        Ok(Superblock {
            uuid,
            data_blocks,
            salt: bytes[88..88 + salt_size].to_vec(),
        })
    }

    /// `struct verity_sb` of cryptsetup's `lib/verity/verity.c`: 512 bytes.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BLOCK);
        bytes.extend(b"verity\0\0");
        bytes.extend(1u32.to_le_bytes()); // version
        bytes.extend(1u32.to_le_bytes()); // hash type: salt first, hashes padded to a power of two
        bytes.extend(self.uuid.as_bytes());
        bytes.extend(b"sha256");
        bytes.resize(64, 0);
        bytes.extend((BLOCK as u32).to_le_bytes());
        bytes.extend((BLOCK as u32).to_le_bytes());
        bytes.extend(self.data_blocks.to_le_bytes());
        bytes.extend((self.salt.len() as u16).to_le_bytes());
        bytes.resize(88, 0);
        bytes.extend(&self.salt);
        bytes.resize(SUPERBLOCK_SIZE, 0);
        bytes
    }

    /// Length of the mapped device in 512-byte sectors, as a device-mapper table wants it.
    pub fn sectors(&self) -> u64 {
        self.data_blocks * (BLOCK as u64 / 512)
    }

    /// Whether a hash device with this superblock and this block at [`TOP`] is one of the tree with this root hash: as
    /// much as can be said without reading the tree.
    pub fn has_root(&self, top: &[u8; BLOCK], root_hash: &Hash) -> bool {
        // The hash of a single block of data has no tree.
        self.data_blocks > 1 && hash(&self.salt, top) == *root_hash
    }

    /// Bytes of the hash device, superblock included.
    pub fn hash_size(&self) -> u64 {
        hash_size(self.data_blocks * BLOCK as u64)
    }

    /// The parameters of a device-mapper `verity` target over `data_device` and `hash_device` (paths or
    /// `major:minor`, without white space): `1 DATA HASH 4096 4096 BLOCKS 1 sha256 ROOT SALT`.
    pub fn target(&self, data_device: &str, hash_device: &str, root_hash: &Hash) -> String {
        let salt = if self.salt.is_empty() {
            "-".to_owned()
        } else {
            hex(&self.salt)
        };
        let (blocks, root) = (self.data_blocks, hex(root_hash));
        format!(
            "1 {data_device} {hash_device} {BLOCK} {BLOCK} {blocks} {TREE_START} sha256 {root} {salt}"
        )
    }
}

impl Tree {
    /// Checks every hash block of a hash device (its first [`Superblock::hash_size`] bytes; more may follow) against
    /// the root hash.
    pub fn open(bytes: &[u8], root_hash: &Hash) -> Result<Self, Error> {
        let superblock = Superblock::parse(bytes)?;
        let (needed, actual) = (superblock.hash_size(), bytes.len() as u64);
        if actual < needed {
            return Err(Error::Short { actual, needed });
        }
        let mut above = root_hash.to_vec();
        let mut start = TREE_START;
        for &blocks in levels(superblock.data_blocks).iter().rev() {
            let level = &bytes[start as usize * BLOCK..(start + blocks) as usize * BLOCK];
            for ((block, expected), index) in level
                .chunks_exact(BLOCK)
                .zip(above.chunks_exact(32))
                .zip(start..)
            {
                if hash(&superblock.salt, block) != expected {
                    return Err(Error::Tree(index));
                }
            }
            above = level.to_vec();
            start += blocks;
        }
        let leaves = if superblock.data_blocks == 1 {
            Vec::new()
        } else {
            above
        };
        Ok(Tree {
            superblock,
            root_hash: *root_hash,
            leaves,
        })
    }

    /// What the superblock says.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Checks one data block.
    pub fn check_block(&self, index: u64, block: &[u8; BLOCK]) -> Result<(), Error> {
        let expected = self.expected(index).ok_or(Error::Data(index))?;
        if leaf(&self.superblock.salt, block) == expected {
            Ok(())
        } else {
            Err(Error::Data(index))
        }
    }

    fn expected(&self, index: u64) -> Option<&[u8]> {
        if index >= self.superblock.data_blocks {
            return None;
        }
        if self.leaves.is_empty() {
            return Some(&self.root_hash);
        }
        self.leaves.chunks_exact(32).nth(index as usize)
    }
}

/// Hash blocks of every level, the lowest first. A single data block has no tree: its hash is the root hash.
fn levels(data_blocks: u64) -> Vec<u64> {
    let mut levels = Vec::new();
    let mut blocks = data_blocks;
    while blocks > 1 {
        blocks = blocks.div_ceil(PER_BLOCK);
        levels.push(blocks);
    }
    levels
}

fn hash(salt: &[u8], block: &[u8]) -> Hash {
    Sha256::new()
        .chain_update(salt)
        .chain_update(block)
        .finalize()
        .into()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: [u8; 32] = [0x5a; 32];

    fn data(blocks: usize) -> Vec<[u8; BLOCK]> {
        (0..blocks).map(|index| [index as u8; BLOCK]).collect()
    }

    fn verity(data: &[[u8; BLOCK]]) -> Verity {
        Verity::from_leaves(
            data.iter().map(|block| leaf(&SALT, block)).collect(),
            &SALT,
            Uuid::from_bytes([3; 16]),
        )
    }

    #[test]
    fn checks_data_and_tree() {
        for blocks in [1, 2, 128, 129, 300] {
            let data = data(blocks);
            let Verity {
                root_hash,
                mut bytes,
            } = verity(&data);
            assert_eq!(bytes.len() as u64, hash_size((blocks * BLOCK) as u64));
            bytes.extend([7; 100]); // the partition is larger
            let tree = Tree::open(&bytes, &root_hash).unwrap();
            for (block, index) in data.iter().zip(0..) {
                tree.check_block(index, block).unwrap();
            }
            let mut wrong = data[blocks - 1];
            wrong[4095] ^= 1;
            let last = blocks as u64 - 1;
            assert_eq!(tree.check_block(last, &wrong), Err(Error::Data(last)));
            assert_eq!(
                tree.check_block(last + 1, &wrong),
                Err(Error::Data(last + 1))
            );
            let tree_end = bytes.len() - 100;
            let needed = tree_end as u64;
            assert_eq!(
                Tree::open(&bytes[..tree_end - 1], &root_hash).unwrap_err(),
                Error::Short {
                    actual: needed - 1,
                    needed
                }
            );
            if blocks > 1 {
                bytes[tree_end - 1] ^= 1;
                assert_eq!(
                    Tree::open(&bytes, &root_hash).unwrap_err(),
                    Error::Tree(needed / BLOCK as u64 - 1)
                );
            }
        }
    }

    #[test]
    fn superblock_is_bounded() {
        let good = verity(&data(2)).bytes;
        let superblock = Superblock::parse(&good).unwrap();
        assert_eq!(
            superblock,
            Superblock {
                uuid: Uuid::from_bytes([3; 16]),
                data_blocks: 2,
                salt: SALT.to_vec()
            }
        );
        let parse = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            Superblock::parse(&bytes)
        };
        assert_eq!(parse(0, b'x'), Err(Error::NoSuperblock));
        assert_eq!(Superblock::parse(&good[..511]), Err(Error::NoSuperblock));
        assert_eq!(parse(8, 2), Err(Error::Unsupported("version")));
        assert_eq!(parse(12, 0), Err(Error::Unsupported("hash type")));
        assert_eq!(parse(37, b'7'), Err(Error::Unsupported("hash algorithm")));
        assert_eq!(parse(65, 8), Err(Error::Unsupported("block size")));
        assert_eq!(
            parse(79, 0xff),
            Err(Error::Impossible("number of data blocks"))
        );
        assert_eq!(
            parse(72, 0),
            Err(Error::Impossible("number of data blocks"))
        );
        assert_eq!(parse(81, 2), Err(Error::Impossible("salt size")));
        // The largest size it may claim needs a device of that size before anything is allocated.
        assert!(matches!(
            parse(75, 0xff).unwrap().hash_size(),
            100_000_000_000..
        ));
    }

    #[test]
    fn target_line() {
        let superblock = Superblock {
            uuid: Uuid::nil(),
            data_blocks: 10,
            salt: vec![0xab, 0x01],
        };
        assert_eq!(superblock.sectors(), 80);
        let root = "11".repeat(32);
        assert_eq!(
            superblock.target("8:2", "8:3", &[0x11; 32]),
            format!("1 8:2 8:3 4096 4096 10 1 sha256 {root} ab01")
        );
        let unsalted = Superblock {
            salt: vec![],
            ..superblock
        };
        assert!(unsalted.target("a", "b", &[0; 32]).ends_with(" -"));
    }

    #[test]
    fn zero_leaf_is_the_leaf_of_zeroes() {
        assert_eq!(zero_leaf(&SALT), leaf(&SALT, &[0; BLOCK]));
    }
}
