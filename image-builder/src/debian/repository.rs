//! Package indexes (`Packages`) of all repositories of an operating system, as one universe to choose from.
//!
//! An [`Index`] owns the text; a [`Universe`] borrows from it and knows where every package begins. Only name,
//! version, architecture and `Provides` are read of all packages; everything else is read of those that are chosen.

use std::cmp::Reverse;
use std::collections::HashMap;

use prejoin_wire::architecture::Architecture;
use prejoin_wire::digest::Digest;

use crate::debian::control::{Stanza, field_end, shorten};
use crate::debian::relation::{self, Constraint, Group, Relation, RelationError};
use crate::debian::release::is_path;
use crate::debian::version;

/// apt's default pin priority. Versions of a repository below are not candidates on their own (apt_preferences(5)).
pub const DEFAULT_PRIORITY: i32 = 500;

/// The text of one `Packages` file and the repository it belongs to.
#[derive(Clone, Debug)]
pub struct Index {
    /// Name of the repository in the operating system profile (`main`, `security`).
    pub repository: String,
    /// Archive that the files lie in (`debian`).
    pub archive: String,
    /// Pin priority.
    pub priority: i32,
    /// Content of `Packages`.
    pub text: String,
}

/// One version of a package in one repository.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Package name.
    pub name: &'a str,
    /// Version.
    pub version: &'a str,
    /// `amd64`, `arm64` or `all`.
    pub architecture: &'a str,
    /// The rest.
    pub stanza: Stanza<'a>,
    /// Where it is from.
    pub index: &'a Index,
    provides: Option<&'a str>,
}

/// A package's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Path below the archive's root.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256.
    pub sha256: Digest,
}

/// Every package of one architecture that could be chosen.
#[derive(Debug)]
pub struct Universe<'a> {
    /// The architecture.
    pub architecture: Architecture,
    entries: Vec<Entry<'a>>,
    /// Numbers of entries by name, best first: priority, then version, then the order of the indexes.
    names: HashMap<&'a str, Vec<u32>>,
    /// Numbers of the entries that provide a name.
    providers: HashMap<&'a str, Vec<u32>>,
}

impl<'a> Universe<'a> {
    /// Indexes packages of `architecture` and of `all`; others in the files are passed over.
    pub fn new(indexes: &'a [Index], architecture: Architecture) -> Result<Self, IndexError> {
        let mut universe = Universe {
            architecture,
            entries: Vec::new(),
            names: HashMap::new(),
            providers: HashMap::new(),
        };
        for index in indexes {
            universe.read(index)?;
        }
        let entries = &universe.entries;
        for numbers in universe
            .names
            .values_mut()
            .filter(|numbers| numbers.len() > 1)
        {
            numbers.sort_by(|a, b| {
                let (a, b) = (&entries[*a as usize], &entries[*b as usize]);
                let priority = Reverse(a.index.priority).cmp(&Reverse(b.index.priority));
                priority.then_with(|| version::compare(b.version, a.version))
            });
        }
        Ok(universe)
    }

    /// All versions of a package, the best first.
    pub fn versions(&self, name: &str) -> impl Iterator<Item = (u32, &Entry<'a>)> {
        self.names
            .get(name)
            .into_iter()
            .flatten()
            .map(|number| (*number, self.entry(*number)))
    }

    /// All entries that provide a name, in the order of the indexes.
    pub fn providers(&self, name: &str) -> impl Iterator<Item = (u32, &Entry<'a>)> {
        self.providers
            .get(name)
            .into_iter()
            .flatten()
            .map(|number| (*number, self.entry(*number)))
    }

    /// An entry by the number that [`Universe::versions`] gave.
    pub fn entry(&self, number: u32) -> &Entry<'a> {
        &self.entries[number as usize]
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn read(&mut self, index: &'a Index) -> Result<(), IndexError> {
        let text = index.text.as_str();
        let (mut start, mut at) = (0, 0);
        let mut raw = Raw::default();
        while at < text.len() {
            let end = text[at..]
                .find('\n')
                .map_or(text.len(), |length| at + length);
            let (line, field) = (&text[at..end], &text[at..]);
            at = (end + 1).min(text.len());
            match line.as_bytes().first() {
                None => {
                    self.add(index, &raw, &text[start..end])?;
                    (start, raw) = (at, Raw::default());
                }
                // Only these four matter here, and three of four lines are told by their first letter.
                Some(b'P') => {
                    raw.set(line, "Package:", |raw| &mut raw.name);
                    if line.starts_with("Provides:") {
                        raw.set(&field[..field_end(field)], "Provides:", |raw| {
                            &mut raw.provides
                        });
                    }
                }
                Some(b'V') => raw.set(line, "Version:", |raw| &mut raw.version),
                Some(b'A') => raw.set(line, "Architecture:", |raw| &mut raw.architecture),
                Some(_) => {}
            }
        }
        self.add(index, &raw, text.get(start..).unwrap_or_default())
    }

