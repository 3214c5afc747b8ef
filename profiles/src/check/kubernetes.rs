//! Control planes, the endpoint, versions.

use crate::cluster::{Cluster, Containerd, Distribution, Endpoint, Node, Provider, Role};
use crate::distribution::Definition;
use crate::finding::{Code, Finding};
use crate::units::Version;
use crate::yaml::Located;

/// The oldest minor release that kubeadm's v1beta4 documents work with.
const OLDEST: u16 = 31;

pub(super) fn check(cluster: &Cluster, f: &mut Vec<Finding>) {
    if cluster.kubernetes.distribution.value == Distribution::None {
        plain(cluster, f);
        return;
    }
    quorum(cluster, f);
    endpoint(cluster, f);
    endpoint_place(cluster, f);
    domain(cluster, f);
    versions(cluster, f);
    containerd(cluster, f);
    components(cluster, f);
}

/// Without Kubernetes nothing of it is given.
fn plain(cluster: &Cluster, f: &mut Vec<Finding>) {
    if let Some(version) = &cluster.kubernetes.version {
        let message = "there is no Kubernetes on these nodes, yet it has a version";
        f.push(
            Finding::error(Code::Option, version.position, version, message)
                .hint("remove it, or choose a distribution"),
        );
    }
}

/// etcd needs more than half of its members (etcd.io, "Failure Tolerance").
fn quorum(cluster: &Cluster, f: &mut Vec<Finding>) {
    let planes: Vec<&Node> = cluster.control_planes().collect();
    let Some(last) = planes.last() else {
        let Some(first) = cluster.nodes.first() else {
            return;
        };
        let message = "no node is a control plane";
        let finding = Finding::error(Code::Quorum, first.name.position, &first.name, message);
        f.push(finding.hint("give one node, or three, `role: control-plane`"));
        return;
    };
    let number = planes.len();
    if number.is_multiple_of(2) {
        let lost = if number == 2 {
            "none".to_owned()
        } else {
            ((number - 1) / 2).to_string()
        };
        let message = format!(
            "{number} control planes survive the loss of {lost}, like {}, with one more that can fail",
            number - 1
        );
        let finding = Finding::error(Code::Quorum, last.name.position, &last.name, message);
        let hint = format!(
            "etcd needs an odd number: use {} or {}",
            number - 1,
            number + 1
        );
        f.push(finding.hint(hint));
    } else if number > 7 {
        let message =
            format!("{number} control planes make every write slower and the cluster no safer");
        let finding = Finding::warning(Code::Quorum, last.name.position, &last.name, message);
        f.push(finding.hint("three survive one loss, five survive two"));
    }
}

fn endpoint(cluster: &Cluster, f: &mut Vec<Finding>) {
    let planes: Vec<&Node> = cluster.control_planes().collect();
    let Some(endpoint) = &cluster.endpoint else {
        if let [_, second, ..] = planes.as_slice() {
            let message =
                "several control planes need an endpoint that stays when one of them is gone";
            let finding =
                Finding::error(Code::Endpoint, second.name.position, &second.name, message);
            f.push(
                finding.hint(
                    "add `endpoint: { address: …, provider: kube-vip }` with an unused address",
                ),
            );
        }
        return;
    };
    let Endpoint {
        name,
        address,
        provider,
        ..
    } = endpoint;
    let at = |fallback: &Node| match (name, address) {
        (Some(name), _) => name.position,
        (None, Some(address)) => address.position,
        (None, None) if provider.position.line != 0 => provider.position,
        (None, None) => fallback.name.position,
    };
    let Some(first) = planes.first() else { return };
    let mut complain =
        |severity: fn(Code, crate::yaml::Position, &dyn std::fmt::Display, String) -> Finding,
         message: &str,
         hint: &str| {
            let text = name
                .as_ref()
                .map(ToString::to_string)
                .or(address.as_ref().map(ToString::to_string))
                .unwrap_or_default();
            f.push(severity(Code::Endpoint, at(first), &text, message.to_owned()).hint(hint));
        };
    let moved = matches!(provider.value, Provider::KubeVip | Provider::Keepalived);
    if name.is_none() && address.is_none() {
        complain(
            Finding::error,
            "the endpoint has neither a name nor an address",
            "give it an unused `address`",
        );
    } else if moved && address.is_none() {
        complain(
            Finding::error,
            "the provider has no address to move",
            "give the endpoint an unused `address`",
        );
    } else if name
        .as_ref()
        .is_some_and(|name| name.parse::<std::net::IpAddr>().is_ok())
    {
        complain(
            Finding::error,
            "the endpoint's name is an address",
            "call it `address`",
        );
    } else if provider.value == Provider::None && planes.len() > 1 && address.is_some() {
        complain(
            Finding::error,
            "nobody moves the endpoint's address between the control planes",
            "add `provider: kube-vip`",
        );
    } else if provider.value == Provider::None && planes.len() > 1 {
        let hint = "fail-over takes as long as DNS answers are kept; `provider: kube-vip` with an `address` is faster";
        complain(
            Finding::warning,
            "the endpoint is a name alone: it must resolve to all control planes, everywhere",
            hint,
        );
    } else if provider.value == Provider::None
        && address
            .as_ref()
            .is_some_and(|a| a.value != first.address.value)
    {
        complain(
            Finding::error,
            "nobody answers at the endpoint's address",
            "use the control plane's address, or a provider",
        );
    }
    helpers(cluster, provider, f);
}

