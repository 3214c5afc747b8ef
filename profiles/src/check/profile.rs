//! What is named in the file and described elsewhere: operating system, boards, layouts, package sets.

use std::collections::BTreeSet;

use super::place;
use crate::board::Board;
use crate::catalog::{Catalog, Error};
use crate::cluster::{Cluster, DiskSelector, Node};
use crate::distribution::Definition;
use crate::finding::{Code, Finding};
use crate::kernel_args;
use crate::layout::{Disk, Layout, Purpose};
use crate::yaml::{Located, Position};
use prejoin_wire::size::Size;

pub(super) fn check(cluster: &Cluster, catalog: &Catalog, f: &mut Vec<Finding>) {
    if let Err(error) = catalog.os(&cluster.os) {
        f.push(unusable(&error, cluster.os.position, &cluster.os));
    }
    for set in &cluster.sets {
        if let Err(error) = catalog.set(set) {
            f.push(unusable(&error, set.position, set));
        }
    }
    mirrors(cluster, catalog, f);
    private_files(cluster, f);
    // Profiles are read from text: once per name, however many nodes there are.
    let mut boards = BTreeSet::new();
    for node in cluster
        .nodes
        .iter()
        .filter(|node| boards.insert(node.board.value.as_str()))
    {
        board(node, cluster, catalog, f);
        let name = &node.board.value;
        let Some((board, _)) = catalog
            .board(name)
            .ok()
            .as_ref()
            .and_then(|board| board.on(&cluster.os))
        else {
            continue;
        };
        let same = cluster
            .nodes
            .iter()
            .filter(|node| node.board.value == *name);
        for node in same {
            command_line(node, &board, f);
            attached(node, &board, f);
        }
    }
    let layouts: BTreeSet<&str> = cluster
        .nodes
        .iter()
        .map(|node| node.layout.value.as_str())
        .collect();
    for name in layouts {
        let mut nodes = cluster
            .nodes
            .iter()
            .filter(|node| node.layout.value == name);
        match catalog.layout(name) {
            Ok(layout) => {
                f.extend(filesystems(cluster, catalog, &layout, name));
                for node in nodes {
                    disks(node, &layout, f);
                    hidden(node, cluster, &layout, f);
                }
            }
            Err(error) => f.extend(
                nodes
                    .next()
                    .map(|node| unusable(&error, place(&node.layout, &node.name), &node.layout)),
            ),
        }
    }
}

fn unusable(error: &Error, position: Position, text: &str) -> Finding {
    let finding = Finding::error(Code::Unknown, position, &text, error.to_string());
    Finding {
        hint: error.hint(),
        ..finding
    }
}

fn board(node: &Node, cluster: &Cluster, catalog: &Catalog, f: &mut Vec<Finding>) {
    let at = node.board.position;
    match catalog.board(&node.board) {
        Err(error) => f.push(unusable(&error, at, &node.board)),
        Ok(board) if catalog.os(&cluster.os).is_ok() && board.on(&cluster.os).is_none() => {
            let message = format!(
                "`{}` has no kernel for board `{}`",
                cluster.os.value, board.name
            );
            let systems: Vec<_> = board.kernel.keys().map(|os| format!("`{os}`")).collect();
            let hint = format!("the board runs {}", systems.join(" and "));
            f.push(Finding::error(Code::BoardOs, at, &node.board, message).hint(hint));
        }
        Ok(_) => {}
    }
}

/// The kernel cuts off what is too long, without a word.
fn command_line(node: &Node, board: &Board, f: &mut Vec<Finding>) {
    let own = node.kernel_args.iter().map(|text| text.value.as_str());
    let all = board.kernel_args.iter().map(String::as_str).chain(own);
    let length = kernel_args::length(all);
    let Some(last) = node
        .kernel_args
        .last()
        .filter(|_| length > kernel_args::LONGEST)
    else {
        return;
    };
    let message = format!(
        "the kernel arguments of node `{}` have {length} bytes with those of its board",
        node.name.value
    );
    let finding = Finding::error(Code::KernelArgument, last.position, last, message);
    f.push(finding.hint(format!("{} fit", kernel_args::LONGEST)));
}

/// A system disk that the board has no place for, or does not start from.
fn attached(node: &Node, board: &Board, f: &mut Vec<Finding>) {
    let Some(transport) = node.disk.transport else {
        return;
    };
    if board.transports.is_empty() || board.transports.contains(&transport) {
        return;
    }
    let usual: Vec<String> = board
        .transports
        .iter()
        .map(|known| format!("`transport: {}`", known.name()))
        .collect();
    let message = format!(
        "the board `{}` of node `{}` has no place for a disk on {}",
        board.name,
        node.name.value,
        transport.name()
    );
    let at = place(&node.disk, &node.name);
    let finding = Finding::warning(Code::BoardDisk, at, &transport.name(), message);
    f.push(finding.hint(format!(
        "use {}: a drive in a USB case is `usb`, whatever is in the case",
        usual.join(" or ")
    )));
}

