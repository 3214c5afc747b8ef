//! Building: from package files to a system's chunks, and from a system to a node's manifest.

#![expect(clippy::disallowed_methods, reason = "lists manifests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prejoin_formats::ext4;
use prejoin_formats::image::Image;
use prejoin_formats::tree::{Contents, Tree};
use prejoin_formats::verity::Verity;
use prejoin_profiles::board::Board;
use prejoin_profiles::os::Os;
use prejoin_profiles::scripts::Table;
use prejoin_wire::derived;
use prejoin_wire::digest::Digest;
use prejoin_wire::manifest::{self, Manifest, Range};
use uuid::Uuid;

use super::artifacts::Programs;
use super::error::room;
use super::known::{self, Known};
use super::memo::Memo;
use super::render::{self, Cut};
use super::unpack::{self, Deb};
use crate::class::Class;
use crate::deb::Limits;
use crate::disk::{Disk, Part};
use crate::events::Sink;
use crate::node;
use crate::package::Package;
use crate::sbom;
use crate::scripts;
use crate::system::{self, System};
use prejoin_store::chunks::{self, ChunkStore};
use prejoin_store::hold::Hold;
use prejoin_store::output;
use prejoin_store::part;

/// Chunks of the root partition are as large as allowed: there are many, and most are shared.
const ROOT_WINDOW: u64 = manifest::CHUNK_LIMIT;

/// Chunks of the other partitions are smaller, since part of each belongs to one node alone.
const WINDOW: u64 = 256 << 10;

impl Built {
    /// Remembers how its images were made, which makes the next build of the system `set` into `out` a quick one.
    pub fn remember(&self, out: &Path, set: &str) {
        // Without it the next build is right, too, only slower: a file that cannot be written spoils nothing.
        let _ = self.memo.save(out, set);
    }
}

/// Where a build reads from and writes to.
pub struct Places<'a> {
    /// Downloads and packs; others may be able to write to it.
    pub cache: &'a Path,
    /// Manifests, chunks, and what builds remember.
    pub out: &'a Path,
    /// The chunks.
    pub store: &'a ChunkStore,
}

/// One operating system for one board, to be built once for all its nodes.
pub struct Request<'a> {
    /// Name of the package set in the lock (`debian-13/uefi-amd64`).
    pub set: &'a str,
    /// Board as it is on this operating system.
    pub board: &'a Board,
    /// Operating system with everything it inherits.
    pub os: &'a Os,
    /// Package files.
    pub debs: &'a [Deb],
    /// Programs of the Kubernetes distribution, laid over the packages.
    pub programs: &'a Programs,
    /// The agent for the board's architecture.
    pub agent: &'a [u8],
    /// What is known of the operating system's maintainer scripts.
    pub scripts: &'a Table,
    /// Maintainer scripts that the cluster file accepts.
    pub accepted: &'a [String],
    /// The image's time in seconds since 1970.
    pub epoch: i64,
}

