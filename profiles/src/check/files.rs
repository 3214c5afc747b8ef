//! Files that stop a node, shut people out, or do nothing: what is known of their places.
//!
//! One table for `files:` and for `write_files` of the user's cloud-config; what can be written at all is said by
//! [`prejoin_wire::path`].

use crate::cluster::{Cluster, Content, File, Node};
use crate::finding::{Code, Finding, Severity};
use crate::yaml::Position;

/// Something known of a place.
struct Place {
    /// Exact paths; one with `/` at its end stands for all below it.
    paths: &'static [&'static str],
    severity: Severity,
    why: &'static str,
    hint: &'static str,
}

const PLACES: &[Place] = &[
    Place {
        paths: &[
            "/etc/group",
            "/etc/group-",
            "/etc/gshadow",
            "/etc/gshadow-",
            "/etc/passwd",
            "/etc/passwd-",
            "/etc/shadow",
            "/etc/shadow-",
            "/etc/subgid",
            "/etc/subuid",
        ],
        severity: Severity::Error,
        why: "replaces the accounts of the system: nothing starts, and nobody gets in",
        hint: "people go under `users:`; accounts of services into a file in `/etc/sysusers.d`",
    },
    Place {
        paths: &["/etc/sudoers", "/etc/sudo.conf"],
        severity: Severity::Error,
        why: "replaces the rules that everybody becomes root by",
        hint: "put rules of your own into a file in `/etc/sudoers.d`; `sudo: true` of a user needs none",
    },
    Place {
        paths: &["/etc/hostname", "/etc/machine-id"],
        severity: Severity::Error,
        why: "is what makes the machine this node",
        hint: "the node's `name` is its host name; the machine's id is made at its first start",
    },
    Place {
        paths: &["/etc/localtime", "/etc/timezone"],
        severity: Severity::Error,
        why: "is set by the time zone",
        hint: "use `timezone:`",
    },
    Place {
        paths: &["/etc/mtab", "/etc/os-release"],
        severity: Severity::Error,
        why: "is a link that the system relies on",
        hint: "remove it",
    },
    Place {
        paths: &["/etc/resolv.conf"],
        severity: Severity::Error,
        why: "is systemd-resolved's, and pods get their name servers by it",
        hint: "use `dns:` and `search:` under `network:`",
    },
    Place {
        paths: &["/etc/locale.conf", "/etc/default/locale"],
        severity: Severity::Warning,
        why: "may name a language that the image does not have: C.UTF-8 is the only one",
        hint: "remove it, unless it sets formats of programs that you bring",
    },
    Place {
        paths: &[
            "/etc/prejoin/",
            "/etc/rancher/k3s/config.yaml",
            "/etc/systemd/timesyncd.conf.d/50-prejoin.conf",
            "/etc/tmpfiles.d/50-prejoin-home.conf",
            "/var/lib/kubelet/config.yaml",
            "/var/lib/kubelet/instance-config.yaml",
            "/var/lib/kubelet/kubeadm-flags.env",
        ],
        severity: Severity::Error,
        why: "is written by prejoin: the node would not be what the cluster file says",
        hint: "say it in the cluster file; k3s takes further options from `/etc/rancher/k3s/config.yaml.d/*.yaml`, \
               and the kubelet from `/etc/default/kubelet`",
    },
    Place {
        paths: &[
            "/var/lib/cloud/",
            "/etc/cloud/cloud.cfg",
            "/etc/cloud/ds-identify.cfg",
            "/etc/cloud/cloud.cfg.d/90_image.cfg",
        ],
        severity: Severity::Error,
        why: "is what cloud-init gets the node's name, network and people by",
        hint: "use `cloud_init:`; settings of cloud-init itself go into a file in `/etc/cloud/cloud.cfg.d`",
    },
    Place {
        paths: &["/etc/fstab"],
        severity: Severity::Warning,
        why: "replaces the node's list of mounts: a line that fails stops the start, unless it has `nofail`",
        hint: "use `mounts:` under `cloud_init:`, which is checked",
    },
    Place {
        paths: &["/etc/ssh/sshd_config"],
        severity: Severity::Warning,
        why: "replaces all settings of sshd, those of the image among them; a mistake in it shuts everybody out",
        hint: "put settings of your own into a file in `/etc/ssh/sshd_config.d`",
    },
    Place {
        paths: &[
            "/etc/pam.d/",
            "/etc/nsswitch.conf",
            "/etc/security/",
            "/etc/login.defs",
        ],
        severity: Severity::Warning,
        why: "decides who may log in; a mistake in it shuts everybody out",
        hint: "try it on one node first, with somebody at its console",
    },
    Place {
        paths: &["/etc/ld.so.preload", "/etc/ld.so.cache", "/etc/ld.so.conf"],
        severity: Severity::Warning,
        why: "changes how every program is started, systemd among them",
        hint: "try it on one node first",
    },
    Place {
        paths: &["/etc/apt/"],
        severity: Severity::Warning,
        why: "does nothing: there is no apt on a node",
        hint: "name packages under `packages:`",
    },
    Place {
        paths: &[
            "/etc/cron.d/",
            "/etc/cron.daily/",
            "/etc/cron.hourly/",
            "/etc/cron.weekly/",
            "/etc/crontab",
        ],
        severity: Severity::Warning,
        why: "does nothing without a package that runs it",
        hint: "add the package under `packages:`, or write a timer of systemd",
    },
    Place {
        paths: &[
            "/etc/netplan/",
            "/etc/network/",
            "/etc/NetworkManager/",
            "/etc/init.d/",
            "/etc/rc.local",
        ],
        severity: Severity::Warning,
        why: "does nothing: the node's network and services are systemd's",
        hint: "write a unit in `/etc/systemd/system`, or a file in `/etc/systemd/network`",
    },
];