/// Ports of programs that every node runs, or every control plane.
const PORTS: [(u16, &str); 11] = [
    (22, "sshd"),
    (53, "systemd-resolved"),
    (2379, "etcd"),
    (2380, "etcd"),
    (2381, "etcd"),
    (10248, "the kubelet"),
    (10249, "kube-proxy"),
    (10250, "the kubelet"),
    (10256, "kube-proxy"),
    (10257, "the controller manager"),
    (10259, "the scheduler"),
];

/// The endpoint may not be what something else already is.
fn endpoint_place(cluster: &Cluster, f: &mut Vec<Finding>) {
    let Some(endpoint) = &cluster.endpoint else {
        return;
    };
    if let Some((port, who)) = PORTS.iter().find(|(port, _)| *port == endpoint.port.value) {
        let message = format!("port {port} of every control plane is taken by {who}");
        let at = &endpoint.port;
        f.push(Finding::error(Code::Endpoint, at.position, at, message).hint("use 6443"));
    }
    let Some(name) = &endpoint.name else { return };
    let lower = name.to_lowercase();
    let full = |node: &Node| {
        let mut domains = cluster.network.search.iter();
        domains.any(|domain| lower == format!("{}.{}", node.name.value, domain.to_lowercase()))
    };
    let same = |node: &&Node| lower == node.name.value || full(node);
    if let Some(node) = cluster.nodes.iter().find(same) {
        let message = format!(
            "the endpoint has the name of node `{}`, which means that node and no other",
            node.name.value
        );
        let finding = Finding::error(Code::Endpoint, name.position, name, message);
        f.push(finding.hint("choose a name of its own, such as `k8s.home.arpa`"));
    } else if ["localhost", "kubernetes", "kubernetes.default"].contains(&lower.as_str()) {
        let message = format!("`{name}` means something else on every node, or in every pod");
        let finding = Finding::error(Code::Endpoint, name.position, name, message);
        f.push(finding.hint("choose a name of its own, such as `k8s.home.arpa`"));
    }
}

/// CoreDNS answers for everything below the domain, so no name there means anything else to a pod.
fn domain(cluster: &Cluster, f: &mut Vec<Finding>) {
    let domain = &cluster.kubernetes.dns_domain;
    let lower = domain.to_lowercase();
    let endpoint = cluster
        .endpoint
        .as_ref()
        .and_then(|endpoint| endpoint.name.as_ref());
    let within = |name: &str| name == lower || name.ends_with(&format!(".{lower}"));
    let (message, hint) = if lower == "local" {
        (
            "`local` belongs to multicast DNS (RFC 6762): nodes do not ask a name server for it"
                .to_owned(),
            "leave `dns_domain` out: it is `cluster.local`",
        )
    } else if lower.parse::<std::net::IpAddr>().is_ok() {
        (
            "an address is no domain".to_owned(),
            "leave `dns_domain` out: it is `cluster.local`",
        )
    } else if let Some(name) = endpoint.filter(|name| within(&name.to_lowercase())) {
        (
            format!(
                "the endpoint `{name}` lies in the domain of services, where pods do not find it"
            ),
            "give the services a domain of their own",
        )
    } else if let Some(search) = cluster
        .network
        .search
        .iter()
        .find(|name| within(&name.to_lowercase()))
    {
        (
            format!(
                "the search domain `{search}` lies in the domain of services: pods find none of its machines"
            ),
            "give the services a domain of their own",
        )
    } else {
        return;
    };
    f.push(Finding::error(Code::Host, domain.position, domain, message).hint(hint));
}

