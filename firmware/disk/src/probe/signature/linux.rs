//! Linux file systems: btrfs, bcachefs, F2FS, JFS, NILFS2, ReiserFS; and UFS of the BSDs.

use super::Found;
use super::medium::{Fields, Medium};

/// `_BHRfS_M` is at 64 KiB, 64 MiB and 256 GiB (`fs/btrfs/disk-io.h`, `btrfs_sb_offset`).
const BTRFS: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];
/// bcachefs has this magic number; what is older has bcache's.
const BCACHEFS: [u8; 16] = [
    0xc6, 0x85, 0x73, 0xf6, 0x66, 0xce, 0x90, 0xa9, 0xd9, 0x6a, 0x60, 0xcf, 0x80, 0x3d, 0xf7, 0xef,
];
pub(super) const BCACHE: [u8; 16] = [
    0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca, 0x82, 0x65, 0xf5, 0x7f, 0x48, 0xba, 0x6d, 0x81,
];

pub(super) fn find(medium: &Medium, found: &mut Vec<Found>) {
    found.extend(BTRFS.iter().filter_map(|&offset| btrfs(medium, offset)));
    bcachefs(medium, found);
    found.extend(
        [0x400, 0x1400, 0x4400]
            .iter()
            .filter_map(|&offset| f2fs(medium, offset)),
    );
    found.extend(
        [0x8000, 0xf000]
            .iter()
            .filter_map(|&offset| jfs(medium, offset)),
    );
    nilfs(medium, found);
    found.extend(
        [64 << 10, 8 << 10]
            .iter()
            .filter_map(|&offset| reiserfs(medium, offset)),
    );
    found.extend(reiser4(medium));
    found.extend(
        [8 << 10, 64 << 10, 256 << 10]
            .iter()
            .filter_map(|&offset| ufs(medium, offset)),
    );
}

/// `include/uapi/linux/btrfs_tree.h`, `struct btrfs_super_block`.
fn btrfs(medium: &Medium, offset: u64) -> Option<Found> {
    let bytes = medium.bytes(offset, 4096)?;
    let sound = bytes.has(64, b"_BHRfS_M")
        && bytes.le64(48)? == offset
        && bytes.le32(144)?.is_power_of_two();
    // Of this device, not of the whole file system (`dev_item.total_bytes`).
    let found = Found::new("btrfs", offset, 4096, 8)
        .after(64)
        .size(bytes.le64(209), 1)
        .backup(offset != BTRFS[0]);
    sound.then(|| found.uuid(bytes.uuid(32)).label(bytes.text(299, 256)))
}

/// `fs/bcachefs/bcachefs_format.h`, `struct bch_sb`: a layout of where its copies are is in each of them, and alone in
/// sector 7.
fn bcachefs(medium: &Medium, found: &mut Vec<Found>) {
    let last = medium.size().saturating_sub(1 << 20);
    let mut places = vec![4096, 2 << 20, last];
    for (offset, at) in [(0, 3584), (4096, 240)] {
        let layout = medium.bytes(offset, 8192);
        places.extend(layout.iter().flat_map(|bytes| layout_places(bytes, at)));
    }
    places.sort_unstable();
    places.dedup();
    // The first one listed is the original, wherever it is.
    let superblocks = places
        .iter()
        .filter_map(|&offset| superblock(medium, offset));
    found.extend(
        superblocks
            .enumerate()
            .map(|(index, found)| found.backup(index > 0)),
    );
}

fn layout_places(bytes: &[u8], at: usize) -> Vec<u64> {
    let magic = [BCACHEFS, BCACHE].iter().any(|magic| bytes.has(at, magic));
    let count = usize::from(bytes.byte(at + 18).unwrap_or(0)).min(61);
    let sectors = (0..count).filter_map(|index| bytes.le64(at + 24 + 8 * index));
    sectors
        .filter_map(|sector| sector.checked_mul(512))
        .filter(|_| magic)
        .collect()
}

fn superblock(medium: &Medium, offset: u64) -> Option<Found> {
    let bytes = medium.bytes(offset, 1024)?;
    let magic = bytes.has(24, &BCACHEFS) || bytes.has(24, &BCACHE);
    let (index, devices) = (bytes.byte(122)?, bytes.byte(123)?);
    if !magic || bytes.le64(104)?.checked_mul(512)? != offset || index >= devices {
        return None;
    }
    let version = bytes.le16(16)?;
    let size = 752 + u64::from(bytes.le32(124)?) * 8;
    let found = Found::new("bcachefs", offset, size.min(1 << 20), 16).after(24);
    let found = found.version(format!("{}.{}", version >> 10, version & 0x3ff));
    Some(found.uuid(bytes.uuid(56)).label(bytes.text(72, 32)))
}

