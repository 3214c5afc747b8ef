//! What one node is: its table, its identity, and which system it has.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::architecture::Architecture;
use crate::digest::Digest;
use crate::document;
use crate::handoff::{Archive, Handoff};
use crate::manifest::{Error, Range, SIZE_LIMIT, VERSION, check_version, syntax};
use crate::path;
use crate::role::Role;
use crate::system::checked_size;

/// Bytes that every partition is aligned to. So many before the first one and behind the last one are the table's.
pub const ALIGNMENT: u64 = 1 << 20;

/// Largest identity partition, and most bytes of files on it: it is put together in memory.
const LARGEST_IDENTITY: u64 = 4 * Archive::LARGEST;

/// Longest text of its own that a node has on the boot partition, in bytes.
const LONGEST_TEXT: usize = 64 << 10;

/// A node's image, all but what its system brings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeManifest {
    /// [`VERSION`].
    pub version: u32,
    /// Cluster name.
    pub cluster: String,
    /// Node name.
    pub node: String,
    /// Board name.
    pub board: String,
    /// Machine architecture.
    pub architecture: Architecture,
    /// Digest of its system's manifest.
    pub system: Digest,
    /// Digest of the lock that it was built from.
    pub lock: Digest,
    /// Logical sector size that the partition table is written for.
    pub sector_size: u32,
    /// Image size in bytes: the smallest disk that takes it, not counting what is made on first boot.
    pub size: u64,
    /// GUID of the disk.
    pub disk_guid: Uuid,
    /// Partitions in table order.
    pub partitions: Vec<Partition>,
    /// Files of the boot partition that are the node's own, by path ([`crate::system::File::own`]).
    pub boot: BTreeMap<String, String>,
    /// Files of the identity partition by name; `node.json` is made of [`NodeManifest::handoff`].
    pub identity: BTreeMap<String, Vec<Range>>,
    /// `node.json`.
    pub handoff: Handoff,
}

/// One partition of the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// Number in the table, from 1.
    pub number: u32,
    /// What it is for, and so its name (PARTLABEL) and its content.
    #[serde(rename = "name")]
    pub role: Role,
    /// Type GUID.
    #[serde(rename = "type")]
    pub type_guid: Uuid,
    /// Unique GUID (PARTUUID).
    pub guid: Uuid,
    /// Attribute bits.
    pub attributes: u64,
    /// First byte in the image.
    pub start: u64,
    /// Length in bytes.
    pub size: u64,
}

