//! LUKS, dm-verity, dm-integrity.

use super::Found;
use super::medium::{Fields, Medium};

/// Where LUKS2's second header can be: right after the first, whose size is one of these (LUKS2 On-Disk Format,
/// section 2.3).
const SECOND: [u64; 9] = [
    0x4000, 0x8000, 0x10000, 0x20000, 0x40000, 0x80000, 0x10_0000, 0x20_0000, 0x40_0000,
];

pub(super) fn find(medium: &Medium, found: &mut Vec<Found>) {
    found.extend(luks(medium, 0, b"LUKS\xba\xbe"));
    found.extend(
        SECOND
            .iter()
            .filter_map(|&offset| luks(medium, offset, b"SKUL\xba\xbe")),
    );
    found.extend(verity(medium));
    found.extend(integrity(medium));
}

/// LUKS1 On-Disk Format, section 2.1; LUKS2 On-Disk Format, section 2.1: `struct luks2_hdr_disk`.
fn luks(medium: &Medium, offset: u64, magic: &[u8]) -> Option<Found> {
    let bytes = medium
        .bytes(offset, 512)
        .filter(|bytes| bytes.has(0, magic))?;
    let version = bytes.be16(6)?;
    let uuid = bytes.text(168, 40);
    let found = |length, version: String| {
        Found::new("crypto_LUKS", offset, length, 6)
            .version(version)
            .uuid(uuid)
    };
    match version {
        1 if offset == 0 => {
            // Key slots lie between the header and the data.
            let payload = u64::from(bytes.be32(104)?) * 512;
            Some(found(
                if payload == 0 {
                    4096
                } else {
                    payload.min(4 << 20)
                },
                "1".into(),
            ))
        }
        2 if bytes.be64(256)? == offset => {
            let opal = if bytes.has(208, b"HW-OPAL") {
                " (HW-OPAL)"
            } else {
                ""
            };
            let length = bytes.be64(8)?.clamp(4096, 4 << 20);
            Some(
                found(length, format!("2{opal}"))
                    .backup(offset > 0)
                    .label(bytes.text(24, 48)),
            )
        }
        _ => None,
    }
}

/// `man veritysetup`; `lib/verity/verity.c`, `struct verity_sb`.
fn verity(medium: &Medium) -> Option<Found> {
    let bytes = medium.bytes(0, 512)?;
    let size = |at| {
        bytes
            .le32(at)
            .is_some_and(|size| size.is_power_of_two() && size >= 512)
    };
    let sound = bytes.has(0, b"verity\0\0")
        && bytes.le32(8)? == 1
        && bytes.le32(12)? <= 1
        && size(64)
        && size(68);
    sound.then(|| {
        Found::new("DM_verity_hash", 0, 512, 8)
            .version(1)
            .uuid(bytes.uuid(16))
    })
}

/// `drivers/md/dm-integrity.c`, `struct superblock`.
fn integrity(medium: &Medium) -> Option<Found> {
    let bytes = medium.bytes(0, 512)?;
    let version = bytes.byte(8)?;
    let sound = bytes.has(0, b"integrt\0") && version > 0;
    sound.then(|| Found::new("DM_integrity", 0, 4096, 8).version(version))
}
