//! The identity partition: the node's documents, and the files they bring.
#![expect(clippy::disallowed_methods, reason = "reads the identity partition")]

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use prejoin_formats::gpt::{Partition, types};
use prejoin_sys::directory::{Access, Directory};
use prejoin_sys::mount::{self, Flags};
use prejoin_wire::digest::Digest;
use prejoin_wire::handoff::{self, Handoff, LARGEST_DOCUMENT};
use prejoin_wire::path;
use uuid::Uuid;

use super::disk::Disk;
use super::files::{DIGEST, Files};
use super::log::Log;
use super::{ROOT, make_directory};
use crate::archive::{Archive, BOUND, MEMORY, OVERLAY, UPPER, WORK};
use crate::cmdline::Target;
use crate::error::{Doing as _, Error};
use crate::layout::{self, is_identity, may_be_identity};

const MOUNT: &str = "/run/prejoin/identity";
const SEED_FILES: [&str; 3] = ["user-data", "meta-data", "network-config"];

/// The mounted identity partition.
#[derive(Debug)]
pub(super) struct Identity {
    device: String,
    pub(super) handoff: Handoff,
}

impl Identity {
    /// Finds the node's identity on its disk and mounts it: the one that the command line names, or the only one whose
    /// document says that it is the node's that was started. Never by its name.
    pub(super) fn find(
        disk: &Disk,
        target: &Target,
        started: Option<Uuid>,
        log: &Log,
    ) -> Result<Self, Error> {
        if let Some(named) = &target.named {
            let partition = layout::required(&disk.found.table, "identity", named.identity)
                .map_err(|source| disk.layout(source))?;
            return Identity::open(disk, partition);
        }
        let (mut ours, mut others) = (Vec::new(), Vec::new());
        for partition in &disk.found.table.partitions {
            let device = || format!("partition {}", partition.number);
            // Not one that is half written, nor one that cannot be read.
            let is_kind = partition.type_guid == types::BASIC_DATA;
            if !is_kind
                || !disk
                    .head(partition)
                    .is_ok_and(|head| may_be_identity(&head))
            {
                continue;
            }
            let is_ours = Identity::open(disk, partition).and_then(|identity| {
                let is_ours = is_identity(&identity.handoff, partition, started);
                identity.close()?;
                Ok(is_ours)
            });
            match is_ours {
                Ok(true) => ours.push(partition),
                Ok(false) => others.push(format!("{} (another node's)", device())),
                Err(error) => {
                    log.say(&format!("{error}"));
                    others.push(format!("{} ({error})", device()));
                }
            }
        }
        match ours[..] {
            [partition] => Identity::open(disk, partition),
            [] => Err(Error::NoIdentity {
                disk: disk.path(),
                seen: match others.is_empty() {
                    true => "none at all".to_owned(),
                    false => others.join(", "),
                },
            }),
            _ => {
                let found: Vec<String> = ours.iter().map(|p| p.number.to_string()).collect();
                Err(Error::Identities {
                    disk: disk.path(),
                    found: format!("partitions {}", found.join(", ")),
                })
            }
        }
    }

    /// Mounts the partition and reads `node.json`.
    fn open(disk: &Disk, partition: &Partition) -> Result<Self, Error> {
        let device = disk.device(partition)?;
        let target = Path::new(MOUNT);
        make_directory(target)?;
        let flags = Flags {
            read_only: true,
            no_suid: true,
            no_dev: true,
            no_exec: true,
            ..Flags::default()
        };
        // Certificates and keys: for root's eyes.
        mount::mount(Path::new(&device), target, "vfat", flags, "umask=0077").map_err(
            |source| Error::Identity {
                device: device.clone(),
                what: "mounting it as FAT",
                source,
            },
        )?;
        match read_handoff(&device) {
            Ok(handoff) => Ok(Identity { device, handoff }),
            Err(error) => {
                // What was wrong with the document is what is reported.
                let _ = mount::unmount(target);
                Err(error)
            }
        }
    }

