//! Writing results: beside, flushed, renamed. A reader sees the old file or the new one, never half of one.
#![expect(clippy::disallowed_methods, reason = "writes the results of a build")]

use std::fs::{self, File};
use std::io::{self, Write};
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
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let beside = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
        let file = File::create(&beside).map_err(at("creating", &beside))?;
        Ok(Pending {
            file,
            beside,
            path: path.to_owned(),
            done: false,
        })
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

/// Writes a small file whole.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut pending = Pending::create(path)?;
    pending
        .file()
        .write_all(bytes)
        .map_err(at("writing", path))?;
    pending.commit()
}
