//! What a partition of the node's own holds, and what is to be done about it.

use std::fmt;
use std::io;

use prejoin_wire::handoff::{Format, Partition};
use uuid::Uuid;

/// Bytes at the start of a partition that are looked at.
const HEAD: usize = 1 << 20;
/// Size of a block of our ext4 file systems, whatever their size.
const BLOCK: u64 = 4096;
/// Blocks of a block group: one bitmap's bits. Group 1 begins with the first copy of the superblock.
const GROUP: u64 = 8 * BLOCK;
/// Size of a superblock.
const SIZE: usize = 1024;
/// Where the first superblock is, in bytes.
const FIRST: usize = 1024;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The file system that was asked for.
    Expected,
    /// Its first superblock is gone, but there is a copy at this block: to be repaired, not made anew.
    Damaged(u64),
    /// Nothing but zeroes in the first [`HEAD`] bytes.
    Blank,
    /// Something else; in words.
    Other(String),
}

/// What somebody has decided about what the agent does not decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Nothing.
    #[default]
    None,
    /// Repair what can be, though what is damaged may be lost.
    Repair,
    /// Make it anew: all that is there is lost.
    Make,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Use it.
    Keep,
    /// Repair it from the superblock at this block.
    Repair(u64),
    /// Make the file system.
    Make,
    /// Leave it as it is, and ask.
    Stop,
}

impl Content {
    /// What is to be done about it. Only a partition that is still marked as partial is formatted unasked: what is in
    /// it has never been used.
    pub(crate) fn step(&self, is_partial: bool, remedy: Remedy) -> Step {
        match (self, remedy) {
            (_, Remedy::Make) => Step::Make,
            (Content::Expected, _) => Step::Keep,
            // With the first copy whole it may be one block that is gone. Else a good deal of the data is.
            (Content::Damaged(block), _) if *block == GROUP => Step::Repair(*block),
            (Content::Damaged(block), Remedy::Repair) => Step::Repair(*block),
            _ if is_partial => Step::Make,
            _ => Step::Stop,
        }
    }
}

impl fmt::Display for Content {
    /// What a partition holds: `an XFS file system`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Expected => f.write_str("the file system that was asked for"),
            Content::Damaged(block) => {
                let lost = "its ext4 file system without a beginning: superblocks before block";
                write!(f, "{lost} {block} are lost")
            }
            Content::Blank => f.write_str("nothing in its first MiB"),
            Content::Other(what) => f.write_str(what),
        }
    }
}

/// Looks at a partition of `size` bytes that should hold what `wanted` says. What cannot be read is an error: it must
/// not pass for empty.
///
/// Any ext4 that begins a partition which is not partial is its own: only its GUID says whose the partition is, and a
/// disk that was taken over from before its cluster had an id keeps the UUIDs of then. In a partial one may be what was
/// there before it: there the UUID tells.
///
/// In a partial one only the first copy of a superblock counts. Further ones may be those of what was there before it:
/// whoever marked it has cleared no more than that.
pub(crate) fn look(
    read: impl Fn(u64, &mut [u8]) -> io::Result<()>,
    size: u64,
    wanted: &Partition,
    is_partial: bool,
) -> io::Result<Content> {
    let is_known = |uuid: Uuid| !is_partial || uuid == wanted.uuid;
    let mut head = vec![0; size.min(HEAD as u64) as usize];
    read(0, &mut head)?;
    let is_whole = match wanted.format {
        Format::Ext4 => head
            .get(FIRST..)
            .and_then(superblock)
            .is_some_and(|found| is_known(found.uuid)),
        Format::Xfs => is_xfs(&head, wanted.uuid),
        Format::None => true,
    };
    if is_whole {
        return Ok(Content::Expected);
    }
    let copies = if wanted.format == Format::Ext4 {
        groups(size)
    } else {
        Vec::new()
    };
    let looked_at = if is_partial { 1 } else { copies.len() };
    for group in copies.into_iter().take(looked_at) {
        let mut copy = [0; SIZE];
        read(group * GROUP * BLOCK, &mut copy)?;
        // It says which group's copy it is: an image of a file system stored at that place would say 0.
        let is_ours = |found: &Superblock| {
            is_known(found.uuid) && u64::from(found.group) == group % (1 << 16)
        };
        if superblock(&copy).as_ref().is_some_and(is_ours) {
            return Ok(Content::Damaged(group * GROUP));
        }
    }
    Ok(describe(&head))
}

