//! Disks with nothing on them, and disks that only look so.

use crate::case::{Case, dead, live};

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        dead("blank", "nothing but zeroes", "new 8G"),
        dead(
            "blank-erased",
            "the first and the last 4 MiB are all ones, as erased flash reads",
            r#"
new 4G
head -c 4M /dev/zero | tr '\0' '\377' >ones
put ones 0; put ones -4M"#,
        ),
        live(
            "used-middle",
            "zeroes at both ends, somebody's data from 1 GiB on",
            r#"
new 4G
label noise 1G 8M"#,
        ),
        live(
            "used-at-1m",
            "zeroes but for the second MiB, where a first partition would begin",
            r#"
new 4G
label noise 1M 1M"#,
        ),
        live(
            "mbr-zeroed",
            "an MBR and one ext4 partition, of which the first MiB was zeroed: no copy of the table is left",
            r#"
new 4G
table <<END
label: dos
label-id: 0x1234abcd
start=1MiB, size=4000MiB, type=83
END
ext a 4000M 11111111-1111-4111-8111-000000000001 home
put a 1M
label zero 0 1M"#,
        )
        .unseen(&["signature ext4"]),
        live(
            "used-start",
            "the first 8 MiB look random (dm-crypt without a header), nothing is recognised",
            r#"
new 4G
label noise 0 8M"#,
        ),
        dead(
            "empty-gpt",
            "a GPT without partitions",
            r#"
new 4G
table <<END
label: gpt
label-id: AAAAAAAA-AAAA-4AAA-8AAA-000000000000
END"#,
        ),
        dead(
            "empty-mbr",
            "an MBR without partitions",
            r#"
new 4G
table <<END
label: dos
label-id: 0x1234abcd
END"#,
        ),
        live(
            "empty-gpt-used",
            "a GPT without partitions was written over a disk of data",
            r#"
new 4G
label noise 512M 8M
table <<END
label: gpt
label-id: AAAAAAAA-AAAA-4AAA-8AAA-000000000000
END"#,
        ),
        live(
            "xfs-zeroed",
            "XFS, of which the first MiB was zeroed",
            r#"
new 4G
xfs a 4G 11111111-1111-4111-8111-000000000001 data
put a 0
label zero 0 1M"#,
        )
        .unseen(&["signature xfs"]),
        live(
            "ext4-zeroed",
            "ext4, of which the first MiB was zeroed",
            r#"
new 4G
ext a 4G 11111111-1111-4111-8111-000000000001 data
put a 0
label zero 0 1M"#,
        )
        .unseen(&["signature ext"]),
        live(
            "ext4-zeroed-partition",
            "a GPT whose one partition was zeroed for the first MiB",
            r#"
new 4G
table <<END
label: gpt
label-id: AAAAAAAA-AAAA-4AAA-8AAA-000000000000
start=1MiB, size=3GiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000001, name="vol"
END
ext a 3G 11111111-1111-4111-8111-000000000001 data
put a 1M
label zero 1M 1M"#,
        )
        .unseen(&["signature ext"]),
        live(
            "btrfs-zeroed",
            "btrfs, of which the first MiB was zeroed: its mirror at 64 MiB is left",
            r#"
new 4G
truncate -s 4G a
mkfs.btrfs -q -U 11111111-1111-4111-8111-000000000001 -L data a
put a 0
label zero 0 1M"#,
        )
        .unseen(&["signature btrfs"]),
    ]
}
