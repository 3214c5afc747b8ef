//! The root file system: dm-verity over the slot's two partitions, mounted read-only.
//!
//! A block that does not match its hash is never handed out, whenever it is read: dm-verity answers with an I/O error.
//! The agent meets that error itself, and explains it, in everything the first process of the system needs: the file
//! system's own structures, the program, and every library it loads (about 15 MB, which are read anyway). What is read
//! later fails for whoever reads it, and the kernel log says which block; with `prejoin.corruption=restart` or `panic`
//! the machine goes down instead. Reading the whole partition at every boot was left out: it would take as long as the
//! disk is slow, and proves nothing about the next minute.
#![expect(
    clippy::disallowed_methods,
    reason = "reads partitions and files of the root file system"
)]

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use prejoin_formats::verity::{BLOCK, Superblock};
use prejoin_sys::mapper::{Mapper, Target as MapperTarget};
use prejoin_sys::mount::Flags;
use prejoin_sys::process;

use super::disk::Disk;
use super::log::Log;
use super::{ROOT, handover};
use crate::cmdline::{Corruption, Target};
use crate::error::{Doing as _, Error};
use crate::layout::Source;

/// Name of the mapped device.
const NAME: &str = "root";
/// Started by the first process for every service.
const EXECUTOR: &str = "/usr/lib/systemd/systemd-executor";

/// A root partition behind dm-verity.
#[derive(Debug)]
pub(super) struct Verified {
    /// Its device node.
    pub(super) partition: String,
    /// The mapped device's.
    device: String,
}

/// Maps the root partition through dm-verity. The root hash is the command line's; the superblock on the hash
/// partition only says how the tree is laid out, and a wrong one cannot make wrong data match.
pub(super) fn open(
    disk: &Disk,
    source: &Source,
    target: &Target,
    corruption: Corruption,
    log: &Log,
) -> Result<Verified, Error> {
    let root = disk.device(&source.root)?;
    let hashes = disk.device(&source.verity)?;
    let mut block = [0; BLOCK];
    let read = File::open(&hashes).and_then(|file| file.read_exact_at(&mut block, 0));
    read.doing(|| format!("reading the verity superblock on {hashes}"))?;
    let superblock = Superblock::parse(&block).map_err(|source| Error::Verity {
        device: hashes.clone(),
        source,
    })?;
    for (device, actual, needed) in [
        (&root, source.root.size, superblock.sectors() * 512),
        (&hashes, source.verity.size, superblock.hash_size()),
    ] {
        if actual < needed {
            return Err(Error::Truncated {
                device: device.clone(),
                actual,
                needed,
            });
        }
    }

    let mut parameters = superblock.target(&root, &hashes, &target.root_hash);
    match corruption {
        Corruption::Error => {}
        Corruption::Restart => parameters += " 1 restart_on_corruption",
        Corruption::Panic => parameters += " 1 panic_on_corruption",
    }
    // As cryptsetup builds it, so that veritysetup, lsblk and systemd know what the device is.
    let uuid = format!(
        "CRYPT-VERITY-{}-{NAME}",
        superblock.uuid.to_string().replace('-', "")
    );
    let mapped = MapperTarget {
        kind: "verity",
        sectors: superblock.sectors(),
        parameters: &parameters,
    };
    let device = Mapper::open()
        .and_then(|mapper| mapper.create(NAME, &uuid, mapped))
        .doing(|| format!("mapping {root} through dm-verity"))?;
    let device = device.display().to_string();
    log.say(&format!("{device} is {root} with hashes on {hashes}"));
    Ok(Verified {
        partition: root,
        device,
    })
}

/// Mounts the mapped device and reads what the first process needs.
pub(super) fn mount(verified: &Verified, log: &Log) -> Result<(), Error> {
    let Verified { partition, device } = verified;
    let flags = Flags {
        read_only: true,
        ..Flags::default()
    };
    prejoin_sys::mount::mount(Path::new(device), Path::new(ROOT), "ext4", flags, "")
        .doing(|| format!("mounting {device} ({partition})"))?;
    let mut bytes = read(handover::INIT)?;
    for library in libraries()? {
        bytes += read(&library)?;
    }
    match read(EXECUTOR) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        result => bytes += result?,
    }
    log.say(&format!(
        "{} KiB of the first process read and verified",
        bytes / 1024
    ));
    Ok(())
}

/// The libraries the first process loads: its own dynamic loader lists them when asked by this variable (ld.so(8)).
fn libraries() -> Result<Vec<String>, Error> {
    let doing = || format!("listing the libraries of {}", handover::INIT);
    let output = process::run(
        Path::new(ROOT),
        handover::INIT,
        &[] as &[&OsStr],
        &[("LD_TRACE_LOADED_OBJECTS", "1")],
    )
    .doing(doing)?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(Error::Io {
            doing: doing(),
            source: io::Error::other(output.status.to_string()),
        });
    }
    // `NAME => PATH (ADDRESS)`, `PATH (ADDRESS)` for the loader, `NAME (ADDRESS)` for the vDSO.
    let paths = text.lines().filter_map(|line| {
        let path = line.rsplit_once(" (")?.0;
        Some(
            path.rsplit_once("=> ")
                .map_or(path, |(_, path)| path)
                .trim(),
        )
    });
    Ok(paths
        .filter(|path| path.starts_with('/'))
        .map(str::to_owned)
        .collect())
}

/// Reads a file of the root file system to its end; returns its length.
fn read(path: &str) -> Result<u64, Error> {
    let inside = format!("{ROOT}{path}");
    let mut file =
        File::open(inside).doing(|| format!("opening {path} of the root file system"))?;
    io::copy(&mut file, &mut io::sink()).doing(|| format!("reading {path} of the root file system"))
}

/// Whether dm-verity has met a block that does not match (its status is then `C`, else `V`; kernel
/// `Documentation/admin-guide/device-mapper/verity.rst`). Not if it is not there.
pub(super) fn is_corrupted() -> bool {
    let status = Mapper::open().and_then(|mapper| mapper.status(NAME));
    status.is_ok_and(|status| status.trim_start().starts_with('C'))
}
