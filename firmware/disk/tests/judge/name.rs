//! What a name that was given for deletion releases, and what it does not.

use prejoin_disk::write::{PARTIAL, RELEASED};

use super::*;

#[test]
fn naming_one_leftover_releases_nothing_else() {
    let size = 8 * GIB;
    let partition = entry(
        1,
        MIB,
        4 * GIB,
        "longhorn",
        "33333333-0000-4000-8000-000000000001",
    );
    let mut content = gpt(vec![partition.clone()], size);
    content.tables.remove(0);
    content
        .signatures
        .push(signature("ext4", partition.extent, 1080, 2));
    content
        .signatures
        .push(signature("btrfs", Extent::between(0, size), 65_600, 8));
    assert_eq!(
        verdict(content.clone(), size, &intent(Mode::Install, &[])).verdict,
        Verdict::Refuse
    );
    assert_eq!(
        verdict(
            content.clone(),
            size,
            &intent(Mode::Install, &["btrfs-uuid"])
        )
        .verdict,
        Verdict::Refuse
    );
    let report = verdict(content, size, &intent(Mode::Install, &["@0"]));
    let named = |kind: &str| {
        report
            .findings
            .iter()
            .any(|f| f.code == Code::DtDelete && f.evidence.contains(kind))
    };
    assert!(named("btrfs") && named("ext4"), "{:#?}", report.findings);
}

/// Two partitions with a file system each.
fn two_file_systems(size: u64) -> Content {
    let partitions = vec![
        entry(1, MIB, GIB, "one", "33333333-0000-4000-8000-000000000001"),
        entry(
            2,
            2 * GIB,
            GIB,
            "two",
            "33333333-0000-4000-8000-00000000000a",
        ),
    ];
    let mut content = gpt(partitions.clone(), size);
    for (partition, uuid) in partitions
        .iter()
        .zip(["a5f2c1de-0f0b-4b0f-9a52-7a4b6a7a9c10", "1111-4ABC"])
    {
        content.signatures.push(Signature {
            uuid: Some(uuid.into()),
            ..signature("ext4", partition.extent, 1080, 2)
        });
    }
    content
}

/// Numbers of the partitions that go because they were named.
fn deleted(report: &Report) -> Vec<u32> {
    let before = &report.plan.as_ref().unwrap().before;
    before
        .iter()
        .filter(|entry| entry.origin == Origin::Deleted)
        .map(|entry| entry.number)
        .collect()
}

fn faults(report: &Report) -> Vec<&str> {
    let faults = report
        .findings
        .iter()
        .filter(|f| f.code == Code::DtDelete && f.severity == Severity::Refuse);
    faults.map(|finding| finding.evidence.as_str()).collect()
}

#[test]
fn partitions_have_three_names() {
    let size = 8 * GIB;
    let content = two_file_systems(size);
    let place = format!("@{}", 2 * GIB);
    // As it is, or as it was typed.
    for name in [
        "33333333-0000-4000-8000-00000000000A",
        "1111-4ABC",
        "1111-4abc",
        place.as_str(),
    ] {
        let report = verdict(content.clone(), size, &intent(Mode::Install, &[name]));
        assert_eq!(
            (deleted(&report), faults(&report)),
            (vec![2], vec![]),
            "{name}"
        );
        assert!(
            report
                .findings
                .iter()
                .any(|f| f.code == Code::DtDelete && f.severity == Severity::Confirm),
            "{name}"
        );
    }
    let both = ["a5f2c1de-0f0b-4b0f-9a52-7a4b6a7a9c10", "1111-4ABC"];
    let report = verdict(content.clone(), size, &intent(Mode::Install, &both));
    assert_eq!(
        (report.verdict, deleted(&report)),
        (Verdict::NeedsConfirmation, vec![1, 2]),
        "{:#?}",
        report.findings
    );
    for nothing in ["1111-4ABD", "", "@1", "@", "one", "ext4"] {
        let report = verdict(content.clone(), size, &intent(Mode::Install, &[nothing]));
        assert_eq!(
            (deleted(&report), faults(&report).len()),
            (vec![], 1),
            "{nothing}"
        );
    }
}

#[test]
fn a_name_for_two_things_names_none() {
    let size = 8 * GIB;
    let mut content = two_file_systems(size);
    for signature in &mut content.signatures {
        (signature.kind, signature.uuid) = ("linux_raid_member".into(), Some("array".into()));
    }
    let report = verdict(content.clone(), size, &intent(Mode::Install, &["array"]));
    let expected = "array, which was named for deletion, stands for partition 1 (@1048576) and partition 2 (@2147483648)";
    assert_eq!(
        (deleted(&report), faults(&report)),
        (vec![], vec![expected])
    );
    assert!(report.token.is_none());
    // On a partition, and over the whole disk.
    content.signatures[1].of = Extent::between(0, size);
    let report = verdict(content.clone(), size, &intent(Mode::Install, &["array"]));
    let expected = "array, which was named for deletion, stands for partition 1 (@1048576) and the whole disk (@0)";
    assert_eq!(
        (deleted(&report), faults(&report)),
        (vec![], vec![expected])
    );
    // On a partition, and the GUID of another one.
    content.signatures.truncate(1);
    content.signatures[0].uuid = Some(content.tables[0].partitions[1].guid.clone());
    let name = content.signatures[0].uuid.clone().unwrap();
    let report = verdict(content, size, &intent(Mode::Install, &[&name]));
    assert_eq!((deleted(&report), faults(&report).len()), (vec![], 1));
}

