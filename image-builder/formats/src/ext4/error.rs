//! Why a tree cannot become this file system.

/// What is wrong with a tree or with the options.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system is too small for its content.
    #[error("placing {needed} blocks of 4096 bytes: only {available} are free")]
    NoSpace {
        /// Blocks that the content needs, metadata of the file system itself not included.
        needed: u64,
        /// Blocks there are for content.
        available: u64,
    },
    /// More files than inodes.
    #[error("numbering {needed} files: there are only {available} inodes")]
    TooManyInodes {
        /// Inodes the tree needs.
        needed: u64,
        /// Inodes there are for files.
        available: u64,
    },
    /// Not a size a file system of 4096-byte blocks and 32-bit block numbers can have.
    #[error(
        "laying out a file system of {size} bytes: the size must be a multiple of 4096, hold the metadata, and stay below 16 TiB"
    )]
    Size {
        /// The size asked for.
        size: u64,
    },
    /// The label does not fit.
    #[error("labelling the file system: {length} bytes do not fit in 16")]
    Label {
        /// Length of the label in bytes.
        length: usize,
    },
    /// A name that a directory cannot hold.
    #[error("naming {path:?}: a name has 1 to 255 bytes, no NUL, and is not . or ..")]
    Name {
        /// The path, lossily decoded.
        path: String,
    },
    /// An entry lies below something that is no directory, or the root is none.
    #[error("entering {path:?} in its parent: that is not a directory")]
    Parent {
        /// The path, lossily decoded.
        path: String,
    },
    /// `lost+found` of the root is not a directory, which e2fsck would replace.
    #[error("laying out lost+found: the tree has something else than a directory there")]
    LostAndFound,
    /// A hard link to nothing, or to something that is no regular file.
    #[error("linking {path:?} to {target:?}: that is not a regular file of the tree")]
    HardLink {
        /// The link, lossily decoded.
        path: String,
        /// Where it points, lossily decoded.
        target: String,
    },
    /// More names for one file than ext4 counts.
    #[error("linking {path:?} {links} times: ext4 counts up to 65000 links")]
    Links {
        /// The file, lossily decoded.
        path: String,
        /// Its names.
        links: u64,
    },
    /// A symbolic link whose target no kernel would follow.
    #[error(
        "writing the symbolic link {path:?}: a target has 1 to 4095 bytes and no NUL, this one has {length} bytes"
    )]
    Symlink {
        /// The link, lossily decoded.
        path: String,
        /// Length of the target in bytes.
        length: usize,
    },
    /// A device number outside 12-bit majors and 20-bit minors.
    #[error("writing the device {path:?}: {major}:{minor} does not fit a 32-bit device number")]
    Device {
        /// The node, lossily decoded.
        path: String,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// An attribute outside the name spaces that ext4 stores.
    #[error(
        "writing attribute {name:?} of {path:?}: ext4 stores user., trusted., security. and system.posix_acl_* names of up to 255 bytes"
    )]
    XattrName {
        /// The path, lossily decoded.
        path: String,
        /// The attribute, lossily decoded.
        name: String,
    },
    /// An access control list that is not in the form `getxattr` gives.
    #[error(
        "writing attribute {name:?} of {path:?}: this is not an access control list of version 2"
    )]
    AccessControlList {
        /// The path, lossily decoded.
        path: String,
        /// The attribute.
        name: String,
    },
    /// The attributes fit neither the inode nor the one block beside it.
    #[error(
        "writing the attributes of {path:?}: {size} bytes do not fit the inode and one block of 4096"
    )]
    XattrSize {
        /// The path, lossily decoded.
        path: String,
        /// What they take, in bytes.
        size: usize,
    },
    /// A file beyond the reach of 32-bit block numbers, or a directory beyond 2^32 bytes.
    #[error("writing {path:?}: {size} bytes are more than ext4 can map")]
    FileSize {
        /// The path, lossily decoded.
        path: String,
        /// Its size in bytes.
        size: u64,
    },
}

impl Error {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::NoSpace { .. } => Some("make the partition larger, or put less into it".into()),
            Error::TooManyInodes { .. } => {
                Some("make the partition larger: inodes grow with it".into())
            }
            Error::HardLink { .. } => Some(
                "the package that owns the link and the one that owns the file belong together"
                    .into(),
            ),
            Error::XattrSize { .. } => Some("keep fewer or shorter attributes on this file".into()),
            _ => None,
        }
    }
}

/// A path for a message.
pub(super) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
