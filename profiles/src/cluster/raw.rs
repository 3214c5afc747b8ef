//! The cluster file as it is written: what the YAML parser fills and the JSON schema is generated from.
//!
//! The descriptions are read in editors, while someone types.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::cloud_config::Tree;
use super::{Distribution, Provider, Role};
use crate::yaml::Located;
use prejoin_wire::selector::Transport;

/// Text that the resolver looks at, with its place.
pub(super) type Text = Located<String>;

/// A prejoin cluster: everything that makes its nodes what they are.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Cluster {
    /// Name of the cluster: lower-case letters, digits and hyphens.
    pub(super) name: Text,
    /// Random UUID of this cluster, written by `prejoin init` and, where it is missing, by `prejoin lock`. It is no
    /// secret. Nodes know their disks by what is derived from it: keep it, and give another cluster its own.
    #[serde(default)]
    #[schemars(regex(pattern = r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"))]
    pub(super) id: Option<Text>,
    /// Operating system of all nodes: `debian-13`, `raspios-13`, or a file of your own under `profiles/os/`.
    #[schemars(extend("examples" = ["debian-13", "raspios-13"]))]
    pub(super) os: Text,
    /// What runs on the nodes.
    pub(super) kubernetes: Kubernetes,
    /// Where the API server is reached. Needed as soon as there are several control planes; with one, its address is
    /// used. It goes into certificates, so choose it before the first build.
    #[serde(default)]
    pub(super) endpoint: Option<Located<Endpoint>>,
    /// Networks of nodes, pods, services and load balancers.
    pub(super) network: Network,
    /// Time zone, such as `Europe/Berlin`: a name of Debian's tzdata. UTC when not given.
    #[serde(default)]
    pub(super) timezone: Option<Text>,
    /// People who may log in to the nodes.
    #[serde(default)]
    pub(super) users: Vec<User>,
    /// Debian packages on every node, beside those of operating system and board.
    #[serde(default)]
    pub(super) packages: Vec<Text>,
    /// Sets of packages and kernel modules by purpose: `longhorn`, `ceph`, `nfs`, `keepalived`, or your own under `profiles/sets/`.
    #[serde(default)]
    #[schemars(extend("examples" = [["longhorn"], ["ceph"], ["nfs"]]))]
    pub(super) sets: Vec<Text>,
    /// Files on every node.
    #[serde(default)]
    pub(super) files: Vec<File>,
    /// Your own cloud-config, merged into the generated one on every node. `mounts` and the `trusted` of `ca_certs` are
    /// done by prejoin itself; `prejoin check` says which other keys do nothing.
    #[serde(default)]
    #[schemars(with = "Option<BTreeMap<String, serde_json::Value>>")]
    pub(super) cloud_init: Option<Located<Tree>>,
    /// Mirrors by archive name (`debian`, `debian-security`, `raspberrypi`; for Kubernetes' programs `dl.k8s.io`,
    /// `github.com`, or `artifacts` for all of them): one address, or several tried in order.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, OneOrMany>")]
    pub(super) mirrors: BTreeMap<String, OneOrMany>,
    /// Maintainer scripts that you read and found to do nothing an image needs, as `package/script@sha256:digest`.
    /// `prejoin lock` prints the lines to copy.
    #[serde(default)]
    pub(super) accept_scripts: Vec<Text>,
    /// Where Kubernetes binaries and images come from, for sites without the internet.
    #[serde(default)]
    pub(super) artifacts: Option<Artifacts>,
    /// What nodes have in common; each node may say otherwise.
    #[serde(default)]
    pub(super) defaults: Defaults,
    /// The machines.
    pub(super) nodes: Located<Vec<Node>>,
}

/// What runs on the nodes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Kubernetes {
    /// Who sets the cluster up.
    pub(super) distribution: Located<Distribution>,
    /// Exact version: `v1.36.3` for kubeadm, `v1.36.3+k3s1` for k3s. Must be 1.31 or newer.
    #[serde(default)]
    #[schemars(regex(pattern = r"^v[0-9]+\.[0-9]+\.[0-9]+([-+][0-9A-Za-z.+-]+)?$"))]
    pub(super) version: Option<Text>,
    /// `false` when the network plugin replaces kube-proxy, as Cilium can. Default: true.
    #[serde(default)]
    pub(super) kube_proxy: Option<Located<bool>>,
    /// k3s only: `false` leaves out its own network plugin and policies, for another one such as Cilium. Default: true.
    #[serde(default)]
    pub(super) flannel: Option<Located<bool>>,
    /// k3s only: packaged components that are left out.
    #[serde(default)]
    #[schemars(extend("examples" = [["traefik", "servicelb"]]))]
    pub(super) disable: Vec<Text>,
    /// `true` lets ordinary pods run on control planes. Default: false, except in k3s, where it is true.
    #[serde(default)]
    pub(super) schedule_control_planes: Option<Located<bool>>,
    /// DNS domain of services. Default: cluster.local.
    #[serde(default)]
    pub(super) dns_domain: Option<Text>,
    /// `debian` for the distribution's package, or an upstream version such as `v2.1.4`. Not for k3s, which brings its
    /// own. Default: the upstream release known to go with the Kubernetes version.
    #[serde(default)]
    pub(super) containerd: Option<Text>,
}

