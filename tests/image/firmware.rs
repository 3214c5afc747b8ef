//! Boot and identity partitions: every file that the machine's firmware asks for, and no other.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use prejoin_wire::manifest::Manifest;

use crate::cluster::{Lab, NODES, lab, repository};
use crate::tools::{absent, checked, folder, golden, line, tried};

/// Magic of a flattened device tree (Devicetree Specification 0.4, section 5.2).
const DEVICE_TREE: [u8; 4] = [0xd0, 0x0d, 0xfe, 0xed];
/// Magic of an ARM64 kernel image, at byte 56 (Documentation/arch/arm64/booting.rst).
const ARM64: &[u8] = b"ARM\x64";

#[test]
fn boot_and_identity_partitions_have_these_files() {
    let Some(lab) = lab() else { return };
    if absent(&["mdir", "mcopy"]) {
        return;
    }
    let mut text = String::new();
    for node in NODES {
        let manifest = lab.manifest(node);
        for partition in ["boot", "identity"] {
            text.push_str(&format!("== {node}: {partition}\n"));
            for file in lab.files(node, partition) {
                text.push_str(&file);
                text.push('\n');
                if [".txt", ".conf"].iter().any(|end| file.ends_with(end)) {
                    let content = String::from_utf8(lab.read(node, partition, &file)).unwrap();
                    content.lines().for_each(|line| {
                        text.push_str(&format!("    {}\n", redacted(line, &manifest)))
                    });
                }
            }
        }
    }
    golden("image/golden/files.txt", &text);
}

#[test]
fn a_raspberry_pi_finds_what_its_firmware_reads() {
    let Some(lab) = lab() else { return };
    if absent(&["mdir", "mcopy", "fdtget"]) {
        return;
    }
    for (node, trees) in [
        ("pi4", &["bcm2711-rpi-4-b.dtb"][..]),
        // By the strings in its EEPROM images: no firmware asks for a tree of the later stepping's.
        ("pi5", &["bcm2712-rpi-5-b.dtb", "overlays/bcm2712d0.dtbo"]),
    ] {
        let files: BTreeSet<String> = lab.files(node, "boot").into_iter().collect();
        let read = |name: &str| lab.read(node, "boot", name);
        let config = String::from_utf8(read("config.txt")).unwrap();
        for line in config.lines() {
            let named = line.strip_prefix("kernel=").or(line
                .strip_prefix("initramfs ")
                .and_then(|l| l.split(' ').next()));
            if let Some(named) = named {
                assert!(files.contains(named), "{node}: config.txt names {named}");
            }
        }
        assert_eq!(&read("kernel8.img")[56..60], ARM64, "{node}: kernel8.img");
        assert_eq!(
            &read("initramfs.img")[..4],
            [0x28, 0xb5, 0x2f, 0xfd],
            "{node}: a zstd frame"
        );
        let arguments = String::from_utf8(read("cmdline.txt")).unwrap();
        assert!(
            arguments.ends_with('\n') && arguments.lines().count() == 1,
            "one line is read: {arguments:?}"
        );
        for name in files.iter().filter(|name| name.ends_with(".dtb")) {
            let tree = read(name);
            assert_eq!(tree[..4], DEVICE_TREE, "{name}");
            let length = u32::from_be_bytes(tree[4..8].try_into().unwrap());
            assert_eq!(length as usize, tree.len(), "{name}: its own length");
            let path = folder("partitions").join(format!("{node}-boot-{name}"));
            let compatible = checked(&mut line("fdtget -t s {} / compatible", &[&path]));
            let chip = if node == "pi4" {
                "brcm,bcm2711"
            } else {
                "brcm,bcm2712"
            };
            assert!(compatible.contains(chip), "{name}: {compatible}");
            assert!(
                !String::from_utf8_lossy(&tree).contains("cgroup_disable=memory"),
                "{name}"
            );
        }
        for tree in trees {
            assert!(
                files.contains(*tree),
                "{node}: the firmware asks for {tree}"
            );
        }
    }
    // The Pi 4 reads the second stage of its boot loader from the partition, the Pi 5 from its EEPROM.
    let [start, fixup] = ["start4.elf", "fixup4.dat"].map(|name| lab.read("pi4", "boot", name));
    assert_eq!(&start[..4], b"\x7fELF");
    assert!(
        start.len() > 1 << 20 && fixup.len() > 1 << 10,
        "{} {}",
        start.len(),
        fixup.len()
    );
}

