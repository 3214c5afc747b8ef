//! Many packages become one tree, as dpkg would have laid them out.

use std::collections::{BTreeMap, BTreeSet};

use prejoin_formats::tree::{Entry, Kind, Tree};
use prejoin_profiles::os::Os;

use crate::debian::deb;
use crate::debian::relation;
use crate::package::Package;

/// Which payload paths are left out.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    exclude: Vec<Glob>,
    unasked: Vec<Glob>,
    asked: BTreeSet<String>,
    keep: Vec<Glob>,
}

/// The tree and where it came from.
#[derive(Clone, Debug)]
pub struct Assembled {
    /// The payloads of all packages, merged.
    pub tree: Tree,
    /// Name of the package that a path came from, the first one for a shared directory. Made parents have none.
    pub owners: BTreeMap<Vec<u8>, String>,
    /// Paths that the filter left out, directories included.
    pub skipped: usize,
    /// Bytes of regular files among them.
    pub skipped_bytes: u64,
}

/// Packages that do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Two packages ship one path with different content, and none says that it replaces the other.
    #[error("`{path}` is shipped by both {first} and {second}")]
    Collision {
        /// The path.
        path: String,
        /// The package that came first.
        first: String,
        /// The other one.
        second: String,
    },
    /// A path lies below something that is not a directory.
    #[error("{package} ships `{path}`, but `{parent}` of {owner} is not a directory")]
    Parent {
        /// The path.
        path: String,
        /// Its package.
        package: String,
        /// What should have been a directory.
        parent: String,
        /// The package that made it something else.
        owner: String,
    },
    /// The same package is in the set twice.
    #[error("package {0} is in the set twice")]
    Twice(String),
    /// A hard link whose target was left out or replaced.
    #[error("{package} ships `{path}` as a hard link to `{target}`, which is not in the tree")]
    HardLink {
        /// The link.
        path: String,
        /// Its package.
        package: String,
        /// What it should be a name of.
        target: String,
    },
}

impl Error {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Collision { first, second, .. } => Some(format!(
                "leave {first} or {second} out, or exclude the path in the operating system's file"
            )),
            Error::HardLink { .. } => Some("exclude both names of the file, or none".into()),
            _ => None,
        }
    }
}

/// Merges `packages` into one tree: base-files first, since it ships the links of the merged `/usr`, then by name.
///
/// Directories merge (the first package's owner and mode stay, as with dpkg), equal links and equal files are one;
/// of two different files the one wins whose package `Replaces` the other's (Debian Policy 7.6.1).
pub fn assemble(packages: &[&Package], filter: &Filter) -> Result<Assembled, Error> {
    let mut order: Vec<&Package> = packages.to_vec();
    order.sort_by(|a, b| (a.name != "base-files", &a.name).cmp(&(b.name != "base-files", &b.name)));
    if let Some(pair) = order.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(Error::Twice(pair[0].name.clone()));
    }
    let mut assembly = Assembly {
        packages: order
            .iter()
            .map(|package| (package.name.as_str(), *package))
            .collect(),
        assembled: Assembled {
            tree: Tree::new(),
            owners: BTreeMap::new(),
            skipped: 0,
            skipped_bytes: 0,
        },
        directories: BTreeMap::new(),
        lifted: Vec::new(),
    };
    for package in order {
        for (path, entry) in &package.entries {
            if filter.leaves_out_of(&package.name, path) {
                assembly.assembled.skipped += 1;
                match &entry.kind {
                    Kind::File(content) => assembly.assembled.skipped_bytes += content.len(),
                    Kind::Directory => drop(assembly.directories.entry(path).or_insert(entry)),
                    _ => {}
                }
            } else {
                if filter.leaves_out(path) && matches!(entry.kind, Kind::Symlink(_)) {
                    assembly.lifted.push(path);
                }
                assembly.add(package, path, entry)?;
            }
        }
    }
    assembly.finish()
}

