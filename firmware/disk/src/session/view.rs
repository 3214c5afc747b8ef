//! Everything about a disk.

use std::collections::BTreeSet;
use std::path::Path;

use prejoin_wire::disk::{Device, Facts, Usage, VERSION};

use crate::device::ReadAt;
use crate::io::target::{Reader, Target};
use crate::io::{Error, inventory, usage};
use crate::probe::probe_from;

/// Everything about a disk or image file, with a closer look at `starts`.
pub fn look(path: &Path, starts: &BTreeSet<u64>) -> Result<Facts, Error> {
    let device = inventory::device(path)?;
    let users = usage::usage(&device);
    let reader = Reader::open(path)?;
    Ok(facts(device, users, &reader, starts))
}

/// The same of a disk that this process holds.
pub(super) fn held(target: &Target, path: &Path, starts: &BTreeSet<u64>) -> Result<Facts, Error> {
    let device = inventory::device(path)?;
    target.unchanged(&device)?;
    let users = usage::while_held(&device);
    Ok(facts(device, users, target, starts))
}

fn facts(
    device: Device,
    usage: Vec<Usage>,
    disk: &(dyn ReadAt + Sync),
    starts: &BTreeSet<u64>,
) -> Facts {
    let content = probe_from(disk, device.size, device.sector_size, starts);
    Facts {
        version: VERSION,
        device,
        usage,
        content,
    }
}
