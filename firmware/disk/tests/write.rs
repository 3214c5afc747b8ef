//! The writer: equal to the image where it must be, untouched everywhere else, on disks that fail and with chunks that
//! are wrong.
#![allow(clippy::unwrap_used, reason = "tests")]
#![expect(
    clippy::disallowed_methods,
    reason = "one test kills a process that writes a file"
)]

mod support;

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::FileExt as _;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use prejoin_disk::device::{ReadAt, WriteAt};
use prejoin_disk::io::journal::FileJournal;
use prejoin_disk::write::{
    Error, Event, Journal as _, Options, Phase, Record, Saved, before, restore,
};
use prejoin_wire::disk::{Entry, Extent, Origin};
use proptest::prelude::*;

use support::{Fault, Medium, Notes, Old, Op, Random, SIZES, Scenario};

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn equal_where_it_must_be_and_untouched_elsewhere(seed: u64, threads in 1usize..5, read_back: bool, first: bool) {
        let scenario = Scenario::random(seed);
        let medium = Medium::new(scenario.old.clone());
        let options = Options { threads, read_back, verify_first: first, size_check: !first, sizes: SIZES };
        let report = scenario.run(&medium, None, options, &|_| {}).unwrap();
        prop_assert!(medium.bytes() == scenario.new);
        let allowed = scenario.allowed();
        for op in medium.log() {
            if let Some(extent) = op.extent() {
                prop_assert!(allowed.iter().any(|allowed| allowed.covers(&extent)), "{extent:?}");
                prop_assert!(!scenario.plan.kept.iter().any(|kept| kept.extent.meets(&extent)), "{extent:?}");
            }
        }
        let image: u64 = scenario.plan.image_extents.iter().map(|extent| extent.length).sum();
        prop_assert_eq!(report.written + report.zeroed + report.equal, image);
        prop_assert_eq!((report.repairs, report.resumed), (0, 0));
        prop_assert!(report.kept.iter().all(|proof| proof.before == proof.after));
        prop_assert_eq!(report.kept.len(), scenario.plan.kept.len());
        if read_back && !first {
            prop_assert_eq!(report.verified, image + report.cleared);
        }
    }

    #[test]
    fn a_second_look_writes_nothing_and_a_change_only_itself(seed: u64) {
        let scenario = Scenario::random(seed);
        let medium = Medium::new(scenario.new.clone());
        let report = scenario.write(&medium, None, true).unwrap();
        prop_assert_eq!(medium.writes(), 0);
        prop_assert_eq!((report.written, report.zeroed, report.tables), (0, 0, 0));

        let mut random = Random(seed);
        let extents = &scenario.plan.image_extents;
        let extent = extents[random.below(extents.len() as u64) as usize];
        let at = extent.start + random.below(extent.length);
        let mut disk = scenario.new.clone();
        disk[at as usize] ^= 1;
        let medium = Medium::new(disk);
        let report = scenario.write(&medium, None, true).unwrap();
        prop_assert!(medium.bytes() == scenario.new);
        prop_assert!(report.written + report.zeroed <= SIZES.zero);
        prop_assert!(medium.log().iter().filter_map(Op::extent).any(|extent| extent.start <= at && at < extent.end()));
    }

    #[test]
    fn old_tables_are_put_back(seed: u64, cut: u64) {
        put_back(seed, cut);
    }
}

