//! What was looked up about a disk: the device, its users, its content. Nothing in here is a decision.

use serde::{Deserialize, Serialize};

use super::Extent;
use crate::digest::Digest;
use crate::selector::Transport;

/// Version of the document.
pub const VERSION: u32 = 1;

/// Everything known about one disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// [`VERSION`].
    pub version: u32,
    /// What the kernel and the drive say of it.
    pub device: Device,
    /// Who uses it now.
    pub usage: Vec<Usage>,
    /// What is on it.
    pub content: Content,
}

/// A disk as the kernel and the drive itself describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Device {
    /// Where it was opened: `/dev/nvme0n1`, or the path of an image file.
    pub path: String,
    /// A regular file, not a block device.
    pub file: bool,
    /// Bytes.
    pub size: u64,
    /// Logical sector size in bytes; 0 for a file, which has none of its own.
    pub sector_size: u32,
    /// Physical sector size in bytes.
    pub physical_sector_size: u32,
    /// How it is attached, where known.
    pub transport: Option<Transport>,
    /// Model, without surrounding blanks.
    pub model: Option<String>,
    /// Serial number, without surrounding blanks.
    pub serial: Option<String>,
    /// World-wide identifier as in `/sys/block/*/wwid` (`eui.…`, `nvme.…`, `naa.…`, `t10.…`).
    pub wwid: Option<String>,
    /// Firmware revision.
    pub firmware: Option<String>,
    /// Spinning.
    pub rotational: Option<bool>,
    /// The kernel calls it removable (wrong for many USB disks: see `transport`).
    pub removable: bool,
    /// Writing is not allowed.
    pub read_only: bool,
    /// Below `/sys/devices/virtual`: loop, RAM, network block devices.
    #[serde(rename = "virtual")]
    pub is_virtual: bool,
    /// Host-managed or host-aware zones.
    pub zoned: bool,
    /// Counts up whenever a disk is plugged in: the same number is the same disk, not only the same name.
    pub diskseq: Option<u64>,
    /// What the drive says of its own health.
    pub health: Option<Health>,
    /// What a drive that encrypts itself says of its locks; not known of drives that do not, and where asking is not
    /// allowed.
    pub opal: Option<Opal>,
    /// The system that is running came from it; why that is believed.
    pub boot_medium: Option<String>,
    /// Other disks of this machine that claim the same serial or world-wide identifier.
    pub twins: Vec<String>,
}

/// An NVMe drive's SMART log (NVMe base specification 2.0, figure 207).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Bits: 0 spare below threshold, 1 temperature, 2 reliability, 3 read-only, 4 volatile memory backup failed.
    pub critical_warning: u8,
    /// Kelvin.
    pub temperature: u16,
    /// Spare capacity left, percent.
    pub spare: u8,
    /// Percent at which the drive warns.
    pub spare_threshold: u8,
    /// Percent of the promised endurance that is used; may go above 100.
    pub used: u8,
    /// Bytes written by the host.
    pub written: u64,
    /// Hours.
    pub power_on_hours: u64,
    /// Times it lost power without warning.
    pub unsafe_shutdowns: u64,
    /// Times data could not be read back right.
    pub media_errors: u64,
}

/// The locks of a drive that encrypts itself: the Locking feature of its Level 0 Discovery (TCG Storage Opal SSC 2.02,
/// 3.1.1.3), as the kernel passes it on (`linux/sed-opal.h`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opal {
    /// Somebody has taken it into use.
    pub locking: bool,
    /// A range of it cannot be read or written until it is unlocked.
    pub locked: bool,
    /// It shows a shadow of its start, from which it asks for the password, instead of what is there.
    pub shadowed: bool,
}

