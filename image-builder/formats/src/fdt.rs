//! Flattened device trees: how firmware tells a kernel what a machine has (Devicetree Specification v0.4, chapter 5).
//!
//! [`difference()`] makes an overlay that turns one tree into another.

mod difference;
mod reference;

use std::collections::BTreeMap;

pub use difference::{Error as DifferenceError, difference};

/// First four bytes of every tree and overlay.
pub const MAGIC: u32 = 0xd00d_feed;
/// No kernel takes a larger one (Documentation/arch/arm64/booting.rst, section 2).
pub const MOST_BYTES: usize = 2 << 20;
/// Nodes within nodes; real trees have about ten levels.
const MOST_LEVELS: usize = 64;
/// Bytes of a node's path, so that what is said of many nodes stays in proportion to the tree.
const MOST_PATH: usize = 1024;
/// Bytes of a name. The specification has 31 for both kinds, which labels in `__symbols__` already exceed.
const MOST_NAME: usize = 255;

const VERSION: u32 = 17;
/// Versions that readers of this one may come from: nothing was taken away since.
const COMPATIBLE: u32 = 16;
const HEADER: usize = 40;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// Bytes that are no device tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something else altogether.
    #[error("not a flattened device tree")]
    Magic,
    /// A format that is not known.
    #[error("device tree of version {0}, only 17 is known")]
    Version(u32),
    /// Larger than a kernel takes.
    #[error("device tree is larger than 2 MiB")]
    Large,
    /// A part contradicts another or the specification.
    #[error("broken device tree: {0}")]
    Broken(&'static str),
}

/// A tree or an overlay. The order of properties and nodes, which means nothing, is that of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceTree {
    /// The processor that the machine starts on.
    pub boot_cpu: u32,
    /// Memory that a kernel must leave alone.
    pub reservations: Vec<Reservation>,
    /// The node without a name, which has all others.
    pub root: Node,
}

/// A piece of physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Where it begins.
    pub address: u64,
    /// Its bytes.
    pub size: u64,
}

/// One device, or something else that is said of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Values by name.
    pub properties: BTreeMap<String, Vec<u8>>,
    /// Nodes below by name.
    pub children: BTreeMap<String, Node>,
}

impl Node {
    /// The node at a path from this one (`soc/serial@0`); a leading slash makes no difference.
    pub fn descendant(&self, path: &str) -> Option<&Node> {
        path.split('/')
            .filter(|name| !name.is_empty())
            .try_fold(self, |node, name| node.children.get(name))
    }

    /// The value of a property that is one number.
    pub fn cell(&self, name: &str) -> Option<u32> {
        let bytes = self.properties.get(name)?;
        bytes.as_slice().try_into().ok().map(u32::from_be_bytes)
    }

    /// The value of a property that is one text.
    pub fn text(&self, name: &str) -> Option<&str> {
        let bytes = self.properties.get(name)?.strip_suffix(b"\0")?;
        std::str::from_utf8(bytes).ok()
    }
}

impl DeviceTree {
    /// Reads a tree; bytes after its own length are left alone.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if u32_at(bytes, 0) != Some(MAGIC) {
            return Err(Error::Magic);
        }
        let header = Header::parse(bytes)?;
        let bytes = bytes
            .get(..header.total)
            .ok_or(Error::Broken("it is cut off"))?;
        Ok(DeviceTree {
            boot_cpu: header.boot_cpu,
            reservations: reservations(bytes, header.reservations)?,
            root: Structure::new(bytes, &header)?.root()?,
        })
    }

    /// The tree as bytes, the same for the same tree.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let mut writer = Writer::default();
        writer.node("", &self.root);
        writer.word(END);
        let mut reserved = Vec::new();
        for reservation in &self.reservations {
            reserved.extend(reservation.address.to_be_bytes());
            reserved.extend(reservation.size.to_be_bytes());
        }
        reserved.extend([0; 16]);

        let structure = HEADER + reserved.len();
        let strings = structure + writer.structure.len();
        let total = strings + writer.strings.len();
        if total > MOST_BYTES {
            return Err(Error::Large);
        }
        let mut bytes = Vec::with_capacity(total);
        bytes.extend(MAGIC.to_be_bytes());
        // No truncation: all are below the limit.
        for place in [total, structure, strings, HEADER] {
            bytes.extend((place as u32).to_be_bytes());
        }
        for number in [VERSION, COMPATIBLE, self.boot_cpu] {
            bytes.extend(number.to_be_bytes());
        }
        for length in [writer.strings.len(), writer.structure.len()] {
            bytes.extend((length as u32).to_be_bytes());
        }
        bytes.extend(reserved);
        bytes.extend(writer.structure);
        bytes.extend(writer.strings);
        Ok(bytes)
    }
}

