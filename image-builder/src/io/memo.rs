//! What was rendered before: from what a window of an image is made of to the chunks and hashes that came of it.
//!
//! A window's key is the SHA-256 of its recipe (the pieces, with their contents by digest), so an entry can be old but
//! never wrong. The nodes of a system share one memo, and so do builds, by a file in the output folder: what did not
//! change is not rendered again. It lies there and not in the cache because an entry decides what a node runs, and
//! because it is of use only where its chunks are (decision 8). That the chunks are what they were is seen by the
//! digests of their frames.
//!
//! ```text
//! "prejoin memo 3\n\0"          16 bytes
//! entries                       key, u8 builds since it was last used, ranges with digests of frames, hashes
//! SHA-256 of all this           32 bytes
//! ```
#![expect(
    clippy::disallowed_methods,
    reason = "the memo is a file of the output folder"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use prejoin_formats::image::{Image, Source};
use prejoin_formats::tree::Content;
use prejoin_wire::digest::{ChunkDigest, Digest};
use prejoin_wire::manifest::Range;
use sha2::{Digest as _, Sha256};

use super::known;
use super::prune;
use super::render::{Cut, Rendered};
use prejoin_store::chunks::ChunkStore;
use prejoin_store::output;

const MAGIC: &[u8; 16] = b"prejoin memo 3\n\0";

/// An entry that so many builds had no use for is forgotten. Clusters with the same system take turns.
const FORGOTTEN: u8 = 8;

/// Largest file that is read: the entries of 40 systems.
const LARGEST: u64 = 256 << 20;

/// Windows that were rendered before.
#[derive(Debug, Default)]
pub struct Memo {
    /// Buffers that many images share, with their digests, so that each is hashed once.
    shared: Vec<(Arc<[u8]>, Digest)>,
    known: Mutex<BTreeMap<Digest, Entry>>,
    changed: AtomicBool,
}

#[derive(Debug)]
struct Entry {
    rendered: Rendered,
    /// Builds since it was last used.
    age: u8,
    /// Its chunks were seen in the store by this build.
    stored: bool,
}

/// Where the memo of a system lies.
fn path(out: &Path, set: &str) -> PathBuf {
    known::folder(out)
        .join(set.replace('/', "-"))
        .with_extension("memo")
}

impl Memo {
    /// What earlier builds of the system `set` into `out` left. A memo that is missing or damaged is an empty one.
    pub fn open(out: &Path, set: &str) -> Self {
        let path = path(out, set);
        prune::touch(&path);
        let small = fs::metadata(&path).is_ok_and(|found| found.len() <= LARGEST);
        let bytes = if small {
            fs::read(&path).unwrap_or_default()
        } else {
            Vec::new()
        };
        Memo {
            known: Mutex::new(decode(&bytes).unwrap_or_default()),
            ..Memo::default()
        }
    }

    /// Keeps what this build used for the next one, if it had to render anything.
    pub fn save(&self, out: &Path, set: &str) -> Result<(), output::Error> {
        if !self.changed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let path = path(out, set);
        let folder = &known::folder(out);
        fs::create_dir_all(folder).map_err(output::at("making folder", folder))?;
        output::write(&path, &encode(&self.known()))
    }

    /// Contents that many images will share: each is hashed once, now.
    pub fn share<'c>(&mut self, contents: impl IntoIterator<Item = &'c Content>) {
        let buffer = |content: &Content| match content {
            Content::Bytes(bytes) => Some((bytes.clone(), Digest::of(bytes))),
            Content::Blob { .. } | Content::Image(_) => None,
        };
        self.shared.extend(contents.into_iter().filter_map(buffer));
    }

    /// The key of a window: all that decides what is rendered.
    pub(super) fn key(&self, image: &Image, offset: u64, length: u64, cut: &Cut) -> Digest {
        let mut key = Sha256::new();
        key.update([u8::from(cut.verity_salt.is_some())]);
        key.update(cut.verity_salt.unwrap_or_default());
        key.update(length.to_le_bytes());
        for piece in image.part(offset, length).pieces() {
            key.update(piece.offset.to_le_bytes());
            key.update(piece.length.to_le_bytes());
            let (digest, start) = match &piece.source {
                Source::Blob { digest, start } => (Digest(*digest), *start),
                Source::Bytes { bytes, start } => {
                    match self
                        .shared
                        .iter()
                        .find(|(kept, _)| Arc::ptr_eq(kept, bytes))
                    {
                        Some((_, digest)) => (*digest, *start),
                        None => (
                            Digest::of(&bytes[*start as usize..(start + piece.length) as usize]),
                            0,
                        ),
                    }
                }
            };
            key.update(digest.0);
            key.update(start.to_le_bytes());
        }
        Digest(key.finalize().into())
    }

    /// What came of the window before, if its chunks are still in the store, every bit as it was.
    pub(super) fn find(&self, key: &Digest, store: &ChunkStore) -> Option<Rendered> {
        let (rendered, stored) = {
            let known = self.known();
            let entry = known.get(key)?;
            (entry.rendered.clone(), entry.stored)
        };
        if !stored && !is_stored(&rendered, store) {
            return None;
        }
        if let Some(entry) = self.known().get_mut(key) {
            (entry.age, entry.stored) = (0, true);
        }
        Some(rendered)
    }

    /// Remembers a window whose chunks were just stored.
    pub(super) fn insert(&self, key: Digest, rendered: Rendered) {
        self.known().insert(
            key,
            Entry {
                rendered,
                age: 0,
                stored: true,
            },
        );
        self.changed.store(true, Ordering::Relaxed);
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Digest, Entry>> {
        self.known.lock().expect("nothing panics under this lock")
    }
}

