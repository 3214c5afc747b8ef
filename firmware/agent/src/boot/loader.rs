//! Asking the firmware which partition it started from.
#![expect(
    clippy::disallowed_methods,
    reason = "reads a variable of the firmware"
)]

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use prejoin_sys::mount::{self, Flags};
use uuid::Uuid;

use super::log::Log;
use crate::error::{Doing as _, Error};
use crate::loader::{LONGEST, VARIABLE, device_partition};

/// Where the kernel wants it.
const VARIABLES: &str = "/sys/firmware/efi/efivars";

/// The partition that the boot loader was started from, if the firmware is UEFI's and says so. What cannot be read is told,
/// and is no reason not to boot.
pub(super) fn partition(log: &Log) -> Option<Uuid> {
    if !Path::new(VARIABLES).is_dir() {
        log.say("this firmware has no variables: it does not say what it started from");
        return None;
    }
    let found = read();
    match &found {
        Ok(Some(guid)) => log.say(&format!("started from the partition {guid}")),
        Ok(None) => log.say("the boot loader does not say which partition it was started from"),
        Err(error) => log.say(&format!(
            "not known which partition it was started from: {error}"
        )),
    }
    found.ok().flatten()
}

fn read() -> Result<Option<Uuid>, Error> {
    let target = Path::new(VARIABLES);
    let flags = Flags {
        read_only: true,
        no_suid: true,
        no_dev: true,
        no_exec: true,
        ..Flags::default()
    };
    mount::mount(Path::new("efivarfs"), target, "efivarfs", flags, "")
        .doing(|| format!("mounting {VARIABLES}"))?;
    let mut bytes = Vec::new();
    let read = File::open(target.join(VARIABLE))
        .and_then(|file| file.take(LONGEST as u64 + 1).read_to_end(&mut bytes));
    // systemd mounts it itself, with its own options.
    mount::unmount(target).doing(|| format!("unmounting {VARIABLES}"))?;
    match read {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.doing(|| format!("reading {VARIABLE}"))?,
    };
    Ok(device_partition(&bytes).filter(|_| bytes.len() <= LONGEST))
}
