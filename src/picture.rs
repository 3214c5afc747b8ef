//! How a disk looks: one line to scale, and what is on it in words.

use std::io::IsTerminal as _;

use prejoin_disk::judge::{System, operating_system};
use prejoin_disk::region;
use prejoin_disk::write::PARTIAL;
use prejoin_wire::disk::{
    Content, Device, Extent, Health, Opal, Partition, Region, RegionKind, Scheme, Usage, decimal,
};
use prejoin_wire::{handoff, printable};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::report::size;
use crate::terminal;

/// Columns where there is no terminal to ask.
const WIDTH: usize = 100;

/// Partitions whose content is told in one sentence.
const MOST_PARTITIONS: usize = 6;

/// Columns of the terminal on stdout or stderr.
pub(crate) fn width(talk: bool) -> usize {
    let asked = match talk {
        true => std::io::stderr()
            .is_terminal()
            .then(|| rustix::termios::tcgetwinsize(std::io::stderr())),
        false => std::io::stdout()
            .is_terminal()
            .then(|| rustix::termios::tcgetwinsize(std::io::stdout())),
    };
    match asked {
        Some(Ok(size)) if size.ws_col >= 20 => size.ws_col.into(),
        _ => WIDTH,
    }
}

/// Bytes as drives are sold; small amounts as memory is.
pub(crate) fn amount(bytes: u64) -> String {
    if bytes < 1_000_000 {
        size(bytes)
    } else {
        decimal(bytes)
    }
}

/// The same with every control character made visible: disks hold labels and names that would take over a terminal.
pub(crate) fn printable<T: Serialize + DeserializeOwned>(document: &T) -> T {
    let value = serde_json::to_value(document).expect("the document has only string keys");
    serde_json::from_value(visible(value)).expect("only the characters of its texts differ")
}

fn visible(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(printable::printable(&text).into_owned()),
        Value::Array(list) => list.into_iter().map(visible).collect(),
        Value::Object(map) => Value::Object(
            map.into_iter()
                .map(|(key, value)| (key, visible(value)))
                .collect(),
        ),
        other => other,
    }
}

/// The disk to scale: each region as wide as it is long, at least one column, with its partition's number where that
/// fits; below it what the signs stand for.
pub(crate) fn line(regions: &[Region], width: usize, colour: bool) -> String {
    let cells = columns(regions, width.saturating_sub(1));
    let mut text = String::from("├");
    let mut used = 1;
    for (index, (region, columns)) in regions.iter().zip(&cells).enumerate() {
        // Where each region has but one column, there may still be more of them than the line has.
        if used + columns >= width {
            text.push_str("\n ");
            used = 1;
        }
        used += columns;
        let (sign, paint) = sign(region.kind);
        let number = region
            .partition
            .map(|number| number.to_string())
            .filter(|number| number.len() <= *columns);
        let number = number.unwrap_or_default();
        let fill: String = std::iter::repeat_n(sign, columns - number.len()).collect();
        let body = format!("{number}{fill}");
        text.push_str(&if colour {
            terminal::paint(&body, paint)
        } else {
            body
        });
        let last = index + 1 == regions.len();
        let end = match last {
            true => "┤",
            false if cells.len() * 2 < width => "┼",
            false => "",
        };
        used += end.chars().count();
        text.push_str(end);
    }
    let mut kinds: Vec<RegionKind> = regions.iter().map(|region| region.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let legend: Vec<String> = kinds
        .iter()
        .map(|kind| format!("{} {}", sign(*kind).0, kind_name(*kind)))
        .collect();
    format!("{text}\n{}\n", legend.join("   "))
}

/// How many columns each region gets: at least one, all together no more than there are, where that can be.
fn columns(regions: &[Region], width: usize) -> Vec<usize> {
    let separators = if regions.len() * 2 < width + 1 {
        regions.len()
    } else {
        1
    };
    let room = width.saturating_sub(separators).max(regions.len());
    let total: u128 = regions
        .iter()
        .map(|region| u128::from(region.extent.length))
        .sum::<u128>()
        .max(1);
    let spare = (room - regions.len()) as u128;
    let share = |region: &Region| u128::from(region.extent.length) * spare;
    let mut columns: Vec<usize> = regions
        .iter()
        .map(|region| 1 + (share(region) / total) as usize)
        .collect();
    // What rounding left over goes where most was lost.
    let mut order: Vec<usize> = (0..regions.len()).collect();
    order.sort_by_key(|&index| (std::cmp::Reverse(share(&regions[index]) % total), index));
    let left = room - columns.iter().sum::<usize>().min(room);
    for index in order.into_iter().cycle().take(left) {
        columns[index] += 1;
    }
    columns
}

/// The sign and colour of a kind.
fn sign(kind: RegionKind) -> (char, &'static str) {
    match kind {
        RegionKind::Table => ('╪', "90"),
        RegionKind::Free => ('·', "90"),
        RegionKind::Blank => ('_', "90"),
        RegionKind::System => ('░', "36"),
        RegionKind::State => ('▒', "34"),
        RegionKind::Data => ('▓', "32"),
        RegionKind::Unknown => ('?', "33"),
        RegionKind::Unreadable => ('!', "31"),
    }
}

/// A kind in a word.
pub(crate) fn kind_name(kind: RegionKind) -> &'static str {
    match kind {
        RegionKind::Table => "table",
        RegionKind::Free => "free",
        RegionKind::Blank => "blank",
        RegionKind::System => "system",
        RegionKind::State => "state",
        RegionKind::Data => "data",
        RegionKind::Unknown => "unknown",
        RegionKind::Unreadable => "unreadable",
    }
}

