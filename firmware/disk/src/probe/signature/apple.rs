//! HFS, HFS+, APFS and Core Storage (FileVault 2).

use super::Found;
use super::medium::{Fields, Medium};

pub(super) fn find(medium: &Medium, found: &mut Vec<Found>) {
    // The alternate header is 1 KiB before the end (TN1150).
    let last = (medium.size() >> 9 << 9).saturating_sub(1024);
    found.extend(hfs_plus(medium, 1024));
    found.extend(
        hfs_plus(medium, last)
            .filter(|_| last > 1024)
            .map(|found| found.backup(true)),
    );
    found.extend(hfs(medium));
    found.extend(apfs(medium));
    found.extend(core_storage(medium));
}

/// Technical Note TN1150, "Volume Header". The identifier is the 64-bit one of the header, not the UUID that others
/// derive from it.
fn hfs_plus(medium: &Medium, offset: u64) -> Option<Found> {
    let bytes = medium.bytes(offset, 512)?;
    let version = bytes.be16(2)?;
    let block = bytes.be32(40)?;
    let sound = matches!((bytes.part(0, 2)?, version), (b"H+", 4) | (b"HX", 5))
        && block.is_power_of_two()
        && block >= 512
        && bytes.be32(44)? > 0;
    let id = bytes
        .be64(104)
        .filter(|&id| id != 0)
        .map(|id| format!("{id:016x}"));
    sound.then(|| {
        Found::new("hfsplus", offset, 512, 2)
            .version(version)
            .uuid(id)
    })
}

/// Inside Macintosh: Files, "Master Directory Blocks"; HFS+ may be wrapped in it.
fn hfs(medium: &Medium) -> Option<Found> {
    let bytes = medium.bytes(1024, 512)?;
    let block = bytes.be32(20)?;
    let length = usize::from(bytes.byte(36)?);
    let sound = bytes.has(0, b"BD")
        && block > 0
        && block.is_multiple_of(512)
        && bytes.be16(18)? > 0
        && bytes.be16(14)? >= 3
        && (1..=27).contains(&length);
    let wrapper = matches!(bytes.part(124, 2)?, b"H+" | b"HX");
    let found = Found::new(if wrapper { "hfsplus" } else { "hfs" }, 1024, 512, 2);
    sound.then(|| found.label(bytes.text(37, length)))
}

/// Apple File System Reference, `nx_superblock_t`.
fn apfs(medium: &Medium) -> Option<Found> {
    let bytes = medium.bytes(0, 4096)?;
    let block = bytes.le32(36)?;
    let sound = bytes.has(32, b"NXSB")
        && bytes.le16(24)? == 1
        && bytes.le32(28)? == 0
        && block.is_power_of_two()
        && (4096..=65536).contains(&block)
        && bytes.le64(40)? > 0;
    sound.then(|| {
        Found::new("apfs", 0, u64::from(block), 4)
            .after(32)
            .uuid(bytes.uuid(72))
    })
}

/// libfvde's `FileVault Drive Encryption (FVDE) format`; what is not encrypted is only a volume.
fn core_storage(medium: &Medium) -> Option<Found> {
    let bytes = medium.bytes(0, 512)?;
    let sound = bytes.has(88, b"CS")
        && bytes.le16(8)? == 1
        && bytes.le16(10)? == 0x10
        && bytes.le32(90)? == 1;
    let encrypted = bytes.le32(168)? == 16 && bytes.le32(172)? == 2;
    let kind = if encrypted {
        "cs_fvault2"
    } else {
        "apple_corestorage"
    };
    sound.then(|| {
        Found::new(kind, 0, 512, 2)
            .after(88)
            .version(1)
            .uuid(bytes.uuid(304))
    })
}
