//! The partitions a node makes for itself on first boot, and their file systems.
#![expect(clippy::disallowed_methods, reason = "reads and formats partitions")]

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use prejoin_disk::layout;
use prejoin_disk::write::PARTIAL;
use prejoin_formats::gpt::Partition;
use prejoin_sys::mount::{self, Flags};
use prejoin_sys::process;
use prejoin_wire::handoff::{self, Format, Handoff};

use super::ROOT;
use super::disk::Disk;
use super::log::Log;
use crate::error::{Doing as _, Error};
use crate::layout::required;
use crate::superblock::{self, Content, Remedy, Step};

/// Kernel file systems the tools need, bound into the root while they run.
const BOUND: [&str; 2] = ["/dev", "/proc"];

/// Adds the partitions the table does not have yet, marked as partial until they hold what they must.
pub(super) fn make_partitions(mut disk: Disk, handoff: &Handoff, log: &Log) -> Result<Disk, Error> {
    let plan =
        layout::complete(&disk.found.table, disk.size, &handoff.partitions).map_err(|source| {
            Error::Layout {
                disk: disk.path(),
                source: source.into(),
            }
        })?;
    for reason in &plan.skipped {
        log.say(&format!("{}: going without: {reason}", disk.path()));
    }
    if plan.added.is_empty() {
        return Ok(disk);
    }
    if !disk.found.is_editable() {
        return Err(uneditable(&disk));
    }
    disk.write_table(&plan.table)?;
    for number in plan.added {
        let partition = plan
            .table
            .partition(number)
            .expect("the plan lists what it added");
        log.say(&format!(
            "{}: added partition {number} `{}`, {} MiB",
            disk.path(),
            partition.name,
            partition.size >> 20
        ));
        disk.announce(partition)?;
    }
    Ok(disk)
}

fn uneditable(disk: &Disk) -> Error {
    let findings = disk.found.findings.iter().map(ToString::to_string);
    Error::Uneditable {
        disk: disk.path(),
        finding: findings.collect::<Vec<_>>().join("; "),
    }
}

/// Makes or checks the file system of the state partition and mounts it at `/var`.
///
/// Only a partition that is marked as partial is formatted. Any other that does not hold its file system was used: that
/// is somebody's decision, whatever is left of it.
pub(super) fn prepare(
    disk: &mut Disk,
    state: &handoff::Partition,
    remedy: Remedy,
    log: &Log,
) -> Result<(), Error> {
    let partition = own(disk, state)?;
    let device = disk.device(&partition)?;
    make_or_check(&device, &partition, state, remedy, log)?;
    unmark(disk, state, log);
    let target = format!("{ROOT}/var");
    // Neither nosuid nor nodev: pods have volumes here that need both.
    let flags = Flags {
        no_atime: true,
        ..Flags::default()
    };
    mount::mount(Path::new(&device), Path::new(&target), "ext4", flags, "")
        .doing(|| format!("mounting {device} at /var"))
}

/// Makes the file system of the data partition if it is marked as partial; otherwise it is left untouched. A raw one
/// only loses the mark.
pub(super) fn prepare_data(disk: &mut Disk, data: &handoff::Partition, log: &Log) {
    let guid = data.guid;
    let Some(partition) = disk.found.table.with_guid(&guid).cloned() else {
        return;
    };
    if partition.type_guid != PARTIAL {
        return;
    }
    let made = if data.format == Format::None {
        Ok(())
    } else {
        disk.device(&partition)
            .and_then(|device| make_or_check(&device, &partition, data, Remedy::None, log))
    };
    match made {
        Ok(()) => unmark(disk, data, log),
        // A node without its data can still be reached and looked at.
        Err(error) => log.say(&error.to_string()),
    }
}

/// Brings a partition to what it must hold, or says why it is left alone.
fn make_or_check(
    device: &str,
    partition: &Partition,
    wanted: &handoff::Partition,
    remedy: Remedy,
    log: &Log,
) -> Result<(), Error> {
    let is_partial = partition.type_guid == PARTIAL;
    let content = look(device, wanted, is_partial)?;
    let step = content.step(is_partial, remedy);
    match step {
        Step::Keep => {}
        Step::Repair(block) => {
            log.say(&format!("{device} holds {content}: repairing it"));
            check(device, check_arguments(remedy, Some(block), false), log)?;
        }
        Step::Make => {
            let name = &wanted.name;
            log.say(&format!("{device} holds {content}: making the {name}"));
            let (program, arguments) = make_arguments(wanted);
            tool(program, device, &arguments, |code| code == 0)?;
            process::sync();
        }
        Step::Stop => {
            return Err(Error::Unexpected {
                device: device.to_owned(),
                name: wanted.name.clone(),
                content,
            });
        }
    }
    if wanted.format == Format::Ext4 {
        // One that was being made when the power failed may call itself clean.
        let forced = is_partial && step != Step::Make;
        check(device, check_arguments(remedy, None, forced), log)?;
    }
    Ok(())
}

