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
use prejoin_disk::region::Own;
use prejoin_disk::write::{Job, Options, Sizes, write};
use prejoin_profiles::disk::{
    Code, Device, Extent, Facts, Mode, Origin, Report, Severity, VERSION, Verdict,
};

use super::world::{
    Disk, GIB, MIB, Node, SIZE, divide, entry, ext4, found, guid, put, scatter, tables,
};
use crate::support::Op;

/// A command, and the disk that it is first given for.
struct Case {
    name: &'static str,
    node: Node,
    /// The one asked for, or as the program chooses.
    mode: Option<Mode>,
    delete: Vec<String>,
    disk: Disk,
    /// Where not a byte may change.
    precious: Vec<Extent>,
}

impl Case {
    /// Looks at a disk and passes judgement.
    fn judge(&self, disk: &Disk, accepted: &BTreeSet<Code>) -> Report {
        let content = probe(disk, SIZE, 512);
        let own = Own::of(&self.node.manifest, &self.node.handoff);
        let intent = Intent {
            wish: Wish {
                mode: self.mode.unwrap_or_else(|| own.mode(&content)),
                delete: self.delete.iter().cloned().collect(),
            },
            node: self.node.manifest.node.clone(),
            rules: Rules {
                accepted: accepted.clone(),
            },
            ..Intent::default()
        };
        let device = Device {
            path: "disk".into(),
            file: true,
            size: SIZE,
            sector_size: 512,
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
        let first = self.judge(&self.disk, &BTreeSet::new());
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
                halves(op)
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
                let again = self.judge(disk, &accepted);
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

    /// That a disk is as one that was written without a cut.
    fn check(&self, disk: &Disk, whole: &Disk, first: &Report, what: &str) {
        let name = self.name;
        assert!(
            tables(disk) == tables(whole),
            "{name}, {what}: {:#?} instead of {:#?}",
            found(disk),
            found(whole)
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
fn halves(op: &Op) -> Vec<Op> {
    match op {
        Op::Write(at, bytes) => {
            let (first, second) = bytes.split_at(bytes.len() / 1024 * 512);
            let second = Op::Write(at + first.len() as u64, second.to_vec());
            vec![Op::Write(*at, first.to_vec()), second]
        }
        Op::Zero(at, length) => {
            let first = length / 1024 * 512;
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

/// Somebody's disk: a system in the way that goes, with file systems and remains all over where the node will be, and
/// a partition at the end that stays.
fn foreign(name: &'static str, node: &str, delete: &[&str]) -> Case {
    let disk = Disk::default();
    let (old, photos) = (at(MIB, 2 * GIB), at(2 * GIB + 16 * MIB, 64 * MIB));
    divide(
        &disk,
        guid("them", "disk"),
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
    scatter(&disk, old, 5);
    let release = ("etc/os-release", "PRETTY_NAME=\"Debian GNU/Linux 12\"\n");
    let longhorn = ("longhorn-disk.cfg", "{\"diskUUID\":\"1\"}");
    let root = ext4(
        16 * MIB,
        guid("them", "root file system"),
        &[release, longhorn],
    );
    put(&disk, old.start, &root);
    scatter(&disk, photos, 6);
    let files = ext4(
        16 * MIB,
        guid("them", "photos file system"),
        &[("a.jpg", "photo")],
    );
    put(&disk, photos.start, &files);
    Case {
        name,
        node: Node::new(node, "13", 0),
        mode: None,
        delete: delete.iter().map(|name| (*name).to_owned()).collect(),
        disk,
        precious: vec![photos],
    }
}

/// The node's own disk after some time, and a new version of its image; the roots are larger by some MiB.
fn own(name: &'static str, mode: Option<Mode>, delete: &[String]) -> Case {
    let blank = Case {
        name,
        node: Node::new("w1", "12", 0),
        mode: None,
        delete: vec![],
        disk: Disk::default(),
        precious: vec![],
    };
    let report = blank.judge(&blank.disk, &BTreeSet::new());
    blank.write(&blank.disk, &report);
    let disk = blank.disk.clone();
    let extent = |name: &str| {
        let table = found(&disk);
        let one = table.partitions.iter().find(|p| p.name == name).unwrap();
        at(one.start, one.size)
    };
    let (state, data) = (extent("state"), extent("data"));
    let var = ext4(32 * MIB, guid("w1", "state file system"), &[("log/x", "x")]);
    put(&disk, state.start, &var);
    // Without a signature: a raw volume.
    scatter(&disk, data, 9);
    Case {
        node: Node::new("w1", "13", 0),
        mode,
        delete: delete.to_vec(),
        disk,
        precious: vec![data],
        ..blank
    }
}

#[test]
fn a_new_disk() {
    let case = Case {
        name: "a new disk",
        node: Node::new("w1", "13", 0),
        mode: None,
        delete: vec![],
        disk: Disk::default(),
        precious: vec![],
    };
    case.walk();
}

#[test]
fn a_partition_named_by_its_guid() {
    let name = guid("them", "root").to_string();
    foreign("by GUID", "w1", &[&name]).walk();
}

#[test]
fn a_partition_named_by_the_uuid_of_its_file_system() {
    let name = guid("them", "root file system").to_string();
    foreign("by UUID", "w1", &[&name]).walk();
}

#[test]
fn a_partition_named_by_its_place() {
    foreign("by place", "w1", &["@1048576"]).walk();
}

#[test]
fn only_the_backup_copy_of_somebodys_table() {
    let name = guid("them", "root file system").to_string();
    let case = foreign("by UUID, the primary copy is gone", "w1", &[&name]);
    put(&case.disk, 512, &[0; 512]);
    case.walk();
}

#[test]
fn a_whole_disk_named_by_the_uuid_of_its_file_system() {
    let uuid = guid("them", "disk file system");
    let disk = Disk::default();
    scatter(&disk, at(0, SIZE), 3);
    put(&disk, 0, &ext4(256 * MIB, uuid, &[("a.jpg", "photo")]));
    let case = Case {
        name: "a whole disk",
        node: Node::new("w1", "13", 0),
        mode: None,
        delete: vec![uuid.to_string()],
        disk,
        precious: vec![],
    };
    case.walk();
}

#[test]
fn a_reimage() {
    own("reimage", None, &[]).walk();
}

#[test]
fn a_wiped_state() {
    own("wipe", Some(Mode::ReimageWipeState), &[]).walk();
}

#[test]
fn a_wiped_state_with_something_precious_that_was_named() {
    let uuid = guid("w1", "state file system");
    for name in [guid("w1", "state"), uuid] {
        let case = own("etcd", Some(Mode::ReimageWipeState), &[name.to_string()]);
        let table = found(&case.disk);
        let state = table.partitions.iter().find(|p| p.name == "state").unwrap();
        let files = [("lib/etcd/member/snap/db", "pages")];
        put(&case.disk, state.start, &ext4(32 * MIB, uuid, &files));
        case.walk();
    }
}

#[test]
fn the_nodes_own_state_named_for_deletion() {
    for thing in ["state", "state file system"] {
        own(thing, None, &[guid("w1", thing).to_string()]).walk();
    }
}

#[test]
fn another_nodes_disk() {
    let names = ["state", "data"].map(|thing| guid("w1", thing).to_string());
    let case = own("another node's", None, &names);
    // Its partitions are not where the other one's were.
    let other = Case {
        node: Node::new("w2", "13", 2),
        precious: vec![],
        ..case
    };
    other.walk();
}