/// Directories of the system and of its services: with a file in its place, what lies in one is gone.
const DIRECTORIES: &[&str] = &[
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/cloud",
    "/etc/cloud/templates",
    "/etc/cni",
    "/etc/containerd",
    "/etc/containerd/certs.d",
    "/etc/credstore",
    "/etc/credstore.encrypted",
    "/etc/default",
    "/etc/dpkg",
    "/etc/iscsi",
    "/etc/kernel",
    "/etc/kubernetes",
    "/etc/kubernetes/manifests",
    "/etc/kubernetes/pki",
    "/etc/lvm",
    "/etc/opt",
    "/etc/prejoin",
    "/etc/rancher",
    "/etc/rancher/k3s",
    "/etc/rancher/node",
    "/etc/security",
    "/etc/skel",
    "/etc/ssh",
    "/etc/ssl",
    "/etc/ssl/certs",
    "/etc/ssl/private",
    "/etc/systemd",
    "/etc/systemd/network",
    "/etc/systemd/system",
    "/etc/systemd/user",
    "/etc/udev",
    "/etc/udev/hwdb",
    "/opt/bin",
    "/opt/cni",
    "/opt/cni/bin",
    "/root/.ssh",
    "/var/backups",
    "/var/cache",
    "/var/lib/cloud",
    "/var/lib/cni",
    "/var/lib/containerd",
    "/var/lib/dpkg",
    "/var/lib/etcd",
    "/var/lib/kubelet",
    "/var/lib/longhorn",
    "/var/lib/nfs",
    "/var/lib/private",
    "/var/lib/rancher",
    "/var/lib/rook",
    "/var/lib/systemd",
    "/var/local",
    "/var/lock",
    "/var/log",
    "/var/log/containers",
    "/var/log/journal",
    "/var/log/pods",
    "/var/mail",
    "/var/opt",
    "/var/run",
    "/var/spool",
    "/var/tmp",
];

pub(super) fn check(cluster: &Cluster, f: &mut Vec<Finding>) {
    for file in all_files(cluster) {
        let place = || known(&file.path, file.path.position, cluster);
        f.extend(mounts(file, cluster).or_else(place));
        f.extend(hosts(file, cluster));
    }
    // What is wrong with the cluster's files is wrong on every node, and said once.
    let differs = |(index, node): &(usize, &Node)| *index == 0 || !node.files.is_empty();
    for (_, node) in cluster.nodes.iter().enumerate().filter(differs) {
        nested(cluster, node, f);
    }
}

fn all_files(cluster: &Cluster) -> impl Iterator<Item = &File> {
    let of_nodes = cluster.nodes.iter().flat_map(|node| &node.files);
    cluster.files.iter().chain(of_nodes)
}

