//! What goes wrong with a device or an image file.

use std::io;
use std::path::{Path, PathBuf};

/// A device or file that cannot be looked at or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such file, or it must not be opened.
    #[error("opening {}", path.display())]
    Open {
        /// The file or device.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// The kernel does not say what must be known of it.
    #[error("asking {} for the {what}", path.display())]
    Ask {
        /// The file or device.
        path: PathBuf,
        /// What was asked for.
        what: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
    /// A directory, a terminal, ...
    #[error("{} is neither a block device nor a regular file", path.display())]
    Kind {
        /// What was given.
        path: PathBuf,
    },
    /// A part of a disk where a whole disk is needed.
    #[error("{} is a partition of {disk}", path.display())]
    Partition {
        /// What was given.
        path: PathBuf,
        /// Device node of the whole disk.
        disk: String,
    },
    /// A card reader without card, a loop device without file.
    #[error("there is no medium in {}", path.display())]
    NoMedium {
        /// The device.
        path: PathBuf,
    },
    /// Somebody else has claimed it.
    #[error("{} is in use by a mount, swap, or a volume made of it", path.display())]
    Busy {
        /// The device.
        path: PathBuf,
    },
    /// Another program holds the lock.
    #[error("{} is locked by another program", path.display())]
    Locked {
        /// The file or device.
        path: PathBuf,
    },
    /// Writing is not allowed.
    #[error("{} is read-only", path.display())]
    ReadOnly {
        /// The file or device.
        path: PathBuf,
    },
    /// It is not what it was when it was looked at.
    #[error("{} has changed: its {what} was {was} and is {is}", path.display())]
    Changed {
        /// The file or device.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// When it was looked at.
        was: u64,
        /// Now.
        is: u64,
    },
}

impl Error {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Open { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => {
                    Some("list the disks of this machine with `prejoin disk list`".into())
                }
                io::ErrorKind::PermissionDenied => {
                    Some("run it as root, or check who may open it".into())
                }
                _ => None,
            },
            Error::Ask { .. } | Error::Kind { .. } => None,
            Error::Partition { disk, .. } => Some(format!("give the whole disk, {disk}")),
            Error::NoMedium { .. } => {
                Some("insert the card, or attach a file to the loop device".into())
            }
            Error::Busy { path } => Some(format!(
                "see who has it with `lsblk {0}` and `swapon --show`",
                path.display()
            )),
            Error::Locked { .. } => {
                Some("wait for the other run of prejoin, or for udev, to end".into())
            }
            Error::ReadOnly { path } => Some(format!(
                "check the write-protect switch of the card, the file's permissions, or `blockdev --getro {}`",
                path.display()
            )),
            Error::Changed { .. } => Some("look at the disk again before deciding anything".into()),
        }
    }

    pub(super) fn open(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.raw_os_error() {
            Some(EBUSY) => Error::Busy { path },
            Some(EROFS) => Error::ReadOnly { path },
            Some(ENOMEDIUM | ENXIO) => Error::NoMedium { path },
            _ => Error::Open { path, source },
        }
    }
}

/// A read or write that failed: which bytes of what, and why, in words. It is found inside the [`io::Error`]s of
/// [`super::target`]; see [`Failed::of`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{doing} {length} bytes at byte {offset} of {}: {}", path.display(), self.words())]
pub struct Failed {
    /// What was being done: `reading`, `writing`, `zeroing`, `flushing`.
    pub doing: &'static str,
    /// The file or device.
    pub path: PathBuf,
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
    /// The kernel's error number, if it was the kernel that refused.
    pub code: Option<i32>,
    /// The kernel's error in its own words.
    pub error: String,
}

impl Failed {
    /// What an error of a target is about.
    pub fn of(error: &io::Error) -> Option<&Failed> {
        error.get_ref()?.downcast_ref()
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        let text = match self.code? {
            EIO | EREMOTEIO | EILSEQ => {
                "the disk, its cable or its USB bridge is failing: look at the kernel's log, try another port, replace the disk"
            }
            ENOSPC => {
                "make room where the image file lies, or check that the disk really has the size it claims"
            }
            EROFS | EACCES | EPERM => {
                "the disk has become read-only: worn-out drives do so to save what is on them"
            }
            ENODEV | ENXIO => {
                "the disk was unplugged or has crashed: plug it in again and start over"
            }
            _ => return None,
        };
        Some(text.into())
    }

    fn words(&self) -> &str {
        match self.code {
            Some(EIO | EREMOTEIO) => "the device reports an input/output error",
            Some(EILSEQ) => "the device reports damaged data",
            Some(ENOSPC) => "there is no space left",
            Some(EROFS | EACCES | EPERM) => "it is read-only",
            Some(ENODEV | ENXIO) => "the device is gone",
            Some(EBUSY) => "it is in use by somebody else",
            _ => &self.error,
        }
    }
}

// Linux, asm-generic/errno-base.h and errno.h: the same on every architecture this is built for.
pub(super) const EPERM: i32 = 1;
pub(super) const EIO: i32 = 5;
pub(super) const ENXIO: i32 = 6;
pub(super) const EACCES: i32 = 13;
pub(super) const EBUSY: i32 = 16;
pub(super) const ENODEV: i32 = 19;
pub(super) const EINVAL: i32 = 22;
pub(super) const ENOSPC: i32 = 28;
pub(super) const EROFS: i32 = 30;
pub(super) const EILSEQ: i32 = 84;
pub(super) const EOPNOTSUPP: i32 = 95;
pub(super) const EREMOTEIO: i32 = 121;
pub(super) const ENOMEDIUM: i32 = 123;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_said_in_words() {
        let failed = |code| Failed {
            doing: "writing",
            path: "/dev/sdb".into(),
            offset: 4096,
            length: 512,
            code,
            error: "odd".into(),
        };
        assert_eq!(
            failed(Some(ENOSPC)).to_string(),
            "writing 512 bytes at byte 4096 of /dev/sdb: there is no space left"
        );
        assert_eq!(
            failed(None).to_string(),
            "writing 512 bytes at byte 4096 of /dev/sdb: odd"
        );
        for code in [EIO, ENOSPC, EROFS, ENODEV] {
            assert!(failed(Some(code)).hint().is_some());
        }
        let error = io::Error::other(failed(Some(EIO)));
        assert_eq!(Failed::of(&error).and_then(|failed| failed.code), Some(EIO));
        assert_eq!(Failed::of(&io::Error::other("else")), None);
    }
}
