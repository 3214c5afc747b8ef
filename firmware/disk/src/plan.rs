//! What is to be written, and what stays. A plan is made also where the verdict will be no: it is what shows why.

use std::collections::BTreeSet;

use prejoin_formats::gpt;
use prejoin_wire::digest::Digest;
use prejoin_wire::disk::{
    Clear, Content, Entry, Extent, Facts, Kept, Mode, Origin, Partition, Place, Plan, Region,
    RegionKind, Scheme, Signature, Table, merge,
};
use prejoin_wire::handoff::{GAP, Handoff};
use prejoin_wire::manifest::{Manifest, Range};
use uuid::Uuid;

use crate::layout;
use crate::region::{self, HEAD, Own};
use crate::write::{PARTIAL, RELEASED};

/// Where ext4 has its first further superblock with blocks of 4096 bytes, which a node takes for a damaged file system
/// of its own, and how much of it has to go.
const COPY: Extent = Extent {
    start: 32768 * 4096,
    length: 4096,
};

/// What is cleared, at least: a sector of any disk.
const BLOCK: u64 = 4096;

/// What images have in their partitions, by blkid's names.
pub(crate) const BROUGHT: [&str; 5] = ["vfat", "ext2", "ext3", "ext4", "DM_verity_hash"];

/// An image that could be written.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// What its bytes are.
    pub manifest: &'a Manifest,
    /// Digest of the manifest.
    pub digest: Digest,
    /// The partition table in its first bytes.
    pub table: &'a gpt::Table,
    /// `node.json` of its identity partition.
    pub handoff: &'a Handoff,
}

impl Image<'_> {
    /// Where its partitions begin, and those that the node makes on a disk of its own: what is found there though no
    /// partition is may be the node's.
    pub fn starts(&self) -> BTreeSet<u64> {
        let image = &self.table.partitions;
        let mut starts: BTreeSet<u64> = image.iter().map(|partition| partition.start).collect();
        let ends = image
            .iter()
            .map(|partition| partition.start + partition.size);
        let mut next = ends.max().map(|end| end.saturating_add(GAP));
        for partition in &self.handoff.partitions {
            starts.extend(next);
            let end = |start: u64| {
                start
                    .checked_add(partition.size?)?
                    .checked_next_multiple_of(GAP)
            };
            next = next.and_then(end);
        }
        starts
    }
}

/// What somebody wants done to a disk.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// What kind of installation.
    pub mode: Mode,
    /// What may go, by name: the GUID of a partition, the UUID of what is on it or on the whole disk, or `@` and the
    /// first byte of a region.
    pub delete: BTreeSet<String>,
}

impl Wish {
    /// Whether a partition was named.
    pub fn deletes(&self, partition: &Partition) -> bool {
        let guid = !partition.guid.is_empty() && self.delete.contains(&partition.guid);
        guid || self.deletes_from(partition.extent.start)
    }

    /// Whether what begins with a byte was named by that.
    pub fn deletes_from(&self, start: u64) -> bool {
        self.delete.contains(&format!("@{start}"))
    }

    /// Whether everything that is on the whole disk was named: its first byte, or the UUID of each thing on it.
    pub fn deletes_disk(&self, content: &Content, size: u64) -> bool {
        let mut signatures = region::undivided_signatures(content, size).peekable();
        let named =
            |uuid: &Option<String>| uuid.as_ref().is_some_and(|uuid| self.delete.contains(uuid));
        self.delete.contains("@0")
            || signatures.peek().is_some() && signatures.all(|found| named(&found.uuid))
    }
}

/// A plan, and what about it does not work out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The plan as far as it goes.
    pub plan: Plan,
    /// A table that cannot be: overlaps, no room, no number.
    pub problem: Option<String>,
    /// Partitions of its own that the node will do without.
    pub without: Vec<String>,
    /// Extents of the old disk that nobody released: no byte of them may be written.
    pub protected: Vec<Extent>,
}

