//! Boards: what a machine needs so that it starts at all.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use prejoin_wire::architecture::Architecture;
use prejoin_wire::selector::Transport;

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
    /// How disks can be attached that it starts from, where that is known; any when empty.
    #[serde(default)]
    pub transports: Vec<Transport>,
    /// Kernel by operating system name; an operating system that is not listed does not fit this board. Without any,
    /// the board is only there to be inherited from.
    pub kernel: BTreeMap<String, Kernel>,
    /// Packages beside the kernel: firmware blobs, microcode.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Glob patterns of payload paths that this board does not need, beside the operating system's.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Glob patterns of CPU microcode files of the tree that go into an early, uncompressed cpio archive:
    /// destination path in the archive -> patterns, concatenated in path order
    /// (Documentation/arch/x86/microcode.rst).
    #[serde(default)]
    pub microcode: BTreeMap<String, Vec<String>>,
    /// Device trees for the boot partition, as file names below the kernel package's device tree folder.
    #[serde(default)]
    pub device_trees: Vec<String>,
    /// Device tree overlays for the boot partition, as glob patterns below the same folder; the user's own are
    /// there as if they were in its `overlays/`.
    #[serde(default)]
    pub overlays: Vec<String>,
    /// Overlays that turn one of the device trees into another: file name in `overlays/` -> which. Firmware that
    /// loads one tree for all steppings of a chip changes it so.
    #[serde(default)]
    pub overlay_differences: BTreeMap<String, TreeDifference>,
    /// Kernel command line arguments, after the ones that the image itself needs.
    #[serde(default)]
    pub kernel_args: Vec<String>,
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

/// Two device trees, as file names below the kernel package's device tree folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TreeDifference {
    /// The tree that firmware loads.
    pub from: String,
    /// What is made of it.
    pub to: String,
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

/// Where a board's kernel comes from on one operating system, and what only that kernel needs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// The (meta) package that pulls in the newest kernel of the wanted flavour.
    pub package: String,
    /// Repository of the operating system that its packages come from, when not the newest of all: `backports`.
    #[serde(default)]
    pub repository: Option<String>,
    /// Like the board's, for this kernel only.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Like the board's, for this kernel only.
    #[serde(default)]
    pub device_trees: Vec<String>,
    /// Like the board's, for this kernel only.
    #[serde(default)]
    pub overlays: Vec<String>,
    /// Like the board's, for this kernel only.
    #[serde(default)]
    pub overlay_differences: BTreeMap<String, TreeDifference>,
    /// Like the board's, for this kernel only.
    #[serde(default)]
    pub kernel_args: Vec<String>,
    /// Like the board's, for this kernel only.
    #[serde(default)]
    pub initramfs_modules: Vec<String>,
}

impl Board {
    /// The board as it is under one operating system: its [`Kernel`], and what that kernel needs added to the
    /// board's own lists. `None` when the operating system has no kernel for it.
    pub fn on(&self, os: &str) -> Option<(Board, &Kernel)> {
        let kernel = self.kernel.get(os)?;
        let mut board = self.clone();
        append(&mut board.packages, &kernel.packages);
        append(&mut board.device_trees, &kernel.device_trees);
        append(&mut board.overlays, &kernel.overlays);
        board
            .overlay_differences
            .extend(kernel.overlay_differences.clone());
        append(&mut board.kernel_args, &kernel.kernel_args);
        append(&mut board.initramfs_modules, &kernel.initramfs_modules);
        Some((board, kernel))
    }
}

/// A board's file: what it leaves out comes from the board it inherits.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Draft {
    name: String,
    /// The board that this one only adds to: lists append, maps override key by key, single values replace.
    pub(crate) inherits: Option<String>,
    description: Option<String>,
    architecture: Option<Architecture>,
    firmware: Option<Firmware>,
    sector_sizes: Option<Vec<u32>>,
    transports: Option<Vec<Transport>>,
    kernel: BTreeMap<String, Kernel>,
    packages: Vec<String>,
    exclude: Vec<String>,
    microcode: BTreeMap<String, Vec<String>>,
    device_trees: Vec<String>,
    overlays: Vec<String>,
    overlay_differences: BTreeMap<String, TreeDifference>,
    kernel_args: Vec<String>,
    initramfs_modules: Vec<String>,
    config_txt: Vec<String>,
    boot_files: BTreeMap<String, String>,
    battery_clock: Option<bool>,
}

impl Draft {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Laid over the board it inherits.
    pub(crate) fn over(self, parent: Draft) -> Draft {
        Draft {
            name: self.name,
            inherits: parent.inherits,
            description: self.description.or(parent.description),
            architecture: self.architecture.or(parent.architecture),
            firmware: self.firmware.or(parent.firmware),
            sector_sizes: self.sector_sizes.or(parent.sector_sizes),
            transports: self.transports.or(parent.transports),
            kernel: overridden(parent.kernel, self.kernel),
            packages: appended(parent.packages, &self.packages),
            exclude: appended(parent.exclude, &self.exclude),
            microcode: overridden(parent.microcode, self.microcode),
            device_trees: appended(parent.device_trees, &self.device_trees),
            overlays: appended(parent.overlays, &self.overlays),
            overlay_differences: overridden(parent.overlay_differences, self.overlay_differences),
            kernel_args: appended(parent.kernel_args, &self.kernel_args),
            initramfs_modules: appended(parent.initramfs_modules, &self.initramfs_modules),
            config_txt: appended(parent.config_txt, &self.config_txt),
            boot_files: overridden(parent.boot_files, self.boot_files),
            battery_clock: self.battery_clock.or(parent.battery_clock),
        }
    }

    /// The board, or the key that neither it nor a board it inherits has.
    pub(crate) fn finish(self) -> Result<Board, &'static str> {
        Ok(Board {
            name: self.name,
            description: self.description.ok_or("description")?,
            architecture: self.architecture.ok_or("architecture")?,
            firmware: self.firmware.ok_or("firmware")?,
            sector_sizes: self.sector_sizes.ok_or("sector_sizes")?,
            transports: self.transports.unwrap_or_default(),
            kernel: self.kernel,
            packages: self.packages,
            exclude: self.exclude,
            microcode: self.microcode,
            device_trees: self.device_trees,
            overlays: self.overlays,
            overlay_differences: self.overlay_differences,
            kernel_args: self.kernel_args,
            initramfs_modules: self.initramfs_modules,
            config_txt: self.config_txt,
            boot_files: self.boot_files,
            battery_clock: self.battery_clock.ok_or("battery_clock")?,
        })
    }
}

fn append(list: &mut Vec<String>, more: &[String]) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

pub(crate) fn appended(mut parent: Vec<String>, own: &[String]) -> Vec<String> {
    append(&mut parent, own);
    parent
}

fn overridden<V>(mut parent: BTreeMap<String, V>, own: BTreeMap<String, V>) -> BTreeMap<String, V> {
    parent.extend(own);
    parent
}
