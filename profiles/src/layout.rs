//! Layouts: the partitions of a node's disks, in order.

mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use prejoin_wire::handoff;
use prejoin_wire::size::Size;

/// How disks are divided, one file under `layouts/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// Name in the cluster file, equal to the file's name.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// Partitions in disk order.
    pub partitions: Vec<Partition>,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// Name in the partition table. On the system disk it is one of `boot`, `root-a`, `root-a-verity`, `root-b`,
    /// `root-b-verity`, `identity`, `state` and `data`.
    pub name: String,
    /// What it is for; decides type and content.
    pub purpose: Purpose,
    /// Size, a multiple of 1 MiB. Without one it takes the rest of its disk, and stands last there.
    #[serde(default)]
    pub size: Option<Size>,
    /// Smallest useful size of a partition that takes the rest.
    #[serde(default)]
    pub min_size: Option<Size>,
    /// File system made when the partition is: `ext4` or `xfs`; without one it stays raw.
    #[serde(default)]
    pub filesystem: Option<Filesystem>,
    /// Where the node mounts it: `state` at `/var`; `data` below `/var`, or at or below `/srv` or `/opt`.
    #[serde(default)]
    pub mount: Option<String>,
    /// Which of the node's disks it is on.
    #[serde(default)]
    pub disk: Disk,
}

/// What a partition is for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// EFI system partition, or the Raspberry Pi's boot partition.
    Boot,
    /// Read-only root.
    Root,
    /// dm-verity hash tree of the root before it.
    Verity,
    /// The node's identity (FAT, label CIDATA).
    Identity,
    /// `/var`: kept when the node is imaged again, unless asked otherwise.
    State,
    /// Storage for workloads: made once, then never touched.
    Data,
}

/// File systems that the node can make by itself.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Filesystem {
    /// ext4.
    Ext4,
    /// XFS.
    Xfs,
}

/// One of a node's disks.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Disk {
    /// The node's `disk`.
    #[default]
    System,
    /// The node's `data_disk`.
    Data,
}

impl fmt::Display for Filesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Filesystem::Ext4 => "ext4",
            Filesystem::Xfs => "xfs",
        })
    }
}

impl Layout {
    /// Partitions of one disk, in order.
    pub fn on(&self, disk: Disk) -> impl Iterator<Item = &Partition> {
        self.partitions
            .iter()
            .filter(move |partition| partition.disk == disk)
    }

    /// The file systems that are made on it, each once.
    pub fn filesystems(&self) -> BTreeSet<Filesystem> {
        self.partitions
            .iter()
            .filter_map(|partition| partition.filesystem)
            .collect()
    }

    /// Whether it needs the node's `data_disk`.
    pub fn uses_data_disk(&self) -> bool {
        self.on(Disk::Data).next().is_some()
    }

    /// Smallest disk that it fits: all partitions, what lies before the first (protective MBR, table, alignment) and
    /// after the last (the table's copy), and on the system disk what the node leaves between the image's partitions
    /// and its own.
    pub fn min_size(&self, disk: Disk) -> Size {
        let gap = if disk == Disk::System {
            handoff::GAP
        } else {
            0
        };
        let partitions = self
            .on(disk)
            .filter_map(|p| p.size.or(p.min_size))
            .map(Size::bytes);
        Size(partitions.fold(2 * Size::MIB.bytes() + gap, u64::saturating_add))
    }
}

/// A layout's file: what it leaves out comes from the layout it inherits.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Draft {
    name: String,
    /// The layout that this one changes.
    pub(crate) inherits: Option<String>,
    description: Option<String>,
    /// Other sizes for inherited partitions, by name.
    sizes: BTreeMap<String, Size>,
    /// Partitions after the inherited ones; one with an inherited name replaces it in its place.
    partitions: Vec<Partition>,
}

impl Draft {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Laid over the layout it inherits.
    pub(crate) fn over(self, parent: Draft) -> Draft {
        let mut partitions = parent.partitions;
        for partition in self.partitions {
            match partitions.iter_mut().find(|p| p.name == partition.name) {
                Some(inherited) => *inherited = partition,
                None => partitions.push(partition),
            }
        }
        let mut sizes = parent.sizes;
        sizes.extend(self.sizes);
        let description = self.description.or(parent.description);
        Draft {
            name: self.name,
            inherits: parent.inherits,
            description,
            sizes,
            partitions,
        }
    }

    /// The layout, or what it lacks.
    pub(crate) fn finish(self) -> Result<Layout, String> {
        let mut partitions = self.partitions;
        for (name, size) in self.sizes {
            let partition = partitions.iter_mut().find(|p| p.name == name);
            partition
                .ok_or_else(|| format!("`sizes` names `{name}`, which is no partition"))?
                .size = Some(size);
        }
        let description = self.description.ok_or("the key `description` is missing")?;
        let layout = Layout {
            name: self.name,
            description,
            partitions,
        };
        rules::problem(&layout).map_or(Ok(layout), Err)
    }
}