impl Planned {
    /// Everything that would be written, in order, and merged.
    pub fn writes(&self) -> Vec<Extent> {
        writes(&self.plan)
    }

    /// Whether anything new would be put where this extent is: written at once, or by the node in its own partitions.
    pub fn takes(&self, extent: &Extent) -> bool {
        let new = self.plan.after.iter().filter(|entry| entry.is_new());
        let new = new.map(|entry| entry.extent);
        new.chain(self.writes()).any(|taken| taken.meets(extent))
    }

    /// Where the plan would write over what nobody released. Empty, or the plan must not be carried out.
    pub fn touches(&self) -> Vec<Extent> {
        let writes = self.writes();
        let meet = |extent: &Extent| {
            writes
                .iter()
                .filter_map(|write| write.common(extent))
                .collect::<Vec<_>>()
        };
        merge(self.protected.iter().flat_map(meet).collect())
    }
}

/// Everything that a plan would write, in order, and merged: what the guard before every write lets through.
pub fn writes(plan: &Plan) -> Vec<Extent> {
    let clear = plan.clear.iter().map(|clear| clear.extent);
    merge(
        plan.image_extents
            .iter()
            .chain(&plan.table_extents)
            .copied()
            .chain(clear)
            .collect(),
    )
}

/// Plans writing `image` to the disk.
pub fn plan(facts: &Facts, image: &Image, wish: &Wish) -> Planned {
    let (content, size) = (&facts.content, facts.device.size);
    let own = Own::of(image.manifest, image.handoff);
    let sorted = Sorted::new(content, size, &own, wish);
    let mut after = sorted
        .kept
        .iter()
        .map(|partition| match is_wiped(partition, &own, wish) {
            // A node makes a file system only in what is marked so.
            true => Entry {
                type_guid: PARTIAL.to_string(),
                ..entry(partition, Origin::Kept)
            },
            false => stays(content, partition, &own, image.handoff),
        })
        .collect::<Vec<_>>();
    after.extend(brought(image, &sorted.kept));
    let released = released(content, size, &sorted, image, &own, &after, wish);
    let mut problem = None;
    let (mut added, mut without) = (Vec::new(), Vec::new());
    match complete(&after, image, size, &sorted) {
        Ok(done) => {
            without = done.skipped.iter().map(ToString::to_string).collect();
            for number in done.added {
                let partition = done
                    .table
                    .partition(number)
                    .expect("the layout lists what it added");
                added.push(of_gpt(partition, Origin::Node));
            }
        }
        Err(error) => problem = Some(error.to_string()),
    }
    let image_extents = image_extents(image.manifest);
    let mut new: Vec<Extent> = after
        .iter()
        .chain(&added)
        .filter(|entry| entry.is_new())
        .flat_map(|entry| region::without(entry.extent, &image_extents))
        .collect();
    new.retain(|extent| extent.length >= BLOCK);
    let taken = after.iter().chain(&added).map(|one| one.extent);
    let taken = merge(taken.collect());
    let mut clear = clears(content, size, &sorted, wish, &own, &new, &taken);
    for entry in &added {
        clear.extend(blank(
            &entry.extent,
            &format!("partition \"{}\" begins empty", entry.name),
        ));
    }
    after.extend(added);
    after.sort_by_key(|entry| entry.extent);
    let mut before: Vec<Entry> = sorted.entries();
    before.sort_by_key(|entry| entry.extent);
    let plan = Plan {
        mode: wish.mode,
        image: image.digest,
        size,
        sector_size: image.manifest.sector_size,
        disk_guid: image.table.disk_guid,
        before,
        after,
        released,
        clear,
        image_extents,
        table_extents: region::table_extents(Scheme::Gpt, image.manifest.sector_size, size),
        // A state that is wiped keeps its place in the table, not its bytes.
        kept: sorted
            .kept
            .iter()
            .filter(|p| !is_wiped(p, &own, wish))
            .map(|p| kept(content, p))
            .collect(),
    };
    Planned {
        plan,
        problem,
        without,
        protected: sorted.protected,
    }
}

