//! `prejoin build`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prejoin_formats::tree::{Entry, Tree};
use prejoin_identity::Seed;
use prejoin_image_builder::class::Class;
use prejoin_image_builder::events::waiting;
use prejoin_image_builder::image::node;
use prejoin_image_builder::image::sbom::Origin;
use prejoin_image_builder::io::build::{self, Built, Shared};
use prejoin_image_builder::io::unpack::{self, Deb};
use prejoin_profiles::cluster::Node;
use prejoin_profiles::lock::Lock;
use prejoin_profiles::scripts;
use prejoin_store::chunks::ChunkStore;
use prejoin_store::compose::compose;
use prejoin_store::hold::Hold;
use prejoin_wire::architecture::Architecture;
use prejoin_wire::digest::Digest;
use prejoin_wire::manifest::{Manifest, Range};
use prejoin_wire::node::NodeManifest;
use prejoin_wire::system::SystemManifest;
use serde_json::{Value, json};
use uuid::Uuid;

use super::id;
use super::inputs::Sources;
use super::lock;
use super::project::{Project, SystemPlan};
use crate::args::Build;
use crate::failure::{Failure, OrFail};
use crate::private;
use crate::progress::Progress;
use crate::report::{Report, size, table};
use crate::settings::{self, Stopwatch};

/// The agent for both architectures, built by `build.rs`.
static AGENTS: [(Architecture, &[u8]); 2] = [
    (
        Architecture::Amd64,
        include_bytes!(env!("PREJOIN_AGENT_AMD64")),
    ),
    (
        Architecture::Arm64,
        include_bytes!(env!("PREJOIN_AGENT_ARM64")),
    ),
];

pub(crate) fn run(args: &Build, report: &Report) -> Result<(), Failure> {
    let project = Project::open(&args.cluster.file, report)?;
    let lock = lock::read(&project)?;
    let sources = Sources::new(&args.inputs, &project)?;
    let wanted = Wanted {
        nodes: &args.nodes,
        sector_size: args.sector_size,
    };
    let made = all(&project, &lock, &sources, &args.out, &wanted, report)?;
    report.result(
        || summary(&made, &args.out),
        || made.iter().map(as_json).collect(),
    )?;
    Ok(())
}

/// What to build.
pub(crate) struct Wanted<'a> {
    /// Node names; all nodes if empty.
    pub(crate) nodes: &'a [String],
    /// Logical sector size of the nodes' disks.
    pub(crate) sector_size: u32,
}

/// One node that was built.
pub(crate) struct Made {
    /// Its manifest, which is written.
    pub(crate) manifest: NodeManifest,
    /// Root hash of its system.
    pub(crate) root_hash: Digest,
    /// Bytes of its image that are not zero and not left alone.
    pub(crate) content: u64,
    /// Its system's manifest, which is written, too.
    pub(crate) system: Arc<SystemManifest>,
    /// Compressed bytes that only it added to the store.
    pub(crate) added: u64,
    /// Time that only it took.
    pub(crate) took: Duration,
}

/// Builds nodes: each system once, then its nodes, then everything is made durable and the manifests appear.
pub(crate) fn all(
    project: &Project,
    lock: &Lock,
    sources: &Sources,
    out: &Path,
    wanted: &Wanted,
    report: &Report,
) -> Result<Vec<Made>, Failure> {
    for name in wanted.nodes {
        project.node(name)?;
    }
    let id = id::known(project, lock)?;
    let mut plans = project.systems()?;
    for plan in &mut plans {
        plan.os.ids.extend(lock.ids.clone());
        plan.nodes
            .retain(|node| wanted.nodes.is_empty() || wanted.nodes.contains(&node.name.value));
    }
    plans.retain(|plan| !plan.nodes.is_empty());
    for plan in &plans {
        lock::check_current(lock, plan, project)?;
        if !plan.board.sector_sizes.contains(&wanted.sector_size) {
            let (board, size) = (&plan.board.name, wanted.sector_size);
            let message =
                format!("board {board} does not start from disks with {size}-byte sectors");
            return Err(Failure::plain(Class::Input, message));
        }
    }

    let progress = Progress::new();
    let debs = sources.packages(lock, &plans, out, &progress)?;
    let is_private = private::is_private(&project.cluster);
    if is_private {
        private::begin();
    }
    let store = ChunkStore::create(out).or_fail(Class::Environment)?;
    let events = |event| progress.show(event);
    let store = store.held(Hold::shared(out, waiting(&events)));
    let _turn = Hold::alone(store.folder(), waiting(&events));
    build::sweep(out, &store);
    let work = Work {
        project,
        lock,
        lock_digest: lock.digest(),
        id: &id,
        sources,
        out,
        store: &store,
        sector_size: wanted.sector_size,
        progress: &progress,
        report,
    };
    let (mut made, mut bills) = (Vec::new(), Vec::new());
    for plan in &plans {
        let (nodes, bill) = work.healing(plan, &debs[&plan.set])?;
        made.extend(nodes);
        bills.push(bill);
    }
    let manifests: Vec<NodeManifest> = made.iter().map(|made| made.manifest.clone()).collect();
    let systems = made
        .iter()
        .map(|made| (made.manifest.system, made.system.clone()))
        .collect();
    build::commit(&systems, &manifests, &bills, out, &store).map_err(failure)?;
    if is_private {
        for manifest in &manifests {
            private::close(manifest, out, &store)?;
        }
    }
    Ok(made)
}

