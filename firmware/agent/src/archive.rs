//! Where the files of the identity archive go.
//!
//! The root file system is read-only; everything a node may call its own lies on the state partition, which is `/var`.
//! `etc/` goes to the upper layer of the overlay that becomes `/etc`, `home/`, `root/`, `srv/` and `opt/` to the
//! directories that are bound there, `var/` to its place. Anything else is refused, as it is in the cluster file
//! ([`prejoin_wire::path`]).

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use prejoin_formats::cpio::{self, safe_path};
use prejoin_sys::directory::Access;
use prejoin_wire::path;

/// Directories that are bound to the ones of the same name in `/`, with their modes.
pub(crate) const BOUND: [(&str, u32); 4] = [
    ("home", 0o755),
    ("root", 0o700),
    ("srv", 0o755),
    ("opt", 0o755),
];
/// Parents of the overlay's layers and of the bound directories, below `/var`.
pub(crate) const OVERLAY: [&str; 2] = ["lib", "overlay"];
/// The layers of `/etc`, in [`OVERLAY`].
pub(crate) const UPPER: &str = "etc.upper";
pub(crate) const WORK: &str = "etc.work";
/// What the agent remembers about the archive it unpacked, below `/var/lib`.
pub(crate) const MEMORY: &str = "prejoin";

/// What directories are made as if nothing else is known.
pub(crate) const PARENT: Access = Access {
    mode: 0o755,
    uid: 0,
    gid: 0,
};

const TYPE_MASK: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// An archive whose every entry may be unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Archive<'a> {
    /// In the archive's order.
    pub(crate) entries: Vec<Entry<'a>>,
}

/// One file, directory or symbolic link.
///
/// A directory that is root's with mode 0755 may be there only because archives name the parents of what they hold: it
/// is made if missing, and no existing directory is changed by it. Any other owner or mode is meant, and applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) path: Path<'a>,
    pub(crate) access: Access,
    pub(crate) content: Content<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    Directory,
    File(&'a [u8]),
    /// What it points to; never followed by the agent.
    Link(&'a [u8]),
}

/// A path of an archive, at least two components long and known to be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Path<'a>(&'a [u8]);

/// An archive that is not unpacked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Cpio(#[from] cpio::Error),
    #[error("the archive holds {0:?}: {1}")]
    Path(String, path::Error),
    #[error(
        "the archive holds {0:?}, which is neither a directory nor a file nor a symbolic link, or has two names"
    )]
    Kind(String),
}

impl<'a> Archive<'a> {
    /// Reads and checks a whole archive, before anything of it is written.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut entries = Vec::new();
        for item in cpio::read(bytes, bytes.len() as u64) {
            let item = item?;
            let kind = || Error::Kind(text(item.name));
            let content = match item.mode & TYPE_MASK {
                DIRECTORY => Content::Directory,
                FILE if item.nlink <= 1 => Content::File(item.data),
                SYMLINK if !item.data.is_empty() && !item.data.contains(&0) => {
                    Content::Link(item.data)
                }
                _ => return Err(kind()),
            };
            let name = safe_path(item.name)?;
            // The top directories exist, and their owners and modes are the image's.
            if content == Content::Directory && is_top(name) {
                continue;
            }
            let check = if content == Content::Directory {
                path::check
            } else {
                path::check_file
            };
            check(name).map_err(|error| Error::Path(text(item.name), error))?;
            let path = Path(name);
            let access = Access {
                mode: item.mode & 0o7777,
                uid: item.uid,
                gid: item.gid,
            };
            entries.push(Entry {
                path,
                access,
                content,
            });
        }
        Ok(Archive { entries })
    }

    /// Paths of all files and links, to be remembered.
    pub(crate) fn files(&self) -> BTreeSet<Path<'a>> {
        let files = self
            .entries
            .iter()
            .filter(|entry| entry.content != Content::Directory);
        files.map(|entry| entry.path).collect()
    }
}

fn is_top(name: &[u8]) -> bool {
    name.is_empty() || path::TREES.iter().any(|tree| tree.as_bytes() == name)
}

impl Entry<'_> {
    /// Whether an existing directory gets this entry's owner and mode.
    pub(crate) fn is_explicit(&self) -> bool {
        self.access != PARENT
    }
}

