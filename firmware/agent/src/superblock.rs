//! What a partition holds, as far as deciding whether it may be formatted needs it.

use std::fmt;

use prejoin_profiles::handoff::Uuid;

/// Bytes at the start of a partition that are looked at.
pub(crate) const HEAD: usize = 1 << 20;
/// Where block group 1 of an ext4 file system of 4096-byte blocks begins, with a copy of the superblock: offset in
/// bytes. Bytes looked at there: [`COPY_SIZE`].
pub(crate) const COPY: u64 = 32768 * 4096;
/// The number of that block, as `e2fsck -b` takes it.
pub(crate) const COPY_BLOCK: &str = "32768";
/// Size of a superblock.
pub(crate) const COPY_SIZE: usize = 1024;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The file system that was asked for.
    Expected,
    /// Its superblock is gone, but the copy is there: to be repaired, not made anew.
    Damaged,
    /// Nothing but zeroes in the first [`HEAD`] bytes.
    Blank,
    /// Something else; in words.
    Other(String),
}

impl fmt::Display for Content {
    /// What a partition holds: `an XFS file system`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Content::Expected => "the file system that was asked for",
            Content::Damaged => "an ext4 file system whose first superblock is lost",
            Content::Blank => "nothing",
            Content::Other(what) => what,
        })
    }
}

/// Looks at the first [`HEAD`] bytes of a partition, and [`COPY_SIZE`] bytes from [`COPY`] (empty if it is smaller).
///
/// Whose the partition is, its GUID says. The file system in it may have another UUID than a new one would get: a disk
/// that was taken over from before its cluster had an id keeps those of then.
pub(crate) fn ext4(head: &[u8], copy: &[u8]) -> Content {
    if head.get(1024..).and_then(superblock).is_some() {
        return Content::Expected;
    }
    // Group 1 says so in its copy: an image of a file system stored at that place would say 0.
    if superblock(copy).is_some_and(|found| found.group == 1) {
        return Content::Damaged;
    }
    describe(head)
}

/// Looks at the first [`HEAD`] bytes of a partition that holds data.
pub(crate) fn any(head: &[u8]) -> Content {
    match head.get(1024..).and_then(superblock) {
        Some(found) => Content::Other(format!("an ext4 file system with the UUID {}", found.uuid)),
        None => describe(head),
    }
}

fn describe(head: &[u8]) -> Content {
    if head.iter().all(|&byte| byte == 0) {
        return Content::Blank;
    }
    let what = match head {
        head if head.starts_with(b"XFSB") => "an XFS file system",
        head if head.starts_with(b"LUKS\xba\xbe") => "an encrypted volume (LUKS)",
        head if head.starts_with(b"bluestore block device") => "a Ceph volume",
        head if head.get(512..520) == Some(b"LABELONE") => "an LVM volume",
        _ => "unknown data",
    };
    Content::Other(what.to_owned())
}

struct Superblock {
    uuid: Uuid,
    group: u16,
}

/// `struct ext4_super_block` (kernel `Documentation/filesystems/ext4/super.rst`).
fn superblock(bytes: &[u8]) -> Option<Superblock> {
    let bytes = bytes.get(..COPY_SIZE)?;
    (bytes[0x38..0x3a] == [0x53, 0xef]).then(|| Superblock {
        uuid: Uuid(bytes[0x68..0x78].try_into().expect("sixteen bytes")),
        group: u16::from_le_bytes([bytes[0x5a], bytes[0x5b]]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(uuid: u8, group: u8) -> Vec<u8> {
        let mut bytes = vec![0; COPY_SIZE];
        bytes[0x38..0x3a].copy_from_slice(&[0x53, 0xef]);
        bytes[0x5a] = group;
        bytes[0x68..0x78].fill(uuid);
        bytes
    }

    fn head(uuid: u8) -> Vec<u8> {
        let mut bytes = vec![0; 1024];
        bytes.extend(block(uuid, 0));
        bytes
    }

    #[test]
    fn tells_ours_from_others() {
        assert_eq!(ext4(&head(5), &[]), Content::Expected);
        assert_eq!(ext4(&[0; 4096], &[]), Content::Blank);
        assert_eq!(
            ext4(b"XFSB", &[]),
            Content::Other("an XFS file system".to_owned())
        );
        assert_eq!(any(&[0; 4096]), Content::Blank);
        assert!(matches!(any(&head(5)), Content::Other(_)));
        assert_eq!(any(b"x"), Content::Other("unknown data".to_owned()));
        assert_eq!(any(b"XFSB").to_string(), "an XFS file system");
    }

    #[test]
    fn a_lost_superblock_is_damage() {
        assert_eq!(ext4(&[0; 4096], &block(5, 1)), Content::Damaged);
        assert_eq!(ext4(b"rubbish", &block(5, 1)), Content::Damaged);
        assert_eq!(ext4(&[0; 4096], &block(5, 0)), Content::Blank);
    }
}
