//! What is refused, what is asked, what is done; and that no plan ever writes over what nobody released.
#![allow(clippy::unwrap_used, reason = "tests")]

mod name;
mod owner;
mod renamed;
mod sample;
mod state;
mod takeover;
mod unfinished;

use prejoin_disk::judge::{self, Intent, judge};
use prejoin_disk::plan::{self, Wish};
use prejoin_disk::region;
use prejoin_wire::disk::{
    Blankness, Code, Content, Device, Extent, Facts, Inside, Mode, Origin, Partition, Place,
    RegionKind, Report, Scheme, Severity, Signature, Table, Unreadable, Usage, VERSION, Verdict,
};
use proptest::prelude::*;
use sample::{GIB, MIB, Sample, guid, sample};

fn facts(size: u64, content: Content) -> Facts {
    let device = Device {
        path: "/dev/disk/by-id/nvme-X".into(),
        size,
        sector_size: 512,
        serial: Some("S1".into()),
        ..Device::default()
    };
    Facts {
        version: VERSION,
        device,
        usage: vec![],
        content,
    }
}

fn blank(size: u64) -> Content {
    let of = Extent::between(0, size);
    Content {
        blankness: vec![Blankness {
            of,
            read: size,
            first: None,
        }],
        ..Content::default()
    }
}

fn entry(number: u32, start: u64, length: u64, name: &str, guid: &str) -> Partition {
    Partition {
        number,
        extent: Extent { start, length },
        type_id: "0fc63daf-8483-4772-8e79-3d69d8477de4".into(),
        guid: guid.into(),
        name: name.into(),
        attributes: 0,
    }
}

fn gpt(partitions: Vec<Partition>, size: u64) -> Content {
    let copy = |place, offset| Table {
        scheme: Scheme::Gpt,
        place,
        offset,
        sector_size: 512,
        valid: true,
        problems: vec![],
        id: Some("disk".into()),
        partitions: partitions.clone(),
    };
    let blankness = partitions
        .iter()
        .map(|p| Blankness {
            of: p.extent,
            read: MIB,
            first: Some(p.extent.start),
        })
        .collect();
    Content {
        tables: vec![copy(Place::Primary, 512), copy(Place::Backup, size - 512)],
        blankness,
        ..Content::default()
    }
}

fn signature(kind: &str, of: Extent, at: u64, length: u64) -> Signature {
    let magic = Extent {
        start: of.start + at,
        length,
    };
    Signature {
        kind: kind.into(),
        magic,
        header: magic,
        of,
        copy: false,
        version: None,
        uuid: Some(format!("{kind}-uuid")),
        label: None,
    }
}

/// The disk of a node that was installed: the image's partitions, state, and data.
fn ours(node: &str, size: u64) -> Content {
    let image = sample(node, 512, Some(2 * GIB), true);
    let completed =
        prejoin_disk::layout::complete(&image.table, size, &image.handoff.partitions).unwrap();
    // The node has made what it had to.
    let made = |p: &prejoin_formats::gpt::Partition| {
        let made = image.handoff.partitions.iter().find(|m| m.name == p.name);
        made.map_or(p.type_guid.to_string(), |made| made.type_guid.to_string())
    };
    let partitions = completed.table.partitions.iter().map(|p| Partition {
        type_id: made(p),
        ..entry(p.number, p.start, p.size, &p.name, &p.guid.to_string())
    });
    let partitions: Vec<Partition> = partitions.collect();
    let mut content = gpt(partitions.clone(), size);
    for (index, kind, detail) in [
        (0, "efi-boot", vec![]),
        (1, "os-release", vec!["name=Debian GNU/Linux 13".into()]),
        (5, "prejoin-node", vec![format!("node={node}")]),
    ] {
        content.inside.push(Inside {
            of: partitions[index].extent,
            kind: kind.into(),
            path: kind.into(),
            detail,
        });
    }
    let kinds = [
        (6, "ext4"),
        (7, "ext4"),
        (0, "vfat"),
        (1, "ext4"),
        (2, "DM_verity_hash"),
        (5, "vfat"),
    ];
    for (index, kind) in kinds {
        content.signatures.push(Signature {
            uuid: Some(format!("{kind}-{index}-uuid")),
            ..signature(kind, partitions[index].extent, 1080, 2)
        });
    }
    // The second slot is empty until the first update.
    for blankness in &mut content.blankness {
        if [partitions[3].extent, partitions[4].extent].contains(&blankness.of) {
            blankness.first = None;
        }
    }
    content
}

fn intent(mode: Mode, delete: &[&str]) -> Intent {
    let delete = delete.iter().map(|&name| name.to_owned()).collect();
    Intent {
        node: "w1".into(),
        wish: Wish { mode, delete },
        ..Intent::default()
    }
}

fn codes(report: &Report, severity: Severity) -> Vec<Code> {
    report
        .findings
        .iter()
        .filter(|finding| finding.severity == severity)
        .map(|finding| finding.code)
        .collect()
}

fn verdict(content: Content, size: u64, intent: &Intent) -> Report {
    let image = sample("w1", 512, Some(2 * GIB), true);
    let report = judge(&facts(size, content), intent, &image.image());
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    report
}

#[test]
fn a_blank_disk_is_fine() {
    let report = verdict(blank(8 * GIB), 8 * GIB, &intent(Mode::Install, &[]));
    assert_eq!(
        (report.verdict, codes(&report, Severity::Info)),
        (Verdict::Ok, vec![Code::LyBlank])
    );
    let plan = report.plan.unwrap();
    let names: Vec<&str> = plan.after.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "boot",
            "root-a",
            "root-a-verity",
            "root-b",
            "root-b-verity",
            "identity",
            "state",
            "data"
        ],
        "state and data are made with the table"
    );
    assert!(report.token.is_some());
}

