//! Storage systems that take a whole block device: Ceph BlueStore, SPDK (Longhorn's v2 engine, Mayastor), Talos.

use super::Found;
use super::medium::{Fields, Medium};

/// Bytes of a label: BlueStore's, and SPDK's pages.
const PAGE: usize = 4096;
const GIB: u64 = 1 << 30;

pub(super) fn find(medium: &Medium, found: &mut Vec<Found>) {
    // Ceph's `BlueStore.cc`, `bdev_label_positions`, since Squid.
    found.extend(
        [0, GIB, 10 * GIB, 100 * GIB, 1000 * GIB]
            .iter()
            .filter_map(|&offset| bluestore(medium, offset)),
    );
    found.extend(spdk(medium));
    found.extend(
        [0, 256 << 10]
            .iter()
            .filter_map(|&offset| talos(medium, offset)),
    );
}

/// Two lines of text, the second one the OSD's UUID, then `bluestore_bdev_label_t` (`bluestore_types.cc`): version,
/// compatible version, length, UUID, size, time, a description and a map of texts.
fn bluestore(medium: &Medium, offset: u64) -> Option<Found> {
    let bytes = medium.bytes(offset, PAGE)?;
    if !bytes.has(0, b"bluestore block device") {
        return None;
    }
    let uuid = bytes
        .text(23, 36)
        .filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-'));
    let found = Found::new("ceph_bluestore", offset, PAGE as u64, 22)
        .size(bytes.le64(60 + 6 + 16), 1)
        .backup(offset > 0);
    Some(found.uuid(uuid).label(bluestore_name(&bytes)))
}

/// `osd.3`, or what the device is for (`bluefs db`).
fn bluestore_name(bytes: &[u8]) -> Option<String> {
    let string = |at: usize| {
        let length = bytes.le32(at)? as usize;
        let end = at
            .checked_add(4)?
            .checked_add(length)
            .filter(|&end| end <= PAGE)?;
        Some((bytes.text(at + 4, length), end))
    };
    let (description, mut at) = string(60 + 6 + 16 + 8 + 8)?;
    let count = bytes.le32(at)?.min(64);
    at += 4;
    for _ in 0..count {
        let Some((key, value)) = string(at) else {
            break;
        };
        let Some((value, next)) = string(value) else {
            break;
        };
        if key.as_deref() == Some("whoami") {
            return value.map(|id| format!("osd.{id}"));
        }
        at = next;
    }
    description
}

/// SPDK's `blobstore.h`, `struct spdk_bs_super_block`, which is packed: only so do its members fill a page.
fn spdk(medium: &Medium) -> Option<Found> {
    let bytes = medium.bytes(0, PAGE)?;
    let version = bytes.le32(8)?;
    let sound = bytes.has(0, b"SPDKBLOB") && (1..=16).contains(&version);
    let mut found = Found::new("spdk_blobstore", 0, PAGE as u64, 8).version(version);
    found.label = bytes.text(56, 16);
    if let Some((name, uuid)) = lvstore(medium, &bytes) {
        found.label = name.or(found.label);
        found.uuid = uuid;
    }
    sound.then_some(found)
}

/// A store of logical volumes has its name and UUID in two attributes of its first blob, whose metadata is one page
/// (`struct spdk_blob_md_page`).
fn lvstore(medium: &Medium, superblock: &[u8]) -> Option<(Option<String>, Option<String>)> {
    let page = superblock.le64(20)? & u64::from(u32::MAX);
    let offset = u64::from(superblock.le32(48)?)
        .checked_add(page)?
        .checked_mul(PAGE as u64)?;
    let bytes = medium
        .bytes(offset, PAGE)
        .filter(|_| superblock.has(56, b"LVOLSTORE"))?;
    let (mut name, mut uuid, mut at) = (None, None, 16);
    while let (Some(kind), Some(length)) = (bytes.byte(at), bytes.le32(at + 1)) {
        let Some(value) = bytes.part(at + 5, length as usize).filter(|_| kind > 0) else {
            break;
        };
        if kind == 2
            && let (Some(key), Some(size)) = (
                value.le16(0).map(usize::from),
                value.le16(2).map(usize::from),
            )
        {
            match value.part(4, key) {
                Some(b"name") => name = value.text(4 + key, size),
                Some(b"uuid") => uuid = value.text(4 + key, size),
                _ => {}
            }
        }
        at += 5 + length as usize;
    }
    Some((name, uuid))
}

/// Talos's `internal/pkg/meta/internal/adv/talos`: 256 KiB between two magic numbers, and once more after it.
fn talos(medium: &Medium, offset: u64) -> Option<Found> {
    const LENGTH: u64 = 256 << 10;
    let start = medium.bytes(offset, 4)?;
    let end = medium.bytes(offset + LENGTH - 4, 4)?;
    let sound = start.has(0, &[0x5a, 0x4b, 0x3c, 0x2d]) && end.has(0, &[0xa5, 0xb4, 0xc3, 0xd2]);
    sound.then(|| Found::new("talos_meta", offset, LENGTH, 4).backup(offset > 0))
}
