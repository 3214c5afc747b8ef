//! Whether a node's state may be made anew.

use prejoin_disk::judge::Intent;
use prejoin_wire::disk::{
    Blankness, Code, Content, Extent, Finding, Inside, Mode, Report, Severity, Verdict,
};

use crate::sample::{GIB, MIB, guid};
use crate::{codes, intent, marked, ours, signature, verdict};

const SIZE: u64 = 8 * GIB;
/// Where the state is among the partitions.
const STATE: usize = 6;

/// The node's disk, its state walked through; `found` is kind, path and details.
fn walked(gap: &[&str], found: &[(&str, &str, &[&str])]) -> Content {
    let mut content = ours("w1", SIZE);
    let of = content.partitions()[STATE].extent;
    let mut add = |kind: &str, path: &str, detail: &[&str]| {
        content.inside.push(Inside {
            of,
            kind: kind.into(),
            path: path.into(),
            detail: detail.iter().map(|&detail| detail.to_owned()).collect(),
        });
    };
    add("state", "/", gap);
    for (kind, path, detail) in found {
        add(kind, path, detail);
    }
    content
}

fn wipe(content: &Content, delete: &[&str]) -> Report {
    verdict(
        content.clone(),
        SIZE,
        &intent(Mode::ReimageWipeState, delete),
    )
}

fn only(report: &Report, severity: Severity) -> &Finding {
    let mut found = report.findings.iter().filter(|f| f.severity == severity);
    let first = found.next().unwrap();
    assert_eq!(found.next(), None);
    first
}

#[test]
fn a_state_of_the_nodes_own_things_is_one_question() {
    let content = walked(&[], &[]);
    let state = content.partitions()[STATE].extent;
    let report = wipe(&content, &[]);
    assert_eq!(
        report.verdict,
        Verdict::NeedsConfirmation,
        "{:#?}",
        report.findings
    );
    assert_eq!(codes(&report, Severity::Confirm), [Code::DtState]);
    let plan = report.plan.unwrap();
    assert!(!plan.clear.is_empty() && plan.clear.iter().all(|clear| state.covers(&clear.extent)));
    assert_eq!(marked(&plan), ["state"], "or no node would format it");
    // Answered beforehand it is none.
    let mut answered = intent(Mode::ReimageWipeState, &[]);
    answered.rules.accepted.insert(Code::DtState);
    assert_eq!(verdict(content, SIZE, &answered).verdict, Verdict::Ok);
}

#[test]
fn what_the_node_has_not_made_is_refused_until_it_is_named() {
    let rook: &[&str] = &[
        "what=Rook's monitors and keys",
        "holds=/var/lib/rook/mon-a/x",
    ];
    let photos = "/home/me/my photos";
    let content = walked(
        &[],
        &[
            ("state-data", "/var/lib/rook", rook),
            ("state-data", photos, &[]),
        ],
    );
    let name = guid("w1", "state").to_string();
    let refused = wipe(&content, &[]);
    let finding = only(&refused, Severity::Refuse);
    assert_eq!(finding.code, Code::DtNested);
    assert_eq!(
        finding.evidence,
        "the node has not made this itself: /var/lib/rook (Rook's monitors and keys: \
         /var/lib/rook/mon-a/x); /home/me/my photos"
    );
    assert_eq!(
        finding.advice.as_deref().unwrap(),
        format!(
            "copy away what is wanted; what may go is named: --delete /var/lib/rook \
             --delete '/home/me/my photos'; --delete {name} gives up everything on it"
        )
    );
    // No code stands for it, half of it is not enough, and a name that is only like it is none.
    let mut accepted = intent(Mode::ReimageWipeState, &[]);
    accepted
        .rules
        .accepted
        .extend([Code::DtNested, Code::DtState]);
    assert_eq!(
        verdict(content.clone(), SIZE, &accepted).verdict,
        Verdict::Refuse
    );
    for names in [
        &["/var/lib/rook"][..],
        &["/var/lib/rook/", "/home/me"],
        &["/"],
    ] {
        assert_eq!(wipe(&content, names).verdict, Verdict::Refuse, "{names:?}");
    }
    // By their names, or with all else; either is asked about.
    for (names, named) in [(&["/var/lib/rook", photos][..], 2), (&[&name], 1)] {
        let report = wipe(&content, names);
        assert_eq!(
            report.verdict,
            Verdict::NeedsConfirmation,
            "{:#?}",
            report.findings
        );
        let confirm = codes(&report, Severity::Confirm);
        assert_eq!(confirm.last(), Some(&Code::DtState), "{names:?}");
        let deleted = confirm.iter().filter(|code| **code == Code::DtDelete);
        assert_eq!(deleted.count(), named, "{names:?}");
        let evidence: Vec<&str> = report.findings.iter().map(|f| &*f.evidence).collect();
        let evidence = evidence.join("\n");
        assert!(evidence.contains("/var/lib/rook") && evidence.contains(photos));
    }
    // Another mode writes nothing into the state: there the name is a mistake.
    let report = verdict(content, SIZE, &intent(Mode::Reimage, &["/var/lib/rook"]));
    assert_eq!(codes(&report, Severity::Refuse), [Code::DtDelete]);
}

