//! Disks with an operating system, rebuilt from the partition tables that its makers publish.

use crate::case::{Case, live};

/// The cases.
pub fn cases() -> Vec<Case> {
    let mut cases = windows();
    cases.extend(immutable());
    cases.extend(linux());
    cases
}

/// Microsoft, "UEFI/GPT-based hard drive partitions": system, reserved, Windows, recovery.
const WINDOWS: &str = r#"
new 16G
table <<END
label: gpt
label-id: AAAAAAAA-AAAA-4AAA-8AAA-000000000000
start=1MiB, size=260MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000001, name="EFI system partition", attrs="GUID:63"
start=261MiB, size=16MiB, type=E3C9E316-0B5C-4DB8-817D-F92DF00215AE, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000002, name="Microsoft reserved partition", attrs="GUID:63"
start=277MiB, size=14GiB, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000003, name="Basic data partition"
start=14613MiB, size=990MiB, type=DE94BBA4-06D1-4D40-A16A-BFD50179D6AC, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000004, name="Recovery", attrs="RequiredPartition GUID:63"
END
fat f 260M 32 11114111 SYSTEM
text efi/EFI/Microsoft/Boot/bootmgfw.efi boot
fill f efi
put f 1M
ntfs r 990M 1111222233335555 Recovery
put r 14613M
"#;

fn windows() -> Vec<Case> {
    vec![
        live(
            "windows",
            "Windows 11",
            format!("{WINDOWS}ntfs w 14G 1111222233334444 Windows\nput w 277M"),
        ),
        live(
            "windows-bitlocker",
            "Windows 11 with BitLocker on C:",
            format!("{WINDOWS}label bitlocker 277M 14G"),
        ),
        live(
            "bitlocker-stick",
            "a stick with BitLocker over its one partition",
            r#"
new 4G
table <<END
label: dos
label-id: 0x1234abcd
start=1MiB, size=4000MiB, type=7
END
label bitlocker 1M 4000M"#,
        ),
    ]
}

