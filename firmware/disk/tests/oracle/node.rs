//! A node's image with real file systems in it, small.

use std::collections::BTreeMap;

use prejoin_disk::plan::Image;
use prejoin_disk::write::Chunks;
use prejoin_formats::gpt::{self, Table, types};
use prejoin_formats::tree::{Entry, NoContents, Tree};
use prejoin_formats::{ext4, fat};
use prejoin_wire::architecture::Architecture;
use prejoin_wire::digest::{ChunkDigest, Digest};
use prejoin_wire::handoff::{self, Archive, Format, Handoff};
use prejoin_wire::manifest::{self, CHUNK_LIMIT, Manifest, Range};
use uuid::Uuid;

use crate::support::Random;

pub(crate) const MIB: u64 = 1 << 20;
const TIME: i64 = 1_748_781_296;

/// Names of the image's partitions, and their MiB.
pub(crate) const SYSTEM: [(&str, u64); 6] = [
    ("boot", 4),
    ("root-a", 8),
    ("root-a-verity", 1),
    ("root-b", 8),
    ("root-b-verity", 1),
    ("identity", 4),
];

/// One node with its image and every chunk of it.
pub(crate) struct Node {
    pub(crate) manifest: Manifest,
    pub(crate) table: Table,
    pub(crate) handoff: Handoff,
    chunks: BTreeMap<ChunkDigest, Vec<u8>>,
}

impl Node {
    /// Its state takes so many bytes, and data the rest; or there is no data, and the state takes all.
    pub(crate) fn new(name: &str, sector_size: u32, state: Option<u64>) -> Self {
        let mut made = vec![made(name, handoff::STATE, state)];
        if state.is_some() {
            made.push(self::made(name, handoff::DATA, None));
        }
        let archive = Archive {
            digest: Digest::of(b""),
            size: 0,
        };
        let handoff = Handoff {
            version: handoff::VERSION,
            brought: Vec::new(),
            node: name.into(),
            partitions: made,
            archive,
        };
        handoff.check().unwrap();
        let table = table(name, sector_size);
        let mut chunks = BTreeMap::new();
        let mut ranges = vec![data(&vec![0xee; MIB as usize], &mut chunks)];
        let mut listed = Vec::new();
        for partition in &table.partitions {
            let content = content(&partition.name, partition.size, sector_size, &handoff);
            let from = ranges.len();
            for part in content.chunks(CHUNK_LIMIT as usize) {
                ranges.push(match part.iter().all(|&byte| byte == 0) {
                    true => Range::Zero {
                        length: part.len() as u64,
                    },
                    false => data(part, &mut chunks),
                });
            }
            let used = content.len() as u64;
            listed.push(manifest::Partition {
                number: partition.number,
                name: partition.name.clone(),
                type_guid: partition.type_guid,
                guid: partition.guid,
                start: partition.start,
                size: partition.size,
                used,
                digest: manifest::digest_of(&ranges[from..]),
            });
            if used < partition.size {
                ranges.push(Range::Skip {
                    length: partition.size - used,
                });
            }
        }
        ranges.push(data(&vec![0xee; MIB as usize], &mut chunks));
        let manifest = Manifest {
            version: manifest::VERSION,
            cluster: "lab".into(),
            node: name.into(),
            board: "uefi-amd64".into(),
            architecture: Architecture::Amd64,
            sector_size,
            size: table.disk_size,
            root_hash: Digest::of(b"root"),
            lock: Digest::of(b"lock"),
            partitions: listed,
            ranges,
        };
        Node {
            manifest,
            table,
            handoff,
            chunks,
        }
    }

    pub(crate) fn image(&self) -> Image<'_> {
        Image {
            manifest: &self.manifest,
            digest: Digest::of(self.manifest.to_json().as_bytes()),
            table: &self.table,
            handoff: &self.handoff,
        }
    }
}

