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
use prejoin_wire::handoff::{self, Brought, Handoff};
use prejoin_wire::node::{ALIGNMENT, Partition};
use prejoin_wire::role::{Role, Slot};
use prejoin_wire::system::File;
use uuid::Uuid;

use crate::image::overlays;
use crate::image::system::{self, Boot};

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

/// A node's partition table.
#[derive(Clone, Debug)]
pub struct Division {
    /// Size of the image in bytes.
    pub size: u64,
    /// GUID of the disk.
    pub disk_guid: Uuid,
    /// Partitions, in order and without gaps.
    pub partitions: Vec<Partition>,
}

/// Divides the node's disk: the layout's partitions from 1 MiB on.
pub fn divide(spec: &Spec) -> Result<Division, Error> {
    let mut partitions = Vec::new();
    let mut start = ALIGNMENT;
    for (planned, number) in system_partitions(spec.layout).zip(1..) {
        let role: Role = planned.name.parse().map_err(|why| wrong(spec, why))?;
        let size = planned
            .size
            .ok_or_else(|| wrong(spec, format!("{role} has no fixed size")))?
            .bytes();
        let (type_guid, attributes) = kind(planned.purpose, spec.board);
        partitions.push(Partition {
            number,
            role,
            type_guid,
            guid: derived_guid(spec, role.name()),
            attributes,
            start,
            size,
        });
        start += size;
    }
    for needed in NEEDED {
        if !partitions.iter().any(|partition| partition.role == needed) {
            return Err(wrong(spec, format!("it has no partition {needed}")));
        }
    }
    Ok(Division {
        size: start + ALIGNMENT,
        disk_guid: derived_guid(spec, "disk"),
        partitions,
    })
}

/// What every image has.
const NEEDED: [Role; 4] = [
    Role::Boot,
    Role::Root(Slot::A),
    Role::Verity(Slot::A),
    Role::Identity,
];

impl Division {
    /// The partition with this role.
    pub fn partition(&self, role: Role) -> Option<&Partition> {
        self.partitions
            .iter()
            .find(|partition| partition.role == role)
    }
}

fn wrong(spec: &Spec, why: String) -> Error {
    Error::Layout {
        layout: spec.layout.name.clone(),
        why,
    }
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

/// Whether something fits the partition that it should go into.
pub fn fits(what: &'static str, needed: u64, partition: &Partition) -> Result<(), Error> {
    if needed <= partition.size {
        return Ok(());
    }
    Err(Error::TooLarge {
        what,
        name: partition.role.to_string(),
        needed,
        available: partition.size,
    })
}

/// The boot partition of a system, and what is where in it.
pub struct BootVolume {
    /// Its bytes.
    pub image: Image,
    /// Every file by path.
    pub files: BTreeMap<String, File>,
    /// The kernel.
    pub kernel: File,
    /// The initramfs.
    pub initrd: File,
}

/// What a boot partition depends on besides the system itself: nodes that agree in this share one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootKey {
    kernel_args: Vec<String>,
    sector_size: u32,
    start: u64,
    size: u64,
}

/// On what the boot partition of a node depends.
pub fn boot_key(spec: &Spec, division: &Division) -> BootKey {
    let place = division.partition(Role::Boot);
    let (start, size) = place.map_or((0, 0), |place| (place.start, place.size));
    BootKey {
        kernel_args: spec.kernel_args.clone(),
        sector_size: spec.sector_size,
        start,
        size,
    }
}

/// Plans the boot partition that nodes with the same [`BootKey`] share. `set` names the system, for all names that have to
/// be made up.
pub fn boot_volume(
    set: &str,
    spec: &Spec,
    place: &Partition,
    boot: &Boot,
    root_hash: &Digest,
    contents: &dyn Contents,
) -> Result<BootVolume, Error> {
    // GUIDs of no node: of the same length as those of every node.
    let line = command_line(spec, &Source::default(), root_hash)?;
    let overlays = overlays::gather(spec.board, &boot.device_trees, spec.overlays, contents)
        .map_err(|source| Error::Overlays {
            board: spec.board.name.clone(),
            source: Box::new(source),
        })?;
    let own = own_texts_of(spec, &line, overlays.keys());
    let mut tree = Tree::new();
    let mut parts = Vec::new();
    let mut inside = [0, 0];
    for file in prejoin_boot::files(spec.board, Slot::A, &line, overlays.keys()) {
        let content = match &file.origin {
            Origin::Text(text) => bytes(text.as_bytes().to_vec()),
            Origin::Kernel => boot.kernel.clone(),
            Origin::Initramfs => boot.initrd.clone(),
            Origin::UnifiedKernel => {
                let unified = unified_kernel(spec.board, boot, &line, contents)?;
                inside = [unified.kernel, unified.initrd];
                unified.content
            }
            Origin::Overlay(name) => found(overlays.get(name), &file.path, name)?,
            Origin::DeviceTree(name) => found(boot.device_trees.get(name), &file.path, name)?,
            Origin::System(path) => found(boot.files.get(path), &file.path, path)?,
        };
        parts.push((file.path.clone(), file.origin, content.len()));
        tree.insert(
            &file.path,
            Entry {
                kind: Kind::File(content),
                ..Entry::file([], 0o644)
            }
            .dated(spec.epoch),
        );
    }
    let volume = volume(set, spec, place, &tree)?;
    let mut files = BTreeMap::new();
    let (mut kernel, mut initrd) = (None, None);
    for (path, origin, size) in parts {
        let start = volume.files.get(path.as_bytes()).copied().unwrap_or(0);
        let file = File {
            start,
            size,
            own: own.contains_key(&path),
        };
        let part = |from: u64, content: &Content| File {
            start: start + from,
            size: content.len(),
            own: false,
        };
        match origin {
            Origin::Kernel => kernel = Some(file),
            Origin::Initramfs => initrd = Some(file),
            Origin::UnifiedKernel => {
                kernel = Some(part(inside[0], &boot.kernel));
                initrd = Some(part(inside[1], &boot.initrd));
            }
            _ => {}
        }
        files.insert(path, file);
    }
    let missing = |from: &str| Error::Missing {
        path: "the boot partition".into(),
        from: from.into(),
    };
    Ok(BootVolume {
        image: volume.image,
        files,
        kernel: kernel.ok_or_else(|| missing("a kernel"))?,
        initrd: initrd.ok_or_else(|| missing("an initramfs"))?,
    })
}