/// What the test of the size writes is in the printed ranges, and a cut in the midst of it leaves no other disk behind.
#[test]
fn a_cut_while_the_size_is_tested_is_harmless() {
    let mut tested = 0;
    for (seed, old) in (90..).zip(Old::ALL) {
        let scenario = Scenario::new(seed, old, 512);
        let options = Options {
            threads: 1,
            size_check: true,
            sizes: SIZES,
            ..Options::default()
        };
        let medium = Medium::new(scenario.old.clone());
        scenario.run(&medium, None, options, &|_| {}).unwrap();
        assert!(medium.bytes() == scenario.new);
        let log = medium.log();
        let writes = log.iter().filter(|op| op.extent().is_some());
        let writes: Vec<&Op> = writes.take(2).collect();
        let turned = |at: u64, bytes: &[u8]| {
            let old = scenario.old[at as usize..].iter();
            bytes.iter().zip(old).all(|(&byte, &old)| byte == !old)
        };
        // Where the copy at the end is the one that counts, nothing is tested.
        if !matches!(writes[0], Op::Write(at, bytes) if turned(*at, bytes)) {
            continue;
        }
        let mut disk = scenario.old.clone();
        for op in writes {
            // Half of a write, and then all of it.
            if let Op::Write(at, bytes) = op {
                tested += 1;
                Op::Write(*at, bytes[..bytes.len() / 1024 * 512].to_vec()).apply(&mut disk);
                harmless(&scenario, &disk);
            }
            op.apply(&mut disk);
            harmless(&scenario, &disk);
        }
        assert!(disk == scenario.old);
    }
    assert!(tested >= 8, "{tested}");
}

/// No sector is other than before but at the end, none that was blank holds anything, and the image can be written.
fn harmless(scenario: &Scenario, disk: &[u8]) {
    let end = scenario.plan.table_extents.last().unwrap().start as usize;
    assert!(disk[..end] == scenario.old[..end]);
    let is_blank = |sector: &[u8]| {
        sector
            .iter()
            .all(|&byte| byte == sector[0] && [0, 255].contains(&byte))
    };
    for (old, now) in scenario.old.chunks(512).zip(disk.chunks(512)) {
        assert_eq!(is_blank(old), is_blank(now));
    }
    let medium = Medium::new(disk.to_vec());
    scenario.write(&medium, None, false).unwrap();
    assert!(medium.bytes() == scenario.new);
}

/// The copy that counted was in the midst of the disk, where the image is now.
#[test]
fn an_old_table_is_not_put_back_into_the_image() {
    put_back(1858512456888925324, 4252748393609691753);
}

/// The old table comes back, and what a cut leaves of writing the new one is known again.
fn put_back(seed: u64, cut: u64) {
    let scenario = Scenario::random(seed);
    let medium = Medium::new(scenario.old.clone());
    let saved = before(&scenario.plan, &medium).unwrap();
    let saved: Saved = serde_json::from_str(&serde_json::to_string(&saved).unwrap()).unwrap();
    assert_eq!(medium.writes(), 0);
    scenario.write(&medium, None, false).unwrap();
    let written = medium.log().len();
    restore(&medium, &saved).unwrap();
    let bytes = medium.bytes();
    let places = &scenario.plan.table_extents;
    let parts = places.iter().map(|at| at.start as usize..at.end() as usize);
    let same = parts.map(|part| bytes[part.clone()] == scenario.old[part]);
    // As it was, or the same in the places where a table belongs.
    assert!(same.min().unwrap() || scenario.listed(&bytes) == scenario.listed(&scenario.old));
    assert!(scenario.listed(&bytes).is_some() || scenario.listed(&scenario.old).is_none());

    let log = medium.log()[..written].to_vec();
    let mut disk = scenario.old.clone();
    let at = (cut % (written as u64 + 1)) as usize;
    log[..at].iter().for_each(|op| op.apply(&mut disk));
    if let Some(Op::Write(at, bytes)) = log.get(at) {
        Op::Write(*at, bytes[..bytes.len() / 1024 * 512].to_vec()).apply(&mut disk);
    }
    let half = Medium::new(disk.clone());
    assert!(
        saved.precedes(&scenario.plan, &half).unwrap(),
        "cut while it is written"
    );
    assert!(saved.is_of(&half).unwrap(), "cut while it is written");
    let mut other = scenario.whole.clone();
    other.disk_guid = other.partitions[0].guid;
    Op::Write(0, other.primary().unwrap()).apply(&mut disk);
    let other = Medium::new(disk);
    assert!(
        !saved.precedes(&scenario.plan, &other).unwrap_or(false),
        "another table"
    );
    assert!(!saved.is_of(&other).unwrap(), "another table");

    let log = medium.log()[written..].to_vec();
    let mut disk = scenario.new.clone();
    let cut = (cut % (log.len() as u64 + 1)) as usize;
    log[..cut].iter().for_each(|op| op.apply(&mut disk));
    assert_eq!(scenario.check(&disk), Ok(()));
}

