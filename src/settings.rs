//! Settings: what the arguments, the environment and the cluster file say together.
#![expect(
    clippy::disallowed_methods,
    reason = "reads the environment, the clock and the cluster file"
)]

use std::env;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prejoin_image_builder::class::Class;
use prejoin_store::input;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

use crate::failure::Failure;

/// The text of an input file.
pub(crate) fn read(path: &Path, what: &str) -> Result<String, Failure> {
    let bytes = input::read(path, LARGEST_INPUT);
    let text = bytes.and_then(|bytes| {
        String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, NOT_TEXT))
    });
    text.map_err(|error| {
        let class = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::InvalidData | io::ErrorKind::Other => {
                Class::Input
            }
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

/// The standard library's own words.
const NOT_TEXT: &str = "stream did not contain valid UTF-8";

/// Longest file that is read as input, bytes: a lock of 30,000 packages has a tenth of that.
const LARGEST_INPUT: u64 = 64 << 20;

/// A file's bytes.
pub(crate) fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    input::read(path, LARGEST_INPUT)
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
    input::of(File::from(file), LARGEST_SOURCE).map_err(|error| error.to_string())
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
