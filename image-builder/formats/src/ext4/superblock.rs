//! Superblock, group descriptors and bitmaps (kernel `struct ext4_super_block`, `struct ext4_group_desc`).

use std::sync::Arc;

use super::checksum::Checksum;
use super::directory::HASH_VERSION;
use super::geometry::{FIRST_INODE, GROUP, Geometry, INODE, INODES_PER_BLOCK};
use super::inode::EXTRA;
use super::placement::Space;
use super::raw::{BLOCK, put16, put32};
use super::{Error, Options};
use crate::image::Image;

/// `ext_attr`, `dir_index`.
const COMPATIBLE: u32 = 0x8 | 0x20;
/// `filetype`, `extents`, `flex_bg`.
const INCOMPATIBLE: u32 = 0x2 | 0x40 | 0x200;
/// `sparse_super`, `large_file`, `huge_file`, `dir_nlink`, `extra_isize`, `metadata_csum`.
const READ_ONLY_COMPATIBLE: u32 = 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x400;
/// `read-only`: the kernel mounts it read-only whatever it is asked for.
const READ_ONLY: u32 = 0x1000;

/// What is in use at the end.
pub(super) struct Usage<'a> {
    pub(super) space: &'a Space,
    /// Inode numbers in use, and whether each is a directory; ascending.
    pub(super) inodes: &'a [(u32, bool)],
}

/// The seed of all checksums but the superblock's own.
pub(super) fn checksum_seed(options: &Options) -> Checksum {
    Checksum::START.then(&options.uuid)
}

/// Puts all of it, backups included.
pub(super) fn put(
    image: &mut Image,
    geometry: &Geometry,
    options: &Options,
    usage: &Usage<'_>,
) -> Result<(), Error> {
    let descriptors: Arc<[u8]> = put_groups(image, geometry, options, usage).into();
    let superblock = superblock(geometry, options, usage)?;
    for group in geometry.superblocks() {
        let mut superblock = superblock.clone();
        put16(&mut superblock, 0x5a, group as u16);
        let value = Checksum::START.then(&superblock[..0x3fc]).value();
        put32(&mut superblock, 0x3fc, value);
        let block = group * GROUP * BLOCK as u64;
        // The first leaves room for a boot sector; the backups begin with their block.
        image.put_bytes(block + if group == 0 { 1024 } else { 0 }, superblock);
        image.put_bytes(block + BLOCK as u64, descriptors.clone());
    }
    Ok(())
}

/// Puts the bitmaps and gives the descriptors.
fn put_groups(
    image: &mut Image,
    geometry: &Geometry,
    options: &Options,
    usage: &Usage<'_>,
) -> Vec<u8> {
    let seed = checksum_seed(options);
    let per_group = geometry.inodes_per_group;
    let mut descriptors = vec![0; geometry.groups.len() * 32];
    let mut inodes = usage.inodes;
    let untouched: Arc<[u8]> = inode_bitmap(per_group, &[], 0).into();
    for (index, group) in geometry.groups.iter().enumerate() {
        let first = index as u32 * per_group;
        let (mine, rest) =
            inodes.split_at(inodes.partition_point(|(number, _)| *number <= first + per_group));
        inodes = rest;
        let blocks = usage.space.bitmap(index as u64 * GROUP, GROUP);
        let taken: u64 = blocks.iter().map(|byte| u64::from(byte.count_ones())).sum();
        let numbers = if mine.is_empty() {
            untouched.clone()
        } else {
            inode_bitmap(per_group, mine, first).into()
        };
        let unused = mine
            .last()
            .map_or(per_group, |(last, _)| first + per_group - last);

        let descriptor = &mut descriptors[32 * index..32 * (index + 1)];
        put32(descriptor, 0x00, group.block_bitmap as u32);
        put32(descriptor, 0x04, group.inode_bitmap as u32);
        put32(descriptor, 0x08, group.inode_table as u32);
        put16(descriptor, 0x0c, (GROUP - taken) as u16);
        put16(descriptor, 0x0e, (per_group - mine.len() as u32) as u16);
        put16(
            descriptor,
            0x10,
            mine.iter().filter(|(_, directory)| *directory).count() as u16,
        );
        // The table is written out (`EXT4_BG_INODE_ZEROED`).
        put16(descriptor, 0x12, 4);
        put16(descriptor, 0x18, seed.then(&blocks).low());
        put16(
            descriptor,
            0x1a,
            seed.then(&numbers[..per_group as usize / 8]).low(),
        );
        put16(descriptor, 0x1c, unused as u16);
        let value = seed
            .then(&(index as u32).to_le_bytes())
            .then(descriptor)
            .low();
        put16(descriptor, 0x1e, value);

        if taken > 0 {
            image.put_bytes(group.block_bitmap * BLOCK as u64, blocks);
        }
        image.put_bytes(group.inode_bitmap * BLOCK as u64, numbers);
    }
    descriptors
}

