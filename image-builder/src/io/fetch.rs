//! Downloads: several at once, resumed where they broke off, checked against their digest, into the cache.
#![expect(
    clippy::disallowed_methods,
    reason = "talks to mirrors and reads local ones"
)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use prejoin_profiles::lock::Lock;
use prejoin_wire::digest::Digest;
use prejoin_wire::size::amount;
use ureq::http::header::{CONTENT_RANGE, RANGE};
use ureq::http::{Response, StatusCode};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Proxy};

use super::cache::{Begin, Cache, Partial};
use super::error::FetchError;
use super::mirror::Mirrors;
use crate::debian::release::is_path;
use crate::events::{Event, Sink};

/// A file to download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    /// What it is, for people.
    pub name: String,
    /// Archive it lies in.
    pub archive: String,
    /// Path below the archive's root, or several that have the same content, tried in order.
    pub paths: Vec<String>,
    /// Bytes.
    pub size: u64,
    /// SHA-256.
    pub sha256: Digest,
}

/// How to behave on the network.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Take everything from the cache.
    pub offline: bool,
    /// Downloads at a time.
    pub connections: usize,
    /// Attempts per mirror that bring nothing new; one that brought bytes does not count.
    pub attempts: u32,
    /// Pause after the first failure; it doubles with each further one.
    pub pause: Duration,
    /// How long a server may be silent.
    pub patience: Duration,
    /// How little a server may send.
    pub least: Least,
}

/// A server that sends less is given up: it would hold a command for days without ever being silent for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Least {
    /// So many bytes
    pub bytes: u64,
    /// in so much time.
    pub window: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            offline: false,
            connections: 8,
            attempts: 5,
            pause: Duration::from_millis(250),
            patience: Duration::from_secs(30),
            least: Least {
                bytes: 64 << 10,
                window: Duration::from_secs(60),
            },
        }
    }
}

/// Fetches files from mirrors into a cache.
pub struct Fetcher<'a> {
    /// Where files end up.
    pub cache: &'a Cache,
    mirrors: &'a Mirrors,
    settings: Settings,
    agent: Agent,
    events: Sink<'a>,
}

/// Attempts per mirror in all, however much each brings.
const MAX_ATTEMPTS: u32 = 100;

/// Bytes between two progress events, and of one read.
const STEP: usize = 256 << 10;

/// Where distributions keep the bundle of trusted certificate authorities; `SSL_CERT_FILE` goes first.
const CERTIFICATES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// How one attempt ended short of success.
enum Failure {
    /// Worth another attempt.
    Transient(String),
    /// Worth another attempt, and what it brought does not count.
    Slow(String),
    /// No further attempt will help; [`FetchError::Missing`] if this mirror does not have the file.
    Fatal(FetchError),
}