#[test]
fn the_order_of_things() {
    let scenario = Scenario::new(7, Old::Good, 512);
    let medium = Medium::new(scenario.old.clone());
    let events = Mutex::new(Vec::new());
    let options = Options {
        threads: 1,
        sizes: SIZES,
        ..Options::default()
    };
    let journal = Notes::new(&medium, Vec::new());
    scenario
        .run(&medium, Some(&journal), options, &|event| {
            events.lock().unwrap().push(event)
        })
        .unwrap();

    let phases = |events: &[Event]| -> Vec<Phase> {
        events
            .iter()
            .filter_map(|event| {
                if let Event::End { phase } = event {
                    Some(*phase)
                } else {
                    None
                }
            })
            .collect()
    };
    let events = events.into_inner().unwrap();
    use Phase::*;
    let rest = [Clear, Table, Write, Verify, Heads, Commit];
    match scenario.plan.released.is_empty() {
        true => assert_eq!(phases(&events), rest),
        // What was named for deletion is listed as going before it is cleared.
        false => assert_eq!(phases(&events), [&[Table], &rest[..]].concat()),
    }
    let mut last = None;
    for event in &events {
        match *event {
            Event::Begin { phase, total } => last = Some((phase, 0, 0, total)),
            Event::Progress {
                phase,
                sent,
                done,
                total,
            } => {
                let (begun, before_sent, before_done, all) = last.unwrap();
                assert!(
                    begun == phase && all == total && sent <= total && done <= sent,
                    "{event:?}"
                );
                assert!(sent >= before_sent && done >= before_done, "{event:?}");
                last = Some((phase, sent, done, total));
            }
            Event::End { .. } => {
                let (_, sent, done, total) = last.unwrap();
                assert!(sent == total && done == total, "{last:?}");
            }
            Event::Repair { .. } => panic!("{event:?}"),
        }
    }

    // Nothing is said to be written before a flush, and no more than a group is unflushed.
    let mut unflushed: Vec<Extent> = Vec::new();
    let mut flushed: Vec<Extent> = Vec::new();
    for op in medium.log() {
        match op {
            Op::Flush => flushed.append(&mut unflushed),
            Op::Append(Record::Written { extents }) => {
                for extent in extents {
                    assert!(
                        unflushed.iter().all(|late| !late.meets(&extent)),
                        "{extent:?}"
                    );
                    assert!(
                        flushed.iter().any(|early| early.meets(&extent)),
                        "{extent:?}"
                    );
                }
            }
            _ => unflushed.extend(op.extent()),
        }
        assert!(
            unflushed.iter().map(|extent| extent.length).sum::<u64>() <= SIZES.group + SIZES.zero
        );
    }

    // The first bytes of a partition come after all of the rest, those of boot partitions last of all.
    let writes: Vec<Extent> = medium.log().iter().filter_map(Op::extent).collect();
    let rank = |extent: &Extent| {
        let entry = scenario
            .plan
            .after
            .iter()
            .find(|entry| entry.extent.covers(extent))?;
        let head = extent.start < entry.extent.start + SIZES.head;
        let boot = entry.type_guid == prejoin_formats::gpt::types::ESP.to_string();
        scenario
            .plan
            .image_extents
            .iter()
            .any(|image| image.covers(extent))
            .then_some((head, head && boot))
    };
    let ranks: Vec<_> = writes.iter().filter_map(rank).collect();
    assert!(ranks.is_sorted(), "{ranks:?}");
    assert_eq!(
        ranks.iter().collect::<BTreeSet<_>>().len(),
        3,
        "the scenario has no boot partition"
    );
}

