//! Partition tables: other schemes, and GPTs that are broken, contradict themselves or are in the wrong place.

use crate::case::{Case, dead, live};

/// Two ext4 partitions on a disk of 4 GiB.
const TWO: &str = r#"
new 4G
table <<END
label: gpt
label-id: AAAAAAAA-AAAA-4AAA-8AAA-000000000000
start=1MiB, size=1GiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000001, name="first"
start=1025MiB, size=2GiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000002, name="second"
END
ext a 1G 11111111-1111-4111-8111-000000000001 first
ext b 2G 11111111-1111-4111-8111-000000000002 second
put a 1M
put b 1025M
"#;

fn two(name: &'static str, about: &'static str, change: &str) -> Case {
    live(name, about, format!("{TWO}{change}")).asked(&["sgdisk --verify"])
}

/// The cases.
pub fn cases() -> Vec<Case> {
    let mut cases = gpt();
    cases.extend(lost());
    cases.extend(others());
    cases
}

/// Partitions that were deleted: their places in an otherwise empty half of a disk, and one that stays.
const DELETED: &str = r#"
new 8G
table <<END
label: gpt
label-id: AAAAAAAA-AAAA-4AAA-8AAA-000000000000
start=6GiB, size=1GiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000001, name="keep"
END
ext keep 1G 11111111-1111-4111-8111-000000000001 keep
put keep 6G
"#;

/// A disk on which partitions were deleted.
fn deleted(name: &'static str, about: &'static str, what: &str) -> Case {
    live(name, about, format!("{DELETED}{what}"))
}

fn lost() -> Vec<Case> {
    vec![
        deleted(
            "lost-xfs",
            "an XFS whose entry was deleted, beside a partition",
            "xfs x 1G 11111111-1111-4111-8111-000000000002 photos\nput x 777M",
        )
        .unseen(&["signature xfs"]),
        deleted(
            "lost-two",
            "ext4 and btrfs one behind the other, whose entries were deleted, beside a partition",
            r#"
longhorn tree
ext a 500M 11111111-1111-4111-8111-000000000002 volumes tree
put a 1M
truncate -s 1G b
mkfs.btrfs --quiet --uuid 11111111-1111-4111-8111-000000000003 b
put b 501M
"#,
        )
        .unseen(&["signature ext4", "signature btrfs"]),
        deleted(
            "lost-luks",
            "LUKS whose entry was deleted, which does not say how long it is, beside a partition",
            "luks l 200M luks2 11111111-1111-4111-8111-000000000002\nput l 801M",
        )
        .unseen(&["signature crypto_LUKS"]),
    ]
}

fn gpt() -> Vec<Case> {
    vec![
        two("gpt", "a sound GPT with two partitions", ""),
        two(
            "gpt-primary-damaged",
            "the primary header has a wrong byte",
            "label write 568 x:ff",
        ),
        two(
            "gpt-primary-zeroed",
            "the first MiB was zeroed",
            "label zero 0 1M",
        )
        .unseen(&["table gpt backup"]),
        two(
            "gpt-backup-damaged",
            "the backup header was zeroed",
            "label zero -512 512",
        ),
        two(
            "gpt-grown",
            "the disk is larger than its table says: a copied image",
            "truncate -s 6G \"$disk\"",
        )
        .unseen(&["table gpt stray"]),
        two(
            "gpt-stray",
            "a copied image on a larger disk, then the first MiB was zeroed",
            "truncate -s 6G \"$disk\"; label zero 0 1M",
        )
        .unseen(&["table gpt stray"]),
        two(
            "gpt-two-strays",
            "two smaller images were copied here, one after the other; the first MiB was zeroed",
            r#"
truncate -s 8G "$disk"
truncate -s 6G b
sfdisk --quiet --no-reread --no-tell-kernel b <<END
label: gpt
label-id: AAAAAAAA-AAAA-4AAA-8AAA-0000000000B0
start=1MiB, size=5GiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-0000000000B1, name="newer"
END
dd if=b of="$disk" bs=512 skip=12582879 seek=12582879 count=33 conv=notrunc status=none
label zero 0 1M"#,
        )
        .unseen(&["table gpt stray"]),
        two(
            "gpt-disagree",
            "both copies are sound and differ",
            "label gpt -512 512 2.name=other 2.end=6291455",
        ),
        two(
            "gpt-overlap",
            "the second partition begins inside the first, in both copies",
            r#"
label gpt 512 512 2.start=1048576
label gpt -512 512 2.start=1048576"#,
        ),
        two(
            "gpt-twins",
            "both partitions have the same GUID",
            r#"
label gpt 512 512 2.guid=aaaaaaaa-aaaa-4aaa-8aaa-000000000001
label gpt -512 512 2.guid=aaaaaaaa-aaaa-4aaa-8aaa-000000000001"#,
        ),
        two(
            "gpt-outside",
            "the second partition ends far behind the disk",
            r#"
label gpt 512 512 2.end=80000000
label gpt -512 512 2.end=80000000"#,
        ),
        two(
            "gpt-unprotected",
            "a GPT whose protective MBR was zeroed",
            "label zero 446 66",
        )
        .unseen(&["table gpt primary"]),
        two(
            "gpt-hybrid",
            "the protective MBR names the first partition, too",
            "label hybrid 1M 1G 83",
        ),
        two(
            "gpt-wide",
            "256 entries instead of 128",
            "sgdisk --resize-table=256 \"$disk\" >/dev/null",
        ),
        two(
            "gpt-cut",
            "the disk is smaller than its table says: a copy that broke off",
            "truncate -s 3G \"$disk\"",
        ),
        live(
            "gpt-4k",
            "a GPT for sectors of 4096 bytes, seen with 512",
            r#"
new 4G
fdisk --sector-size 4096 --wipe never "$disk" >/dev/null 2>&1 <<END
g
x
i
AAAAAAAA-AAAA-4AAA-8AAA-000000000000
r
n
1
256
+2G
x
u
AAAAAAAA-AAAA-4AAA-8AAA-000000000001
n
archive
r
w
END
ext a 2G 11111111-1111-4111-8111-000000000001 archive
put a 1M"#,
        )
        .unseen(&["table gpt primary"]),
        live(
            "gpt-4k-and-512",
            "a GPT for 512-byte sectors over an older one for 4096: the old backup is still there",
            r#"
new 4G
printf 'g\nx\ni\nAAAAAAAA-AAAA-4AAA-8AAA-0000000000C0\nr\nn\n1\n256\n+2G\nx\nu\nAAAAAAAA-AAAA-4AAA-8AAA-0000000000C1\nr\nw\n' |
  fdisk --sector-size 4096 --wipe never "$disk" >/dev/null 2>&1
label copy -4K 4095M 4K
table <<END
label: gpt
label-id: AAAAAAAA-AAAA-4AAA-8AAA-000000000000
start=1MiB, size=1GiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000001, name="new"
END
ext a 1G 11111111-1111-4111-8111-000000000001 new
put a 1M"#,
        ),
    ]
}

