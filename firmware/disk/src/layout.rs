//! The partitions that a node makes for itself behind those of its image: where they go.

use prejoin_formats::gpt::{self, ALIGNMENT, Partition, Table};
use prejoin_formats::guid::Guid;
use prejoin_profiles::handoff::{self, SMALLEST_STATE};

/// The smallest data partition worth making.
const SMALLEST_DATA: u64 = 1 << 20;

/// A disk without room for what it lacks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two partitions have one name.
    #[error("partitions {0} and {1} are both called `{2}`")]
    Twice(u32, u32, String),
    /// A partition has the right name and the GUID of another node's.
    #[error("partition `{name}` has the GUID {found}, but node.json asks for {expected}: it is another node's")]
    Foreign {
        /// Its name.
        name: String,
        /// The GUID in the table.
        found: Guid,
        /// The node's own.
        expected: Guid,
    },
    /// Not enough room.
    #[error("partition `{name}` needs {needed} MiB, and the disk has {free} MiB left")]
    Full {
        /// Its name.
        name: String,
        /// MiB it needs.
        needed: u64,
        /// MiB there.
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

/// The only partition of this name.
pub fn called<'a>(table: &'a Table, name: &str) -> Result<Option<&'a Partition>, Error> {
    let mut found = table.partitions.iter().filter(|partition| partition.name == name);
    match (found.next(), found.next()) {
        (Some(one), Some(two)) => Err(Error::Twice(one.number, two.number, name.to_owned())),
        (one, _) => Ok(one),
    }
}

/// Plans the partitions of `wanted` that `table` does not have yet, on a disk of `disk_size` bytes.
///
/// They go behind the last partition, in order, [`handoff::GAP`] apart from it: so the place depends on the image's
/// partitions alone, not on where the table's backup copy was (directly behind them in an image that was copied to a
/// larger disk), and a node whose disk is written again finds its state where it left it.
///
/// A data partition that came into the plan after the state partition took the disk is done without.
pub fn complete(table: &Table, disk_size: u64, wanted: &[handoff::Partition]) -> Result<Completed, Error> {
    let mut plan = Completed { table: table.clone(), added: Vec::new(), skipped: Vec::new() };
    plan.table.grow(disk_size)?;
    let mut free = plan.table.free_tail().unwrap_or(0..0);
    free.start += handoff::GAP;
    for want in wanted {
        let guid = Guid::from_bytes(want.guid.0);
        if let Some(existing) = called(&plan.table, &want.name)? {
            if existing.guid != guid {
                let error = Error::Foreign { name: want.name.clone(), found: existing.guid, expected: guid };
                refuse(&mut plan, want, error)?;
            }
            continue;
        }
        let least = if want.name == handoff::STATE { SMALLEST_STATE } else { SMALLEST_DATA };
        let room = free.end.saturating_sub(free.start) / ALIGNMENT * ALIGNMENT;
        let size = want.size.map_or(room.max(least), |size| size.max(least));
        if size > room {
            let needed = size.div_ceil(ALIGNMENT);
            let error = Error::Full { name: want.name.clone(), needed, free: room / ALIGNMENT };
            // Nothing is made in half: if state would be new too, the disk is too small for what was asked for.
            if want.name == handoff::STATE || !plan.added.is_empty() {
                return Err(error);
            }
            plan.skipped.push(error);
            continue;
        }
        let size = size.next_multiple_of(ALIGNMENT);
        let number = plan.table.partitions.iter().map(|partition| partition.number).max().unwrap_or(0) + 1;
        if number > 128 {
            return Err(Error::Numbers);
        }
        plan.table.partitions.push(Partition {
            number,
            type_guid: Guid::from_bytes(want.type_guid.0),
            guid,
            start: free.start,
            size,
            attributes: 0,
            name: want.name.clone(),
        });
        plan.added.push(number);
        free.start += size;
    }
    plan.table.check()?;
    Ok(plan)
}

/// A state partition of another node is in the way of this one; its data is merely none of our business.
fn refuse(plan: &mut Completed, want: &handoff::Partition, error: Error) -> Result<(), Error> {
    if want.name == handoff::STATE {
        return Err(error);
    }
    plan.skipped.push(error);
    Ok(())
}

#[cfg(test)]
mod tests {
    use prejoin_formats::gpt::types;
    use prejoin_profiles::catalog::{Catalog, Kind};
    use prejoin_profiles::handoff::{Format, Uuid};
    use prejoin_profiles::layout::{Disk, Layout, Purpose};

    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    fn guid(number: u8) -> Guid {
        let mut bytes = [7; 16];
        bytes[15] = number;
        Guid::from_bytes(bytes)
    }

    fn image() -> Table {
        let names = ["esp", "root-a", "root-a-verity", "root-b", "root-b-verity", "identity"];
        let partitions = names.iter().zip(1..).map(|(name, number)| Partition {
            number,
            type_guid: types::LINUX,
            guid: guid(number as u8),
            start: u64::from(number) * 10 * MIB,
            size: 10 * MIB,
            attributes: 0,
            name: (*name).to_owned(),
        });
        Table { disk_guid: guid(0), sector_size: 512, disk_size: 71 * MIB, partitions: partitions.collect() }
    }

