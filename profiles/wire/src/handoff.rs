//! What the image builder hands to the agent that boots the node.
//!
//! Two small JSON documents. [`Boot`] lies in the initramfs (`/etc/prejoin/boot.json`) and is the same for a whole
//! fleet; [`Handoff`] lies on the identity partition (`node.json`) and makes the node *this* node. Beside `node.json`
//! are `user-data`, `meta-data`, `network-config` (cloud-init's NoCloud seed) and `node.cpio`, a newc archive of the
//! node's files with paths relative to `/`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::digest::Digest;
use crate::role::Role;

/// The version of both documents that this program writes and understands.
pub const VERSION: u32 = 1;

/// Largest `node.json`, and largest file of the NoCloud seed, in bytes: the agent holds them in memory.
pub const LARGEST_DOCUMENT: u64 = 4 << 20;

/// `/etc/prejoin/boot.json` in the initramfs. Keys it does not know are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// [`VERSION`].
    pub version: u32,
    /// Seconds since 1970: the clock is set to this if it stands earlier (a Raspberry Pi has no battery, and to a
    /// clock in the past every certificate is not yet valid).
    pub epoch: u64,
}

/// `node.json` on the identity partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handoff {
    /// [`VERSION`].
    pub version: u32,
    /// The node's name, for people.
    pub node: String,
    /// What the agent makes on first boot, in this order, behind the last partition of the image: [`STATE`], then
    /// possibly [`DATA`].
    pub partitions: Vec<Partition>,
    /// `node.cpio`.
    pub archive: Archive,
    /// What the image brings: by this the agent knows which partitions are one node's, where nothing else tells. Empty in
    /// documents from before there was such a list.
    #[serde(default)]
    pub brought: Vec<Brought>,
}

/// A partition that the image brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Brought {
    /// What it is for.
    #[serde(rename = "name")]
    pub role: Role,
    /// GPT partition GUID (`PARTUUID`).
    pub guid: Uuid,
}

/// Name of the partition that is mounted at `/var`; required.
pub const STATE: &str = "state";
/// Name of the partition that is made once and never touched again; optional.
pub const DATA: &str = "data";

/// Whether a partition of that name is made by the node and not brought by its image.
pub fn is_made_by_node(name: &str) -> bool {
    [STATE, DATA].contains(&name)
}

/// Bytes that the agent leaves free between the image's last partition and the first one it makes: the table's backup
/// copy was there, when the image was copied to a larger disk as it is.
pub const GAP: u64 = 1 << 20;
/// The smallest [`STATE`] partition that the agent makes, in bytes: logs, container images and pods are in it.
pub const SMALLEST_STATE: u64 = 1 << 30;

/// A partition to be made on first boot. One with this GUID that already exists is never altered, whatever its name
/// is by now; one with the same name and another GUID is somebody else's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// GPT partition name: [`STATE`] or [`DATA`].
    pub name: String,
    /// GPT type GUID, once it is made.
    #[serde(rename = "type")]
    pub type_guid: Uuid,
    /// GPT partition GUID (`PARTUUID`), derived from the cluster's id, node and name.
    pub guid: Uuid,
    /// Bytes; `null` takes the rest of the disk and is allowed for the last partition only.
    pub size: Option<u64>,
    /// The fewest bytes that one without a size is made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_size: Option<u64>,
    /// What it is formatted with.
    pub format: Format,
    /// UUID of the file system when it is made. One that is there may have another: a disk that was taken over from
    /// before its cluster had an id keeps those of then. Must not be nil.
    pub uuid: Uuid,
}

/// File systems the agent makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// ext4; the only one for [`STATE`].
    Ext4,
    /// XFS.
    Xfs,
    /// Left as it is (a raw volume).
    None,
}

/// `node.cpio`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// SHA-256 of the file. The archive is unpacked when it differs from the one unpacked last.
    pub digest: Digest,
    /// Its length in bytes; at most [`Archive::LARGEST`].
    pub size: u64,
}

