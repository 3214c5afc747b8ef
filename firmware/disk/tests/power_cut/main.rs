//! The power fails: after every operation of the writer, with what was not flushed lost, kept or torn. Nothing that is
//! kept may be gone, and writing again must complete.
#![allow(clippy::unwrap_used, reason = "tests")]
#![expect(clippy::print_stdout, reason = "says how many cuts there were")]

mod again;
#[path = "../support/mod.rs"]
mod support;
mod world;

use prejoin_disk::write::{Options, Record, Saved, before, restore};

use support::{Medium, Notes, Old, Op, Random, SIZES, Scenario};

/// How a run goes on after a cut.
#[derive(Clone, Copy, Debug)]
enum Again {
    Journal,
    Plain,
    Compare,
}

const AGAIN: [Again; 3] = [Again::Journal, Again::Plain, Again::Compare];

/// What a disk makes of writes that were not flushed.
#[derive(Clone, Copy, Debug)]
enum Unflushed {
    Kept,
    Lost,
    /// Some of their sectors arrived, in any order.
    Torn(u64),
}

#[derive(Default)]
struct Count {
    cuts: usize,
    reruns: usize,
    nested: usize,
}

#[test]
fn whole_tables() {
    cut_all(Old::Good);
}

#[test]
fn only_the_backup_copy() {
    cut_all(Old::BadPrimary);
}

#[test]
fn only_the_primary_copy() {
    cut_all(Old::BadBackup);
}

#[test]
fn a_backup_in_the_midst_of_the_disk() {
    cut_all(Old::Grown);
}

#[test]
fn only_a_backup_in_the_midst_of_the_disk() {
    cut_all(Old::GrownBadPrimary);
}

#[test]
fn only_a_backup_where_the_new_one_goes() {
    cut_all(Old::ShiftedBadPrimary);
}

#[test]
fn what_is_kept_gets_other_guids() {
    cut_all(Old::TakenOver);
}

#[test]
fn no_table() {
    cut_all(Old::Blank);
}

/// Ten disks of a kind. The run that is cut compares first on two of them, and has three threads on two others.
fn cut_all(old: Old) {
    let mut count = Count::default();
    for sector_size in [512, 4096] {
        for seed in 0..5 {
            let scenario = Scenario::new(10 * seed + u64::from(sector_size), old, sector_size);
            let name = format!("{old:?}, sectors of {sector_size}, seed {seed}");
            let options = Options {
                verify_first: seed == 3,
                threads: if seed == 4 { 3 } else { 1 },
                sizes: SIZES,
                ..Options::default()
            };
            cut_everywhere(&scenario, options, &name, &mut count);
        }
    }
    let Count {
        cuts,
        reruns,
        nested,
    } = count;
    println!("{old:?}: {cuts} cuts, {reruns} runs after a cut, {nested} cuts of such a run");
    assert!(
        cuts > 1500 && reruns > 2000 && nested > 500,
        "{cuts} {reruns} {nested}"
    );
}

/// One run is recorded; then it is cut after every operation.
fn cut_everywhere(scenario: &Scenario, options: Options, name: &str, count: &mut Count) {
    let medium = Medium::new(scenario.old.clone());
    let medium = if options.threads > 1 {
        medium.slow()
    } else {
        medium
    };
    scenario
        .run(
            &medium,
            Some(&Notes::new(&medium, Vec::new())),
            options,
            &|_| {},
        )
        .expect(name);
    assert!(
        medium.bytes() == scenario.new,
        "{name}: not what was planned"
    );
    let log = medium.log();
    let mut flushed = scenario.old.clone();
    let mut pending = Vec::new();
    for cut in 0..=log.len() {
        let mut kinds = vec![Unflushed::Kept];
        if pending.iter().any(|op: &&Op| op.extent().is_some()) {
            kinds.extend([
                Unflushed::Lost,
                Unflushed::Torn(cut as u64),
                Unflushed::Torn(!(cut as u64)),
            ]);
        }
        for (index, kind) in kinds.into_iter().enumerate() {
            count.cuts += 1;
            let disk = after(&flushed, &pending, kind);
            let what = format!(
                "{name}, cut after {cut} of {} operations, unflushed: {kind:?}",
                log.len()
            );
            scenario
                .check(&disk)
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            let again = AGAIN[(cut + index) % 3];
            let mut random = Random((cut * 4 + index) as u64);
            complete(
                scenario,
                disk,
                notes(&log[..cut]),
                again,
                &what,
                &mut random,
                count,
            );
        }
        match log.get(cut) {
            Some(Op::Flush) => pending.drain(..).for_each(|op: &Op| op.apply(&mut flushed)),
            Some(op) => pending.push(op),
            None => {}
        }
    }
}

