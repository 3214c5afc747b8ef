//! What a node's own software makes below `/var`, `/etc`, `/home`, `/root`, `/srv` and `/opt`,
//! which are all on its state partition, and what of that is not its own but a workload's or the
//! cluster's.
//!
//! It is asked before a state is made anew. A list of what is precious would never be complete; so
//! everything that is not in this table counts as somebody's data ([`crate::probe`] walks through
//! the state, [`crate::judge`] refuses). Directories without anything in them are nobody's data
//! wherever they are, and neither are sockets, pipes and device nodes. The files that the node's
//! identity brought are known from the agent's own list ([`LIST`]).
//!
//! A line belongs here if a package of the image, the agent, containerd, the kubelet, k3s or a
//! common network plugin makes the thing on its own, and makes it again on a node whose state is
//! new. `tests/probe/booted.txt` is what a node has after its first start.

use Meaning::{Cluster, Own, Workload};

/// The sources of the agent's overlay and binds: a directory of the state, and where the node has
/// it.
pub const SEEN: [(&str, &str); 5] = [
    ("var/lib/overlay/etc.upper", "etc"),
    ("var/lib/overlay/home", "home"),
    ("var/lib/overlay/root", "root"),
    ("var/lib/overlay/srv", "srv"),
    ("var/lib/overlay/opt", "opt"),
];

/// The agent's list of the files that the identity brought, one path without leading slash on each
/// line.
pub const LIST: &str = "var/lib/prejoin/identity.files";

/// Whose a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The system's: made again by itself.
    Own,
    /// A workload's or a storage system's.
    Workload,
    /// This node's member of the cluster's database: others may have all of it, too.
    Cluster,
}

/// A line of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Known {
    /// Path on the node without leading slash; `*` stands for any part of one name. It is about all
    /// that is below it, but for what a longer line says.
    pub path: &'static str,
    /// Whose it is.
    pub meaning: Meaning,
    /// What it is.
    pub what: &'static str,
}

const fn known(path: &'static str, meaning: Meaning, what: &'static str) -> Known {
    Known {
        path,
        meaning,
        what,
    }
}

