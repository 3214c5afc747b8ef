//! What a layout must be, so that the image builder and the agent find what they look for.

use std::collections::BTreeSet;

use super::{Disk, Filesystem, Layout, Partition, Purpose};
use prejoin_wire::handoff::{DATA, SMALLEST_STATE, STATE};
use prejoin_wire::path;
use prejoin_wire::size::Size;

/// The partitions of the system disk, in the order of their making. The agent and the command line know them by these
/// names, an update by those of the second slot.
const SYSTEM: [(&str, Purpose, Needed); 8] = [
    ("boot", Purpose::Boot, Needed::Yes),
    ("root-a", Purpose::Root, Needed::Yes),
    ("root-a-verity", Purpose::Verity, Needed::Yes),
    ("root-b", Purpose::Root, Needed::With("root-b-verity")),
    ("root-b-verity", Purpose::Verity, Needed::With("root-b")),
    ("identity", Purpose::Identity, Needed::Yes),
    (STATE, Purpose::State, Needed::Yes),
    (DATA, Purpose::Data, Needed::No),
];

/// Whether a layout can do without a partition.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needed {
    Yes,
    With(&'static str),
    No,
}

/// Where `state` is mounted.
const VAR: &str = "/var";

/// What is wrong with a layout, as a lower-case fragment.
pub(super) fn problem(layout: &Layout) -> Option<String> {
    sizes(layout)
        .or_else(|| meanings(layout))
        .or_else(|| missing(layout))
        .or_else(|| mounts(layout))
}

/// Names that a table can hold, and sizes that leave no question open.
fn sizes(layout: &Layout) -> Option<String> {
    let mut names = BTreeSet::new();
    for (index, partition) in layout.partitions.iter().enumerate() {
        let name = &partition.name;
        if name.is_empty() || name.encode_utf16().count() > 36 {
            return Some(format!(
                "the partition name `{name}` is empty or longer than 36 UTF-16 units"
            ));
        }
        if !names.insert(name) {
            return Some(format!("two partitions are called `{name}`"));
        }
        let whole =
            |size: &Size| size.bytes() > 0 && size.bytes().is_multiple_of(Size::MIB.bytes());
        let Some(size) = partition.size.or(partition.min_size).filter(whole) else {
            return Some(format!(
                "partition `{name}` needs a `size`, or a `min_size`, in whole MiB"
            ));
        };
        let later = &layout.partitions[index + 1..];
        if partition.size.is_none() && later.iter().any(|p| p.disk == partition.disk) {
            return Some(format!(
                "partition `{name}` takes the rest of its disk, but others follow"
            ));
        }
        if partition.purpose == Purpose::State && size.bytes() < SMALLEST_STATE {
            return Some(format!(
                "partition `{name}` needs at least {} MiB",
                SMALLEST_STATE >> 20
            ));
        }
    }
    None
}

/// A name says what the partition is for, and the other way round.
fn meanings(layout: &Layout) -> Option<String> {
    for Partition {
        name,
        purpose,
        disk,
        ..
    } in &layout.partitions
    {
        let known = SYSTEM.iter().find(|(known, ..)| known == name);
        if let Some((_, meant, _)) = known.filter(|(_, meant, _)| meant != purpose) {
            let (meant, purpose) = (word(*meant), word(*purpose));
            return Some(format!(
                "a partition called `{name}` has the purpose `{meant}`, not `{purpose}`"
            ));
        }
        if *disk == Disk::System && known.is_none() {
            let names: Vec<_> = SYSTEM
                .iter()
                .map(|(name, ..)| format!("`{name}`"))
                .collect();
            let names = names.join(", ");
            return Some(format!(
                "the system disk has no use for a partition `{name}`; known there: {names}"
            ));
        }
        if *disk == Disk::Data && *purpose != Purpose::Data {
            return Some(format!(
                "partition `{name}` is for `{}`, and not on the system disk",
                word(*purpose)
            ));
        }
    }
    None
}

/// The system disk has what it must, in the order in which image builder and agent make it.
fn missing(layout: &Layout) -> Option<String> {
    let place = |name: &str| {
        layout
            .on(Disk::System)
            .position(|partition| partition.name == name)
    };
    let mut last: Option<(&str, usize)> = None;
    for (name, _, needed) in SYSTEM {
        let Some(at) = place(name) else {
            match needed {
                Needed::Yes => {
                    return Some(format!("there is no partition `{name}` on the system disk"));
                }
                Needed::With(other) if place(other).is_some() => {
                    return Some(format!("there is a partition `{other}`, but no `{name}`"));
                }
                Needed::With(_) | Needed::No => continue,
            }
        };
        if let Some((before, _)) = last.filter(|(_, before)| at < *before) {
            return Some(format!(
                "partition `{name}` stands before `{before}`, and must come after it"
            ));
        }
        last = Some((name, at));
    }
    None
}

/// File systems that the agent makes, on places that the node can mount them at.
fn mounts(layout: &Layout) -> Option<String> {
    let mut mounts = BTreeSet::new();
    for Partition {
        name,
        purpose,
        filesystem,
        mount,
        ..
    } in &layout.partitions
    {
        match (purpose, filesystem, mount.as_deref()) {
            (Purpose::State, Some(Filesystem::Ext4), Some(VAR)) | (Purpose::Data, _, None) => {}
            (Purpose::State, ..) => {
                return Some(format!(
                    "partition `{name}` is ext4, and mounted at `{VAR}`"
                ));
            }
            (Purpose::Data, None, Some(_)) => {
                return Some(format!(
                    "partition `{name}` has a `mount` and no `filesystem`"
                ));
            }
            (Purpose::Data, Some(_), Some(mount)) => {
                if let Some(problem) = place(mount) {
                    return Some(format!(
                        "partition `{name}` cannot be mounted at `{mount}`: {problem}"
                    ));
                }
            }
            (_, None, None) => {}
            _ => {
                return Some(format!(
                    "partition `{name}` has neither `filesystem` nor `mount` of your choice"
                ));
            }
        }
        if let Some(mount) = mount
            .as_ref()
            .filter(|mount| !mounts.insert(mount.as_str()))
        {
            return Some(format!("two partitions are mounted at `{mount}`"));
        }
    }
    None
}

/// Why data cannot be mounted there.
fn place(mount: &str) -> Option<String> {
    // Mount units are called after their escaped paths (systemd.unit(5)); these characters are all that is foreseen.
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.');
    let Some(path) = mount
        .strip_prefix('/')
        .filter(|path| path.chars().all(plain))
    else {
        return Some("not an absolute path of letters, digits, `-`, `_` and `.`".to_owned());
    };
    // Trees of their own, without people's homes, which are made before anything is mounted over them.
    if matches!(path, "srv" | "opt") {
        return None;
    }
    if let Err(error) = path::check_file(path.as_bytes()) {
        return Some(error.to_string());
    }
    let fits = ["var/", "srv/", "opt/"]
        .iter()
        .any(|tree| path.starts_with(tree));
    (!fits).then(|| "data goes to a folder in `/var`, or to `/srv` or `/opt`".to_owned())
}

/// The purpose as the file has it.
fn word(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Boot => "boot",
        Purpose::Root => "root",
        Purpose::Verity => "verity",
        Purpose::Identity => "identity",
        Purpose::State => "state",
        Purpose::Data => "data",
    }
}
