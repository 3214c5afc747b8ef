//! Kubernetes binaries and other files that are not packages: pinned once, then taken by their digest.
//!
//! Nobody signs a list of all of them, so the first one to be seen decides: [`lock`] fetches each file, compares it
//! with upstream's checksum file, says so where there is none, looks whether it holds the programs it should, and records size
//! and SHA-256. From then on [`fetch`] takes nothing else, and [`lock`] itself only refuses when a released file has
//! changed.

#![expect(clippy::disallowed_methods, reason = "programs are files of the cache")]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use prejoin_formats::tree::{Entry, Tree};
use prejoin_profiles::distribution::{ARCHIVE, Wanted, listed};
use prejoin_profiles::lock::{self, Lock};
use prejoin_wire::architecture::Architecture;
use prejoin_wire::digest::Digest;

use super::cache::Cache;
use super::error::FetchError;
use super::fetch::{Download, Fetcher};
use super::mirror::{self, Mirrors};
use crate::class::Class;
use crate::events::Event;
use crate::tree::artifact::{self, MAX_PROGRAM};

/// Largest checksum file that is read, bytes.
const MAX_CHECKSUMS: u64 = 1 << 20;

/// Why the artifacts of a cluster cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No place has the file.
    #[error("{name} {version} for {architecture} cannot be found: {}", looked.join(", "))]
    Missing {
        /// What it is: `kubelet`.
        name: String,
        /// Version as upstream writes it.
        version: String,
        /// Machine architecture.
        architecture: Architecture,
        /// Where it was looked for, and what came of it.
        looked: Vec<String>,
        /// Whether a folder or mirror was named, and upstream therefore not asked.
        named: bool,
        /// Whether each place answered that it has no such file.
        answered: bool,
    },
    /// Several of them are missing: all are named at once.
    #[error("{} files cannot be found{}", .0.len(), list(.0))]
    AllMissing(Vec<Error>),
    /// The lock is older than the cluster file, or another cluster's.
    #[error("the lock has no {name} {version} for {architecture}")]
    NotLocked {
        /// What it is: `kubelet`.
        name: String,
        /// Version as upstream writes it.
        version: String,
        /// Machine architecture.
        architecture: Architecture,
    },
    /// It is there, and not what it should be.
    #[error(transparent)]
    Program(#[from] artifact::Error),
    /// It could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It is there; what to compare it with may be, and could not be fetched.
    #[error("{name} was not pinned: its checksum file cannot be read")]
    Checksum {
        /// What it is, with version and architecture.
        name: String,
        /// Why.
        #[source]
        source: Box<FetchError>,
    },
}

impl Error {
    /// Who can do something about it.
    pub fn class(&self) -> Class {
        match self {
            Error::AllMissing(all) => all.first().map_or(Class::Input, Error::class),
            Error::Missing { named: true, .. } | Error::NotLocked { .. } => Class::Input,
            Error::Missing { named: false, .. } => Class::Network,
            Error::Program(_) => Class::Integrity,
            Error::Fetch(error) => error.class(),
            Error::Checksum { source, .. } => source.class(),
        }
    }

    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::AllMissing(all) => all.first()?.hint(),
            Error::Missing { named: true, .. } => Some(
                "put the file there; upstream is asked where neither `artifacts:` nor a mirror of `artifacts` is \
                     named"
                    .into(),
            ),
            Error::Missing { .. } => Some(
                "run this where the network reaches upstream, or name a folder or mirror that has the file as \
                 `artifacts: {from: …}` in the cluster file"
                    .into(),
            ),
            Error::NotLocked { .. } => Some("run `prejoin lock` again".into()),
            Error::Program(_) => Some("is the right file there, under the right name?".into()),
            Error::Fetch(FetchError::Altered { .. }) => Some(
                "a released file never changes: find out who changed it. If it is right, remove its entry from \
                 prejoin.lock and run `prejoin lock` again"
                    .into(),
            ),
            Error::Checksum { .. } => Some(
                "try again later; or put the file and its checksum, once you have compared them, into a folder that \
                 `artifacts: {from: …}` of the cluster file names"
                    .into(),
            ),
            Error::Fetch(error) => error.hint(),
        }
    }
}

