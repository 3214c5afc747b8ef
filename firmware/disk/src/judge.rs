//! The verdict: may this image be written to this disk? Pure: the same facts give the same answer on the workstation,
//! on the node, in a dry run and in a test.
//!
//! Everything is said that speaks for or against it, not only the first thing. A refusal is lifted only by changing the
//! facts, or by naming what may go; [`Rules::accepted`] lifts what needs a yes, and the few refusals that somebody can
//! know better than the disk ([`LIFTED`]).

mod content;
mod device;
mod gap;
mod name;
mod state;
mod system;
mod takeover;

pub use system::{System, operating_system};

use std::collections::BTreeSet;

use prejoin_wire::architecture::Architecture;
use prejoin_wire::digest::Digest;
use prejoin_wire::disk::{
    Code, Content, Extent, Facts, Finding, Kept, Mode, Partition, Report, Severity, Verdict,
    decimal,
};
use prejoin_wire::selector::DiskSelector;

use self::name::{Names, Past};
use crate::plan::{self, Image, Planned, Wish};
use crate::region::{self, Own};
use crate::takeover::Takeover;

/// Refusals that a rule written down beforehand can lift.
pub const LIFTED: [Code; 3] = [Code::IdMismatch, Code::DvSmart, Code::LyForeign];

/// What somebody wants, and what they know.
#[derive(Clone, Debug, Default)]
pub struct Intent {
    /// Mode and what may go: the GUID of a partition, the UUID of what is on one or on the whole disk, `@` and the first
    /// byte, or the path of a file or folder of the state.
    pub wish: Wish,
    /// What earlier runs that wrote this node to this disk were given to delete: it may be gone by now.
    pub named_before: BTreeSet<String>,
    /// What must hold for the disk, from the cluster file.
    pub selector: DiskSelector,
    /// The node and its machine as the cluster file has them.
    pub node: String,
    /// How many other nodes have the cluster's database, by the cluster file; 0 if this one has no part in it.
    pub other_control_planes: usize,
    /// The machine's architecture.
    pub architecture: Option<Architecture>,
    /// Logical sector sizes that the board's firmware starts from; all if empty.
    pub sector_sizes: Vec<u32>,
    /// The disk was named as `/dev/sda` or `/dev/nvme0n1`, which another disk may be called after the next start.
    pub by_kernel_name: bool,
    /// Answers that were given beforehand.
    pub rules: Rules,
}

/// Answers that were given beforehand.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Codes that need no further question.
    pub accepted: BTreeSet<Code>,
}

/// Passes judgement on writing `image` to the disk of `facts`.
pub fn judge(facts: &Facts, intent: &Intent, image: &Image) -> Report {
    let takeover = Takeover::find(&facts.content, image);
    let found = facts;
    let taken = takeover.as_ref().map(|takeover| Facts {
        content: takeover.apply(&found.content),
        ..found.clone()
    });
    // From here on the disk is this node's by the GUIDs that it has now.
    let facts = taken.as_ref().unwrap_or(found);
    let given = intent
        .wish
        .delete
        .iter()
        .filter(|name| !state::is_path(name));
    let given: BTreeSet<String> = given
        .map(|name| match &takeover {
            Some(takeover) => takeover.name(name).to_owned(),
            None => name.clone(),
        })
        .collect();
    let own = Own::of(image.manifest, image.handoff);
    let past = Past {
        own: &own,
        disk_guid: &image.table.disk_guid.to_string(),
        named: &intent.named_before,
    };
    let names = Names::find(&facts.content, facts.device.size, &given, &past);
    let wish = Wish {
        delete: names.delete.clone(),
        ..intent.wish.clone()
    };
    let mut planned = plan::plan(facts, image, &wish);
    if let Some(takeover) = &takeover {
        takeover.entries_as_found(&found.content, &mut planned.plan.before);
    }
    let mut case = Case {
        facts,
        intent,
        wish: &wish,
        names: &names,
        image,
        planned: &planned,
        own: &own,
        findings: Vec::new(),
    };
    case.image();
    case.device();
    case.usage();
    case.tables();
    case.content();
    if let Some(takeover) = &takeover {
        case.takeover(takeover, &found.content);
    }
    case.room();
    let mut findings = case.findings;
    for finding in &mut findings {
        lift(finding, &intent.rules);
    }
    // Gravest first; within that, in the order of the codes, so that a report reads the same every time.
    findings.sort_by(|a, b| {
        b.severity
            .cmp(&a.severity)
            .then(a.code.cmp(&b.code))
            .then(a.subject.cmp(&b.subject))
    });
    let verdict = verdict(&findings);
    let token =
        (verdict != Verdict::Refuse).then(|| token(facts, intent, image, &planned, &findings));
    Report {
        node: intent.node.clone(),
        disk: facts.device.path.clone(),
        verdict,
        findings,
        regions: region::regions(&facts.content, facts.device.size, Some(&own)),
        plan: Some(planned.plan),
        token,
    }
}

