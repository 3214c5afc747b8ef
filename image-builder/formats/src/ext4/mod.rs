//! A deterministic ext4 writer: a [`Tree`] in, an [`Image`] out, no file content read.
//!
//! Nothing in the metadata of ext4 depends on what files contain, so the whole file system is planned from names,
//! sizes and attributes; file contents appear in the image as references. The result is the same for the same
//! input, byte for byte, and meant to be read-only: there is no journal and no reserved space.
//!
//! **Format.** 4096-byte blocks, 256-byte inodes, features `ext_attr dir_index filetype extents flex_bg sparse_super
//! large_file huge_file dir_nlink extra_isize metadata_csum`, optionally `read-only`. Any kernel since 4.0 mounts
//! it, and the checksums let e2fsck prove it. All four times of an inode are the entry's modification time; inode
//! generations are zero; names are hashed by half MD4 over signed bytes with the given seed.
//!
//! **Layout-stable placement.** A file that did not change keeps its blocks and its inode number from one build to the
//! next although no state is carried over, as long as the size of the file system (and so its number of inodes)
//! stays the same. An update then differs on disk only where it differs in content, which is what chunked downloads,
//! deltas and the second slot of a disk live on. How: `placement.rs` for blocks, `numbering.rs` for inodes,
//! `directory.rs` for names. All other metadata has fixed places, in one row at the front (`geometry.rs`).
//! The price is that the file system should not be full: [`recommended_size`] leaves a quarter free. Free blocks are
//! holes of the image and cost nothing but address space.
//!
//! ```
//! use prejoin_formats::{ext4, tree::{Entry, Tree}};
//! let mut tree = Tree::new();
//! tree.insert("etc/hostname", Entry::file(*b"node\n", 0o644));
//! let options = ext4::Options::new(ext4::recommended_size(&tree), [7; 16]);
//! let filesystem = ext4::plan(&tree, &options)?;
//! assert_eq!(filesystem.image.size(), options.size);
//! # Ok::<(), ext4::Error>(())
//! ```

mod body;
mod checksum;
mod directory;
mod error;
mod extent;
mod geometry;
mod hash;
mod inode;
mod node;
mod numbering;
mod placement;
mod raw;
mod superblock;
mod xattr;

use std::collections::BTreeMap;
use std::ops::Range;

pub use error::Error;

use crate::image::Image;
use crate::tree::{Entry, Kind, Tree};
use body::{Bytes, Data};
use geometry::{Geometry, INODE};
use inode::Body;
use node::Nodes;
use placement::{Request, Run, Space};
use raw::BLOCK;
use xattr::Attributes;

/// Everything that is not in the tree.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of the file system in bytes: a multiple of 4096, below 16 TiB.
    pub size: u64,
    /// UUID of the file system; also the seed of its checksums.
    pub uuid: [u8; 16],
    /// Seed of the hash that large directories are indexed by. Changing it reorders them.
    pub hash_seed: [u8; 16],
    /// Volume label, at most 16 bytes.
    pub label: String,
    /// When the file system was made, in seconds since 1970; also the time of a `lost+found` that the tree lacks.
    pub time: i64,
    /// Least number of inodes; by default one for 16 KiB, doubled until a third is free. Changing it renumbers all.
    pub inodes: Option<u32>,
    /// Sets the `read-only` feature: the kernel then mounts it read-only even if asked for more.
    pub read_only: bool,
    /// Byte ranges of files, by path, that are known to be zero and should take no space. Not read, but believed:
    /// the file system shows zeroes there. Only whole blocks become holes; a path that is no file is ignored.
    pub holes: BTreeMap<Vec<u8>, Vec<Range<u64>>>,
}

impl Options {
    /// Options for a file system of `size` bytes; the rest empty, zero and off, the hash seed that of the UUID.
    pub fn new(size: u64, uuid: [u8; 16]) -> Self {
        Options {
            size,
            uuid,
            hash_seed: uuid,
            label: String::new(),
            time: 0,
            inodes: None,
            read_only: false,
            holes: BTreeMap::new(),
        }
    }
}

/// A planned file system.
#[derive(Clone, Debug)]
pub struct Filesystem {
    /// Its bytes.
    pub image: Image,
    /// What it took.
    pub summary: Summary,
}

