//! What is on a node's state besides what its own software makes.
#![expect(clippy::disallowed_methods, reason = "tests write files")]

use prejoin_disk::known::{Meaning, Place, SEEN};
use prejoin_wire::disk::{Content, Extent};
use proptest::prelude::*;

use super::disk::{Disk, MIB, have, plant};

/// All that a node of ours has below `/var` after its first start, a slash behind directories. The
/// node is the lab's `pc` (`tests/support/cluster.yaml`), a container was run on it, and it was
/// looked at by `find /var -xdev`.
const BOOTED: &str = include_str!("booted.txt");
/// What the cluster file of that node had cloud-init write, and what its commands wrote.
const COMMANDS: [&str; 3] = ["/opt/lab", "/var/lib/lab/boots", "/var/lib/lab/runs"];

/// What kubelets, containerd, k3s, kubeadm's etcd and network plugins make, when pods have run. A
/// slash behind directories.
const NODES: &[&str] = &[
    "lib/kubelet/config.yaml",
    "lib/kubelet/kubeadm-flags.env",
    "lib/kubelet/instance-config.yaml",
    "lib/kubelet/pki/kubelet-client-current.pem",
    "lib/kubelet/cpu_manager_state",
    "lib/kubelet/memory_manager_state",
    "lib/kubelet/dra_manager_state",
    "lib/kubelet/allocated_pods_state",
    "lib/kubelet/actuated_pods_state",
    "lib/kubelet/image_manager/pulled/sha256-1",
    "lib/kubelet/checkpoints/",
    "lib/kubelet/device-plugins/kubelet_internal_checkpoint",
    "lib/kubelet/plugins/driver.longhorn.io/",
    "lib/kubelet/plugins/kubernetes.io/csi/driver.longhorn.io/0a1b/vol_data.json",
    "lib/kubelet/plugins/kubernetes.io/csi/driver.longhorn.io/0a1b/globalmount/",
    "lib/kubelet/plugins/kubernetes.io/csi/volumeDevices/pvc-1/data/vol_data.json",
    "lib/kubelet/plugins/kubernetes.io/csi/volumeDevices/publish/pvc-1/uid",
    "lib/kubelet/plugins_registry/",
    "lib/kubelet/pod-resources/",
    "lib/kubelet/pods/uid/etc-hosts",
    "lib/kubelet/pods/uid/containers/web/0a1b2c3d",
    "lib/kubelet/pods/uid/plugins/kubernetes.io~empty-dir/cache/ready",
    "lib/kubelet/pods/uid/plugins/kubernetes.io~empty-dir/wrapped_token/ready",
    "lib/kubelet/pods/uid/volumes/kubernetes.io~empty-dir/cache/a/file",
    "lib/kubelet/pods/uid/volumes/kubernetes.io~configmap/settings/..data/key",
    "lib/kubelet/pods/uid/volumes/kubernetes.io~downward-api/info/labels",
    "lib/kubelet/pods/uid/volumes/kubernetes.io~projected/token/token",
    "lib/kubelet/pods/uid/volumes/kubernetes.io~secret/keys/tls.key",
    "lib/kubelet/pods/uid/volumes/kubernetes.io~csi/pvc-1/vol_data.json",
    "lib/kubelet/pods/uid/volumes/kubernetes.io~csi/pvc-1/mount/",
    "lib/kubelet/pods/uid/volumes/kubernetes.io~local-volume/pv-1/",
    "lib/kubelet/pods/uid/volumes/kubernetes.io~nfs/share/",
    "lib/kubelet/pods/uid/volume-subpaths/settings/web/0",
    "lib/kubelet/volumeplugins/nodeagent~uds/uds",
    "lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs/data/precious",
    "lib/containerd/io.containerd.content.v1.content/blobs/sha256/0a1b",
    "lib/cni/networks/cbr0/10.244.0.2",
    "lib/calico/nodename",
    "log/pods/default_web_uid/web/0.log",
    "log/containers/web.log",
    "lib/rancher/k3s/agent/containerd/io.containerd.metadata.v1.bolt/meta.db",
    "lib/rancher/k3s/agent/kubelet.kubeconfig",
    "lib/rancher/k3s/data/0a1b/bin/containerd",
    "lib/rancher/k3s/server/tls/server-ca.key",
    "lib/rancher/k3s/server/manifests/coredns.yaml",
    "lib/rancher/k3s/server/token",
    "lib/rancher/k3s/storage/",
    "lib/overlay/etc.upper/kubernetes/pki/ca.key",
    "lib/overlay/etc.upper/kubernetes/manifests/kube-apiserver.yaml",
    "lib/overlay/etc.upper/cni/net.d/10-flannel.conflist",
    "lib/overlay/etc.upper/rancher/k3s/k3s.yaml",
    "lib/overlay/etc.upper/lvm/backup/ceph-0a1b",
    "lib/overlay/opt/cni/bin/flannel",
    "lib/overlay/home/me/.bash_history",
    "lib/overlay/root/.kube/cache/discovery/10.0.0.1/servergroups.json",
];