#[test]
fn a_reimage_keeps_state_and_data() {
    let size = 8 * GIB;
    let report = verdict(ours("w1", size), size, &intent(Mode::Reimage, &[]));
    assert_eq!(report.verdict, Verdict::Ok, "{:#?}", report.findings);
    assert_eq!(
        codes(&report, Severity::Info),
        [Code::LyOurs, Code::DtKeep, Code::DtKeep]
    );
    let plan = report.plan.unwrap();
    let kept = |entry: &&prejoin_wire::disk::Entry| entry.origin == Origin::Kept;
    let (before, after): (Vec<_>, Vec<_>) = (
        plan.before.iter().filter(kept).collect(),
        plan.after.iter().filter(kept).collect(),
    );
    assert_eq!(before, after);
    assert_eq!((before.len(), plan.clear.len()), (2, 0));
}

/// Partitions that the finished table marks as partial.
fn marked(plan: &prejoin_wire::disk::Plan) -> Vec<&str> {
    let partial = prejoin_disk::write::PARTIAL.to_string();
    let after = plan.after.iter();
    after
        .filter(|entry| entry.type_guid == partial)
        .map(|entry| entry.name.as_str())
        .collect()
}

#[test]
fn what_the_node_is_to_make_stays_marked() {
    let size = 8 * GIB;
    let install = verdict(blank(size), size, &intent(Mode::Install, &[]));
    assert_eq!(marked(&install.plan.unwrap()), ["state", "data"]);
    let reimage = verdict(ours("w1", size), size, &intent(Mode::Reimage, &[]));
    assert_eq!(marked(&reimage.plan.unwrap()), [""; 0], "both were used");
}

#[test]
fn another_nodes_disk_is_asked_about_and_its_state_stays() {
    let size = 8 * GIB;
    let report = verdict(ours("w2", size), size, &intent(Mode::Install, &[]));
    assert_eq!(codes(&report, Severity::Confirm), [Code::LyOtherNode]);
    assert!(
        codes(&report, Severity::Refuse).contains(&Code::DtNoRoom),
        "another node's state is in the way"
    );
    let names = [
        guid("w2", "state").to_string(),
        guid("w2", "data").to_string(),
    ];
    let report = verdict(
        ours("w2", size),
        size,
        &intent(Mode::Install, &[&names[0], &names[1]]),
    );
    assert_eq!(
        report.verdict,
        Verdict::NeedsConfirmation,
        "{:#?}",
        report.findings
    );
}

#[test]
fn windows_is_refused_until_every_partition_is_named() {
    let size = 8 * GIB;
    let mut partitions = vec![
        entry(
            1,
            MIB,
            100 * MIB,
            "EFI system partition",
            "11111111-0000-4000-8000-000000000001",
        ),
        entry(
            2,
            101 * MIB,
            16 * MIB,
            "Microsoft reserved partition",
            "11111111-0000-4000-8000-000000000002",
        ),
        entry(
            3,
            117 * MIB,
            4 * GIB,
            "Basic data partition",
            "11111111-0000-4000-8000-000000000003",
        ),
    ];
    partitions[1].type_id = "e3c9e316-0b5c-4db8-817d-f92df00215ae".into();
    let mut content = gpt(partitions.clone(), size);
    content
        .signatures
        .push(signature("BitLocker", partitions[2].extent, 3, 8));
    let report = verdict(content.clone(), size, &intent(Mode::Install, &[]));
    let refused = codes(&report, Severity::Refuse);
    assert!(
        refused.contains(&Code::LyForeign) && refused.contains(&Code::DtTouch),
        "{refused:?}"
    );
    let foreign = report
        .findings
        .iter()
        .find(|finding| finding.code == Code::LyForeign)
        .unwrap();
    assert_eq!(
        foreign.evidence,
        "Windows is on it: partition 2, BitLocker on partition 3"
    );
    let names: Vec<&str> = partitions
        .iter()
        .map(|partition| partition.guid.as_str())
        .collect();
    assert!(
        foreign
            .advice
            .as_ref()
            .unwrap()
            .ends_with(&format!(": --delete {}", names[0])),
        "the image does not reach to the others"
    );
    let report = verdict(content.clone(), size, &intent(Mode::Install, &names));
    assert_eq!(
        report.verdict,
        Verdict::NeedsConfirmation,
        "{:#?}",
        report.findings
    );
    let some = verdict(content, size, &intent(Mode::Install, &names[..2]));
    assert_eq!(some.verdict, Verdict::Refuse);
}

#[test]
fn whole_disk_volumes_and_unknown_data_are_refused() {
    let size = 8 * GIB;
    let whole = Extent::between(0, size);
    let mut content = blank(size);
    content
        .signatures
        .push(signature("ceph_bluestore", whole, 0, 22));
    let report = verdict(content.clone(), size, &intent(Mode::Install, &[]));
    assert!(codes(&report, Severity::Refuse).contains(&Code::DtWholeDisk));
    let report = verdict(
        content,
        size,
        &intent(Mode::Install, &["ceph_bluestore-uuid"]),
    );
    assert_eq!(report.verdict, Verdict::NeedsConfirmation);
    assert!(
        report
            .plan
            .unwrap()
            .clear
            .iter()
            .any(|clear| clear.extent.start == 0)
    );
    let used = Blankness {
        of: whole,
        read: MIB,
        first: Some(3 * GIB),
    };
    let content = Content {
        blankness: vec![used],
        ..Content::default()
    };
    assert!(
        codes(
            &verdict(content.clone(), size, &intent(Mode::Install, &[])),
            Severity::Refuse
        )
        .contains(&Code::LyUnknown)
    );
    assert_eq!(
        verdict(content, size, &intent(Mode::Install, &["@0"])).verdict,
        Verdict::NeedsConfirmation
    );
    // Not looked at is not blank; unreadable is not blank.
    assert_eq!(
        verdict(Content::default(), size, &intent(Mode::Install, &[])).verdict,
        Verdict::Refuse
    );
    let mut content = blank(size);
    content.unreadable.push(Unreadable {
        extent: Extent::between(5, 9),
        error: "Input/output error".into(),
    });
    let report = verdict(content, size, &intent(Mode::Install, &["@0"]));
    assert!(codes(&report, Severity::Refuse).contains(&Code::DvIoError));
}

