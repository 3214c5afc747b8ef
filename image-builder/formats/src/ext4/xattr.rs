//! Extended attributes: behind the inode's fields while they fit, the rest in one block of the file's own.
//! (kernel `fs/ext4/xattr.c`, `fs/ext4/acl.c`)

use super::checksum::Checksum;
use super::error::{Error, shown};
use super::node::Node;
use super::raw::{BLOCK, put16, put32};

/// Bytes behind the fields of an inode.
pub(super) const INLINE: usize = 96;
const MAGIC: u32 = 0xea02_0000;
/// Magic in the inode; magic, counts, hash and checksum in the block.
const INLINE_HEADER: usize = 4;
const BLOCK_HEADER: usize = 32;

/// A file's attributes as stored.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes {
    /// What follows the inode's fields.
    pub(super) inline: Option<[u8; INLINE]>,
    /// The block beside it, without the checksum that depends on its place.
    pub(super) block: Option<Vec<u8>>,
}

struct Attribute<'a> {
    space: u8,
    name: &'a [u8],
    value: Vec<u8>,
}

/// Encodes the attributes of a node.
pub(super) fn attributes(node: &Node<'_>) -> Result<Attributes, Error> {
    let mut all = Vec::new();
    for (name, value) in &node.entry.xattrs {
        all.push(Attribute::new(node, name, value)?);
    }
    // The kernel searches a block in this order.
    all.sort_by(|a, b| (a.space, a.name.len(), a.name).cmp(&(b.space, b.name.len(), b.name)));
    let mut left = INLINE - INLINE_HEADER - 4;
    let (inline, block): (Vec<_>, Vec<_>) = all.into_iter().partition(|attribute| {
        let fits = attribute.length() <= left;
        left -= if fits { attribute.length() } else { 0 };
        fits
    });
    let size = block.iter().map(Attribute::length).sum::<usize>();
    if BLOCK_HEADER + size + 4 > BLOCK {
        return Err(Error::XattrSize {
            path: shown(node.path),
            size,
        });
    }
    Ok(Attributes {
        inline: (!inline.is_empty()).then(|| in_inode(&inline)),
        block: (!block.is_empty()).then(|| in_block(&block)),
    })
}

/// Puts the checksum of an attribute block at `number` into it.
pub(super) fn seal(block: &mut [u8], number: u64, checksum: Checksum) {
    let value = checksum.then(&number.to_le_bytes()).then(block).value();
    put32(block, 16, value);
}

impl<'a> Attribute<'a> {
    fn new(node: &Node<'_>, full: &'a [u8], value: &[u8]) -> Result<Self, Error> {
        let acl = || {
            on_disk_acl(value).ok_or_else(|| Error::AccessControlList {
                path: shown(node.path),
                name: shown(full),
            })
        };
        match full {
            b"system.posix_acl_access" => {
                return Ok(Attribute {
                    space: 2,
                    name: b"",
                    value: acl()?,
                });
            }
            b"system.posix_acl_default" => {
                return Ok(Attribute {
                    space: 3,
                    name: b"",
                    value: acl()?,
                });
            }
            _ => {}
        }
        let spaces: [(u8, &[u8]); 3] = [(1, b"user."), (4, b"trusted."), (6, b"security.")];
        spaces
            .into_iter()
            .find_map(|(space, prefix)| Some((space, full.strip_prefix(prefix)?)))
            .filter(|(_, name)| (1..=255).contains(&name.len()) && !name.contains(&0))
            .map(|(space, name)| Attribute {
                space,
                name,
                value: value.to_vec(),
            })
            .ok_or_else(|| Error::XattrName {
                path: shown(node.path),
                name: shown(full),
            })
    }

    /// Bytes of entry and value.
    fn length(&self) -> usize {
        16 + self.name.len().next_multiple_of(4) + self.value.len().next_multiple_of(4)
    }

    /// `ext4_xattr_hash_entry`, bytes of the name unsigned.
    fn hash(&self) -> u32 {
        let name = self
            .name
            .iter()
            .fold(0u32, |hash, &byte| hash.rotate_left(5) ^ u32::from(byte));
        self.value.chunks(4).fold(name, |hash, chunk| {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            hash.rotate_left(16) ^ u32::from_le_bytes(word)
        })
    }
}

fn in_inode(attributes: &[Attribute<'_>]) -> [u8; INLINE] {
    let mut area = [0; INLINE];
    put32(&mut area, 0, MAGIC);
    // Value offsets count from the first entry; hashes stay zero here, as the kernel leaves them.
    entries(&mut area[INLINE_HEADER..], 0, attributes, |_| 0);
    area
}

fn in_block(attributes: &[Attribute<'_>]) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    put32(&mut block, 0, MAGIC);
    put32(&mut block, 4, 1);
    put32(&mut block, 8, 1);
    // `ext4_xattr_rehash`: one entry without a hash makes the whole block's zero.
    let hashes: Vec<u32> = attributes.iter().map(Attribute::hash).collect();
    let whole = hashes
        .iter()
        .fold(0u32, |hash, entry| hash.rotate_left(16) ^ entry);
    put32(&mut block, 12, if hashes.contains(&0) { 0 } else { whole });
    entries(&mut block, BLOCK_HEADER, attributes, |attribute| {
        attribute.hash()
    });
    block
}

/// Entries upwards from `start`, values downwards from the end.
fn entries(
    area: &mut [u8],
    start: usize,
    attributes: &[Attribute<'_>],
    hash: impl Fn(&Attribute<'_>) -> u32,
) {
    let (mut at, mut end) = (start, area.len());
    for attribute in attributes {
        let length = attribute.value.len();
        end -= length.next_multiple_of(4);
        area[at] = attribute.name.len() as u8;
        area[at + 1] = attribute.space;
        put16(area, at + 2, if length == 0 { 0 } else { end as u16 });
        put32(area, at + 8, length as u32);
        put32(area, at + 12, hash(attribute));
        area[at + 16..at + 16 + attribute.name.len()].copy_from_slice(attribute.name);
        area[end..end + length].copy_from_slice(&attribute.value);
        at += 16 + attribute.name.len().next_multiple_of(4);
    }
}

/// An access control list as `getxattr` shows it (version 2, every entry with an id) in ext4's own form (version 1,
/// an id only where it means something).
fn on_disk_acl(value: &[u8]) -> Option<Vec<u8>> {
    const USER: u16 = 2;
    const GROUP: u16 = 8;
    let entries = value.strip_prefix(&2u32.to_le_bytes())?;
    if !entries.len().is_multiple_of(8) {
        return None;
    }
    let mut list = 1u32.to_le_bytes().to_vec();
    for entry in entries.chunks_exact(8) {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        let named = match tag {
            USER | GROUP => true,
            1 | 4 | 0x10 | 0x20 => false,
            _ => return None,
        };
        list.extend_from_slice(&entry[..if named { 8 } else { 4 }]);
    }
    Some(list)
}
