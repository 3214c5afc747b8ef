//! What somebody wants of a disk: the cluster file and the arguments together.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use prejoin_disk::judge::{Intent, Rules, usual_mode};
use prejoin_disk::plan::Wish;
use prejoin_image_builder::class::Class;
use prejoin_profiles::cluster::{Cluster, Node, Role};
use prejoin_wire::disk::{Facts, Mode};

use super::image::Image;
use super::saved;
use crate::args::{Flash, FlashMode};
use crate::command::project::Project;
use crate::failure::Failure;

/// What is wanted of one disk.
pub(crate) fn intent(
    args: &Flash,
    project: &Project,
    node: &Node,
    facts: &Facts,
    asked: &Path,
    image: &Image,
) -> Result<Intent, Failure> {
    let board = project
        .catalog
        .board(&node.board.value)
        .map_err(|error| Failure::new(Class::Input, &error).hint(error.hint()))?;
    Ok(Intent {
        wish: Wish {
            mode: mode(args, facts, image),
            delete: args.delete.iter().cloned().collect(),
        },
        named_before: match args.delete.is_empty() {
            true => BTreeSet::new(),
            false => saved::named_before(args.save.as_deref(), &args.node, &facts.device),
        },
        selector: node.disk.value.wanted(),
        node: args.node.clone(),
        other_control_planes: other_control_planes(&project.cluster, node),
        architecture: Some(board.architecture),
        sector_sizes: board.sector_sizes.clone(),
        by_kernel_name: !facts.device.file && is_kernel_name(asked),
        rules: Rules {
            accepted: args.accept.iter().copied().collect(),
        },
    })
}

/// How many other nodes have the cluster's database, if this one has it.
fn other_control_planes(cluster: &Cluster, node: &Node) -> usize {
    match *node.role {
        Role::ControlPlane => cluster.control_planes().count().saturating_sub(1),
        Role::Worker => 0,
    }
}

/// The mode asked for, or the one that keeps most.
fn mode(args: &Flash, facts: &Facts, image: &Image) -> Mode {
    match args.mode {
        None => usual_mode(&facts.content, &image.view()),
        Some(FlashMode::Install) => Mode::Install,
        Some(FlashMode::Reimage) => Mode::Reimage,
        Some(FlashMode::WipeState) => Mode::ReimageWipeState,
    }
}

/// Whether another disk may have this name after the next start: a node right in `/dev` that is no link.
fn is_kernel_name(path: &Path) -> bool {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
    path.parent() == Some(Path::new("/dev"))
        && !fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink())
}