fn others() -> Vec<Case> {
    vec![
        live(
            "mbr",
            "an MBR with two primary and three logical partitions",
            r#"
new 4G
table <<END
label: dos
label-id: 0x1234abcd
start=1MiB, size=512MiB, type=c, bootable
start=513MiB, size=3GiB, type=5
start=514MiB, size=512MiB, type=83
start=1027MiB, size=512MiB, type=82
start=1540MiB, size=512MiB, type=8e
END
fat f 512M 32 11114111 BOOT
put f 1M
ext e 512M 11111111-1111-4111-8111-000000000001 home
put e 514M
truncate -s 512M s
mkswap -q -U 11111111-1111-4111-8111-000000000002 s
put s 1027M
label lvm 1540M 512M abcdefghijklmnopqrstuvwxyz012345 old root"#,
        ),
        live(
            "mbr-loop",
            "an extended partition whose chain runs in a circle",
            r#"
new 4G
table <<END
label: dos
label-id: 0x1234abcd
start=1MiB, size=3GiB, type=f
start=2MiB, size=512MiB, type=83
start=515MiB, size=512MiB, type=83
END
ext e 512M 11111111-1111-4111-8111-000000000001 home
put e 2M
# The link behind the first logical partition points back at itself.
label write 1049038 x:00feffff05feffff0000000000001000"#,
        ),
        live(
            "apple-map",
            "an Apple partition map with HFS+",
            r#"
new 2G
parted --script "$disk" mklabel mac mkpart data hfs+ 1MiB 1GiB >/dev/null 2>&1
label hfsplus 1M 1G"#,
        ),
        live(
            "sun-label",
            "a Sun disk label",
            r#"
new 2G
parted --script "$disk" mklabel sun mkpart ext2 1GiB 2000MiB >/dev/null 2>&1
label noise 1G 1M"#,
        ),
        live(
            "bsd-label",
            "a BSD disk label",
            r#"
new 2G
parted --script "$disk" mklabel bsd mkpart ext2 1MiB 1GiB >/dev/null 2>&1
label noise 1M 1M"#,
        ),
        live(
            "windows-dynamic",
            "a Windows dynamic disk: MBR type 42 and an LDM database at the end",
            r#"
new 4G
table <<END
label: dos
label-id: 0x1234abcd
start=63, size=8386497, type=42
END
label ldm 3072 4095M 4G
ntfs n 2G 1111222233334444 Volume
put n 1M"#,
        )
        .unseen(&["table ldm"]),
        live(
            "windows-dynamic-gpt",
            "a Windows dynamic disk with a GPT: LDM metadata and LDM data",
            r#"
new 8G
table <<END
label: gpt
first-lba: 34
label-id: AAAAAAAA-AAAA-4AAA-8AAA-000000000000
start=34, size=2014, type=5808C8AA-7E8F-42E0-85D2-E1E90434CFB3, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000001, name="LDM metadata partition"
start=1MiB, size=128MiB, type=E3C9E316-0B5C-4DB8-817D-F92DF00215AE, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000002, name="Microsoft reserved partition"
start=129MiB, size=7GiB, type=AF9B60A0-1431-4F62-BC68-3311714A69AD, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000003, name="LDM data partition"
END
label noise 129M 1M"#,
        ),
        dead(
            "mbr-foreign-boot",
            "an MBR with boot code and no partitions left",
            r#"
new 4G
table <<END
label: dos
label-id: 0x1234abcd
END
label write 0 x:fa33c08ed0bc007c8bf45007501ffbfcbf0006b90001f2a5ea1d060000"#,
        ),
    ]
}