/// What a disk is, in one sentence.
pub(crate) fn sentence(device: &Device, content: &Content) -> String {
    let mut parts = Vec::new();
    if let Some((_, node)) = region::node_of(content) {
        parts.push(format!("node {node}"));
    }
    if content.partitions().iter().any(|partition| {
        partition.type_id.eq_ignore_ascii_case(&PARTIAL.to_string())
            && !handoff::is_made_by_node(&partition.name)
    }) {
        parts.push("an image that was not written to its end".into());
    }
    if let Some(System { name, why, .. }) = operating_system(content, None) {
        parts.push(format!("{name} ({why})"));
    }
    let whole = Extent::between(0, device.size);
    for inside in &content.inside {
        parts.extend(worth(content, inside, &whole));
    }
    if content
        .tables
        .iter()
        .any(|table| table.scheme == Scheme::Ldm)
    {
        parts.push("a Windows dynamic disk".into());
    }
    parts.extend(whole_disk(content, &whole));
    if parts.is_empty() {
        parts.extend(partitions(content));
    }
    if parts.is_empty() {
        return unknown(device, content);
    }
    if !content.unreadable.is_empty() {
        parts.push("not all of it can be read".into());
    }
    parts.join("; ")
}

/// What is on the partitions of a disk of no known system.
fn partitions(content: &Content) -> Vec<String> {
    let one = |partition: &Partition| {
        let mut kinds: Vec<&str> = region::signatures(content, &partition.extent)
            .map(|signature| signature.kind.as_str())
            .collect();
        kinds.dedup();
        (!kinds.is_empty())
            .then(|| format!("{} on partition {}", kinds.join(" and "), partition.number))
    };
    let mut parts: Vec<String> = content.partitions().iter().filter_map(one).collect();
    if parts.len() > MOST_PARTITIONS {
        let more = parts.len() - MOST_PARTITIONS;
        parts.truncate(MOST_PARTITIONS);
        parts.push(format!("and {more} more"));
    }
    parts
}

