//! A cpio archive: read, made a tree, and written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prejoin_formats::cpio;
use prejoin_formats::tree::NoContents;

fuzz_target!(|bytes: &[u8]| {
    let mut items = cpio::read(bytes, 1 << 20);
    for item in items.by_ref().flatten() {
        if let Ok(path) = cpio::safe_path(item.name) {
            assert!(!path.starts_with(b"/") && path.split(|&byte| byte == b'/').all(|part| part != b".."));
        }
    }
    assert!(items.rest().len() <= bytes.len());
    let Ok(tree) = cpio::read_tree(bytes, 1 << 20) else { return };
    let Ok(image) = cpio::write(&tree) else { return };
    let mut written = vec![0; image.size() as usize];
    image.read_at(&NoContents, 0, &mut written).expect("all contents are in the archive");
    assert_eq!(cpio::read_tree(&written, 1 << 20).expect("what was written is read"), tree);
});
