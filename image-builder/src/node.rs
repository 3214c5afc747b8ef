//! One node's disk: the shared system, and the few files that make it this node.

use std::collections::BTreeMap;
use std::sync::Arc;

use prejoin_boot::{Origin, Source};
use prejoin_formats::cpio;
use prejoin_formats::fat::{self, Width};
use prejoin_formats::gpt;
use prejoin_formats::image::Image;
use prejoin_formats::tree::{Content, Contents, Entry, Kind, NoContents, Tree};
use prejoin_formats::uki;
use prejoin_profiles::board::{Board, Firmware};
use prejoin_profiles::kernel_args::COMMAND_LINE_SIZE;
use prejoin_profiles::layout::{self, Filesystem, Layout, Purpose};
use prejoin_wire::architecture::Architecture;
use prejoin_wire::derived;
use prejoin_wire::digest::Digest;
use prejoin_wire::handoff::{self, Handoff};
use prejoin_wire::role::Slot;
use uuid::Uuid;

use crate::disk::{Disk, Partition};
use crate::overlays;
use crate::system::{self, Boot};

/// What a node is, beside its system.
pub struct Spec<'a> {
    /// The cluster's id.
    pub cluster: &'a Uuid,
    /// The cluster's name, for people.
    pub cluster_name: &'a str,
    /// Node name.
    pub name: &'a str,
    /// Board with everything it inherits.
    pub board: &'a Board,
    /// Kernel arguments after the board's.
    pub kernel_args: Vec<String>,
    /// Logical sector size of its disk.
    pub sector_size: u32,
    /// Partitions of its disk, in order.
    pub layout: &'a Layout,
    /// Files of the NoCloud seed by name: `user-data`, `meta-data`, `network-config`.
    pub seed: BTreeMap<String, Vec<u8>>,
    /// Files that the agent unpacks into the running system, by path.
    pub files: Tree,
    /// The user's own device tree overlays by file name.
    pub overlays: &'a BTreeMap<String, Vec<u8>>,
    /// The image's time in seconds since 1970.
    pub epoch: i64,
}

/// The verified root that a node's disk carries.
pub struct Root {
    /// The root file system.
    pub data: Image,
    /// Its dm-verity hash device.
    pub hashes: Image,
    /// What the command line vouches for.
    pub root_hash: Digest,
}

