//! The disks of a machine, as the kernel and the drives describe them.
#![expect(clippy::disallowed_methods, reason = "opens devices")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use prejoin_formats::gpt;
use prejoin_sys::{block, nvme, opal};
use prejoin_wire::disk::{Device, Health, Opal};
use prejoin_wire::selector::Transport;

use super::machine::{Machine, printable};
use super::{Error, target::Reader};
use crate::device::ReadAt as _;

/// Where a running system keeps what it was started from: the installed system's places, and those of live media of
/// dracut, Debian, Ubuntu and Arch.
const BOOT_MOUNTS: [&str; 9] = [
    "/",
    "/usr",
    "/boot",
    "/boot/efi",
    "/efi",
    "/run/initramfs/live",
    "/run/live/medium",
    "/cdrom",
    "/run/archiso/bootmnt",
];
/// Set by systemd-boot: the partition it was loaded from.
const LOADER_PARTITION: &str = "LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// Made of other disks, of memory, or never a place for a system.
const NO_DISKS: [&str; 10] = [
    "ram", "zram", "loop", "sr", "fd", "dm-", "md", "bcache", "mtdblock", "zd",
];

/// A block device or an image file. Partitions are refused: what is decided is decided over whole disks.
pub fn device(path: &Path) -> Result<Device, Error> {
    device_of(&Machine::here(), path)
}

/// Every disk of this machine with a medium in it: no partitions, no volumes made of other disks, no loop devices.
pub fn disks() -> Result<Vec<Device>, Error> {
    let list = Path::new("/sys/block");
    fs::read_dir(list).map_err(|source| Error::Ask {
        path: list.to_owned(),
        what: "disks of this machine",
        source,
    })?;
    Ok(disks_of(&Machine::here()))
}

/// What a path leads to, the same under all of its names: a device by its number, a file by its file system and inode.
/// Nothing if it leads nowhere.
pub fn identity(path: &Path) -> Option<(Option<u64>, u64)> {
    let found = fs::metadata(path).ok()?;
    Some(match found.file_type().is_block_device() {
        true => (None, found.rdev()),
        false => (Some(found.dev()), found.ino()),
    })
}

/// Whether another disk may have this name after the next start: a node right in `/dev` that is no link.
pub fn is_kernel_name(path: &Path) -> bool {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
    path.parent() == Some(Path::new("/dev"))
        && !fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink())
}

/// As [`device`]. On a recorded machine the path of a block device is the kernel's name for it, in `/dev`.
pub fn device_of(machine: &Machine, path: &Path) -> Result<Device, Error> {
    let text = path.to_string_lossy();
    let name = if machine.is_live() {
        let metadata = fs::metadata(path).map_err(|error| Error::open(path, error))?;
        if metadata.is_file() {
            return file(path, metadata.len());
        }
        if !metadata.file_type().is_block_device() {
            return Err(Error::Kind {
                path: path.to_owned(),
            });
        }
        machine.at(path)
    } else {
        machine.named(&text)
    };
    let name = name.ok_or_else(|| Error::open(path, std::io::ErrorKind::NotFound.into()))?;
    if let Some(disk) = machine.parent(&name) {
        return Err(Error::Partition {
            path: path.to_owned(),
            disk: Machine::node(&disk),
        });
    }
    let mut device = describe(machine, &name);
    if device.size == 0 {
        return Err(Error::NoMedium {
            path: path.to_owned(),
        });
    }
    device.twins = twins(&device, &present(machine));
    // In a container the kernel's name may lead nowhere, or elsewhere.
    if machine.is_live() && machine.at(Path::new(&device.path)).as_ref() != Some(&name) {
        device.path = text.into_owned();
    }
    ask(machine, &name, &mut device, &boot_media(machine));
    Ok(device)
}

/// As [`disks`].
pub fn disks_of(machine: &Machine) -> Vec<Device> {
    let media = boot_media(machine);
    let all = present(machine);
    let disk = |(name, device): (&String, &Device)| {
        let mut disk = Device {
            twins: twins(device, &all),
            ..device.clone()
        };
        ask(machine, name, &mut disk, &media);
        disk
    };
    all.iter().map(disk).collect()
}

/// Whether a name of sysfs stands for a disk that something could be installed on.
fn is_disk(machine: &Machine, name: &str) -> bool {
    let is_boot_area =
        || name.starts_with("mmcblk") && (name.contains("boot") || name.ends_with("rpmb"));
    let of_kind = |kind: &&str| {
        name.strip_prefix(*kind)
            .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphabetic()))
    };
    !NO_DISKS.iter().any(of_kind) && !is_boot_area() && machine.number(name, "hidden") != Some(1)
}

