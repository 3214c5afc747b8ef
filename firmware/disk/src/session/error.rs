//! Why a disk is not written, or not to its end.

use std::path::PathBuf;

use prejoin_wire::disk::{Code, Usage};

use crate::io;
use crate::io::keep::{self, Identity};
use crate::write;

/// Why a session ends early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be looked at, or had.
    #[error(transparent)]
    Disk(#[from] io::Error),
    /// The verdict.
    #[error("refused to write to {disk}: {codes}")]
    Refused {
        /// Its path.
        disk: String,
        /// Codes of what speaks against it.
        codes: String,
    },
    /// The image is not complete.
    #[error("looking for the image of {node}")]
    Chunk {
        /// Whose image.
        node: String,
        /// What is missing.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nobody has said where the old tables go.
    #[error("there is no folder for the old partition tables")]
    NoFolder,
    /// The old tables cannot be kept, or not read.
    #[error(transparent)]
    Keep(#[from] keep::Error),
    /// The question was not asked.
    #[error("{disk} needs a confirmation")]
    Unasked {
        /// Its path.
        disk: String,
    },
    /// A token of something else.
    #[error(
        "{}: {disk} is not as it was when it was confirmed, or it was something else that was confirmed",
        Code::IdChanged
    )]
    Unconfirmed {
        /// Its path.
        disk: String,
    },
    /// Another disk's name was typed.
    #[error("that is not the {what} of {disk}")]
    NotNamed {
        /// What it should have been.
        what: &'static str,
        /// Its path.
        disk: String,
    },
    /// It is not what was agreed to any more.
    #[error("{}: {what}", Code::IdChanged)]
    Changed {
        /// What has changed.
        what: String,
    },
    /// The journal cannot be used.
    #[error("the journal {}", path.display())]
    Journal {
        /// Its file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The old tables are from another disk.
    #[error("{} was saved from another disk ({saved}) than {disk} ({found})", file.display())]
    OtherDisk {
        /// Where they are.
        file: PathBuf,
        /// What they are from.
        saved: Box<Identity>,
        /// Path of the disk that was given.
        disk: String,
        /// What that one is.
        found: Box<Identity>,
    },
    /// The disk was divided anew since, or is another one.
    #[error(
        "{disk} carries neither the partition table that was saved as {} nor the one that was written over it",
        file.display()
    )]
    OtherTable {
        /// Where the old tables are.
        file: PathBuf,
        /// Path of the disk.
        disk: String,
    },
    /// Somebody uses it.
    #[error("{disk} is in use")]
    InUse {
        /// Its path.
        disk: String,
        /// Who.
        user: Usage,
    },
    /// Writing has failed.
    #[error(transparent)]
    Write(#[from] write::Error),
}

impl Error {
    pub(super) fn changed(what: String) -> Self {
        Error::Changed { what }
    }

    /// What a user can do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::Disk(error) => return error.hint(),
            Error::Keep(error) => return error.hint(),
            Error::Write(error) => return error.hint(),
            Error::Refused { .. }
            | Error::Chunk { .. }
            | Error::Unasked { .. }
            | Error::InUse { .. }
            | Error::Journal { .. } => return None,
            Error::NoFolder => "name one with --save",
            Error::Unconfirmed { .. } => {
                "look at the verdict again with --dry-run, and confirm that one"
            }
            Error::OtherDisk { .. } => "is it the right disk?",
            Error::OtherTable { .. } => {
                "it was divided anew since, or it is another disk; nothing was written"
            }
            Error::NotNamed { .. } => "nothing was written",
            Error::Changed { .. } => "nothing was written; look again with --dry-run",
        };
        Some(hint.into())
    }
}

/// A disk that is not written to its end.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Stopped {
    /// Why.
    pub error: Box<Error>,
    /// The tables that were there before, if it came that far.
    pub saved: Option<PathBuf>,
    /// Why the kernel does not use the table that is there now, if so.
    pub kernel: Option<std::io::Error>,
    /// Something was written: after that, nothing may say that nothing was.
    pub has_begun: bool,
}

impl Stopped {
    pub(super) fn before_writing(error: Error) -> Self {
        Stopped {
            error: Box::new(error),
            saved: None,
            kernel: None,
            has_begun: false,
        }
    }
}
