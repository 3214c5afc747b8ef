//! A small node: the image that is to be written, and the disk that a node of that image has.

use std::fmt::Write;

use prejoin_formats::gpt::{self, Table, types};
use prejoin_wire::architecture::Architecture;
use prejoin_wire::derived;
use prejoin_wire::digest::{ChunkDigest, Digest};
use prejoin_wire::handoff::{self, Archive, Format, GAP, Handoff};
use prejoin_wire::manifest::{self, Manifest, Range};
use uuid::{Uuid, uuid};

const MIB: u64 = 1 << 20;

/// The cluster of all nodes.
const CLUSTER: &str = "lab";

/// Its id, 7c1f0a52-3b0e-4c8b-9a55-0d8f6f3a1e01.
const ID: Uuid = uuid!("7c1f0a52-3b0e-4c8b-9a55-0d8f6f3a1e01");

/// Names and sizes in MiB as in the layout `single`, but small, so that every disk of the gallery has room.
const SYSTEM: [(&str, u64); 6] = [
    ("boot", 64),
    ("root-a", 128),
    ("root-a-verity", 8),
    ("root-b", 128),
    ("root-b-verity", 8),
    ("identity", 16),
];

/// One node with its image.
#[derive(Debug)]
pub struct Node {
    pub manifest: Manifest,
    pub table: Table,
    pub handoff: Handoff,
}

impl Node {
    /// A node with a state partition.
    pub fn new(name: &str) -> Self {
        let partitions = vec![made(name, handoff::STATE, None)];
        let archive = Archive {
            digest: Digest::of(b""),
            size: 0,
        };
        let handoff = Handoff {
            version: handoff::VERSION,
            brought: Vec::new(),
            node: name.into(),
            partitions,
            archive,
        };
        let table = table(name);
        Node {
            manifest: manifest(name, &table),
            table,
            handoff,
        }
    }

    /// ... and a data partition behind it.
    pub fn with_data(mut self) -> Self {
        let node = &self.manifest.node;
        self.handoff.partitions = vec![
            made(node, handoff::STATE, Some(2048 * MIB)),
            made(node, handoff::DATA, None),
        ];
        self
    }

    /// The recipe of a disk of 8 GiB with the node's image.
    pub fn system(&self) -> String {
        let node = &self.manifest.node;
        let mut script = format!("label: gpt\nlabel-id: {}\n", self.table.disk_guid);
        for partition in &self.table.partitions {
            let (start, size) = (partition.start / MIB, partition.size / MIB);
            write!(
                script,
                "start={start}MiB, size={size}MiB, type={}, uuid={}, name=\"{}\"",
                partition.type_guid, partition.guid, partition.name
            )
            .unwrap();
            let bits: Vec<String> = (48..64)
                .filter(|bit| partition.attributes >> bit & 1 == 1)
                .map(|b| b.to_string())
                .collect();
            if !bits.is_empty() {
                write!(script, ", attrs=\"GUID:{}\"", bits.join(",")).unwrap();
            }
            script.push('\n');
        }
        let start = |name: &str| {
            self.table
                .partitions
                .iter()
                .find(|p| p.name == name)
                .unwrap()
                .start
                / MIB
        };
        format!(
            r#"
truncate -s {size}M image
sfdisk --quiet --no-reread --no-tell-kernel image <<END
{script}END
fat b 64M 32 11110001 BOOT
text boot/EFI/BOOT/BOOTX64.EFI loader
text boot/EFI/Linux/prejoin-a.efi kernel
fill b boot
system root 'Debian GNU/Linux 13 (trixie)' 'Debian GNU/Linux' debian 13
ext r 128M {root} root root -m 0 -O ^has_journal
truncate -s 8M v
veritysetup format --salt=00 --uuid {root} r v >/dev/null
fat i 16M 16 11110002 CIDATA
mkdir seed
cat >seed/node.json <<END
{json}END
text seed/meta-data 'instance-id: {node}'
text seed/user-data '#cloud-config'
fill i seed
new 8G
put image 0
put b {boot_at}M
put r {root_at}M
put v {verity_at}M
put i {identity_at}M
"#,
            size = self.manifest.size / MIB,
            root = derived::uuid(&ID, node, "root file system"),
            json = self.handoff.to_json(),
            boot_at = start("boot"),
            root_at = start("root-a"),
            verity_at = start("root-a-verity"),
            identity_at = start("identity"),
        )
    }

    /// The recipe of the same disk as it was made before clusters had ids.
    pub fn earlier(&self, recipe: &str) -> String {
        let node = &self.manifest.node;
        let names = self.table.partitions.iter().map(|p| p.name.clone());
        let made = self.handoff.partitions.iter().flat_map(|partition| {
            let name = &partition.name;
            [name.clone(), format!("{name} file system")]
        });
        let mut recipe = recipe.to_owned();
        for thing in names.chain(made).chain(["disk".to_owned()]) {
            let now = derived::uuid(&ID, node, &thing).to_string();
            let then = derived::uuid_without_id(CLUSTER, node, &thing).to_string();
            recipe = recipe.replace(&now, &then);
        }
        recipe
    }

