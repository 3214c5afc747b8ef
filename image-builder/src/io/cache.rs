//! The download cache: files under the SHA-256 of their content, shared by all clusters and safe under concurrent use.
//!
//! `sha256/ab/abcd...` are finished files. `partial/abcd...` are downloads under way, locked by whoever writes them; one
//! gets into place by a rename after its digest was right and its bytes were on the disk, so that nothing half written
//! is ever found under a finished name. What others may have written is compared with its digest before it is used.
#![expect(clippy::disallowed_methods, reason = "the cache is files")]

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use prejoin_wire::digest::Digest;
use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use super::error::FetchError;
use super::prune;
use prejoin_store::{output, part};

/// A folder of downloads.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
    /// Digests that this process has computed itself: a file is read once per run, not once per use.
    verified: Mutex<BTreeSet<Digest>>,
}

/// How a download begins.
#[derive(Debug)]
pub enum Begin {
    /// The file is there after all: another thread or process was faster.
    Finished(PathBuf),
    /// Go on from where an earlier attempt ended.
    Partial(Partial),
}

/// An unfinished download; the lock on it is held until it is dropped.
#[derive(Debug)]
pub struct Partial {
    file: File,
    path: PathBuf,
    target: PathBuf,
    expected: Digest,
    hash: Sha256,
    done: u64,
}

