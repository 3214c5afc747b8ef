//! The command is given once more: after every write and every flush of every kind of run the same command must be
//! accepted without another flag, end as the first one would have, and lose nothing that is kept.
//!
//! Here the whole of it is run each time: the disk is looked at, judged, and written, as `prejoin flash` does. What a
//! disk may make of writes that were not flushed, and cuts within a cut, are the writer's own tests.

use std::collections::BTreeSet;

use prejoin_disk::guard::Guarded;
use prejoin_disk::judge::{Intent, Rules, judge};
use prejoin_disk::plan::{self, Wish};
use prejoin_disk::probe::probe;
use prejoin_disk::region::{self, Own};
use prejoin_disk::write::{Job, Options, Sizes, write};
use prejoin_wire::disk::{
    Code, Device, Extent, Facts, Mode, Origin, Report, Severity, VERSION, Verdict,
};

use super::world::{
    Disk, GIB, MIB, Node, SIZE, boot_record, divide, entry, ext4, found, guid, put, scatter, tables,
};
use crate::support::Op;

/// A command, and the disk that it is first given for.
struct Case {
    name: &'static str,
    node: Node,
    /// Bytes of the disk's sectors.
    sector_size: u32,
    /// The one asked for, or as the program chooses.
    mode: Option<Mode>,
    delete: Vec<String>,
    disk: Disk,
    /// Where not a byte may change.
    precious: Vec<Extent>,
    /// That the names were given is kept elsewhere, and the disk alone need not tell.
    is_remembered: bool,
}

impl Case {
    /// Looks at a disk and passes judgement.
    fn judge(
        &self,
        disk: &Disk,
        accepted: &BTreeSet<Code>,
        named_before: &BTreeSet<String>,
    ) -> Report {
        let content = probe(disk, SIZE, self.sector_size);
        let own = Own::of(&self.node.manifest, &self.node.handoff);
        let intent = Intent {
            wish: Wish {
                mode: self.mode.unwrap_or_else(|| own.mode(&content)),
                delete: self.delete.iter().cloned().collect(),
            },
            node: self.node.manifest.node.clone(),
            named_before: named_before.clone(),
            rules: Rules {
                accepted: accepted.clone(),
            },
            ..Intent::default()
        };
        let device = Device {
            path: "disk".into(),
            file: true,
            size: SIZE,
            sector_size: self.sector_size,
            ..Device::default()
        };
        let facts = Facts {
            version: VERSION,
            device,
            usage: Vec::new(),
            content,
        };
        judge(&facts, &intent, &self.node.image())
    }

