//! Building: from package files to a system's chunks, and from a system to a node's manifest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use prejoin_formats::ext4;
use prejoin_formats::image::Image;
use prejoin_formats::tree::{Contents, NoContents, Tree};
use prejoin_formats::verity::Verity;
use prejoin_profiles::board::Board;
use prejoin_profiles::os::Os;
use prejoin_profiles::scripts::Table;
use prejoin_wire::derived;
use prejoin_wire::digest::Digest;
use prejoin_wire::manifest::{self, Range};
use prejoin_wire::node::NodeManifest;
use prejoin_wire::role::{Role, Slot};
use prejoin_wire::system::{OWN_ALIGNMENT, SystemManifest, Volume};

use super::artifacts::Programs;
use super::error::room;
use super::known::{self, Known};
use super::memo::Memo;
use super::render::{self, Cut};
use super::unpack::{self, Deb};
use crate::class::Class;
use crate::debian::deb::Limits;
use crate::debian::scripts;
use crate::events::Sink;
use crate::image::node::{self, BootKey, BootVolume, Division};
use crate::image::sbom;
use crate::image::system::{self, System};
use crate::package::Package;
use prejoin_store::chunks::{self, ChunkStore};
use prejoin_store::folder;
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
    /// The root hash of its dm-verity tree.
    pub root_hash: Digest,
    /// Counts of the root file system.
    pub summary: ext4::Summary,
    set: String,
    epoch: i64,
    root: Volume,
    verity: Volume,
    /// One for every kind of boot partition that nodes have.
    systems: Mutex<Vec<(BootKey, Arc<Shared>)>>,
    memo: Memo,
}

/// The manifest of a system.
pub struct Shared {
    /// What nodes name it by.
    pub digest: Digest,
    /// The document.
    pub manifest: Arc<SystemManifest>,
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
    // Who keeps nothing wants to know what is made, not what was made before.
    let mut memo = match store.keeps() {
        true => Memo::open(out, request.set),
        false => Memo::default(),
    };
    let data = render::render(&filesystem.image, &unpacked.store, store, cut, &memo)?;
    let verity = Verity::from_leaves(
        data.leaves,
        &salt,
        derived::fleet_uuid(request.set, "root hashes"),
    );
    let mut hashes = Image::zero(verity.bytes.len() as u64);
    hashes.put_bytes(0, verity.bytes);
    let cut = Cut {
        window: ROOT_WINDOW,
        verity_salt: None,
    };
    let verity_ranges = render::render(&hashes, &unpacked.store, store, cut, &memo)?.ranges;
    memo.share([&system.boot.kernel, &system.boot.initrd]);
    Ok(Built {
        root_hash: Digest(verity.root_hash),
        summary: filesystem.summary,
        set: request.set.to_owned(),
        epoch: request.epoch,
        root: Volume::of(data.ranges),
        verity: Volume::of(verity_ranges),
        systems: Mutex::default(),
        memo,
        system,
        contents: unpacked,
    })
}

/// A file system that is the same for a whole fleet has names that are, too.
fn options(request: &Request, root: &Tree) -> ext4::Options {
    let uuid = derived::fleet_uuid(request.set, "root").into_bytes();
    ext4::Options {
        label: "root".into(),
        time: request.epoch,
        read_only: true,
        ..ext4::Options::new(ext4::recommended_size(root), uuid)
    }
}

/// Builds one node on a system: everything that is its own is planned and stored, the manifest returned.
pub fn node(
    spec: &node::Spec,
    built: &Built,
    lock: &Digest,
    store: &ChunkStore,
) -> Result<(NodeManifest, Arc<Shared>), Error> {
    let failed = |source| Error::Node {
        node: spec.name.to_owned(),
        source: Box::new(source),
    };
    let division = node::divide(spec).map_err(failed)?;
    let shared = shared(spec, &division, built, store)?;
    let (contents, handoff) = node::identity(spec, &division).map_err(failed)?;
    let mut identity = BTreeMap::new();
    for (name, bytes) in contents {
        let mut image = Image::zero(bytes.len() as u64);
        image.put_bytes(0, bytes);
        identity.insert(name, defined(&image, &NoContents, built, store)?);
    }
    let manifest = NodeManifest {
        version: manifest::VERSION,
        cluster: spec.cluster_name.to_owned(),
        node: spec.name.to_owned(),
        board: spec.board.name.clone(),
        architecture: spec.board.architecture,
        system: shared.digest,
        lock: *lock,
        sector_size: spec.sector_size,
        size: division.size,
        disk_guid: division.disk_guid,
        boot: node::own_texts(spec, &division, &built.root_hash).map_err(failed)?,
        partitions: division.partitions,
        identity,
        handoff,
    };
    Ok((manifest, shared))
}

