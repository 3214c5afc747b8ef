//! What a cluster file means: defaults, overrides and the values that other parts ask for.
#![allow(clippy::unwrap_used, reason = "test helpers fail like tests")]

use prejoin_profiles::catalog::{CLUSTERS, Catalog};
use prejoin_profiles::check;
use prejoin_profiles::cluster::{
    Cluster, Containerd, Content, Distribution, Effect, Provider, Role,
};
use prejoin_profiles::finding::Code;
use prejoin_wire::selector::Transport;
use prejoin_wire::size::Size;

fn example(name: &str) -> Cluster {
    let (_, text) = CLUSTERS.iter().find(|(known, _)| *known == name).unwrap();
    Cluster::parse(text).unwrap()
}

const SMALL: &str = "\
name: lab
id: 7c1f0a52-3b0e-4c8b-9a55-0d8f6f3a1e01
os: debian-13
kubernetes: { distribution: kubeadm, version: v1.36.3 }
network: { subnet: 192.168.1.0/24, gateway: 192.168.1.1 }
defaults: { board: uefi-amd64, disk: { transport: nvme } }
users: [{ name: me, sudo: true, ssh_keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIABlOcBMddiKzm5nnTEJPs9MNvNNanpaFCwQiPyP1gMD] }]
nodes:
  - { name: a, address: 192.168.1.11, mac: \"02:00:00:00:00:01\", role: control-plane }
";

#[test]
fn what_is_left_out_has_a_usual_value() {
    let cluster = Cluster::parse(SMALL).unwrap();
    assert_eq!(cluster.network.dns[0].to_string(), "192.168.1.1");
    assert_eq!(cluster.network.pods.to_string(), "10.244.0.0/16");
    assert_eq!(cluster.network.services.to_string(), "10.96.0.0/16");
    assert_eq!(cluster.kubernetes.dns_domain.value, "cluster.local");
    assert_eq!(cluster.kubernetes.containerd.value, Containerd::Recommended);
    assert!(
        cluster.kubernetes.kube_proxy
            && !cluster.kubernetes.flannel
            && !cluster.kubernetes.schedule_control_planes
    );
    assert_eq!(cluster.nodes[0].layout.value, "single");
    assert_eq!(
        (cluster.api_host().unwrap().as_str(), cluster.api_port()),
        ("192.168.1.11", 6443)
    );
    let k3s =
        Cluster::parse(&SMALL.replace("kubeadm, version: v1.36.3", "k3s, version: v1.36.3+k3s1"))
            .unwrap();
    assert_eq!(
        (
            k3s.network.pods.to_string(),
            k3s.network.services.to_string()
        ),
        ("10.42.0.0/16".into(), "10.43.0.0/16".into())
    );
    assert!(k3s.kubernetes.flannel && k3s.kubernetes.schedule_control_planes);
}

#[test]
fn nodes_say_otherwise_than_the_defaults() {
    let cluster = example("minipc-ha-ceph");
    assert_eq!(cluster.control_planes().count(), 3);
    let (nuc1, nuc3) = (cluster.node("nuc1").unwrap(), cluster.node("nuc3").unwrap());
    assert_eq!(nuc1.disk.transport, Some(Transport::Sata));
    assert_eq!(
        nuc1.data_disk
            .as_ref()
            .unwrap()
            .min_size
            .as_ref()
            .unwrap()
            .value,
        Size(1_000_000_000_000)
    );
    // As a whole: the transport of the defaults does not linger beside the serial number.
    assert_eq!(
        (
            nuc3.disk.transport,
            nuc3.disk.serial.as_ref().unwrap().as_str()
        ),
        (None, "S4EWNX0R312345")
    );
    let endpoint = cluster.endpoint.as_ref().unwrap();
    assert_eq!(endpoint.provider.value, Provider::KubeVip);
    assert_eq!(cluster.api_host().unwrap(), "k8s.rack.home.arpa");
    assert_eq!(cluster.api_address().unwrap().to_string(), "192.168.20.10");
    let file = &cluster.files[0];
    assert_eq!((file.mode, file.owner.as_str()), (0o644, "root:root"));
    assert_eq!(
        file.content,
        Content::Text("fs.inotify.max_user_instances = 8192\n".into())
    );

    let cluster = example("pi4-k3s-ha");
    assert_eq!(cluster.kubernetes.distribution.value, Distribution::K3s);
    assert_eq!(cluster.workers().count(), 2);
    let node = cluster.node("k3s5").unwrap();
    assert_eq!(node.role.value, Role::Worker);
    let labels: Vec<_> = node
        .labels
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    assert_eq!(labels, ["home.arpa/storage=none", "home.arpa/zigbee=true"]);
    assert_eq!(node.taints[0].effect, Effect::NoSchedule);
    assert_eq!(node.taints[0].to_string(), "home.arpa/zigbee:NoSchedule");
}

#[test]
fn people_s_keys_keep_their_comment() {
    let cluster = example("demo");
    let key = &cluster.users[0].keys[0];
    assert_eq!(
        (key.kind.as_str(), key.comment.as_str()),
        ("ssh-ed25519", "you@laptop")
    );
    assert!(
        key.to_string()
            .starts_with("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5")
    );
}

#[test]
fn anchors_and_merge_keys_work_and_point_at_where_they_are_used() {
    let text = format!(
        "{}  - {{ <<: *a, name: b, role: worker, address: 192.168.1.12 }}\n",
        SMALL.replace("- { name: a", "- &a { name: a")
    );
    let findings = check::read(&text, &Catalog::embedded()).unwrap_err();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(
        (findings[0].code, findings[0].position.line),
        (Code::DuplicateMac, 10)
    );
}

#[test]
fn the_users_own_cloud_config_is_kept_as_it_is() {
    let text = format!(
        "{SMALL}cloud_init:\n  packages: [htop]\n  bootcmd:\n    - [sh, -c, 'echo \"yes\" > /tmp/x']\n  ntp: {{ enabled: yes }}\n"
    );
    let cluster = Cluster::parse(&text).unwrap();
    let expected = serde_json::json!({
        "packages": ["htop"], "bootcmd": [["sh", "-c", "echo \"yes\" > /tmp/x"]], "ntp": { "enabled": true },
    });
    assert_eq!(cluster.cloud_init.unwrap().value, expected);
}

#[test]
fn addresses_may_be_ipv6() {
    let text = SMALL
        .replace(
            "192.168.1.0/24, gateway: 192.168.1.1",
            "'fd00:1::/64', gateway: 'fd00:1::1', pods: 'fd00:2::/56', services: 'fd00:3::/112'",
        )
        .replace("192.168.1.11", "'fd00:1::11'");
    let (cluster, findings) = check::read(&text, &Catalog::embedded()).unwrap();
    assert_eq!(findings, []);
    assert_eq!(cluster.api_host().unwrap(), "fd00:1::11");
}
