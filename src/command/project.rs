//! A cluster file with everything beside it: profiles, lock, and what follows from them.
#![expect(
    clippy::disallowed_methods,
    reason = "reads the cluster file and what lies beside it"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use prejoin_identity::Seed;
use prejoin_image_builder::class::Class;
use prejoin_image_builder::debian::keyring::Keyring;
use prejoin_image_builder::debian::resolve::Wanted;
use prejoin_image_builder::image::overlays;
use prejoin_profiles::board::Board;
use prejoin_profiles::catalog::{Catalog, Kind};
use prejoin_profiles::check;
use prejoin_profiles::cluster::{Cluster, Node, User};
use prejoin_profiles::distribution;
use prejoin_profiles::finding::{Code, Finding, Severity};
use prejoin_profiles::keys;
use prejoin_profiles::os::Os;
use prejoin_wire::digest::Digest;

use crate::failure::Failure;
use crate::report::Report;
use crate::settings;

/// A cluster file that was read and found sound.
pub(crate) struct Project {
    /// Where it lies.
    pub(crate) file: PathBuf,
    /// Its text.
    pub(crate) text: String,
    /// What it says.
    pub(crate) cluster: Cluster,
    /// Profiles of the program and the user's own.
    pub(crate) catalog: Catalog,
    /// OpenPGP key files of the program and the user's own; which of them may sign what, the profiles say.
    pub(crate) keys: Vec<Vec<u8>>,
    /// The user's own device tree overlays by file name.
    pub(crate) overlays: BTreeMap<String, Vec<u8>>,
    /// What is unusual about it.
    pub(crate) findings: Vec<Finding>,
    /// Go on without the programs of the Kubernetes distribution. Only the demo does.
    pub(crate) without_artifacts: bool,
}

/// One operating system for one board with one list of packages, and the nodes that get it.
pub(crate) struct SystemPlan<'a> {
    /// Name of its package set in the lock.
    pub(crate) set: String,
    /// The board as it is on the operating system.
    pub(crate) board: Board,
    /// The operating system, with what cluster and distribution add.
    pub(crate) os: Os,
    /// Name of the operating system whose maintainer scripts are known: the one that all others inherit from.
    pub(crate) base: String,
    /// What makes it a Kubernetes node.
    pub(crate) distribution: distribution::System,
    /// Packages wanted.
    pub(crate) wanted: Vec<Wanted>,
    /// Those of them that cluster file, sets or layout ask for beyond what the operating system has.
    pub(crate) asked: Vec<Wanted>,
    /// Its nodes.
    pub(crate) nodes: Vec<&'a Node>,
}

impl Project {
    /// Reads and checks a cluster file; findings are printed, errors among them end the command.
    pub(crate) fn open(file: &Path, report: &Report) -> Result<Self, Failure> {
        let text = settings::read(file, "the cluster file").map_err(|failure| {
            failure.hint(
                (!file.exists())
                    .then(|| "write one with `prejoin init`, or name it with --file".to_owned()),
            )
        })?;
        Self::parse(file, text, report)
    }

    /// The same from text that is not a file.
    pub(crate) fn parse(file: &Path, text: String, report: &Report) -> Result<Self, Failure> {
        let folder = file.parent().unwrap_or(Path::new(""));
        let mut catalog = Catalog::embedded();
        extend(&mut catalog, folder)?;
        let keys = keys(folder)?;
        let overlays = overlays(folder)?;
        let shown = file.display().to_string();
        let cluster = Cluster::parse(&text).map_err(|findings| {
            let said = report.findings(&shown, &text, &findings);
            said.err().unwrap_or_else(|| unsound(&findings))
        })?;
        let mut findings = check::check(&cluster, &catalog);
        let is_error = |finding: &Finding| finding.severity == Severity::Error;
        if !findings.iter().any(is_error) {
            findings.extend(seeds(&cluster));
        }
        if findings.iter().any(is_error) {
            report.findings(&shown, &text, &findings)?;
            return Err(unsound(&findings));
        }
        Ok(Project {
            file: file.to_owned(),
            text,
            cluster,
            catalog,
            keys,
            overlays,
            findings,
            without_artifacts: false,
        })
    }

    /// Maintainer scripts that it accepts.
    pub(crate) fn accepted(&self) -> Vec<String> {
        let lines = self.cluster.accept_scripts.iter();
        lines.map(|line| line.value.clone()).collect()
    }

