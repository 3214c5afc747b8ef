//! The identity partition: the node's documents, and the files they bring.
#![expect(clippy::disallowed_methods, reason = "reads the identity partition")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use prejoin_formats::gpt::Partition;
use prejoin_profiles::digest::Digest;
use prejoin_profiles::handoff;
use prejoin_profiles::handoff::Handoff;
use prejoin_sys::directory::{Access, Directory, Kind};
use prejoin_sys::mount::{self, Flags};

use super::disk::Disk;
use super::log::Log;
use super::{ROOT, make_directory};
use crate::archive::{
    Archive, BOUND, Content, Entry, MEMORY, OVERLAY, PARENT, Path as ArchivePath, UPPER, WORK, list, unlist,
};
use crate::error::{Doing as _, Error};

const MOUNT: &str = "/run/prejoin/identity";
/// cloud-init's NoCloud seed, below `/var`.
const SEED: [&str; 4] = ["lib", "cloud", "seed", "nocloud"];
const SEED_FILES: [&str; 3] = ["user-data", "meta-data", "network-config"];
/// Documents and seed files are held in memory: 4 MiB each.
const LARGEST: u64 = 4 << 20;
/// What was unpacked, and from which archive.
const DIGEST: &str = "identity.digest";
const FILES: &str = "identity.files";

/// The mounted identity partition.
#[derive(Debug)]
pub(super) struct Identity {
    device: String,
    pub(super) handoff: Handoff,
}

impl Identity {
    /// Mounts the partition and reads `node.json`.
    pub(super) fn open(disk: &Disk, partition: &Partition) -> Result<Self, Error> {
        let device = disk.device(partition)?;
        let target = Path::new(MOUNT);
        make_directory(target)?;
        let flags = Flags { read_only: true, no_suid: true, no_dev: true, no_exec: true, ..Flags::default() };
        // Certificates and keys: for root's eyes.
        mount::mount(Path::new(&device), target, "vfat", flags, "umask=0077").map_err(|source| Error::Identity {
            device: device.clone(),
            what: "mounting it as FAT",
            source,
        })?;
        let document = "node.json";
        let json = read(&device, document, LARGEST)?.ok_or_else(|| Error::Identity {
            device: device.clone(),
            what: "reading node.json",
            source: io::ErrorKind::NotFound.into(),
        })?;
        let handoff =
            Handoff::parse(&json).map_err(|source| Error::Handoff { device: device.clone(), document, source })?;
        Ok(Identity { device, handoff })
    }

    /// Makes the directories that the overlay and the bound trees need, unpacks the archive if it is a new one, and
    /// copies the seed. All on the mounted state partition, before anything else looks at it.
    pub(super) fn unpack(&self, log: &Log) -> Result<(), Error> {
        let var = Directory::open(Path::new(&format!("{ROOT}/var"))).doing(|| "opening /var".to_owned())?;
        let lib = make_trees(&var).doing(|| "making the writable trees in /var".to_owned())?;
        let memory = ensure(&lib, OsStr::new(MEMORY), 0o700).doing(|| format!("making /var/lib/{MEMORY}"))?;
        let wanted = self.handoff.archive.digest.to_string();
        let known = memory.read(OsStr::new(DIGEST), LARGEST).doing(|| format!("reading /var/lib/{MEMORY}/{DIGEST}"))?;
        if known.as_deref().map(<[u8]>::trim_ascii) != Some(wanted.as_bytes()) {
            self.unpack_archive(&var, &memory, &wanted, log)?;
        }
        self.seed(&var, log)
    }

    fn unpack_archive(&self, var: &Directory, memory: &Directory, digest: &str, log: &Log) -> Result<(), Error> {
        let bytes = read(&self.device, "node.cpio", handoff::Archive::LARGEST)?.unwrap_or_default();
        if bytes.len() as u64 != self.handoff.archive.size || Digest::of(&bytes) != self.handoff.archive.digest {
            return Err(Error::Digest { device: self.device.clone() });
        }
        let archive = Archive::parse(&bytes)?;
        let new = archive.files();
        let doing = || format!("writing /var/lib/{MEMORY}");
        let old = memory.read(OsStr::new(FILES), handoff::Archive::LARGEST).doing(doing)?.unwrap_or_default();
        let old = unlist(&old);
        // Before the first file is written, the list already has all that may have to be removed one day.
        let both: BTreeSet<_> = old.union(&new).collect();
        memory.write(OsStr::new(FILES), &list(both), PRIVATE).doing(doing)?;
        for entry in &archive.entries {
            put(var, entry).doing(|| format!("unpacking {} of the node's files", entry.path.name().display()))?;
        }
        let gone: Vec<_> = old.difference(&new).collect();
        for path in &gone {
            // A path that has become something else belongs to whoever made it so.
            if let Err(error) = remove(var, path) {
                log.say(&format!("removing {} of the previous identity: {error}", path.name().display()));
            }
        }
        memory.write(OsStr::new(FILES), &list(&new), PRIVATE).doing(doing)?;
        var.sync_file_system().doing(|| "bringing the node's files to the disk".to_owned())?;
        // Last: only now is the archive unpacked.
        memory.write(OsStr::new(DIGEST), format!("{digest}\n").as_bytes(), PRIVATE).doing(doing)?;
        memory.sync().doing(doing)?;
        log.say(&format!("unpacked {} files of the identity, removed {}", new.len(), gone.len()));
        Ok(())
    }

