//! Distributions: what turns an operating system into a Kubernetes node, the same for all nodes of a fleet.
//!
//! A [`Definition`] is a data file under `distributions/`. With a version and an architecture it becomes a [`System`]:
//! what is done to the tree (a [`Recipe`], as for packages), which packages of the operating system it replaces, and
//! which files have to be fetched ([`Wanted`]) and where they go.
//!
//! Digests of these files are not in the program: `prejoin lock` records those of the files it is given, after
//! comparing them with upstream's checksum file, and from then on the lock decides.

mod checksum;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::{Cluster, Containerd, Distribution, Kubernetes, Node};
use crate::os::{Os, Recipe};
use crate::units::Version;
use crate::yaml;
use prejoin_wire::architecture::Architecture;

pub use checksum::listed;
pub use wanted::Wanted;

/// The distributions, and the YAML text of each.
pub const BUILT_IN: [(Distribution, &str); 2] = [
    (
        Distribution::Kubeadm,
        include_str!("../distributions/kubeadm.yaml"),
    ),
    (Distribution::K3s, include_str!("../distributions/k3s.yaml")),
];

/// Name of the archive that has all artifacts, beside upstream's hosts, which are archives of their own:
/// `PREJOIN_MIRROR_ARTIFACTS`, `PREJOIN_MIRROR_DL_K8S_IO`.
pub const ARCHIVE: &str = "artifacts";

/// Name under which a source's `version` means Kubernetes itself; of k3s the version with its `+k3s1`.
const KUBERNETES: &str = "kubernetes";

/// A distribution, one file under `distributions/`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// Name in the cluster file, equal to the file's name.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// Versions of what goes with a Kubernetes minor version (`1.36`), by component. Components can be named as
    /// `{component}` in the texts of `files`, here and in the operating system.
    #[serde(default)]
    pub versions: BTreeMap<String, BTreeMap<String, String>>,
    /// What every node has.
    pub base: Part,
    /// The container runtime, unless the operating system's is wanted.
    #[serde(default)]
    pub runtime: Option<Part>,
}

/// One part of a distribution.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Packages of the operating system that are left out because this part brings its own.
    #[serde(default)]
    pub without: Vec<String>,
    /// Files to fetch, by name.
    #[serde(default)]
    pub artifacts: BTreeMap<String, Source>,
    /// What is done with the tree.
    #[serde(default)]
    pub recipe: Recipe,
}

/// Where a file comes from and where it goes. In the texts, `{version}` is the version as upstream writes it,
/// `{number}` the same without its `v`, `{architecture}` the architecture, and `{suffix}` one of [`Source::suffix`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Component of the version table, or `kubernetes`.
    pub version: String,
    /// Upstream's address.
    pub url: String,
    /// Address of a file with its SHA-256 digest, alone or in a list; `{url}` is the address above.
    pub checksum: String,
    /// Name in a flat folder.
    pub file: String,
    /// Parts of names that depend on the architecture; nothing for those not listed.
    #[serde(default)]
    pub suffix: BTreeMap<Architecture, String>,
    /// Programs in it: path on the node -> member of the archive, or nothing if the file itself is the program.
    pub install: BTreeMap<String, String>,
}

/// What a distribution adds to the operating system.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct System {
    /// What is done with the tree, after the operating system's own recipes.
    pub recipe: Recipe,
    /// Packages of the operating system that are left out.
    pub without: Vec<String>,
    /// Files to fetch, by [`Wanted::key`].
    pub artifacts: BTreeMap<String, Wanted>,
    /// Versions of all components by name.
    pub versions: BTreeMap<String, String>,
}

/// Why there is no system.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The cluster file names no version; `check` finds it first.
    #[error("the cluster has no Kubernetes version")]
    NoVersion,
    /// Older than anything in the version table.
    #[error("nothing is known to go with Kubernetes {version}; the oldest known is {oldest}")]
    TooOld {
        /// The version asked for.
        version: Version,
        /// The oldest minor of the table.
        oldest: String,
    },
    /// containerd 1.x has another form of configuration.
    #[error("upstream's containerd {version} is not supported")]
    Containerd {
        /// The version asked for.
        version: Version,
    },
}