/// The system's manifest with the boot partition that a node wants, made once for all that want the same.
fn shared(
    spec: &node::Spec,
    division: &Division,
    built: &Built,
    store: &ChunkStore,
) -> Result<Arc<Shared>, Error> {
    let key = node::boot_key(spec, division);
    let mut systems = built.systems.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, shared)) = systems.iter().find(|(known, _)| *known == key) {
        return Ok(shared.clone());
    }
    let failed = |source| Error::Node {
        node: spec.name.to_owned(),
        source: Box::new(source),
    };
    for (what, role, volume) in [
        ("the root file system", Role::Root(Slot::A), &built.root),
        ("the dm-verity tree", Role::Verity(Slot::A), &built.verity),
    ] {
        let place = division.partition(role).expect("every node has it");
        node::fits(what, volume.size(), place).map_err(failed)?;
    }
    let place = division.partition(Role::Boot).expect("every node has one");
    let contents: &dyn Contents = &built.contents.store;
    let boot = &built.system.boot;
    let volume = node::boot_volume(&built.set, spec, place, boot, &built.root_hash, contents)
        .map_err(failed)?;
    let manifest = SystemManifest {
        version: manifest::VERSION,
        set: built.set.clone(),
        board: spec.board.name.clone(),
        architecture: spec.board.architecture,
        epoch: built.epoch,
        root_hash: built.root_hash,
        root: built.root.clone(),
        verity: built.verity.clone(),
        boot: Volume::of(boot_ranges(&volume, built, store)?),
        files: volume.files,
        kernel: volume.kernel,
        initrd: volume.initrd,
    };
    let shared = Arc::new(Shared {
        digest: manifest.digest(),
        manifest: Arc::new(manifest),
    });
    systems.push((key, shared.clone()));
    Ok(shared)
}

/// The ranges of a boot partition: what nodes bring themselves has ranges of its own.
fn boot_ranges(
    volume: &BootVolume,
    built: &Built,
    store: &ChunkStore,
) -> Result<Vec<Range>, Error> {
    let mut own: Vec<(u64, u64)> = volume
        .files
        .values()
        .filter(|file| file.own)
        .map(|file| (file.start, file.size.next_multiple_of(OWN_ALIGNMENT)))
        .collect();
    own.sort();
    let mut ranges = Vec::new();
    let mut at = 0;
    for (start, length) in own.into_iter().chain([(volume.image.size(), 0)]) {
        for (from, length) in [(at, start - at), (start, length)] {
            let part = volume.image.part(from, length);
            ranges.extend(defined(&part, &built.contents.store, built, store)?);
        }
        at = start + length;
    }
    Ok(ranges)
}

/// The ranges of an image that is no root file system.
fn defined(
    image: &Image,
    contents: &dyn Contents,
    built: &Built,
    store: &ChunkStore,
) -> Result<Vec<Range>, Error> {
    let cut = Cut {
        window: WINDOW,
        verity_salt: None,
    };
    Ok(render::render(image, contents, store, cut, &built.memo)?.ranges)
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
        sbom::spdx(set, &packages, origin, &built.root_hash, epoch),
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
    systems: &BTreeMap<Digest, Arc<SystemManifest>>,
    nodes: &[NodeManifest],
    bills: &[(PathBuf, String)],
    out: &Path,
    store: &ChunkStore,
) -> Result<(), Error> {
    store.flush()?;
    for (path, text) in bills {
        output::write(path, text.as_bytes())?;
    }
    folder::commit(systems, nodes, out)?;
    Ok(())
}