/// Where the API server is reached.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Endpoint {
    /// DNS name. Nodes resolve it by their own hosts file; other machines need it in DNS.
    #[serde(default)]
    pub(super) name: Option<Text>,
    /// Shared (virtual) address, outside of every load-balancer pool and of the router's DHCP range.
    #[serde(default)]
    pub(super) address: Option<Text>,
    /// Port, which nothing else on the control planes may use. Default: 6443.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65535))]
    pub(super) port: Option<Located<u16>>,
    /// Who moves the shared address to a living control plane. Default: none.
    #[serde(default)]
    pub(super) provider: Option<Located<Provider>>,
}

/// Networks of nodes, pods, services and load balancers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Network {
    /// Network of the nodes, such as `192.168.10.0/24`.
    pub(super) subnet: Text,
    /// The router's address in it.
    pub(super) gateway: Text,
    /// Name servers; pods ask the first three. Default: the gateway.
    #[serde(default)]
    pub(super) dns: Option<Vec<Text>>,
    /// DNS search domains.
    #[serde(default)]
    pub(super) search: Vec<Text>,
    /// Time servers, by name or address. Default: those of the operating system.
    #[serde(default)]
    pub(super) ntp: Vec<Text>,
    /// Network of the pods. Default: 10.244.0.0/16 (k3s: 10.42.0.0/16).
    #[serde(default)]
    pub(super) pods: Option<Text>,
    /// Network of the services. Default: 10.96.0.0/16 (k3s: 10.43.0.0/16).
    #[serde(default)]
    pub(super) services: Option<Text>,
    /// Addresses that a load balancer in the cluster (MetalLB, Cilium) hands out: `192.168.10.150-192.168.10.160`.
    /// prejoin only makes sure that no node lives there.
    #[serde(default)]
    pub(super) load_balancer: Vec<Text>,
    /// Largest packet in bytes. Default: the interface's own.
    #[serde(default)]
    #[schemars(range(min = 1280, max = 9216))]
    pub(super) mtu: Option<Located<u16>>,
}

/// Someone who may log in to the nodes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct User {
    /// Login name.
    pub(super) name: Text,
    /// Public keys: the lines of `~/.ssh/*.pub`.
    #[serde(default)]
    pub(super) ssh_keys: Vec<Text>,
    /// Whether the user may become root without a password. Default: false.
    #[serde(default)]
    pub(super) sudo: bool,
    /// Further groups.
    #[serde(default)]
    pub(super) groups: Vec<Text>,
    /// Hash of a password for the console (`mkpasswd -m yescrypt`). Without one, no password works.
    #[serde(default)]
    pub(super) password_hash: Option<Text>,
    /// Login shell; the package of another one than bash has to be named under `packages`. Default: /bin/bash.
    #[serde(default)]
    pub(super) shell: Option<Text>,
}

/// A file on a node.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// Absolute path on the node. `/usr` is read-only: use `/etc`, `/var`, `/opt`, `/home`, `/root` or `/srv`.
    pub(super) path: Text,
    /// What stands in the file.
    #[serde(default)]
    pub(super) content: Option<Located<String>>,
    /// Path of a file that is copied, relative to this one.
    #[serde(default)]
    pub(super) source: Option<Text>,
    /// Permissions in octal. Default: "0644".
    #[serde(default)]
    #[schemars(with = "Option<Mode>")]
    pub(super) mode: Option<Text>,
    /// `user:group`. Default: root:root.
    #[serde(default)]
    pub(super) owner: Option<Text>,
}

/// Where Kubernetes binaries and images come from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Artifacts {
    /// A folder beside this file (`./artifacts`) or the address of a server that has them under their usual paths.
    pub(super) from: Text,
}

/// What nodes have in common.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Defaults {
    /// What a node does. Default: worker.
    #[serde(default)]
    pub(super) role: Option<Located<Role>>,
    /// Board: `uefi-amd64`, `uefi-arm64`, `rpi4`, `rpi5`, or a file of your own under `profiles/boards/`.
    #[serde(default)]
    #[schemars(extend("examples" = ["uefi-amd64", "uefi-arm64", "rpi4", "rpi5"]))]
    pub(super) board: Option<Text>,
    /// Disk that the system goes to.
    #[serde(default)]
    pub(super) disk: Option<Located<Disk>>,
    /// Second disk, for layouts that use one.
    #[serde(default)]
    pub(super) data_disk: Option<Located<Disk>>,
    /// Partitions: `single`, `longhorn`, `ceph`, or a file of your own under `profiles/layouts/`. Default: single.
    #[serde(default)]
    #[schemars(extend("examples" = ["single", "longhorn", "ceph"]))]
    pub(super) layout: Option<Text>,
    /// Kernel arguments of every node, after those of its board: `usb-storage.quirks=152d:0578:u`.
    #[serde(default)]
    #[schemars(extend("examples" = [["nvme_core.default_ps_max_latency_us=0"]]))]
    pub(super) kernel_args: Vec<Text>,
    /// Kubernetes labels.
    #[serde(default)]
    pub(super) labels: BTreeMap<String, Text>,
}