/// The table.
pub const KNOWN: &[Known] = &[
    // The file system hierarchy standard gives these two to logs, and to what can be lost at any
    // time (FHS 3.0, 5.5 and 5.10). /var/tmp is not among them: people put things there that are to
    // survive a restart.
    known("var/log", Own, "logs"),
    known("var/cache", Own, "caches"),
    known("var/tmp/systemd-private-*", Own, "a service's own /tmp"),
    known("var/tmp/cloud-init", Own, "cloud-init's work"),
    known("var/run", Own, "link to /run"),
    known("var/lock", Own, "link to /run/lock"),
    known("var/spool/mail", Own, "link to /var/mail"),
    // Debian, and the programs of the image.
    known("var/lib/apt", Own, "apt's lists"),
    known(
        "var/lib/cloud",
        Own,
        "cloud-init's memory, and the seed that the agent puts there",
    ),
    known("var/lib/dbus", Own, "link to the machine-id"),
    known(
        "var/lib/dpkg",
        Own,
        "dpkg's database, which comes with the image",
    ),
    known(
        "var/lib/iscsi",
        Own,
        "iSCSI logins, made again by what needs them",
    ),
    known("var/lib/lastlog", Own, "logins"),
    known("var/lib/nfs", Own, "an NFS client's memory"),
    known(
        "var/lib/private/systemd",
        Own,
        "systemd's services with users of their own",
    ),
    known("var/lib/sudo", Own, "who was lectured by sudo"),
    known(
        "var/lib/systemd",
        Own,
        "timers, random seed, clock, core dumps",
    ),
    known("var/lib/wtmpdb", Own, "logins"),
    // The agent.
    known(
        "var/lib/overlay/etc.work",
        Own,
        "the overlay's own directory",
    ),
    known("var/lib/prejoin", Own, "the agent's memory"),
    // Containers. What a container writes outside of its volumes goes with it.
    known("var/lib/containerd", Own, "images and writable layers"),
    known(
        "var/lib/cni",
        Own,
        "addresses that network plugins gave out",
    ),
    known("var/lib/calico", Own, "the node's name for Calico"),
    known("opt/cni", Own, "network plugins"),
    known("opt/containerd", Own, "containerd's additions"),
    // The kubelet (k8s.io/kubernetes, pkg/kubelet/config/defaults.go and the managers' state
    // files).
    known(
        "var/lib/kubelet/config.yaml",
        Own,
        "the kubelet's configuration",
    ),
    known(
        "var/lib/kubelet/instance-config.yaml",
        Own,
        "the kubelet's configuration",
    ),
    known(
        "var/lib/kubelet/kubeadm-flags.env",
        Own,
        "the kubelet's arguments",
    ),
    known("var/lib/kubelet/pki", Own, "the kubelet's credentials"),
    known("var/lib/kubelet/*_state", Own, "what was given out to pods"),
    known(
        "var/lib/kubelet/checkpoints",
        Own,
        "checkpoints of containers",
    ),
    known(
        "var/lib/kubelet/device-plugins",
        Own,
        "what was given out to pods",
    ),
    known(
        "var/lib/kubelet/image_manager",
        Own,
        "which images were pulled",
    ),
    known(
        "var/lib/kubelet/plugins_registry",
        Own,
        "sockets of plugins",
    ),
    known("var/lib/kubelet/pod-resources", Own, "a socket"),
    known(
        "var/lib/kubelet/seccomp",
        Own,
        "profiles, which daemons bring",
    ),
    known(
        "var/lib/kubelet/volumeplugins",
        Own,
        "programs, which daemons bring",
    ),
    // Where volumes are mounted there is nothing but the kubelet's note of the mount; block volumes
    // and parts of volumes are links and places for binds.
    known(
        "var/lib/kubelet/plugins/kubernetes.io/csi/*/*/vol_data.json",
        Own,
        "a note of a mount",
    ),
    known(
        "var/lib/kubelet/plugins/kubernetes.io/csi/volumeDevices",
        Own,
        "links to block devices",
    ),
    known(
        "var/lib/kubelet/plugins",
        Workload,
        "left by a storage plugin",
    ),
    known(
        "var/lib/kubelet/pods/*/containers",
        Own,
        "last words of containers",
    ),
    known(
        "var/lib/kubelet/pods/*/etc-hosts",
        Own,
        "a pod's /etc/hosts",
    ),
    known(
        "var/lib/kubelet/pods/*/plugins",
        Own,
        "marks of volumes that are ready",
    ),
    known(
        "var/lib/kubelet/pods/*/userns",
        Own,
        "a pod's user namespace",
    ),
    known(
        "var/lib/kubelet/pods/*/volumeDevices",
        Own,
        "links to block devices",
    ),
    known(
        "var/lib/kubelet/pods/*/volume-subpaths",
        Own,
        "places for binds",
    ),
    // These end with the pod, and the pod with the node.
    known(
        "var/lib/kubelet/pods/*/volumes/kubernetes.io~configmap",
        Own,
        "from the cluster",
    ),
    known(
        "var/lib/kubelet/pods/*/volumes/kubernetes.io~csi/*/vol_data.json",
        Own,
        "a note of a mount",
    ),
    known(
        "var/lib/kubelet/pods/*/volumes/kubernetes.io~downward-api",
        Own,
        "from the cluster",
    ),
    known(
        "var/lib/kubelet/pods/*/volumes/kubernetes.io~empty-dir",
        Own,
        "ends with its pod",
    ),
    known(
        "var/lib/kubelet/pods/*/volumes/kubernetes.io~projected",
        Own,
        "from the cluster",
    ),
    known(
        "var/lib/kubelet/pods/*/volumes/kubernetes.io~secret",
        Own,
        "from the cluster",
    ),
    known("var/lib/kubelet/pods/*/volumes", Workload, "a pod's volume"),
    // Control planes.
    known("var/lib/etcd/member", Cluster, "etcd's member"),
    known(
        "var/lib/rancher/k3s/agent",
        Own,
        "k3s' containerd, certificates and images",
    ),
    known("var/lib/rancher/k3s/data", Own, "k3s' programs"),
    known(
        "var/lib/rancher/k3s/server",
        Own,
        "k3s' certificates, tokens and manifests",
    ),
    known(
        "var/lib/rancher/k3s/server/db",
        Workload,
        "k3s' database, all of the cluster",
    ),
    known(
        "var/lib/rancher/k3s/server/db/etcd",
        Cluster,
        "etcd's member",
    ),
    known("var/lib/rancher/k3s/server/db/etcd-tmp", Own, "etcd's work"),
    known(
        "var/lib/rancher/k3s/server/db/snapshots",
        Cluster,
        "snapshots of etcd",
    ),
    known(
        "var/lib/rancher/k3s/storage",
        Workload,
        "local volumes of k3s",
    ),
    // Storage systems whose folders the image makes.
    known("var/lib/longhorn", Workload, "Longhorn's disk"),
    known("var/lib/rook", Workload, "Rook's monitors and keys"),
    // What differs in /etc from the image. All else there was written by somebody: a key to a disk,
    // for example.
    known("etc/.pwd.lock", Own, "a lock"),
    known("etc/.updated", Own, "systemd's mark"),
    known("etc/adjtime", Own, "the clock"),
    known("etc/cloud", Own, "cloud-init's configuration"),
    known("etc/cni", Own, "configuration of network plugins"),
    known("etc/containerd", Own, "containerd's configuration"),
    known("etc/group*", Own, "groups"),
    known("etc/gshadow*", Own, "groups"),
    known("etc/hostname", Own, "the node's name"),
    known("etc/hosts", Own, "names of nodes"),
    known("etc/iscsi", Own, "the initiator's name and logins"),
    known(
        "etc/kubernetes",
        Own,
        "credentials, certificates and static pods of the node",
    ),
    known("etc/ld.so.cache", Own, "a cache"),
    known("etc/localtime", Own, "the time zone"),
    known("etc/lvm/archive", Own, "LVM's notes"),
    known("etc/lvm/backup", Own, "LVM's notes"),
    known("etc/lvm/devices", Own, "LVM's notes"),
    known("etc/machine-id", Own, "the node's machine-id"),
    known("etc/passwd*", Own, "users"),
    known("etc/rancher", Own, "k3s' configuration and credentials"),
    known("etc/resolv.conf", Own, "name servers"),
    known("etc/shadow*", Own, "users"),
    known("etc/ssh/ssh_host_*", Own, "host keys"),
    known(
        "etc/ssh/sshd_config.d/50-cloud-init.conf",
        Own,
        "written by cloud-init",
    ),
    known("etc/subgid*", Own, "users"),
    known("etc/subuid*", Own, "users"),
    known(
        "etc/sudoers.d/90-cloud-init-users",
        Own,
        "written by cloud-init",
    ),
    known(
        "etc/systemd/network/10-cloud-init-*",
        Own,
        "written by cloud-init",
    ),
    known("etc/timezone", Own, "the time zone"),
    // A home has the files of /etc/skel, what shells and pagers remember, and the keys that
    // cloud-init writes.
    known("home/*/.bash_history", Own, "what was typed"),
    known("home/*/.bash_logout", Own, "from /etc/skel"),
    known("home/*/.bashrc", Own, "from /etc/skel"),
    known("home/*/.cache", Own, "a cache"),
    known("home/*/.kube/cache", Own, "a cache"),
    known("home/*/.lesshst", Own, "what was looked for"),
    known("home/*/.profile", Own, "from /etc/skel"),
    known(
        "home/*/.ssh/authorized_keys",
        Own,
        "keys from the cluster file",
    ),
    known("home/*/.ssh/known_hosts*", Own, "hosts that were seen"),
    known("home/*/.sudo_as_admin_successful", Own, "a mark of sudo"),
    known("root/.bash_history", Own, "what was typed"),
    known("root/.bashrc", Own, "from base-files"),
    known("root/.cache", Own, "a cache"),
    known("root/.kube/cache", Own, "a cache"),
    known("root/.lesshst", Own, "what was looked for"),
    known("root/.profile", Own, "from base-files"),
    known(
        "root/.ssh/authorized_keys",
        Own,
        "keys from the cluster file",
    ),
    known("root/.ssh/known_hosts*", Own, "hosts that were seen"),
];

