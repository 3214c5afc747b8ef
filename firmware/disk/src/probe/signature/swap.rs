//! Swap, and hibernation images in it, for every size of pages (`include/linux/swap.h`, `union swap_header`).

use super::Found;
use super::medium::{Fields, Medium};

/// Pages of 4, 8, 16, 32 and 64 KiB: the magic number is at the end of the first one.
const PAGES: [u64; 5] = [4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10];
/// An image to resume from is in it: kernel, uswsusp, and two old ones.
const SUSPENDED: [(&[u8], &str); 4] = [
    (b"S1SUSPEND", "s1suspend"),
    (b"S2SUSPEND", "s2suspend"),
    (b"ULSUSPEND", "ulsuspend"),
    (b"LINHIB0001", "linhib0001"),
];
const TUX_ON_ICE: [u8; 8] = [0xed, 0xc3, 0x02, 0xe9, 0x98, 0x56, 0xe5, 0x0c];

pub(super) fn find(medium: &Medium, found: &mut Vec<Found>) {
    found.extend(PAGES.iter().filter_map(|&page| swap(medium, page)));
    let ice = medium.bytes(0, 8).filter(|bytes| bytes.has(0, &TUX_ON_ICE));
    found.extend(ice.map(|_| Found::new("swsuspend", 0, 4096, 8).version("tuxonice")));
}

fn swap(medium: &Medium, page: u64) -> Option<Found> {
    let magic = medium.bytes(page - 10, 10)?;
    let header = medium.bytes(1024, 512)?;
    let found = |kind, length: usize| {
        Found::new(kind, 1024, page - 1024, length as u64).after(page - 10 - 1024)
    };
    if magic.has(0, b"SWAP-SPACE") {
        return Some(found("swap", 10).version(0));
    }
    let suspended = SUSPENDED.iter().find(|(name, _)| magic.has(0, name));
    let (kind, version, length) = match suspended {
        Some((name, version)) => ("swsuspend", *version, name.len()),
        None if magic.has(0, b"SWAPSPACE2") => ("swap", "1", 10),
        None => return None,
    };
    let known = header.le32(0) == Some(1) || header.be32(0) == Some(1);
    if kind == "swap" && (!known || header.le32(4)? == 0) {
        return None;
    }
    // Where these two words are set, what is there is no header (libblkid's rule).
    let named = header.le64(44 + 32 * 4)? == 0;
    let uuid = header.uuid(12).filter(|_| named);
    let pages = header.le32(4).map(|last| u64::from(last) + 1);
    Some(
        found(kind, length)
            .size(pages.filter(|_| header.le32(0) == Some(1)), page)
            .version(version)
            .uuid(uuid)
            .label(header.text(28, 16).filter(|_| named)),
    )
}
