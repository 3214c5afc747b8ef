//! Verifying: what was made is read back and judged by other code than the code that made it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ext4_view::Ext4Read;
use prejoin_formats::gpt;
use prejoin_formats::verity;
use prejoin_profiles::manifest::{self, Manifest, Partition, Range};
use rayon::prelude::*;

use super::chunks::{self, ChunkStore};
use super::reader::{ImageReader, PartitionReader};
use crate::events::{Event, Sink};
use crate::readback;

/// What was looked at and found right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Chunks whose digest was recomputed.
    pub chunks: usize,
    /// Bytes in them.
    pub bytes: u64,
    /// Blocks of the root partition checked against the dm-verity tree.
    pub blocks: u64,
    /// Paths walked in the root file system.
    pub paths: usize,
    /// Files read from the FAT partitions.
    pub files: usize,
}

/// What is wrong with an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A chunk is missing or damaged.
    #[error(transparent)]
    Store(#[from] chunks::Error),
    /// A part of the image is not what the manifest says.
    #[error("{what} of {node}: {why}")]
    Wrong {
        /// Which node's image.
        node: String,
        /// Which part.
        what: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Reads a whole image back: every chunk's digest, the partition table, the dm-verity tree over the root partition
/// block by block, the root file system's tree with ext4-view, and every file of the FAT partitions with fatfs.
pub fn verify(manifest: &Arc<Manifest>, store: &Arc<ChunkStore>, events: Sink) -> Result<Verified, Error> {
    let mut verified = Verified::default();
    check_chunks(manifest, store, events, &mut verified)?;
    let check = Check { manifest, store };
    check.table()?;
    check.ranges()?;
    check.root(&mut verified)?;
    check.files("identity", &mut verified)?;
    check.files("boot", &mut verified)?;
    Ok(verified)
}

fn check_chunks(manifest: &Manifest, store: &ChunkStore, events: Sink, verified: &mut Verified) -> Result<(), Error> {
    let data: Vec<(u64, prejoin_profiles::digest::Digest)> = manifest
        .ranges
        .iter()
        .filter_map(|range| match range {
            Range::Data { length, digest } => Some((*length, *digest)),
            _ => None,
        })
        .collect();
    let total = data.iter().map(|(length, _)| length).sum();
    let done = AtomicU64::new(0);
    data.par_iter().try_for_each(|(length, digest)| {
        store.read(digest, *length)?;
        let done = done.fetch_add(*length, Ordering::Relaxed) + length;
        events(Event::Progress { doing: "verifying", name: manifest.node.clone(), done, total });
        Ok::<_, chunks::Error>(())
    })?;
    verified.chunks = data.len();
    verified.bytes = total;
    Ok(())
}

struct Check<'a> {
    manifest: &'a Arc<Manifest>,
    store: &'a Arc<ChunkStore>,
}

impl Check<'_> {
    fn wrong(&self, what: impl Into<String>, why: impl ToString) -> Error {
        Error::Wrong { node: self.manifest.node.clone(), what: what.into(), why: why.to_string() }
    }

    fn partition(&self, name: &str) -> Result<&Partition, Error> {
        self.manifest.partition(name).ok_or_else(|| self.wrong("the manifest", format!("no partition {name}")))
    }

    fn reader(&self, partition: &Partition) -> PartitionReader {
        PartitionReader::new(ImageReader::new(self.manifest, self.store), partition.start, partition.size)
    }

    /// The table on the disk lists what the manifest lists, in both copies.
    fn table(&self) -> Result<(), Error> {
        let mut image = ImageReader::new(self.manifest, self.store);
        let mut read = |offset: u64, buffer: &mut [u8]| image.read_at(offset, buffer);
        let found = gpt::read(&mut read, self.manifest.size, self.manifest.sector_size)
            .map_err(|error| self.wrong("the partition table", error))?;
        if let Some(finding) = found.findings.first() {
            return Err(self.wrong("the partition table", format!("{finding:?}")));
        }
        let listed: Vec<_> = found
            .table
            .partitions
            .iter()
            .map(|p| (p.number, p.name.clone(), p.type_guid.to_string(), p.guid.to_string(), p.start, p.size))
            .collect();
        let expected: Vec<_> = self
            .manifest
            .partitions
            .iter()
            .map(|p| (p.number, p.name.clone(), p.type_guid.clone(), p.guid.clone(), p.start, p.size))
            .collect();
        if listed == expected { Ok(()) } else { Err(self.wrong("the partition table", "differs from the manifest")) }
    }

    /// Partition digests are those of the ranges.
    fn ranges(&self) -> Result<(), Error> {
        let placed: Vec<(u64, Range)> = self.manifest.placed().collect();
        for partition in &self.manifest.partitions {
            let defined = partition.start..partition.start + partition.used;
            let ranges: Vec<Range> =
                placed.iter().filter(|(offset, _)| defined.contains(offset)).map(|(_, range)| *range).collect();
            let length: u64 = ranges.iter().map(Range::length).sum();
            if length != partition.used || manifest::digest_of(&ranges) != partition.digest {
                return Err(self.wrong(format!("partition {}", partition.name), "its digest is another one"));
            }
        }
        Ok(())
    }

    fn root(&self, verified: &mut Verified) -> Result<(), Error> {
        let data = self.partition("root-a")?;
        let hashes = self.partition("root-a-verity")?;
        let what = "the dm-verity tree";
        if hashes.used > verity::hash_size(data.used) {
            return Err(self.wrong(what, format!("{} bytes for {} of data", hashes.used, data.used)));
        }
        let mut tree = vec![0; usize::try_from(hashes.used).map_err(|error| self.wrong(what, error))?];
        self.reader(hashes).read_at(0, &mut tree).map_err(|error| self.wrong(what, error))?;
        let tree = verity::Tree::open(&tree, &self.manifest.root_hash.0).map_err(|error| self.wrong(what, error))?;
        let blocks = tree.superblock().data_blocks;
        if blocks * verity::BLOCK as u64 != data.used {
            return Err(self.wrong(what, format!("it covers {blocks} blocks of {} bytes", data.used)));
        }
        const STEP: u64 = 1024;
        (0..blocks.div_ceil(STEP)).into_par_iter().try_for_each(|step| {
            let mut reader = self.reader(data);
            let mut block = [0; verity::BLOCK];
            for index in step * STEP..blocks.min((step + 1) * STEP) {
                reader
                    .read_at(index * verity::BLOCK as u64, &mut block)
                    .map_err(|error| self.wrong("partition root-a", error))?;
                tree.check_block(index, &block).map_err(|error| self.wrong("partition root-a", error))?;
            }
            Ok::<_, Error>(())
        })?;
        verified.blocks = blocks;
        verified.paths = self.walk(data)?;
        Ok(())
    }

    /// Every directory of the root file system can be listed and every entry looked at.
    fn walk(&self, partition: &Partition) -> Result<usize, Error> {
        readback::ext4(Box::new(self.reader(partition)), partition.size)
            .map_err(|error| self.wrong("the root file system", error))
    }

    /// Every file of a FAT partition can be read to its end.
    fn files(&self, name: &str, verified: &mut Verified) -> Result<(), Error> {
        let partition = self.partition(name)?;
        verified.files += readback::fat(self.reader(partition), partition.size)
            .map_err(|error| self.wrong(format!("partition {name}"), error))?;
        Ok(())
    }
}

impl Ext4Read for PartitionReader {
    fn read(
        &mut self,
        start_byte: u64,
        buffer: &mut [u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync + 'static>> {
        self.read_at(start_byte, buffer).map_err(Into::into)
    }
}
