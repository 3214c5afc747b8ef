//! placeholder: kernel module metadata and the index files that kmod reads

use serde::{Deserialize, Serialize};

/// What one kernel module says of itself in `.modinfo` and `__ksymtab_strings`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Path below `/usr/lib/modules/<version>/` (`kernel/fs/ext4/ext4.ko.xz`).
    pub path: String,
    /// Module name with underscores.
    pub name: String,
    /// `alias=`
    pub aliases: Vec<String>,
    /// `depends=`, split at commas.
    pub depends: Vec<String>,
    /// `softdep=` lines.
    pub softdeps: Vec<String>,
    /// `weakdep=` lines.
    pub weakdeps: Vec<String>,
    /// Exported symbols.
    pub symbols: Vec<String>,
    /// `firmware=` files.
    pub firmware: Vec<String>,
}
