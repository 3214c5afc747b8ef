//! The dm-verity superblock and hash tree. The root hash is made to fit, or no input would get past the first block.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prejoin_formats::verity::{BLOCK, Superblock, Tree, leaf};

fuzz_target!(|bytes: &[u8]| {
    let Ok(superblock) = Superblock::parse(bytes) else { return };
    assert!(superblock.hash_size() >= BLOCK as u64);
    let _ = (superblock.sectors(), superblock.target("7:0", "7:1", &[0; 32]));
    let _ = Tree::open(bytes, &[0; 32]);
    let Some(top) = bytes.get(BLOCK..2 * BLOCK) else { return };
    let top: &[u8; BLOCK] = top.try_into().expect("one block");
    if let Ok(tree) = Tree::open(bytes, &leaf(&superblock.salt, top)) {
        for index in [0, 1, superblock.data_blocks - 1, superblock.data_blocks, u64::MAX] {
            let _ = tree.check_block(index, &[0; BLOCK]);
        }
    }
});
