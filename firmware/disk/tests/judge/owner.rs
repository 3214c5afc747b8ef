//! Whose a partition is: the node's by its GUID, another node's by all that an image gives it, nobody else's by a name.

use prejoin_formats::gpt::types;

use super::*;

/// Names of all partitions that an image brings.
const SYSTEM: [&str; 6] = [
    "boot",
    "root-a",
    "root-a-verity",
    "root-b",
    "root-b-verity",
    "identity",
];

const FOREIGN: &str = "77777777-0000-4000-8000-000000000007";

/// Changes a partition in all tables.
fn change(content: &mut Content, number: u32, change: impl Fn(&mut Partition)) {
    let all = content
        .tables
        .iter_mut()
        .flat_map(|table| &mut table.partitions);
    all.filter(|partition| partition.number == number)
        .for_each(change);
}

/// Adds a partition to all tables.
fn add(content: &mut Content, partition: &Partition) {
    for table in &mut content.tables {
        table.partitions.push(partition.clone());
    }
    content.blankness.push(Blankness {
        of: partition.extent,
        read: MIB,
        first: Some(partition.extent.start),
    });
}

/// Whether not a byte of it would be written, and its entry stays.
fn stays(report: &Report, partition: &Partition) -> bool {
    let plan = report.plan.as_ref().unwrap();
    let kept = plan.kept.iter().any(|kept| kept.guid == partition.guid);
    let written = plan::writes(plan)
        .iter()
        .any(|write| write.meets(&partition.extent));
    kept && (!written || report.verdict == Verdict::Refuse)
}

#[test]
fn a_name_alone_releases_nothing() {
    let size = 16 * GIB;
    for node in ["w1", "w2"] {
        for (name, type_guid) in SYSTEM.into_iter().zip([
            types::ESP,
            types::ROOT_AMD64,
            types::ROOT_VERITY_AMD64,
            types::ROOT_AMD64,
            types::ROOT_VERITY_AMD64,
            types::BASIC_DATA,
        ]) {
            for (kind, inside) in [
                (None, None),
                (Some("ext4"), None),
                (Some("vfat"), Some("efi-boot")),
            ] {
                let mut content = ours(node, size);
                content
                    .tables
                    .iter_mut()
                    .for_each(|table| table.partitions.truncate(7));
                // State has 2 GiB.
                let photos = Partition {
                    type_id: type_guid.to_string(),
                    ..entry(9, 6 * GIB, GIB, name, FOREIGN)
                };
                add(&mut content, &photos);
                let found = kind.map(|kind| signature(kind, photos.extent, 1080, 2));
                content.signatures.extend(found);
                content.inside.extend(inside.map(|kind| Inside {
                    of: photos.extent,
                    kind: kind.into(),
                    path: "/".into(),
                    detail: vec![],
                }));
                for mode in [Mode::Install, Mode::Reimage] {
                    let report = verdict(content.clone(), size, &intent(mode, &[]));
                    assert!(
                        stays(&report, &photos),
                        "{node} {name} {kind:?}: {:#?}",
                        report.findings
                    );
                }
            }
        }
    }
}

#[test]
fn on_the_nodes_own_disk_only_guids_count() {
    let size = 8 * GIB;
    for number in 1..=6 {
        // All else is as an image has it.
        let mut content = ours("w1", size);
        change(&mut content, number, |p| p.guid = FOREIGN.into());
        let partition = content.partitions()[number as usize - 1].clone();
        let report = verdict(content.clone(), size, &intent(Mode::Reimage, &[]));
        assert_eq!(report.verdict, Verdict::Refuse, "{number}");
        assert!(stays(&report, &partition), "{number}");
        let named = verdict(content, size, &intent(Mode::Reimage, &[FOREIGN]));
        assert_eq!(
            named.verdict,
            Verdict::NeedsConfirmation,
            "{number}: {:#?}",
            named.findings
        );
        // And renamed or retyped it is still the node's.
        let mut content = ours("w1", size);
        change(&mut content, number, |p| {
            p.name = "mine".into();
            p.type_id = types::LINUX.to_string();
        });
        let report = verdict(content, size, &intent(Mode::Reimage, &[]));
        assert_eq!(
            report.verdict,
            Verdict::Ok,
            "{number}: {:#?}",
            report.findings
        );
    }
}

