//! Members of arrays: Linux md, SNIA DDF, and what the firmware of mainboards writes at the end of disks.

use super::Found;
use super::medium::{Fields, Medium};

const MD: [u8; 4] = 0xa92b_4efc_u32.to_le_bytes();

pub(super) fn find(medium: &Medium, found: &mut Vec<Found>) {
    let size = medium.size();
    found.extend(md_old(medium));
    // `drivers/md/md.c`, `super_1_load`: at least 8 KiB from the end, on a 4 KiB boundary.
    let last = (size >> 12 << 12)
        .checked_sub(8192)
        .filter(|&last| last > 4096);
    for (offset, version) in last
        .map(|last| (last, "1.0"))
        .into_iter()
        .chain([(0, "1.1"), (4096, "1.2")])
    {
        found.extend(md(medium, offset, version));
    }
    ddf(medium, found);
    for sector in [512, 4096] {
        found.extend(intel(medium, sector));
    }
    found.extend(nvidia(medium));
    for find in [lsi, silicon, via, jmicron, adaptec] {
        found.extend(sector(medium, 1).and_then(|(offset, bytes)| find(offset, &bytes)));
    }
    found.extend(promise(medium));
    found.extend(highpoint(medium));
}

/// `include/uapi/linux/raid/md_p.h`, `mdp_super_t`, in the last whole 64 KiB but one; either byte order.
fn md_old(medium: &Medium) -> Option<Found> {
    let offset = (medium.size() >> 16 << 16).checked_sub(1 << 16)?;
    let bytes = medium.bytes(offset, 512)?;
    let little = bytes.has(0, &MD);
    let read = |at| {
        if little {
            bytes.le32(at)
        } else {
            bytes.be32(at)
        }
    };
    let (major, minor, patch) = (read(4)?, read(8)?, read(12)?);
    // Its own words, each in the order of its number's digits.
    let words = [read(20)?, read(52)?, read(56)?, read(60)?];
    let uuid: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    let sound = read(0)? == u32::from_le_bytes(MD)
        && major == 0
        && (90..=99).contains(&minor)
        && u64::from(read(32)?) << 10 <= offset;
    let found = Found::new("linux_raid_member", offset, 4096, 4)
        .version(format!("{major}.{minor}.{patch}"));
    sound.then(|| found.uuid(uuid.uuid(0)))
}

/// `struct mdp_superblock_1`: it knows its own sector.
fn md(medium: &Medium, offset: u64, version: &str) -> Option<Found> {
    let bytes = medium.bytes(offset, 256)?;
    let sound =
        bytes.has(0, &MD) && bytes.le32(4)? == 1 && bytes.le64(144)?.checked_mul(512)? == offset;
    let found = Found::new("linux_raid_member", offset, 4096, 4).version(version);
    sound.then(|| found.uuid(bytes.uuid(16)).label(bytes.text(32, 32)))
}

/// SNIA Common RAID Disk Data Format 2.0, section 5.2: an anchor in the last sector, which has the places of the
/// primary and the secondary header.
fn ddf(medium: &Medium, found: &mut Vec<Found>) {
    for back in [1, 257] {
        let Some((offset, bytes)) = sector(medium, back) else {
            continue;
        };
        if let Some(anchor) = ddf_header(offset, &bytes) {
            let places = [96, 104].map(|at| bytes.be64(at)?.checked_mul(512));
            let headers = places
                .into_iter()
                .flatten()
                .filter(|&place| place > 0 && place != offset);
            found.push(anchor);
            for place in headers {
                let header = medium
                    .bytes(place, 512)
                    .and_then(|bytes| ddf_header(place, &bytes));
                found.extend(header.map(|found| found.backup(true)));
            }
        }
    }
}

fn ddf_header(offset: u64, bytes: &[u8]) -> Option<Found> {
    let version = bytes.text(32, 8)?;
    let sound = bytes.has(0, &[0xde, 0x11, 0xde, 0x11])
        && version.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let uuid = bytes
        .part(8, 24)?
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    sound.then(|| {
        Found::new("ddf_raid_member", offset, 512, 4)
            .version(version)
            .uuid(Some(uuid))
    })
}

/// mdadm's `super-intel.c`: the last sector but one, whatever a sector's size is.
fn intel(medium: &Medium, size: u64) -> Option<Found> {
    let offset = (medium.size() / size).checked_sub(2)? * size;
    let bytes = medium.bytes(offset, 512)?;
    let sound = bytes.has(0, b"Intel Raid ISM Cfg Sig. ");
    let found = Found::new("isw_raid_member", offset, size, 24);
    sound.then(|| Found {
        version: bytes.text(24, 6),
        ..found
    })
}