impl Error {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::NoVersion => Some("add `version:` under `kubernetes`".into()),
            Error::TooOld { oldest, .. } => Some(format!("use {oldest} or newer")),
            Error::Containerd { .. } => {
                Some("use 2.0 or newer, `debian`, or leave `containerd` out".into())
            }
        }
    }
}

/// What `node` needs beside its operating system; nothing if the cluster has no Kubernetes.
pub fn system(cluster: &Cluster, node: &Node, architecture: Architecture) -> Result<System, Error> {
    let Some(definition) = Definition::built_in(cluster.kubernetes.distribution.value) else {
        return Ok(System::default());
    };
    definition.system(&cluster.kubernetes, version(cluster, node)?, architecture)
}

/// As [`system`], but for a machine that no file can be fetched for: units and configuration are there, their programs
/// are not, and with `kubeadm` the operating system's container runtime is. The units stay quiet without the programs.
pub fn system_without_artifacts(
    cluster: &Cluster,
    node: &Node,
    architecture: Architecture,
) -> Result<System, Error> {
    let Some(definition) = Definition::built_in(cluster.kubernetes.distribution.value) else {
        return Ok(System::default());
    };
    let mut kubernetes = cluster.kubernetes.clone();
    kubernetes.containerd.value = Containerd::Debian;
    let mut system = definition.system(&kubernetes, version(cluster, node)?, architecture)?;
    system.artifacts.clear();
    // They lead to programs.
    system.recipe.links.clear();
    Ok(system)
}

fn version<'a>(cluster: &'a Cluster, node: &'a Node) -> Result<&'a Version, Error> {
    let version = node
        .version
        .as_ref()
        .or(cluster.kubernetes.version.as_ref());
    version
        .map(|version| &version.value)
        .ok_or(Error::NoVersion)
}

impl System {
    /// The operating system with this laid over it: packages that are replaced are no longer wanted, and the recipe
    /// is part of what is done on every node. Texts name the versions that go with Kubernetes': containerd, whosever it
    /// is, starts pods with the image that kubeadm of this version pulls, or none starts where nothing else can be had.
    #[must_use]
    pub fn over(&self, mut os: Os) -> Os {
        os.packages
            .retain(|package| !self.without.contains(package));
        os.node = self.recipe.clone().over(os.node);
        os.versions.extend(self.versions.clone());
        os.fill_versions();
        os
    }
}

impl Definition {
    /// The definition of a distribution; none for [`Distribution::None`].
    ///
    /// # Panics
    /// Never: a test reads all files.
    pub fn built_in(distribution: Distribution) -> Option<Definition> {
        let (_, text) = BUILT_IN.iter().find(|(known, _)| *known == distribution)?;
        Some(yaml::parse(text).expect("a test reads all files"))
    }

    /// What it adds to the operating system of one architecture.
    pub fn system(
        &self,
        kubernetes: &Kubernetes,
        version: &Version,
        architecture: Architecture,
    ) -> Result<System, Error> {
        let versions = self.versions(kubernetes, version)?;
        let wants_runtime = kubernetes.containerd.value != Containerd::Debian;
        let parts = [
            Some(&self.base),
            self.runtime.as_ref().filter(|_| wants_runtime),
        ];
        let mut system = System::default();
        for part in parts.into_iter().flatten() {
            system.recipe = part.recipe.clone().over(system.recipe);
            system.without.extend(part.without.iter().cloned());
            for (name, source) in &part.artifacts {
                let version = versions.get(&source.version).cloned().unwrap_or_default();
                let wanted = Wanted::new(name, source, version, architecture);
                system.artifacts.insert(wanted.key(), wanted);
            }
        }
        system.versions = versions;
        Ok(system)
    }

