//! FAT volumes, judged by fsck.fat, the kernel, mtools and the `fatfs` crate.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "strangers judge, and strangers read files"
)]

mod tools;

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::Path;

use prejoin_formats::fat::{self, Error, Options, Width};
use prejoin_formats::image::Image;
use prejoin_formats::tree::{Content, Entry, Kind, NoContents, Tree};
use proptest::prelude::*;
use tools::{Noise, bytes, have, run};

const MIB: u64 = 1 << 20;
/// 2025-06-01 12:34:56 UTC.
const TIME: i64 = 1_748_781_296;

/// Files by path (`None` for directories).
type Files = BTreeMap<String, Option<Vec<u8>>>;

fn write(tree: &Tree, options: &Options) -> Result<Image, Error> {
    fat::write(tree, options).map(|volume| volume.image)
}

fn options(size: u64, sector_size: u32, width: Option<Width>) -> Options {
    let label = "CIDATA".to_owned();
    Options {
        size,
        sector_size,
        width,
        label,
        volume_id: 0x1234_abcd,
        time: TIME,
        hidden_sectors: 2048,
    }
}

fn tree(files: &Files) -> Tree {
    let mut tree = Tree::new();
    for (path, content) in files {
        let entry = match content {
            Some(bytes) => Entry::file(bytes.clone(), 0o644),
            None => Entry::directory(0o755),
        };
        tree.insert(path, entry.dated(TIME));
    }
    tree
}

fn expected(tree: &Tree) -> Files {
    let pairs = tree.iter().skip(1).map(|(path, entry)| {
        let content = match &entry.kind {
            Kind::File(Content::Bytes(bytes)) => Some(bytes.to_vec()),
            _ => None,
        };
        (String::from_utf8(path.to_vec()).unwrap(), content)
    });
    pairs.collect()
}

/// What an ESP, a seed volume and a nasty user would hold.
fn sample() -> Tree {
    let mut noise = Noise::new(5);
    let mut files: Files = [
        ("EFI/BOOT/BOOTX64.EFI", 100_000),
        ("EFI/Linux/prejoin-a+3.efi", 3_000_001),
        ("EFI/Linux/prejoin-b.efi", 1_200_000),
        ("loader/loader.conf", 30),
        ("loader/entries.srel", 6),
        ("user-data", 700),
        ("meta-data", 0),
        ("network-config", 512),
        ("NETWOR~1", 5),
        ("ÄÖÜ straße €.txt", 4096),
        ("Mixed Case Name With Spaces.TXT", 4097),
        ("MiXeD", 1),
        (".hidden", 2),
        ("thirteenchars", 13),
        ("a/b/c/d/e/f/g/h/i/j/deep", 1),
    ]
    .into_iter()
    .map(|(path, length)| (path.to_owned(), Some(noise.bytes(length))))
    .collect();
    files.insert("x".repeat(255), Some(b"longest".to_vec()));
    files.insert("empty directory".to_owned(), None);
    for number in 0..300 {
        files.insert(
            format!("many/a file with a long name {number}"),
            Some(vec![b'0'; number]),
        );
    }
    tree(&files)
}

fn with_fatfs(volume: Vec<u8>) -> Files {
    let fs = fatfs::FileSystem::new(Cursor::new(volume), fatfs::FsOptions::new()).unwrap();
    assert_eq!(
        (
            fs.volume_id(),
            fs.read_volume_label_from_root_dir().unwrap().as_deref()
        ),
        (0x1234_abcd, Some("CIDATA"))
    );
    let mut files = Files::new();
    let mut directories = vec![(String::new(), fs.root_dir())];
    while let Some((path, directory)) = directories.pop() {
        for entry in directory.iter().map(Result::unwrap) {
            let name = entry.file_name();
            if name == "." || name == ".." {
                continue;
            }
            let path = if path.is_empty() {
                name
            } else {
                format!("{path}/{name}")
            };
            let modified = entry.modified();
            assert_eq!(
                (modified.date.year, modified.time.hour, modified.time.sec),
                (2025, 12, 56),
                "{path}"
            );
            let mut content = None;
            if entry.is_dir() {
                directories.push((path.clone(), entry.to_dir()));
            } else {
                entry.to_file().read_to_end(content.insert(vec![])).unwrap();
            }
            assert!(files.insert(path, content).is_none());
        }
    }
    files
}

