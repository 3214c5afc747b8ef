//! What makes nodes and people tell apart: names, hardware addresses, serial numbers, disks.

use std::collections::BTreeMap;

use super::{duplicates, place, twice};
use crate::cluster::{Cluster, File, Node, Role};
use crate::finding::{Code, Finding};
use prejoin_wire::selector::Transport;

pub(super) fn check(cluster: &Cluster, f: &mut Vec<Finding>) {
    let nodes = || cluster.nodes.iter();
    duplicates(
        nodes().map(|node| (node.name.value.as_str(), &node.name)),
        |item, first| {
            f.push(
                twice(Code::DuplicateName, "the node name", item, first)
                    .hint("Kubernetes knows nodes by name: choose another"),
            );
        },
    );
    duplicates(
        nodes()
            .filter_map(|node| node.mac.as_ref())
            .map(|mac| (mac.value, mac)),
        |item, first| {
            f.push(
                twice(Code::DuplicateMac, "the hardware address", item, first)
                    .hint("one of the two was copied: look at the label"),
            );
        },
    );
    let serials = nodes().filter_map(|node| node.serial.as_ref());
    duplicates(
        serials.map(|serial| (serial.value.to_lowercase(), serial)),
        |item, first| {
            f.push(
                twice(Code::DuplicateSerial, "the serial number", item, first)
                    .hint("one of the two was copied: look at the label"),
            );
        },
    );
    duplicates(
        nodes().map(|node| (node.address.value, &node.address)),
        |item, first| {
            f.push(
                twice(Code::DuplicateAddress, "the address", item, first)
                    .hint("give each node its own"),
            );
        },
    );
    disks(cluster, f);
    for node in nodes() {
        anonymous(node, f);
        card(node, cluster, f);
    }
    people(cluster, f);
    files(cluster, f);
}

/// No two nodes may want the same disk: with identifiers of disks they would both match on a machine that has it.
fn disks(cluster: &Cluster, f: &mut Vec<Finding>) {
    let selectors = |node: &'_ Node| {
        [Some(node.disk.clone()), node.data_disk.clone()]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
    };
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for node in &cluster.nodes {
        for selector in selectors(node) {
            for (kind, id) in [("serial", &selector.serial), ("wwid", &selector.wwid)] {
                let Some(id) = id else { continue };
                let key = format!("{kind} {}", id.value.to_lowercase());
                if let Some(first) = seen.get(&key) {
                    let message = format!(
                        "`{first}` and `{}` want the disk with the {kind} `{id}`",
                        node.name.value
                    );
                    let finding = Finding::error(Code::DuplicateDisk, id.position, id, message);
                    f.push(finding.hint("give each node the serial number of its own disk"));
                } else {
                    seen.insert(key, &node.name);
                }
            }
        }
        f.extend(same_disk(node));
        for (key, selector) in [
            ("disk", Some(&node.disk)),
            ("data_disk", node.data_disk.as_ref()),
        ] {
            if let Some(selector) = selector.filter(|selector| selector.is_any()) {
                let message = format!("any disk fits `{key}` of node `{}`", node.name.value);
                let finding = Finding::warning(Code::DiskAny, selector.position, &key, message);
                f.push(
                    finding.hint("with two disks nothing is written; say `transport: nvme`, or give the serial number"),
                );
            }
        }
    }
}

/// `disk` and `data_disk` of one node. Where all that fit the one fit the other, too, no machine has a disk for each:
/// the first would match both.
fn same_disk(node: &Node) -> Option<Finding> {
    let data = node.data_disk.as_ref()?;
    let disk = &node.disk;
    // Two serial numbers that are the same were found already.
    if disk.is_unique() && data.is_unique() || disk.excludes(data) {
        return None;
    }
    let at = place(data, &node.name);
    let finding = if disk.implies(data) || data.implies(disk) {
        let message = format!(
            "`disk` and `data_disk` of node `{}` describe the same disk",
            node.name.value
        );
        Finding::error(Code::DuplicateDisk, at, &"", message)
    } else if disk.is_unique() || data.is_unique() {
        return None;
    } else {
        let message = format!(
            "one disk may be both `disk` and `data_disk` of node `{}`",
            node.name.value
        );
        Finding::warning(Code::DuplicateDisk, at, &"", message)
    };
    Some(finding.hint("tell them apart by `transport`, `model`, sizes or `serial`"))
}

fn anonymous(node: &Node, f: &mut Vec<Finding>) {
    if node.mac.is_none() && node.serial.is_none() {
        let message = format!("node `{}` has neither `mac` nor `serial`", node.name.value);
        let finding = Finding::warning(Code::Anonymous, node.name.position, &node.name, message);
        f.push(
            finding.hint(
                "it cannot be installed over the network, and its address goes to whatever interface is up first",
            ),
        );
    }
}

/// etcd waits for every write to be on the disk; SD cards and eMMC take too long, and wear out.
fn card(node: &Node, cluster: &Cluster, f: &mut Vec<Finding>) {
    let runs_etcd = node.role.value == Role::ControlPlane && cluster.kubernetes.version.is_some();
    if runs_etcd && node.disk.transport == Some(Transport::Mmc) {
        let message = format!(
            "control plane `{}` keeps etcd on an SD card or eMMC",
            node.name.value
        );
        let finding = Finding::warning(Code::Weak, place(&node.disk, &node.name), &"mmc", message);
        f.push(finding.hint("use NVMe, or an SSD on USB: `disk: { transport: usb }`"));
    }
}

fn people(cluster: &Cluster, f: &mut Vec<Finding>) {
    duplicates(
        cluster
            .users
            .iter()
            .map(|user| (user.name.value.as_str(), &user.name)),
        |item, first| {
            f.push(
                twice(Code::DuplicateName, "the user", item, first).hint("put the keys together"),
            );
        },
    );
    for user in &cluster.users {
        if user.keys.is_empty() && user.password_hash.is_none() {
            let message = format!(
                "user `{}` has neither a key nor a password, and cannot log in",
                user.name.value
            );
            let finding = Finding::warning(Code::Login, user.name.position, &user.name, message);
            f.push(finding.hint("add `ssh_keys:` with the line of your `.pub` file"));
        }
    }
}

fn files(cluster: &Cluster, f: &mut Vec<Finding>) {
    for node in &cluster.nodes {
        let all = cluster
            .files
            .iter()
            .chain(&node.files)
            .map(|File { path, .. }| (path.value.as_str(), path));
        duplicates(all, |item, first| {
            f.push(twice(Code::DuplicateName, "the file", item, first).hint("keep one of the two"));
        });
    }
}