fn immutable() -> Vec<Case> {
    vec![
        live("talos", "Talos Linux 1.9", r#"
new 12G
table <<END
label: gpt
label-id: AAAAAAAA-AAAA-4AAA-8AAA-000000000000
start=1MiB, size=100MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000001, name="EFI"
start=101MiB, size=1MiB, type=21686148-6449-6E6F-744E-656564454649, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000002, name="BIOS", attrs="LegacyBIOSBootable"
start=102MiB, size=1000MiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000003, name="BOOT"
start=1102MiB, size=1MiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000004, name="META"
start=1103MiB, size=100MiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000005, name="STATE"
start=1203MiB, size=10GiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000006, name="EPHEMERAL"
END
fat f 100M 32 11114111 EFI
put f 1M
label noise 101M 1M
xfs b 1000M 11111111-1111-4111-8111-000000000001 BOOT
put b 102M
label talos-meta 1102M
truncate -s 100M s
mkfs.xfs -q --unsupported -m uuid=11111111-1111-4111-8111-000000000002 -L STATE s
put s 1103M
xfs e 10G 11111111-1111-4111-8111-000000000003 EPHEMERAL
put e 1203M"#)
        .unseen(&["signature talos_meta"]),
        live("coreos", "Fedora CoreOS", r#"
new 12G
table <<END
label: gpt
label-id: AAAAAAAA-AAAA-4AAA-8AAA-000000000000
start=1MiB, size=1MiB, type=21686148-6449-6E6F-744E-656564454649, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000001, name="BIOS-BOOT"
start=2MiB, size=127MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000002, name="EFI-SYSTEM"
start=129MiB, size=384MiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000003, name="boot"
start=513MiB, size=11GiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000004, name="root"
END
label noise 1M 1M
fat f 127M 16 11114111 EFI-SYSTEM
put f 2M
text boot/loader/entries/ostree-1.conf 'title Fedora CoreOS 40'
ext b 384M 11111111-1111-4111-8111-000000000001 boot boot
put b 129M
xfs r 11G 11111111-1111-4111-8111-000000000002 root
put r 513M"#),
        live("flatcar", "Flatcar Container Linux", r#"
new 10G
table <<END
label: gpt
label-id: AAAAAAAA-AAAA-4AAA-8AAA-000000000000
1: start=2MiB, size=128MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000001, name="EFI-SYSTEM"
2: start=130MiB, size=2MiB, type=21686148-6449-6E6F-744E-656564454649, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000002, name="BIOS-BOOT"
3: start=132MiB, size=1GiB, type=5DFBF5F4-2848-4BAC-AA5E-0D9A20B745A6, uuid=7130C94A-213A-4E5A-8E26-6CCE9662F132, name="USR-A"
4: start=1156MiB, size=1GiB, type=5DFBF5F4-2848-4BAC-AA5E-0D9A20B745A6, uuid=E03DD35C-7C2D-4A47-B3FE-27F15780A57C, name="USR-B"
6: start=2180MiB, size=128MiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000006, name="OEM"
9: start=2400MiB, size=7GiB, type=3884DD41-8582-4404-B9A8-E9B84F2DF50E, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000009, name="ROOT"
END
fat f 128M 16 11114111 EFI-SYSTEM
put f 2M
system usr 'Flatcar Container Linux' Flatcar flatcar 3815
truncate -s 1G u
mkfs.btrfs -q -U 11111111-1111-4111-8111-000000000001 -L USR-A u
put u 132M
ext r 7G 11111111-1111-4111-8111-000000000002 ROOT
put r 2400M"#),
        live("harvester", "Harvester: COS partitions and its Longhorn disk", r#"
new 16G
table <<END
label: gpt
label-id: AAAAAAAA-AAAA-4AAA-8AAA-000000000000
start=1MiB, size=64MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000001, name="efi"
start=65MiB, size=50MiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000002, name="oem"
start=115MiB, size=1GiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000003, name="recovery"
start=1139MiB, size=2GiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000004, name="state"
start=3187MiB, size=4GiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000005, name="persistent"
start=7283MiB, size=8GiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000006, name="HARV_LH_DEFAULT"
END
fat f 64M 16 11114111 COS_GRUB
put f 1M
ext o 50M 11111111-1111-4111-8111-000000000001 COS_OEM
put o 65M
ext r 1G 11111111-1111-4111-8111-000000000002 COS_RECOVERY
put r 115M
ext s 2G 11111111-1111-4111-8111-000000000003 COS_STATE
put s 1139M
text persistent/.snapshots/x x
ext p 4G 11111111-1111-4111-8111-000000000004 COS_PERSISTENT persistent
put p 3187M
longhorn lh
ext l 8G 11111111-1111-4111-8111-000000000005 HARV_LH_DEFAULT lh
put l 7283M"#),
        live("kairos", "Kairos, its persistent partition encrypted", r#"
new 10G
table <<END
label: gpt
label-id: AAAAAAAA-AAAA-4AAA-8AAA-000000000000
start=1MiB, size=64MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000001, name="efi"
start=65MiB, size=64MiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000002, name="oem"
start=129MiB, size=4GiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000003, name="state"
start=4225MiB, size=5GiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000004, name="persistent"
END
fat f 64M 16 11114111 COS_GRUB
put f 1M
ext o 64M 11111111-1111-4111-8111-000000000001 COS_OEM
put o 65M
ext s 4G 11111111-1111-4111-8111-000000000002 COS_STATE
put s 129M
luks l 5G luks2 11111111-1111-4111-8111-000000000003
put l 4225M"#),
    ]
}

fn linux() -> Vec<Case> {
    vec![
        live(
            "ubuntu-lvm",
            "Ubuntu Server with LVM",
            r#"
new 12G
table <<END
label: gpt
label-id: AAAAAAAA-AAAA-4AAA-8AAA-000000000000
start=1MiB, size=1GiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000001
start=1025MiB, size=2GiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000002
start=3073MiB, size=9212MiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000003
END
fat f 1G 32 11114111 EFI
text efi/EFI/ubuntu/grub.cfg 'search.fs_uuid'
fill f efi
put f 1M
text boot/grub/grub.cfg menu
ext b 2G 11111111-1111-4111-8111-000000000001 '' boot
put b 1025M
label lvm 3073M 9212M abcdefghijklmnopqrstuvwxyz012345 ubuntu-vg ubuntu-lv"#,
        ),
        live(
            "debian",
            "Debian on one ext4 partition",
            r#"
new 12G
table <<END
label: gpt
label-id: AAAAAAAA-AAAA-4AAA-8AAA-000000000000
start=1MiB, size=512MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000001
start=513MiB, size=10GiB, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000002
start=10753MiB, size=1GiB, type=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000003
END
fat f 512M 32 11114111 EFI
put f 1M
system root 'Debian GNU/Linux 12 (bookworm)' 'Debian GNU/Linux' debian 12
text root/home/somebody/thesis.tex work
ext r 10G 11111111-1111-4111-8111-000000000001 '' root
put r 513M
truncate -s 1G s
mkswap -q -U 11111111-1111-4111-8111-000000000002 s
put s 10753M"#,
        ),
        live(
            "raspberry-pi-os",
            "Raspberry Pi OS: MBR, FAT and ext4",
            r#"
new 8G
table <<END
label: dos
label-id: 0x1234abcd
start=4MiB, size=512MiB, type=c
start=516MiB, size=7GiB, type=83
END
fat f 512M 32 11114111 bootfs
text boot/config.txt 'arm_64bit=1'
text boot/cmdline.txt 'root=PARTUUID=1234abcd-02'
fill f boot
put f 4M
system root 'Debian GNU/Linux 12 (bookworm)' 'Debian GNU/Linux' debian 12
text root/etc/rpi-issue 'Raspberry Pi reference 2024-07-04'
ext r 7G 11111111-1111-4111-8111-000000000001 rootfs root
put r 516M"#,
        ),
        live(
            "proxmox-zfs",
            "Proxmox VE on ZFS",
            r#"
new 12G
table <<END
label: gpt
first-lba: 34
label-id: AAAAAAAA-AAAA-4AAA-8AAA-000000000000
start=34, size=2014, type=21686148-6449-6E6F-744E-656564454649, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000001
start=1MiB, size=1GiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000002
start=1025MiB, size=11262MiB, type=6A898CC3-1DD2-11B2-99A6-080020736631, uuid=AAAAAAAA-AAAA-4AAA-8AAA-000000000003
END
fat f 1G 32 11114111 ''
put f 1M
label zfs 1025M 11262M rpool 12345678901234567890"#,
        ),
    ]
}
