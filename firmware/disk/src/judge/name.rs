//! What was named for deletion, and what a name stands for.

use std::collections::{BTreeMap, BTreeSet};

use prejoin_wire::disk::{Content, Extent, Partition, Place, Signature, Table};

use crate::plan;
use crate::region::{self, Own};

/// What was named, as the disk has it.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// As [`crate::plan::Wish`] takes them: GUIDs, UUIDs of what is on the whole disk, `@` and a first byte.
    pub(super) delete: BTreeSet<String>,
    /// Names that do not stand for one thing: why not, and what to do.
    pub(super) faults: Vec<(String, String)>,
    /// Names that stand for nothing any more: an earlier run has deleted what they stood for, or has begun to.
    pub(super) gone: Vec<String>,
}

/// What is known of earlier runs that wrote the node to the disk.
pub(super) struct Past<'a> {
    pub(super) own: &'a Own,
    /// The GUID of the tables that they wrote.
    pub(super) disk_guid: &'a str,
    /// What they were given to delete.
    pub(super) named: &'a BTreeSet<String>,
}

impl Past<'_> {
    /// Whether a run may have deleted what `name` stood for. That it was given the name says so; where that was not
    /// kept, a table of a run that did not come to its end does: it was given by the same command, which is to be
    /// accepted again.
    fn has_deleted(&self, content: &Content, name: &str) -> bool {
        let was_named = self.named.iter().any(|was| was.eq_ignore_ascii_case(name));
        was_named || self.tables(content).any(|table| self.is_half_done(table))
    }

    /// The tables at either end of the disk that were written for the node.
    fn tables<'a>(&self, content: &'a Content) -> impl Iterator<Item = &'a Table> {
        let system = |one: &Partition| self.own.system.contains(&one.guid);
        let ends = content.tables.iter();
        ends.filter(|table| table.valid && table.place != Place::Stray)
            .filter(move |table| {
                table.id.as_deref() == Some(self.disk_guid) || table.partitions.iter().any(system)
            })
    }

    fn is_half_done(&self, table: &Table) -> bool {
        let is_marked = |one: &Partition| plan::is_released(one) || plan::is_begun(one, self.own);
        table.partitions.iter().any(is_marked)
    }
}

/// Why a name stands for nothing that may go.
enum Fault {
    /// Nothing has it.
    Unknown,
    /// Why not, and what to do.
    Other(String, String),
}

impl Names {
    /// Looks up what was named: the GUID of a partition, the UUID of what is on a partition or on the whole disk, `@` and
    /// the first byte.
    ///
    /// A UUID stands for a partition only if nothing else on the disk has it, and if nothing else is on that partition
    /// that was not named, too: a leftover must not release what came after it.
    ///
    /// What an interrupted run has listed for the node is new, and no name is for that.
    pub(super) fn find(
        content: &Content,
        size: u64,
        given: &BTreeSet<String>,
        past: &Past,
    ) -> Self {
        let disk = Disk::of(content, size, past.own);
        let mut names = Names::default();
        for name in given {
            match disk.find(name, given) {
                Ok(found) => names.delete.extend(found),
                Err(Fault::Unknown) if past.has_deleted(content, name) => {
                    names.gone.push(name.clone());
                }
                Err(Fault::Unknown) => names.faults.push((
                    format!("nothing on it is called {name}, which was named for deletion"),
                    match past.tables(content).next() {
                        Some(_) => "look at the name again; without it, nothing else is deleted",
                        None => "is it the right disk?",
                    }
                    .to_owned(),
                )),
                Err(Fault::Other(evidence, advice)) => names.faults.push((evidence, advice)),
            }
        }
        names
    }
}

/// How a partition is named for deletion.
pub(super) fn of_partition(partition: &Partition) -> String {
    match partition.guid.is_empty() {
        true => place(partition),
        false => partition.guid.clone(),
    }
}

