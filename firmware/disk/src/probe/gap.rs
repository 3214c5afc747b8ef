//! What lies where no partition is. Whoever deletes a table's entry leaves what was in the partition as it is.
//!
//! Gaps are looked at as if they were partitions, from every start that a partition is likely to have had: the gap's
//! own first bytes, where a node makes its own partitions, behind each thing that was found, every MiB near the front,
//! and coarser steps behind that.

use std::collections::BTreeSet;
use std::io;

use prejoin_formats::gpt::ALIGNMENT;
use prejoin_wire::disk::{Extent, Signature, merge};
use prejoin_wire::handoff;

use super::record::Recorder;
use super::signature::scan_open;
use crate::device::ReadAt;
use crate::region::HEAD;

const MIB: u64 = 1 << 20;
const BLOCK: u64 = 4096;
const GIB: u64 = 1 << 30;
/// Where a disk's first partition began before there was alignment: after the first track of 63 sectors.
const FIRST_TRACK: u64 = 63 * 512;
/// Starts that all gaps share and that are looked at shortly: a spinning disk takes some ten seconds for them.
const MOST_STARTS: usize = 2048;
/// Starts at which something was found, or must be looked for in full, at most.
const MOST_SCANS: usize = 96;
/// What is read of a start: nearly everything that is found at a partition's front has its magic number here, and the
/// rest of it at [`SECOND`].
const FIRST: Extent = Extent {
    start: 0,
    length: 8 << 10,
};
/// btrfs, ReiserFS, GFS2.
const SECOND: Extent = Extent {
    start: 64 << 10,
    length: 4 << 10,
};
/// What begins further behind a start does not belong to it.
const FRONT: u64 = MIB;

/// Looks for what begins in gaps; `starts` are places where something is likely to begin, and `known` what was found
/// already.
///
/// Each thing is of the extent that it says it has; where it does not say so, of all that is left of the gap, up to the
/// next thing.
pub(crate) fn find(
    disk: &Recorder,
    gaps: &[Extent],
    starts: &BTreeSet<u64>,
    known: &[Signature],
) -> Vec<Signature> {
    let mut seen: BTreeSet<(Extent, String)> = known
        .iter()
        .map(|signature| (signature.magic, signature.kind.clone()))
        .collect();
    let each = MOST_STARTS / gaps.len().max(1);
    let mut scans = MOST_SCANS;
    let mut found = Vec::new();
    for &gap in gaps {
        let walk = Walk {
            disk,
            gap,
            likely: likely(&gap, starts),
            scans: &mut scans,
            seen: &mut seen,
            things: Vec::new(),
        };
        found.extend(walk.run(each.max(16)));
    }
    found
}

/// What is read of one of `count` gaps to see whether it is blank, besides samples: the front of each start, and, where
/// something new would begin, all that would be cleared there.
pub(crate) fn begins(gap: &Extent, count: usize, starts: &BTreeSet<u64>) -> Vec<Extent> {
    let most = (MOST_STARTS / count.max(1)).max(16);
    let fronts = steps(gap).take(most).map(|start| Extent {
        start,
        length: FIRST.length,
    });
    // From a sector of any disk on.
    let heads = likely(gap, starts).into_iter().map(|start| Extent {
        start: start / BLOCK * BLOCK,
        length: HEAD,
    });
    let all = fronts.chain(heads).filter_map(|part| part.common(gap));
    merge(all.collect())
}

/// What begins at one place.
struct Thing {
    start: u64,
    /// Where it ends, if it says so.
    end: Option<u64>,
    signatures: Vec<Signature>,
}

/// The search of one gap, from its front to its end.
struct Walk<'a> {
    disk: &'a Recorder<'a>,
    gap: Extent,
    /// Starts that are looked at in full.
    likely: BTreeSet<u64>,
    scans: &'a mut usize,
    seen: &'a mut BTreeSet<(Extent, String)>,
    things: Vec<Thing>,
}

