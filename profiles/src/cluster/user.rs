use std::fmt;

use crate::yaml::Located;

/// Someone who may log in to the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: Located<String>,
    /// Public keys.
    pub keys: Vec<Located<SshKey>>,
    /// Whether the user may become root without a password.
    pub sudo: bool,
    /// Further groups.
    pub groups: Vec<Located<String>>,
    /// Hash for `/etc/shadow` (`$y$…`, `$6$…`); without one the password is locked.
    pub password_hash: Option<Located<String>>,
    /// Login shell.
    pub shell: String,
}

/// A public key of OpenSSH, as one line of `authorized_keys` without options.
#[derive(Clone, PartialEq, Eq)]
pub struct SshKey {
    /// Key type: `ssh-ed25519`.
    pub kind: String,
    /// The key in base64.
    pub data: String,
    /// What follows.
    pub comment: String,
}

impl fmt::Display for SshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.data)?;
        if self.comment.is_empty() {
            Ok(())
        } else {
            write!(f, " {}", self.comment)
        }
    }
}

impl fmt::Debug for SshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
