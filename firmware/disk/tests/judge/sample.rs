//! An image to be written, small enough for a test: the same partitions as a real one, less in them.

use std::fmt;

use prejoin_disk::plan::Image;
use prejoin_formats::gpt::{self, Table, types};
use prejoin_wire::architecture::Architecture;
use prejoin_wire::digest::{ChunkDigest, Digest};
use prejoin_wire::handoff::{self, Format, Handoff};
use prejoin_wire::manifest::{self, Manifest, Range};
use uuid::Uuid;

pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;

/// An image with all its parts.
pub(crate) struct Sample {
    pub(crate) manifest: Manifest,
    pub(crate) table: Table,
    pub(crate) handoff: Handoff,
}

impl fmt::Debug for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "image of {} for {} byte sectors, {:?}",
            self.manifest.node, self.manifest.sector_size, self.handoff
        )
    }
}

impl Sample {
    pub(crate) fn image(&self) -> Image<'_> {
        let digest = Digest::of(self.manifest.to_json().as_bytes());
        Image {
            manifest: &self.manifest,
            digest,
            table: &self.table,
            handoff: &self.handoff,
        }
    }
}

/// A GUID for one thing of one node.
pub(crate) fn guid(node: &str, thing: &str) -> Uuid {
    let digest = Digest::of(format!("{node}/{thing}").as_bytes());
    Uuid::from_bytes(digest.0[..16].try_into().unwrap())
}

/// Names and MiB of the image's partitions.
const PARTITIONS: [(&str, u64); 6] = [
    ("boot", 8),
    ("root-a", 24),
    ("root-a-verity", 4),
    ("root-b", 24),
    ("root-b-verity", 4),
    ("identity", 8),
];

/// The image of `node`, which makes a state partition of `state` bytes (or the rest) and perhaps a data partition.
pub(crate) fn sample(node: &str, sector_size: u32, state: Option<u64>, data: bool) -> Sample {
    let mut start = MIB;
    let mut partitions = Vec::new();
    for ((name, size), number) in PARTITIONS.into_iter().zip(1..) {
        let type_guid = match name {
            "boot" => types::ESP,
            "identity" => types::BASIC_DATA,
            name if name.ends_with("verity") => types::ROOT_VERITY_AMD64,
            _ => types::ROOT_AMD64,
        };
        let (guid, size) = (guid(node, name), size * MIB);
        partitions.push(gpt::Partition {
            number,
            type_guid,
            guid,
            start,
            size,
            attributes: 0,
            name: name.into(),
        });
        start += size;
    }
    let size = start + MIB;
    let table = Table {
        disk_guid: guid(node, "disk"),
        sector_size,
        disk_size: size,
        partitions,
    };
    let chunk = |seed: &str, length: u64| Range::Data {
        length,
        digest: ChunkDigest::of(seed.as_bytes()),
    };
    let mut ranges = vec![chunk("table", MIB)];
    let mut listed = Vec::new();
    for partition in &table.partitions {
        let before = ranges.len();
        let used = match partition.name.as_str() {
            "boot" | "root-a" | "identity" => {
                ranges.extend([
                    chunk("one", MIB),
                    Range::Zero { length: 2 * MIB },
                    chunk("two", MIB / 2),
                ]);
                3 * MIB + MIB / 2
            }
            "root-a-verity" => {
                ranges.push(chunk("verity", MIB / 4));
                MIB / 4
            }
            _ => 0,
        };
        listed.push(manifest::Partition {
            number: partition.number,
            name: partition.name.clone(),
            type_guid: partition.type_guid,
            guid: partition.guid,
            start: partition.start,
            size: partition.size,
            used,
            digest: manifest::digest_of(&ranges[before..]),
        });
        ranges.push(Range::Skip {
            length: partition.size - used,
        });
    }
    ranges.push(chunk("backup", MIB));
    let manifest = Manifest {
        version: manifest::VERSION,
        cluster: "lab".into(),
        node: node.into(),
        board: "uefi-amd64".into(),
        architecture: Architecture::Amd64,
        sector_size,
        size,
        root_hash: Digest::of(b"root"),
        lock: Digest::of(b"lock"),
        partitions: listed,
        ranges,
    };
    Manifest::parse(manifest.to_json().as_bytes()).unwrap();
    let own = |name: &str, size| handoff::Partition {
        name: name.into(),
        type_guid: types::LINUX,
        guid: guid(node, name),
        size,
        min_size: None,
        format: Format::Ext4,
        uuid: guid(node, &format!("{name} file system")),
    };
    let mut made = vec![own("state", state)];
    if data {
        made.push(own("data", None));
    }
    let archive = handoff::Archive {
        digest: Digest::of(b""),
        size: 0,
    };
    let handoff = Handoff {
        version: handoff::VERSION,
        brought: Vec::new(),
        node: node.into(),
        partitions: made,
        archive,
    };
    handoff.check().unwrap();
    Sample {
        manifest,
        table,
        handoff,
    }
}
