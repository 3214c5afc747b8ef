//! Machines built from files, as their sysfs and procfs look.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use prejoin_disk::io::inventory::{device_of, disks_of};
use prejoin_disk::io::usage::usage_of;
use prejoin_disk::io::{Error, Machine};
use prejoin_wire::disk::{Device, Usage};
use tempfile::TempDir;

struct Recorded(TempDir);

impl Recorded {
    fn new() -> Self {
        Recorded(tempfile::tempdir().unwrap())
    }

    fn machine(&self) -> Machine {
        Machine::recorded(self.0.path())
    }

    fn file(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    fn link(&self, path: &str, target: impl AsRef<Path>) -> &Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
        self
    }

    /// A disk at its place in `sys/devices`; attributes of its device are called `device/…`.
    fn disk(&self, place: &str, attributes: &[(&str, &str)]) -> &Self {
        let home = format!("sys/devices/{place}");
        let name = place.rsplit('/').next().unwrap();
        fs::create_dir_all(self.0.path().join(&home)).unwrap();
        let device = if place.contains("/block/") {
            "../.."
        } else {
            ".."
        };
        if attributes
            .iter()
            .any(|(path, _)| path.starts_with("device/"))
        {
            self.link(&format!("{home}/device"), device);
        }
        for (path, content) in attributes {
            self.file(&format!("{home}/{path}"), format!("{content}\n"));
        }
        let target = Path::new("../devices").join(place);
        self.link(&format!("sys/block/{name}"), target);
        self.link(
            &format!("sys/class/block/{name}"),
            Path::new("../../devices").join(place),
        )
    }

    fn partition(&self, place: &str, name: &str, number: &str, guid: Option<&str>) -> &Self {
        let home = format!("{place}/{name}");
        self.file(&format!("sys/devices/{home}/partition"), "1\n");
        self.file(&format!("sys/devices/{home}/dev"), format!("{number}\n"));
        let guid = guid
            .map(|guid| format!("PARTUUID={guid}\n"))
            .unwrap_or_default();
        self.file(
            &format!("sys/devices/{home}/uevent"),
            format!("DEVNAME={name}\nDEVTYPE=partition\n{guid}"),
        );
        self.link(
            &format!("sys/class/block/{name}"),
            Path::new("../../devices").join(&home),
        )
    }

    /// `above` is made of `below`, both given by their places.
    fn stacked(&self, below: &str, above: &str) -> &Self {
        let name = |place: &str| place.rsplit('/').next().unwrap().to_owned();
        let root = self.0.path().join("sys/devices");
        self.link(
            &format!("sys/devices/{below}/holders/{}", name(above)),
            root.join(above),
        );
        self.link(
            &format!("sys/devices/{above}/slaves/{}", name(below)),
            root.join(below),
        )
    }

    fn mounts(&self, lines: &[&str]) -> &Self {
        self.file("proc/self/mountinfo", lines.join("\n"))
    }
}

const NVME: &str = "pci0000:00/0000:00:06.0/0000:01:00.0/nvme/nvme0/nvme0n1";
const SATA: &str = "pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda";
const USB_1: &str = "pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host2/target2:0:0/2:0:0:0/block/sdb";
const USB_2: &str = "pci0000:00/0000:00:14.0/usb2/2-2/2-2:1.0/host3/target3:0:0/3:0:0:0/block/sdc";
const READER: &str = "pci0000:00/0000:00:14.0/usb1/1-3/1-3:1.0/host4/target4:0:0/4:0:0:0/block/sdd";
const SAS: &str =
    "pci0000:00/0000:02:00.0/host5/port-5:0/end_device-5:0/target5:0:0/5:0:0:0/block/sde";
const CARD: &str = "platform/emmc2bus/fe340000.mmc/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0";
const VIRTIO: &str = "pci0000:00/0000:00:02.0/virtio1/block/vda";

