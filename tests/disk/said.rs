//! What the usual tools say of a disk, and what we say, line by line.

use std::fmt::Write;
use std::path::Path;

use prejoin_disk::judge::verdict;
use prejoin_wire::disk::{
    Code, Content, Extent, Facts, Finding, Place, Report, Scheme, Signature, Table,
};

use serde_json::{Value, json};

use crate::tools::{line, said, tool};

/// What the usual tools see.
#[derive(Debug)]
pub struct Tools {
    /// As golden text.
    pub text: String,
    /// blkid knows a partition table, of this kind.
    table: Option<String>,
    /// Partitions that sfdisk lists: start, size in bytes, and the kind of content that blkid finds there.
    partitions: Vec<(Extent, String)>,
    /// Places and kinds of signatures that wipefs lists on the whole disk.
    signatures: Vec<(u64, String)>,
}

impl Tools {
    /// Asks blkid, wipefs and sfdisk, and the others that are told.
    pub fn ask(disk: &Path, others: &[&str]) -> Self {
        let mut text = String::from("== blkid --probe\n");
        let whole = blkid(disk, None);
        let table = field(&whole, "PTTYPE");
        writeln!(text, "disk: {}", shown(&whole)).unwrap();
        let mut partitions = Vec::new();
        let (dump, complaints) = sfdisk(disk);
        for (index, (number, extent)) in dump.into_iter().enumerate() {
            if index == MOST {
                text.push_str("and so on\n");
                break;
            }
            let found = blkid(disk, Some(extent));
            writeln!(text, "{number} at {}: {}", place(&extent), shown(&found)).unwrap();
            partitions.push((extent, field(&found, "TYPE").unwrap_or_default()));
        }
        text.push_str("== wipefs\n");
        let mut signatures = Vec::new();
        let list = run(&mut line(
            "wipefs --noheadings --output OFFSET,TYPE,UUID,LABEL {}",
            &[disk],
        ));
        for found in list.lines() {
            let words: Vec<&str> = found.split_whitespace().collect();
            let offset = words
                .first()
                .and_then(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok());
            if let (Some(offset), Some(kind)) = (offset, words.get(1)) {
                signatures.push((offset, (*kind).to_owned()));
            }
            writeln!(text, "{}", words.join(" ")).unwrap();
        }
        if !complaints.is_empty() {
            write!(text, "== sfdisk\n{complaints}").unwrap();
        }
        for other in others {
            writeln!(text, "== {other}").unwrap();
            let answer = run(line(other, &[]).arg(disk));
            let lines = answer
                .lines()
                .map(str::trim_end)
                .filter(|line| !line.is_empty() && !NOISE.iter().any(|noise| line.contains(noise)));
            lines.for_each(|line| writeln!(text, "{line}").unwrap());
        }
        Tools {
            text,
            table,
            partitions,
            signatures,
        }
    }

    /// Whether they tell of a table.
    fn see_table(&self, table: &Table) -> bool {
        let kind = match table.scheme {
            Scheme::Gpt => "gpt",
            Scheme::ProtectiveMbr | Scheme::HybridMbr => return self.table.is_some(),
            Scheme::Mbr => "dos",
            Scheme::Apple => "mac",
            Scheme::Bsd => "bsd",
            Scheme::Sun => "sun",
            Scheme::Sgi => "sgi",
            Scheme::Ldm => return false,
        };
        table.place != Place::Stray && self.table.as_deref() == Some(kind)
    }

    /// Whether they tell of a signature: wipefs of its kind or place on the whole disk, blkid of its kind in a partition.
    fn see_signature(&self, signature: &Signature, size: u64) -> bool {
        if signature.of == Extent::between(0, size) {
            let magic = signature.magic;
            return self.signatures.iter().any(|(offset, kind)| {
                magic.covers(&Extent {
                    start: *offset,
                    length: 1,
                }) || !signature.copy && *kind == signature.kind
            });
        }
        let of =
            |(extent, kind): &(Extent, String)| *extent == signature.of && *kind == signature.kind;
        !signature.copy && self.partitions.iter().any(of)
    }
}

