use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Version;
use crate::yaml::Located;

/// What runs on the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubernetes {
    /// Who sets the cluster up.
    pub distribution: Located<Distribution>,
    /// Exact version; present unless the distribution is `none`.
    pub version: Option<Located<Version>>,
    /// Whether kube-proxy runs; `false` when the network plugin replaces it.
    pub kube_proxy: bool,
    /// k3s only: whether its own network plugin (flannel) and network policies run.
    pub flannel: bool,
    /// k3s only: packaged components that are left out (`traefik`, `servicelb`, …).
    pub disable: Vec<Located<String>>,
    /// Whether ordinary pods may run on control planes.
    pub schedule_control_planes: bool,
    /// DNS domain of services.
    pub dns_domain: Located<String>,
    /// Where containerd comes from; k3s brings its own.
    pub containerd: Located<Containerd>,
}

/// Who sets the cluster up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Distribution {
    /// Upstream Kubernetes by kubeadm.
    Kubeadm,
    /// k3s.
    K3s,
    /// No Kubernetes: plain machines with the operating system.
    None,
}

impl Distribution {
    /// Its name in the cluster file.
    pub fn name(self) -> &'static str {
        match self {
            Distribution::Kubeadm => "kubeadm",
            Distribution::K3s => "k3s",
            Distribution::None => "none",
        }
    }
}

/// Where containerd comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Containerd {
    /// The operating system's package. Debian 13 has 1.7, which lacks the CRI call `RuntimeConfig`: kubeadm warns
    /// from 1.36 on, and the kubelet's fallback goes in 1.38.
    Debian,
    /// An upstream release.
    Upstream(Version),
    /// The upstream release that prejoin knows to go with the Kubernetes version.
    Recommended,
}