    /// The newest minor version of Kubernetes that it is known what goes with.
    pub fn newest(&self) -> Option<(u16, u16)> {
        self.versions.keys().map(|row| minor(row)).max()
    }

    /// Upstream's hosts, and [`ARCHIVE`] instead of them all: where its files may come from.
    pub fn archives(&self) -> BTreeSet<String> {
        let parts = [Some(&self.base), self.runtime.as_ref()]
            .into_iter()
            .flatten();
        let sources = parts.flat_map(|part| part.artifacts.values());
        let host = |url: &str| {
            url.split_once("://")?
                .1
                .split('/')
                .next()
                .map(str::to_owned)
        };
        let hosts = sources.flat_map(|source| [host(&source.url), host(&source.checksum)]);
        // The address of a checksum file may begin with `{url}`.
        hosts.flatten().chain([ARCHIVE.to_owned()]).collect()
    }

    /// Versions of all components by name.
    fn versions(
        &self,
        kubernetes: &Kubernetes,
        version: &Version,
    ) -> Result<BTreeMap<String, String>, Error> {
        let wanted = (version.major, version.minor);
        let known = self
            .versions
            .iter()
            .filter(|(row, _)| minor(row) <= wanted)
            .max_by_key(|(row, _)| minor(row));
        let mut versions = match (known, self.versions.keys().min_by_key(|row| minor(row))) {
            (Some((_, versions)), _) => versions.clone(),
            (None, None) => BTreeMap::new(),
            (None, Some(oldest)) => {
                return Err(Error::TooOld {
                    version: version.clone(),
                    oldest: format!("v{oldest}"),
                });
            }
        };
        versions.insert(KUBERNETES.to_owned(), version.to_string());
        if let Containerd::Upstream(containerd) = &kubernetes.containerd.value {
            if containerd.major < 2 {
                return Err(Error::Containerd {
                    version: containerd.clone(),
                });
            }
            versions.insert("containerd".to_owned(), containerd.to_string());
        }
        Ok(versions)
    }
}

