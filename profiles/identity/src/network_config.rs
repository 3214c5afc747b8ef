//! `network-config`: version 2 (cloud-init 25.1, "Networking config Version 2"), as its networkd renderer takes it.

use std::net::IpAddr;

use prejoin_profiles::cluster::{Cluster, Node};
use serde::Serialize;

use crate::document;

/// Name that the node's network interface gets when its hardware address is known.
///
/// The same on every board, for what has to name an interface (kube-vip, keepalived, Cilium), and neither the
/// kernel's (`eth0`) nor systemd's (`enp1s0`), so that it never stands in the way of another interface.
pub const INTERFACE: &str = "lan0";

/// Interfaces meant when there is no hardware address: everything that Ethernet drivers and systemd call them, and
/// nothing that container networks add (`cni0`, `flannel.1`, `lxc…`, `veth…`).
const ANY: &str = "e*";

#[derive(Serialize)]
struct Document<'a> {
    version: u8,
    ethernets: Ethernets<'a>,
}

/// Exactly one interface, under a name that is data.
struct Ethernets<'a>(&'static str, Ethernet<'a>);

#[derive(Serialize)]
struct Ethernet<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    r#match: Option<Match>,
    #[serde(rename = "set-name", skip_serializing_if = "Option::is_none")]
    set_name: Option<&'static str>,
    dhcp4: bool,
    dhcp6: bool,
    addresses: [String; 1],
    routes: [Route; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    nameservers: Option<NameServers<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u16>,
}

#[derive(Serialize)]
struct Match {
    macaddress: String,
}

#[derive(Serialize)]
struct Route {
    to: &'static str,
    via: IpAddr,
}

#[derive(Serialize)]
struct NameServers<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<IpAddr>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    search: Vec<&'a str>,
}

impl Serialize for Ethernets<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(self.0, &self.1)])
    }
}

/// The node's `network-config`: one interface with a static address.
pub(crate) fn network_config(cluster: &Cluster, node: &Node) -> String {
    let network = &cluster.network;
    let addresses: Vec<IpAddr> = network.dns.iter().map(|server| server.value).collect();
    let search: Vec<&str> = network
        .search
        .iter()
        .map(|domain| domain.as_str())
        .collect();
    let nameservers = NameServers { addresses, search };
    let empty = nameservers.addresses.is_empty() && nameservers.search.is_empty();
    let ethernet = Ethernet {
        r#match: node.mac.map(|mac| Match {
            macaddress: mac.to_string(),
        }),
        set_name: node.mac.map(|_| INTERFACE),
        dhcp4: false,
        dhcp6: false,
        addresses: [format!(
            "{}/{}",
            node.address.value,
            network.subnet.prefix()
        )],
        routes: [Route {
            to: everywhere(network.gateway.value),
            via: network.gateway.value,
        }],
        nameservers: (!empty).then_some(nameservers),
        mtu: network.mtu.map(|mtu| mtu.value),
    };
    // cloud-init's networkd renderer writes the key (or `set-name`) as `[Match] Name=` beside `MACAddress=`, and does
    // not look at `match: {name: …}`: with a hardware address the interface must really be called so, and without one
    // the key itself is the pattern. Seen with `cloud-init devel net-convert` of 25.1.4.
    let name = if node.mac.is_some() { INTERFACE } else { ANY };
    document::yaml(&Document {
        version: 2,
        ethernets: Ethernets(name, ethernet),
    })
}

/// Every destination of the address's family. cloud-init's networkd renderer refuses `default` ("Address default is
/// not a valid ip address"), and with it everything that comes after.
fn everywhere(address: IpAddr) -> &'static str {
    if address.is_ipv4() {
        "0.0.0.0/0"
    } else {
        "::/0"
    }
}

#[cfg(test)]
mod tests {
    use prejoin_profiles::os::Os;

    use super::*;

    /// The image adds to the file that cloud-init makes for the interface, by that file's name.
    #[test]
    fn the_image_knows_the_interfaces_file() {
        let debian = Os::built_in("debian-13").unwrap();
        for name in [INTERFACE, ANY] {
            let folder = format!("usr/lib/systemd/network/10-cloud-init-{name}.network.d");
            let file = &debian.recipes["systemd"].files[&format!("{folder}/10-image.conf")];
            assert!(file.contains("KeepConfiguration=static"), "{name}");
        }
    }
}