impl Cache {
    /// A cache in `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Cache {
            root: root.into(),
            verified: Mutex::default(),
        }
    }

    /// `$PREJOIN_CACHE`, `$XDG_CACHE_HOME/prejoin` or `~/.cache/prejoin`, the first that is set.
    pub fn default_root() -> Option<PathBuf> {
        let set = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        set("PREJOIN_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").map(|path| path.join("prejoin")))
            .or_else(|| set("HOME").map(|path| path.join(".cache/prejoin")))
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a finished file is or would be.
    pub fn path(&self, sha256: &Digest) -> PathBuf {
        let name = sha256.to_string();
        self.root.join("sha256").join(&name[..2]).join(&name)
    }

    /// The finished file, if it is there; its content is checked the first time this process asks for it.
    pub fn find(&self, sha256: &Digest) -> Result<Option<PathBuf>, FetchError> {
        let path = self.path(sha256);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FetchError::io("opening", &path)(error)),
        };
        if self.is_verified(sha256) {
            return Ok(Some(path));
        }
        let (hash, _) = hash_file(&mut file).map_err(FetchError::io("reading", &path))?;
        let found = Digest(hash.finalize().into());
        if found != *sha256 {
            return Err(FetchError::Cache {
                path,
                expected: *sha256,
                found: found.to_string(),
            });
        }
        self.set_verified(*sha256);
        prune::touch(&path);
        Ok(Some(path))
    }

    /// Content of a finished file of at most `limit` bytes.
    pub fn read(&self, sha256: &Digest, limit: u64) -> Result<Option<Vec<u8>>, FetchError> {
        let path = self.path(sha256);
        let Some(bytes) = read_bounded(&path, limit)? else {
            return Ok(None);
        };
        let found = Digest::of(&bytes);
        match found == *sha256 {
            true => Ok(Some(bytes)),
            false => Err(FetchError::Cache {
                path,
                expected: *sha256,
                found: found.to_string(),
            }),
        }
    }

    /// Begins or takes up a download. Waits while another thread or process has it. A finished file that is altered is
    /// none.
    pub fn begin(&self, sha256: &Digest) -> Result<Begin, FetchError> {
        let target = self.path(sha256);
        let path = self.root.join("partial").join(sha256.to_string());
        create_parent(&path)?;
        create_parent(&target)?;
        loop {
            let mut options = OpenOptions::new();
            let file = options
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                // A link that somebody put here would have a file of ours overwritten.
                .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
                .open(&path);
            let mut file = file.map_err(FetchError::io("opening", &path))?;
            file.lock().map_err(FetchError::io("locking", &path))?;
            // Whoever had the lock may have renamed or removed the file: then this is not the one at the path.
            let here = file.metadata().map_err(FetchError::io("reading", &path))?;
            if !here.is_file() {
                return Err(FetchError::io("writing", &path)(
                    io::ErrorKind::InvalidInput.into(),
                ));
            }
            let there = fs::metadata(&path).ok();
            if there.is_none_or(|there| (there.dev(), there.ino()) != (here.dev(), here.ino())) {
                continue;
            }
            match self.find(sha256) {
                Ok(Some(target)) => {
                    fs::remove_file(&path).map_err(FetchError::io("removing", &path))?;
                    return Ok(Begin::Finished(target));
                }
                Err(FetchError::Cache { .. }) => self.discard(sha256)?,
                Ok(None) => {}
                Err(error) => return Err(error),
            }
            let (hash, done) = hash_file(&mut file).map_err(FetchError::io("reading", &path))?;
            return Ok(Begin::Partial(Partial {
                file,
                path,
                target,
                expected: *sha256,
                hash,
                done,
            }));
        }
    }

    /// Moves a complete download into place if its digest is right, and gives its path; otherwise the digest that it
    /// has instead, and the download begins anew.
    pub fn finish(&self, partial: &mut Partial) -> Result<Result<PathBuf, Digest>, FetchError> {
        let found = Digest(partial.hash.clone().finalize().into());
        if found != partial.expected {
            partial.restart()?;
            return Ok(Err(found));
        }
        let Partial {
            file, path, target, ..
        } = partial;
        file.set_permissions(fs::Permissions::from_mode(0o444))
            .map_err(FetchError::io("finishing", path))?;
        file.sync_all().map_err(FetchError::io("writing", path))?;
        fs::rename(&*path, &*target).map_err(FetchError::io("moving into place", target))?;
        sync_parent(target)?;
        self.set_verified(partial.expected);
        Ok(Ok(partial.target.clone()))
    }

    /// Removes a file whose content is not what its name says.
    pub fn discard(&self, sha256: &Digest) -> Result<(), FetchError> {
        let path = self.path(sha256);
        fs::remove_file(&path).map_err(FetchError::io("removing", &path))
    }

    /// Stores bytes that are in memory, unless they are there, and gives their digest.
    pub fn store(&self, bytes: &[u8]) -> Result<Digest, FetchError> {
        let sha256 = Digest::of(bytes);
        if let Begin::Partial(mut partial) = self.begin(&sha256)? {
            partial.restart()?;
            partial.append(bytes)?;
            let finished = self.finish(&mut partial)?.is_ok();
            debug_assert!(finished, "the same bytes have the same digest");
        }
        Ok(sha256)
    }

    /// The release seen last of a suite, for work without a network; its signature must be checked again.
    pub fn release(&self, archive: &str, suite: &str) -> Result<Option<Vec<u8>>, FetchError> {
        let path = self.release_path(archive, suite);
        prune::touch(&path);
        read_bounded(&path, crate::debian::release::MAX_SIZE)
    }

    /// Remembers a verified release.
    pub fn set_release(&self, archive: &str, suite: &str, bytes: &[u8]) -> Result<(), FetchError> {
        let path = self.release_path(archive, suite);
        create_parent(&path)?;
        output::write(&path, bytes).map_err(
            |output::Error {
                 doing,
                 path,
                 source,
             }| {
                FetchError::Io {
                    doing,
                    path,
                    source,
                }
            },
        )
    }

    /// Removes what interrupted runs left: files under way, and downloads of what is finished by now. Other downloads
    /// are taken up where they broke off.
    pub fn sweep(&self) {
        for folder in ["unpacked", "releases"] {
            part::sweep(&self.root.join(folder));
        }
        for path in part::names(&self.root.join("partial")) {
            let digest = part::file_name(&path).and_then(|name| name.parse().ok());
            if digest.is_some_and(|digest| self.path(&digest).exists()) {
                part::remove_dead(&path);
            }
        }
    }

    fn release_path(&self, archive: &str, suite: &str) -> PathBuf {
        // Names come from a profile: the digest keeps them from leading anywhere.
        let name = Digest::of(format!("{archive}/{suite}").as_bytes());
        self.root.join("releases").join(name.to_string())
    }

    fn is_verified(&self, sha256: &Digest) -> bool {
        self.verified
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(sha256)
    }

    fn set_verified(&self, sha256: Digest) {
        self.verified
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(sha256);
    }
}

impl Partial {
    /// Bytes that are there.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// Adds bytes at the end.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        self.file
            .write_all(bytes)
            .map_err(FetchError::io("writing", &self.path))?;
        self.hash.update(bytes);
        self.done += bytes.len() as u64;
        Ok(())
    }

    /// Throws away what is there.
    pub fn restart(&mut self) -> Result<(), FetchError> {
        self.file
            .set_len(0)
            .map_err(FetchError::io("emptying", &self.path))?;
        self.file
            .seek(SeekFrom::Start(0))
            .map_err(FetchError::io("emptying", &self.path))?;
        self.hash = Sha256::new();
        self.done = 0;
        Ok(())
    }
}

