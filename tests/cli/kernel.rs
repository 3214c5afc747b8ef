//! What starts a machine, as far as an image builder looks into it: a kernel with modules, and systemd's boot stub.

use crate::archive::Package;

/// Modules that boards want early; the tiny kernel has them built in.
const BUILT_IN: &[&str] = &[
    "drivers/md/dm-verity",
    "drivers/block/loop",
    "fs/ext4/ext4",
    "fs/fat/vfat",
    "fs/nls/nls_ascii",
    "fs/nls/nls_cp437",
    "fs/overlayfs/overlay",
    "drivers/nvme/host/nvme",
    "drivers/scsi/sd_mod",
    "drivers/usb/storage/usb-storage",
    "drivers/usb/storage/uas",
    "drivers/mmc/core/mmc_block",
    "drivers/mmc/host/sdhci-iproc",
    "drivers/regulator/fixed",
    "drivers/regulator/gpio-regulator",
    "drivers/net/phy/broadcom",
    "drivers/hid/usbhid/usbhid",
    "drivers/hid/hid-generic",
    "drivers/virtio/virtio_pci",
    "drivers/virtio/virtio_mmio",
    "drivers/block/virtio_blk",
    "drivers/net/virtio_net",
    "drivers/mmc/host/sdhci-brcmstb",
    "drivers/net/ethernet/cadence/macb",
    "drivers/usb/dwc3/dwc3",
    "drivers/usb/host/xhci-plat-hcd",
    "drivers/usb/host/xhci-pci",
    "drivers/reset/reset-raspberrypi",
    "drivers/net/ethernet/broadcom/genet/genet",
];

/// A kernel package as Debian's: `boot/vmlinuz-*`, lists, two modules of which one needs the other.
pub fn package(
    name: &'static str,
    version: &'static str,
    release: &str,
    architecture: &'static str,
) -> Package {
    let folder = format!("usr/lib/modules/{release}");
    let built_in: String = BUILT_IN
        .iter()
        .map(|path| format!("kernel/{path}.ko\n"))
        .collect();
    // The first bytes of a kernel that UEFI starts by itself, and something behind them.
    let image = [b"MZ".as_slice(), name.as_bytes(), &noise(name, 400 << 10)].concat();
    Package {
        name,
        version,
        architecture,
        ..Package::default()
    }
    .with(&format!("boot/vmlinuz-{release}"), image)
    .with(&format!("boot/config-{release}"), "CONFIG_MODULES=y\n")
    .with(
        &format!("{folder}/modules.order"),
        "kernel/drivers/tiny/tiny-core.ko\nkernel/drivers/tiny/tiny-disk.ko\n",
    )
    .with(&format!("{folder}/modules.builtin"), built_in)
    .with(
        &format!("{folder}/modules.builtin.modinfo"),
        "ext4.license=GPL\0loop.alias=devname:loop-control\0",
    )
    .with(
        &format!("{folder}/kernel/drivers/tiny/tiny-core.ko"),
        module("license=GPL\0depends=\0"),
    )
    .with(
        &format!("{folder}/kernel/drivers/tiny/tiny-disk.ko"),
        module("license=GPL\0depends=tiny-core\0alias=pci:v00001AF4d00001001sv*sd*bc*sc*i*\0"),
    )
}

/// systemd-boot-efi of one architecture.
pub fn boot_loader(architecture: &'static str) -> Package {
    let short = if architecture == "amd64" {
        "x64"
    } else {
        "aa64"
    };
    Package {
        name: "systemd-boot-efi",
        version: "257.1-1",
        architecture,
        ..Package::default()
    }
    .with(
        &format!("usr/lib/systemd/boot/efi/linux{short}.efi.stub"),
        stub(architecture),
    )
    .with(
        &format!("usr/lib/systemd/boot/efi/systemd-boot{short}.efi"),
        stub(architecture),
    )
}

/// A relocatable ELF file with a `.modinfo` section (elf(5)).
fn module(modinfo: &str) -> Vec<u8> {
    let names = b"\0.modinfo\0.shstrtab\0";
    let mut file = vec![0; 64];
    file[..8].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0]);
    let data = file.len();
    file.extend(modinfo.as_bytes());
    let strings = file.len();
    file.extend(names);
    file.resize(file.len().next_multiple_of(8), 0);
    let table = file.len();
    // e_type ET_REL, e_machine EM_X86_64, e_version, e_shoff, e_ehsize, e_shentsize, e_shnum, e_shstrndx
    for (at, value) in [
        (16, 1),
        (18, 62),
        (20, 1),
        (40, table),
        (52, 64),
        (58, 64),
        (60, 3),
        (62, 2),
    ] {
        file[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes());
    }
    file.resize(table + 64, 0);
    for (name, kind, start, size) in [
        (1_u32, 1_u32, data, modinfo.len()),
        (10, 3, strings, names.len()),
    ] {
        let mut header = [0; 64];
        header[..4].copy_from_slice(&name.to_le_bytes());
        header[4..8].copy_from_slice(&kind.to_le_bytes());
        header[24..32].copy_from_slice(&(start as u64).to_le_bytes());
        header[32..40].copy_from_slice(&(size as u64).to_le_bytes());
        header[48] = 1;
        file.extend(header);
    }
    file
}

/// A PE32+ file of one section with room for more section headers, as systemd's stub has (Microsoft "PE Format").
fn stub(architecture: &str) -> Vec<u8> {
    const HEADERS: usize = 1024;
    let mut file = vec![0; HEADERS];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &[0x40]);
    put(0x40, b"PE\0\0");
    let machine: u16 = if architecture == "amd64" {
        0x8664
    } else {
        0xaa64
    };
    put(0x44, &machine.to_le_bytes());
    put(0x46, &[1]);
    put(0x54, &[240]);
    put(0x56, &0x0206_u16.to_le_bytes());
    let optional = 0x58;
    put(optional, &0x20b_u16.to_le_bytes());
    // SectionAlignment, FileAlignment, SizeOfImage, SizeOfHeaders, Subsystem (EFI application), NumberOfRvaAndSizes
    for (at, value) in [
        (32, 4096_u32),
        (36, 512),
        (56, 8192),
        (60, HEADERS as u32),
        (68, 10),
        (108, 16),
    ] {
        put(optional + at, &value.to_le_bytes());
    }
    let section = optional + 240;
    put(section, b".text");
    for (at, value) in [
        (8, 16_u32),
        (12, 4096),
        (16, 512),
        (20, HEADERS as u32),
        (36, 0x6000_0020),
    ] {
        put(section + at, &value.to_le_bytes());
    }
    file.resize(HEADERS + 512, 0xcc);
    file
}

/// Bytes that do not compress, always the same for a seed (xorshift).
pub fn noise(seed: &str, length: usize) -> Vec<u8> {
    let mut state = seed.bytes().fold(0x9e37_79b9_7f4a_7c15_u64, |state, byte| {
        state.rotate_left(7) ^ u64::from(byte)
    });
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
