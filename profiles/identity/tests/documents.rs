//! The whole set of documents of a node, as text that people can review.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests read files"
)]

mod support;

use std::fmt::Write as _;

use prejoin_identity::{Error, Seed, kubeadm};
use prejoin_profiles::cluster::{Cluster, Distribution, Node, Role};
use prejoin_wire::handoff::LARGEST_DOCUMENT;
use support::{clusters, files, traps};

fn documents(cluster: &Cluster, node: &Node) -> String {
    let mut text = String::new();
    let seed = Seed::of(cluster, node).unwrap();
    for (name, content) in seed.files() {
        let _ = write!(text, "=== seed {name}\n{content}");
    }
    for file in files(cluster, node).unwrap() {
        let content = String::from_utf8(file.content).unwrap();
        let _ = write!(
            text,
            "=== /{} {:04o} {}:{}\n{content}",
            file.path, file.mode, file.uid, file.gid
        );
    }
    text
}

#[test]
fn every_cluster_has_its_documents() {
    for (name, cluster) in clusters() {
        let first = cluster.control_planes().next();
        let shown: Vec<&Node> = first.into_iter().chain(cluster.workers().last()).collect();
        for node in &shown {
            insta::assert_snapshot!(
                format!("{name}@{}", node.name.value),
                documents(&cluster, node)
            );
        }
        if let (Some(node), Distribution::Kubeadm) = (first, cluster.kubernetes.distribution.value)
        {
            insta::assert_snapshot!(
                format!("{name}@init"),
                kubeadm::init(&cluster, node).unwrap()
            );
        }
        for node in &cluster.nodes {
            documents(&cluster, node);
        }
    }
}

/// A timeout of a kubeadm document, which has them in whole minutes.
fn minutes(document: &str, name: &str) -> u32 {
    let (_, value) = document.split_once(&format!("  {name}: ")).unwrap();
    let value = value.lines().next().unwrap();
    value.strip_suffix('m').unwrap().parse().unwrap()
}

/// kubeadm asks the API server for an answer before it waits for its components: the shorter of the two
/// decides.
#[test]
fn no_call_gives_up_before_the_components_had_their_time() {
    let (_, cluster) = clusters()
        .into_iter()
        .find(|(name, _)| name == "minipc-ha-ceph")
        .unwrap();
    let node = cluster.control_planes().next().unwrap();
    for document in [
        kubeadm::init(&cluster, node).unwrap(),
        kubeadm::join(&cluster, node).unwrap(),
    ] {
        let components = minutes(&document, "controlPlaneComponentHealthCheck");
        let call = minutes(&document, "kubernetesAPICall");
        assert!(call >= components, "{document}");
    }
}

#[test]
fn the_instance_changes_when_and_only_when_the_seed_does() {
    let seed =
        |cluster: &Cluster, name: &str| Seed::of(cluster, cluster.node(name).unwrap()).unwrap();
    let before = traps(|text| text);
    let same = traps(|text| {
        text.replace("# What YAML", "# Whatever YAML")
            .replace("one\\n", "other\\n")
    });
    assert_eq!(
        seed(&before, "012"),
        seed(&same, "012"),
        "comments and files are no part of the seed"
    );
    let changes = [
        ("Etc/GMT+5", "Etc/GMT+6"),
        ("mtu: 9000", "mtu: 9001"),
        ("echo node", "echo 2"),
        ("52-54-00-12-34-56", "52-54-00-12-34-57"),
    ];
    for (old, new) in changes {
        let after = traps(|text| text.replace(old, new));
        assert_ne!(
            seed(&before, "012").meta_data,
            seed(&after, "012").meta_data,
            "{old}"
        );
    }
    let after = traps(|text| text.replace("echo node", "echo 2"));
    assert_eq!(
        seed(&before, "null"),
        seed(&after, "null"),
        "another node's change is none of its business"
    );
    assert!(
        seed(&before, "null")
            .meta_data
            .starts_with("instance-id: prejoin-null-")
    );
}

#[test]
fn seeds_the_node_would_not_read_are_refused() {
    let own = |size: usize| traps(|text| text.replace("echo node", &"x".repeat(size)));
    let seed = |size: usize| Seed::of(&own(size), own(size).node("012").unwrap());
    let others = seed(4_000_000).unwrap().user_data.len() - 4_000_000;
    let room = LARGEST_DOCUMENT as usize - others;
    assert_eq!(seed(room).unwrap().user_data.len() as u64, LARGEST_DOCUMENT);
    let error = seed(room + 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`user-data` of node `012` has 4194305 bytes, 4194304 are allowed"
    );
    assert!(error.position().unwrap().line > 1 && error.hint().unwrap().contains("`source`"));
}

#[test]
fn more_specific_files_replace_others() {
    let cluster = traps(|text| text);
    let motd = |name: &str| {
        let files = files(&cluster, cluster.node(name).unwrap()).unwrap();
        let all: Vec<_> = files
            .into_iter()
            .filter(|file| file.path == "etc/motd")
            .collect();
        assert_eq!(all.len(), 1);
        String::from_utf8(all[0].content.clone()).unwrap()
    };
    assert_eq!(
        (motd("null"), motd("012")),
        ("one\n".to_owned(), "two\n".to_owned())
    );
    let paths: Vec<String> = files(&cluster, cluster.node("012").unwrap())
        .unwrap()
        .into_iter()
        .map(|file| file.path)
        .collect();
    assert!(paths.is_sorted() && paths.iter().all(|path| !path.starts_with('/')));
}

#[test]
fn files_that_cannot_be_are_refused() {
    let error = |old: &str, new: &str| {
        let cluster = traps(|text| text.replace(old, new));
        let error = files(&cluster, cluster.node("012").unwrap()).unwrap_err();
        assert!(
            error.hint().is_some() && error.position().is_some_and(|position| position.line > 1),
            "{error}"
        );
        error
    };
    assert!(
        matches!(error("\"y:y\"", "\"somebody:y\""), Error::Owner { name, .. } if name == "somebody")
    );
    assert!(
        matches!(error("./tool", "./missing"), Error::Source { reason, .. } if reason == "no such file")
    );
    assert!(matches!(
        error("/etc/motd", "/etc/hostname"),
        Error::Path { .. }
    ));
    assert!(matches!(
        error("/etc/motd", "/etc/hosts/x"),
        Error::Path { .. }
    ));
    assert!(matches!(
        error("/etc/motd", "/var/lib/kubelet"),
        Error::Path { .. }
    ));
    assert!(matches!(
        error("/opt/bin/tool", "/etc/motd/x"),
        Error::Path { .. }
    ));
}

#[test]
fn nobodys_secrets_and_no_way_to_found_a_second_cluster() {
    for (name, cluster) in clusters() {
        for node in &cluster.nodes {
            let text = documents(&cluster, node);
            for word in ["PRIVATE KEY", "InitConfiguration", "cluster-init", "K10"] {
                assert!(!text.contains(word), "{name}, {}: {word}", node.name.value);
            }
            let kubelet = text.contains("kind: KubeletConfiguration");
            let worker = node.role.value == Role::Worker;
            assert_eq!(
                kubelet,
                worker && cluster.kubernetes.distribution.value == Distribution::Kubeadm
            );
        }
    }
}