/// The disks with a medium in them, by the kernel's names.
fn present(machine: &Machine) -> BTreeMap<String, Device> {
    let names = machine
        .disks()
        .into_iter()
        .filter(|name| is_disk(machine, name));
    names
        .map(|name| (name.clone(), describe(machine, &name)))
        .filter(|(_, device)| device.size > 0)
        .collect()
}

/// What sysfs alone says.
fn describe(machine: &Machine, name: &str) -> Device {
    let text = |attribute| machine.text(name, attribute);
    let flag = |attribute| machine.number(name, attribute).map(|value| value != 0);
    let small = |attribute| {
        machine
            .number(name, attribute)
            .and_then(|value| u32::try_from(value).ok())
            .unwrap_or(0)
    };
    let place = machine.place(name).unwrap_or_default();
    let is_nvme = nvme_namespace(name);
    Device {
        path: Machine::node(name),
        file: false,
        // Always in units of 512 bytes, whatever the sector size.
        size: machine
            .number(name, "size")
            .unwrap_or(0)
            .saturating_mul(512),
        sector_size: small("queue/logical_block_size"),
        physical_sector_size: small("queue/physical_block_size"),
        transport: transport(machine, name, &place),
        model: if name.starts_with("mmcblk") {
            text("device/name")
        } else {
            text("device/model")
        },
        serial: serial(machine, name),
        wwid: text("wwid").or_else(|| text("device/wwid")),
        firmware: text("device/firmware_rev")
            .or_else(|| text("device/rev"))
            .or_else(|| text("device/fwrev")),
        rotational: flag("queue/rotational"),
        removable: flag("removable").unwrap_or(false),
        read_only: flag("ro").unwrap_or(false),
        // With multipath in the kernel, an NVMe drive's namespaces hang on a virtual subsystem.
        is_virtual: place.starts_with("/devices/virtual/") && !is_nvme,
        zoned: text("queue/zoned").is_some_and(|zones| zones != "none"),
        diskseq: machine.number(name, "diskseq"),
        ..Device::default()
    }
}

fn transport(machine: &Machine, name: &str, place: &str) -> Option<Transport> {
    let passes = |kind: &str| {
        place
            .split('/')
            .any(|part| part.strip_prefix(kind).is_some_and(starts_with_digit))
    };
    if nvme_namespace(name) {
        // Over TCP, RDMA or Fibre Channel it is no drive in this machine.
        return machine
            .text(name, "device/transport")
            .is_none_or(|by| by == "pcie")
            .then_some(Transport::Nvme);
    }
    // A SATA drive behind a USB bridge is a USB disk.
    if passes("usb") {
        return Some(Transport::Usb);
    }
    if name.starts_with("mmcblk") {
        return Some(Transport::Mmc);
    }
    if passes("virtio") {
        return Some(Transport::Virtio);
    }
    let is_ata = machine.text(name, "device/vendor").as_deref() == Some("ATA");
    if passes("ata") || (is_ata && passes("end_device-")) {
        return Some(Transport::Sata);
    }
    passes("end_device-").then_some(Transport::Sas)
}

/// From the drive (VPD page 0x80, SPC-5 7.7.19) rather than from the USB bridge in front of it.
fn serial(machine: &Machine, name: &str) -> Option<String> {
    let page = machine.bytes(name, "device/vpd_pg80").and_then(|page| {
        let length = usize::from(u16::from_be_bytes([*page.get(2)?, *page.get(3)?]));
        let text = printable(page.get(4..)?.get(..length)?);
        Some(text).filter(|text| !text.is_empty())
    });
    page.or_else(|| machine.text(name, "device/serial"))
        .or_else(|| machine.text(name, "serial"))
        .or_else(|| machine.above(name, "idVendor", "serial"))
}

/// What costs a question to the drive, or to the whole machine.
fn ask(machine: &Machine, name: &str, device: &mut Device, media: &BTreeMap<String, String>) {
    device.boot_medium = media.get(name).cloned();
    let drive = || {
        File::options()
            .read(true)
            .custom_flags(block::NONBLOCKING)
            .open(&device.path)
            .ok()
    };
    let Some(drive) = machine.is_live().then(drive).flatten() else {
        return;
    };
    // `EOPNOTSUPP` without OPAL, `ENOTTY` from drivers that never have it, `EACCES` without the right to ask.
    device.opal = opal::status(&drive).ok().map(lock);
    if nvme_namespace(name) {
        ask_drive(&drive, device);
    }
}

fn ask_drive(drive: &File, device: &mut Device) {
    device.health = nvme::smart(drive).ok().map(health);
    if device.serial.is_some() && device.model.is_some() {
        return;
    }
    if let Ok(controller) = nvme::controller(drive) {
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        device.serial = device.serial.take().or_else(|| some(controller.serial));
        device.model = device.model.take().or_else(|| some(controller.model));
        device.firmware = device.firmware.take().or_else(|| some(controller.firmware));
    }
}

