//! Operating systems: where packages come from, which are wanted, and what is done with their payload.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An operating system, one file under `os/`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Os {
    /// Name in the cluster file, equal to the file's name.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// Package repositories by short name (`main`, `security`, `backports`).
    pub repositories: BTreeMap<String, Repository>,
    /// Packages wanted on every node.
    pub packages: Vec<String>,
    /// Dependencies left out, by package name, and why nothing on the node misses them.
    #[serde(default)]
    pub waive: BTreeMap<String, String>,
    /// Glob patterns of payload paths that are not unpacked (`usr/share/man/**`).
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Glob patterns of payload paths that are kept though `exclude` matches (`usr/share/doc/*/copyright`).
    #[serde(default)]
    pub keep: Vec<String>,
    /// Kernel modules (names) that Kubernetes networking and storage need; checked against the kernel packed.
    #[serde(default)]
    pub required_modules: BTreeMap<String, Vec<String>>,
}

/// One suite of a Debian package archive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// Which archive it is: the mirror's address is looked up under this name (`debian`, `debian-security`,
    /// `raspberrypi`), because mirrors differ from user to user and suites do not.
    pub archive: String,
    /// Suite or code name below `dists/`.
    pub suite: String,
    /// Components used.
    pub components: Vec<String>,
    /// Full fingerprints of the OpenPGP keys that may sign the release; the keys themselves are files under `keys/`.
    pub keys: Vec<String>,
    /// apt's pin priority: 500 is the default, 100 is taken only when asked for by name (apt_preferences(5)).
    #[serde(default = "default_priority")]
    pub priority: i32,
}

fn default_priority() -> i32 {
    500
}
