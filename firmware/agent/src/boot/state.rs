//! The partitions a node makes for itself on first boot, and their file systems.
#![expect(clippy::disallowed_methods, reason = "reads and formats partitions")]

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use prejoin_disk::layout;
use prejoin_formats::guid::Guid;
use prejoin_profiles::handoff::{self, Format, Handoff};
use prejoin_sys::mount::{self, Flags};
use prejoin_sys::process;

use super::ROOT;
use super::disk::Disk;
use super::log::Log;
use crate::error::{Doing as _, Error};
use crate::layout::required;
use crate::superblock::{self, COPY, COPY_BLOCK, COPY_SIZE, Content, HEAD};

/// Kernel file systems the tools need, bound into the root while they run.
const BOUND: [&str; 2] = ["/dev", "/proc"];

/// Adds the partitions the table does not have yet.
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
        let findings: Vec<String> = disk
            .found
            .findings
            .iter()
            .map(ToString::to_string)
            .collect();
        return Err(Error::Uneditable {
            disk: disk.path(),
            finding: findings.join("; "),
        });
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

/// Makes or checks the file system of the state partition and mounts it at `/var`.
///
/// The partition belongs to the operating system: what is not the expected file system is replaced. One whose first
/// superblock is gone and whose second one is there is repaired instead; that is also what an interrupted format
/// looks like.
pub(super) fn prepare(
    disk: &Disk,
    state: &handoff::Partition,
    repair: bool,
    log: &Log,
) -> Result<(), Error> {
    let device = device(disk, state)?;
    let (head, copy) = look(&device)?;
    let content = superblock::ext4(&head, &copy);
    match &content {
        Content::Expected => {}
        Content::Damaged => {
            log.say(&format!(
                "{device}: the superblock is lost, repairing from its copy"
            ));
            check(&device, &["-y", "-b", COPY_BLOCK, "-B", "4096"], log)?;
        }
        Content::Blank => {
            log.say(&format!("{device}: blank, making the file system of /var"));
            make_ext4(&device, state)?;
        }
        Content::Other(what) => {
            log.say(&format!(
                "{device}: replacing {what} by the file system of /var"
            ));
            make_ext4(&device, state)?;
        }
    }
    check(&device, &[if repair { "-y" } else { "-p" }], log)?;
    let target = format!("{ROOT}/var");
    // Neither nosuid nor nodev: pods have volumes here that need both.
    let flags = Flags {
        no_atime: true,
        ..Flags::default()
    };
    mount::mount(Path::new(&device), Path::new(&target), "ext4", flags, "")
        .doing(|| format!("mounting {device} at /var"))
}

/// Formats the data partition if its first MiB is blank and no copy of its own superblock is further in; otherwise it is
/// left untouched.
pub(super) fn prepare_data(disk: &Disk, data: &handoff::Partition, log: &Log) -> Result<(), Error> {
    let Some(partition) = disk.found.table.with_guid(&Guid::from_bytes(data.guid.0)) else {
        return Ok(());
    };
    let device = disk.device(partition)?;
    let (head, copy) = look(&device)?;
    let lost = matches!(superblock::ext4(&head, &copy), Content::Damaged);
    let content = if lost {
        Content::Damaged
    } else {
        superblock::any(&head)
    };
    let made = match (content, data.format) {
        (Content::Blank, Format::Ext4) => make_ext4(&device, data),
        (Content::Blank, Format::Xfs) => {
            let uuid = format!("uuid={}", data.uuid);
            tool(
                "mkfs.xfs",
                &device,
                &["-q", "-L", &data.name, "-m", &uuid],
                |code| code == 0,
            )
            .map(drop)
        }
        (Content::Blank, Format::None) => Ok(()),
        (content, _) => {
            log.say(&format!(
                "{device}: keeping the data partition as it is: it holds {content}"
            ));
            Ok(())
        }
    };
    // A node without its data can still be reached and looked at.
    if let Err(error) = made {
        log.say(&format!("{error}"));
    }
    Ok(())
}

/// By GUID: somebody else's partition may be called `state`, and the node's own may not be any more.
fn device(disk: &Disk, state: &handoff::Partition) -> Result<String, Error> {
    let guid = Guid::from_bytes(state.guid.0);
    let partition = required(&disk.found.table, "state", guid);
    disk.device(partition.map_err(|source| Error::Layout {
        disk: disk.path(),
        source,
    })?)
}

/// The first [`HEAD`] bytes, and [`COPY_SIZE`] bytes from [`COPY`] if the partition is that long. An unreadable
/// partition is an error: it must not pass for an empty one.
fn look(device: &str) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let doing = || format!("reading {device}");
    let file = File::open(device).doing(doing)?;
    let size = prejoin_sys::block::size(&file).doing(doing)?;
    let mut head = vec![0; size.min(HEAD as u64) as usize];
    file.read_exact_at(&mut head, 0).doing(doing)?;
    let mut copy = vec![
        0;
        if size >= COPY + COPY_SIZE as u64 {
            COPY_SIZE
        } else {
            0
        }
    ];
    file.read_exact_at(&mut copy, COPY).doing(doing)?;
    Ok((head, copy))
}

/// Blocks are of 4096 bytes whatever the size, which [`COPY`] relies on. No discard: it takes minutes on some USB disks,
/// and `fstrim.timer` does it later.
fn make_ext4(device: &str, partition: &handoff::Partition) -> Result<(), Error> {
    let uuid = partition.uuid.to_string();
    let options = "lazy_itable_init=1,lazy_journal_init=1,nodiscard";
    let arguments = [
        "-q",
        "-F",
        "-t",
        "ext4",
        "-b",
        "4096",
        "-m",
        "1",
        "-U",
        &uuid,
        "-L",
        &partition.name,
        "-E",
        options,
    ];
    tool("mke2fs", device, &arguments, |code| code == 0)?;
    process::sync();
    Ok(())
}

/// e2fsck(8): 0 is clean, 1 repaired, 2 repaired and would like a restart if the file system were in use, which it is
/// not.
fn check(device: &str, arguments: &[&str], log: &Log) -> Result<(), Error> {
    let (code, output) = tool("e2fsck", device, arguments, |code| code <= 2)?;
    if code != 0 {
        log.say(&format!("{device}: e2fsck repaired it: {output}"));
    }
    Ok(())
}

/// Runs a program of the verified root file system on a device.
fn tool(
    program: &'static str,
    device: &str,
    arguments: &[&str],
    fine: impl FnOnce(i32) -> bool,
) -> Result<(i32, String), Error> {
    let arguments: Vec<&OsStr> = arguments
        .iter()
        .copied()
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