/// What is known of the place of a file.
pub(super) fn known(path: &str, at: Position, cluster: &Cluster) -> Option<Finding> {
    if let Some(home) = directory(path, cluster) {
        let message =
            format!("`{home}` is a directory of the node, and the file would take its place");
        let finding = Finding::error(Code::FilePath, at, &path, message);
        return Some(finding.hint("name a file in it"));
    }
    let matches = |known: &&str| path == *known || known.ends_with('/') && path.starts_with(*known);
    let place = PLACES
        .iter()
        .find(|place| place.paths.iter().any(matches))?;
    let message = format!("`{path}` {}", place.why);
    let finding = match place.severity {
        Severity::Error => Finding::error(Code::FilePath, at, &path, message),
        Severity::Warning => Finding::warning(Code::FilePath, at, &path, message),
    };
    Some(finding.hint(place.hint))
}

/// The path, if it is a directory's: of the system, of a user, or one that holds fragments (`….d`).
fn directory<'a>(path: &'a str, cluster: &Cluster) -> Option<&'a str> {
    let home = path
        .strip_prefix("/home/")
        .is_some_and(|name| cluster.users.iter().any(|user| user.name.value == name));
    let fragments = path.starts_with("/etc/") && path.ends_with(".d");
    (home || fragments || DIRECTORIES.contains(&path)).then_some(path)
}

/// The names of all nodes, and of the API server, are in `/etc/hosts`; a file of the user's takes its place.
fn hosts(file: &File, cluster: &Cluster) -> Option<Finding> {
    if file.path.value != "/etc/hosts" {
        return None;
    }
    let has_name = |name: &str| match &file.content {
        Content::Text(text) => text.split_whitespace().any(|word| word == name),
        // Nobody reads it here.
        Content::Source(_) => true,
    };
    let endpoint = cluster
        .endpoint
        .as_ref()
        .and_then(|endpoint| endpoint.name.as_ref())
        .map(|name| name.value.as_str());
    let nodes = cluster.nodes.iter().map(|node| node.name.value.as_str());
    let (at, path) = (file.path.position, &file.path);
    let missing = endpoint
        .into_iter()
        .chain(nodes)
        .find(|name| !has_name(name));
    let hint = "write the lines of all nodes and of the endpoint's name into it, too, or leave other names to DNS";
    let finding = match missing {
        Some(name) => {
            let message = format!(
                "`/etc/hosts` replaces prejoin's, by which nodes find each other, and lacks `{name}`"
            );
            Finding::error(Code::FilePath, at, path, message)
        }
        None => {
            let message =
                "`/etc/hosts` replaces prejoin's: it will not know nodes that are added later";
            Finding::warning(Code::FilePath, at, path, message)
        }
    };
    Some(finding.hint(hint))
}

/// prejoin writes the mounts of `cloud_init` into the same file.
fn mounts(file: &File, cluster: &Cluster) -> Option<Finding> {
    let of_nodes = cluster.nodes.iter().map(|node| &node.cloud_init);
    let documents = [&cluster.cloud_init].into_iter().chain(of_nodes).flatten();
    let mut mounts = documents.flat_map(|document| document.mounts());
    if file.path.value != "/etc/fstab" || mounts.next().is_none() {
        return None;
    }
    let message = "`/etc/fstab` replaces the `mounts` of `cloud_init`: they would never be mounted";
    let finding = Finding::error(Code::FilePath, file.path.position, &file.path, message);
    Some(finding.hint("put all of them under `mounts:`, or all into the file"))
}

/// A file below another file; both are there on one node.
fn nested(cluster: &Cluster, node: &Node, f: &mut Vec<Finding>) {
    let all = || cluster.files.iter().chain(&node.files);
    let paths: std::collections::BTreeSet<&str> =
        all().map(|file| file.path.value.as_str()).collect();
    for file in all() {
        let path = file.path.value.as_str();
        let above = path
            .match_indices('/')
            .map(|(end, _)| &path[..end])
            .find(|above| paths.contains(above));
        if let Some(above) = above {
            let message = format!("`{above}` is a file, and this one lies below it");
            let finding = Finding::error(Code::FilePath, file.path.position, &file.path, message);
            f.push(finding.hint("a path is a file or a folder: rename one of the two"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prejoin_wire::path;

    #[test]
    fn the_tables_name_places_that_could_be_written() {
        let places = PLACES.iter().flat_map(|place| place.paths);
        for path in places.chain(DIRECTORIES) {
            let below = format!("{path}x");
            let path = if path.ends_with('/') { &below } else { *path };
            assert_eq!(
                path::check(path.trim_start_matches('/').as_bytes()),
                Ok(()),
                "{path}"
            );
        }
        assert!(DIRECTORIES.is_sorted());
    }
}
