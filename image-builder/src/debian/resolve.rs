//! From wanted packages to a closed set: dependencies, alternatives, virtual packages, conflicts and pins.
//!
//! Pure and deterministic. The order of preference is apt's (apt-pkg/depcache.cc, `MarkInstall`): the best version of
//! a name by priority and then by version is its only candidate; of alternatives the first that is possible, unless
//! another is in the set already; real packages before those that provide the name. Unlike apt's greedy walk, what has
//! one answer is decided first and what has several last, and a choice that leads nowhere is taken back.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use prejoin_wire::digest::Digest;

use crate::debian::repository::{IndexError, Universe};

mod replace;
mod search;

pub use replace::{Replaced, replaced};

/// What the set must hold.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Packages asked for.
    pub wanted: Vec<Wanted>,
    /// Names that are left out though something depends on them, and why. A group of alternatives that nothing else
    /// satisfies is dropped and recorded.
    pub waive: BTreeMap<String, String>,
    /// Names that are left out only where a package of `own` depends on them, and why.
    pub waive_own: BTreeMap<String, String>,
    /// Packages whose dependencies `waive_own` is about; none: all.
    pub own: Option<BTreeSet<String>>,
    /// Whether to follow `Recommends` where that is possible.
    pub recommends: bool,
}

/// A package asked for: `name`, `name/repository` or `name=version`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// Package name; a virtual one will do.
    pub name: String,
    /// Take it from this repository, and what it needs too where the others have no fitting version.
    pub repository: Option<String>,
    /// Take exactly this version.
    pub version: Option<String>,
}

/// A closed set: every dependency in it is satisfied or waived, and nothing in it conflicts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// By package name.
    pub packages: BTreeMap<String, Chosen>,
    /// Waived names that something in the set wanted, and what wanted them.
    pub waived: BTreeMap<String, BTreeSet<String>>,
}

/// One package of a resolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Version.
    pub version: String,
    /// `amd64`, `arm64` or `all`.
    pub architecture: String,
    /// Repository in the operating system profile.
    pub repository: String,
    /// Archive the file lies in.
    pub archive: String,
    /// Path below the archive's root.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the file.
    pub sha256: Digest,
    /// Why it is in the set.
    pub why: Why,
}

/// Why a package is in a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was asked for.
    Wanted,
    /// Another one needs it.
    Needed {
        /// Name of that one.
        by: String,
        /// The alternatives as its control file has them.
        group: String,
    },
}

/// Chooses versions for everything in `request` and whatever that depends on.
pub fn resolve(universe: &Universe<'_>, request: &Request) -> Result<Resolution, ResolveError> {
    search::Search::new(universe, request)?.run()
}

impl Wanted {
    /// A package by name alone.
    pub fn name(name: &str) -> Self {
        Wanted {
            name: name.to_owned(),
            repository: None,
            version: None,
        }
    }

    /// `name`, `name/repository`, `name=version`, as on apt's command line.
    pub fn parse(text: &str) -> Self {
        if let Some((name, version)) = text.split_once('=') {
            return Wanted {
                version: Some(version.to_owned()),
                ..Wanted::name(name)
            };
        }
        match text.split_once('/') {
            Some((name, repository)) => Wanted {
                repository: Some(repository.to_owned()),
                ..Wanted::name(name)
            },
            None => Wanted::name(text),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(version) = &self.version {
            write!(f, "={version}")?;
        }
        self.repository
            .as_ref()
            .map_or(Ok(()), |repository| write!(f, "/{repository}"))
    }
}

impl Resolution {
    /// The chain from a package up to one that was asked for, itself first.
    pub fn chain(&self, name: &str) -> Vec<&str> {
        let (mut chain, mut seen) = (Vec::new(), BTreeSet::new());
        let mut next = self.packages.get_key_value(name);
        while let Some((name, chosen)) = next.filter(|(name, _)| seen.insert(name.as_str())) {
            chain.push(name.as_str());
            next = match &chosen.why {
                Why::Wanted => None,
                Why::Needed { by, .. } => self.packages.get_key_value(by),
            };
        }
        chain
    }

    /// Bytes of all package files.
    pub fn size(&self) -> u64 {
        self.packages
            .values()
            .fold(0, |sum, chosen| sum.saturating_add(chosen.size))
    }
}

/// Why there is no such set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// Something asked for is in no repository.
    #[error("no repository has `{wanted}` for {architecture}{}", list(available))]
    Unknown {
        /// As it was asked for.
        wanted: Wanted,
        /// For which architecture.
        architecture: String,
        /// Versions that there are, with their repository.
        available: Vec<String>,
    },
    /// A dependency cannot be satisfied.
    #[error("{by} wants {group}, but {}{}", reasons.join(" and "), chain_text(chain))]
    Unsatisfied {
        /// Name and version of the package that has the dependency, or "the profile".
        by: String,
        /// The alternatives.
        group: String,
        /// For each alternative, why it will not do.
        reasons: Vec<String>,
        /// Who wants `by`, and who wants that, up to a package that was asked for.
        chain: Vec<String>,
    },
    /// Too much had to be looked at.
    #[error("no answer after {steps} steps{}", obstacle(first.as_deref()))]
    TooHard {
        /// Steps.
        steps: usize,
        /// What went wrong first.
        first: Option<Box<ResolveError>>,
    },
    /// An index that cannot be read.
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl ResolveError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            ResolveError::Unknown { .. } => {
                Some("check the spelling, and that the component it lies in is listed in the profile".to_owned())
            }
            ResolveError::Unsatisfied { .. } => Some(
                "ask for another version or repository (`name=version`, `name/repository`), or waive the dependency in \
                 the profile if nothing on the node misses it"
                    .to_owned(),
            ),
            ResolveError::TooHard { first, .. } => first.as_ref().and_then(|first| first.hint()),
            ResolveError::Index(_) => None,
        }
    }
}

fn obstacle(first: Option<&ResolveError>) -> String {
    first.map_or(String::new(), |first| {
        format!("; the first obstacle: {first}")
    })
}

fn list(versions: &[String]) -> String {
    match versions {
        [] => String::new(),
        _ => format!("; there is {}", versions.join(", ")),
    }
}

fn chain_text(chain: &[String]) -> String {
    match chain {
        [] => String::new(),
        _ => format!(
            " ({})",
            chain
                .iter()
                .map(|name| format!("wanted by {name}"))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    }
}

#[cfg(test)]
mod tests;