/// Every operation fails once, and, in another run, it and all after it do.
#[test]
fn a_failing_disk_is_an_error_and_loses_nothing() {
    let (mut errors, mut mended) = (0, 0);
    for (seed, old) in Old::ALL.into_iter().enumerate() {
        let scenario = Scenario::new(seed as u64 + 50, old, 512);
        let medium = Medium::new(scenario.old.clone());
        scenario.write(&medium, None, false).unwrap();
        let operations = medium.operations();
        for number in 1..=operations {
            for fault in [Fault::Fail(number), Fault::Dead(number)] {
                let medium = Medium::with(scenario.old.clone(), fault);
                let notes = Notes::new(&medium, Vec::new());
                match scenario.write(&medium, Some(&notes), false) {
                    // Reading back, or the table as it was, is tried again.
                    Ok(_) => {
                        assert!(matches!(fault, Fault::Fail(_)), "a dead disk is no success");
                        assert!(medium.bytes() == scenario.new);
                        mended += 1;
                    }
                    Err(error) => {
                        errors += 1;
                        assert!(error.hint().is_some(), "{error}");
                    }
                }
                let disk = medium.bytes();
                scenario
                    .check(&disk)
                    .unwrap_or_else(|error| panic!("{old:?}, {fault:?}: {error}"));
                let again = Medium::new(disk);
                let records = notes.records.into_inner().unwrap();
                scenario
                    .write(&again, Some(&Notes::new(&again, records)), false)
                    .unwrap();
                assert!(again.bytes() == scenario.new, "{old:?}, {fault:?}");
            }
        }
    }
    assert!(
        errors > 1000 && mended > 100,
        "{errors} errors, {mended} mended"
    );
}

#[test]
fn saved_tables_know_whether_what_was_kept_has_changed() {
    let scenario = Scenario::new(7, Old::Good, 512);
    let saved = before(&scenario.plan, &Medium::new(scenario.old.clone())).unwrap();
    let changed = |disk: Vec<u8>| {
        let compared = saved.compare(&Medium::new(disk)).unwrap();
        compared
            .into_iter()
            .filter(|(_, same)| !same)
            .map(|(kept, _)| kept.number)
            .collect::<Vec<_>>()
    };
    assert!(saved.kept.len() > 1 && changed(scenario.new.clone()).is_empty());
    let kept = &saved.plan.kept[1];
    let mut disk = scenario.new.clone();
    disk[kept.extent.start as usize + 5] ^= 1;
    assert_eq!(changed(disk), [kept.number]);

    // A file that somebody has edited.
    let refused = |change: fn(&mut Saved)| {
        let mut saved = saved.clone();
        change(&mut saved);
        let medium = Medium::new(scenario.new.clone());
        let errors = [
            restore(&medium, &saved).unwrap_err(),
            saved.compare(&medium).unwrap_err(),
            saved.is_of(&medium).unwrap_err(),
            saved.writes().unwrap_err(),
        ];
        assert_eq!(medium.writes(), 0);
        let [first, rest @ ..] = errors.map(|error| error.to_string());
        assert!(rest.iter().all(|other| *other == first), "{rest:?}");
        first
    };
    assert!(
        refused(|saved| saved.areas[0].offset = saved.plan.kept[0].extent.start)
            .contains("over the kept partition")
    );
    assert!(refused(|saved| saved.kept.truncate(saved.kept.len() - 1)).contains("fingerprints of"));
    assert!(refused(|saved| saved.areas[0].offset = u64::MAX).contains("not from a disk of"));
    assert!(
        refused(|saved| saved.plan.kept[0].extent.length = u64::MAX).contains("not from a disk of")
    );
}

/// The table vanishes while nobody looks: before the first write it is a plan that does not fit, then a disk that fails.
#[test]
fn a_table_that_vanishes() {
    let lost = |phase: Phase, clear: bool| {
        let mut scenario = Scenario::new(7, Old::Good, 512);
        if !clear {
            scenario.plan.clear.clear();
        }
        let medium = Medium::new(scenario.old.clone());
        let options = Options {
            threads: 1,
            sizes: SIZES,
            ..Options::default()
        };
        let vanish = |event: Event| {
            if matches!(event, Event::Begin { phase: begun, .. } if begun == phase) {
                scenario
                    .plan
                    .table_extents
                    .iter()
                    .for_each(|extent| medium.damage(extent));
            }
        };
        scenario.run(&medium, None, options, &vanish).unwrap_err()
    };
    assert!(matches!(lost(Phase::Table, false), Error::NotListed { .. }));
    assert!(matches!(
        lost(Phase::Table, true),
        Error::Unlisted {
            phase: Phase::Table,
            ..
        }
    ));
    let error = lost(Phase::Commit, false);
    assert!(
        matches!(
            &error,
            Error::Unlisted {
                phase: Phase::Commit,
                ..
            }
        ) && error.hint().is_some(),
        "{error:?}"
    );
}

