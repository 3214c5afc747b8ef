//! `user-data`: a `#cloud-config` document (cloud-init 25.1, "Module reference").

use prejoin_profiles::cluster::{Cluster, Node, User};
use serde_json::{Map, Value, json};

use crate::merge::{Part, merge};
use crate::{Error, Scope, accounts, document, hosts, own};

/// The node's `user-data`. It holds no secret; password hashes stand in it only where the user gave them.
pub(crate) fn user_data(cluster: &Cluster, node: &Node) -> Result<String, Error> {
    let mut document = generated(cluster, node);
    let parts = [
        (Scope::Cluster, &cluster.cloud_init),
        (Scope::Node(node.name.value.clone()), &node.cloud_init),
    ];
    for (scope, part) in parts {
        if let Some(part) = part {
            merge(
                &mut document,
                &Part {
                    scope,
                    position: part.position,
                    document: &part.value,
                },
            )?;
        }
    }
    own::replace(&mut document, cluster, node);
    let yaml = document::yaml(&document::Sorted(&Value::Object(document)));
    Ok(format!("#cloud-config\n{yaml}"))
}

fn generated(cluster: &Cluster, node: &Node) -> Map<String, Value> {
    let mut document = Map::new();
    let mut set = |key: &str, value: Value| document.insert(key.to_owned(), value);
    set("hostname", json!(node.name.value));
    if let Some(fqdn) = hosts::fqdn(cluster, node) {
        set("fqdn", json!(fqdn));
    }
    // The Kubernetes node name is the short one.
    set("prefer_fqdn_over_hostname", json!(false));
    set(
        "users",
        cluster
            .users
            .iter()
            .enumerate()
            .map(|(index, user)| self::user(index, user))
            .collect(),
    );
    set("disable_root", json!(true));
    set("ssh_pwauth", json!(false));
    set("ssh", json!({ "emit_keys_to_console": false }));
    if let Some(zone) = &cluster.timezone {
        set("timezone", json!(zone.value));
    }
    document
}

fn user(index: usize, user: &User) -> Value {
    let mut entry = Map::new();
    let mut set = |key: &str, value: Value| entry.insert(key.to_owned(), value);
    set("name", json!(user.name.value));
    // Fixed, because files of the node are made with numbers before the user exists.
    set("uid", json!(accounts::person(index)));
    set("shell", json!(user.shell));
    if !user.groups.is_empty() {
        set(
            "groups",
            user.groups.iter().map(|group| json!(group.value)).collect(),
        );
    }
    if user.sudo {
        set("sudo", json!("ALL=(ALL) NOPASSWD:ALL"));
    }
    if !user.keys.is_empty() {
        set(
            "ssh_authorized_keys",
            user.keys
                .iter()
                .map(|key| json!(key.value.to_string()))
                .collect(),
        );
    }
    set("lock_passwd", json!(user.password_hash.is_none()));
    if let Some(hash) = &user.password_hash {
        set("hashed_passwd", json!(hash.value));
    }
    Value::Object(entry)
}
