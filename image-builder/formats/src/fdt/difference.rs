//! The difference of two device trees as an overlay.
//!
//! An overlay can set properties and add nodes, and nothing else (dtc, Documentation/dt-object-internal.txt;
//! libfdt, `fdt_overlay_apply`). So a node that is in the first tree alone is switched off (`status = "disabled"`,
//! Devicetree Specification v0.4, section 2.3.4), and a property that is in the first tree alone is an error: there
//! is no way to say it.
//!
//! There is one fragment, from the root. It is applied to the very tree it was made from, so it refers to nodes by
//! the phandles of that tree and needs no symbols. Nodes that have no phandle there, and get one, are numbered from
//! 1: whoever applies an overlay moves those, and what `__local_fixups__` lists, behind the tree's own.

use std::collections::BTreeMap;

use super::{DeviceTree, Node, reference};

/// What refers to a node by number, and an older name of it.
const PHANDLES: [&str; 2] = ["phandle", "linux,phandle"];
/// Labels of a tree by name. One too many does no harm: nothing of the overlay names it.
const SYMBOLS: &str = "/__symbols__";
/// Paths in an error; more help nobody.
const SHOWN: usize = 10;

/// Why there is no such overlay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Properties that the second tree does not have.
    #[error("an overlay cannot take properties away, and these are gone: {}", list(.0))]
    Lost(Vec<String>),
    /// A value that is not of the form that its name calls for.
    #[error("{path} refers to other nodes in a way that cannot be followed")]
    Reference {
        /// Node and property.
        path: String,
    },
    /// A phandle that is not a number of its own.
    #[error("the phandle of {path} is not a number of its own")]
    Phandle {
        /// Node.
        path: String,
    },
    /// What is in the tree's header cannot be changed.
    #[error("an overlay cannot change reserved memory or the processor that starts")]
    Header,
}

fn list(paths: &[String]) -> String {
    let mut text = paths[..paths.len().min(SHOWN)].join(", ");
    if paths.len() > SHOWN {
        text.push_str(&format!(" and {} more", paths.len() - SHOWN));
    }
    text
}

/// The overlay that turns `from` into `to`.
pub fn difference(from: &DeviceTree, to: &DeviceTree) -> Result<DeviceTree, Error> {
    if (from.boot_cpu, &from.reservations) != (to.boot_cpu, &to.reservations) {
        return Err(Error::Header);
    }
    let mut differ = Differ {
        numbers: Numbers::new(from, to)?,
        lost: Vec::new(),
    };
    let changes = differ.changes("", &from.root, &to.root)?;
    if !differ.lost.is_empty() {
        return Err(Error::Lost(differ.lost));
    }

    let mut overlay = DeviceTree::default();
    let Changes { set, fixups } = changes;
    if set != Node::default() {
        let mut fragment = Node::default();
        fragment
            .properties
            .insert("target-path".to_owned(), b"/\0".to_vec());
        fragment.children.insert("__overlay__".to_owned(), set);
        overlay
            .root
            .children
            .insert("fragment@0".to_owned(), fragment);
    }
    if fixups != Node::default() {
        let fragment = parent_of("__overlay__", fixups);
        let fixups = parent_of("fragment@0", fragment);
        overlay
            .root
            .children
            .insert("__local_fixups__".to_owned(), fixups);
    }
    Ok(overlay)
}

fn parent_of(name: &str, child: Node) -> Node {
    Node {
        children: BTreeMap::from([(name.to_owned(), child)]),
        ..Node::default()
    }
}

/// What an overlay says of one node and those below it.
#[derive(Default)]
struct Changes {
    /// Properties set, nodes added.
    set: Node,
    /// The same nodes with offsets of references to nodes that get their phandle from the overlay.
    fixups: Node,
}

struct Differ<'a> {
    numbers: Numbers<'a>,
    lost: Vec<String>,
}

impl Differ<'_> {
    fn changes(&mut self, path: &str, from: &Node, to: &Node) -> Result<Changes, Error> {
        let mut changes = Changes::default();
        for (name, value) in &to.properties {
            self.property(path, name, value, (from, to), &mut changes)?;
        }
        for name in from.properties.keys() {
            if !to.properties.contains_key(name) {
                self.lost_property(path, name, &mut changes);
            }
        }
        for (name, child) in &to.children {
            let path = format!("{path}/{name}");
            let before = from.children.get(name);
            let inner = self.changes(&path, before.unwrap_or(&Node::default()), child)?;
            // A node may be there for its name alone.
            if before.is_none() || inner.set != Node::default() {
                changes.set.children.insert(name.clone(), inner.set);
            }
            if inner.fixups != Node::default() {
                changes.fixups.children.insert(name.clone(), inner.fixups);
            }
        }
        for name in from.children.keys() {
            if !to.children.contains_key(name) {
                let mut off = Node::default();
                off.properties
                    .insert("status".to_owned(), b"disabled\0".to_vec());
                changes.set.children.insert(name.clone(), off);
            }
        }
        Ok(changes)
    }

    fn property(
        &self,
        path: &str,
        name: &str,
        value: &[u8],
        (from, to): (&Node, &Node),
        changes: &mut Changes,
    ) -> Result<(), Error> {
        let before = from.properties.get(name);
        if PHANDLES.contains(&name) {
            if let Some(number) = self.numbers.added(path) {
                let number = number.to_be_bytes().to_vec();
                changes.set.properties.insert(name.to_owned(), number);
            }
            return Ok(());
        }
        let (translated, added) = self.numbers.translate(path, to, name, value)?;
        let same = before.is_some_and(|before| {
            added.is_empty() && *before == translated
                || !reference::is_known(name) && self.numbers.correspond(before, value)
        });
        if same {
            return Ok(());
        }
        changes.set.properties.insert(name.to_owned(), translated);
        if !added.is_empty() {
            changes.fixups.properties.insert(name.to_owned(), added);
        }
        Ok(())
    }

    fn lost_property(&mut self, path: &str, name: &str, changes: &mut Changes) {
        match name {
            // No `status` means the same (Devicetree Specification v0.4, section 2.3.4).
            "status" => {
                let okay = b"okay\0".to_vec();
                changes.set.properties.insert(name.to_owned(), okay);
            }
            // Nothing refers to it any more.
            _ if PHANDLES.contains(&name) || path == SYMBOLS => {}
            _ => self.lost.push(format!("{path}/{name}")),
        }
    }
}

