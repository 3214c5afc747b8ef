//! From the file as written to values that are well-formed, with the defaults filled in.

mod fields;
mod users;

use std::collections::BTreeMap;

use fields::*;

use super::{
    Cluster, Containerd, DiskSelector, Distribution, Endpoint, File, Kubernetes, Network, Node,
    Provider, Role, raw,
};
use crate::finding::{Code, Finding};
use crate::kernel_args;
use crate::units::Version;
use crate::yaml::{Located, Position};
use prejoin_wire::size::Size;

type Findings = Vec<Finding>;

/// Bounds of lists that are held against each other, so that no file keeps the check busy for long. A cluster of
/// Kubernetes itself ends at 5000 nodes.
const NODES: usize = 5000;
const LIST: usize = 500;

/// Resolves the whole file. Warnings alone do not refuse it; `check` repeats none of these rules.
pub(super) fn cluster(raw: raw::Cluster) -> Result<Cluster, Findings> {
    let mut findings = Findings::new();
    let f = &mut findings;
    let name = label(raw.name, "cluster name", f);
    let id = raw.id.and_then(|text| cluster_id(text, f));
    let kubernetes = kubernetes(raw.kubernetes, f);
    let endpoint = raw
        .endpoint
        .map(|endpoint| self::endpoint(endpoint.value, f));
    let k3s = kubernetes.distribution.value == Distribution::K3s;
    let network = network(raw.network, k3s, f);
    let users = raw
        .users
        .into_iter()
        .map(|user| users::user(user, f))
        .collect();
    let files = self::files(raw.files, f);
    let packages = packages(raw.packages, f);
    let mirrors = raw
        .mirrors
        .into_iter()
        .map(|(archive, list)| (archive, urls(list.0, f)))
        .collect();
    let artifacts = raw
        .artifacts
        .map(|artifacts| folder_or_url(artifacts.from, f));
    let mut defaults = raw.defaults;
    defaults.kernel_args = kernel_args(defaults.kernel_args, f);
    let nodes = nodes(raw.nodes, &defaults, f);
    let cluster = Cluster {
        name,
        id,
        os: raw.os,
        kubernetes,
        endpoint,
        timezone: raw.timezone.map(|zone| timezone(zone, f)),
        users,
        packages,
        sets: raw.sets,
        files,
        cloud_init: raw.cloud_init.and_then(|document| mapping(document, f)),
        mirrors,
        accept_scripts: raw
            .accept_scripts
            .into_iter()
            .map(|script| accepted_script(script, f))
            .collect(),
        artifacts,
        nodes,
        // Last: without a network there is nothing to go on with.
        network: match network {
            Some(network) => network,
            None => return Err(crate::finding::sorted(findings)),
        },
    };
    if findings.is_empty() {
        Ok(cluster)
    } else {
        Err(crate::finding::sorted(findings))
    }
}

fn kubernetes(raw: raw::Kubernetes, f: &mut Findings) -> Kubernetes {
    let k3s = raw.distribution.value == Distribution::K3s;
    let version = raw
        .version
        .and_then(|text| parsed::<Version>(text, Code::Version, f));
    if version.is_none()
        && raw.distribution.value != Distribution::None
        && f.iter().all(|x| x.code != Code::Version)
    {
        let message = "the Kubernetes version is missing";
        let hint = if k3s {
            "add `version: v1.36.3+k3s1`"
        } else {
            "add `version: v1.36.3`"
        };
        f.push(
            Finding::error(
                Code::Missing,
                raw.distribution.position,
                &raw.distribution.name(),
                message,
            )
            .hint(hint),
        );
    }
    if !k3s {
        let flags = [
            raw.flannel.as_ref().map(|x| x.position),
            raw.disable.first().map(|x| x.position),
        ];
        for position in flags.into_iter().flatten() {
            let message = format!(
                "this option is for k3s only; the distribution is {}",
                raw.distribution.name()
            );
            f.push(Finding::error(Code::Option, position, &"", message).hint("remove it"));
        }
    }
    let containerd = match raw.containerd {
        None => Located::nowhere(Containerd::Recommended),
        Some(text) if k3s => {
            let message = "k3s brings its own containerd";
            f.push(
                Finding::error(Code::Option, text.position, &text, message)
                    .hint("remove `containerd`"),
            );
            text.map(|_| Containerd::Recommended)
        }
        Some(text) if text.value == "debian" => text.map(|_| Containerd::Debian),
        Some(text) => parsed::<Version>(text, Code::Version, f)
            .map_or(Located::nowhere(Containerd::Recommended), |version| {
                version.map(Containerd::Upstream)
            }),
    };
    let dns_domain = raw
        .dns_domain
        .map_or(Located::nowhere("cluster.local".to_owned()), |text| {
            host_name(text, f)
        });
    Kubernetes {
        distribution: raw.distribution,
        version,
        kube_proxy: raw.kube_proxy.is_none_or(|x| x.value),
        flannel: k3s && raw.flannel.is_none_or(|x| x.value),
        disable: raw.disable,
        schedule_control_planes: raw.schedule_control_planes.map_or(k3s, |x| x.value),
        dns_domain,
        containerd,
    }
}

