//! What several machines share: OCFS2, GFS2, VMFS, Oracle ASM, DRBD.

use super::Found;
use super::medium::{Fields, Medium};

pub(super) fn find(medium: &Medium, found: &mut Vec<Found>) {
    // Backup superblocks at 1 GiB and every 4 times as far (`ocfs2_backup_super_blkno`).
    let backups = (0..6).map(|index| (1u64 << 30 << (2 * index), true));
    for (offset, backup) in [1, 2, 4, 8]
        .map(|kib| (kib << 10, false))
        .into_iter()
        .chain(backups)
    {
        found.extend(ocfs2(medium, offset, backup));
    }
    found.extend(ocfs(medium));
    found.extend(gfs(medium));
    found.extend(vmfs_volume(medium));
    found.extend(vmfs(medium));
    found.extend(asm(medium));
    drbd(medium, found);
}

/// `fs/ocfs2/ocfs2_fs.h`, `struct ocfs2_dinode` with a `struct ocfs2_super_block` in it: the third block.
fn ocfs2(medium: &Medium, offset: u64, backup: bool) -> Option<Found> {
    let bytes = medium.bytes(offset, 512)?;
    let shift = bytes.le32(248)?;
    let own = if backup { offset >> shift.min(63) } else { 2 };
    let sound = bytes.has(0, b"OCFSV2\0\0") && (9..=12).contains(&shift) && bytes.le64(80)? == own;
    if !sound || own << shift != offset {
        return None;
    }
    let version = format!("{}.{}", bytes.le16(192)?, bytes.le16(194)?);
    let found = Found::new("ocfs2", offset, 1 << shift, 6)
        .backup(backup)
        .version(version);
    Some(found.uuid(bytes.uuid(336)).label(bytes.text(272, 64)))
}

fn ocfs(medium: &Medium) -> Option<Found> {
    let bytes = medium.bytes(0, 1024)?;
    let sound = bytes.has(8, b"OracleCFS");
    let version = format!("{}.{}", bytes.le32(4)?, bytes.le32(0)?);
    let label = bytes.text(512 + 48, usize::from(bytes.le16(512 + 112)?).min(64));
    sound.then(|| {
        Found::new("ocfs", 0, 1024, 9)
            .after(8)
            .version(version)
            .uuid(bytes.uuid(512 + 114))
            .label(label)
    })
}

/// `include/uapi/linux/gfs2_ondisk.h`, `struct gfs2_sb`.
fn gfs(medium: &Medium) -> Option<Found> {
    let bytes = medium.bytes(64 << 10, 512)?;
    let kind = match (bytes.be32(24)?, bytes.be32(28)?) {
        _ if !bytes.has(0, &[0x01, 0x16, 0x19, 0x70]) => return None,
        (1309, 1401) => "gfs",
        (1800..1900, 1900..2000) => "gfs2",
        _ => return None,
    };
    let mut found = Found::new(kind, 64 << 10, 512, 4);
    if kind == "gfs2" {
        found = found.version(1);
    }
    Some(found.uuid(bytes.uuid(256)).label(bytes.text(160, 64)))
}

/// vmfs-tools, `vmfs_volume.h`: the volume's name for itself is text, 20 bytes into the sector after.
fn vmfs_volume(medium: &Medium) -> Option<Found> {
    let bytes = medium.bytes(1 << 20, 1024)?;
    let sound = bytes.has(0, &[0x0d, 0xd0, 0x01, 0xc0]) && bytes.le32(4)? < 256;
    let found = Found::new("VMFS_volume_member", 1 << 20, 1024, 4).version(bytes.le32(4)?);
    sound.then(|| found.uuid(bytes.text(512 + 20, 35)))
}

/// vmfs-tools, `vmfs_fs.h`.
fn vmfs(medium: &Medium) -> Option<Found> {
    let bytes = medium.bytes(2 << 20, 512)?;
    let id: [u8; 16] = bytes.array(9)?;
    let hex = |range: &[u8]| {
        range
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let turned = |range: &[u8]| {
        range
            .iter()
            .rev()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let uuid = [
        turned(&id[..4]),
        turned(&id[4..8]),
        turned(&id[8..10]),
        hex(&id[10..]),
    ]
    .join("-");
    let sound = bytes.has(0, &[0x5e, 0xf1, 0xab, 0x2f]) && bytes.le32(4)? < 256;
    let found = Found::new("VMFS", 2 << 20, 512, 4).version(bytes.byte(8)?);
    sound.then(|| found.uuid(Some(uuid)).label(bytes.text(29, 128)))
}

fn asm(medium: &Medium) -> Option<Found> {
    let bytes = medium.bytes(0, 512)?;
    let sound = bytes.has(32, b"ORCLDISK");
    sound.then(|| {
        Found::new("oracleasm", 0, 4096, 8)
            .after(32)
            .label(bytes.text(40, 24))
    })
}

/// Internal metadata, in the last 4 KiB (`drbd_meta_data.h`); drbdmanage's own volume begins with its name.
fn drbd(medium: &Medium, found: &mut Vec<Found>) {
    let manage = medium
        .bytes(0, 48)
        .filter(|bytes| bytes.has(0, b"$DRBDmgr=q"));
    let uuid = manage.and_then(|bytes| {
        bytes
            .text(11, 32)
            .map(|text| text.chars().filter(char::is_ascii_hexdigit).collect())
    });
    found.extend(
        uuid.map(|uuid| Found::new("drbdmanage_control_volume", 0, 512, 10).uuid(Some(uuid))),
    );
    let offset = (medium.size() >> 12 << 12).saturating_sub(4096);
    let superblock = |bytes: &[u8]| {
        let (version, at) = match bytes.be32(60)? {
            0x8374_026b | 0x8374_026c => ("v08", 40),
            0x8374_026d => ("v09", 48),
            _ => return None,
        };
        let unit = bytes.be32(80)?;
        let sound = unit.is_power_of_two() && (4096..=1 << 20).contains(&unit);
        let uuid = bytes
            .be64(at)
            .filter(|&number| number != 0)
            .map(|number| format!("{number:x}"));
        sound.then(|| {
            Found::new("drbd", offset, 4096, 4)
                .after(60)
                .version(version)
                .uuid(uuid)
        })
    };
    found.extend(
        medium
            .bytes(offset, 4096)
            .and_then(|bytes| superblock(&bytes)),
    );
}
