//! The tree as the file system sees it: files with numbers of links, directories with children.

use super::error::{Error, shown};
use super::hash::key;
use crate::tree::{Entry, Kind, Tree};

/// More names than this are refused for a file, and are not counted for a directory (feature `dir_nlink`).
const LINKS: u64 = 65000;
/// The name under the root that e2fsck wants to exist.
const LOST_AND_FOUND: &[u8] = b"lost+found";

/// What becomes an inode.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    pub(super) path: &'a [u8],
    pub(super) entry: &'a Entry,
    /// What its places are derived from.
    pub(super) key: u64,
    /// Index of the directory of its first name; the root's is its own.
    pub(super) parent: usize,
    /// As stored: 1 for a directory of more subdirectories than can be counted.
    pub(super) links: u16,
    /// A directory's children, in byte order of the name.
    pub(super) children: Vec<Child<'a>>,
}

/// A name in a directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Child<'a> {
    pub(super) name: &'a [u8],
    /// Index of the node.
    pub(super) node: usize,
}

/// All nodes of a tree, the root first.
#[derive(Clone, Debug)]
pub(super) struct Nodes<'a> {
    pub(super) all: Vec<Node<'a>>,
    /// Index of `lost+found`.
    pub(super) lost_and_found: usize,
}

impl<'a> Nodes<'a> {
    /// Joins names and files. `lost_and_found` is put in if the tree has none.
    pub(super) fn new(tree: &'a Tree, lost_and_found: &'a Entry) -> Result<Self, Error> {
        let mut all: Vec<Node<'a>> = tree
            .iter()
            .filter(|(_, entry)| !matches!(entry.kind, Kind::HardLink(_)))
            .map(|(path, entry)| Node::new(path, entry))
            .collect();
        if all
            .first()
            .is_none_or(|root| !root.path.is_empty() || root.entry.kind != Kind::Directory)
        {
            return Err(Error::Parent {
                path: String::new(),
            });
        }
        let found = all.binary_search_by_key(&LOST_AND_FOUND, |node| node.path);
        if found.is_err() && tree.entry(LOST_AND_FOUND).is_some() {
            return Err(Error::LostAndFound);
        }
        // A map of its own, since lost+found may come last.
        let sorted: Vec<&[u8]> = all.iter().map(|node| node.path).collect();
        let mut links = vec![0; all.len()];
        for (path, entry) in tree.iter().skip(1) {
            let (parent, name) = split(&sorted, path)?;
            if all[parent].entry.kind != Kind::Directory {
                return Err(Error::Parent { path: shown(path) });
            }
            let node = match &entry.kind {
                Kind::HardLink(target) => linked(&sorted, &all, path, target)?,
                _ => sorted
                    .binary_search(&path)
                    .expect("every entry but a hard link is a node"),
            };
            all[parent].children.push(Child { name, node });
            if !matches!(entry.kind, Kind::HardLink(_)) {
                all[node].parent = parent;
            }
            links[node] += 1;
        }
        let lost_and_found = match found {
            Ok(index) if all[index].entry.kind == Kind::Directory => index,
            Ok(_) => return Err(Error::LostAndFound),
            Err(_) => {
                all.push(Node::new(LOST_AND_FOUND, lost_and_found));
                links.push(1);
                let node = all.len() - 1;
                all[0].children.push(Child {
                    name: LOST_AND_FOUND,
                    node,
                });
                node
            }
        };
        let mut nodes = Nodes {
            all,
            lost_and_found,
        };
        nodes.count_links(&links)?;
        Ok(nodes)
    }

    /// Turns names per node into links as stored.
    fn count_links(&mut self, names: &[u64]) -> Result<(), Error> {
        for (index, &names) in names.iter().enumerate() {
            let node = &self.all[index];
            let is_directory =
                |child: &&Child<'_>| self.all[child.node].entry.kind == Kind::Directory;
            self.all[index].links = if node.entry.kind == Kind::Directory {
                let links = 2 + node.children.iter().filter(is_directory).count() as u64;
                if links > LINKS { 1 } else { links as u16 }
            } else if names > LINKS {
                return Err(Error::Links {
                    path: shown(node.path),
                    links: names,
                });
            } else {
                names as u16
            };
        }
        Ok(())
    }
}

impl<'a> Node<'a> {
    fn new(path: &'a [u8], entry: &'a Entry) -> Self {
        Node {
            path,
            entry,
            key: key(path),
            parent: 0,
            links: 0,
            children: Vec::new(),
        }
    }

    /// Whether it is a directory.
    pub(super) fn is_directory(&self) -> bool {
        self.entry.kind == Kind::Directory
    }
}

/// The directory that holds `path`, and the name there.
fn split<'a>(sorted: &[&[u8]], path: &'a [u8]) -> Result<(usize, &'a [u8]), Error> {
    let (parent, name) = match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&path[..0], path),
    };
    if name.is_empty() || name.len() > 255 || name.contains(&0) || name == b"." || name == b".." {
        return Err(Error::Name { path: shown(path) });
    }
    let parent = sorted
        .binary_search(&parent)
        .map_err(|_| Error::Parent { path: shown(path) })?;
    Ok((parent, name))
}

/// The regular file that a hard link names.
fn linked(sorted: &[&[u8]], all: &[Node<'_>], path: &[u8], target: &[u8]) -> Result<usize, Error> {
    let node = sorted.binary_search(&target).ok();
    node.filter(|&node| matches!(all[node].entry.kind, Kind::File(_)))
        .ok_or_else(|| Error::HardLink {
            path: shown(path),
            target: shown(target),
        })
}
