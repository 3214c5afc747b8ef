//! What a root file system should be: the tree that the library makes of the same packages, before any writer saw it.

use std::fs;

use prejoin_formats::tree::Tree;
use prejoin_image_builder::debian::deb::Limits;
use prejoin_image_builder::image::system;
use prejoin_image_builder::io::cache::Cache;
use prejoin_image_builder::io::fetch;
use prejoin_image_builder::io::known::Known;
use prejoin_image_builder::io::unpack::{self, Deb, Unpacked};
use prejoin_image_builder::package::Package;
use prejoin_profiles::catalog::Catalog;
use prejoin_profiles::cluster::Cluster;
use prejoin_profiles::distribution;
use prejoin_profiles::lock::Lock;

use crate::cluster::{Lab, cache};

/// The tree of a node's root file system, and the contents of its packages.
pub struct Expected {
    /// Every path.
    pub root: Tree,
    /// What is in its files.
    pub contents: Unpacked,
}

/// The lock of the cluster.
pub fn lock(lab: &Lab) -> Lock {
    Lock::parse(&fs::read_to_string(lab.folder.join("prejoin.lock")).unwrap()).unwrap()
}

/// Name of a board's package set in the lock.
pub fn set(lock: &Lock, board: &str) -> String {
    let start = format!("debian-13/{board}");
    lock.sets
        .keys()
        .find(|set| set.split('+').next() == Some(&start))
        .unwrap()
        .clone()
}

/// The package files of a set.
pub fn debs(lock: &Lock, set: &str) -> Vec<Deb> {
    let cache = Cache::new(cache());
    let downloads = fetch::downloads(lock, set).unwrap();
    downloads
        .iter()
        .map(|package| Deb {
            path: cache.path(&package.sha256),
            sha256: package.sha256,
            name: package.name.clone(),
        })
        .collect()
}

/// The tree of a node.
pub fn expected(lab: &Lab, node: &str) -> Expected {
    let lock = lock(lab);
    let cluster =
        Cluster::parse(&fs::read_to_string(lab.folder.join("cluster.yaml")).unwrap()).unwrap();
    let node = cluster.node(node).unwrap();
    let catalog = Catalog::embedded();
    let board = catalog.board(&node.board.value).unwrap();
    let (board, _) = board.on(&cluster.os.value).unwrap();
    let os = catalog.os(&cluster.os.value).unwrap();
    let mut os = distribution::system(&cluster, node, board.architecture)
        .unwrap()
        .over(os);
    let asked = cluster.packages.iter().chain(&node.packages);
    os.asked = asked.map(|package| package.value.clone()).collect();
    for set in &cluster.sets {
        let set = catalog.set(&set.value).unwrap();
        let lines: String = set
            .modules
            .iter()
            .map(|module| format!("{module}\n"))
            .collect();
        os.node.files.insert(
            format!("usr/lib/modules-load.d/50-{}.conf", set.name),
            lines,
        );
        os.required_modules.insert(set.name, set.modules);
    }
    let debs = debs(&lock, &set(&lock, &board.name));
    let contents = unpack::unpack(
        &debs,
        &cache(),
        &Known::default(),
        &Limits::default(),
        &|_| (),
    )
    .unwrap();
    let packages: Vec<&Package> = contents.packages.iter().collect();
    let spec = system::Spec {
        board: &board,
        os: &os,
        packages: &packages,
        contents: &contents.store,
        overlay: &Tree::new(),
        // The agent is in the initramfs, not here.
        agent: b"",
        epoch: lock.epoch,
    };
    let root = system::make(&spec).unwrap().root;
    Expected { root, contents }
}
