//! What a fleet shares: one system for one board, named by the digest of its manifest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::architecture::Architecture;
use crate::digest::Digest;
use crate::document;
use crate::manifest::{
    CHUNK_LIMIT, Error, Range, SIZE_LIMIT, VERSION, check_version, digest_of, syntax,
};
use crate::path;

/// Bytes that a file which a node brings itself is aligned to in the boot volume, and cut at: no other file shares a
/// chunk with it, and what is written to a disk in its place is whole sectors.
pub const OWN_ALIGNMENT: u64 = 4096;

/// A system: everything that nodes with the same packages, board and kernel arguments have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SystemManifest {
    /// [`VERSION`].
    pub version: u32,
    /// Name of the package set in the lock: `debian-13/uefi-amd64`.
    pub set: String,
    /// Board name.
    pub board: String,
    /// Machine architecture.
    pub architecture: Architecture,
    /// The system's time in seconds since 1970: that of everything in it.
    pub epoch: i64,
    /// Root hash of the dm-verity tree over the root file system.
    pub root_hash: Digest,
    /// The root file system, ext4.
    pub root: Volume,
    /// Its dm-verity hash device.
    pub verity: Volume,
    /// The boot partition, FAT.
    pub boot: Volume,
    /// Files of the boot partition by path: where their bytes are in [`SystemManifest::boot`].
    pub files: BTreeMap<String, File>,
    /// The kernel as packaged, wherever it is: a file of its own, or inside a unified kernel image.
    pub kernel: File,
    /// The initramfs, likewise.
    pub initrd: File,
}

/// The content of a partition, from its first byte on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// [`digest_of`] the ranges: equal digests are equal content.
    pub digest: Digest,
    /// What the bytes are. Nothing is left out: no range is [`Range::Skip`].
    pub ranges: Vec<Range>,
}

/// Bytes of the boot volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// First byte.
    pub start: u64,
    /// Length in bytes.
    pub size: u64,
    /// Every node brings a text of its own, of this length; what the system has there only keeps the place.
    #[serde(default, skip_serializing_if = "is_false")]
    pub own: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl Volume {
    /// Of these ranges.
    pub fn of(ranges: Vec<Range>) -> Self {
        Volume {
            digest: digest_of(&ranges),
            ranges,
        }
    }

    /// Bytes of it.
    pub fn size(&self) -> u64 {
        self.ranges.iter().map(Range::length).sum()
    }

    fn check(&self, what: &str) -> Result<u64, Error> {
        let size = checked_size(&self.ranges)
            .map_err(|why| Error::Inconsistent(format!("{what}: {why}")))?;
        if digest_of(&self.ranges) != self.digest {
            return Err(Error::Inconsistent(format!(
                "{what} has another digest than its ranges"
            )));
        }
        Ok(size)
    }
}

/// Bytes of ranges that leave nothing out, if each is possible.
pub(crate) fn checked_size(ranges: &[Range]) -> Result<u64, String> {
    let mut total: u64 = 0;
    for range in ranges {
        let length = range.length();
        let is_possible = match range {
            Range::Data { .. } => length <= CHUNK_LIMIT,
            Range::Zero { .. } => true,
            Range::Skip { .. } => false,
        };
        if length == 0 || !is_possible {
            return Err(format!("a range of {length} bytes at byte {total}"));
        }
        total = total
            .checked_add(length)
            .filter(|total| *total <= SIZE_LIMIT)
            .ok_or_else(|| format!("more than {SIZE_LIMIT} bytes"))?;
    }
    Ok(total)
}

