//! A disk that was made before clusters had ids is this node's only if everything about it says so.

use prejoin_disk::judge::{Rules, usual_mode};
use prejoin_disk::plan::writes;
use prejoin_disk::write::PARTIAL;
use prejoin_wire::derived::uuid_without_id;
use prejoin_wire::disk::{
    Code, Content, Entry, Extent, Inside, Mode, Origin, Partition, Place, Report, Severity, Verdict,
};

use crate::sample::{GIB, MIB, guid, sample};
use crate::{codes, intent, ours, verdict};

const SIZE: u64 = 8 * GIB;

/// What the node's disk is called without an id.
fn was(thing: &str) -> String {
    uuid_without_id("lab", "w1", thing).to_string()
}

/// The disk of node w1 as it was made before its cluster had an id.
fn earlier() -> Content {
    let mut content = ours("w1", SIZE);
    for table in &mut content.tables {
        table.id = Some(was("disk"));
        for partition in &mut table.partitions {
            partition.guid = was(&partition.name);
        }
    }
    for (signature, name) in content.signatures.iter_mut().zip(["state", "data"]) {
        signature.uuid = Some(was(&format!("{name} file system")));
    }
    content
}

/// Changes one partition in both copies of the table.
fn change(content: &mut Content, index: usize, change: impl Fn(&mut Partition)) {
    for table in &mut content.tables {
        change(&mut table.partitions[index]);
    }
}

/// The disk's `node.json`.
fn document(content: &mut Content) -> &mut Inside {
    let mut inside = content.inside.iter_mut();
    inside.find(|inside| inside.kind == "prejoin-node").unwrap()
}

fn asked(report: &Report) -> Vec<Code> {
    codes(report, Severity::Confirm)
}

#[test]
fn a_disk_that_was_made_before_ids_is_taken_over_after_a_yes() {
    let content = earlier();
    let image = sample("w1", 512, Some(2 * GIB), true);
    assert_eq!(usual_mode(&content, &image.image()), Mode::Reimage);
    let report = verdict(content.clone(), SIZE, &intent(Mode::Reimage, &[]));
    assert_eq!(
        (report.verdict, asked(&report)),
        (Verdict::NeedsConfirmation, vec![Code::LyTakeover]),
        "{:#?}",
        report.findings
    );
    let plan = report.plan.unwrap();
    let kept = |entry: &&Entry| entry.origin == Origin::Kept;
    let guids = |entries: &[Entry]| -> Vec<String> {
        entries
            .iter()
            .filter(kept)
            .map(|e| e.guid.clone())
            .collect()
    };
    let new = ["state", "data"].map(|name| guid("w1", name).to_string());
    assert_eq!(guids(&plan.before), [was("state"), was("data")]);
    assert_eq!(guids(&plan.after), new);
    let renamed = plan.before.iter().filter(kept).map(|entry| Entry {
        guid: guid("w1", &entry.name).to_string(),
        ..entry.clone()
    });
    let after: Vec<Entry> = plan.after.iter().filter(kept).cloned().collect();
    assert_eq!(renamed.collect::<Vec<_>>(), after, "nothing else changes");
    let extents: Vec<Extent> = plan.kept.iter().map(|kept| kept.extent).collect();
    assert_eq!(
        extents,
        [
            content.partitions()[6].extent,
            content.partitions()[7].extent
        ]
    );
    let written = writes(&plan);
    assert!(
        !written
            .iter()
            .any(|write| extents.iter().any(|kept| kept.meets(write)))
    );
    // A rule that was written down beforehand answers it.
    let rules = Rules {
        accepted: [Code::LyTakeover].into(),
    };
    let mut accepts = intent(Mode::Reimage, &[]);
    accepts.rules = rules;
    assert_eq!(verdict(content, SIZE, &accepts).verdict, Verdict::Ok);
    // Once: then its GUIDs are the node's.
    let again = verdict(ours("w1", SIZE), SIZE, &intent(Mode::Reimage, &[]));
    assert_eq!(again.verdict, Verdict::Ok);
}

#[test]
fn what_the_disk_itself_does_not_say_is_not_taken_over() {
    type Change = fn(&mut Content);
    let changes: [(&str, Change); 5] = [
        ("another node's", |content| {
            document(content).detail = vec!["node=w2".into()];
        }),
        ("no node.json", |content| content.inside.clear()),
        ("node.json elsewhere", |content| {
            let boot = content.partitions()[0].extent;
            document(content).of = boot;
        }),
        ("identity elsewhere", |content| {
            change(content, 5, |identity| identity.extent.start += MIB);
            let moved = content.partitions()[5].extent;
            document(content).of = moved;
        }),
        ("another identity", |content| {
            change(content, 5, |identity| {
                identity.guid = guid("w2", "identity").to_string();
            });
        }),
    ];
    for (what, change) in changes {
        let mut content = earlier();
        change(&mut content);
        let report = verdict(content, SIZE, &intent(Mode::Reimage, &[]));
        assert_eq!(report.verdict, Verdict::Refuse, "{what}");
        let said = report.findings.iter().map(|finding| finding.code);
        assert!(!said.clone().any(|code| code == Code::LyTakeover), "{what}");
        assert!(said.clone().any(|code| code == Code::LyNotOurs), "{what}");
    }
}