/// Partitions that are asked about, at most: sfdisk finds sixty where links run in a circle.
const MOST: usize = 12;

/// What pvck has to say of its caller.
const NOISE: [&str; 2] = ["leaked on", "non-root user"];

/// The fields that do not change from one release of util-linux to the next.
const FIELDS: [&str; 6] = ["PTTYPE", "PTUUID", "TYPE", "VERSION", "LABEL", "UUID"];

fn blkid(disk: &Path, extent: Option<Extent>) -> String {
    let mut command = tool("blkid");
    command.args(["--probe", "--output", "export"]);
    if let Some(extent) = extent {
        command.args([
            "--offset",
            &extent.start.to_string(),
            "--size",
            &extent.length.to_string(),
        ]);
    }
    let output = command.arg(disk).output().unwrap();
    match output.status.code() {
        Some(0) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Some(8) => "ambivalent: more than one, and so none".into(),
        _ => String::new(),
    }
}

fn field(export: &str, name: &str) -> Option<String> {
    export
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .map(|value| value.replace('\\', ""))
}

fn shown(export: &str) -> String {
    if export.is_empty() {
        return "nothing".into();
    }
    let fields = FIELDS
        .iter()
        .filter_map(|name| field(export, name).map(|value| format!("{name}={value}")));
    let fields: Vec<String> = fields.collect();
    if fields.is_empty() {
        export.to_owned()
    } else {
        fields.join(" ")
    }
}

/// Number and extent of each partition, and what sfdisk complains of.
fn sfdisk(disk: &Path) -> (Vec<(u32, Extent)>, String) {
    let output = line("sfdisk --dump {}", &[disk]).output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    let name = disk.display().to_string();
    let mut partitions = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some((number, rest)) = line
            .strip_prefix(&name)
            .and_then(|line| line.split_once(':'))
        else {
            continue;
        };
        let value = |key: &str| {
            let value = rest
                .split(',')
                .find_map(|field| field.trim().strip_prefix(key)?.strip_prefix('='));
            value.map(|value| value.trim().parse::<u64>().unwrap() * 512)
        };
        let number = number.trim().trim_start_matches('p').parse().unwrap();
        let extent = Extent {
            start: value("start").unwrap(),
            length: value("size").unwrap(),
        };
        if extent.length > 0 {
            partitions.push((number, extent));
        }
    }
    (partitions, complaints)
}

fn run(command: &mut std::process::Command) -> String {
    said(
        &command
            .output()
            .unwrap_or_else(|error| panic!("{command:?}: {error}")),
    )
}

/// What the prober found, one line for each thing; `+` marks what the usual tools do not tell of.
pub fn content(facts: &Facts, tools: &Tools) -> String {
    let (content, size) = (&facts.content, facts.device.size);
    let mut text = String::from("== prober\n");
    let mut add = |seen: bool, what: String| {
        let mark = if seen { ' ' } else { '+' };
        writeln!(text, "{mark} {what}").unwrap();
    };
    for found in &content.tables {
        add(tools.see_table(found), table(found));
        for partition in &found.partitions {
            let cover = partition.type_id == "ee";
            let seen = cover
                || tools
                    .partitions
                    .iter()
                    .any(|(extent, _)| *extent == partition.extent);
            let mut names = format!("{} {}", partition.type_id, partition.guid)
                .trim_end()
                .to_owned();
            if !partition.name.is_empty() {
                write!(names, " \"{}\"", partition.name).unwrap();
            }
            if partition.attributes != 0 {
                write!(names, " attributes {:#x}", partition.attributes).unwrap();
            }
            add(
                seen,
                format!(
                    "  {} at {} {names}",
                    partition.number,
                    place(&partition.extent)
                ),
            );
        }
    }
    for found in &content.signatures {
        add(tools.see_signature(found, size), signature(found, size));
    }
    for found in &content.inside {
        let mut what = format!("inside {}: {} {}", place(&found.of), found.kind, found.path);
        if !found.detail.is_empty() {
            write!(what, " ({})", found.detail.join(", ")).unwrap();
        }
        add(true, what);
    }
    for (found, what) in blankness(content) {
        add(true, format!("{} {what}", place(&found)));
    }
    for found in &content.unreadable {
        add(
            true,
            format!("unreadable {}: {}", place(&found.extent), found.error),
        );
    }
    text
}

