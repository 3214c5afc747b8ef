//! Progress of long work as values; only the command line draws.

use std::path::{Path, PathBuf};

/// Something that happened. Further kinds of work add their own variants.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A set of downloads begins: files and bytes that are not in the cache yet.
    Downloads {
        /// Files to fetch.
        files: usize,
        /// Bytes to fetch.
        bytes: u64,
    },
    /// A download moved on. Sent at its start, about every 256 KiB, and when `done` reaches `total`.
    Download {
        /// File name, for people.
        name: String,
        /// Bytes that are there, those of an earlier attempt included.
        done: u64,
        /// Bytes of the whole file.
        total: u64,
    },
    /// A download failed and is tried again.
    Retry {
        /// File name, for people.
        name: String,
        /// Which attempt failed, counted from 1.
        attempt: u32,
        /// Why.
        reason: String,
    },
    /// Other long work moved on.
    Progress {
        /// What is being done: `unpacking`, `rendering`, `exporting`.
        doing: &'static str,
        /// To what, for people.
        name: String,
        /// Units done.
        done: u64,
        /// Units in all.
        total: u64,
    },
    /// Another program has a folder, and this one waits for it.
    Waiting {
        /// Which folder.
        folder: PathBuf,
    },
    /// Something that is worth telling but did not stop the work.
    Warning {
        /// What.
        message: String,
    },
}

/// Where events go. Called from several threads.
pub type Sink<'a> = &'a (dyn Fn(Event) + Sync);

/// Says that a folder is waited for.
pub fn waiting(events: Sink) -> impl FnOnce(&Path) {
    move |folder| {
        events(Event::Waiting {
            folder: folder.to_owned(),
        });
    }
}
