//! `prejoin disk inspect`

use prejoin_disk::region;
use prejoin_wire::disk::{Content, Extent, Facts, Partition, Place, Region, Scheme};

use super::{look, partition_type};
use crate::args::Inspect;
use crate::failure::Failure;
use crate::picture;
use crate::report::{Report, table};

pub(crate) fn run(args: &Inspect, report: &Report) -> Result<(), Failure> {
    let facts = look::look_or_read(&args.disk)?;
    report.picture(
        || {
            text(
                &picture::printable(&facts),
                picture::width(false),
                report.is_coloured(false),
            )
        },
        || serde_json::to_value(&facts).expect("facts have only string keys and whole numbers"),
    )?;
    Ok(())
}

/// Everything that is known of a disk.
fn text(facts: &Facts, width: usize, colour: bool) -> String {
    let (device, content) = (&facts.device, &facts.content);
    let regions = region::regions(content, device.size, None);
    let mut parts = vec![format!(
        "{}\nThis is: {}\n",
        device.title(),
        picture::sentence(device, content)
    )];
    parts.push(picture::line(&regions, width, colour));
    parts.push(regions_table(content, &regions));
    parts.push(section("Partition tables", tables(content)));
    parts.push(section("Signatures", signatures(content)));
    parts.push(section("Inside", inside(content)));
    parts.push(section(
        "In use",
        facts.usage.iter().map(picture::usage).collect(),
    ));
    parts.push(section(
        "Health",
        device.health.iter().map(picture::health).collect(),
    ));
    parts.push(section(
        "Locks",
        device.opal.iter().map(picture::locks).collect(),
    ));
    parts.push(section("Unreadable", unreadable(content)));
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

/// Regions in a table.
fn regions_table(content: &Content, regions: &[Region]) -> String {
    let mut rows = vec![
        ["start", "size", "kind", "partition", "type", "what"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for region in regions {
        let same =
            |one: &&Partition| one.extent == region.extent && Some(one.number) == region.partition;
        let partition = content.partitions().iter().find(same);
        rows.push(vec![
            region.extent.start.to_string(),
            picture::amount(region.extent.length),
            picture::kind_name(region.kind).to_owned(),
            region
                .partition
                .map(|number| number.to_string())
                .unwrap_or_default(),
            partition
                .map(|one| partition_type::name(&one.type_id).to_owned())
                .unwrap_or_default(),
            region.what.clone(),
        ]);
    }
    table(&rows)
}

/// A heading and lines; nothing if there are none.
fn section(name: &str, lines: Vec<String>) -> String {
    match lines.is_empty() {
        true => String::new(),
        false => format!(
            "{name}\n  {}\n",
            lines.join("\n").trim_end().replace('\n', "\n  ")
        ),
    }
}

fn tables(content: &Content) -> Vec<String> {
    let mut lines = Vec::new();
    for table in &content.tables {
        let scheme = match table.scheme {
            Scheme::Gpt => "GPT",
            Scheme::HybridMbr => "hybrid MBR",
            Scheme::ProtectiveMbr => "protective MBR",
            Scheme::Mbr => "MBR",
            Scheme::Apple => "Apple partition map",
            Scheme::Bsd => "BSD disk label",
            Scheme::Sun => "Sun disk label",
            Scheme::Sgi => "SGI volume header",
            Scheme::Ldm => "Windows dynamic disk",
        };
        let place = match (table.place, table.scheme) {
            (Place::Backup, _) => ", backup copy",
            (Place::Stray, _) => ", stray copy",
            (Place::Primary, Scheme::Gpt) => ", primary copy",
            (Place::Primary, _) => "",
        };
        let id = table
            .id
            .as_ref()
            .map(|id| format!(" {id}"))
            .unwrap_or_default();
        let state = if table.valid { "" } else { ", cannot be used" };
        lines.push(format!(
            "{scheme}{id}{place} at byte {}, sectors of {} bytes, {} partitions{state}",
            table.offset,
            table.sector_size,
            table.partitions.len()
        ));
        lines.extend(table.problems.iter().map(|problem| format!("  {problem}")));
    }
    lines
}

fn signatures(content: &Content) -> Vec<String> {
    if content.signatures.is_empty() {
        return Vec::new();
    }
    let mut rows = vec![
        ["at byte", "kind", "version", "of", "UUID", "label"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for signature in &content.signatures {
        let copy = if signature.copy { ", copy" } else { "" };
        let of = holder(content, &signature.of);
        rows.push(vec![
            signature.magic.start.to_string(),
            signature.kind.clone(),
            signature.version.clone().unwrap_or_default(),
            format!("{of}{copy}"),
            signature.uuid.clone().unwrap_or_default(),
            signature.label.clone().unwrap_or_default(),
        ]);
    }
    table(&rows).lines().map(str::to_owned).collect()
}

/// What an extent is: a partition, the disk, or what no partition lists.
fn holder(content: &Content, of: &Extent) -> String {
    let mut partitions = content.partitions().iter();
    match partitions.find(|partition| partition.extent == *of) {
        Some(partition) => format!("partition {}", partition.number),
        None if of.start == 0 => "disk".into(),
        None => format!("byte {}", of.start),
    }
}

fn inside(content: &Content) -> Vec<String> {
    let line = |inside: &prejoin_wire::disk::Inside| {
        let of = holder(content, &inside.of);
        let detail = if inside.detail.is_empty() {
            String::new()
        } else {
            format!(": {}", inside.detail.join(", "))
        };
        let path = if inside.path.is_empty() {
            String::new()
        } else {
            format!(" in {}", inside.path)
        };
        format!("{of}: {}{path}{detail}", inside.kind)
    };
    content.inside.iter().map(line).collect()
}

fn unreadable(content: &Content) -> Vec<String> {
    let line = |one: &prejoin_wire::disk::Unreadable| {
        format!(
            "bytes {} to {}: {}",
            one.extent.start,
            one.extent.end(),
            one.error
        )
    };
    content.unreadable.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `prejoin disk inspect --json` prints it.
    const FACTS: &str = r#"{ "version": 1, "usage": [],
        "device": { "path": "/dev/sda", "size": 8589934592, "sector_size": 512,
            "health": { "critical_warning": 0, "temperature": 300, "spare": 100, "spare_threshold": 10,
                "used": 3, "written": 5, "power_on_hours": 7, "unsafe_shutdowns": 1, "media_errors": 0 } },
        "content": {
            "tables": [ { "scheme": "gpt", "place": "primary", "offset": 512, "sector_size": 512,
                "valid": true, "problems": [], "id": "disk", "partitions": [
                { "number": 1, "extent": { "start": 1048576, "length": 1048576 },
                    "type": "21686148-6449-6e6f-744e-656564454649", "guid": "a", "name": "grub", "attributes": 0 },
                { "number": 2, "extent": { "start": 2097152, "length": 1073741824 },
                    "type": "01234567-89ab-cdef-0123-456789abcdef", "guid": "b", "name": "own", "attributes": 0 } ] } ],
            "signatures": [ { "kind": "ext4", "magic": { "start": 4294968376, "length": 2 },
                "header": { "start": 4294968320, "length": 1024 }, "of": { "start": 4294967296, "length": 1073741824 },
                "copy": false, "version": null, "uuid": "u", "label": null } ],
            "inside": [ { "of": { "start": 4294967296, "length": 1073741824 }, "kind": "etcd", "path": "/member",
                "detail": [] } ],
            "blankness": [ { "of": { "start": 5368709120, "length": 1048576 }, "read": 4096, "first": 5368709120 } ],
            "unreadable": [ { "extent": { "start": 7516192768, "length": 4096 }, "error": "no" } ] } }"#;

    #[test]
    fn types_have_names_and_what_was_lost_a_place() {
        let facts: Facts = serde_json::from_str(FACTS).unwrap();
        let text = text(&facts, 80, false);
        for words in [
            "1          BIOS boot",
            "2          01234567-89ab-cdef-0123-456789abcdef",
            "lost: ext4, etcd",
            "byte 4294967296: etcd in /member",
        ] {
            assert!(text.contains(words), "no {words} in\n{text}");
        }
    }

    #[test]
    fn facts_with_any_number_in_them_are_shown_or_refused() {
        let places: Vec<usize> = FACTS.match_indices(": ").map(|(at, _)| at + 2).collect();
        let (mut shown, mut refused) = (0, 0);
        for at in places {
            let digits = FACTS[at..].find(|c: char| !c.is_ascii_digit()).unwrap();
            for number in [0, 1, 511, u64::from(u32::MAX), u64::MAX].map(|n| n.to_string()) {
                let other = format!("{}{number}{}", &FACTS[..at], &FACTS[at + digits..]);
                if digits == 0 {
                    continue;
                }
                match serde_json::from_str::<Facts>(&other).map(|facts| (facts.check(), facts)) {
                    Ok((Ok(()), facts)) => {
                        shown += 1;
                        text(&facts, 80, false);
                    }
                    _ => refused += 1,
                }
            }
        }
        assert!(shown > 80 && refused > 20, "{shown} {refused}");
    }
}
