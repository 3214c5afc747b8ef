//! Addresses and networks.

use std::fmt::Display;
use std::net::IpAddr;

use crate::cluster::{Cluster, Distribution, Network, Provider};
use crate::finding::{Code, Finding};
use crate::units::{AddressRange, Subnet};
use crate::yaml::Located;

pub(super) fn check(cluster: &Cluster, f: &mut Vec<Finding>) {
    let network = &cluster.network;
    special(cluster, f);
    name_servers(cluster, f);
    inside(&network.gateway, "the gateway", network, f);
    nodes(cluster, f);
    endpoint(cluster, f);
    pools(cluster, f);
    if cluster.kubernetes.distribution.value != Distribution::None {
        overlaps(network, f);
        families(network, f);
        sizes(cluster, f);
    }
}

/// Networks that no machine of one's own can be in (RFC 6890 and its registries).
const SPECIAL: [(&str, &str); 9] = [
    ("0.0.0.0/8", "means \"this network\""),
    ("127.0.0.0/8", "is every machine's own loopback"),
    ("169.254.0.0/16", "is link-local: no router passes it on"),
    ("224.0.0.0/4", "is multicast"),
    ("240.0.0.0/4", "is reserved"),
    ("::/127", "is every machine's own loopback"),
    ("::ffff:0:0/96", "is IPv4 in the form of IPv6"),
    ("fe80::/10", "is link-local: no router passes it on"),
    ("ff00::/8", "is multicast"),
];

/// A special network that shares addresses with a range, and what it is.
fn special_network(range: AddressRange) -> Option<(&'static str, &'static str)> {
    SPECIAL.into_iter().find(|(text, _)| {
        let network: Subnet = text.parse().expect("our own networks are well-formed");
        range.overlaps(network.into())
    })
}

fn special(cluster: &Cluster, f: &mut Vec<Finding>) {
    let network = &cluster.network;
    let mut ranges = vec![special_use("the nodes' network", &network.subnet)];
    if cluster.kubernetes.distribution.value != Distribution::None {
        ranges.push(special_use("the pods' network", &network.pods));
        ranges.push(special_use("the services' network", &network.services));
    }
    for pool in &network.load_balancer {
        ranges.push(special_use("the load-balancer pool", pool));
    }
    // The gateway is one where the file names none, and lies in the nodes' network.
    let named = |server: &&Located<IpAddr>| server.position != network.gateway.position;
    for server in network.dns.iter().filter(named) {
        ranges.push(special_use("the name server", server));
    }
    let endpoint = cluster.endpoint.as_ref();
    if let Some(address) = endpoint.and_then(|endpoint| endpoint.address.as_ref()) {
        ranges.push(special_use("the endpoint", address));
    }
    f.extend(ranges.into_iter().flatten());
}

/// The complaint about addresses in a special network.
fn special_use<T>(who: &str, addresses: &Located<T>) -> Option<Finding>
where
    T: Copy + Display + Into<AddressRange>,
{
    let (special, what) = special_network(addresses.value.into())?;
    let message = format!("{who} {addresses} lies in {special}, which {what}");
    let finding = Finding::error(Code::Subnet, addresses.position, addresses, message);
    let hint = "private networks are 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 and fd00::/8";
    Some(finding.hint(hint))
}

/// `resolv.conf` of pods takes three (resolv.conf(5), `MAXNS`); the kubelet leaves out the rest.
fn name_servers(cluster: &Cluster, f: &mut Vec<Finding>) {
    const MOST: usize = 3;
    if let Some(beyond) = cluster.network.dns.get(MOST) {
        let number = cluster.network.dns.len();
        let message = format!("{number} name servers, and pods ask the first {MOST} only");
        let finding = Finding::warning(Code::Host, beyond.position, beyond, message);
        f.push(finding.hint("keep three"));
    }
}

/// Complains about an address that is not in the nodes' network, or is its first or last.
fn inside(address: &Located<IpAddr>, what: &str, network: &Network, f: &mut Vec<Finding>) {
    let subnet = network.subnet.value;
    let message = if !subnet.contains(address.value) {
        format!("{what} is outside of the nodes' network {subnet}")
    } else if address.is_ipv4() && subnet.host_bits() > 1 && address.value == subnet.base() {
        format!("{what} is the network's own address")
    } else if address.is_ipv4() && subnet.host_bits() > 1 && address.value == subnet.last() {
        format!("{what} is the network's broadcast address")
    } else {
        return;
    };
    let free = subnet.nth(10).unwrap_or(subnet.last());
    let hint = format!("addresses here look like {free}");
    f.push(Finding::error(Code::OutsideSubnet, address.position, address, message).hint(hint));
}