/// A disk on which nothing was recognised.
fn unknown(device: &Device, content: &Content) -> String {
    if !content.unreadable.is_empty() {
        return "it cannot be read, at least not all of it".into();
    }
    let regions = region::regions(content, device.size, None);
    let is_known = |region: &&Region| {
        matches!(
            region.kind,
            RegionKind::Blank | RegionKind::Table | RegionKind::Free
        )
    };
    if let Some(region) = regions.iter().find(|region| !is_known(region)) {
        return format!("nothing that is known: {}", region.what);
    }
    let table = match content.table() {
        None => "",
        Some(table) if table.partitions.is_empty() => "an empty partition table, ",
        Some(_) => "a partition table, ",
    };
    let first = content
        .blankness
        .iter()
        .filter_map(|blankness| blankness.first)
        .min();
    let looked: u64 = content
        .blankness
        .iter()
        .map(|blankness| blankness.read)
        .sum();
    match first {
        Some(first) => format!("{table}and something that is not blank from byte {first}"),
        None => format!("{table}blank in the {} that were looked at", size(looked)),
    }
}

/// What is inside a file system, where it decides what the disk is.
fn worth(content: &Content, inside: &prejoin_wire::disk::Inside, whole: &Extent) -> Option<String> {
    let at = content
        .partitions()
        .iter()
        .find(|partition| partition.extent == inside.of);
    let at = at.map_or_else(
        || {
            if inside.of == *whole {
                "the whole disk".into()
            } else {
                format!("byte {}", inside.of.start)
            }
        },
        |partition| format!("partition {}", partition.number),
    );
    let value = |key: &str| {
        inside
            .detail
            .iter()
            .find_map(|detail| detail.strip_prefix(key))
    };
    match inside.kind.as_str() {
        "longhorn-disk" => {
            let uuid = value("diskUUID=")
                .map(|uuid| format!(", disk UUID {uuid}"))
                .unwrap_or_default();
            Some(format!(
                "Longhorn data on {at}, {}{uuid}",
                decimal(inside.of.length)
            ))
        }
        "etcd" | "k3s" | "rke2" | "kubelet" | "local-volumes" | "openebs" => {
            Some(format!("{} on {at} ({})", inside.kind, inside.path))
        }
        _ => None,
    }
}

