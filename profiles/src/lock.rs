//! `prejoin.lock`: every input of a build by version and digest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::os::Ids;
use crate::yaml;
use prejoin_wire::architecture::Architecture;
use prejoin_wire::digest::Digest;
use uuid::Uuid;

/// Version of the document.
pub const VERSION: u32 = 1;

/// The whole lock file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// [`VERSION`].
    pub version: u32,
    /// Id of the cluster that it is for; locks of before clusters had ids have none, and build nothing.
    #[serde(default)]
    pub id: Option<Uuid>,
    /// The image's date: newest `Date` of the releases, in seconds since 1970. Every time stamp in an image is
    /// this or older (reproducible-builds.org, SOURCE_DATE_EPOCH).
    pub epoch: i64,
    /// Releases by repository name, as they were when the lock was written.
    pub releases: BTreeMap<String, Release>,
    /// Package sets by name (`debian-13/uefi-amd64`).
    pub sets: BTreeMap<String, Set>,
    /// Every package of every set by `name_version_architecture`.
    pub packages: BTreeMap<String, Package>,
    /// Files that are not packages (Kubernetes binaries, CNI plugins), by name and architecture.
    #[serde(default)]
    pub artifacts: BTreeMap<String, Artifact>,
    /// Numbers of system accounts that no profile pins, as they were given once: files on the nodes' state volumes
    /// carry them, so they stay when their package goes.
    #[serde(default, skip_serializing_if = "Ids::is_empty")]
    pub ids: Ids,
}

/// The packages of one system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// Digest of what was asked for: packages wanted, dependencies waived, repositories. Another digest means that
    /// the profiles or the cluster file have changed since.
    pub request: Digest,
    /// Names of [`Lock::packages`] entries (`name_version_architecture`), in order.
    pub packages: Vec<String>,
}

/// A repository's signed release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Suite or code name.
    pub suite: String,
    /// `Date` of the release in seconds since 1970; an older one later is a roll-back.
    pub date: i64,
    /// SHA-256 of `InRelease`.
    pub sha256: Digest,
}

/// One package file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Archive it lies in (`debian`, `debian-security`); the mirror is not part of the lock.
    pub archive: String,
    /// Path below the archive's root (`pool/main/b/bash/bash_5.2.37-2_amd64.deb`).
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the file.
    pub sha256: Digest,
}

/// One file that is fetched by address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// Version as upstream writes it.
    pub version: String,
    /// Machine architecture.
    pub architecture: Architecture,
    /// Address without the host part that a user may replace.
    pub url: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the file.
    pub sha256: Digest,
}

/// Why a lock file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not YAML, or not of this form.
    #[error("line {}, column {}: {}", .0.position.line, .0.position.column, .0.message)]
    Syntax(yaml::Error),
    /// Written by another version of prejoin.
    #[error("the lock has version {found}, this program reads version {VERSION}")]
    Version {
        /// What it says.
        found: u32,
    },
    /// A set names a package that is not listed.
    #[error("set {set} names package {package}, which the lock does not list")]
    Package {
        /// The set.
        set: String,
        /// The package.
        package: String,
    },
}

impl Lock {
    /// Reads and checks a lock file.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let lock: Lock = yaml::parse(text).map_err(Error::Syntax)?;
        if lock.version != VERSION {
            return Err(Error::Version {
                found: lock.version,
            });
        }
        for (name, set) in &lock.sets {
            if let Some(package) = set
                .packages
                .iter()
                .find(|package| !lock.packages.contains_key(*package))
            {
                return Err(Error::Package {
                    set: name.clone(),
                    package: package.clone(),
                });
            }
        }
        Ok(lock)
    }

    /// The document as it is written: sorted, one fact a line.
    pub fn to_yaml(&self) -> String {
        let text = serde_saphyr::to_string(self).expect("a lock has only string keys");
        format!(
            "# Every input of a build by version and digest. Written by `prejoin lock`; commit it, do not edit it.\n{text}"
        )
    }

    /// Digest of the whole document.
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_yaml().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Lock {
        let id = "bash_5.2.37-2+b10_amd64".to_owned();
        let package = Package {
            archive: "debian".into(),
            path: "pool/main/b/bash/bash_5.2.37-2+b10_amd64.deb".into(),
            size: 1500,
            sha256: Digest::of(b"bash"),
        };
        let release = Release {
            suite: "trixie".into(),
            date: 1_763_000_000,
            sha256: Digest::of(b"r"),
        };
        Lock {
            version: VERSION,
            id: Some(Uuid::from_bytes([7; 16])),
            epoch: 1_763_000_000,
            releases: BTreeMap::from([("main".to_owned(), release)]),
            sets: BTreeMap::from([(
                "debian-13/uefi-amd64".to_owned(),
                Set {
                    request: Digest::of(b"q"),
                    packages: vec![id.clone()],
                },
            )]),
            packages: BTreeMap::from([(id, package)]),
            artifacts: BTreeMap::from([(
                "kubelet_v1.36.3_amd64".to_owned(),
                Artifact {
                    version: "v1.36.3".into(),
                    architecture: Architecture::Amd64,
                    url: "example.org/kubelet".into(),
                    size: 50_000_000,
                    sha256: Digest::of(b"kubelet"),
                },
            )]),
            ids: Ids {
                groups: BTreeMap::new(),
                users: BTreeMap::from([("someone".to_owned(), 321)]),
            },
        }
    }

    #[test]
    fn text_round_trips() {
        let lock = example();
        assert_eq!(
            Lock::parse(&lock.to_yaml()).unwrap(),
            lock,
            "{}",
            lock.to_yaml()
        );
    }

    #[test]
    fn a_lock_of_before_ids_is_read() {
        let lock = example();
        let id = format!("id: {}\n", lock.id.unwrap());
        let text = lock.to_yaml().replace(&id, "");
        assert_eq!(Lock::parse(&text).unwrap(), Lock { id: None, ..lock });
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let text = example().to_yaml();
        let refused = |from: &str, to: &str| {
            Lock::parse(&text.replace(from, to))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            refused("version: 1\n", "version: 2\n"),
            "the lock has version 2, this program reads version 1"
        );
        assert!(refused("size: 1500", "size: many").starts_with("line "));
        // Nothing could be fetched without it: a download is done when it has so many bytes.
        assert!(refused("size: 50000000", "size: null").starts_with("line "));
        assert!(refused("    size: 50000000\n", "").contains("size"));
        let mut lock = example();
        lock.packages.clear();
        assert!(
            Lock::parse(&lock.to_yaml())
                .unwrap_err()
                .to_string()
                .contains("does not list")
        );
    }
}
