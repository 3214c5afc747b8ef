//! The partitions that a node makes for itself beside those of its image: where they go.

use std::cmp::Reverse;
use std::ops::Range;

use prejoin_formats::gpt::{self, ALIGNMENT, Partition, Table};
use prejoin_wire::handoff::{self, SMALLEST_STATE};
use uuid::Uuid;

use crate::write::PARTIAL;

/// The smallest data partition worth making.
const SMALLEST_DATA: u64 = 1 << 20;

/// The smallest gap between other partitions that is worth being taken as a whole: smaller ones are what alignment or
/// another layout has left.
const SMALLEST_HOLE: u64 = 1 << 30;

/// A disk without room for what it lacks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not enough room.
    #[error("partition `{name}` needs {needed} MiB, and the disk has {free} MiB left")]
    Full {
        /// Its name.
        name: String,
        /// MiB it needs.
        needed: u64,
        /// MiB in the largest gap.
        free: u64,
    },
    /// 128 partitions are there already.
    #[error("the partition table has no number left")]
    Numbers,
    /// The new table would break a rule.
    #[error("changing the partition table: {0}")]
    Table(#[from] gpt::Error),
}

/// What is to be done about the partitions that a node makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed {
    /// The table with the new partitions, for the whole disk.
    pub table: Table,
    /// Numbers of the new ones; nothing is to be written if there are none.
    pub added: Vec<u32>,
    /// Partitions that are done without, with the reason.
    pub skipped: Vec<Error>,
}

/// Plans the partitions of `wanted` that `table` does not have yet, on a disk of `disk_size` bytes.
///
/// Which are there is a matter of GUIDs. A name is the user's: the state may be called something else by now, and what
/// somebody calls `data` may be another node's, or nobody's.
///
/// One of a fixed size goes behind the last partition, or else to the first gap that has room for it, one that takes what
/// there is to the largest gap (the first of equals), [`handoff::GAP`] apart from the partition in front of it. Behind an image alone on its disk that is
/// directly behind the image, whatever is there in the order of `wanted`: the place depends on the image's partitions
/// alone, not on where the table's backup copy was (directly behind them in an image that was copied to a larger disk),
/// and a node whose disk is written again finds its state where it left it.
///
/// A data partition that came into the plan after the state partition took the disk is done without.
///
/// New ones are [`PARTIAL`]: the node gives them the type that is wanted when it has made what goes into them.
pub fn complete(
    table: &Table,
    disk_size: u64,
    wanted: &[handoff::Partition],
) -> Result<Completed, Error> {
    complete_where(table, disk_size, wanted, |_| None)
}

/// As [`complete`], where some of the partitions were before: `was` knows the first byte by GUID, and they begin there
/// again where there is room for them.
pub fn complete_where(
    table: &Table,
    disk_size: u64,
    wanted: &[handoff::Partition],
    was: impl Fn(&Uuid) -> Option<u64>,
) -> Result<Completed, Error> {
    let mut plan = Completed {
        table: table.clone(),
        added: Vec::new(),
        skipped: Vec::new(),
    };
    plan.table.grow(disk_size)?;
    let mut gaps = Gaps::of(&plan.table);
    for want in wanted {
        let guid = want.guid;
        if plan.table.with_guid(&guid).is_some() {
            continue;
        }
        let least = if want.name == handoff::STATE {
            SMALLEST_STATE
        } else {
            SMALLEST_DATA
        };
        let needed = want
            .size
            .or(want.min_size)
            .map_or(least, |size| size.max(least));
        let Some((start, room)) = gaps.find(needed, want.size.is_none(), was(&guid)) else {
            let free = gaps.largest() / ALIGNMENT;
            let error = Error::Full {
                name: want.name.clone(),
                needed: needed.div_ceil(ALIGNMENT),
                free,
            };
            // Nothing is made in half: if state would be new too, the disk is too small for what was asked for.
            if want.name == handoff::STATE || !plan.added.is_empty() {
                return Err(error);
            }
            plan.skipped.push(error);
            continue;
        };
        let size = if want.size.is_none() {
            room
        } else {
            needed.next_multiple_of(ALIGNMENT)
        };
        let number = number(&plan.table).ok_or(Error::Numbers)?;
        let name = want.name.clone();
        plan.table.partitions.push(Partition {
            number,
            type_guid: PARTIAL,
            guid,
            start,
            size,
            attributes: 0,
            name,
        });
        plan.added.push(number);
        gaps.take(start, size);
    }
    plan.table.check()?;
    Ok(plan)
}

