//! Partition tables, whole and broken.

use std::io;
use std::sync::Mutex;

use crc::{CRC_32_ISO_HDLC, Crc};
use prejoin_disk::device::ReadAt;
use prejoin_disk::probe::probe;
use prejoin_formats::gpt::{self, Partition as Entry, types};
use prejoin_wire::disk::{Content, Device, Extent, Facts, Place, Scheme, Table, Usage, VERSION};
use uuid::Uuid;

use super::disk::{Bytes, Disk, MIB, have, run};

const CRC32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// Two partitions, 1..11 and 20..30 MiB, on a disk of 64 MiB.
fn divided() -> Option<Disk> {
    let disk = have(&["sgdisk"]).then(|| Disk::new(64 * MIB))?;
    let args = [
        "-a1",
        "-n1:2048:22527",
        "-t1:ef00",
        "-c1:esp",
        "-n2:40960:61439",
        "-c2:data",
        "DISK",
    ];
    disk.run("sgdisk", &args);
    Some(disk)
}

/// One line per table: scheme, place, sector it begins in, sector size, state, partitions, problems.
fn summary(content: &Content) -> Vec<String> {
    let line = |table: &Table| {
        let partitions = table
            .partitions
            .iter()
            .map(|p| format!("{}:{}+{}", p.number, p.extent.start, p.extent.length));
        let state = if table.valid { "valid" } else { "broken" };
        format!(
            "{:?} {:?} {}/{} {state} [{}] {}",
            table.scheme,
            table.place,
            table.offset / u64::from(table.sector_size),
            table.sector_size,
            partitions.collect::<Vec<_>>().join(" "),
            table.problems.join("; ")
        )
    };
    content.tables.iter().map(line).collect()
}

/// The table to be believed is the one that the rest of the program reads.
fn agrees(disk: &Disk, content: &Content, sector_size: u32) {
    let file = Bytes(disk.file());
    let found = gpt::read(
        |offset, buffer| file.read_at(offset, buffer),
        disk.size(),
        sector_size,
    )
    .unwrap();
    let read: Vec<_> = found
        .table
        .partitions
        .iter()
        .map(|p| (p.number, p.start, p.size, p.guid.to_string()))
        .collect();
    let partitions = content.partitions().iter();
    let ours: Vec<_> = partitions
        .map(|p| (p.number, p.extent.start, p.extent.length, p.guid.clone()))
        .collect();
    assert_eq!(ours, read);
    assert_eq!(
        content.table().unwrap().id,
        Some(found.table.disk_guid.to_string())
    );
}

const BOTH: &str = "[1:1048576+10485760 2:20971520+10485760]";

#[test]
fn a_whole_table() {
    let Some(disk) = divided() else { return };
    let content = disk.probe();
    let expected = [
        format!("Gpt Primary 1/512 valid {BOTH} "),
        format!("Gpt Backup 131071/512 valid {BOTH} "),
        "ProtectiveMbr Primary 0/512 valid [1:512+67108352] ".to_owned(),
    ];
    assert_eq!(summary(&content), expected);
    agrees(&disk, &content, 512);
    assert_eq!(
        (
            content.partitions()[0].name.as_str(),
            content.partitions()[1].name.as_str()
        ),
        ("esp", "data")
    );
    assert_eq!(content.partitions()[0].type_id, types::ESP.to_string());
    let blank: Vec<_> = content
        .blankness
        .iter()
        .map(|b| (b.of.start / MIB, b.of.end() / MIB, b.first))
        .collect();
    assert_eq!(
        blank,
        [
            (1, 11, None),
            (20, 30, None),
            (0, 1, None),
            (11, 20, None),
            (30, 64, None)
        ]
    );
    assert!(
        content.unreadable.is_empty() && content.signatures.is_empty() && content.inside.is_empty()
    );
}

