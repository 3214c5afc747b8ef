//! Disks that were made before clusters had ids: the same node's, under other GUIDs.
//!
//! They were derived from the names of cluster and node alone, which another cluster may have, too. So a GUID is not
//! enough: a partition is taken over only if its type, its place and what it holds say the same, and the disk's own
//! `node.json` names the node. What is taken over stays where it is, to the bit; only its entry gets another GUID.

use prejoin_wire::derived::uuid_without_id;
use prejoin_wire::disk::{Content, Entry, Extent, Partition, Signature, Table};
use prejoin_wire::handoff::{self, Format, GAP};

use crate::plan::{BROUGHT, Image};
use crate::region;
use crate::write::PARTIAL;

/// What a node's disk would be called without an id, and what it is called with one.
pub(crate) struct Takeover {
    node: String,
    disk: Renamed,
    things: Vec<Thing>,
    /// An interrupted run has begun with it: a table on the disk lists the image's partitions by their new GUIDs.
    pub(crate) is_begun: bool,
}

/// An old GUID and a new one.
struct Renamed {
    was: String,
    is: String,
}

/// One partition of the node.
struct Thing {
    name: String,
    guid: Renamed,
    type_id: String,
    place: Place,
    holds: Holds,
}

/// Where it must be.
enum Place {
    /// The image's partitions have their places.
    At(Extent),
    /// The node's own come behind them, from this byte on.
    From(u64),
}

/// What it must hold.
enum Holds {
    /// Nothing that no image brings.
    System,
    /// The file system that the node has made, or nothing yet.
    Made { kind: &'static str, uuid: String },
    /// A raw volume: anything.
    Anything,
}

impl Takeover {
    /// What can be taken over on a disk for an image; none if the disk was not made without an id for this node.
    pub(crate) fn find(content: &Content, image: &Image) -> Option<Self> {
        let mut takeover = Takeover::of(image);
        takeover.is_begun = takeover.begun(content, image);
        let is_made = content.tables.iter().any(|table| {
            takeover.is_begun && table.partitions.iter().any(|p| takeover.knows(p))
                || takeover.has_identity(content, &table.partitions)
        });
        // A leftover copy that lists what the table in use lists by its new GUIDs is none of it.
        let takes = |partition: &Partition| takeover.thing(content, partition).is_some();
        let is_left = takeover.is_begun || content.partitions().iter().any(takes);
        (is_made && is_left).then_some(takeover)
    }

    fn of(image: &Image) -> Self {
        let manifest = image.manifest;
        let was =
            |thing: &str| uuid_without_id(&manifest.cluster, &manifest.node, thing).to_string();
        let brought = manifest.partitions.iter().map(|partition| Thing {
            name: partition.name.clone(),
            guid: Renamed {
                was: was(&partition.name),
                is: partition.guid.to_string(),
            },
            type_id: partition.type_guid.to_string(),
            place: Place::At(Extent {
                start: partition.start,
                length: partition.size,
            }),
            holds: Holds::System,
        });
        let ends = manifest.partitions.iter().map(|p| p.start + p.size);
        let behind = ends.max().unwrap_or(0).saturating_add(GAP);
        let made = image.handoff.partitions.iter().map(|partition| Thing {
            name: partition.name.clone(),
            guid: Renamed {
                was: was(&partition.name),
                is: partition.guid.to_string(),
            },
            type_id: partition.type_guid.to_string(),
            place: Place::From(behind),
            holds: Holds::of(partition, was(&format!("{} file system", partition.name))),
        });
        Takeover {
            node: manifest.node.clone(),
            disk: Renamed {
                was: was("disk"),
                is: image.table.disk_guid.to_string(),
            },
            things: brought.chain(made).collect(),
            is_begun: false,
        }
    }

    /// Whether a whole table lists one of the image's partitions at its place under its new GUID, and not finished.
    fn begun(&self, content: &Content, image: &Image) -> bool {
        let partitions = content.tables.iter().filter(|table| table.valid);
        partitions.flat_map(|table| &table.partitions).any(|found| {
            found.type_id.eq_ignore_ascii_case(&PARTIAL.to_string())
                && image.manifest.partitions.iter().any(|ours| {
                    found.guid.parse() == Ok(ours.guid)
                        && found.extent.start == ours.start
                        && found.extent.length == ours.size
                })
        })
    }

    /// Whether one of these is the identity partition by its old GUID, with this node's `node.json` on it.
    fn has_identity(&self, content: &Content, partitions: &[Partition]) -> bool {
        let node = format!("node={}", self.node);
        content.inside.iter().any(|inside| {
            inside.kind == "prejoin-node"
                && inside.detail.contains(&node)
                && partitions.iter().any(|partition| {
                    partition.extent == inside.of
                        && self
                            .thing(content, partition)
                            .is_some_and(|thing| thing.name == IDENTITY)
                })
        })
    }

