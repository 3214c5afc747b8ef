//! Putting a node's disk together: from its manifest and its system's, what every byte of the image is.
//!
//! What is a node's alone is made here, in memory, each time: the partition table, the identity partition, its own texts on
//! the boot partition. The rest are chunks of the store. Nothing is decided: the same two manifests give the same bytes.

use std::collections::HashMap;
use std::sync::Arc;

use prejoin_formats::fat;
use prejoin_formats::gpt;
use prejoin_formats::image::Image;
use prejoin_formats::tree::{Entry, NoContents, Tree};
use prejoin_wire::digest::ChunkDigest;
use prejoin_wire::manifest::{self, Manifest, Range, digest_of};
use prejoin_wire::node::{ALIGNMENT, NodeManifest, Partition};
use prejoin_wire::role::{Role, Slot};
use prejoin_wire::system::SystemManifest;

use crate::chunks::{self, ChunkStore};
use crate::cut::{append, runs};

/// Bytes that are looked at together when they are cut.
const WINDOW: u64 = 256 << 10;

/// Chunks that are in no file, by their digests.
pub type Inline = HashMap<ChunkDigest, Arc<[u8]>>;

/// A whole disk image.
#[derive(Debug)]
pub struct Composed {
    /// What every byte is.
    pub manifest: Manifest,
    /// The partition table that is in it.
    pub table: gpt::Table,
    /// The chunks that were made for it.
    pub inline: Inline,
}

