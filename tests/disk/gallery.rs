//! The gallery is looked at once; then every test reads from what was seen.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::OnceLock;

use prejoin_disk::device::ReadAt;
use prejoin_disk::judge::{Intent, judge};
use prejoin_disk::plan::{Image, Wish};
use prejoin_disk::probe::probe;
use prejoin_wire::disk::{
    Code, Content, Device, Extent, Facts, Mode, Partition, Report, Severity, VERSION, Verdict,
};

use crate::case::{Case, Made};
use crate::cases::all;
use crate::node::Node;
use crate::said::{Tools, besides, content, verdicts};
use crate::tools::{absent, checked, golden, line, skipped, tool};

/// What every recipe needs, and who is asked about every disk.
const TOOLS: &str =
    "blkid wipefs sfdisk fdisk sgdisk python3 mke2fs mkfs.xfs mkfs.vfat mcopy mkfs.ntfs ntfslabel cryptsetup
    veritysetup mkswap mkfs.btrfs mdadm pvck";

/// What single recipes need; no release of Debian has all of these for ever.
const SPECIAL: &str =
    "parted mkfs.f2fs mkfs.exfat tune.exfat mkudffs mkapfs jfs_mkfs jfs_tune mkfs.reiserfs mkfs.nilfs2
    mkfs.ocfs2 mkfs.gfs2 mksquashfs mkfs.erofs mkfs.cramfs xorriso make-bcache";

/// The release of util-linux whose words are in the golden text.
const UTIL_LINUX: &str = "2.38";

/// A disk as everybody sees it.
struct Seen {
    case: Case,
    made: Made,
    text: String,
    facts: Facts,
    install: Report,
    reimage: Report,
}

/// The whole gallery; none where tools are missing.
fn gallery() -> Option<&'static [Seen]> {
    static GALLERY: OnceLock<Option<Vec<Seen>>> = OnceLock::new();
    let look = || {
        if absent(&TOOLS.split_whitespace().collect::<Vec<_>>()) {
            return None;
        }
        // All that cannot be made are told of, not only the first.
        let seen: Vec<_> = all()
            .into_iter()
            .filter(possible)
            .map(|case| catch_unwind(AssertUnwindSafe(|| see(case))))
            .collect();
        assert!(
            seen.iter().all(Result::is_ok),
            "disks that cannot be made or looked at are named above"
        );
        Some(seen.into_iter().flatten().collect())
    };
    GALLERY.get_or_init(look).as_deref()
}

fn possible(case: &Case) -> bool {
    let needed: Vec<&str> = SPECIAL
        .split_whitespace()
        .filter(|tool| case.recipe.contains(tool))
        .collect();
    !absent(&needed)
}

fn see(case: Case) -> Seen {
    let made = case.made();
    let file = File::open(&made.disk).unwrap();
    let size = file.metadata().unwrap().len();
    let path = made.disk.display().to_string();
    let facts = facts(&path, size, probe(&Plain(&file), size, 0));
    let (install, reimage) = (
        verdict(&facts, &Node::new("worker9"), Mode::Install),
        again(&case, &facts),
    );
    let tools = Tools::ask(&made.disk, case.asked);
    let mut text = format!(
        "# {}\n{}{}",
        case.about,
        tools.text,
        content(&facts, &tools)
    );
    text.push_str(&verdicts(&install, &reimage));
    let text = made.masked(&text);
    Seen {
        case,
        made,
        text,
        facts,
        install,
        reimage,
    }
}

fn again(case: &Case, facts: &Facts) -> Report {
    verdict(facts, &own(case), Mode::Reimage)
}

/// Worker1 as it is on this disk.
fn own(case: &Case) -> Node {
    let node = Node::new("worker1");
    match case.name.starts_with("ours-data") {
        true => node.with_data(),
        false => node,
    }
}

fn facts(path: &str, size: u64, content: Content) -> Facts {
    let device = Device {
        path: path.into(),
        file: true,
        size,
        ..Device::default()
    };
    Facts {
        version: VERSION,
        device,
        usage: Vec::new(),
        content,
    }
}

fn verdict(facts: &Facts, node: &Node, mode: Mode) -> Report {
    let wish = Wish {
        mode,
        ..Wish::default()
    };
    wished(facts, node, wish)
}

