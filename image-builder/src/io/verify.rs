//! Verifying: what was made is read back and judged by other code than the code that made it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ext4_view::Ext4Read;
use prejoin_formats::gpt;
use prejoin_formats::verity;
use prejoin_wire::digest::{ChunkDigest, Digest};
use prejoin_wire::handoff::{Archive, Handoff};
use prejoin_wire::manifest::{Manifest, Partition, Range};
use rayon::prelude::*;

use super::build::Built;
use crate::events::{Event, Sink};
use crate::image::readback;
use prejoin_formats::tree::{Content, Kind};
use prejoin_store::chunks::{self, ChunkStore};
use prejoin_store::reader::{ImageReader, PartitionReader};
use prejoin_wire::printable::printable;
use std::collections::BTreeMap;

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

/// Longest `node.json` that is read, bytes; it has about 1000.
const LONGEST: u64 = 1 << 20;

/// Reads a whole image back: every chunk's digest, the partition table, that nothing else lies outside the partitions,
/// the dm-verity tree over the root partition block by block, the root file system's tree with ext4-view, and every
/// file of the FAT partitions with fatfs. The kernel's command line must vouch for this very root, and the identity
/// be this node's.
pub fn verify(
    manifest: &Arc<Manifest>,
    store: &Arc<ChunkStore>,
    events: Sink,
) -> Result<Verified, Error> {
    let mut verified = Verified::default();
    check_chunks(manifest, store, events, &mut verified)?;
    let check = Check { manifest, store };
    check.table()?;
    check.outside()?;
    check.root(&mut verified)?;
    check.identity(&mut verified)?;
    check.boot(&mut verified)?;
    Ok(verified)
}