impl<'a> Path<'a> {
    pub(crate) fn parse(name: &'a [u8]) -> Option<Self> {
        let name = safe_path(name).ok()?;
        path::check(name).ok().map(|()| Path(name))
    }

    /// The path in the archive.
    pub(crate) fn name(&self) -> &'a OsStr {
        OsStr::from_bytes(self.0)
    }

    /// Whether `other` lies below it.
    pub(crate) fn is_above(&self, other: &Path<'_>) -> bool {
        other
            .0
            .strip_prefix(self.0)
            .is_some_and(|rest| rest.starts_with(b"/"))
    }

    /// The steps from `/var` to the parent directory, and the name in it.
    pub(crate) fn steps(&self) -> (Vec<&'a OsStr>, &'a OsStr) {
        let mut steps: Vec<&'a OsStr> = self
            .0
            .split(|&byte| byte == b'/')
            .map(OsStr::from_bytes)
            .collect();
        let top = steps.remove(0);
        let name = steps
            .pop()
            .expect("`parse` lets no path of one component through");
        let base = match top.as_bytes() {
            b"var" => &[][..],
            b"etc" => &[UPPER],
            _ => {
                return (
                    OVERLAY
                        .map(OsStr::new)
                        .into_iter()
                        .chain([top])
                        .chain(steps)
                        .collect(),
                    name,
                );
            }
        };
        let overlay = if base.is_empty() {
            &[][..]
        } else {
            &OVERLAY[..]
        };
        (
            overlay
                .iter()
                .chain(base)
                .map(OsStr::new)
                .chain(steps)
                .collect(),
            name,
        )
    }

    /// Its place below `/etc`, if it is there.
    pub(crate) fn below_etc(&self) -> bool {
        self.0.starts_with(b"etc/")
    }
}

/// The list of files, one path on each line.
pub(crate) fn list<'a>(files: impl IntoIterator<Item = &'a Path<'a>>) -> Vec<u8> {
    let mut list = Vec::new();
    for path in files {
        list.extend_from_slice(path.0);
        list.push(b'\n');
    }
    list
}

