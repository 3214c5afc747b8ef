//! Booting an image in QEMU, as a user would see it: serial console, no rights, no hardware virtualisation needed.
#![expect(
    clippy::disallowed_methods,
    reason = "looks for QEMU, runs it, and prepares its files"
)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use prejoin_wire::architecture::Architecture;

/// What a machine needs to run an image.
pub(crate) struct Qemu {
    program: &'static str,
    firmware: &'static Firmware,
    architecture: Architecture,
}

/// UEFI firmware as Debian and others package it.
struct Firmware {
    architecture: Architecture,
    code: &'static str,
    variables: &'static str,
}

const FIRMWARE: &[Firmware] = &[
    Firmware {
        architecture: Architecture::Amd64,
        code: "/usr/share/OVMF/OVMF_CODE_4M.fd",
        variables: "/usr/share/OVMF/OVMF_VARS_4M.fd",
    },
    Firmware {
        architecture: Architecture::Arm64,
        code: "/usr/share/AAVMF/AAVMF_CODE.fd",
        variables: "/usr/share/AAVMF/AAVMF_VARS.fd",
    },
];

impl Qemu {
    /// QEMU and firmware for an architecture, or what is missing.
    pub(crate) fn find(architecture: Architecture) -> Result<Self, String> {
        let program = match architecture {
            Architecture::Amd64 => "qemu-system-x86_64",
            Architecture::Arm64 => "qemu-system-aarch64",
        };
        let installed = Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !installed.is_ok_and(|status| status.success()) {
            return Err(format!(
                "{program} is not installed (Debian: qemu-system-x86, qemu-system-arm)"
            ));
        }
        let firmware = FIRMWARE
            .iter()
            .find(|f| f.architecture == architecture && Path::new(f.code).exists());
        let firmware =
            firmware.ok_or("UEFI firmware is not installed (Debian: ovmf, qemu-efi-aarch64)")?;
        Ok(Qemu {
            program,
            firmware,
            architecture,
        })
    }

    /// Starts a machine with `disk` (raw, changed by the machine); its firmware variables are kept beside the disk.
    pub(crate) fn start(&self, disk: &Path, mac: &str) -> std::io::Result<Machine> {
        let variables = disk.with_extension("vars");
        fs::copy(self.firmware.variables, &variables)?;
        let (machine, cpu) = match self.architecture {
            Architecture::Amd64 => ("q35", "max"),
            // `max` would emulate pointer authentication, which costs more than everything else.
            Architecture::Arm64 => ("virt,gic-version=3", "cortex-a72"),
        };
        let mut command = Command::new(self.program);
        command
            .args([
                "-M",
                machine,
                "-cpu",
                cpu,
                "-accel",
                "tcg,thread=multi",
                "-smp",
                "2",
                "-m",
                "2048",
            ])
            .args([
                "-display",
                "none",
                "-no-reboot",
                "-serial",
                "stdio",
                "-monitor",
                "none",
            ])
            .arg("-drive")
            .arg(format!(
                "if=pflash,format=raw,readonly=on,file={}",
                self.firmware.code
            ))
            .arg("-drive")
            .arg(format!("if=pflash,format=raw,file={}", variables.display()))
            .arg("-drive")
            .arg(format!(
                "file={},format=raw,if=none,id=disk,cache=unsafe",
                disk.display()
            ))
            .args([
                "-device",
                "virtio-blk-pci,drive=disk,bootindex=1",
                "-device",
                "virtio-rng-pci",
            ])
            .args(["-netdev", "user,id=net", "-device"])
            .arg(format!("virtio-net-pci,netdev=net,mac={mac}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        Ok(Machine {
            child: command.spawn()?,
            started: Instant::now(),
        })
    }
}

/// A running machine; it is stopped when dropped.
pub(crate) struct Machine {
    child: Child,
    started: Instant,
}

impl Machine {
    /// Hands every line of the console to `see`, until it returns a value, the machine stops, or `limit` has passed.
    /// The console is also kept in `log`.
    pub(crate) fn watch<T>(
        &mut self,
        log: &Path,
        limit: Duration,
        mut see: impl FnMut(&str, Duration) -> Option<T>,
    ) -> std::io::Result<Option<T>> {
        let console = self
            .child
            .stdout
            .take()
            .ok_or(std::io::ErrorKind::BrokenPipe)?;
        let mut file = File::create(log)?;
        let (send, receive) = mpsc::channel();
        std::thread::spawn(move || {
            let mut console = BufReader::new(console);
            let mut line = Vec::new();
            while console
                .read_until(b'\n', &mut line)
                .is_ok_and(|count| count > 0)
            {
                if send.send(std::mem::take(&mut line)).is_err() {
                    break;
                }
            }
        });
        loop {
            let Some(left) = limit.checked_sub(self.started.elapsed()) else {
                return Ok(None);
            };
            let Ok(line) = receive.recv_timeout(left) else {
                return Ok(None);
            };
            std::io::Write::write_all(&mut file, &line)?;
            let text = String::from_utf8_lossy(&line);
            if let Some(value) = see(text.trim_end(), self.started.elapsed()) {
                return Ok(Some(value));
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Best effort: a machine that has stopped already needs nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes a disk file as large as a small real disk; the image is at its start.
pub(crate) fn enlarge(disk: &PathBuf, bytes: u64) -> std::io::Result<()> {
    File::options().write(true).open(disk)?.set_len(bytes)
}