/// The partitions of a disk, by what becomes of them.
struct Sorted<'a> {
    kept: Vec<&'a Partition>,
    replaced: Vec<&'a Partition>,
    deleted: Vec<&'a Partition>,
    /// What was named, and only another table lists.
    named: Vec<&'a Partition>,
    /// What must not be written.
    protected: Vec<Extent>,
}

impl<'a> Sorted<'a> {
    fn new(content: &'a Content, size: u64, own: &Own, wish: &Wish) -> Self {
        let mut sorted = Sorted {
            kept: vec![],
            replaced: vec![],
            deleted: vec![],
            named: named_elsewhere(content, own, wish),
            protected: vec![],
        };
        for partition in content.partitions() {
            let wiped = is_wiped(partition, own, wish);
            if !wiped && (wish.deletes(partition) || is_released(partition)) {
                sorted.deleted.push(partition);
            } else if !wiped
                && (replaceable(content, partition, own) || is_unfinished(content, partition, own))
            {
                sorted.replaced.push(partition);
            } else {
                sorted.kept.push(partition);
                if !wiped {
                    sorted.protected.push(partition.extent);
                }
            }
        }
        sorted
            .protected
            .extend(listed_elsewhere(content, own, wish).map(|partition| partition.extent));
        let is_undivided = content.partitions().is_empty();
        if !(is_undivided && wish.deletes_disk(content, size)) {
            let guarded = |region: &Region| match region.kind {
                RegionKind::Data | RegionKind::Unknown => !wish.deletes_from(region.extent.start),
                // Beside partitions it is a refusal of its own.
                RegionKind::Unreadable => is_undivided,
                _ => false,
            };
            let nobodys = region::regions(content, size, Some(own))
                .into_iter()
                .filter(|region| region.partition.is_none() && guarded(region));
            sorted.protected.extend(nobodys.map(|region| region.extent));
        }
        sorted.protected = merge(sorted.protected);
        sorted
    }

    fn entries(&self) -> Vec<Entry> {
        let of =
            |list: &[&Partition], origin| list.iter().map(|p| entry(p, origin)).collect::<Vec<_>>();
        [
            of(&self.kept, Origin::Kept),
            of(&self.replaced, Origin::Replaced),
            of(&self.deleted, Origin::Deleted),
        ]
        .concat()
    }
}

/// A partition of a node's system may go for its successor, unless something is in it that no image brings.
fn replaceable(content: &Content, partition: &Partition, own: &Own) -> bool {
    if is_begun(partition, own) {
        return true;
    }
    let nested = region::precious(content, &partition.extent)
        .next()
        .is_some();
    let foreign = |signature: &Signature| !BROUGHT.contains(&signature.kind.as_str());
    let foreign = region::signatures(content, &partition.extent).any(foreign);
    region::owner(content, partition, Some(own)).is_some() && !nested && !foreign
}

/// Partitions that are only in a table that is not believed, at the start or end of the disk: the backup copy of before
/// an image was copied over the disk, the MBR beside a GPT, a table for the other sector size. What they list may be
/// all that says where somebody's data is.
pub(crate) fn listed_elsewhere<'a>(
    content: &'a Content,
    own: &Own,
    wish: &Wish,
) -> impl Iterator<Item = &'a Partition> {
    let ends = |table: &&Table| {
        let divides = matches!(table.scheme, Scheme::Gpt | Scheme::HybridMbr | Scheme::Mbr);
        table.valid && table.place != Place::Stray && divides
    };
    let believed = |partition: &Partition| {
        content
            .partitions()
            .iter()
            .any(|known| known.extent == partition.extent)
    };
    let partitions = content.tables.iter().filter(ends);
    let partitions = partitions.flat_map(|table| {
        let listed = table.partitions.iter();
        listed.map(|partition| (&table.partitions, partition))
    });
    let partitions = partitions.filter(move |(listed, partition)| {
        // Nobody sees what only this table lists; a blank head that is cleared again loses nothing.
        let unseen = own.made(partition)
            && is_partial(partition)
            && region::is_blank_at_its_head(content, &partition.extent);
        let system = region::owner_in(content, listed, partition, Some(own)).is_some();
        let goes = system || unseen || is_released(partition) || wish.deletes(partition);
        !believed(partition) && !region::is_container(partition) && !goes
    });
    partitions.map(|(_, partition)| partition)
}

