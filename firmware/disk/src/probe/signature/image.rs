//! Read-only images: squashfs, EROFS, cramfs; and UBI.

use super::Found;
use super::medium::{Fields, Medium};

pub(super) fn find(medium: &Medium, found: &mut Vec<Found>) {
    found.extend(squashfs(medium));
    found.extend(erofs(medium));
    found.extend(cramfs(medium));
    found.extend(ubi(medium));
}

/// `fs/squashfs/squashfs_fs.h`, `struct squashfs_super_block`; version 3 is another layout.
fn squashfs(medium: &Medium) -> Option<Found> {
    let bytes = medium.bytes(0, 96)?;
    let version = |major, minor| format!("{major}.{minor}");
    if bytes.has(0, b"sqsh") {
        let (major, minor) = (bytes.be16(28)?, bytes.be16(30)?);
        return (major <= 3)
            .then(|| Found::new("squashfs3", 0, 119, 4).version(version(major, minor)));
    }
    let (major, minor, shift) = (bytes.le16(28)?, bytes.le16(30)?, u32::from(bytes.le16(22)?));
    if !bytes.has(0, b"hsqs") {
        return None;
    }
    if major <= 3 {
        return Some(Found::new("squashfs3", 0, 119, 4).version(version(major, minor)));
    }
    let sound = (12..=20).contains(&shift) && bytes.le32(12)? == 1 << shift;
    sound.then(|| Found::new("squashfs", 0, 96, 4).version(version(major, minor)))
}

/// `fs/erofs/erofs_fs.h`, `struct erofs_super_block`.
fn erofs(medium: &Medium) -> Option<Found> {
    let bytes = medium.bytes(1024, 128)?;
    let sound = bytes.has(0, &[0xe2, 0xe1, 0xf5, 0xe0]) && (9..=16).contains(&bytes.byte(12)?);
    sound.then(|| {
        Found::new("erofs", 1024, 128, 4)
            .uuid(bytes.uuid(48))
            .label(bytes.text(64, 16))
    })
}

/// `include/uapi/linux/cramfs_fs.h`, either byte order; it may begin after 512 bytes of boot code.
fn cramfs(medium: &Medium) -> Option<Found> {
    [0, 512].into_iter().find_map(|offset| {
        let bytes = medium.bytes(offset, 76)?;
        let little = bytes.has(0, &[0x45, 0x3d, 0xcd, 0x28]);
        let big = bytes.has(0, &[0x28, 0xcd, 0x3d, 0x45]);
        let flags = if little {
            bytes.le32(8)?
        } else {
            bytes.be32(8)?
        };
        let sound = (little || big) && bytes.has(16, b"Compressed ROMFS");
        let found = Found::new("cramfs", offset, 76, 4).version(1 + (flags & 1));
        sound.then(|| found.label(bytes.text(48, 16)))
    })
}

/// `drivers/mtd/ubi/ubi-media.h`, `struct ubi_ec_hdr`.
fn ubi(medium: &Medium) -> Option<Found> {
    const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_JAMCRC);
    let bytes = medium.bytes(0, 64)?;
    let sound = bytes.has(0, b"UBI#") && CRC.checksum(bytes.part(0, 60)?) == bytes.be32(60)?;
    let found = Found::new("ubi", 0, 64, 4).version(bytes.byte(4)?);
    sound.then(|| found.uuid(bytes.be32(24).map(|number| number.to_string())))
}
