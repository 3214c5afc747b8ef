//! What is on a disk: tables, signatures, what file systems hold, and what is blank.
//!
//! Everything found is listed, one hit never hides another. Reads are bounded (about 2000 small ones for tables, twice
//! as many for gaps, 8 MiB for each of up to 64 extents, 32 MiB for what is in a file system), memory is a few MiB, and
//! a disk that cannot be read says so instead of looking empty.

mod blank;
mod bytes;
mod foreign;
mod gap;
mod gpt;
mod inside;
mod mbr;
mod record;
pub mod signature;
mod table;

use std::collections::BTreeSet;

use prejoin_wire::disk::{Content, Extent, Place, Scheme, Signature, Table, Unreadable, merge};
use prejoin_wire::handoff::STATE;

use self::record::Recorder;
use self::signature::scan;
use crate::device::ReadAt;
use crate::plan::is_partial;
use crate::region;

/// Extents that are looked at one by one, at most.
const MOST_EXTENTS: usize = 512;

/// Looks at everything on a disk of `size` bytes. `sector_size` is the device's logical one in bytes, 0 if it has none
/// (a file).
///
/// It never fails: what cannot be read is in [`Content::unreadable`].
pub fn probe(disk: &(dyn ReadAt + Sync), size: u64, sector_size: u32) -> Content {
    probe_from(disk, size, sector_size, &BTreeSet::new())
}

/// The same, with a closer look at `starts`, where no partition is: a node's own are to be there, and may have been.
pub fn probe_from(
    disk: &(dyn ReadAt + Sync),
    size: u64,
    sector_size: u32,
    starts: &BTreeSet<u64>,
) -> Content {
    let recorder = Recorder::new(disk, size);
    let found = table::find(&recorder, size, sector_size);
    let mut content = Content {
        tables: found.tables,
        ..Content::default()
    };
    let whole = Extent {
        start: 0,
        length: size,
    };
    let divided = divisions(&content.tables, size);

    let (of_whole, mut unreadable) = scan(&recorder, whole);
    let mut signatures = Vec::new();
    for &extent in &divided {
        let (found, failed) = scan(&recorder, extent);
        signatures.extend(found);
        unreadable.extend(failed);
    }
    if content.table().is_none() {
        signatures.extend(lost(&recorder, size));
    }
    content.signatures = settle(of_whole, signatures);
    let gaps = content
        .table()
        .map_or(vec![], |table| blank::gaps(table, size));
    // The ends of a disk belong to its table, whose copy is where a volume's end would be.
    let ends = region::table_extents(
        Scheme::Gpt,
        if sector_size == 4096 { 4096 } else { 512 },
        size,
    );
    let open = gaps.iter().flat_map(|&gap| region::without(gap, &ends));
    let open: Vec<Extent> = open.collect();
    let in_gaps = gap::find(&recorder, &open, starts, &content.signatures);
    let lost: BTreeSet<Extent> = in_gaps.iter().map(|signature| signature.of).collect();
    content.signatures.extend(in_gaps);
    sort(&mut content.signatures);

    for &of in std::iter::once(&whole).chain(&divided).chain(&lost) {
        let named = is_named(&content.tables, of, STATE);
        content.inside.extend(inside::look(&recorder, of, named));
    }
    content.inside.extend(inside::unread(&content.signatures));
    content
        .inside
        .extend(inside::systems(size, content.partitions()));

    // What a signature of the disk as a whole explains is nothing unknown in a gap.
    let headers = content.signatures.iter().filter(|found| found.of == whole);
    let explained: Vec<Extent> = headers
        .map(|signature| signature.header)
        .chain(found.parts.iter().copied())
        .collect();
    let apart: Vec<Extent> = merge(divided.iter().chain(&lost).copied().collect());
    let extents = extents(&content, whole, &gaps, &divided, &apart);
    let count = extents.len();
    content.blankness = extents
        .into_iter()
        .map(|of| {
            let is_gap = gaps.iter().any(|gap| gap.covers(&of));
            match is_gap {
                true => {
                    let also = gap::begins(&of, gaps.len(), starts);
                    blank::look(&recorder, of, count, &also, &explained)
                }
                false => blank::look(&recorder, of, count, &[], &found.parts),
            }
        })
        .collect();
    for of in heads(&content) {
        let look = blank::look(&recorder, of, 1, &[], &found.parts);
        content.blankness.push(look);
    }

    let (failed, digest) = recorder.finish();
    content.unreadable = join(unreadable, failed);
    content.digest = Some(digest);
    content
}

/// Where the parts of an MBR are: its sector, and the boot records of its logical partitions.
pub(crate) fn mbr_parts(disk: &(dyn ReadAt + Sync), size: u64, sector_size: u32) -> Vec<Extent> {
    let found = mbr::read(&Recorder::new(disk, size), size, sector_size);
    found.map(|mbr| mbr.parts).unwrap_or_default()
}