impl SystemManifest {
    /// Reads and checks a manifest.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        check_version(text)?;
        let system: Self = serde_json::from_slice(text).map_err(syntax)?;
        system.check()?;
        Ok(system)
    }

    /// The document as it is stored: one range a line.
    pub fn to_json(&self) -> String {
        document::to_json(self)
    }

    /// What nodes name it by: SHA-256 of [`SystemManifest::to_json`].
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_json().as_bytes())
    }

    fn check(&self) -> Result<(), Error> {
        if self.version != VERSION {
            return Err(Error::Version {
                found: self.version,
            });
        }
        self.root.check("the root file system")?;
        self.verity.check("the dm-verity tree")?;
        let size = self.boot.check("the boot partition")?;
        let all = self.files.iter().map(|(path, file)| (path.as_str(), file));
        for (path, file) in all.chain([("kernel", &self.kernel), ("initrd", &self.initrd)]) {
            let end = file.start.checked_add(file.size);
            if !path::is_clean(path.as_bytes()) || end.is_none_or(|end| end > size) {
                return Err(Error::Inconsistent(format!(
                    "file {path:?} of the boot partition is not in it"
                )));
            }
            if file.own && self.own_range(file).is_none() {
                return Err(Error::Inconsistent(format!(
                    "file {path:?} of the boot partition has no range of its own"
                )));
            }
        }
        Ok(())
    }

    /// Which range of the boot volume is that of a file that nodes bring, and its length.
    pub fn own_range(&self, file: &File) -> Option<(usize, u64)> {
        let mut at = 0;
        for (index, range) in self.boot.ranges.iter().enumerate() {
            if at == file.start {
                let length = file.size.next_multiple_of(OWN_ALIGNMENT);
                let fits = file.size > 0 && range.length() == length;
                return (fits && at.is_multiple_of(OWN_ALIGNMENT)).then_some((index, length));
            }
            at += range.length();
        }
        None
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::digest::ChunkDigest;

    pub(crate) fn example() -> SystemManifest {
        let data = |length, text: &[u8]| Range::Data {
            length,
            digest: ChunkDigest::of(text),
        };
        let file = |start, size, own| File { start, size, own };
        SystemManifest {
            version: VERSION,
            set: "debian-13/rpi5".into(),
            board: "rpi5".into(),
            architecture: Architecture::Arm64,
            epoch: 1_700_000_000,
            root_hash: Digest::of(b"root hash"),
            root: Volume::of(vec![data(8192, b"root"), Range::Zero { length: 4096 }]),
            verity: Volume::of(vec![data(4096, b"verity")]),
            boot: Volume::of(vec![
                data(4096, b"table"),
                data(4096, b"command line"),
                data(8192, b"kernel"),
                data(4096, b"initrd"),
            ]),
            files: BTreeMap::from([
                ("cmdline.txt".into(), file(4096, 100, true)),
                ("kernel8.img".into(), file(8192, 8000, false)),
                ("initramfs.img".into(), file(16384, 4000, false)),
            ]),
            kernel: file(8192, 8000, false),
            initrd: file(16384, 4000, false),
        }
    }

    #[test]
    fn text_round_trips() {
        let system = example();
        let text = system.to_json();
        assert_eq!(SystemManifest::parse(text.as_bytes()).unwrap(), system);
        assert_eq!(text.matches("[\"data\",").count(), 6, "{text}");
    }

    #[test]
    fn contradictions_are_refused() {
        let refused = |change: fn(&mut SystemManifest)| {
            let mut system = example();
            change(&mut system);
            SystemManifest::parse(system.to_json().as_bytes())
                .unwrap_err()
                .to_string()
        };
        assert!(refused(|s| s.version = 2).contains("version 2"));
        let digest = "has another digest than its ranges";
        assert!(refused(|s| s.root.ranges.reverse()).contains(digest));
        assert!(
            refused(|s| s.boot = Volume::of(vec![Range::Skip { length: 9 }]))
                .contains("a range of 9")
        );
        assert!(
            refused(|s| s.verity = Volume::of(vec![Range::Zero { length: u64::MAX }]))
                .contains("more than")
        );
        assert!(refused(|s| s.kernel.size = u64::MAX).contains("kernel"));
        assert!(
            refused(|s| s.files.get_mut("cmdline.txt").unwrap().start = 4000)
                .contains("of its own")
        );
        assert!(
            refused(|s| s.files.get_mut("cmdline.txt").unwrap().size = 5000).contains("of its own")
        );
        let kernel = example().kernel;
        assert!(
            SystemManifest::parse(
                SystemManifest {
                    files: BTreeMap::from([("../x".into(), kernel)]),
                    ..example()
                }
                .to_json()
                .as_bytes()
            )
            .is_err()
        );
    }
}
