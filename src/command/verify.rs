//! `prejoin verify`

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;

use prejoin_image_builder::class::Class;
use prejoin_image_builder::events::waiting;
use prejoin_image_builder::io::verify::{self, Verified};
use prejoin_profiles::cluster::Cluster;
use prejoin_store::chunks;
use prejoin_store::compose;
use prejoin_store::folder::{self, Opened};
use prejoin_store::hold::Hold;
use serde_json::json;

use super::compared::{self, Compared};
use crate::args::Verify;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::report::{Report, size, table};
use crate::settings;

pub(crate) fn run(args: &Verify, report: &Report) -> Result<(), Failure> {
    let nodes = if args.nodes.is_empty() {
        wanted(args, report)?
    } else {
        args.nodes.clone()
    };
    let (mut rows, mut images) = (Vec::new(), BTreeMap::new());
    for node in nodes {
        let opened = open(&args.out, &node)?;
        rows.push((node.clone(), read_back(&opened)?));
        images.insert(node, opened);
    }
    let compared = compared::all(args, &images, report)?;
    report.result(
        || format!("{}{}", text(&rows), with_packages(&compared)),
        || {
            let list = rows.iter().map(|(node, v)| {
                json!({
                    "node": node, "chunks": v.chunks, "bytes": v.bytes, "blocks": v.blocks,
                    "paths": v.paths, "files": v.files, "compared": compared[node].as_json(),
                })
            });
            list.collect()
        },
    )?;
    Ok(())
}

/// What the comparison said, once for all nodes that it said the same of.
fn with_packages(compared: &BTreeMap<String, Compared>) -> String {
    let mut said: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (node, compared) in compared {
        said.entry(compared.text()).or_default().push(node);
    }
    let line = |(text, nodes): (String, Vec<&str>)| match nodes.len() {
        0..=8 => format!("{}: {text}\n", nodes.join(", ")),
        count => format!("{} and {} more: {text}\n", nodes[..7].join(", "), count - 7),
    };
    said.into_iter().map(line).collect()
}

/// Verifies one node's image.
pub(crate) fn one(out: &Path, node: &str) -> Result<Verified, Failure> {
    read_back(&open(out, node)?)
}

fn read_back(opened: &Opened) -> Result<Verified, Failure> {
    let node = &opened.node.node;
    let progress = Progress::new();
    let verified = verify::verify(&opened.image, &opened.store, &|event| progress.show(event));
    progress.clear();
    verified.map_err(|error| match &error {
        verify::Error::Store(error) => damage(error, node),
        _ => Failure::new(Class::Integrity, &error).hint(again(node)),
    })
}

/// A chunk that cannot be read, and what makes it readable again.
pub(crate) fn damage(error: &chunks::Error, node: &str) -> Failure {
    let class = match error {
        chunks::Error::Io { .. } => return Failure::new(Class::Environment, error),
        _ => Class::Integrity,
    };
    Failure::new(class, error).hint(again(node))
}

fn again(node: &str) -> String {
    format!("build it again: `prejoin build {node}`")
}

/// A node's image.
pub(crate) fn open(out: &Path, node: &str) -> Result<Opened, Failure> {
    // Before the manifest is read: nobody prunes its chunks from here on.
    let hold = Hold::shared(out, waiting(&|event| Progress::new().show(event)));
    folder::open(out, node, hold).map_err(|error| match &error {
        folder::Error::Read { source, path } if source.kind() == ErrorKind::NotFound => {
            match *path == folder::node_path(out, node) {
                true => Failure::new(Class::Input, &error)
                    .hint(format!("build it first: `prejoin build {node}`")),
                false => Failure::new(Class::Integrity, &error).hint(again(node)),
            }
        }
        folder::Error::Read { .. } => Failure::new(Class::Environment, &error),
        folder::Error::Compose(compose::Error::Store(error)) => damage(error, node),
        _ => Failure::new(Class::Integrity, &error).hint(again(node)),
    })
}

/// Every node with a manifest, but for those that the cluster file has no more.
fn wanted(args: &Verify, report: &Report) -> Result<Vec<String>, Failure> {
    let (mut nodes, out) = (built(&args.out)?, &args.out);
    if let Some((cluster, known)) = cluster(&args.cluster.file) {
        let is_gone = |node: &String| {
            let manifest = folder::read_node(out, node);
            manifest.is_ok_and(|manifest| manifest.cluster == cluster && !known.contains(node))
        };
        for gone in nodes.extract_if(.., |node| is_gone(node)) {
            report.say(format!(
                "{gone} is not in {} any more: not verified, and `prejoin prune` removes it",
                args.cluster.file.display()
            ));
        }
    }
    Ok(nodes)
}

/// The cluster's name and its nodes, if there is a cluster file and it can be read.
fn cluster(file: &Path) -> Option<(String, BTreeSet<String>)> {
    let text = settings::read(file, "the cluster file").ok()?;
    let cluster = Cluster::parse(&text).ok()?;
    let nodes = cluster.nodes.into_iter().map(|node| node.name.value);
    Some((cluster.name.value, nodes.collect()))
}

/// The same for whoever writes the image somewhere: its root hash is that of its root.
pub(crate) fn open_sound(out: &Path, node: &str) -> Result<Opened, Failure> {
    let opened = open(out, node)?;
    verify::root_hash(&opened.image, &opened.store)
        .map_err(|error| Failure::new(Class::Integrity, &error).hint(again(node)))?;
    Ok(opened)
}

/// Every node with a manifest.
fn built(out: &Path) -> Result<Vec<String>, Failure> {
    let nodes = folder::nodes(out).map_err(|error| {
        Failure::plain(Class::Input, format!("listing {}: {error}", out.display()))
            .hint("run `prejoin build` first, or name the folder with --out".to_owned())
    })?;
    if nodes.is_empty() {
        return Err(
            Failure::plain(Class::Input, format!("{} holds no manifest", out.display()))
                .hint("run `prejoin build` first, or name the folder with --out".to_owned()),
        );
    }
    Ok(nodes)
}

fn text(rows: &[(String, Verified)]) -> String {
    let mut lines = vec![
        [
            "node",
            "chunks",
            "content",
            "verity blocks",
            "paths",
            "boot files",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for (node, v) in rows {
        lines.push(vec![
            node.clone(),
            v.chunks.to_string(),
            size(v.bytes),
            v.blocks.to_string(),
            v.paths.to_string(),
            v.files.to_string(),
        ]);
    }
    table(&lines)
}