/// A partition that somebody has made since the plan is not dropped in silence.
#[test]
fn a_partition_that_appears() {
    let mut appeared = 0;
    for seed in 0..20 {
        let mut scenario = Scenario::new(seed, Old::Good, 512);
        scenario
            .plan
            .before
            .retain(|entry| entry.origin == Origin::Kept);
        let medium = Medium::new(scenario.old.clone());
        match scenario.write(&medium, None, false) {
            Err(Error::Appeared {
                phase: Phase::Compare,
                ..
            }) => {
                assert!(medium.bytes() == scenario.old, "{seed}: it was touched");
                appeared += 1;
            }
            done => drop(done.unwrap()),
        }
    }
    assert!(appeared > 0);
}

/// A disk that answers nothing any more is not one on which something is missing.
#[test]
fn a_disk_that_dies_is_no_table_that_vanishes() {
    let scenario = Scenario::new(7, Old::Good, 512);
    let medium = Medium::new(scenario.old.clone());
    scenario.write(&medium, None, false).unwrap();
    for number in 1..=medium.operations() {
        let medium = Medium::with(scenario.old.clone(), Fault::Dead(number));
        let error = scenario.write(&medium, None, false).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Io { .. } | Error::Flush { .. } | Error::Unstable { .. }
            ),
            "{error:?}"
        );
    }
}

#[test]
fn errors_say_where() {
    let scenario = Scenario::new(7, Old::Good, 512);
    let error = |number| {
        scenario
            .write(
                &Medium::with(scenario.old.clone(), Fault::Dead(number)),
                None,
                false,
            )
            .err()
    };
    let while_writing = |error: &Error| {
        matches!(
            error,
            Error::Io {
                phase: Phase::Write,
                doing: "writing",
                ..
            }
        )
    };
    let error = (1..)
        .find_map(|number| error(number).filter(while_writing))
        .unwrap();
    let Error::Io { spot, source, .. } = &error else {
        unreachable!()
    };
    assert_eq!(source.to_string(), "dead");
    let inside = |entry: &&Entry| {
        entry.extent.covers(&Extent {
            start: spot.offset,
            length: spot.length,
        })
    };
    let entry = scenario.plan.after.iter().find(inside).unwrap();
    assert_eq!(
        spot.owner,
        format!("partition {} {:?}", entry.number, entry.name)
    );
    assert_eq!(
        error.to_string(),
        format!(
            "writing: writing {}+{} ({})",
            spot.offset, spot.length, spot.owner
        )
    );
}

#[test]
fn a_wrong_bit_is_read_back_and_repaired() {
    let mut repaired = 0;
    for (seed, old) in Old::ALL.into_iter().enumerate() {
        let scenario = Scenario::new(seed as u64 + 80, old, 512);
        let medium = Medium::new(scenario.old.clone());
        scenario.write(&medium, None, false).unwrap();
        for number in 1..=medium.writes() {
            let medium = Medium::with(scenario.old.clone(), Fault::Flip(number));
            let repairs = Mutex::new(0);
            let options = Options {
                threads: 1,
                sizes: SIZES,
                ..Options::default()
            };
            let count = |event| {
                *repairs.lock().unwrap() += u64::from(matches!(event, Event::Repair { .. }))
            };
            let report = scenario.run(&medium, None, options, &count).unwrap();
            assert!(medium.bytes() == scenario.new, "{old:?}, write {number}");
            assert_eq!(report.repairs, repairs.into_inner().unwrap());
            repaired += report.repairs;
        }
    }
    assert!(repaired > 100, "{repaired}");
}