#[test]
fn naming_a_leftover_on_a_partition_does_not_release_the_partition() {
    let size = 8 * GIB;
    let mut content = two_file_systems(size);
    let of = content.partitions()[1].extent;
    // What was there before left copies, which have no say; a second one that counts has.
    let old = Signature {
        copy: true,
        uuid: Some("old".into()),
        ..signature("ext4", of, 128 << 20, 2)
    };
    content.signatures.push(old.clone());
    let named = |content: &Content, names: &[&str]| {
        verdict(content.clone(), size, &intent(Mode::Install, names))
    };
    assert_eq!(deleted(&named(&content, &["1111-4ABC"])), [2]);
    assert_eq!(
        faults(&named(&content, &["old"])),
        ["old, which was named for deletion, is not all of partition 2: ext4 (1111-4ABC)"]
    );
    content.signatures.push(Signature {
        uuid: None,
        ..signature("BitLocker", of, 3, 8)
    });
    let report = named(&content, &["1111-4ABC"]);
    let expected = "1111-4ABC, which was named for deletion, is not all of partition 2: BitLocker";
    assert_eq!(
        (deleted(&report), faults(&report)),
        (vec![], vec![expected])
    );
    let guid = "33333333-0000-4000-8000-00000000000a";
    assert!(report.findings.iter().any(|f| {
        f.advice
            .as_ref()
            .is_some_and(|a| a.ends_with(&format!("--delete {guid}")))
    }));
    assert_eq!(deleted(&named(&content, &[guid])), [2]);
    // Copies alone: each of them counts.
    content.signatures.retain(|signature| signature.of != of);
    content.signatures.extend([
        old.clone(),
        Signature {
            uuid: Some("older".into()),
            ..old
        },
    ]);
    assert_eq!(deleted(&named(&content, &["old"])), [0; 0]);
    assert_eq!(deleted(&named(&content, &["old", "older"])), [2]);
}

#[test]
fn a_partition_at_the_first_byte_has_no_uuid_that_stands_for_the_disk() {
    let size = 8 * GIB;
    let mut content = two_file_systems(size);
    content.tables.iter_mut().for_each(|table| {
        table.scheme = Scheme::Mbr;
        table.partitions[0].extent = Extent::between(0, GIB);
        table
            .partitions
            .iter_mut()
            .for_each(|partition| partition.guid.clear());
    });
    content.signatures[0].of = Extent::between(0, GIB);
    let name = content.signatures[0].uuid.clone().unwrap();
    let report = verdict(content, size, &intent(Mode::Install, &[&name]));
    assert_eq!((deleted(&report), faults(&report).len()), (vec![], 1));
}

#[test]
fn what_only_another_table_lists_is_asked_about_when_it_is_named() {
    let size = 8 * GIB;
    let mut content = two_file_systems(size);
    content.tables[0].partitions.truncate(1);
    let names = ["a5f2c1de-0f0b-4b0f-9a52-7a4b6a7a9c10", "1111-4ABC"];
    let report = verdict(content, size, &intent(Mode::Install, &names));
    let asked = report
        .findings
        .iter()
        .filter(|f| f.code == Code::DtDelete && f.severity == Severity::Confirm);
    assert_eq!(
        (asked.count(), faults(&report)),
        (2, vec![]),
        "{:#?}",
        report.findings
    );
}

#[test]
fn a_name_on_one_partition_does_not_release_what_another_table_has_there() {
    let size = 8 * GIB;
    // The believed table has "small", the backup one "big" from the same byte on.
    let mut content = two_file_systems(size);
    let small = content.tables[0].partitions[1].clone();
    let big = Partition {
        guid: "44444444-0000-4000-8000-000000000001".into(),
        name: "big".into(),
        ..small
    };
    content.tables[1].partitions[1] = Partition {
        extent: Extent {
            length: 4 * GIB,
            ..big.extent
        },
        ..big
    };
    let name = ["1111-4ABC", "a5f2c1de-0f0b-4b0f-9a52-7a4b6a7a9c10"];
    let report = verdict(content.clone(), size, &intent(Mode::Install, &name));
    assert_eq!(
        (report.verdict, deleted(&report)),
        (Verdict::Refuse, vec![1, 2]),
        "{:#?}",
        report.findings
    );
    let touched = report
        .findings
        .iter()
        .find(|finding| finding.code == Code::DtTouch)
        .unwrap();
    assert!(touched.subject.contains("big"), "{touched:?}");
    // Without GUIDs there is only the place, which is that of both.
    content
        .tables
        .iter_mut()
        .flat_map(|table| &mut table.partitions)
        .for_each(|partition| partition.guid.clear());
    let report = verdict(content, size, &intent(Mode::Install, &name));
    assert_eq!(
        (deleted(&report), faults(&report).len()),
        (vec![1], 1),
        "{:#?}",
        report.findings
    );
}