/// What a provider of the shared address needs.
fn helpers(cluster: &Cluster, provider: &Located<Provider>, f: &mut Vec<Finding>) {
    let has = |list: &[Located<String>]| list.iter().any(|name| name.value == "keepalived");
    if provider.value == Provider::Keepalived && !has(&cluster.sets) && !has(&cluster.packages) {
        let finding = Finding::error(
            Code::Endpoint,
            provider.position,
            &"keepalived",
            "keepalived is not on the nodes",
        );
        f.push(finding.hint("add `sets: [keepalived]`"));
    }
    let kubeadm = cluster.kubernetes.distribution.value == Distribution::Kubeadm;
    let Some(version) = cluster.kubernetes.version.as_ref().filter(|_| kubeadm) else {
        return;
    };
    // kubernetes/kubernetes #138449 and its backports let `init` go on before the shared address is up.
    let late = match (version.minor, version.patch) {
        (..34, _) => true,
        (34, patch) => patch < 8,
        (36, patch) => patch < 1,
        _ => false,
    };
    if provider.value == Provider::KubeVip && late {
        let message = format!(
            "kubeadm {version} waits for the shared address before kube-vip may take it (kube-vip #684)"
        );
        let finding = Finding::warning(Code::Endpoint, provider.position, &"kube-vip", message);
        f.push(finding.hint("use v1.34.8, v1.36.1 or later, or `provider: keepalived`"));
    }
}

fn versions(cluster: &Cluster, f: &mut Vec<Finding>) {
    let kubernetes = &cluster.kubernetes;
    let Some(version) = &kubernetes.version else {
        return;
    };
    let overrides = || {
        cluster
            .nodes
            .iter()
            .filter_map(|node| node.version.as_ref().map(|version| (node, version)))
    };
    for version in std::iter::once(version).chain(overrides().map(|(_, version)| version)) {
        form(version, kubernetes.distribution.value, f);
    }
    age(version, f);
    let oldest_plane = overrides()
        .filter(|(node, _)| node.role.value == Role::ControlPlane)
        .map(|(_, v)| v.numbers())
        .min();
    let api = oldest_plane
        .unwrap_or(version.numbers())
        .min(version.numbers());
    for (node, own) in overrides() {
        let plane = node.role.value == Role::ControlPlane;
        let behind = i32::from(version.minor) - i32::from(own.minor);
        let (message, hint) = if own.numbers() > version.numbers() {
            (
                format!(
                    "node `{}` is newer than the cluster's {version}",
                    node.name.value
                ),
                "raise the cluster's version first",
            )
        } else if plane && behind > 1 {
            let message = format!(
                "control plane `{}` is {behind} minor releases behind the cluster",
                node.name.value
            );
            (message, "control planes may differ by one minor release")
        } else if behind > 3 {
            let message = format!(
                "node `{}` is {behind} minor releases behind the cluster",
                node.name.value
            );
            (
                message,
                "a kubelet may be three minor releases older than the API server",
            )
        } else if own.numbers().1 > api.1 {
            let message = format!(
                "node `{}` is newer than the oldest control plane",
                node.name.value
            );
            (message, "upgrade the control planes first")
        } else {
            continue;
        };
        f.push(Finding::error(Code::Skew, own.position, own, message).hint(hint));
    }
    if let Some((node, _)) = overrides().find(|_| api.1 < version.minor) {
        worker_skew(cluster, version, api.1, node, f);
    }
}

/// While a control plane is still old, nodes without a version of their own would be newer than it.
fn worker_skew(
    cluster: &Cluster,
    version: &Located<Version>,
    api: u16,
    old: &Node,
    f: &mut Vec<Finding>,
) {
    if let Some(worker) = cluster.workers().find(|node| node.version.is_none()) {
        let message = format!(
            "worker `{}` with {version} is newer than the oldest control plane (1.{api})",
            worker.name.value
        );
        let finding = Finding::error(Code::Skew, worker.name.position, &worker.name, message);
        f.push(finding.hint(format!(
            "give the workers the version of `{}` until the control planes are done",
            old.name.value
        )));
    }
}

/// Old releases, and the other distribution's way of writing them.
fn form(version: &Located<Version>, distribution: Distribution, f: &mut Vec<Finding>) {
    let finding =
        |message: String| Finding::error(Code::Version, version.position, version, message);
    let k3s_build = version.build.as_ref().is_some_and(|build| {
        build
            .strip_prefix("k3s")
            .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    });
    let (_, minor, patch) = version.numbers();
    if version.major != 1 {
        f.push(
            finding(format!("there is no Kubernetes {version}")).hint("releases are called v1.…"),
        );
    } else if distribution == Distribution::K3s && !k3s_build {
        let message = format!("`{version}` is not a release of k3s");
        f.push(finding(message).hint(format!(
            "k3s counts its own builds: `v1.{minor}.{patch}+k3s1`"
        )));
    } else if distribution == Distribution::Kubeadm && version.build.is_some() {
        let message = format!("`{version}` is not a release of Kubernetes itself");
        f.push(finding(message).hint(format!(
            "write `v1.{minor}.{patch}`, or use `distribution: k3s`"
        )));
    } else if minor < OLDEST {
        let message = format!(
            "Kubernetes 1.{minor} is too old: 1.{OLDEST} is the first that takes our configuration"
        );
        f.push(finding(message).hint("use one of the three newest minor releases"));
    }
}