impl Archive {
    /// The agent holds the archive in memory while it unpacks it: 64 MiB.
    pub const LARGEST: u64 = 64 << 20;
}

/// A document that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not JSON, or not of this shape.
    #[error("reading {document}: {source}")]
    Json {
        /// `boot.json` or `node.json`.
        document: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Written by another version of prejoin.
    #[error("{document} has version {found}, only {VERSION} is understood")]
    Version {
        /// `boot.json` or `node.json`.
        document: &'static str,
        /// Its version.
        found: u32,
    },
    /// Well-formed and contradictory.
    #[error("node.json: {0}")]
    Plan(&'static str),
}

impl Boot {
    /// Parses `boot.json`.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        parse("boot.json", json)
    }

    /// As JSON with a line end.
    pub fn to_json(&self) -> String {
        to_json(self)
    }
}

impl Handoff {
    /// Parses and checks `node.json`.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        let handoff: Self = parse("node.json", json)?;
        handoff.check()?;
        Ok(handoff)
    }

    /// As JSON with a line end.
    pub fn to_json(&self) -> String {
        to_json(self)
    }

    /// The state partition.
    ///
    /// # Panics
    /// If [`Handoff::check`] does not hold.
    pub fn state(&self) -> &Partition {
        &self.partitions[0]
    }

    /// The data partition, if the node has one.
    pub fn data(&self) -> Option<&Partition> {
        self.partitions.get(1)
    }

    /// The GUID of a partition that the image brings.
    pub fn brought(&self, role: Role) -> Option<Uuid> {
        let found = self.brought.iter().find(|brought| brought.role == role);
        found.map(|brought| brought.guid)
    }

    /// Whether the partitions make sense together; [`Handoff::parse`] has done it.
    pub fn check(&self) -> Result<(), Error> {
        let names: Vec<&str> = self
            .partitions
            .iter()
            .map(|partition| partition.name.as_str())
            .collect();
        if names != [STATE] && names != [STATE, DATA] {
            return Err(Error::Plan(
                "partitions must be `state`, or `state` and `data`",
            ));
        }
        if self.state().format != Format::Ext4 {
            return Err(Error::Plan("the state partition must be ext4"));
        }
        let (_, others) = self
            .partitions
            .split_last()
            .expect("not empty: checked above");
        if others.iter().any(|partition| partition.size.is_none()) {
            return Err(Error::Plan(
                "only the last partition may take the rest of the disk",
            ));
        }
        let nil = |partition: &Partition| {
            [partition.guid, partition.type_guid, partition.uuid].contains(&Uuid::nil())
        };
        if self.partitions.iter().any(nil) {
            return Err(Error::Plan("a partition has a nil GUID or UUID"));
        }
        if self
            .data()
            .is_some_and(|data| data.guid == self.state().guid)
        {
            return Err(Error::Plan("state and data have the same GUID"));
        }
        let made = self.partitions.iter().map(|partition| partition.guid);
        let mut guids: Vec<Uuid> = made.collect();
        for (index, Brought { role, guid }) in self.brought.iter().enumerate() {
            let is_double = self.brought[..index]
                .iter()
                .any(|other| other.role == *role);
            if guid.is_nil() || guids.contains(guid) || is_double || role.is_made_by_node() {
                return Err(Error::Plan(
                    "it does not say which partitions the image brings",
                ));
            }
            guids.push(*guid);
        }
        if self.archive.size > Archive::LARGEST {
            return Err(Error::Plan("the archive is larger than 64 MiB"));
        }
        Ok(())
    }
}

/// A versioned document: the version is looked at before the shape, so that a newer document is called newer.
fn parse<'a, T: Deserialize<'a>>(document: &'static str, json: &'a [u8]) -> Result<T, Error> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let Versioned { version } =
        serde_json::from_slice(json).map_err(|source| Error::Json { document, source })?;
    if version != VERSION {
        return Err(Error::Version {
            document,
            found: version,
        });
    }
    serde_json::from_slice(json).map_err(|source| Error::Json { document, source })
}

