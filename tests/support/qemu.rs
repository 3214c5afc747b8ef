//! Machines: QEMU with an emulated processor, a serial console in a file, and a port that leads to the machine's sshd.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::tools::{folder, skipped, tool};

/// Longest that anything in an emulated machine may take on a busy host. Never a statement about speed.
pub const PATIENCE: Duration = Duration::from_secs(1500);

/// UEFI firmware as Debian packages it: code and variables.
const OVMF: [&str; 2] = [
    "/usr/share/OVMF/OVMF_CODE_4M.fd",
    "/usr/share/OVMF/OVMF_VARS_4M.fd",
];
const AAVMF: [&str; 2] = [
    "/usr/share/AAVMF/AAVMF_CODE.fd",
    "/usr/share/AAVMF/AAVMF_VARS.fd",
];

/// A running machine; it is switched off when dropped.
pub struct Machine {
    child: Child,
    /// Everything its serial console showed.
    pub console: PathBuf,
    /// Port of this machine that leads to its sshd, where it has a network.
    pub port: u16,
}

/// Whether the emulators and their firmware are missing, said loudly.
pub fn absent() -> bool {
    let programs = crate::tools::absent(&[
        "qemu-system-x86_64",
        "qemu-system-aarch64",
        "ssh",
        "ssh-keygen",
    ]);
    let missing: Vec<_> = OVMF
        .into_iter()
        .chain(AAVMF)
        .filter(|path| !Path::new(path).exists())
        .collect();
    missing
        .iter()
        .for_each(|path| skipped(&format!("{path} is missing: tests/setup installs it")));
    programs || !missing.is_empty()
}

impl Machine {
    /// A PC with UEFI that starts from `disk`; `more` are further arguments of QEMU.
    pub fn pc(disk: &Path, address: &str, mac: &str, more: &[String]) -> Machine {
        let mut command = tool("qemu-system-x86_64");
        command.args(["-M", "q35", "-cpu", "max"]);
        Machine::uefi(command, OVMF, disk, address, mac, more)
    }

    /// An ARM server with UEFI that starts from `disk`; `more` are further arguments of QEMU.
    pub fn server(disk: &Path, address: &str, mac: &str, more: &[String]) -> Machine {
        let mut command = tool("qemu-system-aarch64");
        // `max` would emulate pointer authentication, which costs more than everything else.
        command.args(["-M", "virt,gic-version=3", "-cpu", "cortex-a72"]);
        Machine::uefi(command, AAVMF, disk, address, mac, more)
    }

    fn uefi(
        mut command: Command,
        [code, blank]: [&str; 2],
        disk: &Path,
        address: &str,
        mac: &str,
        more: &[String],
    ) -> Machine {
        let variables = disk.with_extension("vars");
        // Kept from one start to the next, as a machine does.
        if !variables.exists() {
            fs::copy(blank, &variables).unwrap();
        }
        let port = free_port();
        command
            .args([
                "-accel",
                "tcg,thread=multi",
                "-smp",
                "2",
                "-m",
                "2048",
                "-device",
                "virtio-rng-pci",
            ])
            .args([
                "-drive",
                &format!("if=pflash,format=raw,readonly=on,file={code}"),
            ])
            .args([
                "-drive",
                &format!("if=pflash,format=raw,file={}", variables.display()),
            ])
            .args([
                "-drive",
                &format!(
                    "file={},format=raw,if=none,id=disk,cache=unsafe",
                    disk.display()
                ),
            ])
            .args(["-device", "virtio-blk-pci,drive=disk,bootindex=1"])
            .args([
                "-netdev",
                &format!("user,id=net,hostfwd=tcp:127.0.0.1:{port}-{address}:22"),
            ])
            .args(["-device", &format!("virtio-net-pci,netdev=net,mac={mac}")])
            .args(more);
        Machine::start(command, disk, port, &["file:{}"])
    }

    /// Starts a machine whose serial ports are `serial`; `{}` is the file of its console.
    pub fn start(mut command: Command, disk: &Path, port: u16, serial: &[&str]) -> Machine {
        let name = disk.file_stem().unwrap().to_str().unwrap();
        let at = |end: &str| folder("consoles").join(format!("{name}{end}"));
        // One file a start; the next number is free.
        let console = (1..)
            .map(|n| at(&format!("-{n}.txt")))
            .find(|path| !path.exists())
            .unwrap();
        fs::write(&console, "").unwrap();
        for port in serial {
            command.args([
                "-serial",
                &port.replace("{}", &console.display().to_string()),
            ]);
        }
        let errors = fs::File::create(at(".qemu")).unwrap();
        command.args(["-display", "none", "-monitor", "none", "-no-reboot"]);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .unwrap();
        Machine {
            child,
            console,
            port,
        }
    }

    /// What the console showed so far, without control sequences.
    pub fn seen(&self) -> String {
        plain(&fs::read(&self.console).unwrap())
    }

    /// Waits until the console shows one of `wanted`; returns all it showed.
    pub fn wait_for(&mut self, wanted: &[&str]) -> String {
        let started = Instant::now();
        loop {
            let seen = self.seen();
            if wanted.iter().any(|wanted| seen.contains(wanted)) {
                return seen;
            }
            self.alive();
            assert!(
                started.elapsed() < PATIENCE,
                "none of {wanted:?} on the console:\n{}",
                tail(&seen)
            );
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Fails with the console's last lines if the machine has stopped.
    pub fn alive(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("the machine stopped ({status}):\n{}", tail(&self.seen()));
        }
    }

    /// Waits until the machine has switched itself off.
    pub fn wait_off(mut self) {
        let started = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(
                started.elapsed() < PATIENCE,
                "it does not switch itself off:\n{}",
                tail(&self.seen())
            );
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // One that has stopped by itself needs nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Forgets consoles and firmware variables of earlier runs.
pub fn fresh(name: &str) {
    for (at, start) in [
        ("consoles", format!("{name}-")),
        ("disks", format!("{name}.vars")),
    ] {
        for entry in fs::read_dir(folder(at)).unwrap() {
            let path = entry.unwrap().path();
            if path
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with(&start)
            {
                fs::remove_file(path).unwrap();
            }
        }
    }
}

/// The last lines of a console.
pub fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// Text without control sequences and carriage returns.
fn plain(bytes: &[u8]) -> String {
    let mut text = String::new();
    let shown = String::from_utf8_lossy(bytes);
    let mut characters = shown.chars();
    while let Some(character) = characters.next() {
        match character {
            // A control sequence ends with a letter (ECMA-48, section 5.4).
            '\x1b' => {
                characters.by_ref().find(char::is_ascii_alphabetic);
            }
            '\n' => text.push('\n'),
            character if character.is_control() => {}
            character => text.push(character),
        }
    }
    text
}

/// A port of this machine that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