fn table(table: &Table) -> String {
    let mut text = format!(
        "table {} {} at {:#x}, sectors of {}",
        word(json!(table.scheme)),
        word(json!(table.place)),
        table.offset,
        table.sector_size
    );
    if let Some(id) = &table.id {
        write!(text, ", {id}").unwrap();
    }
    if !table.valid {
        text.push_str(", not valid");
    }
    table
        .problems
        .iter()
        .for_each(|problem| write!(text, "; {problem}").unwrap());
    text
}

fn signature(signature: &Signature, size: u64) -> String {
    let copy = if signature.copy { " copy" } else { "" };
    let mut text = format!(
        "signature {} at {:#x}{copy}",
        signature.kind, signature.magic.start
    );
    if signature.of != Extent::between(0, size) {
        write!(text, " of {}", place(&signature.of)).unwrap();
    }
    for (name, value) in [
        ("version", &signature.version),
        ("label", &signature.label),
        ("uuid", &signature.uuid),
    ] {
        if let Some(value) = value {
            write!(text, ", {name} {value}").unwrap();
        }
    }
    write!(text, ", header {}", place(&signature.header)).unwrap();
    text
}

fn blankness(content: &Content) -> Vec<(Extent, String)> {
    let words = |first: Option<u64>| match first {
        Some(first) => format!("holds something from {first:#x} on"),
        None => "is blank".to_owned(),
    };
    content
        .blankness
        .iter()
        .map(|found| (found.of, words(found.first)))
        .collect()
}

/// First byte and length, in the largest unit that has no remainder.
fn place(extent: &Extent) -> String {
    let length = match extent.length {
        n if n > 0 && n.is_multiple_of(1 << 30) => format!("{}G", n >> 30),
        n if n > 0 && n.is_multiple_of(1 << 20) => format!("{}M", n >> 20),
        n if n > 0 && n.is_multiple_of(1 << 10) => format!("{}K", n >> 10),
        n => n.to_string(),
    };
    format!("{:#x}+{length}", extent.start)
}

/// What a report says besides that nothing of the node is on the disk, which is so of nearly all of the gallery.
pub fn besides(report: &Report) -> Report {
    let findings: Vec<Finding> = report
        .findings
        .iter()
        .filter(|finding| finding.code != Code::LyNotOurs)
        .cloned()
        .collect();
    Report {
        verdict: verdict(&findings),
        findings,
        ..report.clone()
    }
}

/// Both verdicts with their reasons.
pub fn verdicts(install: &Report, reimage: &Report) -> String {
    let others = besides(reimage);
    let (first, second) = (reasons(install), reasons(&others));
    let mut text = format!(
        "== install worker9: {}\n{first}",
        word(json!(install.verdict))
    );
    write!(text, "== reimage worker1: {}", word(json!(reimage.verdict))).unwrap();
    if others != *reimage {
        write!(
            text,
            ", {}; besides: {}",
            Code::LyNotOurs,
            word(json!(others.verdict))
        )
        .unwrap();
    }
    text.push('\n');
    text.push_str(if first == second {
        "for the same reasons\n"
    } else {
        &second
    });
    text
}

fn word(value: Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn reasons(report: &Report) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        writeln!(
            text,
            "{} {} {}: {}",
            word(json!(finding.severity)),
            finding.code,
            finding.subject,
            finding.evidence
        )
        .unwrap();
        if let Some(advice) = &finding.advice {
            writeln!(text, "    {advice}").unwrap();
        }
    }
    for clear in report.plan.iter().flat_map(|plan| &plan.clear) {
        writeln!(text, "clear {}: {}", place(&clear.extent), clear.why).unwrap();
    }
    text
}
