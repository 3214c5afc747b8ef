//! Which partitions a node boots from.

use prejoin_disk::layout;
use prejoin_formats::gpt::{self, Partition, Table};
use uuid::Uuid;

use crate::cmdline::Target;

/// The partitions of one slot and of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// The root file system.
    pub(crate) root: Partition,
    /// Its hashes.
    pub(crate) verity: Partition,
    /// FAT, with the node's documents.
    pub(crate) identity: Partition,
}

/// A disk that cannot be booted from, or has no room for what it lacks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("there is no {what} partition {guid}")]
    Missing { what: &'static str, guid: Uuid },
    #[error(transparent)]
    Table(#[from] layout::Error),
}

impl From<gpt::Error> for Error {
    fn from(error: gpt::Error) -> Self {
        Error::Table(error.into())
    }
}

impl Source {
    /// Finds the partitions in the table of the disk that holds the root partition: by GUID, whatever they and others
    /// are called.
    pub(crate) fn find(table: &Table, target: &Target) -> Result<Self, Error> {
        Ok(Source {
            root: required(table, "root", target.root)?.clone(),
            verity: required(table, "verity", target.verity)?.clone(),
            identity: required(table, "identity", target.identity)?.clone(),
        })
    }
}

/// The partition that the node cannot do without.
pub(crate) fn required<'a>(
    table: &'a Table,
    what: &'static str,
    guid: Uuid,
) -> Result<&'a Partition, Error> {
    table.with_guid(&guid).ok_or(Error::Missing { what, guid })
}

#[cfg(test)]
mod tests {
    use prejoin_formats::gpt::types;

    use super::*;

    const MIB: u64 = 1 << 20;

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

    fn target() -> Target {
        Target {
            root: guid(4),
            root_hash: [0; 32],
            verity: guid(5),
            identity: guid(6),
            slot: 'b',
        }
    }

    #[test]
    fn finds_the_partitions_of_the_slot_whatever_they_are_called() {
        let mut table = image();
        for name in ["identity", "root-b", "root-b-verity"] {
            let source = Source::find(&table, &target()).unwrap();
            assert_eq!(
                (
                    source.root.number,
                    source.verity.number,
                    source.identity.number
                ),
                (4, 5, 6)
            );
            // Somebody gives all of them names of their own, and another one each of theirs.
            for partition in &mut table.partitions {
                partition.name = name.to_owned();
            }
        }
        table.partitions.remove(5);
        let error = Source::find(&table, &target()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("there is no identity partition {}", guid(6))
        );
    }
}