/// One user of a disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Usage {
    /// A file system on it is mounted.
    Mounted {
        /// Device node.
        device: String,
        /// Mount point.
        at: String,
    },
    /// Swap is on it.
    Swap {
        /// Device node.
        device: String,
    },
    /// Another block device is made of it (`/sys/block/*/holders`): md, dm, bcache.
    Holder {
        /// Device node.
        device: String,
        /// The one made of it.
        by: String,
    },
    /// A loop device reads it, which neither `O_EXCL` nor `holders` shows.
    Loop {
        /// Device node.
        device: String,
        /// The loop device.
        by: String,
    },
    /// Opening it for ourselves alone (`O_EXCL`) failed.
    Claimed {
        /// The kernel's error.
        error: String,
    },
    /// A program has it open.
    Open {
        /// Device node.
        device: String,
        /// Process number.
        process: u32,
        /// Its name.
        program: String,
    },
}

/// What is on a disk. Everything found is listed: one hit never hides another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Content {
    /// Every partition table, the one to be believed first: both copies of a GPT, copies for the other sector size,
    /// stray ones in the middle, MBR.
    pub tables: Vec<Table>,
    /// Signatures of file systems, volumes, arrays, ... at every place where they can be, by offset.
    pub signatures: Vec<Signature>,
    /// What was found inside file systems that can be read.
    pub inside: Vec<Inside>,
    /// Whether the disk as a whole, each partition and each gap holds anything but zeroes or ones.
    pub blankness: Vec<Blankness>,
    /// What could not be read. Never the same as empty.
    pub unreadable: Vec<Unreadable>,
    /// SHA-256 over place and bytes of everything that was looked at, in that order: another digest is another state
    /// of the disk.
    pub digest: Option<Digest>,
}

/// One copy of a partition table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Which scheme.
    pub scheme: Scheme,
    /// Which copy.
    pub place: Place,
    /// Where its header begins.
    pub offset: u64,
    /// Sector size it is written for.
    pub sector_size: u32,
    /// It can be used: checksums are right, numbers possible.
    pub valid: bool,
    /// What is not as it should be, in words.
    pub problems: Vec<String>,
    /// The disk's GUID, or an MBR's 32-bit identifier as eight digits.
    pub id: Option<String>,
    /// Used entries.
    pub partitions: Vec<Partition>,
}

/// A way to divide disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// GUID partition table.
    Gpt,
    /// The GPT's protective MBR with other entries beside the one over the whole disk.
    HybridMbr,
    /// The GPT's protective MBR.
    ProtectiveMbr,
    /// MBR, with the logical partitions of its extended one.
    Mbr,
    /// Apple partition map.
    Apple,
    /// BSD disk label.
    Bsd,
    /// Sun disk label.
    Sun,
    /// SGI volume header.
    Sgi,
    /// Windows dynamic disk (LDM).
    Ldm,
}

/// Which copy of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// At the start of the disk.
    Primary,
    /// In the last sector.
    Backup,
    /// Anywhere else: left by a smaller image, or by the disk's smaller past.
    Stray,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// Number in the table, from 1.
    pub number: u32,
    /// Where it is.
    pub extent: Extent,
    /// Type: a GUID in lower case, or an MBR's type byte as two digits.
    #[serde(rename = "type")]
    pub type_id: String,
    /// Its own GUID (`PARTUUID`); empty in an MBR.
    pub guid: String,
    /// Name (`PARTLABEL`).
    pub name: String,
    /// Attribute bits.
    pub attributes: u64,
}

/// A signature at a place where its kind of content has one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// What it belongs to, by blkid's name where that has one: `ext4`, `crypto_LUKS`, `LVM2_member`,
    /// `linux_raid_member`, `zfs_member`, `ceph_bluestore`, `spdk_blobstore`, `BitLocker`, `swap`, `talos_meta`, ...
    pub kind: String,
    /// Where the magic bytes are.
    pub magic: Extent,
    /// The whole header or label that would have to be cleared to be rid of it.
    pub header: Extent,
    /// The extent it describes: the partition or the whole disk.
    pub of: Extent,
    /// A further copy of one that is listed, too, at another place (backup superblock, second label).
    pub copy: bool,
    /// Version of the format, where it says so.
    pub version: Option<String>,
    /// UUID of the file system, volume or array.
    pub uuid: Option<String>,
    /// Label.
    pub label: Option<String>,
}