/// What was named and is only in a table that is not the one in use, each extent once.
pub(crate) fn named_elsewhere<'a>(
    content: &'a Content,
    own: &Own,
    wish: &Wish,
) -> Vec<&'a Partition> {
    let nothing = Wish {
        mode: wish.mode,
        ..Wish::default()
    };
    let mut found: Vec<&Partition> = Vec::new();
    for partition in listed_elsewhere(content, own, &nothing) {
        let is_new = found.iter().all(|other| other.extent != partition.extent);
        if is_new && wish.deletes(partition) {
            found.push(partition);
        }
    }
    found
}

/// Whether it is the node's state, which is to be made anew.
pub(crate) fn is_wiped(partition: &Partition, own: &Own, wish: &Wish) -> bool {
    own.state == partition.guid && wish.mode == Mode::ReimageWipeState
}

/// Whether it is a partition of the node's own that an interrupted run has listed and that nobody has used yet: it is
/// made anew, and what marks it as partial goes when that run is completed.
///
/// The mark alone does not say so. Between the last bytes of the image and the last table a node may start, and make
/// file systems; and a data partition may be used as it is, without a signature: encrypted with its header elsewhere,
/// or by a database. What was there before was cleared before the mark came, so that its first MiB is blank if nobody
/// came since. Of the rest samples are enough: what is blank in all of them may go, and what is not stays where it is.
pub(crate) fn is_unfinished(content: &Content, partition: &Partition, own: &Own) -> bool {
    own.made(partition)
        && is_partial(partition)
        && region::is_blank_at_its_head(content, &partition.extent)
        && region::is_blank(content, &partition.extent)
}

/// Whether it is a partition of the node's system that an interrupted run has listed: what is in it besides the image's
/// bytes was there before it.
pub(crate) fn is_begun(partition: &Partition, own: &Own) -> bool {
    own.system.contains(&partition.guid) && is_partial(partition)
}

/// Whether it has the type of what goes as soon as it is cleared.
pub(crate) fn is_released(partition: &Partition) -> bool {
    partition
        .type_id
        .eq_ignore_ascii_case(&RELEASED.to_string())
}

/// Whether it has the type of what was not written to its end.
pub(crate) fn is_partial(partition: &Partition) -> bool {
    partition.type_id.eq_ignore_ascii_case(&PARTIAL.to_string())
}

/// The entry of a partition that stays: as it is, but that one of the node's own is partial no longer if somebody has
/// used it: a node makes its file system in what is marked. One whose first MiB is as the run has cleared it waits for
/// its node, though what was on the disk before may show further in.
fn stays(content: &Content, partition: &Partition, own: &Own, handoff: &Handoff) -> Entry {
    let entry = entry(partition, Origin::Kept);
    let mut made = handoff.partitions.iter();
    let made = made.find(|made| made.guid.to_string() == partition.guid);
    let is_used = !region::is_blank_at_its_head(content, &partition.extent)
        || region::signatures(content, &partition.extent)
            .next()
            .is_some();
    match made.filter(|_| own.made(partition) && is_partial(partition) && is_used) {
        Some(made) => Entry {
            type_guid: made.type_guid.to_string(),
            ..entry
        },
        None => entry,
    }
}

