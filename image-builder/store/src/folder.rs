//! The documents of an output folder: `NODE.manifest.json`, and `systems/DIGEST.json` for what nodes share.
#![expect(clippy::disallowed_methods, reason = "reads and writes the documents")]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prejoin_formats::gpt;
use prejoin_wire::digest::Digest;
use prejoin_wire::manifest::{self, Manifest};
use prejoin_wire::node::NodeManifest;
use prejoin_wire::system::SystemManifest;

use crate::chunks::ChunkStore;
use crate::compose::{self, compose};
use crate::hold::Hold;
use crate::{input, output};

/// Longest document that is read, bytes: a root file system of 64 GiB has less.
const LARGEST: u64 = 64 << 20;

/// A node's image, ready to be read.
#[derive(Clone, Debug)]
pub struct Opened {
    /// What it is.
    pub node: Arc<NodeManifest>,
    /// What it shares with others.
    pub system: Arc<SystemManifest>,
    /// What every byte is.
    pub image: Arc<Manifest>,
    /// Its partition table.
    pub table: Arc<gpt::Table>,
    /// All its chunks, those that are made in memory with them. The folder is held as long as this is used.
    pub store: Arc<ChunkStore>,
}

/// Why a node's image cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("reading the manifest {}", path.display())]
    Read {
        /// Which document.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A document is not one.
    #[error("{}", path.display())]
    Document {
        /// Which document.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: manifest::Error,
    },
    /// A document is that of another node, or of another system.
    #[error("{} is the manifest of {found}", path.display())]
    Other {
        /// Which document.
        path: PathBuf,
        /// What it is.
        found: String,
    },
    /// The documents do not make an image.
    #[error(transparent)]
    Compose(#[from] compose::Error),
}

/// Where a node's manifest lies.
pub fn node_path(out: &Path, node: &str) -> PathBuf {
    out.join(format!("{node}.manifest.json"))
}

/// Where the manifest of a system lies.
pub fn system_path(out: &Path, system: &Digest) -> PathBuf {
    systems_folder(out).join(format!("{system}.json"))
}

/// Where all manifests of systems lie.
pub fn systems_folder(out: &Path) -> PathBuf {
    out.join("systems")
}

/// Every node with a manifest, sorted.
pub fn nodes(out: &Path) -> io::Result<Vec<String>> {
    let mut nodes = Vec::new();
    for entry in fs::read_dir(out)? {
        let name = entry?.file_name();
        let node = name
            .to_str()
            .and_then(|name| name.strip_suffix(".manifest.json"));
        nodes.extend(
            node.filter(|node| !node.starts_with('.'))
                .map(str::to_owned),
        );
    }
    nodes.sort();
    Ok(nodes)
}

/// Reads a node's manifest.
pub fn read_node(out: &Path, node: &str) -> Result<NodeManifest, Error> {
    let path = node_path(out, node);
    let manifest = NodeManifest::parse(&read(&path)?).map_err(document(&path))?;
    if manifest.node != node {
        let found = format!("node {}", manifest.node);
        return Err(Error::Other { path, found });
    }
    Ok(manifest)
}

/// Reads the manifest of a system, which must have this digest.
pub fn read_system(out: &Path, system: &Digest) -> Result<SystemManifest, Error> {
    let path = system_path(out, system);
    let text = read(&path)?;
    let manifest = SystemManifest::parse(&text).map_err(document(&path))?;
    let digest = Digest::of(&text);
    if digest != *system {
        let found = format!("system {digest}");
        return Err(Error::Other { path, found });
    }
    Ok(manifest)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    input::read(path, LARGEST).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

fn document(path: &Path) -> impl FnOnce(manifest::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Document { path, source }
}

/// Opens a node's image. `hold` was taken before: nobody prunes what the manifests name from then on.
pub fn open(out: &Path, node: &str, hold: Hold) -> Result<Opened, Error> {
    let node = read_node(out, node)?;
    let system = read_system(out, &node.system)?;
    let store = ChunkStore::open(out).held(hold);
    let composed = compose(&system, &node, &store)?;
    Ok(Opened {
        node: Arc::new(node),
        system: Arc::new(system),
        image: Arc::new(composed.manifest),
        table: Arc::new(composed.table),
        store: Arc::new(store.with(composed.inline)),
    })
}

/// Writes the manifests of systems and then those of nodes, all after everything that they name is on the disk.
pub fn commit(
    systems: &BTreeMap<Digest, Arc<SystemManifest>>,
    nodes: &[NodeManifest],
    out: &Path,
) -> Result<(), output::Error> {
    let folder = systems_folder(out);
    fs::create_dir_all(&folder).map_err(output::at("making folder", &folder))?;
    for (digest, system) in systems {
        output::write(&system_path(out, digest), system.to_json().as_bytes())?;
    }
    for node in nodes {
        output::write(&node_path(out, &node.node), node.to_json().as_bytes())?;
    }
    Ok(())
}