/// The number behind the last one, or else the first that is free.
fn number(table: &Table) -> Option<u32> {
    let last = table
        .partitions
        .iter()
        .map(|partition| partition.number)
        .max()
        .unwrap_or(0);
    (last + 1..=128)
        .chain(1..=128)
        .find(|&number| table.partition(number).is_none())
}

/// What is free of a disk, in its order.
struct Gaps(Vec<Gap>);

/// A free part of a disk; both ends are on [`ALIGNMENT`].
#[derive(Clone, Copy)]
struct Gap {
    start: u64,
    end: u64,
    /// Where something new may begin: apart from what is in front of the gap.
    from: u64,
    /// Nothing follows.
    is_last: bool,
}

impl Gap {
    fn between(start: u64, end: u64, apart: u64) -> Option<Self> {
        let start = start.checked_next_multiple_of(ALIGNMENT)?;
        let end = end / ALIGNMENT * ALIGNMENT;
        (start < end).then(|| Gap {
            start,
            end,
            from: start + apart,
            is_last: false,
        })
    }

    fn room(&self) -> u64 {
        self.end.saturating_sub(self.from)
    }

    /// The largest is the best, the first of equals.
    fn order(&self) -> (u64, Reverse<u64>) {
        (self.room(), Reverse(self.start))
    }
}

impl Gaps {
    /// Those of a table that was checked.
    fn of(table: &Table) -> Self {
        let usable = table.usable();
        let mut partitions: Vec<Range<u64>> = table
            .partitions
            .iter()
            .map(|p| p.start..p.start + p.size)
            .collect();
        partitions.sort_by_key(|partition| partition.start);
        let (mut gaps, mut end, mut apart) = (Vec::new(), usable.start, 0);
        for partition in partitions {
            gaps.extend(Gap::between(end, partition.start, apart));
            (end, apart) = (partition.end, handoff::GAP);
        }
        gaps.extend(Gap::between(end, usable.end, apart).map(|gap| Gap {
            is_last: true,
            ..gap
        }));
        Gaps(gaps)
    }

    /// Where something begins that needs so many bytes, and how many there are from there on.
    fn find(&self, needed: u64, takes_all: bool, was: Option<u64>) -> Option<(u64, u64)> {
        let again = was
            .filter(|was| was.is_multiple_of(ALIGNMENT))
            .and_then(|was| {
                let gap = self
                    .0
                    .iter()
                    .find(|gap| (gap.start..gap.end).contains(&was))?;
                Some((was, gap.end - was)).filter(|&(_, room)| room >= needed)
            });
        let fitting = || self.0.iter().filter(|gap| gap.room() >= needed);
        // A hole is more likely than the end to be where a partition was lost.
        let gap = || match takes_all {
            true => fitting()
                .filter(|gap| gap.is_last || gap.room() >= SMALLEST_HOLE)
                .max_by_key(|gap| gap.order()),
            false => fitting()
                .find(|gap| gap.is_last)
                .or_else(|| fitting().next()),
        };
        again.or_else(|| gap().map(|gap| (gap.from, gap.room())))
    }

    fn largest(&self) -> u64 {
        self.0.iter().map(Gap::room).max().unwrap_or(0)
    }

    /// Cuts out what is taken. What follows it may be close.
    fn take(&mut self, start: u64, size: u64) {
        let left = self
            .0
            .iter()
            .flat_map(|gap| match (gap.start..gap.end).contains(&start) {
                true => {
                    let rest = Gap::between(start + size, gap.end, 0);
                    let front = Gap {
                        end: start,
                        is_last: false,
                        ..*gap
                    };
                    [
                        (gap.start < start).then_some(front),
                        rest.map(|rest| Gap {
                            is_last: gap.is_last,
                            ..rest
                        }),
                    ]
                }
                false => [Some(*gap), None],
            });
        self.0 = left.flatten().collect();
    }
}

