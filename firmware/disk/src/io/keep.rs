//! Where the old partition tables and the journal of a disk go.
#![expect(clippy::disallowed_methods, reason = "keeps files, named by the time")]

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prejoin_wire::digest::Digest;
use prejoin_wire::disk::{Device, Plan};
use prejoin_wire::printable::printable;
use serde::{Deserialize, Serialize};

use super::FileJournal;
use crate::device::ReadAt;
use crate::write::{Journal as _, Record, Saved};

/// How the names of their files end.
const SUFFIX: &str = ".saved.json";

/// How many files one second may have.
const MOST: u32 = 1000;

/// Old tables, and the disk that they are from.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tables {
    /// Node that was written over them.
    pub node: String,
    /// The disk.
    pub disk: Identity,
    /// What was named for deletion: once it is gone, nothing else tells what the names stood for.
    pub delete: BTreeSet<String>,
    /// What was in the places of its tables.
    pub saved: Saved,
}

/// Which disk it is: what it says of itself, not where it is plugged in. A file says nothing and is known by its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Bytes.
    pub size: u64,
    /// Real path of an image file.
    pub path: Option<String>,
    /// Model.
    pub model: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// World-wide identifier.
    pub wwid: Option<String>,
}

/// The file: its content, and the digest of that, for it goes to the first bytes of a disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    digest: Digest,
    tables: Tables,
}

/// A folder that cannot be used, or a file that is not what was kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing can be kept there.
    #[error("{doing} {}", path.display())]
    Keep {
        /// What was being done.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why it cannot be.
        source: io::Error,
    },
    /// The file cannot be read.
    #[error("reading saved tables {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why it cannot be.
        source: io::Error,
    },
    /// It is another kind of file.
    #[error("{}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: serde_json::Error,
    },
    /// Somebody has edited it, or it is damaged.
    #[error("{} was changed since it was written: its content has the digest {found}, and it says {says}", path.display())]
    Edited {
        /// The file.
        path: PathBuf,
        /// Of what it has now.
        found: Digest,
        /// Of what was written.
        says: Digest,
    },
}

impl Error {
    /// What a user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Keep { .. } => Some(
                "the old tables must be kept before anything is written; --save names another folder"
                    .into(),
            ),
            Error::Edited { .. } => {
                Some("nothing was written; is there another copy of the file?".into())
            }
            Error::Read { .. } | Error::Parse { .. } => None,
        }
    }
}

impl Identity {
    /// Of a disk as it was looked up.
    pub fn of(device: &Device) -> Self {
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
                write!(f, ", {name} {}", printable(value))?;
            }
        }
        Ok(())
    }
}

impl Tables {
    /// What a file has, if it has what was written to it.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        let Document { digest, tables } =
            serde_json::from_str(&text).map_err(|source| Error::Parse {
                path: path.to_owned(),
                source,
            })?;
        let found = tables.digest();
        match found == digest {
            true => Ok(tables),
            false => Err(Error::Edited {
                path: path.to_owned(),
                found,
                says: digest,
            }),
        }
    }

    fn digest(&self) -> Digest {
        Digest::of(text(self).as_bytes())
    }
}

/// The same for the same content.
fn text(document: &impl Serialize) -> String {
    serde_json::to_string(document).expect("saved tables have only string keys and whole numbers")
}

/// The files of one disk and one node in a folder. Nothing is made before it is needed.
#[derive(Debug)]
pub struct Keep {
    folder: PathBuf,
    node: String,
    disk: Identity,
    /// What is named for deletion.
    delete: BTreeSet<String>,
    /// Beginning of the names of its files.
    name: String,
}

impl Keep {
    /// For writing `node` to a disk, with what is named for deletion.
    pub fn new(folder: &Path, node: &str, device: &Device, delete: &BTreeSet<String>) -> Self {
        Keep {
            folder: folder.to_owned(),
            node: node.to_owned(),
            disk: Identity::of(device),
            delete: delete.clone(),
            name: name(node, device),
        }
    }

    /// Makes the folder if it is missing.
    pub fn make_folder(&self) -> Result<(), Error> {
        fs::create_dir_all(&self.folder).map_err(cannot("making folder", &self.folder))
    }

    /// Everything that earlier runs that wrote the node to the disk were given to delete.
    pub fn named_before(&self) -> BTreeSet<String> {
        let begins = format!("{}-", self.name);
        saved_in(&self.folder)
            .into_iter()
            .filter(|path| last(path).starts_with(&begins))
            .filter_map(|path| Tables::read(&path).ok())
            .filter(|tables| self.is_ours(tables))
            .flat_map(|tables| tables.delete)
            .collect()
    }

