//! kubeadm's and the kubelet's documents (kubeadm.k8s.io/v1beta4, kubelet.config.k8s.io/v1beta1).
//!
//! What a node carries from the start is complete and holds no secret:
//!
//! | path | node | |
//! |---|---|---|
//! | `/var/lib/kubelet/config.yaml` | worker | what `kubeadm join` would have written |
//! | `/var/lib/kubelet/instance-config.yaml` | worker | read by `kubeadm upgrade` only |
//! | `/var/lib/kubelet/kubeadm-flags.env` | worker | address, labels, taints |
//! | `/etc/prejoin/kubeadm/join.yaml` | control plane | for `kubeadm join --control-plane` |
//!
//! On control planes the kubelet's files are kubeadm's. What the join adds, and nothing writes yet:
//! `/etc/kubernetes/pki/ca.crt` and `/etc/kubernetes/bootstrap-kubelet.conf` (0600) on workers, where the kubelet needs
//! no more to join by itself; `/etc/kubernetes/pki` with the CAs and [`DISCOVERY`] (0600) on control planes.
//!
//! [`init`] is in no node's files: a control plane that has been reimaged must never found a second cluster under the
//! same CA. Whoever holds the latch that says that the cluster never existed hands it out.

use std::net::IpAddr;

use prejoin_profiles::cluster::{Cluster, Endpoint, Node, Provider, Role};
use prejoin_profiles::units::Version;
use serde::Serialize;

use crate::document::yaml;
use crate::{Error, NodeFile};

/// Kubeconfig that `join.yaml` discovers the cluster with: CA and a client certificate, no token.
pub const DISCOVERY: &str = "/etc/prejoin/discovery.conf";
/// Where containerd answers.
pub const CRI_SOCKET: &str = "unix:///run/containerd/containerd.sock";
/// The default is below `/usr/libexec`, which is read-only (kubernetes/kubernetes #88210).
pub const VOLUME_PLUGINS: &str = "/var/lib/kubelet/volumeplugins";

/// How long a control plane's components may take to start: SD cards and fresh images need more than
/// the default 4 min.
///
/// It is the bound of `kubernetesAPICall`, too: before kubeadm looks at the components
/// (`wait-control-plane`) it gets itself a client, which polls the API server for that long and no
/// longer. With 3 min, init failed after 202 s on a busy machine that was healthy soon after.
const START: &str = "10m";
const API: &str = "kubeadm.k8s.io/v1beta4";
/// `resolv.conf` without systemd-resolved's stub, which pods cannot reach.
const RESOLV_CONF: &str = "/run/systemd/resolve/resolv.conf";
/// Tenth address of the service network, by kubeadm's convention.
const DNS_INDEX: u128 = 10;

/// The files of one node, whatever its role.
pub(crate) fn files(cluster: &Cluster, node: &Node) -> Result<Vec<NodeFile>, Error> {
    match node.role.value {
        Role::ControlPlane => Ok(vec![NodeFile::text(
            "etc/prejoin/kubeadm/join.yaml",
            0o644,
            join(cluster, node)?,
        )]),
        Role::Worker => {
            let kubelet = yaml(&kubelet_configuration(cluster, true)?);
            let mut files = vec![
                NodeFile::text("var/lib/kubelet/config.yaml", 0o644, kubelet),
                NodeFile::text("var/lib/kubelet/kubeadm-flags.env", 0o644, flags(node)),
            ];
            // NodeLocalCRISocket; kubeadm 1.34 and later.
            if version(cluster, node)?.numbers() >= (1, 34, 0) {
                let text = format!("containerRuntimeEndpoint: \"{CRI_SOCKET}\"\n");
                files.push(NodeFile::text(
                    "var/lib/kubelet/instance-config.yaml",
                    0o644,
                    text,
                ));
            }
            Ok(files)
        }
    }
}

/// The node's Kubernetes version.
pub(crate) fn version<'a>(cluster: &'a Cluster, node: &'a Node) -> Result<&'a Version, Error> {
    let version = node
        .version
        .as_ref()
        .or(cluster.kubernetes.version.as_ref());
    version
        .map(|version| &version.value)
        .ok_or(Error::Missing("Kubernetes version"))
}

