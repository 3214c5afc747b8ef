//! Settings: what the arguments, the environment and the cluster file say together.
#![expect(
    clippy::disallowed_methods,
    reason = "reads the environment, the clock and the cluster file"
)]

use std::env;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prejoin_image_builder::class::Class;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

use crate::failure::Failure;
use crate::report::size;

/// The text of an input file.
pub(crate) fn read(path: &Path, what: &str) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| {
        let class = match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::InvalidData => Class::Input,
            _ => Class::Environment,
        };
        Failure::plain(class, format!("reading {what} {}: {error}", path.display()))
    })
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as i64)
}

/// The time.
pub(crate) fn clock() -> SystemTime {
    SystemTime::now()
}

/// An environment variable that is set and not empty.
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// A file's bytes.
pub(crate) fn read_bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    fs::read(path)
}

/// Largest file that a cluster file may bring to a node: the partition that carries it has no more.
const LARGEST_SOURCE: u64 = 16 << 20;

/// The bytes of a regular file that lies in `folder`. A link is followed where it stays in there: who shares a cluster's
/// folder says with it what comes from where, and nothing else of this machine ends in an image. Nothing is read of a
/// file that is too large, and a named pipe is not waited for.
pub(crate) fn read_inside(folder: &Path, path: &str) -> Result<Vec<u8>, String> {
    let folder = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    let said = |error: Errno| match error {
        Errno::XDEV => "it leads out of the cluster file's folder".to_owned(),
        error => io::Error::from(error).to_string(),
    };
    let search = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = openat(CWD, folder, search, Mode::empty()).map_err(said)?;
    let read = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file = openat2(&folder, path, read, Mode::empty(), inside).map_err(said)?;
    let file = File::from(file);
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    if metadata.len() <= LARGEST_SOURCE {
        // It may have grown meanwhile.
        file.take(LARGEST_SOURCE + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| error.to_string())?;
    }
    let length = metadata.len().max(bytes.len() as u64);
    match length > LARGEST_SOURCE {
        true => Err(format!(
            "it has {}, more than the {} that a node takes",
            size(length),
            size(LARGEST_SOURCE)
        )),
        false => Ok(bytes),
    }
}

/// How long something took.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    pub(crate) fn start() -> Self {
        Stopwatch(Instant::now())
    }

    /// Time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