#[test]
fn a_broken_copy() {
    for (offset, expected) in [
        (
            512 + 40,
            [
                "Gpt Backup 131071/512 valid {BOTH} the primary copy cannot be used",
                "ProtectiveMbr Primary 0/512 valid [1:512+67108352] ",
                "Gpt Primary 1/512 broken {BOTH} the checksum of its header is wrong; its usable range \
                 18446744073709551615..=131038 is impossible on a disk of 131072 sectors",
            ],
        ),
        (
            64 * MIB - 33 * 512 + 60,
            [
                "Gpt Primary 1/512 valid {BOTH} the backup copy cannot be used",
                "ProtectiveMbr Primary 0/512 valid [1:512+67108352] ",
                "Gpt Backup 131071/512 broken {BOTH} the checksum of its entries is wrong",
            ],
        ),
    ] {
        let Some(disk) = divided() else { return };
        let fill = if offset < MIB { 0xff } else { 0 };
        disk.write(offset, &[fill; 8]);
        let content = disk.probe();
        let lines: Vec<String> = summary(&content)
            .into_iter()
            .map(|line| entries_aside(&line))
            .collect();
        let expected: Vec<String> = expected
            .iter()
            .map(|line| entries_aside(&line.replace("{BOTH}", BOTH)))
            .collect();
        assert_eq!(lines, expected);
        agrees(&disk, &content, 512);
    }
}

/// What a damaged copy says of its entries is not what the test is about.
fn entries_aside(line: &str) -> String {
    let Some((head, rest)) = line.split_once(" broken [") else {
        return line.to_owned();
    };
    let (_, problems) = rest.split_once("] ").unwrap();
    let problems = problems
        .split("; ")
        .filter(|problem| !problem.starts_with("entr"));
    format!("{head} broken {}", problems.collect::<Vec<_>>().join("; "))
}

#[test]
fn no_primary_copy() {
    let Some(disk) = divided() else { return };
    disk.write(512, &[0; 512]);
    let content = disk.probe();
    assert_eq!(
        summary(&content)[0],
        format!("Gpt Backup 131071/512 valid {BOTH} there is no primary copy")
    );
    agrees(&disk, &content, 512);
}

#[test]
fn a_grown_disk_and_then_no_primary_copy() {
    let Some(disk) = divided() else { return };
    disk.resize(500 * MIB + 512);
    let content = disk.probe();
    let primary = format!(
        "Gpt Primary 1/512 valid {BOTH} its backup belongs in sector 131071, which is not the disk's last"
    );
    let stray = format!(
        "Gpt Stray 131071/512 valid {BOTH} it is neither at the start nor at the end of the disk"
    );
    let mbr = "ProtectiveMbr Primary 0/512 valid [1:512+67108352] its protective entry is for a disk of 131072 \
               sectors, this one has 1024001";
    assert_eq!(summary(&content), [primary, stray.clone(), mbr.to_owned()]);
    agrees(&disk, &content, 512);

    // sgdisk and blkid see nothing but the protective MBR now; the size in it leads to the backup.
    disk.write(512, &vec![0; MIB as usize - 512]);
    let content = disk.probe();
    assert_eq!(summary(&content), [stray.clone(), mbr.to_owned()]);
    assert_eq!(
        content.blankness[0].of,
        Extent {
            start: 0,
            length: disk.size()
        }
    );

    // Without it, too: images end at whole MiB.
    disk.write(0, &[0; 512]);
    assert_eq!(summary(&disk.probe()), [stray]);
}

