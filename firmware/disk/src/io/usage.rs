//! Who uses a disk now: what would be pulled from under somebody's feet by writing to it.
#![expect(
    clippy::disallowed_methods,
    reason = "tries whether a device can be had alone"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use prejoin_sys::block;
use prejoin_wire::disk::{Device, Usage};

use super::machine::Machine;

/// Every user of a disk or image file, of its partitions, and of what is made of them; in order.
///
/// Part of the answer is an attempt to claim the disk, which fails while this process itself holds a
/// [`super::target::Target`] of it: ask before, or ask [`while_held`].
pub fn usage(device: &Device) -> Vec<Usage> {
    let mut users = usage_of(&Machine::here(), device);
    users.extend(claim(device));
    users.sort();
    users
}

/// As [`usage`], of a disk that this process has claimed already.
pub fn while_held(device: &Device) -> Vec<Usage> {
    usage_of(&Machine::here(), device)
}

/// As [`while_held`], of a machine that may be a recorded one.
pub fn usage_of(machine: &Machine, device: &Device) -> Vec<Usage> {
    let mut search = Search {
        machine,
        own: None,
        names: BTreeSet::new(),
        files: Vec::new(),
        found: BTreeSet::new(),
    };
    let first = match device.file {
        true => search.file(BackingFile::at(machine, &device.path)),
        false => {
            search.own = machine
                .at(Path::new(&device.path))
                .or_else(|| machine.named(&device.path));
            search.own.clone().into_iter().collect()
        }
    };
    search.stack(first);
    search.mounts();
    search.swaps();
    search.programs();
    search.found.into_iter().collect()
}

/// An image file, found again under any of its names.
struct BackingFile {
    path: String,
    /// Device and inode number.
    identity: Option<(u64, u64)>,
}

struct Search<'a> {
    machine: &'a Machine,
    /// The kernel's name of the disk that is asked about.
    own: Option<String>,
    /// The kernel's names of the disk, its partitions and everything above them.
    names: BTreeSet<String>,
    /// Files that are read through it, or that it is made of.
    files: Vec<BackingFile>,
    found: BTreeSet<Usage>,
}

impl Search<'_> {
    /// Climbs from devices to what is made of them, and from loop devices down to what they read.
    fn stack(&mut self, mut next: Vec<String>) {
        while let Some(name) = next.pop() {
            if !self.names.insert(name.clone()) {
                continue;
            }
            let device = Machine::node(&name);
            next.extend(self.machine.partitions(&name));
            for by in self.machine.holders(&name) {
                self.found.insert(Usage::Holder {
                    device: device.clone(),
                    by: Machine::node(&by),
                });
                next.push(by);
            }
            for by in self.loops(|search, by, file| search.reads(by, file, &name)) {
                self.found.insert(Usage::Loop {
                    device: device.clone(),
                    by: Machine::node(&by),
                });
                next.push(by);
            }
            next.extend(self.below(&name));
        }
    }

    /// Other loop devices that read the same.
    fn loops(&self, reads: impl Fn(&Self, &str, &str) -> bool) -> Vec<String> {
        let others = self
            .machine
            .loops()
            .into_iter()
            .filter(|(by, _)| self.own.as_ref() != Some(by));
        others
            .filter(|(by, file)| reads(self, by, file))
            .map(|(by, _)| by)
            .collect()
    }

    /// Whether a loop device over `file` reads the device called `name`.
    fn reads(&self, by: &str, file: &str, name: &str) -> bool {
        match self.backing(by) {
            Some(backing) => {
                backing.special != 0
                    && self
                        .machine
                        .name(&block::number(backing.special))
                        .as_deref()
                        == Some(name)
            }
            None => {
                self.machine.named(file).as_deref() == Some(name) || file == Machine::node(name)
            }
        }
    }

    /// What a loop device reads has other users, whom neither its own node nor `O_EXCL` shows: the device it is, or the
    /// loop devices over the same file.
    fn below(&mut self, name: &str) -> Vec<String> {
        let Some(path) = self.machine.text(name, "loop/backing_file") else {
            return Vec::new();
        };
        let backing = self.backing(name);
        let device = match &backing {
            Some(backing) if backing.special != 0 => {
                self.machine.name(&block::number(backing.special))
            }
            Some(_) => None,
            None => self.machine.named(&path),
        };
        match device {
            Some(device) => vec![device],
            None => {
                let identity = backing.map(|backing| (backing.device, backing.inode));
                self.file(BackingFile { path, identity })
            }
        }
    }

    /// The loop devices over a file.
    fn file(&mut self, file: BackingFile) -> Vec<String> {
        if self
            .files
            .iter()
            .any(|known| known.is(file.identity, &file.path))
        {
            return Vec::new();
        }
        let loops = self.loops(|search, by, path| {
            let backing = search.backing(by);
            let is_device = backing.as_ref().is_some_and(|backing| backing.special != 0);
            !is_device && file.is(backing.map(|backing| (backing.device, backing.inode)), path)
        });
        for by in &loops {
            self.found.insert(Usage::Loop {
                device: file.path.clone(),
                by: Machine::node(by),
            });
        }
        self.files.push(file);
        loops
    }

    /// What a loop device reads, by number; the path in sysfs may be one of another name space.
    fn backing(&self, by: &str) -> Option<block::Backing> {
        let open = || {
            File::options()
                .read(true)
                .custom_flags(block::NONBLOCKING)
                .open(Machine::node(by))
        };
        let device = self.machine.is_live().then(open)?.ok()?;
        block::backing(&device).ok()
    }

    fn mounts(&mut self) {
        for mount in self.machine.mounts() {
            for name in self
                .machine
                .devices(&mount)
                .into_iter()
                .filter(|name| self.names.contains(name))
            {
                self.found.insert(Usage::Mounted {
                    device: Machine::node(&name),
                    at: mount.at.clone(),
                });
            }
        }
    }

    fn swaps(&mut self) {
        for swap in self.machine.swaps() {
            let name = self
                .machine
                .named(&swap)
                .filter(|name| self.names.contains(name));
            let identity = self
                .machine
                .is_live()
                .then(|| numbers(Path::new(&swap)))
                .flatten();
            let file = || {
                self.files
                    .iter()
                    .find(|file| file.is(identity, &swap))
                    .map(|file| file.path.clone())
            };
            if let Some(device) = name.map(|name| Machine::node(&name)).or_else(file) {
                self.found.insert(Usage::Swap { device });
            }
        }
    }

    fn programs(&mut self) {
        let nodes: BTreeMap<String, String> = self
            .names
            .iter()
            .map(|name| (Machine::node(name), name.clone()))
            .collect();
        let numbers = self
            .names
            .iter()
            .filter_map(|name| Some((self.machine.text(name, "dev")?, Machine::node(name))));
        let numbers: BTreeMap<String, String> = numbers.collect();
        for (process, files) in self.machine.open_files() {
            for (path, link) in files {
                let node = nodes.contains_key(&path).then(|| path.clone());
                let node = node.or_else(|| numbers.get(&self.number(&path, &link)?).cloned());
                let image = || {
                    self.files
                        .iter()
                        .find(|file| file.is_open(self.machine, &path, &link))
                };
                if let Some(device) = node.or_else(|| image().map(|file| file.path.clone())) {
                    let program = self.machine.program(process);
                    self.found.insert(Usage::Open {
                        device,
                        process,
                        program,
                    });
                }
            }
        }
    }

    /// The number of the block device behind an open file. Only files in `/dev` are asked: asking others may hang on a
    /// file server that is gone.
    fn number(&self, path: &str, link: &Path) -> Option<String> {
        let ask = self.machine.is_live() && path.starts_with("/dev/");
        let metadata = ask.then(|| fs::metadata(link).ok())??;
        let metadata = Some(metadata).filter(|metadata| metadata.file_type().is_block_device())?;
        Some(block::number(metadata.rdev()))
    }
}

