//! What is on the disk.

use std::collections::BTreeSet;

use prejoin_wire::disk::{
    Code, Content, Entry, Extent, Mode, Origin, Partition, Place, Scheme, Severity, Signature,
    Table, decimal,
};

use super::{Case, System, name, operating_system};
use crate::plan;
use crate::region::{self, Owner};

/// File systems that several machines write at the same time: whose they are cannot be seen from here.
const SHARED: [&str; 5] = ["VMFS", "VMFS_volume_member", "ocfs2", "gfs2", "oracleasm"];

impl Case<'_> {
    pub(super) fn tables(&mut self) {
        use Severity::{Info, Refuse};
        let content = &self.facts.content;
        let disk = self.facts.device.path.clone();
        let Some(table) = content.table().cloned() else {
            return;
        };
        let gpt =
            |table: &&Table| table.scheme == Scheme::Gpt && table.sector_size == self.sector_size();
        let place = |place| {
            content
                .tables
                .iter()
                .filter(gpt)
                .find(|table| table.place == place && table.valid)
                .cloned()
        };
        let (primary, backup) = (place(Place::Primary), place(Place::Backup));
        let stray = place(Place::Stray);
        let stays = self
            .planned
            .plan
            .after
            .iter()
            .any(|entry| entry.origin == Origin::Kept);
        if table.scheme == Scheme::Gpt {
            match (&primary, &backup) {
                (Some(a), Some(b))
                    if (&a.id, &a.partitions) != (&b.id, &b.partitions)
                        && (self.is_half_done(a) || self.is_half_done(b)) =>
                {
                    let evidence = "an interrupted run has replaced one copy of the table: \
                                    this one completes it";
                    self.add(Code::LyDisagree, Info, &disk, evidence, "");
                }
                (Some(a), Some(b)) if (&a.id, &a.partitions) != (&b.id, &b.partitions) && stays => {
                    let evidence = format!(
                        "{} partitions in one, {} in the other",
                        a.partitions.len(),
                        b.partitions.len()
                    );
                    let advice = "find out which is right, and repair it with gdisk";
                    self.add(
                        Code::LyDisagree,
                        Refuse,
                        &disk,
                        format!("both copies of the table are good and differ: {evidence}"),
                        advice,
                    );
                }
                (Some(_), None) if stray.is_some() => {
                    let evidence =
                        "the backup copy of the table is not at the end: the disk has grown since";
                    self.add(Code::LyNotAtEnd, Info, &disk, evidence, "");
                }
                (Some(_), None) => {
                    self.add(
                        Code::LyPrimaryOnly,
                        Info,
                        &disk,
                        "only the primary copy of the table is good",
                        "",
                    );
                }
                (None, _) if table.sector_size == self.sector_size() => {
                    let evidence = format!(
                        "only the copy at byte {} of the table is good",
                        table.offset
                    );
                    self.add(Code::LyBackupOnly, Info, &disk, evidence, "");
                }
                _ => {}
            }
        } else if stays {
            let evidence =
                "it is divided by a table that is no GPT, whose partitions cannot be kept in one";
            let advice = format!("use another disk; {}", self.all_named());
            self.add(Code::LyOtherTable, Refuse, &disk, evidence, &advice);
        }
        // Without a copy at either end, which of several leftovers was the last one cannot be told.
        let other = content.tables.iter().any(|other| {
            other.valid && other.scheme == Scheme::Gpt && other.partitions != table.partitions
        });
        if table.place == Place::Stray && other {
            let evidence =
                "leftover copies of the table differ, and there is none at either end of the disk";
            self.add(
                Code::LyDisagree,
                Refuse,
                &disk,
                evidence,
                "find out which is right, and repair it with gdisk",
            );
        }
        if table.place == Place::Stray && stays {
            let evidence = "only a leftover copy in the midst of the disk lists what stays";
            self.add(
                Code::LyBackupOnly,
                Refuse,
                &disk,
                evidence,
                "put the table back with gdisk first",
            );
        }
        let hybrid = content
            .tables
            .iter()
            .any(|table| table.scheme == Scheme::HybridMbr);
        if hybrid && stays {
            let evidence =
                "its MBR lists partitions beside the GPT, and both would have to stay the same";
            self.add(
                Code::LyHybrid,
                Refuse,
                &disk,
                evidence,
                "make the MBR a protective one with gdisk",
            );
        }
        if table.sector_size != self.sector_size() && stays {
            let evidence = format!("its table is for sectors of {} bytes", table.sector_size);
            self.add(
                Code::DvSector,
                Refuse,
                &disk,
                evidence,
                "it was made behind another adapter: use that one",
            );
        }
        self.entries(&table, &disk, stays);
    }

    /// Whether a copy of the table is one that a run of this plan leaves behind until it is completed: it is the node's,
    /// with marks, and lists all that stays.
    fn is_half_done(&self, table: &Table) -> bool {
        let plan = &self.planned.plan;
        let is_marked = |p: &Partition| plan::is_partial(p) || plan::is_released(p);
        let is_known = |p: &Partition| {
            is_marked(p)
                || self.own.made(p)
                || self.own.system.contains(&p.guid)
                || plan.kept.iter().any(|kept| kept.guid == p.guid)
        };
        let lists = |entry: &Entry| {
            table.partitions.iter().any(|p| {
                (p.number, p.extent, &p.guid, &p.name, p.attributes)
                    == (
                        entry.number,
                        entry.extent,
                        &entry.guid,
                        &entry.name,
                        entry.attributes,
                    )
                    && (p.type_id == entry.type_guid || plan::is_partial(p))
            })
        };
        let mut stay = plan
            .after
            .iter()
            .filter(|entry| entry.origin == Origin::Kept);
        table.id.as_deref() == Some(&plan.disk_guid.to_string())
            && table.partitions.iter().any(is_marked)
            && table.partitions.iter().all(is_known)
            && stay.all(lists)
    }

    /// The disk's sector size; a file has the image's.
    pub(super) fn sector_size(&self) -> u32 {
        match self.facts.device.sector_size {
            0 => self.image.manifest.sector_size,
            size => size,
        }
    }

    fn entries(&mut self, table: &Table, disk: &str, stays: bool) {
        if table.partitions.is_empty() {
            self.add(
                Code::LyEmptyTable,
                Severity::Info,
                disk,
                "a partition table without partitions",
                "",
            );
        }
        let size = self.facts.device.size;
        for (index, a) in table.partitions.iter().enumerate() {
            // Logical partitions lie in the extended one by design.
            let container =
                |partition: &Partition| matches!(partition.type_id.as_str(), "05" | "0f" | "85");
            for b in &table.partitions[..index] {
                if stays && a.extent.meets(&b.extent) && !container(a) && !container(b) {
                    let evidence = format!("partitions {} and {} share bytes", b.number, a.number);
                    self.add(
                        Code::LyOverlap,
                        Severity::Refuse,
                        disk,
                        evidence,
                        "repair the table with gdisk",
                    );
                }
                let named = self.wish.delete.contains(&a.guid);
                if (stays || named) && !a.guid.is_empty() && a.guid == b.guid {
                    let evidence = format!(
                        "partitions {} and {} are both {}",
                        b.number, a.number, a.guid
                    );
                    self.add(
                        Code::LyDuplicate,
                        Severity::Refuse,
                        disk,
                        evidence,
                        "repair the table with gdisk",
                    );
                }
            }
            if stays && a.extent.end() > size {
                let evidence = format!(
                    "partition {} ends at byte {}, the disk at {size}",
                    a.number,
                    a.extent.end()
                );
                self.add(
                    Code::LyOverlap,
                    Severity::Refuse,
                    disk,
                    evidence,
                    "repair the table with gdisk",
                );
            }
        }
    }

    /// A kept partition that firmware may start from, and that comes before the node's.
    fn boot_order(&mut self) {
        let after = &self.planned.plan.after;
        let esp = |origin| {
            let of = after.iter().filter(move |entry| entry.origin == origin);
            of.filter(|entry| plan::is_esp(&entry.type_guid))
        };
        let Some(own) = esp(Origin::Image).map(|entry| entry.number).min() else {
            return;
        };
        let before: Vec<(u32, String)> = esp(Origin::Kept)
            .filter(|entry| entry.number < own)
            .map(|entry| (entry.number, entry.guid.clone()))
            .collect();
        for (number, guid) in before {
            let subject = format!("partition {number} ({guid})");
            let evidence = format!(
                "it is an EFI system partition that stays, with a lower number than the node's \
                 ({own}): firmware without a boot entry for this disk starts what is on it"
            );
            let advice = format!(
                "choose the node in the firmware's boot menu; if it may go, name it: --delete {guid}"
            );
            self.add(
                Code::LyBootOrder,
                Severity::Confirm,
                &subject,
                evidence,
                &advice,
            );
        }
    }

    pub(super) fn content(&mut self) {
        self.boot_order();
        self.ours();
        self.foreign();
        self.whole_disk();
        let content = &self.facts.content;
        let shared: Vec<&Signature> = content
            .signatures
            .iter()
            .filter(|s| SHARED.contains(&s.kind.as_str()))
            .collect();
        for signature in shared {
            let subject = at(&signature.of);
            let evidence = format!(
                "{} at byte {}: other machines may be using it now",
                signature.kind, signature.magic.start
            );
            self.add(
                Code::DtShared,
                Severity::Refuse,
                &subject,
                evidence,
                "take it out of their reach first",
            );
        }
        for partition in content.partitions() {
            let subject = title(content, partition);
            let what = region::describe(content, &partition.extent);
            let mut kept = self.planned.plan.kept.iter();
            let is_kept = kept.any(|kept| kept.extent == partition.extent);
            // Named or not: what is in it may have been named, and be gone by now.
            if plan::is_wiped(partition, self.own, self.wish) {
                self.kept(partition, &subject, what);
            } else if self.deletes(partition) {
                self.deleted(partition, &subject, what);
            } else if is_kept {
                self.kept(partition, &subject, what);
            }
        }
        self.nested();
        self.paths();
        self.lost();
        let elsewhere: Vec<Partition> = plan::listed_elsewhere(content, self.own, self.wish)
            .cloned()
            .collect();
        for partition in elsewhere {
            let subject = title(content, &partition);
            let evidence = format!(
                "only a table that is not the one in use lists it, at byte {}",
                partition.extent.start
            );
            let advice = format!(
                "repair the table with gdisk; if it may go, name it: --delete {}",
                name::of_partition(&partition)
            );
            self.add(
                Code::LyDisagree,
                Severity::Refuse,
                &subject,
                evidence,
                &advice,
            );
        }
        for partition in plan::named_elsewhere(content, self.own, self.wish) {
            let what = region::describe(content, &partition.extent);
            let evidence = if what.is_empty() {
                "it is not known what is on it".to_owned()
            } else {
                what
            };
            let evidence = format!(
                "named for deletion, at byte {}: {evidence}",
                partition.extent.start
            );
            self.add(
                Code::DtDelete,
                Severity::Confirm,
                &title(content, partition),
                evidence,
                "",
            );
        }
        for (evidence, advice) in &self.names.faults {
            self.add(
                Code::DtDelete,
                Severity::Refuse,
                &self.facts.device.path,
                evidence.as_str(),
                advice,
            );
        }
        for name in &self.names.gone {
            let evidence = format!(
                "nothing on it is called {name} any more: an earlier run was told to delete it"
            );
            self.add(
                Code::DtDelete,
                Severity::Info,
                &self.facts.device.path,
                evidence,
                "",
            );
        }
    }

    fn deleted(&mut self, partition: &Partition, subject: &str, what: String) {
        let what = if what.is_empty() {
            "it is not known what is on it".to_owned()
        } else {
            what
        };
        let (severity, evidence) = match self.wish.deletes(partition) {
            true => (Severity::Confirm, format!("named for deletion: {what}")),
            // The names may have been in what is cleared already.
            false if self.is_own_table() => (
                Severity::Info,
                format!("an interrupted run has begun to clear it: {what}"),
            ),
            false => (
                Severity::Confirm,
                format!("an interrupted run of another node has begun to clear it: {what}"),
            ),
        };
        self.add(Code::DtDelete, severity, subject, evidence, "");
    }

    /// Whether the table in use was written for the node.
    fn is_own_table(&self) -> bool {
        let table = self.facts.content.table();
        let disk_guid = self.planned.plan.disk_guid.to_string();
        table.is_some_and(|table| table.id.as_deref() == Some(&disk_guid))
    }

    fn kept(&mut self, partition: &Partition, subject: &str, what: String) {
        if partition.name.contains(char::REPLACEMENT_CHARACTER) {
            let evidence = "its name is not UTF-16, and would not be the same in a new table";
            self.add(
                Code::LyOtherTable,
                Severity::Refuse,
                subject,
                evidence,
                "give it another name with gdisk",
            );
        }
        if partition.guid == self.own.state && self.wish.mode == Mode::ReimageWipeState {
            let evidence = format!(
                "{} of state are made anew: {what}",
                decimal(partition.extent.length)
            );
            self.add(Code::DtState, Severity::Confirm, subject, evidence, "");
            return;
        }
        let what = if what.is_empty() {
            "nothing that is known".to_owned()
        } else {
            what
        };
        let evidence = format!(
            "{} stay as they are: {what}",
            decimal(partition.extent.length)
        );
        self.add(Code::DtKeep, Severity::Info, subject, evidence, "");
    }

    /// Whose disk it is.
    fn ours(&mut self) {
        let content = &self.facts.content;
        let disk = self.facts.device.path.clone();
        let owners: Vec<Owner> = content
            .partitions()
            .iter()
            .filter_map(|partition| region::owner(content, partition, Some(self.own)))
            .collect();
        let other = owners.iter().find_map(|owner| match owner {
            Owner::Other(node) => Some(node.clone()),
            Owner::Own => None,
        });
        if let Some(node) = other {
            let evidence = format!("it holds the system of node {node}, which would be replaced");
            self.add(
                Code::LyOtherNode,
                Severity::Confirm,
                &disk,
                evidence,
                "is it the right disk?",
            );
        } else if owners.contains(&Owner::Own) {
            let evidence = format!("it holds the system of node {}", self.own.node);
            self.add(Code::LyOurs, Severity::Info, &disk, evidence, "");
        }
        if self.wish.mode != Mode::Install && !self.own.is_on(content) {
            let evidence = format!(
                "it holds nothing of node {} that could be reimaged",
                self.own.node
            );
            let advice = "is it the right disk? a new one is written with --mode install";
            self.add(Code::LyNotOurs, Severity::Refuse, &disk, evidence, advice);
        }
    }

    /// How everything is named that is in a partition, those that others are in and those in them.
    fn all_named(&self) -> String {
        let names = self.facts.content.partitions().iter();
        let names = names.map(|one| format!("--delete {}", name::of_partition(one)));
        let names: Vec<String> = names.collect();
        format!("if all of it may go, name it: {}", names.join(" "))
    }

    /// Another operating system, and whether all of it was named.
    fn foreign(&mut self) {
        let content = &self.facts.content;
        let Some(system) = operating_system(content, Some(self.own)) else {
            return;
        };
        let mut stays = content
            .partitions()
            .iter()
            .filter(|partition| system.on.contains(&partition.extent) && !self.deletes(partition));
        let (severity, advice) = match stays.next() {
            None => (Severity::Confirm, String::new()),
            Some(_) => (Severity::Refuse, self.beside()),
        };
        let disk = self.facts.device.path.clone();
        let System { name, why, .. } = system;
        self.add(
            Code::LyForeign,
            severity,
            &disk,
            format!("{name} is on it: {why}"),
            &advice,
        );
    }

    /// What of another system has to go: what the image's partitions, or the table, would lie on.
    fn beside(&self) -> String {
        let plan = &self.planned.plan;
        let brought = plan.after.iter();
        let brought = brought.filter(|entry| entry.origin == Origin::Image);
        let taken: Vec<Extent> = brought
            .map(|entry| entry.extent)
            .chain(plan.table_extents.iter().copied())
            .collect();
        let in_the_way = plan.kept.iter().filter_map(|kept| {
            let met = taken.iter().any(|extent| extent.meets(&kept.extent));
            let mut partitions = self.facts.content.partitions().iter();
            partitions.find(|partition| met && partition.extent == kept.extent)
        });
        let names: Vec<String> = in_the_way
            .map(|partition| format!("--delete {}", name::of_partition(partition)))
            .collect();
        let beside = format!("beside it with --accept {}", Code::LyForeign);
        match names.is_empty() {
            true => format!("nothing of it is in the way: the node goes {beside}"),
            false => format!(
                "if what is in the way may go, name it, and the node goes {beside}: {}",
                names.join(" ")
            ),
        }
    }

    /// What describes the disk as a whole.
    fn whole_disk(&mut self) {
        let content = &self.facts.content;
        let device = &self.facts.device;
        let whole = Extent::between(0, device.size);
        let kept: Vec<Extent> = self
            .planned
            .plan
            .kept
            .iter()
            .map(|kept| kept.extent)
            .collect();
        let named = self.wish.deletes_disk(content, device.size) || self.is_released();
        let divided = content.table().is_some();
        // A table whose partitions are all ours, or all named, cannot be inside what the signature describes.
        let stale = divided && kept.iter().all(|extent| self.is_own(extent));
        let name = name::of_disk(content, device.size);
        let disk = device.path.clone();
        let outside = |found: &&Signature| {
            let inside = kept.iter().any(|extent| extent.meets(&found.header));
            !divided || found.of == whole && !inside
        };
        let seen: Vec<Signature> = content.signatures.iter().filter(outside).cloned().collect();
        // A copy speaks where nothing else of its kind does.
        let mut kinds: BTreeSet<&str> = seen
            .iter()
            .filter(|found| !found.copy)
            .map(|found| found.kind.as_str())
            .collect();
        for signature in seen
            .iter()
            .filter(|found| !found.copy || kinds.insert(&found.kind))
        {
            let evidence = format!("{} at byte {}", words(signature), signature.magic.start);
            if named {
                self.add(
                    Code::DtDelete,
                    Severity::Confirm,
                    &disk,
                    format!("named for deletion: {evidence}"),
                    "",
                );
            } else if stale {
                self.add(
                    Code::DtStale,
                    Severity::Confirm,
                    &disk,
                    format!("a leftover that misleads: {evidence}"),
                    "",
                );
            } else {
                let advice = format!("if it may go, name it: --delete {name}");
                let subject = if signature.of == whole {
                    "the whole disk is"
                } else {
                    "without a table that can be used:"
                };
                self.add(
                    Code::DtWholeDisk,
                    Severity::Refuse,
                    &disk,
                    format!("{subject} {evidence}"),
                    &advice,
                );
            }
        }
        for inside in content
            .inside
            .iter()
            .filter(|inside| named && !divided && inside.kind != "unread")
        {
            let evidence = format!("named for deletion: {} in {}", inside.kind, inside.path);
            self.add(Code::DtDelete, Severity::Confirm, &disk, evidence, "");
        }
        if divided || seen.is_empty() {
            self.nobodys(&name, named);
        }
    }

    /// Whether an earlier run has begun to clear all of a disk that was not divided.
    fn is_released(&self) -> bool {
        let whole = self.facts.content.partitions();
        let whole = whole.iter().any(|partition| {
            plan::is_released(partition)
                && partition.guid == self.planned.plan.disk_guid.to_string()
        });
        whole && self.is_own_table()
    }

    /// Whether an extent that stays belongs to this node.
    fn is_own(&self, extent: &Extent) -> bool {
        let partition = self
            .facts
            .content
            .partitions()
            .iter()
            .find(|partition| partition.extent == *extent);
        partition.is_some_and(|partition| self.own.made(partition))
    }

    /// Somebody's data inside what would be replaced.
    fn nested(&mut self) {
        let content = &self.facts.content;
        for partition in content.partitions() {
            if plan::is_wiped(partition, self.own, self.wish) {
                self.wiped(partition);
                continue;
            }
            let system = region::owner(content, partition, Some(self.own)).is_some();
            // Of a system that is being written the image's bytes are not all there; the rest was there before.
            let begun = plan::is_begun(partition, self.own);
            if !system || begun || self.deletes(partition) {
                continue;
            }
            for inside in region::precious(content, &partition.extent) {
                let subject = title(content, partition);
                let detail = inside.detail.join(", ");
                let evidence = format!("{} in {} {detail}", inside.kind, inside.path);
                let advice = format!(
                    "if it may go, name it: --delete {}",
                    name::of_partition(partition)
                );
                self.add(
                    Code::DtNested,
                    Severity::Refuse,
                    &subject,
                    evidence.trim_end(),
                    &advice,
                );
            }
        }
    }
}

/// A partition in a few words: number, name, GUID.
pub(super) fn title(content: &Content, partition: &Partition) -> String {
    let scheme = content.table().map(|table| table.scheme);
    let name = if partition.name.is_empty() {
        String::new()
    } else {
        format!(" \"{}\"", partition.name)
    };
    let guid = match scheme {
        Some(Scheme::Gpt) => format!(" ({})", partition.guid),
        _ => String::new(),
    };
    format!("partition {}{name}{guid}", partition.number)
}

fn words(signature: &Signature) -> String {
    let part = |name: &str, value: &Option<String>| {
        value
            .as_ref()
            .map(|value| format!(" {name}{value}"))
            .unwrap_or_default()
    };
    format!(
        "{}{}{}",
        signature.kind,
        part("", &signature.version),
        part("UUID ", &signature.uuid)
    )
}

pub(super) fn at(extent: &Extent) -> String {
    format!("bytes {} to {}", extent.start, extent.end())
}
