//! Kernel modules of the initramfs.
#![expect(
    clippy::disallowed_methods,
    reason = "reads modules from the initramfs"
)]

use std::fs::File;
use std::io::ErrorKind;

use prejoin_formats::modprobe::Config;
use prejoin_sys::module;

use super::log::Log;
use super::read_text;
use crate::cmdline;
use crate::error::Error;

/// One absolute path on each line, in the order to load them.
const LIST: &str = "/modules.list";
/// Raw `ENODEV`: a driver for hardware this machine does not have.
const NO_DEVICE: i32 = 19;

/// What the system's `modprobe.d` says about them, if anything.
const CONFIG: &str = "/modules.conf";

/// Loads every module on the list, with the parameters that `modprobe.d` and the kernel command line have for it. One
/// that cannot be loaded is reported and done without: whether it was needed shows later, with a better message.
pub(super) fn load(line: &str, log: &Log) -> Result<(), Error> {
    let mut config = Config::default();
    if let Some(text) = optional(CONFIG)? {
        config.add_file(&text);
    }
    let words = cmdline::words(line);
    config.add_command_line(words.iter().map(String::as_str));
    let Some(list) = optional(LIST)? else {
        log.say("no modules to load");
        return Ok(());
    };
    let mut loaded = 0;
    let mut total = 0;
    for path in list.lines().map(str::trim).filter(|path| !path.is_empty()) {
        total += 1;
        let name = name(path);
        if config.is_left_out(name) {
            log.say(&format!("leaving out the module {name}, as was asked for"));
            continue;
        }
        let parameters = config.parameters(name);
        if !parameters.is_empty() {
            log.say(&format!("module {name}: {parameters}"));
        }
        let mut result = load_one(path, &parameters);
        // Without a driver there may be no disk. What is written wrongly costs what it was to change, not the node.
        if let Err(error) = &result
            && error.kind() == ErrorKind::InvalidInput
            && !parameters.is_empty()
        {
            log.say(&format!("loading {path} without its parameters: {error}"));
            result = load_one(path, "");
        }
        match result {
            Ok(()) => loaded += 1,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => loaded += 1,
            Err(error) if error.raw_os_error() == Some(NO_DEVICE) => {}
            Err(error) => log.say(&format!("loading {path}: {error}")),
        }
    }
    log.say(&format!("{loaded} of {total} modules loaded"));
    Ok(())
}

fn load_one(path: &str, parameters: &str) -> std::io::Result<()> {
    module::load(&File::open(path)?, path.ends_with(".xz"), parameters)
}

/// The module in a file: `/modules/usb-storage.ko`.
fn name(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split_once(".ko").map_or(file, |(name, _)| name)
}

/// A file of the initramfs that need not be there.
fn optional(path: &str) -> Result<Option<String>, Error> {
    match read_text(path) {
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        text => text.map(Some),
    }
}