fn nodes(cluster: &Cluster, f: &mut Vec<Finding>) {
    let network = &cluster.network;
    let endpoint = cluster
        .endpoint
        .as_ref()
        .and_then(|endpoint| endpoint.address.as_ref());
    for node in &cluster.nodes {
        let address = &node.address;
        inside(
            address,
            &format!("the address of node `{}`", node.name.value),
            network,
            f,
        );
        let shared = cluster
            .endpoint
            .as_ref()
            .is_some_and(|endpoint| endpoint.provider.value != Provider::None);
        let taken = [
            (Some(&network.gateway), "the gateway's"),
            (endpoint.filter(|_| shared), "the endpoint's"),
        ];
        let servers = network
            .dns
            .iter()
            .map(|server| (Some(server), "a name server's"));
        let same = |(other, _): &(Option<&Located<IpAddr>>, &str)| {
            other.is_some_and(|other| other.value == address.value)
        };
        if let Some((_, whose)) = taken.into_iter().chain(servers).find(same) {
            let message = format!("the address of node `{}` is {whose}", node.name.value);
            f.push(
                Finding::error(Code::AddressTaken, address.position, address, message)
                    .hint("choose another address"),
            );
        }
        if let Some(pool) = network
            .load_balancer
            .iter()
            .find(|pool| pool.contains(address.value))
        {
            let message = format!(
                "the address of node `{}` lies in the load-balancer pool {pool}",
                node.name.value
            );
            let hint = "the balancer will hand it out one day, and both become unreachable: move the node or the pool";
            f.push(
                Finding::error(Code::InLoadBalancer, address.position, address, message).hint(hint),
            );
        }
    }
}

fn endpoint(cluster: &Cluster, f: &mut Vec<Finding>) {
    let Some(endpoint) = &cluster.endpoint else {
        return;
    };
    let Some(address) = &endpoint.address else {
        return;
    };
    let network = &cluster.network;
    if matches!(
        endpoint.provider.value,
        Provider::KubeVip | Provider::Keepalived
    ) {
        // Both announce it by ARP, which stays in one network.
        inside(address, "the endpoint", network, f);
    }
    let servers = network.dns.iter().map(|server| (server, "a name server's"));
    let taken = std::iter::once((&network.gateway, "the gateway's")).chain(servers);
    if let Some((_, whose)) = taken
        .into_iter()
        .find(|(other, _)| other.value == address.value)
    {
        let message = format!("the endpoint's address is {whose}");
        f.push(
            Finding::error(Code::AddressTaken, address.position, address, message)
                .hint("choose an unused address"),
        );
    }
}

/// Pools must not hold anybody's fixed address.
fn pools(cluster: &Cluster, f: &mut Vec<Finding>) {
    let network = &cluster.network;
    let endpoint = cluster
        .endpoint
        .as_ref()
        .and_then(|endpoint| endpoint.address.as_ref());
    for (index, pool) in network.load_balancer.iter().enumerate() {
        let fixed = [
            (Some(&network.gateway), "the gateway"),
            (endpoint, "the endpoint"),
        ];
        let servers = network
            .dns
            .iter()
            .map(|server| (Some(server), "a name server"));
        let inside = |(other, _): &(Option<&Located<IpAddr>>, &str)| {
            other.is_some_and(|other| pool.contains(other.value))
        };
        if let Some((Some(other), who)) = fixed.into_iter().chain(servers).find(inside) {
            let message = format!("the load-balancer pool holds {other}, the address of {who}");
            f.push(
                Finding::error(Code::InLoadBalancer, pool.position, pool, message)
                    .hint("leave it out of the pool"),
            );
        }
        f.extend(pool_place(pool, network));
        if let Some(other) = network.load_balancer[..index]
            .iter()
            .find(|other| other.overlaps(pool.value))
        {
            let message = format!("the load-balancer pool shares addresses with {other}");
            f.push(
                Finding::error(Code::NetworkOverlap, pool.position, pool, message)
                    .hint("join the two"),
            );
        }
        for (other, who) in [(&network.pods, "pods"), (&network.services, "services")] {
            if pool.overlaps(other.value.into()) {
                let message = format!(
                    "the load-balancer pool shares addresses with the {who}' network {other}"
                );
                let hint = "pools are addresses of your home network";
                f.push(
                    Finding::error(Code::NetworkOverlap, pool.position, pool, message).hint(hint),
                );
            }
        }
    }
}

/// A pool is of the nodes' network, where its addresses are announced by ARP, or none of it (BGP); and nobody may have
/// the network's first address or its last.
fn pool_place(pool: &Located<AddressRange>, network: &Network) -> Option<Finding> {
    let subnet = network.subnet.value;
    let (first, last) = (pool.first(), pool.last());
    match (subnet.contains(first), subnet.contains(last)) {
        (true, true) => {
            let reserved = first.is_ipv4() && subnet.host_bits() > 1;
            let what = if reserved && first == subnet.base() {
                "own address"
            } else if reserved && last == subnet.last() {
                "broadcast address"
            } else {
                return None;
            };
            let message = format!("the load-balancer pool holds the network's {what}");
            let finding = Finding::error(Code::OutsideSubnet, pool.position, pool, message);
            Some(finding.hint("leave it out of the pool"))
        }
        (false, false) if !pool.overlaps(subnet.into()) => {
            let message =
                format!("the load-balancer pool is outside of the nodes' network {subnet}");
            let finding = Finding::warning(Code::OutsideSubnet, pool.position, pool, message);
            Some(finding.hint("only with BGP can it be reached there; announced by ARP it has to be in the network"))
        }
        _ => {
            let message =
                format!("the load-balancer pool is only in part in the nodes' network {subnet}");
            let finding = Finding::error(Code::OutsideSubnet, pool.position, pool, message);
            Some(finding.hint("end it where the network ends"))
        }
    }
}