/// Reads a list; lines that are not allowed (any more) are left out, so that nothing else is ever removed.
pub(crate) fn unlist(list: &[u8]) -> BTreeSet<Path<'_>> {
    list.split(|&byte| byte == b'\n')
        .filter_map(Path::parse)
        .collect()
}

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests {
    use prejoin_formats::tree::{self, NoContents, Tree};

    use super::*;

    fn cpio(entries: &[(&str, tree::Entry)]) -> Vec<u8> {
        let mut tree = Tree::new();
        for (path, entry) in entries {
            tree.insert(*path, entry.clone());
        }
        let image = prejoin_formats::cpio::write(&tree).unwrap();
        let mut bytes = vec![0; image.size() as usize];
        image.read_at(&NoContents, 0, &mut bytes).unwrap();
        bytes
    }

    fn place(name: &str) -> Option<String> {
        let path = Path::parse(name.as_bytes())?;
        let (mut steps, name) = path.steps();
        steps.push(name);
        Some(steps.join(OsStr::new("/")).into_string().unwrap())
    }

    #[test]
    fn every_tree_has_its_place() {
        for (name, expected) in [
            ("etc/hostname", "lib/overlay/etc.upper/hostname"),
            (
                "etc/kubernetes/pki/ca.crt",
                "lib/overlay/etc.upper/kubernetes/pki/ca.crt",
            ),
            (
                "root/.ssh/authorized_keys",
                "lib/overlay/root/.ssh/authorized_keys",
            ),
            ("home/me/x", "lib/overlay/home/me/x"),
            ("opt/cni/bin/x", "lib/overlay/opt/cni/bin/x"),
            ("var/lib/kubelet/config.yaml", "lib/kubelet/config.yaml"),
            ("./var/x", "x"),
        ] {
            assert_eq!(place(name).as_deref(), Some(expected));
        }
    }

    #[test]
    fn all_other_places_are_refused() {
        let deep = format!("etc/{}x", "a/".repeat(65));
        for name in [
            "usr/bin/x",
            "bin/sh",
            "x",
            "etc",
            "",
            ".",
            "/etc/x",
            "../etc/x",
            "etc/../usr/x",
            "etc//x",
            "etc/./x",
            "etc/a\nb",
            "etcx/y",
            "var/lib/overlay/etc.upper/x",
            "var/lib/overlay",
            "var/lib/prejoin/identity.digest",
            "boot/x",
            "run/x",
            "dev/x",
            &deep,
        ] {
            assert_eq!(place(name), None, "{name:?}");
        }
        assert!(place("var/lib/prejoin-join/x").is_some());
    }

    #[test]
    fn the_rule_knows_the_agents_directories() {
        let mut trees: Vec<&str> = ["etc", "var"]
            .into_iter()
            .chain(BOUND.map(|(name, _)| name))
            .collect();
        trees.sort_unstable();
        assert_eq!(trees, path::TREES);
        assert_eq!(
            path::RESERVED.map(str::to_owned),
            [
                format!("var/{}", OVERLAY.join("/")),
                format!("var/lib/{MEMORY}")
            ]
        );
    }

    #[test]
    fn what_is_known_of_the_state_has_the_agents_directories() {
        let overlay = format!("var/{}", OVERLAY.join("/"));
        let mut seen = vec![(format!("{overlay}/{UPPER}"), "etc".to_owned())];
        seen.extend(BOUND.map(|(name, _)| (format!("{overlay}/{name}"), name.to_owned())));
        seen.sort();
        let mut known = prejoin_disk::known::SEEN.map(|(from, to)| (from.into(), to.into()));
        known.sort();
        assert_eq!(seen, known);
        for path in [format!("{overlay}/{WORK}"), format!("var/lib/{MEMORY}")] {
            let known = prejoin_disk::known::Place::of(&path).known.unwrap();
            assert_eq!(known.meaning, prejoin_disk::known::Meaning::Own, "{path}");
        }
    }

    #[test]
    fn archives_are_checked_as_a_whole() {
        let bytes = cpio(&[
            ("etc", tree::Entry::directory(0o700)),
            ("etc/kubernetes", tree::Entry::directory(0o750)),
            (
                "etc/kubernetes/x",
                tree::Entry::file(*b"abc", 0o640).owned(1, 2),
            ),
            ("etc/link", tree::Entry::symlink("/somewhere/else")),
        ]);
        let archive = Archive::parse(&bytes).unwrap();
        assert_eq!(archive.entries.len(), 3);
        assert_eq!(
            archive.entries[1].access,
            Access {
                mode: 0o640,
                uid: 1,
                gid: 2
            }
        );
        assert_eq!(
            archive.entries[2].content,
            Content::Link(b"/somewhere/else")
        );
        assert_eq!(list(&archive.files()), b"etc/kubernetes/x\netc/link\n");
        let outside = cpio(&[
            ("etc/fine", tree::Entry::file(*b"", 0o640)),
            ("usr/x", tree::Entry::file(*b"", 0o640)),
        ]);
        let refused = path::Error::Outside("usr".to_owned());
        assert_eq!(
            Archive::parse(&outside),
            Err(Error::Path("usr".to_owned(), refused))
        );
        let file = cpio(&[("etc", tree::Entry::file(*b"", 0o640))]);
        let refused = path::Error::Outside("etc".to_owned());
        assert_eq!(
            Archive::parse(&file),
            Err(Error::Path("etc".to_owned(), refused))
        );
        let file = cpio(&[
            ("var", tree::Entry::directory(0o755)),
            ("var/lib", tree::Entry::file(*b"", 0o640)),
        ]);
        let refused = path::Error::Directory("var/lib".to_owned());
        assert_eq!(
            Archive::parse(&file),
            Err(Error::Path("var/lib".to_owned(), refused))
        );
        let fifo = tree::Entry {
            kind: tree::Kind::Fifo,
            ..tree::Entry::directory(0o640)
        };
        assert_eq!(
            Archive::parse(&cpio(&[("etc/x", fifo)])),
            Err(Error::Kind("etc/x".to_owned()))
        );
        assert!(matches!(Archive::parse(&bytes[..200]), Err(Error::Cpio(_))));
    }

    #[test]
    fn lists_round_trip_and_are_not_trusted() {
        let list = b"etc/a\nusr/bin/sh\n../x\nvar/lib/overlay/x\nvar/b\n";
        let files = unlist(list);
        assert_eq!(super::list(&files), b"etc/a\nvar/b\n");
    }
}
