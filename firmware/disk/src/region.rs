//! What every part of a disk counts as. What is not known to be ours or empty is data.

mod brought;

use prejoin_formats::gpt::ALIGNMENT;
use prejoin_wire::disk::{
    Content, Extent, Inside, Mode, Partition, Place, Region, RegionKind, Scheme, Signature, merge,
};
use prejoin_wire::handoff::Handoff;
use prejoin_wire::manifest::Manifest;

/// Things inside a file system that make it somebody's data, by [`Inside::kind`].
const PRECIOUS: [&str; 7] = [
    "longhorn-disk",
    "etcd",
    "k3s",
    "rke2",
    "rancher",
    "local-volumes",
    "openebs",
];

/// Bytes at the start of a partition of its own that a node looks at before it makes a file system there.
pub(crate) const HEAD: u64 = 1 << 20;

/// The part of a partition that a node looks at first.
pub(crate) fn head(extent: &Extent) -> Extent {
    Extent {
        length: HEAD.min(extent.length),
        ..*extent
    }
}

/// What is said of a file system in its own place: that it was not read, and what is in a node's state.
const UNTOLD: [&str; 4] = ["unread", "state", "state-data", "state-cluster"];

/// The GUIDs of one node's partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// Name of the node.
    pub node: String,
    /// Partitions that the image brings.
    pub system: Vec<String>,
    /// The state partition.
    pub state: String,
    /// The data partition, if the node has one.
    pub data: Option<String>,
}

impl Own {
    /// Those of the node that an image is for.
    pub fn of(manifest: &Manifest, handoff: &Handoff) -> Self {
        Own {
            node: manifest.node.clone(),
            system: manifest
                .partitions
                .iter()
                .map(|partition| partition.guid.to_string())
                .collect(),
            state: handoff.state().guid.to_string(),
            data: handoff.data().map(|data| data.guid.to_string()),
        }
    }

    /// Whether anything of the node is on a disk: a partition of its system, its state or its data.
    pub fn is_on(&self, content: &Content) -> bool {
        self.is_in(content.partitions())
    }

    /// Whether any of these is the node's.
    fn is_in(&self, partitions: &[Partition]) -> bool {
        let mut partitions = partitions.iter();
        partitions.any(|partition| self.system.contains(&partition.guid) || self.made(partition))
    }

    /// Whether it is the node's state or data: what it makes for itself.
    pub fn made(&self, partition: &Partition) -> bool {
        self.state == partition.guid || self.data.as_ref() == Some(&partition.guid)
    }

    /// The mode that keeps most, where nobody has asked for one.
    pub fn mode(&self, content: &Content) -> Mode {
        if self.is_on(content) {
            Mode::Reimage
        } else {
            Mode::Install
        }
    }
}

/// Whose system a partition belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This node's.
    Own,
    /// Another node's, by the name in its `node.json`.
    Other(String),
}

/// The node that a disk was written for, by the `node.json` on its identity partition.
pub fn node_of(content: &Content) -> Option<(&Inside, &str)> {
    node_in(content, content.partitions())
}

/// The same by one of several tables: its partitions.
fn node_in<'a>(content: &'a Content, partitions: &[Partition]) -> Option<(&'a Inside, &'a str)> {
    // Anybody's FAT may hold a file of this name; only the identity partition's says whose the disk is.
    let identity = |inside: &&Inside| {
        let mut partitions = partitions.iter();
        inside.kind == "prejoin-node"
            && partitions.any(|p| p.extent == inside.of && p.name == "identity")
    };
    content.inside.iter().filter(identity).find_map(|inside| {
        let node = inside
            .detail
            .iter()
            .find_map(|detail| detail.strip_prefix("node="))?;
        Some((inside, node))
    })
}

/// Whether a partition belongs to a node's system, and to whose.
pub fn owner(content: &Content, partition: &Partition, own: Option<&Own>) -> Option<Owner> {
    owner_in(content, content.partitions(), partition, own)
}