#[test]
fn a_state_of_another_type_place_or_content_is_somebodys() {
    type Change = fn(&mut Content);
    let changes: [(&str, Change); 4] = [
        ("type", |content| {
            change(content, 6, |state| {
                state.type_id = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709".into();
            });
        }),
        ("content", |content| {
            content.signatures[0].uuid = Some("somebody's".into());
        }),
        ("kind", |content| content.signatures[0].kind = "xfs".into()),
        ("unsigned", |content| _ = content.signatures.remove(0)),
    ];
    for (what, change) in changes {
        let mut content = earlier();
        change(&mut content);
        let state = content.partitions()[6].clone();
        let report = verdict(content, SIZE, &intent(Mode::Reimage, &[]));
        // The node wants a state of its own, and this one is in the way: it stays.
        assert_eq!(report.verdict, Verdict::Refuse, "{what}");
        let plan = report.plan.unwrap();
        let is_kept = |kept: &&prejoin_wire::disk::Kept| kept.extent == state.extent;
        let kept: Vec<&str> = plan
            .kept
            .iter()
            .filter(is_kept)
            .map(|k| k.guid.as_str())
            .collect();
        assert_eq!(kept, [was("state")], "{what}");
        let said = report.findings.iter().filter(|finding| {
            finding.code == Code::LyTakeover && finding.subject.starts_with("partition 7 ")
        });
        assert_eq!(said.count(), 1, "{what}");
    }
}

/// The first table of an interrupted run is on the disk in one of its places, the old one in the other.
#[test]
fn what_was_begun_is_completed_without_a_question() {
    let image = sample("w1", 512, Some(2 * GIB), true);
    for new in [Place::Primary, Place::Backup] {
        let mut content = earlier();
        let table = content
            .tables
            .iter_mut()
            .find(|table| table.place == new)
            .unwrap();
        table.id = Some(image.table.disk_guid.to_string());
        for partition in &mut table.partitions {
            partition.guid = guid("w1", &partition.name).to_string();
            if partition.number <= 6 {
                partition.type_id = PARTIAL.to_string();
            }
        }
        // The image may be on its way, too.
        content.inside.clear();
        let report = verdict(content, SIZE, &intent(Mode::Reimage, &[]));
        assert_eq!(asked(&report), [], "{new:?}: {:#?}", report.findings);
        let plan = report.plan.unwrap();
        let kept: Vec<&str> = plan.kept.iter().map(|kept| kept.guid.as_str()).collect();
        let new = ["state", "data"].map(|name| guid("w1", name).to_string());
        assert_eq!(kept, new);
    }
}

#[test]
fn what_is_taken_over_can_be_named_as_the_disk_has_it() {
    let mode = Mode::Reimage;
    let report = verdict(earlier(), SIZE, &intent(mode, &[&was("data")]));
    assert_eq!(asked(&report), [Code::LyTakeover, Code::DtDelete]);
    let report = verdict(earlier(), SIZE, &intent(Mode::ReimageWipeState, &[]));
    assert_eq!(asked(&report), [Code::LyTakeover, Code::DtState]);
    let plan = report.plan.unwrap();
    assert!(
        plan.after
            .iter()
            .any(|entry| entry.guid == guid("w1", "state").to_string())
    );
}

/// A node that could not take the mark away goes on with its state: it must not be made anew under its new GUID.
#[test]
fn a_used_state_loses_the_mark_of_an_unfinished_one() {
    let mut content = earlier();
    change(&mut content, 6, |state| state.type_id = PARTIAL.to_string());
    let report = verdict(content, SIZE, &intent(Mode::Reimage, &[]));
    let plan = report.plan.unwrap();
    let types = |entries: &[Entry]| -> Vec<String> {
        let state = entries.iter().filter(|entry| entry.name == "state");
        state.map(|entry| entry.type_guid.clone()).collect()
    };
    assert_eq!(types(&plan.before), [PARTIAL.to_string()]);
    assert_eq!(types(&plan.after), ["0fc63daf-8483-4772-8e79-3d69d8477de4"]);
}
