//! Real disks in memory: images with their file systems, nodes that have run, and what other people keep.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use prejoin_disk::device::{ReadAt, WriteAt};
use prejoin_disk::plan::Image;
use prejoin_formats::ext4;
use prejoin_formats::fat;
use prejoin_formats::gpt::{self, Partition, Table, types};
use prejoin_formats::tree::{Entry, NoContents, Tree};
use prejoin_formats::verity::Verity;
use prejoin_wire::architecture::Architecture;
use prejoin_wire::digest::{ChunkDigest, Digest};
use prejoin_wire::disk::Extent;
use prejoin_wire::handoff::{self, Archive, Format, Handoff};
use prejoin_wire::manifest::{self, Manifest, Range};
use uuid::Uuid;

use crate::support::{Op, Random, Store};

pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;
/// Of every disk.
pub(crate) const SIZE: u64 = 5 * GIB / 2;

const BLOCK: u64 = 4096;
type Block = [u8; BLOCK as usize];

/// A sparse disk, which writes down what is done to it.
#[derive(Default)]
pub(crate) struct Disk(Mutex<State>);

#[derive(Clone, Default)]
struct State {
    /// Those that are not all zeroes.
    blocks: BTreeMap<u64, Arc<Block>>,
    log: Vec<Op>,
}

impl Clone for Disk {
    /// What is on it, without what was done.
    fn clone(&self) -> Self {
        let blocks = self.state().blocks.clone();
        Disk(Mutex::new(State {
            blocks,
            log: Vec::new(),
        }))
    }
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn log(&self) -> Vec<Op> {
        self.state().log.clone()
    }

    pub(crate) fn apply(&self, op: &Op) {
        match op {
            Op::Write(at, bytes) => self.state().put(*at, bytes),
            Op::Zero(at, length) => self.state().clear(*at, *length),
            _ => {}
        }
    }

    /// The same for the same bytes.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.state().blocks.hash(&mut hasher);
        hasher.finish()
    }

    pub(crate) fn bytes(&self, extent: Extent) -> Vec<u8> {
        let mut bytes = vec![0; extent.length as usize];
        self.read_at(extent.start, &mut bytes).unwrap();
        bytes
    }

    /// Whether two disks have the same bytes in an extent of whole blocks.
    pub(crate) fn is_same(&self, other: &Disk, extent: Extent) -> bool {
        let range = extent.start / BLOCK..extent.end().div_ceil(BLOCK);
        // One after the other: they may be the same disk.
        let one = self.state().blocks.clone();
        let other = other.state().blocks.clone();
        one.range(range.clone()).eq(other.range(range))
    }
}

impl State {
    fn put(&mut self, mut at: u64, mut bytes: &[u8]) {
        assert!(at + bytes.len() as u64 <= SIZE, "past the disk's end");
        while !bytes.is_empty() {
            let (number, skip) = (at / BLOCK, (at % BLOCK) as usize);
            let (now, rest) = bytes.split_at(bytes.len().min(BLOCK as usize - skip));
            let mut block = self
                .blocks
                .get(&number)
                .map_or([0; BLOCK as usize], |b| **b);
            block[skip..skip + now.len()].copy_from_slice(now);
            match block.iter().all(|byte| *byte == 0) {
                true => drop(self.blocks.remove(&number)),
                false => drop(self.blocks.insert(number, Arc::new(block))),
            }
            (at, bytes) = (at + now.len() as u64, rest);
        }
    }

    fn clear(&mut self, at: u64, length: u64) {
        let (first, last) = (at.div_ceil(BLOCK), (at + length) / BLOCK);
        if first >= last {
            return self.put(at, &vec![0; length as usize]);
        }
        self.put(at, &vec![0; (first * BLOCK - at) as usize]);
        let inside: Vec<u64> = self.blocks.range(first..last).map(|(n, _)| *n).collect();
        for number in inside {
            self.blocks.remove(&number);
        }
        self.put(
            last * BLOCK,
            &vec![0; (at + length - last * BLOCK) as usize],
        );
    }
}

impl ReadAt for Disk {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        assert!(offset + buffer.len() as u64 <= SIZE, "past the disk's end");
        let state = self.state();
        buffer.fill(0);
        let end = offset + buffer.len() as u64;
        for (number, block) in state.blocks.range(offset / BLOCK..end.div_ceil(BLOCK)) {
            let here = Extent {
                start: number * BLOCK,
                length: BLOCK,
            };
            let common = here.common(&Extent::between(offset, end)).unwrap();
            buffer[(common.start - offset) as usize..][..common.length as usize].copy_from_slice(
                &block[(common.start - here.start) as usize..][..common.length as usize],
            );
        }
        Ok(())
    }
}

