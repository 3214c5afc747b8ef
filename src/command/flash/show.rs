//! What a verdict, a plan and an outcome look like.

use prejoin_disk::plan;
use prejoin_disk::session::Judged;
use prejoin_disk::write::Written;
use prejoin_wire::disk::{Entry, Finding, Mode, Origin, Plan, Report, Severity, Verdict};

use super::carry::Outcome;
use super::last;
use crate::picture::{self, printable};
use crate::report::{size, table};
use crate::terminal;

/// Everything about one target.
pub(crate) fn case(case: &Judged, width: usize, colour: bool) -> String {
    let report: Report = printable(case.report());
    let device = printable(&case.facts().device);
    let mut text = format!(
        "{}\nThis is: {}\n",
        device.title(),
        picture::sentence(&device, &printable(&case.facts().content))
    );
    text.push_str(&picture::line(&report.regions, width, colour));
    text.push_str(&judged(&report, colour));
    if let Some(plan) = &report.plan {
        text.push_str(&self::plan(plan));
    }
    if let Some(token) = &report.token {
        text.push_str(&format!("\nToken: {token}\n"));
    }
    text
}

/// The verdict and its reasons alone.
pub(crate) fn judgement(report: &Report, colour: bool) -> String {
    judged(&printable(report), colour)
}

/// The same of what is printable already.
fn judged(report: &Report, colour: bool) -> String {
    let mut text = format!(
        "\nVerdict on writing node {}: {}\n",
        report.node,
        verdict(report.verdict, colour)
    );
    for finding in &report.findings {
        text.push_str(&self::finding(finding, colour));
    }
    text
}

fn verdict(verdict: Verdict, colour: bool) -> String {
    let (text, paint) = match verdict {
        Verdict::Ok => ("ok", "1;32"),
        Verdict::NeedsConfirmation => ("needs confirmation", "1;33"),
        Verdict::Refuse => ("refused", "1;31"),
    };
    painted(text, paint, colour)
}

fn painted(text: &str, paint: &str, colour: bool) -> String {
    if colour {
        terminal::paint(text, paint)
    } else {
        text.to_owned()
    }
}

/// `  refuse   DT-TOUCH  partition 3 "data": bytes … would be overwritten`, and what to do about it below.
fn finding(finding: &Finding, colour: bool) -> String {
    let (name, paint) = match finding.severity {
        Severity::Refuse => ("refuse ", "31"),
        Severity::Confirm => ("confirm", "33"),
        Severity::Info => ("info   ", "36"),
    };
    let Finding {
        code,
        subject,
        evidence,
        ..
    } = finding;
    let mut text = format!(
        "  {}  {:<18} {subject}: {evidence}\n",
        painted(name, paint, colour),
        code.name()
    );
    if let Some(advice) = &finding.advice {
        text.push_str(&format!("           {:<18} -> {advice}\n", ""));
    }
    text
}