/// One of everything.
fn zoo() -> Recorded {
    let zoo = Recorded::new();
    let bridge = |place, number, disk_sequence| {
        // Two enclosures with an ASM236X: the same serial number and the same identifier.
        zoo.disk(
            place,
            &[
                ("size", "1953525168"),
                ("dev", number),
                ("diskseq", disk_sequence),
                ("removable", "0"),
                ("queue/logical_block_size", "512"),
                ("queue/physical_block_size", "4096"),
                ("device/vendor", "ASMT"),
                ("device/model", "ASM236X NVME"),
                ("device/rev", "0"),
                ("device/wwid", "t10.ASMT    ASM236X NVME    AAAABBBB0000"),
            ],
        );
    };
    bridge(USB_1, "8:16", "11");
    bridge(USB_2, "8:32", "12");
    for port in ["2-1", "2-2"] {
        let home = format!("sys/devices/pci0000:00/0000:00:14.0/usb2/{port}");
        zoo.file(&format!("{home}/idVendor"), "174c\n")
            .file(&format!("{home}/serial"), "AAAABBBB0000\n");
    }
    zoo.disk(
        NVME,
        &[
            ("size", "1953525168"),
            ("dev", "259:0"),
            ("diskseq", "3"),
            ("ro", "0"),
            ("removable", "0"),
            ("queue/logical_block_size", "512"),
            ("queue/physical_block_size", "512"),
            ("queue/rotational", "0"),
            ("queue/zoned", "none"),
            ("wwid", "eui.0025385b01412345"),
            ("device/model", "Samsung SSD 980 PRO 1TB                 "),
            ("device/serial", "S5GXNX0R123456      "),
            ("device/firmware_rev", "5B2QGXA7"),
            ("device/transport", "pcie"),
        ],
    );
    zoo.disk(
        "virtual/nvme-subsystem/nvme-subsys1/nvme1n1",
        &[
            ("size", "2048"),
            ("dev", "259:4"),
            ("queue/logical_block_size", "4096"),
            ("wwid", "nvme.1344-3938-4d69"),
            ("device/model", "Micron \u{1b}[31m7450"),
            ("device/serial", "2239ABCD"),
        ],
    );
    zoo.disk(
        "pci0000:00/0000:00:07.0/0000:03:00.0/nvme/nvme1/nvme1c1n1",
        &[("size", "2048"), ("hidden", "1")],
    );
    zoo.disk(
        SATA,
        &[
            ("size", "7814037168"),
            ("dev", "8:0"),
            ("queue/rotational", "1"),
            ("queue/zoned", "host-aware"),
            ("queue/logical_block_size", "512"),
            ("queue/physical_block_size", "4096"),
            ("device/vendor", "ATA     "),
            ("device/model", "ST4000VN006-3CW1"),
            ("device/rev", "SC60"),
            ("device/wwid", "naa.5000c500e4a1b2c3"),
        ],
    );
    zoo.file(
        "sys/devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/vpd_pg80",
        b"\0\x80\0\x10        ZW60ABCD",
    );
    zoo.disk(
        READER,
        &[
            ("size", "0"),
            ("removable", "1"),
            ("device/model", "STORAGE DEVICE"),
        ],
    );
    zoo.disk(
        SAS,
        &[
            ("size", "1024"),
            ("device/vendor", "SEAGATE"),
            ("device/model", "ST1200MM0009"),
            ("ro", "1"),
        ],
    );
    zoo.disk(
        CARD,
        &[
            ("size", "62333952"),
            ("dev", "179:0"),
            ("device/name", "SC32G"),
            ("device/serial", "0xd5a1b2c3"),
        ],
    );
    let card = CARD.trim_end_matches("mmcblk0");
    zoo.disk(
        &format!("{card}mmcblk0boot0"),
        &[("size", "8192"), ("device/serial", "0xd5a1b2c3")],
    );
    zoo.disk(&format!("{card}mmcblk0rpmb"), &[("size", "8192")]);
    zoo.disk(
        VIRTIO,
        &[
            ("size", "536870912"),
            ("dev", "254:0"),
            ("serial", "root-1"),
            ("device/vendor", "0x1af4"),
        ],
    );
    for name in [
        "loop0", "ram0", "zram0", "sr0", "dm-0", "md127", "bcache0", "zd0",
    ] {
        zoo.disk(&format!("virtual/block/{name}"), &[("size", "2048")]);
    }
    zoo.disk(
        "virtual/block/nbd0",
        &[
            ("size", "2048"),
            ("diskseq", "x"),
            ("queue/logical_block_size", "99999999999"),
        ],
    );
    zoo
}