/// Whether the manifest's root hash is that of the tree in the image, as far as the tree can be read: who writes an image
/// says with it which root the node will start from.
pub fn root_hash(manifest: &Arc<Manifest>, store: &Arc<ChunkStore>) -> Result<(), Error> {
    match (Check { manifest, store }).tree() {
        // Which chunk cannot be read, is said when it is wanted.
        Ok(_) | Err(Error::Store(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Most paths that are named.
const NAMED: usize = 5;

/// Which files of an image's root are not what a build has made, for people: the first few, and how many in all.
pub fn differences(
    manifest: &Arc<Manifest>,
    store: &Arc<ChunkStore>,
    built: &Built,
) -> Result<String, Error> {
    let check = Check { manifest, store };
    let root = check.partition("root-a")?;
    let volume = Box::new(Volume(check.reader(root)));
    let mut wanted: BTreeMap<Vec<u8>, [u8; 32]> = BTreeMap::new();
    for (path, entry) in built.system.root.iter() {
        let entry = match &entry.kind {
            Kind::HardLink(target) => built.system.root.entry(target).unwrap_or(entry),
            _ => entry,
        };
        if let Kind::File(content) = &entry.kind {
            let digest = match content {
                Content::Blob { digest, .. } => *digest,
                Content::Bytes(bytes) => Digest::of(bytes).0,
                // Nothing of the root is put together like that.
                Content::Image(_) => continue,
            };
            wanted.insert(path.to_vec(), digest);
        }
    }
    let mut other = Vec::new();
    readback::ext4_files(volume, root.size, |path, bytes| {
        if wanted.remove(path) != Some(Digest::of(bytes).0) {
            other.push(path.to_vec());
        }
    })
    .map_err(|error| check.wrong("the root file system", error))?;
    other.extend(wanted.into_keys());
    other.sort();
    let mut names: Vec<String> = other
        .iter()
        .take(NAMED)
        .map(|path| printable(&String::from_utf8_lossy(path)).into_owned())
        .collect();
    match other.len() {
        0 => names.push("owners, modes or places of files".to_owned()),
        count if count > NAMED => names.push(format!("{} more", count - NAMED)),
        _ => {}
    }
    Ok(names.join(", "))
}

fn check_chunks(
    manifest: &Manifest,
    store: &ChunkStore,
    events: Sink,
    verified: &mut Verified,
) -> Result<(), Error> {
    let data: Vec<(u64, ChunkDigest)> = manifest
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
        events(Event::Progress {
            doing: "verifying",
            name: manifest.node.clone(),
            done,
            total,
        });
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
        Error::Wrong {
            node: self.manifest.node.clone(),
            what: what.into(),
            why: why.to_string(),
        }
    }

    fn partition(&self, name: &str) -> Result<&Partition, Error> {
        self.manifest
            .partition(name)
            .ok_or_else(|| self.wrong("the manifest", format!("no partition {name}")))
    }

    fn reader(&self, partition: &Partition) -> PartitionReader {
        PartitionReader::new(
            ImageReader::new(self.manifest, self.store),
            partition.start,
            partition.size,
        )
    }

    /// The table on the disk lists what the manifest lists, in both copies.
    fn table(&self) -> Result<(), Error> {
        let mut image = ImageReader::new(self.manifest, self.store);
        let mut read = |offset: u64, buffer: &mut [u8]| image.read_at(offset, buffer);
        let found = gpt::read(&mut read, self.manifest.size, self.manifest.sector_size)
            .map_err(|error| self.wrong("the partition table", error))?;
        if let Some(finding) = found.findings.first() {
            return Err(self.wrong("the partition table", finding));
        }
        let listed: Vec<_> = found
            .table
            .partitions
            .iter()
            .map(|p| {
                (
                    p.number,
                    p.name.clone(),
                    p.type_guid,
                    p.guid,
                    p.start,
                    p.size,
                )
            })
            .collect();
        let expected: Vec<_> = self
            .manifest
            .partitions
            .iter()
            .map(|p| {
                (
                    p.number,
                    p.name.clone(),
                    p.type_guid,
                    p.guid,
                    p.start,
                    p.size,
                )
            })
            .collect();
        if listed != expected {
            return Err(self.wrong("the partition table", "differs from the manifest"));
        }
        self.only(&found.table)
    }

    /// What lies before and behind all partitions are the two copies of the table and zeroes: no code that an old
    /// firmware would start, nothing of the machine that built it.
    fn only(&self, table: &gpt::Table) -> Result<(), Error> {
        let what = "the partition table";
        let primary = table.primary().map_err(|error| self.wrong(what, error))?;
        let (offset, backup) = table.backup().map_err(|error| self.wrong(what, error))?;
        for (region, at, copy) in [(self.head(), 0, primary), (self.tail(), offset, backup)] {
            let mut expected = vec![0; (region.end - region.start) as usize];
            let inside = at
                .checked_sub(region.start)
                .and_then(|at| expected.get_mut(at as usize..)?.get_mut(..copy.len()));
            inside
                .ok_or_else(|| self.wrong(what, "the image is too small for it"))?
                .copy_from_slice(&copy);
            let mut found = vec![0; expected.len()];
            let mut image = ImageReader::new(self.manifest, self.store);
            image
                .read_at(region.start, &mut found)
                .map_err(|error| self.wrong(what, error))?;
            if let Some(at) = found
                .iter()
                .zip(&expected)
                .position(|(found, expected)| found != expected)
            {
                let at = region.start + at as u64;
                return Err(self.wrong(
                    what,
                    format!("byte {at} of the disk is neither of the table nor zero"),
                ));
            }
        }
        Ok(())
    }

    /// Where the first copy of the table lies.
    fn head(&self) -> Span {
        0..gpt::ALIGNMENT.min(self.manifest.size)
    }

    /// Where the second copy of the table lies.
    fn tail(&self) -> Span {
        self.manifest.size.saturating_sub(gpt::ALIGNMENT)..self.manifest.size
    }

    /// The image defines the two copies of the table and what partitions use, all of it, and nothing else.
    fn outside(&self) -> Result<(), Error> {
        let used = self
            .manifest
            .partitions
            .iter()
            .map(|p| (format!("partition {}", p.name), p.start..p.start + p.used));
        let tables =
            [self.head(), self.tail()].map(|span| ("the partition table".to_owned(), span));
        let spans: Vec<(String, Span)> = used
            .chain(tables)
            .filter(|(_, span)| !span.is_empty())
            .collect();
        for (start, range) in self.manifest.placed() {
            let end = start + range.length();
            let is_skip = matches!(range, Range::Skip { .. });
            let touched = spans
                .iter()
                .find(|(_, span)| span.start < end && start < span.end);
            match touched {
                Some((name, _)) if is_skip => {
                    return Err(self.wrong(
                        name,
                        format!("bytes {start} to {end} of the disk are not defined"),
                    ));
                }
                Some((_, span)) if span.start <= start && end <= span.end => {}
                None if is_skip => {}
                _ => {
                    let why = format!(
                        "bytes {start} to {end} of the disk are defined, beginning {}",
                        self.at(start)
                    );
                    return Err(self.wrong("the image", why));
                }
            }
        }
        Ok(())
    }

    /// What lies at a byte, for people.
    fn at(&self, byte: u64) -> String {
        let holds = |p: &&Partition| (p.start..p.start + p.size).contains(&byte);
        let partition = self.manifest.partitions.iter().find(holds);
        partition.map_or("outside all partitions".into(), |partition| {
            format!(
                "in partition {}, outside what is used of it",
                partition.name
            )
        })
    }

    /// The dm-verity tree, which has the manifest's root hash.
    fn tree(&self) -> Result<verity::Tree, Error> {
        let data = self.partition("root-a")?;
        let hashes = self.partition("root-a-verity")?;
        let what = "the dm-verity tree";
        if hashes.used > verity::hash_size(data.used) {
            return Err(self.wrong(
                what,
                format!("{} bytes for {} of data", hashes.used, data.used),
            ));
        }
        let mut tree =
            vec![0; usize::try_from(hashes.used).map_err(|error| self.wrong(what, error))?];
        self.reader(hashes).read_at(0, &mut tree).map_err(|error| {
            match error.downcast::<chunks::Error>() {
                Ok(error) => Error::Store(error),
                Err(error) => self.wrong(what, error),
            }
        })?;
        verity::Tree::open(&tree, &self.manifest.root_hash.0)
            .map_err(|error| self.wrong(what, error))
    }

    fn root(&self, verified: &mut Verified) -> Result<(), Error> {
        let data = self.partition("root-a")?;
        let tree = self.tree()?;
        let what = "the dm-verity tree";
        let blocks = tree.superblock().data_blocks;
        if blocks * verity::BLOCK as u64 != data.used {
            return Err(self.wrong(
                what,
                format!("it covers {blocks} blocks of {} bytes", data.used),
            ));
        }
        const STEP: u64 = 1024;
        (0..blocks.div_ceil(STEP))
            .into_par_iter()
            .try_for_each(|step| {
                let mut reader = self.reader(data);
                let mut block = [0; verity::BLOCK];
                for index in step * STEP..blocks.min((step + 1) * STEP) {
                    reader
                        .read_at(index * verity::BLOCK as u64, &mut block)
                        .map_err(|error| self.wrong("partition root-a", error))?;
                    tree.check_block(index, &block)
                        .map_err(|error| self.wrong("partition root-a", error))?;
                }
                Ok::<_, Error>(())
            })?;
        verified.blocks = blocks;
        verified.paths = self.walk(data)?;
        Ok(())
    }

    /// Every directory of the root file system can be listed and every entry looked at.
    fn walk(&self, partition: &Partition) -> Result<usize, Error> {
        readback::ext4(Box::new(Volume(self.reader(partition))), partition.size)
            .map_err(|error| self.wrong("the root file system", error))
    }

    /// Every file of the boot partition can be read to its end, and every kernel is told to start from this image's
    /// partitions and from nothing but this content.
    fn boot(&self, verified: &mut Verified) -> Result<(), Error> {
        let own = [
            ("root=", self.partition("root-a")?),
            ("prejoin.verity=", self.partition("root-a-verity")?),
            ("prejoin.identity=", self.partition("identity")?),
        ];
        let mut lines = 0;
        self.files("boot", verified, |path, file| {
            let (line, is_own) = match path.to_ascii_lowercase() {
                // Raspberry Pi firmware reads this one only.
                path if path == "cmdline.txt" => {
                    let text = readback::bytes(file, LONGEST)?;
                    (String::from_utf8_lossy(&text).into_owned(), true)
                }
                // systemd-boot offers all of these, and each says what it was loaded from: the line is the fleet's.
                path if path.starts_with("efi/linux/") && path.ends_with(".efi") => {
                    (readback::command_line(file)?, false)
                }
                _ => return Ok(()),
            };
            lines += 1;
            argument(
                &line,
                "roothash=",
                Some(&self.manifest.root_hash.to_string()),
            )?;
            own.iter().try_for_each(|(key, partition)| {
                let guid = format!("PARTUUID={}", partition.guid);
                argument(&line, key, is_own.then_some(&guid))
            })
        })?;
        if lines == 0 {
            return Err(self.wrong("partition boot", "there is no kernel command line"));
        }
        Ok(())
    }

    /// Every file of the identity partition can be read to its end, and what the agent reads there is of this node.
    fn identity(&self, verified: &mut Verified) -> Result<(), Error> {
        let (mut handoff, mut archive) = (None, None);
        self.files("identity", verified, |path, file| {
            match path.to_ascii_lowercase().as_str() {
                "node.json" => {
                    let text = readback::bytes(file, LONGEST)?;
                    handoff = Some(Handoff::parse(&text).map_err(|error| error.to_string())?);
                }
                "node.cpio" => {
                    let bytes = readback::bytes(file, Archive::LARGEST)?;
                    archive = Some(Archive {
                        digest: Digest::of(&bytes),
                        size: bytes.len() as u64,
                    });
                }
                _ => {}
            }
            Ok(())
        })?;
        let what = "partition identity";
        let (Some(handoff), Some(archive)) = (handoff, archive) else {
            return Err(self.wrong(what, "node.json or node.cpio is missing"));
        };
        if handoff.node != self.manifest.node {
            return Err(self.wrong(what, format!("node.json is that of node {}", handoff.node)));
        }
        if handoff.archive != archive {
            let why = format!(
                "node.cpio has {} bytes and digest {}; node.json expects {} and {}",
                archive.size, archive.digest, handoff.archive.size, handoff.archive.digest
            );
            return Err(self.wrong(what, why));
        }
        Ok(())
    }

    /// Every file of a FAT partition can be read to its end, and is looked into.
    fn files(
        &self,
        name: &str,
        verified: &mut Verified,
        look: impl FnMut(&str, &mut dyn readback::File) -> Result<(), String>,
    ) -> Result<(), Error> {
        let partition = self.partition(name)?;
        verified.files += readback::fat(self.reader(partition), partition.size, look)
            .map_err(|error| self.wrong(format!("partition {name}"), error))?;
        Ok(())
    }
}

/// Bytes of the disk.
type Span = std::ops::Range<u64>;

/// A command line has this argument once, with this value, or not at all.
fn argument(line: &str, key: &str, expected: Option<&String>) -> Result<(), String> {
    let values: Vec<&str> = line
        .split_whitespace()
        .filter_map(|word| word.strip_prefix(key))
        .collect();
    match (&values[..], expected) {
        ([], None) => Ok(()),
        ([value], Some(expected)) if value == expected => Ok(()),
        ([value, ..], None) => Err(format!(
            "the kernel is told {key}{value}; the firmware says what it was loaded from"
        )),
        ([value], Some(expected)) => Err(format!(
            "the kernel is told {key}{value}; the manifest has {expected}"
        )),
        _ => Err(format!(
            "the kernel is told {key} {} times, not once",
            values.len()
        )),
    }
}

/// A partition as ext4-view wants to read it.
struct Volume(PartitionReader);

impl Ext4Read for Volume {
    fn read(
        &mut self,
        start_byte: u64,
        buffer: &mut [u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync + 'static>> {
        self.0.read_at(start_byte, buffer).map_err(Into::into)
    }
}
