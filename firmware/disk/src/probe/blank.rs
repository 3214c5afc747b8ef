//! Whether an extent holds anything: samples where something would be, and samples spread over the rest.
//!
//! No signature does not mean blank: an XFS whose first MiB was erased has none, and is still whole behind it.

use std::collections::BTreeSet;

use prejoin_wire::disk::{Blankness, Extent, Table, merge};

use super::record::Recorder;
use crate::region;

/// Bytes of one read where everything is read.
const SAMPLE: u64 = 64 << 10;
/// Bytes of one read elsewhere.
const BLOCK: u64 = 4096;
const MIB: u64 = 1 << 20;
/// Reads per extent, at most.
const MOST_SAMPLES: u64 = 1536;
/// Bytes at either end that are read whole: the first partition of a table that is gone began at 1, 4 or 8 MiB.
const EDGE: u64 = 10 * MIB;
/// Reads that all extents share: a spinning disk takes some ten seconds for them. What is in a partition matters less than
/// what is on a disk without any: a partition stays, blank or not.
const SHARED_SAMPLES: u64 = 2048;
/// Smallest gap between partitions that counts.
const SMALLEST_GAP: u64 = MIB;
/// Unit in which a disk is written.
const SECTOR: usize = 512;

/// Gaps between, before and behind the partitions of a table.
pub(crate) fn gaps(table: &Table, size: u64) -> Vec<Extent> {
    let used = merge(
        table
            .partitions
            .iter()
            .map(|partition| partition.extent)
            .collect(),
    );
    let mut from = 0;
    let mut gaps = Vec::new();
    for extent in used.into_iter().chain([Extent {
        start: size,
        length: 0,
    }]) {
        let gap = Extent::between(from, extent.start.min(size));
        if gap.length >= SMALLEST_GAP {
            gaps.push(gap);
        }
        from = from.max(extent.end());
    }
    gaps
}

/// Looks at samples of `of`, one of `count` extents, and at what of it is in `also`, whole; what is in `known` (tables)
/// does not count.
pub(crate) fn look(
    disk: &Recorder,
    of: Extent,
    count: usize,
    also: &[Extent],
    known: &[Extent],
) -> Blankness {
    let mut blankness = Blankness {
        of,
        read: 0,
        first: None,
    };
    let samples = (SHARED_SAMPLES / (count as u64).max(1)).clamp(8, MOST_SAMPLES);
    let mut end = of.start;
    let mut reads = Vec::new();
    for start in places(of.length, samples) {
        let whole = of.length <= samples * SAMPLE || start < EDGE || of.length - start <= EDGE;
        let start = (of.start + start).max(end);
        let read = Extent {
            start,
            length: if whole { SAMPLE } else { BLOCK }.min(of.end().saturating_sub(start)),
        };
        if read.length > 0 {
            end = read.end();
            reads.push(read);
        }
    }
    let sampled = merge(reads.clone());
    for part in also {
        reads.extend(
            region::without(*part, &sampled)
                .into_iter()
                .flat_map(pieces),
        );
    }
    reads.sort();
    disk.each(&reads, |Extent { start, length }, bytes| {
        blankness.read += length;
        if blankness.first.is_none() {
            let sectors = bytes.chunks(SECTOR).zip((start..).step_by(SECTOR));
            let mut used = sectors
                .filter(|(sector, _)| !is_blank(sector))
                .map(|(sector, at)| (sector.len() as u64, at));
            let unknown = used.find(|&(length, start)| {
                !known
                    .iter()
                    .any(|part| part.covers(&Extent { start, length }))
            });
            blankness.first = unknown.map(|(_, at)| at);
        }
    });
    blankness
}

/// An extent in the pieces in which it is read.
fn pieces(of: Extent) -> impl Iterator<Item = Extent> {
    let starts = (of.start..of.end()).step_by(SAMPLE as usize);
    starts.map(move |start| Extent {
        start,
        length: SAMPLE.min(of.end() - start),
    })
}

fn is_blank(sector: &[u8]) -> bool {
    sector.iter().all(|&byte| byte == 0) || sector.iter().all(|&byte| byte == 0xff)
}

/// Offsets of samples in an extent of `length` bytes, in order, at most `most` of them.
fn places(length: u64, most: u64) -> BTreeSet<u64> {
    let last = length.saturating_sub(SAMPLE);
    if length <= most * SAMPLE {
        return (0..length).step_by(SAMPLE as usize).collect();
    }
    // The first and last 10 MiB, unless there are too many extents for that.
    let edge = (most / 8).clamp(1, EDGE / SAMPLE);
    let mut places: BTreeSet<u64> = (0..edge)
        .flat_map(|n| [n * SAMPLE, last - n * SAMPLE])
        .collect();
    // Where mkfs.xfs puts its four allocation groups by default, and mke2fs its backup superblocks (group 1, 3, 5, 7,
    // 9, 25, 27 and 49 of 128 MiB, or of 8 MiB with blocks of 1 KiB).
    let quarters = (1..4).map(|n| length / 4 * n);
    let groups = [1, 3, 5, 7, 9, 25, 27, 49]
        .into_iter()
        .flat_map(|n| [n * 128 * MIB, n * 8 * MIB]);
    for place in quarters.chain(groups).filter(|&place| place <= last) {
        if (places.len() as u64) < most {
            places.insert(place / 4096 * 4096);
        }
    }
    // The rest after the golden ratio: however many there are, they lie evenly, and on no stride of a RAID.
    let mut turn = 0_u64;
    for _ in 0..most {
        turn = turn.wrapping_add(0x9e37_79b9_7f4a_7c15);
        if (places.len() as u64) < most {
            let place = (u128::from(turn) * u128::from(last / 4096)) >> 64;
            places.insert(place as u64 * 4096);
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_bounded_and_inside() {
        for length in [
            1,
            511,
            65536,
            65537,
            8 << 20,
            (8 << 20) + 1,
            10 << 30,
            1 << 44,
            u64::MAX,
        ] {
            for most in [8, 128, MOST_SAMPLES] {
                let places = places(length, most);
                assert!(
                    places.len() as u64 <= most && places.first() == Some(&0),
                    "{length} {most} {}",
                    places.len()
                );
                let last = *places.last().unwrap();
                assert!(
                    last < length && length - last <= SAMPLE,
                    "{length} {most} {last}"
                );
            }
        }
        let places = places(10 << 30, 128);
        // No tenth of it is left out.
        for tenth in 0..10 {
            let tenth = (tenth << 30)..((tenth + 1) << 30);
            assert!(places.range(tenth).count() > 5);
        }
        assert!(places.contains(&(128 << 20)) && places.contains(&(5 << 29)));
    }
}