/// Why a node's disk could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The unified kernel image could not be put together.
    #[error("making the unified kernel image")]
    Uki(#[from] uki::Error),
    /// A boot or identity partition could not be written.
    #[error("writing partition {name}")]
    Fat {
        /// Partition name.
        name: String,
        /// Why.
        #[source]
        source: fat::Error,
    },
    /// An overlay that would not be found, or would not fit.
    #[error("putting the device tree overlays of board {board} together")]
    Overlays {
        /// Board name.
        board: String,
        /// Why.
        #[source]
        source: Box<overlays::Error>,
    },
    /// The archive of the node's files could not be written.
    #[error("writing the archive of the node's files")]
    Archive(#[from] cpio::Error),
    /// The partition table could not be written.
    #[error("writing the partition table")]
    Table(#[from] gpt::Error),
    /// Something is larger than the partition that it should go into.
    #[error("{what} takes {needed} bytes, partition {name} has {available}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// Partition name.
        name: String,
        /// Bytes needed.
        needed: u64,
        /// Bytes there.
        available: u64,
    },
    /// A layout without a partition that every image has, or with one that has no fixed size.
    #[error("layout {layout} cannot be built: {why}")]
    Layout {
        /// Its name.
        layout: String,
        /// What is wrong with it.
        why: String,
    },
    /// The kernel would cut it off.
    #[error(
        "the kernel command line has {length} bytes, and the kernel takes less than {COMMAND_LINE_SIZE}"
    )]
    CommandLine {
        /// Its length in bytes.
        length: usize,
    },
    /// The board's firmware wants a file that the system does not bring.
    #[error("{path} of the boot partition comes from {from}, which the system does not have")]
    Missing {
        /// Path on the boot partition.
        path: String,
        /// Where it should come from.
        from: String,
    },
    /// A content could not be read from the cache.
    #[error("reading {what} from the cache")]
    Content {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A GUID that belongs to one thing of this node, for ever.
fn derived_guid(spec: &Spec, thing: &str) -> Uuid {
    derived::uuid(spec.cluster, spec.name, thing)
}

/// Plans the node's disk.
pub fn disk(spec: &Spec, boot: &Boot, root: &Root, contents: &dyn Contents) -> Result<Disk, Error> {
    let mut partitions = Vec::new();
    let mut start = gpt::ALIGNMENT;
    let mut seen = Vec::new();
    for planned in system_partitions(spec.layout) {
        let size = planned
            .size
            .ok_or_else(|| wrong(spec, format!("{} has no fixed size", planned.name)))?
            .bytes();
        // The second slot stays empty until the first update.
        let second = seen.contains(&planned.purpose);
        seen.push(planned.purpose);
        let place = Place {
            name: &planned.name,
            start,
            size,
        };
        let content = match planned.purpose {
            Purpose::Boot => Some(boot_image(spec, boot, root, contents, &place)?),
            Purpose::Root if !second => Some(fitting("the root file system", &root.data, &place)?),
            Purpose::Verity if !second => {
                Some(fitting("the dm-verity tree", &root.hashes, &place)?)
            }
            Purpose::Identity => Some(identity(spec, &place)?),
            _ => None,
        };
        let (type_guid, attributes) = kind(planned.purpose, spec.board);
        let guid = derived_guid(spec, &planned.name);
        partitions.push(Partition {
            name: planned.name.clone(),
            type_guid,
            guid,
            attributes,
            size,
            content,
        });
        start += size;
    }
    for needed in [
        Purpose::Boot,
        Purpose::Root,
        Purpose::Verity,
        Purpose::Identity,
    ] {
        if !seen.contains(&needed) {
            return Err(missing(spec, needed));
        }
    }
    let guid = derived_guid(spec, "disk");
    Ok(Disk {
        guid,
        sector_size: spec.sector_size,
        partitions,
    })
}

fn wrong(spec: &Spec, why: String) -> Error {
    Error::Layout {
        layout: spec.layout.name.clone(),
        why,
    }
}

/// A planned partition's place on the disk.
struct Place<'a> {
    name: &'a str,
    start: u64,
    size: u64,
}

/// The partitions that the image brings; state and data are made by the node.
fn system_partitions(layout: &Layout) -> impl Iterator<Item = &layout::Partition> {
    layout
        .partitions
        .iter()
        .filter(|p| !matches!(p.purpose, Purpose::State | Purpose::Data))
}

/// Partition type and attributes.
fn kind(purpose: Purpose, board: &Board) -> (Uuid, u64) {
    let read_only = gpt::types::READ_ONLY | gpt::types::NO_AUTO;
    match (purpose, board.architecture) {
        // Raspberry Pi firmware takes any FAT partition, and an ESP there would invite other tools to use it.
        (Purpose::Boot, _) if board.firmware == Firmware::Uefi => (gpt::types::ESP, 0),
        (Purpose::Boot, _) => (gpt::types::BASIC_DATA, 0),
        (Purpose::Root, Architecture::Amd64) => (gpt::types::ROOT_AMD64, read_only),
        (Purpose::Root, Architecture::Arm64) => (gpt::types::ROOT_ARM64, read_only),
        (Purpose::Verity, Architecture::Amd64) => (gpt::types::ROOT_VERITY_AMD64, read_only),
        (Purpose::Verity, Architecture::Arm64) => (gpt::types::ROOT_VERITY_ARM64, read_only),
        (Purpose::Identity, _) => (gpt::types::BASIC_DATA, gpt::types::NO_AUTO),
        // Not the specification's /var type: that demands a GUID derived from the machine-id.
        (Purpose::State | Purpose::Data, _) => (gpt::types::LINUX, 0),
    }
}

fn fitting(what: &'static str, image: &Image, place: &Place) -> Result<Image, Error> {
    if image.size() <= place.size {
        return Ok(image.clone());
    }
    Err(Error::TooLarge {
        what,
        name: place.name.to_owned(),
        needed: image.size(),
        available: place.size,
    })
}

