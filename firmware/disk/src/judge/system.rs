//! Which operating system is on a disk.

use prejoin_profiles::disk::{Content, Extent, Inside, Partition};

use crate::region;

/// Partition types that only Windows has.
const WINDOWS: [&str; 4] = [
    "e3c9e316-0b5c-4db8-817d-f92df00215ae",
    "de94bba4-06d1-4d40-a16a-bfd50179d6ac",
    "5808c8aa-7e8f-42e0-85d2-e1e90434cfb3",
    "e75caf8f-f680-4cee-afa3-b001e56efc2d",
];

/// The operating system on a disk that is none of ours, and how it shows.
pub fn operating_system(content: &Content) -> Option<(String, String)> {
    let partitions = content.partitions();
    // What was lost between partitions is no system that the disk starts, and a finding of its own.
    let listed = |of: &Extent| {
        let is_partition = partitions.iter().any(|p| p.extent.start == of.start);
        of.start == 0 || content.table().is_none() || is_partition
    };
    let inside: Vec<&Inside> = content
        .inside
        .iter()
        .filter(|one| listed(&one.of))
        .collect();
    let system = |partition: &&Partition| region::owner(content, partition, None).is_none();
    let foreign: Vec<&Partition> = partitions.iter().filter(system).collect();
    let windows: Vec<&Partition> = foreign
        .iter()
        .copied()
        .filter(|partition| WINDOWS.contains(&partition.type_id.as_str()))
        .collect();
    if inside.iter().any(|inside| inside.kind == "windows") || !windows.is_empty() {
        let locked = content
            .signatures
            .iter()
            .find(|signature| signature.kind == "BitLocker");
        let locked =
            locked.and_then(|s| partitions.iter().find(|partition| partition.extent == s.of));
        let bitlocker =
            locked.map(|partition| format!(", BitLocker on partition {}", partition.number));
        return Some((
            "Windows".into(),
            numbers(&windows) + &bitlocker.unwrap_or_default(),
        ));
    }
    if content
        .signatures
        .iter()
        .any(|signature| signature.kind == "talos_meta" && listed(&signature.of))
    {
        return Some(("Talos".into(), "its META partition".into()));
    }
    let by_names = inside.iter().find_map(|inside| {
        let names: Vec<&str> = said(&inside.detail, "partitions=")?.split(',').collect();
        let found = foreign
            .iter()
            .copied()
            .filter(|partition| names.contains(&partition.name.as_str()));
        let found: Vec<&Partition> = found.collect();
        let name = said(&inside.detail, "name=").unwrap_or(&inside.kind);
        (!found.is_empty()).then(|| (name.to_owned(), numbers(&found)))
    });
    by_names.or_else(|| {
        let release = inside.iter().find(|inside| {
            let ours = partitions
                .iter()
                .any(|p| p.extent == inside.of && region::owner(content, p, None).is_some());
            inside.kind == "os-release" && !ours
        })?;
        let name = said(&release.detail, "name=").unwrap_or("Linux");
        Some((name.to_owned(), release.path.clone()))
    })
}

/// What the details of a thing say of `key`.
fn said<'a>(detail: &'a [String], key: &str) -> Option<&'a str> {
    detail.iter().find_map(|detail| detail.strip_prefix(key))
}

fn numbers(list: &[&Partition]) -> String {
    let numbers: Vec<String> = list
        .iter()
        .map(|partition| partition.number.to_string())
        .collect();
    format!("partition {}", numbers.join(", "))
}