#[test]
fn a_bit_that_stays_wrong_is_an_error() {
    let scenario = Scenario::new(7, Old::Good, 512);
    let inside = scenario
        .plan
        .image_extents
        .iter()
        .chain(&scenario.plan.table_extents);
    for extent in inside {
        let at = extent.start + extent.length / 2;
        let medium = Medium::with(scenario.old.clone(), Fault::Stuck(at));
        let error = scenario.write(&medium, None, false).unwrap_err();
        let Error::Unstable {
            spot, repairs: 3, ..
        } = &error
        else {
            panic!("{error:?}")
        };
        assert!(
            (spot.offset..spot.offset + spot.length).contains(&at),
            "{error}"
        );
        scenario.check(&medium.bytes()).unwrap();
    }
}

/// A disk whose writes also land elsewhere, in a partition that is kept: this cannot be undone, but it is said, and
/// the image does not become bootable.
#[test]
fn a_changed_partition_is_loud() {
    let scenario = Scenario::new(7, Old::Good, 512);
    let kept = &scenario.plan.kept[0];
    let medium = Medium::with(scenario.old.clone(), Fault::Stray(9, kept.extent.start + 5));
    let error = scenario.write(&medium, None, false).unwrap_err();
    assert!(
        matches!(&error, Error::DataChanged { number, .. } if *number == kept.number),
        "{error:?}"
    );
    let partial = prejoin_disk::write::PARTIAL.to_bytes_le();
    let table = &medium.bytes()[..17408];
    assert!(
        table.windows(16).any(|bytes| bytes == partial),
        "the image's partitions are still partial"
    );
}

#[test]
fn a_wrong_chunk_is_refused_before_anything_of_it_is_written() {
    let mut scenario = Scenario::new(7, Old::Good, 512);
    let digests: Vec<_> = scenario.store.chunks.keys().copied().collect();
    let mut refused = 0;
    for digest in digests {
        scenario.store.wrong = Some(digest);
        let medium = Medium::new(scenario.old.clone());
        match scenario.write(&medium, None, false) {
            Err(Error::Chunk { digest: wrong, .. }) => assert_eq!(wrong, digest),
            // A chunk that is in no partition is not asked for.
            Ok(_) => continue,
            Err(other) => panic!("{other:?}"),
        }
        refused += 1;
        let places = scenario.manifest.placed().filter(|(_, range)| {
            matches!(range, prejoin_wire::manifest::Range::Data { digest: here, .. } if *here == digest)
        });
        let places: Vec<Extent> = places
            .map(|(start, range)| Extent {
                start,
                length: range.length(),
            })
            .collect();
        for op in medium.log() {
            if let Op::Write(start, bytes) = &op {
                let extent = Extent {
                    start: *start,
                    length: bytes.len() as u64,
                };
                assert!(
                    places.iter().all(|place| !place.meets(&extent)),
                    "{extent:?}"
                );
            }
        }
        scenario.check(&medium.bytes()).unwrap();
    }
    assert!(refused > 10, "{refused}");
}