    /// Where its lock lies: `prejoin.lock` beside `cluster.yaml`, `NAME.lock` beside any other `NAME.yaml`. So cluster
    /// files in one folder do not share one.
    pub(crate) fn lock_path(&self) -> PathBuf {
        match self.file.file_stem() {
            Some(name) if name != "cluster" => self.file.with_extension("lock"),
            _ => self.file.with_file_name("prejoin.lock"),
        }
    }

    /// The node of this name.
    pub(crate) fn node(&self, name: &str) -> Result<&Node, Failure> {
        let nodes = &self.cluster.nodes;
        let found = nodes.iter().find(|node| node.name.value == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = nodes.iter().map(|node| node.name.value.as_str()).collect();
            let message = format!("{} has no node {name}", self.file.display());
            Failure::plain(Class::Input, message)
                .hint(format!("its nodes are {}", names.join(", ")))
        })
    }

    /// The systems that its nodes need, each once, in order of their names.
    pub(crate) fn systems(&self) -> Result<Vec<SystemPlan<'_>>, Failure> {
        let mut systems: BTreeMap<String, SystemPlan> = BTreeMap::new();
        for node in &self.cluster.nodes {
            let plan = self.system(node)?;
            let (modules, programs) = (
                plan.os.required_modules.clone(),
                plan.os.required_programs.clone(),
            );
            let shared = systems.entry(plan.set.clone()).or_insert(plan);
            // Layouts may differ where the packages do not; the image is checked for what any of them needs.
            shared.os.required_modules.extend(modules);
            shared.os.required_programs.extend(programs);
            shared.nodes.push(node);
        }
        Ok(systems.into_values().collect())
    }

    fn system(&self, node: &Node) -> Result<SystemPlan<'_>, Failure> {
        let profile = |error: prejoin_profiles::catalog::Error| {
            Failure::new(Class::Input, &error).hint(error.hint())
        };
        let mut os = self.catalog.os(&self.cluster.os.value).map_err(profile)?;
        let base = self.catalog.base(&self.cluster.os.value).map_err(profile)?;
        let board = self.catalog.board(&node.board.value).map_err(profile)?;
        let Some((board, kernel)) = board.on(&os.name) else {
            let message = format!("board {} has no kernel on {}", board.name, os.name);
            return Err(Failure::plain(Class::Input, message));
        };
        let system = if self.without_artifacts {
            distribution::system_without_artifacts(&self.cluster, node, board.architecture)
        } else {
            distribution::system(&self.cluster, node, board.architecture)
        };
        let distribution =
            system.map_err(|error| Failure::new(Class::Input, &error).hint(error.hint()))?;
        os = distribution.over(os);
        let mut extra: Vec<String> = Vec::new();
        for set in &self.cluster.sets {
            let set = self.catalog.set(&set.value).map_err(profile)?;
            extra.extend(set.packages);
            os.require(&set.name, &set.modules, &set.programs);
            if !set.modules.is_empty() {
                let lines: String = set
                    .modules
                    .iter()
                    .map(|module| format!("{module}\n"))
                    .collect();
                os.node.files.insert(
                    format!("usr/lib/modules-load.d/50-{}.conf", set.name),
                    lines,
                );
            }
        }
        // A login shell that is not there shuts its user out. That of everybody else is the operating system's business.
        let given = |user: &&User| user.shell.position.line != 0;
        for user in self.cluster.users.iter().filter(given) {
            if let Some(program) = image_program(&user.shell) {
                os.require(&format!("user {}", user.name.value), &[], &[program]);
            }
        }
        let layout = self.catalog.layout(&node.layout.value).map_err(profile)?;
        let brought = os.provide(&layout).map_err(|filesystem| {
            let message = format!(
                "layout {} has a partition of {filesystem}, which {} cannot make",
                layout.name, os.name
            );
            Failure::plain(Class::Input, message)
        })?;
        // What every node has makes no system of its own.
        extra.extend(
            brought
                .iter()
                .filter(|name| !os.packages.contains(name))
                .cloned(),
        );
        extra.extend(
            self.cluster
                .packages
                .iter()
                .chain(&node.packages)
                .map(|package| package.value.clone()),
        );
        extra.sort();
        extra.dedup();

        let mut set = format!("{}/{}", os.name, board.name);
        let version = node
            .version
            .as_ref()
            .map(|version| version.value.to_string());
        if !extra.is_empty() || version.is_some() {
            // Nodes with the same additions share a system; the name says that there are any.
            let additions = format!("{version:?} {extra:?}");
            set = format!("{set}+{}", Digest::of(additions.as_bytes()).short());
        }
        let kernel = Wanted {
            name: kernel.package.clone(),
            repository: kernel.repository.clone(),
            version: None,
        };
        let is_own = |name: &String| os.packages.contains(name) || brought.contains(name);
        let asked: Vec<Wanted> = extra
            .iter()
            .map(|name| Wanted::parse(name))
            .filter(|wanted| !is_own(&wanted.name))
            .collect();
        let refused = asked
            .iter()
            .find_map(|wanted| os.refuse.get_key_value(&wanted.name));
        if let Some((name, why)) = refused {
            let message = format!("package {name}: {why}");
            return Err(Failure::plain(Class::Input, message));
        }
        os.asked = asked.iter().map(|wanted| wanted.name.clone()).collect();
        let named = os
            .packages
            .iter()
            .chain(&board.packages)
            .chain(&extra)
            .map(|name| Wanted::parse(name));
        let wanted = named.chain([kernel]).collect();
        Ok(SystemPlan {
            set,
            board,
            os,
            base,
            distribution,
            wanted,
            asked,
            nodes: Vec::new(),
        })
    }
}