/// How what is on the whole disk is named for deletion: by its UUID where one stands for all of it.
pub(super) fn of_disk(content: &Content, size: u64) -> String {
    let mut uuids: Vec<Option<&str>> = region::undivided_signatures(content, size)
        .map(|s| s.uuid.as_deref())
        .collect();
    uuids.dedup();
    match uuids[..] {
        [Some(uuid)] => uuid.to_owned(),
        _ => "@0".to_owned(),
    }
}

/// What has a name.
struct Disk<'a> {
    content: &'a Content,
    size: u64,
    /// Partitions of the believed table, and then of the others at the disk's ends that can be used, by their first bytes.
    partitions: BTreeMap<u64, Vec<&'a Partition>>,
}

impl<'a> Disk<'a> {
    fn of(content: &'a Content, size: u64, own: &Own) -> Self {
        let others = content
            .tables
            .iter()
            .filter(|table| table.valid && table.place != Place::Stray);
        let listed = others.flat_map(|table| &table.partitions);
        let mut partitions: BTreeMap<u64, Vec<&Partition>> = BTreeMap::new();
        let is_new = |partition: &Partition| {
            plan::is_begun(partition, own) || plan::is_unfinished(content, partition, own)
        };
        let all = content.partitions().iter().chain(listed);
        for partition in all.filter(|partition| !is_new(partition)) {
            partitions
                .entry(partition.extent.start)
                .or_default()
                .push(partition);
        }
        Disk {
            content,
            size,
            partitions,
        }
    }

    /// What a name stands for; or why for nothing, or for too much.
    fn find(&self, name: &str, given: &BTreeSet<String>) -> Result<Vec<String>, Fault> {
        let at = |start: &u64| place_of(*start) == name;
        let nobodys = || region::nobodys(self.content, self.size);
        if name == "@0" && self.is_whole()
            || self.partitions.keys().any(at)
            || nobodys().any(|region| at(&region.extent.start))
        {
            return Ok(vec![name.to_owned()]);
        }
        let is = |own: &str| !own.is_empty() && own.eq_ignore_ascii_case(name);
        let holds = |signature: &&Signature| signature.uuid.as_deref().is_some_and(is);
        let guids: Vec<&Partition> = self
            .partitions
            .values()
            .flatten()
            .copied()
            .filter(|p| is(&p.guid))
            .collect();
        let signatures: Vec<&Signature> = self.content.signatures.iter().filter(holds).collect();
        let lost = region::lost(self.content, self.size);
        let is_lost = |signature: &&&Signature| lost.iter().any(|(of, _)| *of == signature.of);
        if let Some(signature) = signatures.iter().find(is_lost) {
            let start = place_of(signature.of.start);
            let evidence = format!(
                "{name}, which was named for deletion, is of something at byte {} that no partition \
                 lists",
                signature.of.start
            );
            let advice = format!("name it by that: --delete {start}");
            return Err(Fault::Other(evidence, advice));
        }
        // What describes no partition describes the disk.
        let (parts, others): (Vec<&Signature>, Vec<&Signature>) = signatures
            .into_iter()
            .partition(|signature| self.partition(&signature.of).is_some());
        let of_disk: Vec<String> = region::undivided_signatures(self.content, self.size)
            .filter(holds)
            .filter_map(|s| s.uuid.clone())
            .collect();
        let mut places: BTreeSet<u64> = guids
            .iter()
            .map(|partition| partition.extent.start)
            .collect();
        let by_guid = places.len();
        places.extend(parts.iter().map(|signature| signature.of.start));
        let on_disk = others
            .iter()
            .any(|other| of_disk.iter().any(|uuid| other.uuid.as_ref() == Some(uuid)));
        if places.len() > by_guid.max(1) || on_disk && !places.is_empty() {
            return Err(self.several(name, &places, on_disk));
        }
        let mut found: Vec<String> = of_disk;
        found.extend(guids.iter().map(|partition| partition.guid.clone()));
        if let (Some(signature), true) = (parts.first(), guids.is_empty()) {
            let partition = self
                .partition(&signature.of)
                .expect("it was sorted by that");
            self.alone(name, &signature.of, partition, given)?;
            found.push(self.only(name, partition)?);
        }
        match found.is_empty() {
            true => Err(Fault::Unknown),
            false => Ok(found),
        }
    }