#[test]
fn a_table_for_the_other_sector_size() {
    let entry = Entry {
        number: 3,
        type_guid: types::LINUX,
        guid: Uuid::from_bytes([5; 16]),
        start: 2 * MIB,
        size: 4 * MIB,
        attributes: types::NO_AUTO,
        name: "state".into(),
    };
    for (made, seen) in [(4096, 512), (512, 4096), (4096, 0), (512, 0)] {
        let disk = Disk::new(16 * MIB);
        let table = gpt::Table {
            disk_guid: Uuid::from_bytes([9; 16]),
            sector_size: made,
            disk_size: disk.size(),
            partitions: vec![entry.clone()],
        };
        disk.write(0, &table.primary().unwrap());
        let (offset, backup) = table.backup().unwrap();
        disk.write(offset, &backup);
        let content = disk.probe_as(seen);
        let last = disk.size() / u64::from(made) - 1;
        let lines = summary(&content);
        assert_eq!(
            lines[0],
            format!("Gpt Primary 1/{made} valid [3:2097152+4194304] "),
            "{made} seen at {seen}"
        );
        assert_eq!(
            lines[1],
            format!("Gpt Backup {last}/{made} valid [3:2097152+4194304] ")
        );
        assert_eq!(content.partitions()[0].attributes, types::NO_AUTO);
        agrees(&disk, &content, made);
    }
}

#[test]
fn a_hybrid_mbr() {
    let Some(disk) = divided() else { return };
    run("sgdisk", &["-h1:2", disk.path()], "");
    let content = disk.probe();
    let lines = summary(&content);
    assert_eq!(lines[0], format!("Gpt Primary 1/512 valid {BOTH} "));
    assert!(
        lines[2].starts_with("HybridMbr Primary 0/512 valid ["),
        "{lines:?}"
    );
    assert_eq!(content.tables[2].partitions.len(), 3);
}

#[test]
fn entries_that_cannot_be() {
    let Some(disk) = divided() else { return };
    let mut entries = disk.bytes(1024, 16384);
    // Partition 2 begins inside partition 1, has its GUID, and a third is beyond the disk.
    entries[128 + 32..128 + 40].copy_from_slice(&4096_u64.to_le_bytes());
    let guid = entries[16..32].to_vec();
    entries[128 + 16..128 + 32].copy_from_slice(&guid);
    let first = entries[..128].to_vec();
    entries[256..384].copy_from_slice(&first);
    entries[256 + 16] ^= 1;
    entries[256 + 32..256 + 40].copy_from_slice(&130_000_u64.to_le_bytes());
    entries[256 + 40..256 + 48].copy_from_slice(&140_000_u64.to_le_bytes());
    seal(&disk, &entries);
    let content = disk.probe();
    let lines = summary(&content);
    assert_eq!(
        lines[0],
        "Gpt Primary 1/512 valid [1:1048576+10485760 2:2097152+29360128 3:66560000+5120512] entries 1 and 2 have the \
         same GUID; entry 3 reaches past the end of the disk; partitions 1 and 2 overlap; the backup copy says \
         something else"
    );
    // What cannot be is looked at as far as there is a disk.
    assert!(
        content
            .blankness
            .iter()
            .any(|blank| blank.of == Extent::between(66_560_000, 64 * MIB))
    );
}

/// Writes the primary entries with the checksums that fit.
fn seal(disk: &Disk, entries: &[u8]) {
    disk.write(1024, entries);
    let mut header = disk.bytes(512, 92);
    header[88..92].copy_from_slice(&CRC32.checksum(entries).to_le_bytes());
    header[16..20].fill(0);
    let crc = CRC32.checksum(&header);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    disk.write(512, &header);
}

#[test]
fn a_shrunken_disk() {
    let Some(disk) = divided() else { return };
    disk.resize(25 * MIB);
    let content = disk.probe();
    let lines = summary(&content);
    assert_eq!(
        lines[1],
        format!(
            "Gpt Primary 1/512 broken {BOTH} its usable range 34..=131038 is impossible on a disk of 51200 sectors; entry \
         2 reaches past the end of the disk"
        )
    );
    assert!(content.table().is_none() && content.blankness[0].first.is_none());
}

