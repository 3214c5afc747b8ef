//! Which inode number a file gets.
//!
//! Like blocks, numbers follow from paths, so that a file keeps its number and no directory that names it changes.
//! But here neighbours should stay together: sixteen inodes share a block of the table, and what is updated together
//! lies in the same directories. A directory's files are dealt by hash to some blocks of the table, so many that
//! about six of them meet in one; which blocks, the directory's path says. Their number changes in doublings, and a
//! doubling leaves half of the files where they were.

use super::error::Error;
use super::geometry::{FIRST_INODE, INODES_PER_BLOCK};
use super::hash::{mix, probe};
use super::node::Nodes;

/// The root directory's number.
pub(super) const ROOT: u32 = 2;

/// Random blocks of the table tried before the first with room is taken.
const PROBES: u64 = 64;

/// The number of every node, for a table of `inodes`.
pub(super) fn assign(nodes: &Nodes<'_>, inodes: u32) -> Result<Vec<u32>, Error> {
    let (needed, available) = (nodes.all.len() as u64 - 2, u64::from(inodes - FIRST_INODE));
    if needed > available {
        return Err(Error::TooManyInodes { needed, available });
    }
    let mut table = Table {
        used: vec![0; (inodes / INODES_PER_BLOCK) as usize],
    };
    table.used[0] = (1 << FIRST_INODE) - 1;
    let mut numbers = vec![0; nodes.all.len()];
    numbers[0] = ROOT;
    numbers[nodes.lost_and_found] = FIRST_INODE;
    let mut order: Vec<usize> = (1..nodes.all.len())
        .filter(|&index| index != nodes.lost_and_found)
        .collect();
    // By hash, not by path: an order that has nothing to do with the places keeps displacements rare.
    order.sort_unstable_by_key(|&index| (mix(nodes.all[index].key), index));
    for index in order {
        let (node, parent) = (&nodes.all[index], &nodes.all[nodes.all[index].parent]);
        let shares = (parent.children.len() as u64).next_power_of_two() / 8;
        let share = node.key & shares.max(1).wrapping_sub(1);
        numbers[index] = table.take(mix(parent.key ^ mix(share)), (node.key >> 32) as u32);
    }
    Ok(numbers)
}

/// One bit per inode, one word per block of the table.
struct Table {
    used: Vec<u16>,
}

impl Table {
    /// Takes a number in the first block with room that `home` stands for, the `slot`th of it if that is free.
    fn take(&mut self, home: u64, slot: u32) -> u32 {
        let blocks = self.used.len() as u64;
        let random = (0..PROBES).map(|attempt| probe(home, attempt, blocks));
        let rest = probe(home, 0, blocks)..blocks;
        let block = random
            .chain(rest)
            .chain(0..blocks)
            .find(|&block| self.used[block as usize] != !0)
            .expect("there are enough inodes: that was checked before");
        let used = &mut self.used[block as usize];
        let slot = slot % INODES_PER_BLOCK;
        let at = (slot + used.rotate_right(slot).trailing_ones()) % INODES_PER_BLOCK;
        *used |= 1 << at;
        block as u32 * INODES_PER_BLOCK + at + 1
    }
}
