//! Writing results: beside, flushed, renamed. A reader sees the old file or the new one, never half of one.
#![expect(clippy::disallowed_methods, reason = "writes the results of a build")]

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

use crate::part::Part;

/// A result that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {path}")]
pub struct Error {
    /// What was being done.
    pub doing: &'static str,
    /// To which file or folder.
    pub path: PathBuf,
    /// Why it failed.
    #[source]
    pub source: io::Error,
}

/// Wraps an operating system error with what was being done to which file.
pub fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error {
        doing,
        path,
        source,
    }
}

/// A file being written under another name; dropped without [`Pending::commit`] it disappears.
#[derive(Debug)]
pub struct Pending {
    part: Part,
    path: PathBuf,
}

impl Pending {
    /// Starts a file that will be called `path`.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let part = Part::create(folder_of(path), &name).map_err(at("creating", path))?;
        Ok(Pending {
            part,
            path: path.to_owned(),
        })
    }

    /// Starts a file that takes the place of `path`, with its mode and owner.
    fn replacing(path: &Path) -> Result<Self, Error> {
        let old = fs::metadata(path).map_err(at("reading", path))?;
        let mut pending = Pending::create(path)?;
        let beside = pending.part.path().to_owned();
        let new = pending.file().metadata().map_err(at("reading", &beside))?;
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            fchown(pending.file(), Some(old.uid()), Some(old.gid()))
                .map_err(at("giving its owner to", &beside))?;
        }
        let mode = pending.file().set_permissions(old.permissions());
        mode.map_err(at("giving its mode to", &beside))?;
        Ok(pending)
    }

    /// The file to write to.
    pub fn file(&mut self) -> &mut File {
        self.part.file()
    }

    /// Brings the bytes to the disk and gives the file its name.
    pub fn commit(mut self) -> Result<(), Error> {
        let flushed = self.part.file().sync_all();
        flushed.map_err(at("flushing", self.part.path()))?;
        let renamed = self.part.rename(&self.path);
        renamed.map_err(at("renaming to", &self.path))?;
        let folder = folder_of(&self.path);
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(at("flushing folder", folder))
    }
}

/// The folder that a file is in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Changes a file that somebody else wrote from `old` to `new`: its mode and owner stay, a link to it stays a link,
/// and nothing is done where it does not hold `old` any more.
pub fn replace(path: &Path, old: &[u8], new: &[u8]) -> Result<(), Error> {
    let path = &fs::canonicalize(path).map_err(at("finding", path))?;
    let mut pending = Pending::replacing(path)?;
    pending.file().write_all(new).map_err(at("writing", path))?;
    if fs::read(path).map_err(at("reading", path))? != old {
        let changed = io::Error::other("somebody else has changed it meanwhile");
        return Err(at("changing", path)(changed));
    }
    pending.commit()
}

/// Writes a small file whole.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut pending = Pending::create(path)?;
    pending
        .file()
        .write_all(bytes)
        .map_err(at("writing", path))?;
    pending.commit()
}
