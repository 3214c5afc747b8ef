//! Rendering: a planned image is read once, in parallel, and becomes chunks.

use prejoin_formats::image::Image;
use prejoin_formats::tree::Contents;
use prejoin_formats::verity;
use prejoin_wire::digest::ChunkDigest;
use prejoin_wire::manifest::Range;
use rayon::prelude::*;

use super::memo::Memo;
use prejoin_store::chunks::{self, ChunkStore};
use prejoin_store::cut::{append, is_zero, runs};

/// How an image is cut.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// Chunks start at multiples of this and are at most this long.
    pub window: u64,
    /// Compute dm-verity leaves with this salt.
    pub verity_salt: Option<[u8; 32]>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Rendered {
    /// The image from first byte to last.
    pub ranges: Vec<Range>,
    /// One hash a 4096-byte block, where asked for.
    pub leaves: Vec<[u8; 32]>,
    /// Digest of the stored frame of every data range: what its file is recognised by.
    pub frames: Vec<ChunkDigest>,
}

/// Why rendering failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file's content could not be read from the cache.
    #[error("reading the content of the image at byte {offset}")]
    Content {
        /// Where in the image.
        offset: u64,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A chunk could not be stored.
    #[error(transparent)]
    Store(#[from] chunks::Error),
}

/// Reads `image` and stores its chunks; with a salt, hashes its blocks in the same pass. What `memo` knows is not read.
pub fn render(
    image: &Image,
    contents: &dyn Contents,
    store: &ChunkStore,
    cut: Cut,
    memo: &Memo,
) -> Result<Rendered, Error> {
    let count = image.size().div_ceil(cut.window);
    let windows: Vec<Rendered> = (0..count)
        .into_par_iter()
        .map_init(
            || (chunks::compressor(), Vec::new()),
            |(compressor, buffer), index| {
                let offset = index * cut.window;
                let length = cut.window.min(image.size() - offset);
                if image.is_hole(offset, length) {
                    return Ok::<_, Error>(hole(length, cut.verity_salt.as_ref()));
                }
                let key = memo.key(image, offset, length, &cut);
                if let Some(made) = memo.find(&key, store) {
                    return Ok(made);
                }
                buffer.resize(length as usize, 0);
                image
                    .read_at(contents, offset, buffer)
                    .map_err(|source| Error::Content { offset, source })?;
                let compressor = compressor.as_mut().map_err(|error| Error::Content {
                    offset,
                    source: copy_of(error),
                })?;
                let made = window(buffer, store, compressor, cut.verity_salt.as_ref())?;
                memo.insert(key, made.clone());
                Ok(made)
            },
        )
        .collect::<Result<_, _>>()?;
    let mut rendered = Rendered::default();
    for window in windows {
        for range in window.ranges {
            append(&mut rendered.ranges, range);
        }
        rendered.leaves.extend(window.leaves);
        rendered.frames.extend(window.frames);
    }
    Ok(rendered)
}

/// A window without pieces.
fn hole(length: u64, salt: Option<&[u8; 32]>) -> Rendered {
    let blocks = (length / verity::BLOCK as u64) as usize;
    let leaves = salt
        .map(|salt| vec![verity::zero_leaf(salt); blocks])
        .unwrap_or_default();
    Rendered {
        ranges: vec![Range::Zero { length }],
        leaves,
        frames: Vec::new(),
    }
}

/// Hashes, cuts and stores the bytes of one window.
fn window(
    buffer: &[u8],
    store: &ChunkStore,
    compressor: &mut zstd::bulk::Compressor<'static>,
    salt: Option<&[u8; 32]>,
) -> Result<Rendered, Error> {
    let mut rendered = Rendered::default();
    if let Some(salt) = salt {
        let (blocks, _) = buffer.as_chunks::<{ verity::BLOCK }>();
        let zero = verity::zero_leaf(salt);
        rendered.leaves = blocks
            .iter()
            .map(|b| {
                if is_zero(b) {
                    zero
                } else {
                    verity::leaf(salt, b)
                }
            })
            .collect();
    }
    for range in runs(buffer) {
        if range.data {
            let bytes = &buffer[range.start..range.end];
            let digest = ChunkDigest::of(bytes);
            let frame = store.put(&digest, bytes, compressor)?;
            rendered.frames.push(frame);
            append(
                &mut rendered.ranges,
                Range::Data {
                    length: bytes.len() as u64,
                    digest,
                },
            );
        } else {
            append(
                &mut rendered.ranges,
                Range::Zero {
                    length: (range.end - range.start) as u64,
                },
            );
        }
    }
    Ok(rendered)
}

fn copy_of(error: &std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use prejoin_formats::tree::{Content, ContentDigest, NoContents};

    #[test]
    fn what_images_share_is_read_once() {
        struct Once(std::sync::atomic::AtomicUsize);
        impl Contents for Once {
            fn read_at(
                &self,
                _: &ContentDigest,
                offset: u64,
                buffer: &mut [u8],
            ) -> std::io::Result<()> {
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                buffer.fill(offset as u8 | 1);
                Ok(())
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let store = ChunkStore::create(folder.path()).unwrap();
        let shared = Content::Bytes(vec![3; 8192].into());
        let mut memo = Memo::default();
        memo.share([&shared]);
        let reads = Once(0.into());
        let disk = |own: u8| {
            let mut image = Image::zero(16384);
            image.put_content(
                0,
                &Content::Blob {
                    digest: [1; 32],
                    size: 4096,
                },
                0,
                4096,
            );
            image.put_content(4096, &shared, 4096, 4096);
            image.put_bytes(8192, vec![own; 4096]);
            image.sort();
            render(
                &image,
                &reads,
                &store,
                Cut {
                    window: 4096,
                    verity_salt: None,
                },
                &memo,
            )
            .unwrap()
            .ranges
        };
        let (first, second) = (disk(1), disk(2));
        assert_eq!(reads.0.into_inner(), 1);
        assert_eq!(first[..2], second[..2]);
        assert_ne!(first[2], second[2]);
    }

    #[test]
    fn zeroes_are_cut_out_and_chunks_add_up() {
        let folder = tempfile::tempdir().unwrap();
        let store = ChunkStore::create(folder.path()).unwrap();
        let mut image = Image::zero(4 << 20);
        image.put_bytes(4096, vec![7; 4096]);
        image.put_bytes(12288, vec![8; 4096]); // a short gap before: stays one chunk
        image.put_bytes(512 << 10, vec![9; 10]); // a long gap before: a chunk of its own
        image.put_bytes((3 << 20) - 4096, vec![5; 8192]); // across a window
        image.sort();
        let cut = Cut {
            window: 1 << 20,
            verity_salt: Some([1; 32]),
        };
        let rendered = render(&image, &NoContents, &store, cut, &Memo::default()).unwrap();
        let kinds: Vec<(bool, u64)> = rendered
            .ranges
            .iter()
            .map(|r| (matches!(r, Range::Data { .. }), r.length()))
            .collect();
        assert_eq!(
            kinds,
            [
                (false, 4096),
                (true, 12288),
                (false, (512 << 10) - 16384),
                (true, 4096),
                (false, (3 << 20) - 4096 - (512 << 10) - 4096),
                (true, 4096),
                (true, 4096),
                (false, (1 << 20) - 4096),
            ]
        );
        assert_eq!(rendered.leaves.len(), 1024);
        let mut all = Vec::new();
        for range in &rendered.ranges {
            match range {
                Range::Data { length, digest } => all.extend(store.read(digest, *length).unwrap()),
                other => all.extend(vec![0; other.length() as usize]),
            }
        }
        let mut expected = vec![0; 4 << 20];
        image.read_at(&NoContents, 0, &mut expected).unwrap();
        assert!(all == expected);
        for (leaf, block) in rendered.leaves.iter().zip(expected.as_chunks::<4096>().0) {
            assert_eq!(*leaf, verity::leaf(&[1; 32], block));
        }
    }
}
