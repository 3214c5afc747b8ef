//! One inode's 256 bytes (kernel `struct ext4_inode`).

use super::checksum::Checksum;
use super::error::{Error, shown};
use super::geometry::INODE;
use super::node::Node;
use super::raw::{put16, put32};
use super::xattr;
use crate::tree::{Entry, Kind};

/// Bytes used after the first 128: up to and including the project id.
pub(super) const EXTRA: u16 = 32;
/// `EXT4_INDEX_FL` and `EXT4_EXTENTS_FL`.
pub(super) const INDEX: u32 = 0x1000;
pub(super) const EXTENTS: u32 = 0x8_0000;

/// What an inode says that does not come from the entry.
#[derive(Clone, Debug)]
pub(super) struct Body {
    pub(super) size: u64,
    /// Blocks of data, extent tree and attributes.
    pub(super) blocks: u64,
    pub(super) flags: u32,
    /// Extents, a short link's target, or a device number.
    pub(super) map: [u8; 60],
    pub(super) attributes: Option<[u8; xattr::INLINE]>,
    pub(super) attribute_block: u64,
}

/// Encodes `node` as inode `number`.
pub(super) fn encode(node: &Node<'_>, number: u32, body: &Body, checksum: Checksum) -> [u8; INODE] {
    let entry = node.entry;
    let mut inode = [0; INODE];
    put16(
        &mut inode,
        0x00,
        format(&entry.kind) | (entry.mode & 0o7777),
    );
    put16(&mut inode, 0x02, entry.uid as u16);
    put32(&mut inode, 0x04, body.size as u32);
    put16(&mut inode, 0x18, entry.gid as u16);
    put16(&mut inode, 0x1a, node.links);
    let sectors = body.blocks * 8;
    put32(&mut inode, 0x1c, sectors as u32);
    put32(&mut inode, 0x20, body.flags);
    inode[0x28..0x64].copy_from_slice(&body.map);
    put32(&mut inode, 0x68, body.attribute_block as u32);
    put32(&mut inode, 0x6c, (body.size >> 32) as u32);
    put16(&mut inode, 0x74, (sectors >> 32) as u16);
    put16(&mut inode, 0x76, (body.attribute_block >> 32) as u16);
    put16(&mut inode, 0x78, (entry.uid >> 16) as u16);
    put16(&mut inode, 0x7a, (entry.gid >> 16) as u16);
    put16(&mut inode, 0x80, EXTRA);
    let (seconds, extra) = time(entry.mtime);
    // Access, change, modification and creation, then the upper bits of all but the last, and creation whole.
    for at in [0x08, 0x0c, 0x10, 0x90] {
        put32(&mut inode, at, seconds);
    }
    for at in [0x84, 0x88, 0x8c, 0x94] {
        put32(&mut inode, at, extra);
    }
    if let Some(attributes) = &body.attributes {
        inode[INODE - xattr::INLINE..].copy_from_slice(attributes);
    }
    let value = checksum.of_inode(number).then(&inode).value();
    put16(&mut inode, 0x7c, value as u16);
    put16(&mut inode, 0x82, (value >> 16) as u16);
    inode
}

/// Seconds and the two further bits above them. The kernel clamps what lies outside of its range, and so do we; the
/// end is that of e2fsck, which takes what it finds beyond April 2310 for a time before 1970 written by an old kernel
/// (`e2fsck/pass1.c`, `check_inode_extra_space`).
fn time(seconds: i64) -> (u32, u32) {
    let seconds = seconds.clamp(i64::from(i32::MIN), 0x2_7fff_ffff);
    (
        seconds as u32,
        ((seconds - i64::from(seconds as i32)) >> 32) as u32 & 3,
    )
}

/// The kind's bits of a mode.
fn format(kind: &Kind) -> u16 {
    match kind {
        Kind::Fifo => 0o010_000,
        Kind::Device { block: false, .. } => 0o020_000,
        Kind::Directory => 0o040_000,
        Kind::Device { block: true, .. } => 0o060_000,
        Kind::File(_) | Kind::HardLink(_) => 0o100_000,
        Kind::Symlink(_) => 0o120_000,
    }
}

/// The kind as directories store it.
pub(super) fn directory_kind(entry: &Entry) -> u8 {
    match entry.kind {
        Kind::File(_) | Kind::HardLink(_) => 1,
        Kind::Directory => 2,
        Kind::Device { block: false, .. } => 3,
        Kind::Device { block: true, .. } => 4,
        Kind::Fifo => 5,
        Kind::Symlink(_) => 7,
    }
}

/// A device number: the old 8:8 form where it fits, else the new one (kernel `ext4_iget`, `new_decode_dev`).
pub(super) fn device(node: &Node<'_>, major: u32, minor: u32) -> Result<[u8; 60], Error> {
    let mut map = [0; 60];
    if major < 1 << 8 && minor < 1 << 8 {
        put32(&mut map, 0, major << 8 | minor);
    } else if major < 1 << 12 && minor < 1 << 20 {
        put32(
            &mut map,
            4,
            (minor & 0xff) | major << 8 | (minor & !0xff) << 12,
        );
    } else {
        return Err(Error::Device {
            path: shown(node.path),
            major,
            minor,
        });
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_four_centuries() {
        // The table in the kernel's Documentation/filesystems/ext4/inodes.rst, "Inode Timestamps".
        assert_eq!(time(-1), (0xffff_ffff, 0));
        assert_eq!(time(-0x8000_0000), (0x8000_0000, 0));
        assert_eq!(time(0x7fff_ffff), (0x7fff_ffff, 0));
        assert_eq!(time(0x8000_0000), (0x8000_0000, 1));
        assert_eq!(time(0x1_0000_0000), (0, 1));
        assert_eq!(time(0x2_7fff_ffff), (0x7fff_ffff, 2));
        assert_eq!(time(i64::MAX), (0x7fff_ffff, 2));
        assert_eq!(time(i64::MIN), (0x8000_0000, 0));
    }
}
