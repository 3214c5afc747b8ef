//! Writing results: beside, flushed, renamed. A reader sees the old file or the new one, never half of one.
#![expect(clippy::disallowed_methods, reason = "writes the results of a build")]

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

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
    file: File,
    beside: PathBuf,
    path: PathBuf,
    done: bool,
}

impl Pending {
    /// Starts a file that will be called `path`.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let beside = beside(path);
        let file = File::create(&beside).map_err(at("creating", &beside))?;
        Ok(Pending {
            file,
            beside,
            path: path.to_owned(),
            done: false,
        })
    }

    /// Starts a file that takes the place of `path`, with its mode and owner.
    fn replacing(path: &Path) -> Result<Self, Error> {
        let old = fs::metadata(path).map_err(at("reading", path))?;
        let beside = beside(path);
        // In somebody's folder: what lies there under this name, or is a link to elsewhere, is not ours to write to.
        let file = File::options().write(true).create_new(true).open(&beside);
        let file = file.map_err(at("creating", &beside))?;
        let pending = Pending {
            file,
            beside,
            path: path.to_owned(),
            done: false,
        };
        let new = pending.file.metadata();
        let new = new.map_err(at("reading", &pending.beside))?;
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            fchown(&pending.file, Some(old.uid()), Some(old.gid()))
                .map_err(at("giving its owner to", &pending.beside))?;
        }
        let mode = pending.file.set_permissions(old.permissions());
        mode.map_err(at("giving its mode to", &pending.beside))?;
        Ok(pending)
    }

    /// The file to write to.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Brings the bytes to the disk and gives the file its name.
    pub fn commit(mut self) -> Result<(), Error> {
        self.file.sync_all().map_err(at("flushing", &self.beside))?;
        fs::rename(&self.beside, &self.path).map_err(at("renaming to", &self.path))?;
        self.done = true;
        if let Some(folder) = self
            .path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(at("flushing folder", folder))?;
        }
        Ok(())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.done {
            // Best effort: the error that led here is the one to report.
            let _ = fs::remove_file(&self.beside);
        }
    }
}

/// What a file is called while it is written.
fn beside(path: &Path) -> PathBuf {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    path.with_file_name(format!(".{name}.{}.part", std::process::id()))
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
