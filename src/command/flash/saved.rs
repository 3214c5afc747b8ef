//! Where the old partition tables and the journal of a disk go.
#![expect(clippy::disallowed_methods, reason = "keeps files")]

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use prejoin_disk::device::ReadAt;
use prejoin_disk::write::Saved;
use prejoin_image_builder::class::Class;
use prejoin_wire::digest::Digest;
use prejoin_wire::disk::Device;
use serde::{Deserialize, Serialize};

use super::{exit, last};
use crate::failure::Failure;
use crate::{picture, settings};

/// How the names of their files end.
const SUFFIX: &str = ".saved.json";

/// Old tables, and the disk that they are from.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tables {
    /// Node that was written over them.
    pub(crate) node: String,
    /// The disk.
    pub(crate) disk: Identity,
    /// What was named for deletion: once it is gone, nothing else tells what the names stood for.
    pub(crate) delete: BTreeSet<String>,
    /// What was in the places of its tables.
    pub(crate) saved: Saved,
}

/// Which disk it is: what it says of itself, not where it is plugged in. A file says nothing and is known by its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// Bytes.
    pub(crate) size: u64,
    /// Real path of an image file.
    pub(crate) path: Option<String>,
    /// Model.
    pub(crate) model: Option<String>,
    /// Serial number.
    pub(crate) serial: Option<String>,
    /// World-wide identifier.
    pub(crate) wwid: Option<String>,
}

/// The file: its content, and the digest of that, for it goes to the first bytes of a disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    digest: Digest,
    tables: Tables,
}

impl Identity {
    pub(crate) fn of(device: &Device) -> Self {
        Identity {
            size: device.size,
            path: device.file.then(|| device.path.clone()),
            model: device.model.clone(),
            serial: device.serial.clone(),
            wwid: device.wwid.clone(),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.size)?;
        let named = [
            ("path", &self.path),
            ("model", &self.model),
            ("serial number", &self.serial),
            ("wwid", &self.wwid),
        ];
        for (name, value) in named {
            if let Some(value) = value {
                write!(f, ", {name} {}", picture::printable(value))?;
            }
        }
        Ok(())
    }
}

impl Tables {
    /// What a file has, if it has what was written to it.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = settings::read(path, "saved tables")?;
        let Document { digest, tables } = serde_json::from_str(&text)
            .map_err(|error| Failure::new(Class::Input, &error).of(path.display()))?;
        let found = tables.digest();
        if found == digest {
            return Ok(tables);
        }
        let message = format!(
            "{} was changed since it was written: its content has the digest {found}, and it says {digest}",
            path.display()
        );
        Err(Failure::plain(Class::Input, message)
            .exit(exit::REFUSED)
            .hint("nothing was written; is there another copy of the file?".to_owned()))
    }

    fn digest(&self) -> Digest {
        Digest::of(text(self).as_bytes())
    }
}

/// The same for the same content.
fn text(document: &impl Serialize) -> String {
    serde_json::to_string(document).expect("saved tables have only string keys and whole numbers")
}

/// A folder for one disk and one node.
pub(crate) struct Keep {
    folder: PathBuf,
    node: String,
    disk: Identity,
    /// What is named for deletion.
    delete: BTreeSet<String>,
    /// Beginning of the names of its files.
    name: String,
}

impl Keep {
    /// In `folder`, or where XDG wants a program's state; the folder is made if it is missing.
    pub(crate) fn new(
        folder: Option<&Path>,
        node: &str,
        device: &Device,
        delete: &[String],
    ) -> Result<Self, Failure> {
        let mut keep = Keep::of(folder, node, device).ok_or_else(|| {
            Failure::plain(
                Class::Environment,
                "finding a folder for saved tables: neither XDG_STATE_HOME nor HOME is set",
            )
            .hint("name one with --save".to_owned())
        })?;
        keep.delete.extend(delete.iter().cloned());
        let folder = &keep.folder;
        fs::create_dir_all(folder).map_err(|error| cannot("making folder", folder, &error))?;
        Ok(keep)
    }

    /// The same, with nothing made and nothing named. `None`: there is no folder of the user's own.
    fn of(folder: Option<&Path>, node: &str, device: &Device) -> Option<Self> {
        let folder = folder.map(Path::to_owned).or_else(default)?;
        let disk = Identity::of(device);
        // Two names of one disk lead to one journal, whatever it was called.
        let identity = match (&disk.path, &disk.wwid, &disk.serial) {
            (Some(path), ..) => path.clone(),
            (None, None, None) => device.path.clone(),
            (None, wwid, serial) => format!("{wwid:?} {serial:?}"),
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
        Some(Keep {
            folder,
            node: node.to_owned(),
            disk,
            delete: BTreeSet::new(),
            name,
        })
    }

    /// All tables that were kept before a write of this node to this disk.
    fn kept(&self) -> Vec<Tables> {
        let begins = format!("{}-", self.name);
        let files = saved_in(&self.folder).into_iter();
        files
            .filter(|path| last(&path.to_string_lossy()).starts_with(&begins))
            .filter_map(|path| Tables::read(&path).ok())
            .filter(|tables| (&tables.node, &tables.disk) == (&self.node, &self.disk))
            .collect()
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
        let tables = Tables::read(&path).ok()?;
        let ours = (&tables.node, &tables.disk) == (&self.node, &self.disk);
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
        let tables = Tables {
            node: self.node.clone(),
            disk: self.disk.clone(),
            delete: self.delete.clone(),
            saved: saved.clone(),
        };
        let digest = tables.digest();
        let text = text(&Document { digest, tables });
        let now = settings::now();
        for count in 0.. {
            let counted = if count == 0 {
                String::new()
            } else {
                format!("-{count}")
            };
            let path = self
                .folder
                .join(format!("{}-{now}{counted}{SUFFIX}", self.name));
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

/// Everything that earlier runs that wrote `node` to the disk were given to delete.
pub(crate) fn named_before(folder: Option<&Path>, node: &str, device: &Device) -> BTreeSet<String> {
    let kept = Keep::of(folder, node, device).map(|keep| keep.kept());
    let names = kept.into_iter().flatten().flat_map(|tables| tables.delete);
    names.collect()
}

/// The files with saved tables in a folder.
fn saved_in(folder: &Path) -> Vec<PathBuf> {
    let list = fs::read_dir(folder).into_iter().flatten();
    let paths = list.flatten().map(|entry| entry.path());
    paths
        .filter(|path| path.to_string_lossy().ends_with(SUFFIX))
        .collect()
}

/// Whether a saved table of the same disk, in the same folder as `path`, is about what the disk carries: somebody went
/// back, and wants to go elsewhere from there.
pub(crate) fn neighbour_is_of(path: &Path, disk: &Identity, carries: &dyn ReadAt) -> bool {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    saved_in(folder.unwrap_or(Path::new(".")))
        .into_iter()
        .filter_map(|path| Tables::read(&path).ok())
        .filter(|tables| tables.disk == *disk)
        .any(|tables| tables.saved.is_of(carries).unwrap_or(false))
}