struct Assembly<'a> {
    packages: BTreeMap<&'a str, &'a Package>,
    assembled: Assembled,
    /// Directories that were left out, in case something below them is kept.
    directories: BTreeMap<&'a [u8], &'a Entry>,
    /// Links that would have been left out of a package that nobody asked for.
    lifted: Vec<&'a [u8]>,
}

impl Assembly<'_> {
    fn add(&mut self, package: &Package, path: &[u8], entry: &Entry) -> Result<(), Error> {
        self.check_parent(package, path)?;
        let Assembled { tree, owners, .. } = &mut self.assembled;
        let there = tree.entry(path);
        match there {
            Some(there) if there.kind == entry.kind => return Ok(()),
            Some(Entry {
                kind: Kind::Directory,
                ..
            }) if !owners.contains_key(path) && entry.kind == Kind::Directory => {}
            Some(_) => {
                let owner = owners.get(path).cloned().unwrap_or_default();
                if self
                    .packages
                    .get(owner.as_str())
                    .is_some_and(|first| replaces(first, package))
                {
                    return Ok(());
                }
                let directories = matches!(entry.kind, Kind::Directory)
                    || matches!(
                        there,
                        Some(Entry {
                            kind: Kind::Directory,
                            ..
                        })
                    );
                if directories
                    || !self
                        .packages
                        .get(owner.as_str())
                        .is_some_and(|first| replaces(package, first))
                {
                    let (path, second) = (lossy(path), package.name.clone());
                    return Err(Error::Collision {
                        path,
                        first: owner,
                        second,
                    });
                }
            }
            None => {}
        }
        tree.insert(path, entry.clone());
        owners.insert(path.to_vec(), package.name.clone());
        Ok(())
    }

    /// The nearest parent that exists must be a directory, or [`Tree::insert`] would turn a link into one.
    fn check_parent(&self, package: &Package, path: &[u8]) -> Result<(), Error> {
        let mut at = path;
        while let Some(slash) = at.iter().rposition(|&byte| byte == b'/') {
            at = &at[..slash];
            match self.assembled.tree.entry(at) {
                Some(Entry {
                    kind: Kind::Directory,
                    ..
                }) => return Ok(()),
                Some(_) => {
                    let owner = self.assembled.owners.get(at).cloned().unwrap_or_default();
                    let (path, package, parent) = (lossy(path), package.name.clone(), lossy(at));
                    return Err(Error::Parent {
                        path,
                        package,
                        parent,
                        owner,
                    });
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Hard links point at files that are there; directories that were left out but hold something kept get their own
    /// metadata back.
    fn finish(mut self) -> Result<Assembled, Error> {
        let tree = &self.assembled.tree;
        for (path, entry) in tree.iter() {
            if let Kind::HardLink(target) = &entry.kind
                && !matches!(
                    tree.entry(target),
                    Some(Entry {
                        kind: Kind::File(_),
                        ..
                    })
                )
            {
                let package = self.assembled.owners.get(path).cloned().unwrap_or_default();
                return Err(Error::HardLink {
                    path: lossy(path),
                    package,
                    target: lossy(target),
                });
            }
        }
        // A link to what another package has left out leads nowhere.
        for path in self.lifted {
            if !leads_somewhere(&self.assembled.tree, path) {
                self.assembled.tree.remove(path);
                self.assembled.owners.remove(path);
            }
        }
        for (path, entry) in self.directories {
            // It was made with default metadata when something below it was kept.
            if !self.assembled.owners.contains_key(path)
                && let Some(made) = self.assembled.tree.entry_mut(path)
            {
                *made = entry.clone();
            }
        }
        Ok(self.assembled)
    }
}

/// Whether something is where the link at `path` leads, as far as names alone tell.
fn leads_somewhere(tree: &Tree, path: &[u8]) -> bool {
    let Some(Entry {
        kind: Kind::Symlink(target),
        ..
    }) = tree.entry(path)
    else {
        return true;
    };
    let folder = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
    let start = if target.starts_with(b"/") {
        &[]
    } else {
        &path[..folder]
    };
    let mut at: Vec<&[u8]> = Vec::new();
    for name in start
        .split(|&byte| byte == b'/')
        .chain(target.split(|&byte| byte == b'/'))
    {
        match name {
            b"" | b"." => {}
            b".." => drop(at.pop()),
            name => at.push(name),
        }
    }
    tree.entry(at.join(&b'/')).is_some()
}

/// Whether `package` declares that its files replace those of `other`.
fn replaces(package: &Package, other: &Package) -> bool {
    let Some(field) = deb::field(&package.control, "Replaces") else {
        return false;
    };
    let groups = relation::groups(&field).unwrap_or_default();
    groups
        .iter()
        .flatten()
        .any(|relation| relation.name == other.name && relation.accepts(&other.version))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Filter {
    /// A filter of patterns as in [`prejoin_profiles::os::Os::exclude`] and `keep`: `*` and `?` stay within a path
    /// component, `**` does not; a pattern that matches a directory matches everything below it, and `x/**` matches
    /// `x` itself too.
    pub fn new<'a>(
        exclude: impl IntoIterator<Item = &'a str>,
        keep: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let globs = |patterns: &mut dyn Iterator<Item = &'a str>| patterns.map(Glob::new).collect();
        Filter {
            exclude: globs(&mut exclude.into_iter()),
            keep: globs(&mut keep.into_iter()),
            ..Filter::default()
        }
    }

    /// What an operating system with `packages` leaves out: for nobody, for packages that were not asked for, and
    /// where the package that would read it is missing. `further` patterns are the board's.
    pub fn of_system(os: &Os, further: &[String], packages: &[&Package]) -> Self {
        let exclude = os.exclude.iter().chain(further).map(String::as_str);
        let is_there = |name: &str| packages.iter().any(|package| package.name == name);
        let unread = os
            .exclude_without
            .iter()
            .filter(|(reader, _)| !is_there(reader))
            .flat_map(|(_, patterns)| patterns);
        let unasked = os.exclude_unasked.iter().chain(unread);
        Filter {
            unasked: unasked.map(|pattern| Glob::new(pattern)).collect(),
            asked: os.asked.clone(),
            ..Filter::new(exclude, os.keep.iter().map(String::as_str))
        }
    }

    /// Whether `path` is left out of a package that nobody asked for.
    pub fn leaves_out(&self, path: &[u8]) -> bool {
        self.exclude
            .iter()
            .chain(&self.unasked)
            .any(|glob| glob.matches(path))
            && !self.keep.iter().any(|glob| glob.matches(path))
    }

    /// Whether `path` of `package` is left out.
    pub fn leaves_out_of(&self, package: &str, path: &[u8]) -> bool {
        self.leaves_out(path)
            && (!self.asked.contains(package) || self.exclude.iter().any(|glob| glob.matches(path)))
    }
}

/// One pattern, split at its first wildcard so that most paths are told apart by a prefix comparison.
#[derive(Clone, Debug)]
pub struct Glob {
    literal: Vec<u8>,
    rest: Vec<u8>,
}

impl Glob {
    /// A pattern as [`Filter::new`] describes it.
    pub fn new(pattern: &str) -> Self {
        let pattern = pattern.trim_start_matches('/');
        let pattern = pattern
            .strip_suffix("/**")
            .or(pattern.strip_suffix('/'))
            .unwrap_or(pattern);
        let wildcard = pattern.find(['*', '?']).unwrap_or(pattern.len());
        let (literal, rest) = pattern.split_at(wildcard);
        Glob {
            literal: literal.into(),
            rest: rest.into(),
        }
    }

    /// Whether it matches `path` or one of its parents.
    pub fn matches(&self, path: &[u8]) -> bool {
        path.strip_prefix(self.literal.as_slice())
            .is_some_and(|rest| matches(&self.rest, rest))
    }
}

/// The pattern's byte after a wildcard, and how far the wildcard reaches into the path.
type Retry = Option<(usize, usize)>;

/// Whether `pattern` matches `path` or one of its parents. Linear in the path for each `*` (no nested retries but for
/// the last one seen of either kind).
fn matches(pattern: &[u8], path: &[u8]) -> bool {
    let (mut at, mut position) = (0, 0);
    // Where to go on when the present attempt fails: after the last `*` and after the last `**`.
    let (mut star, mut stars): (Retry, Retry) = (None, None);
    loop {
        let next = pattern.get(at);
        if next == Some(&b'*') {
            if pattern.get(at + 1) == Some(&b'*') {
                at += 2;
                // `a/**/b` matches `a/b`.
                at += usize::from(
                    pattern.get(at) == Some(&b'/')
                        && (position == 0 || path.get(position - 1) == Some(&b'/')),
                );
                (stars, star) = (Some((at, position)), None);
            } else {
                at += 1;
                star = Some((at, position));
            }
            continue;
        }
        if next.is_none() && (position == path.len() || path[position] == b'/') {
            return true;
        }
        let equal = match (next, path.get(position)) {
            (Some(b'?'), Some(byte)) => *byte != b'/',
            (Some(wanted), Some(byte)) => wanted == byte,
            _ => false,
        };
        if equal {
            (at, position) = (at + 1, position + 1);
            continue;
        }
        match (star, stars) {
            (Some((after, from)), _) if path.get(from).is_some_and(|&byte| byte != b'/') => {
                star = Some((after, from + 1));
                (at, position) = (after, from + 1);
            }
            (_, Some((after, from))) if from < path.len() => {
                (stars, star) = (Some((after, from + 1)), None);
                (at, position) = (after, from + 1);
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use prejoin_profiles::yaml;

    use super::*;

    fn package(name: &str, files: &[&str]) -> Package {
        let entry = |path: &&str| match path.split_once(" -> ") {
            Some((path, target)) => (path.as_bytes().to_vec(), Entry::symlink(target)),
            None => (path.as_bytes().to_vec(), Entry::file(*b"x", 0o644)),
        };
        Package {
            name: name.to_owned(),
            version: "1".to_owned(),
            entries: files.iter().map(entry).collect(),
            ..Package::default()
        }
    }

    #[test]
    fn what_is_asked_for_is_whole() {
        let mut os: Os = yaml::parse(
            "{name: a, description: a, exclude: ['etc/init.d/**'], exclude_unasked: ['usr/share/doc/**'],
              exclude_without: {fish: ['usr/share/fish/**'], vim: ['usr/share/vim/**']}}",
        )
        .unwrap();
        os.asked.insert("asked".to_owned());
        let asked = package(
            "asked",
            &[
                "etc/init.d/asked",
                "usr/share/doc/asked/a",
                "usr/share/doc/asked/b -> a",
                "usr/share/doc/asked/c -> ../needed/a",
                "usr/share/vim/asked",
            ],
        );
        let needed = package(
            "needed",
            &[
                "usr/share/doc/needed/a",
                "usr/share/fish/needed",
                "usr/share/vim/needed",
            ],
        );
        let fish = package("fish", &[]);
        let packages = [&asked, &needed, &fish];
        let filter = Filter::of_system(&os, &["usr/share/further".to_owned()], &packages);
        let assembled = assemble(&packages, &filter).unwrap();
        let owned: Vec<_> = assembled.owners.keys().map(|path| lossy(path)).collect();
        assert_eq!(
            owned,
            [
                "usr/share/doc/asked/a",
                "usr/share/doc/asked/b",
                "usr/share/fish/needed",
                "usr/share/vim/asked"
            ]
        );
        assert!(filter.leaves_out_of("asked", b"usr/share/further"));
    }
}