/// One to a line.
fn list(all: &[Error]) -> String {
    all.iter().map(|error| format!("\n  {error}")).collect()
}

/// Where artifacts come from: what `settings` name for all of them ([`ARCHIVE`]) or for an upstream's host, and `from`
/// (a folder, seen from `folder`, or an address) if the cluster file has one; else upstream. apt's sources say nothing
/// about artifacts.
pub fn mirrors(
    from: Option<&str>,
    folder: &Path,
    wanted: &BTreeMap<String, Wanted>,
    settings: &mirror::Settings,
) -> Result<Mirrors, FetchError> {
    let mut bases = settings.cluster.clone();
    let mut archives = vec![ARCHIVE.to_owned()];
    for wanted in wanted.values() {
        for url in [&wanted.url, &wanted.checksum] {
            let (scheme, host, _) = parts(url);
            bases
                .entry(host.to_owned())
                .or_insert_with(|| vec![format!("{scheme}://{host}")]);
            archives.push(host.to_owned());
        }
    }
    if let Some(from) = from {
        let base = match from.contains("://") {
            true => from.to_owned(),
            false => {
                // As a path, in which nothing is encoded.
                let path = std::path::absolute(folder.join(from))
                    .map_err(FetchError::io("finding", folder))?;
                path.display().to_string()
            }
        };
        bases.insert(ARCHIVE.to_owned(), vec![base]);
    }
    let settings = mirror::Settings {
        cluster: bases,
        host: Vec::new(),
        ..settings.clone()
    };
    Mirrors::find(archives.iter().map(String::as_str), &settings)
}

/// Pins every wanted file: as `previous` has it, or as it is found now.
pub fn lock(
    fetcher: &Fetcher<'_>,
    mirrors: &Mirrors,
    wanted: &BTreeMap<String, Wanted>,
    previous: Option<&Lock>,
) -> Result<BTreeMap<String, lock::Artifact>, Error> {
    let (mut locked, mut missing) = (BTreeMap::new(), Vec::new());
    let total = wanted.len() as u64;
    for (at, (key, wanted)) in wanted.iter().enumerate() {
        let name = format!("{} {}", wanted.name, wanted.version);
        fetcher.event(Event::Progress {
            doing: "pinning",
            name,
            done: at as u64,
            total,
        });
        let known = previous
            .and_then(|lock| lock.artifacts.get(key))
            .filter(|known| is_same(known, wanted));
        let artifact = match known {
            // What is in the cache was looked at when it was pinned.
            Some(known) if fetcher.cache.path(&known.sha256).exists() => known.clone(),
            Some(known) => {
                let path = fetch_one(fetcher, mirrors, wanted, known)?;
                unpack(wanted, &path)?;
                known.clone()
            }
            None => match pin(fetcher, mirrors, wanted) {
                Ok(pinned) => pinned,
                // The others are looked for, too, so that whoever brings files brings all of them. Where a place did
                // not answer, it would not answer the next time either, and each time it is waited for.
                Err(error @ Error::Missing { answered: true, .. }) => {
                    missing.push(error);
                    continue;
                }
                Err(error) => return Err(error),
            },
        };
        locked.insert(key.clone(), artifact);
    }
    match missing.len() {
        0 => Ok(locked),
        1 => Err(missing.remove(0)),
        _ => Err(Error::AllMissing(missing)),
    }
}