#[test]
fn a_name_for_nothing_stops_unless_an_earlier_run_was_given_it() {
    let size = 20 * GIB;
    let name = "6B1BBD0A-98ef-4a5d-8c1c-1c0e4c3e2a11";
    let judged = |content: &Content, named_before: &[&str]| {
        let intent = Intent {
            named_before: named_before.iter().map(|&name| name.to_owned()).collect(),
            ..intent(Mode::Reimage, &[name])
        };
        verdict(content.clone(), size, &intent)
    };
    let own = ours("w1", size);
    let mistyped = judged(&own, &[]);
    let unknown = format!("nothing on it is called {name}, which was named for deletion");
    assert_eq!(faults(&mistyped), [unknown.as_str()]);
    assert!(mistyped.token.is_none(), "{:#?}", mistyped.findings);
    // On a disk that is divided its first byte is nothing's, unless something describes the whole of it.
    let whole = verdict(own.clone(), size, &intent(Mode::Reimage, &["@0"]));
    assert_eq!(faults(&whole).len(), 1, "{:#?}", whole.findings);
    let other = "1b1bbd0a-98ef-4a5d-8c1c-1c0e4c3e2a11";
    assert_eq!(faults(&judged(&own, &[other])), [unknown.as_str()]);

    // As it was given then, or as blkid writes it.
    for was in [name.to_owned(), name.to_lowercase()] {
        let again = judged(&own, &[&was]);
        assert_eq!(again.verdict, Verdict::Ok, "{:#?}", again.findings);
        let told = again.findings.iter().find(|f| f.code == Code::DtDelete);
        assert!(told.unwrap().evidence.contains(name));
    }
    // Also where that run did not come to the table: what describes the whole disk is cleared before.
    let foreign = two_file_systems(size);
    assert_eq!(faults(&judged(&foreign, &[])), [unknown.as_str()]);
    assert_eq!(faults(&judged(&foreign, &[name])), [""; 0]);

    // What was given is not kept any more; that a run has not come to its end shows on the disk.
    for mark in [PARTIAL, RELEASED] {
        let mut begun = own.clone();
        let listed = begun
            .tables
            .iter_mut()
            .flat_map(|t| t.partitions.iter_mut());
        let roots = listed.filter(|one| one.name == "root-a");
        roots.for_each(|one| one.type_id = mark.to_string());
        let again = judged(&begun, &[]);
        assert_eq!(faults(&again), [""; 0], "{:#?}", again.findings);
    }
    // Data that the node is yet to make is no sign of such a run.
    let mut new = own;
    let listed = new.tables.iter_mut().flat_map(|t| t.partitions.iter_mut());
    let data = listed.filter(|one| one.name == "data");
    data.for_each(|one| one.type_id = PARTIAL.to_string());
    assert_eq!(faults(&judged(&new, &[])), [unknown.as_str()]);
}

/// The signature of before survives in the new partition until the image's first bytes come.
#[test]
fn a_name_is_not_for_what_an_interrupted_run_has_begun() {
    let size = 20 * GIB;
    let mut begun = ours("w1", size);
    let boot = begun.partitions()[0].extent;
    let listed = begun
        .tables
        .iter_mut()
        .flat_map(|t| t.partitions.iter_mut());
    let boots = listed.filter(|one| one.extent == boot);
    boots.for_each(|one| one.type_id = PARTIAL.to_string());
    begun.signatures.retain(|one| one.of != boot);
    let old = signature("ext4", boot, 1080, 2);
    let name = old.uuid.clone().unwrap();
    begun.signatures.push(old);
    let report = verdict(begun, size, &intent(Mode::Reimage, &[&name]));
    assert_eq!((deleted(&report), faults(&report)), (vec![], vec![]));
    assert_eq!(report.verdict, Verdict::Ok, "{:#?}", report.findings);
}

#[test]
fn what_a_stray_table_lists_has_no_name() {
    let size = 8 * GIB;
    let mut content = two_file_systems(size);
    let stray = entry(
        1,
        3 * GIB,
        GIB,
        "old",
        "55555555-0000-4000-8000-000000000001",
    );
    content.tables.push(Table {
        place: Place::Stray,
        partitions: vec![stray.clone()],
        ..content.tables[0].clone()
    });
    for name in [stray.guid, format!("@{}", 3 * GIB)] {
        let report = verdict(content.clone(), size, &intent(Mode::Install, &[&name]));
        assert_eq!(
            faults(&report),
            [format!(
                "nothing on it is called {name}, which was named for deletion"
            )]
        );
    }
}
