//! Partitions of the node's own that an interrupted run has listed: what is blank is made anew, all else stays.

use prejoin_formats::gpt::types;

use super::*;

/// The node's disk between the first bytes of the image and the last table: state and data are there and blank.
fn interrupted(size: u64) -> Content {
    let mut content = ours("w1", size);
    let partial = prejoin_disk::write::PARTIAL.to_string();
    let marked = content
        .tables
        .iter_mut()
        .flat_map(|table| &mut table.partitions);
    marked.for_each(|partition| partition.type_id = partial.clone());
    for number in [7, 8] {
        let of = content.partitions()[number - 1].extent;
        content.signatures.retain(|signature| signature.of != of);
        let looks = content.blankness.iter_mut().filter(|look| look.of == of);
        looks.for_each(|look| look.first = None);
        content.blankness.push(Blankness {
            of: head(of),
            read: MIB,
            first: None,
        });
    }
    content
}

/// Whether somebody has used what a run has cleared: the first MiB is not blank, or something is known of it.
fn is_used(content: &Content, of: Extent) -> bool {
    let is_blank = |look: &Blankness| look.of == head(of) && look.read == MIB;
    let mut looks = content.blankness.iter();
    let blank = looks.any(|look| is_blank(look) && look.first.is_none());
    !blank || content.signatures.iter().any(|found| found.of == of)
}

fn head(of: Extent) -> Extent {
    Extent { length: MIB, ..of }
}

/// Names of what is kept, after the checks that hold for each.
fn kept(content: &Content) -> Vec<String> {
    let size = 8 * GIB;
    let report = verdict(content.clone(), size, &intent(Mode::Reimage, &[]));
    assert_eq!(report.verdict, Verdict::Ok, "{:#?}", report.findings);
    let plan = report.plan.unwrap();
    for before in &content.partitions()[6..] {
        let after = plan.after.iter().find(|after| after.guid == before.guid);
        let type_guid = match is_used(content, before.extent) {
            true => types::LINUX.to_string(),
            false => prejoin_disk::write::PARTIAL.to_string(),
        };
        assert_eq!(
            after.map(|after| (after.extent, &after.type_guid)),
            Some((before.extent, &type_guid)),
            "where it was, and marked as long as nobody has used it"
        );
    }
    for kept in &plan.kept {
        let mut writes = plan::writes(&plan).into_iter();
        assert!(writes.all(|write| !write.meets(&kept.extent)), "{kept:?}");
    }
    plan.kept.into_iter().map(|kept| kept.name).collect()
}

#[test]
fn what_is_blank_is_made_anew() {
    assert_eq!(kept(&interrupted(8 * GIB)), [""; 0]);
}

#[test]
fn what_is_used_without_a_signature_stays() {
    let content = interrupted(8 * GIB);
    let data = content.partitions()[7].extent;
    let changed = |change: &dyn Fn(&mut Content)| {
        let mut content = content.clone();
        change(&mut content);
        kept(&content)
    };
    let look = |of: Extent, change: fn(&mut Blankness, Extent)| {
        changed(&|content| {
            let looks = content.blankness.iter_mut().filter(|look| look.of == of);
            looks.for_each(|look| change(look, of));
        })
    };
    let data_alone = ["data"];
    let far = |look: &mut Blankness, of: Extent| look.first = Some(of.start + GIB);
    let last = |look: &mut Blankness, of: Extent| look.first = Some(of.end() - 512);
    assert_eq!(look(data, far), data_alone, "in a sample of it");
    assert_eq!(look(head(data), last), data_alone, "in its first MiB");
    let less = |look: &mut Blankness, _| look.read -= 512;
    assert_eq!(look(head(data), less), data_alone, "not all was read");
    let none = |look: &mut Blankness, _| look.read = 0;
    assert_eq!(look(data, none), data_alone, "it was not looked at");
    let gone = changed(&|content| content.blankness.retain(|look| look.of != head(data)));
    assert_eq!(gone, data_alone, "nor its head");
    // Older facts have no heads.
    let gone = changed(&|content| content.blankness.retain(|look| look.of.length > MIB));
    assert_eq!(gone, ["state", "data"]);
}

#[test]
fn a_mark_of_an_interrupted_run_does_not_hide_that_the_node_has_run() {
    let content = interrupted(8 * GIB);
    let state = content.partitions()[6].extent;
    let mut used = content.clone();
    used.signatures.push(signature("ext4", state, 1080, 2));
    assert_eq!(kept(&used), ["state"]);
    // What was there before the run may have left further copies of its superblock, or they are all that is left of
    // what is there now.
    used.signatures[0].copy = true;
    assert_eq!(kept(&used), ["state"]);
    let mut used = content;
    used.inside.push(Inside {
        of: state,
        kind: "etcd".into(),
        path: "/lib/etcd".into(),
        detail: vec![],
    });
    assert_eq!(kept(&used), ["state"]);
}