fn wished(facts: &Facts, node: &Node, wish: Wish) -> Report {
    let digest = prejoin_wire::digest::Digest::of(node.manifest.to_json().as_bytes());
    let image = Image {
        manifest: &node.manifest,
        digest,
        table: &node.table,
        handoff: &node.handoff,
    };
    judge(
        facts,
        &Intent {
            wish,
            node: node.manifest.node.clone(),
            ..Intent::default()
        },
        &image,
    )
}

struct Plain<'a>(&'a File);

impl ReadAt for Plain<'_> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
}

#[test]
fn every_disk_is_what_its_golden_text_says() {
    let Some(gallery) = gallery() else { return };
    let same = checked(&mut line("blkid --version", &[])).contains(UTIL_LINUX);
    if !same {
        skipped(&format!(
            "what util-linux {UTIL_LINUX} says of the gallery: this machine has another release"
        ));
    }
    let compare = |seen: &Seen| {
        let name = format!("disk/golden/{}.txt", seen.case.name);
        if same {
            return golden(&name, &seen.text);
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests")
            .join(name);
        assert_eq!(ours(&seen.text), ours(&fs::read_to_string(path).unwrap()));
    };
    let differs = |seen: &&Seen| catch_unwind(AssertUnwindSafe(|| compare(seen))).is_err();
    let different: Vec<&str> = gallery
        .iter()
        .filter(differs)
        .map(|seen| seen.case.name)
        .collect();
    assert!(
        different.is_empty(),
        "these differ from their golden text: {different:?}"
    );
}

/// What we say, without the marks of what others do not.
fn ours(text: &str) -> String {
    text.split_once("== prober\n")
        .unwrap()
        .1
        .replace("\n+ ", "\n  ")
}

#[test]
fn it_is_a_gallery() {
    let cases = all();
    assert!(cases.len() >= 60, "{}", cases.len());
    let mut names: Vec<&str> = cases.iter().map(|case| case.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), cases.len(), "a name is used twice");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/disk/golden");
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(
            names.contains(&name.trim_end_matches(".txt")),
            "{name} belongs to no case"
        );
    }
}

/// Disks over which a new node is still put without a question: holes to be closed, and then taken from this list.
const OPEN: [&str; 0] = [];

