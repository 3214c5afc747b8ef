//! What a judge makes of the facts: findings, a verdict, and the plan it was passed on.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Extent;
use crate::digest::Digest;

/// A verdict on writing one node's image to one disk, with its reasons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Node the image is for.
    pub node: String,
    /// The disk, as opened.
    pub disk: String,
    /// May it be written?
    pub verdict: Verdict,
    /// Why, gravest first.
    pub findings: Vec<Finding>,
    /// The disk from its first byte to its last as it is now.
    pub regions: Vec<Region>,
    /// What would be done; also there when the verdict is no, as far as it could be thought through.
    pub plan: Option<Plan>,
    /// Stands for exactly this node, disk, state of the disk, plan and image: what a confirmation repeats.
    pub token: Option<String>,
}

/// May it be written?
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing speaks against it.
    Ok,
    /// When a person, or a rule they wrote down before, says so.
    NeedsConfirmation,
    /// No.
    Refuse,
}

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// To know.
    Info,
    /// Somebody has to agree.
    Confirm,
    /// It is not done.
    Refuse,
}

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// What kind of reason; stable, for rules and searches.
    pub code: Code,
    /// How grave.
    pub severity: Severity,
    /// What it is about: a disk, a partition (`partition 3 "data" (PARTUUID …)`), a byte range.
    pub subject: String,
    /// What was seen, and where.
    pub evidence: String,
    /// What to do about it.
    pub advice: Option<String>,
}

/// What a part of a disk is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// Where it is.
    pub extent: Extent,
    /// What it counts as.
    pub kind: RegionKind,
    /// Its partition, where it is one.
    pub partition: Option<u32>,
    /// What it is, in words: `ext4 "data", Longhorn disk 3f…`.
    pub what: String,
}

/// What a part of a disk counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegionKind {
    /// A partition table.
    Table,
    /// Belongs to no partition.
    Free,
    /// Nothing but zeroes or ones where it was looked at, and no partition.
    Blank,
    /// A partition of this node's system, which an image replaces.
    System,
    /// The node's state (`/var`).
    State,
    /// Somebody's data: everything that is recognised and not ours.
    Data,
    /// Something that nothing recognised: counts as data.
    Unknown,
    /// Could not be read: counts as data.
    Unreadable,
}

/// Fresh, or again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// A new node on a disk that holds nothing of it; everything found is kept, or named for deletion.
    Install,
    /// The node's system anew; its state and its data stay.
    #[default]
    Reimage,
    /// The node's system and its state anew; its data stays.
    ReimageWipeState,
}

/// Everything that will be written, and everything that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What kind of installation.
    pub mode: Mode,
    /// Digest of the image's manifest.
    pub image: Digest,
    /// Bytes of the disk.
    pub size: u64,
    /// Logical sector size of the table.
    pub sector_size: u32,
    /// GUID of the disk in the new table.
    pub disk_guid: Uuid,
    /// The table as it is now.
    pub before: Vec<Entry>,
    /// The table as it will be.
    pub after: Vec<Entry>,
    /// What the table lists as going while it is cleared; nothing if nothing was named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub released: Vec<Entry>,
    /// What is overwritten with zeroes first.
    pub clear: Vec<Clear>,
    /// Where the image's bytes go, in order and merged: its partitions' defined ranges.
    pub image_extents: Vec<Extent>,
    /// Where the two copies of the table (and the protective MBR) go.
    pub table_extents: Vec<Extent>,
    /// What stays as it is, to the bit.
    pub kept: Vec<Kept>,
}

/// One entry of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Number, from 1.
    pub number: u32,
    /// Where it is.
    pub extent: Extent,
    /// Type GUID.
    #[serde(rename = "type")]
    pub type_guid: String,
    /// Its own GUID.
    pub guid: String,
    /// Name.
    pub name: String,
    /// Attribute bits.
    pub attributes: u64,
    /// Where it comes from, or what becomes of it.
    pub origin: Origin,
}

impl Entry {
    /// Whether something else comes in its place: the image's bytes, or what the node makes for itself.
    pub fn is_new(&self) -> bool {
        matches!(self.origin, Origin::Image | Origin::Node)
    }
}

/// Where an entry of the new table comes from; in the old table, what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The image.
    Image,
    /// The node: it makes its own state and data there when it first starts.
    Node,
    /// The disk: it stays.
    Kept,
    /// It goes, because the image brings its successor.
    Replaced,
    /// It goes, because somebody named it.
    Deleted,
}

/// An extent that is overwritten with zeroes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clear {
    /// Where.
    pub extent: Extent,
    /// Why.
    pub why: String,
}

/// A partition that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Its number.
    pub number: u32,
    /// Its GUID.
    pub guid: String,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub extent: Extent,
    /// What is on it.
    pub what: String,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident $text:literal,)*) => {
        /// What kind of reason: stable names, grouped by `ID` identity, `DV` device, `US` in use, `LY` layout, `DT`
        /// data, `IM` image.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Code {
            /// All codes, in order.
            pub const ALL: &[Code] = &[$(Code::$name,)*];

            /// Its stable name.
            pub fn name(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }
        }
    };
}