fn hash_file(file: &mut File) -> io::Result<(Sha256, u64)> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    let mut size = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((hash, size)),
            Ok(read) => {
                hash.update(&buffer[..read]);
                size += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn read_bounded(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, FetchError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FetchError::io("opening", path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(FetchError::io("reading", path))?;
    match bytes.len() as u64 > limit {
        true => Err(FetchError::io("reading", path)(
            io::ErrorKind::FileTooLarge.into(),
        )),
        false => Ok(Some(bytes)),
    }
}

fn create_parent(path: &Path) -> Result<(), FetchError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(FetchError::io("creating", parent))
}

fn sync_parent(path: &Path) -> Result<(), FetchError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    File::open(parent)
        .and_then(|folder| folder.sync_all())
        .map_err(FetchError::io("writing", parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partial(cache: &Cache, digest: &Digest) -> Partial {
        match cache.begin(digest).unwrap() {
            Begin::Partial(partial) => partial,
            Begin::Finished(path) => panic!("{} is finished", path.display()),
        }
    }

    #[test]
    fn an_interrupted_download_goes_on_and_lands_under_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("deep/cache"));
        let digest = Digest::of(b"hello world");
        assert_eq!(cache.find(&digest).unwrap(), None);
        partial(&cache, &digest).append(b"hello ").unwrap();
        assert_eq!(cache.find(&digest).unwrap(), None);

        let mut second = partial(&cache, &digest);
        assert_eq!(second.done(), 6);
        second.append(b"world").unwrap();
        let path = cache.finish(&mut second).unwrap().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"hello world");
        assert_eq!(Cache::new(cache.root()).find(&digest).unwrap(), Some(path));
        assert!(
            fs::read_dir(cache.root().join("partial"))
                .unwrap()
                .next()
                .is_none()
        );
        assert!(matches!(cache.begin(&digest).unwrap(), Begin::Finished(_)));
    }

    #[test]
    fn what_has_another_digest_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        let digest = Digest::of(b"good");
        let mut download = partial(&cache, &digest);
        download.append(b"evil").unwrap();
        assert_eq!(
            cache.finish(&mut download).unwrap(),
            Err(Digest::of(b"evil"))
        );
        assert_eq!(download.done(), 0);
        drop(download);
        assert_eq!(cache.find(&digest).unwrap(), None);
    }

    #[test]
    fn an_altered_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        let digest = cache.store(b"content").unwrap();
        assert_eq!(cache.read(&digest, 7).unwrap().unwrap(), b"content");
        assert!(cache.read(&digest, 6).is_err());
        let path = cache.path(&digest);
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"Content").unwrap();
        let error = Cache::new(folder.path()).find(&digest).unwrap_err();
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
        assert_eq!(error.class(), crate::class::Class::Integrity);
    }

    #[test]
    fn an_altered_file_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let digest = Cache::new(folder.path()).store(b"content").unwrap();
        let cache = Cache::new(folder.path());
        let path = cache.path(&digest);
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"Content").unwrap();
        assert_eq!(cache.store(b"content").unwrap(), digest);
        assert_eq!(fs::read(&path).unwrap(), b"content");
    }

    #[test]
    fn a_link_in_the_cache_is_not_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("cache"));
        let (digest, own) = (Digest::of(b"content"), folder.path().join("own"));
        fs::write(&own, b"mine").unwrap();
        let partial = cache.root().join("partial").join(digest.to_string());
        create_parent(&partial).unwrap();
        std::os::unix::fs::symlink(&own, &partial).unwrap();
        assert!(cache.begin(&digest).is_err());
        assert_eq!(fs::read(&own).unwrap(), b"mine");
    }

    #[test]
    fn a_sweep_takes_what_nobody_will_need() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        let done = cache.store(b"done").unwrap();
        let (wanted, running) = (Digest::of(b"wanted"), Digest::of(b"running"));
        partial(&cache, &wanted).append(b"wan").unwrap();
        let running = partial(&cache, &running);
        let left = cache.root().join("partial").join(done.to_string());
        fs::write(&left, b"do").unwrap();
        cache.sweep();
        assert!(!left.exists());
        assert_eq!(partial(&cache, &wanted).done(), 3);
        assert!(running.path.exists());
    }

    #[test]
    fn names_of_suites_lead_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        cache
            .set_release("debian", "../../etc", b"release")
            .unwrap();
        assert_eq!(
            cache.release("debian", "../../etc").unwrap().unwrap(),
            b"release"
        );
        assert_eq!(cache.release("debian", "trixie").unwrap(), None);
    }
}