impl BackingFile {
    fn at(machine: &Machine, path: &str) -> Self {
        let real = machine
            .is_live()
            .then(|| fs::canonicalize(path).ok())
            .flatten();
        let path = real.map_or_else(
            || path.to_owned(),
            |real| real.to_string_lossy().into_owned(),
        );
        let identity = machine
            .is_live()
            .then(|| numbers(Path::new(&path)))
            .flatten();
        BackingFile { path, identity }
    }

    /// Whether another one is the same: paths say so only where the files cannot be asked, since a name leads to another
    /// file in another name space, or after the first was removed.
    fn is(&self, identity: Option<(u64, u64)>, path: &str) -> bool {
        match (self.identity, identity) {
            (Some(own), Some(other)) => own == other,
            _ => path == self.path,
        }
    }

    /// Whether an open file is this one. Only those that may be it are asked: asking any file may hang on a file server
    /// that is gone.
    fn is_open(&self, machine: &Machine, path: &str, link: &Path) -> bool {
        let name = |path: &str| Path::new(path).file_name().map(ToOwned::to_owned);
        let Some((_, inode)) = self.identity else {
            return path == self.path;
        };
        let asked = machine.inode(link) == Some(inode) || name(path) == name(&self.path);
        asked && numbers(link) == self.identity
    }
}

/// Device and inode number of a file.
fn numbers(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    metadata.is_file().then(|| (metadata.dev(), metadata.ino()))
}

/// Tries to have the disk alone, for a moment and for reading only: nothing else finds every user inside the kernel.
fn claim(device: &Device) -> Option<Usage> {
    let flags = block::EXCLUSIVE | block::NONBLOCKING;
    let attempt = || {
        File::options()
            .read(true)
            .custom_flags(flags)
            .open(&device.path)
    };
    let error = (!device.file).then(attempt)?.err()?;
    // Facts are compared and recorded: they shall not depend on the words of the C library at hand.
    let is_busy = error.kind() == std::io::ErrorKind::ResourceBusy;
    Some(Usage::Claimed {
        error: if is_busy {
            "device or resource busy".into()
        } else {
            error.to_string()
        },
    })
}