fn on_disk(directory: &Path) -> Files {
    let mut files = Files::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(at) = directories.pop() {
        for entry in std::fs::read_dir(at).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let name = path
                .strip_prefix(directory)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            let is_directory = entry.file_type().unwrap().is_dir();
            files.insert(name, (!is_directory).then(|| std::fs::read(&path).unwrap()));
            if is_directory {
                directories.push(path);
            }
        }
    }
    files
}

/// Sizes, sector sizes and types; the last ones are what an ESP is.
fn volumes() -> [Options; 7] {
    [
        options(8 * MIB, 4096, Some(Width::Fat12)),
        options(16 * MIB, 512, None),
        options(64 * MIB, 4096, None),
        options(100 * MIB, 512, None),
        options(64 * MIB, 512, Some(Width::Fat32)),
        options(512 * MIB, 512, None),
        options(512 * MIB, 4096, Some(Width::Fat32)),
    ]
}

/// Writes only what is not zero, so that half a gigabyte costs little.
fn write_sparse(image: &Image, path: &Path) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::create(path).unwrap();
    file.set_len(image.size()).unwrap();
    for piece in image.pieces() {
        let mut buffer = vec![0; piece.length as usize];
        image
            .read_at(&NoContents, piece.offset, &mut buffer)
            .unwrap();
        file.write_all_at(&buffer, piece.offset).unwrap();
    }
}

#[test]
fn fsck_finds_nothing_and_mtools_reads_everything() {
    if !have(&["fsck.vfat", "mcopy"]) {
        return;
    }
    let tree = sample();
    for options in volumes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        write_sparse(&write(&tree, &options).unwrap(), file.path());
        let verdict = run("fsck.vfat", &["-n", "-v", path]);
        for complaint in [
            "ffer",
            "ifferen",
            "rong",
            "nvalid",
            "orphan",
            "Free cluster summary",
            "dirty",
            "LFN",
        ] {
            assert!(!verdict.contains(complaint), "{options:?}: {verdict}");
        }
        let target = tempfile::tempdir().unwrap();
        run(
            "mcopy",
            &[
                "-i",
                path,
                "-s",
                "-n",
                "::",
                target.path().to_str().unwrap(),
            ],
        );
        assert!(
            on_disk(target.path()) == expected(&tree),
            "{options:?}: mtools reads something else"
        );
    }
}

#[test]
fn fatfs_reads_everything() {
    let tree = sample();
    for options in volumes()
        .into_iter()
        .filter(|options| options.size <= 100 * MIB)
    {
        let volume = bytes(&write(&tree, &options).unwrap(), &NoContents);
        assert!(
            with_fatfs(volume) == expected(&tree),
            "{options:?}: fatfs reads something else"
        );
    }
}

