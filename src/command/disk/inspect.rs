//! `prejoin disk inspect`

use prejoin_disk::region;
use prejoin_profiles::disk::{Content, Facts, Place, Scheme};

use super::look;
use crate::args::Inspect;
use crate::failure::Failure;
use crate::picture;
use crate::report::{Report, table};

pub(crate) fn run(args: &Inspect, report: &Report) -> Result<(), Failure> {
    let facts = look::look_or_read(&args.disk)?;
    report.result(
        || {
            text(
                &picture::printable(&facts),
                picture::width(false),
                report.is_coloured(false),
            )
        },
        || serde_json::to_value(&facts).expect("facts have only string keys and whole numbers"),
    );
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
    parts.push(regions_table(&regions));
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
fn regions_table(regions: &[prejoin_profiles::disk::Region]) -> String {
    let mut rows = vec![
        ["start", "size", "kind", "partition", "what"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for region in regions {
        rows.push(vec![
            region.extent.start.to_string(),
            picture::amount(region.extent.length),
            picture::kind_name(region.kind).to_owned(),
            region
                .partition
                .map(|number| number.to_string())
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
        let partition = content
            .partitions()
            .iter()
            .find(|partition| partition.extent == signature.of);
        let copy = if signature.copy { ", copy" } else { "" };
        let of = partition.map_or("disk".into(), |partition| {
            format!("partition {}", partition.number)
        });
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

fn inside(content: &Content) -> Vec<String> {
    let line = |inside: &prejoin_profiles::disk::Inside| {
        let partition = content
            .partitions()
            .iter()
            .find(|partition| partition.extent == inside.of);
        let of = partition.map_or("disk".into(), |partition| {
            format!("partition {}", partition.number)
        });
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
    let line = |one: &prejoin_profiles::disk::Unreadable| {
        format!(
            "bytes {} to {}: {}",
            one.extent.start,
            one.extent.end(),
            one.error
        )
    };
    content.unreadable.iter().map(line).collect()
}