/// dmraid's `nv.h`: its words sum up to their checksum.
fn nvidia(medium: &Medium) -> Option<Found> {
    let (offset, bytes) = sector(medium, 2)?;
    let sound = bytes.has(0, b"NVIDIA  ") && bytes.le32(8)? == 30;
    sound.then(|| {
        Found::new("nvidia_raid_member", offset, 512, 8).version(bytes.le16(16).unwrap_or(0))
    })
}

fn lsi(offset: u64, bytes: &[u8]) -> Option<Found> {
    bytes
        .has(0, b"$XIDE$")
        .then(|| Found::new("lsi_mega_raid_member", offset, 512, 6))
}

/// dmraid's `sil.h`.
fn silicon(offset: u64, bytes: &[u8]) -> Option<Found> {
    let words = (0..0x13e).step_by(2).filter_map(|at| bytes.le16(at));
    let sum = words.fold(0u16, u16::wrapping_add).wrapping_neg();
    let sound =
        bytes.has(0x60, &[0, 0, 0, 0x2f]) && bytes.byte(0x116)? < 8 && bytes.le16(0x13e)? == sum;
    let version = format!("{}.{}", bytes.le16(0x10a)?, bytes.le16(0x108)?);
    sound.then(|| {
        Found::new("silicon_medley_raid_member", offset, 512, 4)
            .after(0x60)
            .version(version)
    })
}

/// dmraid's `via.h`: weak, so its checksum must be right and it must not be a boot sector.
fn via(offset: u64, bytes: &[u8]) -> Option<Found> {
    let sum = bytes
        .part(0, 50)?
        .iter()
        .fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    let version = bytes.byte(2)?;
    let sound = bytes.has(0, &[0x55, 0xaa])
        && version <= 2
        && bytes.byte(50)? == sum
        && bytes.le16(3)? != 0;
    sound.then(|| Found::new("via_raid_member", offset, 512, 2).version(version))
}

/// dmraid's `jm.h`: 64 words that sum up to 0 or 1.
fn jmicron(offset: u64, bytes: &[u8]) -> Option<Found> {
    let sum = (0..128)
        .step_by(2)
        .filter_map(|at| bytes.le16(at))
        .fold(0u16, u16::wrapping_add);
    let version = bytes.le16(2)?;
    let sound = bytes.has(0, b"JM") && sum <= 1 && bytes.byte(0x30)? <= 5;
    let found = Found::new("jmicron_raid_member", offset, 512, 2).version(format!(
        "{}.{}",
        version >> 8,
        version & 0xff
    ));
    sound.then(|| found.label(bytes.text(0x20, 16)))
}

/// dmraid's `asr.h`.
fn adaptec(offset: u64, bytes: &[u8]) -> Option<Found> {
    let sound = bytes.has(0, &[0x37, 0xfc, 0x4d, 0x1e]) && bytes.has(256, b"DPTM");
    sound.then(|| {
        Found::new("adaptec_raid_member", offset, 512, 4).version(bytes.byte(63).unwrap_or(0))
    })
}

/// dmraid's `pdc.h`: sectors from the end, by controller.
fn promise(medium: &Medium) -> Option<Found> {
    let backs = [
        63, 255, 256, 16, 399, 591, 675, 735, 911, 974, 991, 951, 3087,
    ];
    backs
        .into_iter()
        .filter_map(|back| sector(medium, back))
        .find_map(|(offset, bytes)| {
            let sound = bytes.has(0, b"Promise Technology, Inc.");
            sound.then(|| Found::new("promise_fasttrack_raid_member", offset, 2048, 24))
        })
}

/// dmraid's `hpt37x.h` (9 sectors from the start) and `hpt45x.h` (11 from the end).
fn highpoint(medium: &Medium) -> Option<Found> {
    let magic = |bytes: &[u8], at| {
        [0xf3, 0xfd]
            .iter()
            .any(|&first| bytes.has(at, &[first, 0x16, 0x78, 0x5a]))
    };
    if let Some(bytes) = medium.bytes(9 * 512, 512)
        && (magic(&bytes, 32) || bytes.has(32, &[0xf0, 0x16, 0x78, 0x5a]))
    {
        return Some(Found::new("hpt37x_raid_member", 9 * 512, 512, 4).after(32));
    }
    let (offset, bytes) = sector(medium, 11)?;
    magic(&bytes, 0).then(|| Found::new("hpt45x_raid_member", offset, 512, 4))
}

/// A sector counted from the end, the last being 1.
fn sector<'m>(medium: &'m Medium, back: u64) -> Option<(u64, std::borrow::Cow<'m, [u8]>)> {
    let offset = (medium.size() / 512).checked_sub(back)? * 512;
    Some((offset, medium.bytes(offset, 512)?))
}
