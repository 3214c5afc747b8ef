//! What file systems hold.
#![expect(clippy::disallowed_methods, reason = "tests write files")]

use std::fmt::Write;

use ext4_view::Ext4;
use prejoin_wire::digest::Digest;
use prejoin_wire::disk::{Content, Extent};
use prejoin_wire::handoff::{self, Archive, Format, Handoff, Partition};
use uuid::Uuid;

use super::disk::{Disk, MIB, have, plant, run};

/// One line for each thing found: kind, path, what it says.
fn summary(content: &Content) -> Vec<String> {
    let line = |inside: &prejoin_wire::disk::Inside| {
        format!(
            "{} {} {}",
            inside.kind,
            inside.path,
            inside.detail.join(" ")
        )
        .trim_end()
        .to_owned()
    };
    content.inside.iter().map(line).collect()
}

/// A file system over a whole disk of 64 MiB, with these files.
fn ext(options: &[&str], files: &[(&str, &str)]) -> Disk {
    let folder = tempfile::tempdir().unwrap();
    plant(folder.path(), files);
    let disk = Disk::new(64 * MIB);
    let folder = folder.path().to_str().unwrap();
    let args = [&["-q", "-F", "-d", folder][..], options, &["DISK"]].concat();
    disk.run("mke2fs", &args);
    disk
}

const LONGHORN: (&str, &str) = (
    "longhorn-disk.cfg",
    r#"{"diskName":"x","diskUUID":"b8d0a7a8-1111","diskDriver":""}"#,
);

/// Every way in which a directory and a file can be stored.
const KINDS: &[&[&str]] = &[
    &["-t", "ext4"],
    &["-t", "ext4", "-b", "1024"],
    &["-t", "ext4", "-b", "4096", "-O", "^64bit,^metadata_csum"],
    &[
        "-t",
        "ext4",
        "-O",
        "meta_bg,^resize_inode",
        "-b",
        "1024",
        "-g",
        "256",
    ],
    &["-t", "ext4", "-O", "bigalloc"],
    &["-t", "ext4", "-O", "inline_data"],
    &["-t", "ext4", "-O", "^has_journal,sparse_super2"],
    &["-t", "ext3"],
    &["-t", "ext2"],
    &["-t", "ext2", "-b", "1024", "-I", "128", "-O", "none"],
];

#[test]
fn longhorn_in_every_kind_of_ext() {
    if !have(&["mke2fs"]) {
        return;
    }
    let replica = "replicas/pvc-0f1e-r-1/volume-head-000.img";
    for options in KINDS {
        let disk = ext(
            options,
            &[LONGHORN, (replica, "data"), ("replicas/pvc-2/", "")],
        );
        let found = summary(&disk.probe());
        let expected =
            "longhorn-disk / diskUUID=b8d0a7a8-1111 replicas=2 replica=pvc-0f1e-r-1 replica=pvc-2";
        assert_eq!(found.len(), 1, "{options:?}: {found:?}");
        let mut names: Vec<&str> = found[0].split(' ').collect();
        names[4..].sort_unstable();
        assert_eq!(names.join(" "), expected, "{options:?}");
    }
}

#[test]
fn longhorn_where_people_have_it() {
    if !have(&["mke2fs"]) {
        return;
    }
    for folder in [
        "/var/lib/longhorn",
        "/longhorn",
        "/lib/longhorn",
        "/disk1",
        "/mnt/nvme1",
        "/longhorn/disk2",
    ] {
        let path = format!("{}/longhorn-disk.cfg", &folder[1..]);
        let disk = ext(&["-t", "ext4"], &[("etc/fstab", ""), (&path, LONGHORN.1)]);
        assert_eq!(
            summary(&disk.probe()),
            [format!("longhorn-disk {folder} diskUUID=b8d0a7a8-1111")]
        );
    }
    // Its file was lost, or is damaged.
    let disk = ext(&["-t", "ext4"], &[("replicas/pvc-1/", "")]);
    let lost = "longhorn-disk / error=longhorn-disk.cfg is missing replicas=1 replica=pvc-1";
    assert_eq!(summary(&disk.probe()), [lost]);
    let disk = ext(&["-t", "ext4"], &[("longhorn-disk.cfg", "\0\0\0\0")]);
    assert_eq!(
        summary(&disk.probe()),
        ["longhorn-disk / error=longhorn-disk.cfg cannot be understood"]
    );
}