/// Whether a table that can be used has a partition there of this name.
fn is_named(tables: &[Table], of: Extent, name: &str) -> bool {
    let mut partitions = tables
        .iter()
        .filter(|table| table.valid)
        .flat_map(|table| &table.partitions);
    partitions.any(|partition| partition.extent == of && partition.name == name)
}

/// What begins where the first partition usually begins, on a disk whose table is gone: after 63 sectors, at 1 MiB, and
/// at 4 and 8 MiB as Raspberry Pi OS has it.
fn lost(disk: &Recorder, size: u64) -> Vec<Signature> {
    let starts = [63 * 512, 1 << 20, 4 << 20, 8 << 20];
    let at = |start| {
        scan(disk, Extent::between(start, size))
            .0
            .into_iter()
            .filter(move |s| s.magic.start < start + (1 << 20))
    };
    starts
        .into_iter()
        .filter(|&start| start < size)
        .flat_map(at)
        .collect()
}

/// The extents of the partitions of every table that can be used, each once, without containers of others.
fn divisions(tables: &[Table], size: u64) -> Vec<Extent> {
    let containers = ["05", "0f", "85", "ee"];
    let partitions = tables
        .iter()
        .filter(|table| table.valid)
        .flat_map(|table| &table.partitions);
    let used = partitions.filter(|partition| !containers.contains(&partition.type_id.as_str()));
    let on_disk = used.filter_map(|partition| {
        partition.extent.common(&Extent {
            start: 0,
            length: size,
        })
    });
    let mut seen = BTreeSet::new();
    on_disk
        .filter(|&extent| seen.insert(extent))
        .take(MOST_EXTENTS)
        .collect()
}

/// What is looked at for blankness: each partition, each gap without what was found or is listed in it, what another
/// table lists in a gap, and the whole disk if nothing at its ends divides it.
fn extents(
    content: &Content,
    whole: Extent,
    gaps: &[Extent],
    divided: &[Extent],
    apart: &[Extent],
) -> Vec<Extent> {
    let mut extents = Vec::new();
    let table = content.table();
    if table.is_none_or(|table| table.scheme == Scheme::Gpt && table.place == Place::Stray) {
        extents.push(whole);
    }
    if let Some(table) = table {
        extents.extend(
            table
                .partitions
                .iter()
                .filter_map(|partition| partition.extent.common(&whole)),
        );
        for &gap in gaps {
            extents.extend(region::without(gap, apart));
            extents.extend(divided.iter().filter_map(|extent| extent.common(&gap)));
        }
    }
    let mut seen = BTreeSet::new();
    extents.retain(|&extent| seen.insert(extent));
    extents.truncate(MOST_EXTENTS);
    extents
}

/// The first bytes of partitions that were not written to their end: whether they are used is a matter of every byte
/// there, and samples are not enough.
fn heads(content: &Content) -> BTreeSet<Extent> {
    let partitions = content
        .tables
        .iter()
        .filter(|table| table.valid)
        .flat_map(|table| &table.partitions);
    let partial = partitions.filter(|partition| is_partial(partition));
    let heads = partial.map(|partition| region::head(&partition.extent));
    let is_new = |head: &Extent| content.blankness.iter().all(|look| look.of != *head);
    heads.filter(is_new).take(MOST_EXTENTS).collect()
}

/// Signatures of the disk and of partitions, by offset. What is found by both belongs to the partition: its place at
/// the disk's end (ZFS labels, md 0.90) is that of the last partition, rounded to the same block.
fn settle(of_whole: Vec<Signature>, of_parts: Vec<Signature>) -> Vec<Signature> {
    let known: BTreeSet<(Extent, String)> = of_parts
        .iter()
        .map(|signature| (signature.magic, signature.kind.clone()))
        .collect();
    let mut signatures: Vec<Signature> = of_whole
        .into_iter()
        .filter(|signature| !known.contains(&(signature.magic, signature.kind.clone())))
        .chain(of_parts)
        .collect();
    sort(&mut signatures);
    signatures
}

fn sort(signatures: &mut Vec<Signature>) {
    signatures.sort_by(|a, b| (a.magic, a.of, &a.kind).cmp(&(b.magic, b.of, &b.kind)));
    signatures.dedup();
}

fn join(mut unreadable: Vec<Unreadable>, failed: Vec<Unreadable>) -> Vec<Unreadable> {
    for one in failed {
        if !unreadable
            .iter()
            .any(|other| other.extent.covers(&one.extent))
        {
            unreadable.push(one);
        }
    }
    unreadable.sort_by(|a, b| (a.extent, &a.error).cmp(&(b.extent, &b.error)));
    unreadable.dedup();
    unreadable
}