/// What describes the disk as a whole: its content, or what is left of an earlier one.
fn whole_disk(content: &Content, whole: &Extent) -> Vec<String> {
    let mut parts = Vec::new();
    let divided = content.table().is_some();
    for signature in region::signatures(content, whole) {
        let version = signature
            .version
            .as_ref()
            .map(|version| format!(" {version}"))
            .unwrap_or_default();
        let name = format!("{}{version}", signature.kind);
        let part = match divided {
            false => format!("{name} on the whole disk"),
            true if signature.header.start >= whole.end() / 2 => format!("stale {name} tail"),
            true => format!("stale {name} at byte {}", signature.magic.start),
        };
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    parts
}

/// A drive's own word on itself, in words.
pub(crate) fn health(health: &Health) -> String {
    let celsius = i32::from(health.temperature) - 273;
    let verdict = match health {
        Health {
            critical_warning, ..
        } if *critical_warning != 0 => "it warns of itself",
        Health {
            used,
            spare,
            spare_threshold,
            ..
        } if *used >= 100 || spare < spare_threshold => "worn out",
        Health { media_errors, .. } if *media_errors > 0 => "it has lost data before",
        _ => "good",
    };
    format!(
        "{verdict}: {} % of its endurance used, {} % spare left, {celsius} °C, {} written in {} hours, {} unsafe \
         shutdowns, {} media errors",
        health.used,
        health.spare,
        decimal(health.written),
        health.power_on_hours,
        health.unsafe_shutdowns,
        health.media_errors
    )
}

/// The locks of a drive that encrypts itself, in words.
pub(crate) fn locks(opal: &Opal) -> String {
    let state = match opal {
        Opal { locked: true, .. } => "locked by its own encryption (OPAL)",
        Opal { locking: true, .. } => "its own encryption (OPAL) is in use, and open",
        Opal { .. } => "its own encryption (OPAL) is not in use",
    };
    let shadow = if opal.shadowed {
        "; what is at its start is a shadow"
    } else {
        ""
    };
    format!("{state}{shadow}")
}

/// A user of a disk, in words.
pub(crate) fn usage(usage: &Usage) -> String {
    match usage {
        Usage::Mounted { device, at } => format!("{device} is mounted at {at}"),
        Usage::Swap { device } => format!("{device} is swap"),
        Usage::Holder { device, by } => format!("{by} is made of {device}"),
        Usage::Loop { device, by } => format!("{by} reads {device}"),
        Usage::Claimed { error } => format!("somebody has it for themselves: {error}"),
        Usage::Open {
            device,
            process,
            program,
        } => format!("{program} (process {process}) has {device} open"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(kind: RegionKind, length: u64, partition: Option<u32>) -> Region {
        Region {
            extent: Extent { start: 0, length },
            kind,
            partition,
            what: String::new(),
        }
    }

    #[test]
    fn lines_are_to_scale_and_as_wide_as_the_terminal() {
        use RegionKind::{Data, Free, System, Table};
        let regions = [
            region(Table, 1, None),
            region(System, 100, Some(1)),
            region(Free, 1, None),
            region(Data, 300, Some(12)),
            region(Table, 1, None),
        ];
        let text = line(&regions, 40, false);
        assert_eq!(
            text,
            "├╪┼1░░░░░░░┼·┼12▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓┼╪┤\n╪ table   · free   ░ system   ▓ data\n"
        );
        for width in [20, 40, 61, 100, 237] {
            let first = line(&regions, width, false)
                .lines()
                .next()
                .map(|line| line.chars().count());
            assert_eq!(first, Some(width));
        }
        assert!(line(&regions, 40, true).contains("\x1b[32m12▓"));
        assert_eq!(line(&[], 40, false).lines().count(), 2);
    }

    #[test]
    fn many_regions_and_the_largest_numbers() {
        let many: Vec<Region> = (0..300)
            .map(|index| region(RegionKind::Data, u64::MAX, Some(index)))
            .collect();
        for width in [20, 80, 100] {
            let text = line(&many, width, false);
            assert!(
                text.lines().all(|line| line.chars().count() <= width),
                "{text}"
            );
            let signs = text.lines().rev().skip(1).collect::<String>();
            assert_eq!(
                signs
                    .chars()
                    .filter(|sign| "▓0123456789".contains(*sign))
                    .count(),
                300
            );
        }
        let one = [region(RegionKind::Unknown, 0, None)];
        assert_eq!(
            line(&one, 20, false)
                .lines()
                .next()
                .map(|line| line.chars().count()),
            Some(20)
        );
    }

    #[test]
    fn locks_in_words() {
        let of = |locking, locked, shadowed| {
            locks(&Opal {
                locking,
                locked,
                shadowed,
            })
        };
        assert_eq!(
            of(false, false, false),
            "its own encryption (OPAL) is not in use"
        );
        assert_eq!(
            of(true, false, false),
            "its own encryption (OPAL) is in use, and open"
        );
        assert_eq!(
            of(true, true, true),
            "locked by its own encryption (OPAL); what is at its start is a shadow"
        );
    }

    #[test]
    fn health_in_words() {
        let fine = Health {
            temperature: 310,
            spare: 100,
            spare_threshold: 10,
            used: 3,
            ..Health::default()
        };
        assert!(
            health(&fine).starts_with("good: 3 % of its endurance used, 100 % spare left, 37 °C")
        );
        assert!(
            health(&Health {
                critical_warning: 4,
                ..fine
            })
            .starts_with("it warns of itself")
        );
        assert!(health(&Health { used: 104, ..fine }).starts_with("worn out"));
        assert!(
            health(&Health {
                media_errors: 1,
                ..fine
            })
            .starts_with("it has lost data before")
        );
    }
}