    /// Copies cloud-init's seed into `/var`: the partition may be detached later, and a seed that vanishes makes
    /// cloud-init replace the static network by DHCP.
    fn seed(&self, var: &Directory, log: &Log) -> Result<(), Error> {
        let doing = || "writing cloud-init's seed in /var".to_owned();
        let mut seed = None;
        for step in SEED {
            let parent = seed.as_ref().unwrap_or(var);
            seed = Some(ensure(parent, OsStr::new(step), 0o755).doing(doing)?);
        }
        let seed = seed.expect("the path has steps");
        for name in SEED_FILES {
            let name = OsStr::new(name);
            let wanted = read(&self.device, name.to_str().expect("a constant"), LARGEST)?;
            let known = seed.read(name, LARGEST).doing(doing)?;
            if wanted == known {
                continue;
            }
            match wanted {
                Some(bytes) => seed.write(name, &bytes, PRIVATE).doing(doing)?,
                None => seed.remove(name).doing(doing)?,
            }
            seed.sync().doing(doing)?;
            log.say(&format!("cloud-init's {} is new", name.display()));
        }
        Ok(())
    }

    /// Unmounts the partition, so that a later identity can be written to it while the node runs.
    pub(super) fn close(self) -> Result<(), Error> {
        mount::unmount(Path::new(MOUNT)).doing(|| format!("unmounting {}", self.device))
    }
}

const PRIVATE: Access = Access { mode: 0o600, uid: 0, gid: 0 };

/// A file of the identity partition; `None` if it is not there.
fn read(device: &str, file: &'static str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
    let doing = || format!("reading {file} on the identity partition {device}");
    let mut handle = match File::open(format!("{MOUNT}/{file}")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        handle => handle.doing(doing)?,
    };
    let found = handle.metadata().doing(doing)?.len();
    if found > limit {
        return Err(Error::Large { device: device.to_owned(), file, found, limit });
    }
    let mut bytes = Vec::with_capacity(found as usize);
    handle.by_ref().take(limit).read_to_end(&mut bytes).doing(doing)?;
    Ok(Some(bytes))
}

/// Layers of the overlay and sources of the bound trees; returns `/var/lib`. What exists keeps its owner and mode.
fn make_trees(var: &Directory) -> io::Result<Directory> {
    let [lib, overlay] = OVERLAY.map(OsStr::new);
    let lib = ensure(var, lib, 0o755)?;
    let overlay = ensure(&lib, overlay, 0o700)?;
    for (name, mode) in [(UPPER, 0o755), (WORK, 0o755)].into_iter().chain(BOUND) {
        ensure(&overlay, OsStr::new(name), mode)?;
    }
    Ok(lib)
}

/// Opens a directory, made if need be.
fn ensure(parent: &Directory, name: &OsStr, mode: u32) -> io::Result<Directory> {
    match parent.kind(name)? {
        None => parent.make(name, Access { mode, uid: 0, gid: 0 }),
        Some(_) => parent.child(name),
    }
}

/// Unpacks one entry. Parents that are missing are made as they are in the image's `/etc`, or root's and 0755; a
/// symbolic link or file in the place of a parent is an error, never followed or replaced.
fn put(var: &Directory, entry: &Entry<'_>) -> io::Result<()> {
    let (steps, name) = entry.path.steps();
    let layer = steps.iter().take_while(|step| **step != OsStr::new(UPPER)).count() + 1;
    let mut place = Place { directory: None, image: None };
    for (index, step) in steps.into_iter().enumerate() {
        place = place.down(var, step, PARENT, false)?;
        if entry.path.below_etc() && index + 1 == layer {
            place.image = Some(Directory::open(Path::new(&format!("{ROOT}/etc")))?);
        }
    }
    let directory = place.directory.as_ref().unwrap_or(var);
    match entry.content {
        Content::Directory => place.down(var, name, entry.access, entry.is_explicit()).map(drop),
        Content::File(bytes) => directory.write(name, bytes, entry.access),
        Content::Link(target) => directory.link(name, OsStr::from_bytes(target), entry.access),
    }
}

/// A directory below `/var` (`None` is `/var` itself), and the directory of the image it covers, if it does.
struct Place {
    directory: Option<Directory>,
    image: Option<Directory>,
}

impl Place {
    /// One step down. A directory that is missing is made with the owner and mode of the one it covers, else with
    /// `access`; one that exists keeps its own, unless this entry is explicit about it.
    fn down(self, var: &Directory, step: &OsStr, access: Access, explicit: bool) -> io::Result<Self> {
        let parent = self.directory.as_ref().unwrap_or(var);
        let covered = match &self.image {
            Some(image) => image.access(step)?,
            None => None,
        };
        let found = parent.kind(step)?;
        // In the upper layer of the overlay a special file is a whiteout: the directory was removed on this node, and
        // is wanted again.
        if found == Some(Kind::Special) && covered.is_some() {
            parent.remove(step)?;
        }
        let directory = match (found, covered) {
            (Some(Kind::Directory), _) if !explicit => parent.child(step)?,
            (_, Some(covered)) if !explicit => parent.make(step, covered)?,
            _ => parent.make(step, access)?,
        };
        let image = match (self.image, covered) {
            (Some(image), Some(_)) => Some(image.child(step)?),
            _ => None,
        };
        Ok(Place { directory: Some(directory), image })
    }
}

fn remove(var: &Directory, path: &ArchivePath<'_>) -> io::Result<()> {
    let (steps, name) = path.steps();
    let mut directory = None;
    for step in steps {
        directory = Some(directory.as_ref().unwrap_or(var).child(step)?);
    }
    directory.as_ref().unwrap_or(var).remove(name)
}
