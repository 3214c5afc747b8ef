//! What the rules know besides the tree.

use prejoin_profiles::os::{Os, Recipe};
use prejoin_wire::architecture::Architecture;

use crate::package::Package;

/// What the rules know besides the tree.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The operating system, with everything that it inherits.
    pub os: &'a Os,
    /// The board's name, for `IMAGE_ID`.
    pub board: &'a str,
    /// Machine architecture.
    pub architecture: Architecture,
    /// The image's time in seconds since 1970: no file is newer, and what is made carries it.
    pub epoch: i64,
    /// What was unpacked.
    pub packages: &'a [&'a Package],
}

impl<'a> Context<'a> {
    /// Whether the package was unpacked.
    pub(super) fn has(&self, package: &str) -> bool {
        self.packages
            .iter()
            .any(|candidate| candidate.name == package)
    }

    /// The recipes that apply, with the package that brings each (the node's own last, under `node`).
    pub(super) fn recipes(&self) -> impl Iterator<Item = (&'a str, &'a Recipe)> {
        let os = self.os;
        let context = *self;
        os.recipes
            .iter()
            .filter(move |(package, _)| context.has(package))
            .map(|(package, recipe)| (package.as_str(), recipe))
            .chain([("node", &os.node)])
    }
}
