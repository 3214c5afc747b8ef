//! `/etc/hosts`: every node knows every other one and the API server's name, whatever DNS does.

use std::fmt::Write as _;
use std::net::IpAddr;

use prejoin_profiles::cluster::{Cluster, Node};

/// What netbase would write, without Debian's `127.0.1.1`: the node's name must mean its real address.
const LOCAL: &str = "\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
";

/// The node's full name, if the cluster has a search domain.
pub(crate) fn fqdn(cluster: &Cluster, node: &Node) -> Option<String> {
    cluster
        .network
        .search
        .first()
        .map(|domain| format!("{}.{}", node.name.value, domain.value))
}

/// The file's text; the same on every node.
pub(crate) fn hosts(cluster: &Cluster) -> String {
    let mut text = String::from(LOCAL);
    let endpoint = cluster
        .endpoint
        .as_ref()
        .and_then(|endpoint| endpoint.name.as_ref());
    if let (Some(name), Some(address)) = (endpoint, cluster.api_address())
        && name.parse::<IpAddr>().is_err()
    {
        let _ = writeln!(text, "{address}\t{}", name.value);
    }
    for node in &cluster.nodes {
        let full = fqdn(cluster, node)
            .map(|fqdn| format!("{fqdn} "))
            .unwrap_or_default();
        let _ = writeln!(text, "{}\t{full}{}", node.address.value, node.name.value);
    }
    text
}
