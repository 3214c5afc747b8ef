//! A disk: what was found on it, and what may be done to it.
//!
//! Both documents leave the program: [`Facts`] are recorded (a recorded disk is a test case, and what a node reports),
//! a [`Report`] is what `prejoin flash` shows, prints as JSON and binds a confirmation to. Offsets and lengths are
//! bytes from the disk's first byte, also inside partitions.

mod facts;
mod report;

use serde::{Deserialize, Serialize};

pub use facts::{
    Blankness, Content, Device, Facts, Health, Inside, Opal, Partition, Place, Scheme, Signature,
    Table, Unreadable, Usage, VERSION,
};
pub use report::{
    Clear, Code, Entry, Finding, Kept, Mode, Origin, Plan, Region, RegionKind, Report, Severity,
    Verdict,
};

/// A run of bytes of a disk.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Extent {
    /// First byte.
    pub start: u64,
    /// Number of bytes.
    pub length: u64,
}

impl Extent {
    /// From its first byte and the first byte after it.
    pub fn between(start: u64, end: u64) -> Self {
        Extent {
            start,
            length: end.saturating_sub(start),
        }
    }

    /// The first byte after it.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.length)
    }

    /// Whether both have a byte in common.
    pub fn meets(&self, other: &Extent) -> bool {
        self.start < other.end() && other.start < self.end() && self.length > 0 && other.length > 0
    }

    /// Whether every byte of `other` is in it.
    pub fn covers(&self, other: &Extent) -> bool {
        self.start <= other.start && other.end() <= self.end()
    }

    /// The bytes both have in common.
    pub fn common(&self, other: &Extent) -> Option<Extent> {
        self.meets(other)
            .then(|| Extent::between(self.start.max(other.start), self.end().min(other.end())))
    }
}

/// Bytes as drives are sold: `2000.4 GB`.
pub fn decimal(bytes: u64) -> String {
    let tenths = (u128::from(bytes) * 10 + 500_000_000) / 1_000_000_000;
    match bytes {
        0..1_000_000_000 => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
        _ => format!("{}.{} GB", tenths / 10, tenths % 10),
    }
}

/// Sorts extents and joins those that touch.
pub fn merge(mut extents: Vec<Extent>) -> Vec<Extent> {
    extents.retain(|extent| extent.length > 0);
    extents.sort();
    let mut merged: Vec<Extent> = Vec::new();
    for extent in extents {
        match merged.last_mut() {
            Some(last) if last.end() >= extent.start => {
                *last = Extent::between(last.start, last.end().max(extent.end()))
            }
            _ => merged.push(extent),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents() {
        let of = Extent::between;
        assert_eq!(
            merge(vec![of(5, 7), of(0, 2), of(2, 5), of(9, 9), of(8, 12)]),
            [of(0, 7), of(8, 12)]
        );
        assert!(
            of(0, 2).meets(&of(1, 3)) && !of(0, 2).meets(&of(2, 3)) && !of(0, 2).meets(&of(1, 1))
        );
        assert!(of(0, 4).covers(&of(1, 4)) && !of(0, 4).covers(&of(1, 5)));
        assert_eq!(of(0, 4).common(&of(3, 9)), Some(of(3, 4)));
        assert_eq!(
            Extent {
                start: u64::MAX,
                length: 5
            }
            .end(),
            u64::MAX
        );
    }
}
