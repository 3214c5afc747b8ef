//! The kernel mounts an image and shows every file as the tree has it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use prejoin_formats::ext4::{self, Options};
use prejoin_formats::tree::{Contents, Entry, Kind, Tree};
use rustix::fs::{lgetxattr, llistxattr, makedev};
use tempfile::{NamedTempFile, TempDir};

use crate::judge::{Stored, fsck, tool, write};
use crate::{options, trees};

/// An image mounted read-only until dropped.
struct Mounted {
    at: TempDir,
    image: NamedTempFile,
}

impl Mounted {
    /// `None`, loudly, where mounting is not allowed.
    fn new(image: NamedTempFile, mode: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "mounting needs root");
            eprintln!("SKIPPED: mounting needs root");
            return None;
        }
        let at = TempDir::new().unwrap();
        let option = format!("loop,{mode}");
        let paths = [image.path().to_str().unwrap(), at.path().to_str().unwrap()];
        let output = tool("mount", &["-t", "ext4", "-o", &option, paths[0], paths[1]])?;
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Some(Mounted { at, image })
    }

    fn path(&self, path: &[u8]) -> PathBuf {
        self.at.path().join(OsStr::from_bytes(path))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        tool("umount", &[self.at.path().to_str().unwrap()]);
    }
}

fn mount_and_compare(tree: &Tree, options: &Options, contents: &dyn Contents) {
    let image = write(&ext4::plan(tree, options).unwrap().image, contents);
    let Some(mounted) = Mounted::new(image, "ro") else {
        return;
    };
    let links = links(tree);
    for (path, entry) in tree.iter() {
        let (of, entry) = match &entry.kind {
            Kind::HardLink(target) => (&target[..], tree.entry(target).unwrap()),
            _ => (path, entry),
        };
        compare(&mounted.path(path), entry, links[of], contents);
    }
    let mut found = 0;
    count(mounted.at.path(), &mut found);
    assert_eq!(
        found,
        tree.len() + usize::from(tree.entry("lost+found").is_none()),
        "entries under the root"
    );
}

fn compare(path: &Path, entry: &Entry, links: u64, contents: &dyn Contents) {
    let seen = fs::symlink_metadata(path).unwrap();
    let format = match entry.kind {
        Kind::Directory => 0o040_000,
        Kind::File(_) => 0o100_000,
        Kind::Symlink(_) => 0o120_000,
        Kind::Device { block, .. } => {
            if block {
                0o060_000
            } else {
                0o020_000
            }
        }
        Kind::Fifo => 0o010_000,
        Kind::HardLink(_) => unreachable!(),
    };
    assert_eq!(seen.mode(), format | u32::from(entry.mode), "{path:?}");
    assert_eq!((seen.uid(), seen.gid()), (entry.uid, entry.gid), "{path:?}");
    assert_eq!(
        (seen.mtime(), seen.mtime_nsec()),
        (entry.mtime, 0),
        "{path:?}"
    );
    assert_eq!(
        (seen.atime(), seen.ctime()),
        (entry.mtime, entry.mtime),
        "{path:?}"
    );
    assert_eq!(seen.nlink(), links, "{path:?}");
    assert_eq!(xattrs(path), entry.xattrs, "{path:?}");
    match &entry.kind {
        Kind::File(content) => {
            assert_eq!(seen.len(), content.len(), "{path:?}");
            assert!(
                fs::read(path).unwrap() == content.read(contents).unwrap(),
                "{path:?} differs"
            );
        }
        Kind::Symlink(target) => {
            assert_eq!(fs::read_link(path).unwrap().as_os_str().as_bytes(), target)
        }
        Kind::Device { major, minor, .. } => {
            assert_eq!(seen.rdev(), makedev(*major, *minor), "{path:?}")
        }
        _ => {}
    }
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = [0; 65536];
    let length = llistxattr(path, &mut names).unwrap();
    let names = names[..length]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = [0; 65536];
        let length = lgetxattr(path, OsStr::from_bytes(name), &mut value).unwrap();
        (name.to_vec(), value[..length].to_vec())
    };
    names.map(value).collect()
}

/// What `stat` should count for every path that is not a hard link.
fn links(tree: &Tree) -> BTreeMap<&[u8], u64> {
    let mut links = BTreeMap::new();
    for (path, entry) in tree.iter() {
        let parent = path
            .iter()
            .rposition(|&byte| byte == b'/')
            .map_or(&path[..0], |slash| &path[..slash]);
        match &entry.kind {
            Kind::Directory => {
                *links.entry(path).or_insert(0) += 2;
                if !path.is_empty() {
                    *links.entry(parent).or_insert(0) += 1;
                }
            }
            Kind::HardLink(target) => *links.entry(&target[..]).or_insert(0) += 1,
            _ => *links.entry(path).or_insert(0) += 1,
        }
    }
    if tree.entry("lost+found").is_none() {
        *links.entry(b"").or_insert(0) += 1;
    }
    links
}

