//! The tree that rules work on, with the operations they are made of.

use prejoin_formats::tree::{Contents, Entry, Kind, Tree};

use super::Cause;

/// Links followed before a path counts as a loop, as in the kernel (`MAXSYMLINKS`).
const LINKS: usize = 40;
/// Largest file that a rule reads. The largest that one does read is a cloud-init configuration.
const READ: u64 = 4 << 20;

/// The tree that rules work on.
///
/// Every path is relative to the root and is resolved inside the tree: absolute links lead to the tree's root, and
/// `..` does not lead out.
pub struct Root<'a> {
    tree: Tree,
    contents: &'a dyn Contents,
    epoch: i64,
    changes: Vec<Change>,
}

/// One change of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What was done.
    pub action: Action,
    /// Where, without leading slash.
    pub path: Vec<u8>,
}

/// What was done to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A regular file was written.
    Write,
    /// A symbolic link was made.
    Link,
    /// A directory was made.
    Directory,
    /// Mode or owner was changed.
    Access,
    /// The path was removed, with what was below.
    Remove,
}

impl<'a> Root<'a> {
    /// A tree to fix up; what is made gets the time `epoch` (seconds since 1970).
    pub fn new(tree: Tree, contents: &'a dyn Contents, epoch: i64) -> Self {
        Root {
            tree,
            contents,
            epoch,
            changes: Vec::new(),
        }
    }

    /// The tree as it is now.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The tree, done.
    pub fn into_tree(self) -> Tree {
        self.tree
    }

    pub(super) fn tree_mut(&mut self) -> &mut Tree {
        &mut self.tree
    }

    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Whether something is at `path`, not following a link there.
    pub(super) fn has(&self, path: &str) -> bool {
        self.place(path)
            .is_ok_and(|place| self.tree.entry(place).is_some())
    }

    /// The path that `path` stands for after following every link, whether or not something is there.
    pub(super) fn resolve(&self, path: impl AsRef<[u8]>) -> Result<Vec<u8>, Cause> {
        let path = path.as_ref();
        let unresolvable = || Cause::Unresolvable { path: show(path) };
        let mut pending: Vec<Vec<u8>> = components(path);
        let mut at: Vec<u8> = Vec::new();
        let mut links = 0;
        while let Some(name) = pending.pop() {
            if name == b".." {
                at.truncate(at.iter().rposition(|&b| b == b'/').unwrap_or(0));
                continue;
            }
            let next = join(&at, &name);
            match self.tree.entry(&next).map(|entry| &entry.kind) {
                Some(Kind::Symlink(target)) => {
                    links += 1;
                    if links > LINKS {
                        return Err(unresolvable());
                    }
                    if target.starts_with(b"/") {
                        at.clear();
                    }
                    pending.extend(components(target));
                }
                None | Some(Kind::Directory) => at = next,
                Some(_) if pending.is_empty() => at = next,
                Some(_) => return Err(unresolvable()),
            }
        }
        Ok(at)
    }

    /// Where a change to `path` takes place: links in its parent are followed, a link at its end is not.
    fn place(&self, path: &str) -> Result<Vec<u8>, Cause> {
        let wrong =
            |name: &[u8]| name.is_empty() || name == b"." || name == b".." || name.contains(&0);
        if path.as_bytes().split(|&b| b == b'/').any(wrong) {
            return Err(Cause::Path {
                path: path.to_owned(),
            });
        }
        match path.rsplit_once('/') {
            None => Ok(path.as_bytes().to_vec()),
            Some((parent, name)) => {
                let parent = self.resolve(parent)?;
                match self.tree.entry(&parent).map(|entry| &entry.kind) {
                    None | Some(Kind::Directory) => Ok(join(&parent, name.as_bytes())),
                    Some(_) => Err(Cause::Unresolvable {
                        path: path.to_owned(),
                    }),
                }
            }
        }
    }

    /// The bytes of the regular file at `path`.
    pub(super) fn bytes(&self, path: impl AsRef<[u8]>) -> Result<Vec<u8>, Cause> {
        let path = path.as_ref();
        let missing = || Cause::Missing { path: show(path) };
        let mut entry = self.tree.entry(self.resolve(path)?).ok_or_else(missing)?;
        if let Kind::HardLink(target) = &entry.kind {
            entry = self.tree.entry(target).ok_or_else(missing)?;
        }
        let Kind::File(content) = &entry.kind else {
            return Err(Cause::Content {
                path: show(path),
                line: None,
                problem: "is not a regular file".into(),
            });
        };
        if content.len() > READ {
            return Err(Cause::Large {
                path: show(path),
                size: content.len(),
                limit: READ,
            });
        }
        content.read(self.contents).map_err(|source| Cause::Read {
            path: show(path),
            source,
        })
    }