/// The same for one of `partitions`, which are those of one table of the disk.
pub(crate) fn owner_in(
    content: &Content,
    partitions: &[Partition],
    partition: &Partition,
    own: Option<&Own>,
) -> Option<Owner> {
    if own.is_some_and(|own| own.system.contains(&partition.guid)) {
        return Some(Owner::Own);
    }
    // On the node's own disk nothing but its GUIDs says what is its own: the rest is what somebody has put there.
    if own.is_some_and(|own| own.is_in(partitions)) {
        return None;
    }
    let (_, node) = node_in(content, partitions)?;
    brought::is_brought(content, partitions, partition).then(|| Owner::Other(node.to_owned()))
}

/// The disk of `size` bytes from its first byte to its last. Partitions that overlap are both in it.
pub fn regions(content: &Content, size: u64, own: Option<&Own>) -> Vec<Region> {
    let whole = Extent::between(0, size);
    let Some(table) = content.table() else {
        return vec![undivided(content, whole)];
    };
    let mut regions: Vec<Region> = table
        .partitions
        .iter()
        .map(|partition| of_partition(content, partition, own))
        .collect();
    let partitions = merge(regions.iter().map(|region| region.extent).collect());
    for extent in table_extents(table.scheme, table.sector_size, size) {
        for extent in without(extent, &partitions) {
            regions.push(Region {
                extent,
                kind: RegionKind::Table,
                partition: None,
                what: "partition table".into(),
            });
        }
    }
    regions.extend(lost(content, size).into_iter().map(|(of, extent)| Region {
        extent,
        kind: RegionKind::Data,
        partition: None,
        what: format!("lost: {}", describe(content, &of)),
    }));
    let covered = merge(regions.iter().map(|region| region.extent).collect());
    // What a table at one of the disk's ends lists, though it is not believed, has a name of its own.
    let ends = content
        .tables
        .iter()
        .filter(|table| table.valid && table.place != Place::Stray);
    let listed = ends
        .flat_map(|table| &table.partitions)
        .filter(|one| !is_container(one));
    let listed = merge(listed.map(|partition| partition.extent).collect());
    let gaps = without(whole, &covered);
    regions.extend(gaps.iter().flat_map(|gap| {
        let listed = listed.iter().filter_map(|listed| listed.common(gap));
        listed.map(|extent| Region {
            extent,
            kind: RegionKind::Free,
            partition: None,
            what: "listed by another table".into(),
        })
    }));
    for extent in gaps.iter().flat_map(|&gap| without(gap, &listed)) {
        regions.extend(of_gap(content, extent, table.partitions.is_empty()));
    }
    regions.sort_by_key(|region| (region.extent, region.partition));
    regions
}

/// Whether it stands for others: 0xee for the whole disk, an extended partition for those in it.
pub(crate) fn is_container(partition: &Partition) -> bool {
    ["ee", "05", "0f", "85"].contains(&partition.type_id.as_str())
}

/// What is in no partition, and nothing that is known: free up to the first byte that is not blank.
fn of_gap(content: &Content, gap: Extent, is_empty: bool) -> Vec<Region> {
    let of = |extent, kind, what: String| Region {
        extent,
        kind,
        partition: None,
        what,
    };
    // What is left of alignment is nobody's.
    match first_byte(content, &gap).filter(|_| gap.length >= ALIGNMENT) {
        Some(first) => {
            // A table without partitions over something: they were lost, or it was never divided.
            let start = if is_empty { gap.start } else { first };
            let (front, rest) = (
                Extent::between(gap.start, start),
                Extent::between(start, gap.end()),
            );
            let what = format!("unknown data from byte {first}");
            let mut regions = vec![
                of(front, RegionKind::Free, "free".into()),
                of(rest, RegionKind::Unknown, what),
            ];
            regions.retain(|region| region.extent.length > 0);
            regions
        }
        None if is_unreadable(content, &gap) => {
            vec![of(gap, RegionKind::Unreadable, "cannot be read".into())]
        }
        None => vec![of(gap, RegionKind::Free, "free".into())],
    }
}