fn count(path: &Path, found: &mut usize) {
    *found += 1;
    if fs::symlink_metadata(path).unwrap().is_dir() {
        fs::read_dir(path)
            .unwrap()
            .for_each(|entry| count(&entry.unwrap().path(), found));
    }
}

#[test]
fn every_kind_of_entry() {
    let stored = Stored::default();
    let tree = trees::every_kind(&stored);
    mount_and_compare(&tree, &options(16 << 20), &stored);
    // A lost+found of one's own, and odd sizes.
    let mut tree = tree;
    tree.insert("lost+found", Entry::directory(0o711).dated(5));
    tree.insert("lost+found/found", Entry::file(*b"x", 0o644));
    mount_and_compare(
        &tree,
        &Options {
            read_only: true,
            ..options((1 << 27) + 4096)
        },
        &stored,
    );
}

#[test]
fn times_of_four_centuries() {
    mount_and_compare(&trees::times(), &options(1 << 20), &Stored::default());
}

#[test]
fn indexed_directories() {
    let mut tree = Tree::new();
    for number in 0..2000 {
        tree.insert(format!("one/{number:050}ä"), Entry::file(*b"", 0o644));
    }
    for number in 0..12_000 {
        tree.insert(format!("two/{number:0250}ö"), Entry::symlink("x"));
    }
    mount_and_compare(
        &tree,
        &options(ext4::recommended_size(&tree)),
        &Stored::default(),
    );
}

#[test]
fn many_extents_and_holes() {
    let stored = Stored::default();
    let bytes: Vec<u8> = (0..6_000_000u32)
        .map(|at| if at >> 12 & 1 == 1 { 0 } else { 7 })
        .collect();
    let mut tree = Tree::new();
    tree.insert("striped", stored.entry(&bytes));
    let holes = (0..800)
        .map(|at| (2 * at + 1) * 4096..(2 * at + 2) * 4096)
        .collect();
    let options = Options {
        holes: [(b"striped".to_vec(), holes)].into(),
        ..options(8 << 20)
    };
    mount_and_compare(&tree, &options, &stored);
}

#[test]
fn writable_all_the_same() {
    // Nobody should, but what the kernel counts on while it allocates is then proved right too.
    let stored = Stored::default();
    let mut tree = trees::every_kind(&stored);
    for number in 0..2000 {
        tree.insert(format!("indexed/{number:060}"), Entry::symlink("x"));
    }
    let image = write(
        &ext4::plan(&tree, &options(16 << 20)).unwrap().image,
        &stored,
    );
    let copy = NamedTempFile::new().unwrap();
    fs::copy(image.path(), copy.path()).unwrap();
    let Some(mounted) = Mounted::new(image, "rw") else {
        return;
    };
    for number in 0..2000 {
        fs::write(
            mounted.path(format!("indexed/new-{number:050}").as_bytes()),
            [number as u8; 3000],
        )
        .unwrap();
    }
    for number in (0..2000).step_by(3) {
        fs::remove_file(mounted.path(format!("indexed/{number:060}").as_bytes())).unwrap();
    }
    fs::write(mounted.path(b"xattrs"), vec![1; 1 << 20]).unwrap();
    fs::remove_file(mounted.path(b"bin/ping")).unwrap();
    fs::remove_dir_all(mounted.path(b"long")).unwrap();
    let file = mounted.image.reopen().unwrap();
    drop(mounted);
    std::io::copy(&mut &file, &mut copy.reopen().unwrap()).unwrap();
    fsck(copy.path());
}

#[test]
fn read_only_feature_keeps_every_byte() {
    let mut tree = Tree::new();
    tree.insert("file", Entry::file(*b"x", 0o644));
    let options = Options {
        read_only: true,
        ..options(1 << 20)
    };
    let image = write(
        &ext4::plan(&tree, &options).unwrap().image,
        &Stored::default(),
    );
    let before = fs::read(image.path()).unwrap();
    let Some(mounted) = Mounted::new(image, "rw") else {
        return;
    };
    assert!(fs::write(mounted.path(b"new"), "x").is_err());
    fs::read(mounted.path(b"file")).unwrap();
    // Kept open across the unmount, which deletes the name.
    let mut file = mounted.image.reopen().unwrap();
    drop(mounted);
    let mut after = Vec::new();
    file.read_to_end(&mut after).unwrap();
    assert!(before == after);
}
