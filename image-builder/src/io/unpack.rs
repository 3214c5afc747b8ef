//! From `.deb` files to [`Package`]s: each is decompressed once in the life of a cache.

#![expect(clippy::disallowed_methods, reason = "packages are files of the cache")]

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use prejoin_wire::digest::Digest;
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use super::error::{CACHE_ELSEWHERE, room};
use super::known::Known;
use super::pack::{self, Feed, Modules, Pack, Store, Writer};
use super::prune;
use crate::debian::deb::{self, Limits};
use crate::events::{Event, Sink};
use crate::package::Package;
use crate::tree::module;

/// A package file and what it must hash to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deb {
    /// The file.
    pub path: PathBuf,
    /// Its SHA-256, from the lock.
    pub sha256: Digest,
    /// `name_version_architecture`, from the lock.
    pub name: String,
}

/// Unpacked packages and their contents.
#[derive(Debug)]
pub struct Unpacked {
    /// In the order they were asked for.
    pub packages: Vec<Package>,
    /// The contents of all of them.
    pub store: Store,
}

/// A package that could not be unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is not there or cannot be read.
    #[error("opening {}", path.display())]
    Open {
        /// The package file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not what the lock says.
    #[error("{} hashes to {found}, not to {expected}", path.display())]
    Digest {
        /// The package file.
        path: PathBuf,
        /// From the lock.
        expected: Digest,
        /// Computed.
        found: Digest,
    },
    /// The file is called one package in the lock, and another one in its own control file.
    #[error("{} is {found}, not {expected}", path.display())]
    Identity {
        /// The package file.
        path: PathBuf,
        /// From the lock.
        expected: String,
        /// From its control file.
        found: String,
    },
    /// The package is damaged or holds what no package may.
    #[error("unpacking {}", path.display())]
    Deb {
        /// The package file.
        path: PathBuf,
        /// Why.
        source: deb::Error,
    },
    /// The package holds a kernel module that cannot be read.
    #[error("unpacking {}", path.display())]
    Module {
        /// The package file.
        path: PathBuf,
        /// Why.
        source: module::Error,
    },
    /// The cache cannot be written.
    #[error("writing {}", path.display())]
    Write {
        /// The pack.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Open { .. } => {
                Some("run it again without --offline: what the cache lacks will be fetched".into())
            }
            Error::Module { .. } => None,
            Error::Digest { path, .. } => Some(format!(
                "delete {}, it will be fetched again",
                path.display()
            )),
            Error::Identity { .. } => Some(
                "who signed the archive's index has signed the wrong name, or the lock was edited: run `prejoin lock` \
                 again, and tell the archive if it stays"
                    .into(),
            ),
            Error::Deb { source, .. } => source.hint(),
            Error::Write { source, .. } => room(source, CACHE_ELSEWHERE),
        }
    }
}

/// A package and its open pack.
type Opened = (Package, Pack);

