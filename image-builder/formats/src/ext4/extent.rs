//! Where a file's blocks are, as stored: up to four extents in the inode, else a tree of blocks.
//! (kernel `fs/ext4/ext4_extents.h`)

use super::checksum::Checksum;
use super::placement::Run;
use super::raw::{BLOCK, put16, put32};

/// Extents or index entries that the inode has room for, and those of a tree block.
const INLINE: usize = 4;
const PER_BLOCK: usize = (BLOCK - 12) / 12;
/// Longest initialised extent in blocks.
const LONGEST: u64 = 1 << 15;

/// Joins neighbouring runs and cuts what is too long for one extent.
pub(super) fn extents(runs: impl IntoIterator<Item = Run>) -> Vec<Run> {
    let mut extents: Vec<Run> = Vec::new();
    for mut run in runs {
        if let Some(last) = extents.last_mut()
            && last.logical + last.length == run.logical
            && last.physical + last.length == run.physical
        {
            let more = run.length.min(LONGEST - last.length);
            last.length += more;
            run = Run {
                logical: run.logical + more,
                physical: run.physical + more,
                length: run.length - more,
            };
        }
        while run.length > 0 {
            let length = run.length.min(LONGEST);
            extents.push(Run { length, ..run });
            run = Run {
                logical: run.logical + length,
                physical: run.physical + length,
                length: run.length - length,
            };
        }
    }
    extents
}

/// Tree blocks that so many extents need beside the inode.
pub(super) fn tree_blocks(extents: usize) -> u64 {
    let (mut level, mut blocks) = (extents, 0);
    while level > INLINE {
        level = level.div_ceil(PER_BLOCK);
        blocks += level as u64;
    }
    blocks
}

/// The inode's 60 bytes, and the tree blocks with their content. `place` gives one block per call, as often as
/// [`tree_blocks`] says.
pub(super) fn tree(
    extents: &[Run],
    checksum: Checksum,
    mut place: impl FnMut() -> u64,
) -> ([u8; 60], Vec<(u64, Vec<u8>)>) {
    let mut blocks = Vec::new();
    let mut depth = 0;
    let mut level: Vec<(u64, [u8; 12])> = extents
        .iter()
        .map(|run| (run.logical, leaf_entry(run)))
        .collect();
    while level.len() > INLINE {
        let mut above = Vec::new();
        for entries in level.chunks(PER_BLOCK) {
            let mut block = vec![0; BLOCK];
            node(&mut block, entries, PER_BLOCK, depth);
            let tail = 12 + 12 * PER_BLOCK;
            let value = checksum.then(&block[..tail]).value();
            put32(&mut block, tail, value);
            let number = place();
            above.push((entries[0].0, index_entry(entries[0].0, number)));
            blocks.push((number, block));
        }
        level = above;
        depth += 1;
    }
    let mut inline = [0; 60];
    node(&mut inline, &level, INLINE, depth);
    (inline, blocks)
}

/// Header and entries.
fn node(buffer: &mut [u8], entries: &[(u64, [u8; 12])], limit: usize, depth: u16) {
    put16(buffer, 0, 0xf30a);
    put16(buffer, 2, entries.len() as u16);
    put16(buffer, 4, limit as u16);
    put16(buffer, 6, depth);
    for (at, (_, entry)) in entries.iter().enumerate() {
        buffer[12 + 12 * at..24 + 12 * at].copy_from_slice(entry);
    }
}

fn leaf_entry(run: &Run) -> [u8; 12] {
    let mut entry = [0; 12];
    put32(&mut entry, 0, run.logical as u32);
    put16(&mut entry, 4, run.length as u16);
    put16(&mut entry, 6, (run.physical >> 32) as u16);
    put32(&mut entry, 8, run.physical as u32);
    entry
}

fn index_entry(logical: u64, block: u64) -> [u8; 12] {
    let mut entry = [0; 12];
    put32(&mut entry, 0, logical as u32);
    put32(&mut entry, 4, block as u32);
    put16(&mut entry, 8, (block >> 32) as u16);
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(logical: u64, physical: u64, length: u64) -> Run {
        Run {
            logical,
            physical,
            length,
        }
    }

    #[test]
    fn joins_neighbours_up_to_the_longest() {
        let joined = extents([
            run(0, 100, 5),
            run(5, 105, 40_000),
            run(40_005, 9, 1),
            run(40_007, 10, 1),
        ]);
        assert_eq!(
            joined,
            [
                run(0, 100, 32768),
                run(32768, 32868, 7237),
                run(40_005, 9, 1),
                run(40_007, 10, 1)
            ]
        );
    }

    #[test]
    fn counts_what_it_writes() {
        for count in [
            0,
            1,
            4,
            5,
            340,
            341,
            1360,
            1361,
            340 * 340 + 1,
            340 * 340 * 4 + 1,
        ] {
            let runs: Vec<Run> = (0..count as u64).map(|at| run(2 * at, 3 * at, 1)).collect();
            let mut next = 0;
            let (inline, blocks) = tree(&runs, Checksum::START, || {
                next += 1;
                next
            });
            assert_eq!(blocks.len() as u64, tree_blocks(count), "{count}");
            assert!(inline[2] <= 4);
        }
    }
}