/// Where people and storage systems have what they would miss.
const USUAL: [&str; 30] = [
    "lib/rook/mon-a/data/store.db/000001.sst",
    "lib/ceph/osd/ceph-0/block",
    "lib/longhorn/replicas/pvc-1/volume-head-000.img",
    "lib/docker/volumes/db/_data/ibdata1",
    "lib/containers/storage/volumes/db/_data/x",
    "lib/postgresql/17/main/base/1/112",
    "lib/mysql/ibdata1",
    "lib/minio/bucket/object/xl.meta",
    "lib/csi-hostpath-data/0a1b/x",
    "lib/rancher/k3s/storage/pvc-1_default_db/x",
    "lib/rancher/k3s/server/db/state.db",
    "lib/rancher/rke2/server/db/etcd/member/snap/db",
    "lib/k0s/kubelet/config.yaml",
    "lib/kubelet/pods/uid/volumes/kubernetes.io~csi/pvc-1/mount/x",
    "lib/kubelet/pods/uid/volumes/kubernetes.io~local-volume/pv-1/x",
    "lib/kubelet/pods/uid/volumes/kubernetes.io~nfs/share/x",
    "lib/kubelet/plugins/kubernetes.io/csi/pv/pvc-1/globalmount/x",
    "lib/kubelet/plugins/topolvm.io/thin/x",
    "lib/etcd-backup/snapshot.db",
    "openebs/local/pvc-1/x",
    "hostpath-provisioner/default/pvc-1/x",
    "local-path-provisioner/pvc-1/x",
    "snap/microk8s/common/default-storage/pvc-1/x",
    "mnt/disk1/x",
    "tmp/snapshot.db",
    "lib/overlay/opt/local-path-provisioner/pvc-1/x",
    "lib/overlay/srv/nfs/share/x",
    "lib/overlay/home/me/photos/1.jpg",
    "lib/overlay/root/backup.tar",
    "lib/overlay/etc.upper/cryptsetup-keys.d/data.key",
];

/// A file system over a whole disk that a node has used, with these files.
fn state(files: &[(&str, &str)]) -> Disk {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("lib/prejoin")).unwrap();
    plant(folder.path(), files);
    let disk = Disk::new(64 * MIB);
    let path = folder.path().to_str().unwrap();
    let options = ["-q", "-F", "-t", "ext4", "-b", "4096", "-d", path, "DISK"];
    disk.run("mke2fs", &options);
    disk
}

/// Kind, path and details of what the walk found.
fn found(content: &Content) -> Vec<String> {
    let of_state = content
        .inside
        .iter()
        .filter(|inside| inside.kind.starts_with("state"));
    of_state
        .map(|inside| {
            let detail = inside.detail.join(", ");
            format!("{} {} {detail}", inside.kind, inside.path)
                .trim_end()
                .to_owned()
        })
        .collect()
}

fn files<'a>(paths: impl IntoIterator<Item = &'a str>) -> Vec<(&'a str, &'a str)> {
    let text = |path: &&str| !path.ends_with('/');
    paths
        .into_iter()
        .map(|path| (path, if text(&path) { "x" } else { "" }))
        .collect()
}

#[test]
fn all_that_a_node_has_after_its_first_start_is_known() {
    if !have(&["mke2fs"]) {
        return;
    }
    assert!(BOOTED.lines().count() > 200);
    let mut planted = files(BOOTED.lines());
    // The identity's list is the one thing that is read.
    let brought = "etc/hostname\netc/hosts\netc/sysctl.d/99-lab.conf\n\
        etc/systemd/system/local-fs.target.wants/var-lib-longhorn.mount\n\
        etc/systemd/system/var-lib-longhorn.mount\netc/systemd/timesyncd.conf.d/50-prejoin.conf\n\
        var/lib/lab/token\n";
    let list = planted
        .iter_mut()
        .find(|(path, _)| *path == "lib/prejoin/identity.files");
    list.unwrap().1 = brought;
    // Further files of the folder may be told of first.
    let expected = ["state /", "state-data /opt/lab holds=/opt/lab/written"];
    let told = found(&state(&planted).probe());
    assert_eq!(told[..2], expected);
    assert!(
        told[2].starts_with("state-data /var/lib/lab holds=/var/lib/lab/"),
        "{told:?}"
    );
    assert_eq!(told.len(), 3);
    // Without what the cluster file's own commands wrote there is nothing.
    let command = |path: &str| {
        COMMANDS
            .iter()
            .any(|command| node_path(path).starts_with(command))
    };
    planted.retain(|(path, _)| path.ends_with('/') || !command(path));
    assert_eq!(found(&state(&planted).probe()), ["state /"]);
}