/// What the table is to list as going until it is cleared: all that does not stay, if anything of it is not the node's
/// own; or the whole disk, if it was not divided.
///
/// A UUID that something was named by may be gone with the first cleared byte, and another node's system is known by its
/// content.
fn released(
    content: &Content,
    size: u64,
    sorted: &Sorted,
    image: &Image,
    own: &Own,
    after: &[Entry],
    wish: &Wish,
) -> Vec<Entry> {
    let mut unlisted = lost_and_named(content, size, wish, image.manifest.sector_size);
    for container in sorted.deleted.iter().filter(|one| is_extended(one)) {
        unlisted.extend(between_logical(content, container).map(unnumbered));
    }
    if content.partitions().is_empty() && unlisted.is_empty() {
        let named = wish.deletes_disk(content, size);
        return Vec::from_iter(whole_disk(image, size).filter(|_| named));
    }
    let is_own = |partition: &Partition| after.iter().any(|entry| entry.guid == partition.guid);
    let deleted = sorted.deleted.iter().chain(&sorted.named).copied();
    let deleted = deleted
        .chain(&unlisted)
        .map(|partition| (partition, RELEASED));
    let replaced = sorted.replaced.iter().map(|partition| {
        let own = is_own(partition) || is_partial(partition);
        (*partition, if own { PARTIAL } else { RELEASED })
    });
    // A state that is made anew keeps its place. What is in it can be looked at only until its head is cleared.
    let wiped = sorted.kept.iter().copied();
    let wiped = wiped.filter(|partition| is_wiped(partition, own, wish));
    let going: Vec<(&Partition, Uuid)> = deleted
        .chain(wiped.map(|partition| (partition, RELEASED)))
        .chain(replaced)
        .filter(|(partition, _)| !region::is_container(partition))
        .collect();
    if going.iter().all(|(_, type_guid)| *type_guid == PARTIAL) {
        return Vec::new();
    }
    let (disk_guid, sector_size) = (image.table.disk_guid, image.manifest.sector_size);
    let is_going = |entry: &Entry| going.iter().any(|(going, _)| going.guid == entry.guid);
    let kept = after.iter().filter(|entry| entry.origin == Origin::Kept);
    let mut all: Vec<Entry> = kept.filter(|entry| !is_going(entry)).cloned().collect();
    let stay = all.len();
    for (partition, type_guid) in going {
        let is_free = |number: &u32| all.iter().all(|other| other.number != *number);
        let listed = Some(partition.number).filter(|number| *number > 0);
        let mut numbers = listed.into_iter().chain(1..=128);
        let Some(number) = numbers.find(is_free) else {
            break;
        };
        let guid = Uuid::try_parse(&partition.guid);
        let guid = guid.unwrap_or_else(|_| guid_of(&disk_guid, partition.extent.start));
        all.push(Entry {
            number,
            type_guid: type_guid.to_string(),
            guid: guid.to_string(),
            ..entry(partition, Origin::Deleted)
        });
        // What cannot be in a table, since it shares bytes with another one or with the table itself, is not listed.
        if table(&all, &disk_guid, sector_size, size).check().is_err() {
            all.pop();
        }
    }
    all.split_off(stay)
}

/// What no table lists and was named by its first byte, as partitions without a number: once its head is cleared
/// nothing else tells what the name stood for.
fn lost_and_named(content: &Content, size: u64, wish: &Wish, sector_size: u32) -> Vec<Partition> {
    if content.table().is_none() {
        return Vec::new();
    }
    let sector = u64::from(sector_size);
    let nobodys = region::nobodys(content, size);
    let named = nobodys.filter(|region| wish.deletes_from(region.extent.start));
    // What is unknown begins with any byte, a partition with a sector.
    let sectors = named.map(|region| {
        let Extent { start, length } = region.extent;
        Extent::between(start / sector * sector, start.saturating_add(length))
    });
    sectors.map(unnumbered).collect()
}

/// Something that goes and that no table lists.
fn unnumbered(extent: Extent) -> Partition {
    Partition {
        number: 0,
        extent,
        type_id: String::new(),
        guid: String::new(),
        name: String::new(),
        attributes: 0,
    }
}

