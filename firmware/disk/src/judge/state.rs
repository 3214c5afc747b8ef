//! Whether the node's state may be made anew: only what the node's own software has made goes by
//! one question.

use prejoin_wire::disk::{Code, Content, Extent, Inside, Mode, Partition, Severity};

use super::content::title;
use super::{Case, name};
use crate::region::{self, HEAD};

/// Folders that are named in one finding; all are in the facts.
const MOST_NAMED: usize = 8;
/// Members of a cluster's database that must be left for it to go on without this one: two of three
/// agree.
const FEWEST_VOTERS: usize = 2;

/// Whether a name stands for a file or folder of the state.
pub(super) fn is_path(name: &str) -> bool {
    name.starts_with('/')
}

impl Case<'_> {
    /// Files and folders that were named: only a state that is made anew takes what is in it along.
    ///
    /// One that is not there (any more) releases nothing, and is no fault: the same command
    /// completes a run that ended early.
    pub(super) fn paths(&mut self) {
        let mut paths = self.intent.wish.delete.iter().filter(|name| is_path(name));
        let Some(path) = paths
            .next()
            .filter(|_| self.wish.mode != Mode::ReimageWipeState)
        else {
            return;
        };
        let evidence = format!("{path} is a file or folder, and no file system is written into");
        self.add(
            Code::DtDelete,
            Severity::Refuse,
            &self.facts.device.path.clone(),
            evidence,
            "a partition is named by its GUID; folders only with --mode wipe-state",
        );
    }

    /// What goes with the state.
    pub(super) fn wiped(&mut self, partition: &Partition) {
        let content = &self.facts.content;
        let subject = title(content, partition);
        let inside = |kind: &'static str| {
            let here = move |found: &&Inside| found.of == partition.extent && found.kind == kind;
            content.inside.iter().filter(here)
        };
        let all = self.deletes(partition);
        let by_guid = format!(
            "--delete {} gives up everything on it",
            name::of_partition(partition)
        );
        let Some(walk) = inside("state").next() else {
            if !all && !self.is_new(partition) {
                let what = region::describe(content, &partition.extent);
                let what = if what.is_empty() {
                    "unknown data".into()
                } else {
                    what
                };
                let evidence = format!("what is in it cannot be seen: {what}");
                self.add(
                    Code::DtNested,
                    Severity::Refuse,
                    &subject,
                    evidence,
                    &by_guid,
                );
            }
            return;
        };
        let is_named = |found: &&Inside| self.intent.wish.delete.contains(&found.path);
        let (named, data): (Vec<&Inside>, Vec<&Inside>) = inside("state-data").partition(is_named);
        let (more_named, members): (Vec<&Inside>, Vec<&Inside>) =
            inside("state-cluster").partition(is_named);
        for found in named.into_iter().chain(more_named) {
            let evidence = format!("named for deletion: {}", words(found));
            self.add(Code::DtDelete, Severity::Confirm, &subject, evidence, "");
        }
        let more = details(walk, "more=")
            .next()
            .and_then(|more| more.parse().ok());
        let more: usize = more.unwrap_or_default();
        if !data.is_empty() || more > 0 {
            self.data(&subject, &data, more, all, &by_guid);
        }
        if !members.is_empty() && !all {
            self.members(&subject, &members, &by_guid);
        }
        let gaps: Vec<&str> = details(walk, "gap=").collect();
        if !gaps.is_empty() && !all {
            let evidence = format!("not all that is in it can be seen: {}", gaps.join(", "));
            let advice = format!(
                "start the node and switch it off, or run e2fsck on the partition; {by_guid}"
            );
            self.add(
                Code::DtNested,
                Severity::Refuse,
                &subject,
                evidence,
                &advice,
            );
        }
    }

    /// What the node's software has not made.
    fn data(&mut self, subject: &str, data: &[&Inside], more: usize, all: bool, by_guid: &str) {
        let told = data.len().min(MOST_NAMED);
        let mut list: Vec<String> = data[..told].iter().map(|found| words(found)).collect();
        let rest = data.len() - told + more;
        if rest > 0 {
            list.push(format!("{rest} more"));
        }
        let list = list.join("; ");
        if all {
            let evidence = format!("with it goes what the node has not made itself: {list}");
            self.add(Code::DtDelete, Severity::Confirm, subject, evidence, "");
            return;
        }
        // What cannot be named for sure can only go with all else.
        let can_be_named = |found: &&Inside| !found.path.contains(char::REPLACEMENT_CHARACTER);
        let advice = if more == 0 && data.iter().all(can_be_named) {
            let names: Vec<String> = data
                .iter()
                .map(|found| format!("--delete {}", quoted(&found.path)))
                .collect();
            format!(
                "copy away what is wanted; what may go is named: {}; {by_guid}",
                names.join(" ")
            )
        } else {
            format!("copy away what is wanted; {by_guid}")
        };
        let evidence = format!("the node has not made this itself: {list}");
        self.add(Code::DtNested, Severity::Refuse, subject, evidence, &advice);
    }

    /// This node's part of the cluster's database. Whether the other members are healthy is not
    /// known from here, only whether there can be enough of them.
    fn members(&mut self, subject: &str, members: &[&Inside], by_guid: &str) {
        let list: Vec<String> = members.iter().map(|found| words(found)).collect();
        let list = list.join("; ");
        if self.intent.other_control_planes >= FEWEST_VOTERS {
            let evidence = format!(
                "{list}; the {} other control planes have the cluster, if they are healthy",
                self.intent.other_control_planes
            );
            let advice = "look first: a majority of the members must be left without this one";
            self.add(Code::DtEtcd, Severity::Confirm, subject, evidence, advice);
            return;
        }
        let evidence = format!(
            "{list}; the cluster file has no two other control planes that could have the cluster"
        );
        let names: Vec<String> = members
            .iter()
            .map(|found| format!("--delete {}", quoted(&found.path)))
            .collect();
        let advice = format!(
            "save a snapshot; if the cluster may be lost: {}; {by_guid}",
            names.join(" ")
        );
        self.add(Code::DtNested, Severity::Refuse, subject, evidence, &advice);
    }

    /// Whether there is nothing to be lost in a state without a file system: the node would take it
    /// for a new one, whoever has cleared it.
    fn is_new(&self, partition: &Partition) -> bool {
        let content = &self.facts.content;
        let unsigned = region::signatures(content, &partition.extent)
            .next()
            .is_none();
        unsigned && is_blank(content, partition.extent, HEAD)
    }
}

/// Whether the first bytes of an extent were looked at, and are blank.
fn is_blank(content: &Content, of: Extent, length: u64) -> bool {
    let head = Extent {
        length: length.min(of.length),
        ..of
    };
    let unreadable = content.unreadable.iter().any(|one| one.extent.meets(&head));
    let mut looked = content.blankness.iter().filter(|found| found.of == of);
    let used = |first: u64| first < head.end();
    looked.any(|found| found.read > 0 && !found.first.is_some_and(used)) && !unreadable
}

/// A path and what it is.
fn words(found: &Inside) -> String {
    let what = details(found, "what=").next();
    let holds = details(found, "holds=").next();
    let about: Vec<&str> = what.into_iter().chain(holds).collect();
    match about.is_empty() {
        true => found.path.clone(),
        false => format!("{} ({})", found.path, about.join(": ")),
    }
}

fn details<'a>(found: &'a Inside, key: &'a str) -> impl Iterator<Item = &'a str> {
    found
        .detail
        .iter()
        .filter_map(move |detail| detail.strip_prefix(key))
}

/// A path as a shell takes it.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:,=~".contains(c);
    match path.chars().all(plain) {
        true => path.to_owned(),
        false => format!("'{}'", path.replace('\'', r"'\''")),
    }
}