impl Walk<'_> {
    fn run(mut self, most: usize) -> Vec<Signature> {
        let fronts = self.fronts(most);
        let mut steps: BTreeSet<(u64, bool)> = fronts.into_iter().map(|at| (at, false)).collect();
        steps.extend(self.likely.iter().map(|&at| (at, true)));
        while let Some((at, is_likely)) = steps.pop_first() {
            // Files of what was found begin where partitions could, too.
            let inside = |thing: &Thing| thing.end.is_some_and(|end| at < end);
            if !is_likely && self.things.iter().any(inside) {
                continue;
            }
            if *self.scans == 0 {
                break;
            }
            *self.scans -= 1;
            if let Some(end) = self.scan(at, is_likely) {
                let next = end.next_multiple_of(ALIGNMENT);
                let behind = [next, next + handoff::GAP].into_iter();
                let new = behind.filter(|&at| at < self.gap.end() && self.likely.insert(at));
                steps.extend(new.map(|at| (at, true)));
            }
        }
        self.settle()
    }

    /// Every MiB near the front and coarser steps behind, without those where nothing begins.
    fn fronts(&self, most: usize) -> Vec<u64> {
        let starts: Vec<u64> = steps(&self.gap)
            .filter(|start| !self.likely.contains(start))
            .take(most)
            .collect();
        let part = |start: u64, part: Extent| {
            let wanted = Extent {
                start: start + part.start,
                length: part.length,
            };
            wanted.common(&self.gap)
        };
        let reads: Vec<Extent> = starts
            .iter()
            .flat_map(|&start| [part(start, FIRST), part(start, SECOND)])
            .flatten()
            .collect();
        let mut fronts = BTreeSet::new();
        let mut last = Front::default();
        self.disk.each(&reads, |Extent { start, .. }, bytes| {
            let at = start / ALIGNMENT * ALIGNMENT;
            if at != last.start {
                last = Front {
                    start: at,
                    parts: Vec::new(),
                };
            }
            last.parts.push((start, bytes.to_vec()));
            if bytes.iter().any(|&byte| byte != 0 && byte != 0xff) && last.holds(&self.gap) {
                fronts.insert(at);
            }
        });
        fronts.into_iter().collect()
    }

    /// Looks at one start in full; where what begins there ends.
    fn scan(&mut self, start: u64, is_likely: bool) -> Option<u64> {
        let rest = Extent::between(start, self.gap.end());
        let found = scan_open(self.disk, rest);
        let mut new: Vec<(Signature, Option<u64>)> = found
            .into_iter()
            .filter(|(one, _)| is_likely || one.header.start < start + FRONT && !one.copy)
            .filter(|(one, _)| !self.seen.contains(&(one.magic, one.kind.clone())))
            .collect();
        // Further copies alone do not say that what they are copies of begins here.
        if new.iter().all(|(one, _)| one.copy) {
            new.clear();
        }
        let mut end = start;
        for (one, size) in new.iter().filter(|(one, _)| !one.copy) {
            self.seen.insert((one.magic, one.kind.clone()));
            let own = size.and_then(|size| start.checked_add(size));
            end = own.map_or(u64::MAX, |own| own.max(one.header.end()).max(end));
        }
        let signatures: Vec<Signature> = new.into_iter().map(|(one, _)| one).collect();
        if signatures.is_empty() {
            return None;
        }
        let end = Some(end.min(self.gap.end())).filter(|_| end < u64::MAX);
        self.things.push(Thing {
            start,
            end,
            signatures,
        });
        end
    }

    /// Everything that was found, of its extent.
    fn settle(self) -> Vec<Signature> {
        let mut settled = Vec::new();
        for (index, thing) in self.things.iter().enumerate() {
            let next = self.things.get(index + 1).map(|next| next.start);
            let end = thing.end.or(next).unwrap_or(self.gap.end());
            let of = Extent::between(thing.start, end);
            // What lies behind the extent is of something else.
            let own = thing.signatures.iter().filter(|one| of.covers(&one.header));
            settled.extend(own.map(|one| Signature { of, ..one.clone() }));
        }
        settled
    }
}

/// Where something is likely to begin in a gap.
fn likely(gap: &Extent, starts: &BTreeSet<u64>) -> BTreeSet<u64> {
    let first = gap.start.next_multiple_of(ALIGNMENT);
    let own = [
        gap.start.max(FIRST_TRACK),
        first,
        first.saturating_add(handoff::GAP),
    ];
    let likely = own.into_iter().chain(starts.iter().copied());
    likely
        .filter(|start| (gap.start..gap.end()).contains(start) && start.is_multiple_of(512))
        .collect()
}

/// Starts on which a partition may be: every MiB of the first GiB, then steps in which partitions have their sizes,
/// one MiB behind the disk's start as everything is.
fn steps(gap: &Extent) -> impl Iterator<Item = u64> + use<> {
    let (start, end) = (gap.start, gap.end());
    let first = start.next_multiple_of(MIB).max(MIB);
    let near = (first..end.min(first.saturating_add(GIB))).step_by(MIB as usize);
    let coarse = move |step: u64, from: u64, to: u64| {
        let from = start.saturating_add(from).next_multiple_of(step) + MIB;
        (from..end.min(start.saturating_add(to))).step_by(step as usize)
    };
    near.chain(coarse(16 * MIB, GIB, 8 * GIB))
        .chain(coarse(128 * MIB, 8 * GIB, 32 * GIB))
        .chain(coarse(GIB, 32 * GIB, 512 * GIB))
}

/// What was read of one start.
#[derive(Default)]
struct Front {
    start: u64,
    parts: Vec<(u64, Vec<u8>)>,
}

impl Front {
    /// Whether something begins here, as far as was read.
    fn holds(&self, gap: &Extent) -> bool {
        let rest = Extent::between(self.start, gap.end());
        scan_open(self, rest)
            .iter()
            .any(|(one, _)| !one.copy && one.header.start < self.start + FRONT)
    }
}

impl ReadAt for Front {
    /// What was not read is empty.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        buffer.fill(0);
        let wanted = Extent {
            start: offset,
            length: buffer.len() as u64,
        };
        for (start, bytes) in &self.parts {
            let part = Extent {
                start: *start,
                length: bytes.len() as u64,
            };
            if let Some(both) = part.common(&wanted) {
                let length = both.length as usize;
                let from = (both.start - start) as usize;
                let to = (both.start - offset) as usize;
                buffer[to..to + length].copy_from_slice(&bytes[from..from + length]);
            }
        }
        Ok(())
    }
}