codes! {
    /// No disk fits the selector.
    IdNoMatch "ID-NOMATCH",
    /// Several disks fit.
    IdAmbiguous "ID-AMBIGUOUS",
    /// Another disk of this machine has the same serial or world-wide identifier.
    IdNotUnique "ID-NOTUNIQUE",
    /// Chosen by a name that the kernel gives out anew at each start.
    IdNameOnly "ID-KNAMEONLY",
    /// Not the disk that this node had before, or not what the selector asks for.
    IdMismatch "ID-EXPECTMISMATCH",
    /// The disk is not what it was when the plan was made.
    IdChanged "ID-CHANGED",
    /// Read-only.
    DvReadOnly "DV-READONLY",
    /// A part could not be read.
    DvIoError "DV-IOERROR",
    /// Locked by its own encryption (OPAL).
    DvLocked "DV-LOCKED",
    /// Zoned.
    DvZoned "DV-ZONED",
    /// Too small.
    DvTooSmall "DV-TOOSMALL",
    /// The image is for another sector size, or the table on the disk is.
    DvSector "DV-SECTOR",
    /// The board's firmware cannot start from such sectors.
    DvFirmware4k "DV-FWNOBOOT4K",
    /// The running system came from it.
    DvBootMedium "DV-BOOTMEDIUM",
    /// Removable.
    DvRemovable "DV-REMOVABLE",
    /// Attached by USB.
    DvUsb "DV-USB",
    /// A virtual device.
    DvVirtual "DV-VIRTUAL",
    /// The drive warns of itself.
    DvSmart "DV-SMARTCRIT",
    /// Worn.
    DvWorn "DV-WORN",
    /// It does not hold as much as it says.
    DvFake "DV-FAKECAP",
    /// Mounted.
    UsMounted "US-MOUNTED",
    /// Swap.
    UsSwap "US-SWAP",
    /// Part of another block device.
    UsHolder "US-HOLDER",
    /// Read by a loop device.
    UsLoop "US-LOOP",
    /// Somebody else has it for themselves.
    UsClaimed "US-EXCL",
    /// A program has it open.
    UsOpen "US-OPENFD",
    /// Nothing on it.
    LyBlank "LY-BLANK",
    /// A table without partitions.
    LyEmptyTable "LY-EMPTYTABLE",
    /// This node's own disk.
    LyOurs "LY-OURS",
    /// Nothing of this node is on it, and it is to be reimaged.
    LyNotOurs "LY-NOTOURS",
    /// Another node's disk.
    LyOtherNode "LY-OTHERNODE",
    /// This node's own disk, made before its cluster had an id: it is taken over.
    LyTakeover "LY-TAKEOVER",
    /// Another operating system.
    LyForeign "LY-FOREIGNOS",
    /// Not blank, and nothing recognised.
    LyUnknown "LY-UNKNOWN",
    /// Only the primary copy of the GPT is good.
    LyPrimaryOnly "LY-GPTPRIMARY",
    /// Only the backup copy of the GPT is good.
    LyBackupOnly "LY-GPTBACKUP",
    /// The backup copy is not at the end of the disk.
    LyNotAtEnd "LY-GPTNOTATEND",
    /// Both copies are good and differ.
    LyDisagree "LY-GPTDISAGREE",
    /// A GPT and an MBR with partitions of its own.
    LyHybrid "LY-HYBRID",
    /// Partitions overlap.
    LyOverlap "LY-OVERLAP",
    /// Two partitions have the same GUID.
    LyDuplicate "LY-DUPUUID",
    /// A table that is not a GPT.
    LyOtherTable "LY-OTHERTABLE",
    /// Firmware may start something that stays instead of the node.
    LyBootOrder "LY-BOOTORDER",
    /// What stays.
    DtKeep "DT-KEEP",
    /// The plan would write over data.
    DtTouch "DT-TOUCH",
    /// The image does not fit beside what stays.
    DtNoRoom "DT-NOROOM",
    /// Something whole that no partition lists any more.
    DtLost "DT-LOST",
    /// The whole disk is a volume of something.
    DtWholeDisk "DT-WHOLEDISK",
    /// A file system that several machines share.
    DtShared "DT-SHARED",
    /// Data inside a partition that would be replaced.
    DtNested "DT-NESTED",
    /// A leftover signature that would mislead.
    DtStale "DT-STALE",
    /// Named for deletion.
    DtDelete "DT-DELETE",
    /// The state will be wiped.
    DtState "DT-STATE",
    /// With the state goes a member of the cluster's database.
    DtEtcd "DT-ETCD",
    /// The image does not match its manifest.
    ImHash "IM-HASH",
    /// For another architecture.
    ImArchitecture "IM-ARCH",
    /// For another node.
    ImNode "IM-NODE",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
