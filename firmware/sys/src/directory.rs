//! A directory held open, worked in by name, one step at a time: no path is ever followed, so no symbolic link can
//! lead elsewhere.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, openat};

/// An open directory.
#[derive(Debug)]
pub struct Directory(OwnedFd);

/// Who may do what with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Permission bits, at most `0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What is behind a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// A device, a pipe or a socket.
    Special,
}

impl Directory {
    /// Opens the directory at `path`, whose last component must not be a symbolic link.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Directory(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// Opens a directory in this one; `ENOTDIR` or `ELOOP` if it is something else.
    pub fn child(&self, name: &OsStr) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Directory(openat(
            &self.0,
            single(name)?,
            flags,
            Mode::empty(),
        )?))
    }

    /// What is behind `name`; `None` if there is nothing.
    pub fn kind(&self, name: &OsStr) -> io::Result<Option<Kind>> {
        Ok(self.stat(name)?.map(|(kind, _)| kind))
    }

    /// Owner and mode of `name`; `None` if there is nothing.
    pub fn access(&self, name: &OsStr) -> io::Result<Option<Access>> {
        Ok(self.stat(name)?.map(|(_, access)| access))
    }

    fn stat(&self, name: &OsStr) -> io::Result<Option<(Kind, Access)>> {
        let stat = match rustix::fs::statat(&self.0, single(name)?, AtFlags::SYMLINK_NOFOLLOW) {
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            result => result?,
        };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Directory,
            FileType::RegularFile => Kind::File,
            FileType::Symlink => Kind::Link,
            _ => Kind::Special,
        };
        Ok(Some((
            kind,
            Access {
                mode: stat.st_mode & 0o7777,
                uid: stat.st_uid,
                gid: stat.st_gid,
            },
        )))
    }

    /// Makes a directory, or gives an existing one this owner and mode, and opens it.
    pub fn make(&self, name: &OsStr, access: Access) -> io::Result<Self> {
        match rustix::fs::mkdirat(&self.0, single(name)?, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let child = self.child(name)?;
        grant(&child.0, access)?;
        Ok(child)
    }

    /// The content of a regular file; `None` if there is nothing. More than `limit` bytes, or something else than a
    /// file, is an error.
    pub fn read(&self, name: &OsStr, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&self.0, single(name)?, flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            file => File::from(file?),
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            Err(io::ErrorKind::FileTooLarge.into())
        } else {
            Ok(Some(bytes))
        }
    }

    /// Puts a whole file in place in one step: written beside its final name, brought to the disk, renamed.
    pub fn write(&self, name: &OsStr, bytes: &[u8], access: Access) -> io::Result<()> {
        let beside = beside(name)?;
        self.remove(&beside)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(
            &self.0,
            &*beside,
            flags,
            Mode::from_raw_mode(0o600),
        )?);
        file.write_all(bytes)?;
        grant(&file, access)?;
        file.sync_all()?;
        self.complete(&beside, name)
    }

    /// Puts a symbolic link in place in one step.
    pub fn link(&self, name: &OsStr, target: &OsStr, access: Access) -> io::Result<()> {
        let beside = beside(name)?;
        self.remove(&beside)?;
        rustix::fs::symlinkat(target, &self.0, &*beside)?;
        let (uid, gid) = owner(access);
        rustix::fs::chownat(&self.0, &*beside, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        self.complete(&beside, name)
    }

    /// Gives what is complete its name; what cannot have it, because a directory has, does not stay behind.
    fn complete(&self, beside: &OsStr, name: &OsStr) -> io::Result<()> {
        if let Err(error) = rustix::fs::renameat(&self.0, beside, &self.0, name) {
            self.remove(beside)?;
            return Err(error.into());
        }
        Ok(())
    }

    /// Removes anything but a directory; that nothing is there is fine.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.0, single(name)?, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes anything but a directory, and what a [`write`](Self::write) or [`link`](Self::link) that was interrupted
    /// left beside it; that nothing is there is fine.
    pub fn clear(&self, name: &OsStr) -> io::Result<()> {
        self.remove(&beside(name)?)?;
        self.remove(name)
    }

    /// Removes a directory that is empty and says whether it is gone; one that is not empty stays.
    pub fn remove_empty(&self, name: &OsStr) -> io::Result<bool> {
        match rustix::fs::unlinkat(&self.0, single(name)?, AtFlags::REMOVEDIR) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(true),
            Err(rustix::io::Errno::NOTEMPTY | rustix::io::Errno::EXIST) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Brings the names in this directory to the disk.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.0)?)
    }

    /// Brings the whole file system this directory is on to the disk.
    pub fn sync_file_system(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.0)?)
    }
}