fn plan(plan: &Plan) -> String {
    let mode = match plan.mode {
        Mode::Install => "install",
        Mode::Reimage => "reimage: the node's state and data stay",
        Mode::ReimageWipeState => "reimage: the node's state goes, its data stays",
    };
    let mut text = format!("\nPlan: {mode}\n");
    text.push_str(&entries("Before", &plan.before, plan));
    text.push_str(&entries("After", &plan.after, plan));
    text.push_str("\nWritten, and nothing else\n");
    let mut rows = vec![
        ["first byte", "end", "size", "what"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut extents: Vec<_> = plan
        .table_extents
        .iter()
        .map(|extent| (*extent, "partition table".to_owned()))
        .collect();
    extents.extend(
        plan.image_extents
            .iter()
            .map(|extent| (*extent, "image".to_owned())),
    );
    extents.extend(
        plan.clear
            .iter()
            .map(|clear| (clear.extent, format!("zeroes: {}", clear.why))),
    );
    extents.sort();
    for (extent, what) in extents {
        rows.push(vec![
            extent.start.to_string(),
            extent.end().to_string(),
            size(extent.length),
            what,
        ]);
    }
    text.push_str(&indented(&table(&rows)));
    let sum = plan::writes(plan).iter().map(|extent| extent.length).sum();
    text.push_str(&format!("  {} in all\n", size(sum)));
    if !plan.kept.is_empty() {
        text.push_str("\nKept, to the bit\n");
        for kept in &plan.kept {
            let what = if kept.what.is_empty() {
                "nothing that is known"
            } else {
                &kept.what
            };
            let (start, end) = (kept.extent.start, kept.extent.end());
            let mut before = plan.before.iter();
            let was = before.find(|entry| entry.extent == kept.extent && entry.guid != kept.guid);
            let was = was.map_or(String::new(), |was| format!(", until now {}", was.guid));
            text.push_str(&format!(
                "  partition {} \"{}\" ({}{was}), bytes {start} to {end}: {what}\n",
                kept.number, kept.name, kept.guid
            ));
        }
    }
    text
}

fn entries(name: &str, entries: &[Entry], plan: &Plan) -> String {
    let stays = |entry: &Entry| plan.kept.iter().any(|kept| kept.extent == entry.extent);
    if entries.is_empty() {
        return format!("\n{name}: no partitions\n");
    }
    let mut rows = vec![
        ["no.", "name", "first byte", "size", "PARTUUID", "becomes"]
            .map(str::to_owned)
            .to_vec(),
    ];
    if name == "After" {
        rows[0][5] = "from".into();
    }
    for entry in entries {
        let origin = match entry.origin {
            Origin::Image => "the image",
            Origin::Node => "the node, empty",
            Origin::Kept if !stays(entry) => "emptied",
            Origin::Kept if name == "After" => "the disk",
            Origin::Kept => "kept",
            Origin::Replaced => "replaced",
            Origin::Deleted => "deleted",
        };
        rows.push(vec![
            entry.number.to_string(),
            entry.name.clone(),
            entry.extent.start.to_string(),
            picture::amount(entry.extent.length),
            entry.guid.clone(),
            origin.to_owned(),
        ]);
    }
    format!("\n{name}\n{}", indented(&table(&rows)))
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

/// What came of all targets.
pub(crate) fn outcomes(outcomes: &[Outcome]) -> String {
    outcomes.iter().map(outcome).collect::<Vec<_>>().join("\n")
}

/// Whether nothing had to be written.
fn is_idle(written: &Written) -> bool {
    [
        written.written,
        written.zeroed,
        written.cleared,
        written.tables,
    ] == [0; 4]
}

fn outcome(outcome: &Outcome) -> String {
    let mut text = match (&outcome.written, &outcome.failure) {
        (Some(written), _) if is_idle(written) => {
            format!(
                "{} holds the image of node {} already: nothing was written\n",
                outcome.path, outcome.node
            )
        }
        (Some(_), _) => format!(
            "{} is written: node {} starts from it\n",
            outcome.path, outcome.node
        ),
        (None, Some(_)) => format!("{} is not written to its end\n", outcome.path),
        (None, None) => String::new(),
    };
    if !outcome.phases.is_empty() {
        let mut rows = vec![["phase", "amount", "time"].map(str::to_owned).to_vec()];
        for phase in &outcome.phases {
            rows.push(vec![
                phase.phase.to_string(),
                size(phase.bytes),
                format!("{:.1} s", phase.seconds),
            ]);
        }
        text.push_str(&indented(&table(&rows)));
    }
    if let Some(written) = &outcome.written {
        let amounts = [
            ("written", written.written),
            ("made zero", written.zeroed + written.cleared),
            ("found equal", written.equal),
            ("there from an earlier run", written.resumed),
            ("read back", written.verified),
        ];
        let amounts: Vec<String> = amounts
            .iter()
            .filter(|(_, bytes)| *bytes > 0)
            .map(|(name, bytes)| format!("{} {name}", size(*bytes)))
            .collect();
        text.push_str(&format!("  {}\n", amounts.join(", ")));
        if written.repairs > 0 {
            text.push_str(&format!(
                "  {} pieces read back wrongly and were written anew\n",
                written.repairs
            ));
        }
        for proof in &written.kept {
            let partition = &proof.partition;
            text.push_str(&format!(
                "  kept: partition {} \"{}\", fingerprint {} before and {} after\n",
                partition.number,
                picture::printable(&partition.name),
                proof.before,
                proof.after
            ));
        }
    }
    if let Some(kernel) = &outcome.kernel {
        text.push_str(&format!("  {kernel}\n"));
    }
    if let (Some(saved), false) = (
        &outcome.saved,
        outcome.written.as_ref().is_some_and(is_idle),
    ) {
        let disk = &outcome.path;
        text.push_str(&format!(
            "  the old tables are in {}; to put them back:\n",
            last(&saved.display().to_string())
        ));
        text.push_str(&format!(
            "    prejoin disk restore {} {disk}\n",
            saved.display()
        ));
    }
    text
}
