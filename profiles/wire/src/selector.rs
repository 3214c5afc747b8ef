//! Which disk of a machine is meant.

use serde::{Deserialize, Serialize};

use crate::size::Size;

/// What a disk must be like to be chosen. Everything that is given must hold, and exactly one disk may match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiskSelector {
    /// Serial number as the drive reports it, without surrounding spaces.
    pub serial: Option<String>,
    /// World-wide identifier (`eui.…`, `nvme.…`, `naa.…`, `t10.…`), as in `/sys/block/*/wwid`.
    pub wwid: Option<String>,
    /// Model, with `*` for any text.
    pub model: Option<String>,
    /// How it is attached.
    pub transport: Option<Transport>,
    /// Smallest size allowed.
    pub min_size: Option<Size>,
    /// Largest size allowed.
    pub max_size: Option<Size>,
    /// Spinning disk or not.
    pub rotational: Option<bool>,
}

/// How a disk is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// NVMe, usually in an M.2 slot.
    Nvme,
    /// SATA.
    Sata,
    /// SAS.
    Sas,
    /// USB.
    Usb,
    /// SD card or eMMC.
    Mmc,
    /// Disk of a virtual machine.
    Virtio,
}

impl Transport {
    /// Its name in the cluster file.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Nvme => "nvme",
            Transport::Sata => "sata",
            Transport::Sas => "sas",
            Transport::Usb => "usb",
            Transport::Mmc => "mmc",
            Transport::Virtio => "virtio",
        }
    }
}