fn owner(access: Access) -> (Option<Uid>, Option<Gid>) {
    (
        Some(Uid::from_raw(access.uid)),
        Some(Gid::from_raw(access.gid)),
    )
}

/// Owner first: changing it clears the set-user-id bits.
fn grant(file: impl std::os::fd::AsFd, access: Access) -> io::Result<()> {
    let (uid, gid) = owner(access);
    rustix::fs::fchown(&file, uid, gid)?;
    Ok(rustix::fs::fchmod(
        &file,
        Mode::from_raw_mode(access.mode & 0o7777),
    )?)
}

/// The name a file has until it is complete.
fn beside(name: &OsStr) -> io::Result<std::ffi::OsString> {
    let mut beside = std::ffi::OsString::from(".prejoin-new.");
    beside.push(single(name)?);
    // A name of the greatest length still fits: its end is cut off, in whole bytes of a name nobody else reads.
    if beside.len() > 255 {
        use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
        beside = std::ffi::OsString::from_vec(beside.as_bytes()[..255].to_vec());
    }
    Ok(beside)
}

/// A name that is one step down.
fn single(name: &OsStr) -> io::Result<&OsStr> {
    let bytes = name.as_encoded_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "works on files of its own")]

    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    fn name(text: &str) -> &OsStr {
        OsStr::new(text)
    }

    fn scratch(test: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("prejoin-sys-{test}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        path
    }

    #[test]
    fn writes_links_and_removes() {
        let path = scratch("writes");
        let own = fs::metadata(&path).unwrap();
        let access = |mode| Access {
            mode,
            uid: own.uid(),
            gid: own.gid(),
        };
        let top = Directory::open(&path).unwrap();
        let down = top.make(name("down"), access(0o750)).unwrap();
        down.write(name("file"), b"one", access(0o640)).unwrap();
        down.write(name("file"), b"two", access(0o600)).unwrap();
        down.link(name("link"), name("../elsewhere"), access(0o777))
            .unwrap();
        down.link(name("link"), name("file"), access(0o777))
            .unwrap();
        down.write(name(&"x".repeat(255)), b"", access(0o600))
            .unwrap();
        assert_eq!(fs::read(path.join("down/link")).unwrap(), b"two");
        assert_eq!(
            down.read(name("file"), 3).unwrap().as_deref(),
            Some(&b"two"[..])
        );
        assert!(down.read(name("file"), 2).is_err() && down.read(name("link"), 9).is_err());
        assert!(top.read(name("down"), 9).is_err());
        assert_eq!(top.read(name("none"), 9).unwrap(), None);
        assert_eq!(down.access(name("file")).unwrap(), Some(access(0o600)));
        assert_eq!(top.access(name("down")).unwrap().unwrap().mode, 0o750);
        assert_eq!(down.kind(name("link")).unwrap(), Some(Kind::Link));
        down.remove(name("link")).unwrap();
        down.remove(name("link")).unwrap();
        assert_eq!(down.kind(name("link")).unwrap(), None);
        assert_eq!(fs::read_dir(path.join("down")).unwrap().count(), 2);
        fs::write(path.join("down/.prejoin-new.file"), "half").unwrap();
        down.clear(name("file")).unwrap();
        assert_eq!(fs::read_dir(path.join("down")).unwrap().count(), 1);
        assert!(!top.remove_empty(name("down")).unwrap());
        down.clear(name(&"x".repeat(255))).unwrap();
        assert!(top.remove_empty(name("down")).unwrap() && top.remove_empty(name("down")).unwrap());
        assert_eq!(top.kind(name("down")).unwrap(), None);
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn no_name_leads_elsewhere() {
        let path = scratch("names");
        let top = Directory::open(&path).unwrap();
        symlink("/", path.join("link")).unwrap();
        for refused in ["", ".", "..", "a/b", "/", "link/etc"] {
            assert!(top.child(name(refused)).is_err(), "{refused}");
            assert!(
                top.write(
                    name(refused),
                    b"",
                    Access {
                        mode: 0,
                        uid: 0,
                        gid: 0
                    }
                )
                .is_err(),
                "{refused}"
            );
        }
        assert!(top.child(name("link")).is_err());
        assert!(
            top.make(
                name("link"),
                Access {
                    mode: 0o700,
                    uid: 0,
                    gid: 0
                }
            )
            .is_err()
        );
        assert!(Directory::open(&path.join("link")).is_err());
        fs::remove_dir_all(path).unwrap();
    }
}