/// Runs the writer on what a cut left; every third run is cut again, up to four times.
fn complete(
    scenario: &Scenario,
    mut disk: Vec<u8>,
    mut records: Vec<Record>,
    mut again: Again,
    what: &str,
    random: &mut Random,
    count: &mut Count,
) {
    for _ in 0..4 {
        let medium = Medium::new(disk.clone());
        let journal = Notes::new(&medium, records.clone());
        count.reruns += 1;
        let options = Options {
            threads: 1,
            sizes: SIZES,
            ..Options::default()
        };
        let result = match again {
            // Nothing is read back, so that nothing but the journal's truth makes the disk whole.
            Again::Journal => scenario.run(
                &medium,
                Some(&journal),
                Options {
                    read_back: false,
                    ..options
                },
                &|_| {},
            ),
            Again::Plain => scenario.run(&medium, None, options, &|_| {}),
            Again::Compare => scenario.run(
                &medium,
                None,
                Options {
                    verify_first: true,
                    ..options
                },
                &|_| {},
            ),
        };
        result.unwrap_or_else(|error| panic!("{what}, again {again:?}: {error}"));
        assert!(
            medium.bytes() == scenario.new,
            "{what}, again {again:?}: not what was planned"
        );
        let log = medium.log();
        if !random.chance(35) || log.is_empty() {
            return;
        }
        count.nested += 1;
        let cut = random.below(log.len() as u64) as usize;
        let flush = log[..cut]
            .iter()
            .rposition(|op| *op == Op::Flush)
            .unwrap_or(0);
        log[..flush].iter().for_each(|op| op.apply(&mut disk));
        let kind = match random.below(3) {
            0 => Unflushed::Kept,
            1 => Unflushed::Lost,
            _ => Unflushed::Torn(random.next()),
        };
        disk = after(&disk, &log[flush..cut].iter().collect::<Vec<_>>(), kind);
        scenario
            .check(&disk)
            .unwrap_or_else(|error| panic!("{what}, {again:?}, cut {cut}, {kind:?}: {error}"));
        // Who goes on with a journal after a run without it has an old one: its records must still be true.
        if matches!(again, Again::Journal) {
            records.extend(notes(&log[..cut]));
            if let Some(reset) = log[..cut].iter().rposition(|op| *op == Op::Reset) {
                records = notes(&log[reset..cut]);
            }
        }
        again = AGAIN[random.below(3) as usize];
    }
    let medium = Medium::new(disk);
    scenario
        .write(&medium, None, true)
        .unwrap_or_else(|error| panic!("{what}, at last: {error}"));
    assert!(
        medium.bytes() == scenario.new,
        "{what}, at last: not what was planned"
    );
}

/// A table is put back on a whole image, and on what cuts have left of one.
#[test]
fn old_tables_come_back() {
    let mut cuts = 0;
    for (index, old) in Old::ALL.into_iter().enumerate() {
        for seed in 0..4 {
            let sector_size = if seed == 1 { 4096 } else { 512 };
            let scenario = Scenario::new(100 * seed + index as u64, old, sector_size);
            cuts += restore_everywhere(&scenario, &format!("{old:?}, seed {seed}"));
        }
    }
    println!("{cuts} cuts");
    assert!(cuts > 2000, "{cuts}");
}

/// The boot records of logical partitions come back, too, though they lie in what is the image's now.
#[test]
fn logical_partitions_come_back() {
    let mut cuts = 0;
    for seed in 0..6 {
        let scenario = Scenario::logical(seed);
        let name = format!("logical partitions, seed {seed}");
        cuts += restore_everywhere(&scenario, &name);
        let medium = Medium::new(scenario.old.clone());
        let saved = before(&scenario.plan, &medium).unwrap();
        assert!(saved.areas.len() >= 4, "{name}: {:?}", saved.areas);
        scenario.write(&medium, None, false).unwrap();
        restore(&medium, &saved).unwrap();
        for area in &saved.areas {
            let part = area.offset as usize..area.offset as usize + area.bytes.len();
            assert!(
                medium.bytes()[part.clone()] == scenario.old[part],
                "{name}: {area:?}"
            );
        }
    }
    assert!(cuts > 500, "{cuts}");
}

