//! Disks with a file system and nothing else, as somebody formats an external disk.

use crate::case::{Case, live};

/// The cases.
pub fn cases() -> Vec<Case> {
    let mut cases = linux();
    cases.extend(others());
    cases.extend(swap());
    cases
}

fn linux() -> Vec<Case> {
    let uuid = "11111111-1111-4111-8111-000000000001";
    let plain = |name, about, make: &str| live(name, about, format!("new 4G\n{make}"));
    vec![
        plain(
            "ext4",
            "ext4 over the whole disk",
            &format!("ext a 4G {uuid} data\nput a 0"),
        ),
        plain(
            "xfs",
            "XFS over the whole disk",
            &format!("xfs a 4G {uuid} data\nput a 0"),
        ),
        plain(
            "btrfs",
            "btrfs over the whole disk",
            &format!("mkfs.btrfs -q -U {uuid} -L data \"$disk\""),
        ),
        plain(
            "f2fs",
            "F2FS over the whole disk",
            &format!("mkfs.f2fs -q -U {uuid} -l data \"$disk\" >/dev/null"),
        ),
        plain(
            "jfs",
            "JFS over the whole disk",
            &format!(
                "jfs_mkfs -q -L data \"$disk\" >/dev/null\nlot \"$disk\" UUID\njfs_tune -U {uuid} \"$disk\" >/dev/null"
            ),
        ),
        plain(
            "reiserfs",
            "ReiserFS over the whole disk",
            &format!("mkfs.reiserfs -f -f -q -u {uuid} -l data \"$disk\" >/dev/null 2>&1"),
        ),
        plain(
            "nilfs2",
            "NILFS2 over the whole disk",
            "mkfs.nilfs2 -q -L data \"$disk\" 2>/dev/null\nlot \"$disk\" UUID",
        ),
        plain(
            "ocfs2",
            "OCFS2, which several machines share",
            "mkfs.ocfs2 -q -M local -U 11111111111141118111000000000001 -L shared \"$disk\" </dev/null >/dev/null 2>&1",
        ),
        plain(
            "gfs2",
            "GFS2, which several machines share",
            "mkfs.gfs2 -O -q -p lock_dlm -t lab:shared \"$disk\" >/dev/null\nlot \"$disk\" UUID",
        ),
        plain(
            "squashfs",
            "squashfs, as on an appliance's stick",
            r#"
text tree/etc/os-release 'NAME="Appliance"'
mksquashfs tree a -quiet -no-progress -all-root >/dev/null
put a 0"#,
        ),
        plain(
            "cramfs",
            "cramfs, as on an old appliance's stick",
            "text tree/etc/os-release x\nmkfs.cramfs -n appliance tree a >/dev/null\nput a 0",
        ),
        plain(
            "erofs",
            "EROFS, as on an appliance's stick",
            &format!(
                r#"
text tree/etc/os-release 'NAME="Appliance"'
mkfs.erofs -T1700000000 -U{uuid} --all-root --quiet a tree >/dev/null 2>&1
put a 0"#
            ),
        ),
    ]
}

fn others() -> Vec<Case> {
    vec![
        live(
            "refs",
            "ReFS over the whole disk",
            "new 4G\nlabel refs 0 4G",
        ),
        live(
            "ntfs",
            "NTFS over the whole disk",
            "new 4G\nntfs a 4G 1111222233334444 Photos\nput a 0",
        ),
        live(
            "exfat",
            "exFAT over the whole disk",
            r#"
new 4G
mkfs.exfat -L photos "$disk" >/dev/null
tune.exfat -I 0x11114111 "$disk" >/dev/null"#,
        ),
        live(
            "fat32",
            "FAT32 over the whole disk",
            r#"
new 4G
fat a 4G 32 11114111 PHOTOS
text files/IMG_0001.JPG 'somebody'
fill a files
put a 0"#,
        ),
        live(
            "fat16",
            "FAT16 over the whole disk",
            "new 2000M\nfat a 2000M 16 11114111 PHOTOS\nput a 0",
        ),
        live(
            "udf",
            "UDF over the whole disk",
            r#"
new 4G
mkudffs --uuid=1111111111114111 --label=archive "$disk" >/dev/null"#,
        ),
        live(
            "apfs",
            "a Mac's disk: EFI system partition and an APFS container",
            r#"
new 4G
table <<END
label: gpt
first-lba: 34
label-id: AAAAAAAA-AAAA-4AAA-8AAA-000000000000
start=40, size=200MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000001, name="EFI System Partition"
start=201MiB, size=3GiB, type=7C3457EF-0000-11AA-AA11-00306543ECAC, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000002
END
fat f 200M 32 67e30000 EFI
put f 20K
truncate -s 3G a
mkapfs -L Macintosh -U 11111111-1111-4111-8111-000000000001 -u 11111111-1111-4111-8111-000000000002 a
put a 201M"#,
        ),
        live(
            "hfsplus",
            "HFS+ over the whole disk",
            "new 2G\nlabel hfsplus 0 2G",
        ),
        live(
            "iso-hybrid",
            "an installer's stick: ISO 9660 with a GPT for UEFI beside it",
            r#"
new 4G
fat efi.img 4M 12 11114111 EFI
text tree/install/readme 'An installer'
xorriso -as mkisofs -quiet -V INSTALLER --modification-date=2023111422132000 --gpt_disk_guid aaaaaaaa-aaaa-4aaa-8aaa-000000000000 \
  -appended_part_as_gpt -append_partition 2 0xef efi.img -J -R -o iso tree 2>/dev/null
put iso 0"#,
        ),
    ]
}

fn swap() -> Vec<Case> {
    let partition = r#"
new 4G
table <<END
label: gpt
label-id: AAAAAAAA-AAAA-4AAA-8AAA-000000000000
start=1MiB, size=2GiB, type=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000001
END
truncate -s 2G s
"#;
    vec![
        live(
            "swap",
            "a swap partition",
            format!("{partition}mkswap -q -U 11111111-1111-4111-8111-000000000001 s\nput s 1M"),
        ),
        live(
            "swap-64k",
            "a swap partition of a machine with pages of 64 KiB",
            format!(
                "{partition}mkswap -q -p 65536 -U 11111111-1111-4111-8111-000000000001 s 2>/dev/null\nput s 1M"
            ),
        ),
        live(
            "hibernated",
            "a swap partition that holds a hibernated system",
            format!(
                "{partition}mkswap -q -U 11111111-1111-4111-8111-000000000001 s\nput s 1M\nlabel write 1052662 S1SUSPEND x:00\nlabel noise 2M 4M"
            ),
        ),
    ]
}