/// Why two manifests do not make an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// They contradict each other.
    #[error("the manifests of the node and its system contradict each other: {0}")]
    Contradiction(String),
    /// A file of the identity partition cannot be read.
    #[error(transparent)]
    Store(#[from] chunks::Error),
    /// The identity partition cannot hold its files.
    #[error("writing the identity partition")]
    Fat(#[from] fat::Error),
    /// The partition table cannot be written.
    #[error("writing the partition table")]
    Table(#[from] gpt::Error),
}

fn contradiction<T>(what: impl Into<String>) -> Result<T, Error> {
    Err(Error::Contradiction(what.into()))
}

/// Puts the image of a node together. `store` is asked for the files of the identity partition, and for nothing else.
pub fn compose(
    system: &SystemManifest,
    node: &NodeManifest,
    store: &ChunkStore,
) -> Result<Composed, Error> {
    if (&system.board, system.architecture) != (&node.board, node.architecture) {
        return contradiction(format!("{} and {}", system.board, node.board));
    }
    let table = table(node);
    let mut parts = Parts::default();
    let mut partitions = Vec::new();
    parts.bytes(&head(&table)?);
    for partition in &node.partitions {
        parts.skip_to(partition.start);
        let ranges = content(partition, system, node, store, &mut parts.inline)?;
        let used = ranges.iter().map(Range::length).sum();
        if used > partition.size {
            return contradiction(format!(
                "{} has {used} bytes for {} in a partition of {}",
                system.set, partition.role, partition.size
            ));
        }
        partitions.push(manifest::Partition {
            number: partition.number,
            name: partition.role.to_string(),
            type_guid: partition.type_guid,
            guid: partition.guid,
            start: partition.start,
            size: partition.size,
            used,
            digest: digest_of(&ranges),
        });
        parts.add(ranges, used);
    }
    parts.skip_to(node.size - ALIGNMENT);
    parts.bytes(&tail(&table)?);
    let manifest = Manifest {
        version: manifest::VERSION,
        cluster: node.cluster.clone(),
        node: node.node.clone(),
        board: node.board.clone(),
        architecture: node.architecture,
        sector_size: node.sector_size,
        size: node.size,
        root_hash: system.root_hash,
        lock: node.lock,
        partitions,
        ranges: parts.ranges,
    };
    Ok(Composed {
        manifest,
        table,
        inline: parts.inline,
    })
}

/// The partition table of a node's image.
pub fn table(node: &NodeManifest) -> gpt::Table {
    let partition = |partition: &Partition| gpt::Partition {
        number: partition.number,
        type_guid: partition.type_guid,
        guid: partition.guid,
        start: partition.start,
        size: partition.size,
        attributes: partition.attributes,
        name: partition.role.to_string(),
    };
    gpt::Table {
        disk_guid: node.disk_guid,
        sector_size: node.sector_size,
        disk_size: node.size,
        partitions: node.partitions.iter().map(partition).collect(),
    }
}

/// What lies before the first partition.
fn head(table: &gpt::Table) -> Result<Vec<u8>, Error> {
    let mut bytes = table.primary()?;
    bytes.resize(ALIGNMENT as usize, 0);
    Ok(bytes)
}

/// What lies behind the last partition, whatever the sector size.
fn tail(table: &gpt::Table) -> Result<Vec<u8>, Error> {
    let (offset, copy) = table.backup()?;
    let start = (offset - (table.disk_size - ALIGNMENT)) as usize;
    let mut bytes = vec![0; ALIGNMENT as usize];
    bytes[start..start + copy.len()].copy_from_slice(&copy);
    Ok(bytes)
}

/// What the image defines of a partition, from its start.
fn content(
    partition: &Partition,
    system: &SystemManifest,
    node: &NodeManifest,
    store: &ChunkStore,
    inline: &mut Inline,
) -> Result<Vec<Range>, Error> {
    match partition.role {
        Role::Boot => boot(system, node, inline),
        Role::Root(Slot::A) => Ok(system.root.ranges.clone()),
        Role::Verity(Slot::A) => Ok(system.verity.ranges.clone()),
        Role::Identity => {
            let image = identity(partition, system, node, store)?;
            Ok(cut(&image, inline))
        }
        // The second slot stays empty until the first update; the others are the node's to make.
        Role::Root(Slot::B) | Role::Verity(Slot::B) | Role::State | Role::Data => Ok(Vec::new()),
    }
}

/// The system's boot partition with the node's own texts in their places.
fn boot(
    system: &SystemManifest,
    node: &NodeManifest,
    inline: &mut Inline,
) -> Result<Vec<Range>, Error> {
    let mut ranges = system.boot.ranges.clone();
    for (path, file) in system.files.iter().filter(|(_, file)| file.own) {
        let Some(text) = node.boot.get(path) else {
            return contradiction(format!("{} has no text for {path} of its own", node.node));
        };
        let own = system.own_range(file);
        let Some((index, length)) = own.filter(|_| text.len() as u64 == file.size) else {
            let (own, place) = (text.len(), file.size);
            return contradiction(format!("{path} has {own} bytes, and a place for {place}"));
        };
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(length as usize, 0);
        ranges[index] = keep(&bytes, inline);
    }
    match node
        .boot
        .keys()
        .find(|path| !system.files.get(*path).is_some_and(|file| file.own))
    {
        Some(path) => contradiction(format!("{} has no place for a text {path}", system.set)),
        None => Ok(ranges),
    }
}

/// The identity partition: the seed where cloud-init looks for it (label CIDATA), and what the agent reads.
fn identity(
    partition: &Partition,
    system: &SystemManifest,
    node: &NodeManifest,
    store: &ChunkStore,
) -> Result<Image, Error> {
    let mut tree = Tree::new();
    let mut add = |name: &str, bytes: Vec<u8>| {
        tree.insert(name, Entry::file(bytes, 0o644).dated(system.epoch));
    };
    for (name, ranges) in &node.identity {
        let mut bytes = Vec::new();
        for range in ranges {
            match range {
                Range::Data { length, digest } => bytes.extend(store.read(digest, *length)?),
                Range::Zero { length } | Range::Skip { length } => {
                    bytes.resize(bytes.len() + *length as usize, 0);
                }
            }
        }
        add(name, bytes);
    }
    add("node.json", node.handoff.to_json().into_bytes());
    let id = partition.guid.as_bytes();
    let options = fat::Options {
        size: partition.size,
        sector_size: node.sector_size,
        width: None,
        label: "CIDATA".to_owned(),
        volume_id: u32::from_be_bytes([id[0], id[1], id[2], id[3]]),
        time: system.epoch,
        hidden_sectors: (partition.start / u64::from(node.sector_size)) as u32,
    };
    Ok(fat::write(&tree, &options)?.image)
}

/// Cuts an image of bytes in memory.
fn cut(image: &Image, inline: &mut Inline) -> Vec<Range> {
    let mut ranges = Vec::new();
    let mut buffer = Vec::new();
    for offset in (0..image.size()).step_by(WINDOW as usize) {
        let length = WINDOW.min(image.size() - offset);
        if image.is_hole(offset, length) {
            append(&mut ranges, Range::Zero { length });
            continue;
        }
        buffer.resize(length as usize, 0);
        image
            .read_at(&NoContents, offset, &mut buffer)
            .expect("all its bytes are in memory");
        cut_bytes(&buffer, &mut ranges, inline);
    }
    ranges
}

fn cut_bytes(bytes: &[u8], ranges: &mut Vec<Range>, inline: &mut Inline) {
    for run in runs(bytes) {
        let part = &bytes[run.start..run.end];
        let range = match run.data {
            true => keep(part, inline),
            false => Range::Zero {
                length: part.len() as u64,
            },
        };
        append(ranges, range);
    }
}

/// A chunk of these bytes.
fn keep(bytes: &[u8], inline: &mut Inline) -> Range {
    let digest = ChunkDigest::of(bytes);
    inline.entry(digest).or_insert_with(|| bytes.into());
    Range::Data {
        length: bytes.len() as u64,
        digest,
    }
}

/// The image as far as it is put together.
#[derive(Default)]
struct Parts {
    ranges: Vec<Range>,
    end: u64,
    inline: Inline,
}

impl Parts {
    fn bytes(&mut self, bytes: &[u8]) {
        let mut ranges = Vec::new();
        for window in bytes.chunks(WINDOW as usize) {
            cut_bytes(window, &mut ranges, &mut self.inline);
        }
        self.add(ranges, bytes.len() as u64);
    }

    /// Ranges never join across partitions, so that each partition's digest is that of its own.
    fn add(&mut self, ranges: Vec<Range>, length: u64) {
        self.ranges.extend(ranges);
        self.end += length;
    }

    fn skip_to(&mut self, offset: u64) {
        if offset > self.end {
            let length = offset - self.end;
            append(&mut self.ranges, Range::Skip { length });
            self.end = offset;
        }
    }
}