/// A path of the state as the node has it.
fn node_path(path: &str) -> String {
    let path = format!("var/{path}");
    let seen = SEEN.iter().find_map(|(source, seen)| {
        let rest = path
            .strip_prefix(source)
            .filter(|rest| rest.starts_with('/'))?;
        Some(format!("/{seen}{rest}"))
    });
    seen.unwrap_or_else(|| format!("/{path}"))
}

#[test]
fn what_kubernetes_makes_is_known() {
    if !have(&["mke2fs"]) {
        return;
    }
    assert_eq!(
        found(&state(&files(NODES.iter().copied())).probe()),
        ["state /"]
    );
}

#[test]
fn what_somebody_would_miss_is_found_in_every_usual_place() {
    if !have(&["mke2fs"]) {
        return;
    }
    let planted = [files(NODES.iter().copied()), files(USUAL)].concat();
    let told = found(&state(&planted).probe());
    for path in USUAL {
        let path = node_path(path);
        let holds = |line: &&String| {
            let folder = line.strip_prefix("state-data ").unwrap_or_default();
            let folder = folder.split(' ').next().unwrap();
            !folder.is_empty() && (path == folder || path.starts_with(&format!("{folder}/")))
        };
        let by: Vec<&String> = told.iter().filter(holds).collect();
        assert_eq!(by.len(), 1, "{path}: {told:?}");
        let folder = by[0].split(' ').nth(1).unwrap();
        assert!(
            folder.matches('/').count() >= 2,
            "no more goes than must: {by:?}"
        );
    }
    assert_eq!(told.len(), 1 + USUAL.len(), "{told:?}");
    // The same folders with nothing in them are nobody's.
    let empty = USUAL.map(|path| format!("{}/", path.rsplit_once('/').unwrap().0));
    let empty = files(empty.iter().map(String::as_str));
    let planted = [files(NODES.iter().copied()), empty].concat();
    assert_eq!(found(&state(&planted).probe()), ["state /"]);
}

#[test]
fn a_member_of_the_clusters_database_is_told_apart() {
    if !have(&["mke2fs"]) {
        return;
    }
    let told = found(
        &state(&[
            ("lib/etcd/member/snap/db", "x"),
            ("lib/rancher/k3s/server/db/etcd/member/snap/db", "x"),
            ("lib/rancher/k3s/server/db/snapshots/on-demand-1", "x"),
            ("lib/rancher/k3s/server/db/state.db", "x"),
        ])
        .probe(),
    );
    assert_eq!(
        told,
        [
            "state /",
            "state-cluster /var/lib/etcd/member what=etcd's member, \
             holds=/var/lib/etcd/member/snap/db",
            "state-cluster /var/lib/rancher/k3s/server/db/etcd what=etcd's member, \
             holds=/var/lib/rancher/k3s/server/db/etcd/member/snap/db",
            "state-cluster /var/lib/rancher/k3s/server/db/snapshots what=snapshots of etcd, \
             holds=/var/lib/rancher/k3s/server/db/snapshots/on-demand-1",
            "state-data /var/lib/rancher/k3s/server/db/state.db what=k3s' database, all of the cluster",
        ]
    );
}

#[test]
fn names_cannot_hide_and_are_told_as_they_are_or_not_at_all() {
    if !have(&["mke2fs"]) {
        return;
    }
    let long = format!("lib/{}/x", "long".repeat(50));
    let told = found(&state(&files(["lib/a\u{1b}[2Jb/x", &long, "lib/containerd "])).probe());
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told.iter().all(|line| !line.chars().any(char::is_control)));
    let replaced = |line: &&String| line.split(' ').nth(1).unwrap().contains('\u{fffd}');
    assert_eq!(told.iter().filter(replaced).count(), 2, "{told:?}");
    // What the identity's list names is a file, and only that file.
    let list = (
        "lib/prejoin/identity.files",
        "var/lib/app/a\nvar/lib/other\nvar/lib/half",
    );
    let planted = ["lib/app/a", "lib/other/x", "lib/half"];
    let told = found(&state(&[&[list][..], &files(planted)].concat()).probe());
    let expected = [
        "state /",
        "state-data /var/lib/half",
        "state-data /var/lib/other holds=/var/lib/other/x",
    ];
    assert_eq!(told, expected);
}