fn boot_image(
    spec: &Spec,
    boot: &Boot,
    root: &Root,
    contents: &dyn Contents,
    place: &Place,
) -> Result<Image, Error> {
    let source = Source {
        root: guid_of_first(spec, Purpose::Root)?,
        verity: guid_of_first(spec, Purpose::Verity)?,
        identity: guid_of_first(spec, Purpose::Identity)?,
    };
    let command_line = prejoin_boot::command_line(
        spec.board,
        &spec.kernel_args,
        Slot::A,
        &source,
        &root.root_hash,
    );
    if command_line.len() >= COMMAND_LINE_SIZE {
        let length = command_line.len();
        return Err(Error::CommandLine { length });
    }
    let overlays = overlays::gather(spec.board, &boot.device_trees, spec.overlays, contents)
        .map_err(|source| Error::Overlays {
            board: spec.board.name.clone(),
            source: Box::new(source),
        })?;
    let mut tree = Tree::new();
    for file in prejoin_boot::files(spec.board, Slot::A, &command_line, overlays.keys()) {
        let content = match &file.origin {
            Origin::Text(text) => bytes(text.as_bytes().to_vec()),
            Origin::Kernel => boot.kernel.clone(),
            Origin::Initramfs => boot.initrd.clone(),
            Origin::UnifiedKernel => unified_kernel(spec.board, boot, &command_line, contents)?,
            Origin::Overlay(name) => found(overlays.get(name), &file.path, name)?,
            Origin::DeviceTree(name) => found(boot.device_trees.get(name), &file.path, name)?,
            Origin::System(path) => found(boot.files.get(path), &file.path, path)?,
        };
        tree.insert(
            &file.path,
            Entry {
                kind: Kind::File(content),
                ..Entry::file([], 0o644)
            }
            .dated(spec.epoch),
        );
    }
    volume(spec, place, "BOOT", Some(Width::Fat32), &tree)
}

/// GUID of the layout's first partition for a purpose, which is the first slot's.
fn guid_of_first(spec: &Spec, purpose: Purpose) -> Result<Uuid, Error> {
    let first = system_partitions(spec.layout).find(|partition| partition.purpose == purpose);
    let first = first.ok_or_else(|| missing(spec, purpose))?;
    Ok(derived_guid(spec, &first.name))
}

fn missing(spec: &Spec, purpose: Purpose) -> Error {
    wrong(spec, format!("it has no partition for {purpose:?}"))
}

fn found(content: Option<&Content>, path: &str, from: &str) -> Result<Content, Error> {
    content.cloned().ok_or_else(|| Error::Missing {
        path: path.to_owned(),
        from: from.to_owned(),
    })
}

fn unified_kernel(
    board: &Board,
    boot: &Boot,
    command_line: &str,
    contents: &dyn Contents,
) -> Result<Content, Error> {
    let stub = boot
        .files
        .get(&system::stub_path(board))
        .ok_or_else(|| Error::Missing {
            path: "the unified kernel image".into(),
            from: system::stub_path(board),
        })?;
    let stub = stub.read(contents).map_err(|source| Error::Content {
        what: "the boot stub",
        source,
    })?;
    let sections = [
        (".osrel", bytes(boot.os_release.clone())),
        (".cmdline", bytes(command_line.as_bytes().to_vec())),
        (".uname", bytes(boot.version.clone().into_bytes())),
        (".initrd", boot.initrd.clone()),
        (".linux", boot.kernel.clone()),
    ];
    Ok(Content::Image(uki::build(&stub, &sections)?.into()))
}