/// Something inside a file system that decides what the file system is worth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inside {
    /// The file system's extent.
    pub of: Extent,
    /// What it is: `longhorn-disk`, `etcd`, `k3s`, `kubelet`, `containerd`, `local-volumes`, `openebs`, `os-release`,
    /// `prejoin-node`, `windows`, ... `state` says that a node's state was walked through, and `state-data` and
    /// `state-cluster` what is in it besides what the node's own software makes; their paths are those of the node.
    pub kind: String,
    /// Path in the file system.
    pub path: String,
    /// What it says, as `key=value`: `diskUUID=…`, `node=…`, `cluster=…`, `name=Debian GNU/Linux 13`.
    pub detail: Vec<String>,
}

/// Whether an extent holds anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blankness {
    /// What was looked at.
    pub of: Extent,
    /// Bytes of it that were read.
    pub read: u64,
    /// The first byte found that belongs to a sector that is neither all zeroes nor all ones.
    pub first: Option<u64>,
}

/// A part that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unreadable {
    /// Which bytes were asked for.
    pub extent: Extent,
    /// The kernel's error.
    pub error: String,
}

/// Sizes of sectors that there are.
const SECTORS: [u32; 8] = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536];

/// The largest disk: offsets of files and devices have a sign.
const LARGEST: u64 = i64::MAX as u64;

impl Facts {
    /// Whether its numbers can be those of a disk; if not, which one cannot. What was recorded may have come by any way.
    pub fn check(&self) -> Result<(), String> {
        let Device {
            size, sector_size, ..
        } = self.device;
        if size > LARGEST {
            return Err(format!("device: no disk has {size} bytes"));
        }
        if sector_size != 0 && !SECTORS.contains(&sector_size) {
            return Err(format!(
                "device: no disk has sectors of {sector_size} bytes"
            ));
        }
        for table in &self.content.tables {
            if !SECTORS.contains(&table.sector_size) {
                return Err(format!(
                    "the table at byte {}: no disk has sectors of {} bytes",
                    table.offset, table.sector_size
                ));
            }
        }
        let impossible = |extent: &&Extent| {
            let end = extent.start.checked_add(extent.length);
            end.is_none_or(|end| end > LARGEST)
        };
        match self.content.extents().iter().find(impossible) {
            Some(Extent { start, length }) => Err(format!(
                "content: no disk has {length} bytes from byte {start} on"
            )),
            None => Ok(()),
        }
    }
}

impl Device {
    /// The disk in one line: path, size, model, serial number.
    pub fn title(&self) -> String {
        let mut title = format!("{} ({}", self.path, super::decimal(self.size));
        for (name, value) in [("", &self.model), ("serial ", &self.serial)] {
            if let Some(value) = value {
                title.push_str(&format!(", {name}{value}"));
            }
        }
        title + ")"
    }
}

impl Content {
    /// The table to be believed: the first valid one that says where partitions are.
    ///
    /// Without a primary copy it is not believed against something that takes the whole disk: `mkfs` on a disk leaves the
    /// backup copy of its old table at the end.
    pub fn table(&self) -> Option<&Table> {
        let table = self
            .tables
            .iter()
            .find(|table| table.valid && table.scheme != Scheme::ProtectiveMbr)?;
        let taken = self
            .signatures
            .iter()
            .any(|signature| signature.of.start == 0 && !signature.copy);
        (table.place == Place::Primary || !taken).then_some(table)
    }

    /// Every extent that is named anywhere.
    fn extents(&self) -> Vec<Extent> {
        let partitions = self.tables.iter().flat_map(|table| &table.partitions);
        let signatures = self.signatures.iter();
        let mut extents: Vec<Extent> = partitions.map(|partition| partition.extent).collect();
        extents.extend(signatures.flat_map(|found| [found.magic, found.header, found.of]));
        extents.extend(self.inside.iter().map(|inside| inside.of));
        extents.extend(self.blankness.iter().map(|blankness| blankness.of));
        extents.extend(self.unreadable.iter().map(|unreadable| unreadable.extent));
        extents
    }

    /// The partitions that count.
    pub fn partitions(&self) -> &[Partition] {
        self.table().map_or(&[], |table| &table.partitions)
    }
}