/// How many minor releases of Kubernetes get fixes at a time (kubernetes.io, "Version Skew Policy"). k3s follows.
const SUPPORTED: u16 = 3;

/// A version that is older than those that get fixes, or newer than what is known here. What is known is known of
/// Kubernetes itself (distributions/kubeadm.yaml): a program of this age cannot know more, whatever the date is.
fn age(version: &Located<Version>, f: &mut Vec<Finding>) {
    let kubeadm = Definition::built_in(Distribution::Kubeadm);
    let Some((major, newest)) = kubeadm.and_then(|definition| definition.newest()) else {
        return;
    };
    if version.major != major || version.minor < OLDEST {
        return;
    }
    let finding = |message| Finding::warning(Code::Version, version.position, version, message);
    let minor = version.minor;
    if minor > newest {
        let message = match version.build {
            // k3s brings what goes with it.
            Some(_) => format!(
                "Kubernetes {major}.{minor} is newer than this prejoin, which knows {major}.{newest}"
            ),
            // Its pause image, above all, may be another one than kubeadm's, and then no pod starts where nothing can
            // be pulled.
            None => format!(
                "what goes with Kubernetes {major}.{minor} is not known: it gets containerd, runc, CNI plugins, crictl \
                 and the pause image of {major}.{newest}"
            ),
        };
        let hint = match version.build {
            Some(_) => {
                "is the number right? Releases of k3s are listed at https://github.com/k3s-io/k3s/releases"
            }
            None => {
                "is the number right? Compare with `kubeadm config images list`; another `config.toml` of \
                 containerd's can come with `files:`"
            }
        };
        f.push(finding(message).hint(hint));
    } else if minor + SUPPORTED <= newest {
        let oldest = newest + 1 - SUPPORTED;
        let message = format!(
            "Kubernetes {major}.{minor} gets no fixes any more, not even of security holes"
        );
        f.push(finding(message).hint(format!("{major}.{oldest} to {major}.{newest} do")));
    }
}

/// containerd 1.x lacks the CRI call `RuntimeConfig`; the kubelet's way around it goes in 1.38
/// (kubernetes/kubernetes #139267).
fn containerd(cluster: &Cluster, f: &mut Vec<Finding>) {
    let Some(version) = &cluster.kubernetes.version else {
        return;
    };
    let containerd = &cluster.kubernetes.containerd;
    let old = match &containerd.value {
        Containerd::Debian => "1.7".to_owned(),
        Containerd::Upstream(upstream) if upstream.major < 2 => upstream.to_string(),
        _ => return,
    };
    let text = if containerd.value == Containerd::Debian {
        "debian".to_owned()
    } else {
        old.clone()
    };
    let hint =
        "leave `containerd` out: prejoin takes the upstream release that goes with the version";
    if version.minor >= 38 {
        let message = format!(
            "containerd {old} does not work with Kubernetes 1.{}",
            version.minor
        );
        f.push(Finding::error(Code::Containerd, containerd.position, &text, message).hint(hint));
    } else if version.minor >= 36 {
        let message = format!(
            "containerd {old} is deprecated by Kubernetes 1.{}, and stops working with 1.38",
            version.minor
        );
        f.push(Finding::warning(Code::Containerd, containerd.position, &text, message).hint(hint));
    }
}

fn components(cluster: &Cluster, f: &mut Vec<Finding>) {
    const PACKAGED: [&str; 5] = [
        "coredns",
        "local-storage",
        "metrics-server",
        "servicelb",
        "traefik",
    ];
    let kubernetes = &cluster.kubernetes;
    for name in kubernetes
        .disable
        .iter()
        .filter(|name| !PACKAGED.contains(&name.as_str()))
    {
        let message = format!("k3s has no packaged component `{}`", name.value);
        let finding = Finding::error(Code::Option, name.position, name, message);
        f.push(finding.hint(crate::yaml::nearest(name, &PACKAGED)));
    }
    if kubernetes.flannel && !kubernetes.kube_proxy {
        let message = "without kube-proxy services need a network plugin that replaces it, which k3s's flannel does not";
        let at = &kubernetes.distribution;
        let finding = Finding::error(Code::Option, at.position, &at.name(), message);
        f.push(finding.hint("add `flannel: false` and install Cilium, or keep kube-proxy"));
    }
}
