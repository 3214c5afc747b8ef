//! Names are the user's: what is the node's own is told by GUID.

use prejoin_disk::plan::{table, writes};
use prejoin_wire::disk::{Blankness, Code, Extent, Finding, Mode, Origin, Partition, Verdict};
use uuid::Uuid;

use crate::sample::{GIB, MIB, guid};
use crate::{entry, intent, ours, signature, verdict};

const SIZE: u64 = 8 * GIB;

#[test]
fn a_state_and_data_with_other_names_are_kept() {
    let mut content = ours("w1", SIZE);
    for table in &mut content.tables {
        table.partitions[6].name = "var".into();
        table.partitions[7].name = "longhorn".into();
    }
    let report = verdict(content, SIZE, &intent(Mode::Reimage, &[]));
    assert_eq!(report.verdict, Verdict::Ok, "{:#?}", report.findings);
    let plan = report.plan.unwrap();
    let kept: Vec<&str> = plan.kept.iter().map(|kept| kept.name.as_str()).collect();
    assert_eq!(kept, ["var", "longhorn"], "they keep their names, too");
    assert!(plan.after.iter().all(|entry| entry.origin != Origin::Node));
    let after = table(&plan.after, &Uuid::default(), 512, SIZE);
    for name in ["state", "data"] {
        assert!(after.with_guid(&guid("w1", name)).is_some(), "{name}");
    }
}

/// Somebody's partition of 1 GiB at the end of the disk, and room for the node's own in front of it.
fn beside(name: &str) -> Partition {
    let foreign = guid("somebody", name).to_string();
    entry(9, SIZE - MIB - GIB, GIB, name, &foreign)
}

#[test]
fn somebodys_partition_may_be_called_as_ours_are() {
    for name in ["state", "data"] {
        let mut content = ours("w1", SIZE);
        let somebodys = beside(name);
        for table in &mut content.tables {
            // Without the node's own data, which has taken the rest of the disk.
            table.partitions.truncate(7);
            table.partitions.push(somebodys.clone());
        }
        let listed: Vec<Extent> = content.partitions().iter().map(|p| p.extent).collect();
        content
            .signatures
            .retain(|found| listed.contains(&found.of));
        content.blankness.retain(|look| listed.contains(&look.of));
        content
            .signatures
            .push(signature("ext4", somebodys.extent, 1080, 2));
        content.blankness.push(Blankness {
            of: somebodys.extent,
            read: MIB,
            first: Some(somebodys.extent.start),
        });
        let report = verdict(content, SIZE, &intent(Mode::Reimage, &[]));
        assert_eq!(
            report.verdict,
            Verdict::Ok,
            "{name}: {:#?}",
            report.findings
        );
        let subject = format!("partition 9 \"{name}\" ({})", somebodys.guid);
        let said = |finding: &&Finding| finding.code == Code::DtKeep && finding.subject == subject;
        assert_eq!(report.findings.iter().filter(said).count(), 1, "{name}");
        let plan = report.plan.unwrap();
        assert!(plan.kept.iter().any(|kept| kept.extent == somebodys.extent));
        let is_met = |write: &Extent| write.meets(&somebodys.extent);
        assert!(!writes(&plan).iter().any(is_met), "{name}");
        // The node's own data is made beside it, under its own GUID.
        let made: Vec<&str> = plan
            .after
            .iter()
            .filter(|entry| entry.origin == Origin::Node)
            .map(|entry| entry.guid.as_str())
            .collect();
        assert_eq!(made, [guid("w1", "data").to_string()], "{name}");
    }
}
