//! Volumes and caches over disks: LVM, Stratis, bcache, VDO, device-mapper snapshots.

use super::Found;
use super::linux::BCACHE;
use super::medium::{Fields, Medium};

pub(super) fn find(medium: &Medium, found: &mut Vec<Found>) {
    found.extend((0..4).filter_map(|sector| lvm(medium, sector)));
    found.extend(lvm1(medium));
    found.extend(
        [1, 9]
            .into_iter()
            .filter_map(|sector| stratis(medium, sector)),
    );
    found.extend(bcache(medium));
    found.extend(vdo(medium));
    found.extend(snapshot(medium));
}

/// LVM2's `lib/format_text/layout.h`: a label in one of the first four sectors.
fn lvm(medium: &Medium, sector: u64) -> Option<Found> {
    let bytes = medium.bytes(sector * 512, 512)?;
    let sound = bytes.has(0, b"LABELONE") && bytes.has(24, b"LVM2 001") && bytes.le64(8)? == sector;
    let found = Found::new("LVM2_member", sector * 512, 512, 8)
        .after(24)
        .size(bytes.le64(64), 1)
        .version("LVM2 001");
    sound.then(|| found.uuid(lvm_uuid(&bytes, 32)))
}

fn lvm1(medium: &Medium) -> Option<Found> {
    let bytes = medium.bytes(0, 512)?;
    let sound = bytes.has(0, b"HM") && (1..=2).contains(&bytes.le16(2)?);
    let uuid = lvm_uuid(&bytes, 44)?;
    sound.then(|| Found::new("LVM1_member", 0, 1024, 2).uuid(Some(uuid)))
}

/// 32 letters and digits in groups of 6, 4, 4, 4, 4, 4 and 6.
fn lvm_uuid(bytes: &[u8], at: usize) -> Option<String> {
    let text = str::from_utf8(bytes.part(at, 32)?)
        .ok()
        .filter(|text| text.bytes().all(|b| b.is_ascii_alphanumeric()))?;
    let groups = [0..6, 6..10, 10..14, 14..18, 18..22, 22..26, 26..32];
    Some(
        groups
            .map(|range| text.get(range).unwrap_or_default())
            .join("-"),
    )
}

/// Stratis's `static_header.rs`: one 512-byte header in sector 1, and one in sector 9.
fn stratis(medium: &Medium, sector: u64) -> Option<Found> {
    let bytes = medium.bytes(sector * 512, 512)?;
    let sound = bytes.has(4, b"!Stra0tis\x86\xff\x02^\x41rh");
    let text = bytes
        .part(64, 32)
        .and_then(|text| str::from_utf8(text).ok());
    let groups = [0..8, 8..12, 12..16, 16..20, 20..32];
    let uuid = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let uuid = uuid.map(|text| {
        groups
            .map(|range| text.get(range).unwrap_or_default())
            .join("-")
    });
    sound.then(|| {
        Found::new("stratis", sector * 512, 512, 16)
            .after(4)
            .backup(sector > 1)
            .uuid(uuid)
    })
}

/// `drivers/md/bcache/bcache_ondisk.h`, `struct cache_sb_disk`: its own sector is in it.
fn bcache(medium: &Medium) -> Option<Found> {
    let bytes = medium.bytes(4096, 512)?;
    let sound = bytes.has(24, &BCACHE) && bytes.le64(8)? == 8 && bytes.le64(16)? <= 16;
    let found = Found::new("bcache", 4096, 4096, 16)
        .after(24)
        .version(bytes.le64(16)?);
    sound.then(|| found.uuid(bytes.uuid(40)).label(bytes.text(72, 32)))
}

/// `drivers/md/dm-vdo/encodings.c`, the geometry block.
fn vdo(medium: &Medium) -> Option<Found> {
    let bytes = medium.bytes(0, 512)?;
    bytes
        .has(0, b"dmvdo001")
        .then(|| Found::new("vdo", 0, 4096, 8).uuid(bytes.uuid(40)))
}

/// `drivers/md/dm-snap-persistent.c`, `struct disk_header`: valid, version, chunk size.
fn snapshot(medium: &Medium) -> Option<Found> {
    let bytes = medium.bytes(0, 512)?;
    let sound = bytes.has(0, b"SnAp")
        && bytes.le32(4)? <= 1
        && bytes.le32(8)? == 1
        && bytes.le32(12)?.is_power_of_two();
    sound.then(|| Found::new("DM_snapshot_cow", 0, 512, 4))
}