    /// The text of the regular file at `path`.
    pub(super) fn text(&self, path: impl AsRef<[u8]>) -> Result<String, Cause> {
        let path = path.as_ref();
        String::from_utf8(self.bytes(path)?).map_err(|_| Cause::Content {
            path: show(path),
            line: None,
            problem: "is not UTF-8 text".into(),
        })
    }

    /// The text of a file that `package` always had.
    pub(super) fn input(&self, package: &str, path: &str) -> Result<String, Cause> {
        self.text(path).map_err(|cause| match cause {
            Cause::Missing { path } => Cause::Input {
                package: package.to_owned(),
                path,
            },
            other => other,
        })
    }

    /// Paths of the regular files directly in `directory` whose names end in `suffix`, in byte order.
    pub(super) fn files_in(&self, directory: &str, suffix: &str) -> Result<Vec<String>, Cause> {
        let place = self.resolve(directory)?;
        let names = self.tree.children(&place).filter(|(name, entry)| {
            name.ends_with(suffix.as_bytes()) && !matches!(entry.kind, Kind::Directory)
        });
        Ok(names
            .filter_map(|(name, _)| std::str::from_utf8(name).ok())
            .map(|name| format!("{directory}/{name}"))
            .collect())
    }

    /// Writes a file, 0644, owned by root, in place of whatever was there.
    pub(super) fn write(&mut self, path: &str, bytes: impl AsRef<[u8]>) -> Result<(), Cause> {
        let place = self.place(path)?;
        self.tree
            .insert(&place, Entry::file(bytes.as_ref(), 0o644).dated(self.epoch));
        self.changes.push(Change {
            action: Action::Write,
            path: place,
        });
        Ok(())
    }

    /// Makes a symbolic link in place of whatever was there.
    pub(super) fn link(&mut self, path: &str, target: &str) -> Result<(), Cause> {
        let place = self.place(path)?;
        self.tree
            .insert(&place, Entry::symlink(target).dated(self.epoch));
        self.changes.push(Change {
            action: Action::Link,
            path: place,
        });
        Ok(())
    }

    /// Makes `place` another name of the regular file at `target`.
    pub(super) fn hard_link(&mut self, place: Vec<u8>, target: Vec<u8>) {
        let entry = Entry {
            kind: Kind::HardLink(target),
            ..Entry::file([], 0o644)
        };
        self.tree.insert(&place, entry.dated(self.epoch));
        self.changes.push(Change {
            action: Action::Link,
            path: place,
        });
    }

    /// Makes a directory owned by root, or gives one that is there its mode.
    pub(super) fn directory(&mut self, path: &str, mode: u16) -> Result<(), Cause> {
        let place = self.place(path)?;
        match self.tree.entry_mut(&place) {
            Some(entry) if entry.kind == Kind::Directory => {
                (entry.mode, entry.uid, entry.gid) = (mode, 0, 0);
            }
            Some(_) => {
                return Err(Cause::Unresolvable {
                    path: path.to_owned(),
                });
            }
            None => self
                .tree
                .insert(&place, Entry::directory(mode).dated(self.epoch)),
        }
        self.changes.push(Change {
            action: Action::Directory,
            path: place,
        });
        Ok(())
    }

    /// Sets mode and owner of what is at `path`; a link's target is meant.
    pub(super) fn access(
        &mut self,
        path: &str,
        mode: u16,
        uid: u32,
        gid: u32,
    ) -> Result<(), Cause> {
        let place = self.resolve(path)?;
        let entry = self.tree.entry_mut(&place).ok_or_else(|| Cause::Missing {
            path: path.to_owned(),
        })?;
        (entry.mode, entry.uid, entry.gid) = (mode, uid, gid);
        self.changes.push(Change {
            action: Action::Access,
            path: place,
        });
        Ok(())
    }

    /// Removes what is at `path` (not what a link there leads to), with everything below.
    pub(super) fn remove(&mut self, path: &str) -> Result<(), Cause> {
        let place = self.place(path)?;
        self.remove_place(place);
        Ok(())
    }

    /// Removes everything that matches `pattern`, in which `*` stands for any part of one component. Returns how many
    /// paths matched.
    pub(super) fn remove_matching(&mut self, pattern: &str) -> Result<usize, Cause> {
        let mut places: Vec<Vec<u8>> = vec![Vec::new()];
        for component in pattern.split('/') {
            if matches!(component, "" | "." | "..") {
                return Err(Cause::Path {
                    path: pattern.to_owned(),
                });
            }
            let mut next = Vec::new();
            for place in &places {
                let parent = self.resolve(place)?;
                if component.contains('*') {
                    let names = self.tree.children(&parent).map(|(name, _)| name);
                    next.extend(
                        names
                            .filter(|name| matches(component.as_bytes(), name))
                            .map(|name| join(&parent, name)),
                    );
                } else {
                    let candidate = join(&parent, component.as_bytes());
                    next.extend(self.tree.entry(&candidate).is_some().then_some(candidate));
                }
            }
            places = next;
        }
        let count = places.len();
        for place in places {
            self.remove_place(place);
        }
        Ok(count)
    }