#[test]
fn a_stale_tail_on_our_own_disk_is_cleared_after_a_yes() {
    let size = 8 * GIB;
    let mut content = ours("w1", size);
    content.signatures.push(signature(
        "linux_raid_member",
        Extent::between(0, size),
        size - 8192,
        4,
    ));
    let report = verdict(content.clone(), size, &intent(Mode::Reimage, &[]));
    assert_eq!(
        codes(&report, Severity::Confirm),
        [Code::DtStale],
        "{:#?}",
        report.findings
    );
    assert_eq!(report.plan.unwrap().clear.len(), 1);
    // With a partition of somebody else's beside ours, the array may be a living one.
    let last = content.tables[0].partitions.len();
    for table in &mut content.tables {
        table.partitions[last - 1].guid = "22222222-0000-4000-8000-000000000001".into();
        table.partitions[last - 1].name = "theirs".into();
    }
    let report = verdict(content, size, &intent(Mode::Reimage, &[]));
    assert!(codes(&report, Severity::Refuse).contains(&Code::DtWholeDisk));
}

#[test]
fn a_file_system_over_the_whole_disk_outweighs_what_is_left_of_our_table() {
    let size = 8 * GIB;
    let mut content = ours("w1", size);
    content.tables.remove(0);
    assert_eq!(
        verdict(content.clone(), size, &intent(Mode::Reimage, &[])).verdict,
        Verdict::Ok,
        "the backup copy alone"
    );
    content
        .signatures
        .push(signature("ext4", Extent::between(0, size), 1080, 2));
    let report = verdict(content, size, &intent(Mode::Reimage, &[]));
    let refused = codes(&report, Severity::Refuse);
    assert!(
        refused.contains(&Code::DtWholeDisk) && refused.contains(&Code::DtTouch),
        "{refused:?}"
    );
}

#[test]
fn an_image_copied_over_the_disk_does_not_hide_the_state_and_data_behind_it() {
    let size = 8 * GIB;
    let mut content = ours("w1", size);
    content.tables[0].partitions.truncate(6);
    for mode in [Mode::Install, Mode::Reimage] {
        let report = verdict(content.clone(), size, &intent(mode, &[]));
        let refused = codes(&report, Severity::Refuse);
        assert!(
            refused.contains(&Code::LyDisagree) && refused.contains(&Code::DtTouch),
            "{refused:?}"
        );
    }
    let names = [
        guid("w1", "state").to_string(),
        guid("w1", "data").to_string(),
    ];
    let report = verdict(
        content,
        size,
        &intent(Mode::Reimage, &[&names[0], &names[1]]),
    );
    assert_ne!(report.verdict, Verdict::Refuse, "{:#?}", report.findings);
}

/// The new table's partition of this name, and the verdict.
fn made(content: Content, size: u64, intent: &Intent, name: &str) -> (Verdict, Extent) {
    let report = verdict(content, size, intent);
    let plan = report.plan.unwrap();
    let entry = plan.after.iter().find(|entry| entry.name == name);
    (
        report.verdict,
        entry
            .unwrap_or_else(|| panic!("{:#?}", report.findings))
            .extent,
    )
}

#[test]
fn a_state_that_goes_is_made_where_it_was() {
    let size = 8 * GIB;
    let content = ours("w1", size);
    let (state, data) = (
        content.partitions()[6].extent,
        content.partitions()[7].extent,
    );
    let name = guid("w1", "state").to_string();
    for mode in [Mode::Install, Mode::Reimage] {
        // Data takes the end of the disk and stays.
        let (verdict, extent) = made(content.clone(), size, &intent(mode, &[&name]), "state");
        assert_eq!((verdict, extent), (Verdict::NeedsConfirmation, state));
    }
    // It was lost: the gap in front of the data is found all the same.
    let mut content = content;
    content.tables.iter_mut().for_each(|table| {
        table
            .partitions
            .retain(|partition| partition.name != "state")
    });
    content.signatures.retain(|signature| signature.of != state);
    content.blankness.retain(|blankness| blankness.of != state);
    let (verdict, extent) = made(content, size, &intent(Mode::Reimage, &[]), "state");
    assert_eq!((verdict, extent), (Verdict::Ok, state));
    assert!(extent.end() <= data.start);
}

/// What lies where a partition was.
fn lost(kind: &str, start: u64, length: u64, uuid: &str) -> Signature {
    Signature {
        uuid: Some(uuid.into()),
        ..signature(kind, Extent { start, length }, 1080, 2)
    }
}

#[test]
fn a_lost_entry_over_whole_data_is_refused_until_it_is_named() {
    let size = 8 * GIB;
    let mut content = ours("w1", size);
    let state = content.partitions()[6].extent;
    for table in &mut content.tables {
        table.partitions.remove(6);
    }
    content.blankness.retain(|blankness| blankness.of != state);
    content.inside.push(Inside {
        of: state,
        kind: "etcd".into(),
        path: "/lib/etcd/member".into(),
        detail: vec![],
    });
    let image = sample("w1", 512, Some(2 * GIB), true);
    let uuid = image.handoff.state().uuid.to_string();
    content.signatures[0].uuid = Some(uuid.clone());
    let report = verdict(content.clone(), size, &intent(Mode::Reimage, &[]));
    assert_eq!(codes(&report, Severity::Refuse), [Code::DtLost]);
    let found = &report.findings[0];
    assert!(found.evidence.contains("this node's own state") && found.evidence.contains("etcd"));
    let place = format!("@{}", state.start);
    let command = format!(
        "to put its entry back: echo 'start={}, size={}, type={}, uuid={}, name=\"state\"' | sfdisk \
         --append --wipe never --wipe-partitions never /dev/disk/by-id/nvme-X; if it may go, name \
         it: --delete {place}",
        state.start / 512,
        state.length / 512,
        image.handoff.state().type_guid,
        image.handoff.state().guid
    );
    assert_eq!(found.advice.as_ref(), Some(&command));
    let region = |region: &&prejoin_wire::disk::Region| region.extent == state;
    let region = report.regions.iter().find(region).unwrap();
    assert_eq!((region.kind, region.partition), (RegionKind::Data, None));
    // Its UUID is not that of a partition; which one is meant is said by its place.
    let report = verdict(content.clone(), size, &intent(Mode::Reimage, &[&uuid]));
    assert_eq!(report.verdict, Verdict::Refuse);
    let report = verdict(content, size, &intent(Mode::Reimage, &[&place]));
    assert_eq!(codes(&report, Severity::Confirm), [Code::DtDelete]);
    assert_eq!(report.verdict, Verdict::NeedsConfirmation);
    let plan = report.plan.unwrap();
    let head = Extent {
        length: MIB,
        ..state
    };
    assert!(
        plan.clear.iter().any(|clear| clear.extent == head),
        "{:?}",
        plan.clear
    );
}