/// A program's path in the image, where `/bin` is a link to `/usr/bin`; none if it is not of the image.
fn image_program(path: &str) -> Option<String> {
    let path = path.strip_prefix('/')?;
    let merged = path.strip_prefix("usr/").unwrap_or(path);
    let program = ["bin/", "sbin/"]
        .iter()
        .any(|folder| merged.starts_with(folder));
    program.then(|| format!("usr/{merged}"))
}

/// Nobody reads more at once.
const SHOWN: usize = 50;

/// What the nodes' seeds cannot be made for: cloud-init is merged, and measured, node by node.
fn seeds(cluster: &Cluster) -> Vec<Finding> {
    let errors = cluster
        .nodes
        .iter()
        .filter_map(|node| Seed::of(cluster, node).err())
        .take(SHOWN);
    let mut findings: Vec<Finding> = errors
        .map(|error| {
            let at = error.position().unwrap_or_default();
            Finding {
                hint: error.hint(),
                ..Finding::error(Code::CloudInit, at, &"", error.to_string())
            }
        })
        .collect();
    // What is wrong with the cluster's part is wrong for every node.
    findings.dedup();
    findings
}

/// The user's own profiles: `profiles/{boards,os,layouts,sets}/*.yaml` beside the cluster file.
fn extend(catalog: &mut Catalog, folder: &Path) -> Result<(), Failure> {
    for kind in [Kind::Board, Kind::Os, Kind::Layout, Kind::Set] {
        for path in files(&folder.join("profiles").join(kind.folder()), "yaml") {
            let name = path
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned())
                .unwrap_or_default();
            let text = settings::read(&path, "the profile")?;
            catalog
                .extend(kind, &name, &path.display().to_string(), &text)
                .map_err(|error| Failure::new(Class::Input, &error).hint(error.hint()))?;
        }
    }
    Ok(())
}

/// The program's keys, and the user's own: `profiles/keys/*.asc`.
fn keys(folder: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let mut keys: Vec<Vec<u8>> = keys::ALL.iter().map(|key| key.to_vec()).collect();
    for path in files(&folder.join("profiles/keys"), "asc") {
        let key = settings::read(&path, "the key")?.into_bytes();
        // Read here, where it is known which file it is.
        Keyring::pinned(&[], [key.as_slice()])
            .map_err(|error| Failure::new(Class::Input, &error).of(path.display()))?;
        keys.push(key);
    }
    Ok(keys)
}

/// The user's own device tree overlays: `profiles/overlays/*.dtbo`.
fn overlays(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let mut overlays = BTreeMap::new();
    for path in files(&folder.join("profiles/overlays"), "dtbo") {
        let bytes = settings::read_bytes(&path)
            .map_err(|error| Failure::new(Class::Input, &error).of(path.display()))?;
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        overlays::check_own(&name, &bytes).map_err(|error| {
            Failure::new(Class::Input, &error)
                .of(path.display())
                .hint(error.hint())
        })?;
        overlays.insert(name, bytes);
    }
    Ok(overlays)
}

/// Files of a folder with one ending, in the order of their names; none if there is no such folder.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .collect();
    paths.sort();
    paths
}

