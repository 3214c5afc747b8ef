//! What holds files that not everybody may read is written for its owner alone: images are not encrypted.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use prejoin_image_builder::class::Class;
use prejoin_profiles::cluster::Cluster;
use prejoin_store::chunks::ChunkStore;
use prejoin_store::folder::node_path;
use prejoin_wire::manifest::Range;
use prejoin_wire::node::NodeManifest;
use rustix::fs::Mode;

use crate::failure::Failure;

/// Whether a cluster brings such files.
pub(crate) fn is_private(cluster: &Cluster) -> bool {
    let nodes = cluster.nodes.iter().flat_map(|node| &node.files);
    let mut files = cluster.files.iter().chain(nodes);
    files.any(|file| file.is_private())
}

/// From now on all new files and folders of this run are the user's alone. Nothing is readable in between, as it would
/// be if permissions were taken away later.
pub(crate) fn begin() {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
}

/// Takes permissions away from what an earlier run may have written: the manifest, and the chunks of the files
/// on the identity partition.
pub(crate) fn close(
    manifest: &NodeManifest,
    out: &Path,
    store: &ChunkStore,
) -> Result<(), Failure> {
    close_file(&node_path(out, &manifest.node))?;
    for range in manifest.identity.values().flatten() {
        if let Range::Data { digest, .. } = range {
            close_file(&store.path(digest))?;
        }
    }
    Ok(())
}

fn close_file(path: &Path) -> Result<(), Failure> {
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(|error| {
        let what = format!("making {} readable for you alone: {error}", path.display());
        Failure::plain(Class::Environment, what)
    })
}

/// Whether a node's image holds such files: then its manifest is its owner's alone.
pub(crate) fn is_closed(out: &Path, node: &str) -> bool {
    let mode = fs::metadata(node_path(out, node)).map(|found| found.permissions().mode());
    mode.is_ok_and(|mode| mode & 0o077 == 0)
}
