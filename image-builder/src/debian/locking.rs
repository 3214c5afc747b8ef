//! Between a resolution and the lock file: what a build will fetch, by digest.

use std::collections::BTreeMap;

use prejoin_profiles::lock::{Lock, Package, Release, Set, VERSION};
use prejoin_profiles::os::Ids;
use prejoin_wire::digest::Digest;
use uuid::Uuid;

use crate::debian::resolve::Resolution;

/// A lock without sets, for the cluster with this id.
pub fn empty(id: Option<Uuid>, releases: BTreeMap<String, Release>) -> Lock {
    Lock {
        version: VERSION,
        id,
        epoch: releases
            .values()
            .map(|release| release.date)
            .max()
            .unwrap_or(0),
        releases,
        sets: BTreeMap::new(),
        packages: BTreeMap::new(),
        artifacts: BTreeMap::new(),
        ids: Ids::default(),
    }
}

/// Adds a set to a lock; `request` is the digest of what was asked for.
pub fn add(
    lock: &mut Lock,
    set: &str,
    request: Digest,
    resolution: &Resolution,
) -> Result<(), Clash> {
    let mut packages = Vec::new();
    for (name, chosen) in &resolution.packages {
        let key = format!("{name}_{}_{}", chosen.version, chosen.architecture);
        let package = Package {
            archive: chosen.archive.clone(),
            path: chosen.path.clone(),
            size: chosen.size,
            sha256: chosen.sha256,
        };
        match lock.packages.get(&key) {
            Some(known) if known.sha256 != package.sha256 => return Err(Clash { package: key }),
            Some(_) => {}
            None => _ = lock.packages.insert(key.clone(), package),
        }
        packages.push(key);
    }
    lock.sets.insert(set.to_owned(), Set { request, packages });
    Ok(())
}

/// Two archives have different files under one name, version and architecture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{package} is two different files in two archives")]
pub struct Clash {
    /// `name_version_architecture`.
    pub package: String,
}