/// Whether it is an extended partition of an MBR.
fn is_extended(partition: &Partition) -> bool {
    region::is_container(partition) && partition.type_id != "ee"
}

/// What of an extended partition is in none of its logical ones: each of these has its boot record somewhere before it,
/// which would be unknown data in a gap once the table says nothing of it.
fn between_logical<'a>(
    content: &Content,
    container: &'a Partition,
) -> impl Iterator<Item = Extent> + use<'a> {
    let logical = content.partitions().iter();
    let logical = logical.filter(|one| !region::is_container(one));
    let logical = merge(logical.map(|one| one.extent).collect());
    region::without(container.extent, &logical).into_iter()
}

/// All of a disk that was not divided, as a partition that goes.
fn whole_disk(image: &Image, size: u64) -> Option<Entry> {
    let disk_guid = image.table.disk_guid;
    let usable = table(&[], &disk_guid, image.manifest.sector_size, size).usable();
    let end = usable.end / gpt::ALIGNMENT * gpt::ALIGNMENT;
    (gpt::ALIGNMENT < end).then(|| Entry {
        number: 1,
        extent: Extent::between(gpt::ALIGNMENT, end),
        type_guid: RELEASED.to_string(),
        guid: disk_guid.to_string(),
        name: String::new(),
        attributes: 0,
        origin: Origin::Deleted,
    })
}

/// A GUID for a partition that has none, since an MBR lists it.
fn guid_of(disk: &Uuid, start: u64) -> Uuid {
    let digest = Digest::of(format!("{disk} {start}").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.0[..16]);
    Uuid::from_bytes(bytes)
}

/// The image's partitions, each with its own number if no kept one has it. The one to start from gets a number before
/// that of a kept EFI system partition, where one is free.
fn brought(image: &Image, kept: &[&Partition]) -> Vec<Entry> {
    let mut taken: BTreeSet<u32> = kept.iter().map(|partition| partition.number).collect();
    let other = kept.iter().filter(|partition| is_esp(&partition.type_id));
    let other = other.map(|partition| partition.number).min();
    let mut entries = Vec::new();
    for partition in &image.table.partitions {
        let number = Some(partition.number).filter(|number| !taken.contains(number));
        let free = || {
            (1..=128)
                .find(|number| !taken.contains(number) && image.table.partition(*number).is_none())
        };
        let number = number.or_else(free).unwrap_or(partition.number);
        let first = (1..number).find(|number| !taken.contains(number));
        let is_late = other.is_some_and(|other| other < number);
        let first = first.filter(|_| is_late && is_esp(&partition.type_guid.to_string()));
        let number = first.unwrap_or(number);
        taken.insert(number);
        entries.push(Entry {
            number,
            ..of_gpt(partition, Origin::Image)
        });
    }
    entries
}

/// Whether a partition of this type is one that UEFI firmware starts from. From a disk that it has no boot entry for, it
/// starts what is on the first of them, in the order of the table's entries (edk2, `BmExpandMediaDevicePath`).
pub(crate) fn is_esp(type_guid: &str) -> bool {
    type_guid.eq_ignore_ascii_case(&gpt::types::ESP.to_string())
}

/// The new table, as far as it is known, with the partitions that the node makes for itself: where they were, if they
/// go to be made anew.
fn complete(
    after: &[Entry],
    image: &Image,
    size: u64,
    sorted: &Sorted,
) -> Result<layout::Completed, layout::Error> {
    let table = table(
        after,
        &image.table.disk_guid,
        image.manifest.sector_size,
        size,
    );
    let was = |guid: &Uuid| {
        let mut freed = sorted.deleted.iter().chain(&sorted.replaced);
        let same = freed.find(|partition| partition.guid.eq_ignore_ascii_case(&guid.to_string()));
        same.map(|partition| partition.extent.start)
    };
    layout::complete_where(&table, size, &image.handoff.partitions, was)
}