/// What was found where no partition is, though it is as whole as if one were there: whoever deleted the entry may not
/// have meant it. The extent that its signatures are of, and what of that is in no partition.
///
/// What a table at either end of the disk lists is listed, also where another table is believed.
pub fn lost(content: &Content, size: u64) -> Vec<(Extent, Extent)> {
    let Some(table) = content.table() else {
        return Vec::new();
    };
    let partitions = table.partitions.iter().map(|partition| partition.extent);
    let tables = table_extents(Scheme::Gpt, table.sector_size, size);
    let taken = merge(partitions.chain(tables).collect());
    let is_listed = |of: &Extent| {
        let mut tables = content.tables.iter();
        tables.any(|table| {
            let ends = table.valid && table.place != Place::Stray;
            ends && table
                .partitions
                .iter()
                .any(|p| p.extent.start == of.start && p.extent.end() >= of.end())
        })
    };
    let mut found: Vec<(Extent, Extent)> = content
        .signatures
        .iter()
        .filter(|one| !one.copy && one.of.start > 0 && !is_listed(&one.of))
        .filter(|one| !taken.iter().any(|other| other.meets(&one.header)))
        .filter_map(|one| {
            let free = without(one.of, &taken).into_iter().next()?;
            (free.start == one.of.start).then_some((one.of, free))
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

/// What is in no partition, and may be somebody's data.
pub fn nobodys(content: &Content, size: u64) -> impl Iterator<Item = Region> {
    regions(content, size, None).into_iter().filter(|region| {
        region.partition.is_none() && matches!(region.kind, RegionKind::Data | RegionKind::Unknown)
    })
}

/// Where the copies of a table are, for a disk of `size` bytes.
pub fn table_extents(scheme: Scheme, sector_size: u32, size: u64) -> Vec<Extent> {
    let sector = u64::from(sector_size);
    match scheme {
        Scheme::Gpt => {
            let end = size / sector * sector;
            vec![
                Extent::between(0, (2 * sector + ENTRIES).min(size)),
                Extent::between(end.saturating_sub(sector + ENTRIES), end),
            ]
        }
        _ => vec![Extent::between(0, sector.min(size))],
    }
}

/// Bytes of a GPT's entries as everybody writes them.
const ENTRIES: u64 = 16 << 10;

/// What is left of an extent without others, which are sorted and apart.
pub fn without(extent: Extent, others: &[Extent]) -> Vec<Extent> {
    let mut left = Vec::new();
    let mut start = extent.start;
    for other in others.iter().filter(|other| other.meets(&extent)) {
        left.push(Extent::between(start, other.start.max(start)));
        start = start.max(other.end());
    }
    left.push(Extent::between(start, extent.end()));
    left.retain(|extent| extent.length > 0);
    left
}

/// A disk, or a partition, in words: what the signatures of exactly this extent say, and what is inside.
pub fn describe(content: &Content, of: &Extent) -> String {
    let mut words: Vec<String> = Vec::new();
    for signature in signatures(content, of) {
        let word = name(signature);
        if !words.contains(&word) {
            words.push(word);
        }
    }
    for inside in content
        .inside
        .iter()
        .filter(|inside| inside.of == *of && !UNTOLD.contains(&inside.kind.as_str()))
    {
        let detail = if inside.detail.is_empty() {
            String::new()
        } else {
            format!(" ({})", inside.detail.join(", "))
        };
        words.push(format!("{}{detail}", inside.kind));
    }
    words.join(", ")
}

/// A signature in words.
fn name(signature: &Signature) -> String {
    let mut text = signature.kind.clone();
    if let Some(version) = &signature.version {
        text.push_str(&format!(" {version}"));
    }
    if let Some(label) = signature.label.as_ref().filter(|label| !label.is_empty()) {
        text.push_str(&format!(" \"{label}\""));
    }
    text
}

/// The signatures that describe exactly this extent.
pub fn signatures<'a>(content: &'a Content, of: &'a Extent) -> impl Iterator<Item = &'a Signature> {
    content
        .signatures
        .iter()
        .filter(move |signature| signature.of == *of)
}

/// What describes no partition, each once: the disk as a whole; without a table that is believed, everything.
pub fn undivided_signatures(content: &Content, size: u64) -> impl Iterator<Item = &Signature> {
    let whole = Extent::between(0, size);
    let divided = content.table().is_some();
    content
        .signatures
        .iter()
        .filter(move |found| !found.copy && (!divided || found.of == whole))
}

/// What is inside a file system that somebody would miss.
pub fn precious<'a>(content: &'a Content, of: &'a Extent) -> impl Iterator<Item = &'a Inside> {
    content
        .inside
        .iter()
        .filter(move |inside| inside.of == *of && PRECIOUS.contains(&inside.kind.as_str()))
}

/// The first byte of an extent that was seen not to be blank.
fn first_byte(content: &Content, of: &Extent) -> Option<u64> {
    let seen = content
        .blankness
        .iter()
        .filter_map(|blankness| blankness.first);
    seen.filter(|first| (of.start..of.end()).contains(first))
        .min()
}

fn of_partition(content: &Content, partition: &Partition, own: Option<&Own>) -> Region {
    let extent = partition.extent;
    let found = describe(content, &extent);
    let looked = content
        .blankness
        .iter()
        .any(|blankness| blankness.of == extent && blankness.read > 0);
    let state = own.is_some_and(|own| own.state == partition.guid);
    let (kind, what) = match owner(content, partition, own) {
        Some(Owner::Own) => (RegionKind::System, found),
        Some(Owner::Other(node)) => (RegionKind::System, format!("system of node {node}")),
        None if state => (RegionKind::State, found),
        None if !found.is_empty() => (RegionKind::Data, found),
        None if is_unreadable(content, &extent) => {
            (RegionKind::Unreadable, "cannot be read".into())
        }
        None if first_byte(content, &extent).is_some() || !looked => {
            (RegionKind::Unknown, "unknown data".into())
        }
        None => (RegionKind::Blank, "blank".into()),
    };
    let named = if partition.name.is_empty() {
        String::new()
    } else {
        format!("\"{}\" ", partition.name)
    };
    let what = format!("{named}{what}").trim_end().to_owned();
    Region {
        extent,
        kind,
        partition: Some(partition.number),
        what,
    }
}

/// Whether nothing is in an extent, as far as it was looked at; not looked at is not blank.
pub(crate) fn is_blank(content: &Content, of: &Extent) -> bool {
    let mut looks = content.blankness.iter().filter(|look| look.of == *of);
    looks.clone().any(|look| look.read > 0)
        && looks.all(|look| look.first.is_none())
        && signatures(content, of).next().is_none()
        && !content.inside.iter().any(|inside| inside.of == *of)
        && !is_unreadable(content, of)
}

/// Whether every byte of the head of a partition was looked at, and is blank.
pub(crate) fn is_blank_at_its_head(content: &Content, partition: &Extent) -> bool {
    let head = head(partition);
    let mut looks = content.blankness.iter().filter(|look| look.of == head);
    looks.clone().any(|look| look.read == head.length)
        && looks.all(|look| look.first.is_none())
        && !is_unreadable(content, &head)
}

/// Whether a part of an extent could not be read.
fn is_unreadable(content: &Content, extent: &Extent) -> bool {
    content
        .unreadable
        .iter()
        .any(|unreadable| unreadable.extent.meets(extent))
}

/// A disk without a table that could be believed.
fn undivided(content: &Content, whole: Extent) -> Region {
    let found = describe(content, &whole);
    let of = |kind, what: String| Region {
        extent: whole,
        kind,
        partition: None,
        what,
    };
    if !found.is_empty() {
        return of(RegionKind::Data, found);
    }
    if !content.signatures.is_empty() {
        return of(
            RegionKind::Data,
            content
                .signatures
                .iter()
                .map(name)
                .collect::<Vec<_>>()
                .join(", "),
        );
    }
    if content
        .tables
        .iter()
        .any(|table| table.scheme != Scheme::ProtectiveMbr || !table.valid)
    {
        return of(
            RegionKind::Unknown,
            "a partition table that cannot be used".into(),
        );
    }
    if !content.unreadable.is_empty() {
        return of(RegionKind::Unreadable, "cannot be read".into());
    }
    let looked = content
        .blankness
        .iter()
        .any(|blankness| blankness.of == whole && blankness.read > 0);
    match first_byte(content, &whole) {
        None if looked => of(RegionKind::Blank, "blank".into()),
        Some(first) => of(
            RegionKind::Unknown,
            format!("unknown data from byte {first}"),
        ),
        None => of(RegionKind::Unknown, "not looked at".into()),
    }
}
