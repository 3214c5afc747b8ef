//! k3s' configuration: keys are the flags of `k3s server` and `k3s agent` (docs.k3s.io, "Configuration File").
//!
//! Every node has `/etc/rancher/k3s/config.yaml`, complete but for the two things that make it a member:
//!
//! * the token, read from [`SERVER_TOKEN`] or [`AGENT_TOKEN`] (0600), which the join puts there; without it neither
//!   `k3s.service` nor `k3s-agent.service` starts. Beside it belong `/etc/rancher/node/password` (0600) and, on the
//!   first server, the CAs below `/var/lib/rancher/k3s/server/tls`;
//! * on servers `server:` or `cluster-init:`, as a drop-in `/etc/rancher/k3s/config.yaml.d/50-join.yaml`. It is left
//!   out on purpose: `cluster-init` on a wiped disk founds a second cluster under the same CA.

use prejoin_profiles::cluster::{Cluster, Node, Role};
use serde::Serialize;

use crate::document::yaml;
use crate::kubeadm::{VOLUME_PLUGINS, authority, bind_port, cluster_dns, names};
use crate::{Error, NodeFile};

/// Token of servers; where it exists, the node is a server.
pub const SERVER_TOKEN: &str = "/etc/rancher/k3s/server.token";
/// Token of agents; on servers what they expect of agents.
pub const AGENT_TOKEN: &str = "/etc/rancher/k3s/agent.token";

/// The files of one node, whatever its role.
pub(crate) fn files(cluster: &Cluster, node: &Node) -> Result<Vec<NodeFile>, Error> {
    let config = Config {
        server: match node.role.value {
            Role::ControlPlane => None,
            Role::Worker => Some(format!("https://{}", authority(cluster)?)),
        },
        token_file: match node.role.value {
            Role::ControlPlane => SERVER_TOKEN,
            Role::Worker => AGENT_TOKEN,
        },
        node_name: &node.name,
        node_ip: node.address.value.to_string(),
        node_label: node
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect(),
        node_taint: taints(cluster, node),
        resolv_conf: "/run/systemd/resolve/resolv.conf",
        kubelet_arg: [format!("volume-plugin-dir={VOLUME_PLUGINS}")],
        shared: match node.role.value {
            Role::ControlPlane => Some(shared(cluster)?),
            Role::Worker => None,
        },
    };
    Ok(vec![NodeFile::text(
        "etc/rancher/k3s/config.yaml",
        0o600,
        yaml(&config),
    )])
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Config<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    token_file: &'static str,
    node_name: &'a str,
    node_ip: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    node_label: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    node_taint: Vec<String>,
    resolv_conf: &'static str,
    kubelet_arg: [String; 1],
    #[serde(flatten)]
    shared: Option<Shared<'a>>,
}

/// What must be the same on all servers ("critical configuration value mismatch" otherwise).
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Shared<'a> {
    agent_token_file: &'static str,
    https_listen_port: u16,
    tls_san: Vec<String>,
    cluster_cidr: String,
    service_cidr: String,
    cluster_dns: String,
    cluster_domain: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    flannel_backend: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    disable_network_policy: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    disable_kube_proxy: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    disable: Vec<&'a str>,
    kube_controller_manager_arg: [String; 1],
    write_kubeconfig_mode: &'static str,
}

fn shared(cluster: &Cluster) -> Result<Shared<'_>, Error> {
    let flannel = cluster.kubernetes.flannel;
    Ok(Shared {
        agent_token_file: AGENT_TOKEN,
        https_listen_port: bind_port(cluster),
        tls_san: names(cluster),
        cluster_cidr: cluster.network.pods.value.to_string(),
        service_cidr: cluster.network.services.value.to_string(),
        cluster_dns: cluster_dns(cluster)?.to_string(),
        cluster_domain: &cluster.kubernetes.dns_domain,
        flannel_backend: (!flannel).then_some("none"),
        disable_network_policy: !flannel,
        disable_kube_proxy: !cluster.kubernetes.kube_proxy,
        disable: cluster
            .kubernetes
            .disable
            .iter()
            .map(|name| name.as_str())
            .collect(),
        kube_controller_manager_arg: [format!("flex-volume-plugin-dir={VOLUME_PLUGINS}")],
        write_kubeconfig_mode: "0600",
    })
}

/// Taints of the Node object at its creation; k3s has none of its own for servers.
fn taints(cluster: &Cluster, node: &Node) -> Vec<String> {
    let reserved = *node.role == Role::ControlPlane && !cluster.kubernetes.schedule_control_planes;
    let own = reserved.then(|| "node-role.kubernetes.io/control-plane=true:NoSchedule".to_owned());
    own.into_iter()
        .chain(node.taints.iter().map(|taint| taint.value.to_string()))
        .collect()
}