/// A row of the version table (`1.36`) as numbers.
fn minor(row: &str) -> (u16, u16) {
    let (major, minor) = row.split_once('.').unwrap_or((row, ""));
    (major.parse().unwrap_or(0), minor.parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::Located;

    fn cluster(kubernetes: &str) -> Cluster {
        let text = format!(
            "name: lab\nos: debian-13\nkubernetes: {kubernetes}\n\
             network: {{subnet: 10.0.0.0/24, gateway: 10.0.0.1}}\n\
             nodes: [{{name: a, board: uefi-amd64, address: 10.0.0.2, role: control-plane, disk: {{transport: nvme}}}}]\n"
        );
        Cluster::parse(&text).expect(&text)
    }

    fn of(kubernetes: &str, architecture: Architecture) -> Result<System, Error> {
        let cluster = cluster(kubernetes);
        system(&cluster, &cluster.nodes[0], architecture)
    }

    #[test]
    fn built_in_files_are_whole() {
        for (distribution, _) in BUILT_IN {
            let definition = Definition::built_in(distribution).unwrap();
            assert_eq!(definition.name, distribution.name());
            for part in [Some(&definition.base), definition.runtime.as_ref()]
                .into_iter()
                .flatten()
            {
                for unit in &part.recipe.enable {
                    assert!(
                        part.recipe
                            .files
                            .contains_key(&format!("usr/lib/systemd/system/{unit}")),
                        "{unit}"
                    );
                }
                for (name, source) in &part.artifacts {
                    let known = definition
                        .versions
                        .values()
                        .all(|row| row.contains_key(&source.version));
                    assert!(
                        source.version == KUBERNETES || known && !definition.versions.is_empty(),
                        "{name}"
                    );
                    assert!(source.url.starts_with("https://"), "{name}");
                    let whole = source
                        .install
                        .values()
                        .filter(|member| member.is_empty())
                        .count();
                    assert!(
                        whole == 0 && !source.install.is_empty() || source.install.len() == 1,
                        "{name}"
                    );
                }
            }
        }
        assert_eq!(Definition::built_in(Distribution::None), None);
    }

    #[test]
    fn kubeadm_takes_what_goes_with_the_version() {
        let system = of(
            "{distribution: kubeadm, version: v1.36.3}",
            Architecture::Arm64,
        )
        .unwrap();
        let keys: Vec<&str> = system.artifacts.keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "cni-plugins_v1.9.1_arm64",
                "containerd_v2.3.4_arm64",
                "crictl_v1.36.0_arm64",
                "kubeadm_v1.36.3_arm64",
                "kubectl_v1.36.3_arm64",
                "kubelet_v1.36.3_arm64",
                "runc_v1.4.3_arm64",
            ]
        );
        let containerd = &system.artifacts["containerd_v2.3.4_arm64"];
        assert_eq!(
            containerd.url,
            "https://github.com/containerd/containerd/releases/download/v2.3.4/containerd-2.3.4-linux-arm64.tar.gz"
        );
        assert!(containerd.is_archive() && containerd.checksum.ends_with(".tar.gz.sha256sum"));
        let kubelet = &system.artifacts["kubelet_v1.36.3_arm64"];
        assert_eq!(
            kubelet.places(),
            [
                "dl.k8s.io/release/v1.36.3/bin/linux/arm64/kubelet",
                "kubelet-v1.36.3-arm64"
            ]
            .map(str::to_owned)
        );
        assert!(!kubelet.is_archive());
        assert_eq!(system.without, ["containerd", "runc"]);
        assert_eq!(
            system.recipe.enable,
            [
                "kubelet.service",
                "cni-plugins.service",
                "containerd.service"
            ]
        );
    }

    #[test]
    fn the_runtime_can_be_chosen() {
        let debian = of(
            "{distribution: kubeadm, version: v1.36.3, containerd: debian}",
            Architecture::Amd64,
        )
        .unwrap();
        assert!(
            debian.without.is_empty()
                && !debian
                    .artifacts
                    .keys()
                    .any(|key| key.starts_with("containerd"))
        );
        assert!(
            !debian
                .recipe
                .files
                .contains_key("etc/containerd/config.toml")
        );
        let own = of(
            "{distribution: kubeadm, version: v1.40.0, containerd: v2.9.0}",
            Architecture::Amd64,
        )
        .unwrap();
        assert!(own.artifacts.contains_key("containerd_v2.9.0_amd64"));
        assert!(
            own.artifacts.contains_key("runc_v1.4.3_amd64"),
            "a newer minor gets what goes with the last known"
        );
        let old = of(
            "{distribution: kubeadm, version: v1.36.3, containerd: v1.7.30}",
            Architecture::Amd64,
        );
        assert!(matches!(old, Err(Error::Containerd { .. })));
        let old = of(
            "{distribution: kubeadm, version: v1.30.1}",
            Architecture::Amd64,
        );
        assert!(matches!(old, Err(Error::TooOld { oldest, .. }) if oldest == "v1.31"));
    }

    /// The sandbox image that containerd's configuration names on a node.
    fn sandbox_image(kubernetes: &str) -> String {
        let system = of(kubernetes, Architecture::Amd64).unwrap();
        let os = system.over(Os::built_in("debian-13").unwrap());
        let mut files = os.recipes["containerd"].files.clone();
        files.extend(os.node.files);
        let text = &files["etc/containerd/config.toml"];
        let (_, image) = text.split_once("registry.k8s.io/pause:").unwrap();
        image.split(['\'', '"']).next().unwrap().to_owned()
    }

    #[test]
    fn containerd_starts_pods_with_the_image_that_kubeadm_pulls() {
        let definition = Definition::built_in(Distribution::Kubeadm).unwrap();
        for (row, versions) in &definition.versions {
            for containerd in ["", ", containerd: debian"] {
                let kubernetes =
                    format!("{{distribution: kubeadm, version: v{row}.0{containerd}}}");
                assert_eq!(
                    sandbox_image(&kubernetes),
                    versions["pause"],
                    "{kubernetes}"
                );
            }
        }
        let newest = definition.versions.values().next_back().unwrap();
        assert_eq!(
            sandbox_image("{distribution: none}"),
            newest["pause"],
            "debian-13.yaml has the newest"
        );
    }

    #[test]
    fn k3s_is_one_program() {
        for (architecture, name) in [
            (Architecture::Amd64, "k3s"),
            (Architecture::Arm64, "k3s-arm64"),
        ] {
            let system = of("{distribution: k3s, version: v1.36.3+k3s1}", architecture).unwrap();
            let [wanted] = &system.artifacts.into_values().collect::<Vec<_>>()[..] else {
                panic!("one")
            };
            assert_eq!(
                wanted.url,
                format!("https://github.com/k3s-io/k3s/releases/download/v1.36.3%2Bk3s1/{name}")
            );
            assert_eq!(wanted.upstream_name(), name);
            assert_eq!(wanted.file, format!("k3s-v1.36.3+k3s1-{architecture}"));
            assert!(
                wanted
                    .checksum
                    .ends_with(&format!("sha256sum-{architecture}.txt"))
            );
        }
    }

    #[test]
    fn without_artifacts_the_operating_systems_runtime_stays() {
        let cluster = cluster("{distribution: kubeadm, version: v1.36.3}");
        let bare =
            system_without_artifacts(&cluster, &cluster.nodes[0], Architecture::Amd64).unwrap();
        assert!(
            bare.artifacts.is_empty() && bare.without.is_empty() && bare.recipe.links.is_empty()
        );
        assert_eq!(
            bare.recipe.enable,
            ["kubelet.service", "cni-plugins.service"]
        );
    }

    #[test]
    fn the_operating_system_keeps_what_is_not_replaced() {
        let system = of(
            "{distribution: k3s, version: v1.36.3+k3s1}",
            Architecture::Amd64,
        )
        .unwrap();
        let debian = Os::built_in("debian-13").unwrap();
        let os = system.over(debian.clone());
        assert_eq!(debian.packages.len() - os.packages.len(), 2);
        assert!(
            os.node
                .enable
                .ends_with(&["k3s.service".to_owned(), "k3s-agent.service".to_owned()])
        );
        assert!(os.node.files.contains_key("usr/lib/sysctl.d/90-k8s.conf"));
        let mut same = debian;
        same.fill_versions();
        assert_eq!(os.recipes, same.recipes);
    }

    #[test]
    fn every_node_has_its_own_version() {
        let mut cluster = cluster("{distribution: kubeadm, version: v1.36.3}");
        let mut old = cluster.nodes[0].clone();
        old.version = Some(Located::nowhere("v1.35.8".parse().unwrap()));
        let keys = system(&cluster, &old, Architecture::Arm64)
            .unwrap()
            .artifacts;
        assert!(
            keys.contains_key("kubelet_v1.35.8_arm64")
                && keys.contains_key("containerd_v2.2.7_arm64")
        );
        cluster.kubernetes.distribution.value = Distribution::None;
        assert_eq!(
            system(&cluster, &old, Architecture::Arm64).unwrap(),
            System::default()
        );
    }

    #[test]
    fn hosts_are_archives() {
        let archives = |distribution| {
            Definition::built_in(distribution)
                .unwrap()
                .archives()
                .into_iter()
                .collect()
        };
        let [kubeadm, k3s]: [Vec<String>; 2] =
            [archives(Distribution::Kubeadm), archives(Distribution::K3s)];
        assert_eq!(
            (kubeadm, k3s.join(" ")),
            (
                vec!["artifacts".into(), "dl.k8s.io".into(), "github.com".into()],
                "artifacts github.com".into()
            )
        );
    }
}