/// The identity partition: the seed where cloud-init looks for it (label CIDATA), and what the agent unpacks.
fn identity(spec: &Spec, place: &Place) -> Result<Image, Error> {
    let mut files = spec.files.clone();
    mounts(spec, &mut files);
    for (_, entry) in files.iter_mut() {
        entry.mtime = spec.epoch;
    }
    let archive = cpio::write(&files)?;
    let mut node_cpio = vec![0; archive.size() as usize];
    archive
        .read_at(&NoContents, 0, &mut node_cpio)
        .map_err(|source| Error::Content {
            what: "the node's files",
            source,
        })?;
    let handoff = Handoff {
        version: handoff::VERSION,
        node: spec.name.to_owned(),
        partitions: first_boot(spec)
            .map(|partition| made_by_node(spec, partition))
            .collect(),
        archive: handoff::Archive {
            digest: Digest::of(&node_cpio),
            size: node_cpio.len() as u64,
        },
    };
    handoff
        .check()
        .map_err(|error| wrong(spec, error.to_string()))?;
    let mut tree = Tree::new();
    for (name, text) in &spec.seed {
        tree.insert(name, Entry::file(text.clone(), 0o644).dated(spec.epoch));
    }
    tree.insert("node.cpio", Entry::file(node_cpio, 0o644).dated(spec.epoch));
    tree.insert(
        "node.json",
        Entry::file(handoff.to_json().into_bytes(), 0o644).dated(spec.epoch),
    );
    volume(spec, place, "CIDATA", None, &tree)
}

/// The partitions of the system disk that the agent makes on first boot.
fn first_boot<'a>(spec: &Spec<'a>) -> impl Iterator<Item = &'a layout::Partition> + use<'a> {
    let made = |p: &&layout::Partition| matches!(p.purpose, Purpose::State | Purpose::Data);
    spec.layout
        .partitions
        .iter()
        .filter(made)
        .filter(|p| p.disk == layout::Disk::System)
}

fn made_by_node(spec: &Spec, partition: &layout::Partition) -> handoff::Partition {
    let uuid = |thing: &str| derived::uuid(spec.cluster, spec.name, thing);
    let (type_guid, _) = kind(partition.purpose, spec.board);
    handoff::Partition {
        name: partition.name.clone(),
        type_guid,
        guid: uuid(&partition.name),
        size: partition.size.map(|size| size.bytes()),
        min_size: partition.min_size.map(|size| size.bytes()),
        format: match partition.filesystem {
            Some(Filesystem::Ext4) => handoff::Format::Ext4,
            Some(Filesystem::Xfs) => handoff::Format::Xfs,
            None => handoff::Format::None,
        },
        uuid: uuid(&format!("{} file system", partition.name)),
    }
}

/// A mount unit for every data partition of the system disk; the agent mounts the state itself.
fn mounts(spec: &Spec, files: &mut Tree) {
    for partition in first_boot(spec).filter(|partition| partition.purpose == Purpose::Data) {
        let (Some(mount), Some(filesystem)) = (&partition.mount, partition.filesystem) else {
            continue;
        };
        let guid = derived_guid(spec, &partition.name);
        // systemd.mount(5): the unit's name is the escaped path; layouts use plain names only.
        let unit = format!(
            "{}.mount",
            mount
                .trim_matches('/')
                .replace('-', "\\x2d")
                .replace('/', "-")
        );
        let text = format!(
            "[Unit]\nDescription=Storage of this node's workloads\n\n[Mount]\nWhat=/dev/disk/by-partuuid/{guid}\n\
             Where={mount}\nType={filesystem}\nOptions=noatime\n\n[Install]\nWantedBy=local-fs.target\n"
        );
        let folder = "etc/systemd/system";
        files.insert(
            format!("{folder}/{unit}"),
            Entry::file(text.into_bytes(), 0o644),
        );
        files.insert(
            format!("{folder}/local-fs.target.wants/{unit}"),
            Entry::symlink(format!("../{unit}")),
        );
    }
}

fn volume(
    spec: &Spec,
    place: &Place,
    label: &str,
    width: Option<Width>,
    tree: &Tree,
) -> Result<Image, Error> {
    let id = derived_guid(spec, &format!("{} volume", place.name)).into_bytes();
    let options = fat::Options {
        size: place.size,
        sector_size: spec.sector_size,
        width,
        label: label.to_owned(),
        volume_id: u32::from_be_bytes([id[0], id[1], id[2], id[3]]),
        time: spec.epoch,
        hidden_sectors: (place.start / u64::from(spec.sector_size)) as u32,
    };
    fat::write(tree, &options).map_err(|source| Error::Fat {
        name: place.name.to_owned(),
        source,
    })
}

fn bytes(bytes: impl Into<Arc<[u8]>>) -> Content {
    Content::Bytes(bytes.into())
}
