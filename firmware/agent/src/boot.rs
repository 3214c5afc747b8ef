//! Boot mode: from the initramfs to the operating system.
//!
//! [`steps`] is the whole story. Every step either succeeds or ends in the rescue screen; process 1 never exits and
//! never panics, for then the kernel would, and the reason would be lost among its registers.
//!
//! What is trusted: the kernel, the initramfs and the command line (they come from one signed or measured file, the
//! UKI), and through `roothash=` every byte of the root partition. The identity partition is not authenticated: it may
//! decide about files below `/etc`, `/var` and the other writable trees, and about nothing else.

mod console;
mod disk;
mod files;
mod handover;
mod identity;
mod loader;
mod log;
mod modules;
mod root;
pub(crate) mod state;

use std::convert::Infallible;
use std::path::Path;

use prejoin_sys::clock;
use prejoin_sys::mount::{self, Flags};
use prejoin_wire::handoff::Boot;

use crate::cmdline::{Options, Target};
use crate::error::{Doing as _, Error};
use crate::menu::Choice;
use crate::superblock::Remedy;
use log::Log;

/// Where the root file system of the node is mounted before it becomes `/`.
const ROOT: &str = "/sysroot";

/// Boots the node; called once, as process 1.
pub(crate) fn run() -> ! {
    log::catch_panics();
    let mut log = Log::start();
    let error = match steps(&mut log) {
        Err(error) => error,
        Ok(never) => match never {},
    };
    log.rescue(&error)
}

fn steps(log: &mut Log) -> Result<Infallible, Error> {
    log.begin("mounts", "mounting /dev, /proc, /sys and /run");
    api_mounts()?;
    let line = read_text("/proc/cmdline")?;
    let options = Options::parse(&line);
    log.configure(&options);
    set_clock(log);
    let target = Target::parse(&line)?;

    log.begin("modules", "loading kernel modules");
    modules::load(&line, log)?;

    log.begin("disk", "looking for the disk with the root partition");
    let started = match target.named {
        Some(_) => None,
        None => loader::partition(log),
    };
    let wanted = disk::Wanted::of(&target, started);
    let find = |_, log: &Log| disk::Disk::find(&wanted, options.wait, log);
    let disk = persist(log, Remedy::None, find)?;

    log.begin("identity", "reading the node's identity");
    let identity = identity::Identity::find(&disk, &target, started, log)?;
    log.node(&identity.handoff.node);
    let source = disk.source(&target, &identity.handoff)?;

    log.begin("verity", "opening the root partition");
    let verified = root::open(&disk, &source, &target, options.corruption, log)?;
    log.root(&verified.partition);
    log.begin("root", "mounting the root file system");
    root::mount(&verified, log)?;

    log.begin("partitions", "making the node's partitions");
    let mut disk = state::make_partitions(disk, &identity.handoff, log)?;
    log.begin("state", "preparing the file system of /var");
    let remedy = match options.repair {
        true => Remedy::Repair,
        false => Remedy::None,
    };
    let state = identity.handoff.state();
    persist(log, remedy, |remedy, log: &Log| {
        state::prepare(&mut disk, state, remedy, log)
    })?;
    if let Some(data) = identity.handoff.data() {
        state::prepare_data(&mut disk, data, log);
    }

    log.begin("files", "unpacking the node's files");
    identity.unpack(log)?;
    identity.close()?;

    log.begin("handover", "handing over to the operating system");
    handover::writable_etc()?;
    handover::mask_generator()?;
    log.report(target.slot);
    handover::switch_root(log)
}

/// Does a step until it succeeds or cannot: what went wrong may be put right by somebody in front of the machine.
fn persist<T>(
    log: &mut Log,
    mut remedy: Remedy,
    mut step: impl FnMut(Remedy, &Log) -> Result<T, Error>,
) -> Result<T, Error> {
    loop {
        let error = match step(remedy, log) {
            Ok(done) => return Ok(done),
            Err(error) if error.choices().is_empty() => return Err(error),
            Err(error) => error,
        };
        remedy = match log.ask(&error, error.choices()) {
            Choice::Repair => Remedy::Repair,
            Choice::Make => Remedy::Make,
            _ => Remedy::None,
        };
    }
}

fn api_mounts() -> Result<(), Error> {
    let strict = Flags {
        no_suid: true,
        no_dev: true,
        no_exec: true,
        ..Flags::default()
    };
    for (target, kind, flags, data) in [
        (
            "/dev",
            "devtmpfs",
            Flags {
                no_suid: true,
                ..Flags::default()
            },
            "mode=0755",
        ),
        ("/proc", "proc", strict, ""),
        ("/sys", "sysfs", strict, ""),
        (
            "/run",
            "tmpfs",
            Flags {
                no_suid: true,
                no_dev: true,
                ..Flags::default()
            },
            "mode=0755",
        ),
    ] {
        let target = Path::new(target);
        make_directory(target)?;
        mount::mount(Path::new(kind), target, kind, flags, data)
            .doing(|| format!("mounting {}", target.display()))?;
    }
    make_directory(Path::new(ROOT))
}

/// Moves a clock forward that stands before the image was made. A failure is no reason not to boot.
fn set_clock(log: &Log) {
    let boot = match read_text("/etc/prejoin/boot.json").map(|json| Boot::parse(json.as_bytes())) {
        Ok(Ok(boot)) => boot,
        Ok(Err(error)) => return log.say(&format!("leaving the clock alone: {error}")),
        Err(error) => return log.say(&format!("leaving the clock alone: {error}")),
    };
    let now = clock::now().as_secs();
    if now < boot.epoch {
        match clock::set(boot.epoch) {
            Ok(()) => log.say(&format!(
                "clock stood at {now}, set it to the image's {}",
                boot.epoch
            )),
            Err(error) => log.say(&format!("setting the clock to {}: {error}", boot.epoch)),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "small files of the initramfs and the kernel"
)]
fn read_text(path: &str) -> Result<String, Error> {
    let bytes = std::fs::read(path).doing(|| format!("reading {path}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[expect(clippy::disallowed_methods, reason = "mount points in the initramfs")]
fn make_directory(path: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(path).doing(|| format!("making {}", path.display()))
}
