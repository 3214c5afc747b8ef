//! Why a disk was not written to the end.

use std::fmt;
use std::io;

use prejoin_formats::gpt;
use prejoin_wire::digest::ChunkDigest;

use super::Phase;
use super::kept::Fingerprint;
use crate::io::capacity::Fake;

/// Why a disk was not written to the end. Whatever it is but [`Error::Unlisted`], every kept partition is listed by a
/// valid table, and writing again completes the image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Plan, manifest and disk contradict each other; nothing was touched.
    #[error("the plan cannot be carried out: {0}")]
    Plan(String),
    /// The new table breaks a rule of the format; nothing was touched.
    #[error("making the new partition table")]
    Table(#[source] gpt::Error),
    /// The disk is not what it was when the plan was made; nothing was touched.
    #[error(
        "no valid copy of the partition table on the disk lists partition {number} ({name}), which is to be kept"
    )]
    NotListed {
        /// Number of the partition.
        number: u32,
        /// Its name.
        name: String,
    },
    /// The disk has a partition that it did not have when the plan was made, and that the new table would not list.
    #[error("{phase}: partition {number} ({name}) was not on the disk when it was looked at")]
    Appeared {
        /// When.
        phase: Phase,
        /// Number of the partition.
        number: u32,
        /// Its name.
        name: String,
    },
    /// The table was lost while it was being written: something else writes to the disk, or it forgets.
    #[error(
        "{phase}: no valid copy of the partition table lists partition {number} ({name}) any more, which is kept"
    )]
    Unlisted {
        /// When.
        phase: Phase,
        /// Number of the partition.
        number: u32,
        /// Its name.
        name: String,
    },
    /// The disk is smaller than it says.
    #[error(transparent)]
    Fake(Fake),
    /// The disk failed.
    #[error("{phase}: {doing} {spot}")]
    Io {
        /// When.
        phase: Phase,
        /// `reading`, `writing`, `zeroing`.
        doing: &'static str,
        /// Where.
        spot: Spot,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The disk did not bring its cache to the medium, or could not be read past the cache.
    #[error("{phase}: flushing the disk")]
    Flush {
        /// When.
        phase: Phase,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A chunk could not be had.
    #[error("{phase}: fetching chunk {digest} for {spot}")]
    Fetch {
        /// When.
        phase: Phase,
        /// The chunk.
        digest: ChunkDigest,
        /// Where it goes.
        spot: Spot,
        /// What its source says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A chunk was something else; none of it was written.
    #[error("{phase}: what came as chunk {digest} for {spot} has the digest {found}")]
    Chunk {
        /// When.
        phase: Phase,
        /// The chunk that was asked for.
        digest: ChunkDigest,
        /// What came.
        found: ChunkDigest,
        /// Where it would have gone.
        spot: Spot,
    },
    /// What was written reads back as something else, again and again.
    #[error("{phase}: {spot} reads back as something else, also after {repairs} repairs")]
    Unstable {
        /// When.
        phase: Phase,
        /// Where.
        spot: Spot,
        /// How often it was written anew.
        repairs: u32,
    },
    /// A kept partition is not what it was before the first write.
    #[error(
        "{phase}: kept partition {number} ({name}) was {before} before the first write and is {after} now"
    )]
    DataChanged {
        /// When it was noticed; before [`Phase::Commit`] the image does not start.
        phase: Phase,
        /// Number of the partition.
        number: u32,
        /// Its name.
        name: String,
        /// What it was.
        before: Fingerprint,
        /// What it is.
        after: Fingerprint,
    },
    /// The journal could not be read or written.
    #[error("{phase}: keeping the journal")]
    Journal {
        /// When.
        phase: Phase,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// What a user can do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::Plan(_) | Error::Table(_) => return None,
            Error::Fake(_) => {
                "use another disk: this one loses what is written behind its real end"
            }
            Error::NotListed { .. } | Error::Appeared { .. } => {
                "something changed the disk since it was looked at: look again"
            }
            Error::Unlisted { .. } => {
                "something else writes to this disk, or it fails: put the old table back before anything else"
            }
            Error::Io { .. } | Error::Flush { .. } | Error::Unstable { .. } => {
                "look at the cable, the power and the health of the disk; then write again, which goes on from here"
            }
            Error::Fetch { .. } | Error::Chunk { .. } => {
                "make or fetch the chunk anew; then write again"
            }
            Error::DataChanged { .. } => {
                "something else writes to this disk, or it fails: stop using it and look at the partition before anything else"
            }
            Error::Journal { .. } => "write again without a journal, comparing first",
        };
        Some(hint.into())
    }
}

/// A place on the disk, in words: `1048576+4096 (partition 1 "esp")`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
    /// What it belongs to.
    pub owner: String,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{} ({})", self.offset, self.length, self.owner)
    }
}