/// `include/linux/f2fs_fs.h`, `struct f2fs_super_block`, in the first two blocks.
fn f2fs(medium: &Medium, offset: u64) -> Option<Found> {
    let bytes = medium.bytes(offset, 0xc00)?;
    let sound = bytes.has(0, &[0x10, 0x20, 0xf5, 0xf2])
        && (9..=12).contains(&bytes.le32(8)?)
        && (12..=16).contains(&bytes.le32(16)?);
    let version = format!("{}.{}", bytes.le16(4)?, bytes.le16(6)?);
    let found = Found::new("f2fs", offset, 0xc00, 4)
        .backup(offset != 0x400)
        .version(version);
    sound.then(|| {
        found
            .uuid(bytes.uuid(0x6c))
            .label(bytes.wide(0x7c, 1024, u16::from_le_bytes))
    })
}

/// `fs/jfs/jfs_superblock.h`; the second one is at `SUPER2_OFF`.
fn jfs(medium: &Medium, offset: u64) -> Option<Found> {
    let bytes = medium.bytes(offset, 512)?;
    let (shift, physical) = (bytes.le16(20)?, bytes.le16(28)?);
    let sound = bytes.has(0, b"JFS1")
        && (9..=12).contains(&shift)
        && (9..=12).contains(&physical)
        && bytes.le32(16)? == 1 << shift
        && bytes.le32(24)? == 1 << physical
        && shift.checked_sub(physical)? == bytes.le16(22)?;
    let found = Found::new("jfs", offset, 4096, 4).backup(offset != 0x8000);
    sound.then(|| found.uuid(bytes.uuid(136)).label(bytes.text(152, 16)))
}

/// `include/uapi/linux/nilfs2_ondisk.h`: one superblock at 1 KiB, one in the last whole 4 KiB.
fn nilfs(medium: &Medium, found: &mut Vec<Found>) {
    let size = medium.size();
    let last = [size >> 12 << 12, size >> 9 << 9].map(|end| end.saturating_sub(4096));
    for (offset, backup) in [(1024, false), (last[0], true), (last[1], true)] {
        let superblock = |bytes: &[u8]| {
            let sound = bytes.has(6, &[0x34, 0x34])
                && bytes.le32(0)? == 2
                && (248..=1024).contains(&bytes.le16(8)?)
                && bytes.le32(20)? <= 6
                && bytes.le64(24)? > 0
                && bytes.le64(32)? > 0;
            let found = Found::new("nilfs2", offset, 1024, 2)
                .after(6)
                .backup(backup)
                .version(bytes.le32(0)?);
            sound.then(|| found.uuid(bytes.uuid(152)).label(bytes.text(168, 80)))
        };
        if !found
            .iter()
            .any(|other| other.kind == "nilfs2" && other.header.start == offset)
        {
            found.extend(
                medium
                    .bytes(offset, 1024)
                    .and_then(|bytes| superblock(&bytes)),
            );
        }
    }
}

/// `fs/reiserfs/reiserfs.h` (Linux 6.12 and before).
fn reiserfs(medium: &Medium, offset: u64) -> Option<Found> {
    let bytes = medium.bytes(offset, 512)?;
    let magic = [
        (&b"ReIsErFs"[..], "3.5"),
        (b"ReIsEr2Fs", "3.6"),
        (b"ReIsEr3Fs", "JR"),
    ];
    let (magic, version) = magic
        .into_iter()
        .find(|(magic, _)| bytes.has(0x34, magic))?;
    let named = version != "3.5";
    let sound = (512..=65535).contains(&bytes.le16(44)?) && bytes.le32(0)? > 0;
    let found = Found::new("reiserfs", offset, 4096, magic.len() as u64)
        .after(0x34)
        .version(version);
    let found = found
        .uuid(bytes.uuid(84).filter(|_| named))
        .label(bytes.text(100, 16).filter(|_| named));
    sound.then_some(found)
}

fn reiser4(medium: &Medium) -> Option<Found> {
    let bytes = medium.bytes(64 << 10, 512)?;
    let found = Found::new("reiser4", 64 << 10, 4096, 7).version(4);
    bytes
        .has(0, b"ReIsEr4")
        .then(|| found.uuid(bytes.uuid(20)).label(bytes.text(36, 16)))
}

/// `sys/ufs/ffs/fs.h` of FreeBSD: UFS1 at 8 KiB, UFS2 at 64 KiB, either byte order.
fn ufs(medium: &Medium, offset: u64) -> Option<Found> {
    let bytes = medium.bytes(offset, 1376)?;
    let (little, big) = (bytes.le32(1372)?, bytes.be32(1372)?);
    let known = |magic: u32| matches!(magic, 0x0001_1954 | 0x1954_0119);
    let read = |at| {
        if known(little) {
            bytes.le32(at)
        } else {
            bytes.be32(at)
        }
    };
    let (block, fragment) = (read(48)?, read(52)?);
    let sound = (known(little) || known(big))
        && block.is_power_of_two()
        && (4096..=65536).contains(&block)
        && fragment.is_power_of_two()
        && fragment <= block;
    let version = if little == 0x1954_0119 || big == 0x1954_0119 {
        2
    } else {
        1
    };
    sound.then(|| {
        Found::new("ufs", offset, 8192, 4)
            .after(1372)
            .version(version)
            .label(bytes.text(680, 32))
    })
}