fn line(disk: &Device) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    let Device {
        path,
        size,
        sector_size,
        physical_sector_size,
        ..
    } = disk;
    let mut line = format!("{path} {size} {sector_size}/{physical_sector_size}");
    line += &format!(
        " {}",
        disk.transport.map_or("-", |transport| transport.name())
    );
    line += &format!(
        " [{}] [{}] [{}] [{}]",
        text(&disk.model),
        text(&disk.serial),
        text(&disk.wwid),
        text(&disk.firmware)
    );
    let flags = [
        (disk.rotational == Some(true), "rotational"),
        (disk.rotational == Some(false), "solid"),
        (disk.removable, "removable"),
        (disk.read_only, "read-only"),
        (disk.is_virtual, "virtual"),
        (disk.zoned, "zoned"),
    ];
    for (_, flag) in flags.iter().filter(|(is_set, _)| *is_set) {
        line += &format!(" {flag}");
    }
    disk.diskseq
        .iter()
        .for_each(|number| line += &format!(" #{number}"));
    disk.twins
        .iter()
        .for_each(|twin| line += &format!(" twin={twin}"));
    line
}

#[test]
fn every_kind_of_disk() {
    let zoo = zoo();
    let disks = disks_of(&zoo.machine());
    let found: Vec<String> = disks.iter().map(line).collect();
    let expected = [
        "/dev/mmcblk0 31914983424 0/0 mmc [SC32G] [0xd5a1b2c3] [-] [-]",
        "/dev/nbd0 1048576 0/0 - [-] [-] [-] [-] virtual",
        "/dev/nvme0n1 1000204886016 512/512 nvme [Samsung SSD 980 PRO 1TB] [S5GXNX0R123456] [eui.0025385b01412345] [5B2QGXA7] solid #3",
        "/dev/nvme1n1 1048576 4096/0 nvme [Micron  [31m7450] [2239ABCD] [nvme.1344-3938-4d69] [-]",
        "/dev/sda 4000787030016 512/4096 sata [ST4000VN006-3CW1] [ZW60ABCD] [naa.5000c500e4a1b2c3] [SC60] rotational zoned",
        "/dev/sdb 1000204886016 512/4096 usb [ASM236X NVME] [AAAABBBB0000] [t10.ASMT    ASM236X NVME    AAAABBBB0000] [0] #11 twin=/dev/sdc",
        "/dev/sdc 1000204886016 512/4096 usb [ASM236X NVME] [AAAABBBB0000] [t10.ASMT    ASM236X NVME    AAAABBBB0000] [0] #12 twin=/dev/sdb",
        "/dev/sde 524288 0/0 sas [ST1200MM0009] [-] [-] [-] read-only",
        "/dev/vda 274877906944 0/0 virtio [-] [root-1] [-] [-]",
    ];
    assert_eq!(found, expected, "{found:#?}");
    assert!(
        disks
            .iter()
            .all(|disk| disk.boot_medium.is_none() && disk.health.is_none() && !disk.file)
    );
}

#[test]
fn one_disk_by_its_path() {
    let zoo = zoo();
    zoo.partition(NVME, "nvme0n1p1", "259:1", None);
    let of = |path: &str| device_of(&zoo.machine(), Path::new(path));
    assert_eq!(of("/dev/sdb").unwrap().twins, ["/dev/sdc"]);
    assert!(
        of("/dev/loop0").unwrap().is_virtual,
        "asked for by its path"
    );
    let error = of("/dev/nvme0n1p1").unwrap_err();
    assert_eq!(
        error.to_string(),
        "/dev/nvme0n1p1 is a partition of /dev/nvme0n1"
    );
    assert_eq!(error.hint().unwrap(), "give the whole disk, /dev/nvme0n1");
    assert!(matches!(of("/dev/sdd"), Err(Error::NoMedium { .. })));
    assert!(matches!(of("/dev/sdz"), Err(Error::Open { .. })));
}

