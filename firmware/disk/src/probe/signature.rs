//! Signatures of file systems, volumes, arrays and the like, at every place where they can be.
//!
//! Unlike `blkid` and `wipefs` this looks on after the first hit, and at the copies that stay behind when the first
//! megabyte is gone: backup superblocks, second labels, tails. Places and tests are those of the formats' own sources;
//! libblkid's probers (util-linux 2.42, `libblkid/src/superblocks`) are where the names come from. A structure counts
//! when its magic number stands where it says it stands and its numbers are possible; a wrong checksum alone does not
//! make it go away, since damaged data is data, too.

mod apple;
mod cluster;
mod crypt;
mod extended;
mod image;
mod linux;
mod medium;
mod microsoft;
mod optical;
mod raid;
mod storage;
mod swap;
mod volume;
mod xfs;
mod zfs;

use prejoin_wire::disk::{Extent, Signature, Unreadable};

use crate::device::ReadAt;
use medium::Medium;

/// Finds every signature of a partition or of a whole disk, and what of it could not be read.
///
/// Both by offset, which is from the disk's first byte. About 2 MiB of an empty disk of any size are read, in under 100 pieces
/// of at most 1 MiB; what is found may ask for a few more.
pub fn scan(disk: &dyn ReadAt, of: Extent) -> (Vec<Signature>, Vec<Unreadable>) {
    let of = Extent::between(of.start, of.end());
    let (found, unreadable) = search(disk, of);
    (signatures(&found, of), unreadable)
}

/// What begins with an extent, with how many bytes it says it has: the end of an extent that is no partition says
/// nothing of what is in it.
pub(crate) fn scan_open(disk: &dyn ReadAt, of: Extent) -> Vec<(Signature, Option<u64>)> {
    let (found, _) = search(disk, of);
    let sizes = found.iter().map(|found| found.size).collect::<Vec<_>>();
    signatures(&found, of).into_iter().zip(sizes).collect()
}

fn search(disk: &dyn ReadAt, of: Extent) -> (Vec<Found>, Vec<Unreadable>) {
    let medium = Medium::new(disk, of);
    let mut found = Vec::new();
    for find in [
        extended::find,
        xfs::find,
        linux::find,
        microsoft::find,
        apple::find,
        optical::find,
        image::find,
        cluster::find,
        swap::find,
        volume::find,
        crypt::find,
        raid::find,
        storage::find,
        zfs::find,
    ] {
        find(&medium, &mut found);
    }
    found.retain(|found: &Found| found.magic.end() <= of.length);
    found.sort_by(|a, b| (a.magic, a.kind).cmp(&(b.magic, b.kind)));
    found.dedup_by(|a, b| (a.magic, a.kind) == (b.magic, b.kind));
    (found, medium.unreadable())
}

fn signatures(found: &[Found], of: Extent) -> Vec<Signature> {
    let absolute = |extent: Extent| Extent {
        start: of.start + extent.start,
        length: extent.length,
    };
    let first = |one: &Found| {
        let mut same = found
            .iter()
            .filter(|other| (other.kind, &other.uuid) == (one.kind, &one.uuid));
        let primary = same.clone().find(|other| !other.backup).or(same.next());
        primary.is_none_or(|primary| primary.magic == one.magic)
    };
    let mut signatures: Vec<Signature> = Vec::with_capacity(found.len());
    for one in found {
        let whole = Extent {
            start: 0,
            length: of.length,
        };
        signatures.push(Signature {
            kind: one.kind.into(),
            magic: absolute(one.magic),
            header: absolute(sectors(one.header).common(&whole).unwrap_or(one.magic)),
            of,
            copy: one.backup && !first(one),
            version: one.version.clone(),
            uuid: one.uuid.clone(),
            label: one.label.clone(),
        });
    }
    signatures
}

/// Nothing smaller than a sector can be cleared.
fn sectors(extent: Extent) -> Extent {
    let end = extent
        .end()
        .checked_next_multiple_of(512)
        .unwrap_or(u64::MAX);
    Extent::between(extent.start / 512 * 512, end)
}

/// A signature with offsets from its extent's start.
#[derive(Clone)]
struct Found {
    kind: &'static str,
    magic: Extent,
    header: Extent,
    backup: bool,
    /// Bytes of what it describes, where it says so.
    size: Option<u64>,
    version: Option<String>,
    uuid: Option<String>,
    label: Option<String>,
}

impl Found {
    /// Of a header of `length` bytes from `start` on, whose first `magic` bytes are its magic number.
    fn new(kind: &'static str, start: u64, length: u64, magic: u64) -> Self {
        let header = Extent { start, length };
        Found {
            kind,
            magic: Extent {
                start,
                length: magic,
            },
            header,
            backup: false,
            size: None,
            version: None,
            uuid: None,
            label: None,
        }
    }

    /// The magic number is not at the header's start, but so many bytes after it.
    fn after(mut self, offset: u64) -> Self {
        self.magic.start = self.header.start.saturating_add(offset);
        self
    }

    /// At a place where only copies are.
    fn backup(mut self, backup: bool) -> Self {
        self.backup = backup;
        self
    }

    /// It says that it describes so many units of so many bytes.
    fn size(mut self, units: Option<u64>, bytes: u64) -> Self {
        self.size = units
            .and_then(|units| units.checked_mul(bytes))
            .filter(|&size| size > 0);
        self
    }

    fn version(mut self, version: impl ToString) -> Self {
        self.version = Some(version.to_string());
        self
    }

    fn uuid(mut self, uuid: Option<String>) -> Self {
        self.uuid = uuid;
        self
    }

    fn label(mut self, label: Option<String>) -> Self {
        self.label = label;
        self
    }
}