impl Chunks for Node {
    fn read(
        &self,
        digest: &ChunkDigest,
        into: &mut [u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        into.copy_from_slice(self.chunks.get(digest).ok_or("no such chunk")?);
        Ok(())
    }
}

/// A GUID for one thing of one node.
pub(crate) fn guid(node: &str, thing: &str) -> Uuid {
    let digest = Digest::of(format!("{node}/{thing}").as_bytes());
    Uuid::from_bytes(digest.0[..16].try_into().unwrap())
}

fn data(bytes: &[u8], chunks: &mut BTreeMap<ChunkDigest, Vec<u8>>) -> Range {
    let digest = ChunkDigest::of(bytes);
    chunks.insert(digest, bytes.to_vec());
    Range::Data {
        length: bytes.len() as u64,
        digest,
    }
}

fn made(node: &str, name: &str, size: Option<u64>) -> handoff::Partition {
    let uuid = |thing: &str| guid(node, thing);
    handoff::Partition {
        name: name.into(),
        type_guid: types::LINUX,
        guid: uuid(name),
        size,
        min_size: None,
        format: Format::Ext4,
        uuid: uuid(&format!("{name} file system")),
    }
}

fn table(node: &str, sector_size: u32) -> Table {
    let mut start = gpt::ALIGNMENT;
    let mut partitions = Vec::new();
    for ((name, size), number) in SYSTEM.into_iter().zip(1..) {
        let (type_guid, attributes) = match name {
            "boot" => (types::ESP, 0),
            "root-a" | "root-b" => (types::ROOT_AMD64, types::READ_ONLY | types::NO_AUTO),
            "identity" => (types::BASIC_DATA, types::NO_AUTO),
            _ => (types::ROOT_VERITY_AMD64, types::READ_ONLY | types::NO_AUTO),
        };
        partitions.push(gpt::Partition {
            number,
            type_guid,
            guid: guid(node, name),
            start,
            size: size * MIB,
            attributes,
            name: name.into(),
        });
        start += size * MIB;
    }
    Table {
        disk_guid: guid(node, "disk"),
        sector_size,
        disk_size: start + gpt::ALIGNMENT,
        partitions,
    }
}

fn content(name: &str, size: u64, sector_size: u32, handoff: &Handoff) -> Vec<u8> {
    let json = handoff.to_json();
    match name {
        "boot" => boot(size, sector_size),
        "identity" => volume(
            &[("node.json", json.as_bytes()), ("meta-data", b"")],
            size,
            sector_size,
            "CIDATA",
        ),
        "root-a" => linux(size, guid(&handoff.node, "root file system")),
        "root-a-verity" => {
            let mut bytes = vec![0; (MIB / 4) as usize];
            Random(size).fill(&mut bytes);
            bytes
        }
        _ => Vec::new(),
    }
}

/// What starts a machine.
pub(crate) fn boot(size: u64, sector_size: u32) -> Vec<u8> {
    let mut loader = vec![0; 300_000];
    Random(5).fill(&mut loader);
    let files = [("EFI/BOOT/BOOTX64.EFI", &loader[..])];
    volume(&files, size, sector_size, "BOOT")
}

/// A small Linux system.
pub(crate) fn linux(size: u64, uuid: Uuid) -> Vec<u8> {
    let mut tree = Tree::new();
    let release: &[u8] =
        b"NAME=\"Debian GNU/Linux\"\nPRETTY_NAME=\"Debian GNU/Linux 13\"\nID=debian\n";
    tree.insert("etc/os-release", Entry::file(release, 0o644).dated(TIME));
    filesystem(&tree, size, uuid)
}

/// Somebody's photos.
pub(crate) fn photos(size: u64, uuid: Uuid) -> Vec<u8> {
    let mut photo = vec![0; 200_000];
    Random(size).fill(&mut photo);
    let mut tree = Tree::new();
    tree.insert("photos/1.jpg", Entry::file(photo, 0o644).dated(TIME));
    filesystem(&tree, size, uuid)
}

fn filesystem(tree: &Tree, size: u64, uuid: Uuid) -> Vec<u8> {
    let options = ext4::Options::new(size, uuid.into_bytes());
    let image = ext4::plan(tree, &options).unwrap().image;
    let mut bytes = vec![0; size as usize];
    image.read_at(&NoContents, 0, &mut bytes).unwrap();
    bytes
}

fn volume(files: &[(&str, &[u8])], size: u64, sector_size: u32, label: &str) -> Vec<u8> {
    let mut tree = Tree::new();
    for &(path, bytes) in files {
        tree.insert(path, Entry::file(bytes, 0o644).dated(TIME));
    }
    let options = fat::Options {
        size,
        sector_size,
        width: None,
        label: label.into(),
        volume_id: 0x1234_abcd,
        time: TIME,
        hidden_sectors: 0,
    };
    let image = fat::write(&tree, &options).unwrap().image;
    let mut bytes = vec![0; size as usize];
    image.read_at(&NoContents, 0, &mut bytes).unwrap();
    bytes
}