#[test]
fn what_was_lost_elsewhere_is_told_and_left_alone() {
    let size = 16 * GIB;
    let (start, length) = (8 * GIB, GIB);
    let mut content = ours("w1", 8 * GIB);
    for (table, offset) in content.tables.iter_mut().zip([512, size - 512]) {
        table.offset = offset;
        table.partitions.truncate(7);
        table.partitions.push(entry(
            9,
            12 * GIB,
            GIB,
            "theirs",
            "33333333-0000-4000-8000-000000000009",
        ));
    }
    content.signatures.truncate(1);
    content
        .signatures
        .push(lost("xfs", start, length, "photos"));
    // No data partition: nothing is put there.
    let image = sample("w1", 512, Some(2 * GIB), false);
    let report = judge(
        &facts(size, content),
        &intent(Mode::Reimage, &[]),
        &image.image(),
    );
    assert_eq!(report.verdict, Verdict::Ok, "{:#?}", report.findings);
    let found = report
        .findings
        .iter()
        .find(|one| one.code == Code::DtLost)
        .unwrap();
    assert!(
        found
            .advice
            .as_ref()
            .unwrap()
            .contains("echo 'start=16777216, size=2097152' | sfdisk")
    );
}

#[test]
fn what_is_not_blank_in_a_gap_is_somebodys_where_something_is_put() {
    let size = 16 * GIB;
    let theirs = entry(
        3,
        12 * GIB,
        GIB,
        "theirs",
        "33333333-0000-4000-8000-000000000001",
    );
    let mut content = gpt(vec![theirs], size);
    let gap = |start, end, first| Blankness {
        of: Extent::between(start, end),
        read: MIB,
        first,
    };
    content.blankness.push(gap(MIB, 12 * GIB, Some(5 * GIB)));
    let judged = |content: &Content, state, names: &[&str]| {
        let image = sample("w1", 512, Some(state), false);
        judge(
            &facts(size, content.clone()),
            &intent(Mode::Install, names),
            &image.image(),
        )
    };
    let report = judged(&content, 6 * GIB, &[]);
    assert_eq!(codes(&report, Severity::Refuse), [Code::LyUnknown]);
    let place = format!("@{}", 5 * GIB);
    assert!(
        report.findings[0]
            .advice
            .as_ref()
            .unwrap()
            .ends_with(&format!("--delete {place}"))
    );
    let report = judged(&content, 6 * GIB, &[&place]);
    assert_eq!(codes(&report, Severity::Confirm), [Code::DtDelete]);
    // What is put in front of it does not touch it.
    assert_eq!(judged(&content, 2 * GIB, &[]).verdict, Verdict::Ok);
}

/// A FAT to start from, as others make it.
fn esp(number: u32, start: u64) -> Partition {
    Partition {
        type_id: prejoin_formats::gpt::types::ESP.to_string(),
        ..entry(
            number,
            start,
            100 * MIB,
            "EFI",
            "33333333-0000-4000-8000-000000000001",
        )
    }
}

#[test]
fn a_kept_efi_partition_comes_behind_the_nodes_or_is_asked_about() {
    let size = 16 * GIB;
    let data = |number| {
        entry(
            number,
            13 * GIB,
            GIB,
            "d",
            "33333333-0000-4000-8000-000000000002",
        )
    };
    let judged = |partitions: Vec<Partition>| {
        let report = verdict(gpt(partitions, size), size, &intent(Mode::Install, &[]));
        let after = &report.plan.as_ref().unwrap().after;
        let boot = after
            .iter()
            .find(|entry| entry.name == "boot")
            .unwrap()
            .number;
        (boot, codes(&report, Severity::Confirm))
    };
    assert_eq!(judged(vec![esp(2, 12 * GIB)]), (1, vec![]));
    assert_eq!(judged(vec![data(1), esp(3, 12 * GIB)]), (2, vec![]));
    assert_eq!(
        judged(vec![data(1), esp(2, 12 * GIB)]).1,
        [Code::LyBootOrder]
    );
    assert_eq!(judged(vec![esp(1, 12 * GIB)]).1, [Code::LyBootOrder]);
    assert_eq!(judged(vec![data(1)]), (7, vec![]));
}

#[test]
fn nothing_old_is_found_in_what_is_new() {
    let size = 16 * GIB;
    let mut content = ours("w1", size);
    // The second slot had a BlueStore once, a label of which is further behind than the image writes.
    let slot = content.partitions()[3].extent;
    let stale = Signature {
        copy: true,
        ..signature("ext4", slot, 16 * MIB, 1024)
    };
    content.signatures.push(stale.clone());
    let state = content.partitions()[6].extent;
    let of_state = signature("linux_raid_member", state, GIB, 4096);
    content.signatures.push(of_state.clone());
    let report = verdict(content.clone(), size, &intent(Mode::Reimage, &[]));
    let clears = |report: &Report, extent: &Extent| {
        let plan = report.plan.as_ref().unwrap();
        plan.clear.iter().any(|clear| clear.extent.covers(extent))
    };
    assert!(clears(&report, &stale.header) && !clears(&report, &of_state.header));
    let name = guid("w1", "state").to_string();
    let report = verdict(content, size, &intent(Mode::Reimage, &[&name]));
    assert!(clears(&report, &of_state.header));
}