/// What every system and node of one run is built with.
pub(super) struct Work<'a> {
    pub(super) project: &'a Project,
    pub(super) lock: &'a Lock,
    pub(super) lock_digest: Digest,
    pub(super) id: &'a Uuid,
    pub(super) sources: &'a Sources,
    pub(super) out: &'a Path,
    pub(super) store: &'a ChunkStore,
    pub(super) sector_size: u32,
    pub(super) progress: &'a Progress,
    pub(super) report: &'a Report,
}

/// A bill of materials: where it lies and what it says.
type Bill = (PathBuf, String);

impl Work<'_> {
    /// Builds a system and its nodes. Where packs turn out to be damaged, which removes them, once more with their
    /// packages.
    fn healing(&self, plan: &SystemPlan, debs: &[Deb]) -> Result<(Vec<Made>, Bill), Failure> {
        let before = self.sources.packs(debs);
        let failure = match self.attempt(plan, debs) {
            Err(failure) => failure,
            done => return done,
        };
        let is_lost = |path: &&PathBuf| !path.exists();
        let Some(lost) = before.iter().find(is_lost) else {
            return Err(failure);
        };
        self.progress.clear();
        self.progress.say(&format!(
            "warning: {} was damaged and is made again",
            lost.display()
        ));
        let plans = std::slice::from_ref(plan);
        let debs = self
            .sources
            .packages(self.lock, plans, self.out, self.progress)?;
        self.attempt(plan, &debs[&plan.set])
    }

    fn attempt(&self, plan: &SystemPlan, debs: &[Deb]) -> Result<(Vec<Made>, Bill), Failure> {
        let (built, took) = self.system(plan, debs)?;
        self.progress.clear();
        self.report.step(format!(
            "{}: {} packages, {} paths, root {} in {}, {:.1} s",
            plan.set,
            built.contents.packages.len(),
            built.system.root.len(),
            size((built.summary.blocks - built.summary.free_blocks) * 4096),
            size(built.summary.blocks * 4096),
            took.as_secs_f64()
        ));
        let nodes = plan.nodes.iter().map(|node| self.node(node, plan, &built));
        let nodes = nodes.collect::<Result<_, _>>()?;
        built.remember(self.out, &plan.set);
        let bill = bill(plan, self.project, self.lock, &built, self.out)?;
        Ok((nodes, bill))
    }

    /// Builds a system.
    pub(super) fn system(
        &self,
        plan: &SystemPlan,
        debs: &[Deb],
    ) -> Result<(Built, Duration), Failure> {
        let Work { sources, lock, .. } = self;
        let stopwatch = Stopwatch::start();
        let programs = sources.programs(self.project, plan, lock, self.progress)?;
        let agent = AGENTS
            .iter()
            .find(|(architecture, _)| *architecture == plan.board.architecture);
        let request = build::Request {
            set: &plan.set,
            board: &plan.board,
            os: &plan.os,
            debs,
            programs: &programs,
            agent: agent.expect("every architecture has its agent").1,
            scripts: &scripts::Table::built_in(&plan.base),
            accepted: &self.project.accepted(),
            epoch: lock.epoch,
        };
        let places = build::Places {
            cache: sources.cache(),
            out: self.out,
            store: self.store,
        };
        self.progress.busy("building", plan.set.clone());
        let built = build::system(&request, &places, &|event| self.progress.show(event))
            .map_err(|error| named(error, lock))?;
        Ok((built, stopwatch.elapsed()))
    }

    fn node(&self, node: &Node, plan: &SystemPlan, built: &Built) -> Result<Made, Failure> {
        let Work { store, .. } = self;
        let stopwatch = Stopwatch::start();
        let before = store.written();
        let (manifest, shared) = self.documents(node, plan, built)?;
        let image = compose(&shared.manifest, &manifest, store).or_fail(Class::Environment)?;
        Ok(Made {
            content: content(&image.manifest),
            root_hash: shared.manifest.root_hash,
            system: shared.manifest.clone(),
            manifest,
            added: store.written() - before,
            took: stopwatch.elapsed(),
        })
    }

    /// The manifests of a node and its system.
    pub(super) fn documents(
        &self,
        node: &Node,
        plan: &SystemPlan,
        built: &Built,
    ) -> Result<(NodeManifest, Arc<Shared>), Failure> {
        let project = self.project;
        let layout = project
            .catalog
            .layout(&node.layout.value)
            .or_fail(Class::Input)?;
        let seed = Seed::of(&project.cluster, node).or_fail(Class::Input)?;
        let spec = node::Spec {
            cluster: self.id,
            cluster_name: &project.cluster.name.value,
            name: &node.name.value,
            board: &plan.board,
            kernel_args: node
                .kernel_args
                .iter()
                .map(|text| text.value.clone())
                .collect(),
            sector_size: self.sector_size,
            layout: &layout,
            seed: seed
                .files()
                .iter()
                .map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()))
                .collect(),
            files: files(project, plan, node)?,
            overlays: &project.overlays,
            epoch: self.lock.epoch,
        };
        build::node(&spec, built, &self.lock_digest, self.store).map_err(failure)
    }
}