    /// Where the journal is.
    pub fn journal(&self) -> PathBuf {
        self.folder.join(format!("{}.journal", self.name))
    }

    /// Keeps the tables that are there `now`, for good. Says where the tables are that were there before; if an earlier
    /// run was interrupted, before that one.
    pub(crate) fn save(
        &self,
        journal: &FileJournal,
        plan: &Plan,
        disk: &dyn ReadAt,
        now: &Saved,
    ) -> Result<PathBuf, Error> {
        let ended = journal
            .load()
            .is_ok_and(|records| records.contains(&Record::Done));
        let precedes = |first: &Saved| first.precedes(plan, disk).unwrap_or(false);
        let first = self
            .unfinished()
            .filter(|(_, first)| !ended && precedes(first));
        // What is there now is kept in any case: somebody may have changed it between the runs.
        let path = self.add(now)?;
        match first {
            Some((first, _)) => Ok(first),
            None => self.begin(&path).map(|()| path),
        }
    }

    /// Notes that a run has come to its end: the next one begins with tables of its own.
    pub(crate) fn finish(&self) {
        // Where that fails, the journal says the same.
        let _ = fs::remove_file(self.mark());
    }

    /// The tables as they were before the first run, where no run since has come to its end.
    fn unfinished(&self) -> Option<(PathBuf, Saved)> {
        let name = fs::read_to_string(self.mark()).ok()?;
        // The name of a file beside it, whatever is written there.
        let path = self.folder.join(Path::new(name.trim()).file_name()?);
        let tables = Tables::read(&path).ok()?;
        self.is_ours(&tables)
            .then(|| (fs::canonicalize(&path).unwrap_or(path), tables.saved))
    }

    fn is_ours(&self, tables: &Tables) -> bool {
        (&tables.node, &tables.disk) == (&self.node, &self.disk)
    }

    /// Names the tables that belong to a run until it has come to its end.
    fn mark(&self) -> PathBuf {
        self.folder.join(format!("{}.unfinished", self.name))
    }

    /// Writes a file of its own; nothing is overwritten.
    fn add(&self, saved: &Saved) -> Result<PathBuf, Error> {
        let tables = Tables {
            node: self.node.clone(),
            disk: self.disk.clone(),
            delete: self.delete.clone(),
            saved: saved.clone(),
        };
        let digest = tables.digest();
        let text = text(&Document { digest, tables });
        let now = seconds();
        for count in 0.. {
            let counted = match count {
                0 => String::new(),
                count => format!("-{count}"),
            };
            let path = self
                .folder
                .join(format!("{}-{now}{counted}{SUFFIX}", self.name));
            match self.write_new(&path, &text) {
                Ok(()) => return Ok(fs::canonicalize(&path).unwrap_or(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && count < MOST => {}
                Err(error) => return Err(cannot("writing", &path)(error)),
            }
        }
        unreachable!("a number is found, or an error is")
    }

    fn write_new(&self, path: &Path, text: &str) -> io::Result<()> {
        let mut file = File::options().write(true).create_new(true).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        File::open(&self.folder)?.sync_all()
    }

    /// Notes that a run begins with these tables: they are [`Keep::unfinished`] until [`Keep::finish`].
    fn begin(&self, path: &Path) -> Result<(), Error> {
        let mark = self.mark();
        self.write_mark(&mark, &last(path))
            .map_err(cannot("writing", &mark))
    }

    fn write_mark(&self, mark: &Path, name: &str) -> io::Result<()> {
        let new = self.folder.join(format!("{}.new", self.name));
        let mut file = File::create(&new)?;
        file.write_all(name.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, mark)?;
        File::open(&self.folder)?.sync_all()
    }
}

/// Beginning of the names of the files of a node and a disk. Two names of one disk lead to one journal, whatever it was
/// called.
fn name(node: &str, device: &Device) -> String {
    let identity = match (device.file, &device.wwid, &device.serial) {
        (true, ..) | (_, None, None) => device.path.clone(),
        (_, wwid, serial) => format!("{wwid:?} {serial:?}"),
    };
    let shown = match &device.serial {
        Some(serial) => serial.clone(),
        None => last(Path::new(&device.path)),
    };
    let shown: String = shown
        .chars()
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() || "-_".contains(c) => c,
            _ => '-',
        })
        .collect();
    let digest = Digest::of(identity.as_bytes()).short();
    format!("{node}-{}-{digest}", &shown[..shown.len().min(40)])
}

/// Seconds since 1970.
fn seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn cannot(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Keep {
        doing,
        path,
        source,
    }
}

/// The last part of a path.
pub(crate) fn last(path: &Path) -> String {
    path.file_name().map_or_else(
        || path.to_string_lossy().into_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
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
