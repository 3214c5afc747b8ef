//! `prejoin.lock`: every input of a build by version and digest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::architecture::Architecture;
use crate::digest::Digest;

/// Version of the document.
pub const VERSION: u32 = 1;

/// The whole lock file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// [`VERSION`].
    pub version: u32,
    /// The image's date: newest `Date` of the releases, in seconds since 1970. Every time stamp in an image is
    /// this or older (reproducible-builds.org, SOURCE_DATE_EPOCH).
    pub epoch: i64,
    /// Releases by repository name, as they were when the lock was written.
    pub releases: BTreeMap<String, Release>,
    /// Package sets by profile (`debian-13/uefi-amd64`), each the names of [`Lock::packages`] entries
    /// (`name_version_architecture`).
    pub sets: BTreeMap<String, Vec<String>>,
    /// Every package of every set by `name_version_architecture`.
    pub packages: BTreeMap<String, Package>,
    /// Files that are not packages (Kubernetes binaries, CNI plugins), by name and architecture.
    #[serde(default)]
    pub artifacts: BTreeMap<String, Artifact>,
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
    /// Size in bytes where known.
    #[serde(default)]
    pub size: Option<u64>,
    /// SHA-256 of the file.
    pub sha256: Digest,
}
