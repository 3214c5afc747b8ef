//! Strangers who say whether an image is right.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use ext4_view::{Ext4, FileType};
use prejoin_formats::ext4::{self, Filesystem, Options};
use prejoin_formats::image::Image;
use prejoin_formats::tree::{Content, ContentDigest, Contents, Entry, Kind, Tree};
use tempfile::NamedTempFile;

/// Blobs by digest, in memory.
#[derive(Default)]
pub(crate) struct Stored {
    blobs: Mutex<BTreeMap<ContentDigest, Vec<u8>>>,
    zeroes: Mutex<BTreeMap<ContentDigest, u64>>,
}

impl Stored {
    /// Stores `bytes` and gives a file of them.
    pub(crate) fn entry(&self, bytes: &[u8]) -> Entry {
        let mut blobs = self.blobs.lock().unwrap();
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&(blobs.len() as u64 + 1).to_be_bytes());
        blobs.insert(digest, bytes.to_vec());
        Entry::blob(digest, bytes.len() as u64, 0o640)
    }

    /// Stores `length` zeroes without keeping them.
    pub(crate) fn virtual_zeroes(&self, digest: ContentDigest, length: u64) {
        self.zeroes.lock().unwrap().insert(digest, length);
    }
}

impl Contents for Stored {
    fn read_at(
        &self,
        digest: &ContentDigest,
        offset: u64,
        buffer: &mut [u8],
    ) -> std::io::Result<()> {
        if self.zeroes.lock().unwrap().contains_key(digest) {
            buffer.fill(0);
            return Ok(());
        }
        let blobs = self.blobs.lock().unwrap();
        buffer.copy_from_slice(&blobs[digest][offset as usize..][..buffer.len()]);
        Ok(())
    }
}

/// Writes an image into a sparse file.
pub(crate) fn write(image: &Image, contents: &dyn Contents) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    file.as_file().set_len(image.size()).unwrap();
    let mut buffer = vec![0; 1 << 20];
    for start in (0..image.size()).step_by(buffer.len()) {
        let part = &mut buffer[..(image.size() - start).min(1 << 20) as usize];
        if !image.is_hole(start, part.len() as u64) {
            image.read_at(contents, start, part).unwrap();
            file.as_file().write_all_at(part, start).unwrap();
        }
    }
    file
}

/// Plans a tree, writes it and has all of it judged.
pub(crate) fn plan_and_check(
    tree: &Tree,
    options: &Options,
    contents: &dyn Contents,
) -> Filesystem {
    let filesystem = ext4::plan(tree, options).unwrap();
    let file = write(&filesystem.image, contents);
    fsck(file.path());
    check(tree, options, file.path(), contents);
    filesystem
}

/// The output of a tool, or none if it is missing where that is allowed.
pub(crate) fn tool(name: &str, arguments: &[&str]) -> Option<std::process::Output> {
    match Command::new(name)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .args(arguments)
        .output()
    {
        Ok(output) => Some(output),
        Err(error) if std::env::var_os("CI").is_none() => {
            eprintln!("SKIPPED: {name} cannot be run: {error}");
            None
        }
        Err(error) => panic!("{name} cannot be run: {error}"),
    }
}

/// Has e2fsck look at everything; any word beyond its headings fails.
pub(crate) fn fsck(image: &Path) {
    let Some(output) = tool("e2fsck", &["-fn", image.to_str().unwrap()]) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let complaint = said
        .lines()
        .find(|line| !line.starts_with("Pass ") && !line.contains(" files ("));
    assert_eq!(complaint, None, "{said}");
}

/// The superblock in words.
pub(crate) fn dumpe2fs(image: &Path) -> Option<String> {
    let output = tool("dumpe2fs", &["-h", image.to_str().unwrap()])?;
    let said = String::from_utf8_lossy(&output.stdout);
    // Columns differ between versions.
    let lines = said
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n");
    Some(lines.collect())
}

/// Compares what `ext4-view` sees with the tree.
pub(crate) fn check(tree: &Tree, options: &Options, image: &Path, contents: &dyn Contents) {
    let view = Ext4::load_from_path(image).unwrap();
    assert_eq!(view.label().to_str().unwrap(), options.label);
    let seen = RefCell::new(BTreeSet::new());
    walk(&view, b"", &mut |path, entry| {
        seen.borrow_mut().insert(path.to_vec());
        let Some(expected) = tree.entry(path) else {
            assert!(
                path == b"lost+found" || path == b"sparse",
                "{path:?} is not in the tree"
            );
            return;
        };
        let expected = match &expected.kind {
            Kind::HardLink(target) => tree.entry(target).unwrap(),
            _ => expected,
        };
        compare(&view, path, entry, expected, contents);
    });
    let missing = tree.iter().find(|(path, _)| !seen.borrow().contains(*path));
    assert_eq!(missing.map(|(path, _)| path.to_vec()), None);
}

fn compare(
    view: &Ext4,
    path: &[u8],
    seen: &ext4_view::Metadata,
    expected: &Entry,
    contents: &dyn Contents,
) {
    let name = String::from_utf8_lossy(path);
    assert_eq!(seen.mode() & 0o7777, expected.mode, "{name}");
    assert_eq!(
        (seen.uid(), seen.gid()),
        (expected.uid, expected.gid),
        "{name}"
    );
    assert_eq!(seen.modified().seconds(), expected.mtime, "{name}");
    let full = [b"/", path].concat();
    let path = ext4_view::Path::try_from(&full[..]).unwrap();
    match &expected.kind {
        Kind::Directory => assert_eq!(seen.file_type(), FileType::Directory, "{name}"),
        Kind::File(content) => {
            assert_eq!(seen.file_type(), FileType::Regular, "{name}");
            assert_eq!(seen.len(), content.len(), "{name}");
            assert!(
                view.read(path).unwrap() == bytes(content, contents),
                "{name} differs"
            );
        }
        Kind::Symlink(target) => {
            assert_eq!(seen.file_type(), FileType::Symlink, "{name}");
            assert_eq!(
                view.read_link(path).unwrap().as_ref(),
                &target[..],
                "{name}"
            );
        }
        Kind::Device { block, .. } => {
            let kind = if *block {
                FileType::BlockDevice
            } else {
                FileType::CharacterDevice
            };
            assert_eq!(seen.file_type(), kind, "{name}");
        }
        Kind::Fifo => assert_eq!(seen.file_type(), FileType::Fifo, "{name}"),
        Kind::HardLink(_) => unreachable!(),
    }
}

/// A file's bytes.
pub(crate) fn bytes(content: &Content, contents: &dyn Contents) -> Vec<u8> {
    content.read(contents).unwrap()
}

fn walk(view: &Ext4, path: &[u8], found: &mut dyn FnMut(&[u8], &ext4_view::Metadata)) {
    let full = [b"/", path].concat();
    let here = ext4_view::Path::try_from(&full[..]).unwrap();
    let metadata = view.symlink_metadata(here).unwrap();
    found(path, &metadata);
    if metadata.file_type() != FileType::Directory {
        return;
    }
    for entry in view.read_dir(here).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        let name: &[u8] = name.as_ref();
        if name != b"." && name != b".." {
            let below = if path.is_empty() {
                name.to_vec()
            } else {
                [path, b"/", name].concat()
            };
            walk(view, &below, found);
        }
    }
}
