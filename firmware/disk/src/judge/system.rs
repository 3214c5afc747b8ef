//! Which operating system is on a disk.

use prejoin_wire::disk::{Content, Extent, Inside, Partition, Signature, Table};

use crate::plan::{is_partial, is_released};
use crate::region::{self, Own};

/// Partition types that only Windows has.
const WINDOWS: [&str; 4] = [
    "e3c9e316-0b5c-4db8-817d-f92df00215ae",
    "de94bba4-06d1-4d40-a16a-bfd50179d6ac",
    "5808c8aa-7e8f-42e0-85d2-e1e90434cfb3",
    "e75caf8f-f680-4cee-afa3-b001e56efc2d",
];

/// An operating system that is none of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// Its name.
    pub name: String,
    /// How it shows.
    pub why: String,
    /// Where it shows.
    pub on: Vec<Extent>,
}

/// The operating system on a disk that is none of ours. `own` is the node that asks, if one does.
pub fn operating_system(content: &Content, own: Option<&Own>) -> Option<System> {
    let partitions = content.partitions();
    let is_ours = |table: &Table, partition: &Partition| {
        is_partial(partition)
            || is_released(partition)
            || own.is_some_and(|own| own.made(partition))
            || region::owner_in(content, &table.partitions, partition, own).is_some()
    };
    // What is only in a table that is not believed has a finding of its own.
    let ours = |of: &Extent| {
        let tables = content.tables.iter().filter(|table| table.valid);
        let mut listed = tables
            .flat_map(|table| table.partitions.iter().map(move |one| (table, one)))
            .filter(|(_, partition)| partition.extent == *of)
            .peekable();
        listed.peek().is_some() && listed.all(|(table, partition)| is_ours(table, partition))
    };
    // What was lost between partitions is no system that the disk starts, and a finding of its own.
    let listed = |of: &Extent| {
        let is_partition = partitions.iter().any(|p| p.extent.start == of.start);
        of.start == 0 || content.table().is_none() || is_partition
    };
    let foreign: Vec<&Partition> = partitions.iter().filter(|p| !ours(&p.extent)).collect();
    let inside = content.inside.iter().filter(|one| listed(&one.of));
    let inside: Vec<&Inside> = inside.filter(|one| !ours(&one.of)).collect();
    let windows: Vec<&Partition> = foreign
        .iter()
        .copied()
        .filter(|partition| WINDOWS.contains(&partition.type_id.as_str()))
        .collect();
    let is_windows = |inside: &&&Inside| inside.kind == "windows";
    if inside.iter().any(|inside| is_windows(&inside)) || !windows.is_empty() {
        let locked = content.signatures.iter();
        let locked: Vec<&Partition> = locked
            .filter(|signature| signature.kind == "BitLocker")
            .filter_map(|s| partitions.iter().find(|partition| partition.extent == s.of))
            .collect();
        let bitlocker = locked
            .first()
            .map(|partition| format!(", BitLocker on partition {}", partition.number));
        let on = windows.iter().chain(&locked).map(|p| p.extent);
        return Some(System {
            name: "Windows".into(),
            why: numbers(&windows) + &bitlocker.unwrap_or_default(),
            on: on
                .chain(inside.iter().filter(is_windows).map(|inside| inside.of))
                .collect(),
        });
    }
    let meta = |signature: &&Signature| {
        signature.kind == "talos_meta" && listed(&signature.of) && !ours(&signature.of)
    };
    if content.signatures.iter().any(|found| meta(&found)) {
        return Some(System {
            name: "Talos".into(),
            why: "its META partition".into(),
            on: foreign.iter().map(|partition| partition.extent).collect(),
        });
    }
    let by_names = inside.iter().find_map(|inside| {
        let names: Vec<&str> = said(&inside.detail, "partitions=")?.split(',').collect();
        let found = foreign
            .iter()
            .copied()
            .filter(|partition| names.contains(&partition.name.as_str()));
        let found: Vec<&Partition> = found.collect();
        let name = said(&inside.detail, "name=").unwrap_or(&inside.kind);
        (!found.is_empty()).then(|| System {
            name: name.to_owned(),
            why: numbers(&found),
            on: found.iter().map(|partition| partition.extent).collect(),
        })
    });
    by_names.or_else(|| {
        let releases = inside.iter().filter(|inside| inside.kind == "os-release");
        let release = releases.clone().next()?;
        let name = said(&release.detail, "name=").unwrap_or("Linux");
        Some(System {
            name: name.to_owned(),
            why: release.path.clone(),
            on: releases.map(|inside| inside.of).collect(),
        })
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