impl<'a> Fetcher<'a> {
    /// A fetcher; certificates and proxy are those of this host.
    pub fn new(
        cache: &'a Cache,
        mirrors: &'a Mirrors,
        settings: Settings,
        events: Sink<'a>,
    ) -> Self {
        let proxy = Proxy::try_from_env().or_else(|| Proxy::new(mirrors.proxy.as_deref()?).ok());
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(proxy)
            .tls_config(TlsConfig::builder().root_certs(certificates()).build())
            .user_agent(concat!("prejoin/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(settings.patience / 2))
            .timeout_recv_response(Some(settings.patience))
            .timeout_per_read(Some(settings.patience))
            .max_idle_connections_per_host(settings.connections)
            .build();
        Fetcher {
            cache,
            mirrors,
            settings,
            agent: config.new_agent(),
            events,
        }
    }

    /// Whether nothing may be downloaded.
    pub fn offline(&self) -> bool {
        self.settings.offline
    }

    /// Tells whoever listens.
    pub fn event(&self, event: Event) {
        (self.events)(event);
    }

    /// Brings all files into the cache and gives their paths, in the order of `downloads`. The error is that of the
    /// first file in this order that failed; files that arrived stay in the cache.
    pub fn fetch_all(&self, downloads: &[Download]) -> Result<Vec<PathBuf>, FetchError> {
        self.announce(downloads);
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let results: Mutex<Vec<Option<Result<PathBuf, FetchError>>>> =
            Mutex::new(downloads.iter().map(|_| None).collect());
        let work = || {
            while let Some((at, download)) = {
                let at = next.fetch_add(1, Ordering::Relaxed);
                downloads
                    .get(at)
                    .filter(|_| !failed.load(Ordering::Relaxed))
                    .map(|download| (at, download))
            } {
                let result = self.fetch(download);
                failed.fetch_or(result.is_err(), Ordering::Relaxed);
                results.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(result);
            }
        };
        thread::scope(|scope| {
            for _ in 1..self.settings.connections.clamp(1, downloads.len().max(1)) {
                scope.spawn(work);
            }
            work();
        });
        // Files are begun in order, so that everything before the first failure has a result.
        results
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .into_iter()
            .flatten()
            .collect()
    }

    /// Brings one file into the cache.
    pub fn fetch(&self, download: &Download) -> Result<PathBuf, FetchError> {
        match self.cache.find(&download.sha256) {
            Ok(Some(path)) => return Ok(path),
            Ok(None) => {}
            // An altered file can be had again, if there is a network.
            Err(error @ FetchError::Cache { .. }) if !self.settings.offline => {
                self.event(Event::Warning {
                    message: format!("{error}; downloading it again"),
                });
                self.cache.discard(&download.sha256)?;
            }
            Err(error) => return Err(error),
        }
        if self.settings.offline {
            return Err(FetchError::Offline {
                name: download.name.clone(),
                sha256: Some(download.sha256),
            });
        }
        let bases = self.mirrors.of(&download.archive)?;
        let mut partial = match self.cache.begin(&download.sha256)? {
            Begin::Finished(path) => return Ok(path),
            Begin::Partial(partial) => partial,
        };
        let mut last = None;
        for base in bases {
            for path in &download.paths {
                match self.pull(download, &format!("{base}/{path}"), &mut partial) {
                    Err(FetchError::Missing { .. }) => {}
                    Err(error) if !matches!(error, FetchError::Io { .. }) => last = Some(error),
                    result => return result,
                }
            }
        }
        Err(last.unwrap_or_else(|| {
            missing(
                &download.name,
                &download.archive,
                &download.paths,
                Some(download.sha256),
            )
        }))
    }

    /// A small file whose digest nobody knows yet, from each mirror in turn until `accept` takes it.
    pub fn fetch_signed<T>(
        &self,
        name: &str,
        archive: &str,
        path: &str,
        limit: u64,
        mut accept: impl FnMut(Vec<u8>) -> Result<T, FetchError>,
    ) -> Result<T, FetchError> {
        let mut first = None;
        for base in self.mirrors.of(archive)? {
            let result = self.small(name, &format!("{base}/{path}"), limit);
            match result.and_then(&mut accept) {
                Ok(accepted) => return Ok(accepted),
                Err(error @ FetchError::Io { .. }) => return Err(error),
                Err(error) => _ = first.get_or_insert(error),
            }
        }
        match first {
            Some(FetchError::Missing { .. }) | None => {
                Err(missing(name, archive, &[path.to_owned()], None))
            }
            Some(error) => Err(error),
        }
    }

    fn announce(&self, downloads: &[Download]) {
        let absent = |download: &&Download| !self.cache.path(&download.sha256).exists();
        let mut seen = BTreeSet::new();
        let absent: Vec<_> = downloads
            .iter()
            .filter(absent)
            .filter(|download| seen.insert(download.sha256))
            .collect();
        let bytes = absent
            .iter()
            .fold(0u64, |sum, download| sum.saturating_add(download.size));
        self.event(Event::Downloads {
            files: absent.len(),
            bytes,
        });
    }

    /// Attempts at one address until the file is complete and right.
    fn pull(
        &self,
        download: &Download,
        url: &str,
        partial: &mut Partial,
    ) -> Result<PathBuf, FetchError> {
        let (mut fruitless, mut wrong) = (0, false);
        for attempt in 1.. {
            if partial.done() > download.size {
                partial.restart()?;
            }
            let before = partial.done();
            let mut slow = false;
            let reason = match self.attempt(download, url, partial) {
                Ok(()) => match self.cache.finish(partial)? {
                    Ok(path) => return Ok(path),
                    // What an earlier attempt left may be to blame: once more from the beginning.
                    Err(found) if before > 0 && !wrong => {
                        wrong = true;
                        format!("digest {found} instead of {}", download.sha256)
                    }
                    Err(found) => {
                        let (name, expected, found) =
                            (download.name.clone(), download.sha256, found.to_string());
                        return Err(FetchError::Altered {
                            name,
                            expected,
                            found,
                        });
                    }
                },
                Err(Failure::Transient(reason)) => reason,
                Err(Failure::Slow(reason)) => {
                    slow = true;
                    reason
                }
                Err(Failure::Fatal(error)) => return Err(error),
            };
            fruitless = if partial.done() > before && !slow {
                1
            } else {
                fruitless + 1
            };
            if fruitless >= self.settings.attempts || attempt >= MAX_ATTEMPTS {
                return Err(FetchError::Network {
                    name: download.name.clone(),
                    reason,
                });
            }
            self.event(Event::Retry {
                name: download.name.clone(),
                attempt,
                reason,
            });
            thread::sleep(
                self.settings
                    .pause
                    .saturating_mul(1 << (fruitless - 1).min(6)),
            );
        }
        unreachable!("the last attempt returns")
    }

    /// One request, appended to what is there. `Ok`: the right number of bytes is there.
    fn attempt(
        &self,
        download: &Download,
        url: &str,
        partial: &mut Partial,
    ) -> Result<(), Failure> {
        let progress = |done| Event::Download {
            name: download.name.clone(),
            done,
            total: download.size,
        };
        self.event(progress(partial.done()));
        if partial.done() == download.size {
            return Ok(());
        }
        let (mut body, from) = self.open(url, partial.done(), &download.name)?;
        if from != partial.done() {
            partial.restart().map_err(Failure::Fatal)?;
        }
        let mut buffer = vec![0; STEP];
        loop {
            let read = match body.read(&mut buffer) {
                Ok(0) if partial.done() == download.size => return Ok(()),
                Ok(0) => {
                    return Err(Failure::Transient(format!(
                        "it ends after {}",
                        amount(partial.done())
                    )));
                }
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if is_slow(&error) => return Err(Failure::Slow(error.to_string())),
                Err(error) => return Err(Failure::Transient(error.to_string())),
            };
            if partial.done() + read as u64 > download.size {
                let (name, expected) = (download.name.clone(), download.sha256);
                let found = format!("more than its {} bytes", download.size);
                partial.restart().map_err(Failure::Fatal)?;
                return Err(Failure::Fatal(FetchError::Altered {
                    name,
                    expected,
                    found,
                }));
            }
            partial.append(&buffer[..read]).map_err(Failure::Fatal)?;
            self.event(progress(partial.done()));
        }
    }

    /// The file from byte `from` on, or from the beginning if the server will have it so.
    fn open(&self, url: &str, from: u64, name: &str) -> Result<(Box<dyn Read>, u64), Failure> {
        if let Some(path) = url.strip_prefix("file://") {
            return open_local(path, from, name);
        }
        // Who asks for https wants to know who answers: a redirect must not take that away.
        let request = self.agent.get(url).config();
        let request = request.https_only(url.starts_with("https://")).build();
        let request = if from > 0 {
            request.header(RANGE, format!("bytes={from}-"))
        } else {
            request
        };
        let response = request.call().map_err(|error| match error {
            ureq::Error::RequireHttpsOnly(to) => Failure::Fatal(FetchError::Network {
                name: name.to_owned(),
                reason: format!("{url} redirects to {to}, which is not https"),
            }),
            error => Failure::Transient(error.to_string()),
        })?;
        let status = response.status();
        let at = match status {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT if range_start(&response) == Some(from) => from,
            // A range that the server does not have: what is here is not a part of its file.
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if from > 0 => {
                return self.open(url, 0, name);
            }
            _ if status.is_server_error() => return Err(Failure::Transient(status.to_string())),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                return Err(Failure::Transient(status.to_string()));
            }
            _ => {
                return Err(Failure::Fatal(missing(
                    &format!("{name}: {status}"),
                    "",
                    &[],
                    None,
                )));
            }
        };
        let body = response
            .into_body()
            .into_with_config()
            .limit(u64::MAX)
            .reader();
        let least = self.settings.least;
        Ok((Box::new(Paced::new(body, least)), at))
    }

    fn small(&self, name: &str, url: &str, limit: u64) -> Result<Vec<u8>, FetchError> {
        let mut attempt = 1;
        loop {
            let read = |(body, _): (Box<dyn Read>, u64)| {
                let mut bytes = Vec::new();
                let result = body.take(limit + 1).read_to_end(&mut bytes);
                result
                    .map(|_| bytes)
                    .map_err(|error| Failure::Transient(error.to_string()))
            };
            let reason = match self.open(url, 0, name).and_then(read) {
                Ok(bytes) => return Ok(bytes),
                Err(Failure::Fatal(error)) => return Err(error),
                Err(Failure::Transient(reason) | Failure::Slow(reason)) => reason,
            };
            if attempt >= self.settings.attempts {
                return Err(FetchError::Network {
                    name: name.to_owned(),
                    reason,
                });
            }
            self.event(Event::Retry {
                name: name.to_owned(),
                attempt,
                reason,
            });
            thread::sleep(
                self.settings
                    .pause
                    .saturating_mul(1 << (attempt - 1).min(6)),
            );
            attempt += 1;
        }
    }
}

/// Gives up an input from which too little comes.
struct Paced<R> {
    input: R,
    least: Least,
    since: Instant,
    bytes: u64,
}

/// Too little came.
#[derive(Debug, thiserror::Error)]
#[error(
    "the server sent {bytes} bytes in {:.1} s; less than {} in {:.1} s is too slow",
    elapsed.as_secs_f64(), least.bytes, least.window.as_secs_f64()
)]
struct TooSlow {
    bytes: u64,
    elapsed: Duration,
    least: Least,
}

