//! The last steps: writable trees over the read-only root, and the operating system's own process 1.
#![expect(clippy::disallowed_methods, reason = "empties the initramfs")]

use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use prejoin_sys::mount::{self, Flags};
use prejoin_sys::process;

use super::log::Log;
use super::{ROOT, make_directory};
use crate::archive::{OVERLAY, UPPER, WORK};
use crate::error::{Doing as _, Error};

/// The operating system's process 1, and what it is called.
pub(super) const INIT: &str = "/usr/lib/systemd/systemd";
const INIT_NAME: &str = "systemd";

/// Puts the overlay on `/etc`, which systemd reads before it mounts anything. `/home`, `/root`, `/srv` and `/opt` are
/// mount units of the image: of what is mounted already systemd takes the unit for started, so that a file system of the
/// node's own at `/srv` would never be mounted.
pub(super) fn writable_etc() -> Result<(), Error> {
    let trees = format!("{ROOT}/var/{}", OVERLAY.join("/"));
    let etc = format!("{ROOT}/etc");
    let layers = format!("lowerdir={etc},upperdir={trees}/{UPPER},workdir={trees}/{WORK}");
    mount::mount(
        Path::new("overlay"),
        Path::new(&etc),
        "overlay",
        Flags::default(),
        &layers,
    )
    .doing(|| "mounting the overlay on /etc".to_owned())
}

/// Keeps systemd from opening the verity device a second time: its generator sees our `roothash=`, guesses other
/// partitions from it and waits for them for a minute and a half. A link to /dev/null masks a generator
/// (systemd.generator(7)).
pub(super) fn mask_generator() -> Result<(), Error> {
    let directory = Path::new("/run/systemd/system-generators");
    make_directory(directory)?;
    symlink("/dev/null", directory.join("systemd-veritysetup-generator"))
        .doing(|| "masking systemd-veritysetup-generator".to_owned())
}

/// Moves the kernel's file systems over, gives the initramfs's memory back and becomes the operating system.
pub(super) fn switch_root(log: &Log) -> Result<Infallible, Error> {
    if let Err(error) = free_initramfs() {
        log.say(&format!("emptying the initramfs: {error}"));
    }
    for name in ["/dev", "/proc", "/sys", "/run"] {
        let target = format!("{ROOT}{name}");
        mount::relocate(Path::new(name), Path::new(&target))
            .doing(|| format!("moving {name} to the new root"))?;
    }
    let error = process::switch_root(Path::new(ROOT), INIT, INIT_NAME);
    Err(error).doing(|| format!("starting {INIT}"))
}

/// Removes every file of the initramfs, and nothing that is mounted in it. Not done if `/` is anything but memory:
/// then this is no initramfs.
fn free_initramfs() -> std::io::Result<()> {
    let top = Path::new("/");
    if !mount::is_memory(top)? {
        return Ok(());
    }
    let device = fs::symlink_metadata(top)?.dev();
    for entry in fs::read_dir(top)? {
        let path = entry?.path();
        let data = fs::symlink_metadata(&path)?;
        if data.dev() != device {
            continue;
        }
        if data.is_dir() {
            empty(&path, device)?;
        } else {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn empty(directory: &Path, device: u64) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let data = fs::symlink_metadata(&path)?;
        if data.dev() != device {
            continue;
        }
        if data.is_dir() {
            empty(&path, device)?;
            fs::remove_dir(&path)?;
        } else {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
