use crate::yaml::Located;

/// A file of the user's on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Absolute path on the node, without `.` and `..`.
    pub path: Located<String>,
    /// Where its bytes come from.
    pub content: Content,
    /// Permission bits, at most 07777.
    pub mode: u32,
    /// `user:group`, by name.
    pub owner: Located<String>,
}

impl File {
    /// Whether not everybody on the node may read it.
    pub fn is_private(&self) -> bool {
        self.mode & 0o004 == 0
    }
}

/// Where a file's bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// They stand in the cluster file.
    Text(String),
    /// A file beside the cluster file, by relative path.
    Source(Located<String>),
}