/// A system whose root partition is in the chunk store.
pub struct Built {
    /// Tree, boot files and what the fix-ups did.
    pub system: System,
    /// Its packages and their contents.
    pub contents: unpack::Unpacked,
    /// The root partition and its hash tree.
    pub root: node::Root,
    /// Counts of the root file system.
    pub summary: ext4::Summary,
    root_ranges: Vec<Range>,
    verity_ranges: Vec<Range>,
    memo: Memo,
}

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A package could not be unpacked.
    #[error(transparent)]
    Unpack(#[from] unpack::Error),
    /// A maintainer script is not known.
    #[error(transparent)]
    Script(#[from] scripts::Error),
    /// The system could not be put together.
    #[error("building {set}")]
    System {
        /// Name of the package set.
        set: String,
        /// Why.
        #[source]
        source: Box<system::Error>,
    },
    /// The root file system could not be planned.
    #[error("writing the root file system of {set}")]
    Ext4 {
        /// Name of the package set.
        set: String,
        /// Why.
        #[source]
        source: ext4::Error,
    },
    /// Chunks could not be made.
    #[error(transparent)]
    Render(#[from] render::Error),
    /// A chunk could not be stored.
    #[error(transparent)]
    Store(#[from] chunks::Error),
    /// A node's disk could not be planned.
    #[error("building node {node}")]
    Node {
        /// Its name.
        node: String,
        /// Why.
        #[source]
        source: Box<node::Error>,
    },
    /// A result could not be written.
    #[error(transparent)]
    Output(#[from] output::Error),
}

impl Error {
    /// Whose fault it is.
    pub fn class(&self) -> Class {
        match self {
            Error::Unpack(
                unpack::Error::Digest { .. }
                | unpack::Error::Identity { .. }
                | unpack::Error::Deb { .. }
                | unpack::Error::Module { .. },
            ) => Class::Integrity,
            Error::Unpack(_) | Error::Store(_) | Error::Output(_) => Class::Environment,
            Error::Render(render::Error::Store(_)) => Class::Environment,
            Error::Render(_) => Class::Integrity,
            Error::Script(_) | Error::System { .. } | Error::Ext4 { .. } | Error::Node { .. } => {
                Class::Input
            }
        }
    }

    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Unpack(error) => error.hint(),
            Error::Script(error) => error.hint(),
            Error::System { source, .. } => match &**source {
                system::Error::Assemble(error) => error.hint(),
                system::Error::Fixup(error) => error.hint(),
                _ => None,
            },
            Error::Node { source, .. } => match &**source {
                node::Error::Overlays { source, .. } => source.hint(),
                _ => None,
            },
            Error::Store(_) | Error::Output(_) | Error::Render(render::Error::Store(_)) => {
                room(self, "name another one with --out")
            }
            _ => None,
        }
    }
}

/// Builds one system: unpacks what was never unpacked, assembles, fixes up, plans the file system, and stores its
/// chunks while hashing them for dm-verity.
pub fn system(request: &Request, places: &Places, events: Sink) -> Result<Built, Error> {
    let Places { cache, out, store } = places;
    let known = Known::open(out);
    let limits = Limits::default();
    let mut unpacked = unpack::unpack(request.debs, cache, &known, &limits, events)?;
    // Now, because whatever stops this build is mended and tried again. Without it the next one is only slower.
    let _ = known.save(out);
    for (digest, path) in &request.programs.files {
        unpacked
            .store
            .add_file(digest.0, path)
            .map_err(output::at("opening", path))?;
    }
    scripts::check(&unpacked.packages, request.scripts, request.accepted)?;
    let packages: Vec<&Package> = unpacked.packages.iter().collect();
    let spec = system::Spec {
        board: request.board,
        os: request.os,
        packages: &packages,
        contents: &unpacked.store,
        overlay: &request.programs.tree,
        agent: request.agent,
        epoch: request.epoch,
    };
    let system = system::make(&spec).map_err(|source| Error::System {
        set: request.set.to_owned(),
        source: Box::new(source),
    })?;
    let filesystem =
        ext4::plan(&system.root, &options(request, &system.root)).map_err(|source| {
            Error::Ext4 {
                set: request.set.to_owned(),
                source,
            }
        })?;
    let salt = Digest::of(format!("prejoin\0{}\0verity salt", request.set).as_bytes()).0;
    let cut = Cut {
        window: ROOT_WINDOW,
        verity_salt: Some(salt),
    };
    let mut memo = Memo::open(out, request.set);
    let data = render::render(&filesystem.image, &unpacked.store, store, cut, &memo)?;
    let verity = Verity::from_leaves(data.leaves, &salt, fleet_guid(request.set, "root hashes"));
    let mut hashes = Image::zero(verity.bytes.len() as u64);
    hashes.put_bytes(0, verity.bytes);
    let cut = Cut {
        window: ROOT_WINDOW,
        verity_salt: None,
    };
    let verity_ranges = render::render(&hashes, &unpacked.store, store, cut, &memo)?.ranges;
    memo.share([&system.boot.kernel, &system.boot.initrd]);
    Ok(Built {
        root: node::Root {
            data: filesystem.image,
            hashes,
            root_hash: Digest(verity.root_hash),
        },
        summary: filesystem.summary,
        root_ranges: data.ranges,
        verity_ranges,
        memo,
        system,
        contents: unpacked,
    })
}

/// A file system that is the same for a whole fleet has names that are, too.
fn options(request: &Request, root: &Tree) -> ext4::Options {
    let uuid = fleet_guid(request.set, "root").into_bytes();
    ext4::Options {
        label: "root".into(),
        time: request.epoch,
        read_only: true,
        ..ext4::Options::new(ext4::recommended_size(root), uuid)
    }
}

fn fleet_guid(set: &str, thing: &str) -> Uuid {
    derived::fleet_uuid(set, thing)
}

/// Builds one node on a system: everything that is its own is planned and stored, the manifest returned.
pub fn node(
    spec: &node::Spec,
    built: &Built,
    lock: &Digest,
    store: &ChunkStore,
) -> Result<Manifest, Error> {
    let contents: &dyn Contents = &built.contents.store;
    let failed = |source| Error::Node {
        node: spec.name.to_owned(),
        source: Box::new(source),
    };
    let disk = node::disk(spec, &built.system.boot, &built.root, contents).map_err(failed)?;
    let layout = disk.layout().map_err(|error| failed(error.into()))?;
    let mut ranges = Vec::new();
    let mut digests = BTreeMap::new();
    for (index, part) in disk.parts(&layout) {
        match part {
            Part::Skip(length) => render::append(&mut ranges, Range::Skip { length }),
            Part::Defined(image) => {
                let made = defined(&disk, index, image, built, contents, store)?;
                if let Some(index) = index {
                    digests.insert(index, (image.size(), manifest::digest_of(&made)));
                }
                // Ranges never join across partitions, so that each partition's digest is that of its own.
                ranges.extend(made);
            }
        }
    }
    let partitions = layout
        .table
        .partitions
        .iter()
        .enumerate()
        .map(|(index, partition)| {
            let (used, digest) = digests
                .get(&index)
                .copied()
                .unwrap_or((0, manifest::digest_of(&[])));
            manifest::Partition {
                number: partition.number,
                name: partition.name.clone(),
                type_guid: partition.type_guid,
                guid: partition.guid,
                start: partition.start,
                size: partition.size,
                used,
                digest,
            }
        })
        .collect();
    Ok(Manifest {
        version: manifest::VERSION,
        cluster: spec.cluster_name.to_owned(),
        node: spec.name.to_owned(),
        board: spec.board.name.clone(),
        architecture: spec.board.architecture,
        sector_size: spec.sector_size,
        size: layout.size,
        root_hash: built.root.root_hash,
        lock: *lock,
        partitions,
        ranges,
    })
}

/// The ranges of one part; the root's were made with the system.
fn defined(
    disk: &Disk,
    index: Option<usize>,
    image: &Image,
    built: &Built,
    contents: &dyn Contents,
    store: &ChunkStore,
) -> Result<Vec<Range>, Error> {
    match index.map(|index| disk.partitions[index].name.as_str()) {
        Some("root-a") => Ok(built.root_ranges.clone()),
        Some("root-a-verity") => Ok(built.verity_ranges.clone()),
        _ => Ok(render::render(
            image,
            contents,
            store,
            Cut {
                window: WINDOW,
                verity_salt: None,
            },
            &built.memo,
        )?
        .ranges),
    }
}

/// Where a system's bill of materials lies, and its text.
pub fn bill(
    set: &str,
    built: &Built,
    origin: &sbom::Origin,
    out: &Path,
    epoch: i64,
) -> (PathBuf, String) {
    let packages: Vec<&Package> = built.contents.packages.iter().collect();
    let path = out.join(format!("{}.spdx.json", set.replace('/', "-")));
    (
        path,
        sbom::spdx(set, &packages, origin, &built.root.root_hash, epoch),
    )
}

/// Removes what interrupted runs left in an output folder.
pub fn sweep(out: &Path, store: &ChunkStore) {
    part::sweep(out);
    part::sweep(&known::folder(out));
    store.sweep();
}

/// Writes the manifests and bills of materials, after everything that they name is on the disk.
pub fn commit(
    manifests: &[Manifest],
    bills: &[(PathBuf, String)],
    out: &Path,
    store: &ChunkStore,
) -> Result<(), Error> {
    store.flush()?;
    for (path, text) in bills {
        output::write(path, text.as_bytes())?;
    }
    for manifest in manifests {
        output::write(
            &manifest_path(out, &manifest.node),
            manifest.to_json().as_bytes(),
        )?;
    }
    Ok(())
}

/// Where a node's manifest lies.
pub fn manifest_path(out: &Path, node: &str) -> PathBuf {
    out.join(format!("{node}.manifest.json"))
}

/// Every node with a manifest, sorted.
pub fn nodes(out: &Path) -> std::io::Result<Vec<String>> {
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

/// A manifest and its store, shared with readers; the folder is held as long as they use it.
pub fn open(out: &Path, manifest: Manifest, hold: Hold) -> (Arc<Manifest>, Arc<ChunkStore>) {
    let store = ChunkStore::open(out).held(hold);
    (Arc::new(manifest), Arc::new(store))
}
