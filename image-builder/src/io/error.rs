//! What can go wrong between a profile and verified packages on the disk.

use std::io;
use std::path::{Path, PathBuf};

use prejoin_wire::digest::Digest;

use crate::class::Class;
use crate::debian::keyring::KeyringError;
use crate::debian::release::ReleaseError;
use crate::debian::repository::IndexError;

/// An error of mirrors, downloads and the cache.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nobody says where an archive is.
    #[error("no mirror is known for archive `{archive}`")]
    NoMirror {
        /// Name of the archive.
        archive: String,
    },
    /// An address that cannot be one.
    #[error(
        "`{address}` ({origin}) is not a mirror address (http://, https://, file:/// or the path of a folder)"
    )]
    Address {
        /// As it was given.
        address: String,
        /// Who gave it.
        origin: String,
    },
    /// No mirror gave the file, after all attempts.
    #[error("downloading {name}: {reason}")]
    Network {
        /// The file, for people.
        name: String,
        /// What the last attempt said.
        reason: String,
    },
    /// Mirrors answer, but none has the file.
    #[error("no mirror of archive `{archive}` has {name} ({path}{})", digest(sha256.as_ref()))]
    Missing {
        /// The file, for people.
        name: String,
        /// Its archive.
        archive: String,
        /// Path below the archive.
        path: String,
        /// Digest, if it is known.
        sha256: Option<Digest>,
    },
    /// Not in the cache while offline.
    #[error("{name} is not in the cache, and nothing may be downloaded (offline){}", digest(sha256.as_ref()))]
    Offline {
        /// The file, for people.
        name: String,
        /// Digest, if it is known.
        sha256: Option<Digest>,
    },
    /// What came has another digest or size.
    #[error("{name} is not what was signed for: expected SHA-256 {expected}, got {found}")]
    Altered {
        /// The file, for people.
        name: String,
        /// Digest in the lock or in the index.
        expected: Digest,
        /// Digest or size found.
        found: String,
    },
    /// A file of the cache was changed behind our back.
    #[error("{} in the cache was altered: its name says SHA-256 {expected}, it has {found}", path.display())]
    Cache {
        /// The file.
        path: PathBuf,
        /// Digest that is its name.
        expected: Digest,
        /// Digest or size found.
        found: String,
    },
    /// A file or folder of this machine.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was being done, as a gerund.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The pinned keys could not be loaded.
    #[error("loading the keys of repository `{repository}`")]
    Keyring {
        /// Repository in the profile.
        repository: String,
        /// Why.
        source: KeyringError,
    },
    /// A release was refused.
    #[error("refusing the release of repository `{repository}` (suite {suite})")]
    Release {
        /// Repository in the profile.
        repository: String,
        /// Suite asked for.
        suite: String,
        /// Why.
        source: ReleaseError,
    },
    /// The release does not list an index that the profile wants.
    #[error("repository `{repository}` has no component `{component}` for {architecture}")]
    Component {
        /// Repository in the profile.
        repository: String,
        /// Component in the profile.
        component: String,
        /// Architecture.
        architecture: String,
    },
    /// An index does not decompress to what the release says.
    #[error("unpacking the package index {name}: {reason}")]
    Index {
        /// The index, for people.
        name: String,
        /// Why.
        reason: String,
    },
    /// An index cannot be read.
    #[error(transparent)]
    Packages(#[from] IndexError),
    /// The lock does not have what is asked from it.
    #[error("the lock has no {what} `{name}`")]
    Lock {
        /// `package set` or `package`.
        what: &'static str,
        /// Its name.
        name: String,
    },
}

impl FetchError {
    /// Wraps an error of a file operation.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FetchError {
        let path = path.to_owned();
        move |source| FetchError::Io {
            doing,
            path,
            source,
        }
    }

    /// Who can do something about it.
    pub fn class(&self) -> Class {
        match self {
            FetchError::NoMirror { .. }
            | FetchError::Address { .. }
            | FetchError::Keyring { .. } => Class::Input,
            FetchError::Component { .. } | FetchError::Packages(_) | FetchError::Lock { .. } => {
                Class::Input
            }
            FetchError::Network { .. }
            | FetchError::Missing { .. }
            | FetchError::Offline { .. } => Class::Network,
            FetchError::Altered { .. } | FetchError::Cache { .. } | FetchError::Index { .. } => {
                Class::Integrity
            }
            FetchError::Release { .. } => Class::Integrity,
            FetchError::Io { .. } => Class::Environment,
        }
    }

    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            FetchError::NoMirror { archive } => {
                let variable = super::mirror::variable(archive);
                format!("name one with --mirror {archive}=URL, {variable}=URL, or `mirrors:` in the cluster file")
            }
            FetchError::Missing { sha256: Some(_), archive, .. } => {
                let variable = super::mirror::variable(archive);
                format!(
                    "the archive has moved on: run `prejoin lock` again, or point {variable} to a dated archive that \
                     still has it"
                )
            }
            FetchError::Missing { .. } => "is the mirror's address right, and does it carry this suite?".to_owned(),
            FetchError::Offline { .. } => "run once without --offline to fill the cache".to_owned(),
            FetchError::Altered { .. } => {
                "the mirror is being updated right now, or it is broken: try again later, or use another one".to_owned()
            }
            FetchError::Cache { path, .. } => format!("remove {} and download it again", path.display()),
            FetchError::Io { source, .. } => return room(source, CACHE_ELSEWHERE),
            FetchError::Release { source, .. } => return source.hint(),
            FetchError::Component { .. } => "look at `components:` of the repository in the profile".to_owned(),
            FetchError::Lock { .. } => "run `prejoin lock` again".to_owned(),
            FetchError::Keyring { .. } => "put the key's file beside the profile's other keys".to_owned(),
            FetchError::Network { .. } | FetchError::Address { .. } => return None,
            FetchError::Index { .. } | FetchError::Packages(_) => return None,
        })
    }
}

/// How the cache is put where there is room.
pub(crate) const CACHE_ELSEWHERE: &str = "put the cache elsewhere with --cache or PREJOIN_CACHE";

/// What the user can do about a place that could not be written to: only where room, or a permission, is what lacks.
pub fn room(error: &(dyn std::error::Error + 'static), elsewhere: &str) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return room_kind(error.kind()).map(|what| format!("{what}, or {elsewhere}"));
        }
        next = error.source();
    }
    None
}

fn room_kind(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some("free some space"),
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            Some("make the folder writable")
        }
        _ => None,
    }
}

fn digest(sha256: Option<&Digest>) -> String {
    sha256.map_or(String::new(), |sha256| format!(", SHA-256 {sha256}"))
}