#[test]
fn a_node_of_another_distribution() {
    if !have(&["mke2fs"]) {
        return;
    }
    let disk = ext(
        &["-t", "ext4"],
        &[
            (
                "usr/lib/os-release",
                "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nID=debian\nVERSION_ID=\"13\"\n",
            ),
            ("etc/os-release", "-> ../usr/lib/os-release"),
            ("lib", "-> usr/lib"),
            (
                "srv/var/lib/rancher/k3s/server/db/etcd/member/wal/0.wal",
                "x",
            ),
            (
                "srv/var/lib/rancher/k3s/storage/pvc-7_default_data/file",
                "x",
            ),
            ("var", "-> /srv/var"),
            ("var2/lib/kubelet/", ""),
            ("srv/var/lib/kubelet/pods/1234/", ""),
            (
                "srv/var/lib/kubelet/config.yaml",
                "kind: KubeletConfiguration",
            ),
            ("opt/local-path-provisioner/", ""),
            ("srv/var/openebs/local/pvc-9/data", "rows"),
        ],
    );
    assert_eq!(
        summary(&disk.probe()),
        [
            "etcd /var/lib/rancher/k3s/server/db/etcd/member entries=1 entry=wal",
            "k3s /var/lib/rancher/k3s entries=2 entry=server entry=storage",
            "rancher /var/lib/rancher entries=1 entry=k3s",
            "kubelet /var/lib/kubelet entries=2 entry=config.yaml entry=pods",
            "local-volumes /var/lib/rancher/k3s/storage entries=1 entry=pvc-7_default_data",
            "openebs /var/openebs entries=1 entry=local",
            "os-release /etc/os-release name=Debian GNU/Linux 13 (trixie) id=debian version=13",
        ]
    );
    // The same directories in a file system that is mounted at /var, and in one that is etcd's alone.
    let disk = ext(
        &["-t", "ext4"],
        &[
            ("lib/etcd/member/snap/db", ""),
            ("lib/containerd/", ""),
            ("lib/rancher/k3s/agent/", ""),
            ("member/", ""),
        ],
    );
    assert_eq!(
        summary(&disk.probe()),
        ["etcd /lib/etcd/member entries=1 entry=snap"],
        "a folder without anything in it says nothing"
    );
    let disk = ext(
        &["-t", "ext4"],
        &[("member/snap/db", ""), ("member/wal/", "")],
    );
    assert_eq!(
        summary(&disk.probe()),
        ["etcd /member entries=2 entry=snap entry=wal"]
    );
}

#[test]
fn large_directories_are_read_as_another_reader_does() {
    if !have(&["mke2fs"]) {
        return;
    }
    let names: Vec<String> = (0..3000)
        .map(|n| format!("pvc-{n:05}-with-a-name-that-is-long"))
        .collect();
    let paths: Vec<String> = names
        .iter()
        .map(|name| format!("opt/local-path-provisioner/{name}"))
        .collect();
    let files: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), "")).collect();
    for options in [
        &["-t", "ext4"][..],
        &["-t", "ext2", "-b", "1024", "-N", "4000"],
    ] {
        let disk = ext(options, &files);
        // e2fsck makes an index of a directory of that size.
        let _ = std::process::Command::new("e2fsck")
            .args(["-fyD", disk.path()])
            .output();
        let found = summary(&disk.probe());
        let other = Ext4::load(Box::new(disk.bytes(0, 64 << 20))).unwrap();
        let count = other
            .read_dir("/opt/local-path-provisioner")
            .unwrap()
            .count()
            - 2;
        assert_eq!(count, 3000);
        assert!(found[0].starts_with(&format!(
            "local-volumes /opt/local-path-provisioner entries={count} entry=pvc-00000"
        )));
        assert_eq!(found.len(), 1, "{found:?}");
    }
}

#[test]
fn a_journal_that_was_not_played_back_is_said_to_be_one() {
    if !have(&["mke2fs", "debugfs"]) {
        return;
    }
    let disk = ext(&["-t", "ext4"], &[LONGHORN]);
    disk.run("debugfs", &["-w", "-R", "feature needs_recovery", "DISK"]);
    let expected = [
        "longhorn-disk / diskUUID=b8d0a7a8-1111",
        "unread / reason=its journal was not played back",
    ];
    assert_eq!(summary(&disk.probe()), expected);
}

fn node() -> Handoff {
    let partition = |name: &str, size, number| Partition {
        name: name.into(),
        type_guid: Uuid::from_bytes([1; 16]),
        guid: Uuid::from_bytes([number; 16]),
        size,
        min_size: None,
        format: Format::Ext4,
        uuid: Uuid::from_bytes([9; 16]),
    };
    Handoff {
        version: handoff::VERSION,
        brought: Vec::new(),
        node: "rack-1-node-7".into(),
        partitions: vec![
            partition(handoff::STATE, Some(1 << 30), 2),
            partition(handoff::DATA, None, 3),
        ],
        archive: Archive {
            digest: Digest::of(b""),
            size: 0,
        },
    }
}