fn lock(status: opal::Status) -> Opal {
    Opal {
        locking: status.locking,
        locked: status.locked,
        shadowed: status.shadowed,
    }
}

fn health(log: nvme::Smart) -> Health {
    Health {
        critical_warning: log.critical_warning,
        temperature: log.temperature,
        spare: log.spare,
        spare_threshold: log.spare_threshold,
        used: log.used,
        written: log.written,
        power_on_hours: log.power_on_hours,
        unsafe_shutdowns: log.unsafe_shutdowns,
        media_errors: log.media_errors,
    }
}

/// Device nodes of other disks that claim to be this one.
fn twins(device: &Device, all: &BTreeMap<String, Device>) -> Vec<String> {
    let same = |one: &Option<String>, other: &Option<String>| one.is_some() && one == other;
    let is_twin = |other: &&Device| {
        // The namespaces of one NVMe drive have its serial number, and world-wide identifiers of their own.
        let apart = other.wwid.is_some() && device.wwid.is_some() && other.wwid != device.wwid;
        let namespace = apart && other.transport == Some(Transport::Nvme);
        other.path != device.path
            && (same(&other.wwid, &device.wwid)
                || same(&other.serial, &device.serial) && !namespace)
    };
    all.values()
        .filter(is_twin)
        .map(|other| other.path.clone())
        .collect()
}

/// The kernel's names of the disks that the running system came from, and why that is believed.
fn boot_media(machine: &Machine) -> BTreeMap<String, String> {
    let mut media: BTreeMap<String, String> = BTreeMap::new();
    for mount in machine
        .mounts()
        .iter()
        .filter(|mount| BOOT_MOUNTS.contains(&mount.at.as_str()))
    {
        for name in machine.devices(mount) {
            for disk in machine.disks_below(&name) {
                let reason = format!("{} is on {}", mount.at, Machine::node(&name));
                media.entry(disk).or_insert(reason);
            }
        }
    }
    let Some(wanted) = machine
        .efi_variable(LOADER_PARTITION)
        .map(|value| efi_text(&value))
    else {
        return media;
    };
    for disk in machine
        .disks()
        .into_iter()
        .filter(|name| is_disk(machine, name))
    {
        if has_partition(machine, &disk, &wanted) {
            let reason = format!("the boot loader was started from its partition {wanted}");
            media.entry(disk).or_insert(reason);
        }
    }
    media
}

/// Whether a disk has a partition of this GUID; kernels and systems that do not say so are helped by reading the table.
fn has_partition(machine: &Machine, disk: &str, guid: &str) -> bool {
    let told: Vec<_> = machine
        .partitions(disk)
        .iter()
        .map(|name| machine.partition_guid(name))
        .collect();
    if !told.is_empty() && told.iter().all(Option::is_some) {
        return told.iter().flatten().any(|told| told == guid);
    }
    let known = told.iter().flatten().any(|told| told == guid);
    known || (machine.is_live() && table_has(&Machine::node(disk), guid).unwrap_or(false))
}

fn table_has(node: &str, guid: &str) -> Option<bool> {
    let disk = Reader::open(Path::new(node)).ok()?;
    let found = gpt::read(
        |offset, buffer| disk.read_at(offset, buffer),
        disk.size(),
        disk.sector_size(),
    )
    .ok()?;
    Some(
        found
            .table
            .partitions
            .iter()
            .any(|partition| partition.guid.to_string().to_lowercase() == guid),
    )
}

/// UTF-16, little-endian, up to a NUL.
fn efi_text(value: &[u8]) -> String {
    let units = value
        .chunks_exact(2)
        .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
        .take_while(|&unit| unit != 0);
    char::decode_utf16(units)
        .map(|unit| unit.unwrap_or('\u{fffd}'))
        .collect::<String>()
        .to_lowercase()
}

fn file(path: &Path, size: u64) -> Result<Device, Error> {
    // One name for one file, whichever way it was asked for: confirmations are bound to it.
    let path = &fs::canonicalize(path).map_err(|error| Error::open(path, error))?;
    // Opening asks every obstacle at once: permission, mount, attribute. Nothing is written.
    let read_only = File::options().write(true).open(path).is_err();
    Ok(Device {
        path: path.to_string_lossy().into_owned(),
        file: true,
        size,
        read_only,
        ..Device::default()
    })
}

/// `nvme0n1`, not `nvme0c0n1` and not `nvme0n1p1`.
fn nvme_namespace(name: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.strip_prefix("nvme")
        .and_then(|rest| rest.split_once('n'))
        .is_some_and(|(drive, space)| number(drive) && number(space))
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit())
}
