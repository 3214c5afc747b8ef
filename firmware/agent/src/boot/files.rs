//! The node's files: one archive's in the place of another's, whenever the power fails.
//!
//! What is remembered in `/var/lib/prejoin` is always enough to go on from: the list has every file that may lie about,
//! from before the first one is written until after the last one is removed, and the digest is there only while all
//! files of its archive are. An unpacking that was interrupted is therefore begun again by the next boot, with whatever
//! identity is on the disk then, be it the former one.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use prejoin_sys::directory::{Access, Directory, Kind};
use prejoin_wire::handoff;

use crate::archive::{self, Archive, Content, Entry, MEMORY, PARENT, UPPER, list, unlist};
use crate::error::{Doing as _, Error};

/// Which archive was unpacked, as a whole.
pub(super) const DIGEST: &str = "identity.digest";
/// What was unpacked, and may have to be removed one day.
const FILES: &str = "identity.files";

/// Where the files go.
pub(super) struct Files<'a> {
    /// `/var`, where all that is writable lies.
    pub(super) var: &'a Directory,
    /// `/var/lib/prejoin`.
    pub(super) memory: &'a Directory,
    /// `/etc` of the image.
    pub(super) etc: &'a Path,
    /// Owner and mode of what is remembered.
    pub(super) private: Access,
}

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) unpacked: usize,
    pub(super) removed: usize,
    /// Files that could not be removed, with the reason; they stay on the list.
    pub(super) kept: Vec<(String, io::Error)>,
}

impl Files<'_> {
    /// Removes what was unpacked before and is not in this archive, then unpacks it. In this order, because a path may
    /// have been a file and become a directory, or the other way round.
    pub(super) fn unpack(&self, archive: &Archive<'_>, digest: &str) -> Result<Done, Error> {
        let doing = || format!("writing /var/lib/{MEMORY}");
        let (memory, new) = (self.memory, archive.files());
        let old = memory
            .read(OsStr::new(FILES), handoff::Archive::LARGEST)
            .doing(doing)?
            .unwrap_or_default();
        let old = unlist(&old);
        memory.remove(OsStr::new(DIGEST)).doing(doing)?;
        memory
            .write(OsStr::new(FILES), &list(old.union(&new)), self.private)
            .doing(doing)?;
        memory.sync().doing(doing)?;

        let mut done = Done {
            unpacked: new.len(),
            ..Done::default()
        };
        let mut listed = new.clone();
        for path in old.difference(&new) {
            match self.remove(path, &new) {
                Ok(()) => done.removed += 1,
                Err(error) => {
                    listed.insert(*path);
                    done.kept.push((path.name().display().to_string(), error));
                }
            }
        }
        for entry in &archive.entries {
            self.put(entry).doing(|| {
                format!(
                    "unpacking {} of the node's files",
                    entry.path.name().display()
                )
            })?;
        }

        self.var
            .sync_file_system()
            .doing(|| "bringing the node's files to the disk".to_owned())?;
        memory
            .write(OsStr::new(FILES), &list(&listed), self.private)
            .doing(doing)?;
        memory
            .write(
                OsStr::new(DIGEST),
                format!("{digest}\n").as_bytes(),
                self.private,
            )
            .doing(doing)?;
        memory.sync().doing(doing)?;
        Ok(done)
    }

    /// Removes a file, and the directories it leaves empty where a new file is to stand. What has become something else
    /// belongs to whoever made it so.
    fn remove(
        &self,
        path: &archive::Path<'_>,
        new: &BTreeSet<archive::Path<'_>>,
    ) -> io::Result<()> {
        let (steps, name) = path.steps();
        let mut directories: Vec<Directory> = Vec::new();
        for step in &steps {
            let directory = directories.last().unwrap_or(self.var);
            if directory.kind(step)? != Some(Kind::Directory) {
                break;
            }
            directories.push(directory.child(step)?);
        }
        let directory = directories.last().unwrap_or(self.var);
        if directories.len() == steps.len() && directory.kind(name)? != Some(Kind::Directory) {
            directory.clear(name)?;
        }
        let Some(place) = new.iter().find(|place| place.is_above(path)) else {
            return Ok(());
        };
        for index in (place.steps().0.len()..directories.len()).rev() {
            let parent = index
                .checked_sub(1)
                .map_or(self.var, |above| &directories[above]);
            if !parent.remove_empty(steps[index])? {
                break;
            }
        }
        Ok(())
    }

    /// Unpacks one entry. Parents that are missing are made as they are in the image's `/etc`, or root's and 0755; a
    /// symbolic link or file in the place of a parent is an error, never followed or replaced, and so is a directory
    /// in the place of a file.
    fn put(&self, entry: &Entry<'_>) -> io::Result<()> {
        let var = self.var;
        let (steps, name) = entry.path.steps();
        let layer = steps
            .iter()
            .take_while(|step| **step != OsStr::new(UPPER))
            .count()
            + 1;
        let mut place = Place {
            directory: None,
            image: None,
        };
        for (index, step) in steps.into_iter().enumerate() {
            place = place.down(var, step, PARENT, false)?;
            if entry.path.below_etc() && index + 1 == layer {
                place.image = Some(Directory::open(self.etc)?);
            }
        }
        let directory = place.directory.as_ref().unwrap_or(var);
        match entry.content {
            Content::Directory => place
                .down(var, name, entry.access, entry.is_explicit())
                .map(drop),
            Content::File(bytes) => directory.write(name, bytes, entry.access),
            Content::Link(target) => directory.link(name, OsStr::from_bytes(target), entry.access),
        }
    }
}

