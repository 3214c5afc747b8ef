//! Which partitions a node boots from.

use prejoin_disk::layout;
use prejoin_formats::gpt::{self, Partition, Table};
use prejoin_wire::handoff::Handoff;
use prejoin_wire::role::Role;
use uuid::Uuid;

use crate::cmdline::Target;

/// The partitions of one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// The root file system.
    pub(crate) root: Partition,
    /// Its hashes.
    pub(crate) verity: Partition,
}

/// A disk that cannot be booted from, or has no room for what it lacks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("there is no {what} partition {guid}")]
    Missing { what: &'static str, guid: Uuid },
    #[error("node.json does not say which partition is {role}")]
    Unlisted { role: Role },
    #[error(transparent)]
    Table(#[from] layout::Error),
}

impl From<gpt::Error> for Error {
    fn from(error: gpt::Error) -> Self {
        Error::Table(error.into())
    }
}

impl Source {
    /// Finds the partitions in the table of the node's disk: by GUID, whatever they and others are called. The command line
    /// has the GUIDs, or the node's own document.
    pub(crate) fn find(table: &Table, target: &Target, handoff: &Handoff) -> Result<Self, Error> {
        let brought = |role: Role| handoff.brought(role).ok_or(Error::Unlisted { role });
        let (root, verity) = match &target.named {
            Some(named) => (named.root, named.verity),
            None => (
                brought(Role::Root(target.slot))?,
                brought(Role::Verity(target.slot))?,
            ),
        };
        Ok(Source {
            root: required(table, "root", root)?.clone(),
            verity: required(table, "verity", verity)?.clone(),
        })
    }
}

/// Bytes at the start of a partition by which [`may_be_identity`] tells.
pub(crate) const HEAD: usize = 512;

/// Whether a partition may be the identity of a node: FAT with the label CIDATA (BPB_VolLab of Microsoft's FAT
/// specification, section 3). What it holds says whose.
pub(crate) fn may_be_identity(head: &[u8; HEAD]) -> bool {
    head[510..] == [0x55, 0xaa]
        && [43, 71]
            .iter()
            .any(|&at| head[at..at + 11] == *b"CIDATA     ")
}

/// Whether the document on a partition says that it is this partition's, and its node's boot partition the one that the
/// boot loader was started from, if that is known.
pub(crate) fn is_identity(handoff: &Handoff, partition: &Partition, started: Option<Uuid>) -> bool {
    handoff.brought(Role::Identity) == Some(partition.guid)
        && started.is_none_or(|started| handoff.brought(Role::Boot) == Some(started))
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
    use prejoin_wire::digest::Digest;
    use prejoin_wire::handoff::{Archive, Brought};
    use prejoin_wire::role::Slot;

    use super::*;
    use crate::cmdline::Named;

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
            root_hash: [0; 32],
            slot: Slot::B,
            named: Some(Named {
                root: guid(4),
                verity: guid(5),
                identity: guid(6),
            }),
        }
    }

    /// A node whose partitions have the numbers 1 to 6.
    fn handoff() -> Handoff {
        let brought = Role::ALL.into_iter().zip(1..=6);
        Handoff {
            version: 1,
            node: "one".to_owned(),
            partitions: Vec::new(),
            archive: Archive {
                digest: Digest([0; 32]),
                size: 0,
            },
            brought: brought
                .map(|(role, number)| Brought {
                    role,
                    guid: guid(number),
                })
                .collect(),
        }
    }

    #[test]
    fn finds_the_partitions_of_the_slot_whatever_they_are_called() {
        let (mut table, handoff) = (image(), handoff());
        let fleet = Target {
            named: None,
            ..target()
        };
        let found = |table: &Table, target: &Target| {
            let source = Source::find(table, target, &handoff).unwrap();
            (source.root.number, source.verity.number)
        };
        for name in ["identity", "root-b", "root-b-verity"] {
            assert_eq!(found(&table, &target()), (4, 5));
            assert_eq!(found(&table, &fleet), (4, 5));
            let other = Target {
                slot: Slot::A,
                ..fleet.clone()
            };
            assert_eq!(found(&table, &other), (2, 3));
            // Somebody gives all of them names of their own, and another one each of theirs.
            for partition in &mut table.partitions {
                partition.name = name.to_owned();
            }
        }
        table.partitions.remove(4);
        for target in [&target(), &fleet] {
            let error = Source::find(&table, target, &handoff).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("there is no verity partition {}", guid(5))
            );
        }
        let old = Handoff {
            brought: Vec::new(),
            ..handoff
        };
        let error = Source::find(&table, &fleet, &old).unwrap_err();
        assert_eq!(
            error.to_string(),
            "node.json does not say which partition is root-b"
        );
    }

    #[test]
    fn an_identity_says_whose_it_is() {
        let (table, handoff) = (image(), handoff());
        let identity = &table.partitions[5];
        for (partition, started, expected) in [
            (identity, None, true),
            (identity, Some(guid(1)), true),
            // Loaded from another node's disk, or from none of the two.
            (identity, Some(guid(9)), false),
            // A copy of the document on another partition.
            (&table.partitions[4], Some(guid(1)), false),
        ] {
            assert_eq!(is_identity(&handoff, partition, started), expected);
        }
        let old = Handoff {
            brought: Vec::new(),
            ..handoff
        };
        assert!(!is_identity(&old, identity, None));
    }

    #[test]
    fn an_identity_is_fat_with_its_label() {
        let mut head = [0; HEAD];
        assert!(!may_be_identity(&head));
        head[43..54].copy_from_slice(b"CIDATA     ");
        assert!(!may_be_identity(&head));
        head[510..].copy_from_slice(&[0x55, 0xaa]);
        assert!(may_be_identity(&head));
        head[43..54].copy_from_slice(b"NO NAME    ");
        assert!(!may_be_identity(&head));
        head[71..82].copy_from_slice(b"CIDATA     ");
        assert!(may_be_identity(&head));
    }
}
