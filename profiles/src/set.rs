//! Package sets: what a purpose (Longhorn, Ceph, NFS) needs from the operating system beyond a plain node.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::board::appended;

/// Packages and kernel modules for one purpose, one file under `sets/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// Name in the cluster file, equal to the file's name.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// Debian packages.
    pub packages: Vec<String>,
    /// Kernel modules that are loaded at start.
    pub modules: Vec<String>,
    /// Programs (paths without a leading slash) that must be in the image.
    pub programs: Vec<String>,
}

/// A set's file.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Draft {
    name: String,
    /// The set that this one adds to.
    pub(crate) inherits: Option<String>,
    description: Option<String>,
    packages: Vec<String>,
    modules: Vec<String>,
    programs: Vec<String>,
}

impl Draft {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Laid over the set it inherits.
    pub(crate) fn over(self, parent: Draft) -> Draft {
        Draft {
            name: self.name,
            inherits: parent.inherits,
            description: self.description.or(parent.description),
            packages: appended(parent.packages, &self.packages),
            modules: appended(parent.modules, &self.modules),
            programs: appended(parent.programs, &self.programs),
        }
    }

    /// The set, or the key it lacks.
    pub(crate) fn finish(self) -> Result<Set, &'static str> {
        let description = self.description.ok_or("description")?;
        Ok(Set {
            name: self.name,
            description,
            packages: self.packages,
            modules: self.modules,
            programs: self.programs,
        })
    }
}
