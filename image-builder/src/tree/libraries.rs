//! Are all shared libraries there? Every `DT_NEEDED` of every ELF file of the tree is looked up as ld.so(8) would:
//! the safety net under waived dependencies.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use prejoin_formats::tree::{Kind, Tree};

use crate::package::{Linkage, Package};
use crate::tree::assemble::Assembled;

/// A library that nothing provides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing {
    /// The ELF file that needs it.
    pub path: String,
    /// The package it came from.
    pub package: String,
    /// The `DT_NEEDED` entry.
    pub soname: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "/{} of {} needs {}, which is nowhere",
            self.path, self.package, self.soname
        )
    }
}

/// Directories glibc searches without a cache (its built-in defaults), `<triplet>` ones added.
const DEFAULT: [&str; 2] = ["usr/lib", "usr/lib64"];
const TRIPLETS: [&str; 2] = ["x86_64-linux-gnu", "aarch64-linux-gnu"];

/// Every library that an ELF file of the tree needs and that is found neither through its RUNPATH, nor in the default
/// directories, nor through the RUNPATH of a file that needs *it*.
///
/// The last is how a private library finds its siblings: libsystemd-core names libsystemd-shared without a RUNPATH,
/// and the executable that needs both has loaded it before (ld.so(8): one that is loaded already is not searched).
pub fn missing(assembled: &Assembled, packages: &[&Package]) -> Vec<Missing> {
    let tree = &assembled.tree;
    let mut files: BTreeMap<&[u8], (&Package, &Linkage)> = BTreeMap::new();
    for package in packages {
        for (path, linkage) in &package.libraries {
            let ours = assembled
                .owners
                .get(path.as_slice())
                .is_some_and(|owner| *owner == package.name);
            if ours && tree.entry(path).is_some() {
                files.insert(path, (package, linkage));
            }
        }
    }
    let mut loaders: BTreeMap<Vec<u8>, BTreeSet<&str>> = BTreeMap::new();
    let mut open: Vec<(&[u8], &str)> = Vec::new();
    for (path, (_, linkage)) in &files {
        for soname in &linkage.needed {
            match find(tree, path, linkage, soname) {
                Some(found) => {
                    // Everything the loader needs itself is in the process by then.
                    loaders
                        .entry(found)
                        .or_default()
                        .extend(linkage.needed.iter().map(String::as_str));
                }
                None => open.push((path, soname)),
            }
        }
    }
    open.retain(|(path, soname)| {
        !loaders
            .get(*path)
            .is_some_and(|loaded| loaded.contains(soname))
    });
    let finding = |(path, soname): (&[u8], &str)| Missing {
        path: String::from_utf8_lossy(path).into_owned(),
        package: files[path].0.name.clone(),
        soname: soname.to_owned(),
    };
    let mut missing: Vec<Missing> = open.into_iter().map(finding).collect();
    missing.sort();
    missing
}

/// The regular file that `soname` leads to.
fn find(tree: &Tree, path: &[u8], linkage: &Linkage, soname: &str) -> Option<Vec<u8>> {
    if soname.contains('/') {
        return follow(tree, soname.as_bytes());
    }
    let directory = String::from_utf8_lossy(parent(path)).into_owned();
    let machine = |text: &str| {
        let text = text
            .replace("$ORIGIN", &format!("/{directory}"))
            .replace("${ORIGIN}", &format!("/{directory}"));
        text.replace("$LIB", "lib")
    };
    let runpath = linkage.runpath.iter().map(|text| machine(text));
    let triplets = DEFAULT.iter().flat_map(|base| {
        TRIPLETS
            .iter()
            .map(move |triplet| format!("{base}/{triplet}"))
    });
    let mut search = runpath
        .chain(triplets)
        .chain(DEFAULT.iter().map(|&base| base.to_owned()));
    search.find_map(|directory| follow(tree, format!("{directory}/{soname}").as_bytes()))
}

/// Resolves `path` inside the tree, links in every component followed, to the path of a regular file.
fn follow(tree: &Tree, path: &[u8]) -> Option<Vec<u8>> {
    let mut rest: Vec<Vec<u8>> = path
        .split(|&byte| byte == b'/')
        .rev()
        .map(<[u8]>::to_vec)
        .collect();
    let mut at: Vec<u8> = Vec::new();
    let mut links = 0;
    while let Some(component) = rest.pop() {
        match component.as_slice() {
            b"" | b"." => continue,
            b".." => {
                at.truncate(parent(&at).len());
                continue;
            }
            _ => {}
        }
        let mut next = at.clone();
        if !next.is_empty() {
            next.push(b'/');
        }
        next.extend(&component);
        match &tree.entry(&next)?.kind {
            Kind::Symlink(target) => {
                links += 1;
                if links > 40 {
                    return None;
                }
                if target.starts_with(b"/") {
                    at.clear();
                }
                rest.extend(target.split(|&byte| byte == b'/').rev().map(<[u8]>::to_vec));
            }
            Kind::HardLink(target) => at = target.clone(),
            _ => at = next,
        }
    }
    matches!(tree.entry(&at)?.kind, Kind::File(_)).then_some(at)
}

fn parent(path: &[u8]) -> &[u8] {
    path.iter()
        .rposition(|&byte| byte == b'/')
        .map_or(&[], |slash| &path[..slash])
}