/// Whether every chunk is in the store, in the frame that it had.
fn is_stored(rendered: &Rendered, store: &ChunkStore) -> bool {
    digests(&rendered.ranges)
        .zip(&rendered.frames)
        .all(|(digest, frame)| store.has_frame(digest, frame))
}

/// The digests of all data, in order.
fn digests(ranges: &[Range]) -> impl Iterator<Item = &ChunkDigest> {
    ranges.iter().filter_map(|range| match range {
        Range::Data { digest, .. } => Some(digest),
        Range::Zero { .. } | Range::Skip { .. } => None,
    })
}

fn encode(known: &BTreeMap<Digest, Entry>) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for (key, entry) in known.iter().filter(|(_, entry)| entry.age < FORGOTTEN) {
        bytes.extend(key.0);
        bytes.push(entry.age);
        bytes.extend((entry.rendered.ranges.len() as u32).to_le_bytes());
        for range in &entry.rendered.ranges {
            let (kind, digest) = match range {
                Range::Data { digest, .. } => (0, digest.0),
                Range::Zero { .. } => (1, [0; 32]),
                Range::Skip { .. } => (2, [0; 32]),
            };
            bytes.push(kind);
            bytes.extend(range.length().to_le_bytes());
            bytes.extend(digest);
        }
        for frame in &entry.rendered.frames {
            bytes.extend(frame.0);
        }
        bytes.extend((entry.rendered.leaves.len() as u32).to_le_bytes());
        bytes.extend(entry.rendered.leaves.as_flattened());
    }
    let digest = Sha256::digest(&bytes);
    bytes.extend(digest);
    bytes
}

/// `None` if the bytes are not a whole memo. Everything is a build older than it was.
fn decode(bytes: &[u8]) -> Option<BTreeMap<Digest, Entry>> {
    let (bytes, digest) = bytes.split_last_chunk::<32>()?;
    let mut rest = bytes.strip_prefix(MAGIC)?;
    if Sha256::digest(bytes)[..] != digest[..] {
        return None;
    }
    let input = &mut rest;
    let mut known = BTreeMap::new();
    while !input.is_empty() {
        let (key, [age]) = (Digest(take(input)?), take(input)?);
        let ranges = list(input, |input| {
            let ([kind], length, digest) = (
                take(input)?,
                u64::from_le_bytes(take(input)?),
                ChunkDigest(take(input)?),
            );
            match kind {
                0 => Some(Range::Data { length, digest }),
                1 => Some(Range::Zero { length }),
                2 => Some(Range::Skip { length }),
                _ => None,
            }
        })?;
        let frames = digests(&ranges)
            .map(|_| take(input).map(ChunkDigest))
            .collect::<Option<_>>()?;
        let leaves = list(input, take)?;
        let age = age.saturating_add(1);
        known.insert(
            key,
            Entry {
                rendered: Rendered {
                    ranges,
                    leaves,
                    frames,
                },
                age,
                stored: false,
            },
        );
    }
    Some(known)
}

/// Reads a memo and writes it again, for the fuzz target alone.
#[cfg(fuzzing)]
pub fn rewrite(bytes: &[u8]) -> Option<Vec<u8>> {
    decode(bytes).map(|known| encode(&known))
}

fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = input.split_first_chunk()?;
    *input = rest;
    Some(*taken)
}

/// A list whose items take at least one byte each, so that a false count cannot reserve memory.
fn list<T>(input: &mut &[u8], mut each: impl FnMut(&mut &[u8]) -> Option<T>) -> Option<Vec<T>> {
    let count = u32::from_le_bytes(take(input)?) as usize;
    if count > input.len() {
        return None;
    }
    (0..count).map(|_| each(input)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Memo {
        let memo = Memo::default();
        let ranges = vec![
            Range::Data {
                length: 4096,
                digest: ChunkDigest([7; 32]),
            },
            Range::Zero { length: 9 },
        ];
        memo.insert(
            Digest([1; 32]),
            Rendered {
                ranges,
                leaves: vec![[3; 32]; 2],
                frames: vec![ChunkDigest([8; 32])],
            },
        );
        memo
    }

    #[test]
    fn a_memo_round_trips_and_forgets() {
        let mut bytes = encode(&sample().known());
        for age in 1..FORGOTTEN {
            let known = decode(&bytes).unwrap();
            let entry = &known[&Digest([1; 32])];
            assert_eq!((entry.age, entry.stored), (age, false));
            assert_eq!(
                (entry.rendered.ranges.len(), entry.rendered.leaves.len()),
                (2, 2)
            );
            bytes = encode(&known);
        }
        let known = decode(&bytes).unwrap();
        assert!(decode(&encode(&known)).unwrap().is_empty());
    }

    #[test]
    fn a_damaged_memo_is_none() {
        let bytes = encode(&sample().known());
        for at in 0..bytes.len() {
            assert!(decode(&bytes[..at]).is_none());
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert!(decode(&bytes).is_none());
        }
    }

    #[test]
    fn chunks_that_went_are_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = ChunkStore::create(folder.path()).unwrap();
        let memo = sample();
        let key = Digest([1; 32]);
        assert!(memo.find(&key, &store).is_some(), "this build stored it");
        memo.save(folder.path(), "os/board").unwrap();
        let again = Memo::open(folder.path(), "os/board");
        assert!(again.known().contains_key(&key));
        assert!(again.find(&key, &store).is_none(), "its chunk is not there");
        assert!(Memo::open(folder.path(), "other").known().is_empty());
    }
}