/// `kubeadm init --config`: three documents, for the first control plane and once in the life of a cluster.
pub fn init(cluster: &Cluster, node: &Node) -> Result<String, Error> {
    let init = InitConfiguration {
        api_version: API,
        kind: "InitConfiguration",
        node_registration: registration(cluster, node),
        local_api_endpoint: local(cluster, node),
        // An empty list still gives one random token of 24 hours; nothing uses it.
        bootstrap_tokens: [],
        timeouts: Timeouts {
            control_plane_component_health_check: Some(START),
            kubernetes_api_call: START,
            ..Timeouts::NONE
        },
    };
    let documents = [
        yaml(&init),
        yaml(&cluster_configuration(cluster, node)?),
        yaml(&kubelet_configuration(cluster, false)?),
    ];
    Ok(documents.join("---\n"))
}

/// `kubeadm join --config` of a control plane.
pub fn join(cluster: &Cluster, node: &Node) -> Result<String, Error> {
    Ok(yaml(&JoinConfiguration {
        api_version: API,
        kind: "JoinConfiguration",
        node_registration: registration(cluster, node),
        discovery: Discovery {
            file: DiscoveryFile {
                kube_config_path: DISCOVERY,
            },
        },
        control_plane: ControlPlane {
            local_api_endpoint: local(cluster, node),
        },
        timeouts: Timeouts {
            control_plane_component_health_check: Some(START),
            discovery: Some("30m"),
            tls_bootstrap: Some("10m"),
            etcd_api_call: Some("5m"),
            kubernetes_api_call: START,
        },
    }))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InitConfiguration<'a> {
    api_version: &'static str,
    kind: &'static str,
    node_registration: NodeRegistration<'a>,
    #[serde(rename = "localAPIEndpoint")]
    local_api_endpoint: LocalEndpoint,
    bootstrap_tokens: [(); 0],
    timeouts: Timeouts,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JoinConfiguration<'a> {
    api_version: &'static str,
    kind: &'static str,
    node_registration: NodeRegistration<'a>,
    discovery: Discovery,
    control_plane: ControlPlane,
    timeouts: Timeouts,
}

#[derive(Serialize)]
struct Discovery {
    file: DiscoveryFile,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DiscoveryFile {
    kube_config_path: &'static str,
}

#[derive(Serialize)]
struct ControlPlane {
    #[serde(rename = "localAPIEndpoint")]
    local_api_endpoint: LocalEndpoint,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LocalEndpoint {
    advertise_address: IpAddr,
    bind_port: u16,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Timeouts {
    #[serde(skip_serializing_if = "Option::is_none")]
    control_plane_component_health_check: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    discovery: Option<&'static str>,
    #[serde(rename = "tlsBootstrap", skip_serializing_if = "Option::is_none")]
    tls_bootstrap: Option<&'static str>,
    #[serde(rename = "etcdAPICall", skip_serializing_if = "Option::is_none")]
    etcd_api_call: Option<&'static str>,
    #[serde(rename = "kubernetesAPICall")]
    kubernetes_api_call: &'static str,
}

impl Timeouts {
    const NONE: Timeouts = Timeouts {
        control_plane_component_health_check: None,
        discovery: None,
        tls_bootstrap: None,
        etcd_api_call: None,
        kubernetes_api_call: "",
    };
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeRegistration<'a> {
    name: &'a str,
    cri_socket: &'static str,
    /// Takes what is there and pulls the rest.
    image_pull_policy: &'static str,
    /// Absent means the default taint of control planes, an empty list none.
    #[serde(skip_serializing_if = "Option::is_none")]
    taints: Option<Vec<TaintDocument<'a>>>,
    kubelet_extra_args: Vec<Argument>,
}

#[derive(Serialize)]
struct TaintDocument<'a> {
    key: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    value: &'a str,
    effect: String,
}

#[derive(Serialize)]
struct Argument {
    name: &'static str,
    value: String,
}

fn registration<'a>(cluster: &Cluster, node: &'a Node) -> NodeRegistration<'a> {
    let mut taints: Vec<_> = node
        .taints
        .iter()
        .map(|taint| TaintDocument {
            key: &taint.value.key,
            value: &taint.value.value,
            effect: taint.effect.to_string(),
        })
        .collect();
    let schedulable = cluster.kubernetes.schedule_control_planes;
    if !schedulable && !taints.is_empty() {
        let key = "node-role.kubernetes.io/control-plane";
        taints.insert(
            0,
            TaintDocument {
                key,
                value: "",
                effect: "NoSchedule".to_owned(),
            },
        );
    }
    NodeRegistration {
        name: &node.name,
        cri_socket: CRI_SOCKET,
        image_pull_policy: "IfNotPresent",
        taints: (schedulable || !taints.is_empty()).then_some(taints),
        kubelet_extra_args: arguments(node),
    }
}

