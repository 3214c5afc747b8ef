//! Where the old partition tables and the journal of a disk go.
#![expect(clippy::disallowed_methods, reason = "keeps files")]

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use prejoin_disk::write::Saved;
use prejoin_image_builder::class::Class;
use prejoin_profiles::digest::Digest;
use prejoin_profiles::disk::Device;

use serde::{Deserialize, Serialize};

use super::last;
use crate::failure::Failure;
use crate::settings;

/// Old tables, and the disk that they are from.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tables {
    /// Node that was written over them.
    pub(crate) node: String,
    /// The disk's serial number.
    pub(crate) serial: Option<String>,
    /// Its world-wide identifier.
    pub(crate) wwid: Option<String>,
    /// What was in the places of its tables.
    pub(crate) saved: Saved,
}

/// A folder for one disk and one node.
pub(crate) struct Keep {
    folder: PathBuf,
    node: String,
    serial: Option<String>,
    wwid: Option<String>,
    /// Beginning of the names of its files.
    name: String,
}

impl Keep {
    /// In `folder`, or where XDG wants a program's state.
    pub(crate) fn new(folder: Option<&Path>, node: &str, device: &Device) -> Result<Self, Failure> {
        let folder = folder.map(Path::to_owned).or_else(default).ok_or_else(|| {
            Failure::plain(
                Class::Environment,
                "finding a folder for saved tables: neither XDG_STATE_HOME nor HOME is set",
            )
            .hint("name one with --save".to_owned())
        })?;
        fs::create_dir_all(&folder).map_err(|error| cannot("making folder", &folder, &error))?;
        // A disk is known by what it is, not by where it is plugged in; a file by its place.
        let real = fs::canonicalize(&device.path).unwrap_or_else(|_| PathBuf::from(&device.path));
        let identity = match (&device.wwid, &device.serial) {
            (None, None) => format!("{}", real.display()),
            (wwid, serial) => format!("{wwid:?} {serial:?}"),
        };
        let shown = device.serial.clone().unwrap_or_else(|| last(&device.path));
        let shown: String = shown
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || "-_".contains(c) {
                    c
                } else {
                    '-'
                }
            })
            .collect();
        let name = format!(
            "{node}-{}-{}",
            &shown[..shown.len().min(40)],
            Digest::of(identity.as_bytes()).short()
        );
        let (serial, wwid) = (device.serial.clone(), device.wwid.clone());
        Ok(Keep {
            folder,
            node: node.to_owned(),
            serial,
            wwid,
            name,
        })
    }

    /// The journal's file.
    pub(crate) fn journal(&self) -> PathBuf {
        self.folder.join(format!("{}.journal", self.name))
    }

    /// The tables as they were before the first run, where no run since has come to its end.
    pub(crate) fn unfinished(&self) -> Option<(PathBuf, Saved)> {
        let name = settings::read(&self.mark(), "the mark of a run").ok()?;
        // The name of a file beside it, whatever is written there.
        let path = self.folder.join(Path::new(name.trim()).file_name()?);
        let tables: Tables =
            serde_json::from_str(&settings::read(&path, "saved tables").ok()?).ok()?;
        let ours = (tables.node, tables.serial, tables.wwid)
            == (self.node.clone(), self.serial.clone(), self.wwid.clone());
        ours.then(|| (fs::canonicalize(&path).unwrap_or(path), tables.saved))
    }

    /// Notes that a run has come to its end: the next one begins with tables of its own.
    pub(crate) fn finish(&self) {
        // Where that fails, the journal says the same.
        let _ = fs::remove_file(self.mark());
    }

    /// Names the tables that belong to a run until it has come to its end.
    fn mark(&self) -> PathBuf {
        self.folder.join(format!("{}.unfinished", self.name))
    }

    /// Keeps the old tables, for good; nothing is overwritten.
    pub(crate) fn save(&self, saved: &Saved) -> Result<PathBuf, Failure> {
        let (serial, wwid) = (self.serial.clone(), self.wwid.clone());
        let tables = Tables {
            node: self.node.clone(),
            serial,
            wwid,
            saved: saved.clone(),
        };
        let text = serde_json::to_string(&tables)
            .expect("saved areas have only string keys and whole numbers");
        let now = settings::now();
        for count in 0.. {
            let counted = if count == 0 {
                String::new()
            } else {
                format!("-{count}")
            };
            let path = self
                .folder
                .join(format!("{}-{now}{counted}.saved.json", self.name));
            let write = || {
                let mut file = File::options().write(true).create_new(true).open(&path)?;
                file.write_all(text.as_bytes())?;
                file.sync_all()?;
                File::open(&self.folder)?.sync_all()
            };
            match write() {
                Ok(()) => return Ok(fs::canonicalize(&path).unwrap_or(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && count < 1000 => {}
                Err(error) => return Err(cannot("writing", &path, &error)),
            }
        }
        unreachable!("a number is found, or an error is")
    }

    /// Notes that a run begins with these tables: they are [`Keep::unfinished`] until [`Keep::finish`].
    pub(crate) fn begin(&self, path: &Path) -> Result<(), Failure> {
        let (mark, new) = (self.mark(), self.folder.join(format!("{}.new", self.name)));
        let write = || {
            let mut file = File::create(&new)?;
            file.write_all(last(&path.display().to_string()).as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &mark)?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(|error| cannot("writing", &mark, &error))
    }
}

/// `$XDG_STATE_HOME/prejoin` (XDG Base Directory Specification 0.8).
fn default() -> Option<PathBuf> {
    let state = settings::variable("XDG_STATE_HOME").map(PathBuf::from);
    let state = state
        .or_else(|| settings::variable("HOME").map(|home| Path::new(&home).join(".local/state")))?;
    Some(state.join("prejoin"))
}

fn cannot(doing: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::plain(
        Class::Environment,
        format!("{doing} {}: {error}", path.display()),
    )
    .hint(
        "the old tables must be kept before anything is written; --save names another folder"
            .to_owned(),
    )
}
