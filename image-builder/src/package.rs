//! An unpacked package: what the cache keeps of a `.deb` so that it is never decompressed twice.

use std::collections::BTreeMap;

use prejoin_formats::kmod::Module;
use prejoin_formats::tree::Entry;
use serde::{Deserialize, Serialize};

/// One package's payload and metadata. File contents are [`prejoin_formats::tree::Content::Blob`]s.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Package {
    /// Package name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Debian architecture of the package (`amd64`, `arm64`, `all`).
    pub architecture: String,
    /// The `control` file, as shipped.
    pub control: String,
    /// Paths declared as configuration files, absolute as shipped.
    pub conffiles: Vec<String>,
    /// Maintainer scripts (`preinst`, `postinst`, `prerm`, `postrm`, `config`, `triggers`) by name.
    pub scripts: BTreeMap<String, Vec<u8>>,
    /// Payload in archive order: path without leading `./` or slash, and entry. Nothing is left out yet.
    pub entries: Vec<(Vec<u8>, Entry)>,
    /// Module metadata of every kernel module in the payload, read while unpacking.
    pub modules: Vec<Module>,
    /// Shared library needs and names of every ELF file in the payload, by path.
    pub libraries: BTreeMap<Vec<u8>, Linkage>,
}

impl Package {
    /// `name_version_architecture`, as the lock lists packages: none of the three can hold a `_`.
    pub fn id(&self) -> String {
        format!("{}_{}_{}", self.name, self.version, self.architecture)
    }
}

/// What one dynamic ELF file needs and provides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Linkage {
    /// DT_NEEDED entries.
    pub needed: Vec<String>,
    /// DT_SONAME.
    pub soname: Option<String>,
    /// DT_RUNPATH or DT_RPATH, split at colons.
    pub runpath: Vec<String>,
}