/// Counts of a file system. Blocks have 4096 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Blocks in all.
    pub blocks: u64,
    /// Blocks that hold nothing.
    pub free_blocks: u64,
    /// Inodes in all.
    pub inodes: u32,
    /// Inodes without a file, the ten reserved ones not among them.
    pub free_inodes: u32,
    /// Stretches that the files' and directories' blocks lie in.
    pub extents: u64,
}

/// A step of sizes, so that a tree that grows a little keeps its file system's size.
const SIZE_STEP: u64 = 64 << 20;

/// The size for which files keep their places well: the content is about three quarters, rounded up to 64 MiB.
///
/// Crossing a step changes the size and with it every place; whoever wants to exclude that fixes the size.
pub fn recommended_size(tree: &Tree) -> u64 {
    let blocks = estimate(tree).saturating_mul(4) / 3;
    let mut size = blocks
        .saturating_mul(BLOCK as u64)
        .max(1)
        .checked_next_multiple_of(SIZE_STEP)
        .unwrap_or(u64::MAX);
    while let Ok(geometry) = Geometry::new(size, None, tree.len() as u64) {
        if geometry.content_blocks() >= blocks
            && u64::from(geometry.inodes()) > tree.len() as u64 * 9 / 8 + 12
        {
            break;
        }
        size += SIZE_STEP;
    }
    size
}

/// Blocks that the entries of a tree take, or a little more.
fn estimate(tree: &Tree) -> u64 {
    let mut names: BTreeMap<&[u8], u64> = BTreeMap::new();
    let mut blocks = 4u64;
    for (path, entry) in tree.iter() {
        let slash = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        *names.entry(&path[..slash]).or_default() +=
            directory::entry_length(path.len() - slash) as u64;
        let own = match &entry.kind {
            Kind::File(content) => content.len().div_ceil(BLOCK as u64),
            Kind::Symlink(target) => u64::from(target.len() > body::SHORT),
            Kind::Directory => {
                names.entry(path).or_default();
                0
            }
            _ => 0,
        };
        blocks = blocks.saturating_add(own + u64::from(!entry.xattrs.is_empty()));
    }
    blocks.saturating_add(
        names
            .values()
            .map(|&bytes| directory::estimate(bytes + 24))
            .sum(),
    )
}

/// Lays `tree` out.
pub fn plan(tree: &Tree, options: &Options) -> Result<Filesystem, Error> {
    let lost_and_found = Entry::directory(0o700).dated(options.time);
    let nodes = Nodes::new(tree, &lost_and_found)?;
    let geometry = Geometry::new(options.size, options.inodes, nodes.all.len() as u64)?;
    let numbers = numbering::assign(&nodes, geometry.inodes())?;
    let checksum = superblock::checksum_seed(options);
    let data = body::all(&nodes, &numbers, options, checksum)?;
    let attributes = nodes
        .all
        .iter()
        .map(xattr::attributes)
        .collect::<Result<Vec<_>, _>>()?;

    let mut space = geometry.space();
    let files = place(&mut space, &nodes, &data, &attributes)?;

    let mut image = Image::zero(options.size);
    let mut inodes = Vec::with_capacity(nodes.all.len());
    for (index, node) in nodes.all.iter().enumerate() {
        let file = &files[index];
        data[index].put(&mut image, &file.extents);
        let body = put_maps(
            &mut image,
            file,
            &data[index],
            &attributes[index],
            numbers[index],
            checksum,
        );
        inodes.push((
            numbers[index],
            inode::encode(node, numbers[index], &body, checksum),
        ));
    }
    inodes.sort_unstable_by_key(|(number, _)| *number);
    put_inodes(&mut image, &geometry, &inodes);

    // The reserved inodes are in use, and empty but for the root.
    let mut used: BTreeMap<u32, bool> = (1..geometry::FIRST_INODE)
        .map(|number| (number, false))
        .collect();
    used.extend(
        nodes
            .all
            .iter()
            .zip(&numbers)
            .map(|(node, &number)| (number, node.is_directory())),
    );
    let used: Vec<(u32, bool)> = used.into_iter().collect();
    superblock::put(
        &mut image,
        &geometry,
        options,
        &superblock::Usage {
            space: &space,
            inodes: &used,
        },
    )?;
    image.sort();
    let summary = Summary {
        blocks: geometry.blocks,
        free_blocks: space.free(),
        inodes: geometry.inodes(),
        free_inodes: geometry.inodes() - used.len() as u32,
        extents: files.iter().map(|file| file.extents.len() as u64).sum(),
    };
    Ok(Filesystem { image, summary })
}