fn local(cluster: &Cluster, node: &Node) -> LocalEndpoint {
    LocalEndpoint {
        advertise_address: node.address.value,
        bind_port: bind_port(cluster),
    }
}

/// Arguments of the kubelet that kubeadm and `kubeadm-flags.env` share.
fn arguments(node: &Node) -> Vec<Argument> {
    let mut arguments = vec![Argument {
        name: "node-ip",
        value: node.address.value.to_string(),
    }];
    if !node.labels.is_empty() {
        let labels: Vec<String> = node
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        arguments.push(Argument {
            name: "node-labels",
            value: labels.join(","),
        });
    }
    arguments
}

/// An `EnvironmentFile=` of the kubelet's unit. Labels and taints hold no blanks, quotes or dollar signs: the cluster
/// file's rules for them are Kubernetes' own.
fn flags(node: &Node) -> String {
    let mut arguments = arguments(node);
    if !node.taints.is_empty() {
        let taints: Vec<String> = node
            .taints
            .iter()
            .map(|taint| taint.value.to_string())
            .collect();
        arguments.push(Argument {
            name: "register-with-taints",
            value: taints.join(","),
        });
    }
    let flags: Vec<String> = arguments
        .iter()
        .map(|flag| format!("--{}={}", flag.name, flag.value))
        .collect();
    format!("KUBELET_KUBEADM_ARGS=\"{}\"\n", flags.join(" "))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClusterConfiguration<'a> {
    api_version: &'static str,
    kind: &'static str,
    cluster_name: &'a str,
    /// Always exact: kubeadm asks the network otherwise.
    kubernetes_version: String,
    control_plane_endpoint: String,
    networking: Networking<'a>,
    encryption_algorithm: &'static str,
    api_server: ApiServer,
    #[serde(skip_serializing_if = "Option::is_none")]
    controller_manager: Option<Component>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<Disabled>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Networking<'a> {
    pod_subnet: String,
    service_subnet: String,
    dns_domain: &'a str,
}

#[derive(Serialize)]
struct ApiServer {
    #[serde(rename = "certSANs")]
    cert_sans: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Component {
    extra_args: [Argument; 1],
}

#[derive(Serialize)]
struct Disabled {
    disabled: bool,
}

fn cluster_configuration<'a>(
    cluster: &'a Cluster,
    node: &'a Node,
) -> Result<ClusterConfiguration<'a>, Error> {
    let version = version(cluster, node)?;
    // Before 1.36 kubeadm mounts the default folder, below the read-only /usr, into the controller manager.
    let volumes = || Argument {
        name: "flex-volume-plugin-dir",
        value: VOLUME_PLUGINS.to_owned(),
    };
    Ok(ClusterConfiguration {
        api_version: API,
        kind: "ClusterConfiguration",
        cluster_name: &cluster.name,
        kubernetes_version: version.to_string(),
        control_plane_endpoint: authority(cluster)?,
        networking: Networking {
            pod_subnet: cluster.network.pods.value.to_string(),
            service_subnet: cluster.network.services.value.to_string(),
            dns_domain: &cluster.kubernetes.dns_domain,
        },
        encryption_algorithm: "ECDSA-P256",
        api_server: ApiServer {
            cert_sans: names(cluster),
        },
        controller_manager: (version.numbers() < (1, 36, 0)).then(|| Component {
            extra_args: [volumes()],
        }),
        proxy: (!cluster.kubernetes.kube_proxy).then_some(Disabled { disabled: true }),
    })
}

