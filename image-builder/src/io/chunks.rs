//! The chunk store: every piece of every image, once, as an independent zstd frame.
//!
//! `<out>/chunks/ab/abcd….zst`. The name is the BLAKE3 of the uncompressed bytes; frames put in a row are a valid
//! zstd stream, so a whole image can be sent without being built. Nothing is ever changed in place: a chunk is
//! written beside and renamed, and a manifest that names it is only written after the store was flushed.
#![expect(clippy::disallowed_methods, reason = "this is the store's file access")]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use prejoin_profiles::digest::ChunkDigest;
use prejoin_profiles::manifest::CHUNK_LIMIT;

/// zstd's level for chunks. On a Debian root level 3 gives 2.3:1 at a third of the cost of decompressing the
/// packages; level 9 would save another 6 % for four times the time.
const LEVEL: i32 = 3;

/// A folder of chunks.
#[derive(Debug)]
pub struct ChunkStore {
    root: PathBuf,
    written: AtomicU64,
    serial: AtomicU64,
}

/// Why a chunk could not be stored or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{doing} {path}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// No file under this digest.
    #[error("chunk {0} is not in the store")]
    Missing(ChunkDigest),
    /// The file is there and is something else.
    #[error("chunk {digest} in {path} is damaged: {what}")]
    Damaged {
        /// Its name.
        digest: ChunkDigest,
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

impl ChunkStore {
    /// The store below `out`, made if missing.
    pub fn create(out: &Path) -> Result<Self, Error> {
        let root = out.join("chunks");
        fs::create_dir_all(&root).map_err(at("making folder", &root))?;
        Ok(ChunkStore {
            root,
            written: AtomicU64::new(0),
            serial: AtomicU64::new(0),
        })
    }

    /// The store below `out`, for reading.
    pub fn open(out: &Path) -> Self {
        ChunkStore {
            root: out.join("chunks"),
            written: AtomicU64::new(0),
            serial: AtomicU64::new(0),
        }
    }

    /// Compressed bytes that this run added.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// The file that holds, or would hold, a chunk.
    pub fn path(&self, digest: &ChunkDigest) -> PathBuf {
        let name = digest.to_string();
        self.root.join(&name[..2]).join(format!("{name}.zst"))
    }

    /// Whether a chunk of so many bytes is there.
    pub fn has(&self, digest: &ChunkDigest, length: u64) -> bool {
        is_whole(&self.path(digest), length)
    }

    /// Stores `bytes` under `digest` unless it is there.
    pub fn put(
        &self,
        digest: &ChunkDigest,
        bytes: &[u8],
        compressor: &mut zstd::bulk::Compressor<'static>,
    ) -> Result<(), Error> {
        let path = self.path(digest);
        if is_whole(&path, bytes.len() as u64) {
            return Ok(());
        }
        let frame = compressor
            .compress(bytes)
            .map_err(at("compressing", &path))?;
        let folder = path
            .parent()
            .expect("a chunk lies in a folder of the store");
        fs::create_dir_all(folder).map_err(at("making folder", folder))?;
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let beside = folder.join(format!(".{}-{serial}.part", std::process::id()));
        let write = || {
            File::create(&beside)?.write_all(&frame)?;
            fs::rename(&beside, &path)
        };
        write().map_err(|source| {
            // Best effort: the error that matters is the one that is returned.
            let _ = fs::remove_file(&beside);
            Error::Io {
                doing: "writing",
                path: path.clone(),
                source,
            }
        })?;
        self.written
            .fetch_add(frame.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Brings all that was stored to the disk; a manifest may name the chunks after this.
    pub fn flush(&self) -> Result<(), Error> {
        let folder = File::open(&self.root).map_err(at("opening", &self.root))?;
        rustix::fs::syncfs(&folder).map_err(|error| Error::Io {
            doing: "flushing",
            path: self.root.clone(),
            source: error.into(),
        })
    }

    /// The stored frame, compressed.
    pub fn frame(&self, digest: &ChunkDigest) -> Result<Vec<u8>, Error> {
        let path = self.path(digest);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Missing(*digest));
            }
            other => other.map_err(at("opening", &path))?,
        };
        let mut frame = Vec::new();
        // A chunk that does not compress grows by a few bytes; anything much longer is not one of ours.
        let limit = CHUNK_LIMIT + CHUNK_LIMIT / 16;
        file.take(limit + 1)
            .read_to_end(&mut frame)
            .map_err(at("reading", &path))?;
        if frame.len() as u64 > limit {
            return Err(Error::Damaged {
                digest: *digest,
                path,
                what: format!("longer than {limit} bytes"),
            });
        }
        Ok(frame)
    }

    /// A chunk's bytes, checked against its name.
    pub fn read(&self, digest: &ChunkDigest, length: u64) -> Result<Vec<u8>, Error> {
        let frame = self.frame(digest)?;
        let damaged = |what: String| Error::Damaged {
            digest: *digest,
            path: self.path(digest),
            what,
        };
        let bytes = zstd::bulk::decompress(&frame, length.min(CHUNK_LIMIT) as usize)
            .map_err(|error| damaged(error.to_string()))?;
        if bytes.len() as u64 != length {
            return Err(damaged(format!(
                "{} bytes instead of {length}",
                bytes.len()
            )));
        }
        let found = ChunkDigest::of(&bytes);
        if found != *digest {
            return Err(damaged(format!("its content has digest {found}")));
        }
        Ok(bytes)
    }
}

/// Whether a chunk's file is there and begins as the frame of so many bytes. After a power cut in the middle of a build
/// a file can have its name and no content; it is written again.
fn is_whole(path: &Path, length: u64) -> bool {
    // The longest zstd frame header (RFC 8878, section 3.1.1.1).
    let mut header = [0; 18];
    let read = File::open(path).and_then(|mut file| file.read(&mut header));
    read.is_ok_and(
        |count| matches!(zstd::zstd_safe::get_frame_content_size(&header[..count]), Ok(Some(size)) if size == length),
    )
}

/// A compressor for one thread.
pub fn compressor() -> io::Result<zstd::bulk::Compressor<'static>> {
    zstd::bulk::Compressor::new(LEVEL)
}

fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io {
        doing,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let store = ChunkStore::create(folder.path()).unwrap();
        let bytes = b"a chunk".repeat(1000);
        let digest = ChunkDigest::of(&bytes);
        store
            .put(&digest, &bytes, &mut compressor().unwrap())
            .unwrap();
        store.flush().unwrap();
        assert_eq!(store.read(&digest, bytes.len() as u64).unwrap(), bytes);
        assert!(
            store
                .read(&digest, 8)
                .unwrap_err()
                .to_string()
                .contains("damaged")
        );
        let other = ChunkDigest::of(b"other");
        assert!(matches!(store.read(&other, 1), Err(Error::Missing(_))));
        fs::create_dir_all(store.path(&other).parent().unwrap()).unwrap();
        fs::copy(store.path(&digest), store.path(&other)).unwrap();
        assert!(
            store
                .read(&other, 7000)
                .unwrap_err()
                .to_string()
                .contains("digest")
        );
        fs::write(store.path(&other), b"not zstd").unwrap();
        assert!(
            store
                .read(&other, 7000)
                .unwrap_err()
                .to_string()
                .contains("damaged")
        );
        fs::write(store.path(&digest), b"").unwrap();
        store
            .put(&digest, &bytes, &mut compressor().unwrap())
            .unwrap();
        assert_eq!(store.read(&digest, bytes.len() as u64).unwrap(), bytes);
    }
}