/// A directory below `/var` (`None` is `/var` itself), and the directory of the image it covers, if it does.
struct Place {
    directory: Option<Directory>,
    image: Option<Directory>,
}

impl Place {
    /// One step down. A directory that is missing is made with the owner and mode of the one it covers, else with
    /// `access`; one that exists keeps its own, unless this entry is explicit about it.
    fn down(
        self,
        var: &Directory,
        step: &OsStr,
        access: Access,
        explicit: bool,
    ) -> io::Result<Self> {
        let parent = self.directory.as_ref().unwrap_or(var);
        let covered = match &self.image {
            Some(image) => image.access(step)?,
            None => None,
        };
        let found = parent.kind(step)?;
        // In the upper layer of the overlay a special file is a whiteout: the directory was removed on this node, and
        // is wanted again.
        if found == Some(Kind::Special) && covered.is_some() {
            parent.remove(step)?;
        }
        let directory = match (found, covered) {
            (Some(Kind::Directory), _) if !explicit => parent.child(step)?,
            (_, Some(covered)) if !explicit => parent.make(step, covered)?,
            _ => parent.make(step, access)?,
        };
        let image = match (self.image, covered) {
            (Some(image), Some(_)) => Some(image.child(step)?),
            _ => None,
        };
        Ok(Place {
            directory: Some(directory),
            image,
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "works on files of its own")]

    use std::fs;
    use std::os::unix::fs::MetadataExt as _;
    use std::path::PathBuf;

    use super::*;

    /// A `/var` of its own, without root's rights.
    struct Node {
        folder: PathBuf,
        uid: u32,
        gid: u32,
    }

    impl Node {
        fn new(test: &str) -> Self {
            let folder =
                std::env::temp_dir().join(format!("prejoin-agent-{test}-{}", std::process::id()));
            for path in ["var/lib/prejoin", "var/lib/overlay/etc.upper", "image/etc"] {
                fs::create_dir_all(folder.join(path)).unwrap();
            }
            let own = fs::metadata(&folder).unwrap();
            Node {
                folder,
                uid: own.uid(),
                gid: own.gid(),
            }
        }

        /// Unpacks an archive of these entries, directories with a slash at the end.
        fn unpack(&self, names: &[&str]) -> Result<Done, Error> {
            // Not what `PARENT` is, so that root does not take them for mere parents.
            let access = |mode| Access {
                mode,
                uid: self.uid,
                gid: self.gid,
            };
            let entry = |name: &&'static str| match name.strip_suffix('/') {
                Some(path) => Entry {
                    path: path_of(path),
                    access: access(0o750),
                    content: Content::Directory,
                },
                None => Entry {
                    path: path_of(name),
                    access: access(0o640),
                    content: Content::File(name.as_bytes()),
                },
            };
            let names: Vec<&'static str> =
                names.iter().map(|name| &*name.to_string().leak()).collect();
            let archive = Archive {
                entries: names.iter().map(entry).collect(),
            };
            let var = Directory::open(&self.folder.join("var")).unwrap();
            let memory = Directory::open(&self.folder.join("var/lib/prejoin")).unwrap();
            let etc = self.folder.join("image/etc");
            let files = Files {
                var: &var,
                memory: &memory,
                etc: &etc,
                private: access(0o600),
            };
            files.unpack(&archive, &names.join(" "))
        }

        fn remembered(&self, name: &str) -> Option<String> {
            fs::read_to_string(self.folder.join("var/lib/prejoin").join(name)).ok()
        }

        /// Files below `/etc`, the content of each being its path in the archive.
        fn files(&self) -> Vec<String> {
            let (top, mut found) = (self.folder.join("var/lib/overlay/etc.upper"), Vec::new());
            let mut folders = vec![top.clone()];
            while let Some(folder) = folders.pop() {
                for entry in fs::read_dir(&folder).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_dir() {
                        folders.push(path);
                        continue;
                    }
                    let name = format!("etc/{}", path.strip_prefix(&top).unwrap().display());
                    assert!(fs::read_to_string(&path).unwrap() == name, "{name}");
                    found.push(name);
                }
            }
            found.sort();
            found
        }