    fn add(&mut self, index: &'a Index, raw: &Raw<'a>, text: &'a str) -> Result<(), IndexError> {
        if text.is_empty() {
            return Ok(());
        }
        let malformed = |what: &str, value: &str| IndexError::Malformed {
            repository: index.repository.clone(),
            what: what.to_owned(),
            value: shorten(value),
        };
        let name = raw.name.filter(|name| relation::is_name(name));
        let name = name.ok_or_else(|| malformed("package name", raw.name.unwrap_or(text)))?;
        let version = raw.version.filter(|version| version::is_version(version));
        let version = version.ok_or_else(|| malformed("version", raw.version.unwrap_or(name)))?;
        let architecture = raw
            .architecture
            .ok_or_else(|| malformed("architecture", name))?;
        if architecture != "all" && architecture != self.architecture.name() {
            return Ok(());
        }
        let number =
            u32::try_from(self.entries.len()).map_err(|_| malformed("number of packages", name))?;
        let entry = Entry {
            name,
            version,
            architecture,
            stanza: Stanza::new(text),
            index,
            provides: raw.provides,
        };
        if entry.provides.is_some() {
            for provided in entry.provides()? {
                self.providers
                    .entry(provided.name)
                    .or_default()
                    .push(number);
            }
        }
        self.names.entry(name).or_default().push(number);
        self.entries.push(entry);
        Ok(())
    }
}

impl<'a> Entry<'a> {
    /// `Pre-Depends` and `Depends`, in this order.
    pub fn depends(&self) -> Result<Vec<Group<'a>>, IndexError> {
        let mut groups = self.groups("Pre-Depends")?;
        groups.extend(self.groups("Depends")?);
        Ok(groups)
    }

    /// `Recommends`.
    pub fn recommends(&self) -> Result<Vec<Group<'a>>, IndexError> {
        self.groups("Recommends")
    }

    /// `Conflicts` and `Breaks`: for a set that is unpacked at once they mean the same.
    pub fn conflicts(&self) -> Result<Vec<Relation<'a>>, IndexError> {
        let mut groups = self.groups("Conflicts")?;
        groups.extend(self.groups("Breaks")?);
        Ok(groups.into_iter().flatten().collect())
    }

    /// `Provides`.
    pub fn provides(&self) -> Result<Vec<Relation<'a>>, IndexError> {
        let groups = relation::groups(self.provides.unwrap_or_default())
            .map_err(|e| self.malformed("Provides", e))?;
        Ok(groups.into_iter().flatten().collect())
    }

    /// Whether this entry satisfies `relation` by its own name or by one of its `provides` (Policy 7.5: a versioned
    /// relationship only by a versioned `Provides`).
    pub fn satisfies(&self, relation: &Relation<'_>, provides: &[Relation<'_>]) -> bool {
        if self.name == relation.name && relation.accepts(self.version) {
            return true;
        }
        provides
            .iter()
            .filter(|provided| provided.name == relation.name)
            .any(
                |provided| match (&relation.constraint, &provided.constraint) {
                    (None, _) => true,
                    (Some(wanted), Some(Constraint { version, .. })) => wanted.accepts(version),
                    (Some(_), None) => false,
                },
            )
    }

    /// `Priority` as a rank, 0 for `required`: among several providers apt takes the one that matters more.
    pub fn rank(&self) -> usize {
        const PRIORITIES: [&str; 4] = ["required", "important", "standard", "optional"];
        let priority = self.stanza.field("Priority").unwrap_or_default();
        PRIORITIES
            .iter()
            .position(|name| *name == priority)
            .unwrap_or(PRIORITIES.len())
    }

    /// Where the package's file is, how large, and its digest.
    pub fn file(&self) -> Result<File, IndexError> {
        let field = |name: &'static str| self.stanza.field(name).unwrap_or_default();
        let malformed = |name: &str| IndexError::Malformed {
            repository: self.index.repository.clone(),
            what: format!("{name} of {}", self.name),
            value: shorten(self.stanza.field(name).unwrap_or_default()),
        };
        // Archives of some vendors write `./pool/...`.
        let path = field("Filename").trim_start_matches("./");
        if !is_path(path) {
            return Err(malformed("Filename"));
        }
        let size = field("Size").parse().map_err(|_| malformed("Size"))?;
        let sha256 = field("SHA256").parse().map_err(|_| malformed("SHA256"))?;
        Ok(File {
            path: path.to_owned(),
            size,
            sha256,
        })
    }

    fn groups(&self, field: &str) -> Result<Vec<Group<'a>>, IndexError> {
        relation::groups(self.stanza.field(field).unwrap_or_default())
            .map_err(|error| self.malformed(field, error))
    }

    fn malformed(&self, field: &str, error: RelationError) -> IndexError {
        IndexError::Malformed {
            repository: self.index.repository.clone(),
            what: format!("{field} of {}", self.name),
            value: error.text,
        }
    }
}

