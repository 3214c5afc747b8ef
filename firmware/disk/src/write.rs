//! Writing an image beside what stays, so that a power cut at any instant loses nothing.
//!
//! The order of things ([`Phase`]):
//!
//! 1. Whatever goes is overwritten with zeroes. If somebody had to name it, the table says before that it goes
//!    ([`RELEASED`]): the names may lie in what is cleared.
//! 2. The new table replaces the old one, copy by copy, with the image's partitions marked [`PARTIAL`].
//! 3. The image goes into its partitions, all but the first MiB of each; it is read back from the medium and repaired.
//! 4. The first MiB of each partition follows, that of the boot partition last; it is read back, too.
//! 5. The kept partitions are compared with what they were; then the table gets the image's real types.
//!    What the node makes for itself stays marked: the node takes the mark away when it has made it.
//!
//! Until the boot partition's first bytes are there nothing starts from the image; between them and the last table a node
//! may, which a later plan sees by what it has made. After any interruption [`write()`] is called again: with a
//! [`Journal`] it goes on where the last flush was, with [`Options::verify_first`] it compares what is there and writes
//! what differs. The image's bytes outside its partitions (its own table) are never written.

mod error;
mod journal;
mod kept;
mod pieces;
mod run;
mod saved;
mod table;

use std::fmt;

use prejoin_wire::digest::ChunkDigest;
use prejoin_wire::disk::Plan;
use prejoin_wire::manifest::Manifest;
use serde::{Deserialize, Serialize};

use crate::device::WriteAt;

pub use error::{Error, Spot};
pub use journal::{Journal, Record, identity};
pub use kept::{Fingerprint, Proof};
pub use saved::{Area, Saved, before, restore};
pub use table::{PARTIAL, RELEASED, replace_table};

/// How often something that reads back wrongly is written anew.
const REPAIRS: u32 = 3;

/// One image to one disk.
pub struct Job<'a> {
    /// What is written where, and what stays.
    pub plan: &'a Plan,
    /// The image; the plan was made for it.
    pub manifest: &'a Manifest,
    /// Where the image's bytes come from.
    pub chunks: &'a dyn Chunks,
    /// Where they go.
    pub disk: &'a (dyn WriteAt + Sync),
    /// Where progress is kept.
    pub journal: Option<&'a dyn Journal>,
    /// How it is done.
    pub options: Options,
    /// Who wants to know; called from several threads.
    pub events: &'a (dyn Fn(Event) + Sync),
}

/// The chunks of an image, decompressed.
pub trait Chunks: Sync {
    /// Fills `into`, which is as long as the chunk, with the chunk called `digest`. Called from several threads. The
    /// bytes are checked by the caller.
    fn read(
        &self,
        digest: &ChunkDigest,
        into: &mut [u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;

    /// Fails if a chunk is not there, without reading it: asked of each before the first write. Who fetches chunks over
    /// a wire has nothing to say.
    fn find(
        &self,
        _digest: &ChunkDigest,
        _length: u64,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }
}

/// How an image is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Compare the disk with the image first, and write only what differs: an interrupted run without a journal, a new
    /// version of an image, an audit. If nothing differs, nothing is written. The journal is not believed.
    pub verify_first: bool,
    /// Read back everything that was written. Tables and kept partitions are read back in any case.
    pub read_back: bool,
    /// See first whether the disk is as large as it says, by what it does with the bytes of the table's copy at its end.
    pub size_check: bool,
    /// Threads that fetch, hash, write and read; each takes 2 MiB of memory.
    pub threads: usize,
    /// Sizes of things.
    pub sizes: Sizes,
}

impl Default for Options {
    /// Reads back, on four threads: enough to keep a disk busy while two cores hash.
    fn default() -> Self {
        Options {
            verify_first: false,
            read_back: true,
            size_check: false,
            threads: 4,
            sizes: Sizes::default(),
        }
    }
}

/// Sizes in bytes; other than the default ones in tests, whose disks are small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// First bytes of each partition, which are written after everything else.
    pub head: u64,
    /// Bytes after which the disk is flushed and the journal told.
    pub group: u64,
    /// Most bytes that are made zero at once.
    pub zero: u64,
}

impl Default for Sizes {
    /// 1 MiB, 256 MiB, 64 MiB.
    fn default() -> Self {
        Sizes {
            head: 1 << 20,
            group: 256 << 20,
            zero: 64 << 20,
        }
    }
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The disk is compared with the image.
    Compare,
    /// What goes is overwritten with zeroes.
    Clear,
    /// The table that says what goes, and the one with partial partitions, are written.
    Table,
    /// The image is written, but for the first bytes of each partition.
    Write,
    /// It is read back.
    Verify,
    /// The first bytes of each partition are written and read back.
    Heads,
    /// The kept partitions are read, and the final table is written.
    Commit,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Compare => "comparing",
            Phase::Clear => "clearing",
            Phase::Table => "preparing the partition table",
            Phase::Write => "writing",
            Phase::Verify => "verifying",
            Phase::Heads => "writing the start of each partition",
            Phase::Commit => "committing",
        })
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A phase begins, or its next portion: what was written is read back, repaired and read again.
    Begin {
        /// Which.
        phase: Phase,
        /// Bytes of this portion; 0 for tables.
        total: u64,
    },
    /// It goes on.
    Progress {
        /// Which.
        phase: Phase,
        /// Bytes of this portion that were given to the disk, or read from it.
        sent: u64,
        /// Bytes that a power cut no longer loses; the same as `sent` where nothing is written.
        done: u64,
        /// As at its beginning.
        total: u64,
    },
    /// Something read back wrongly and is written anew.
    Repair {
        /// When.
        phase: Phase,
        /// Where.
        spot: Spot,
    },
    /// A phase is over.
    End {
        /// Which.
        phase: Phase,
    },
}

/// What was done. Numbers are bytes, unless they say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// Of the image: written as data.
    pub written: u64,
    /// Of the image: made zero.
    pub zeroed: u64,
    /// Of the image: compared, found equal and left.
    pub equal: u64,
    /// Of the image: on the medium since an earlier run, as the journal says.
    pub resumed: u64,
    /// Outside the image: made zero.
    pub cleared: u64,
    /// Tables: written.
    pub tables: u64,
    /// Read back from the medium after being written, and right.
    pub verified: u64,
    /// How many pieces read back wrongly and were written anew.
    pub repairs: u64,
    /// The kept partitions, before and after.
    pub kept: Vec<Proof>,
}

/// Writes an image. An error leaves the disk so that writing again completes it, and nothing that is kept is touched.
pub fn write(job: &Job) -> Result<Written, Error> {
    run::write(job)
}
