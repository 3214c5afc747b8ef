//! Pruning: what nobody needs any more, found first and removed then.
//!
//! In an output folder those are chunks that no manifest names and manifests of nodes that the cluster file has no more;
//! in the cache, what was not used for some time; in both, what interrupted runs left. Whoever prunes has both folders
//! alone ([`prejoin_store::hold`]): a build that runs has chunks that no manifest names yet.
#![expect(clippy::disallowed_methods, reason = "removes files")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use prejoin_wire::digest::{ChunkDigest, Digest};
use prejoin_wire::manifest::Range;

use super::{known, pack};
use prejoin_store::part::{self, Left, file_name, names};
use prejoin_store::{folder, output};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Folder of downloads and packs.
    pub cache: &'a Path,
    /// Folder that `build` wrote to.
    pub out: &'a Path,
    /// The cluster and its nodes, if its file is known: manifests of its other nodes go.
    pub cluster: Option<(&'a str, &'a BTreeSet<String>)>,
    /// What was used since then stays in the cache.
    pub since: SystemTime,
}

/// Why something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A manifest whose node the cluster file has no more.
    Manifest,
    /// The manifest of a system that no node has any more.
    System,
    /// A chunk that no manifest names.
    Chunk,
    /// What an interrupted run, or an older prejoin, left.
    Left,
    /// A download that was not used for some time.
    Download,
    /// An unpacked package, or what builds remember, that was not used for some time.
    Unused,
}

impl Kind {
    /// For people, in the plural.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Manifest => "manifests of nodes that are gone",
            Kind::System => "systems that no node has",
            Kind::Chunk => "chunks that no manifest names",
            Kind::Left => "left by interrupted runs",
            Kind::Download => "downloads not used lately",
            Kind::Unused => "unpacked packages not used lately",
        }
    }
}

/// A file that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Why.
    pub kind: Kind,
    /// Where it is.
    pub path: PathBuf,
    /// Bytes that it takes on the disk.
    pub size: u64,
}

/// Why nothing was pruned, or not all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody knows which chunks a manifest names.
    #[error(transparent)]
    Manifest(#[from] folder::Error),
    /// A file cannot be looked at or removed.
    #[error(transparent)]
    File(#[from] output::Error),
}

/// Everything that can go, by kind and path. Nothing is removed.
pub fn plan(request: &Request) -> Result<Vec<Item>, Error> {
    let mut items = Vec::new();
    let kept = manifests(request, &mut items)?;
    chunks(request.out, &kept, &mut items);
    for folder in [
        request.out.to_owned(),
        request.out.join("chunks"),
        folder::systems_folder(request.out),
        known::folder(request.out),
        request.cache.join("unpacked"),
        request.cache.join("releases"),
    ] {
        items.extend(part::find_left(&folder).into_iter().map(left));
    }
    memos(request, &mut items);
    cached(request, &mut items);
    items.sort_by(|a, b| (a.kind, &a.path).cmp(&(b.kind, &b.path)));
    Ok(items)
}

/// Removes what a plan found, and folders that are empty then.
pub fn remove(items: &[Item]) -> Result<(), Error> {
    for Item { path, .. } in items {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(output::at("removing", path))?,
        }
        // A folder with something else in it stays.
        let _ = path.parent().map(fs::remove_dir);
    }
    Ok(())
}

/// Notes that a file of the cache is of use. At most once a day, and best effort: a cache that is not ours to write to
/// is pruned by its owner's use.
pub fn touch(path: &Path) {
    let now = SystemTime::now();
    let recent =
        fs::metadata(path).is_ok_and(|found| used(&found) + Duration::from_secs(24 * 3600) > now);
    if !recent {
        let times = fs::FileTimes::new().set_accessed(now);
        let _ = fs::File::open(path).and_then(|file| file.set_times(times));
    }
}

/// When a file was last read or written, as far as its file system tells.
fn used(found: &fs::Metadata) -> SystemTime {
    let read = found.accessed().unwrap_or(SystemTime::UNIX_EPOCH);
    read.max(found.modified().unwrap_or(SystemTime::UNIX_EPOCH))
}

fn left(left: Left) -> Item {
    Item {
        kind: Kind::Left,
        path: left.path,
        size: left.size,
    }
}

