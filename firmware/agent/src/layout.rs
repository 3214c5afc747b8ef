//! Which partitions a node boots from.

use prejoin_disk::layout::{self, called};
use prejoin_formats::gpt::{self, Partition, Table};
use prejoin_formats::guid::Guid;

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
    #[error("there is no partition called `{0}`")]
    Missing(String),
    #[error(
        "the partition of root=PARTUUID= is called `{found}`, not `{expected}` as prejoin.slot= says"
    )]
    Slot { found: String, expected: String },
    #[error(transparent)]
    Table(#[from] layout::Error),
}

impl From<gpt::Error> for Error {
    fn from(error: gpt::Error) -> Self {
        Error::Table(error.into())
    }
}

impl Source {
    /// Finds the partitions in the table of the disk that holds the root partition.
    pub(crate) fn find(table: &Table, root: Guid, slot: char) -> Result<Self, Error> {
        let name = format!("root-{slot}");
        let found = table
            .partitions
            .iter()
            .find(|partition| partition.guid == root);
        let root = found.ok_or_else(|| Error::Missing(name.clone()))?;
        if root.name != name {
            return Err(Error::Slot {
                found: root.name.clone(),
                expected: name,
            });
        }
        let required =
            |name: &str| called(table, name)?.ok_or_else(|| Error::Missing(name.to_owned()));
        Ok(Source {
            root: root.clone(),
            verity: required(&format!("{name}-verity"))?.clone(),
            identity: required("identity")?.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use prejoin_formats::gpt::types;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn guid(number: u8) -> Guid {
        let mut bytes = [7; 16];
        bytes[15] = number;
        Guid::from_bytes(bytes)
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

    #[test]
    fn finds_the_partitions_of_the_slot() {
        let source = Source::find(&image(), guid(4), 'b').unwrap();
        assert_eq!(
            (
                source.root.number,
                source.verity.number,
                source.identity.number
            ),
            (4, 5, 6)
        );
        assert_eq!(
            Source::find(&image(), guid(9), 'a'),
            Err(Error::Missing("root-a".to_owned()))
        );
        assert!(matches!(
            Source::find(&image(), guid(4), 'a'),
            Err(Error::Slot { .. })
        ));
        let mut table = image();
        table.partitions[5].name = "root-a-verity".to_owned();
        assert_eq!(
            Source::find(&table, guid(2), 'a'),
            Err(Error::Table(layout::Error::Twice(
                3,
                6,
                "root-a-verity".to_owned()
            )))
        );
        assert_eq!(
            Source::find(&table, guid(4), 'b'),
            Err(Error::Missing("identity".to_owned()))
        );
    }
}
