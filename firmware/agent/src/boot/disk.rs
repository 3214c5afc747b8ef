//! The node's disk: found by the root partition on it.
#![expect(clippy::disallowed_methods, reason = "opens disks and reads /sys")]

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use prejoin_disk::io::Shared;
use prejoin_disk::write::{self, replace_table};
use prejoin_formats::gpt::{self, Found, Partition, Table, types};
use prejoin_formats::verity::{BLOCK, Hash, Superblock, TOP};
use prejoin_sys::{block, clock, process};
use prejoin_wire::digest::Digest;
use prejoin_wire::handoff::Handoff;
use uuid::Uuid;

use super::log::Log;
use crate::cmdline::Target;
use crate::error::{Doing as _, Error};
use crate::layout::{self, Source};

/// Time between two looks at the disks.
const PAUSE: Duration = Duration::from_millis(20);
/// How long the kernel may take to show the partitions of a disk that is there, before it is told about them.
const PARTITION_WAIT: Duration = Duration::from_secs(1);
/// Block devices that are made of others, or of memory.
const NOT_DISKS: [&str; 7] = ["dm-", "loop", "md", "nbd", "ram", "sr", "zram"];

/// By what the node's disk is known.
#[derive(Debug)]
pub(super) enum Wanted {
    /// The root partition that the command line names.
    Root(Uuid),
    /// A system with this root hash, and the partition that the boot loader was started from, if that is known. Both: a
    /// stick with copied GUIDs has no such system, and a copy of the system is not what was started.
    System {
        root_hash: Hash,
        started: Option<Uuid>,
    },
}

impl Wanted {
    pub(super) fn of(target: &Target, started: Option<Uuid>) -> Self {
        match &target.named {
            Some(named) => Wanted::Root(named.root),
            None => Wanted::System {
                root_hash: target.root_hash,
                started,
            },
        }
    }