fn endpoint(raw: raw::Endpoint, f: &mut Findings) -> Endpoint {
    Endpoint {
        name: raw.name.map(|name| host_name(name, f)),
        address: raw
            .address
            .and_then(|address| parsed(address, Code::Address, f)),
        port: raw
            .port
            .map_or(Located::nowhere(Endpoint::PORT), |port| nonzero(port, f)),
        provider: raw.provider.unwrap_or(Located::nowhere(Provider::None)),
    }
}

fn nonzero(port: Located<u16>, f: &mut Findings) -> Located<u16> {
    if port.value == 0 {
        f.push(
            Finding::error(
                Code::Endpoint,
                port.position,
                &port,
                "port 0 cannot be connected to",
            )
            .hint("use 6443"),
        );
    }
    port
}

fn network(raw: raw::Network, k3s: bool, f: &mut Findings) -> Option<Network> {
    let default = |text: &str| {
        text.parse()
            .map(Located::nowhere)
            .expect("our own networks are well-formed")
    };
    let subnet = parsed(raw.subnet, Code::Subnet, f);
    let gateway: Option<Located<std::net::IpAddr>> = parsed(raw.gateway, Code::Address, f);
    let dns = match raw.dns {
        Some(list) => list
            .into_iter()
            .filter_map(|text| parsed(text, Code::Address, f))
            .collect(),
        None => gateway.iter().copied().collect(),
    };
    let pods = raw.pods.map(|text| parsed(text, Code::Subnet, f));
    let services = raw.services.map(|text| parsed(text, Code::Subnet, f));
    if let Some(mtu) = raw.mtu.filter(|mtu| !(1280..=9216).contains(&mtu.value)) {
        let message = "the packet size is out of range";
        f.push(
            Finding::error(Code::Size, mtu.position, &mtu, message)
                .hint("use 1280 to 9216; 1500 is usual"),
        );
    }
    let pools = bounded(raw.load_balancer, LIST, |text| text.position, f);
    Some(Network {
        search: raw
            .search
            .into_iter()
            .map(|text| host_name(text, f))
            .collect(),
        ntp: raw.ntp.into_iter().map(|text| host_name(text, f)).collect(),
        load_balancer: pools
            .into_iter()
            .filter_map(|text| parsed(text, Code::Range, f))
            .collect(),
        mtu: raw.mtu,
        subnet: subnet?,
        gateway: gateway?,
        dns,
        pods: pods
            .unwrap_or_else(|| Some(default(if k3s { "10.42.0.0/16" } else { "10.244.0.0/16" })))?,
        services: services
            .unwrap_or_else(|| Some(default(if k3s { "10.43.0.0/16" } else { "10.96.0.0/16" })))?,
    })
}

fn nodes(raw: Located<Vec<raw::Node>>, defaults: &raw::Defaults, f: &mut Findings) -> Vec<Node> {
    if raw.value.is_empty() {
        f.push(
            Finding::error(Code::Missing, raw.position, &"nodes", "there are no nodes")
                .hint("add one"),
        );
    }
    let nodes = bounded(raw.value, NODES, |node| node.name.position, f);
    nodes
        .into_iter()
        .filter_map(|node| self::node(node, defaults, f))
        .collect()
}