/// Brings every wanted file into the cache, as the lock has it, and gives the paths by key.
pub fn fetch(
    fetcher: &Fetcher<'_>,
    mirrors: &Mirrors,
    wanted: &BTreeMap<String, Wanted>,
    lock: &Lock,
) -> Result<BTreeMap<String, PathBuf>, Error> {
    let mut paths = BTreeMap::new();
    for (key, wanted) in wanted {
        let Some(known) = lock
            .artifacts
            .get(key)
            .filter(|known| is_same(known, wanted))
        else {
            let Wanted {
                name,
                version,
                architecture,
                ..
            } = wanted.clone();
            return Err(Error::NotLocked {
                name,
                version,
                architecture,
            });
        };
        paths.insert(key.clone(), fetch_one(fetcher, mirrors, wanted, known)?);
    }
    Ok(paths)
}

/// Programs to be laid over the packages' tree, their bytes in files of the cache.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    /// Where they go; contents are blobs.
    pub tree: Tree,
    /// The file that holds each content.
    pub files: BTreeMap<Digest, PathBuf>,
}

/// The programs of fetched files. One artifact is in memory at a time: kubeadm's together have about 400 MB.
pub fn programs(
    cache: &Cache,
    wanted: &BTreeMap<String, Wanted>,
    paths: &BTreeMap<String, PathBuf>,
) -> Result<Programs, Error> {
    let mut programs = Programs::default();
    for (key, wanted) in wanted {
        let Some(path) = paths.get(key) else { continue };
        for artifact::Program { path, content } in unpack(wanted, path)? {
            let digest = cache.store(&content)?;
            programs
                .tree
                .insert(&path, Entry::blob(digest.0, content.len() as u64, 0o755));
            programs.files.insert(digest, cache.path(&digest));
        }
    }
    Ok(programs)
}

fn unpack(wanted: &Wanted, path: &Path) -> Result<Vec<artifact::Program>, Error> {
    let file = File::open(path).map_err(FetchError::io("opening", path))?;
    Ok(artifact::unpack(wanted, file)?)
}

/// Whether a lock's entry is about the wanted file.
fn is_same(known: &lock::Artifact, wanted: &Wanted) -> bool {
    (&known.version, known.architecture) == (&wanted.version, wanted.architecture)
}

/// Fetches a file that nobody has pinned yet.
fn pin(fetcher: &Fetcher<'_>, mirrors: &Mirrors, wanted: &Wanted) -> Result<lock::Artifact, Error> {
    let name = format!(
        "{} {} for {}",
        wanted.name, wanted.version, wanted.architecture
    );
    if fetcher.offline() {
        return Err(FetchError::Offline { name, sha256: None }.into());
    }
    let (mut looked, mut answered) = (Vec::new(), true);
    for place in places(mirrors, wanted) {
        let bytes = fetcher.fetch_signed(&name, &place.archive, &place.path, MAX_PROGRAM, Ok);
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error @ (FetchError::Missing { .. } | FetchError::Network { .. })) => {
                let bases = mirrors.of(&place.archive).unwrap_or_default().join(", ");
                let answer = match error {
                    FetchError::Network { reason, .. } => {
                        answered = false;
                        format!(" ({reason})")
                    }
                    _ => String::new(),
                };
                looked.push(format!("{bases}/{}{answer}", place.path));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let sha256 = Digest::of(&bytes);
        compare(fetcher, wanted, &place, &name, sha256)?;
        artifact::unpack(wanted, bytes.as_slice())?;
        fetcher.cache.store(&bytes)?;
        return Ok(wanted.locked(bytes.len() as u64, sha256));
    }
    let Wanted {
        name,
        version,
        architecture,
        ..
    } = wanted.clone();
    Err(Error::Missing {
        name,
        version,
        architecture,
        looked,
        named: is_named(mirrors),
        answered,
    })
}