#[test]
fn logical_partitions_are_named_with_the_one_they_are_in() {
    let size = 16 * GIB;
    let of = |number, start, length, kind: &str| Partition {
        type_id: kind.into(),
        ..entry(number, start, length, "", "")
    };
    let mut content = gpt(
        vec![
            of(1, MIB, 10 * MIB, "83"),
            of(2, 20 * MIB, 12 * GIB, "05"),
            of(5, 21 * MIB, 30 * MIB, "83"),
            of(6, 60 * MIB, 11 * GIB, "83"),
        ],
        size,
    );
    content.tables.truncate(1);
    content.tables[0].scheme = Scheme::Mbr;
    let report = verdict(content.clone(), size, &intent(Mode::Install, &[]));
    assert_eq!(report.verdict, Verdict::Refuse);
    let all: Vec<String> = [MIB, 20 * MIB, 21 * MIB, 60 * MIB]
        .map(|at| format!("@{at}"))
        .into();
    for code in [Code::LyOtherTable, Code::DtTouch] {
        let advice = report.findings.iter().filter(|one| one.code == code);
        let advice: Vec<&str> = advice.filter_map(|one| one.advice.as_deref()).collect();
        let words: Vec<&str> = advice.iter().flat_map(|text| text.split(' ')).collect();
        for name in &all {
            assert!(
                words.contains(&name.as_str()),
                "{code}: no {name} in {advice:#?}"
            );
        }
    }
    let names: Vec<&str> = all.iter().map(String::as_str).collect();
    let report = verdict(content, size, &intent(Mode::Install, &names));
    assert_eq!(
        report.verdict,
        Verdict::NeedsConfirmation,
        "{:#?}",
        report.findings
    );
}

#[test]
fn a_disk_whose_end_is_taken_has_room_in_front() {
    let size = 16 * GIB;
    let theirs = entry(
        3,
        12 * GIB,
        4 * GIB - MIB,
        "theirs",
        "33333333-0000-4000-8000-000000000001",
    );
    let mut content = gpt(vec![theirs.clone()], size);
    content
        .signatures
        .push(signature("xfs", theirs.extent, 0, 4));
    let wish = intent(Mode::Install, &[]);
    let (verdict, state) = made(content.clone(), size, &wish, "state");
    let (_, data) = made(content, size, &wish, "data");
    assert_eq!(verdict, Verdict::Ok);
    assert_eq!(
        (state.length, data.start, data.end()),
        (2 * GIB, state.end(), theirs.extent.start)
    );
}

#[test]
fn nothing_of_a_node_cannot_be_reimaged() {
    let size = 8 * GIB;
    for (content, is_ours) in [
        (blank(size), false),
        (ours("w2", size), false),
        (ours("w1", size), true),
    ] {
        for mode in [Mode::Install, Mode::Reimage, Mode::ReimageWipeState] {
            let report = verdict(content.clone(), size, &intent(mode, &[]));
            let refused = codes(&report, Severity::Refuse).contains(&Code::LyNotOurs);
            assert_eq!(
                refused,
                !is_ours && mode != Mode::Install,
                "{mode:?} {:#?}",
                report.findings
            );
        }
        let image = sample("w1", 512, Some(2 * GIB), true);
        let own = region::Own::of(&image.manifest, &image.handoff);
        let mode = if is_ours {
            Mode::Reimage
        } else {
            Mode::Install
        };
        assert_eq!((own.is_on(&content), own.mode(&content)), (is_ours, mode));
    }
    // Its data alone is enough of it.
    let mut content = ours("w1", size);
    content
        .tables
        .iter_mut()
        .for_each(|table| drop(table.partitions.drain(..7)));
    content.inside.clear();
    let report = verdict(content, size, &intent(Mode::Reimage, &[]));
    assert!(
        !codes(&report, Severity::Refuse).contains(&Code::LyNotOurs),
        "{:#?}",
        report.findings
    );
}

#[test]
fn what_the_node_makes_is_not_said_to_come_from_the_image() {
    let report = verdict(blank(8 * GIB), 8 * GIB, &intent(Mode::Install, &[]));
    let after = report.plan.unwrap().after;
    let of = |origin| {
        after
            .iter()
            .filter(|entry| entry.origin == origin)
            .map(|e| e.name.as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(of(Origin::Node), ["state", "data"]);
    assert_eq!(
        of(Origin::Image),
        [
            "boot",
            "root-a",
            "root-a-verity",
            "root-b",
            "root-b-verity",
            "identity"
        ]
    );
}

/// The facts of a drive as `prejoin disk inspect --json` records them.
fn recorded(opal: &str, signatures: &str, unreadable: &str) -> Facts {
    let text = format!(
        r#"{{ "version": 1, "usage": [],
        "device": {{ "path": "/dev/nvme0n1", "size": 8589934592, "sector_size": 512, "transport": "nvme",
            "model": "Samsung SSD 980 PRO 1TB", "serial": "S1"{opal} }},
        "content": {{ "signatures": [{signatures}], "unreadable": [{unreadable}],
            "blankness": [{{ "of": {{ "start": 0, "length": 8589934592 }}, "read": 1048576, "first": null }}] }} }}"#
    );
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_locked_drive_is_not_taken_for_a_broken_one() {
    let image = sample("w1", 512, None, false);
    let said = |facts: &Facts| {
        let report = judge(facts, &intent(Mode::Install, &[]), &image.image());
        let refused = report
            .findings
            .iter()
            .filter(|finding| finding.severity == Severity::Refuse);
        let grave = refused.filter(|finding| finding.code.name().starts_with("DV-"));
        grave
            .map(|f| format!("{} {} -> {}", f.code, f.evidence, f.advice.clone().unwrap()))
            .collect::<Vec<_>>()
    };
    let unlock =
        "unlock it first: with its password as the machine starts, with sedutil-cli or cryptsetup";
    let opal = |locking, locked, shadowed| {
        format!(
            r#", "opal": {{ "locking": {locking}, "locked": {locked}, "shadowed": {shadowed} }}"#
        )
    };
    let broken = r#"{ "extent": { "start": 0, "length": 4096 }, "error": "Input/output error (os error 5)" }"#;
    let replace = "what cannot be read may be data: replace the disk";
    let missing = "bytes 0 to 4096: Input/output error (os error 5)";
    // Not known, never locked, open.
    for opal in [
        String::new(),
        opal(false, false, false),
        opal(true, false, false),
    ] {
        assert_eq!(said(&recorded(&opal, "", "")), [""; 0], "{opal}");
        assert_eq!(
            said(&recorded(&opal, "", broken)),
            [format!("DV-IOERROR {missing} -> {replace}")]
        );
    }
    let locked = "DV-LOCKED the drive is locked by its own encryption (OPAL)";
    assert_eq!(
        said(&recorded(&opal(true, true, false), "", "")),
        [format!("{locked} -> {unlock}")]
    );
    assert_eq!(
        said(&recorded(&opal(true, true, false), "", broken)),
        [
            format!("DV-IOERROR {missing}; the drive is locked -> unlock the drive first"),
            format!("{locked}, and cannot be read: {missing} -> {unlock}"),
        ]
    );
    let shadow =
        "DV-LOCKED it shows the shadow that asks for its password instead of what is at its start";
    assert_eq!(
        said(&recorded(&opal(true, false, true), "", "")),
        [format!("{shadow} -> {unlock}")]
    );

    // Nobody could ask the drive: LUKS says that the drive encrypts, and what is behind it is not given out.
    let luks = r#"{ "kind": "crypto_LUKS", "magic": { "start": 0, "length": 6 },
        "header": { "start": 0, "length": 16384 }, "of": { "start": 0, "length": 8589934592 },
        "copy": false, "version": "2 (HW-OPAL)", "uuid": "u", "label": null }"#;
    let found = said(&recorded("", luks, broken));
    let evidence = format!(
        "DV-LOCKED crypto_LUKS at byte 0 leaves encryption to the drive, and {missing} -> {unlock}"
    );
    assert!(found.contains(&evidence), "{found:#?}");
    assert!(
        !said(&recorded("", luks, ""))
            .iter()
            .any(|line| line.contains("DV-LOCKED"))
    );
    assert!(
        !said(&recorded(&opal(true, false, false), luks, broken))
            .iter()
            .any(|line| line.contains("DV-LOCKED"))
    );
}