#[test]
fn nothing_known_is_no_error() {
    let empty = Recorded::new();
    assert_eq!(disks_of(&empty.machine()), []);
    let bare = Recorded::new();
    bare.disk("platform/x/block/sda", &[("size", "99999999999999999999")]);
    bare.disk(
        "platform/x/block/sdb",
        &[
            ("size", "18446744073709551615"),
            ("dev", ""),
            ("device/vpd_pg80", "\0"),
        ],
    );
    bare.link("sys/block/sdc", "../devices/missing")
        .link("sys/class/block/sdc", "sdc");
    bare.mounts(&[
        "garbage",
        "1 2 8:0",
        "36 35 :: / / rw - ext4 /dev/ rw",
        "36 35 8:0 / / rw - ext4 / rw",
    ]);
    let disks = disks_of(&bare.machine());
    assert_eq!(
        disks.iter().map(line).collect::<Vec<_>>(),
        ["/dev/sdb 18446744073709551615 0/0 - [-] [-] [-] [-]"]
    );
    assert_eq!(usage_of(&bare.machine(), &disks[0]), []);
}

fn media(machine: &Machine) -> Vec<(String, String)> {
    let disks = disks_of(machine).into_iter();
    disks
        .filter_map(|disk| Some((disk.path, disk.boot_medium?)))
        .collect()
}

/// What the tests below expect, with less noise.
fn told(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter()
        .map(|(disk, why)| ((*disk).to_owned(), (*why).to_owned()))
        .collect()
}

#[test]
fn boot_medium_below_volumes() {
    let zoo = zoo();
    zoo.partition(SATA, "sda1", "8:1", None)
        .partition(USB_1, "sdb1", "8:17", None);
    zoo.partition(NVME, "nvme0n1p1", "259:1", None);
    let (raid, volume) = ("virtual/block/md127", "virtual/block/dm-0");
    zoo.stacked(&format!("{SATA}/sda1"), raid)
        .stacked(&format!("{USB_1}/sdb1"), raid)
        .stacked(raid, volume);
    zoo.file("sys/devices/virtual/block/dm-0/dm/name", "vg-root\n");
    zoo.mounts(&[
        "27 1 0:31 / / rw - btrfs /dev/mapper/vg-root rw",
        "28 27 259:1 / /boot/efi rw - vfat /dev/nvme0n1p1 rw",
        "29 27 254:0 / /srv rw - ext4 /dev/vda rw",
    ]);
    let expected = [
        ("/dev/nvme0n1", "/boot/efi is on /dev/nvme0n1p1"),
        ("/dev/sda", "/ is on /dev/dm-0"),
        ("/dev/sdb", "/ is on /dev/dm-0"),
    ];
    assert_eq!(media(&zoo.machine()), told(&expected));
}

#[test]
fn boot_medium_of_a_live_system() {
    let zoo = zoo();
    zoo.partition(USB_2, "sdc1", "8:33", None);
    zoo.file("sys/devices/virtual/block/loop0/dev", "7:0\n");
    zoo.file(
        "sys/devices/virtual/block/loop0/loop/backing_file",
        "/run/live image/LiveOS/root.squashfs\n",
    );
    zoo.mounts(&[
        "20 1 7:0 / / ro - squashfs /dev/loop0 ro",
        "21 20 8:33 / /run/live\\040image ro - vfat /dev/sdc1 ro",
    ]);
    assert_eq!(
        media(&zoo.machine()),
        told(&[("/dev/sdc", "/ is on /dev/loop0")])
    );
}