/// The mode that keeps most, where nobody has asked for one.
pub fn usual_mode(content: &Content, image: &Image) -> Mode {
    let own = Own::of(image.manifest, image.handoff);
    match Takeover::find(content, image) {
        Some(takeover) => own.mode(&takeover.apply(content)),
        None => own.mode(content),
    }
}

/// The gravest finding decides.
pub fn verdict(findings: &[Finding]) -> Verdict {
    match findings.iter().map(|finding| finding.severity).max() {
        Some(Severity::Refuse) => Verdict::Refuse,
        Some(Severity::Confirm) => Verdict::NeedsConfirmation,
        Some(Severity::Info) | None => Verdict::Ok,
    }
}

/// Stands for this node, this disk in this state, this plan and this image, for what was asked about, and for nothing
/// else.
fn token(
    facts: &Facts,
    intent: &Intent,
    image: &Image,
    planned: &Planned,
    findings: &[Finding],
) -> String {
    let device = &facts.device;
    let plan = serde_json::to_string(&planned.plan)
        .expect("a plan has only string keys and whole numbers");
    let state = facts
        .content
        .digest
        .map(|digest| digest.to_string())
        .unwrap_or_default();
    let identity = (
        &device.path,
        &device.wwid,
        &device.serial,
        device.size,
        device.diskseq,
    );
    let asked = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Confirm);
    let asked: Vec<_> = asked
        .map(|finding| (finding.code.name(), &finding.subject))
        .collect();
    Digest::of(
        format!(
            "{}\n{asked:?}\n{identity:?}\n{state}\n{plan}\n{}",
            intent.node, image.digest
        )
        .as_bytes(),
    )
    .to_string()
}

fn lift(finding: &mut Finding, rules: &Rules) {
    let lifted = match finding.severity {
        Severity::Info => false,
        Severity::Confirm => rules.accepted.contains(&finding.code),
        Severity::Refuse => {
            rules.accepted.contains(&finding.code) && LIFTED.contains(&finding.code)
        }
    };
    if lifted {
        finding.severity = Severity::Info;
        finding.evidence.push_str(" (accepted beforehand)");
        finding.advice = None;
    }
}

/// What is judged, and what was found.
struct Case<'a> {
    facts: &'a Facts,
    intent: &'a Intent,
    /// The intent's, with names as the disk has them.
    wish: &'a Wish,
    names: &'a Names,
    image: &'a Image<'a>,
    planned: &'a Planned,
    own: &'a Own,
    findings: Vec<Finding>,
}