#[test]
fn mtools_lists_names_and_times() {
    if !have(&["mdir", "mtype"]) {
        return;
    }
    let mut tree = sample();
    tree.remove("many");
    tree.remove("x".repeat(255));
    tree.insert(
        "loader/loader.conf",
        Entry::file(*b"timeout 3\n", 0o644).dated(TIME),
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    tools::write(
        &write(&tree, &options(16 * MIB, 512, None)).unwrap(),
        file.path(),
    );
    let list = run("mdir", &["-i", path, "-/", "-a", "::"]);
    assert_eq!(list, include_str!("golden/fat.txt"));
    assert_eq!(
        run("mtype", &["-i", path, "::/EFI/../LOADER/loader.CONF"]),
        "timeout 3\n"
    );
    assert_eq!(
        run("mlabel", &["-i", path, "-s", "::"]).trim(),
        "Volume label is CIDATA"
    );
}

#[test]
fn large_files_begin_on_round_offsets() {
    let tree = sample();
    let offset = |image: &Image, length| {
        image
            .pieces()
            .iter()
            .find(|piece| piece.length == length)
            .unwrap()
            .offset
    };
    let image = write(&tree, &options(64 * MIB, 512, Some(Width::Fat32))).unwrap();
    let (a, b) = (offset(&image, 3_000_001), offset(&image, 1_200_000));
    assert_eq!((a % MIB, b % MIB), (0, 0));

    // A new small file before them and a larger first one move neither.
    let mut changed = tree.clone();
    changed.insert(
        "EFI/Linux/prejoin-a+3.efi",
        Entry::file(vec![1; 3_100_000], 0o644),
    );
    changed.insert("EFI/Linux/new", Entry::file(vec![1; 1000], 0o644));
    let image = write(&changed, &options(64 * MIB, 512, Some(Width::Fat32))).unwrap();
    assert_eq!(
        (offset(&image, 3_100_000), offset(&image, 1_200_000)),
        (a, b)
    );
}

#[test]
fn a_full_volume_is_packed_and_an_overfull_one_says_by_how_much() {
    let options = options(64 * MIB, 512, Some(Width::Fat32));
    let mut full = Tree::new();
    for number in 0..35 {
        full.insert(
            format!("file{number}"),
            Entry::file(vec![number; 1_800_000], 0o644).dated(TIME),
        );
    }
    let volume = bytes(&write(&full, &options).unwrap(), &NoContents);
    assert!(with_fatfs(volume) == expected(&full));
    full.insert("more", Entry::file(vec![0; 3_000_000], 0o644));
    let error = write(&full, &options).unwrap_err();
    assert_eq!(
        error.to_string(),
        "files and directories take 66009600 bytes, the volume has room for 65011712"
    );
    assert_eq!(
        error.hint().as_deref(),
        Some("make the partition at least 1 MiB larger")
    );
}

#[test]
fn refuses_what_fat_cannot_hold() {
    let refused = |path: &str, entry: Entry| {
        let mut tree = Tree::new();
        tree.insert("Dir/File", Entry::file(*b"x", 0o644));
        tree.insert(path, entry);
        write(&tree, &options(16 * MIB, 512, None)).unwrap_err()
    };
    let file = || Entry::file(*b"x", 0o644);
    assert_eq!(
        refused("a/link", Entry::symlink("b")),
        Error::Kind("a/link".to_owned())
    );
    assert_eq!(refused("a./b", file()), Error::Name("a.".to_owned()));
    assert_eq!(refused("a/b:c", file()), Error::Name("a/b:c".to_owned()));
    assert_eq!(
        refused("Dir/fILE", file()),
        Error::SameName("Dir/File".to_owned(), "Dir/fILE".to_owned())
    );
    assert_eq!(
        refused("dir", Entry::directory(0o755)),
        Error::SameName("Dir".to_owned(), "dir".to_owned())
    );
    let large = Entry::blob([0; 32], 1 << 32, 0o644);
    assert_eq!(
        refused("large", large),
        Error::Large {
            path: "large".to_owned(),
            size: 1 << 32
        }
    );
    for label in ["lower", "TWELVE CHARS", " LEADING", "A/B"] {
        let options = Options {
            label: label.to_owned(),
            ..options(16 * MIB, 512, None)
        };
        assert_eq!(
            write(&Tree::new(), &options).unwrap_err(),
            Error::Label(label.to_owned())
        );
    }
    let mut tree = Tree::new();
    for number in 0..40_000 {
        tree.insert(format!("d/{number:05} long name"), Entry::directory(0o755));
    }
    assert_eq!(
        write(&tree, &options(16 * MIB, 512, None)).unwrap_err(),
        Error::Directory("d".to_owned())
    );
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let volume = || {
        bytes(
            &write(&sample(), &options(16 * MIB, 512, None)).unwrap(),
            &NoContents,
        )
    };
    assert!(volume() == volume());
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        "[A-Z0-9]{1,8}(\\.[A-Z]{1,3})?",
        "[a-zA-Z0-9+,;=.~ -]{0,60}[a-z0-9]",
        "[ a-zäöüßéñЖ日本€!#]{0,90}[a-z]"
    ]
}

fn files() -> impl Strategy<Value = Files> {
    let path = prop::collection::vec(names(), 1..5).prop_map(|names| names.join("/"));
    let content = prop_oneof![
        2 => Just(None),
        2 => Just(Some(vec![])),
        5 => prop::collection::vec(any::<u8>(), 0..3000).prop_map(Some),
    ];
    prop::collection::btree_map(path, content, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_trees_are_read_back(files in files(), which in 0usize..4) {
        let options = [
            options(4 * MIB, 512, Some(Width::Fat12)),
            options(5 * MIB, 512, Some(Width::Fat16)),
            options(36 * MIB, 512, Some(Width::Fat32)),
            options(8 * MIB, 4096, None),
        ][which].clone();
        let tree = tree(&files);
        match write(&tree, &options) {
            Err(Error::SameName(..)) => {}
            result => {
                let image = result.unwrap();
                prop_assert!(with_fatfs(bytes(&image, &NoContents)) == expected(&tree));
                if have(&["fsck.vfat"]) {
                    let file = tempfile::NamedTempFile::new().unwrap();
                    write_sparse(&image, file.path());
                    run("fsck.vfat", &["-n", file.path().to_str().unwrap()]);
                }
            }
        }
    }
}
