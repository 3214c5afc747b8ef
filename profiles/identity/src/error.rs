use prejoin_profiles::yaml::Position;
use prejoin_wire::handoff::LARGEST_DOCUMENT;

/// Whose part of the cluster file something stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole cluster's.
    Cluster,
    /// One node's.
    Node(String),
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scope::Cluster => f.write_str("the cluster's `cloud_init`"),
            Scope::Node(name) => write!(f, "`cloud_init` of node `{name}`"),
        }
    }
}

/// Why a node's documents cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The user's cloud-config sets what only prejoin can know.
    #[error("{scope} sets `{key}`, which comes from {source_of_truth}")]
    Protected {
        /// Where it stands.
        scope: Scope,
        /// The key.
        key: String,
        /// What says it instead.
        source_of_truth: &'static str,
        /// Where the cloud-config begins in the cluster file.
        position: Position,
    },
    /// Two parts of the cloud-config say different kinds of things under one key.
    #[error("{scope} has a {found} under `{key}`, where there is a {expected} already")]
    Shape {
        /// Where it stands.
        scope: Scope,
        /// Path of keys, joined by dots.
        key: String,
        /// What is there: `mapping`, `list` or `single value`.
        expected: &'static str,
        /// What should be merged with it.
        found: &'static str,
        /// Where the cloud-config begins in the cluster file.
        position: Position,
    },
    /// The user's cloud-config has a user of the cluster file a second time.
    #[error("{scope} adds the user `{name}`, who is among the cluster's `users` already")]
    User {
        /// Where it stands.
        scope: Scope,
        /// Login name.
        name: String,
        /// Where the cloud-config begins in the cluster file.
        position: Position,
    },
    /// A file belongs to somebody without a known number.
    #[error("the file `{path}` belongs to `{name}`, whose number is not known")]
    Owner {
        /// Path on the node.
        path: String,
        /// User or group.
        name: String,
        /// Where the owner stands in the cluster file.
        position: Position,
    },
    /// A file's bytes cannot be had.
    #[error("reading `{source_path}` for the file `{path}`: {reason}")]
    Source {
        /// Path on the node.
        path: String,
        /// Path beside the cluster file.
        source_path: String,
        /// Why.
        reason: String,
        /// Where it stands in the cluster file.
        position: Position,
    },
    /// A file would stand where prejoin's own must, or below another file.
    #[error("the file `{path}` cannot be there: {reason}")]
    Path {
        /// Path on the node.
        path: String,
        /// Why.
        reason: String,
        /// Where it stands in the cluster file.
        position: Position,
    },
    /// A file of the seed is larger than the node takes.
    #[error("`{file}` of node `{node}` has {size} bytes, {LARGEST_DOCUMENT} are allowed")]
    Large {
        /// `user-data`, `meta-data` or `network-config`.
        file: &'static str,
        /// The node's name.
        node: String,
        /// Its length in bytes.
        size: u64,
        /// Where the cloud-config begins in the cluster file, or the node if there is none.
        position: Position,
    },
    /// The cluster has nothing that a document needs; `check` finds it first.
    #[error("the cluster has no {0}")]
    Missing(&'static str),
}

impl Error {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::Protected { key, .. } => format!("remove `{key}` from `cloud_init`"),
            Error::Shape { expected, .. } => {
                format!("write a {expected}: mappings are merged and lists are appended")
            }
            Error::User { .. } => "describe the user in one place: under `users`".into(),
            Error::Owner { .. } => {
                "use a user of the cluster file, or one that Debian always has, such as `root:root`"
                    .into()
            }
            Error::Source { .. } => "the path is looked up in the cluster file's folder".into(),
            Error::Path { .. } => "choose another path".into(),
            Error::Large { .. } => {
                "put large contents into files of their own and name them as `source` under `files`"
                    .into()
            }
            Error::Missing(_) => "run `prejoin check`".into(),
        };
        Some(hint)
    }

    /// Where in the cluster file, if anywhere.
    pub fn position(&self) -> Option<Position> {
        match self {
            Error::Protected { position, .. }
            | Error::Shape { position, .. }
            | Error::User { position, .. }
            | Error::Owner { position, .. }
            | Error::Source { position, .. }
            | Error::Path { position, .. }
            | Error::Large { position, .. } => Some(*position),
            Error::Missing(_) => None,
        }
    }
}