/// One machine.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Node {
    /// Host name and Kubernetes node name: lower-case letters, digits and hyphens.
    pub(super) name: Text,
    /// Its address in the nodes' network.
    pub(super) address: Text,
    /// What it does. Default: that of `defaults`, else worker.
    #[serde(default)]
    pub(super) role: Option<Located<Role>>,
    /// Board. Default: that of `defaults`.
    #[serde(default)]
    pub(super) board: Option<Text>,
    /// Hardware address of the interface with the static address, `aa:bb:cc:dd:ee:ff`.
    #[serde(default)]
    pub(super) mac: Option<Text>,
    /// Serial number on the machine's label, or of the Raspberry Pi (`cat /proc/cpuinfo`).
    #[serde(default)]
    pub(super) serial: Option<Text>,
    /// Disk that the system goes to. Replaces that of `defaults` as a whole.
    #[serde(default)]
    pub(super) disk: Option<Located<Disk>>,
    /// Second disk, for layouts that use one. Replaces that of `defaults` as a whole.
    #[serde(default)]
    pub(super) data_disk: Option<Located<Disk>>,
    /// Partitions. Default: those of `defaults`, else single.
    #[serde(default)]
    pub(super) layout: Option<Text>,
    /// Kernel arguments of this node, after those of its board and of `defaults`.
    #[serde(default)]
    pub(super) kernel_args: Vec<Text>,
    /// Kubernetes version where it differs from the cluster's, during an upgrade.
    #[serde(default)]
    pub(super) version: Option<Text>,
    /// Kubernetes labels, beside those of `defaults`.
    #[serde(default)]
    pub(super) labels: BTreeMap<String, Text>,
    /// Kubernetes taints: `key=value:NoSchedule`.
    #[serde(default)]
    pub(super) taints: Vec<Text>,
    /// Debian packages on this node beside the cluster's. A node with packages of its own has an image of its own.
    #[serde(default)]
    pub(super) packages: Vec<Text>,
    /// Files on this node beside the cluster's.
    #[serde(default)]
    pub(super) files: Vec<File>,
    /// Your own cloud-config for this node, merged after the cluster's.
    #[serde(default)]
    #[schemars(with = "Option<BTreeMap<String, serde_json::Value>>")]
    pub(super) cloud_init: Option<Located<Tree>>,
}

/// What a disk must be like to be chosen. Everything given must hold, and exactly one disk may match.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Disk {
    /// Serial number (`lsblk -o name,serial`).
    #[serde(default)]
    pub(super) serial: Option<Text>,
    /// World-wide identifier (`cat /sys/block/nvme0n1/wwid`).
    #[serde(default)]
    pub(super) wwid: Option<Text>,
    /// Model, with `*` for any text.
    #[serde(default)]
    pub(super) model: Option<Text>,
    /// How it is attached.
    #[serde(default)]
    pub(super) transport: Option<Located<Transport>>,
    /// Smallest size allowed, such as `240 GB`.
    #[serde(default)]
    #[schemars(with = "Option<prejoin_wire::size::Size>")]
    pub(super) min_size: Option<Text>,
    /// Largest size allowed.
    #[serde(default)]
    #[schemars(with = "Option<prejoin_wire::size::Size>")]
    pub(super) max_size: Option<Text>,
    /// Spinning disk or not.
    #[serde(default)]
    pub(super) rotational: Option<bool>,
}

/// One address or several.
#[derive(Debug)]
pub(super) struct OneOrMany(pub(super) Vec<Text>);

/// Permissions in octal.
pub(super) struct Mode;

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Vec<String>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an address or a list of addresses")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<String>, E> {
                Ok(vec![text.to_owned()])
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut list: A,
            ) -> Result<Vec<String>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(items)
            }
        }

        struct List(Vec<String>);

        impl<'de> Deserialize<'de> for List {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Visitor).map(List)
            }
        }

        // The list's place serves for its items: serde's buffering would lose theirs.
        let list = Located::<List>::deserialize(deserializer)?;
        let position = list.position;
        Ok(OneOrMany(
            list.value
                .0
                .into_iter()
                .map(|item| Located::at(item, position))
                .collect(),
        ))
    }
}

impl JsonSchema for OneOrMany {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OneOrMany".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }] })
    }
}

impl JsonSchema for Mode {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Mode".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // YAML 1.1 readers take 0644 without quotes for a number.
        json_schema!({ "type": ["string", "integer"], "pattern": "^[0-7]{3,4}$" })
    }
}
