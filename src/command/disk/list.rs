//! `prejoin disk list`

use prejoin_disk::io::inventory;
use prejoin_disk::select::select;
use prejoin_wire::disk::{Device, decimal};
use prejoin_wire::selector::DiskSelector;
use serde_json::json;

use super::look::unusable;
use crate::args::DiskList;
use crate::command::project::Project;
use crate::failure::Failure;
use crate::picture;
use crate::report::{Report, table};

pub(crate) fn run(args: &DiskList, report: &Report) -> Result<(), Failure> {
    let selector = args
        .node
        .as_ref()
        .map(|node| selector(args, node, report))
        .transpose()?;
    let disks = inventory::disks().map_err(|error| unusable(&error))?;
    let choice = selector.as_ref().map(|selector| select(&disks, selector));
    let reasons: Vec<Option<Vec<String>>> = (0..disks.len())
        .map(|index| choice.as_ref().map(|choice| choice.reasons[index].clone()))
        .collect();
    report.result(
        || text(&picture::printable(&disks), &reasons),
        || {
            let chosen = choice
                .as_ref()
                .and_then(|choice| choice.chosen)
                .map(|index| disks[index].path.clone());
            let finding = choice.as_ref().and_then(|choice| choice.finding.clone());
            let list: Vec<_> = disks
                .iter()
                .zip(&reasons)
                .map(|(d, why)| json!({"device": d, "mismatches": why}))
                .collect();
            json!({ "node": args.node, "chosen": chosen, "finding": finding, "disks": list })
        },
    )?;
    match choice.and_then(|choice| choice.finding) {
        Some(finding) if !report.is_json() => {
            report.say(format!(
                "{}: {}",
                finding.code,
                finding.advice.unwrap_or_default()
            ));
            Ok(())
        }
        _ => Ok(()),
    }
}

fn selector(args: &DiskList, node: &str, report: &Report) -> Result<DiskSelector, Failure> {
    let project = Project::open(&args.cluster.file, report)?;
    let node = project.node(node)?;
    Ok(node.disk.value.wanted())
}

fn text(disks: &[Device], reasons: &[Option<Vec<String>>]) -> String {
    if disks.is_empty() {
        return "this machine has no disks".into();
    }
    let compared = reasons.iter().any(Option::is_some);
    let mut heading = ["device", "size", "attached by", "model", "serial"]
        .map(str::to_owned)
        .to_vec();
    heading.extend(compared.then(|| "fits".to_owned()));
    let mut rows = vec![heading];
    for (disk, reasons) in disks.iter().zip(reasons) {
        let some = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        let mut row = vec![
            disk.path.clone(),
            decimal(disk.size),
            disk.transport
                .map_or("-", |transport| transport.name())
                .to_owned(),
            some(&disk.model),
            some(&disk.serial),
        ];
        let fits = reasons.as_ref().map(|why| {
            if why.is_empty() {
                "yes".into()
            } else {
                format!("no: {}", why.join(", "))
            }
        });
        row.extend(fits);
        rows.push(row);
    }
    table(&rows)
}
