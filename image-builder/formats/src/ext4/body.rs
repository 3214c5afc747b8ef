//! What lies in the blocks of each kind of file.

use std::ops::Range;

use super::checksum::Checksum;
use super::directory::{self, Name, Place};
use super::error::{Error, shown};
use super::inode::{self, EXTENTS, INDEX};
use super::node::{Node, Nodes};
use super::numbering::ROOT;
use super::placement::Run;
use super::raw::BLOCK;
use super::{Options, raw};
use crate::image::Image;
use crate::tree::{Content, Kind};

/// Longest target that the inode itself holds, and that any kernel follows (`PATH_MAX` less the final NUL).
pub(super) const SHORT: usize = 59;
const LONGEST: usize = 4095;

/// A file's bytes and how its inode refers to them.
#[derive(Clone, Debug)]
pub(super) struct Data<'a> {
    pub(super) size: u64,
    pub(super) flags: u32,
    pub(super) source: Bytes<'a>,
}

/// Where the bytes come from.
#[derive(Clone, Debug)]
pub(super) enum Bytes<'a> {
    /// Nowhere: the inode holds all there is.
    Inode([u8; 60]),
    /// Made here.
    Made(Vec<u8>),
    /// A file's, and the blocks of it that are not holes.
    File(&'a Content, Vec<Range<u64>>),
}

/// The data of every node, in order.
pub(super) fn all<'a>(
    nodes: &Nodes<'a>,
    numbers: &[u32],
    options: &Options,
    checksum: Checksum,
) -> Result<Vec<Data<'a>>, Error> {
    let mut hash_seed = [0; 4];
    for (word, bytes) in hash_seed
        .iter_mut()
        .zip(options.hash_seed.as_chunks::<4>().0)
    {
        *word = u32::from_le_bytes(*bytes);
    }
    let data = |(index, node): (usize, &Node<'a>)| match &node.entry.kind {
        Kind::Directory => {
            let parent = if numbers[index] == ROOT {
                ROOT
            } else {
                numbers[node.parent]
            };
            let place = Place {
                own: numbers[index],
                parent,
                hash_seed: &hash_seed,
                checksum,
            };
            directory_data(node, nodes, numbers, place)
        }
        Kind::File(content) => {
            let holes = options.holes.get(node.path).map_or(&[][..], Vec::as_slice);
            file(node, content, holes)
        }
        Kind::Symlink(target) => symlink(node, target),
        Kind::Device { major, minor, .. } => {
            Ok(Data::inode(0, inode::device(node, *major, *minor)?))
        }
        Kind::Fifo => Ok(Data::inode(0, [0; 60])),
        Kind::HardLink(_) => unreachable!("a hard link is a name, not a node"),
    };
    nodes.all.iter().enumerate().map(data).collect()
}

fn directory_data<'a>(
    node: &Node<'a>,
    nodes: &Nodes<'a>,
    numbers: &[u32],
    place: Place<'_>,
) -> Result<Data<'a>, Error> {
    let names: Vec<Name<'_>> = node
        .children
        .iter()
        .map(|child| {
            let kind = inode::directory_kind(nodes.all[child.node].entry);
            Name {
                name: child.name,
                inode: numbers[child.node],
                kind,
            }
        })
        .collect();
    let blocks = directory::blocks(&names, place);
    let size = blocks.bytes.len() as u64;
    // Without the feature `largedir`.
    if size >= 1 << 32 {
        return Err(Error::FileSize {
            path: shown(node.path),
            size,
        });
    }
    let flags = if blocks.indexed {
        EXTENTS | INDEX
    } else {
        EXTENTS
    };
    Ok(Data {
        size,
        flags,
        source: Bytes::Made(blocks.bytes),
    })
}

fn symlink<'a>(node: &Node<'_>, target: &[u8]) -> Result<Data<'a>, Error> {
    let length = target.len();
    if length == 0 || length > LONGEST || target.contains(&0) {
        return Err(Error::Symlink {
            path: shown(node.path),
            length,
        });
    }
    if length > SHORT {
        return Ok(Data {
            size: length as u64,
            flags: EXTENTS,
            source: Bytes::Made(target.to_vec()),
        });
    }
    let mut map = [0; 60];
    map[..length].copy_from_slice(target);
    Ok(Data::inode(length as u64, map))
}