/// Section 5.2.
struct Header {
    total: usize,
    structure: usize,
    strings: usize,
    reservations: usize,
    boot_cpu: u32,
    strings_length: usize,
    structure_length: usize,
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Header, Error> {
        let mut words = [0; HEADER / 4];
        for (index, word) in words.iter_mut().enumerate() {
            *word = u32_at(bytes, index * 4).ok_or(Error::Broken("it is cut off"))?;
        }
        let [_, total, places @ .., boot_cpu, strings, structure] = words;
        let [in_structure, in_strings, reservations, version, compatible] = places;
        if version < VERSION || compatible > VERSION {
            return Err(Error::Version(version));
        }
        if total as usize > MOST_BYTES {
            return Err(Error::Large);
        }
        Ok(Header {
            total: total as usize,
            structure: in_structure as usize,
            strings: in_strings as usize,
            reservations: reservations as usize,
            boot_cpu,
            strings_length: strings as usize,
            structure_length: structure as usize,
        })
    }
}

/// Section 5.3: pairs of numbers, ended by one of zeroes.
fn reservations(bytes: &[u8], start: usize) -> Result<Vec<Reservation>, Error> {
    let mut found = Vec::new();
    for pair in bytes.get(start..).unwrap_or_default().chunks_exact(16) {
        let (address, size) = pair.split_at(8);
        // Both halves have eight bytes.
        let [address, size] =
            [address, size].map(|half| u64::from_be_bytes(half.try_into().unwrap_or_default()));
        if (address, size) == (0, 0) {
            return Ok(found);
        }
        found.push(Reservation { address, size });
    }
    Err(Error::Broken("its memory reservations have no end"))
}

/// Section 5.4: the tree as tokens, each of a multiple of four bytes.
struct Structure<'a> {
    tokens: &'a [u8],
    strings: &'a [u8],
    at: usize,
}

impl<'a> Structure<'a> {
    fn new(bytes: &'a [u8], header: &Header) -> Result<Self, Error> {
        let tokens = block(bytes, header.structure, header.structure_length)
            .ok_or(Error::Broken("its structure is outside"))?;
        let strings = block(bytes, header.strings, header.strings_length)
            .ok_or(Error::Broken("its strings are outside"))?;
        Ok(Structure {
            tokens,
            strings,
            at: 0,
        })
    }

    fn root(mut self) -> Result<Node, Error> {
        let mut open: Vec<(String, Node)> = Vec::new();
        loop {
            match self.word()? {
                NOP => {}
                BEGIN_NODE => {
                    let name = self.node_name()?;
                    let above: usize = open.iter().map(|(name, _)| name.len() + 1).sum();
                    if open.len() == MOST_LEVELS || above + name.len() > MOST_PATH {
                        return Err(Error::Broken("its nodes are nested too deeply"));
                    }
                    if name.is_empty() != open.is_empty() {
                        return Err(Error::Broken("a node has no name, or the root has one"));
                    }
                    open.push((name, Node::default()));
                }
                PROPERTY => {
                    let (name, value) = self.property()?;
                    let (_, node) = open
                        .last_mut()
                        .ok_or(Error::Broken("a property is in no node"))?;
                    if node.properties.insert(name, value).is_some() {
                        return Err(Error::Broken("a node has a property twice"));
                    }
                }
                END_NODE => {
                    let (name, node) = open
                        .pop()
                        .ok_or(Error::Broken("a node ends that has not begun"))?;
                    let Some((_, parent)) = open.last_mut() else {
                        return self.end(node);
                    };
                    if parent.children.insert(name, node).is_some() {
                        return Err(Error::Broken("two nodes in one place have the same name"));
                    }
                }
                _ => return Err(Error::Broken("an unknown token")),
            }
        }
    }