        /// Whether exactly these files are there and remembered.
        fn holds(&self, names: &[&str]) {
            let mut files: Vec<&str> = names
                .iter()
                .copied()
                .filter(|name| !name.ends_with('/'))
                .collect();
            files.sort_unstable();
            assert_eq!(self.files(), files);
            assert_eq!(
                self.remembered(FILES).unwrap().lines().collect::<Vec<_>>(),
                files
            );
            assert_eq!(
                self.remembered(DIGEST).unwrap(),
                format!("{}\n", names.join(" "))
            );
        }
    }

    impl Drop for Node {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }

    fn path_of(name: &'static str) -> archive::Path<'static> {
        archive::Path::parse(name.as_bytes()).unwrap()
    }

    /// Identities that differ in what is a file, a directory, or not there.
    const IDENTITIES: [&[&str]; 4] = [
        &[
            "etc/a",
            "etc/b/",
            "etc/b/c/",
            "etc/b/c/d",
            "etc/b/e",
            "etc/same",
        ],
        &["etc/a/", "etc/a/x/", "etc/a/x/y", "etc/b", "etc/same"],
        &["etc/a", "etc/b/", "etc/b/c", "etc/same"],
        &["etc/same"],
    ];

    #[test]
    fn the_list_is_where_the_program_looks_for_it() {
        assert_eq!(
            prejoin_disk::known::LIST,
            format!("var/lib/{MEMORY}/{FILES}")
        );
    }

    #[test]
    fn every_identity_takes_the_place_of_every_other() {
        for from in IDENTITIES {
            for to in IDENTITIES {
                let node = Node::new("replace");
                node.unpack(from).unwrap();
                node.holds(from);
                let done = node.unpack(to).unwrap();
                assert!(done.kept.is_empty(), "{:?}", done.kept);
                node.holds(to);
            }
        }
    }

    #[test]
    fn what_was_interrupted_is_completed() {
        // In the way at a place that was never ours, so that unpacking ends there.
        const BLOCKED: &str = "etc/blocked/x";
        for from in IDENTITIES {
            for to in IDENTITIES {
                for (cut, then) in (0..=to.len()).flat_map(|cut| [(cut, to), (cut, from)]) {
                    let node = Node::new("interrupted");
                    node.unpack(from).unwrap();
                    let blocked = node.folder.join("var/lib/overlay/etc.upper/blocked");
                    fs::write(&blocked, "etc/blocked").unwrap();
                    let mut half = to.to_vec();
                    half.insert(cut, BLOCKED);
                    node.unpack(&half).unwrap_err();
                    assert_eq!(node.remembered(DIGEST), None, "half of an archive is none");
                    // What is being written when the power fails.
                    if let Some(folder) = to.get(cut).and_then(|name| path_of_parent(&node, name)) {
                        fs::write(folder, "half").unwrap();
                    }
                    fs::remove_file(&blocked).unwrap();
                    node.unpack(then).unwrap();
                    node.holds(then);
                }
            }
        }
    }

    /// The name that a file of the archive has until it is complete, if its folder is there.
    fn path_of_parent(node: &Node, name: &str) -> Option<PathBuf> {
        let path = node
            .folder
            .join("var/lib/overlay/etc.upper")
            .join(name.strip_prefix("etc/")?);
        let parent = path
            .parent()
            .filter(|parent| parent.is_dir() && !name.ends_with('/'))?;
        Some(parent.join(format!(".prejoin-new.{}", path.file_name()?.to_str()?)))
    }

    #[test]
    fn what_the_node_made_itself_is_never_removed() {
        let node = Node::new("foreign");
        let upper = node.folder.join("var/lib/overlay/etc.upper");
        node.unpack(&["etc/a/", "etc/a/x", "etc/b"]).unwrap();
        fs::write(upper.join("a/own"), "etc/a/own").unwrap();
        // A file cannot stand where files of the node's lie, and says so; the other way round neither.
        node.unpack(&["etc/a", "etc/b"]).unwrap_err();
        assert_eq!(node.files(), ["etc/a/own", "etc/b"]);
        fs::write(upper.join("c"), "etc/c").unwrap();
        node.unpack(&["etc/c/x", "etc/b"]).unwrap_err();
        assert_eq!(node.files(), ["etc/a/own", "etc/b", "etc/c"]);
        // The identity's file has become the node's directory.
        fs::remove_file(upper.join("b")).unwrap();
        fs::create_dir(upper.join("b")).unwrap();
        fs::write(upper.join("b/own"), "etc/b/own").unwrap();
        let done = node.unpack(&["etc/d"]).unwrap();
        assert!(done.kept.is_empty());
        assert_eq!(node.files(), ["etc/a/own", "etc/b/own", "etc/c", "etc/d"]);
        assert_eq!(node.remembered(FILES).unwrap(), "etc/d\n");
    }
}