/// Gives a partition that was made its real type. What keeps it from that is said, and no reason not to start: what is
/// marked and has its file system is kept.
fn unmark(disk: &mut Disk, made: &handoff::Partition, log: &Log) {
    let guid = made.guid;
    let mut table = disk.found.table.clone();
    let mut marked = table.partitions.iter_mut();
    let Some(partition) = marked.find(|p| p.guid == guid && p.type_guid == PARTIAL) else {
        return;
    };
    partition.type_guid = made.type_guid;
    let written = if disk.found.is_editable() {
        disk.write_table(&table)
    } else {
        Err(uneditable(disk))
    };
    if let Err(error) = written {
        let name = &made.name;
        log.say(&format!("leaving the {name} marked as partial: {error}"));
    }
}

/// By GUID: somebody else's partition may be called `state`, and the node's own may not be any more.
fn own(disk: &Disk, state: &handoff::Partition) -> Result<Partition, Error> {
    let partition = required(&disk.found.table, "state", state.guid);
    partition.cloned().map_err(|source| Error::Layout {
        disk: disk.path(),
        source,
    })
}

fn look(device: &str, wanted: &handoff::Partition, is_partial: bool) -> Result<Content, Error> {
    let doing = || format!("reading {device}");
    let file = File::open(device).doing(doing)?;
    let size = prejoin_sys::block::size(&file).doing(doing)?;
    let read = |offset, buffer: &mut [u8]| file.read_exact_at(buffer, offset);
    superblock::look(read, size, wanted, is_partial).doing(doing)
}

/// The program that makes a file system, and its arguments before the device.
///
/// ext4: blocks are of 4096 bytes whatever the size, which [`superblock`] relies on. No discard: it takes minutes on
/// some USB disks, and `fstrim.timer` does it later. XFS: over what an interrupted run has left.
pub(crate) fn make_arguments(partition: &handoff::Partition) -> (&'static str, Vec<String>) {
    let (uuid, name) = (partition.uuid.to_string(), partition.name.as_str());
    let xfs = format!("uuid={uuid}");
    let lazy = "lazy_itable_init=1,lazy_journal_init=1,nodiscard";
    let (program, arguments) = match partition.format {
        Format::Xfs => ("mkfs.xfs", vec!["-q", "-f", "-L", name, "-m", &xfs]),
        Format::Ext4 | Format::None => (
            "mke2fs",
            vec![
                "-q", "-F", "-t", "ext4", "-b", "4096", "-m", "1", "-U", &uuid, "-L", name, "-E",
                lazy,
            ],
        ),
    };
    (program, arguments.into_iter().map(str::to_owned).collect())
}

/// e2fsck(8) and its arguments before the device: from the superblock at `copy`, or from the first one, then `forced`
/// even if it calls itself clean.
pub(crate) fn check_arguments(
    remedy: Remedy,
    copy: Option<u64>,
    forced: bool,
) -> (&'static str, Vec<String>) {
    let how = if remedy == Remedy::Repair { "-y" } else { "-p" };
    let mut arguments = vec![how.to_owned()];
    if forced {
        arguments.push("-f".to_owned());
    }
    if let Some(block) = copy {
        let block = block.to_string();
        arguments.extend(["-b", &block, "-B", "4096"].map(str::to_owned));
    }
    ("e2fsck", arguments)
}

/// Runs e2fsck(8): 0 is clean, 1 repaired, 2 repaired and would like a restart if the file system were in use, which it
/// is not.
fn check(
    device: &str,
    (program, arguments): (&'static str, Vec<String>),
    log: &Log,
) -> Result<(), Error> {
    let (code, output) = tool(program, device, &arguments, |code| code <= 2)?;
    if code != 0 {
        log.say(&format!("{device}: e2fsck repaired it: {output}"));
    }
    Ok(())
}

/// Runs a program of the verified root file system on a device.
fn tool(
    program: &'static str,
    device: &str,
    arguments: &[String],
    fine: impl FnOnce(i32) -> bool,
) -> Result<(i32, String), Error> {
    let arguments: Vec<&OsStr> = arguments
        .iter()
        .map(String::as_str)
        .chain([device])
        .map(OsStr::new)
        .collect();
    let bound = |name: &str| format!("{ROOT}{name}");
    for name in BOUND {
        mount::bind(Path::new(name), Path::new(&bound(name)))
            .doing(|| format!("binding {name} for {program}"))?;
    }
    let environment = [("PATH", "/usr/sbin:/usr/bin"), ("LC_ALL", "C")];
    let output = process::run(
        Path::new(ROOT),
        &format!("/usr/sbin/{program}"),
        &arguments,
        &environment,
    );
    for name in BOUND {
        mount::unmount(Path::new(&bound(name)))
            .doing(|| format!("unbinding {name} after {program}"))?;
    }
    let output = output.doing(|| format!("running {program} on {device}"))?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat())
        .trim()
        .to_owned();
    match output.status.code() {
        Some(code) if fine(code) => Ok((code, text)),
        _ => Err(Error::Tool {
            program,
            device: device.to_owned(),
            status: output.status.to_string(),
            output: text,
        }),
    }
}
