//! The chunk store: every piece of every image, once, as an independent zstd frame.
//!
//! `<out>/chunks/ab/abcd….zst`. The name is the BLAKE3 of the uncompressed bytes; frames put in a row are a valid
//! zstd stream, so a whole image can be sent without being built. Nothing is ever changed in place: a chunk is
//! written under a name of its own ([`crate::part`]) and renamed, and a manifest that names it is only written after the
//! store was flushed. What is there is compared with its digest before a build relies on it, and made again if it is
//! something else.
#![expect(clippy::disallowed_methods, reason = "this is the store's file access")]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use prejoin_wire::digest::ChunkDigest;
use prejoin_wire::manifest::CHUNK_LIMIT;

use crate::compose::Inline;
use crate::hold::Hold;
use crate::part::{self, Part};

/// zstd's level for chunks. On a Debian root level 3 gives 2.3:1 at a third of the cost of decompressing the
/// packages; level 9 would save another 6 % for four times the time.
const LEVEL: i32 = 3;

/// A folder of chunks.
#[derive(Debug)]
pub struct ChunkStore {
    root: PathBuf,
    /// Whether what is put in is written.
    keeps: bool,
    written: AtomicU64,
    /// Chunks that are in no file.
    inline: Inline,
    #[expect(dead_code, reason = "it is held as long as there is a store")]
    hold: Option<Hold>,
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
            keeps: true,
            written: AtomicU64::new(0),
            inline: Inline::new(),
            hold: None,
        })
    }

    /// The store below `out`, for reading.
    pub fn open(out: &Path) -> Self {
        ChunkStore {
            root: out.join("chunks"),
            keeps: true,
            written: AtomicU64::new(0),
            inline: Inline::new(),
            hold: None,
        }
    }

    /// One that keeps nothing: for whoever only wants to know what a build makes.
    pub fn none() -> Self {
        ChunkStore {
            keeps: false,
            ..ChunkStore::open(Path::new(""))
        }
    }

    /// Whether what is put in can be read later.
    pub fn keeps(&self) -> bool {
        self.keeps
    }

    /// The same store, which is held as long as it is used.
    pub fn held(self, hold: Hold) -> Self {
        ChunkStore {
            hold: Some(hold),
            ..self
        }
    }

    /// The same store with these chunks, which were made for one image and are read as if they were stored.
    pub fn with(self, inline: Inline) -> Self {
        ChunkStore { inline, ..self }
    }

    /// The folder of all chunks.
    pub fn folder(&self) -> &Path {
        &self.root
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

    /// Whether a chunk of so many bytes seems to be there, at a quick look: its content is compared when it is read.
    pub fn has(&self, digest: &ChunkDigest, length: u64) -> bool {
        if let Some(bytes) = self.inline.get(digest) {
            return bytes.len() as u64 == length;
        }
        // The longest zstd frame header (RFC 8878, section 3.1.1.1).
        let mut header = [0; 18];
        let read = File::open(self.path(digest)).and_then(|mut file| file.read(&mut header));
        let Ok(count) = read else { return false };
        let said = zstd::zstd_safe::get_frame_content_size(&header[..count]);
        matches!(said, Ok(Some(size)) if size == length)
    }

    /// Whether the file of a chunk holds this very frame. Comparing frames is ten times as fast as unpacking them.
    pub fn has_frame(&self, digest: &ChunkDigest, frame: &ChunkDigest) -> bool {
        self.frame(digest)
            .is_ok_and(|found| ChunkDigest::of(&found) == *frame)
    }

    /// Stores `bytes` under `digest` unless they are there, whole and right. Gives the digest of the frame, or that of the
    /// bytes where nothing is kept.
    pub fn put(
        &self,
        digest: &ChunkDigest,
        bytes: &[u8],
        compressor: &mut zstd::bulk::Compressor<'static>,
    ) -> Result<ChunkDigest, Error> {
        if !self.keeps {
            return Ok(*digest);
        }
        // What cannot be read is written again, and that says what is wrong.
        if let Ok(frame) = self.frame(digest)
            && self.unpack(&frame, digest, bytes.len() as u64).is_ok()
        {
            return Ok(ChunkDigest::of(&frame));
        }
        let path = self.path(digest);
        let frame = compressor
            .compress(bytes)
            .map_err(at("compressing", &path))?;
        let folder = path
            .parent()
            .expect("a chunk lies in a folder of the store");
        fs::create_dir_all(folder).map_err(at("making folder", folder))?;
        // All files under way are in one folder, so that a sweep need not look into 256.
        let mut part =
            Part::create(&self.root, &digest.to_string()).map_err(at("writing", &path))?;
        part.write_all(&frame).map_err(at("writing", &path))?;
        part.rename(&path).map_err(at("writing", &path))?;
        self.written
            .fetch_add(frame.len() as u64, Ordering::Relaxed);
        Ok(ChunkDigest::of(&frame))
    }

    /// Removes what interrupted runs left.
    pub fn sweep(&self) {
        part::sweep(&self.root);
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

    /// The frame of a chunk: compressed, as it is stored.
    pub fn frame(&self, digest: &ChunkDigest) -> Result<Vec<u8>, Error> {
        let path = self.path(digest);
        if let Some(bytes) = self.inline.get(digest) {
            let packed = compressor().and_then(|mut compressor| compressor.compress(bytes));
            return packed.map_err(at("compressing", &path));
        }
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
        if let Some(bytes) = self.inline.get(digest).filter(|b| b.len() as u64 == length) {
            return Ok(bytes.to_vec());
        }
        let frame = self.frame(digest)?;
        self.unpack(&frame, digest, length)
    }

    fn unpack(&self, frame: &[u8], digest: &ChunkDigest, length: u64) -> Result<Vec<u8>, Error> {
        let damaged = |what: String| Error::Damaged {
            digest: *digest,
            path: self.path(digest),
            what,
        };
        let bytes = zstd::bulk::decompress(frame, length.min(CHUNK_LIMIT) as usize)
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
    }

    #[test]
    fn damage_heals() {
        let folder = tempfile::tempdir().unwrap();
        let store = ChunkStore::create(folder.path()).unwrap();
        let bytes = b"a chunk".repeat(1000);
        let digest = ChunkDigest::of(&bytes);
        let put = || store.put(&digest, &bytes, &mut compressor().unwrap());
        let frame = put().unwrap();
        let good = fs::read(store.path(&digest)).unwrap();
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 1;
        for damaged in [&flipped[..], &good[..good.len() - 1], b""] {
            fs::write(store.path(&digest), damaged).unwrap();
            assert!(!store.has_frame(&digest, &frame));
            assert_eq!(put().unwrap(), frame);
            assert_eq!(store.read(&digest, bytes.len() as u64).unwrap(), bytes);
        }
        // The same bytes in another frame are as good.
        let other = zstd::bulk::compress(&bytes, 19).unwrap();
        fs::write(store.path(&digest), &other).unwrap();
        assert_eq!(put().unwrap(), ChunkDigest::of(&other));
        assert!(store.has_frame(&digest, &ChunkDigest::of(&other)));
    }
}
