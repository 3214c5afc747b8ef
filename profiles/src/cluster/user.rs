use std::fmt;

use crate::yaml::Located;

/// The public key that stands in the examples, in base64. Nobody should be let in by it.
pub const PLACEHOLDER_KEY: &str =
    "AAAAC3NzaC1lZDI1NTE5AAAAICYrsxiEiVvbRTElukkbgwOFASNOWqDRbUJ0fWtlQElS";

/// An example with somebody's keys in the place of the placeholder; without any its user has none. The rest stays as it
/// is.
pub fn with_keys(example: &str, keys: &[SshKey]) -> String {
    let mut text = String::new();
    let lines: Vec<&str> = example.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let below = lines.get(index + 1);
        if line.contains(PLACEHOLDER_KEY) {
            let indent = &line[..line.len() - line.trim_start().len()];
            for key in keys {
                let key = SshKey {
                    comment: plain_comment(&key.comment),
                    ..key.clone()
                };
                // Quoted: a comment may hold what YAML takes for something else.
                let key = key.to_string().replace('\\', "\\\\").replace('"', "\\\"");
                text.push_str(&format!("{indent}- \"{key}\"\n"));
            }
        } else if below.is_some_and(|below| below.contains(PLACEHOLDER_KEY)) {
            // `ssh_keys:`, without what it says of the placeholder.
            let key = line.split('#').next().unwrap_or_default().trim_end();
            text.push_str(key);
            text.push_str(if keys.is_empty() { " []\n" } else { "\n" });
        } else {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// A comment without what YAML, or a terminal, does not take as it is.
fn plain_comment(comment: &str) -> String {
    let plain = |c: &char| c.is_ascii_graphic() || *c == ' ' || c.is_alphanumeric();
    comment.chars().filter(plain).collect()
}

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
    pub shell: Located<String>,
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