/// A system's bill of materials: where it lies and what it says.
fn bill(
    plan: &SystemPlan,
    project: &Project,
    lock: &Lock,
    built: &Built,
    out: &Path,
) -> Result<Bill, Failure> {
    let base = project
        .catalog
        .os(&plan.base)
        .map_err(|error| Failure::new(Class::Input, &error).hint(error.hint()))?;
    let origin = Origin {
        os: &plan.os.name,
        base: &plan.base,
        base_archives: base
            .repositories
            .values()
            .map(|repository| repository.archive.as_str())
            .collect(),
        lock,
        programs: &plan.distribution.artifacts,
    };
    Ok(build::bill(&plan.set, built, &origin, out, lock.epoch))
}

/// The node's own files as a tree.
fn files(project: &Project, plan: &SystemPlan, node: &Node) -> Result<Tree, Failure> {
    let folder = project.file.parent().unwrap_or(Path::new("")).to_owned();
    let source = |path: &str| settings::read_inside(&folder, path);
    let files = prejoin_identity::files(&project.cluster, node, &plan.os.ids, &source)
        .or_fail(Class::Input)?;
    let mut tree = Tree::new();
    for file in files {
        tree.insert(
            &file.path,
            Entry::file(file.content, file.mode).owned(file.uid, file.gid),
        );
    }
    Ok(tree)
}

/// A failure of a package file says which package it is: files of the cache are called after their digests.
pub(crate) fn named(error: build::Error, lock: &Lock) -> Failure {
    let digest = match &error {
        build::Error::Unpack(
            unpack::Error::Deb { path, .. }
            | unpack::Error::Digest { path, .. }
            | unpack::Error::Identity { path, .. }
            | unpack::Error::Module { path, .. },
        ) => path
            .file_name()
            .and_then(|name| name.to_str()?.parse::<Digest>().ok()),
        _ => None,
    };
    let package = lock
        .packages
        .iter()
        .find(|(_, package)| Some(package.sha256) == digest);
    let failure = failure(error);
    match package {
        Some((name, _)) => failure.of(format!("package {name}")),
        None => failure,
    }
}

/// Whose fault a failed build is.
fn failure(error: build::Error) -> Failure {
    Failure::new(error.class(), &error).hint(error.hint())
}

/// What was made, as a table.
pub(crate) fn summary(made: &[Made], out: &Path) -> String {
    let mut rows = vec![
        ["node", "board", "image", "content", "new", "took"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for made in made {
        let manifest = &made.manifest;
        rows.push(vec![
            manifest.node.clone(),
            manifest.board.clone(),
            size(manifest.size),
            size(made.content),
            size(made.added),
            format!("{} ms", made.took.as_millis()),
        ]);
    }
    format!(
        "{}manifests and chunks are in {}\n",
        table(&rows),
        out.display()
    )
}

pub(crate) fn as_json(made: &Made) -> Value {
    let manifest = &made.manifest;
    json!({
        "node": manifest.node,
        "board": manifest.board,
        "digest": Digest::of(manifest.to_json().as_bytes()),
        "root_hash": made.root_hash,
        "system": manifest.system,
        "size": manifest.size,
        "content": made.content,
        "new": made.added,
        "milliseconds": made.took.as_millis() as u64,
    })
}

/// Bytes of the image that are not zero and not left alone.
fn content(manifest: &Manifest) -> u64 {
    let data = manifest
        .ranges
        .iter()
        .filter(|range| matches!(range, Range::Data { .. }));
    data.map(Range::length).sum()
}

/// Packages by set, as files of the cache.
pub(crate) type Debs = BTreeMap<String, Vec<Deb>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_hold_no_path_of_the_machine_that_built_them() {
        for (architecture, agent) in AGENTS {
            for path in [env!("CARGO_MANIFEST_DIR"), ".cargo/registry"] {
                let found = agent
                    .windows(path.len())
                    .any(|window| window == path.as_bytes());
                assert!(!found, "the agent for {architecture} holds {path}");
            }
        }
    }
}
