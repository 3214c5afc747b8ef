//! Reading files that somebody else may have put there.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use prejoin_wire::size::amount;
use rustix::fs::{CWD, Mode, OFlags, openat};

/// The bytes of a regular file of at most `limit` bytes. A link is followed. Nothing else is waited for or read: a named
/// pipe has no end, and neither has `/dev/zero`.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    of(File::from(openat(CWD, path, flags, Mode::empty())?), limit)
}

/// The same of a file that is open.
pub fn of(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    if found.len() <= limit {
        // It may have grown meanwhile.
        file.take(limit + 1).read_to_end(&mut bytes)?;
    }
    match found.len().max(bytes.len() as u64) {
        length if length > limit => Err(io::Error::other(format!(
            "it has {}, more than the {} that are read",
            amount(length),
            amount(limit)
        ))),
        _ => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "works on files of its own")]

    use super::*;
    use rustix::fs::{FileType, mknodat};

    #[test]
    fn only_what_ends_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("text"), "hello").unwrap();
        std::os::unix::fs::symlink("text", path("link")).unwrap();
        assert_eq!(read(&path("link"), 5).unwrap(), b"hello");
        let large = File::create(path("large")).unwrap();
        large.set_len(1 << 40).unwrap();
        mknodat(CWD, path("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let zero = Path::new("/dev/zero").to_owned();
        for (path, why) in [
            (path("text"), "it has 5 B, more than the 4 B"),
            (path("large"), "it has 1.0 TiB"),
            (path("pipe"), "not a regular file"),
            (folder.path().to_owned(), "not a regular file"),
            (zero, "not a regular file"),
        ] {
            let error = read(&path, 4).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let none = read(&path("none"), 4).unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::NotFound);
    }
}
