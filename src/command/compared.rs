//! What images are compared with: what the packages of the lock make, as far as they are in the cache.

use std::collections::BTreeMap;

use prejoin_image_builder::class::Class;
use prejoin_image_builder::io::verify::{self, Error};
use prejoin_store::chunks::ChunkStore;
use prejoin_store::folder::Opened;
use serde_json::{Value, json};

use super::build::Work;
use super::inputs::Sources;
use super::project::{Project, SystemPlan};
use super::{id, lock};
use crate::args::Verify;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::report::Report;

/// What came of comparing one node's image.
pub(crate) enum Compared {
    /// Its root file system is what its packages make.
    Same {
        /// How many they are.
        packages: usize,
        /// Parts of the image that are made otherwise now.
        other: Vec<&'static str>,
    },
    /// It was not compared.
    Not(String),
}

impl Compared {
    /// For people, on a line of its own.
    pub(crate) fn text(&self) -> String {
        match self {
            Compared::Same { packages, other } if other.is_empty() => {
                format!("every byte is what its {packages} packages and the cluster file make")
            }
            Compared::Same { packages, other } => format!(
                "its root is what its {packages} packages make; a build would now make another {}",
                other.join(" and another ")
            ),
            Compared::Not(why) => format!("not compared with its packages: {why}"),
        }
    }

    pub(crate) fn as_json(&self) -> Value {
        match self {
            Compared::Same { packages, other } => json!({ "packages": packages, "other": other }),
            Compared::Not(why) => json!({ "not": why }),
        }
    }
}

/// Compares images that were read back with what a build would make now, in memory. Nothing is fetched.
pub(crate) fn all(
    args: &Verify,
    nodes: &BTreeMap<String, Opened>,
    report: &Report,
) -> Result<BTreeMap<String, Compared>, Failure> {
    let not = |why: &str| {
        let nodes = nodes.keys().cloned();
        Ok(nodes
            .map(|node| (node, Compared::Not(why.to_owned())))
            .collect())
    };
    let file = &args.cluster.file;
    if args.no_packages {
        return not("as was asked for");
    }
    if !file.exists() {
        return not(&format!("there is no {}", file.display()));
    }
    let project = match Project::open(file, report) {
        Ok(project) => project,
        Err(failure) => return not(&text(&failure)),
    };
    let lock = match lock::read(&project) {
        Ok(lock) => lock,
        Err(failure) => return not(&text(&failure)),
    };
    let sources = match Sources::of_cache(args.cache.as_deref(), &project) {
        Ok(sources) => sources,
        Err(failure) => return not(&text(&failure)),
    };
    let progress = Progress::new();
    let store = ChunkStore::none();
    let id = match id::known(&project, &lock) {
        Ok(id) => id,
        Err(failure) => return not(&text(&failure)),
    };
    let work = |sector_size| Work {
        project: &project,
        lock: &lock,
        lock_digest: lock.digest(),
        id: &id,
        sources: &sources,
        out: &args.out,
        store: &store,
        sector_size,
        progress: &progress,
        report,
    };
    let mut plans = project.systems()?;
    let mut compared = BTreeMap::new();
    for plan in &mut plans {
        plan.os.ids.extend(lock.ids.clone());
        let digest = lock.digest();
        let is_here = |name: &String| {
            nodes
                .get(name)
                .is_some_and(|opened| opened.node.lock == digest)
        };
        plan.nodes.retain(|node| is_here(&node.name.value));
        let Some(first) = plan.nodes.first() else {
            continue;
        };
        let sector_size = nodes[&first.name.value].node.sector_size;
        let made = system(&work(sector_size), plan, nodes, &mut compared);
        progress.clear();
        made?;
    }
    for name in nodes.keys() {
        let gone = || Compared::Not("it was built from another lock".to_owned());
        compared.entry(name.clone()).or_insert_with(gone);
    }
    Ok(compared)
}

/// Compares the nodes of one system.
fn system(
    work: &Work,
    plan: &SystemPlan,
    nodes: &BTreeMap<String, Opened>,
    compared: &mut BTreeMap<String, Compared>,
) -> Result<(), Failure> {
    let plans = std::slice::from_ref(plan);
    let built = work
        .sources
        .packages(work.lock, plans, work.out, work.progress)
        .and_then(|debs| work.system(plan, &debs[&plan.set]));
    let built = match built {
        Ok((built, _)) => built,
        // What is missing or cannot be used says nothing about the images.
        Err(failure) => {
            let names = plan.nodes.iter().map(|node| node.name.value.clone());
            compared.extend(names.map(|name| (name, Compared::Not(text(&failure)))));
            return Ok(());
        }
    };
    for node in &plan.nodes {
        let name = &node.name.value;
        let opened = &nodes[name];
        if opened.system.root_hash != built.root_hash {
            let paths = verify::differences(&opened.image, &opened.store, &built)
                .map_err(|error| Failure::new(Class::Integrity, &error))?;
            let error = Error::Wrong {
                node: name.clone(),
                what: "the root file system".to_owned(),
                why: format!("it is not what its packages make: {paths}"),
            };
            return Err(Failure::new(Class::Integrity, &error).hint(format!(
                "if another version of prejoin has built it, or the cluster file was changed since, build it again: \
                 `prejoin build {name}`; if not, somebody has changed the image"
            )));
        }
        let (manifest, shared) = work.documents(node, plan, &built)?;
        let mut other = Vec::new();
        if shared.digest != opened.node.system {
            other.push("boot partition");
        }
        if (&manifest.identity, &manifest.handoff) != (&opened.node.identity, &opened.node.handoff)
        {
            other.push("identity");
        }
        if (manifest.disk_guid, &manifest.partitions)
            != (opened.node.disk_guid, &opened.node.partitions)
        {
            other.push("partition table");
        }
        let packages = built.contents.packages.len();
        compared.insert(name.clone(), Compared::Same { packages, other });
    }
    Ok(())
}

/// What a failure says, on one line.
fn text(failure: &Failure) -> String {
    failure.words().0.to_owned()
}
