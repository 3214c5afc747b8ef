//! From repositories of a profile to indexes that were checked from the signature down.
#![expect(clippy::disallowed_methods, reason = "reads index files of the cache")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::PathBuf;
use std::thread;

use liblzma::read::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};
use prejoin_profiles::lock::{self, Lock};
use prejoin_profiles::os::Repository;
use prejoin_wire::architecture::Architecture;
use prejoin_wire::digest::Digest;
use prejoin_wire::size::amount;

use super::error::FetchError;
use super::fetch::{Download, Fetcher};
use crate::debian::keyring::Keyring;
use crate::debian::release::{self, Policy, Release};
use crate::debian::repository::Index;
use crate::events::Event;

/// What the repositories hold right now.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Releases by repository name, for the lock.
    pub releases: BTreeMap<String, lock::Release>,
    /// Indexes by architecture, in the order of repository names and components.
    pub indexes: BTreeMap<Architecture, Vec<Index>>,
}

/// What is wanted from the repositories.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// By name, from the operating system profile.
    pub repositories: &'a BTreeMap<String, Repository>,
    /// For which architectures.
    pub architectures: &'a [Architecture],
    /// OpenPGP key files.
    pub keys: &'a [&'a [u8]],
    /// The last lock: releases older than the ones in there are refused.
    pub previous: Option<&'a Lock>,
    /// The time, seconds since 1970.
    pub now: i64,
    /// Take releases past their `Valid-Until`, for dated archives.
    pub accept_expired: bool,
}

/// Largest index that is read, unpacked, bytes. Debian's main component has 56 MB.
const MAX_INDEX: u64 = 1 << 30;

/// Memory for the xz dictionary: `xz -9` needs 65 MiB.
const XZ_MEMORY: u64 = 128 << 20;

/// An index file to fetch, and what it unpacks to.
struct Listed<'a> {
    repository: &'a str,
    spec: &'a Repository,
    architecture: Architecture,
    download: Download,
    /// Size and digest when unpacked, if the release says.
    plain: Option<(u64, Digest)>,
}

/// Fetches and verifies releases, then the indexes that they vouch for.
pub fn snapshot(fetcher: &Fetcher<'_>, query: &Query<'_>) -> Result<Snapshot, FetchError> {
    let mut releases = BTreeMap::new();
    for (name, repository) in query.repositories {
        releases.insert(
            name.as_str(),
            fetch_release(fetcher, query, name, repository)?,
        );
    }
    let mut listed = Vec::new();
    for (name, spec) in query.repositories {
        for architecture in query.architectures {
            list(
                name,
                spec,
                *architecture,
                &releases[name.as_str()],
                &mut listed,
            )?;
        }
    }
    let downloads: Vec<_> = listed
        .iter()
        .map(|listed| listed.download.clone())
        .collect();
    let paths = fetcher.fetch_all(&downloads)?;
    let texts = unpack_all(&listed, &paths)?;

    let mut snapshot = Snapshot::default();
    for (listed, text) in listed.iter().zip(texts) {
        snapshot
            .indexes
            .entry(listed.architecture)
            .or_default()
            .push(Index {
                repository: listed.repository.to_owned(),
                archive: listed.spec.archive.clone(),
                priority: listed.spec.priority,
                text,
            });
    }
    for (name, release) in releases {
        let suite = query.repositories[name].suite.clone();
        let (date, sha256) = (release.date, release.sha256);
        snapshot.releases.insert(
            name.to_owned(),
            lock::Release {
                suite,
                date,
                sha256,
            },
        );
    }
    Ok(snapshot)
}

fn fetch_release(
    fetcher: &Fetcher<'_>,
    query: &Query<'_>,
    name: &str,
    repository: &Repository,
) -> Result<Release, FetchError> {
    let keyring =
        Keyring::pinned(&repository.keys, query.keys.iter().copied()).map_err(|source| {
            FetchError::Keyring {
                repository: name.to_owned(),
                source,
            }
        })?;
    let known = query
        .previous
        .and_then(|lock| lock.releases.get(name))
        .filter(|known| known.suite == repository.suite);
    let policy = Policy {
        suite: &repository.suite,
        now: query.now,
        newest: known.map(|release| release.date),
        accept_expired: query.accept_expired,
    };
    let open = |bytes: &[u8]| {
        let (repository, suite) = (name.to_owned(), repository.suite.clone());
        Release::open(bytes, &keyring, &policy).map_err(|source| FetchError::Release {
            repository,
            suite,
            source,
        })
    };
    let title = format!("the release of {} {}", repository.archive, repository.suite);
    if fetcher.offline() {
        let bytes = fetcher
            .cache
            .release(&repository.archive, &repository.suite)?;
        return open(&bytes.ok_or(FetchError::Offline {
            name: title,
            sha256: None,
        })?);
    }
    let path = format!("dists/{}/InRelease", repository.suite);
    fetcher.fetch_signed(
        &title,
        &repository.archive,
        &path,
        release::MAX_SIZE,
        |bytes| {
            let release = open(&bytes)?;
            // A cache that cannot be written to is no reason to fail here: whatever needs the space will say so.
            if let Err(error) =
                fetcher
                    .cache
                    .set_release(&repository.archive, &repository.suite, &bytes)
            {
                fetcher.event(Event::Warning {
                    message: format!("remembering {title}: {error}"),
                });
            }
            Ok(release)
        },
    )
}