/// Bits of the inodes in use; what lies past the group's last inode is set.
fn inode_bitmap(per_group: u32, used: &[(u32, bool)], first: u32) -> Vec<u8> {
    let mut bitmap = vec![0; BLOCK];
    bitmap[per_group as usize / 8..].fill(0xff);
    for (number, _) in used {
        let bit = (number - 1 - first) as usize;
        bitmap[bit / 8] |= 1 << (bit % 8);
    }
    bitmap
}

fn superblock(geometry: &Geometry, options: &Options, usage: &Usage<'_>) -> Result<Vec<u8>, Error> {
    let label = options.label.as_bytes();
    if label.len() > 16 {
        return Err(Error::Label {
            length: label.len(),
        });
    }
    let mut block = vec![0; 1024];
    let time = options.time.clamp(0, (1 << 40) - 1) as u64;
    put32(&mut block, 0x00, geometry.inodes());
    put32(&mut block, 0x04, geometry.blocks as u32);
    put32(&mut block, 0x0c, usage.space.free() as u32);
    put32(
        &mut block,
        0x10,
        geometry.inodes() - usage.inodes.len() as u32,
    );
    put32(&mut block, 0x18, 2);
    put32(&mut block, 0x1c, 2);
    put32(&mut block, 0x20, GROUP as u32);
    put32(&mut block, 0x24, GROUP as u32);
    put32(&mut block, 0x28, geometry.inodes_per_group);
    put32(&mut block, 0x30, time as u32);
    // Never due for a check by count of mounts or by age.
    put16(&mut block, 0x36, 0xffff);
    put16(&mut block, 0x38, 0xef53);
    // Clean; go on after errors.
    put16(&mut block, 0x3a, 1);
    put16(&mut block, 0x3c, 1);
    put32(&mut block, 0x40, time as u32);
    put32(&mut block, 0x4c, 1);
    put32(&mut block, 0x54, FIRST_INODE);
    put16(&mut block, 0x58, INODE as u16);
    put32(&mut block, 0x5c, COMPATIBLE);
    put32(&mut block, 0x60, INCOMPATIBLE);
    put32(
        &mut block,
        0x64,
        READ_ONLY_COMPATIBLE | if options.read_only { READ_ONLY } else { 0 },
    );
    block[0x68..0x78].copy_from_slice(&options.uuid);
    block[0x78..0x78 + label.len()].copy_from_slice(label);
    block[0xec..0xfc].copy_from_slice(&options.hash_seed);
    block[0xfc] = HASH_VERSION;
    // Default mount options: user_xattr, acl.
    put32(&mut block, 0x100, 0xc);
    put32(&mut block, 0x108, time as u32);
    put16(&mut block, 0x15c, EXTRA);
    put16(&mut block, 0x15e, EXTRA);
    // Names are hashed as signed bytes (`EXT2_FLAGS_SIGNED_HASH`).
    put32(&mut block, 0x160, 1);
    // All groups are one flexible group.
    block[0x174] = (geometry.groups.len() as u64)
        .next_power_of_two()
        .ilog2()
        .max(1) as u8;
    // CRC-32C.
    block[0x175] = 1;
    // Upper bytes of the times of writing, making and checking.
    for at in [0x274, 0x276, 0x277] {
        block[at] = (time >> 32) as u8;
    }
    Ok(block)
}

/// Where an inode is, in bytes from the start of the file system.
pub(super) fn inode_offset(geometry: &Geometry, number: u32) -> u64 {
    let (group, index) = (
        (number - 1) / geometry.inodes_per_group,
        (number - 1) % geometry.inodes_per_group,
    );
    let block = geometry.groups[group as usize].inode_table + u64::from(index / INODES_PER_BLOCK);
    block * BLOCK as u64 + u64::from(index % INODES_PER_BLOCK) * INODE as u64
}