fn to_json(document: &impl Serialize) -> String {
    let mut json =
        serde_json::to_string_pretty(document).expect("no maps with other than string keys");
    json.push('\n');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = r#"{
  "version": 1,
  "node": "worker-1",
  "partitions": [
    {
      "name": "state",
      "type": "4d21b016-b534-45c2-a9fb-5c16e091fd2d",
      "guid": "0c6fa1c1-0000-4000-8000-000000000007",
      "size": 34359738368,
      "format": "ext4",
      "uuid": "0c6fa1c1-0000-4000-8000-000000000017"
    },
    {
      "name": "data",
      "type": "0fc63daf-8483-4772-8e79-3d69d8477de4",
      "guid": "0c6fa1c1-0000-4000-8000-000000000008",
      "size": null,
      "format": "none",
      "uuid": "0c6fa1c1-0000-4000-8000-000000000018"
    }
  ],
  "archive": {
    "digest": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    "size": 3
  },
  "brought": [
    {
      "name": "boot",
      "guid": "0c6fa1c1-0000-4000-8000-000000000001"
    },
    {
      "name": "identity",
      "guid": "0c6fa1c1-0000-4000-8000-000000000006"
    }
  ]
}
"#;

    #[test]
    fn documents_round_trip() {
        assert_eq!(Handoff::parse(NODE.as_bytes()).unwrap().to_json(), NODE);
        let boot = Boot {
            version: VERSION,
            epoch: 1_700_000_000,
        };
        assert_eq!(Boot::parse(boot.to_json().as_bytes()).unwrap(), boot);
        assert!(Boot::parse(br#"{"version":1,"epoch":5,"later":true}"#).is_ok());
    }

    /// Disks out there have such documents.
    #[test]
    fn a_document_without_the_list_is_read() {
        let (head, _) = NODE.split_once(",\n  \"brought\"").unwrap();
        let handoff = Handoff::parse(format!("{head}\n}}").as_bytes()).unwrap();
        assert!(handoff.brought.is_empty());
        assert_eq!(handoff.brought(Role::Boot), None);
    }

    #[test]
    fn newer_documents_are_called_newer() {
        let newer = NODE.replace("\"version\": 1", "\"version\": 2, \"shape\": []");
        let error = Handoff::parse(newer.as_bytes()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "node.json has version 2, only 1 is understood"
        );
    }

    #[test]
    fn contradictions_are_refused() {
        for (from, to) in [
            ("\"name\": \"state\"", "\"name\": \"other\""),
            ("\"name\": \"data\"", "\"name\": \"state\""),
            ("34359738368", "null"),
            ("\"ext4\"", "\"xfs\""),
            (
                "0c6fa1c1-0000-4000-8000-000000000008",
                "0c6fa1c1-0000-4000-8000-000000000007",
            ),
            (
                "0c6fa1c1-0000-4000-8000-000000000017",
                "00000000-0000-0000-0000-000000000000",
            ),
            (
                "0c6fa1c1-0000-4000-8000-000000000017",
                "0c6fa1c1-0000-4000-8000-0000000000+7",
            ),
            ("\"name\": \"identity\"", "\"name\": \"boot\""),
            ("\"name\": \"identity\"", "\"name\": \"root-c\""),
            (
                "0c6fa1c1-0000-4000-8000-000000000006",
                "0c6fa1c1-0000-4000-8000-000000000007",
            ),
            (
                "0c6fa1c1-0000-4000-8000-000000000006",
                "00000000-0000-0000-0000-000000000000",
            ),
            ("\"size\": 3", "\"size\": 67108865"),
            ("\"size\": 3", "\"size\": 3, \"more\": 4"),
        ] {
            assert_ne!(NODE.replace(from, to), NODE, "{from}");
            assert!(
                Handoff::parse(NODE.replace(from, to).as_bytes()).is_err(),
                "{from} -> {to}"
            );
        }
    }
}
