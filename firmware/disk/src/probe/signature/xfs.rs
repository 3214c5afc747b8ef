//! XFS and its external logs (`fs/xfs/libxfs/xfs_format.h`, `xfs_log_format.h`).

use super::Found;
use super::medium::{Fields, Medium};

/// Copies listed of one file system: a new one has 4, one that was grown may have thousands.
const GROUPS: u64 = 64;

pub(super) fn find(medium: &Medium, found: &mut Vec<Found>) {
    let primary = superblock(medium, 0);
    let places = match &primary {
        Some((_, group, count)) => (1..(*count).min(GROUPS))
            .filter_map(|index| index.checked_mul(*group))
            .collect(),
        None => usual(medium.size()),
    };
    let has_primary = primary.is_some();
    found.extend(primary.map(|(found, ..)| found));
    for place in places {
        let copy = superblock(medium, place);
        // Another file system's image in this one may begin where a group could.
        let own =
            copy.filter(|(_, group, count)| place.is_multiple_of(*group) && place / group < *count);
        found.extend(own.map(|(found, ..)| found.backup(true)));
    }
    if !has_primary {
        found.extend(log(medium));
    }
}

/// A superblock, the bytes of an allocation group, and how many there are.
fn superblock(medium: &Medium, offset: u64) -> Option<(Found, u64, u64)> {
    let bytes = medium.bytes(offset, 512)?;
    let (block, sector, inode) = (
        bytes.be32(4)?,
        u32::from(bytes.be16(102)?),
        u32::from(bytes.be16(104)?),
    );
    let [block_shift, sector_shift, inode_shift] =
        [bytes.byte(120)?, bytes.byte(121)?, bytes.byte(122)?];
    let (blocks, group, count) = (
        bytes.be64(8)?,
        u64::from(bytes.be32(84)?),
        u64::from(bytes.be32(88)?),
    );
    let sound = bytes.has(0, b"XFSB")
        && (9..=16).contains(&block_shift)
        && (9..=15).contains(&sector_shift)
        && (8..=11).contains(&inode_shift)
        && block == 1 << block_shift
        && sector == 1 << sector_shift
        && inode == 1 << inode_shift
        && group >= 64
        && count > 0
        && blocks > 0
        && blocks <= count * group
        && matches!(bytes.be16(100)? & 0xf, 1..=5);
    if !sound {
        return None;
    }
    let found = Found::new("xfs", offset, u64::from(sector), 4)
        .size(Some(blocks), u64::from(block))
        .uuid(bytes.uuid(32))
        .label(bytes.text(108, 12));
    Some((found, group * u64::from(block), count))
}

/// Where `mkfs.xfs` puts the groups of a file system of this size when it is told nothing: 4 of the same size on one
/// disk (2, 8, 16 or 32 on others), and groups of 1 TiB from 4 TiB on (`calc_default_ag_geometry`).
fn usual(size: u64) -> Vec<u64> {
    let blocks = size >> 12;
    let mut places: Vec<u64> = (1..=5)
        .flat_map(|shift| {
            let group = blocks.div_ceil(1 << shift) << 12;
            (1..(1u64 << shift).min(4)).filter_map(move |index| group.checked_mul(index))
        })
        .chain((1..=4).map(|index| ((1u64 << 40) - 4096) * index))
        .filter(|&place| place > 0 && place < size)
        .collect();
    places.sort_unstable();
    places.dedup();
    places
}

/// A log's first record may be in any sector of the first 256 KiB.
fn log(medium: &Medium) -> Option<Found> {
    let length = medium.size().min(256 << 10) as usize;
    let bytes = medium.bytes(0, length)?;
    (0..length).step_by(512).find_map(|at| {
        let sound = bytes.has(at, &[0xfe, 0xed, 0xba, 0xbe])
            && matches!(bytes.be32(at + 8)?, 1..=3)
            && (1..=i32::MAX as u32).contains(&bytes.be32(at + 12)?)
            && matches!(bytes.be32(at + 300)?, 1..=3);
        sound.then(|| Found::new("xfs_external_log", at as u64, 512, 4).uuid(bytes.uuid(at + 304)))
    })
}