    /// Whether a partition has the old GUID of one of the node's, whatever else it is.
    fn knows(&self, partition: &Partition) -> bool {
        self.things
            .iter()
            .any(|thing| partition.guid.eq_ignore_ascii_case(&thing.guid.was))
    }

    /// Which of the node's partitions it is: GUID, type, place and content say so.
    fn thing(&self, content: &Content, partition: &Partition) -> Option<&Thing> {
        let partial = PARTIAL.to_string();
        self.things.iter().find(|thing| {
            let is_type = |id: &String| partition.type_id.eq_ignore_ascii_case(id);
            partition.guid.eq_ignore_ascii_case(&thing.guid.was)
                && (is_type(&thing.type_id) || is_type(&partial))
                && thing.place.is(&partition.extent)
                && thing.holds.is(content, &partition.extent)
        })
    }

    /// The disk as it would have been found with the new GUIDs: what is judged and planned with.
    pub(crate) fn apply(&self, content: &Content) -> Content {
        let mut taken = content.clone();
        for table in &mut taken.tables {
            self.rename(content, table);
        }
        taken
    }

    fn rename(&self, content: &Content, table: &mut Table) {
        if table
            .id
            .as_ref()
            .is_some_and(|id| id.eq_ignore_ascii_case(&self.disk.was))
        {
            table.id = Some(self.disk.is.clone());
        }
        let before = table.partitions.clone();
        let has = |guid: &str, count: usize| {
            before
                .iter()
                .filter(|p| p.guid.eq_ignore_ascii_case(guid))
                .count()
                == count
        };
        for partition in &mut table.partitions {
            // Of two with one GUID neither is known to be the right one.
            let thing = self.thing(content, partition);
            if let Some(thing) =
                thing.filter(|thing| has(&thing.guid.was, 1) && has(&thing.guid.is, 0))
            {
                partition.guid.clone_from(&thing.guid.is);
            }
        }
    }

    /// The new name of what somebody named by its old GUID.
    pub(crate) fn name<'a>(&'a self, name: &'a str) -> &'a str {
        let thing = self
            .things
            .iter()
            .find(|thing| thing.guid.was.eq_ignore_ascii_case(name));
        thing.map_or(name, |thing| &thing.guid.is)
    }

    /// Gives the entries of the table as it is back what is in it.
    pub(crate) fn entries_as_found(&self, content: &Content, before: &mut [Entry]) {
        for entry in before {
            let same = |p: &&Partition| p.number == entry.number && p.extent == entry.extent;
            if let Some(found) = content.partitions().iter().find(same) {
                entry.guid.clone_from(&found.guid);
                entry.type_guid.clone_from(&found.type_id);
            }
        }
    }

    /// The partitions of the table in use that are taken over, and those that only have such a GUID.
    pub(crate) fn sorted<'a>(
        &self,
        content: &'a Content,
        taken: &Content,
    ) -> (Vec<&'a Partition>, Vec<&'a Partition>) {
        let pairs = content.partitions().iter().zip(taken.partitions());
        let (mut over, mut beside) = (Vec::new(), Vec::new());
        for (was, is) in pairs.filter(|(was, _)| self.knows(was)) {
            let list = if was.guid == is.guid {
                &mut beside
            } else {
                &mut over
            };
            list.push(was);
        }
        (over, beside)
    }
}

/// Name of the partition with `node.json`.
const IDENTITY: &str = "identity";

impl Place {
    fn is(&self, extent: &Extent) -> bool {
        match self {
            Place::At(place) => place == extent,
            Place::From(start) => extent.start >= *start,
        }
    }
}

impl Holds {
    fn of(partition: &handoff::Partition, uuid: String) -> Self {
        match partition.format {
            Format::Ext4 => Holds::Made { kind: "ext4", uuid },
            Format::Xfs => Holds::Made { kind: "xfs", uuid },
            Format::None => Holds::Anything,
        }
    }

    fn is(&self, content: &Content, extent: &Extent) -> bool {
        let mut signatures = region::signatures(content, extent).filter(|found| !found.copy);
        match self {
            Holds::Anything => true,
            Holds::System => signatures.all(|found| BROUGHT.contains(&found.kind.as_str())),
            Holds::Made { kind, uuid } => {
                let is = |found: &Signature| {
                    let same = |found: &String| found.eq_ignore_ascii_case(uuid);
                    found.kind == *kind && found.uuid.as_ref().is_some_and(same)
                };
                let mut signatures = signatures.peekable();
                match signatures.peek() {
                    Some(_) => signatures.all(is),
                    None => is_blank(content, extent),
                }
            }
        }
    }
}

/// Whether an extent was looked at, and nothing was found.
fn is_blank(content: &Content, extent: &Extent) -> bool {
    let looked = content
        .blankness
        .iter()
        .find(|blankness| blankness.of == *extent);
    looked.is_some_and(|blankness| blankness.read > 0 && blankness.first.is_none())
}