impl<R> Paced<R> {
    fn new(input: R, least: Least) -> Self {
        Paced {
            input,
            least,
            since: Instant::now(),
            bytes: 0,
        }
    }
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.bytes += count as u64;
        let elapsed = self.since.elapsed();
        if count > 0 && elapsed >= self.least.window {
            let (bytes, least) = (self.bytes, self.least);
            if bytes < least.bytes {
                return Err(io::Error::other(TooSlow {
                    bytes,
                    elapsed,
                    least,
                }));
            }
            (self.since, self.bytes) = (Instant::now(), 0);
        }
        Ok(count)
    }
}

fn is_slow(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|error| error.is::<TooSlow>())
}

fn open_local(path: &str, from: u64, name: &str) -> Result<(Box<dyn Read>, u64), Failure> {
    let opened =
        File::open(path).and_then(|mut file| file.seek(SeekFrom::Start(from)).map(|_| file));
    match opened {
        Ok(file) => Ok((Box::new(file), from)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Failure::Fatal(missing(name, "", &[path.to_owned()], None)))
        }
        Err(error) => Err(Failure::Fatal(FetchError::io("opening", path.as_ref())(
            error,
        ))),
    }
}

/// First byte of `Content-Range: bytes 7-99/100` (RFC 9110, section 14.4).
fn range_start(response: &Response<Body>) -> Option<u64> {
    let value = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    value
        .trim()
        .strip_prefix("bytes ")?
        .split_once('-')?
        .0
        .trim()
        .parse()
        .ok()
}

