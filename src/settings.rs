//! Settings: what the arguments, the environment and the cluster file say together.
#![expect(
    clippy::disallowed_methods,
    reason = "reads the environment, the clock and the cluster file"
)]

use std::env;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prejoin_image_builder::class::Class;

use crate::failure::Failure;

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