impl NodeManifest {
    /// Reads and checks a manifest: after this, partitions are in order, apart and inside, and the hand-off is sound.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        check_version(text)?;
        let node: Self = serde_json::from_slice(text).map_err(syntax)?;
        node.check()?;
        Ok(node)
    }

    /// The document as it is stored.
    pub fn to_json(&self) -> String {
        document::to_json(self)
    }

    /// The partition with this role.
    pub fn partition(&self, role: Role) -> Option<&Partition> {
        self.partitions
            .iter()
            .find(|partition| partition.role == role)
    }

    fn check(&self) -> Result<(), Error> {
        if self.version != VERSION {
            return Err(Error::Version {
                found: self.version,
            });
        }
        self.problem()
            .or_else(|| self.misplaced())
            .map_or(Ok(()), |problem| Err(Error::Inconsistent(problem)))
    }

    fn problem(&self) -> Option<String> {
        let label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.node.is_empty() || self.node.len() > 63 || !self.node.bytes().all(label) {
            // The name becomes part of file names.
            return Some("its node's name is not a DNS label".into());
        }
        if self.size > SIZE_LIMIT {
            return Some(format!("an image of {} bytes", self.size));
        }
        if ![512, 4096].contains(&self.sector_size) || !self.size.is_multiple_of(ALIGNMENT) {
            return Some(format!(
                "{} bytes in sectors of {}",
                self.size, self.sector_size
            ));
        }
        if let Err(error) = self.handoff.check() {
            return Some(error.to_string());
        }
        if self.handoff.node != self.node {
            return Some(format!("its hand-off is that of {:?}", self.handoff.node));
        }
        let mut total: u64 = 0;
        for (name, ranges) in &self.identity {
            let size = match checked_size(ranges) {
                Ok(size) => size,
                Err(why) => return Some(format!("identity file {name:?}: {why}")),
            };
            let is_name = path::is_clean(name.as_bytes()) && !name.contains('/');
            total = total.saturating_add(size);
            if !is_name || name == "node.json" || total > LARGEST_IDENTITY {
                return Some(format!("an identity file {name:?} of {size} bytes"));
            }
        }
        let long = self.boot.iter().find(|(_, text)| text.len() > LONGEST_TEXT);
        long.map(|(path, text)| format!("boot file {path:?} of {} bytes", text.len()))
    }

    /// What is wrong with the partitions' places and names.
    fn misplaced(&self) -> Option<String> {
        let mut end = ALIGNMENT;
        let mut names = BTreeSet::from([self.disk_guid]);
        let mut numbers = BTreeSet::new();
        let mut roles = BTreeSet::new();
        let last = self.size.checked_sub(ALIGNMENT)?;
        for partition in &self.partitions {
            let Partition {
                number,
                role,
                guid,
                start,
                size,
                ..
            } = *partition;
            let behind = start.checked_add(size);
            let aligned = start.is_multiple_of(ALIGNMENT) && size.is_multiple_of(ALIGNMENT);
            if start < end || !aligned || size == 0 || behind.is_none_or(|behind| behind > last) {
                return Some(format!(
                    "partition {number} ({role}) at {start}+{size} overlaps, lies outside or is not aligned"
                ));
            }
            let is_new = numbers.insert(number) && roles.insert(role) && names.insert(guid);
            let is_small = role != Role::Identity || size <= LARGEST_IDENTITY;
            let is_possible = (1..=128).contains(&number) && !role.is_made_by_node() && is_small;
            if !is_new || !is_possible || guid.is_nil() || partition.type_guid.is_nil() {
                return Some(format!(
                    "partition {number} ({role}) cannot be in a table with the others"
                ));
            }
            end = start + size;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::ChunkDigest;
    use crate::handoff;
    use crate::role::Slot;

    fn example() -> NodeManifest {
        let partition = |number: u32, role, start: u64, size: u64| Partition {
            number,
            role,
            type_guid: Uuid::from_u128(99),
            guid: Uuid::from_u128(u128::from(number)),
            attributes: 0,
            start: start << 20,
            size: size << 20,
        };
        NodeManifest {
            version: VERSION,
            cluster: "lab".into(),
            node: "w1".into(),
            board: "rpi5".into(),
            architecture: Architecture::Arm64,
            system: Digest::of(b"system"),
            lock: Digest::of(b"lock"),
            sector_size: 512,
            size: 10 << 20,
            disk_guid: Uuid::from_u128(100),
            partitions: vec![
                partition(1, Role::Boot, 1, 4),
                partition(2, Role::Root(Slot::A), 5, 2),
                partition(3, Role::Identity, 8, 1),
            ],
            boot: BTreeMap::from([("cmdline.txt".into(), "root=x\n".into())]),
            identity: BTreeMap::from([(
                "user-data".into(),
                vec![Range::Data {
                    length: 5,
                    digest: ChunkDigest::of(b"hello"),
                }],
            )]),
            handoff: Handoff {
                version: handoff::VERSION,
                node: "w1".into(),
                partitions: vec![handoff::Partition {
                    name: handoff::STATE.into(),
                    type_guid: Uuid::from_u128(98),
                    guid: Uuid::from_u128(97),
                    size: None,
                    min_size: None,
                    format: handoff::Format::Ext4,
                    uuid: Uuid::from_u128(96),
                }],
                archive: Archive {
                    digest: Digest::of(b"cpio"),
                    size: 4,
                },
                brought: Vec::new(),
            },
        }
    }

    #[test]
    fn text_round_trips() {
        let node = example();
        assert_eq!(
            NodeManifest::parse(node.to_json().as_bytes()).unwrap(),
            node
        );
    }

    #[test]
    fn contradictions_are_refused() {
        let refused = |change: fn(&mut NodeManifest)| {
            let mut node = example();
            change(&mut node);
            NodeManifest::parse(node.to_json().as_bytes())
                .unwrap_err()
                .to_string()
        };
        assert!(refused(|n| n.node = "../x".into()).contains("DNS label"));
        assert!(refused(|n| n.version = 9).contains("version 9"));
        assert!(refused(|n| n.size += 512).contains("in sectors"));
        assert!(refused(|n| n.size = SIZE_LIMIT * 2).contains("an image of"));
        assert!(refused(|n| n.handoff.node = "w2".into()).contains("hand-off"));
        assert!(refused(|n| n.partitions[1].start = 4 << 20).contains("partition 2"));
        assert!(refused(|n| n.partitions[2].size = 2 << 20).contains("partition 3"));
        assert!(refused(|n| n.partitions[2].size = 1 << 63).contains("partition 3"));
        assert!(refused(|n| n.partitions[2].start += 512).contains("partition 3"));
        assert!(refused(|n| n.partitions[2].role = Role::Boot).contains("partition 3"));
        assert!(refused(|n| n.partitions[2].role = Role::State).contains("partition 3"));
        assert!(refused(|n| n.partitions[2].guid = n.disk_guid).contains("partition 3"));
        assert!(
            refused(|n| {
                n.size = 10 << 30;
                n.partitions[2].size = 1 << 30;
            })
            .contains("partition 3")
        );
        assert!(
            refused(|n| {
                for name in ["a", "b"] {
                    let length = 200 << 20;
                    n.identity.insert(name.into(), vec![Range::Zero { length }]);
                }
            })
            .contains("identity file")
        );
        assert!(refused(|n| n.partitions[2].number = 129).contains("partition 129"));
        assert!(
            refused(|n| drop(n.identity.insert("a/b".into(), vec![]))).contains("identity file")
        );
        assert!(
            refused(|n| drop(n.identity.insert("node.json".into(), vec![])))
                .contains("identity file")
        );
        assert!(
            refused(|n| drop(n.boot.insert("x".into(), "y".repeat(65537)))).contains("boot file")
        );
    }
}
