//! What is where before any file is placed.
//!
//! All bitmaps and inode tables stand in one row behind the first superblock (`flex_bg` allows that), so that the
//! rest is one stretch, interrupted only by the backup superblocks of `sparse_super`.

use super::error::Error;
use super::placement::Space;
use super::raw::BLOCK;

/// Blocks in a group: as many as one block of bitmap has bits.
pub(super) const GROUP: u64 = 8 * BLOCK as u64;
/// Bytes of an inode.
pub(super) const INODE: usize = 256;
/// Inodes in one block of a table.
pub(super) const INODES_PER_BLOCK: u32 = (BLOCK / INODE) as u32;
/// First inode that is not reserved; e2fsck expects `lost+found` here.
pub(super) const FIRST_INODE: u32 = 11;
/// Bytes of a group descriptor without the `64bit` feature.
const DESCRIPTOR: u64 = 32;
/// One inode for so many bytes, as mke2fs has it.
const BYTES_PER_INODE: u64 = 16384;

/// Numbers that follow from the size and the number of inodes alone.
#[derive(Clone, Debug)]
pub(super) struct Geometry {
    pub(super) blocks: u64,
    pub(super) groups: Vec<Group>,
    pub(super) inodes_per_group: u32,
    pub(super) descriptor_blocks: u64,
}

/// Where a group's own blocks are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Group {
    pub(super) block_bitmap: u64,
    pub(super) inode_bitmap: u64,
    pub(super) inode_table: u64,
}

impl Geometry {
    /// For a file system of `size` bytes with at least `inodes` inodes (by default: as many as its size suggests and
    /// half more than `files`).
    pub(super) fn new(size: u64, inodes: Option<u32>, files: u64) -> Result<Self, Error> {
        let mut blocks = size / BLOCK as u64;
        if !size.is_multiple_of(BLOCK as u64) || blocks == 0 || blocks >= 1 << 32 {
            return Err(Error::Size { size });
        }
        // A last group too short for its own backup superblock is left out.
        let last = blocks.div_ceil(GROUP) - 1;
        let descriptor_blocks = (blocks.div_ceil(GROUP) * DESCRIPTOR).div_ceil(BLOCK as u64);
        if last > 0
            && has_superblock(last)
            && !blocks.is_multiple_of(GROUP)
            && blocks % GROUP < descriptor_blocks + 8
        {
            blocks = last * GROUP;
        }
        let groups = blocks.div_ceil(GROUP);
        let descriptor_blocks = (groups * DESCRIPTOR).div_ceil(BLOCK as u64);
        let inodes_per_group = inodes_per_group(blocks, groups, inodes, files);
        let mut geometry = Geometry {
            blocks,
            groups: vec![Group::default(); groups as usize],
            inodes_per_group,
            descriptor_blocks,
        };
        geometry.line_up().ok_or(Error::Size { size })?;
        Ok(geometry)
    }

    /// Inodes in all.
    pub(super) fn inodes(&self) -> u32 {
        self.inodes_per_group * self.groups.len() as u32
    }

    /// Blocks of one group's inode table.
    pub(super) fn table_blocks(&self) -> u64 {
        u64::from(self.inodes_per_group / INODES_PER_BLOCK)
    }

    /// Groups that begin with a superblock and the descriptors.
    pub(super) fn superblocks(&self) -> impl Iterator<Item = u64> + use<> {
        (0..self.groups.len() as u64).filter(|&group| has_superblock(group))
    }

    /// Blocks that are not the file system's own.
    pub(super) fn content_blocks(&self) -> u64 {
        let own = self.groups.len() as u64 * (2 + self.table_blocks());
        self.blocks - own - self.superblocks().count() as u64 * (1 + self.descriptor_blocks)
    }

    /// All blocks, those of the file system itself taken.
    pub(super) fn space(&self) -> Space {
        let mut space = Space::new(self.blocks);
        for group in self.superblocks() {
            space.take(group * GROUP, 1 + self.descriptor_blocks);
        }
        for group in &self.groups {
            space.take(group.block_bitmap, 1);
            space.take(group.inode_bitmap, 1);
            space.take(group.inode_table, self.table_blocks());
        }
        space
    }

    /// Gives every bitmap and table its place; `None` if they do not fit.
    fn line_up(&mut self) -> Option<()> {
        let (front, blocks, table) = (1 + self.descriptor_blocks, self.blocks, self.table_blocks());
        let mut next = front;
        let mut claim = |length: u64| {
            // A table may be longer than the gap before the next backup: look at each group that it touches.
            let mut group = next.div_ceil(GROUP);
            while group * GROUP < next + length {
                if has_superblock(group) {
                    next = group * GROUP + front;
                }
                group += 1;
            }
            let start = next;
            next += length;
            (next <= blocks).then_some(start)
        };
        for group in &mut self.groups {
            group.block_bitmap = claim(1)?;
        }
        for group in &mut self.groups {
            group.inode_bitmap = claim(1)?;
        }
        for group in &mut self.groups {
            group.inode_table = claim(table)?;
        }
        Some(())
    }
}

/// Whole blocks of inode table per group. Depends on the number of files only in doublings, because a file's inode
/// number is derived from the number of inodes.
fn inodes_per_group(blocks: u64, groups: u64, inodes: Option<u32>, files: u64) -> u32 {
    let wanted = match inodes {
        Some(inodes) => u64::from(inodes),
        None => {
            let least = (files + u64::from(FIRST_INODE)).saturating_mul(3) / 2;
            let mut wanted = (blocks * BLOCK as u64 / BYTES_PER_INODE).max(1);
            while wanted < least {
                wanted = wanted.saturating_mul(2);
            }
            wanted
        }
    };
    let step = u64::from(INODES_PER_BLOCK);
    // 2^32 inodes cannot be counted; 16 TiB have 2^17 groups.
    let limit = GROUP.min(u64::from(u32::MAX) / groups / step * step);
    wanted
        .div_ceil(groups)
        .max(1)
        .next_multiple_of(step)
        .min(limit) as u32
}

/// Groups 0, 1 and the powers of 3, 5 and 7 (feature `sparse_super`).
fn has_superblock(group: u64) -> bool {
    let power = |base: u64| {
        let mut power = base;
        while power < group {
            power *= base;
        }
        power == group
    };
    group <= 1 || power(3) || power(5) || power(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparse_groups() {
        let groups: Vec<u64> = (0..130).filter(|&group| has_superblock(group)).collect();
        assert_eq!(groups, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]);
    }

    #[test]
    fn metadata_steps_over_backups() {
        for size in [
            1 << 20,
            1 << 27,
            (1 << 27) + 4096,
            3 << 30,
            (1 << 40) + 8192,
            (1 << 44) - 4096,
        ] {
            let geometry = Geometry::new(size, Some((size >> 14) as u32 + 4), 0).unwrap();
            if size < 1 << 35 {
                assert!(geometry.space().free() > 0);
            }
            let starts: Vec<u64> = geometry
                .groups
                .iter()
                .map(|group| group.inode_table)
                .collect();
            assert!(
                starts
                    .windows(2)
                    .all(|pair| pair[1] >= pair[0] + geometry.table_blocks()),
                "{size}"
            );
        }
    }

    #[test]
    fn refuses_sizes() {
        for size in [0, 4095, 4096, 3 * 4096, 1 << 44] {
            assert!(
                matches!(Geometry::new(size, None, 0), Err(Error::Size { .. })),
                "{size}"
            );
        }
    }
}
