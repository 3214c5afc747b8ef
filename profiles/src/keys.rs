//! The OpenPGP keys that may sign releases, as files. Which of them may sign which repository is said, by full
//! fingerprint, in the operating system's file.

/// Every key file of `keys/`.
pub const ALL: &[&[u8]] = &[
    include_bytes!("../keys/debian-archive-trixie-automatic.asc"),
    include_bytes!("../keys/debian-archive-trixie-security-automatic.asc"),
    include_bytes!("../keys/debian-archive-trixie-stable.asc"),
];
