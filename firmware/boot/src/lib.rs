//! Boot partitions: what a machine's firmware must find so that our kernel runs.
//!
//! Pure lists of files. What the files hold (the kernel, the unified kernel image, a text) is named here and put
//! together by the image builder.
//!
//! * UEFI (UEFI Specification 2.10, section 3.5.1.1; Boot Loader Specification, UAPI.1): systemd-boot as the
//!   removable-media default, so no firmware variable has to be written, and one unified kernel image per slot.
//! * Raspberry Pi 4 and 5: `config.txt`, kernel, initramfs, device trees and `cmdline.txt` in the root of a FAT
//!   partition; the Pi 4 also reads `start4.elf` and `fixup4.dat` from there, the Pi 5 keeps that code in its EEPROM.
//!   Every Pi 5 loads `bcm2712-rpi-5-b.dtb`; one with the later stepping of the chip (D0) lays
//!   `overlays/bcm2712d0.dtbo` over it by itself, and goes on without where there is none.

pub mod config;

use prejoin_profiles::board::{Board, Firmware};
use prejoin_wire::architecture::Architecture;
use prejoin_wire::digest::Digest;
use prejoin_wire::role::Slot;
use uuid::Uuid;

/// One file of the boot partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Path from the partition's root.
    pub path: String,
    /// What it holds.
    pub origin: Origin,
}

/// Where a boot file's bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// These bytes.
    Text(String),
    /// The unified kernel image: stub, kernel, initramfs and command line in one PE file.
    UnifiedKernel,
    /// The kernel as packaged.
    Kernel,
    /// The initramfs.
    Initramfs,
    /// A device tree by its file name in the kernel package.
    DeviceTree(String),
    /// A device tree overlay by its file name.
    Overlay(String),
    /// A file of the operating system's tree.
    System(String),
}

/// GUIDs of the partitions that a slot is started from; nil in what nodes share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The root file system.
    pub root: Uuid,
    /// Its dm-verity hash device.
    pub verity: Uuid,
    /// The node's documents.
    pub identity: Uuid,
}

/// The kernel command line of one slot.
///
/// It lets dm-verity compare every block with `roothash`. On a Raspberry Pi it also says by their `PARTUUID`s which
/// partitions the node starts from. UEFI firmware says itself what it has loaded the kernel from (the variable
/// `LoaderDevicePartUUID`), and one line serves the whole fleet. Names are for people: anybody may have a partition
/// called `identity`.
/// The board's arguments come first, then the node's own: of two that say different things the kernel takes the last.
pub fn command_line(
    board: &Board,
    kernel_args: &[String],
    slot: Slot,
    source: &Source,
    root_hash: &Digest,
) -> String {
    let slot = slot.name();
    let mut line = match board.firmware {
        Firmware::Uefi => format!("roothash={root_hash} prejoin.slot={slot} ro"),
        Firmware::RaspberryPi => {
            let Source {
                root,
                verity,
                identity,
            } = source;
            format!(
                "root=PARTUUID={root} roothash={root_hash} prejoin.verity=PARTUUID={verity} \
                 prejoin.identity=PARTUUID={identity} prejoin.slot={slot} ro"
            )
        }
    };
    for argument in board.kernel_args.iter().chain(kernel_args) {
        line.push(' ');
        line.push_str(argument);
    }
    line
}

/// Every file of the boot partition, in path order. `overlays` are the file names of the board's overlays.
pub fn files<'a>(
    board: &Board,
    slot: Slot,
    command_line: &str,
    overlays: impl IntoIterator<Item = &'a String>,
) -> Vec<File> {
    let mut files = match board.firmware {
        Firmware::Uefi => uefi(board.architecture, slot),
        Firmware::RaspberryPi => raspberry_pi(board, command_line, overlays),
    };
    files.extend(board.boot_files.iter().map(|(path, system)| File {
        path: path.clone(),
        origin: Origin::System(system.clone()),
    }));
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn uefi(architecture: Architecture, slot: Slot) -> Vec<File> {
    let short = architecture.efi();
    let loader = Origin::System(format!("usr/lib/systemd/boot/efi/systemd-boot{short}.efi"));
    vec![
        file(
            format!("EFI/BOOT/BOOT{}.EFI", short.to_uppercase()),
            loader.clone(),
        ),
        file(format!("EFI/systemd/systemd-boot{short}.efi"), loader),
        file(
            format!("EFI/Linux/prejoin-{}.efi", slot.name()),
            Origin::UnifiedKernel,
        ),
        // The editor would let anyone at the keyboard start a shell as root.
        file(
            "loader/loader.conf",
            Origin::Text("timeout 2\nconsole-mode keep\neditor no\n".into()),
        ),
    ]
}

fn raspberry_pi<'a>(
    board: &Board,
    command_line: &str,
    overlays: impl IntoIterator<Item = &'a String>,
) -> Vec<File> {
    let mut config =
        String::from("# made by prejoin; changes are lost when the node is imaged again\n[all]\n");
    for line in &board.config_txt {
        config.push_str(line);
        config.push('\n');
    }
    // `initramfs` takes no equals sign (Raspberry Pi documentation, config.txt, "initramfs").
    config.push_str("kernel=kernel8.img\ninitramfs initramfs.img followkernel\n");
    let mut files = vec![
        file("config.txt", Origin::Text(config)),
        file("cmdline.txt", Origin::Text(format!("{command_line}\n"))),
        file("kernel8.img", Origin::Kernel),
        file("initramfs.img", Origin::Initramfs),
    ];
    files.extend(
        board
            .device_trees
            .iter()
            .map(|name| file(basename(name), Origin::DeviceTree(name.clone()))),
    );
    files.extend(
        overlays
            .into_iter()
            .map(|name| file(format!("overlays/{name}"), Origin::Overlay(name.clone()))),
    );
    files
}