/// Why an index could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// A stanza that makes no sense.
    #[error("reading the package index of repository `{repository}`: `{value}` as {what}")]
    Malformed {
        /// Repository name in the profile.
        repository: String,
        /// Which part.
        what: String,
        /// What stands there, shortened.
        value: String,
    },
}

/// The fields of a stanza that are read while running over the file.
#[derive(Default)]
struct Raw<'a> {
    name: Option<&'a str>,
    version: Option<&'a str>,
    architecture: Option<&'a str>,
    provides: Option<&'a str>,
}

impl<'a> Raw<'a> {
    fn set(
        &mut self,
        line: &'a str,
        field: &str,
        slot: impl Fn(&mut Self) -> &mut Option<&'a str>,
    ) {
        if let Some(value) = line.strip_prefix(field) {
            slot(self).get_or_insert(value.trim());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(repository: &str, priority: i32, text: &str) -> Index {
        Index {
            repository: repository.into(),
            archive: "debian".into(),
            priority,
            text: text.into(),
        }
    }

    fn stanza(name: &str, version: &str, more: &str) -> String {
        format!("Package: {name}\nVersion: {version}\nArchitecture: amd64\n{more}\n")
    }

    #[test]
    fn best_is_by_priority_then_version() {
        let indexes = [
            index("backports", 100, &stanza("aa", "3", "")),
            index(
                "main",
                500,
                &(stanza("aa", "1", "") + &stanza("bb", "1", "")),
            ),
            index("security", 500, &stanza("aa", "1+deb13u1", "")),
        ];
        let universe = Universe::new(&indexes, Architecture::Amd64).unwrap();
        let versions: Vec<_> = universe
            .versions("aa")
            .map(|(_, entry)| entry.version)
            .collect();
        assert_eq!(versions, ["1+deb13u1", "1", "3"]);
        assert_eq!(universe.len(), 4);
    }

    #[test]
    fn other_architectures_are_passed_over_and_rubbish_is_not() {
        let other = index(
            "main",
            500,
            &stanza("aa", "1", "").replace("amd64", "riscv64"),
        );
        assert!(
            Universe::new(&[other], Architecture::Amd64)
                .unwrap()
                .is_empty()
        );
        for text in [
            stanza("a/a", "1", ""),
            stanza("aa", "1/2", ""),
            "Foo: bar\n\n".into(),
            stanza("aa", "1", "Provides: (\n"),
        ] {
            assert!(
                Universe::new(&[index("main", 500, &text)], Architecture::Amd64).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn provides_with_and_without_version() {
        let text = stanza("aa", "1", "Provides: vv,\n ww (= 2)\n");
        let indexes = [index("main", 500, &text)];
        let universe = Universe::new(&indexes, Architecture::Amd64).unwrap();
        let provides = universe.entry(0).provides().unwrap();
        let satisfies = |text| {
            universe
                .entry(0)
                .satisfies(&relation::groups(text).unwrap()[0][0], &provides)
        };
        assert!(
            satisfies("vv") && satisfies("ww") && satisfies("ww (>= 2)") && satisfies("aa (= 1)")
        );
        assert!(!satisfies("vv (>= 0)") && !satisfies("ww (>> 2)") && !satisfies("aa (>> 1)"));
        assert_eq!(universe.providers("vv").count(), 1);
    }

    #[test]
    fn file_paths_are_checked() {
        let digest = Digest::of(b"");
        let file = |path: &str| {
            let indexes = [index(
                "main",
                500,
                &stanza(
                    "aa",
                    "1",
                    &format!("Filename: {path}\nSize: 3\nSHA256: {digest}\n"),
                ),
            )];
            Universe::new(&indexes, Architecture::Amd64)
                .unwrap()
                .entry(0)
                .file()
        };
        assert_eq!(
            file("./pool/a.deb").unwrap(),
            File {
                path: "pool/a.deb".into(),
                size: 3,
                sha256: digest
            }
        );
        assert!(file("../a.deb").is_err() && file("/a.deb").is_err() && file("").is_err());
    }
}