    pub(super) fn remove_place(&mut self, place: Vec<u8>) {
        if self.tree.remove(&place).is_some() {
            self.changes.push(Change {
                action: Action::Remove,
                path: place,
            });
        }
    }
}

/// Bytes of a path as text for people.
pub(super) fn show(path: impl AsRef<[u8]>) -> String {
    String::from_utf8_lossy(path.as_ref()).into_owned()
}

pub(super) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() {
        name.to_vec()
    } else {
        [parent, b"/", name].concat()
    }
}

/// The components of a path, last first, without empty ones and `.`.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path
        .split(|&b| b == b'/')
        .filter(|name| !name.is_empty() && *name != b".");
    names.rev().map(<[u8]>::to_vec).collect()
}

/// Whether `name` matches a pattern of literal bytes and `*`.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    // The last star and how much of the name it has taken: enough, since a later star never needs an earlier one to
    // give back.
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, n));
            p += 1;
        } else if pattern.get(p) == Some(&name[n]) {
            (p, n) = (p + 1, n + 1);
        } else if let Some((at, taken)) = star {
            (p, n) = (at + 1, taken + 1);
            star = Some((at, taken + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&b| b == b'*')
}

#[cfg(test)]
mod tests {
    use prejoin_formats::tree::NoContents;

    use super::*;

    fn root() -> Root<'static> {
        let mut tree = Tree::new();
        tree.insert("bin", Entry::symlink("usr/bin"));
        tree.insert("usr/bin/dash", Entry::file(*b"dash", 0o755));
        tree.insert("usr/bin/sh", Entry::symlink("dash"));
        tree.insert("etc/shell", Entry::symlink("/bin/sh"));
        tree.insert("etc/out", Entry::symlink("../../../../usr/bin/dash"));
        tree.insert("etc/loop", Entry::symlink("loop"));
        tree.insert("etc/over", Entry::symlink("dash/more"));
        Root::new(tree, &NoContents, 7)
    }

    #[test]
    fn links_stay_inside() {
        let root = root();
        assert_eq!(root.resolve("etc/shell").unwrap(), b"usr/bin/dash");
        assert_eq!(root.resolve("etc/out").unwrap(), b"usr/bin/dash");
        assert_eq!(root.text("bin/sh").unwrap(), "dash");
        assert_eq!(root.resolve("etc/over").unwrap(), b"etc/dash/more");
        assert!(matches!(
            root.resolve("etc/loop"),
            Err(Cause::Unresolvable { .. })
        ));
        assert!(matches!(
            root.resolve("bin/dash/x"),
            Err(Cause::Unresolvable { .. })
        ));
        assert!(matches!(root.text("etc/none"), Err(Cause::Missing { .. })));
        assert!(matches!(root.text("etc"), Err(Cause::Content { .. })));
    }

    #[test]
    fn changes_follow_directories_and_replace_links() {
        let mut root = root();
        root.write("bin/new", "x").unwrap();
        root.write("bin/sh", "y").unwrap();
        assert_eq!(root.text("usr/bin/new").unwrap(), "x");
        assert_eq!(root.text("usr/bin/dash").unwrap(), "dash");
        assert_eq!(root.tree().entry("usr/bin/sh").unwrap().mtime, 7);
        assert_eq!(
            root.tree().entry("bin").unwrap().kind,
            Kind::Symlink(b"usr/bin".to_vec())
        );
        let paths: Vec<_> = root
            .take_changes()
            .into_iter()
            .map(|change| show(change.path))
            .collect();
        assert_eq!(paths, ["usr/bin/new", "usr/bin/sh"]);
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        let mut root = root();
        for path in ["", "/etc/x", "etc/../x", "etc//x", "etc/x/", "./x", "a\0b"] {
            assert!(
                matches!(root.write(path, ""), Err(Cause::Path { .. })),
                "{path:?}"
            );
        }
        assert!(matches!(
            root.write("usr/bin/dash/x", ""),
            Err(Cause::Unresolvable { .. })
        ));
        assert!(matches!(
            root.directory("usr/bin/dash", 0o755),
            Err(Cause::Unresolvable { .. })
        ));
    }

    #[test]
    fn patterns_match_within_a_component() {
        let mut root = root();
        assert_eq!(root.remove_matching("usr/*/d*s*").unwrap(), 1);
        assert!(!root.has("usr/bin/dash") && root.has("usr/bin/sh"));
        assert_eq!(root.remove_matching("usr/*/none").unwrap(), 0);
        assert!(matches!(
            root.remove_matching("usr/../x"),
            Err(Cause::Path { .. })
        ));
        for (pattern, name, expected) in [
            ("*", "x", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbY", false),
            ("a", "ab", false),
            ("ab*", "ab", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
    }
}