#[test]
fn logical_partitions() {
    if !have(&["sfdisk"]) {
        return;
    }
    let script = "label: dos\nlabel-id: 0x12345678\nstart=2048, size=2048, type=c, bootable\nsize=80000, type=5\n\
                  5: size=10000, type=83\n6: size=10000, type=82\n7: size=10000, type=8e\n";
    let disk = Disk::new(64 * MIB);
    run("sfdisk", &[disk.path()], script);
    let listed = run("sfdisk", &["-d", disk.path()], "");
    let content = disk.probe();
    let table = content.table().unwrap();
    assert_eq!(
        (table.scheme, table.id.as_deref()),
        (Scheme::Mbr, Some("12345678"))
    );
    assert_eq!(table.problems, Vec::<String>::new());
    let ours: Vec<(u32, u64, u64)> = table
        .partitions
        .iter()
        .map(|p| (p.number, p.extent.start / 512, p.extent.length / 512))
        .collect();
    let field = |line: &str, key: &str| -> u64 {
        line.split(key)
            .nth(1)
            .unwrap()
            .split(',')
            .next()
            .unwrap()
            .trim()
            .parse()
            .unwrap()
    };
    let theirs: Vec<(u32, u64, u64)> = listed
        .lines()
        .filter(|line| line.contains("start="))
        .map(|line| {
            let number = line
                .split_whitespace()
                .next()
                .unwrap()
                .trim_start_matches(disk.path())
                .trim_start_matches('p');
            (
                number.parse().unwrap(),
                field(line, "start="),
                field(line, "size="),
            )
        })
        .collect();
    assert_eq!(ours, theirs);
    assert_eq!(ours.len(), 5);

    // The second link leads back to the first record.
    let first = table.partitions[1].extent.start;
    let second = first
        + u64::from(u32::from_le_bytes(
            disk.bytes(first + 446 + 24, 4).try_into().unwrap(),
        )) * 512;
    disk.write(second + 446 + 24, &[0; 4]);
    let looped = disk.probe();
    let table = looped.table().unwrap();
    assert_eq!(
        table.problems,
        ["the chain of its logical partitions goes in circles"]
    );
    assert_eq!(table.partitions.len(), 4);
}

#[test]
fn an_mbr_over_an_old_gpt_is_what_counts() {
    let Some(disk) = divided() else { return };
    let old = disk.bytes(512, 16384 + 512);
    run(
        "sfdisk",
        &["--wipe", "never", disk.path()],
        "label: dos\nstart=4096, size=4096\n",
    );
    disk.write(512, &old);
    let content = disk.probe();
    assert_eq!(content.table().unwrap().scheme, Scheme::Mbr);
    let gpt = content
        .tables
        .iter()
        .find(|table| table.scheme == Scheme::Gpt && table.place == Place::Primary)
        .unwrap();
    assert!(
        gpt.problems
            .contains(&"there is no protective MBR in sector 0".to_owned()),
        "{:?}",
        gpt.problems
    );
}

#[test]
fn foreign_tables() {
    if !have(&["parted", "sfdisk"]) {
        return;
    }
    for (label, scheme) in [
        ("mac", Scheme::Apple),
        ("bsd", Scheme::Bsd),
        ("sun", Scheme::Sun),
    ] {
        let disk = Disk::new(64 * MIB);
        disk.run("parted", &["-s", "DISK", "mklabel", label]);
        let content = disk.probe();
        assert!(
            content.tables.iter().any(|table| table.scheme == scheme),
            "{label}: {:?}",
            content.tables
        );
        assert!(content.table().is_none(), "{label}");
    }
    let disk = Disk::new(64 * MIB);
    run("sfdisk", &[disk.path()], "label: sgi\n");
    assert_eq!(disk.probe().tables[0].scheme, Scheme::Sgi);
}

#[test]
fn a_file_system_without_a_table() {
    if !have(&["mkfs.vfat", "mkfs.ntfs"]) {
        return;
    }
    let disk = Disk::new(64 * MIB);
    disk.run("mkfs.vfat", &["-I", "DISK"]);
    let content = disk.probe();
    assert!(content.tables.is_empty(), "{:?}", content.tables);
    assert!(
        content
            .signatures
            .iter()
            .any(|signature| signature.kind == "vfat"),
        "{:?}",
        content.signatures
    );
    assert_eq!(content.blankness.len(), 1);
}

