//! Random disks are probed, judged, written, cut and written again by the code that does it to real ones. What stands
//! against it knows nothing of the judge: it remembers bytes. Whatever a verdict lets through, no byte changes outside
//! the ranges that were shown, and nothing of a user's that was not named is touched or dropped from the table.
//!
//! Not in it: a few bytes without a signature in the midst of a gap that no table lists, which sampling does not see
//! (docs/flashing.md).
#![allow(clippy::unwrap_used, reason = "this is test code")]
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "is told how long to try, and says what was tried"
)]

mod node;
mod round;
mod sparse;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};

use prejoin_disk::guard::Guarded;
use prejoin_disk::judge::{Intent, judge};
use prejoin_disk::plan::{self, Wish};
use prejoin_disk::probe::probe;
use prejoin_disk::region::{self, Own};
use prejoin_disk::write::{self, Job, PARTIAL, Saved, before, restore};
use prejoin_formats::gpt::{self, Partition, Table};
use prejoin_wire::disk::{Code, Device, Extent, Facts, Mode, VERSION, Verdict};

use node::{MIB, Node, guid};
use round::{Kind, Maker, Owned, random_guid};
use sparse::{Disk, Sparse};
use support::Random;

/// Seeds that have found something, tried each time.
const RECORDED: [u64; 4] = [
    // A partition called root-a was zeroed in part, and dropped.
    8078476322424328179,
    // A raw data partition of another type.
    6154192240094739742,
    // A lost state with a file system, under the new one.
    11168034603498703870,
    // Raw data that begins between the samples of a gap.
    6510009041307890078,
];

/// Rounds, unless `PREJOIN_ORACLE_ROUNDS` says otherwise.
const ROUNDS: u64 = 300;

#[test]
fn nothing_is_lost_that_was_not_named() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seeds: Vec<u64> = match number("PREJOIN_ORACLE_SEED") {
        Some(seed) => vec![seed],
        None => {
            let mut random = Random(number("PROPTEST_RNG_SEED").unwrap_or(0));
            let rounds = number("PREJOIN_ORACLE_ROUNDS").unwrap_or(ROUNDS);
            let fresh = (0..rounds).map(|_| random.next());
            RECORDED.into_iter().chain(fresh).collect()
        }
    };
    let mut tally = Tally::default();
    let mut nodes = Nodes::default();
    for &seed in &seeds {
        Round::new(seed, &mut nodes).run(&mut tally);
    }
    println!("{tally:#?}");
    assert!(tally.lost.is_empty(), "{:#?}", tally.lost);
    assert!(tally.stuck.is_empty(), "{:#?}", tally.stuck);
    let rounds = seeds.len() as u64;
    if rounds < ROUNDS {
        return;
    }
    // What only refuses proves nothing.
    assert!(tally.written * 4 >= rounds, "{} written", tally.written);
    assert!(tally.cut * 8 >= rounds, "{} cut", tally.cut);
    assert!(tally.restored * 16 >= rounds, "{} restored", tally.restored);
    // A whole disk, or one with an MBR, is written only if all of it may go.
    for kind in Kind::ALL {
        let survived = tally.survived.get(&kind).copied().unwrap_or(0);
        let enough = match kind {
            Kind::Logical | Kind::Whole => 0,
            _ => rounds / 100,
        };
        assert!(survived >= enough, "{kind:?} beside {survived} runs");
    }
}

/// What became of all rounds.
#[derive(Debug, Default)]
struct Tally {
    written: u64,
    cut: u64,
    restored: u64,
    refused: u64,
    /// Refusals by what spoke against it.
    reasons: BTreeMap<String, u64>,
    /// How often something of a kind was on a disk that was written, and not named.
    survived: BTreeMap<Kind, u64>,
    /// Losses.
    lost: Vec<String>,
    /// Runs that were cut and that the same command does not complete.
    stuck: Vec<String>,
}

