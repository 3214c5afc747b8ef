use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Size;
use crate::yaml::Located;

/// What a disk must be like to be chosen. Everything that is given must hold, and exactly one disk may match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskSelector {
    /// Serial number as the drive reports it, without surrounding spaces.
    pub serial: Option<Located<String>>,
    /// World-wide identifier (`eui.…`, `nvme.…`, `naa.…`, `t10.…`), as in `/sys/block/*/wwid`.
    pub wwid: Option<Located<String>>,
    /// Model, with `*` for any text.
    pub model: Option<Located<String>>,
    /// How it is attached.
    pub transport: Option<Transport>,
    /// Smallest size allowed.
    pub min_size: Option<Located<Size>>,
    /// Largest size allowed.
    pub max_size: Option<Located<Size>>,
    /// Spinning disk or not.
    pub rotational: Option<bool>,
}

impl DiskSelector {
    /// Whether every disk fits.
    pub fn is_any(&self) -> bool {
        *self == DiskSelector::default()
    }

    /// Whether it names one disk in the world.
    pub fn is_unique(&self) -> bool {
        self.serial.is_some() || self.wwid.is_some()
    }
}

/// How a disk is attached.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
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