/// Unpacks every package that has no pack below `cache` that `known` vouches for, the largest first, on all threads of
/// the current rayon pool, and opens the packs. Other packs are made again, whatever they hold.
pub fn unpack(
    debs: &[Deb],
    cache: &Path,
    known: &Known,
    limits: &Limits,
    events: Sink<'_>,
) -> Result<Unpacked, Error> {
    let mut opened: Vec<Option<Opened>> = debs
        .par_iter()
        .map(|deb| reopen(deb, cache, known))
        .collect();
    let mut missing: Vec<(u64, usize)> = Vec::new();
    for (index, _) in opened.iter().enumerate().filter(|(_, pack)| pack.is_none()) {
        let path = &debs[index].path;
        let size = path
            .metadata()
            .map_err(|source| Error::Open {
                path: path.clone(),
                source,
            })?
            .len();
        missing.push((size, index));
    }
    missing.sort_by_key(|&(size, index)| (std::cmp::Reverse(size), index));
    // Where there are fewer packages than threads, the others help to decompress them.
    let threads = rayon::current_num_threads() / missing.len().max(1);
    let limits = &Limits {
        threads: u32::try_from(threads).unwrap_or(1),
        ..limits.clone()
    };
    let (total, done) = (
        missing.iter().map(|&(size, _)| size).sum(),
        AtomicU64::new(0),
    );
    // A bridge hands packages out one by one in this order; splitting the list in halves would not.
    let made: Result<Vec<(usize, Opened)>, Error> = missing
        .into_iter()
        .par_bridge()
        .map(|(size, index)| {
            let made = make(&debs[index], cache, known.aside(), limits)?;
            known.insert(debs[index].sha256, made.1.index());
            let done = done.fetch_add(size, Ordering::Relaxed) + size;
            events(Event::Progress {
                doing: "unpacking",
                name: made.0.name.clone(),
                done,
                total,
            });
            Ok((index, made))
        })
        .collect();
    for (index, made) in made? {
        opened[index] = Some(made);
    }
    let mut unpacked = Unpacked {
        packages: Vec::with_capacity(debs.len()),
        store: Store::new(),
    };
    for ((package, pack), deb) in opened.into_iter().flatten().zip(debs) {
        check_identity(&package, deb)?;
        unpacked.packages.push(package);
        unpacked.store.add(pack);
    }
    Ok(unpacked)
}

/// A package is the one that the lock names: what is recorded of it on the node, and looked up when there are news of
/// security holes, are name and version out of its own control file.
fn check_identity(package: &Package, deb: &Deb) -> Result<(), Error> {
    let found = package.id();
    if found == deb.name {
        return Ok(());
    }
    Err(Error::Identity {
        path: deb.path.clone(),
        expected: deb.name.clone(),
        found,
    })
}

/// The pack of an earlier run, if it is what came of this package. One that is damaged is removed: should its package be
/// gone, too, the next run will know to fetch it.
fn reopen(deb: &Deb, cache: &Path, known: &Known) -> Option<Opened> {
    let path = pack::path(cache, &deb.sha256);
    match pack::open(&path) {
        Ok((package, pack)) => {
            prune::touch(&path);
            known
                .vouches(&deb.sha256, &pack.index())
                .then_some((package, pack))
        }
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                // Best effort: it will be replaced in any case.
                let _ = fs::remove_file(path);
            }
            None
        }
    }
}

/// Unpacks one package into its pack.
fn make(deb: &Deb, cache: &Path, aside: Option<&Path>, limits: &Limits) -> Result<Opened, Error> {
    let open = |source| Error::Open {
        path: deb.path.clone(),
        source,
    };
    let file = File::open(&deb.path).map_err(open)?;
    let path = pack::path(cache, &deb.sha256);
    let write = |source| Error::Write {
        path: path.clone(),
        source,
    };
    let mut writer = Writer::create(&path, aside).map_err(write)?;
    let mut input = Hashing {
        input: file,
        digest: Sha256::new(),
    };
    let modules = Modules::default();
    let read = rayon::in_place_scope(|scope| {
        deb::read(
            &mut input,
            limits,
            &mut Feed::new(&mut writer, scope, &modules),
        )
    });
    if let Err(deb::Error::Keep(source)) = read {
        return Err(write(source));
    }
    // The digest is judged first: a file that is not the locked one explains every other error of the package.
    io::copy(&mut input, &mut io::sink()).map_err(open)?;
    let found = Digest(input.digest.finalize().into());
    if found != deb.sha256 {
        return Err(Error::Digest {
            path: deb.path.clone(),
            expected: deb.sha256,
            found,
        });
    }
    let mut package = read.map_err(|source| Error::Deb {
        path: deb.path.clone(),
        source,
    })?;
    package.modules = modules.finish().map_err(|source| Error::Module {
        path: deb.path.clone(),
        source,
    })?;
    writer.finish(package).map_err(write)
}

/// Hashes what passes through.
struct Hashing {
    input: File,
    digest: Sha256,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.digest.update(&buffer[..count]);
        Ok(count)
    }
}
