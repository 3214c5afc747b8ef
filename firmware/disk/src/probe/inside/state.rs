//! What is on a node's state that its own software did not make ([`crate::known`]).

use std::collections::BTreeSet;

use prejoin_wire::disk::{Extent, Inside};

use super::ext::{Ext, ROOT};
use super::files::{Child, Files, Kind};
use super::text;
use crate::known::{LIST, Meaning, Place, SEEN};

/// Entries that are looked at, at most: a node with a hundred pods has a few thousand that are not
/// skipped as a whole.
const MOST_SEEN: u32 = 1 << 16;
/// Directories below one another, as many as an identity may bring.
const DEEPEST: usize = prejoin_wire::path::DEEPEST + 8;
/// Things that are told of one by one.
const MOST_TOLD: usize = 32;
/// Longest path that is told as it is, in bytes.
const LONGEST: usize = 160;

/// Walks through the state. The first line says that it was walked through, and what could not be
/// looked at (`gap=`) or is not told (`more=`); the others are what is not known to be the node's
/// own.
pub(super) fn look(ext: &Ext, of: Extent) -> Vec<Inside> {
    let list = ext.read(&LIST["var".len()..]).unwrap_or_default();
    let mut walk = Walk {
        ext,
        // A line without its end may be half a path.
        brought: list
            .split_inclusive(|&byte| byte == b'\n')
            .filter_map(|line| line.strip_suffix(b"\n"))
            .collect(),
        left: MOST_SEEN,
        found: Vec::new(),
        more: 0,
        gaps: BTreeSet::new(),
    };
    walk.folder(ROOT, b"var", &Place::of("var"), 0);
    let Walk {
        mut found,
        more,
        mut gaps,
        ..
    } = walk;
    gaps.extend(ext.gaps());
    found.sort();
    let mut detail: Vec<String> = gaps.into_iter().map(|gap| format!("gap={gap}")).collect();
    if more > 0 {
        detail.push(format!("more={more}"));
    }
    let entry = |kind: &str, path: String, detail| Inside {
        of,
        kind: kind.into(),
        path,
        detail,
    };
    let first = entry("state", "/".into(), detail);
    let rest = found
        .into_iter()
        .map(|(path, kind, detail)| entry(kind, path, detail));
    std::iter::once(first).chain(rest).collect()
}

struct Walk<'a> {
    ext: &'a Ext<'a>,
    /// Files of the node's identity.
    brought: BTreeSet<&'a [u8]>,
    /// Entries that may still be looked at.
    left: u32,
    /// Path, kind and details of what is told.
    found: Vec<(String, &'static str, Vec<String>)>,
    more: u32,
    gaps: BTreeSet<String>,
}

impl Walk<'_> {
    /// A directory of which the table says more.
    fn folder(&mut self, directory: u32, path: &[u8], place: &Place, depth: usize) {
        for child in self.children(directory, depth) {
            let (path, place) = step(path, place, &child.name);
            let known = place.known.map(|known| known.meaning);
            match child.kind {
                Kind::Directory if place.goes_deeper() || !path.contains(&b'/') => {
                    self.folder(child.number, &path, &place, depth + 1);
                }
                // Something has been moved elsewhere, and is found there.
                Kind::Link if place.goes_deeper() => (),
                _ if known == Some(Meaning::Own) => (),
                _ => {
                    if let Some(first) = self.first(&child, &path, depth) {
                        self.tell(&path, &place, &first);
                    }
                }
            }
        }
    }

    /// The first thing that is no directory, in an order of its own, and was not brought by the
    /// identity.
    fn first(&mut self, child: &Child, path: &[u8], depth: usize) -> Option<Vec<u8>> {
        match child.kind {
            Kind::Special => None,
            Kind::File | Kind::Link => (!self.brought.contains(path)).then(|| path.to_vec()),
            Kind::Directory => {
                let children = self.children(child.number, depth + 1);
                children.into_iter().find_map(|child| {
                    let path = [path, b"/", &child.name].concat();
                    self.first(&child, &path, depth + 1)
                })
            }
        }
    }

    fn children(&mut self, directory: u32, depth: usize) -> Vec<Child> {
        if depth > DEEPEST {
            self.gaps.insert("directories lie too deep".into());
            return Vec::new();
        }
        if self.left == 0 {
            self.gaps.insert("there is more than is looked at".into());
            return Vec::new();
        }
        let children = self.ext.children(directory);
        self.left = self.left.saturating_sub(1 + children.len() as u32);
        children
    }

    fn tell(&mut self, path: &[u8], place: &Place, first: &[u8]) {
        if self.found.len() >= MOST_TOLD {
            self.more += 1;
            return;
        }
        let kind = match place.known.map(|known| known.meaning) {
            Some(Meaning::Cluster) => "state-cluster",
            _ => "state-data",
        };
        let mut detail = Vec::new();
        detail.extend(place.known.map(|known| format!("what={}", known.what)));
        if first != path {
            detail.push(format!("holds={}", shown(first)));
        }
        self.found.push((shown(path), kind, detail));
    }
}

/// One step down, as the node sees it.
fn step(path: &[u8], place: &Place, name: &[u8]) -> (Vec<u8>, Place) {
    let path = [path, b"/", name].concat();
    match SEEN.iter().find(|(source, _)| source.as_bytes() == path) {
        Some((_, seen)) => (seen.as_bytes().to_vec(), Place::of(seen)),
        // A name that is not UTF-8 is none of the table's.
        None => {
            let place = place.down(&String::from_utf8_lossy(name));
            (path, place)
        }
    }
}

/// A path as it is told: one that is too long or has control characters says so by a replacement
/// character.
fn shown(path: &[u8]) -> String {
    let whole = &path[..path.len().min(LONGEST)];
    let cut = if whole.len() < path.len() {
        "\u{fffd}"
    } else {
        ""
    };
    format!("/{}{cut}", text(&String::from_utf8_lossy(whole)))
}