#[cfg(test)]
mod tests {
    use prejoin_formats::gpt::types;
    use prejoin_profiles::catalog::{Catalog, Kind};
    use prejoin_profiles::layout::{Disk, Layout, Purpose};
    use prejoin_wire::handoff::Format;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    fn guid(number: u8) -> Uuid {
        let mut bytes = [7; 16];
        bytes[15] = number;
        Uuid::from_bytes(bytes)
    }

    fn image() -> Table {
        let names = [
            "esp",
            "root-a",
            "root-a-verity",
            "root-b",
            "root-b-verity",
            "identity",
        ];
        let partitions = names.iter().zip(1..).map(|(name, number)| Partition {
            number,
            type_guid: types::LINUX,
            guid: guid(number as u8),
            start: u64::from(number) * 10 * MIB,
            size: 10 * MIB,
            attributes: 0,
            name: (*name).to_owned(),
        });
        Table {
            disk_guid: guid(0),
            sector_size: 512,
            disk_size: 71 * MIB,
            partitions: partitions.collect(),
        }
    }

    fn want(name: &str, size: Option<u64>) -> handoff::Partition {
        let number = if name == "state" { 7 } else { 8 };
        handoff::Partition {
            name: name.to_owned(),
            type_guid: types::VAR,
            guid: guid(number),
            size,
            min_size: None,
            format: Format::Ext4,
            uuid: guid(100),
        }
    }

    #[test]
    fn state_takes_the_rest_of_a_larger_disk() {
        let made = complete(&image(), 20 * GIB + 300, &[want("state", None)]).unwrap();
        assert_eq!(made.added, [7]);
        let state = made.table.partition(7).unwrap();
        assert_eq!(
            (state.start, state.start + state.size),
            (81 * MIB - 10 * MIB, 20 * GIB - MIB)
        );
        assert_eq!((state.guid, state.name.as_str()), (guid(7), "state"));
        assert_eq!(made.table.partitions[..6], image().partitions[..]);
    }

    #[test]
    fn place_does_not_depend_on_where_the_backup_copy_was() {
        let grown = Table {
            disk_size: 20 * GIB,
            ..image()
        };
        let wanted = [want("state", Some(2 * GIB + 1)), want("data", None)];
        let plans = [
            complete(&image(), 20 * GIB, &wanted).unwrap(),
            complete(&grown, 20 * GIB, &wanted).unwrap(),
        ];
        assert_eq!(plans[0], plans[1]);
        let [state, data] = [7, 8].map(|number| plans[0].table.partition(number).unwrap());
        assert_eq!(
            (state.size, data.start),
            (2 * GIB + MIB, state.start + state.size)
        );
        assert_eq!(data.start + data.size, 20 * GIB - MIB);
    }

    #[test]
    fn existing_partitions_are_left_alone() {
        let wanted = [want("state", None)];
        let first = complete(&image(), 20 * GIB, &wanted).unwrap();
        let second = complete(&first.table, 20 * GIB, &wanted).unwrap();
        assert_eq!((&second.table, second.added.len()), (&first.table, 0));
        // Data was asked for later: there is no room, and the node boots all the same.
        let later = complete(
            &first.table,
            20 * GIB,
            &[want("state", None), want("data", None)],
        )
        .unwrap();
        assert!(later.added.is_empty() && matches!(later.skipped[..], [Error::Full { .. }]));
        let middle = [want("state", None), want("data", Some(9 * MIB))];
        assert_eq!(
            places(&complete(&first.table, 20 * GIB, &middle).unwrap()),
            [(8, 1, 9)],
            "a size that was asked for"
        );
        // A larger disk gives it room.
        let larger = complete(
            &first.table,
            40 * GIB,
            &[want("state", None), want("data", None)],
        )
        .unwrap();
        assert_eq!(
            (larger.added, larger.table.partitions[6].size),
            (vec![8], first.table.partitions[6].size)
        );
    }