    /// Nothing follows the root.
    fn end(&mut self, root: Node) -> Result<Node, Error> {
        loop {
            match self.word()? {
                NOP => {}
                END => return Ok(root),
                _ => return Err(Error::Broken("something follows the root")),
            }
        }
    }

    fn word(&mut self) -> Result<u32, Error> {
        let word = u32_at(self.tokens, self.at).ok_or(Error::Broken("its structure has no end"))?;
        self.at += 4;
        Ok(word)
    }

    fn node_name(&mut self) -> Result<String, Error> {
        let name = text(self.tokens.get(self.at..).unwrap_or_default())
            .filter(|name| !name.contains('/'))
            .ok_or(Error::Broken("a node's name"))?;
        self.at = (self.at + name.len() + 1).next_multiple_of(4);
        Ok(name.to_owned())
    }

    fn property(&mut self) -> Result<(String, Vec<u8>), Error> {
        let (length, name) = (self.word()? as usize, self.word()? as usize);
        let name = text(self.strings.get(name..).unwrap_or_default())
            .filter(|name| !name.is_empty())
            .ok_or(Error::Broken("a property's name"))?;
        let value = block(self.tokens, self.at, length)
            .ok_or(Error::Broken("a property's value is outside"))?;
        self.at = (self.at + length).next_multiple_of(4);
        Ok((name.to_owned(), value.to_vec()))
    }
}

/// A name up to its zero byte: printable, so that it can be shown, and not endless.
fn text(bytes: &[u8]) -> Option<&str> {
    let length = bytes.iter().take(MOST_NAME + 1).position(|&b| b == 0)?;
    let name = &bytes[..length];
    let printable = name.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(name).ok().filter(|_| printable)
}

fn block(bytes: &[u8], start: usize, length: usize) -> Option<&[u8]> {
    bytes.get(start..start.checked_add(length)?)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*word))
}

/// A value as numbers, if it is of any.
fn cells(value: &[u8]) -> Option<Vec<u32>> {
    let whole = value.len().is_multiple_of(4);
    whole.then(|| {
        (0..value.len())
            .step_by(4)
            .filter_map(|at| u32_at(value, at))
            .collect()
    })
}

#[derive(Default)]
struct Writer {
    structure: Vec<u8>,
    strings: Vec<u8>,
    places: BTreeMap<String, u32>,
}

impl Writer {
    fn node(&mut self, name: &str, node: &Node) {
        self.word(BEGIN_NODE);
        self.structure.extend(name.as_bytes());
        self.structure.push(0);
        self.align();
        for (name, value) in &node.properties {
            let place = self.place(name);
            self.word(PROPERTY);
            self.word(value.len() as u32);
            self.word(place);
            self.structure.extend(value);
            self.align();
        }
        for (name, child) in &node.children {
            self.node(name, child);
        }
        self.word(END_NODE);
    }

    /// Where a property's name is among the strings.
    fn place(&mut self, name: &str) -> u32 {
        if let Some(&place) = self.places.get(name) {
            return place;
        }
        let place = self.strings.len() as u32;
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        self.places.insert(name.to_owned(), place);
        place
    }

    fn word(&mut self, word: u32) {
        self.structure.extend(word.to_be_bytes());
    }

    fn align(&mut self) {
        let length = self.structure.len().next_multiple_of(4);
        self.structure.resize(length, 0);
    }
}