    /// Makes the directories that the overlay and the bound trees need, unpacks the archive if it is a new one, and
    /// copies the seed. All on the mounted state partition, before anything else looks at it.
    pub(super) fn unpack(&self, log: &Log) -> Result<(), Error> {
        let var = Directory::open(Path::new(&format!("{ROOT}/var")))
            .doing(|| "opening /var".to_owned())?;
        let lib = make_trees(&var).doing(|| "making the writable trees in /var".to_owned())?;
        let memory = ensure(&lib, OsStr::new(MEMORY), 0o700)
            .doing(|| format!("making /var/lib/{MEMORY}"))?;
        let wanted = self.handoff.archive.digest.to_string();
        let known = memory
            .read(OsStr::new(DIGEST), LARGEST_DOCUMENT)
            .doing(|| format!("reading /var/lib/{MEMORY}/{DIGEST}"))?;
        if known.as_deref().map(<[u8]>::trim_ascii) != Some(wanted.as_bytes()) {
            self.unpack_archive(&var, &memory, &wanted, log)?;
        }
        self.seed(&var, log)
    }

    fn unpack_archive(
        &self,
        var: &Directory,
        memory: &Directory,
        digest: &str,
        log: &Log,
    ) -> Result<(), Error> {
        let bytes = read(&self.device, "node.cpio", handoff::Archive::LARGEST)?.unwrap_or_default();
        if bytes.len() as u64 != self.handoff.archive.size
            || Digest::of(&bytes) != self.handoff.archive.digest
        {
            return Err(Error::Digest {
                device: self.device.clone(),
            });
        }
        let archive = Archive::parse(&bytes)?;
        let etc = format!("{ROOT}/etc");
        let files = Files {
            var,
            memory,
            etc: Path::new(&etc),
            private: PRIVATE,
        };
        let done = files.unpack(&archive, digest)?;
        for (path, error) in &done.kept {
            log.say(&format!(
                "removing {path} of the previous identity: {error}"
            ));
        }
        log.say(&format!(
            "unpacked {} files of the identity, removed {}",
            done.unpacked, done.removed
        ));
        Ok(())
    }

    /// Copies cloud-init's seed into `/var`: the partition may be detached later, and a seed that vanishes makes
    /// cloud-init replace the static network by DHCP.
    fn seed(&self, var: &Directory, log: &Log) -> Result<(), Error> {
        let doing = || "writing cloud-init's seed in /var".to_owned();
        let mut seed = None;
        for step in path::SEED.split('/').skip(1) {
            let parent = seed.as_ref().unwrap_or(var);
            seed = Some(ensure(parent, OsStr::new(step), 0o755).doing(doing)?);
        }
        let seed = seed.expect("the path has steps");
        for name in SEED_FILES {
            let name = OsStr::new(name);
            let wanted = read(
                &self.device,
                name.to_str().expect("a constant"),
                LARGEST_DOCUMENT,
            )?;
            let known = seed.read(name, LARGEST_DOCUMENT).doing(doing)?;
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

fn read_handoff(device: &str) -> Result<Handoff, Error> {
    let document = "node.json";
    let json = read(device, document, LARGEST_DOCUMENT)?.ok_or_else(|| Error::Identity {
        device: device.to_owned(),
        what: "reading node.json",
        source: io::ErrorKind::NotFound.into(),
    })?;
    Handoff::parse(&json).map_err(|source| Error::Handoff {
        device: device.to_owned(),
        document,
        source,
    })
}

const PRIVATE: Access = Access {
    mode: 0o600,
    uid: 0,
    gid: 0,
};

/// A file of the identity partition; `None` if it is not there.
fn read(device: &str, file: &'static str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
    let doing = || format!("reading {file} on the identity partition {device}");
    let mut handle = match File::open(format!("{MOUNT}/{file}")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        handle => handle.doing(doing)?,
    };
    let found = handle.metadata().doing(doing)?.len();
    if found > limit {
        return Err(Error::Large {
            device: device.to_owned(),
            file,
            found,
            limit,
        });
    }
    let mut bytes = Vec::with_capacity(found as usize);
    handle
        .by_ref()
        .take(limit)
        .read_to_end(&mut bytes)
        .doing(doing)?;
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
        None => parent.make(
            name,
            Access {
                mode,
                uid: 0,
                gid: 0,
            },
        ),
        Some(_) => parent.child(name),
    }
}
