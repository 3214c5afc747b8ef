//! Looking at a disk, or at what was recorded of one.
#![expect(clippy::disallowed_methods, reason = "reads recorded facts")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use prejoin_disk::io as disk;
use prejoin_disk::session;
use prejoin_image_builder::class::Class;
use prejoin_wire::disk::{Facts, VERSION};

use crate::failure::Failure;

/// Longest facts that are read: those of a disk with every place full have less than 2 MiB.
const LONGEST: u64 = 32 << 20;

/// What it means that the kernel was asked to read a disk's table and has not done it.
pub(crate) fn stale(error: &io::Error) -> String {
    format!(
        "the kernel still uses the old table ({error}): unplug the disk or restart before anything on it is mounted"
    )
}

/// A disk, or the facts of one that `disk inspect --json` printed.
pub(crate) fn look_or_read(path: &Path) -> Result<Facts, Failure> {
    match is_document(path) {
        true => read(path),
        false => session::look(path, &BTreeSet::new()).map_err(|error| unusable(&error)),
    }
}

/// Facts from a file.
pub(crate) fn read(path: &Path) -> Result<Facts, Failure> {
    let wrong = |why: String| {
        Failure::plain(
            Class::Input,
            format!("reading facts from {}: {why}", path.display()),
        )
    };
    let mut text = Vec::new();
    let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
    file.take(LONGEST + 1)
        .read_to_end(&mut text)
        .map_err(|error: io::Error| wrong(error.to_string()))?;
    if text.len() as u64 > LONGEST {
        return Err(wrong(format!("longer than {LONGEST} bytes")));
    }
    let facts: Facts = serde_json::from_slice(&text).map_err(|error| {
        wrong(error.to_string())
            .hint("facts are what `prejoin disk inspect DEVICE --json` prints".to_owned())
    })?;
    if facts.version != VERSION {
        let version = facts.version;
        return Err(wrong(format!(
            "they have version {version}, this program reads version {VERSION}"
        )));
    }
    facts.check().map_err(wrong)?;
    Ok(facts)
}

/// Whether a file holds JSON. No disk begins so: its first bytes are code, a table, or nothing.
fn is_document(path: &Path) -> bool {
    let mut first = [0; 64];
    let is_file = fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    let count = is_file
        .then(|| {
            File::open(path)
                .and_then(|mut file| file.read(&mut first))
                .ok()
        })
        .flatten();
    let text = first[..count.unwrap_or(0)].trim_ascii_start();
    text.starts_with(b"{") && text[1..].trim_ascii_start().starts_with(b"\"")
}

/// A disk that cannot be used, and what the user can do.
pub(crate) fn unusable(error: &disk::Error) -> Failure {
    let class = match error {
        disk::Error::Open { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Class::Input
        }
        disk::Error::Kind { .. } | disk::Error::Partition { .. } => Class::Input,
        _ => Class::Environment,
    };
    Failure::new(class, error).hint(error.hint())
}