fn file(path: impl Into<String>, origin: Origin) -> File {
    File {
        path: path.into(),
        origin,
    }
}

fn basename(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn board(firmware: Firmware, architecture: Architecture) -> Board {
        let board = serde_json::json!({
            "name": "test", "description": "a board", "architecture": architecture, "firmware": firmware,
            "sector_sizes": [512], "kernel": {}, "battery_clock": true,
            "kernel_args": ["console=tty0"], "initramfs_modules": [],
            "device_trees": ["broadcom/bcm2711-rpi-4-b.dtb"],
            "config_txt": ["arm_64bit=1"],
            "boot_files": BTreeMap::from([("start4.elf", "usr/lib/raspi-firmware/start4.elf")]),
        });
        serde_json::from_value(board).unwrap()
    }

    fn listing(files: &[File]) -> String {
        files
            .iter()
            .map(|f| format!("{}: {:?}\n", f.path, f.origin))
            .collect()
    }

    #[test]
    fn uefi_needs_no_firmware_variable() {
        let mut board = board(Firmware::Uefi, Architecture::Arm64);
        board.boot_files.clear();
        assert_eq!(
            listing(&files(&board, Slot::A, "", &[])),
            r#"EFI/BOOT/BOOTAA64.EFI: System("usr/lib/systemd/boot/efi/systemd-bootaa64.efi")
EFI/Linux/prejoin-a.efi: UnifiedKernel
EFI/systemd/systemd-bootaa64.efi: System("usr/lib/systemd/boot/efi/systemd-bootaa64.efi")
loader/loader.conf: Text("timeout 2\nconsole-mode keep\neditor no\n")
"#
        );
    }

    #[test]
    fn raspberry_pi_has_every_file_its_firmware_asks_for() {
        let board = board(Firmware::RaspberryPi, Architecture::Arm64);
        let source = Source {
            root: Uuid::from_u128(1),
            verity: Uuid::from_u128(2),
            identity: Uuid::from_u128(3),
        };
        let line = command_line(
            &board,
            &["loop.max_loop=9".to_owned()],
            Slot::A,
            &source,
            &Digest::of(b""),
        );
        assert!(
            line.starts_with(
                "root=PARTUUID=00000000-0000-0000-0000-000000000001 roothash=e3b0c44298fc1c14"
            ),
            "{line}"
        );
        let rest = " prejoin.verity=PARTUUID=00000000-0000-0000-0000-000000000002 prejoin.identity=PARTUUID=00000000-0000-0000-0000-000000000003 \
                    prejoin.slot=a ro console=tty0 loop.max_loop=9";
        assert!(line.ends_with(rest), "{line}");
        assert_eq!(
            listing(&files(
                &board,
                Slot::A,
                "root=x",
                &["disable-bt.dtbo".into()]
            )),
            r##"bcm2711-rpi-4-b.dtb: DeviceTree("broadcom/bcm2711-rpi-4-b.dtb")
cmdline.txt: Text("root=x\n")
config.txt: Text("# made by prejoin; changes are lost when the node is imaged again\n[all]\narm_64bit=1\nkernel=kernel8.img\ninitramfs initramfs.img followkernel\n")
initramfs.img: Initramfs
kernel8.img: Kernel
overlays/disable-bt.dtbo: Overlay("disable-bt.dtbo")
start4.elf: System("usr/lib/raspi-firmware/start4.elf")
"##
        );
    }
}
