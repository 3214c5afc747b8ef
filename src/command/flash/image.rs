//! The image that is to be written: manifest, chunks, and what is said in its table and its `node.json`.

use std::cell::RefCell;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use prejoin_disk::plan;
use prejoin_disk::write::Chunks;
use prejoin_formats::gpt::{self, Table};
use prejoin_image_builder::class::Class;
use prejoin_image_builder::io::chunks::{self, ChunkStore};
use prejoin_image_builder::io::reader::{ImageReader, PartitionReader};
use prejoin_image_builder::readback;
use prejoin_wire::digest::{ChunkDigest, Digest};
use prejoin_wire::handoff::{Handoff, LARGEST_DOCUMENT};
use prejoin_wire::manifest::Manifest;

use crate::command::verify;
use crate::failure::Failure;

/// One node's image.
pub(crate) struct Image {
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) store: Arc<ChunkStore>,
    /// Of the manifest.
    pub(crate) digest: Digest,
    pub(crate) table: Table,
    pub(crate) handoff: Handoff,
}

impl Image {
    /// Reads what a plan needs of a node's image.
    pub(crate) fn open(out: &Path, node: &str) -> Result<Self, Failure> {
        let (manifest, store) = verify::open_sound(out, node)?;
        let digest = Digest::of(manifest.to_json().as_bytes());
        let table =
            table(&manifest, &store).map_err(|why| broken(node, "the partition table", why))?;
        let handoff =
            handoff(&manifest, &store).map_err(|why| broken(node, "partition identity", why))?;
        Ok(Image {
            manifest,
            store,
            digest,
            table,
            handoff,
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

fn table(manifest: &Arc<Manifest>, store: &Arc<ChunkStore>) -> Result<Table, Box<dyn Error>> {
    let mut image = ImageReader::new(manifest, store);
    let read = |offset: u64, buffer: &mut [u8]| image.read_at(offset, buffer);
    Ok(gpt::read(read, manifest.size, manifest.sector_size)?.table)
}

fn handoff(manifest: &Arc<Manifest>, store: &Arc<ChunkStore>) -> Result<Handoff, Box<dyn Error>> {
    let partition = manifest.partition("identity").ok_or("there is none")?;
    let volume = PartitionReader::new(
        ImageReader::new(manifest, store),
        partition.start,
        partition.size,
    );
    let mut text = None;
    readback::fat(volume, partition.size, |path, file| {
        if path.eq_ignore_ascii_case("node.json") {
            text = Some(readback::bytes(file, LARGEST_DOCUMENT)?);
        }
        Ok(())
    })?;
    Ok(Handoff::parse(&text.ok_or("it has no node.json")?)?)
}

/// A part of the image that does not say what it should, for want of a chunk or by its content.
fn broken(node: &str, what: &str, error: Box<dyn Error>) -> Failure {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&*error);
    while let Some(error) = cause {
        // Errors of reading wrap those of the store.
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        let found = inner
            .and_then(|inner| inner.downcast_ref())
            .or_else(|| error.downcast_ref::<chunks::Error>());
        if let Some(found) = found {
            return verify::damage(found, node);
        }
        cause = error.source();
    }
    Failure::new(Class::Integrity, &*error)
        .of(format!("{what} of the image of {node}"))
        .hint(format!("build it again: `prejoin build {node}`"))
}