/// Nodes by phandle, and phandles by path.
struct Handles<'a> {
    nodes: BTreeMap<u32, (String, &'a Node)>,
    numbers: BTreeMap<String, u32>,
}

impl<'a> Handles<'a> {
    fn of(tree: &'a DeviceTree) -> Result<Self, Error> {
        let mut handles = Handles {
            nodes: BTreeMap::new(),
            numbers: BTreeMap::new(),
        };
        handles.collect(String::new(), &tree.root)?;
        Ok(handles)
    }

    fn node(&self, number: u32) -> Option<&'a Node> {
        self.nodes.get(&number).map(|(_, node)| *node)
    }

    fn path(&self, number: u32) -> Option<&str> {
        self.nodes.get(&number).map(|(path, _)| path.as_str())
    }

    fn collect(&mut self, path: String, node: &'a Node) -> Result<(), Error> {
        for name in PHANDLES {
            if !node.properties.contains_key(name) {
                continue;
            }
            let number = node
                .cell(name)
                .filter(|&number| !matches!(number, 0 | u32::MAX));
            let earlier = number.and_then(|number| {
                self.numbers.insert(path.clone(), number);
                self.nodes.insert(number, (path.clone(), node))
            });
            if number.is_none() || earlier.is_some_and(|(other, _)| other != path) {
                return Err(Error::Phandle { path });
            }
        }
        for (name, child) in &node.children {
            self.collect(format!("{path}/{name}"), child)?;
        }
        Ok(())
    }
}

/// How the second tree's phandles are said in the overlay.
struct Numbers<'a> {
    from: Handles<'a>,
    to: Handles<'a>,
    /// Nodes that get a phandle by the overlay, by path.
    added: BTreeMap<String, u32>,
    /// Whether both trees number alike, and nothing is added: then every value means in one what it means in the
    /// other, whether it is a reference or not.
    alike: bool,
}

impl<'a> Numbers<'a> {
    fn new(from: &'a DeviceTree, to: &'a DeviceTree) -> Result<Self, Error> {
        let (from, to) = (Handles::of(from)?, Handles::of(to)?);
        let new = to
            .numbers
            .keys()
            .filter(|&path| !from.numbers.contains_key(path));
        let added = new.cloned().zip(1..).collect();
        let alike = to
            .numbers
            .iter()
            .all(|(path, number)| from.numbers.get(path) == Some(number));
        Ok(Numbers {
            from,
            to,
            added,
            alike,
        })
    }

    fn added(&self, path: &str) -> Option<u32> {
        self.added.get(path).copied()
    }

    /// A value of the second tree with references as the overlay has them, and the offsets, as a property of
    /// `__local_fixups__`, of those to nodes that get their phandle by the overlay.
    fn translate(
        &self,
        path: &str,
        node: &Node,
        name: &str,
        value: &[u8],
    ) -> Result<(Vec<u8>, Vec<u8>), Error> {
        let mut translated = value.to_vec();
        if self.alike {
            return Ok((translated, Vec::new()));
        }
        let offsets = reference::offsets(node, name, value, &|number| self.to.node(number));
        let offsets = offsets.ok_or_else(|| Error::Reference {
            path: format!("{path}/{name}"),
        })?;
        let mut fixups = Vec::new();
        for at in offsets {
            let path = super::u32_at(value, at).and_then(|number| self.to.path(number));
            let Some(path) = path else { continue };
            let (number, is_added) = match self.from.numbers.get(path) {
                Some(&number) => (number, false),
                None => (self.added[path], true),
            };
            translated[at..at + 4].copy_from_slice(&number.to_be_bytes());
            if is_added {
                fixups.extend((at as u32).to_be_bytes());
            }
        }
        Ok((translated, fixups))
    }

    /// Whether two values differ in numbers only that are, each in its tree, the phandle of the same node: then a
    /// property that is not known to refer to nodes does so.
    fn correspond(&self, from: &[u8], to: &[u8]) -> bool {
        let (Some(from), Some(to)) = (super::cells(from), super::cells(to)) else {
            return false;
        };
        let mut pairs = from.iter().zip(&to);
        from.len() == to.len() && pairs.all(|(from, to)| from == to || self.same_node(*from, *to))
    }

    fn same_node(&self, from: u32, to: u32) -> bool {
        let path = self.from.path(from);
        path.is_some() && path == self.to.path(to)
    }
}