#[test]
fn a_name_is_given_only_to_what_it_is_the_name_of() {
    // A path that is not told in full, and things that are not told of at all.
    let cut = "/var/lib/long\u{fffd}";
    for (details, path) in [(&[][..], cut), (&["more=9"], "/var/lib/rook")] {
        let content = walked(details, &[("state-data", path, &[])]);
        let refused = wipe(&content, &[]);
        let advice = only(&refused, Severity::Refuse).advice.clone().unwrap();
        assert!(!advice.contains("--delete /"), "{advice}");
        assert!(
            advice.contains(&guid("w1", "state").to_string()),
            "{advice}"
        );
    }
    let content = walked(&["more=9"], &[("state-data", "/var/lib/rook", &[])]);
    assert_eq!(wipe(&content, &["/var/lib/rook"]).verdict, Verdict::Refuse);
    // What has gone meanwhile is no fault.
    let report = wipe(&walked(&[], &[]), &["/var/lib/rook"]);
    assert_eq!(
        codes(&report, Severity::Confirm),
        [Code::DtState],
        "{:#?}",
        report.findings
    );
}

#[test]
fn a_member_of_etcd_goes_by_a_question_where_others_can_have_the_cluster() {
    let member = "/var/lib/etcd/member";
    let content = walked(&[], &[("state-cluster", member, &["what=etcd's member"])]);
    let with = |others, accepted: &[Code], delete: &[&str]| {
        let mut intent = Intent {
            other_control_planes: others,
            ..intent(Mode::ReimageWipeState, delete)
        };
        intent.rules.accepted.extend(accepted);
        verdict(content.clone(), SIZE, &intent)
    };
    for others in [0, 1] {
        let report = with(others, &[Code::DtState, Code::DtEtcd], &[]);
        let finding = only(&report, Severity::Refuse);
        assert_eq!(finding.code, Code::DtNested);
        assert!(
            finding
                .advice
                .as_ref()
                .unwrap()
                .contains("--delete /var/lib/etcd/member")
        );
        let named = with(others, &[], &[member]);
        assert_eq!(
            codes(&named, Severity::Confirm),
            [Code::DtDelete, Code::DtState]
        );
        assert_eq!(named.verdict, Verdict::NeedsConfirmation);
    }
    let report = with(2, &[], &[]);
    assert_eq!(
        report.verdict,
        Verdict::NeedsConfirmation,
        "{:#?}",
        report.findings
    );
    assert_eq!(
        codes(&report, Severity::Confirm),
        [Code::DtState, Code::DtEtcd]
    );
    assert_eq!(
        with(2, &[Code::DtState], &[]).verdict,
        Verdict::NeedsConfirmation
    );
    assert_eq!(
        with(2, &[Code::DtState, Code::DtEtcd], &[]).verdict,
        Verdict::Ok
    );
}

#[test]
fn what_cannot_be_looked_at_is_refused() {
    let name = guid("w1", "state").to_string();
    // Not all of it, and none of it: another file system, bytes that nobody knows, facts of an
    // older program.
    let half = walked(&["gap=a directory is encrypted"], &[]);
    let none = ours("w1", SIZE);
    let mut luks = none.clone();
    let of = luks.partitions()[STATE].extent;
    luks.signatures.retain(|found| found.of != of);
    let mut unknown = luks.clone();
    luks.signatures.push(signature("crypto_LUKS", of, 0, 6));
    unknown.blankness.retain(|found| found.of != of);
    unknown.blankness.push(Blankness {
        of,
        read: MIB,
        first: Some(of.start + 4096),
    });
    for (content, said) in [
        (half, "a directory is encrypted"),
        (none, "ext4"),
        (luks, "crypto_LUKS"),
        (unknown, "unknown data"),
    ] {
        let refused = wipe(&content, &[]);
        let finding = only(&refused, Severity::Refuse);
        assert_eq!(finding.code, Code::DtNested, "{said}");
        assert!(finding.evidence.contains(said), "{finding:#?}");
        assert!(
            finding.advice.as_ref().unwrap().contains(&name),
            "{finding:#?}"
        );
        assert_eq!(
            wipe(&content, &[&name]).verdict,
            Verdict::NeedsConfirmation,
            "{said}"
        );
    }
}

#[test]
fn a_state_that_is_new_is_one_question() {
    let without = |first: Option<u64>, copy: bool| {
        let mut content = ours("w1", SIZE);
        let of = content.partitions()[STATE].extent;
        content.signatures.retain(|found| found.of != of || copy);
        content
            .signatures
            .iter_mut()
            .for_each(|found| found.copy = found.of == of);
        content.blankness.retain(|found| found.of != of);
        let first = first.map(|first| of.start + first);
        content.blankness.push(Blankness {
            of,
            read: MIB,
            first,
        });
        wipe(&content, &[]).verdict
    };
    let question = Verdict::NeedsConfirmation;
    // Never used, and made anew before: the node takes both for new ones.
    assert_eq!(without(None, false), question);
    assert_eq!(without(Some(MIB), false), question);
    assert_eq!(without(Some(MIB - 512), false), Verdict::Refuse);
    // The first superblock is lost, and all else may be whole: the node would repair it.
    assert_eq!(without(Some(MIB), true), Verdict::Refuse);
    // Where nothing could be read, nothing is known.
    let mut content = ours("w1", SIZE);
    let of = content.partitions()[STATE].extent;
    content.signatures.retain(|found| found.of != of);
    content.blankness.retain(|found| found.of != of);
    assert_eq!(wipe(&content, &[]).verdict, Verdict::Refuse);
    content.blankness.push(Blankness {
        of,
        read: MIB,
        first: None,
    });
    content.unreadable.push(prejoin_wire::disk::Unreadable {
        extent: Extent {
            start: of.start,
            length: 4096,
        },
        error: "Input/output error".into(),
    });
    assert_eq!(wipe(&content, &[]).verdict, Verdict::Refuse);
}
