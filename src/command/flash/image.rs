//! The image that is to be written.

use std::cell::RefCell;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use prejoin_disk::plan;
use prejoin_disk::write::Chunks;
use prejoin_formats::gpt::Table;
use prejoin_store::chunks::{self, ChunkStore};
use prejoin_wire::digest::{ChunkDigest, Digest};
use prejoin_wire::handoff::Handoff;
use prejoin_wire::manifest::Manifest;

use crate::command::verify;
use crate::failure::Failure;

/// One node's image.
pub(crate) struct Image {
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) store: Arc<ChunkStore>,
    /// Of the manifest.
    pub(crate) digest: Digest,
    pub(crate) table: Arc<Table>,
    pub(crate) handoff: Handoff,
}

impl Image {
    /// Reads what a plan needs of a node's image.
    pub(crate) fn open(out: &Path, node: &str) -> Result<Self, Failure> {
        let opened = verify::open_sound(out, node)?;
        Ok(Image {
            digest: Digest::of(opened.image.to_json().as_bytes()),
            manifest: opened.image,
            store: opened.store,
            table: opened.table,
            handoff: opened.node.handoff.clone(),
        })
    }

    /// As a plan sees it.
    pub(crate) fn view(&self) -> plan::Image<'_> {
        plan::Image {
            manifest: &self.manifest,
            digest: self.digest,
            table: &self.table,
            handoff: &self.handoff,
        }
    }
}

thread_local! {
    /// A decompressor's memory is used again for the next chunk.
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

impl Chunks for Image {
    fn find(&self, digest: &ChunkDigest, length: u64) -> Result<(), Box<dyn Error + Send + Sync>> {
        if !self.store.has(digest, length) {
            self.store.read(digest, length)?;
        }
        Ok(())
    }

    fn read(
        &self,
        digest: &ChunkDigest,
        into: &mut [u8],
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let frame = self.store.frame(digest)?;
        let damaged = |what: String| chunks::Error::Damaged {
            digest: *digest,
            path: self.store.path(digest),
            what,
        };
        DECOMPRESSOR.with_borrow_mut(|kept| {
            let decompressor = match kept {
                Some(decompressor) => decompressor,
                None => kept.insert(zstd::bulk::Decompressor::new()?),
            };
            let count = decompressor
                .decompress_to_buffer(&frame, into)
                .map_err(|error| damaged(error.to_string()))?;
            match count == into.len() {
                true => Ok(()),
                false => Err(damaged(format!("{count} bytes instead of {}", into.len())).into()),
            }
        })
    }
}
