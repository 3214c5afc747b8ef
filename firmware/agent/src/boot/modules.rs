//! Kernel modules of the initramfs.
#![expect(
    clippy::disallowed_methods,
    reason = "reads modules from the initramfs"
)]

use std::fs::File;
use std::io::ErrorKind;

use prejoin_sys::module;

use super::log::Log;
use super::read_text;
use crate::error::Error;

/// One absolute path on each line, in the order to load them.
const LIST: &str = "/modules.list";
/// Raw `ENODEV`: a driver for hardware this machine does not have.
const NO_DEVICE: i32 = 19;

/// Loads every module on the list. One that cannot be loaded is reported and done without: whether it was needed shows
/// later, with a better message.
pub(super) fn load(log: &Log) -> Result<(), Error> {
    let list = match read_text(LIST) {
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            log.say("no modules to load");
            return Ok(());
        }
        list => list?,
    };
    let mut loaded = 0;
    let mut total = 0;
    for path in list.lines().map(str::trim).filter(|path| !path.is_empty()) {
        total += 1;
        match File::open(path).and_then(|file| module::load(&file, path.ends_with(".xz"))) {
            Ok(()) => loaded += 1,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => loaded += 1,
            Err(error) if error.raw_os_error() == Some(NO_DEVICE) => {}
            Err(error) => log.say(&format!("loading {path}: {error}")),
        }
    }
    log.say(&format!("{loaded} of {total} modules loaded"));
    Ok(())
}