    /// What the image builder makes of a layout's system disk, and what it leaves to the node.
    fn image_of(layout: &Layout) -> (Table, Vec<handoff::Partition>) {
        let (mut partitions, mut wanted, mut end) = (Vec::new(), Vec::new(), ALIGNMENT);
        for (partition, number) in layout.on(Disk::System).zip(1..) {
            let size = partition.size.map(|size| size.bytes());
            if matches!(partition.purpose, Purpose::State | Purpose::Data) {
                wanted.push(handoff::Partition {
                    min_size: partition.min_size.map(|size| size.bytes()),
                    ..want(&partition.name, size)
                });
                continue;
            }
            let (size, start) = (size.unwrap(), end);
            end += size;
            let (type_guid, guid, name) = (types::LINUX, guid(number + 10), partition.name.clone());
            partitions.push(Partition {
                number: number.into(),
                type_guid,
                guid,
                start,
                size,
                attributes: 0,
                name,
            });
        }
        let disk_size = end + ALIGNMENT;
        (
            Table {
                disk_guid: guid(0),
                sector_size: 512,
                disk_size,
                partitions,
            },
            wanted,
        )
    }

    #[test]
    fn layouts_know_how_large_a_disk_must_be() {
        let catalog = Catalog::embedded();
        for name in catalog.names(Kind::Layout) {
            let layout = catalog.layout(&name).unwrap();
            let (table, wanted) = image_of(&layout);
            let last = layout.on(Disk::System).last().unwrap();
            let made = |disk: u64| complete(&table, disk, &wanted);
            let smallest = layout.min_size(Disk::System).bytes();
            let made_last = made(smallest).unwrap().table.partitions.pop().unwrap();
            assert_eq!(
                (&made_last.name, made_last.size),
                (&last.name, last.min_size.unwrap().bytes()),
                "{name}"
            );
            let error = made(smallest - MIB).unwrap_err();
            assert!(
                matches!(&error, Error::Full { name, .. } if *name == last.name),
                "{name}: {error}"
            );
        }
    }

    #[test]
    fn less_than_the_smallest_useful_size_is_not_made() {
        let data = handoff::Partition {
            min_size: Some(100 * GIB),
            ..want("data", None)
        };
        let state = want("state", Some(2 * GIB));
        let both = [state.clone(), data.clone()];
        let error = complete(&image(), 50 * GIB, &both).unwrap_err();
        assert!(matches!(error, Error::Full { ref name, needed: 102_400, .. } if name == "data"));
        let large = complete(&image(), 200 * GIB, &both).unwrap();
        assert_eq!(large.added, [7, 8]);
        // The node has run without for a while: it goes on so.
        let first = complete(&image(), 50 * GIB, &[state]).unwrap();
        let later = complete(&first.table, 50 * GIB, &both).unwrap();
        assert!(later.added.is_empty() && matches!(later.skipped[..], [Error::Full { .. }]));
        // What is asked for as little as possible is still of some use.
        let tiny = handoff::Partition {
            min_size: Some(1),
            ..want("state", None)
        };
        assert!(complete(&image(), GIB, &[tiny]).is_err());
    }

    /// An image, and partitions of somebody else behind it: number, first MiB, number of MiB.
    fn beside(others: &[(u32, u64, u64)]) -> Table {
        let mut table = image();
        for &(number, start, size) in others {
            let (start, size) = (start * MIB, size * MIB);
            let (guid, name) = (guid(100 + number as u8), format!("other-{number}"));
            table.partitions.push(Partition {
                number,
                type_guid: types::LINUX,
                guid,
                start,
                size,
                attributes: 0,
                name,
            });
        }
        table.disk_size = 40 * GIB;
        table
    }

    fn places(made: &Completed) -> Vec<(u32, u64, u64)> {
        let of = |&number| {
            made.table
                .partition(number)
                .map(|p| (number, p.start / MIB, p.size / MIB))
                .unwrap()
        };
        made.added.iter().map(of).collect()
    }

