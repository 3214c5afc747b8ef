//! `prejoin prune`

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use prejoin_image_builder::class::Class;
use prejoin_image_builder::events::waiting;
use prejoin_image_builder::io::prune::{self, Item};
use prejoin_store::hold::Hold;
use serde_json::json;

use super::inputs;
use super::project::Project;
use crate::args::Prune;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::report::{Report, size, table};
use crate::settings;

pub(crate) fn run(args: &Prune, report: &Report) -> Result<(), Failure> {
    let cache = inputs::cache_root(args.cache.as_deref())?;
    let cluster = cluster(&args.cluster.file, report)?;
    let days = Duration::from_secs(u64::from(args.unused_for) * 24 * 3600);
    let request = prune::Request {
        cache: &cache,
        out: &args.out,
        cluster: cluster.as_ref().map(|(name, nodes)| (&**name, nodes)),
        since: settings::clock() - days,
    };
    let progress = Progress::new();
    let events = |event| progress.show(event);
    // In the order in which builds take them.
    let _cache = Hold::alone(&cache, waiting(&events));
    let _out = Hold::alone(&args.out, waiting(&events));
    let items = prune::plan(&request).map_err(failed)?;
    if !args.dry_run {
        prune::remove(&items).map_err(failed)?;
    }
    report.result(
        || text(&items, args.dry_run),
        || {
            let files = items.iter().map(|item| {
                let Item { kind, path, size } = item;
                json!({ "why": kind.name(), "path": path, "bytes": size })
            });
            let bytes: u64 = items.iter().map(|item| item.size).sum();
            json!({ "removed": !args.dry_run, "bytes": bytes, "files": files.collect::<Vec<_>>() })
        },
    )
}

/// The cluster's name and its nodes. Without a cluster file every manifest stays.
fn cluster(file: &Path, report: &Report) -> Result<Option<(String, BTreeSet<String>)>, Failure> {
    if !file.exists() {
        report.say(format!(
            "there is no {}: the manifests of all nodes stay",
            file.display()
        ));
        return Ok(None);
    }
    let cluster = Project::open(file, report)?.cluster;
    let nodes = cluster.nodes.into_iter().map(|node| node.name.value);
    Ok(Some((cluster.name.value, nodes.collect())))
}

fn failed(error: prune::Error) -> Failure {
    match &error {
        prune::Error::Manifest(_) => Failure::new(Class::Integrity, &error).hint(
            "build its node again, or delete the manifest: what it names is not known".to_owned(),
        ),
        _ => Failure::new(Class::Environment, &error)
            .hint("are the folders yours to write to?".to_owned()),
    }
}

fn text(items: &[Item], dry_run: bool) -> String {
    let done = if dry_run { "would be freed" } else { "freed" };
    let bytes = items.iter().map(|item| item.size).sum();
    let mut rows = Vec::new();
    for (kind, (files, bytes)) in prune::sums(items) {
        rows.push(vec![kind.name().to_owned(), files.to_string(), size(bytes)]);
    }
    format!("{}{} {done}\n", table(&rows), size(bytes))
}