    /// Whether a disk is the one. An error is no answer yet.
    fn is_on(&self, file: &File, table: &Table) -> io::Result<bool> {
        match self {
            Wanted::Root(root) => Ok(table.with_guid(root).is_some()),
            Wanted::System { root_hash, started } => {
                let is_there = |guid: &Uuid| table.with_guid(guid).is_some();
                Ok(started.as_ref().is_none_or(is_there) && has_system(file, table, root_hash)?)
            }
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::Root(root) => write!(f, "the root partition {root}"),
            Wanted::System { root_hash, started } => {
                let hash = Digest(*root_hash).to_string();
                write!(f, "the system with the root hash {}…", &hash[..16])?;
                match started {
                    Some(guid) => write!(f, " and the boot partition {guid}"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Whether one of the hash devices on a disk is that of a system.
fn has_system(file: &File, table: &Table, root_hash: &Hash) -> io::Result<bool> {
    let kinds = [types::ROOT_VERITY_AMD64, types::ROOT_VERITY_ARM64];
    for partition in &table.partitions {
        if !kinds.contains(&partition.type_guid) || partition.size < 2 * BLOCK as u64 {
            continue;
        }
        let mut block = [0; BLOCK];
        file.read_exact_at(&mut block, partition.start)?;
        let Ok(superblock) = Superblock::parse(&block) else {
            continue;
        };
        file.read_exact_at(&mut block, partition.start + TOP)?;
        if superblock.has_root(&block, root_hash) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The node's disk.
#[derive(Debug)]
pub(super) struct Disk {
    name: String,
    /// Length in bytes.
    pub(super) size: u64,
    /// What its partition table says.
    pub(super) found: Found,
}

impl Disk {
    /// Waits until a disk has what is wanted; refuses to choose between several.
    ///
    /// The partition table is read here and not taken from the kernel: its `PARTUUID`s are not in `/sys` before 6.9,
    /// and there is no udev.
    pub(super) fn find(wanted: &Wanted, wait: Duration, log: &Log) -> Result<Self, Error> {
        let start = clock::uptime();
        // Disks without it, by size: a card reader is looked at again when a card comes in.
        let mut others = BTreeMap::new();
        loop {
            let mut disks = Vec::new();
            for name in names() {
                disks.extend(Disk::look(name, wanted, &mut others));
            }
            if disks.len() > 1 {
                let disks: Vec<String> = disks.iter().map(Disk::path).collect();
                return Err(Error::Ambiguous {
                    wanted: wanted.to_string(),
                    disks: disks.join(", "),
                });
            }
            if let Some(disk) = disks.pop() {
                log.say(&format!("{} has {wanted}", disk.path()));
                for finding in &disk.found.findings {
                    log.say(&format!("{}: the partition table: {finding}", disk.path()));
                }
                return Ok(disk);
            }
            let waited = clock::uptime().saturating_sub(start);
            if waited >= wait {
                let seen: Vec<String> = others.keys().map(|name| format!("/dev/{name}")).collect();
                let seen = if seen.is_empty() {
                    "no disk at all".to_owned()
                } else {
                    seen.join(", ")
                };
                return Err(Error::NoDisk {
                    wanted: wanted.to_string(),
                    waited,
                    seen,
                });
            }
            sleep(PAUSE);
        }
    }

    /// The disk called `name`, if it can be read and is the one.
    fn look(name: String, wanted: &Wanted, others: &mut BTreeMap<String, u64>) -> Option<Self> {
        let file = File::open(format!("/dev/{name}")).ok()?;
        let size = block::size(&file).ok().filter(|&size| size > 0)?;
        if others.get(&name) == Some(&size) {
            return None;
        }
        let found = read_table(&file, size);
        let is_wanted = match &found {
            Ok(found) => wanted.is_on(&file, &found.table),
            Err(gpt::ReadError::None) => Ok(false),
            Err(error) => Err(io::Error::other(error.to_string())),
        };
        // One that could not be read, or not whole, is looked at again: it may not be ready yet.
        let seen = if is_wanted.is_ok() { size } else { 0 };
        let found = found.ok().filter(|_| is_wanted.is_ok_and(|wanted| wanted));
        if found.is_none() {
            others.insert(name.clone(), seen);
        }
        Some(Disk {
            name,
            size,
            found: found?,
        })
    }

    /// Its device node, for people and programs.
    pub(super) fn path(&self) -> String {
        format!("/dev/{}", self.name)
    }

    /// The partitions to boot from.
    pub(super) fn source(&self, target: &Target, handoff: &Handoff) -> Result<Source, Error> {
        Source::find(&self.found.table, target, handoff).map_err(|source| self.layout(source))
    }

    /// What is wrong with the disk's partitions.
    pub(super) fn layout(&self, source: layout::Error) -> Error {
        Error::Layout {
            disk: self.path(),
            source,
        }
    }

    /// The first bytes of a partition.
    pub(super) fn head(&self, partition: &Partition) -> io::Result<[u8; layout::HEAD]> {
        let mut head = [0; layout::HEAD];
        File::open(self.path())?.read_exact_at(&mut head, partition.start)?;
        Ok(head)
    }

    /// The device node of a partition. If the kernel did not read the table (it may have been built without GPT), it
    /// is told.
    pub(super) fn device(&self, partition: &Partition) -> Result<String, Error> {
        let start = clock::uptime();
        let device = loop {
            if let Some(device) = self.known(partition.number) {
                break device;
            }
            if clock::uptime().saturating_sub(start) >= PARTITION_WAIT {
                self.announce(partition)?;
                break self.known(partition.number).ok_or_else(|| Error::Io {
                    doing: format!(
                        "looking for partition {} of {}",
                        partition.number,
                        self.path()
                    ),
                    source: std::io::ErrorKind::NotFound.into(),
                })?;
            }
            sleep(PAUSE);
        };
        // /sys counts in 512-byte units whatever the sector size.
        let start = fs::read_to_string(format!("/sys/class/block/{device}/start"));
        let start = start
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok())
            .unwrap_or(0)
            .saturating_mul(512);
        if start != partition.start {
            let (number, table) = (partition.number, partition.start);
            return Err(Error::KernelDiffers {
                device: self.path(),
                number,
                kernel: start,
                table,
            });
        }
        Ok(format!("/dev/{device}"))
    }

    fn known(&self, number: u32) -> Option<String> {
        let entries = fs::read_dir(format!("/sys/block/{}", self.name)).ok()?;
        entries.flatten().find_map(|entry| {
            let text = fs::read_to_string(entry.path().join("partition")).ok()?;
            (text.trim().parse() == Ok(number)).then(|| entry.file_name().into_string().ok())?
        })
    }

    /// Tells the kernel about a partition.
    pub(super) fn announce(&self, partition: &Partition) -> Result<(), Error> {
        let doing = || {
            format!(
                "telling the kernel about partition {} of {}",
                partition.number,
                self.path()
            )
        };
        let disk = File::open(self.path()).doing(doing)?;
        block::add_partition(&disk, partition.number, partition.start, partition.size).doing(doing)
    }

    /// Replaces the partition table and reads it back, so that one whole copy with all old partitions exists at any time.
    pub(super) fn write_table(&mut self, table: &Table) -> Result<(), Error> {
        let disk = self.path();
        let doing = || format!("writing the partition table of {disk}");
        let open = || File::options().read(true).write(true).open(&disk);
        let shared = Shared::new(open().doing(doing)?);
        replace_table(&shared, &self.found, table).map_err(|error| unwritten(&disk, error))?;
        // Whatever was written, what counts is what the next start will find.
        let file = File::open(&disk).doing(doing)?;
        let found = read_table(&file, self.size).map_err(|source| Error::ReadBack {
            disk: disk.clone(),
            source,
        })?;
        if found.table != *table || !found.findings.is_empty() {
            return Err(Error::NotWritten { disk });
        }
        self.found = found;
        process::sync();
        Ok(())
    }
}

/// Why a partition table is not written.
fn unwritten(disk: &str, error: write::Error) -> Error {
    let source = match error {
        write::Error::Table(source) => {
            return Error::Layout {
                disk: disk.to_owned(),
                source: source.into(),
            };
        }
        write::Error::Unstable { .. } => {
            return Error::NotWritten {
                disk: disk.to_owned(),
            };
        }
        write::Error::Io { source, .. } | write::Error::Flush { source, .. } => source,
        other => std::io::Error::other(other),
    };
    Error::Io {
        doing: format!("writing the partition table of {disk}"),
        source,
    }
}

fn read_table(file: &File, size: u64) -> Result<Found, gpt::ReadError> {
    let sector = block::sector_size(file).unwrap_or(512);
    gpt::read(
        |offset, buffer| file.read_exact_at(buffer, offset),
        size,
        sector,
    )
}

fn names() -> Vec<String> {
    let entries = fs::read_dir(PathBuf::from("/sys/block"))
        .into_iter()
        .flatten()
        .flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names
        .filter(|name| !NOT_DISKS.iter().any(|other| name.starts_with(other)))
        .collect();
    names.sort();
    names
}