/// Images, each made once.
#[derive(Default)]
struct Nodes(BTreeMap<(&'static str, u32, Option<u64>), &'static Node>);

impl Nodes {
    fn get(&mut self, name: &'static str, sector_size: u32, state: Option<u64>) -> &'static Node {
        let make = || -> &'static Node { Box::leak(Box::new(Node::new(name, sector_size, state))) };
        self.0
            .entry((name, sector_size, state))
            .or_insert_with(make)
    }
}

/// One disk, and what somebody wants of it.
struct Round {
    seed: u64,
    random: Random,
    node: &'static Node,
    disk: Sparse,
    owned: Vec<Owned>,
    delete: BTreeSet<String>,
    mode: Option<Mode>,
}

/// What a run did.
enum Outcome {
    Refused(String),
    /// The printed ranges, and the tables of before.
    Ran(Vec<Extent>, Box<Saved>, Result<(), write::Error>),
}

impl Round {
    fn new(seed: u64, nodes: &mut Nodes) -> Self {
        let mut random = Random(seed);
        let sector_size = if random.chance(20) { 4096 } else { 512 };
        let state = random.chance(75).then_some(1 << 30);
        let node = nodes.get("w1", sector_size, state);
        let odd = if random.chance(20) {
            4096 * random.below(256)
        } else {
            0
        };
        let size = (3 << 30) + MIB * random.below(2 << 10) + odd;
        let table = Table {
            disk_guid: random_guid(&mut random),
            sector_size,
            disk_size: size,
            partitions: Vec::new(),
        };
        let base = random.below(100);
        let other = nodes.get("w2", sector_size, state);
        let disk = match base {
            0..=44 => installed(&mut random, size, node),
            45..=59 => installed(&mut random, size, other),
            _ => Sparse::new(size),
        };
        let found = gpt::read(|at, into| reading(&disk, at, into), size, sector_size);
        let mut maker = Maker {
            random: &mut random,
            disk,
            table: found.map_or(table, |found| found.table),
            owned: Vec::new(),
            delete: BTreeSet::new(),
        };
        let mut all = false;
        match base {
            0..=59 => {
                if maker.random.chance(70) {
                    maker.shrink();
                }
                maker.use_own("state");
                maker.use_own("data");
                maker.add_some(0);
                maker.edit();
                if maker.table.grow(size).is_ok() && !maker.owned.is_empty() {
                    maker.put_table();
                }
            }
            60..=91 => {
                let behind = if maker.random.chance(75) {
                    node.manifest.size
                } else {
                    0
                };
                maker.add_some(behind);
                maker.edit();
                maker.put_table();
            }
            92..=96 => {
                all = maker.random.chance(60);
                maker.put_mbr();
            }
            _ => {
                all = maker.random.chance(50);
                maker.put_whole();
            }
        }
        maker.name_some(node, all);
        let Maker {
            disk,
            owned,
            delete,
            ..
        } = maker;
        let mode = match random.below(20) {
            0..=12 => None,
            13..=15 => Some(Mode::Install),
            16..=18 => Some(Mode::Reimage),
            _ => Some(Mode::ReimageWipeState),
        };
        Round {
            seed,
            random,
            node,
            disk,
            owned,
            delete,
            mode,
        }
    }

    fn run(mut self, tally: &mut Tally) {
        self.wipe();
        let cut = self.random.chance(60).then(|| 1 + self.random.below(50));
        let disk = Disk::new(self.disk.clone(), cut);
        let (printed, saved) = match self.flash(&disk, false) {
            Outcome::Refused(why) => {
                tally.refused += 1;
                *tally.reasons.entry(why).or_default() += 1;
                return;
            }
            Outcome::Ran(_, _, Err(error)) if !disk.is_cut() => {
                panic!("{}: an allowed run failed: {error:?}", self.seed)
            }
            Outcome::Ran(printed, saved, _) => (printed, saved),
        };
        if disk.writes() == 0 {
            return;
        }
        tally.written += 1;
        for kind in self.unnamed().map(|owned| owned.kind) {
            *tally.survived.entry(kind).or_default() += 1;
        }
        let (end, printed) = match disk.is_cut() {
            true => {
                tally.cut += 1;
                let left = disk.left(&mut self.random);
                self.check(&left, &printed, "cut", tally);
                self.again(left, printed, tally)
            }
            false => (disk.bytes(), printed),
        };
        self.check(&end, &printed, "run", tally);
        if self.random.chance(40) {
            tally.restored += 1;
            self.back(&end, &printed, &saved, tally);
        }
    }

    /// The same command again, which may be cut again.
    fn again(
        &mut self,
        mut left: Sparse,
        mut printed: Vec<Extent>,
        tally: &mut Tally,
    ) -> (Sparse, Vec<Extent>) {
        for count in 0..3 {
            let cut = (count < 2 && self.random.chance(30)).then(|| 1 + self.random.below(30));
            let disk = Disk::new(left.clone(), cut);
            match self.flash(&disk, true) {
                Outcome::Refused(why) => {
                    tally.stuck.push(format!("seed {}: {why}", self.seed));
                    break;
                }
                Outcome::Ran(more, _, done) => {
                    printed.extend(more);
                    left = match disk.is_cut() {
                        true => disk.left(&mut self.random),
                        false => {
                            done.unwrap();
                            return (disk.bytes(), printed);
                        }
                    };
                }
            }
        }
        (left, printed)
    }

    /// The old table again: it lists what it did, and nothing else has changed.
    fn back(&mut self, end: &Sparse, printed: &[Extent], saved: &Saved, tally: &mut Tally) {
        let writes = saved.writes().unwrap();
        let cut = self.random.chance(50).then(|| 1 + self.random.below(5));
        let disk = Disk::new(end.clone(), cut);
        assert!(saved.is_of(&disk).unwrap(), "seed {}", self.seed);
        let done = restore(&Guarded::new(&disk, writes.clone()), saved);
        let mut end = disk.bytes();
        if disk.is_cut() {
            end = disk.left(&mut self.random);
            let all = [printed, &writes].concat();
            self.check(&end, &all, "cut while the old table is put back", tally);
            let disk = Disk::new(end, None);
            assert!(saved.is_of(&disk).unwrap(), "seed {}", self.seed);
            restore(&Guarded::new(&disk, writes.clone()), saved).unwrap();
            end = disk.bytes();
        } else {
            done.unwrap();
        }
        let all = [printed, &writes].concat();
        self.check(&end, &all, "old table put back", tally);
        if self.listed(&end) != self.listed(&self.disk) {
            let seed = self.seed;
            tally.lost.push(format!("seed {seed}: another old table"));
        }
    }

    /// Gives the command; what it names was given to `earlier` runs, too.
    fn flash(&self, disk: &Disk, earlier: bool) -> Outcome {
        let delete = self.delete.clone();
        let named_before = match earlier {
            true => delete.clone(),
            false => BTreeSet::new(),
        };
        let intent = Intent {
            wish: Wish {
                mode: Mode::default(),
                delete,
            },
            named_before,
            ..Intent::default()
        };
        flash(disk, self.disk.size, self.node, self.mode, intent)
    }

    /// A state that is to be made anew was named by that.
    fn wipe(&mut self) {
        if self.mode != Some(Mode::ReimageWipeState) {
            return;
        }
        for owned in &mut self.owned {
            let state = guid("w1", "state");
            owned.named |= owned
                .entry
                .as_ref()
                .is_some_and(|entry| entry.guid == state);
        }
    }

    fn unnamed(&self) -> impl Iterator<Item = &Owned> {
        self.owned.iter().filter(|owned| !owned.named)
    }

    fn listed(&self, disk: &Sparse) -> Option<Vec<Partition>> {
        let sector_size = self.node.manifest.sector_size;
        let found = gpt::read(|at, into| reading(disk, at, into), disk.size, sector_size);
        found.ok().map(|found| found.table.partitions)
    }

    /// Compares a disk with what it was. What was lost is said once.
    fn check(&mut self, now: &Sparse, printed: &[Extent], when: &str, tally: &mut Tally) {
        let printed = prejoin_wire::disk::merge(printed.to_vec());
        let blocks = self.disk.differences(now);
        for block in &blocks {
            for part in region::without(*block, &printed) {
                if self.disk.bytes(part) != now.bytes(part) {
                    let what = format!("{part:?} was not shown and has changed");
                    tally
                        .lost
                        .push(format!("seed {}, {when}: {what}", self.seed));
                }
            }
        }
        let listed = self.listed(now).unwrap_or_default();
        for owned in self.owned.iter_mut().filter(|owned| !owned.named) {
            let common = |block: &Extent| block.common(&owned.extent);
            let changed = blocks
                .iter()
                .filter_map(common)
                .find(|part| self.disk.bytes(*part) != now.bytes(*part));
            let dropped = match (&owned.entry, owned.kind) {
                (Some(entry), _) => !listed.iter().any(|found| is_entry(found, entry)),
                (None, Kind::Logical) => self.disk.bytes(MBR) != now.bytes(MBR),
                (None, _) => false,
            };
            let what = match (changed, dropped) {
                (Some(part), _) => format!("{part:?} has changed"),
                (None, true) => "it is not listed any more".into(),
                (None, false) => continue,
            };
            let named = &self.delete;
            let what = format!(
                "seed {}, {when}: {owned}: {what}; named: {named:?}",
                self.seed
            );
            owned.named = true;
            tally.lost.push(what);
        }
    }
}

/// Whether a partition is still what it was. That a run was not completed is the run's mark, and may go with it.
fn is_entry(found: &Partition, was: &Partition) -> bool {
    let unmarked = Partition {
        type_guid: found.type_guid,
        ..was.clone()
    };
    found == was || was.type_guid == PARTIAL && *found == unmarked
}

const MBR: Extent = Extent {
    start: 0,
    length: 512,
};

/// A disk that was blank and got an image, perhaps in part.
fn installed(random: &mut Random, size: u64, node: &Node) -> Sparse {
    let cut = random.chance(35).then(|| 1 + random.below(50));
    let disk = Disk::new(Sparse::new(size), cut);
    match flash(&disk, size, node, None, Intent::default()) {
        Outcome::Refused(why) => panic!("a blank disk is refused: {why}"),
        Outcome::Ran(_, _, Err(error)) if !disk.is_cut() => panic!("{error:?}"),
        Outcome::Ran(..) if disk.is_cut() => disk.left(random),
        Outcome::Ran(..) => disk.bytes(),
    }
}

/// One run of the command, with every question answered by yes.
fn flash(disk: &Disk, size: u64, node: &Node, mode: Option<Mode>, mut intent: Intent) -> Outcome {
    let (manifest, sector_size) = (&node.manifest, node.manifest.sector_size);
    let content = probe(disk, size, sector_size);
    let own = Own::of(manifest, &node.handoff);
    intent.wish.mode = mode.unwrap_or_else(|| own.mode(&content));
    let device = Device {
        path: "/dev/disk/by-id/nvme-oracle".into(),
        size,
        sector_size,
        serial: Some("oracle".into()),
        ..Device::default()
    };
    let facts = Facts {
        version: VERSION,
        device,
        usage: vec![],
        content,
    };
    intent.node = manifest.node.clone();
    intent.rules.accepted.insert(Code::LyForeign);
    let report = judge(&facts, &intent, &node.image());
    if report.verdict == Verdict::Refuse {
        let finding = &report.findings[0];
        return Outcome::Refused(finding.code.to_string());
    }
    let plan = report.plan.unwrap();
    let printed = plan::writes(&plan);
    let guarded = Guarded::new(disk, printed.clone());
    let saved = before(&plan, &guarded).unwrap();
    let options = write::Options {
        threads: 1,
        ..write::Options::default()
    };
    let done = write::write(&Job {
        plan: &plan,
        manifest,
        chunks: node,
        disk: &guarded,
        journal: None,
        options,
        events: &|_| (),
    });
    Outcome::Ran(printed, Box::new(saved), done.map(drop))
}

fn reading(disk: &Sparse, at: u64, into: &mut [u8]) -> std::io::Result<()> {
    use prejoin_disk::device::ReadAt as _;
    disk.read_at(at, into)
}