/// The kernel command line of a node with these partitions.
fn command_line(spec: &Spec, source: &Source, root_hash: &Digest) -> Result<String, Error> {
    let line =
        prejoin_boot::command_line(spec.board, &spec.kernel_args, Slot::A, source, root_hash);
    match line.len() < COMMAND_LINE_SIZE {
        true => Ok(line),
        false => Err(Error::CommandLine { length: line.len() }),
    }
}

/// The texts that a node has on its boot partition and shares with no other.
pub fn own_texts(
    spec: &Spec,
    division: &Division,
    root_hash: &Digest,
) -> Result<BTreeMap<String, String>, Error> {
    let guid = |role| {
        division
            .partition(role)
            .map_or(Uuid::nil(), |found| found.guid)
    };
    let source = Source {
        root: guid(Role::Root(Slot::A)),
        verity: guid(Role::Verity(Slot::A)),
        identity: guid(Role::Identity),
    };
    let line = command_line(spec, &source, root_hash)?;
    Ok(own_texts_of(spec, &line, &[]))
}

/// The texts that the command line is in.
fn own_texts_of<'a>(
    spec: &Spec,
    line: &str,
    overlays: impl IntoIterator<Item = &'a String>,
) -> BTreeMap<String, String> {
    let files = prejoin_boot::files(spec.board, Slot::A, line, overlays);
    let own = files.into_iter().filter_map(|file| match file.origin {
        Origin::Text(text) if text.contains(line) => Some((file.path, text)),
        _ => None,
    });
    own.collect()
}

fn found(content: Option<&Content>, path: &str, from: &str) -> Result<Content, Error> {
    content.cloned().ok_or_else(|| Error::Missing {
        path: path.to_owned(),
        from: from.to_owned(),
    })
}

/// A unified kernel image, and the first bytes of kernel and initramfs in it.
struct UnifiedKernel {
    content: Content,
    kernel: u64,
    initrd: u64,
}

fn unified_kernel(
    board: &Board,
    boot: &Boot,
    command_line: &str,
    contents: &dyn Contents,
) -> Result<UnifiedKernel, Error> {
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
    let unified = uki::build(&stub, &sections)?;
    Ok(UnifiedKernel {
        content: Content::Image(unified.image.into()),
        initrd: unified.starts[3],
        kernel: unified.starts[4],
    })
}

/// What the identity partition holds: the seed for cloud-init, the archive that the agent unpacks, and what it is to do.
pub fn identity(
    spec: &Spec,
    division: &Division,
) -> Result<(BTreeMap<String, Vec<u8>>, Handoff), Error> {
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
        brought: division
            .partitions
            .iter()
            .map(|partition| Brought {
                role: partition.role,
                guid: partition.guid,
            })
            .collect(),
    };
    handoff
        .check()
        .map_err(|error| wrong(spec, error.to_string()))?;
    let mut contents = spec.seed.clone();
    contents.insert("node.cpio".to_owned(), node_cpio);
    Ok((contents, handoff))
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

fn volume(set: &str, spec: &Spec, place: &Partition, tree: &Tree) -> Result<fat::Volume, Error> {
    let id = derived::fleet_uuid(set, "boot volume").into_bytes();
    let options = fat::Options {
        size: place.size,
        sector_size: spec.sector_size,
        width: Some(Width::Fat32),
        label: "BOOT".to_owned(),
        volume_id: u32::from_be_bytes([id[0], id[1], id[2], id[3]]),
        time: spec.epoch,
        hidden_sectors: (place.start / u64::from(spec.sector_size)) as u32,
    };
    fat::write(tree, &options).map_err(|source| Error::Fat {
        name: place.role.to_string(),
        source,
    })
}

fn bytes(bytes: impl Into<Arc<[u8]>>) -> Content {
    Content::Bytes(bytes.into())
}
