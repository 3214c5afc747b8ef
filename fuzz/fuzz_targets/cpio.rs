//! A cpio archive: read, made a tree, and written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prejoin_formats::cpio;
use prejoin_formats::tree::{Kind, NoContents, Tree};

fuzz_target!(|bytes: &[u8]| {
    let mut items = cpio::read(bytes, 1 << 20);
    for item in items.by_ref().flatten() {
        if let Ok(path) = cpio::safe_path(item.name) {
            assert!(!path.starts_with(b"/") && path.split(|&byte| byte == b'/').all(|part| part != b".."));
        }
    }
    assert!(items.rest().len() <= bytes.len());
    let Ok(tree) = cpio::read_tree(bytes, 1 << 20) else { return };
    for (path, _) in tree.iter().skip(1) {
        let parent = path.iter().rposition(|&byte| byte == b'/').map_or(&b""[..], |slash| &path[..slash]);
        assert_eq!(tree.entry(parent).map(|entry| &entry.kind), Some(&Kind::Directory));
    }
    let Some(once) = again(&tree) else { return };
    assert_eq!(once.len(), tree.len());
    // The root's access is not written, and of several names the first is now the file.
    assert_eq!(again(&once), Some(once));
});

fn again(tree: &Tree) -> Option<Tree> {
    let image = cpio::write(tree).ok()?;
    let mut bytes = vec![0; image.size() as usize];
    image.read_at(&NoContents, 0, &mut bytes).expect("all contents are in the archive");
    Some(cpio::read_tree(&bytes, 1 << 20).expect("what was written is read"))
}
