//! Disks of our own nodes, in every state in which one may be imaged again.

use crate::case::{Case, live};
use crate::node::Node;

/// The cases.
pub fn cases() -> Vec<Case> {
    let own = Node::new("worker1");
    let with = |name, about, state: &str, change: &str| {
        live(
            name,
            about,
            format!("{}{}{change}", own.system(), own.state(state)),
        )
    };
    let mut cases = vec![
        with("ours", "worker1's own disk after some time", USED, ""),
        live(
            "ours-fresh",
            "worker1's image, copied to a larger disk and never started",
            own.system(),
        )
        .unseen(&["table gpt stray"]),
        live(
            "ours-earlier",
            "worker1's own disk, made before its cluster had an id",
            own.earlier(&format!("{}{}", own.system(), own.state(USED))),
        ),
        with(
            "ours-longhorn",
            "worker1's own disk, Longhorn's volumes below /var",
            "longhorn tree/lib/longhorn",
            "",
        ),
        with(
            "ours-etcd",
            "worker1's own disk, etcd below /var",
            "text tree/lib/etcd/member/snap/db pages",
            "",
        ),
        with(
            "ours-workloads",
            "worker1's own disk, below /var and in /home what somebody would miss",
            WORKLOADS,
            "",
        ),
        with(
            "ours-started",
            "worker1's own disk after its first start, with the folders that the image brings for what may come",
            STARTED,
            "",
        ),
        with(
            "ours-primary-lost",
            "worker1's own disk without the first copy of the table",
            USED,
            "label zero 0 24K\n",
        ),
        with(
            "ours-foreign",
            "worker1's own disk, to which somebody added a partition",
            USED,
            ADDED,
        ),
        with(
            "ours-slot-used",
            "worker1's own disk, Longhorn's volumes in the second slot",
            USED,
            r#"
longhorn other
ext other.img 128M 11111111-1111-4111-8111-000000000009 stuff other
put other.img 201M
"#,
        ),
        with(
            "ours-identity-lost",
            "worker1's own disk, its identity was zeroed",
            USED,
            "label zero 337M 16M\n",
        ),
        live(
            "ours-stale-array",
            "worker1's image, copied over a member of an array",
            format!(
                "{}label md 1.0 11111111-1111-4111-8111-000000000001\n",
                own.system()
            ),
        )
        .unseen(&["table gpt primary", "table gpt stray"]),
    ];
    cases.extend([
        with(
            "ours-state-lost",
            "worker1's own disk, the entry of its state was deleted",
            PRECIOUS,
            LOST,
        )
        .unseen(&["signature ext4"]),
        with(
            "ours-state-lost-damaged",
            "worker1's own disk, the entry of its state and the first MiB of that are gone",
            PRECIOUS,
            &format!("{LOST}label zero 354M 1M\n"),
        )
        .unseen(&["signature ext4"]),
        live(
            "ours-state-lost-raw",
            "worker1's own disk, and random bytes where its state would be",
            format!("{}label noise 354M 64M\n{RELOCATED}", own.system(),),
        ),
    ]);
    let data = Node::new("worker1").with_data();
    cases.push(
        live(
            "ours-data-lost",
            "worker1's own disk, the entries of its state and its data were deleted",
            format!(
                "{}{}{}{LOST}{LOST_DATA}",
                data.system(),
                data.state(USED),
                data.data("longhorn data")
            ),
        )
        .unseen(&["signature ext4"]),
    );
    cases.push(live(
        "ours-data",
        "worker1's own disk, Longhorn on a partition of its own",
        format!(
            "{}{}{}",
            data.system(),
            data.state(USED),
            data.data("longhorn data")
        ),
    ));
    let other = Node::new("worker2");
    cases.push(live(
        "other-node",
        "worker2's disk",
        format!("{}{}", other.system(), other.state(USED)),
    ));
    cases
}

/// What a worker has below /var.
const USED: &str = r#"
mkdir -p tree/log/journal tree/lib/containerd/io.containerd.snapshotter.v1.overlayfs
text tree/lib/kubelet/config.yaml 'kind: KubeletConfiguration'
text tree/lib/kubelet/pki/kubelet-client-current.pem key
"#;

/// What nobody wants to lose.
const PRECIOUS: &str = "
text tree/lib/etcd/member/snap/db pages
longhorn tree/lib/longhorn
";

const LOST: &str = "sfdisk --quiet --no-reread --no-tell-kernel --delete \"$disk\" 7\n";
const LOST_DATA: &str = "sfdisk --quiet --no-reread --no-tell-kernel --delete \"$disk\" 8\n";
const RELOCATED: &str =
    "sfdisk --quiet --no-reread --no-tell-kernel --relocate gpt-bak-std \"$disk\"\n";

/// What nobody who looks for Longhorn, etcd and k3s would find.
const WORKLOADS: &str = r#"
text tree/lib/rook/mon-a/data/store.db/000001.sst monitor
text tree/lib/docker/volumes/db/_data/ibdata1 rows
text tree/lib/overlay/home/me/photos/1.jpg pixels
text tree/lib/kubelet/pods/0a1b/volumes/kubernetes.io~empty-dir/cache/x cached
text tree/lib/kubelet/pods/0a1b/volumes/kubernetes.io~local-volume/pv-1/x rows
"#;

/// What tmpfiles.d, the agent and cloud-init make.
const STARTED: &str = r#"
mkdir -p tree/lib/etcd tree/lib/kubelet/volumeplugins tree/lib/longhorn tree/lib/rancher tree/lib/rook tree/lib/cni
mkdir -p tree/lib/overlay/etc.work/work tree/lib/overlay/home/me tree/lib/overlay/srv tree/lib/overlay/opt/cni/bin
text tree/lib/overlay/etc.upper/machine-id 0123456789abcdef0123456789abcdef
text tree/lib/overlay/home/me/.bashrc '# ~/.bashrc'
text tree/lib/overlay/etc.upper/sysctl.d/99-lab.conf 'fs.inotify.max_user_instances = 4321'
text tree/lib/app/config 'from the cluster file'
text tree/lib/prejoin/identity.files etc/sysctl.d/99-lab.conf
echo var/lib/app/config >>tree/lib/prejoin/identity.files
text tree/lib/cloud/seed/nocloud/meta-data 'instance-id: worker1'
text tree/log/cloud-init.log 'started'
"#;

const ADDED: &str = r#"
echo 'start=6GiB, size=1GiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000009, name="scratch"' |
  sfdisk --quiet --no-reread --no-tell-kernel --wipe never --append "$disk"
text scratch/results.csv numbers
ext scratch.img 1G 11111111-1111-4111-8111-000000000009 scratch scratch
put scratch.img 6G
"#;
