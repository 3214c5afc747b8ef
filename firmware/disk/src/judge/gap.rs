//! What is in no partition: lost, unknown, or nothing.

use prejoin_formats::gpt::ALIGNMENT;
use prejoin_wire::disk::{Code, Extent, Origin, RegionKind, Severity};
use prejoin_wire::handoff::Partition;

use super::{Case, content};
use crate::region;

impl Case<'_> {
    /// What is whole, and no partition lists it any more.
    pub(super) fn lost(&mut self) {
        let (content, size) = (&self.facts.content, self.facts.device.size);
        let all = content.partitions().is_empty() && self.wish.deletes_disk(content, size);
        for (of, extent) in region::lost(content, size) {
            let subject = content::at(&extent);
            let what = region::describe(content, &of);
            if all || self.wish.deletes_from(extent.start) {
                let evidence = format!("named for deletion, though no partition lists it: {what}");
                self.add(Code::DtDelete, Severity::Confirm, &subject, evidence, "");
                continue;
            }
            let own = self.own_of(&of, &extent);
            let whose = own.map_or(String::new(), |(own, why)| {
                format!(", and is this node's own {}: {why}", own.name)
            });
            let found = format!("no partition lists it{whose}: {what}");
            let entry = self.entry(&extent, own.map(|(own, _)| own));
            let restore = format!("to put its entry back: {entry}");
            if self.planned.takes(&extent) {
                let evidence = format!("{found}; it would be overwritten");
                let advice = format!(
                    "{restore}; if it may go, name it: --delete @{}",
                    extent.start
                );
                self.add(Code::DtLost, Severity::Refuse, &subject, evidence, &advice);
            } else {
                let evidence = format!("{found}; it stays as it is, and nothing guards it later");
                self.add(Code::DtLost, Severity::Info, &subject, evidence, &restore);
            }
        }
    }

    /// The partition of this node that something lost was, and how that shows.
    fn own_of(&self, of: &Extent, extent: &Extent) -> Option<(&Partition, &'static str)> {
        let content = &self.facts.content;
        let listed = |guid: String| content.partitions().iter().any(|p| p.guid == guid);
        let was = |partition: &&Partition| {
            let name = Some(partition.name.as_str());
            let uuid = partition.uuid.to_string();
            region::signatures(content, of).any(|one| {
                let same = one
                    .uuid
                    .as_ref()
                    .is_some_and(|own| own.eq_ignore_ascii_case(&uuid));
                same || one.label.as_deref() == name && self.made(partition) == Some(*extent)
            }) && !listed(partition.guid.to_string())
        };
        let own = self.image.handoff.partitions.iter().find(was)?;
        let why = match self
            .made(own)
            .is_some_and(|made| made.start == extent.start)
        {
            true => "it is where the node would make a new one",
            false => "its file system has the UUID of the node's",
        };
        Some((own, why))
    }

    /// Where the plan has the node make this partition.
    fn made(&self, partition: &Partition) -> Option<Extent> {
        let guid = partition.guid.to_string();
        let mut after = self.planned.plan.after.iter();
        let entry = after.find(|entry| entry.guid == guid && entry.origin == Origin::Node);
        entry.map(|entry| entry.extent)
    }

    /// The command that puts an entry back. sfdisk(8) adds it to the table that is there, of either kind, and is told to
    /// leave alone what the entry is for.
    fn entry(&self, extent: &Extent, own: Option<&Partition>) -> String {
        let sector = u64::from(self.sector_size());
        let made = own.and_then(|own| self.made(own));
        let made = made.filter(|made| made.start == extent.start);
        // A file system may be shorter than its partition, which is whole MiB long.
        let end = extent.end();
        let end = end.checked_next_multiple_of(ALIGNMENT).unwrap_or(end);
        let free = self.facts.content.partitions().iter();
        let next = free
            .map(|p| p.extent.start)
            .filter(|&start| start >= extent.end());
        let end = made.map_or(end, |made| made.end());
        let end = next.min().map_or(end, |next| end.min(next));
        let kind = own.map_or(String::new(), |own| {
            let (type_guid, guid, name) = (own.type_guid, own.guid, &own.name);
            format!(", type={type_guid}, uuid={guid}, name=\"{name}\"")
        });
        format!(
            "echo 'start={}, size={}{kind}' | sfdisk --append --wipe never --wipe-partitions never {}",
            extent.start / sector,
            (end - extent.start) / sector,
            self.facts.device.path
        )
    }

    /// Whether somebody's data is there, though no partition is.
    pub(super) fn is_nobodys(&self, extent: &Extent) -> bool {
        region::nobodys(&self.facts.content, self.facts.device.size)
            .any(|region| region.extent.meets(extent))
    }

    /// What belongs to no partition and to nothing that is known; `name` stands for the whole disk.
    pub(super) fn nobodys(&mut self, name: &str, named: bool) {
        use Severity::{Confirm, Info, Refuse};
        let (content, disk) = (&self.facts.content, self.facts.device.path.clone());
        let divided = !content.partitions().is_empty();
        for region in region::regions(content, self.facts.device.size, Some(self.own)) {
            let start = region.extent.start;
            let what = region.what.clone();
            match region.kind {
                _ if region.partition.is_some() => {}
                RegionKind::Blank => {
                    self.add(Code::LyBlank, Info, &disk, "nothing is on it", "");
                }
                // `DV-IOERROR` says it already, and no name stands for a gap.
                RegionKind::Unreadable if divided => {}
                RegionKind::Unknown | RegionKind::Unreadable
                    if named && !divided || self.wish.deletes_from(start) =>
                {
                    let evidence = format!("named for deletion: {what}");
                    self.add(Code::DtDelete, Confirm, &disk, evidence, "");
                }
                RegionKind::Unknown if divided && self.planned.takes(&region.extent) => {
                    let subject = content::at(&region.extent);
                    let evidence = format!("{what}, in no partition, and would be overwritten");
                    let advice = format!(
                        "was there a partition? gdisk or testdisk may find it again; if it may go, \
                         name it: --delete @{start}"
                    );
                    self.add(Code::LyUnknown, Refuse, &subject, evidence, &advice);
                }
                RegionKind::Unknown | RegionKind::Unreadable if !divided => {
                    let advice = format!("if it may go, name it: --delete {name}");
                    self.add(Code::LyUnknown, Refuse, &disk, what, &advice);
                }
                _ => {}
            }
        }
    }
}