#[test]
fn what_cannot_be_looked_at_is_said() {
    if !have(&["mke2fs", "debugfs"]) {
        return;
    }
    let gaps = |disk: &Disk, commands: &[&str]| {
        for command in commands {
            disk.run("debugfs", &["-w", "-R", command, "DISK"]);
        }
        found(&disk.probe())[0].clone()
    };
    let planted = files(["lib/rook/mon-a/x", "lib/empty/"]);
    // Encrypted (the flag of fscrypt), its journal not played back, its inode gone, its block not
    // there.
    for (commands, said) in [
        (
            &["set_inode_field /lib/empty flags 0x80800"][..],
            "a directory is encrypted",
        ),
        (
            &["feature needs_recovery"],
            "its journal was not played back",
        ),
        (
            &["set_inode_field /lib/empty size 0x2000"],
            "a directory has a hole",
        ),
        (
            &["set_inode_field /lib/empty size 0x8000000000"],
            "a directory is larger than 4 MiB",
        ),
        (
            &["zap_block -f /lib/empty -p 7 0"],
            "a directory is damaged",
        ),
        (
            &["zap_block -f /lib/empty -p 0 0"],
            "a directory is damaged",
        ),
        (
            &["set_inode_field /lib/empty size 0"],
            "a directory is damaged",
        ),
    ] {
        let said = format!("gap={said}");
        let told = gaps(&state(&planted), commands);
        assert!(told.contains(&said), "{commands:?}: {told}");
    }
    // Deeper than anybody goes, and more than anybody has.
    let deep = format!("lib/deep/{}", "d/".repeat(90));
    let told = gaps(&state(&files([&*deep])), &[]);
    assert!(told.contains("gap=directories lie too deep"), "{told}");
    let many: Vec<String> = (0..50).map(|n| format!("lib/many-{n}/x")).collect();
    let told = gaps(&state(&files(many.iter().map(String::as_str))), &[]);
    assert!(told.contains("more=18"), "{told}");
}

#[test]
fn a_directory_in_itself_ends() {
    if !have(&["mke2fs", "debugfs"]) {
        return;
    }
    let disk = state(&files(["lib/loop/a/", "lib/loop/b/"]));
    for link in ["link /lib /lib/loop/a/back", "link /lib /lib/loop/b/back"] {
        disk.run("debugfs", &["-w", "-R", link, "DISK"]);
    }
    let told = found(&disk.probe());
    assert!(told[0].contains("gap="), "{told:?}");
}

#[test]
fn a_file_system_is_walked_through_if_it_is_called_so_or_was_used_by_a_node() {
    if !have(&["mke2fs", "sgdisk"]) {
        return;
    }
    let inner = Disk::new(64 * MIB);
    inner.run("mke2fs", &["-q", "-F", "-t", "ext4", "DISK"]);
    assert_eq!(found(&inner.probe()), [""; 0]);
    for (name, expected) in [("state", &["state /"][..]), ("photos", &[])] {
        let disk = Disk::new(80 * MIB);
        disk.write(MIB, &inner.bytes(0, 64 << 20));
        let part = format!("-n1:1M:+64M -c1:{name}");
        let args: Vec<&str> = part.split(' ').chain(["DISK"]).collect();
        disk.run("sgdisk", &args);
        let content = disk.probe();
        assert_eq!(found(&content), expected);
        let of = Extent {
            start: MIB,
            length: 64 * MIB,
        };
        assert!(content.inside.iter().all(|inside| inside.of == of));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        rng_seed: proptest::test_runner::RngSeed::Fixed(5),
        ..ProptestConfig::default()
    })]

    /// Directories are nobody's, and one file makes all that it lies in somebody's, unless the
    /// table knows it.
    #[test]
    fn directories_count_by_what_is_in_them(
        folders in prop::collection::vec(prop::collection::vec(0usize..NAMES.len(), 1..6), 1..12),
        with_file: bool,
    ) {
        if !have(&["mke2fs"]) {
            return Ok(());
        }
        let path = |names: &Vec<usize>| {
            names.iter().map(|&name| format!("{}/", NAMES[name])).collect::<String>()
        };
        let mut paths: Vec<String> = folders.iter().map(path).collect();
        if with_file {
            paths[0].push('x');
        }
        let told = found(&state(&files(paths.iter().map(String::as_str))).probe());
        let known = Place::of(&node_path(&paths[0])[1..]).known.map(|known| known.meaning);
        let expected = 1 + usize::from(with_file && known != Some(Meaning::Own));
        prop_assert_eq!(told.len(), expected, "{:?}", told);
    }
}

/// Names that the table has, and others.
const NAMES: [&str; 14] = [
    "lib",
    "overlay",
    "home",
    "etc.upper",
    "kubelet",
    "pods",
    "volumes",
    "kubernetes.io~empty-dir",
    "kubernetes.io~csi",
    "rancher",
    "k3s",
    "server",
    "db",
    "rook",
];