#[test]
fn systems_are_known_by_what_was_found_of_them() {
    let size = 8 * GIB;
    let names = ["USR-A", "USR-B", "ROOT", "photos"];
    let guid = |number: u32| format!("11111111-0000-4000-8000-00000000000{number}");
    let partition = |(number, name): (u32, &&str)| {
        entry(number, u64::from(number) * GIB, MIB, name, &guid(number))
    };
    let mut content = gpt((1..).zip(&names).map(partition).collect(), size);
    assert_eq!(judge::operating_system(&content, None), None);
    let detail = vec!["name=Flatcar".into(), "partitions=USR-A,USR-B,ROOT".into()];
    let of = Extent::between(0, size);
    content.inside.push(Inside {
        of,
        kind: "flatcar".into(),
        path: String::new(),
        detail,
    });
    let system = judge::operating_system(&content, None).unwrap();
    assert_eq!(
        (system.name.as_str(), system.why.as_str(), system.on.len()),
        ("Flatcar", "partition 1, 2, 3", 3)
    );
    let report = verdict(content, size, &intent(Mode::Install, &[]));
    assert!(codes(&report, Severity::Refuse).contains(&Code::LyForeign));
}

#[test]
fn a_slot_that_was_put_to_other_use_is_data() {
    let size = 8 * GIB;
    for kind in ["crypto_LUKS", "xfs", "LVM2_member", "ceph_bluestore"] {
        let mut content = ours("w1", size);
        let slot = content.partitions()[1].extent;
        content.signatures.push(signature(kind, slot, 0, 4));
        let report = verdict(content, size, &intent(Mode::Reimage, &[]));
        assert_eq!(report.verdict, Verdict::Refuse, "{kind}");
    }
}

#[test]
fn clears_are_whole_blocks_and_spare_what_stays() {
    let size = 8 * GIB;
    let mut content = ours("w1", size);
    let whole = Extent::between(0, size);
    let state = content.partitions()[6].extent;
    content
        .signatures
        .push(signature("linux_raid_member", whole, size - 8192 - 512, 4));
    content
        .signatures
        .push(signature("zfs_member", whole, state.start - 600, 300));
    let plan = verdict(content, size, &intent(Mode::Reimage, &[]))
        .plan
        .unwrap();
    assert_eq!(plan.clear.len(), 2);
    for clear in &plan.clear {
        assert!(
            clear.extent.start % 4096 == 0 && clear.extent.end() % 4096 == 0,
            "{clear:?}"
        );
        assert!(!clear.extent.meets(&state), "{clear:?}");
    }
}