fn overlaps(network: &Network, f: &mut Vec<Finding>) {
    let all = [
        (&network.subnet, "nodes"),
        (&network.pods, "pods"),
        (&network.services, "services"),
    ];
    for (index, (one, who)) in all.iter().enumerate() {
        for (other, whose) in &all[..index] {
            if !one.overlaps(other.value) {
                continue;
            }
            // A default stands nowhere: the network that was written collides with it.
            let (at, text) = if one.position.line == 0 {
                (other.position, other)
            } else {
                (one.position, one)
            };
            let message = format!(
                "the {who}' network {one} shares addresses with the {whose}' network {other}"
            );
            let hint = format!("choose another for the {who}, such as {}", free(network));
            f.push(Finding::error(Code::NetworkOverlap, at, text, message).hint(hint));
        }
    }
}

/// A private network that nobody here uses.
fn free(network: &Network) -> String {
    let used = [
        network.subnet.value,
        network.pods.value,
        network.services.value,
    ];
    let candidates = [
        "10.244.0.0/16",
        "10.96.0.0/16",
        "10.42.0.0/16",
        "172.20.0.0/16",
        "192.168.0.0/16",
    ];
    let unused = |text: &&str| {
        text.parse::<Subnet>()
            .is_ok_and(|net| !used.iter().any(|other| other.overlaps(net)))
    };
    (*candidates
        .iter()
        .find(|text| unused(text))
        .unwrap_or(&candidates[0]))
    .to_owned()
}

fn families(network: &Network, f: &mut Vec<Finding>) {
    let family = |subnet: &Located<Subnet>| {
        if subnet.base().is_ipv4() {
            "IPv4"
        } else {
            "IPv6"
        }
    };
    for (subnet, who) in [(&network.pods, "pods"), (&network.services, "services")] {
        if family(subnet) != family(&network.subnet) {
            let at = if subnet.position.line == 0 {
                &network.subnet
            } else {
                subnet
            };
            let message = format!(
                "the {who}' network {subnet} is {}, the nodes' {}",
                family(subnet),
                family(&network.subnet)
            );
            let hint = format!(
                "give `{who}` a network of the nodes' family; two families at once are not supported yet"
            );
            f.push(Finding::error(Code::AddressFamily, at.position, at, message).hint(hint));
        }
    }
}

/// Limits of kube-controller-manager (a /24 per node, a /64 in IPv6; at most 16 bits of nodes) and of the API server
/// (20 bits of services).
fn sizes(cluster: &Cluster, f: &mut Vec<Finding>) {
    let Network { pods, services, .. } = &cluster.network;
    let finding = |subnet: &Located<Subnet>, message: String| {
        Finding::error(Code::NetworkSize, subnet.position, subnet, message)
    };
    let per_node: u8 = if pods.base().is_ipv4() { 24 } else { 64 };
    let wanted = cluster
        .nodes
        .len()
        .max(1)
        .next_power_of_two()
        .trailing_zeros();
    let bits = per_node.saturating_sub(pods.prefix());
    if u32::from(bits) < wanted || pods.prefix() > per_node {
        let message = format!(
            "each node takes a /{per_node} of the pods' network; {pods} has too few for the nodes"
        );
        let prefix = u32::from(per_node).saturating_sub(wanted + 2);
        f.push(finding(pods, message).hint(format!("use a prefix length of {prefix} or less")));
    } else if bits > 16 {
        let message = format!(
            "the pods' network {pods} is larger than Kubernetes divides (16 bits of /{per_node})"
        );
        f.push(
            finding(pods, message)
                .hint(format!("use a prefix length of {} or more", per_node - 16)),
        );
    }
    match services.host_bits() {
        // The tenth address is the cluster's name server.
        0..4 => {
            let message = format!("the services' network {services} is too small");
            f.push(
                finding(services, message)
                    .hint("Kubernetes needs 16 addresses; 65536 (/16) are usual"),
            );
        }
        4..8 => {
            let message =
                format!("the services' network {services} is small, and cannot grow later");
            let finding = Finding::warning(Code::NetworkSize, services.position, services, message);
            f.push(finding.hint("65536 addresses (/16) are usual"));
        }
        8..=20 => {}
        _ => {
            let message = format!(
                "the services' network {services} is larger than the API server takes (20 bits)"
            );
            f.push(finding(services, message).hint("use a /16, or in IPv6 a /112"));
        }
    }
}
