//! Small made-up trees for the tests of rules.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use prejoin_formats::tree::{Entry, Kind, NoContents, Tree};
use prejoin_profiles::os::Os;
use prejoin_profiles::yaml;
use prejoin_wire::architecture::Architecture;

use super::root::show;
use super::{Context, Root};
use crate::package::Package;

/// Day 20000.
pub(super) const EPOCH: i64 = 20_000 * 86_400 + 5;

/// An operating system and the packages that are there.
pub(super) struct Bench {
    os: Os,
    packages: Vec<Package>,
}

impl Bench {
    /// An operating system with these fields (of a YAML flow mapping) besides name and description.
    pub(super) fn new(fields: &str) -> Self {
        let os = yaml::parse(&format!("{{name: test, description: test, {fields}}}")).unwrap();
        Bench {
            os,
            packages: Vec::new(),
        }
    }

    pub(super) fn package(self, name: &str) -> Self {
        self.with(package(name))
    }

    /// A package that somebody asked for by name.
    pub(super) fn asked(mut self, package: Package) -> Self {
        self.os.asked.insert(package.name.clone());
        self.with(package)
    }

    pub(super) fn with(mut self, package: Package) -> Self {
        self.packages.push(package);
        self
    }

    pub(super) fn root(&self, files: &[(&str, &str)]) -> Root<'static> {
        let mut tree = Tree::new();
        for (path, text) in files {
            match text.strip_prefix("-> ") {
                Some(target) => tree.insert(path, Entry::symlink(target)),
                None => tree.insert(path, Entry::file(text.as_bytes(), 0o644)),
            }
        }
        Root::new(tree, &NoContents, EPOCH)
    }

    pub(super) fn context(&self) -> Context<'_> {
        // One leaked slice per test: a context borrows a slice of references.
        let packages: &[&Package] =
            Box::leak(self.packages.iter().collect::<Vec<_>>().into_boxed_slice());
        Context {
            os: &self.os,
            board: "board",
            architecture: Architecture::Amd64,
            epoch: EPOCH,
            packages,
        }
    }
}

pub(super) fn package(name: &str) -> Package {
    Package {
        name: name.into(),
        version: "1".into(),
        architecture: "amd64".into(),
        control: format!("Package: {name}\nVersion: 1\n"),
        conffiles: Vec::new(),
        scripts: BTreeMap::new(),
        entries: Vec::new(),
        modules: Vec::new(),
        libraries: BTreeMap::new(),
    }
}

/// One line per path: mode, owner and text, or where a link leads.
pub(super) fn modes(root: &Root<'_>, paths: &[&str]) -> String {
    let mut text = String::new();
    for path in paths {
        let line = match root.tree().entry(path) {
            None => format!("{path} absent"),
            Some(Entry {
                kind: Kind::Symlink(target),
                ..
            }) => format!("{path} -> {}", show(target)),
            Some(Entry {
                kind: Kind::Directory,
                mode,
                uid,
                gid,
                ..
            }) => format!("{path}/ {mode:04o} {uid}:{gid}"),
            Some(Entry { mode, uid, gid, .. }) => {
                format!("{path} {mode:04o} {uid}:{gid} {}", root.text(path).unwrap())
            }
        };
        let _ = writeln!(text, "{line}");
    }
    text
}
