//! Disks that are, as a whole, part of something: arrays, volume groups, encrypted volumes, pools, stores.

use crate::case::{Case, live};

/// The cases.
pub fn cases() -> Vec<Case> {
    let mut cases = arrays();
    cases.extend(encrypted());
    cases.extend(pools());
    cases.extend(stores());
    cases
}

fn arrays() -> Vec<Case> {
    let md = |name, about, version: &str| {
        let recipe = format!("new 4G\nlabel md {version} 11111111-1111-4111-8111-000000000001");
        live(name, about, recipe).asked(&["mdadm --examine"])
    };
    vec![
        md("md-0.90", "a member of an mdraid array, metadata 0.90 near the end", "0.90"),
        md("md-1.0", "a member of an mdraid array, metadata 1.0 near the end", "1.0"),
        md("md-1.1", "a member of an mdraid array, metadata 1.1 at the start", "1.1"),
        md("md-1.2", "a member of an mdraid array, metadata 1.2 at 4 KiB", "1.2"),
        live("md-1.0-flashed", "a smaller image was copied over a member of an array: the old tail would be assembled", r#"
new 4G
label md 1.0 11111111-1111-4111-8111-000000000001
truncate -s 2G image
sfdisk --quiet --no-reread --no-tell-kernel image <<END
label: gpt
label-id: AAAAAAAA-AAAA-4AAA-8AAA-000000000000
start=1MiB, size=256MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000001, name="esp"
start=257MiB, size=1GiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000002, name="root"
END
put image 0
fat f 256M 32 11114111 ESP
put f 1M
ext e 1G 11111111-1111-4111-8111-000000000002 root
put e 257M"#)
        .unseen(&["table gpt primary", "table gpt stray"]),
        live("md-1.0-mirror", "half of a mirror with metadata 1.0: its file system begins where the disk begins", r#"
new 4G
ext e 4095M 11111111-1111-4111-8111-000000000002 mirror
put e 0
label md 1.0 11111111-1111-4111-8111-000000000001"#),
        live("md-partition", "a GPT with a partition of an array, metadata 1.2", r#"
new 4G
table <<END
label: gpt
label-id: AAAAAAAA-AAAA-4AAA-8AAA-000000000000
start=1MiB, size=3GiB, type=A19D880F-05FC-4D3B-A006-743F0F84911E, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000001
END
label md 1.2 11111111-1111-4111-8111-000000000001 1M 3G"#),
        live("raid-intel", "a member of an Intel firmware array", "new 4G\nlabel isw"),
        live("raid-ddf", "a member of a firmware array in the common format DDF", "new 4G\nlabel ddf"),
        live("lvm", "an LVM physical volume without a partition table", r#"
new 4G
label lvm 0 4G abcdefghijklmnopqrstuvwxyz012345 vg0 root data"#)
        .asked(&["pvck --dump headers"]),
        live("drbd-8", "DRBD 8.4 with its metadata at the end", r#"
new 4G
label drbd8 1122334455667700"#),
        live("drbd-9", "DRBD 9 with its metadata at the end, below it ext4", r#"
new 4G
ext e 4095M 11111111-1111-4111-8111-000000000001 mirrored
put e 0
label drbd9 1122334455667700"#),
        live("bcache", "a bcache backing device", r#"
new 4G
make-bcache --cset-uuid 11111111-1111-4111-8111-000000000001 -B "$disk" >out
mask "$(sed -n 's/^UUID:[[:space:]]*//p' out)""#),
    ]
}

fn encrypted() -> Vec<Case> {
    vec![
        live(
            "luks-1",
            "LUKS version 1 over the whole disk",
            r#"
new 4G
luks a 4G luks1 11111111-1111-4111-8111-000000000001
put a 0"#,
        ),
        live(
            "luks-2",
            "LUKS version 2 over the whole disk",
            r#"
new 4G
luks a 4G luks2 11111111-1111-4111-8111-000000000001
put a 0"#,
        )
        .asked(&["cryptsetup isLuks --verbose"]),
        live(
            "luks-2-zeroed",
            "LUKS version 2 without its first header: the second one opens it",
            r#"
new 4G
luks a 4G luks2 11111111-1111-4111-8111-000000000001
put a 0
label zero 0 4K"#,
        ),
        live(
            "luks-over-btrfs",
            "LUKS version 2 where btrfs was: two superblocks of btrfs are left",
            r#"
new 4G
truncate -s 4G a
mkfs.btrfs -q -U 11111111-1111-4111-8111-000000000001 -L old a
put a 0
luks b 4G luks2 11111111-1111-4111-8111-000000000002
head -c 32K b >head
put head 0"#,
        )
        .unseen(&["signature btrfs"]),
    ]
}

fn pools() -> Vec<Case> {
    vec![
        live(
            "zfs",
            "ZFS took the whole disk: partitions 1 and 9",
            r#"
new 8G
table <<END
label: gpt
label-id: AAAAAAAA-AAAA-4AAA-8AAA-000000000000
1: start=1MiB, size=8182MiB, type=6A898CC3-1DD2-11B2-99A6-080020736631, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000001, name="zfs-0123456789abcdef"
9: start=8183MiB, size=8MiB, type=6A945A3B-1DD2-11B2-99A6-080020736631, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000009
END
label zfs 1M 8182M tank 12345678901234567890"#,
        ),
        live(
            "zfs-tail",
            "a GPT for ext4 over a whole-disk vdev: the last two labels are left",
            r#"
new 8G
label zfs 0 8G tank 12345678901234567890
label zero 0 1M
table <<END
label: gpt
label-id: AAAAAAAA-AAAA-4AAA-8AAA-000000000000
start=1MiB, size=4GiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000001, name="vol"
END
ext a 4G 11111111-1111-4111-8111-000000000001 vol
put a 1M"#,
        ),
        live(
            "bcachefs",
            "bcachefs over the whole disk",
            r#"
new 4G
label bcachefs 0 4G 11111111-1111-4111-8111-000000000001 11111111-1111-4111-8111-000000000002"#,
        )
        .unseen(&["signature bcachefs"]),
        live(
            "stratis",
            "a block device of a Stratis pool",
            "new 4G\nlabel stratis 0 4G",
        ),
        live(
            "storage-spaces",
            "a partition of Windows Storage Spaces",
            r#"
new 4G
table <<END
label: gpt
label-id: AAAAAAAA-AAAA-4AAA-8AAA-000000000000
start=1MiB, size=16MiB, type=E3C9E316-0B5C-4DB8-817D-F92DF00215AE, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000001, name="Microsoft reserved partition"
start=17MiB, size=4000MiB, type=E75CAF8F-F680-4CEE-AFA3-B001E56EFC2D, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000002, name="Storage pool"
END
label noise 17M 1M"#,
        ),
        live(
            "gpfs",
            "a partition of IBM Spectrum Scale (GPFS)",
            r#"
new 4G
table <<END
label: gpt
label-id: AAAAAAAA-AAAA-4AAA-8AAA-000000000000
start=1MiB, size=4000MiB, type=37AFFC90-EF7D-4E96-91C3-2D7AE055B174, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000001, name="GPFS:"
END
label noise 1M 1M"#,
        ),
        live("oracle-asm", "a disk of Oracle ASM", "new 4G\nlabel asm 0"),
        live(
            "vmfs",
            "a VMware datastore",
            r#"
new 4G
table <<END
label: gpt
label-id: AAAAAAAA-AAAA-4AAA-8AAA-000000000000
start=1MiB, size=4000MiB, type=AA31E02A-400F-11DB-9590-000C2911D1B8, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000001
END
label vmfs 1M"#,
        ),
    ]
}

fn stores() -> Vec<Case> {
    let bluestore = |name, about, copies: &str| {
        let osd = "11111111-1111-4111-8111-000000000001";
        live(
            name,
            about,
            format!("new 12G\nlabel bluestore 0 12G {osd} {copies}\n"),
        )
    };
    vec![
        bluestore("bluestore-1", "a Ceph OSD, its label at the start only", ""),
        bluestore("bluestore-2", "a Ceph OSD with a copy of its label at 1 GiB", "1G")
            .unseen(&["signature ceph_bluestore at 0x40000000"]),
        bluestore("bluestore-3", "a Ceph OSD with copies of its label at 1 and 10 GiB", "1G 10G")
            .unseen(&["signature ceph_bluestore at 0x40000000", "signature ceph_bluestore at 0x280000000"]),
        live("bluestore-wiped", "a Ceph OSD with copies after wipefs --all", r#"
new 12G
label bluestore 0 12G 11111111-1111-4111-8111-000000000001 1G 10G
wipefs --all --quiet "$disk""#)
        .unseen(&["signature ceph_bluestore at 0x40000000", "signature ceph_bluestore at 0x280000000"]),
        live("ceph-lvm", "a Ceph OSD as ceph-volume makes it: LVM, a volume with tags, BlueStore inside", r#"
new 8G
label lvm 0 8G abcdefghijklmnopqrstuvwxyz012345 ceph-11111111 osd-block-1:ceph.osd_id=3
label bluestore 1M 256M 11111111-1111-4111-8111-000000000001"#),
        live("ceph-disk", "a Ceph OSD as Rook and ceph-disk mark it: a partition with the OSD's type", r#"
new 8G
table <<END
label: gpt
label-id: AAAAAAAA-AAAA-4AAA-8AAA-000000000000
start=1MiB, size=7GiB, type=4FBD7E29-9D25-41B8-AFD0-062C0CEFF05D, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000001, name="ceph block"
END
label bluestore 1M 7G 11111111-1111-4111-8111-000000000001 1G"#)
        .unseen(&["signature ceph_bluestore at 0x40100000"]),
        live("spdk", "a block disk of Longhorn's second data engine: an SPDK lvstore", "new 4G\nlabel spdk 0 4G")
            .unseen(&["signature spdk"]),
        live("spdk-partition", "an SPDK lvstore on a partition", r#"
new 4G
table <<END
label: gpt
label-id: AAAAAAAA-AAAA-4AAA-8AAA-000000000000
start=1MiB, size=3GiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000001, name="v2"
END
label spdk 1M 3G"#)
        .unseen(&["signature spdk"]),
    ]
}
