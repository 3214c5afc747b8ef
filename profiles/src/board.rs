//! Boards: what a machine needs so that it starts at all.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::architecture::Architecture;

/// A kind of machine, one file under `boards/`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// Name in the cluster file, equal to the file's name.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// Machine architecture.
    pub architecture: Architecture,
    /// How the machine's firmware finds a kernel.
    pub firmware: Firmware,
    /// Logical sector sizes of disks that the firmware can start from.
    pub sector_sizes: Vec<u32>,
    /// Kernel by operating system name; an operating system that is not listed does not fit this board.
    pub kernel: BTreeMap<String, Kernel>,
    /// Packages beside the kernel: firmware blobs, microcode.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Glob patterns of CPU microcode files of the tree that go into an early, uncompressed cpio archive:
    /// destination path in the archive -> patterns, concatenated in path order
    /// (Documentation/arch/x86/microcode.rst).
    #[serde(default)]
    pub microcode: BTreeMap<String, Vec<String>>,
    /// Device trees for the boot partition, as file names below the kernel package's device tree folder.
    #[serde(default)]
    pub device_trees: Vec<String>,
    /// Device tree overlays for the boot partition, as glob patterns below the same folder.
    #[serde(default)]
    pub overlays: Vec<String>,
    /// Kernel command line arguments, after the ones that the image itself needs.
    #[serde(default)]
    pub command_line: Vec<String>,
    /// Modules that the initramfs loads before it looks for a disk, by name or alias; order does not matter.
    pub initramfs_modules: Vec<String>,
    /// Raspberry Pi only: lines of `config.txt`.
    #[serde(default)]
    pub config_txt: Vec<String>,
    /// Raspberry Pi only: firmware files that must be on the boot partition, and where in the tree they come from.
    #[serde(default)]
    pub boot_files: BTreeMap<String, String>,
    /// Whether the board keeps the time while it is off. Without, the agent sets the clock to the image's date.
    pub battery_clock: bool,
}

/// How a machine's firmware finds a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    /// UEFI: an EFI system partition with systemd-boot and unified kernel images.
    Uefi,
    /// Raspberry Pi EEPROM: a FAT partition with `config.txt`, kernel, initramfs and device trees.
    RaspberryPi,
}

/// Where a board's kernel comes from on one operating system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// The (meta) package that pulls in the newest kernel of the wanted flavour.
    pub package: String,
    /// Repository of the operating system that its packages come from, when not the newest of all: `backports`.
    #[serde(default)]
    pub repository: Option<String>,
}