fn restore_everywhere(scenario: &Scenario, name: &str) -> usize {
    let medium = Medium::new(scenario.old.clone());
    let saved = before(&scenario.plan, &medium).expect(name);
    scenario.write(&medium, None, false).expect(name);
    let log = medium.log();
    let mut cuts = 0;
    for part in 0..=5 {
        let done = log.len() * part / 5;
        let mut disk = scenario.old.clone();
        log[..done].iter().for_each(|op| op.apply(&mut disk));
        let name = format!("{name}, after {done} of {}", log.len());
        cuts += restore_and_cut(scenario, &saved, &disk, &name);
    }
    cuts
}

/// One restore is recorded and cut after every operation. At any instant the disk has the table that it had or the old
/// one, and both commands complete what they were about.
fn restore_and_cut(scenario: &Scenario, saved: &Saved, start: &[u8], name: &str) -> usize {
    let medium = Medium::new(start.to_vec());
    restore(&medium, saved).expect(name);
    let end = medium.bytes();
    let old = scenario.listed(&scenario.old);
    assert_eq!(scenario.listed(&end), old, "{name}");
    let log = medium.log();
    let (mut flushed, mut pending, mut cuts) = (start.to_vec(), Vec::new(), 0);
    for cut in 0..=log.len() {
        let kinds = [
            Unflushed::Kept,
            Unflushed::Lost,
            Unflushed::Torn(cut as u64),
            Unflushed::Torn(!(cut as u64)),
        ];
        for kind in kinds {
            cuts += 1;
            let disk = after(&flushed, &pending, kind);
            let what = format!("{name}, restore cut after {cut} operations, {kind:?}");
            scenario
                .check(&disk)
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            let listed = scenario.listed(&disk);
            let had = scenario.listed(start);
            assert!(
                listed.is_some() || had.is_none() || old.is_none(),
                "{what}: no table"
            );
            let medium = Medium::new(disk.clone());
            assert!(saved.is_of(&medium).expect(&what), "{what}");
            restore(&medium, saved).expect(&what);
            assert!(medium.bytes() == end, "{what}: another restore");
            if cuts % 5 == 0 {
                let medium = Medium::new(disk);
                scenario.write(&medium, None, false).expect(&what);
                assert!(medium.bytes() == scenario.new, "{what}: another flash");
            }
        }
        match log.get(cut) {
            Some(Op::Flush) => pending.drain(..).for_each(|op: &Op| op.apply(&mut flushed)),
            Some(op) => pending.push(op),
            None => {}
        }
    }
    cuts
}

/// The disk after a cut.
fn after(flushed: &[u8], pending: &[&Op], kind: Unflushed) -> Vec<u8> {
    let mut disk = flushed.to_vec();
    let seed = match kind {
        Unflushed::Lost => return disk,
        Unflushed::Kept => {
            pending.iter().for_each(|op| op.apply(&mut disk));
            return disk;
        }
        Unflushed::Torn(seed) => seed,
    };
    let mut random = Random(seed);
    let share = 10 + random.below(81);
    let mut sectors = Vec::new();
    for op in pending {
        let Some(extent) = op.extent() else { continue };
        for at in (extent.start..extent.end()).step_by(512) {
            if random.chance(share) {
                let length = (extent.end() - at).min(512);
                sectors.push(match op {
                    Op::Write(start, bytes) => Op::Write(
                        at,
                        bytes[(at - start) as usize..][..length as usize].to_vec(),
                    ),
                    _ => Op::Zero(at, length),
                });
            }
        }
    }
    for left in (1..sectors.len() as u64).rev() {
        sectors.swap(left as usize, random.below(left + 1) as usize);
    }
    sectors.iter().for_each(|op| op.apply(&mut disk));
    disk
}

/// The journal's records at a cut: each is durable when it is written.
fn notes(log: &[Op]) -> Vec<Record> {
    let mut records = Vec::new();
    for op in log {
        match op {
            Op::Append(record) => records.push(record.clone()),
            Op::Reset => records.clear(),
            _ => {}
        }
    }
    records
}
