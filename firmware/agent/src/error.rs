//! Why a node does not boot.

use std::io;
use std::time::Duration;

use prejoin_disk::layout::Error as Problem;
use prejoin_formats::gpt::ReadError;
use prejoin_formats::verity;
use prejoin_wire::handoff;

use crate::menu::Choice;
use crate::superblock::Content;
use crate::{archive, cmdline, layout};

/// Everything that ends in the rescue screen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{doing}: {source}")]
    Io { doing: String, source: io::Error },
    #[error(transparent)]
    CommandLine(#[from] cmdline::Error),
    #[error("no disk has {wanted}; waited {} s, and saw {seen}", waited.as_secs())]
    NoDisk {
        wanted: String,
        waited: Duration,
        seen: String,
    },
    #[error("more than one disk has {wanted}: {disks}")]
    Ambiguous { wanted: String, disks: String },
    #[error("{disk} has no identity partition of the node that it started as; looked at {seen}")]
    NoIdentity { disk: String, seen: String },
    #[error("{disk} has more than one identity partition of the node that it started as: {found}")]
    Identities { disk: String, found: String },
    #[error("{disk}: {source}")]
    Layout { disk: String, source: layout::Error },
    #[error("{disk}: the partition table cannot be changed without losing something: {finding}")]
    Uneditable { disk: String, finding: String },
    #[error("{disk}: reading back the partition table that was just written: {source}")]
    ReadBack { disk: String, source: ReadError },
    #[error("{disk}: the partition table reads back differently from what was written")]
    NotWritten { disk: String },
    #[error(
        "{device}: the kernel sees partition {number} at byte {kernel}, the partition table says {table}"
    )]
    KernelDiffers {
        device: String,
        number: u32,
        kernel: u64,
        table: u64,
    },
    #[error("{device}: {source}")]
    Verity {
        device: String,
        source: verity::Error,
    },
    #[error("{device} has {actual} bytes, and its hashes are for {needed}")]
    Truncated {
        device: String,
        actual: u64,
        needed: u64,
    },
    #[error("the identity partition {device} cannot be used: {what}: {source}")]
    Identity {
        device: String,
        what: &'static str,
        source: io::Error,
    },
    #[error("{document} on {device}: {source}")]
    Handoff {
        device: String,
        document: &'static str,
        source: handoff::Error,
    },
    #[error("{file} on {device} has {found} bytes, {limit} are allowed")]
    Large {
        device: String,
        file: &'static str,
        found: u64,
        limit: u64,
    },
    #[error("node.cpio on {device} is not the one node.json describes")]
    Digest { device: String },
    #[error("the node's files: {0}")]
    Archive(#[from] archive::Error),
    #[error(
        "{device}, the node's {name}, was in use and does not begin as it should; it holds {content}"
    )]
    Unexpected {
        device: String,
        name: String,
        content: Content,
    },
    #[error("{program} on {device} failed ({status}): {output}")]
    Tool {
        program: &'static str,
        device: String,
        status: String,
        output: String,
    },
}

impl Error {
    /// What can be done about it at once, by a step that can be done again: finding the disk, and preparing the state.
    pub(crate) fn choices(&self) -> &'static [Choice] {
        match self {
            Error::NoDisk { .. } | Error::Ambiguous { .. } => &[Choice::Retry],
            Error::Unexpected {
                content: Content::Damaged(_),
                ..
            } => &[Choice::Repair, Choice::Make],
            Error::Unexpected { .. } => &[Choice::Make],
            Error::Tool {
                program: "e2fsck", ..
            } => &[Choice::Repair, Choice::Make],
            Error::Tool {
                program: "mke2fs", ..
            } => &[Choice::Retry],
            _ => &[],
        }
    }

    /// What the person in front of the machine can do.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Error::CommandLine(_) => {
                "The boot entry is not one that prejoin made, or was edited. If the boot menu has another entry, choose \
                 that; otherwise write the image again."
            }
            Error::NoDisk { .. } => {
                "Check that the disk is connected and that the firmware sees it, and try again. If it always needs \
                 longer to appear, put prejoin.wait=120 into kernel_args of cluster.yaml. If it is not in the list \
                 above, its driver may be missing from the image's board profile. If it is, it holds another image than this kernel belongs \
                 to: write the image again."
            }
            Error::Ambiguous { .. } => {
                "The same image was written to several disks of this machine, and prejoin does not guess. Remove all \
                 but one of them and try again, or wipe the copy that is not wanted."
            }
            Error::Layout {
                source: layout::Error::Table(Problem::Full { .. }),
                ..
            } => {
                "Use a larger disk, or ask for smaller partitions in cluster.yaml and write the image again."
            }
            Error::Layout { .. } | Error::Uneditable { .. } | Error::KernelDiffers { .. } => {
                "The partition table is not the one the image was made with. Nothing was changed. Look at it with \
                 `prejoin disk inspect` on another machine, or write the image again."
            }
            Error::Verity { .. } | Error::Truncated { .. } => {
                "This slot holds no complete system. If the boot menu has another entry, choose that; otherwise write \
                 the image again."
            }
            Error::Handoff {
                source: handoff::Error::Version { .. },
                ..
            } => {
                "The identity was made by another version of prejoin than the system. Write both from the same one."
            }
            Error::Identity { .. }
            | Error::NoIdentity { .. }
            | Error::Identities { .. }
            | Error::Handoff { .. }
            | Error::Digest { .. }
            | Error::Archive(_)
            | Error::Large { .. } => {
                "The identity partition is empty, damaged or incomplete. Write the node's image again; the state of a \
                 node that has run before is found again if the same disk is used."
            }
            Error::Unexpected {
                content: Content::Damaged(_),
                ..
            } => {
                "Nothing was changed on it. Below, it can be repaired as far as possible (what the lost superblocks \
                 described is lost) or made anew, without anything that was on it."
            }
            Error::Unexpected { .. } => {
                "Nothing was changed on it. If its data matters, switch off and look at it on another machine. If not, \
                 make it anew below: all that is on it is lost."
            }
            Error::Tool {
                program: "e2fsck", ..
            } => {
                "The file system of /var is damaged beyond what is repaired without asking. Below, it can be repaired \
                 as far as possible, or made anew; a control plane node made anew can rejoin. With \
                 prejoin.fsck=repair in kernel_args of cluster.yaml it is always repaired without asking."
            }
            Error::NotWritten { .. } | Error::ReadBack { .. } => {
                "The disk does not keep what is written to it: it is failing, full of worn cells, or write-protected. \
                 Replace it."
            }
            Error::Tool { .. } | Error::Io { .. } => {
                "If the kernel messages above tell of I/O errors, the disk or its cable is failing: replace it. \
                 Otherwise restart; if it happens again, write the image again."
            }
        }
    }
}

/// Says what was being done when an operating system call failed.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::Io {
            doing: what(),
            source,
        })
    }
}
