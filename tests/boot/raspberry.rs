//! The Raspberry Pi 4 image on QEMU's `raspi4b`, as far as that model goes.
//!
//! What the model lacks (QEMU 10.0), and what is done about it here. Nothing of this is in the image:
//! * The boot loader: QEMU loads kernel, initramfs and device tree itself. They are taken from the boot partition, and
//!   the command line is its `cmdline.txt`.
//! * HDMI's interrupt controllers and I²C (`brcmstb_l2`, `brcmstb_i2c`): nothing answers at their addresses, and the
//!   drivers, which are built in, die of it.
//! * Clocks that the kernel would switch off when unused are not there to be asked.
//! * The firmware's GPIO expander does not answer (`RPI_FWREQ_GET_GPIO_CONFIG`), so the SD card has no regulators.
//!   QEMU puts the card behind the older of the two controllers, on a real board that of the wireless chip; the newer
//!   one is switched off, since a card would be looked for in vain.
//! * The mini UART, the console of a real board, hangs the kernel once a program opens it (a stall in `__setup_irq`).
//!   The first UART, a real board's Bluetooth, shows the kernel log instead.
//! * Ethernet, PCIe and USB: the node has no network, and nobody can log in.
//!
//! So the kernel, the modules, the agent, the disk, dm-verity and systemd are what is judged here.

use std::fs;
use std::path::Path;

use crate::cluster::lab;
use crate::qemu::{self, Machine};
use crate::tools::{absent, checked, folder, golden, line, say, tool};

const TREE: &str = "bcm2711-rpi-4-b.dtb";
const LACKS: &str =
    "initcall_blacklist=brcmstb_l2_driver_init,brcmstb_i2c_driver_init clk_ignore_unused";

#[test]
fn raspberry_pi_4_starts_from_its_card() {
    if qemu::absent() || absent(&["fdtput", "mcopy"]) {
        return;
    }
    let Some(lab) = lab() else { return };
    qemu::fresh("pi4");
    // SD cards have a power of two of bytes.
    let disk = lab.disk("pi4", "pi4", 16 << 30);
    let files = folder("pi4");
    for name in ["kernel8.img", "initramfs.img", TREE] {
        fs::write(files.join(name), lab.read("pi4", "boot", name)).unwrap();
    }
    adapt(&files.join(TREE));
    let command_line = String::from_utf8(lab.read("pi4", "boot", "cmdline.txt")).unwrap();
    assert!(
        command_line.contains("console=ttyS1,115200"),
        "{command_line}"
    );
    let command_line = command_line.trim().replace("ttyS1", "ttyAMA0");

    let mut qemu = tool("qemu-system-aarch64");
    qemu.args([
        "-M",
        "raspi4b",
        "-m",
        "2G",
        "-append",
        &format!("{command_line} {LACKS}"),
    ]);
    for (option, name) in [
        ("-kernel", "kernel8.img"),
        ("-initrd", "initramfs.img"),
        ("-dtb", TREE),
    ] {
        qemu.arg(option).arg(files.join(name));
    }
    qemu.args([
        "-drive",
        &format!("file={},format=raw,if=sd,cache=unsafe", disk.display()),
    ]);
    say("pi4: start on QEMU's model of the board");
    let mut machine = Machine::start(qemu, &disk, 0, &["file:{}"]);
    let seen = machine.wait_for(&[
        "systemd[1]: Hostname set to <pi4>",
        "This node did not boot",
        "Kernel panic",
    ]);
    let modules = seen
        .lines()
        .find_map(|line| line.strip_suffix(" modules loaded"))
        .unwrap();
    let [all, _, loaded, ..] = *modules.rsplitn(4, ' ').collect::<Vec<_>>() else {
        panic!("{modules}")
    };
    assert_eq!(
        loaded, all,
        "a module of the board is not for its kernel: {seen}"
    );
    golden("boot/golden/pi4.txt", &redacted(&seen));
}

/// Takes out of a device tree what the model cannot do.
fn adapt(tree: &Path) {
    let (old, new) = ("/soc/mmc@7e300000", "/emmc2bus/mmc@7e340000");
    checked(line("fdtput -t s {}", &[tree]).args([new, "status", "disabled"]));
    checked(line("fdtput -d {}", &[tree]).args([old, "mmc-pwrseq", "non-removable"]));
    checked(line("fdtput -r {}", &[tree]).arg(format!("{old}/wifi@1")));
}

/// What agent and systemd said, without numbers that depend on the time or the build.
fn redacted(seen: &str) -> String {
    let mut text = String::new();
    for line in seen.lines() {
        let Some((_, said)) = line.split_once("] ") else {
            continue;
        };
        if !said.starts_with("prejoin: ") && !said.starts_with("systemd[1]: Hostname set") {
            continue;
        }
        let said = said.split_once(" (mounts ").map_or(said, |(said, _)| said);
        for word in said.split(' ') {
            let number = word
                .trim_end_matches(',')
                .bytes()
                .all(|b| b.is_ascii_digit());
            let guid = word.len() == 36 && word.matches('-').count() == 4;
            text.push_str(match (number, guid) {
                (true, _) => "[N]",
                (_, true) => "[GUID]",
                _ => word,
            });
            text.push(' ');
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}
