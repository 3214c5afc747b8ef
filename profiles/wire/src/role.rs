//! What a partition of a node's disk is for, and in which slot.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The two places an operating system can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// Written by every installation.
    A,
    /// Empty until the first update.
    B,
}

impl Slot {
    /// `a` or `b`, as in partition names.
    pub fn name(self) -> &'static str {
        match self {
            Slot::A => "a",
            Slot::B => "b",
        }
    }
}

/// A partition of the system disk. Its text form is its name in the partition table (PARTLABEL).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Role {
    /// EFI system partition, or the Raspberry Pi's boot partition.
    Boot,
    /// Read-only root.
    Root(Slot),
    /// dm-verity hash tree of the slot's root.
    Verity(Slot),
    /// The node's identity (FAT, label CIDATA).
    Identity,
    /// `/var`, made by the node.
    State,
    /// Storage for workloads, made by the node once and never touched again.
    Data,
}

impl Role {
    /// All, in the order in which they lie on a disk.
    pub const ALL: [Role; 8] = [
        Role::Boot,
        Role::Root(Slot::A),
        Role::Verity(Slot::A),
        Role::Root(Slot::B),
        Role::Verity(Slot::B),
        Role::Identity,
        Role::State,
        Role::Data,
    ];

    /// Name in the partition table.
    pub fn name(self) -> &'static str {
        match self {
            Role::Boot => "boot",
            Role::Root(Slot::A) => "root-a",
            Role::Verity(Slot::A) => "root-a-verity",
            Role::Root(Slot::B) => "root-b",
            Role::Verity(Slot::B) => "root-b-verity",
            Role::Identity => "identity",
            Role::State => "state",
            Role::Data => "data",
        }
    }

    /// Whether the node makes it, and no image brings it.
    pub fn is_made_by_node(self) -> bool {
        matches!(self, Role::State | Role::Data)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| format!("no partition of a node is called `{}`", text.escape_debug()))
    }
}

impl From<Role> for String {
    fn from(role: Role) -> String {
        role.name().to_owned()
    }
}

impl TryFrom<String> for Role {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for role in Role::ALL {
            assert_eq!(role.name().parse(), Ok(role));
        }
        assert!("root-c".parse::<Role>().is_err());
    }
}