    #[test]
    fn the_best_gap_is_taken() {
        // 70 to 3000, 4000 to 6000, 10000 to 30000, and nothing at the end.
        let table = beside(&[
            (9, 3000, 1000),
            (10, 6000, 4000),
            (11, 30_000, 40 * 1024 - 1 - 30_000),
        ]);
        let made = |wanted: &[handoff::Partition]| {
            complete(&table, 40 * GIB, wanted).map(|made| places(&made))
        };
        assert_eq!(made(&[want("state", None)]), Ok(vec![(12, 10_001, 19_999)]));
        assert_eq!(
            made(&[want("state", Some(2 * GIB))]),
            Ok(vec![(12, 71, 2048)])
        );
        assert_eq!(
            made(&[want("state", Some(3 * GIB))]),
            Ok(vec![(12, 10_001, 3072)])
        );
        let both = [want("state", Some(2 * GIB)), want("data", None)];
        assert_eq!(made(&both), Ok(vec![(12, 71, 2048), (13, 10_001, 19_999)]));
        let error = made(&[want("state", Some(20 * GIB))]).unwrap_err();
        assert_eq!(
            error,
            Error::Full {
                name: "state".into(),
                needed: 20 * 1024,
                free: 19_999
            }
        );
    }

    #[test]
    fn what_was_there_before_begins_there_again() {
        let table = beside(&[(9, 3000, 1000), (10, 10_000, 1000)]);
        let made = |size, start: u64| {
            let was = |asked: &Uuid| (*asked == guid(7)).then_some(start);
            places(&complete_where(&table, 40 * GIB, &[want("state", size)], was).unwrap())
        };
        assert_eq!(made(Some(2 * GIB), 5000 * MIB), [(11, 5000, 2048)]);
        assert_eq!(made(None, 5000 * MIB), [(11, 5000, 5000)]);
        assert_eq!(
            made(None, 4000 * MIB),
            [(11, 4000, 6000)],
            "also directly behind somebody else's"
        );
        let elsewhere = [(11, 11_001, 2048)];
        assert_eq!(
            made(Some(2 * GIB), 8000 * MIB),
            elsewhere,
            "there is not room any more"
        );
        assert_eq!(
            made(Some(2 * GIB), 3500 * MIB),
            elsewhere,
            "somebody is there"
        );
        assert_eq!(
            made(Some(2 * GIB), 5000 * MIB + 512),
            elsewhere,
            "it was not aligned"
        );
        assert_eq!(made(Some(2 * GIB), u64::MAX / MIB * MIB), elsewhere);
    }