/// The block groups of a file system in `size` bytes that have a copy of the superblock: 1 and the powers of 3, 5 and
/// 7 (`sparse_super`, kernel `Documentation/filesystems/ext4/blockgroup.rst`).
fn groups(size: u64) -> Vec<u64> {
    let bytes = size.saturating_sub(SIZE as u64);
    let mut groups = vec![1];
    for base in [3_u64, 5, 7] {
        groups.extend((1..).map_while(|power| base.checked_pow(power)).take(40));
    }
    groups.retain(|&group| bytes / (GROUP * BLOCK) >= group);
    groups.sort_unstable();
    groups
}

fn describe(head: &[u8]) -> Content {
    if head.iter().all(|&byte| byte == 0) {
        return Content::Blank;
    }
    if let Some(found) = head.get(FIRST..).and_then(superblock) {
        return Content::Other(format!("an ext4 file system with the UUID {}", found.uuid));
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
    let bytes = bytes.get(..SIZE)?;
    (bytes[0x38..0x3a] == [0x53, 0xef]).then(|| Superblock {
        uuid: Uuid::from_bytes(bytes[0x68..0x78].try_into().expect("sixteen bytes")),
        group: u16::from_le_bytes([bytes[0x5a], bytes[0x5b]]),
    })
}

/// `struct xfs_dsb` (kernel `fs/xfs/libxfs/xfs_format.h`); `sb_inprogress` is set while the file system is made.
fn is_xfs(head: &[u8], uuid: Uuid) -> bool {
    const IN_PROGRESS: usize = 126;
    head.starts_with(b"XFSB")
        && head.get(32..48) == Some(uuid.as_bytes().as_slice())
        && head.get(IN_PROGRESS) == Some(&0)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "looks at files of its own")]
    #![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

    use std::fs::{self, File};
    use std::os::unix::fs::FileExt as _;
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;
    use crate::boot::state::{check_arguments, make_arguments};

    const MIB: u64 = 1 << 20;

    /// An image of a partition, as large as one that has four copies of its superblock.
    struct Image {
        path: PathBuf,
        wanted: Partition,
    }

    impl Image {
        fn new(test: &str, format: Format) -> Image {
            let name = format!("prejoin-superblock-{test}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            File::create(&path).unwrap().set_len(1100 * MIB).unwrap();
            let wanted = Partition {
                name: "state".to_owned(),
                type_guid: Uuid::from_bytes([1; 16]),
                guid: Uuid::from_bytes([2; 16]),
                size: None,
                min_size: None,
                format,
                uuid: Uuid::from_bytes([5; 16]),
            };
            Image { path, wanted }
        }

        /// Runs a program of the agent's on it; none where this machine does not have it.
        fn run(&self, (program, arguments): (&str, Vec<String>)) -> Option<i32> {
            let path = "/usr/sbin:/sbin:/usr/bin:/bin";
            let mut command = Command::new(program);
            command.env("PATH", path).args(arguments).arg(&self.path);
            match command.output() {
                Ok(output) => output.status.code(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    assert!(std::env::var_os("CI").is_none(), "{program} is missing");
                    eprintln!("SKIPPED: {program} is missing: tests/setup installs it");
                    None
                }
                Err(error) => panic!("{program}: {error}"),
            }
        }

        fn make(&self) -> Option<i32> {
            self.run(make_arguments(&self.wanted))
        }

        fn look(&self, is_partial: bool) -> Content {
            let file = File::open(&self.path).unwrap();
            let size = file.metadata().unwrap().len();
            let read = |offset, buffer: &mut [u8]| file.read_exact_at(buffer, offset);
            look(read, size, &self.wanted, is_partial).unwrap()
        }

        fn step(&self, is_partial: bool) -> Step {
            self.look(is_partial).step(is_partial, Remedy::None)
        }

        /// Overwrites the first bytes with what is not a file system.
        fn overwrite(&self, length: u64) {
            let file = File::options().write(true).open(&self.path).unwrap();
            let mut seed = 1_u64;
            for at in (0..length).step_by(4096) {
                let mut block = [0; 4096];
                for byte in &mut block {
                    // An LCG (Knuth, MMIX): nothing zero, nothing known.
                    seed = seed
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    *byte = (seed >> 56) as u8 | 1;
                }
                file.write_all_at(&block, at).unwrap();
            }
        }
    }

    impl Drop for Image {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.path);
        }
    }

    #[test]
    fn a_used_state_is_never_formatted_unasked() {
        let image = Image::new("used", Format::Ext4);
        assert_eq!(image.step(false), Step::Stop, "blank, and not marked");
        if image.make().is_none() {
            return;
        }
        assert_eq!(image.step(false), Step::Keep);
        image.overwrite(256 * MIB);
        let content = image.look(false);
        assert_eq!(content, Content::Damaged(3 * GROUP), "a copy is left");
        assert_eq!(content.step(false, Remedy::None), Step::Stop);
        let repair = content.step(false, Remedy::Repair);
        assert_eq!(repair, Step::Repair(3 * GROUP));
        let arguments = check_arguments(Remedy::Repair, Some(3 * GROUP), false);
        assert!(image.run(arguments).is_some_and(|code| code <= 2));
        assert_eq!(image.step(false), Step::Keep);
        assert_eq!(image.look(false).step(false, Remedy::Make), Step::Make);
        image.overwrite(1100 * MIB);
        assert_eq!(image.look(false), Content::Other("unknown data".to_owned()));
        assert_eq!(image.step(false), Step::Stop);
    }

    #[test]
    fn one_lost_block_is_repaired_without_asking() {
        let image = Image::new("block", Format::Ext4);
        if image.make().is_none() {
            return;
        }
        image.overwrite(4096);
        assert_eq!(image.step(false), Step::Repair(GROUP));
        let arguments = check_arguments(Remedy::None, Some(GROUP), false);
        assert_eq!(image.run(arguments), Some(1));
        assert_eq!(image.step(false), Step::Keep);
        // More is gone: nothing is decided without asking.
        image.overwrite(MIB);
        assert_eq!(image.step(false), Step::Repair(GROUP));
        let arguments = check_arguments(Remedy::None, Some(GROUP), false);
        assert_eq!(image.run(arguments), Some(4));
    }

    #[test]
    fn what_is_marked_is_made_however_often_it_is_interrupted() {
        let image = Image::new("marked", Format::Ext4);
        assert_eq!(image.step(true), Step::Make, "killed before mke2fs");
        image.overwrite(8 * MIB);
        assert_eq!(image.step(true), Step::Make, "killed while it wrote");
        if image.make().is_none() {
            return;
        }
        // Killed between mke2fs and the table. It is checked as a whole: it may call itself clean and not be.
        assert_eq!(image.step(true), Step::Keep);
        let arguments = check_arguments(Remedy::None, None, true);
        assert_eq!(image.run(arguments), Some(0));
        // Copies of what was there before, beyond what a flash clears, are no reason to ask.
        image.overwrite(256 * MIB);
        assert_eq!(image.step(true), Step::Make);
    }

    #[test]
    fn an_interrupted_xfs_is_not_taken_for_whole() {
        let mut image = Image::new("xfs", Format::Xfs);
        let uuid = image.wanted.uuid;
        let mut head = vec![0; 4096];
        head[..4].copy_from_slice(b"XFSB");
        head[32..48].copy_from_slice(uuid.as_bytes());
        head[126] = 1;
        let file = File::options().write(true).open(&image.path).unwrap();
        file.write_all_at(&head, 0).unwrap();
        assert_eq!(
            (image.step(true), image.step(false)),
            (Step::Make, Step::Stop)
        );
        if image.make().is_some() {
            assert_eq!(
                (image.step(true), image.step(false)),
                (Step::Keep, Step::Keep)
            );
        }
        image.wanted.uuid = Uuid::from_bytes([6; 16]);
        assert_eq!(image.step(false), Step::Stop, "somebody else's");
        image.wanted.format = Format::None;
        assert_eq!(image.step(true), Step::Keep, "raw, and never formatted");
    }

    #[test]
    fn says_what_is_there() {
        let said = |head: &[u8]| describe(head).to_string();
        assert_eq!(said(b"XFSB"), "an XFS file system");
        assert_eq!(said(b"x"), "unknown data");
        assert_eq!(said(&[0; 4096]), "nothing in its first MiB");
        assert!(groups(u64::MAX).len() < 60, "a bounded number of looks");
        assert_eq!(groups(1100 * MIB), [1, 3, 5, 7]);
        assert_eq!(groups(0), [0; 0]);
    }
}
