//! ext2, ext3, ext4 and their external journals (`fs/ext4/ext4.h`, `struct ext4_super_block`).

use super::Found;
use super::medium::{Fields, Medium};

/// Groups that have a copy of the superblock with `sparse_super`: 1 and powers of 3, 5 and 7.
const GROUPS: [u64; 12] = [1, 3, 5, 7, 9, 25, 27, 49, 81, 125, 243, 343];
/// What `mke2fs` does by default, for blocks of 1, 2, 4 and 64 KiB.
const USUAL: [Grouping; 4] = [
    Grouping {
        first: 1024,
        stride: 8192 << 10,
    },
    Grouping {
        first: 0,
        stride: 16384 << 11,
    },
    Grouping {
        first: 0,
        stride: 32768 << 12,
    },
    Grouping {
        first: 0,
        stride: 65528 << 16,
    },
];

const JOURNAL_DEVICE: u32 = 0x8;

/// Where groups are: the bytes before the first one (a block, if blocks are of 1 KiB), and from one to the next.
#[derive(Clone, Copy, PartialEq)]
struct Grouping {
    first: u64,
    stride: u64,
}

pub(super) fn find(medium: &Medium, found: &mut Vec<Found>) {
    let primary = superblock(medium, 1024, 0);
    let groupings = match &primary {
        Some((_, grouping)) => vec![*grouping],
        None => USUAL.to_vec(),
    };
    found.extend(primary.map(|(found, _)| found));
    for grouping in groupings {
        for group in GROUPS {
            let place = grouping
                .stride
                .checked_mul(group)
                .and_then(|start| start.checked_add(grouping.first));
            let Some(place) = place.filter(|&place| grouping.stride > 0 && place < medium.size())
            else {
                break;
            };
            let copy = superblock(medium, place, group).filter(|(_, own)| *own == grouping);
            found.extend(copy.map(|(found, _)| found));
        }
    }
}

/// A superblock and the groups of its file system; a journal has none.
fn superblock(medium: &Medium, offset: u64, group: u64) -> Option<(Found, Grouping)> {
    let bytes = medium.bytes(offset, 1024)?;
    let shift = bytes.le32(0x18)?;
    let block = 1024u64.checked_shl(shift).filter(|_| shift <= 6)?;
    let [compat, incompat, read_only] = [bytes.le32(0x5c)?, bytes.le32(0x60)?, bytes.le32(0x64)?];
    let journal = incompat & JOURNAL_DEVICE != 0;
    let group_blocks = u64::from(bytes.le32(0x20)?);
    let revision = bytes.le32(0x4c)?;
    let inode = u64::from(bytes.le16(0x58)?);
    let sound = bytes.has(0x38, &[0x53, 0xef])
        && revision <= 1
        && bytes.le32(4)? > 0
        && (revision == 0 || u64::from(bytes.le16(0x5a)?) == group)
        && (journal
            || (bytes.le32(0)? > 0
                && bytes.le32(0x28)? > 0
                && u64::from(bytes.le32(0x14)?) == u64::from(block == 1024)
                && (1..=block * 8 * 65536).contains(&group_blocks)
                && (revision == 0 || (inode.is_power_of_two() && (128..=block).contains(&inode)))));
    if !sound {
        return None;
    }
    let kind = match () {
        () if journal => "jbd",
        // What ext3 does not know: all but sparse_super, large_file, btree_dir; filetype, recover, meta_bg.
        () if read_only & !0x7 != 0 || incompat & !0x16 != 0 => "ext4",
        () if compat & 0x4 != 0 => "ext3",
        () if incompat & 0x4 != 0 => "ext4",
        () => "ext2",
    };
    // The upper half counts with `64bit` alone (`INCOMPAT_64BIT`).
    let upper = match incompat & 0x80 {
        0 => 0,
        _ => u64::from(bytes.le32(0x150)?) << 32,
    };
    let found = Found::new(kind, offset, 1024, 2)
        .after(0x38)
        .size(bytes.le32(4).map(|blocks| u64::from(blocks) | upper), block)
        .backup(group > 0)
        .version(format!("{revision}.{}", bytes.le16(0x3e)?))
        .uuid(bytes.uuid(0x68))
        .label(bytes.text(0x78, 16));
    let first = u64::from(bytes.le32(0x14)?).checked_mul(block)?;
    let stride = if journal {
        0
    } else {
        group_blocks.checked_mul(block)?
    };
    Some((found, Grouping { first, stride }))
}
