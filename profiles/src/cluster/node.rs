use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::{CloudConfig, DiskSelector, File};
use crate::units::{Mac, Version};
use crate::yaml::Located;

/// One machine, the cluster's defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Host name and Kubernetes node name, a DNS label.
    pub name: Located<String>,
    /// What it does in the cluster.
    pub role: Located<Role>,
    /// Board, the name of a file under `boards/`.
    pub board: Located<String>,
    /// Hardware address of the network interface that the static address belongs to.
    pub mac: Option<Located<Mac>>,
    /// The machine's serial number, as on its label (SMBIOS, Raspberry Pi).
    pub serial: Option<Located<String>>,
    /// Its address in the nodes' network.
    pub address: Located<IpAddr>,
    /// Disk that the system goes to.
    pub disk: Located<DiskSelector>,
    /// Second disk, for layouts that use one.
    pub data_disk: Option<Located<DiskSelector>>,
    /// Partitions, the name of a file under `layouts/`.
    pub layout: Located<String>,
    /// Kernel arguments after the board's: those of `defaults`, then its own.
    pub kernel_args: Vec<Located<String>>,
    /// Kubernetes version where it differs from the cluster's, during an upgrade.
    pub version: Option<Located<Version>>,
    /// Kubernetes labels.
    pub labels: BTreeMap<String, String>,
    /// Kubernetes taints.
    pub taints: Vec<Located<Taint>>,
    /// Debian packages on this node beside the cluster's.
    pub packages: Vec<Located<String>>,
    /// Files on this node beside the cluster's.
    pub files: Vec<File>,
    /// The user's own cloud-config for this node, merged after the cluster's.
    pub cloud_init: Option<CloudConfig>,
}

/// What a node does in the cluster.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// API server, etcd and friends; a k3s server.
    ControlPlane,
    /// Runs pods; a k3s agent.
    Worker,
}

impl Role {
    /// Its name in the cluster file.
    pub fn name(self) -> &'static str {
        match self {
            Role::ControlPlane => "control-plane",
            Role::Worker => "worker",
        }
    }
}

/// A Kubernetes taint, written `key=value:Effect` or `key:Effect`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taint {
    /// Key with optional prefix: `example.org/gpu`.
    pub key: String,
    /// Value, may be empty.
    pub value: String,
    /// What happens to pods that do not tolerate it.
    pub effect: Effect,
}

/// What a taint does to pods that do not tolerate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// They are not scheduled here.
    NoSchedule,
    /// They are scheduled here only if there is no other place.
    PreferNoSchedule,
    /// They are evicted.
    NoExecute,
}

impl fmt::Display for Taint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.value.is_empty() {
            write!(f, "{}:{}", self.key, self.effect)
        } else {
            write!(f, "{}={}:{}", self.key, self.value, self.effect)
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Effect::NoSchedule => "NoSchedule",
            Effect::PreferNoSchedule => "PreferNoSchedule",
            Effect::NoExecute => "NoExecute",
        })
    }
}