#[test]
fn boot_medium_told_by_the_boot_loader() {
    const GUID: &str = "0f3c1d2e-aaaa-4bbb-8ccc-1234567890ab";
    let zoo = zoo();
    zoo.partition(NVME, "nvme0n1p1", "259:1", Some(&GUID.to_uppercase()));
    // Without a word from the kernel, udev's links tell.
    zoo.partition(SATA, "sda1", "8:1", None)
        .link(&format!("dev/disk/by-partuuid/{GUID}"), "../../sda1");
    zoo.partition(
        CARD,
        "mmcblk0p1",
        "179:1",
        Some("ffffffff-aaaa-4bbb-8ccc-1234567890ab"),
    );
    let mut value = vec![6, 0, 0, 0];
    value.extend(
        GUID.to_uppercase()
            .encode_utf16()
            .chain([0])
            .flat_map(u16::to_le_bytes),
    );
    zoo.file(
        "sys/firmware/efi/efivars/LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f",
        value,
    );
    let why = "the boot loader was started from its partition 0f3c1d2e-aaaa-4bbb-8ccc-1234567890ab";
    assert_eq!(
        media(&zoo.machine()),
        told(&[("/dev/nvme0n1", why), ("/dev/sda", why)])
    );
}

#[test]
fn every_kind_of_user() {
    let zoo = zoo();
    zoo.partition(SATA, "sda1", "8:1", None)
        .partition(SATA, "sda2", "8:2", None)
        .partition(SATA, "sda3", "8:3", None);
    let (raid, volume) = ("virtual/block/md127", "virtual/block/dm-0");
    zoo.stacked(&format!("{SATA}/sda2"), raid)
        .stacked(raid, volume);
    zoo.file("sys/devices/virtual/block/dm-0/dm/name", "vg-swap\n");
    zoo.file("sys/devices/virtual/block/dm-0/dev", "253:0\n");
    zoo.file("sys/devices/virtual/block/loop0/dev", "7:0\n");
    zoo.file(
        "sys/devices/virtual/block/loop0/loop/backing_file",
        "/dev/sda3\n",
    );
    zoo.mounts(&[
        "27 1 8:1 / /mnt/a\\040b rw - ext4 /dev/root rw",
        "28 1 8:1 /sub /var/sub rw - ext4 /dev/sda1 rw",
        "29 1 7:0 / /mnt/loop rw - ext4 /dev/loop0 rw",
        "30 1 254:0 / / rw - ext4 /dev/vda rw",
    ]);
    zoo.file(
        "proc/swaps",
        "Filename\tType\tSize\tUsed\tPriority\n/dev/mapper/vg-swap partition 1 0 -2\n/dev/vda2 partition 1 0 -2\n",
    );
    zoo.file("proc/812/comm", "qemu-system\n")
        .link("proc/812/fd/7", "/dev/sda")
        .link("proc/812/fd/8", "/dev/sda");
    zoo.file("proc/813/comm", "cat\n")
        .link("proc/813/fd/0", "/dev/null")
        .link("proc/813/fd/1", "pipe:[1]");
    zoo.file("proc/driver/rtc", "");

    let machine = zoo.machine();
    let disk = device_of(&machine, Path::new("/dev/sda")).unwrap();
    let device = |name: &str| format!("/dev/{name}");
    let expected = [
        Usage::Mounted {
            device: device("loop0"),
            at: "/mnt/loop".into(),
        },
        Usage::Mounted {
            device: device("sda1"),
            at: "/mnt/a b".into(),
        },
        Usage::Mounted {
            device: device("sda1"),
            at: "/var/sub".into(),
        },
        Usage::Swap {
            device: device("dm-0"),
        },
        Usage::Holder {
            device: device("md127"),
            by: device("dm-0"),
        },
        Usage::Holder {
            device: device("sda2"),
            by: device("md127"),
        },
        Usage::Loop {
            device: device("sda3"),
            by: device("loop0"),
        },
        Usage::Open {
            device: device("sda"),
            process: 812,
            program: "qemu-system".into(),
        },
    ];
    assert_eq!(usage_of(&machine, &disk), expected);
    let other = device_of(&machine, Path::new("/dev/nvme0n1")).unwrap();
    assert_eq!(usage_of(&machine, &other), []);
}

