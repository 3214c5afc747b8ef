//! UUIDs that belong to one thing for ever: the same after every build, and nowhere else.
//!
//! The first half of a SHA-256 as an RFC 9562 version 8 UUID.

use uuid::{Builder, Uuid};

use crate::digest::Digest;

/// Of one thing of one node. Clusters are told apart by their ids alone: two may have the same name, and one may get
/// another.
pub fn uuid(cluster: &Uuid, node: &str, thing: &str) -> Uuid {
    // No cluster's name has a space: this meets no `uuid_without_id`.
    hashed(&format!("prejoin\0id {cluster}\0{node}\0{thing}"))
}

/// Of one thing of one node, as it was derived before clusters had ids: disks that were made then are known by it.
pub fn uuid_without_id(cluster: &str, node: &str, thing: &str) -> Uuid {
    hashed(&format!("prejoin\0{cluster}\0{node}\0{thing}"))
}

/// Of one thing that all nodes with a package set share.
pub fn fleet_uuid(set: &str, thing: &str) -> Uuid {
    hashed(&format!("prejoin\0\0{set}\0{thing}"))
}

fn hashed(text: &str) -> Uuid {
    let digest = Digest::of(text.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.0[..16]);
    Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_stable_and_apart() {
        let lab = Uuid::from_bytes([1; 16]);
        let known = uuid(&lab, "w1", "root-a");
        assert_eq!(known, uuid(&lab, "w1", "root-a"));
        assert_eq!(&known.to_string()[14..15], "8", "version");
        let others = [
            uuid(&Uuid::from_bytes([2; 16]), "w1", "root-a"),
            uuid(&lab, "w2", "root-a"),
            uuid(&lab, "w1", "root-b"),
            uuid_without_id("lab", "w1", "root-a"),
            uuid_without_id(&lab.to_string(), "w1", "root-a"),
            fleet_uuid("w1", "root-a"),
        ];
        assert!(!others.contains(&known), "{others:?}");
    }

    /// Disks out there have these: they must come out the same for ever.
    #[test]
    fn what_was_derived_without_an_id_is_known_again() {
        let known = uuid_without_id("lab", "worker1", "state");
        assert_eq!(known.to_string(), "420db404-6126-8a7d-b006-fab58e4391b3");
    }
}