fn missing(name: &str, archive: &str, paths: &[String], sha256: Option<Digest>) -> FetchError {
    let path = paths.last().cloned().unwrap_or_default();
    FetchError::Missing {
        name: name.to_owned(),
        archive: archive.to_owned(),
        path,
        sha256,
    }
}

/// The host's certificate authorities, as apt uses them; Mozilla's list where there are none.
fn certificates() -> RootCerts {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let bundles = named.into_iter().chain(CERTIFICATES.map(PathBuf::from));
    for bundle in bundles.filter_map(|path| fs::read(path).ok()) {
        let certificates: Vec<_> = parse_pem(&bundle)
            .filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect();
        if !certificates.is_empty() {
            return RootCerts::from(certificates);
        }
    }
    RootCerts::WebPki
}

/// The downloads of a package set of a lock.
pub fn downloads(lock: &Lock, set: &str) -> Result<Vec<Download>, FetchError> {
    let missing = |what, name: &str| FetchError::Lock {
        what,
        name: name.to_owned(),
    };
    let names = &lock
        .sets
        .get(set)
        .ok_or_else(|| missing("package set", set))?
        .packages;
    let download = |name: &String| {
        let package = lock
            .packages
            .get(name)
            .ok_or_else(|| missing("package", name))?;
        if !is_path(&package.path) {
            return Err(missing("usable path for package", name));
        }
        Ok(Download {
            name: name.clone(),
            archive: package.archive.clone(),
            paths: vec![package.path.clone()],
            size: package.size,
            sha256: package.sha256,
        })
    };
    names.iter().map(download).collect()
}