/// A mirror of an archive that nobody knows would never be asked; one that others use may be there for them.
fn mirrors(cluster: &Cluster, catalog: &Catalog, f: &mut Vec<Finding>) {
    let Ok(os) = catalog.os(&cluster.os) else {
        return;
    };
    let mut used = os.archives();
    used.extend(
        Definition::built_in(cluster.kubernetes.distribution.value)
            .iter()
            .flat_map(Definition::archives),
    );
    let known = catalog.archives();
    let list: Vec<String> = used.iter().map(|name| format!("`{name}`")).collect();
    let hint = format!("this cluster takes from {}", list.join(", "));
    for (name, urls) in cluster
        .mirrors
        .iter()
        .filter(|(name, _)| !used.contains(*name))
    {
        let at = urls.first().map_or(Position::default(), |url| url.position);
        let finding = if known.contains(name) {
            let message = format!("nothing in this cluster comes from the archive `{name}`");
            Finding::warning(Code::Unknown, at, name, message)
        } else {
            let message = format!("there is no archive `{}`", crate::yaml::shorten(name));
            Finding::error(Code::Unknown, at, name, message)
        };
        f.push(finding.hint(hint.clone()));
    }
}

/// A file system that nothing in the operating system makes: the node would go without the partition.
fn filesystems(
    cluster: &Cluster,
    catalog: &Catalog,
    layout: &Layout,
    name: &str,
) -> Option<Finding> {
    let mut os = catalog.os(&cluster.os).ok()?;
    let filesystem = os.provide(layout).err()?;
    let node = cluster
        .nodes
        .iter()
        .find(|node| node.layout.value == name)?;
    let message = format!(
        "layout `{name}` has a partition of {filesystem}, which `{}` cannot make",
        os.name
    );
    let at = place(&node.layout, &node.name);
    let finding = Finding::error(Code::Filesystem, at, &node.layout, message);
    Some(finding.hint(format!(
        "say under `filesystems:` in os/{}.yaml which packages and programs make it",
        os.name
    )))
}

fn disks(node: &Node, layout: &Layout, f: &mut Vec<Finding>) {
    fits(node, &node.disk, layout, Disk::System, f);
    let at = place(&node.layout, &node.name);
    match (&node.data_disk, layout.uses_data_disk()) {
        (Some(selector), true) => fits(node, selector, layout, Disk::Data, f),
        (None, true) => {
            let message = format!(
                "layout `{}` needs a second disk, and node `{}` names none",
                layout.name, node.name.value
            );
            let finding = Finding::error(Code::DataDisk, at, &node.layout, message);
            f.push(finding.hint("add `data_disk:` to the node or to `defaults:`"));
        }
        (Some(selector), false) => {
            let message = format!(
                "layout `{}` does not use the `data_disk` of node `{}`",
                layout.name, node.name.value
            );
            let finding = Finding::warning(Code::DataDisk, selector.position, &"", message);
            f.push(finding.hint("nothing is ever written to it; `layout: ceph` would use it"));
        }
        (None, false) => {}
    }
}

/// Files of the cluster file are unpacked before data is mounted: what lies below would never be seen.
fn hidden(node: &Node, cluster: &Cluster, layout: &Layout, f: &mut Vec<Finding>) {
    for partition in layout
        .on(Disk::System)
        .filter(|p| p.purpose == Purpose::Data)
    {
        let Some(mount) = &partition.mount else {
            continue;
        };
        let is_below = |path: &str| {
            path.strip_prefix(mount.as_str())
                .is_some_and(|rest| rest.starts_with('/'))
        };
        for file in cluster.files.iter().chain(&node.files) {
            if !is_below(&file.path) {
                continue;
            }
            let message = format!(
                "on node `{}` the file would be hidden by the partition `{}`, mounted at `{mount}`",
                node.name.value, partition.name
            );
            let finding = Finding::error(Code::FilePath, file.path.position, &file.path, message);
            f.push(finding.hint(
                "choose another path, or `write_files` of `cloud_init`, which comes after the mount",
            ));
        }
    }
}

/// The content of a file that not everybody is to read lies in the image, which is not encrypted.
fn private_files(cluster: &Cluster, f: &mut Vec<Finding>) {
    let nodes = cluster.nodes.iter().flat_map(|node| &node.files);
    for file in cluster
        .files
        .iter()
        .chain(nodes)
        .filter(|file| file.is_private())
    {
        let message = "whoever has the image, or the chunks it is made of, can read this file";
        let finding = Finding::warning(Code::FilePrivate, file.path.position, &file.path, message);
        f.push(finding.hint(
            "`build` and `export` write what holds it for you alone: give it to nobody who may not read it",
        ));
    }
}

/// The layout must fit every disk that the selector lets through.
fn fits(
    node: &Node,
    selector: &Located<DiskSelector>,
    layout: &Layout,
    disk: Disk,
    f: &mut Vec<Finding>,
) {
    let needed = layout.min_size(disk);
    let limits = [
        (&selector.min_size, "the smallest disk allowed"),
        (&selector.max_size, "the largest disk allowed"),
    ];
    for (limit, what) in limits {
        let Some(limit) = limit.as_ref().filter(|limit| limit.value < needed) else {
            continue;
        };
        let message = format!(
            "layout `{}` of node `{}` needs {}, {what} has {limit}",
            layout.name,
            node.name.value,
            about(needed)
        );
        let finding = Finding::error(Code::LayoutSize, limit.position, limit, message);
        f.push(finding.hint(format!(
            "allow disks from {} only, or choose a smaller layout",
            about(needed)
        )));
        return;
    }
}

/// A size for people: whole gigabytes, as drives are sold, rounded up.
fn about(size: Size) -> String {
    format!("{} GB", size.bytes().div_ceil(1_000_000_000))
}