#[test]
fn another_nodes_system_is_known_by_name_and_type_and_place_and_content() {
    let size = 16 * GIB;
    let image = sample("w1", 512, Some(2 * GIB), true);
    let own = region::Own::of(&image.manifest, &image.handoff);
    let is_system = |content: &Content, number: u32| {
        let partition = content.partitions().iter().find(|p| p.number == number);
        region::owner(content, partition.unwrap(), Some(&own)).is_some()
    };
    let content = ours("w2", size);
    for number in 1..=8 {
        assert_eq!(is_system(&content, number), number < 7, "{number}");
    }
    for number in 1..=6 {
        let differs = |what: &str, change: &dyn Fn(&mut Content, Extent)| {
            let mut content = content.clone();
            let of = content.partitions()[number as usize - 1].extent;
            change(&mut content, of);
            assert!(!is_system(&content, number), "{number}: {what}");
        };
        differs("another name", &|content, _| {
            change(content, number, |p| p.name = "photos".into())
        });
        differs("the name of a neighbour", &|content, _| {
            let name = SYSTEM[number as usize % 6];
            change(content, number, |p| p.name = name.into());
        });
        differs("another type", &|content, _| {
            change(content, number, |p| p.type_id = types::LINUX.to_string())
        });
        differs("another place", &|content, _| {
            change(content, number, |p| {
                p.extent.start += MIB;
                p.extent.length -= MIB;
            });
        });
        differs("another file system", &|content, of| {
            content.signatures.retain(|signature| signature.of != of);
            content.signatures.push(signature("xfs", of, 0, 4));
        });
        differs("something beside it", &|content, of| {
            content.signatures.push(signature("crypto_LUKS", of, 0, 4));
        });
        differs("nothing that is known", &|content, of| {
            content.signatures.retain(|signature| signature.of != of);
            let blankness = content.blankness.iter_mut().filter(|look| look.of == of);
            blankness.for_each(|look| look.first = Some(of.start + 4096));
        });
        // A file system of the right kind, with photographs.
        if number != 3 && number != 5 {
            differs("another content", &|content, of| {
                let kind = if number % 5 == 1 { "vfat" } else { "ext4" };
                content.inside.retain(|inside| inside.of != of);
                content.signatures.retain(|signature| signature.of != of);
                content.signatures.push(signature(kind, of, 1080, 2));
            });
        }
    }
    // Blank is a second slot that was never filled, when it was looked at.
    let mut content = content;
    let slot = content.partitions()[3].extent;
    content.blankness.retain(|look| look.of != slot);
    assert!(!is_system(&content, 4));
}

#[test]
fn what_uuids_name_on_a_guid_that_is_there_twice() {
    let size = 3 * GIB;
    let guid = guid("w2", "root-a").to_string();
    let (first, second) = (
        entry(1, 0, MIB, "root-a", &guid),
        entry(3, MIB, MIB, "root-a", &guid),
    );
    let mut content = gpt(vec![first.clone(), second.clone()], size);
    content.tables[0].partitions.truncate(1);
    for (partition, uuid) in [(&first, "one"), (&second, "two")] {
        content.signatures.push(Signature {
            uuid: Some(uuid.into()),
            ..signature("ext4", partition.extent, 1080, 2)
        });
    }
    // Only the backup copy lists the second one, which was named; the first one is somebody's data.
    let report = verdict(content, size, &intent(Mode::Install, &["two"]));
    assert!(stays(&report, &first), "{:#?}", report.findings);
    let deleted = report.plan.unwrap().before;
    assert!(deleted.iter().all(|entry| entry.origin == Origin::Kept));
}