    /// Adds the state partition as the node makes it, with what `make` puts below `tree`.
    pub fn state(&self, make: &str) -> String {
        let state = self.handoff.state();
        let size = state.size.map_or(4 << 10, |size| size / MIB);
        format!(
            "\n{make}\n{}",
            added(state, self.after_image(), size, "tree")
        )
    }

    /// Adds the data partition as the node makes it, with what `make` puts below `data`.
    pub fn data(&self, make: &str) -> String {
        let state = self.handoff.state().size.unwrap();
        format!(
            "\n{make}\n{}",
            added(
                self.handoff.data().unwrap(),
                self.after_image() + state / MIB,
                4 << 10,
                "data"
            )
        )
    }

    /// Where the node's own partitions begin, in MiB.
    fn after_image(&self) -> u64 {
        let last = self.table.partitions.last().unwrap();
        (last.start + last.size + GAP) / MIB
    }
}

/// A further partition of `size` MiB at `start`, ext4 with a folder's files.
fn added(partition: &handoff::Partition, start: u64, size: u64, folder: &str) -> String {
    let handoff::Partition {
        name,
        guid,
        uuid,
        type_guid,
        ..
    } = partition;
    format!(
        r#"
sfdisk --quiet --no-reread --no-tell-kernel --relocate gpt-bak-std "$disk"
echo 'start={start}MiB, size={size}MiB, type={type_guid}, uuid={guid}, name="{name}"' |
  sfdisk --quiet --no-reread --no-tell-kernel --wipe never --append "$disk"
ext {name}.img {size}M {uuid} {name} {folder}
put {name}.img {start}M
"#
    )
}

fn made(node: &str, name: &str, size: Option<u64>) -> handoff::Partition {
    let uuid = |thing: &str| derived::uuid(&ID, node, thing);
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

fn table(node: &str) -> Table {
    let mut start = gpt::ALIGNMENT;
    let mut partitions = Vec::new();
    for (index, (name, size)) in SYSTEM.into_iter().enumerate() {
        let (type_guid, attributes): (Uuid, u64) = match name {
            "boot" => (types::ESP, 0),
            "root-a" | "root-b" => (types::ROOT_AMD64, types::READ_ONLY | types::NO_AUTO),
            "identity" => (types::BASIC_DATA, types::NO_AUTO),
            _ => (types::ROOT_VERITY_AMD64, types::READ_ONLY | types::NO_AUTO),
        };
        let guid = derived::uuid(&ID, node, name);
        let size = size * MIB;
        let number = index as u32 + 1;
        partitions.push(gpt::Partition {
            number,
            type_guid,
            guid,
            start,
            size,
            attributes,
            name: name.into(),
        });
        start += size;
    }
    let disk_guid = derived::uuid(&ID, node, "disk");
    Table {
        disk_guid,
        sector_size: 512,
        disk_size: start + gpt::ALIGNMENT,
        partitions,
    }
}

/// The image defines both tables, and of each partition the first half; nothing of the second slot.
fn manifest(node: &str, table: &Table) -> Manifest {
    let chunk = |what: &str| Range::Data {
        length: MIB,
        digest: ChunkDigest::of(format!("{node} {what}").as_bytes()),
    };
    let mut ranges = vec![chunk("table")];
    let mut partitions = Vec::new();
    for partition in &table.partitions {
        let size = partition.size;
        let defined = if partition.name.starts_with("root-b") {
            0
        } else {
            size / 2
        };
        let own = match defined {
            0 => vec![Range::Skip { length: size }],
            _ => vec![
                chunk(&partition.name),
                Range::Zero {
                    length: defined - MIB,
                },
                Range::Skip {
                    length: size - defined,
                },
            ],
        };
        partitions.push(manifest::Partition {
            number: partition.number,
            name: partition.name.clone(),
            type_guid: partition.type_guid,
            guid: partition.guid,
            start: partition.start,
            size,
            used: defined,
            digest: manifest::digest_of(&own),
        });
        ranges.extend(own);
    }
    ranges.push(chunk("backup"));
    Manifest {
        version: manifest::VERSION,
        cluster: CLUSTER.into(),
        node: node.into(),
        board: "generic-amd64".into(),
        architecture: Architecture::Amd64,
        sector_size: table.sector_size,
        size: table.disk_size,
        root_hash: Digest::of(b"root"),
        lock: Digest::of(b"lock"),
        partitions,
        ranges,
    }
}