/// Port that API servers listen on: the endpoint's, unless something outside of the cluster may translate it.
pub(crate) fn bind_port(cluster: &Cluster) -> u16 {
    match &cluster.endpoint {
        Some(endpoint) if endpoint.provider.value == Provider::External => Endpoint::PORT,
        _ => cluster.api_port(),
    }
}

/// Host and port of the API server, an IPv6 address in brackets.
pub(crate) fn authority(cluster: &Cluster) -> Result<String, Error> {
    let host = cluster
        .api_host()
        .ok_or(Error::Missing("control plane and no endpoint"))?;
    let port = cluster.api_port();
    Ok(if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    })
}

/// Every name and address that the API server may be reached by, so that certificates need not be issued again.
pub(crate) fn names(cluster: &Cluster) -> Vec<String> {
    let mut names = Vec::new();
    if let Some(endpoint) = &cluster.endpoint {
        names.extend(endpoint.name.as_ref().map(|name| name.value.clone()));
        names.extend(
            endpoint
                .address
                .as_ref()
                .map(|address| address.value.to_string()),
        );
    }
    for node in cluster.control_planes() {
        names.extend([node.name.value.clone(), node.address.value.to_string()]);
    }
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// Address of the cluster's DNS service.
pub(crate) fn cluster_dns(cluster: &Cluster) -> Result<IpAddr, Error> {
    cluster
        .network
        .services
        .nth(DNS_INDEX)
        .ok_or(Error::Missing(
            "room for its DNS service in the service network",
        ))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KubeletConfiguration<'a> {
    api_version: &'static str,
    kind: &'static str,
    #[serde(flatten)]
    access: Option<Access>,
    cgroup_driver: &'static str,
    #[serde(rename = "clusterDNS")]
    cluster_dns: [IpAddr; 1],
    cluster_domain: &'a str,
    container_runtime_endpoint: &'static str,
    resolv_conf: &'static str,
    rotate_certificates: bool,
    volume_plugin_dir: &'static str,
}

/// What kubeadm fills in by itself; written out where kubeadm does not run.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Access {
    authentication: Authentication,
    authorization: Authorization,
    healthz_bind_address: &'static str,
    static_pod_path: &'static str,
}

#[derive(Serialize)]
struct Authentication {
    anonymous: Enabled,
    webhook: Enabled,
    x509: X509,
}

#[derive(Serialize)]
struct Enabled {
    enabled: bool,
}

#[derive(Serialize)]
struct X509 {
    #[serde(rename = "clientCAFile")]
    client_ca_file: &'static str,
}

#[derive(Serialize)]
struct Authorization {
    mode: &'static str,
}

fn kubelet_configuration(
    cluster: &Cluster,
    whole: bool,
) -> Result<KubeletConfiguration<'_>, Error> {
    let access = Access {
        authentication: Authentication {
            anonymous: Enabled { enabled: false },
            webhook: Enabled { enabled: true },
            x509: X509 {
                client_ca_file: "/etc/kubernetes/pki/ca.crt",
            },
        },
        authorization: Authorization { mode: "Webhook" },
        healthz_bind_address: "127.0.0.1",
        static_pod_path: "/etc/kubernetes/manifests",
    };
    Ok(KubeletConfiguration {
        api_version: "kubelet.config.k8s.io/v1beta1",
        kind: "KubeletConfiguration",
        access: whole.then_some(access),
        cgroup_driver: "systemd",
        cluster_dns: [cluster_dns(cluster)?],
        cluster_domain: &cluster.kubernetes.dns_domain,
        container_runtime_endpoint: CRI_SOCKET,
        resolv_conf: RESOLV_CONF,
        rotate_certificates: true,
        volume_plugin_dir: VOLUME_PLUGINS,
    })
}