    fn write(&self, disk: &Disk, report: &Report) {
        let plan = report.plan.as_ref().unwrap();
        let job = Job {
            plan,
            manifest: &self.node.manifest,
            chunks: &self.node.store,
            disk: &Guarded::new(disk, plan::writes(plan)),
            journal: None,
            options: Options {
                threads: 1,
                sizes: Sizes {
                    head: 64 << 10,
                    ..Sizes::default()
                },
                ..Options::default()
            },
            events: &|_| {},
        };
        write(&job).unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// Gives the command, cuts it everywhere, and gives it again each time.
    fn walk(&self) {
        let first = self.judge(&self.disk, &BTreeSet::new(), &BTreeSet::new());
        let name = self.name;
        assert_ne!(
            first.verdict,
            Verdict::Refuse,
            "{name}: {:#?}",
            first.findings
        );
        let asked = first.findings.iter();
        let asked = asked.filter(|finding| finding.severity == Severity::Confirm);
        let accepted: BTreeSet<Code> = asked.map(|finding| finding.code).collect();
        let whole = self.disk.clone();
        self.write(&whole, &first);
        self.check(&whole, &whole, &first, "written at once");

        let (mut seen, now, log) = (BTreeSet::new(), self.disk.clone(), whole.log());
        for (cut, op) in log.iter().enumerate() {
            let [half, rest] = [0, 1].map(|number| {
                let disk = now.clone();
                halves(op, self.sector_size)
                    .get(number)
                    .into_iter()
                    .for_each(|op| disk.apply(op));
                disk
            });
            now.apply(op);
            for (disk, how) in [
                (&half, "in the middle of"),
                (&rest, "with the second half of"),
                (&now, "after"),
            ] {
                if !seen.insert(disk.fingerprint()) {
                    continue;
                }
                let of = log.len();
                let what = format!("{how} operation {cut} of {of} ({})", describe(op));
                let again = self.judge(disk, &accepted, &self.remembered(disk, &whole));
                assert_eq!(
                    again.verdict,
                    Verdict::Ok,
                    "{name}, {what}: {:#?} {:#?}",
                    again.findings,
                    again.plan.map(|plan| (plan.before, plan.after))
                );
                let disk = disk.clone();
                self.write(&disk, &again);
                self.check(&disk, &whole, &first, &what);
            }
        }
        assert!(seen.len() > 10, "{name}: {} states", seen.len());
    }

    /// What has to be kept elsewhere of the names that were given: nothing, until the disk has a copy of its last table,
    /// which does not say that anything was deleted.
    fn remembered(&self, disk: &Disk, whole: &Disk) -> BTreeSet<String> {
        let (now, last) = (
            tables(disk, self.sector_size),
            tables(whole, self.sector_size),
        );
        let is_last = self.is_remembered || now.0 == last.0 || now.1 == last.1;
        self.delete.iter().filter(|_| is_last).cloned().collect()
    }

    /// That a disk is as one that was written without a cut.
    fn check(&self, disk: &Disk, whole: &Disk, first: &Report, what: &str) {
        let name = self.name;
        assert!(
            tables(disk, self.sector_size) == tables(whole, self.sector_size),
            "{name}, {what}: {:#?} instead of {:#?}",
            found(disk, self.sector_size),
            found(whole, self.sector_size)
        );
        let plan = first.plan.as_ref().unwrap();
        for extent in &plan.image_extents {
            assert!(disk.is_same(whole, *extent), "{name}, {what}: {extent:?}");
        }
        let kept = plan.kept.iter().map(|kept| kept.extent);
        for extent in kept.chain(self.precious.iter().copied()) {
            assert!(
                disk.is_same(&self.disk, extent),
                "{name}, {what}: {extent:?}"
            );
        }
        let made = plan.after.iter().filter(|e| e.origin == Origin::Node);
        for entry in made {
            let head = disk.bytes(Extent {
                start: entry.extent.start,
                length: MIB,
            });
            assert!(
                head.iter().all(|byte| *byte == 0),
                "{name}, {what}: {entry:?}"
            );
        }
    }
}

/// An operation cut in two, between sectors: a disk may do either half before the other.
fn halves(op: &Op, sector_size: u32) -> Vec<Op> {
    let sector = u64::from(sector_size);
    let half = |length: u64| length / (2 * sector) * sector;
    match op {
        Op::Write(at, bytes) => {
            let (first, second) = bytes.split_at(half(bytes.len() as u64) as usize);
            let second = Op::Write(at + first.len() as u64, second.to_vec());
            vec![Op::Write(*at, first.to_vec()), second]
        }
        Op::Zero(at, length) => {
            let first = half(*length);
            vec![Op::Zero(*at, first), Op::Zero(at + first, length - first)]
        }
        _ => Vec::new(),
    }
}

fn describe(op: &Op) -> String {
    match op {
        Op::Write(at, bytes) => format!("{} bytes at {at}", bytes.len()),
        Op::Zero(at, length) => format!("zeroes, {length} bytes at {at}"),
        other => format!("{other:?}"),
    }
}

fn at(start: u64, size: u64) -> Extent {
    Extent {
        start,
        length: size,
    }
}

/// Sectors that disks have.
const SECTORS: [u32; 2] = [512, 4096];

/// Puts somebody's system into a partition, with the UUID `them/<thing> file system`.
fn install(disk: &Disk, extent: Extent, thing: &str, seed: u64) {
    scatter(disk, extent, seed);
    let release = ("etc/os-release", "PRETTY_NAME=\"Debian GNU/Linux 12\"\n");
    let longhorn = ("longhorn-disk.cfg", "{\"diskUUID\":\"1\"}");
    let uuid = guid("them", &format!("{thing} file system"));
    put(
        disk,
        extent.start,
        &ext4(16 * MIB, uuid, &[release, longhorn]),
    );
}

/// Somebody's disk: a system in the way that goes, with file systems and remains all over where the node will be, and
/// a partition at the end that stays.
fn foreign(name: &'static str, sector_size: u32, node: &str, delete: &[&str]) -> Case {
    let disk = Disk::default();
    let (old, photos) = (at(MIB, 2 * GIB), at(2 * GIB + 16 * MIB, 64 * MIB));
    divide(
        &disk,
        guid("them", "disk"),
        sector_size,
        vec![
            entry(1, old.start, old.length, "root", guid("them", "root")),
            entry(
                2,
                photos.start,
                photos.length,
                "photos",
                guid("them", "photos"),
            ),
        ],
    );
    install(&disk, old, "root", 5);
    scatter(&disk, photos, 6);
    let files = ext4(
        16 * MIB,
        guid("them", "photos file system"),
        &[("a.jpg", "photo")],
    );
    put(&disk, photos.start, &files);
    Case {
        name,
        node: Node::new(node, "13", 0, sector_size),
        sector_size,
        mode: None,
        delete: delete.iter().map(|name| (*name).to_owned()).collect(),
        disk,
        precious: vec![photos],
        is_remembered: false,
    }
}

/// Where partitions are on a disk that is divided by an MBR: one, the extended one, and the two in that.
const OLD: [(&str, u64, u64); 4] = [
    ("root", MIB, GIB),
    ("extended", GIB + 16 * MIB, GIB),
    ("home", GIB + 17 * MIB, 200 * MIB),
    ("swap", GIB + 301 * MIB, 100 * MIB),
];

/// Somebody's disk of before GPT, of which all goes: what is in an MBR cannot be kept in another table.
fn divided_by_mbr(name: &'static str, sector_size: u32, delete: &[String]) -> Case {
    let disk = Disk::default();
    let sectors = |bytes: u64| bytes / u64::from(sector_size);
    let [root, extended, home, swap] = OLD.map(|(_, start, length)| at(start, length));
    let of = |kind, of: Extent, from: u64| (kind, sectors(of.start - from), sectors(of.length));
    for (thing, extent, seed) in [("root", root, 5), ("home", home, 6), ("swap", swap, 7)] {
        install(&disk, extent, thing, seed);
    }
    // Each boot record lies 1 MiB before its partition.
    let next = at(swap.start - MIB, swap.length + MIB);
    let first = [
        of(0x83, home, extended.start),
        of(0x05, next, extended.start),
    ];
    boot_record(&disk, extended.start, &first);
    boot_record(&disk, next.start, &[of(0x83, swap, next.start)]);
    boot_record(&disk, 0, &[of(0x83, root, 0), of(0x05, extended, 0)]);
    Case {
        name,
        node: Node::new("w1", "13", 0, sector_size),
        sector_size,
        mode: None,
        delete: delete.to_vec(),
        disk,
        precious: vec![],
        is_remembered: false,
    }
}

/// The node's own disk after some time, and a new version of its image; the roots are larger by some MiB.
fn own(name: &'static str, sector_size: u32, mode: Option<Mode>, delete: &[String]) -> Case {
    let blank = Case {
        name,
        node: Node::new("w1", "12", 0, sector_size),
        sector_size,
        mode: None,
        delete: vec![],
        disk: Disk::default(),
        precious: vec![],
        is_remembered: false,
    };
    let report = blank.judge(&blank.disk, &BTreeSet::new(), &BTreeSet::new());
    blank.write(&blank.disk, &report);
    let disk = blank.disk.clone();
    let extent = |name: &str| {
        let table = found(&disk, sector_size);
        let one = table.partitions.iter().find(|p| p.name == name).unwrap();
        at(one.start, one.size)
    };
    let (state, data) = (extent("state"), extent("data"));
    let var = ext4(32 * MIB, guid("w1", "state file system"), &[("log/x", "x")]);
    put(&disk, state.start, &var);
    // Without a signature: a raw volume.
    scatter(&disk, data, 9);
    Case {
        node: Node::new("w1", "13", 0, sector_size),
        mode,
        delete: delete.to_vec(),
        disk,
        precious: vec![data],
        is_remembered: false,
        ..blank
    }
}

#[test]
fn a_new_disk() {
    for sector_size in SECTORS {
        let case = Case {
            name: "a new disk",
            node: Node::new("w1", "13", 0, sector_size),
            sector_size,
            mode: None,
            delete: vec![],
            disk: Disk::default(),
            precious: vec![],
            is_remembered: false,
        };
        case.walk();
    }
}

#[test]
fn a_partition_named_by_its_guid() {
    let name = guid("them", "root").to_string();
    for sector_size in SECTORS {
        foreign("by GUID", sector_size, "w1", &[&name]).walk();
    }
}

#[test]
fn a_partition_named_by_the_uuid_of_its_file_system() {
    let name = guid("them", "root file system").to_string();
    for sector_size in SECTORS {
        foreign("by UUID", sector_size, "w1", &[&name]).walk();
    }
}

#[test]
fn a_partition_named_by_its_place() {
    for sector_size in SECTORS {
        foreign("by place", sector_size, "w1", &["@1048576"]).walk();
    }
}

#[test]
fn only_the_backup_copy_of_somebodys_table() {
    let name = guid("them", "root file system").to_string();
    for sector_size in SECTORS {
        let case = foreign("no primary copy", sector_size, "w1", &[&name]);
        let header = vec![0; sector_size as usize];
        put(&case.disk, sector_size.into(), &header);
        case.walk();
    }
}

#[test]
fn the_partitions_of_an_mbr_named_by_their_places() {
    let names = OLD.map(|(_, start, _)| format!("@{start}"));
    for sector_size in SECTORS {
        divided_by_mbr("an MBR, by places", sector_size, &names).walk();
    }
}

#[test]
fn the_partitions_of_an_mbr_named_by_the_uuids_of_their_file_systems() {
    let uuid = |thing| guid("them", &format!("{thing} file system")).to_string();
    let extended = format!("@{}", OLD[1].1);
    let names = [uuid("root"), uuid("home"), uuid("swap"), extended];
    for sector_size in SECTORS {
        divided_by_mbr("an MBR, by UUIDs", sector_size, &names).walk();
    }
}

#[test]
fn all_of_a_hybrid_table() {
    let names = ["root", "photos"].map(|thing| guid("them", thing).to_string());
    let names = names.each_ref().map(String::as_str);
    for sector_size in SECTORS {
        let mut case = foreign("a hybrid MBR", sector_size, "w1", &names);
        let sectors = |bytes: u64| bytes / u64::from(sector_size);
        let root = (0x83, sectors(MIB), sectors(2 * GIB));
        boot_record(&case.disk, 0, &[(0xee, 1, sectors(MIB) - 1), root]);
        case.precious.clear();
        case.walk();
    }
}

/// An image of a disc was on the disk, and left its descriptor between the partitions of somebody's table.
#[test]
fn what_describes_a_disk_that_is_divided() {
    for sector_size in SECTORS {
        let mut case = foreign(
            "a divided disk, by its first byte",
            sector_size,
            "w1",
            &["@0"],
        );
        let old = at(MIB, 2 * GIB);
        let photos = guid("them", "photos");
        let entry = entry(2, 2 * GIB + 16 * MIB, 64 * MIB, "photos", photos);
        divide(&case.disk, guid("them", "disk"), sector_size, vec![entry]);
        case.disk.apply(&Op::Zero(old.start, old.length));
        // A primary volume descriptor with blocks of 2048 bytes (ECMA-119, 8.4).
        let mut descriptor = [0; 2048];
        descriptor[..7].copy_from_slice(b"\x01CD001\x01");
        descriptor[128..132].copy_from_slice(&[0x00, 0x08, 0x08, 0x00]);
        put(&case.disk, 32 << 10, &descriptor);
        case.is_remembered = true;
        case.walk();
    }
}

/// Something that nothing knows is in a gap, from where the node's state will be, and is named by its first byte.
#[test]
fn what_is_unknown_in_a_gap() {
    for sector_size in SECTORS {
        let mut case = foreign("unknown data in a gap", sector_size, "w1", &[]);
        let photos = guid("them", "photos");
        let entry = entry(2, 2 * GIB + 16 * MIB, 64 * MIB, "photos", photos);
        divide(&case.disk, guid("them", "disk"), sector_size, vec![entry]);
        case.disk.apply(&Op::Zero(MIB, 2 * GIB));
        scatter(&case.disk, at(18 * MIB, GIB), 11);
        let content = probe(&case.disk, SIZE, sector_size);
        let unknown = region::nobodys(&content, SIZE).next().unwrap();
        case.delete = vec![format!("@{}", unknown.extent.start)];
        case.walk();
    }
}

#[test]
fn a_whole_disk_named_by_the_uuid_of_its_file_system_or_by_its_first_byte() {
    let uuid = guid("them", "disk file system");
    for (name, sector_size) in [uuid.to_string(), "@0".to_owned()].into_iter().zip(SECTORS) {
        let disk = Disk::default();
        scatter(&disk, at(0, SIZE), 3);
        put(&disk, 0, &ext4(256 * MIB, uuid, &[("a.jpg", "photo")]));
        let case = Case {
            name: "a whole disk",
            node: Node::new("w1", "13", 0, sector_size),
            sector_size,
            mode: None,
            delete: vec![name],
            disk,
            precious: vec![],
            is_remembered: false,
        };
        case.walk();
    }
}

#[test]
fn a_reimage() {
    for sector_size in SECTORS {
        own("reimage", sector_size, None, &[]).walk();
    }
}

/// A layout became smaller: what is left of the larger system is nobody's, and not in the way when it grows again.
#[test]
fn a_smaller_system_and_a_larger_one_again() {
    for sector_size in SECTORS {
        let mut case = Case {
            name: "three layouts",
            node: Node::new("w1", "12", 3, sector_size),
            sector_size,
            mode: None,
            delete: vec![],
            disk: Disk::default(),
            precious: vec![],
            is_remembered: false,
        };
        for (version, larger) in [("13", 0), ("14", 3)] {
            let report = case.judge(&case.disk, &BTreeSet::new(), &BTreeSet::new());
            case.write(&case.disk, &report);
            case.disk = case.disk.clone();
            case.node = Node::new("w1", version, larger, sector_size);
            case.walk();
        }
    }
}

#[test]
fn a_wiped_state() {
    for sector_size in SECTORS {
        own("wipe", sector_size, Some(Mode::ReimageWipeState), &[]).walk();
    }
}

#[test]
fn a_wiped_state_with_something_precious_that_was_named() {
    let uuid = guid("w1", "state file system");
    for (name, sector_size) in [guid("w1", "state"), uuid].into_iter().zip(SECTORS) {
        let mode = Some(Mode::ReimageWipeState);
        let case = own("etcd", sector_size, mode, &[name.to_string()]);
        let table = found(&case.disk, sector_size);
        let state = table.partitions.iter().find(|p| p.name == "state").unwrap();
        let files = [("lib/etcd/member/snap/db", "pages")];
        put(&case.disk, state.start, &ext4(32 * MIB, uuid, &files));
        case.walk();
    }
}

#[test]
fn the_nodes_own_state_named_for_deletion() {
    for (thing, sector_size) in ["state", "state file system"].into_iter().zip(SECTORS) {
        own(thing, sector_size, None, &[guid("w1", thing).to_string()]).walk();
    }
}

#[test]
fn another_nodes_disk() {
    let names = ["state", "data"].map(|thing| guid("w1", thing).to_string());
    for sector_size in SECTORS {
        let case = own("another node's", sector_size, None, &names);
        // Its partitions are not where the other one's were.
        let other = Case {
            node: Node::new("w2", "13", 2, sector_size),
            precious: vec![],
            is_remembered: false,
            ..case
        };
        other.walk();
    }
}