/// Entries as a table for a disk of `size` bytes.
pub fn table(entries: &[Entry], disk_guid: &Uuid, sector_size: u32, size: u64) -> gpt::Table {
    // What an MBR lists has none. It comes out nil, which `gpt::Table::check` refuses: nothing of the kind is written.
    let guid = |text: &str| Uuid::try_parse(text).unwrap_or_default();
    let partition = |entry: &Entry| gpt::Partition {
        number: entry.number,
        type_guid: guid(&entry.type_guid),
        guid: guid(&entry.guid),
        start: entry.extent.start,
        size: entry.extent.length,
        attributes: entry.attributes,
        name: entry.name.clone(),
    };
    let partitions = entries.iter().map(partition).collect();
    gpt::Table {
        disk_guid: *disk_guid,
        sector_size,
        disk_size: size,
        partitions,
    }
}

/// What goes before anything is written: leftovers that would mislead. `new` is what of new partitions nothing is
/// written to: others would find there what was on the disk before. `taken` is what any partition will be.
fn clears(
    content: &Content,
    size: u64,
    sorted: &Sorted,
    wish: &Wish,
    own: &Own,
    new: &[Extent],
    taken: &[Extent],
) -> Vec<Clear> {
    let whole = Extent::between(0, size);
    let mut clears = Vec::new();
    let stays = sorted
        .kept
        .iter()
        .filter(|partition| !is_wiped(partition, own, wish));
    let kept: Vec<Extent> = merge(stays.map(|partition| partition.extent).collect());
    // Whole blocks, which are whole sectors of any disk; what stays is cut out again where somebody's block is shared.
    let mut clear = |extent: Extent, why: String| {
        let end = extent
            .end()
            .checked_next_multiple_of(BLOCK)
            .unwrap_or(extent.end());
        let extent = Extent::between(extent.start / BLOCK * BLOCK, end)
            .common(&whole)
            .unwrap_or_default();
        for extent in region::without(extent, &kept) {
            if !clears
                .iter()
                .any(|clear: &Clear| clear.extent.covers(&extent))
            {
                clears.push(Clear {
                    extent,
                    why: why.clone(),
                });
            }
        }
    };
    let deleted = named(content, size, sorted, wish);
    for (_, extent, why) in &deleted {
        clear(region::head(extent), why.clone());
        let end = extent.end();
        clear(
            Extent::between(end.saturating_sub(HEAD).max(extent.start), end),
            why.clone(),
        );
    }
    for (extent, why) in left_behind(sorted, own, taken) {
        clear(extent, why);
    }
    for signature in &content.signatures {
        // What lies inside a partition that stays is that partition's.
        let inside = kept.iter().any(|extent| extent.meets(&signature.header));
        let deleted = deleted.iter().any(|(of, ..)| *of == signature.of);
        let stale = signature.of == whole && !inside;
        if deleted || stale && (content.table().is_some() || wish.deletes_disk(content, size)) {
            clear(signature.header, format!("leftover of {}", signature.kind));
            continue;
        }
        for part in new.iter().filter_map(|new| new.common(&signature.header)) {
            clear(part, format!("leftover of {}", signature.kind));
        }
    }
    for table in content
        .tables
        .iter()
        .filter(|table| table.scheme == Scheme::Gpt && table.place == Place::Stray)
    {
        let extent = Extent {
            start: table.offset,
            length: u64::from(table.sector_size),
        };
        if !kept.iter().any(|kept| kept.meets(&extent)) {
            clear(extent, "leftover copy of a partition table".into());
        }
    }
    for partition in sorted
        .kept
        .iter()
        .filter(|partition| is_wiped(partition, own, wish))
    {
        for one in blank(&partition.extent, "the state is to be made anew") {
            clear(one.extent, one.why);
        }
        for signature in region::signatures(content, &partition.extent) {
            clear(signature.header, "the state is to be made anew".into());
        }
    }
    clears.sort_by_key(|clear| clear.extent);
    clears
}

