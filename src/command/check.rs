//! `prejoin check`

use serde_json::json;

use super::project::Project;
use crate::args::ClusterFile;
use crate::failure::Failure;
use crate::report::Report;

pub(crate) fn run(args: &ClusterFile, report: &Report) -> Result<(), Failure> {
    let project = Project::open(&args.file, report)?;
    let file = args.file.display().to_string();
    if report.is_json() || !project.findings.is_empty() {
        report.findings(&file, &project.text, &project.findings)?;
    }
    if !report.is_json() {
        let nodes = project.cluster.nodes.len();
        let warnings = project.findings.len();
        report.result(
            || {
                format!(
                    "{file}: {}, {}, no error",
                    count(nodes, "node"),
                    count(warnings, "warning")
                )
            },
            || json!({ "nodes": nodes, "warnings": warnings }),
        )?;
    }
    Ok(())
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
