//! A disk in a file, made by tools.
#![expect(
    clippy::disallowed_methods,
    reason = "tests run programs and write files"
)]

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use prejoin_disk::device::ReadAt;
use prejoin_disk::probe::probe;
use prejoin_wire::disk::Content;

pub(crate) const MIB: u64 = 1 << 20;

/// A sparse file of zeroes that is a disk.
pub(crate) struct Disk(pub(crate) tempfile::NamedTempFile);

impl Disk {
    pub(crate) fn new(size: u64) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(size).unwrap();
        Disk(file)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    pub(crate) fn file(&self) -> &File {
        self.0.as_file()
    }

    pub(crate) fn size(&self) -> u64 {
        self.file().metadata().unwrap().len()
    }

    pub(crate) fn resize(&self, size: u64) {
        self.file().set_len(size).unwrap();
    }

    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) {
        self.file().write_all_at(bytes, offset).unwrap();
    }

    pub(crate) fn bytes(&self, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.file().read_exact_at(&mut bytes, offset).unwrap();
        bytes
    }

    /// Runs a tool on it; `DISK` stands for its path.
    pub(crate) fn run(&self, tool: &str, args: &[&str]) -> String {
        let args: Vec<&str> = args
            .iter()
            .map(|&arg| if arg == "DISK" { self.path() } else { arg })
            .collect();
        run(tool, &args, "")
    }

    pub(crate) fn probe(&self) -> Content {
        self.probe_as(512)
    }

    pub(crate) fn probe_as(&self, sector_size: u32) -> Content {
        let content = probe(&Bytes(self.file()), self.size(), sector_size);
        // Every document that leaves the program comes back as it was.
        let json = serde_json::to_string(&content).unwrap();
        assert_eq!(serde_json::from_str::<Content>(&json).unwrap(), content);
        content
    }
}

pub(crate) struct Bytes<'a>(pub(crate) &'a File);

impl ReadAt for Bytes<'_> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
}

/// Whether every tool is there. On CI a missing one is a failure; elsewhere it is said loudly.
pub(crate) fn have(tools: &[&str]) -> bool {
    let missing: Vec<_> = tools
        .iter()
        .filter(|tool| command(tool).arg("--version").output().is_err())
        .collect();
    if !missing.is_empty() {
        assert!(
            std::env::var_os("CI").is_none(),
            "{missing:?} not found, and CI must run everything"
        );
        let _ = writeln!(io::stderr(), "\n*** SKIPPED: {missing:?} not found ***\n");
    }
    missing.is_empty()
}

/// Runs a tool that must succeed; returns what it printed.
pub(crate) fn run(tool: &str, args: &[&str], input: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), input).unwrap();
    let output = command(tool)
        .args(args)
        .stdin(File::open(file.path()).unwrap())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{tool} {args:?} said:\n{text}");
    text
}

/// Writes files below a folder: path and text, a directory if the path ends in a slash.
pub(crate) fn plant(folder: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let place = folder.join(path);
        if path.ends_with('/') {
            std::fs::create_dir_all(place).unwrap();
        } else if let Some(target) = text.strip_prefix("-> ") {
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(target, place).unwrap();
        } else {
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::write(place, text).unwrap();
        }
    }
}

fn command(tool: &str) -> Command {
    let mut command = Command::new(tool);
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC");
    command
}