impl WriteAt for Disk {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.put(offset, bytes);
        state.log.push(Op::Write(offset, bytes.to_vec()));
        Ok(())
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        let mut state = self.state();
        state.clear(offset, length);
        state.log.push(Op::Zero(offset, length));
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.state().log.push(Op::Flush);
        Ok(())
    }

    fn forget(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A GUID for one thing of one node.
pub(crate) fn guid(node: &str, thing: &str) -> Uuid {
    let digest = Digest::of(format!("{node}/{thing}").as_bytes());
    Uuid::from_bytes(digest.0[..16].try_into().unwrap())
}

/// An ext4 file system with some files.
pub(crate) fn ext4(size: u64, uuid: Uuid, files: &[(&str, &str)]) -> Vec<u8> {
    let plan = ext4::plan(&tree(files), &ext4::Options::new(size, uuid.into_bytes())).unwrap();
    let mut bytes = vec![0; size as usize];
    plan.image.read_at(&NoContents, 0, &mut bytes).unwrap();
    bytes
}

fn fat(partition: &Partition, sector_size: u32, files: &[(&str, &str)]) -> Vec<u8> {
    let (start, size) = (partition.start, partition.size);
    let options = fat::Options {
        size,
        sector_size,
        width: None,
        label: "PREJOIN".into(),
        volume_id: 7,
        time: 1_750_000_000,
        hidden_sectors: (start / u64::from(sector_size)) as u32,
    };
    let mut bytes = vec![0; size as usize];
    let image = fat::write(&tree(files), &options).unwrap().image;
    image.read_at(&NoContents, 0, &mut bytes).unwrap();
    bytes
}

fn tree(files: &[(&str, &str)]) -> Tree {
    let mut tree = Tree::new();
    for (path, text) in files {
        let mut at = 0;
        while let Some(slash) = path[at..].find('/') {
            let folder = &path[..at + slash];
            if tree.entry(folder).is_none() {
                tree.insert(folder, Entry::directory(0o755));
            }
            at += slash + 1;
        }
        tree.insert(path, Entry::file(text.as_bytes().to_vec(), 0o644));
    }
    tree
}

/// A node's image with its bytes.
pub(crate) struct Node {
    pub(crate) manifest: Manifest,
    pub(crate) table: Table,
    pub(crate) handoff: Handoff,
    pub(crate) store: Store,
}

/// Names and MiB of the image's partitions.
const PARTITIONS: [(&str, u64); 6] = [
    ("boot", 4),
    ("root-a", 4),
    ("root-a-verity", 1),
    ("root-b", 4),
    ("root-b-verity", 1),
    ("identity", 2),
];

impl Node {
    /// The image of a node; `larger` MiB more for each root, `version` is in what the root says of itself.
    /// It is for disks with sectors of `sector_size` bytes.
    pub(crate) fn new(node: &str, version: &str, larger: u64, sector_size: u32) -> Self {
        let table = table(node, larger, sector_size);
        let made = |name: &str, size| handoff::Partition {
            name: name.into(),
            type_guid: types::LINUX,
            guid: guid(node, name),
            size,
            min_size: None,
            format: Format::Ext4,
            uuid: guid(node, &format!("{name} file system")),
        };
        let handoff = Handoff {
            version: handoff::VERSION,
            brought: Vec::new(),
            node: node.into(),
            partitions: vec![made("state", Some(GIB)), made("data", None)],
            archive: Archive {
                digest: Digest::of(b""),
                size: 0,
            },
        };
        let (mut ranges, mut store) = (vec![Range::Skip { length: MIB }], Store::default());
        let mut partitions = Vec::new();
        for (number, partition) in (1..).zip(&table.partitions) {
            let bytes = content(node, version, partition, sector_size, &handoff);
            let from = ranges.len();
            for chunk in bytes.chunks(MIB as usize) {
                let length = chunk.len() as u64;
                if chunk.iter().any(|byte| *byte != 0) {
                    let digest = ChunkDigest::of(chunk);
                    store.chunks.insert(digest, chunk.to_vec());
                    ranges.push(Range::Data { length, digest });
                    continue;
                }
                match ranges.last_mut() {
                    Some(Range::Zero { length: last }) => *last += length,
                    _ => ranges.push(Range::Zero { length }),
                }
            }
            let used = bytes.len() as u64;
            partitions.push(manifest::Partition {
                number,
                name: partition.name.clone(),
                type_guid: partition.type_guid,
                guid: partition.guid,
                start: partition.start,
                size: partition.size,
                used,
                digest: manifest::digest_of(&ranges[from..]),
            });
            if used < partition.size {
                let length = partition.size - used;
                ranges.push(Range::Skip { length });
            }
        }
        ranges.push(Range::Skip { length: MIB });
        let manifest = Manifest {
            version: manifest::VERSION,
            cluster: "lab".into(),
            node: node.into(),
            board: "uefi-amd64".into(),
            architecture: Architecture::Amd64,
            sector_size,
            size: table.disk_size,
            root_hash: Digest::of(version.as_bytes()),
            lock: Digest::of(b"lock"),
            partitions,
            ranges,
        };
        Node {
            manifest,
            table,
            handoff,
            store,
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

fn table(node: &str, larger: u64, sector_size: u32) -> Table {
    let (mut start, mut partitions) = (MIB, Vec::new());
    for ((name, size), number) in PARTITIONS.into_iter().zip(1..) {
        let type_guid = match name {
            "boot" => types::ESP,
            "identity" => types::BASIC_DATA,
            name if name.ends_with("verity") => types::ROOT_VERITY_AMD64,
            _ => types::ROOT_AMD64,
        };
        let is_root = type_guid == types::ROOT_AMD64;
        let size = (size + if is_root { larger } else { 0 }) * MIB;
        partitions.push(Partition {
            number,
            type_guid,
            guid: guid(node, name),
            start,
            size,
            attributes: 0,
            name: name.into(),
        });
        start += size;
    }
    Table {
        disk_guid: guid(node, "disk"),
        sector_size,
        disk_size: start + MIB,
        partitions,
    }
}

/// What the image has in a partition.
fn content(
    node: &str,
    version: &str,
    partition: &Partition,
    sector_size: u32,
    handoff: &Handoff,
) -> Vec<u8> {
    let size = partition.size;
    match partition.name.as_str() {
        "boot" => fat(partition, sector_size, &[("EFI/BOOT/BOOTX64.EFI", version)]),
        "root-a" => {
            let release = format!("PRETTY_NAME=\"Debian GNU/Linux {version}\"\nID=debian\n");
            ext4(size, guid(node, "root"), &[("etc/os-release", &release)])
        }
        "root-a-verity" => {
            let leaves = vec![Digest::of(version.as_bytes()).0; 1024];
            let verity = Verity::from_leaves(leaves, &[7; 32], guid(node, "root"));
            let mut bytes = verity.bytes;
            bytes.resize(size as usize, 0);
            bytes
        }
        "identity" => {
            let files = [
                ("node.json", handoff.to_json()),
                ("user-data", "#cloud-config\n".into()),
                ("meta-data", format!("instance-id: {version}\n")),
            ];
            let files: Vec<(&str, &str)> = files.iter().map(|(p, t)| (*p, t.as_str())).collect();
            fat(partition, sector_size, &files)
        }
        _ => Vec::new(),
    }
}

/// An entry of somebody's table.
pub(crate) fn entry(number: u32, start: u64, size: u64, name: &str, guid: Uuid) -> Partition {
    Partition {
        number,
        type_guid: types::LINUX,
        guid,
        start,
        size,
        attributes: 0,
        name: name.into(),
    }
}

/// Puts a table on a disk.
pub(crate) fn divide(disk: &Disk, disk_guid: Uuid, sector_size: u32, partitions: Vec<Partition>) {
    let table = Table {
        disk_guid,
        sector_size,
        disk_size: SIZE,
        partitions,
    };
    let (at, backup) = table.backup().unwrap();
    disk.state().put(at, &backup);
    disk.state().put(0, &table.primary().unwrap());
}

/// An entry of a boot record: type, first sector, and number of sectors.
pub(crate) type BootEntry = (u8, u64, u64);

/// Puts a boot record on a disk.
pub(crate) fn boot_record(disk: &Disk, at: u64, entries: &[BootEntry]) {
    let mut record = [0; 512];
    let places = record[446..510].chunks_exact_mut(16);
    for (&(kind, start, size), place) in entries.iter().zip(places) {
        place[4] = kind;
        place[8..12].copy_from_slice(&(start as u32).to_le_bytes());
        place[12..].copy_from_slice(&(size as u32).to_le_bytes());
    }
    record[510..].copy_from_slice(&[0x55, 0xaa]);
    disk.state().put(at, &record);
}

/// Puts bytes on a disk.
pub(crate) fn put(disk: &Disk, at: u64, bytes: &[u8]) {
    disk.state().put(at, bytes);
}

/// Something here and there in an extent, which no program recognises.
pub(crate) fn scatter(disk: &Disk, extent: Extent, seed: u64) {
    let mut random = Random(seed);
    let mut block = [0; BLOCK as usize];
    let steps = (extent.start.div_ceil(BLOCK)..extent.end() / BLOCK).step_by(37);
    for number in steps.take(4000) {
        random.fill(&mut block);
        disk.state().put(number * BLOCK, &block);
    }
    random.fill(&mut block);
    disk.state()
        .put(extent.end() / BLOCK * BLOCK - BLOCK, &block);
}

/// The tables' copies on a disk.
pub(crate) fn tables(disk: &Disk, sector_size: u32) -> (Vec<u8>, Vec<u8>) {
    let of = |start, length| disk.bytes(Extent { start, length });
    let (sector, entries) = (u64::from(sector_size), 128 * 128);
    let backup = sector + entries;
    (of(0, 2 * sector + entries), of(SIZE - backup, backup))
}

/// The table that a disk has.
pub(crate) fn found(disk: &Disk, sector_size: u32) -> Table {
    let read = |at, buffer: &mut [u8]| disk.read_at(at, buffer);
    gpt::read(read, SIZE, sector_size).unwrap().table
}