/// The one that matters most, and that no golden text can bless away.
#[test]
fn nothing_is_ok_over_live_data() {
    let Some(gallery) = gallery() else { return };
    let mut wrong = Vec::new();
    for seen in gallery {
        let name = seen.case.name;
        let reimage = besides(&seen.reimage);
        let is_ours = reimage == seen.reimage;
        if is_ours != name.starts_with("ours") {
            wrong.push(format!("{name}: taken for worker1's: {is_ours}"));
        }
        // Every disk has room: what is refused is refused for what is on it.
        let small = |report: &Report| {
            report
                .findings
                .iter()
                .any(|finding| finding.code == Code::DvTooSmall)
        };
        if small(&seen.install) || small(&reimage) {
            wrong.push(format!("{name} is too small to tell anything"));
        }
        match (seen.case.live, seen.install.verdict) {
            (true, Verdict::Ok) if OPEN.contains(&name) => continue,
            (true, Verdict::Ok) if seen.case.beside && everything_stays(seen) => {}
            (true, Verdict::Ok) => wrong.push(format!(
                "{name}: a new node is put over it without a question"
            )),
            (true, _) if OPEN.contains(&name) => {
                wrong.push(format!("{name} is closed: take it from the list"))
            }
            (false, Verdict::Refuse) => {
                wrong.push(format!("{name}: refused, and nobody would miss it"))
            }
            _ => {}
        }
        // Imaging worker1 again needs no question on worker1's disk alone, and nowhere meets what is kept.
        if reimage.verdict == Verdict::Ok
            && seen.case.live
            && !name.starts_with("ours")
            && !seen.case.beside
        {
            wrong.push(format!("{name}: worker1 is put over it without a question"));
        }
        for report in [&seen.install, &reimage]
            .into_iter()
            .filter(|report| report.verdict != Verdict::Refuse)
        {
            let plan = report.plan.as_ref().unwrap();
            let writes = prejoin_disk::plan::writes(plan);
            let met = plan
                .kept
                .iter()
                .filter(|kept| writes.iter().any(|write| write.meets(&kept.extent)));
            wrong.extend(met.map(|kept| format!("{name}: {kept:?} is kept, and would be written")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A node's state goes by one question if only the node's own software wrote into it; all else there is refused, and
/// told by its folder.
#[test]
fn a_state_goes_only_with_what_its_node_makes() {
    let Some(gallery) = gallery() else { return };
    for (name, folders) in [
        ("ours", &[][..]),
        ("ours-started", &[]),
        ("ours-primary-lost", &[]),
        ("ours-data", &[]),
        ("ours-longhorn", &["/var/lib/longhorn"]),
        ("ours-etcd", &["/var/lib/etcd/member"]),
        (
            "ours-workloads",
            &[
                "/var/lib/rook",
                "/var/lib/docker",
                "/home/me/photos",
                "/var/lib/kubelet/pods/0a1b/volumes/kubernetes.io~local-volume",
            ],
        ),
    ] {
        let seen = gallery.iter().find(|seen| seen.case.name == name).unwrap();
        let node = match name {
            "ours-data" => Node::new("worker1").with_data(),
            _ => Node::new("worker1"),
        };
        let report = verdict(&seen.facts, &node, Mode::ReimageWipeState);
        let of = |severity| {
            let found = report
                .findings
                .iter()
                .filter(move |f| f.severity == severity);
            found.map(|finding| (finding.code, finding.evidence.as_str()))
        };
        let asked: Vec<Code> = of(Severity::Confirm).map(|(code, _)| code).collect();
        assert_eq!(asked, [Code::DtState], "{name}: {:#?}", report.findings);
        let refused: Vec<(Code, &str)> = of(Severity::Refuse).collect();
        assert_eq!(
            refused.len(),
            usize::from(!folders.is_empty()),
            "{name}: {refused:?}"
        );
        for (code, evidence) in refused {
            assert_eq!(code, Code::DtNested, "{name}: {evidence}");
            assert!(
                folders.iter().all(|folder| evidence.contains(folder)),
                "{name}: {evidence}"
            );
            assert!(!evidence.contains("empty-dir"), "{name}: {evidence}");
        }
    }
}

/// Whether the plan keeps every partition that is there.
fn everything_stays(seen: &Seen) -> bool {
    let plan = seen.install.plan.as_ref().unwrap();
    let stays =
        |partition: &Partition| plan.kept.iter().any(|kept| kept.extent == partition.extent);
    let partitions = seen.facts.content.partitions();
    !partitions.is_empty() && partitions.iter().all(stays)
}

#[test]
fn we_see_what_others_do_not() {
    let Some(gallery) = gallery() else { return };
    let mut missing = Vec::new();
    for seen in gallery
        .iter()
        .filter(|seen| !OPEN.contains(&seen.case.name))
    {
        for line in seen.case.unseen {
            if !seen
                .text
                .lines()
                .any(|found| found.starts_with(&format!("+ {line}")))
            {
                missing.push(format!("{}: no line `+ {line}`", seen.case.name));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    let cases = gallery
        .iter()
        .filter(|seen| !seen.case.unseen.is_empty())
        .count();
    assert!(cases >= 20, "only {cases} disks of which others see less");
}

/// What a disk cannot read is refused, wherever it is, and is never taken for empty.
#[test]
fn unreadable_is_not_empty() {
    struct Bad<'a>(&'a File, Extent);
    impl ReadAt for Bad<'_> {
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
            match self.1.meets(&Extent {
                start: offset,
                length: buffer.len() as u64,
            }) {
                true => Err(io::Error::from_raw_os_error(5)),
                false => self.0.read_exact_at(buffer, offset),
            }
        }
    }
    let Some(gallery) = gallery() else { return };
    for name in ["blank", "ours", "gpt", "spdk", "bluestore-3", "longhorn"] {
        let seen = gallery.iter().find(|seen| seen.case.name == name).unwrap();
        let (file, size) = (File::open(&seen.made.disk).unwrap(), seen.facts.device.size);
        let places = [
            (0, 4096),
            (0, size),
            (512, 512),
            (size - 4096, 4096),
            (1 << 20, 1 << 20),
        ];
        for (start, length) in places {
            let bad = Extent { start, length };
            let facts = facts("disk", size, probe(&Bad(&file, bad), size, 0));
            assert!(
                facts
                    .content
                    .unreadable
                    .iter()
                    .any(|found| found.extent.meets(&bad)),
                "{name} {bad:?}"
            );
            for (node, mode) in [("worker9", Mode::Install), ("worker1", Mode::Reimage)] {
                let report = verdict(&facts, &Node::new(node), mode);
                let told = |f: &prejoin_wire::disk::Finding| {
                    f.code == Code::DvIoError && f.severity == Severity::Refuse
                };
                assert!(
                    report.findings.iter().any(told),
                    "{name} {bad:?}: {:?}",
                    report.findings
                );
                assert_eq!(report.verdict, Verdict::Refuse, "{name} {bad:?}");
            }
        }
    }
}

/// What nobody lists any more is refused; the advice puts it back, or names it, and does either in one go.
#[test]
fn what_was_lost_is_put_back_or_named() {
    let Some(gallery) = gallery() else { return };
    let mut names = Vec::new();
    for seen in gallery {
        let (node, mode) = match seen.case.name.starts_with("ours") {
            true => (own(&seen.case), Mode::Reimage),
            false => (Node::new("worker9"), Mode::Install),
        };
        let report = match mode {
            Mode::Install => &seen.install,
            _ => &seen.reimage,
        };
        let lost: Vec<&str> = report
            .findings
            .iter()
            .filter(|one| one.code == Code::DtLost && one.severity == Severity::Refuse)
            .map(|one| one.advice.as_deref().unwrap())
            .collect();
        if lost.is_empty() {
            continue;
        }
        names.push(seen.case.name);
        let whole = Extent::between(0, seen.facts.device.size);
        let found = seen
            .facts
            .content
            .signatures
            .iter()
            .filter(|one| one.of != whole);
        let found: Vec<Extent> = found.map(|one| one.magic).collect();

        let deleted = lost
            .iter()
            .map(|advice| advice.rsplit_once("--delete ").unwrap().1);
        let wish = Wish {
            mode,
            delete: deleted.map(str::to_owned).collect(),
        };
        let released = wished(&seen.facts, &node, wish);
        let left = released
            .findings
            .iter()
            .find(|one| one.code == Code::DtLost);
        assert_eq!(left, None, "{}", seen.case.name);
        assert_ne!(released.verdict, Verdict::Refuse, "{}", seen.case.name);
        let cleared = prejoin_disk::plan::writes(released.plan.as_ref().unwrap());
        let gone = |magic: &Extent| cleared.iter().any(|clear| clear.covers(magic));
        assert!(found.iter().any(gone), "{}", seen.case.name);

        let copy = seen.made.disk.with_extension("copy");
        checked(&mut line(
            "cp --sparse=always {} {}",
            &[&seen.made.disk, &copy],
        ));
        for advice in lost {
            let command = advice.strip_prefix("to put its entry back: ").unwrap();
            let command = command.split_once("; ").unwrap().0;
            let disk = seen.made.disk.display().to_string();
            let command = command.replace(&disk, &copy.display().to_string());
            checked(tool("sh").args(["-c", &format!("PATH=/usr/sbin:/sbin:$PATH; {command}")]));
        }
        let file = File::open(&copy).unwrap();
        let size = file.metadata().unwrap().len();
        let facts = facts("disk", size, probe(&Plain(&file), size, 0));
        let report = verdict(&facts, &node, mode);
        fs::remove_file(copy).unwrap();
        let code = |one: &&prejoin_wire::disk::Finding| one.code == Code::DtLost;
        assert_eq!(
            report.findings.iter().find(code),
            None,
            "{}",
            seen.case.name
        );
        let kept = report.plan.unwrap().kept;
        let kept = |magic: &Extent| kept.iter().any(|kept| kept.extent.covers(magic));
        let ours = |magic: &Extent| magic.end() <= node.manifest.size;
        let stay = found
            .iter()
            .all(|magic| mode == Mode::Reimage && ours(magic) || kept(magic));
        assert!(stay, "{}", seen.case.name);
    }
    assert_eq!(
        names,
        [
            "lost-xfs",
            "lost-two",
            "lost-luks",
            "ours-state-lost",
            "ours-state-lost-damaged",
            "ours-data-lost"
        ]
    );
}