/// A Pi 5 with the later stepping of its chip (D0) lays an overlay over the earlier one's device tree.
#[test]
fn the_later_pi_5_gets_its_own_device_tree() {
    let Some(lab) = lab() else { return };
    if absent(&["mdir", "mcopy", "dtc", "fdtoverlay"]) {
        return;
    }
    let names = [
        "bcm2712-rpi-5-b.dtb",
        "bcm2712-d-rpi-5-b.dtb",
        "overlays/bcm2712d0.dtbo",
    ];
    let [earlier, later, overlay] = names.map(|name| {
        lab.read("pi5", "boot", name);
        folder("partitions").join(format!("pi5-boot-{}", name.replace('/', "-")))
    });
    let made = folder("partitions").join("pi5-made.dtb");
    checked(&mut line(
        "fdtoverlay -i {} -o {} {}",
        &[&earlier, &made, &overlay],
    ));
    // Both trees number their nodes alike; were it not so, the numbers would differ here, too.
    let [earlier, later, made] = [earlier, later, made]
        .map(|tree| checked(&mut line("dtc -q -s -I dtb -O dts {}", &[&tree])));
    assert_eq!(made, later);
    assert_ne!(earlier, later);
    for pins in ["brcm,bcm2712d0-pinctrl", "brcm,bcm2712d0-aon-pinctrl"] {
        assert!(made.contains(pins) && !earlier.contains(pins), "{pins}");
    }
}

#[test]
fn unified_kernel_images_are_whole() {
    let Some(lab) = lab() else { return };
    if absent(&["mdir", "mcopy", "python3", "file"]) {
        return;
    }
    let mut text = String::new();
    for (node, boot) in [
        ("pc", "EFI/BOOT/BOOTX64.EFI"),
        ("server", "EFI/BOOT/BOOTAA64.EFI"),
    ] {
        let Some((said, sections)) = unified_kernel(lab, node) else {
            return;
        };
        let manifest = lab.manifest(node);
        text.push_str(&format!("== {node}\n{said}"));
        let content =
            |name: &str| String::from_utf8(fs::read(sections.join(name)).unwrap()).unwrap();
        text.push_str(&format!(
            "    {}\n",
            redacted(content(".cmdline").trim_end_matches('\0'), &manifest)
        ));
        assert!(
            content(".osrel").contains("ID=debian\n"),
            "{}",
            content(".osrel")
        );
        let kernel = fs::read(sections.join(".linux")).unwrap();
        assert_eq!(&kernel[..2], b"MZ", "UEFI starts the kernel by itself");
        // The kernel knows its own release; on ARM64 the text is in the compressed part.
        let (_, release) = tried(&mut line("file -b {}", &[&sections.join(".linux")]));
        let uname = content(".uname");
        assert!(
            node != "pc" || release.contains(uname.trim_end_matches('\0')),
            "{uname}: {release}"
        );
        let loader = lab.read(node, "boot", boot);
        assert!(
            loader.windows(12).any(|window| window == b"systemd-boot"),
            "{boot}"
        );
        assert_eq!(&loader[..2], b"MZ", "{boot}");
    }
    golden("image/golden/unified-kernels.txt", &text);
}

/// What pefile says of a node's unified kernel image, and a folder with its sections.
pub fn unified_kernel(lab: &Lab, node: &str) -> Option<(String, PathBuf)> {
    if !tried(line("python3 -c", &[]).arg("import pefile")).0 {
        crate::tools::skipped("python3-pefile is not installed: tests/setup installs it");
        return None;
    }
    let image = folder("partitions").join(format!("{node}.efi"));
    fs::write(&image, lab.read(node, "boot", "EFI/Linux/prejoin-a.efi")).unwrap();
    let sections = folder(&format!("sections/{node}"));
    let script = repository("tests/image/pe.py");
    Some((
        checked(&mut line("python3 {} {} {}", &[&script, &image, &sections])),
        sections,
    ))
}

/// Without what is derived from the packages and the node's name.
fn redacted(line: &str, manifest: &Manifest) -> String {
    let mut line = line.replace(&manifest.root_hash.to_string(), "[ROOT HASH]");
    for partition in &manifest.partitions {
        let name = format!("[{}]", partition.name.to_uppercase());
        line = line.replace(&partition.guid.to_string(), &name);
    }
    line
}