#[test]
fn plans_that_contradict_themselves_touch_nothing() {
    let refused = |change: fn(&mut Scenario)| {
        let mut scenario = Scenario::new(7, Old::Good, 512);
        change(&mut scenario);
        let medium = Medium::new(scenario.old.clone());
        let error = scenario.write(&medium, None, false).unwrap_err();
        assert_eq!(medium.writes(), 0, "{error}");
        error.to_string()
    };
    let contains = |text: String, part: &str| assert!(text.contains(part), "{text}");
    contains(
        refused(|s| s.manifest.node = "w2".into()),
        "another manifest",
    );
    contains(
        refused(|s| s.plan.kept[0].guid = s.plan.disk_guid.to_string()),
        "not in the new table",
    );
    contains(
        refused(|s| s.plan.image_extents.truncate(1)),
        "not of what the plan writes",
    );
    contains(
        refused(|s| s.plan.clear[0].extent = s.plan.kept[0].extent),
        "meets kept partition",
    );
    contains(
        refused(|s| s.plan.image_extents.push(s.plan.kept[0].extent)),
        "meets kept partition",
    );
    contains(
        refused(|s| s.plan.clear[0].extent.length = u64::MAX),
        "not on the disk",
    );
    contains(
        refused(|s| s.plan.table_extents.truncate(1)),
        "no table is planned",
    );
    contains(
        refused(|s| s.plan.after[0].type_guid = "linux".into()),
        "not a GUID",
    );
    contains(
        refused(|s| s.plan.after.pop().map(drop).unwrap()),
        "no place for the image's partition",
    );
    contains(
        refused(|s| s.plan.after[0].extent.start += 1),
        "not in the new table",
    );
    contains(
        refused(|s| s.plan.kept[0].number = 99),
        "not in the new table",
    );
    // The disk changed under the plan: no table on it lists what is kept.
    contains(refused(|s| s.old.fill(0)), "which is to be kept");
    contains(
        refused(|s| {
            s.plan
                .after
                .iter_mut()
                .for_each(|entry| entry.attributes ^= 1)
        }),
        "which is to be kept",
    );
}

/// A process that writes is killed again and again; it always goes on to the same end.
#[test]
fn kill_and_resume() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(11);
    let mut kills = 0;
    for round in 0..8 {
        let scenario = Scenario::random(round + 300);
        let disk = folder.path().join("disk");
        std::fs::write(&disk, &scenario.old).unwrap();
        let _ = std::fs::remove_file(folder.path().join("journal"));
        for attempt in 0.. {
            assert!(attempt < 100, "no end");
            let how = ["journal", "plain", "compare"][random.below(3) as usize];
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args([
                    "victim",
                    "--exact",
                    "--ignored",
                    "--nocapture",
                    "--test-threads=1",
                ])
                .env(
                    "PREJOIN_VICTIM",
                    format!("{} {} {how}", round + 300, folder.path().display()),
                )
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let ticks = lines
                .map_while(Result::ok)
                .filter(|line| line.ends_with("tick"));
            let wanted = 1 + random.below(60) as usize;
            let seen = if attempt < 6 {
                ticks.take(wanted).count()
            } else {
                ticks.count()
            };
            if attempt < 6 && seen == wanted {
                child.kill().unwrap();
            }
            let ended = child.wait().unwrap();
            let bytes = std::fs::read(&disk).unwrap();
            scenario.check(&bytes).unwrap();
            if ended.success() {
                assert!(bytes == scenario.new, "round {round}, attempt {attempt}");
                break;
            }
            assert_eq!(
                std::os::unix::process::ExitStatusExt::signal(&ended),
                Some(9),
                "{ended}"
            );
            kills += 1;
        }
    }
    assert!(kills > 15, "{kills} kills");
}

#[test]
#[ignore = "started and killed by kill_and_resume"]
fn victim() {
    let Ok(order) = std::env::var("PREJOIN_VICTIM") else {
        return;
    };
    let mut words = order.split(' ');
    let scenario = Scenario::random(words.next().unwrap().parse().unwrap());
    let folder = std::path::PathBuf::from(words.next().unwrap());
    let how = words.next().unwrap();
    let journal = FileJournal::open(&folder.join("journal")).unwrap();
    if how != "journal" {
        // Whoever goes on without it does not use it afterwards either.
        journal.reset().unwrap();
    }
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(folder.join("disk"))
        .unwrap();
    let options = Options {
        verify_first: how == "compare",
        threads: 2,
        sizes: SIZES,
        ..Options::default()
    };
    let tick = |_| writeln!(io::stdout().lock(), "\ntick").unwrap();
    let journal = (how == "journal").then_some(&journal as &dyn prejoin_disk::write::Journal);
    scenario
        .run(&OnFile(file), journal, options, &tick)
        .unwrap();
}

struct OnFile(std::fs::File);

impl ReadAt for OnFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
}

impl WriteAt for OnFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        self.0.write_all_at(&vec![0; length as usize], offset)
    }

    fn flush(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn forget(&self) -> io::Result<()> {
        Ok(())
    }
}