/// What of a system that is replaced is in none of the new partitions, since its layout was another one. Nothing would
/// list it, and to the next run it would be somebody's data in a gap. What the node makes for itself is no part of the
/// system: of that only samples say that it is blank.
fn left_behind(sorted: &Sorted, own: &Own, taken: &[Extent]) -> Vec<(Extent, String)> {
    let mut left = Vec::new();
    for partition in sorted.replaced.iter().filter(|one| !own.made(one)) {
        let why = format!(
            "partition {} goes, and nothing comes there",
            partition.number
        );
        let parts = region::without(partition.extent, taken).into_iter();
        left.extend(parts.map(|extent| (extent, why.clone())));
    }
    left
}

/// What was named for deletion beside the disk as a whole: the extent that its signatures are of, where it is, and why
/// it goes.
fn named(
    content: &Content,
    size: u64,
    sorted: &Sorted,
    wish: &Wish,
) -> Vec<(Extent, Extent, String)> {
    let partition = |partition: &&Partition| {
        let why = format!("partition {} was named for deletion", partition.number);
        let parts: Vec<Extent> = match is_extended(partition) {
            true => between_logical(content, partition).collect(),
            false => vec![partition.extent],
        };
        let of = partition.extent;
        parts.into_iter().map(move |part| (of, part, why.clone()))
    };
    let lost = region::lost(content, size).into_iter();
    let lost = lost.filter(|(_, extent)| wish.deletes_from(extent.start));
    let why = |start| format!("what was lost at byte {start} was named for deletion");
    let partitions = sorted.deleted.iter().flat_map(partition);
    partitions
        .chain(lost.map(|(of, extent)| (of, extent, why(extent.start))))
        .collect()
}

/// What must be zero at the start of a partition so that the node takes it for a new one.
fn blank(extent: &Extent, why: &str) -> Vec<Clear> {
    let head = region::head(extent);
    let copy = Extent {
        start: extent.start.saturating_add(COPY.start),
        ..COPY
    };
    let all = [Some(head), extent.covers(&copy).then_some(copy)];
    all.into_iter()
        .flatten()
        .map(|extent| Clear {
            extent,
            why: why.to_owned(),
        })
        .collect()
}

/// Where the image defines bytes of its partitions.
fn image_extents(manifest: &Manifest) -> Vec<Extent> {
    let defined = |(start, range): (u64, Range)| match range {
        Range::Data { length, .. } | Range::Zero { length } => Some(Extent { start, length }),
        Range::Skip { .. } => None,
    };
    let defined = merge(manifest.placed().filter_map(defined).collect());
    let inside = |partition: &prejoin_wire::manifest::Partition| {
        let partition = Extent {
            start: partition.start,
            length: partition.size,
        };
        defined
            .iter()
            .filter_map(|extent| extent.common(&partition))
            .collect::<Vec<_>>()
    };
    merge(manifest.partitions.iter().flat_map(inside).collect())
}

fn entry(partition: &Partition, origin: Origin) -> Entry {
    Entry {
        number: partition.number,
        extent: partition.extent,
        type_guid: partition.type_id.clone(),
        guid: partition.guid.clone(),
        name: partition.name.clone(),
        attributes: partition.attributes,
        origin,
    }
}

fn of_gpt(partition: &gpt::Partition, origin: Origin) -> Entry {
    Entry {
        number: partition.number,
        extent: Extent {
            start: partition.start,
            length: partition.size,
        },
        type_guid: partition.type_guid.to_string(),
        guid: partition.guid.to_string(),
        name: partition.name.clone(),
        attributes: partition.attributes,
        origin,
    }
}

fn kept(content: &Content, partition: &Partition) -> Kept {
    Kept {
        number: partition.number,
        guid: partition.guid.clone(),
        name: partition.name.clone(),
        extent: partition.extent,
        what: region::describe(content, &partition.extent),
    }
}