    fn want(name: &str, size: Option<u64>) -> handoff::Partition {
        let number = if name == "state" { 7 } else { 8 };
        handoff::Partition {
            name: name.to_owned(),
            type_guid: Uuid(types::VAR.bytes()),
            guid: Uuid(guid(number).bytes()),
            size,
            format: Format::Ext4,
            uuid: Uuid(guid(100).bytes()),
        }
    }

    #[test]
    fn state_takes_the_rest_of_a_larger_disk() {
        let made = complete(&image(), 20 * GIB + 300, &[want("state", None)]).unwrap();
        assert_eq!(made.added, [7]);
        let state = made.table.partition(7).unwrap();
        assert_eq!((state.start, state.start + state.size), (81 * MIB - 10 * MIB, 20 * GIB - MIB));
        assert_eq!((state.guid, state.name.as_str()), (guid(7), "state"));
        assert_eq!(made.table.partitions[..6], image().partitions[..]);
    }

    #[test]
    fn place_does_not_depend_on_where_the_backup_copy_was() {
        let grown = Table { disk_size: 20 * GIB, ..image() };
        let wanted = [want("state", Some(2 * GIB + 1)), want("data", None)];
        let plans = [complete(&image(), 20 * GIB, &wanted).unwrap(), complete(&grown, 20 * GIB, &wanted).unwrap()];
        assert_eq!(plans[0], plans[1]);
        let [state, data] = [7, 8].map(|number| plans[0].table.partition(number).unwrap());
        assert_eq!((state.size, data.start), (2 * GIB + MIB, state.start + state.size));
        assert_eq!(data.start + data.size, 20 * GIB - MIB);
    }

    #[test]
    fn existing_partitions_are_left_alone() {
        let wanted = [want("state", None)];
        let first = complete(&image(), 20 * GIB, &wanted).unwrap();
        let second = complete(&first.table, 20 * GIB, &wanted).unwrap();
        assert_eq!((&second.table, second.added.len()), (&first.table, 0));
        // Data was asked for later: there is no room, and the node boots all the same.
        let later = complete(&first.table, 20 * GIB, &[want("state", None), want("data", None)]).unwrap();
        assert!(later.added.is_empty() && matches!(later.skipped[..], [Error::Full { .. }]));
        // A larger disk gives it room.
        let larger = complete(&first.table, 40 * GIB, &[want("state", None), want("data", None)]).unwrap();
        assert_eq!((larger.added, larger.table.partitions[6].size), (vec![8], first.table.partitions[6].size));
    }

    /// What the image builder makes of a layout's system disk, and what it leaves to the node.
    fn image_of(layout: &Layout) -> (Table, Vec<handoff::Partition>) {
        let (mut partitions, mut wanted, mut end) = (Vec::new(), Vec::new(), ALIGNMENT);
        for (partition, number) in layout.on(Disk::System).zip(1..) {
            let size = partition.size.map(|size| size.bytes());
            if matches!(partition.purpose, Purpose::State | Purpose::Data) {
                wanted.push(want(&partition.name, size));
                continue;
            }
            let (size, start) = (size.unwrap(), end);
            end += size;
            let (type_guid, guid, name) = (types::LINUX, guid(number + 10), partition.name.clone());
            partitions.push(Partition { number: number.into(), type_guid, guid, start, size, attributes: 0, name });
        }
        let disk_size = end + ALIGNMENT;
        (Table { disk_guid: guid(0), sector_size: 512, disk_size, partitions }, wanted)
    }

    #[test]
    fn layouts_know_how_large_a_disk_must_be() {
        let catalog = Catalog::embedded();
        for name in catalog.names(Kind::Layout) {
            let layout = catalog.layout(&name).unwrap();
            let (table, wanted) = image_of(&layout);
            let last = layout.on(Disk::System).last().unwrap();
            let made = |disk: u64| complete(&table, disk, &wanted).unwrap().table.partitions.pop().unwrap();
            let smallest = layout.min_size(Disk::System).bytes();
            assert_eq!(
                (&made(smallest).name, made(smallest).size),
                (&last.name, last.min_size.unwrap().bytes()),
                "{name}"
            );
            assert!(made(smallest - MIB).size < last.min_size.unwrap().bytes(), "{name}");
        }
    }

    #[test]
    fn another_nodes_state_is_refused() {
        let mut first = complete(&image(), 20 * GIB, &[want("state", None)]).unwrap();
        first.table.partitions[6].guid = guid(66);
        assert!(matches!(complete(&first.table, 20 * GIB, &[want("state", None)]), Err(Error::Foreign { .. })));
    }

    #[test]
    fn small_disks_are_refused() {
        for (disk, wanted) in [
            (71 * MIB, vec![want("state", None)]),
            (GIB, vec![want("state", None)]),
            (3 * GIB, vec![want("state", Some(4 * GIB))]),
            (3 * GIB, vec![want("state", Some(u64::MAX))]),
            (2 * GIB, vec![want("state", Some(GIB)), want("data", Some(2 * GIB))]),
        ] {
            assert!(matches!(complete(&image(), disk, &wanted), Err(Error::Full { .. })), "{disk}");
        }
        assert!(matches!(complete(&image(), 50 * MIB, &[want("state", None)]), Err(Error::Table(_))));
        let error = complete(&image(), GIB, &[want("state", None)]).unwrap_err();
        assert_eq!(error.to_string(), "partition `state` needs 1024 MiB, and the disk has 952 MiB left");
    }
}
