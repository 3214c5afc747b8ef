//! What the two readers of file systems have in common.

/// Most bytes of a file that is read.
pub(crate) const LARGEST_FILE: usize = 64 << 10;

/// Most entries of a directory that are looked at.
pub(crate) const MOST_ENTRIES: usize = 65536;

/// An entry of a directory.
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) directory: bool,
}

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    Link,
    /// A pipe, a socket or a device node: nothing is in it.
    Special,
    /// A file, and what is none of the others.
    File,
}

/// An entry of a directory, for walking through all of them.
pub(crate) struct Child {
    pub(crate) name: Vec<u8>,
    /// Of its inode.
    pub(crate) number: u32,
    pub(crate) kind: Kind,
}

/// A file system that is looked into. Paths are absolute.
pub(crate) trait Files {
    /// The entries of a directory, without `.` and `..`; `None` if there is no such directory.
    fn list(&self, path: &str) -> Option<Vec<Entry>>;

    /// A file's first [`LARGEST_FILE`] bytes; `None` if there is no such file.
    fn read(&self, path: &str) -> Option<Vec<u8>>;

    /// What could not be read, in words.
    fn gaps(&self) -> Vec<String>;
}
