//! How much of an image changes when a little of the tree does.

use std::collections::BTreeMap;

use prejoin_formats::ext4::{self, Options};
use prejoin_formats::image::{Image, Source};
use prejoin_formats::tree::{Content, Entry, Kind, Tree};

use crate::TIME;

/// Sizes in the proportions of a Debian system's `/usr` (a table of 64 quantiles of 108 000 files, the largest left
/// out), enough files for about 400 MB.
const QUANTILES: &[u64] = &[
    0, 59, 148, 192, 282, 365, 424, 483, 540, 587, 628, 682, 737, 787, 849, 907, 958, 1004, 1043,
    1086, 1130, 1182, 1230, 1285, 1347, 1416, 1486, 1554, 1625, 1706, 1800, 1916, 2045, 2184, 2320,
    2473, 2646, 2824, 3015, 3211, 3433, 3673, 3948, 4287, 4688, 5138, 5685, 6305, 7027, 7894, 8791,
    9982, 11_338, 13_065, 14_595, 16_495, 18_849, 22_316, 26_896, 33_158, 42_077, 57_800, 87_791,
    161_386, 2_279_868,
];
const FILES: u64 = 14_400;
const PER_DIRECTORY: u64 = 20;

/// A small generator with a fixed start: SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn size(&mut self) -> u64 {
        let at = self.below(QUANTILES.len() as u64 - 1) as usize;
        let (low, high) = (QUANTILES[at], QUANTILES[at + 1]);
        low + self.below(high - low + 1)
    }

    fn digest(&mut self) -> [u8; 32] {
        let mut digest = [0; 32];
        digest
            .chunks_mut(8)
            .for_each(|chunk| chunk.copy_from_slice(&self.next().to_le_bytes()));
        digest
    }

    fn file(&mut self, size: u64) -> Entry {
        Entry::blob(self.digest(), size, 0o644).dated(TIME)
    }
}

fn before(random: &mut Random) -> Tree {
    let mut tree = Tree::new();
    for number in 0..FILES {
        let size = random.size();
        let file = random.file(size);
        tree.insert(
            format!("usr/{}/file-{number}", number / PER_DIRECTORY),
            file,
        );
    }
    tree
}

/// Touches one file in 25: three quarters get other content of a size up to a tenth off, some go, some come, some
/// are renamed. Gives the bytes of files that are new or changed.
fn change(tree: &mut Tree, random: &mut Random) -> u64 {
    let mut files: Vec<(Vec<u8>, u64)> = tree
        .iter()
        .filter_map(|(path, entry)| match &entry.kind {
            Kind::File(content) => Some((path.to_vec(), content.len())),
            _ => None,
        })
        .collect();
    // One of every 25 neighbours in size: so 4 % of the files are about 4 % of the bytes.
    files.sort_by_key(|(_, size)| *size);
    let mut changed = 0;
    for alike in files.chunks(25) {
        let (path, size) = alike[random.below(alike.len() as u64) as usize].clone();
        let fate = random.below(20);
        if fate >= 5 {
            let size = size * (900 + random.below(201)) / 1000;
            tree.insert(&path, random.file(size));
            changed += size;
            continue;
        }
        if fate < 4 {
            tree.remove(&path);
        }
        if fate >= 2 {
            let file = random.file(size);
            tree.insert([&path[..], b".new"].concat(), file);
            changed += size;
        }
    }
    changed
}

/// What each block that holds something holds.
fn blocks(image: &Image) -> BTreeMap<u64, (Vec<u8>, u64)> {
    let mut blocks = BTreeMap::new();
    for piece in image.pieces() {
        for start in (0..piece.length).step_by(4096) {
            let what = match &piece.source {
                Source::Bytes { bytes, start: from } => {
                    let from = (from + start) as usize;
                    (bytes[from..bytes.len().min(from + 4096)].to_vec(), 0)
                }
                Source::Blob {
                    digest,
                    start: from,
                } => (digest.to_vec(), from + start),
            };
            blocks.insert((piece.offset + start) / 4096, what);
        }
    }
    blocks
}

#[test]
fn little_changes_when_little_changed() {
    for seed in 1..=3 {
        let mut random = Random(seed);
        let mut tree = before(&mut random);
        let options = Options {
            time: TIME,
            ..Options::new(ext4::recommended_size(&tree), [9; 16])
        };
        let old = ext4::plan(&tree, &options).unwrap();
        let changed = change(&mut tree, &mut random);
        let new = ext4::plan(&tree, &options).unwrap();

        let (old, new) = (blocks(&old.image), blocks(&new.image));
        let all = new.len() as f64;
        let other = new
            .iter()
            .filter(|(at, what)| old.get(at) != Some(what))
            .count() as f64;
        let emptied = old.keys().filter(|at| !new.contains_key(at)).count() as f64;
        let (changed, other, emptied) = (changed as f64 / 4096.0 / all, other / all, emptied / all);
        println!(
            "changed {:.2} %, other blocks {:.2} %, emptied {:.2} %",
            changed * 100.0,
            other * 100.0,
            emptied * 100.0
        );
        assert!(
            (0.03..0.045).contains(&changed),
            "the sample is off: {changed}"
        );
        assert!(other < 0.08, "{other}");
        assert!(other + emptied < 0.09, "{other} + {emptied}");
    }
}

#[test]
fn an_unrelated_file_moves_little() {
    // One file more, and one that doubles: nearly everything else is where it was.
    let mut random = Random(7);
    let mut tree = before(&mut random);
    let options = Options::new(ext4::recommended_size(&tree), [9; 16]);
    let old = blocks(&ext4::plan(&tree, &options).unwrap().image);
    tree.insert("usr/0/one-more", random.file(40_000));
    let Kind::File(Content::Blob { size, .. }) = tree.entry("usr/3/file-60").unwrap().kind else {
        unreachable!()
    };
    tree.insert("usr/3/file-60", random.file(size * 2));
    let new = blocks(&ext4::plan(&tree, &options).unwrap().image);
    let other = new
        .iter()
        .filter(|(at, what)| old.get(at) != Some(what))
        .count() as u64;
    assert!(
        other < 10 + 2 * size / 4096 + 200,
        "{other} blocks differ, {size}"
    );
}