fn unsound(findings: &[Finding]) -> Failure {
    let errors = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .count();
    let s = if errors == 1 { "" } else { "s" };
    Failure::findings(format!("the cluster file has {errors} error{s}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layouts_file_systems_bring_their_tools() {
        let text = "name: lab\nos: debian-13\nkubernetes: { distribution: none }\n\
                    network: { subnet: 10.0.0.0/24, gateway: 10.0.0.1 }\n\
                    defaults: { board: uefi-amd64, disk: { serial: A } }\nnodes:\n  \
                    - { name: plain, address: 10.0.0.2 }\n  \
                    - { name: large, address: 10.0.0.3, layout: large }\n";
        let layout = "name: large\ndescription: x\ninherits: single\nsizes: { state: 9 GiB }\npartitions:\n  \
                      - { name: data, purpose: data, min_size: 9 GiB, filesystem: xfs, mount: /srv }\n";
        let mut catalog = Catalog::embedded();
        catalog
            .extend(Kind::Layout, "large", "profiles/layouts/large.yaml", layout)
            .expect("well-formed");
        let mut project = project(text);
        project.catalog = catalog;
        let systems = project.systems().expect("known profiles");
        let [plain, large] = &systems[..] else {
            panic!("{} systems", systems.len());
        };
        let wants = |plan: &SystemPlan| plan.wanted.iter().any(|wanted| wanted.name == "xfsprogs");
        assert_eq!(plain.set, "debian-13/uefi-amd64", "ext4 is on every node");
        assert!(!wants(plain) && wants(large));
        let programs = &large.os.required_programs;
        assert_eq!(programs["file system xfs"], ["usr/sbin/mkfs.xfs"]);
        assert_eq!(
            programs["file system ext4"],
            ["usr/sbin/mke2fs", "usr/sbin/e2fsck"]
        );
    }

    #[test]
    fn a_lock_is_called_after_its_cluster_file() {
        let mut project = project(
            "name: lab\nos: debian-13\nkubernetes: { distribution: none }\n\
             network: { subnet: 10.0.0.0/24, gateway: 10.0.0.1 }\n\
             defaults: { board: uefi-amd64, disk: { serial: A } }\n\
             nodes: [{ name: one, address: 10.0.0.2 }]\n",
        );
        for (file, lock) in [
            ("cluster.yaml", "prejoin.lock"),
            ("labs/cluster.yaml", "labs/prejoin.lock"),
            ("labs/home.yaml", "labs/home.lock"),
            ("at.work.yml", "at.work.lock"),
            ("home", "home.lock"),
        ] {
            project.file = PathBuf::from(file);
            assert_eq!(project.lock_path(), Path::new(lock), "{file}");
        }
    }

    #[test]
    fn a_login_shell_has_to_be_in_the_image() {
        let project = project(
            "name: lab\nos: debian-13\nkubernetes: { distribution: none }\n\
             network: { subnet: 10.0.0.0/24, gateway: 10.0.0.1 }\npackages: [fish]\nusers:\n  \
             - { name: me, shell: /bin/fish }\n  - { name: you }\n  - { name: her, shell: /opt/bin/own }\n\
             defaults: { board: uefi-amd64, disk: { serial: A } }\nnodes:\n  \
             - { name: one, address: 10.0.0.2 }\n",
        );
        let systems = project.systems().expect("known profiles");
        let programs = &systems[0].os.required_programs;
        assert_eq!(programs["user me"], ["usr/bin/fish"]);
        assert!(!programs.contains_key("user you") && !programs.contains_key("user her"));
    }

    #[test]
    fn what_cloud_init_cannot_be_made_of_is_found_with_its_place() {
        let text = "name: lab\nos: debian-13\nkubernetes: { distribution: none }\n\
                    network: { subnet: 10.0.0.0/24, gateway: 10.0.0.1 }\ncloud_init:\n  bootcmd: { a: b }\n\
                    defaults: { board: uefi-amd64, disk: { serial: A } }\nnodes:\n  \
                    - { name: one, address: 10.0.0.2, cloud_init: { bootcmd: [x] } }\n  \
                    - { name: two, address: 10.0.0.3, cloud_init: { bootcmd: [x] } }\n";
        let cluster = Cluster::parse(text).expect("well-formed");
        let findings = seeds(&cluster);
        let places: Vec<u32> = findings
            .iter()
            .map(|finding| finding.position.line)
            .collect();
        assert_eq!(places, [9, 10], "{findings:?}");
        assert!(
            findings
                .iter()
                .all(|finding| finding.hint.is_some() && finding.severity == Severity::Error)
        );
    }

    /// A project of this cluster file, with nothing around it.
    fn project(text: &str) -> Project {
        Project {
            file: PathBuf::from("cluster.yaml"),
            text: text.to_owned(),
            cluster: Cluster::parse(text).expect("well-formed"),
            catalog: Catalog::embedded(),
            keys: Vec::new(),
            findings: Vec::new(),
            without_artifacts: false,
            overlays: BTreeMap::new(),
        }
    }
}