#[test]
fn devices_and_users_have_their_say() {
    let size = 8 * GIB;
    let image = sample("w1", 512, None, false);
    let judged = |change: &dyn Fn(&mut Facts)| {
        let mut facts = facts(size, blank(size));
        change(&mut facts);
        let report = judge(&facts, &intent(Mode::Install, &[]), &image.image());
        let grave = report
            .findings
            .iter()
            .filter(|finding| finding.severity > Severity::Info);
        grave
            .map(|finding| finding.code.name())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(judged(&|_| ()), "");
    assert_eq!(
        judged(&|facts| facts.device.read_only = true),
        "DV-READONLY"
    );
    assert_eq!(judged(&|facts| facts.device.zoned = true), "DV-ZONED");
    assert_eq!(
        judged(&|facts| facts.device.sector_size = 4096),
        "DV-SECTOR"
    );
    assert_eq!(
        judged(&|facts| facts.device.twins = vec!["/dev/sdb".into()]),
        "ID-NOTUNIQUE"
    );
    assert_eq!(
        judged(&|facts| facts.device.boot_medium = Some("/".into())),
        "DV-BOOTMEDIUM"
    );
    assert_eq!(
        judged(&|facts| facts.device.removable = true),
        "DV-REMOVABLE"
    );
    assert_eq!(
        judged(&|facts| facts.device.is_virtual = true),
        "DV-VIRTUAL"
    );
    let small = |facts: &mut Facts| *facts = self::facts(50 * MIB, blank(50 * MIB));
    assert_eq!(judged(&small), "DV-TOOSMALL DT-NOROOM");
    let used = |usage: Usage| judged(&move |facts: &mut Facts| facts.usage.push(usage.clone()));
    assert_eq!(
        used(Usage::Mounted {
            device: "/dev/x1".into(),
            at: "/mnt".into()
        }),
        "US-MOUNTED"
    );
    assert_eq!(
        used(Usage::Loop {
            device: "/dev/x".into(),
            by: "/dev/loop0".into()
        }),
        "US-LOOP"
    );
    assert_eq!(
        used(Usage::Open {
            device: "/dev/x".into(),
            process: 7,
            program: "dd".into()
        }),
        "US-OPENFD"
    );
    let health = prejoin_wire::disk::Health {
        critical_warning: 4,
        spare: 100,
        ..Default::default()
    };
    assert_eq!(
        judged(&|facts| facts.device.health = Some(health)),
        "DV-SMARTCRIT"
    );
}

#[test]
fn a_token_is_for_one_disk_in_one_state() {
    let (size, image) = (8 * GIB, sample("w1", 512, None, false));
    let token = |change: &dyn Fn(&mut Facts)| {
        let mut facts = facts(size, blank(size));
        change(&mut facts);
        judge(&facts, &intent(Mode::Install, &[]), &image.image())
            .token
            .unwrap()
    };
    let first = token(&|_| ());
    assert_eq!(first, token(&|_| ()));
    assert_ne!(
        first,
        token(&|facts| facts.device.serial = Some("S2".into()))
    );
    assert_ne!(first, token(&|facts| facts.device.diskseq = Some(9)));
    let open = Usage::Open {
        device: "/dev/x".into(),
        process: 7,
        program: "qemu".into(),
    };
    assert_ne!(
        first,
        token(&|facts| facts.usage.push(open.clone())),
        "what is asked about is part of it"
    );
    let digest = Some(prejoin_wire::digest::Digest::of(b"x"));
    assert_ne!(first, token(&|facts| facts.content.digest = digest));
}

/// Calls `visit` with a document in which one number after the other is another one.
fn with_other_numbers(document: &serde_json::Value, mut visit: impl FnMut(serde_json::Value)) {
    fn places(value: &serde_json::Value, at: String, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Number(_) => found.push(at),
            serde_json::Value::Array(list) => {
                let items = list.iter().enumerate();
                items.for_each(|(index, item)| places(item, format!("{at}/{index}"), found));
            }
            serde_json::Value::Object(map) => {
                let items = map.iter();
                items.for_each(|(key, item)| places(item, format!("{at}/{key}"), found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    places(document, String::new(), &mut found);
    for place in found {
        for number in [
            0,
            1,
            511,
            1 << 31,
            u64::from(u32::MAX),
            i64::MAX as u64,
            u64::MAX,
        ] {
            let mut other = document.clone();
            *other.pointer_mut(&place).unwrap() = number.into();
            visit(other);
        }
    }
}

#[test]
fn facts_with_any_number_in_them_are_judged_or_refused() {
    let size = 8 * GIB;
    let mut content = ours("w1", size);
    let lost = Extent {
        start: 6 * GIB,
        length: GIB,
    };
    for table in &mut content.tables {
        table.partitions.pop();
        table.partitions.push(entry(
            9,
            5 * GIB,
            GIB,
            "theirs",
            "33333333-0000-4000-8000-000000000009",
        ));
    }
    content.signatures.push(signature("ext4", lost, 1080, 2));
    content.unreadable.push(Unreadable {
        extent: lost,
        error: "no".into(),
    });
    let mut facts = facts(size, content);
    facts.device.health = Some(prejoin_wire::disk::Health::default());
    facts.check().unwrap();
    let image = sample("w1", 512, Some(2 * GIB), true);
    let (mut judged, mut refused) = (0, 0);
    with_other_numbers(&serde_json::to_value(&facts).unwrap(), |document| {
        let Ok(facts) = serde_json::from_value::<Facts>(document) else {
            return;
        };
        match facts.check() {
            Ok(()) => judged += 1,
            Err(_) => return refused += 1,
        }
        for mode in [Mode::Install, Mode::Reimage, Mode::ReimageWipeState] {
            judge(&facts, &intent(mode, &["@6442450944"]), &image.image());
        }
    });
    assert!(judged > 500 && refused > 100, "{judged} {refused}");
}

/// Disks with anything on them: partitions anywhere, ours or not, volumes over all, tables of other kinds.
fn disks() -> impl Strategy<Value = (u64, Content)> {
    let place = (
        0u64..7 * 1024,
        1u64..2048,
        0usize..10,
        any::<bool>(),
        any::<bool>(),
    );
    let disk = (
        prop::collection::vec(place, 0..7),
        1u64..9,
        0u8..8,
        any::<bool>(),
        0usize..4,
    );
    disk.prop_map(|(places, gib, kind, stray, lost)| {
        let size = gib * GIB;
        let names = [
            "boot",
            "root-a",
            "root-a-verity",
            "root-b",
            "root-b-verity",
            "identity",
            "state",
            "data",
            "theirs",
            "",
        ];
        let mut partitions = Vec::new();
        for ((start, length, name, is_own, _), number) in places.iter().zip(1..) {
            let node = if *is_own { "w1" } else { "w2" };
            let guid = guid(node, names[*name]).to_string();
            partitions.push(entry(
                number,
                start * MIB,
                length * MIB,
                names[*name],
                &guid,
            ));
        }
        let mut content = match kind {
            0 => blank(size),
            1 => Content {
                blankness: vec![Blankness {
                    of: Extent::between(0, size),
                    read: 1,
                    first: Some(7),
                }],
                ..Content::default()
            },
            2 => Content {
                signatures: vec![signature("xfs", Extent::between(0, size), 0, 4)],
                ..blank(size)
            },
            3 => ours("w1", size.max(8 * GIB)),
            4 => ours("w2", size.max(8 * GIB)),
            _ => gpt(partitions.clone(), size),
        };
        let size = if kind == 3 || kind == 4 {
            size.max(8 * GIB)
        } else {
            size
        };
        if kind == 7 {
            content
                .tables
                .iter_mut()
                .for_each(|table| table.scheme = Scheme::Mbr);
        }
        for ((_, _, _, _, signed), partition) in places.iter().zip(content.partitions().to_vec()) {
            if *signed {
                content
                    .signatures
                    .push(signature("ext4", partition.extent, 1080, 2));
            }
        }
        // One of the copies has forgotten some partitions.
        if let Some(table) = content.tables.first_mut() {
            table
                .partitions
                .truncate(table.partitions.len().saturating_sub(lost));
        }
        if stray {
            content.signatures.push(signature(
                "linux_raid_member",
                Extent::between(0, size),
                size - 8192,
                4,
            ));
        }
        (size, content)
    })
}

/// The node's image in several layouts.
fn images() -> impl Strategy<Value = Sample> {
    (any::<bool>(), any::<bool>(), 1u64..4, any::<bool>()).prop_map(|(data, fixed, gib, big)| {
        let sector = if big { 4096 } else { 512 };
        sample("w1", sector, (data || fixed).then_some(gib * GIB), data)
    })
}

fn wiped_state(partition: &Partition, own: &region::Own, mode: Mode) -> bool {
    partition.guid == own.state && mode == Mode::ReimageWipeState
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30_000))]

    /// Unless somebody named it, nothing that counts as data, unknown or unreadable is written: whatever is on the
    /// disk, whatever the image, whatever the mode; and what a verdict lets through keeps every kept entry as it was.
    #[test]
    fn no_planned_write_meets_data((size, content) in disks(), image in images(), mode in 0usize..3) {
        let mode = [Mode::Install, Mode::Reimage, Mode::ReimageWipeState][mode];
        let facts = facts(size, content);
        let image_of = image.image();
        let report = judge(&facts, &intent(mode, &[]), &image_of);
        if report.verdict == Verdict::Refuse {
            return Ok(());
        }
        let plan = report.plan.unwrap();
        let own = region::Own::of(&image.manifest, &image.handoff);
        for region in region::regions(&facts.content, size, Some(&own)) {
            let partition = facts.content.partitions().iter().find(|p| Some(p.number) == region.partition);
            let wiped = partition.is_some_and(|p| p.guid == own.state) && mode == Mode::ReimageWipeState;
            let guarded = matches!(
                region.kind,
                RegionKind::Data | RegionKind::Unknown | RegionKind::Unreadable | RegionKind::State
            );
            if guarded && !wiped {
                for write in plan::writes(&plan) {
                    prop_assert!(!write.meets(&region.extent), "{write:?} meets {region:?}");
                }
            }
        }
        for partition in facts.content.tables.iter().flat_map(|table| &table.partitions) {
            let known = facts.content.partitions().contains(partition);
            let ours = own.system.contains(&partition.guid) || wiped_state(partition, &own, mode);
            for write in plan::writes(&plan).iter().filter(|_| !known && !ours) {
                prop_assert!(!write.meets(&partition.extent), "{write:?} meets {partition:?} of another table");
            }
        }
        for kept in plan.before.iter().filter(|entry| entry.origin == Origin::Kept) {
            let mut kept = kept.clone();
            if kept.guid == own.state && mode == Mode::ReimageWipeState {
                kept.type_guid = prejoin_disk::write::PARTIAL.to_string();
            }
            prop_assert!(plan.after.contains(&kept), "{kept:?} is not in the new table");
        }
        let disk_guid = image.table.disk_guid;
        let table = plan::table(&plan.after, &disk_guid, plan.sector_size, size);
        prop_assert_eq!(table.check(), Ok(()));
        for write in plan::writes(&plan) {
            prop_assert!(write.end() <= size);
        }
    }

    /// A UUID releases what it is the UUID of, and nothing else.
    #[test]
    fn a_uuid_releases_nothing_else((size, mut content) in disks(), image in images(), which in 0usize..8, twins: bool) {
        for (number, signature) in content.signatures.iter_mut().enumerate() {
            signature.uuid = Some(format!("uuid-{}", if twins { number / 2 } else { number }));
        }
        let Some(uuid) = content.signatures.get(which).and_then(|signature| signature.uuid.clone()) else {
            return Ok(());
        };
        let facts = facts(size, content);
        let report = judge(&facts, &intent(Mode::Install, &[&uuid]), &image.image());
        if report.verdict == Verdict::Refuse {
            return Ok(());
        }
        let (content, plan) = (&facts.content, report.plan.unwrap());
        let own = region::Own::of(&image.manifest, &image.handoff);
        let named = |signature: &&Signature| signature.uuid.as_ref() == Some(&uuid);
        let holders: Vec<Extent> = content.signatures.iter().filter(named).map(|signature| signature.of).collect();
        // What is all that is known of the disk as a whole stands for what is in no partition.
        let all = region::undivided_signatures(content, size).all(|signature| named(&signature));
        let whole = holders.contains(&Extent::between(0, size)) && all;
        for region in region::regions(content, size, Some(&own)) {
            let guarded = matches!(
                region.kind,
                RegionKind::Data | RegionKind::Unknown | RegionKind::Unreadable | RegionKind::State
            );
            let released = holders.contains(&region.extent) || whole && region.partition.is_none();
            if guarded && !released {
                for write in plan::writes(&plan) {
                    prop_assert!(!write.meets(&region.extent), "{write:?} meets {region:?}, named was {holders:?}");
                }
            }
        }
        for signature in content.signatures.iter().filter(|signature| !named(signature)) {
            // Also those that only a table lists which is not believed: the node's own by their GUIDs.
            let mut partitions = content.tables.iter().flat_map(|table| &table.partitions);
            let system = |p: &Partition| match content.partitions().contains(p) {
                true => region::owner(content, p, Some(&own)).is_some(),
                false => own.system.contains(&p.guid),
            };
            let system = partitions.any(|p| p.extent == signature.of && system(p));
            let stale = report.findings.iter().any(|f| f.code == Code::DtStale);
            for write in plan::writes(&plan).iter().filter(|_| !system && !stale) {
                prop_assert!(!write.meets(&signature.header), "{write:?} meets {signature:?}");
            }
        }
    }
}