fn node(raw: raw::Node, defaults: &raw::Defaults, f: &mut Findings) -> Option<Node> {
    let name = label(raw.name, "node name", f);
    let mut labels = self::labels(
        defaults
            .labels
            .iter()
            .map(|(key, value)| (key.clone(), value.clone())),
        f,
    );
    labels.extend(self::labels(raw.labels.into_iter(), f));
    let missing = |key: &str| {
        let message = format!("node `{}` has no {key}", name.value);
        let hint = format!("give the node a `{key}:`, or put one under `defaults:`");
        Finding::error(Code::Missing, name.position, &name, message).hint(hint)
    };
    let board = raw.board.or_else(|| defaults.board.clone());
    if board.is_none() {
        f.push(missing("board"));
    }
    let disk = raw.disk.or_else(|| defaults.disk.clone());
    if disk.is_none() {
        f.push(missing("disk"));
    }
    let data_disk = raw.data_disk.or_else(|| defaults.data_disk.clone());
    let address = parsed(raw.address, Code::Address, f);
    let default_role = || defaults.role.unwrap_or(Located::nowhere(Role::Worker));
    let default_layout = || {
        defaults
            .layout
            .clone()
            .unwrap_or(Located::nowhere("single".to_owned()))
    };
    Some(Node {
        role: raw.role.unwrap_or_else(default_role),
        mac: raw.mac.and_then(|text| mac(text, f)),
        serial: raw.serial.map(|text| serial(text, f)),
        data_disk: data_disk.map(|raw| disk_selector(raw, f)),
        layout: raw.layout.unwrap_or_else(default_layout),
        kernel_args: {
            let own = kernel_args(raw.kernel_args, f);
            defaults.kernel_args.iter().cloned().chain(own).collect()
        },
        version: raw.version.and_then(|text| parsed(text, Code::Version, f)),
        labels,
        taints: raw
            .taints
            .into_iter()
            .filter_map(|text| taint(text, f))
            .collect(),
        packages: packages(raw.packages, f),
        files: files(raw.files, f),
        cloud_init: raw.cloud_init.and_then(|document| mapping(document, f)),
        disk: disk.map(|raw| disk_selector(raw, f))?,
        address: address?,
        board: board?,
        name,
    })
}

fn disk_selector(raw: Located<raw::Disk>, f: &mut Findings) -> Located<DiskSelector> {
    let position = raw.position;
    let raw = raw.value;
    let min_size: Option<Located<Size>> = raw.min_size.and_then(|text| parsed(text, Code::Size, f));
    let max_size: Option<Located<Size>> = raw.max_size.and_then(|text| parsed(text, Code::Size, f));
    if let (Some(min), Some(max)) = (&min_size, &max_size)
        && min.value > max.value
    {
        let message = format!(
            "no disk is at least {} and at most {}",
            min.value, max.value
        );
        f.push(Finding::error(Code::Size, max.position, &max, message).hint("swap the two sizes"));
    }
    let selector = DiskSelector {
        serial: raw.serial.map(|text| serial(text, f)),
        wwid: raw.wwid.map(|text| serial(text, f)),
        model: raw.model.map(|text| serial(text, f)),
        transport: raw.transport.map(|transport| transport.value),
        min_size,
        max_size,
        rotational: raw.rotational,
    };
    Located::at(selector, position)
}

fn labels(
    raw: impl Iterator<Item = (String, raw::Text)>,
    f: &mut Findings,
) -> BTreeMap<String, String> {
    raw.filter_map(|(key, value)| node_label(&key, &value, f).then_some((key, value.value)))
        .collect()
}

fn files(raw: Vec<raw::File>, f: &mut Findings) -> Vec<File> {
    let files = bounded(raw, LIST, |file| file.path.position, f);
    files
        .into_iter()
        .filter_map(|file| users::file(file, f))
        .collect()
}

fn kernel_args(raw: Vec<raw::Text>, f: &mut Findings) -> Vec<raw::Text> {
    let arguments = bounded(raw, LIST, |text| text.position, f);
    for text in &arguments {
        if let Some((message, hint)) = kernel_args::problem(text) {
            let finding = Finding::error(Code::KernelArgument, text.position, text, message);
            f.push(finding.hint(hint));
        }
    }
    arguments
}

/// At most `limit` items, and a complaint about the first beyond.
fn bounded<T>(
    mut list: Vec<T>,
    limit: usize,
    place: impl Fn(&T) -> Position,
    f: &mut Findings,
) -> Vec<T> {
    if let Some(beyond) = list.get(limit) {
        let message = format!("there are more than {limit} of these");
        let finding = Finding::error(Code::Document, place(beyond), &"", message);
        f.push(finding.hint("split the cluster, or put what belongs together into one"));
    }
    list.truncate(limit);
    list
}