#[test]
fn fat_of_every_width() {
    if !have(&["mkfs.vfat", "mcopy"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let files = [
        ("node.json", node().to_json()),
        ("user-data", "#cloud-config\n".into()),
        ("meta-data", String::new()),
        ("EFI/Microsoft/Boot/bootmgfw.efi", "MZ".into()),
        ("EFI/systemd/systemd-bootx64.efi", "MZ".into()),
        ("EFI/BOOT/BOOTX64.EFI", "MZ".into()),
        ("EFI/a vendor of long names/shim.efi", "MZ".into()),
        ("config.txt", "arm_64bit=1\n".into()),
        ("bcm2712-rpi-5-b.dtb", "x".into()),
    ];
    plant(
        folder.path(),
        &files.each_ref().map(|(path, text)| (*path, text.as_str())),
    );
    // A chain of more than one cluster, in the middle of a directory.
    for number in 0..200 {
        std::fs::write(
            folder
                .path()
                .join(format!("EFI/BOOT/another file {number}.efi")),
            "x",
        )
        .unwrap();
    }
    for (width, size) in [("12", 1), ("16", 16), ("32", 64)] {
        let disk = Disk::new(size * MIB);
        disk.run(
            "mkfs.vfat",
            &["-F", width, "-s", "1", "-n", "CIDATA", "-I", "DISK"],
        );
        for entry in [
            "node.json",
            "user-data",
            "meta-data",
            "EFI",
            "config.txt",
            "bcm2712-rpi-5-b.dtb",
        ] {
            let path = folder.path().join(entry);
            disk.run("mcopy", &["-s", "-i", "DISK", path.to_str().unwrap(), "::"]);
        }
        let mut found = summary(&disk.probe());
        found.sort();
        let boot = found
            .iter()
            .position(|line| line.starts_with("efi-boot /EFI/BOOT entries=201 "))
            .unwrap();
        found.remove(boot);
        assert_eq!(
            found,
            [
                "cloud-init /",
                "efi-vendor /EFI/a vendor of long names entries=1 entry=shim.efi",
                "prejoin-node /node.json node=rack-1-node-7 state=02020202-0202-0202-0202-020202020202 \
                 data=03030303-0303-0303-0303-030303030303",
                "raspberry-pi /config.txt file=bcm2712-rpi-5-b.dtb",
                "systemd-boot /EFI/systemd entries=1 entry=systemd-bootx64.efi",
                "windows /EFI/Microsoft entries=1 entry=Boot",
            ],
            "FAT{width}"
        );
    }
}

#[test]
fn file_systems_that_are_not_read_are_named() {
    if !have(&["sgdisk", "mkfs.xfs", "mke2fs"]) {
        return;
    }
    let disk = Disk::new(420 * MIB);
    let mut names = String::new();
    for (number, name) in ["EFI", "BIOS", "BOOT", "META", "STATE", "EPHEMERAL"]
        .iter()
        .enumerate()
    {
        write!(
            names,
            "-n{}:0:+{}M -c{}:{name} ",
            number + 1,
            if number == 5 { 310 } else { 10 },
            number + 1
        )
        .unwrap();
    }
    let args: Vec<&str> = names.split_whitespace().chain([disk.path()]).collect();
    run("sgdisk", &args, "");
    let other = Disk::new(310 * MIB);
    other.run("mkfs.xfs", &["-q", "-f", "DISK"]);
    disk.write(51 * MIB, &other.bytes(0, 310 << 20));
    let content = disk.probe();
    assert_eq!(
        summary(&content),
        [
            "unread / type=xfs",
            "talos  name=Talos partitions=EFI,META,STATE,EPHEMERAL"
        ]
    );
    assert_eq!(
        content.inside[0].of,
        Extent {
            start: 51 * MIB,
            length: 310 * MIB
        }
    );
}

#[test]
fn what_leads_in_circles_ends() {
    if !have(&["mke2fs", "debugfs"]) {
        return;
    }
    // Links in circles, a link to a place above the root, and a directory of an impossible size.
    let files = [
        LONGHORN,
        ("var", "-> srv/../var"),
        ("opt", "-> ../../.././opt2"),
        ("opt2", "-> opt"),
        ("mnt/x/", ""),
    ];
    let disk = ext(&["-t", "ext4", "-O", "^metadata_csum"], &files);
    disk.run(
        "debugfs",
        &["-w", "-R", "set_inode_field /mnt size 0xfffffff000", "DISK"],
    );
    let found = summary(&disk.probe());
    let expected = [
        "longhorn-disk / diskUUID=b8d0a7a8-1111",
        "unread / reason=a directory has a hole reason=a directory is larger than 4 MiB",
    ];
    assert_eq!(found, expected);
}
