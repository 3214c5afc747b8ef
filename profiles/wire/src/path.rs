//! Where a node's own files may lie: one rule for the cluster file, and for the agent that unpacks them.
//!
//! The root file system is read-only. What a node may call its own is on the state partition: `/var` itself, the upper
//! layer of the overlay on `/etc`, and the trees that are bound to places of their own. Paths have no leading slash
//! here, as in archives.

/// Top directories below which files may lie.
pub const TREES: [&str; 6] = ["etc", "home", "opt", "root", "srv", "var"];
/// Directories that are the agent's: the writable trees themselves, and what it remembers.
pub const RESERVED: [&str; 2] = ["var/lib/overlay", "var/lib/prejoin"];
/// Where the agent puts cloud-init's seed.
pub const SEED: &str = "var/lib/cloud/seed/nocloud";
/// Most levels below a top directory.
pub const DEEPEST: usize = 64;
/// Linux's `PATH_MAX` and `NAME_MAX`, bytes.
const LONGEST: usize = 4096;
const LONGEST_NAME: usize = 255;

/// Why nothing may lie on a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Absolute, empty, too long, or with `.`, `..`, nothing or NUL between slashes.
    #[error("not an absolute, clean path of a file")]
    Unclean,
    /// The agent's list of files has one on each line.
    #[error("the path has a line break")]
    LineBreak,
    /// Not below one of [`TREES`].
    #[error("`/{0}` cannot be written on the node")]
    Outside(String),
    /// At or below one of [`RESERVED`].
    #[error("`/{0}` belongs to prejoin")]
    Reserved(&'static str),
    /// A file in the place of a directory that the agent needs.
    #[error("`/{0}` has to be a directory on the node")]
    Directory(String),
    /// More than [`DEEPEST`] levels.
    #[error("the path has more than {DEEPEST} levels")]
    Deep,
}

/// Whether a file or directory may lie there.
pub fn check(path: &[u8]) -> Result<(), Error> {
    if !is_clean(path) {
        return Err(Error::Unclean);
    }
    if path.contains(&b'\n') {
        return Err(Error::LineBreak);
    }
    let top = path.split(|&byte| byte == b'/').next().unwrap_or_default();
    let known = TREES.iter().any(|tree| tree.as_bytes() == top);
    if !known || top == path {
        return Err(Error::Outside(String::from_utf8_lossy(top).into_owned()));
    }
    if let Some(tree) = RESERVED
        .into_iter()
        .find(|tree| is_within(path, tree.as_bytes()))
    {
        return Err(Error::Reserved(tree));
    }
    match path.iter().filter(|&&byte| byte == b'/').count() {
        0..=DEEPEST => Ok(()),
        _ => Err(Error::Deep),
    }
}

/// Whether something may lie there that is no directory: a file, or a file system of its own.
pub fn check_file(path: &[u8]) -> Result<(), Error> {
    check(path)?;
    let needed = RESERVED
        .into_iter()
        .chain([SEED])
        .any(|tree| is_within(tree.as_bytes(), path));
    if needed {
        Err(Error::Directory(String::from_utf8_lossy(path).into_owned()))
    } else {
        Ok(())
    }
}

/// Whether a path leads down only, and every Linux file system can have it.
pub fn is_clean(path: &[u8]) -> bool {
    let fine = |part: &[u8]| {
        !matches!(part, b"" | b"." | b"..") && part.len() <= LONGEST_NAME && !part.contains(&b'\0')
    };
    path.len() < LONGEST && path.split(|&byte| byte == b'/').all(fine)
}

fn is_within(path: &[u8], tree: &[u8]) -> bool {
    path.strip_prefix(tree)
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

impl Error {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::Unclean => "write `/etc/name`, without `..`, `.` and `//`",
            Error::LineBreak => "write the path on one line",
            Error::Outside(top) => match top.as_str() {
                "usr" | "bin" | "sbin" | "lib" => "programs go to `/opt/bin`, settings to `/etc`",
                "run" | "tmp" | "dev" | "proc" | "sys" => {
                    "it is empty after every start: use `/etc` or `/var`"
                }
                _ => "use `/etc`, `/var`, `/opt`, `/home`, `/root` or `/srv`",
            },
            Error::Reserved(_) => {
                "choose another path; what belongs to `/etc` or `/opt` is written by those names"
            }
            Error::Directory(_) => "name a file in it",
            Error::Deep => "put the file less deep",
        };
        Some(hint.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(path: &str) -> String {
        check_file(path.as_bytes()).expect_err(path).to_string()
    }

    #[test]
    fn files_lie_where_the_node_can_write() {
        let deep = format!("etc/{}x", "a/".repeat(DEEPEST - 1));
        for path in [
            "etc/x",
            "home/me/x",
            "opt/bin/x",
            "root/.ssh/x",
            "srv/x",
            "var/lib/prejoin-join/x",
            "var/lib/x",
        ] {
            assert_eq!(check_file(path.as_bytes()), Ok(()), "{path}");
        }
        assert_eq!(check_file(deep.as_bytes()), Ok(()));
        assert_eq!(check(b"var/lib/cloud"), Ok(()));
    }

    #[test]
    fn all_other_places_are_refused() {
        let deep = format!("etc/{}x", "a/".repeat(DEEPEST));
        for (path, why) in [
            ("", "clean"),
            ("/etc/x", "clean"),
            ("etc/", "clean"),
            ("etc/../usr/x", "clean"),
            ("etc//x", "clean"),
            ("etc/\0", "clean"),
            ("etc", "`/etc` cannot be written"),
            ("etcx/y", "`/etcx` cannot be written"),
            ("usr/bin/x", "`/usr` cannot be written"),
            ("etc/a\nb", "line break"),
            ("var/lib/overlay", "belongs to prejoin"),
            ("var/lib/overlay/etc.upper/x", "belongs to prejoin"),
            ("var/lib/prejoin/identity.digest", "belongs to prejoin"),
            ("var/lib", "has to be a directory"),
            ("var/lib/cloud/seed", "has to be a directory"),
            (&deep, "64 levels"),
            (&format!("etc/{}", "x".repeat(256)), "clean"),
        ] {
            assert!(refusal(path).contains(why), "{path:?}: {}", refusal(path));
        }
    }
}
