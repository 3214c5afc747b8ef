//! Files under way: each has a name of its own until it is whole, whoever else writes beside it.
//!
//! The name is taken with `O_EXCL`: a process id would not do, since every container has its process 1. A lock on the
//! file (`flock`) says that its writer lives, in whatever container or name space; what nobody holds is what a run left
//! that was interrupted, and [`sweep`] removes it.
#![expect(clippy::disallowed_methods, reason = "files under way are files")]

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// How the name of every file under way ends. It is long because [`sweep`] looks into folders of other people, too.
pub const SUFFIX: &str = ".prejoin.part";

/// Writers of one name at the same time, dead ones included.
const MOST: u32 = 10_000;

/// A file under way; dropped before [`Part::rename`], it disappears.
#[derive(Debug)]
pub struct Part {
    file: File,
    path: PathBuf,
    named: bool,
}

impl Part {
    /// Starts a file in `folder` that will be called `name` or the like. Nobody else writes to it.
    pub fn create(folder: &Path, name: &str) -> io::Result<Self> {
        for number in 0..MOST {
            let path = folder.join(format!(".{name}.{number}{SUFFIX}"));
            let file = match exclusive().open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other?,
            };
            if is_claimed(&file, &path) {
                return Ok(Part {
                    file,
                    path,
                    named: false,
                });
            }
        }
        let message = format!("{MOST} unfinished files of that name are there");
        Err(io::Error::new(io::ErrorKind::AlreadyExists, message))
    }

    /// What it is called now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// To write to and to read from.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// To read from at any offset.
    pub fn as_file(&self) -> &File {
        &self.file
    }

    /// Gives the file its name, in place of what had it before.
    pub fn rename(mut self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        self.named = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.named {
            // Best effort: the error that led here is the one to report.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl io::Write for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn exclusive() -> fs::OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    options
}

/// Whether a new file is locked, and still there: a sweep can be faster than its writer's lock.
fn is_claimed(file: &File, path: &Path) -> bool {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => false,
        // Where nothing can be locked, nothing is swept away either.
        Err(TryLockError::Error(_)) => true,
        Ok(()) => is_at(file, path),
    }
}

/// Whether `path` leads to this very file.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(here), Ok(there)) = (file.metadata(), fs::symlink_metadata(path)) else {
        return false;
    };
    (here.dev(), here.ino()) == (there.dev(), there.ino())
}

/// Whether this is the name of a file under way.
pub fn is_part(name: &str) -> bool {
    let number = name
        .strip_prefix('.')
        .and_then(|name| name.strip_suffix(SUFFIX))
        .and_then(|name| name.rsplit_once('.'))
        .map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// A file that nobody holds any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Where it is, or was.
    pub path: PathBuf,
    /// Bytes that it takes on the disk.
    pub size: u64,
}

/// What interrupted runs left in `folder` itself, not below it.
pub fn find_left(folder: &Path) -> Vec<Left> {
    names(folder)
        .into_iter()
        .filter(|path| file_name(path).is_some_and(is_part))
        .filter_map(|path| with_dead(&path, Some))
        .collect()
}

/// Removes what interrupted runs left in `folder` itself. What cannot be removed stays: it is in nobody's way.
pub fn sweep(folder: &Path) {
    for left in find_left(folder) {
        remove_dead(&left.path);
    }
}

/// Removes a file unless somebody holds it, and says what it was.
pub fn remove_dead(path: &Path) -> Option<Left> {
    with_dead(path, |left| {
        fs::remove_file(path).ok()?;
        Some(left)
    })
}

/// Looks at a regular file while its lock is held, if nobody else has it.
fn with_dead<T>(path: &Path, then: impl FnOnce(Left) -> Option<T>) -> Option<T> {
    // What only looks like a file (a link, a pipe) is not followed and not waited for.
    let careful = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::options()
        .read(true)
        .custom_flags(careful.bits().cast_signed())
        .open(path)
        .ok()?;
    let found = file.metadata().ok().filter(fs::Metadata::is_file)?;
    file.try_lock().ok()?;
    if !is_at(&file, path) {
        return None;
    }
    then(Left {
        path: path.to_owned(),
        size: found.blocks() * 512,
    })
}

/// Every entry of a folder, sorted; none if it cannot be read.
pub fn names(folder: &Path) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    names.sort();
    names
}

/// The last part of a path, where it is UTF-8.
pub fn file_name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn writers_of_one_name_do_not_meet_and_a_sweep_spares_the_living() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = Part::create(folder.path(), "x").unwrap();
        let mut second = Part::create(folder.path(), "x").unwrap();
        assert_ne!(first.path(), second.path());
        first.write_all(b"first").unwrap();
        second.write_all(b"second").unwrap();
        let dead = folder.path().join(".x.7.prejoin.part");
        for path in [&dead, &folder.path().join(".y.part")] {
            fs::write(path, b"left").unwrap();
        }
        std::os::unix::fs::symlink("nowhere", folder.path().join(".z.0.prejoin.part")).unwrap();
        let left: Vec<_> = find_left(folder.path());
        assert_eq!(
            left.iter().map(|left| &left.path).collect::<Vec<_>>(),
            [&dead]
        );
        sweep(folder.path());
        assert!(!dead.exists());
        assert_eq!(names(folder.path()).len(), 4, "nothing else went");
        let target = folder.path().join("x");
        first.rename(&target).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"first");
        second.rename(&target).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"second");
        drop(Part::create(folder.path(), "x").unwrap());
        assert_eq!(find_left(folder.path()), []);
    }

    /// Every writer finds its own bytes under the name that it was given, however often others sweep meanwhile.
    #[test]
    fn a_sweep_never_takes_a_file_from_its_writer() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        std::thread::scope(|scope| {
            for writer in 0..4_u32 {
                scope.spawn(move || {
                    for round in 0..300_u32 {
                        let mut part = Part::create(folder, "same").unwrap();
                        part.write_all(&[writer.to_le_bytes(), round.to_le_bytes()].concat())
                            .unwrap();
                        let own = folder.join(format!("own-{writer}"));
                        part.rename(&own).unwrap();
                        let expected = [writer.to_le_bytes(), round.to_le_bytes()].concat();
                        assert_eq!(fs::read(own).unwrap(), expected);
                    }
                });
            }
            for _ in 0..2 {
                scope.spawn(|| (0..600).for_each(|_| sweep(folder)));
            }
        });
        assert_eq!(names(folder).len(), 4);
    }

    #[test]
    fn names_of_others_are_not_ours() {
        for name in [".x.0.prejoin.part", ".one.img.xz.12.prejoin.part"] {
            assert!(is_part(name), "{name}");
        }
        for name in [
            ".x.part",
            "x.0.prejoin.part",
            ".x.1a.prejoin.part",
            ".x.prejoin.part",
        ] {
            assert!(!is_part(name), "{name}");
        }
    }
}