/// Where a file's parts are.
struct Places {
    extents: Vec<Run>,
    /// Blocks of the extent tree.
    tree: Vec<Run>,
    attributes: Option<u64>,
}

/// Places data and attributes, then the extent trees, whose size depends on how the data came to lie.
fn place(
    space: &mut Space,
    nodes: &Nodes<'_>,
    data: &[Data<'_>],
    attributes: &[Attributes],
) -> Result<Vec<Places>, Error> {
    // Different places for the different parts of one file.
    const ATTRIBUTES: u64 = 0x6174_7472;
    const TREE: u64 = 0x7472_6565;
    let keys = nodes.all.iter().map(|node| node.key);
    let mut requests: Vec<Request> = keys
        .clone()
        .zip(data)
        .map(|(key, data)| Request {
            key,
            blocks: data.blocks(),
        })
        .collect();
    requests.extend(
        keys.clone()
            .zip(attributes)
            .map(|(key, attributes)| Request {
                key: hash::mix(key ^ ATTRIBUTES),
                blocks: u64::from(attributes.block.is_some()),
            }),
    );
    let mut placed = placement::place(space, &requests)?;
    let blocks = placed.split_off(data.len());
    let extents: Vec<Vec<Run>> = placed
        .into_iter()
        .zip(data)
        .map(|(runs, data)| extent::extents(data.runs(runs)))
        .collect();
    let requests: Vec<Request> = keys
        .zip(&extents)
        .map(|(key, extents)| Request {
            key: hash::mix(key ^ TREE),
            blocks: extent::tree_blocks(extents.len()),
        })
        .collect();
    let trees = placement::place(space, &requests)?;
    let parts = extents.into_iter().zip(trees).zip(blocks);
    Ok(parts
        .map(|((extents, tree), block)| Places {
            extents,
            tree,
            attributes: block.first().map(|run| run.physical),
        })
        .collect())
}

/// Puts the blocks that belong to an inode beside its data, and says what the inode itself has to say.
fn put_maps(
    image: &mut Image,
    places: &Places,
    data: &Data<'_>,
    attributes: &Attributes,
    number: u32,
    checksum: checksum::Checksum,
) -> Body {
    if let (Some(at), Some(block)) = (places.attributes, &attributes.block) {
        let mut block = block.clone();
        xattr::seal(&mut block, at, checksum);
        image.put_bytes(at * BLOCK as u64, block);
    }
    let map = if let Bytes::Inode(map) = &data.source {
        *map
    } else {
        let mut numbers = places
            .tree
            .iter()
            .flat_map(|run| run.physical..run.physical + run.length);
        let next = || {
            numbers
                .next()
                .expect("as many tree blocks were placed as are needed")
        };
        let (map, blocks) = extent::tree(&places.extents, checksum.of_inode(number), next);
        for (at, block) in blocks {
            image.put_bytes(at * BLOCK as u64, block);
        }
        map
    };
    let tree: u64 = places.tree.iter().map(|run| run.length).sum();
    Body {
        size: data.size,
        blocks: data.blocks() + tree + u64::from(places.attributes.is_some()),
        flags: data.flags,
        map,
        attributes: attributes.inline,
        attribute_block: places.attributes.unwrap_or(0),
    }
}

/// Puts the blocks of the inode tables that hold an inode.
fn put_inodes(image: &mut Image, geometry: &Geometry, inodes: &[(u32, [u8; INODE])]) {
    let block = |number: u32| superblock::inode_offset(geometry, number) / BLOCK as u64;
    for same in inodes.chunk_by(|a, b| block(a.0) == block(b.0)) {
        let mut bytes = vec![0; BLOCK];
        for (number, inode) in same {
            let at = (superblock::inode_offset(geometry, *number) % BLOCK as u64) as usize;
            bytes[at..at + INODE].copy_from_slice(inode);
        }
        image.put_bytes(block(same[0].0) * BLOCK as u64, bytes);
    }
}