    #[test]
    fn numbers_run_out_only_when_all_are_taken() {
        let table = beside(&[(128, 3000, 1000)]);
        let made = complete(
            &table,
            40 * GIB,
            &[want("state", Some(2 * GIB)), want("data", None)],
        )
        .unwrap();
        assert_eq!(made.added, [7, 8]);
        let all: Vec<(u32, u64, u64)> = (7..=128)
            .map(|number| (number, 1000 + u64::from(number), 1))
            .collect();
        let full = complete(&beside(&all), 40 * GIB, &[want("state", None)]);
        assert_eq!(full, Err(Error::Numbers));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nothing_is_refused_that_has_room(
            cuts in prop::collection::vec((1u64..4000, 1u64..3000, 1u64..2048), 0..8),
            size in prop::option::of(1u64..6000),
            was in prop::option::of(0u64..40_000),
        ) {
            let (mut at, mut others) = (70 * MIB, Vec::new());
            for (number, (gap, length, sectors)) in (9..).zip(cuts) {
                at += gap * MIB - sectors * 512;
                others.push((number, at, length * MIB + 512 * sectors));
                at += length * MIB + 512 * sectors;
            }
            let mut table = beside(&others.iter().map(|&(number, ..)| (number, 0, 0)).collect::<Vec<_>>());
            for &(number, start, size) in &others {
                let partition = table.partitions.iter_mut().find(|partition| partition.number == number).unwrap();
                (partition.start, partition.size) = (start, size);
            }
            let wanted = [want("state", size.map(|size| size * MIB))];
            let made = complete_where(&table, 40 * GIB, &wanted, |_| was.map(|was| was * MIB));
            // Every place there is, MiB by MiB.
            let needed = size.unwrap_or(1).max(SMALLEST_STATE / MIB) * MIB;
            let free = |start: u64, length: u64| {
                let meets = |p: &Partition| p.start < start + length && start < p.start + p.size;
                start + length <= 40 * GIB - MIB && !table.partitions.iter().any(meets)
            };
            let apart = |start: u64| free(start - MIB, MIB) && free(start, needed);
            let end = table.partitions.iter().map(|p| p.start + p.size).max().unwrap().next_multiple_of(MIB) + MIB;
            let behind = Some(end).filter(|&end| free(end, needed));
            let first = behind.or_else(|| (2..40 * 1024).map(|start| start * MIB).find(|&start| apart(start)));
            match made {
                Ok(made) => {
                    let state = made.table.partition(made.added[0]).unwrap();
                    prop_assert!(free(state.start, state.size) && state.size >= needed);
                    prop_assert_eq!(made.table.partitions.len(), table.partitions.len() + 1);
                    let again = was.map(|was| was * MIB).filter(|&was| was > 0 && free(was, needed));
                    match (again, size) {
                        (Some(again), _) => prop_assert_eq!(state.start, again),
                        (None, Some(_)) => prop_assert_eq!(Some(state.start), first),
                        (None, None) => {
                            let mut starts = (2..40 * 1024).map(|start| start * MIB);
                            prop_assert!(!starts.any(|start| free(start - MIB, state.size + 2 * MIB)), "a larger gap");
                        }
                    }
                    match size {
                        Some(_) => prop_assert_eq!(state.size, needed),
                        None => prop_assert!(!free(state.start, state.size + MIB), "some of the gap is left"),
                    }
                }
                Err(error) => {
                    prop_assert!(matches!(error, Error::Full { .. }), "{error}");
                    prop_assert_eq!(first, None);
                }
            }
        }
    }

    #[test]
    fn a_guid_says_whose_a_partition_is_and_a_name_does_not() {
        let both = [want("state", Some(2 * GIB)), want("data", Some(GIB))];
        let mut table = complete(&image(), 20 * GIB, &both).unwrap().table;
        // Renamed by somebody: still the node's.
        (table.partitions[6].name, table.partitions[7].name) = ("var".into(), "longhorn".into());
        let again = complete(&table, 20 * GIB, &both).unwrap();
        assert_eq!((&again.table, again.added.len()), (&table, 0));
        // Somebody's, whatever they are called: they stay, and the node's come behind.
        for (partition, name) in table.partitions[6..].iter_mut().zip(["state", "data"]) {
            partition.guid = guid(60 + partition.number as u8);
            partition.name = name.into();
        }
        let beside = complete(&table, 20 * GIB, &both).unwrap();
        assert_eq!(beside.table.partitions[..8], table.partitions[..]);
        assert_eq!(
            places(&beside),
            [(9, 3144, 2048), (10, 5192, 1024)],
            "behind somebody's"
        );
        // Without room beside it, that is what is said.
        let whole = complete(&image(), 20 * GIB, &[want("state", None)]).unwrap();
        let mut table = whole.table;
        table.partitions[6].guid = guid(66);
        assert!(matches!(
            complete(&table, 20 * GIB, &[want("state", None)]),
            Err(Error::Full { .. })
        ));
    }

    #[test]
    fn small_disks_are_refused() {
        for (disk, wanted) in [
            (71 * MIB, vec![want("state", None)]),
            (GIB, vec![want("state", None)]),
            (3 * GIB, vec![want("state", Some(4 * GIB))]),
            (3 * GIB, vec![want("state", Some(u64::MAX))]),
            (
                2 * GIB,
                vec![want("state", Some(GIB)), want("data", Some(2 * GIB))],
            ),
        ] {
            assert!(
                matches!(complete(&image(), disk, &wanted), Err(Error::Full { .. })),
                "{disk}"
            );
        }
        assert!(matches!(
            complete(&image(), 50 * MIB, &[want("state", None)]),
            Err(Error::Table(_))
        ));
        let error = complete(&image(), GIB, &[want("state", None)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "partition `state` needs 1024 MiB, and the disk has 952 MiB left"
        );
    }
}