fn file<'a>(
    node: &Node<'_>,
    content: &'a Content,
    holes: &[Range<u64>],
) -> Result<Data<'a>, Error> {
    let size = content.len();
    // The last block number is kept free: the kernel reserves it (`EXT_MAX_BLOCKS`).
    if size > u64::from(u32::MAX) * BLOCK as u64 {
        return Err(Error::FileSize {
            path: shown(node.path),
            size,
        });
    }
    Ok(Data {
        size,
        flags: EXTENTS,
        source: Bytes::File(content, mapped(size, holes)),
    })
}

/// Blocks of a file of `size` bytes that no range of zeroes covers wholly.
fn mapped(size: u64, holes: &[Range<u64>]) -> Vec<Range<u64>> {
    let block = raw::BLOCK as u64;
    let mut holes: Vec<Range<u64>> = holes
        .iter()
        // What reaches the end covers the last, shorter block as well.
        .map(|hole| {
            hole.start.div_ceil(block)..if hole.end >= size {
                size.div_ceil(block)
            } else {
                hole.end / block
            }
        })
        .filter(|hole| hole.start < hole.end)
        .collect();
    holes.sort_by_key(|hole| hole.start);
    let mut mapped = Vec::new();
    let mut at = 0;
    for hole in holes {
        if hole.start > at {
            mapped.push(at..hole.start);
        }
        at = at.max(hole.end);
    }
    if at < size.div_ceil(block) {
        mapped.push(at..size.div_ceil(block));
    }
    mapped
}

impl<'a> Data<'a> {
    fn inode(size: u64, map: [u8; 60]) -> Self {
        Data {
            size,
            flags: 0,
            source: Bytes::Inode(map),
        }
    }

    /// Blocks to place.
    pub(super) fn blocks(&self) -> u64 {
        match &self.source {
            Bytes::Inode(_) => 0,
            Bytes::Made(bytes) => bytes.len().div_ceil(BLOCK) as u64,
            Bytes::File(_, mapped) => mapped.iter().map(|range| range.end - range.start).sum(),
        }
    }

    /// Turns runs of placed blocks into runs of the file, which differ where there are holes.
    pub(super) fn runs(&self, placed: Vec<Run>) -> Vec<Run> {
        let Bytes::File(_, mapped) = &self.source else {
            return placed;
        };
        let mut runs = Vec::with_capacity(placed.len());
        let mut ranges = mapped.iter().cloned();
        let mut range = 0..0;
        for mut run in placed {
            while run.length > 0 {
                if range.is_empty() {
                    range = ranges
                        .next()
                        .expect("as many blocks were placed as are mapped");
                }
                let length = run.length.min(range.end - range.start);
                runs.push(Run {
                    logical: range.start,
                    physical: run.physical,
                    length,
                });
                range.start += length;
                run = Run {
                    physical: run.physical + length,
                    length: run.length - length,
                    ..run
                };
            }
        }
        runs
    }

    /// Puts the bytes of the file's `runs`.
    pub(super) fn put(&self, image: &mut Image, runs: &[Run]) {
        let block = BLOCK as u64;
        for run in runs {
            let (start, offset) = (run.logical * block, run.physical * block);
            let length = (run.length * block).min(self.size - start);
            match &self.source {
                Bytes::Inode(_) => {}
                Bytes::Made(bytes) => {
                    image.put_bytes(offset, &bytes[start as usize..(start + length) as usize])
                }
                Bytes::File(content, _) => image.put_content(offset, content, start, length),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(
        clippy::single_range_in_vec_init,
        reason = "a list of ranges may have one"
    )]
    fn holes_cover_whole_blocks_only() {
        assert_eq!(mapped(0, &[]), []);
        assert_eq!(mapped(1, &[]), [0..1]);
        assert_eq!(mapped(20_000, &[4095..12_289]), [0..1, 3..5]);
        assert_eq!(mapped(20_000, &[12_288..20_000, 0..4096, 0..8191]), [1..3]);
        assert_eq!(mapped(20_000, &[0..u64::MAX]), []);
        assert_eq!(mapped(20_000, &[1..4096, 5000..9000]), [0..5]);
    }
}