/// Compares with the checksum file beside. Where there is none, the file is pinned on first use, and that is said.
/// One that there may be and that cannot be reached now is an error: whoever cuts that connection must not decide that
/// nothing is compared.
fn compare(
    fetcher: &Fetcher<'_>,
    wanted: &Wanted,
    place: &Place,
    name: &str,
    found: Digest,
) -> Result<(), Error> {
    let warn = |what: &str| {
        let message = format!(
            "{name} was pinned on first use (SHA-256 {found}), compared with nothing: {what}"
        );
        fetcher.event(Event::Warning { message });
    };
    let title = format!("the checksum of {name}");
    let file = fetcher.fetch_signed(
        &title,
        &place.checksum_archive,
        &place.checksum,
        MAX_CHECKSUMS,
        Ok,
    );
    let text = match file {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(FetchError::Missing { .. }) => {
            warn(&format!("there is no checksum file {}", place.checksum));
            return Ok(());
        }
        Err(error) => {
            return Err(Error::Checksum {
                name: name.to_owned(),
                source: Box::new(error),
            });
        }
    };
    match listed(&text, wanted.upstream_name()).or_else(|| listed(&text, &wanted.file)) {
        Some(expected) if expected == found => Ok(()),
        Some(expected) => Err(FetchError::Altered {
            name: name.to_owned(),
            expected,
            found: found.to_string(),
        }
        .into()),
        None => {
            warn(&format!(
                "the checksum file {} does not list it",
                place.checksum
            ));
            Ok(())
        }
    }
}

/// Fetches a file by its digest, unless the cache has it.
fn fetch_one(
    fetcher: &Fetcher<'_>,
    mirrors: &Mirrors,
    wanted: &Wanted,
    known: &lock::Artifact,
) -> Result<PathBuf, Error> {
    let name = format!(
        "{} {} for {}",
        wanted.name, wanted.version, wanted.architecture
    );
    let places = places(mirrors, wanted);
    let download = Download {
        name,
        archive: places[0].archive.clone(),
        paths: places.iter().map(|place| place.path.clone()).collect(),
        size: known.size,
        sha256: known.sha256,
    };
    match fetcher.fetch(&download) {
        Err(FetchError::Missing { .. }) => {
            let base = mirrors.of(&download.archive)?.join(", ");
            let looked = download
                .paths
                .iter()
                .map(|path| format!("{base}/{path}"))
                .collect();
            let Wanted {
                name,
                version,
                architecture,
                ..
            } = wanted.clone();
            Err(Error::Missing {
                name,
                version,
                architecture,
                looked,
                named: is_named(mirrors),
                answered: true,
            })
        }
        other => Ok(other?),
    }
}

/// One place that may have a file, and its checksum file's.
struct Place {
    archive: String,
    path: String,
    checksum_archive: String,
    checksum: String,
}

/// All of them in order; never none, and all in one archive.
fn places(mirrors: &Mirrors, wanted: &Wanted) -> Vec<Place> {
    // Nothing decodes a path of the file system.
    let decoded = |archive: &str, path: &str| {
        let local = mirrors
            .of(archive)
            .unwrap_or_default()
            .iter()
            .all(|base| base.starts_with("file://"));
        if local {
            path.replace("%2B", "+")
        } else {
            path.to_owned()
        }
    };
    if !is_named(mirrors) {
        let ((_, archive, path), (_, host, checksum)) =
            (parts(&wanted.url), parts(&wanted.checksum));
        return vec![Place {
            archive: archive.to_owned(),
            path: decoded(archive, path),
            checksum_archive: host.to_owned(),
            checksum: decoded(host, checksum),
        }];
    }
    let place = |(path, checksum): (String, String)| Place {
        archive: ARCHIVE.to_owned(),
        path: decoded(ARCHIVE, &path),
        checksum_archive: ARCHIVE.to_owned(),
        checksum: decoded(ARCHIVE, &checksum),
    };
    wanted
        .places()
        .into_iter()
        .zip(wanted.checksum_places())
        .map(place)
        .collect()
}

/// Whether a folder or mirror for all artifacts was named.
fn is_named(mirrors: &Mirrors) -> bool {
    mirrors.of(ARCHIVE).is_ok()
}

/// Scheme, host and path.
fn parts(url: &str) -> (&str, &str, &str) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    (scheme, host, path)
}
