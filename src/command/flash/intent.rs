//! What somebody wants of a disk: the cluster file and the arguments together.

use prejoin_disk::judge::{Intent, Rules};
use prejoin_disk::plan::Wish;
use prejoin_disk::session::Looked;
use prejoin_image_builder::class::Class;
use prejoin_profiles::cluster::{Cluster, Node, Role};
use prejoin_wire::disk::Mode;

use crate::args::{Flash, FlashMode};
use crate::command::project::Project;
use crate::failure::Failure;

/// What is wanted of one disk.
pub(crate) fn intent(
    args: &Flash,
    project: &Project,
    node: &Node,
    looked: &Looked,
) -> Result<Intent, Failure> {
    let board = project
        .catalog
        .board(&node.board.value)
        .map_err(|error| Failure::new(Class::Input, &error).hint(error.hint()))?;
    Ok(Intent {
        wish: Wish {
            mode: mode(args, looked),
            delete: args.delete.iter().cloned().collect(),
        },
        selector: node.disk.value.wanted(),
        node: args.node.clone(),
        other_control_planes: other_control_planes(&project.cluster, node),
        architecture: Some(board.architecture),
        sector_sizes: board.sector_sizes.clone(),
        rules: Rules {
            accepted: args.accept.iter().copied().collect(),
        },
        ..Intent::default()
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
fn mode(args: &Flash, looked: &Looked) -> Mode {
    match args.mode {
        None => looked.usual_mode(),
        Some(FlashMode::Install) => Mode::Install,
        Some(FlashMode::Reimage) => Mode::Reimage,
        Some(FlashMode::WipeState) => Mode::ReimageWipeState,
    }
}
