//! What can be wrong with a `.deb`.

use std::io;

use prejoin_wire::printable::printable;
use prejoin_wire::size::amount;

use crate::debian::control::ControlError;

/// Why a [`super::Sink`] did not keep a file. Whose fault it is decides what the user is told: a damaged package is
/// fetched again, a full disk is not its fault.
#[derive(Debug)]
pub enum SinkError {
    /// The content could not be read out of the package.
    Content(io::Error),
    /// It could not be put where it goes.
    Keep(io::Error),
}

/// A package that was not read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file, or a decompressor, failed underneath.
    #[error("reading {part}")]
    Read {
        /// Which part of the package.
        part: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The sink could not put a file where it goes. Nothing is wrong with the package.
    #[error("keeping a file of the package")]
    Keep(#[source] io::Error),
    /// The file ends inside this part.
    #[error("{0} is cut short")]
    Truncated(&'static str),
    /// Not an `ar` archive, or a damaged one.
    #[error("not a Debian package: {0}")]
    Archive(String),
    /// `debian-binary` says something else than 2.x.
    #[error("the package format is not 2.x but `{0}`")]
    Version(String),
    /// A member in a compression that is not read.
    #[error("`{0}` is compressed in a way that is not supported")]
    Compression(String),
    /// A tar header that makes no sense.
    #[error("{part}: {problem}")]
    Tar {
        /// `control.tar` or `data.tar`.
        part: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// More bytes came out of the decompressor than allowed.
    #[error("{part} unpacks to more than {}", amount(*.limit))]
    Bomb {
        /// `control.tar` or `data.tar`.
        part: &'static str,
        /// Most bytes allowed.
        limit: u64,
    },
    /// One member is refused.
    #[error("member `{member}`: {problem}")]
    Member {
        /// Its path as the archive has it.
        member: String,
        /// What is wrong with it.
        problem: Problem,
    },
    /// The control archive has no `control` file.
    #[error("control.tar has no control file")]
    NoControl,
    /// The control file lacks a field that every package has.
    #[error("the control file has no `{0}` field")]
    Field(&'static str),
    /// A field's value that no package has.
    #[error("`{field}` of the control file is `{value}`, which cannot be")]
    Value {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
    },
}

/// Why one archive member is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Starts with a slash.
    #[error("its path is absolute")]
    Absolute,
    /// Goes up.
    #[error("its path has a `..` component")]
    Parent,
    /// `//` or `/./`.
    #[error("its path has an empty component")]
    Empty,
    /// NUL byte.
    #[error("its path holds a NUL byte")]
    Nul,
    /// A control character where there should be plain text.
    #[error("{0} holds a control character")]
    ControlCharacter(&'static str),
    /// Not one stanza of a control file.
    #[error("it is no control file: {0}")]
    Control(ControlError),
    /// Longer than 4096 bytes, or a component longer than 255.
    #[error("its path is too long")]
    Long,
    /// Deeper than an image is read back.
    #[error("it lies deeper than {0} folders")]
    Deep(usize),
    /// The root as something else than a directory.
    #[error("it replaces the root directory")]
    Root,
    /// Two members with one path.
    #[error("it is in the archive twice")]
    Twice,
    /// A device node, a pipe, a sparse file ...
    #[error("it is {0}, which a package may not ship")]
    Kind(&'static str),
    /// Hard link to what is not an earlier regular file of the same package.
    #[error("it is a hard link to `{0}`, which is no earlier file of this package")]
    HardLink(String),
    /// Symbolic link to nothing.
    #[error("it is a symbolic link to `{0}`, which is no path")]
    Target(String),
    /// A file that is too large.
    #[error("it has {}, more than {}", amount(*.size), amount(*.limit))]
    TooLarge {
        /// Its size.
        size: u64,
        /// Most bytes allowed.
        limit: u64,
    },
    /// More members than allowed.
    #[error("the archive has more than {0} members")]
    TooMany(usize),
    /// Text that is not UTF-8.
    #[error("it is not UTF-8 text")]
    Encoding,
}

impl Error {
    pub(super) fn member(path: &[u8], problem: Problem) -> Self {
        Error::Member {
            member: printable(&String::from_utf8_lossy(path)).into_owned(),
            problem,
        }
    }

    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Read { .. } | Error::Truncated(_) | Error::Archive(_) | Error::Tar { .. } => {
                Some(
                    "the file is damaged: delete it from the cache, it will be fetched again"
                        .into(),
                )
            }
            _ => None,
        }
    }
}
