//! Who uses a disk now: what would be pulled from under somebody's feet by writing to it.
#![expect(clippy::disallowed_methods, reason = "tries whether a device can be had alone")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use prejoin_profiles::disk::{Device, Usage};
use prejoin_sys::block;

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
    let mut search = Search { machine, names: BTreeSet::new(), found: BTreeSet::new() };
    let path = machine.is_live().then(|| fs::canonicalize(&device.path).ok()).flatten();
    let path = path.map_or_else(|| device.path.clone(), |path| path.to_string_lossy().into_owned());
    let file =
        device.file.then(|| BackingFile { metadata: fs::metadata(&path).ok().filter(|_| machine.is_live()), path });
    match &file {
        None => search.stack(machine.named(&device.path).into_iter().collect()),
        Some(file) => {
            let loops = search.loops_over_file(file);
            search.stack(loops);
        }
    }
    search.mounts();
    search.swaps(file.as_ref());
    search.programs(file.as_ref());
    search.found.into_iter().collect()
}

/// An image file, found again under any of its names.
struct BackingFile {
    path: String,
    metadata: Option<Metadata>,
}

struct Search<'a> {
    machine: &'a Machine,
    /// The kernel's names of the disk, its partitions and everything above them.
    names: BTreeSet<String>,
    found: BTreeSet<Usage>,
}

impl Search<'_> {
    /// Climbs from devices to what is made of them.
    fn stack(&mut self, mut next: Vec<String>) {
        while let Some(name) = next.pop() {
            if !self.names.insert(name.clone()) {
                continue;
            }
            let device = Machine::node(&name);
            next.extend(self.machine.partitions(&name));
            for by in self.machine.holders(&name) {
                self.found.insert(Usage::Holder { device: device.clone(), by: Machine::node(&by) });
                next.push(by);
            }
            for by in self.loops_over(&name) {
                self.found.insert(Usage::Loop { device: device.clone(), by: Machine::node(&by) });
                next.push(by);
            }
        }
    }

    fn loops_over(&self, name: &str) -> Vec<String> {
        let device = Machine::node(name);
        let number = self.machine.text(name, "dev");
        let reads = |by: &str, file: &str| {
            self.machine.named(file).as_deref() == Some(name)
                || file == device
                || self
                    .backing(by)
                    .is_some_and(|backing| backing.special != 0 && Some(block::number(backing.special)) == number)
        };
        self.machine.loops().into_iter().filter(|(by, file)| reads(by, file)).map(|(by, _)| by).collect()
    }

    fn loops_over_file(&mut self, file: &BackingFile) -> Vec<String> {
        let is_it = |by: &str, path: &str| {
            let same = |metadata: &Metadata| {
                self.backing(by).is_some_and(|backing| {
                    backing.special == 0 && (backing.device, backing.inode) == (metadata.dev(), metadata.ino())
                })
            };
            path == file.path || file.metadata.as_ref().is_some_and(same)
        };
        let loops = self.machine.loops().into_iter().filter(|(by, path)| is_it(by, path));
        let loops: Vec<_> = loops.map(|(by, _)| by).collect();
        for by in &loops {
            self.found.insert(Usage::Loop { device: file.path.clone(), by: Machine::node(by) });
        }
        loops
    }

    /// What a loop device reads, by number; the path in sysfs may be one of another name space.
    fn backing(&self, by: &str) -> Option<block::Backing> {
        let open = || File::options().read(true).custom_flags(block::NONBLOCKING).open(Machine::node(by));
        let device = self.machine.is_live().then(open)?.ok()?;
        block::backing(&device).ok()
    }

    fn mounts(&mut self) {
        for mount in self.machine.mounts() {
            for name in self.machine.devices(&mount).into_iter().filter(|name| self.names.contains(name)) {
                self.found.insert(Usage::Mounted { device: Machine::node(&name), at: mount.at.clone() });
            }
        }
    }

    fn swaps(&mut self, file: Option<&BackingFile>) {
        for swap in self.machine.swaps() {
            let name = self.machine.named(&swap).filter(|name| self.names.contains(name));
            let file = file.filter(|file| file.path == swap).map(|file| file.path.clone());
            if let Some(device) = name.map(|name| Machine::node(&name)).or(file) {
                self.found.insert(Usage::Swap { device });
            }
        }
    }

    fn programs(&mut self, file: Option<&BackingFile>) {
        let nodes: BTreeMap<String, String> =
            self.names.iter().map(|name| (Machine::node(name), name.clone())).collect();
        let numbers = self.names.iter().filter_map(|name| Some((self.machine.text(name, "dev")?, Machine::node(name))));
        let numbers: BTreeMap<String, String> = numbers.collect();
        for (process, files) in self.machine.open_files() {
            for (path, link) in files {
                let node = nodes.contains_key(&path).then(|| path.clone());
                let node = node.or_else(|| numbers.get(&self.number(&path, &link)?).cloned());
                let image = || file.filter(|file| file.is_at(&path, &link)).map(|file| file.path.clone());
                if let Some(device) = node.or_else(image) {
                    let program = self.machine.program(process);
                    self.found.insert(Usage::Open { device, process, program });
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
    /// Whether an open file is this one, whatever it is called in the name space it was opened in.
    fn is_at(&self, path: &str, link: &Path) -> bool {
        let name = |path: &str| Path::new(path).file_name().map(ToOwned::to_owned);
        let Some(own) = self.metadata.as_ref().filter(|_| name(path) == name(&self.path)) else {
            return path == self.path;
        };
        fs::metadata(link).is_ok_and(|other| (other.dev(), other.ino()) == (own.dev(), own.ino()))
    }
}

/// Tries to have the disk alone, for a moment and for reading only: nothing else finds every user inside the kernel.
fn claim(device: &Device) -> Option<Usage> {
    let flags = block::EXCLUSIVE | block::NONBLOCKING;
    let attempt = || File::options().read(true).custom_flags(flags).open(&device.path);
    let error = (!device.file).then(attempt)?.err()?;
    // Facts are compared and recorded: they shall not depend on the words of the C library at hand.
    let is_busy = error.kind() == std::io::ErrorKind::ResourceBusy;
    Some(Usage::Claimed { error: if is_busy { "device or resource busy".into() } else { error.to_string() } })
}
