//! Whether a partition is one that an image has brought: name, type, place and content say so together. One of them
//! alone says nothing: anybody may call a partition `root-b`, and keep photographs in it.

use prejoin_formats::gpt::{ALIGNMENT, types};
use prejoin_wire::disk::{Content, Extent, Partition};
use uuid::Uuid;

use super::{is_blank, signatures};
use crate::write::PARTIAL;

/// What a partition of the system is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Boot,
    Root,
    Verity,
    Identity,
}

/// The partitions that an image brings, in their order: name, purpose, and whether the first update fills it.
const SYSTEM: [(&str, Purpose, bool); 6] = [
    ("boot", Purpose::Boot, false),
    ("root-a", Purpose::Root, false),
    ("root-a-verity", Purpose::Verity, false),
    ("root-b", Purpose::Root, true),
    ("root-b-verity", Purpose::Verity, true),
    ("identity", Purpose::Identity, false),
];

impl Purpose {
    /// Types that image builders have given to it, on any board.
    fn types(self) -> &'static [Uuid] {
        match self {
            Purpose::Boot => &[types::ESP, types::BASIC_DATA],
            Purpose::Root => &[types::ROOT_AMD64, types::ROOT_ARM64],
            Purpose::Verity => &[types::ROOT_VERITY_AMD64, types::ROOT_VERITY_ARM64],
            Purpose::Identity => &[types::BASIC_DATA],
        }
    }

    /// The signature that is in it, and things of which one is inside.
    fn content(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Purpose::Boot => ("vfat", &["efi-boot", "raspberry-pi"]),
            Purpose::Root => ("ext4", &["os-release"]),
            Purpose::Verity => ("DM_verity_hash", &[]),
            Purpose::Identity => ("vfat", &["prejoin-node"]),
        }
    }
}

/// Whether an image has brought one of `partitions`, which are those of one table.
pub(super) fn is_brought(
    content: &Content,
    partitions: &[Partition],
    partition: &Partition,
) -> bool {
    let known = SYSTEM.iter().find(|(name, ..)| *name == partition.name);
    let Some(&(_, purpose, is_second)) = known else {
        return false;
    };
    is_in_place(partitions, partition)
        && has_type(partition, purpose)
        && (has_content(content, &partition.extent, purpose)
            || is_second && is_blank(content, &partition.extent))
}

/// Whether it is in the row of an image's partitions: from 1 MiB on, in their order, without a gap.
fn is_in_place(partitions: &[Partition], partition: &Partition) -> bool {
    let mut sorted: Vec<&Partition> = partitions.iter().collect();
    sorted.sort_by_key(|partition| partition.extent);
    let (mut end, mut names) = (ALIGNMENT, SYSTEM.iter().map(|(name, ..)| *name));
    for next in sorted {
        if next.extent.start != end || !names.any(|name| name == next.name) {
            return false;
        }
        if next == partition {
            return true;
        }
        end = next.extent.end();
    }
    false
}

/// One that was not written to its end has lost its type, and is known by nothing but its GUID.
fn has_type(partition: &Partition, purpose: Purpose) -> bool {
    let found = Uuid::try_parse(&partition.type_id);
    found.is_ok_and(|found| found != PARTIAL && purpose.types().contains(&found))
}

/// Whether what an image brings is in it, and nothing else.
fn has_content(content: &Content, of: &Extent, purpose: Purpose) -> bool {
    let (kind, things) = purpose.content();
    let mut found = signatures(content, of).peekable();
    let inside = |thing: &&str| {
        let mut all = content.inside.iter();
        all.any(|inside| inside.of == *of && inside.kind == **thing)
    };
    found.peek().is_some()
        && found.all(|signature| signature.kind == kind)
        && (things.is_empty() || things.iter().any(inside))
}