/// A directory, as the table knows it.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// What the table says of all that is here.
    pub known: Option<&'static Known>,
    /// Lines that say something of what is further down, with the rest of their paths.
    deeper: Vec<(&'static str, &'static Known)>,
}

impl Place {
    /// The node's root directory.
    pub fn top() -> Self {
        Place {
            known: None,
            deeper: KNOWN.iter().map(|line| (line.path, line)).collect(),
        }
    }

    /// What is called so in it.
    pub fn down(&self, name: &str) -> Self {
        let mut place = Place {
            known: self.known,
            deeper: Vec::new(),
        };
        let mut exact = false;
        for (path, line) in &self.deeper {
            let (first, rest) = path.split_once('/').unwrap_or((path, ""));
            if !matches(first, name) {
                continue;
            }
            if !rest.is_empty() {
                place.deeper.push((rest, line));
            } else if !exact {
                place.known = Some(line);
                exact = first == name;
            }
        }
        place
    }

    /// The place of a path without leading slash.
    pub fn of(path: &str) -> Self {
        path.split('/')
            .fold(Place::top(), |place, name| place.down(name))
    }

    /// Whether more is said of what is in it.
    pub fn goes_deeper(&self) -> bool {
        !self.deeper.is_empty()
    }
}

/// Whether a name is what a line has there, which may have one `*`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name
            .strip_prefix(before)
            .is_some_and(|rest| rest.ends_with(after)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(path: &str) -> Option<Meaning> {
        Place::of(path).known.map(|line| line.meaning)
    }

    #[test]
    fn the_longest_line_counts() {
        for (path, expected) in [
            ("var", None),
            ("var/lib/kubelet", None),
            ("var/lib/kubelet/cpu_manager_state", Some(Own)),
            ("var/lib/kubelet/anything", None),
            (
                "var/lib/kubelet/pods/1/volumes/kubernetes.io~empty-dir/x/y",
                Some(Own),
            ),
            (
                "var/lib/kubelet/pods/1/volumes/kubernetes.io~csi/pvc-1/mount/x",
                Some(Workload),
            ),
            (
                "var/lib/kubelet/pods/1/volumes/kubernetes.io~csi/pvc-1/vol_data.json",
                Some(Own),
            ),
            ("var/lib/kubelet/plugins/x/y", Some(Workload)),
            (
                "var/lib/kubelet/plugins/kubernetes.io/csi/pv/pvc-1/vol_data.json",
                Some(Own),
            ),
            (
                "var/lib/kubelet/plugins/kubernetes.io/csi/pv/pvc-1/globalmount/x",
                Some(Workload),
            ),
            ("var/lib/rancher/k3s/server/tls/x", Some(Own)),
            ("var/lib/rancher/k3s/server/db/state.db", Some(Workload)),
            (
                "var/lib/rancher/k3s/server/db/etcd/member/snap/db",
                Some(Cluster),
            ),
            ("var/lib/rancher/rke2", None),
            ("var/lib/etcd/backup.db", None),
            ("var/lib/containerd/x", Some(Own)),
            ("home/me/.ssh/authorized_keys", Some(Own)),
            ("home/me/.ssh/id_ed25519", None),
            ("home/.bashrc", None),
            ("etc/passwd-", Some(Own)),
            ("etc/fstab", None),
        ] {
            assert_eq!(meaning(path), expected, "{path}");
        }
    }

    #[test]
    fn lines_are_clean_and_each_is_there_once() {
        let mut seen = std::collections::BTreeSet::new();
        for line in KNOWN {
            assert!(prejoin_wire::path::is_clean(line.path.as_bytes()));
            assert!(
                line.path
                    .split('/')
                    .all(|name| name.matches('*').count() < 2)
            );
            assert!(seen.insert(line.path), "{} is there twice", line.path);
            assert!(!line.what.is_empty());
        }
    }
}