/// Manifests that go; the chunks of those that stay.
fn manifests(request: &Request, items: &mut Vec<Item>) -> Result<BTreeSet<ChunkDigest>, Error> {
    let out = request.out;
    let (mut kept, mut systems) = (BTreeSet::new(), BTreeSet::new());
    for name in folder::nodes(out).unwrap_or_default() {
        let node = folder::read_node(out, &name)?;
        let is_gone = request
            .cluster
            .is_some_and(|(cluster, nodes)| node.cluster == cluster && !nodes.contains(&node.node));
        if is_gone {
            items.extend(item(Kind::Manifest, folder::node_path(out, &name)));
            continue;
        }
        kept.extend(node.identity.values().flat_map(|ranges| named(ranges)));
        systems.insert(node.system);
    }
    for digest in &systems {
        let system = folder::read_system(out, digest)?;
        let volumes = [&system.root, &system.verity, &system.boot];
        kept.extend(volumes.into_iter().flat_map(|volume| named(&volume.ranges)));
    }
    for path in names(&folder::systems_folder(out)) {
        let digest = file_name(&path)
            .and_then(|name| name.strip_suffix(".json"))
            .and_then(|name| name.parse::<Digest>().ok());
        if digest.is_some_and(|digest| !systems.contains(&digest)) {
            items.extend(item(Kind::System, path));
        }
    }
    Ok(kept)
}

/// The chunks that ranges are made of.
fn named(ranges: &[Range]) -> impl Iterator<Item = ChunkDigest> {
    ranges.iter().filter_map(|range| match range {
        Range::Data { digest, .. } => Some(*digest),
        Range::Zero { .. } | Range::Skip { .. } => None,
    })
}

fn chunks(out: &Path, kept: &BTreeSet<ChunkDigest>, items: &mut Vec<Item>) {
    for folder in names(&out.join("chunks")) {
        for path in names(&folder) {
            let digest = file_name(&path)
                .and_then(|name| name.strip_suffix(".zst"))
                .and_then(|name| name.parse::<ChunkDigest>().ok());
            if digest.is_some_and(|digest| !kept.contains(&digest)) {
                items.extend(item(Kind::Chunk, path));
            }
        }
    }
}

fn memos(request: &Request, items: &mut Vec<Item>) {
    let is_memo = |path: &PathBuf| path.extension().is_some_and(|end| end == "memo");
    let memos = names(&known::folder(request.out));
    let unused = memos.into_iter().filter(is_memo);
    items.extend(unused.filter_map(|path| old(request, Kind::Unused, path)));
}

fn cached(request: &Request, items: &mut Vec<Item>) {
    let folder = |name: &str| request.cache.join(name);
    for folder in names(&folder("sha256")) {
        let downloads = names(&folder).into_iter();
        items.extend(downloads.filter_map(|path| old(request, Kind::Download, path)));
    }
    for name in ["releases", "partial"] {
        let files = names(&folder(name))
            .into_iter()
            .filter(|path| !is_part(path));
        items.extend(files.filter_map(|path| old(request, Kind::Download, path)));
    }
    for path in names(&folder("unpacked")) {
        if is_pack(request.cache, &path) {
            items.extend(old(request, Kind::Unused, path));
        } else if !is_part(&path) {
            items.extend(item(Kind::Left, path));
        }
    }
    // Where older versions kept what output folders keep now.
    let rendered = names(&folder("rendered")).into_iter();
    items.extend(rendered.filter_map(|path| item(Kind::Left, path)));
}

fn is_part(path: &Path) -> bool {
    file_name(path).is_some_and(part::is_part)
}

/// Whether this is a pack of this version.
fn is_pack(cache: &Path, path: &Path) -> bool {
    let digest = file_name(path)
        .and_then(|name| name.split('-').next())
        .and_then(|name| name.parse::<Digest>().ok());
    digest.is_some_and(|digest| pack::path(cache, &digest) == path)
}

/// A file that was not used since then.
fn old(request: &Request, kind: Kind, path: PathBuf) -> Option<Item> {
    let found = fs::symlink_metadata(&path).ok()?;
    (used(&found) < request.since).then(|| item(kind, path))?
}

/// A file or a link; folders are nobody's leftovers.
fn item(kind: Kind, path: PathBuf) -> Option<Item> {
    let found = fs::symlink_metadata(&path).ok()?;
    let size = found.blocks() * 512;
    (!found.is_dir()).then_some(Item { kind, path, size })
}

/// Files and bytes by kind, of those that there are.
pub fn sums(items: &[Item]) -> BTreeMap<Kind, (usize, u64)> {
    let mut sums = BTreeMap::new();
    for item in items {
        let (files, bytes) = sums.entry(item.kind).or_insert((0, 0));
        *files += 1;
        *bytes += item.size;
    }
    sums
}