#[test]
fn users_of_what_a_loop_device_reads() {
    let zoo = zoo();
    for (name, file) in [
        ("loop0", "/srv/disk"),
        ("loop1", "/srv/disk"),
        ("loop2", "/srv/other"),
        ("loop3", "/dev/sda"),
    ] {
        if name != "loop0" {
            zoo.disk(&format!("virtual/block/{name}"), &[("size", "2048")]);
        }
        zoo.file(
            &format!("sys/devices/virtual/block/{name}/loop/backing_file"),
            format!("{file}\n"),
        );
        zoo.file(
            &format!("sys/devices/virtual/block/{name}/dev"),
            format!("7:{}\n", &name[4..]),
        );
    }
    zoo.mounts(&[
        "29 1 7:1 / /mnt/loop rw - ext4 /dev/loop1 rw",
        "30 1 7:2 / /mnt/other rw - ext4 /dev/loop2 rw",
    ]);
    zoo.file("proc/814/comm", "qemu\n")
        .link("proc/814/fd/9", "/srv/disk")
        .link("proc/814/fd/10", "/dev/sda");
    let machine = zoo.machine();
    let users = |path: &str| usage_of(&machine, &device_of(&machine, Path::new(path)).unwrap());
    let open = |device: &str| Usage::Open {
        device: device.into(),
        process: 814,
        program: "qemu".into(),
    };
    let expected = [
        Usage::Mounted {
            device: "/dev/loop1".into(),
            at: "/mnt/loop".into(),
        },
        Usage::Loop {
            device: "/srv/disk".into(),
            by: "/dev/loop1".into(),
        },
        open("/srv/disk"),
    ];
    assert_eq!(users("/dev/loop0"), expected);
    assert_eq!(users("/dev/loop3"), [open("/dev/sda")]);
    assert_eq!(
        users("/dev/sda"),
        [
            Usage::Loop {
                device: "/dev/sda".into(),
                by: "/dev/loop3".into()
            },
            open("/dev/sda")
        ]
    );
}

#[test]
fn all_members_of_a_btrfs_are_mounted() {
    let zoo = zoo();
    for name in ["sdb", "sdc"] {
        zoo.link(&format!("sys/fs/btrfs/1b2c/devices/{name}"), "..");
    }
    zoo.mounts(&["27 1 0:31 / / rw - btrfs /dev/sdb rw"]);
    let machine = zoo.machine();
    let disk = device_of(&machine, Path::new("/dev/sdc")).unwrap();
    assert_eq!(disk.boot_medium.as_deref(), Some("/ is on /dev/sdc"));
    assert_eq!(
        usage_of(&machine, &disk),
        [Usage::Mounted {
            device: "/dev/sdc".into(),
            at: "/".into()
        }]
    );
}

#[test]
fn volumes_made_of_themselves_come_to_an_end() {
    let zoo = zoo();
    let (one, other) = ("virtual/block/md127", "virtual/block/dm-0");
    zoo.stacked(one, other)
        .stacked(other, one)
        .stacked(SATA, one);
    zoo.file(
        "sys/devices/virtual/block/loop0/loop/backing_file",
        "/dev/loop0\n",
    );
    zoo.file("sys/devices/virtual/block/loop0/dev", "7:0\n");
    zoo.file("sys/devices/virtual/block/md127/dev", "9:127\n");
    zoo.mounts(&[
        "27 1 9:127 / / rw - ext4 /dev/md127 rw",
        "28 1 7:0 / /boot rw - ext4 /dev/loop0 rw",
    ]);
    let machine = zoo.machine();
    assert_eq!(media(&machine), told(&[("/dev/sda", "/ is on /dev/md127")]));
    assert_eq!(
        usage_of(
            &machine,
            &device_of(&machine, Path::new("/dev/sda")).unwrap()
        )
        .len(),
        4
    );
}