/// The index files of a repository for one architecture, in their smallest form.
fn list<'a>(
    repository: &'a str,
    spec: &'a Repository,
    architecture: Architecture,
    release: &Release,
    listed: &mut Vec<Listed<'a>>,
) -> Result<(), FetchError> {
    for component in &spec.components {
        let folder = |name: &str| format!("{component}/binary-{name}/Packages");
        let found = |base: &str| {
            let forms = [".zst", ".xz", ".gz", ""].map(|form| format!("{base}{form}"));
            forms.into_iter().find_map(|file| {
                release
                    .files
                    .get(&file)
                    .map(|(size, sha256)| (file, *size, *sha256))
            })
        };
        let own = found(&folder(architecture.name())).ok_or_else(|| FetchError::Component {
            repository: repository.to_owned(),
            component: component.clone(),
            architecture: architecture.to_string(),
        })?;
        let all = found(&folder("all")).filter(|_| release.separate_all);
        for (file, size, sha256) in [Some(own), all].into_iter().flatten() {
            let mut paths = vec![release.index_path(&spec.suite, &file, &sha256)];
            if release.by_hash {
                paths.push(format!("dists/{}/{file}", spec.suite));
            }
            let base = file.rsplit_once("Packages").map_or("", |(base, _)| base);
            let plain = release.files.get(&format!("{base}Packages")).copied();
            let download = Download {
                name: format!("{} {file}", spec.suite),
                archive: spec.archive.clone(),
                paths,
                size,
                sha256,
            };
            listed.push(Listed {
                repository,
                spec,
                architecture,
                download,
                plain,
            });
        }
    }
    Ok(())
}

/// Unpacks all indexes at once: xz takes half a second for Debian's main component.
fn unpack_all(listed: &[Listed<'_>], paths: &[PathBuf]) -> Result<Vec<String>, FetchError> {
    thread::scope(|scope| {
        let threads: Vec<_> = listed
            .iter()
            .zip(paths)
            .map(|(listed, path)| scope.spawn(|| unpack(listed, path.clone())))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("unpacking does not panic"))
            .collect()
    })
}

fn unpack(listed: &Listed<'_>, path: PathBuf) -> Result<String, FetchError> {
    let name = &listed.download.name;
    let error = |reason: String| FetchError::Index {
        name: name.clone(),
        reason,
    };
    let file = BufReader::new(File::open(&path).map_err(FetchError::io("opening", &path))?);
    let form = listed
        .download
        .paths
        .last()
        .and_then(|path| path.rsplit_once("Packages"))
        .map(|(_, form)| form);
    let reader: Box<dyn Read> = match form {
        Some(".xz") => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)
                .map_err(|e| error(e.to_string()))?;
            Box::new(XzDecoder::new_stream(file, stream))
        }
        Some(".zst") => Box::new(zstd::Decoder::new(file).map_err(|e| error(e.to_string()))?),
        Some(".gz") => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        _ => Box::new(file),
    };
    let limit = listed
        .plain
        .map_or(MAX_INDEX, |(size, _)| size.min(MAX_INDEX));
    let mut bytes = Vec::with_capacity(
        listed
            .plain
            .map_or(0, |_| usize::try_from(limit).unwrap_or(0)),
    );
    reader
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| error(e.to_string()))?;
    if bytes.len() as u64 > limit {
        return Err(error(format!("it has more than {}", amount(limit))));
    }
    if let Some((_, expected)) = listed.plain {
        let found = Digest::of(&bytes).to_string();
        if found != expected.to_string() {
            return Err(FetchError::Altered {
                name: format!("{name}, unpacked"),
                expected,
                found,
            });
        }
    }
    String::from_utf8(bytes).map_err(|_| error("it is not UTF-8".to_owned()))
}
