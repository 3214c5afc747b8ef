//! Disks with workloads' data inside file systems that nobody would call data by their label.

use crate::case::{Case, live};

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        volume("longhorn", "Longhorn's first data engine on a partition of its own", "longhorn tree"),
        volume(
            "longhorn-in-root",
            "Longhorn in its default folder, which is on the root file system",
            r#"
system tree 'Ubuntu 24.04.1 LTS' Ubuntu ubuntu 24.04
longhorn tree/var/lib/longhorn"#,
        ),
        volume(
            "longhorn-in-var",
            "Longhorn in its default folder, /var is a partition",
            r#"
mkdir -p tree/log tree/cache tree/tmp
longhorn tree/lib/longhorn"#,
        ),
        volume(
            "etcd",
            "etcd below /var, which is a partition",
            r#"
mkdir -p tree/log tree/cache
text tree/lib/etcd/member/snap/db pages
text tree/lib/etcd/member/wal/0000000000000000-0000000000000000.wal entries"#,
        ),
        volume(
            "kubeadm",
            "a control plane on the root file system",
            r#"
system tree 'Debian GNU/Linux 12 (bookworm)' 'Debian GNU/Linux' debian 12
text tree/etc/kubernetes/admin.conf 'apiVersion: v1'
text tree/var/lib/etcd/member/snap/db pages
text tree/var/lib/kubelet/config.yaml 'kind: KubeletConfiguration'
text tree/var/lib/kubelet/pods/0a1b/volumes/x y
mkdir -p tree/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs"#,
        ),
        volume(
            "k3s",
            "k3s on the root file system",
            r#"
system tree 'Debian GNU/Linux 12 (bookworm)' 'Debian GNU/Linux' debian 12
text tree/var/lib/rancher/k3s/server/db/state.db SQLite
text tree/var/lib/rancher/k3s/server/token secret"#,
        ),
        volume(
            "rke2",
            "RKE2 on the root file system",
            r#"
system tree 'SUSE Linux Enterprise Micro 6.0' 'SL-Micro' sl-micro 6.0
text tree/var/lib/rancher/rke2/server/db/etcd/member/snap/db pages"#,
        ),
        volume(
            "local-path",
            "volumes of the local-path provisioner on the root file system",
            r#"
system tree 'Debian GNU/Linux 12 (bookworm)' 'Debian GNU/Linux' debian 12
text tree/opt/local-path-provisioner/pvc-0a1b2c3d-1111_default_db/data rows"#,
        ),
        volume(
            "openebs-local",
            "OpenEBS's local volumes on the root file system",
            r#"
system tree 'Debian GNU/Linux 12 (bookworm)' 'Debian GNU/Linux' debian 12
text tree/var/openebs/local/pvc-0a1b2c3d-1111/data rows"#,
        ),
        live(
            "longhorn-behind",
            "a Longhorn partition in the middle of the disk, room for a node's system before it and for its state behind",
            r#"
new 8G
table <<END
label: gpt
label-id: AAAAAAAA-AAAA-4AAA-8AAA-000000000000
start=4GiB, size=2GiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000001, name="longhorn"
END
longhorn tree
ext a 2G 11111111-1111-4111-8111-000000000001 '' tree
put a 4G"#,
        ).beside(),
        live(
            "longhorn-xfs",
            "Longhorn on XFS, made for it",
            r#"
new 8G
table <<END
label: gpt
label-id: AAAAAAAA-AAAA-4AAA-8AAA-000000000000
start=1MiB, size=7GiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000001, name="longhorn"
END
text uuid '{"diskName":"default-disk","diskUUID":"99999999-9999-4999-8999-999999999999","diskDriver":""}'
cat >tree <<END
/
0 0
d--755 0 0
longhorn-disk.cfg ---644 0 0 uuid
replicas d--755 0 0
$
$
END
truncate -s 7G x
mkfs.xfs -q -m uuid=11111111-1111-4111-8111-000000000001 -p tree x
put x 1M"#,
        ),
    ]
}

/// One ext4 partition with the files that `make` puts below `tree`.
fn volume(name: &'static str, about: &'static str, make: &str) -> Case {
    let recipe = format!(
        r#"
new 8G
table <<END
label: gpt
label-id: AAAAAAAA-AAAA-4AAA-8AAA-000000000000
start=1MiB, size=7GiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000001
END
{make}
ext a 7G 11111111-1111-4111-8111-000000000001 '' tree
put a 1M"#
    );
    live(name, about, recipe)
}