    /// Whether anything but the partitions can be named by the disk's first byte.
    fn is_whole(&self) -> bool {
        let mut of_disk = region::undivided_signatures(self.content, self.size);
        self.content.partitions().is_empty() || of_disk.next().is_some()
    }

    /// The partition that an extent is. One at the first byte has a name that would stand for the whole disk.
    fn partition(&self, of: &Extent) -> Option<&'a Partition> {
        let listed = self.partitions.get(&of.start).filter(|_| of.start > 0)?;
        listed
            .iter()
            .copied()
            .find(|partition| partition.extent.common(&Extent::between(0, self.size)) == Some(*of))
    }

    /// The name of a partition that stands for no other one: its GUID, or its place.
    fn only(&self, name: &str, partition: &Partition) -> Result<String, Fault> {
        let others = |is_same: &dyn Fn(&Partition) -> bool| {
            let mut all = self.partitions.values().flatten();
            all.any(|other| other.extent != partition.extent && is_same(other))
        };
        // A table may have a GUID twice, and an older one may have it elsewhere.
        if !partition.guid.is_empty() && !others(&|other| other.guid == partition.guid) {
            return Ok(partition.guid.clone());
        }
        if !others(&|other| other.extent.start == partition.extent.start) {
            return Ok(place(partition));
        }
        Err(Fault::Other(
            format!(
                "{name}, which was named for deletion, is on a partition that two tables list as two"
            ),
            format!(
                "if all that begins there may go: --delete {}",
                place(partition)
            ),
        ))
    }

    fn several(&self, name: &str, places: &BTreeSet<u64>, on_disk: bool) -> Fault {
        let partition = |start: &u64| {
            let partition = self.partitions.get(start)?.first()?;
            Some(format!(
                "partition {} ({})",
                partition.number,
                place(partition)
            ))
        };
        let mut all: Vec<String> = places.iter().filter_map(partition).collect();
        all.extend(on_disk.then(|| "the whole disk (@0)".to_owned()));
        let evidence = format!(
            "{name}, which was named for deletion, stands for {}",
            all.join(" and ")
        );
        let advice = "name the one that is meant by its first byte: --delete @START";
        Fault::Other(evidence, advice.to_owned())
    }

    /// Fails if something is on a partition that was not named.
    fn alone(
        &self,
        name: &str,
        of: &Extent,
        partition: &Partition,
        given: &BTreeSet<String>,
    ) -> Result<(), Fault> {
        let named = |signature: &&Signature| {
            signature
                .uuid
                .as_ref()
                .is_some_and(|uuid| given.iter().any(|name| name.eq_ignore_ascii_case(uuid)))
        };
        let on_it: Vec<&Signature> = region::signatures(self.content, of).collect();
        // Further copies tell of nothing new, unless they are all there is.
        let only_copies = on_it.iter().all(|signature| signature.copy);
        let mut rest: Vec<String> = on_it
            .into_iter()
            .filter(|signature| (only_copies || !signature.copy) && !named(signature))
            .map(|signature| match &signature.uuid {
                Some(uuid) => format!("{} ({uuid})", signature.kind),
                None => signature.kind.clone(),
            })
            .collect();
        rest.dedup();
        if rest.is_empty() {
            return Ok(());
        }
        let number = partition.number;
        let evidence = format!(
            "{name}, which was named for deletion, is not all of partition {number}: {}",
            rest.join(", ")
        );
        Err(Fault::Other(
            evidence,
            format!(
                "if all of it may go, name the partition: --delete {}",
                of_partition(partition)
            ),
        ))
    }
}

fn place(partition: &Partition) -> String {
    place_of(partition.extent.start)
}

fn place_of(start: u64) -> String {
    format!("@{start}")
}