#[test]
fn blank_is_more_than_no_signature() {
    if !have(&["mkfs.xfs", "mke2fs"]) {
        return;
    }
    // Nothing at all, and all ones as an erased flash has them.
    let disk = Disk::new(40 * MIB);
    let content = disk.probe();
    assert_eq!(
        (content.blankness.len(), content.blankness[0].first),
        (1, None)
    );
    disk.write(0, &vec![0xff; 40 << 20]);
    assert_eq!(disk.probe().blankness[0].first, None);
    disk.write(20 * MIB - 70_000, &[1; 140_000]);
    assert!(disk.probe().blankness[0].first.is_some());

    for (tool, args) in [
        ("mkfs.xfs", &["-q", "-f", "DISK"][..]),
        ("mke2fs", &["-q", "-F", "-t", "ext4", "DISK"]),
    ] {
        let disk = Disk::new(2048 * MIB);
        disk.run(tool, args);
        disk.write(0, &vec![0; MIB as usize]);
        let blankness = &disk.probe().blankness[0];
        assert!(blankness.first.is_some(), "{tool}");
        assert!(blankness.read <= 32 * MIB, "{tool} {}", blankness.read);
    }
}

/// A disk of which some bytes cannot be read, that counts.
struct Bad<'a> {
    disk: &'a Disk,
    bad: Extent,
    reads: Mutex<(u64, u64)>,
}

impl ReadAt for Bad<'_> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let length = buffer.len() as u64;
        let mut reads = self.reads.lock().unwrap();
        *reads = (reads.0 + 1, reads.1 + length);
        if self.bad.meets(&Extent {
            start: offset,
            length,
        }) {
            return Err(io::Error::other("medium error"));
        }
        Bytes(self.disk.file()).read_at(offset, buffer)
    }
}

#[test]
fn what_cannot_be_read_is_said_and_reads_are_bounded() {
    let disk = Disk::new(1 << 40);
    let blank = disk.probe();
    for bad in [
        Extent {
            start: 0,
            length: 512,
        },
        Extent {
            start: (1 << 40) - 512,
            length: 512,
        },
    ] {
        let bad = Bad {
            disk: &disk,
            bad,
            reads: Mutex::default(),
        };
        let content = probe(&bad, disk.size(), 512);
        assert!(
            content
                .unreadable
                .iter()
                .any(|unreadable| unreadable.extent.meets(&bad.bad))
        );
        assert_ne!(content.digest, blank.digest);
        let (count, bytes) = bad.reads.into_inner().unwrap();
        assert!(
            count < 10_000 && bytes < 64 << 20,
            "{count} reads of {bytes} bytes"
        );
    }
    let bad = Bad {
        disk: &disk,
        bad: Extent {
            start: 0,
            length: 1 << 40,
        },
        reads: Mutex::default(),
    };
    let content = probe(&bad, disk.size(), 512);
    assert_eq!(
        (content.blankness[0].read, content.blankness[0].first),
        (0, None)
    );
    assert!(!content.unreadable.is_empty() && content.unreadable.len() < 2000);
}

#[test]
fn the_digest_is_that_of_what_was_seen() {
    let Some(disk) = divided() else { return };
    let digest = disk.probe().digest;
    assert_eq!(disk.probe().digest, digest);
    disk.write(25 * MIB, &[1]);
    assert_ne!(disk.probe().digest, digest);
}

#[test]
fn facts_come_back_from_json() {
    let Some(disk) = divided() else { return };
    let facts = Facts {
        version: VERSION,
        device: Device {
            path: "/dev/nvme0n1".into(),
            size: disk.size(),
            sector_size: 512,
            ..Device::default()
        },
        usage: vec![Usage::Mounted {
            device: "/dev/nvme0n1p2".into(),
            at: "/data".into(),
        }],
        content: disk.probe(),
    };
    let json = serde_json::to_string_pretty(&facts).unwrap();
    assert_eq!(serde_json::from_str::<Facts>(&json).unwrap(), facts);
}