impl Case<'_> {
    fn add(
        &mut self,
        code: Code,
        severity: Severity,
        subject: &str,
        evidence: impl Into<String>,
        advice: &str,
    ) {
        self.findings.push(Finding {
            code,
            severity,
            subject: subject.to_owned(),
            evidence: evidence.into(),
            advice: (!advice.is_empty()).then(|| advice.to_owned()),
        });
    }

    fn image(&mut self) {
        let (manifest, intent) = (self.image.manifest, self.intent);
        let fault = "build the node's image again";
        if manifest.node != intent.node || self.image.handoff.node != manifest.node {
            let (found, asked) = (&manifest.node, &intent.node);
            let evidence = format!("the image is for node {found}, asked was for {asked}");
            self.add(
                Code::ImNode,
                Severity::Refuse,
                "image",
                evidence,
                "name the right node",
            );
        }
        if let Some(expected) = intent
            .architecture
            .filter(|expected| *expected != manifest.architecture)
        {
            let evidence = format!(
                "the image is for {}, the node is {expected}",
                manifest.architecture
            );
            self.add(
                Code::ImArchitecture,
                Severity::Refuse,
                "image",
                evidence,
                fault,
            );
        }
        let table = &self.image.table.partitions;
        let same = table.len() == manifest.partitions.len()
            && table
                .iter()
                .zip(&manifest.partitions)
                .all(|(found, listed)| {
                    (found.number, found.start, found.size)
                        == (listed.number, listed.start, listed.size)
                        && found.guid == listed.guid
                        && found.type_guid == listed.type_guid
                        && found.name == listed.name
                });
        if !same {
            let evidence =
                "the partition table in the image is not the one that its manifest lists";
            self.add(Code::ImHash, Severity::Refuse, "image", evidence, fault);
        }
    }

    /// Whether the image fits beside what stays, and the last line of defence.
    fn room(&mut self) {
        let (planned, device) = (self.planned, &self.facts.device);
        let needed = self.image.manifest.size;
        if device.size < needed {
            let (wants, has) = (decimal(needed), decimal(device.size));
            let evidence = if wants == has {
                format!(
                    "the image needs {needed} bytes, the disk has {}",
                    device.size
                )
            } else {
                format!("the image needs {wants}, the disk has {has}")
            };
            self.add(
                Code::DvTooSmall,
                Severity::Refuse,
                &device.path,
                evidence,
                "use a larger disk",
            );
        }
        if let Some(problem) = &planned.problem {
            let kept: Vec<String> = planned.plan.kept.iter().map(kept_title).collect();
            let beside = if kept.is_empty() {
                String::new()
            } else {
                format!(", beside partitions {}", kept.join(", "))
            };
            let advice = "what stays cannot be moved: use another disk, a smaller layout, or name what may go with --delete";
            self.add(
                Code::DtNoRoom,
                Severity::Refuse,
                &device.path,
                format!("{problem}{beside}"),
                advice,
            );
        }
        for reason in &planned.without {
            self.add(
                Code::DtNoRoom,
                Severity::Confirm,
                &device.path,
                format!("the node does without: {reason}"),
                "",
            );
        }
        let mut touched: Vec<((String, String), Extent, usize)> = Vec::new();
        let divided = !self.facts.content.partitions().is_empty();
        for extent in planned.touches() {
            let mut owners = self.owners_of(&extent);
            if owners.is_empty() && divided && self.is_nobodys(&extent) {
                // It was said already what is there.
                continue;
            }
            if owners.is_empty() {
                let (content, device) = (&self.facts.content, &self.facts.device);
                owners.push((device.path.clone(), name::of_disk(content, device.size)));
            }
            for owner in owners {
                match touched.iter_mut().find(|(other, ..)| *other == owner) {
                    Some((_, _, more)) => *more += 1,
                    None => touched.push((owner, extent, 0)),
                }
            }
        }
        for ((subject, delete), Extent { start, length }, more) in touched {
            let evidence = format!(
                "bytes {start} to {} would be overwritten{}",
                start + length,
                and_more(more)
            );
            let advice = format!("if it may go, name it: --delete {delete}");
            self.add(Code::DtTouch, Severity::Refuse, &subject, evidence, &advice);
        }
    }

    /// Whether a partition goes because it was named: now, or to an earlier run that has begun to clear it.
    fn deletes(&self, partition: &Partition) -> bool {
        self.wish.deletes(partition) || plan::is_released(partition)
    }

    /// Whose an extent is, and how each of them is named: logical partitions lie in another one.
    fn owners_of(&self, extent: &Extent) -> Vec<(String, String)> {
        let content = &self.facts.content;
        let stays = content
            .partitions()
            .iter()
            .filter(|partition| !self.deletes(partition));
        let elsewhere = plan::listed_elsewhere(content, self.own, self.wish);
        let owners = stays
            .chain(elsewhere)
            .filter(|partition| partition.extent.meets(extent));
        let names = owners.map(|partition| {
            (
                content::title(content, partition),
                name::of_partition(partition),
            )
        });
        names.collect()
    }
}

/// How many places there are besides the one that was said.
fn and_more(more: usize) -> String {
    match more {
        0 => String::new(),
        1 => ", and in one more place".into(),
        more => format!(", and in {more} more places"),
    }
}

/// `3 "data" (guid)`; what there is of it.
fn kept_title(kept: &Kept) -> String {
    let mut title = kept.number.to_string();
    if !kept.name.is_empty() {
        title.push_str(&format!(" \"{}\"", kept.name));
    }
    if !kept.guid.is_empty() {
        title.push_str(&format!(" ({})", kept.guid));
    }
    title
}
