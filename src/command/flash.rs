//! `prejoin flash`: look, judge, show, ask, and only then write.

pub(crate) mod ask;
pub(crate) mod carry;
mod image;
mod intent;
mod meter;
pub(crate) mod saved;
mod show;

use std::path::{Path, PathBuf};
use std::thread;

use indicatif::MultiProgress;
use prejoin_disk::io::inventory;
use prejoin_disk::io::target::{self, Target};
use prejoin_disk::judge::{Intent, judge};
use prejoin_image_builder::class::Class;
use prejoin_wire::disk::{Facts, Report as Judgement, Severity, Verdict};
use serde_json::{Value, json};

use self::carry::Outcome;
use self::image::Image;
use self::saved::Keep;
use super::disk::look;
use super::project::Project;
use crate::args::Flash;
use crate::failure::Failure;
use crate::picture;
use crate::report::Report;

/// Exit codes of its own, as its `--help` lists them.
pub(crate) mod exit {
    /// Somebody has to confirm it.
    pub(crate) const CONFIRM: u8 = 10;
    /// Refused.
    pub(crate) const REFUSED: u8 = 20;
    /// The disk failed.
    pub(crate) const DISK: u8 = 30;
    /// What was written reads back as something else.
    pub(crate) const READ_BACK: u8 = 31;
    /// Kept data has changed.
    pub(crate) const DATA: u8 = 32;
}

/// One target, and what the judge says of it.
pub(crate) struct Case {
    facts: Facts,
    intent: Intent,
    judgement: Judgement,
    /// What will be written is held since before it was looked at. `None`: it is only looked at, or somebody else has it.
    hold: Option<Target>,
    /// Somebody was asked since, who may have taken his time: it is looked at again before it is written. A hold keeps
    /// out mounts and volumes, not everybody.
    asked: bool,
}

pub(crate) fn run(args: &Flash, report: &Report) -> Result<(), Failure> {
    let project = Project::open(&args.cluster.file, report)?;
    let node = project.node(&args.node)?;
    let image = Image::open(&args.out, &args.node)?;
    let mut cases = Vec::new();
    for (index, (facts, hold)) in facts(args, &image)?.into_iter().enumerate() {
        // Recorded facts know no other name of the disk than the kernel's.
        let asked = args
            .targets
            .get(index)
            .map_or(Path::new(&facts.device.path), PathBuf::as_path)
            .to_owned();
        let intent = intent::intent(args, &project, node, &facts, &asked, &image)?;
        let judgement = judge(&facts, &intent, &image.view());
        cases.push(Case {
            facts,
            intent,
            judgement,
            hold,
            asked: false,
        });
    }
    if args.dry_run {
        report.picture(
            || shown(&cases, report, false),
            || document(args, &image, &cases, &[]),
        )?;
        return verdict(&cases);
    }
    if !report.is_json() {
        report.say_painted(shown(&cases, report, true).trim_end());
    }
    let (keeps, asked) = match allowed(args, &image, &cases, report) {
        Ok(allowed) => allowed,
        Err(failure) => {
            if report.is_json() {
                report.document(&document(args, &image, &cases, &[]))?;
            }
            return Err(failure);
        }
    };
    cases.iter_mut().for_each(|case| case.asked = asked);
    let bars = MultiProgress::new();
    let outcomes = write(args, &image, &cases, &keeps, &bars);
    let shown = report.result(
        || show::outcomes(&outcomes),
        || document(args, &image, &cases, &outcomes),
    );
    // What became of the disks is worse than nobody having read it.
    conclude(outcomes)?;
    shown
}

/// Fails unless all targets may be written; then, where their old tables go, and whether somebody was asked. Nobody is
/// asked for what cannot be done.
fn allowed(
    args: &Flash,
    image: &Image,
    cases: &[Case],
    report: &Report,
) -> Result<(Vec<Keep>, bool), Failure> {
    verdict_of_all(cases)?;
    image.complete()?;
    let keep = |case: &Case| {
        let (folder, device) = (args.save.as_deref(), &case.facts.device);
        Keep::new(folder, &args.node, device, &args.delete)
    };
    let keeps = cases.iter().map(keep).collect::<Result<_, _>>()?;
    let asked = ask::consent(args, cases, report)?;
    Ok((keeps, asked))
}

/// What is on every target, and the targets themselves if they will be written. The same disk twice is a mistake.
fn facts(args: &Flash, image: &Image) -> Result<Vec<(Facts, Option<Target>)>, Failure> {
    if let Some(file) = &args.facts {
        return Ok(vec![(look::read(file)?, None)]);
    }
    let mut seen = Vec::new();
    for path in &args.targets {
        let found = inventory::identity(path);
        if found.is_some() && seen.contains(&found) {
            return Err(Failure::plain(
                Class::Input,
                format!("{} is given twice", path.display()),
            ));
        }
        seen.push(found);
    }
    let starts = image.view().starts();
    let one = |path: &PathBuf| {
        // Who has it instead is among the facts, and a refusal.
        let hold = if args.dry_run {
            None
        } else {
            Target::open(path, &target::Options::default()).ok()
        };
        let facts = match &hold {
            Some(target) => look::held(target, path, &starts),
            None => look::look(path, &starts),
        }?;
        Ok((facts, hold))
    };
    args.targets.iter().map(one).collect()
}

/// The verdicts on all targets, as they are shown.
fn shown(cases: &[Case], report: &Report, talk: bool) -> String {
    let (width, colour) = (picture::width(talk), report.is_coloured(talk));
    let texts: Vec<String> = cases
        .iter()
        .map(|case| show::case(case, width, colour))
        .collect();
    texts.join("\n")
}

/// What a dry run ends with.
fn verdict(cases: &[Case]) -> Result<(), Failure> {
    verdict_of_all(cases)?;
    let open: Vec<&Case> = cases
        .iter()
        .filter(|case| case.judgement.verdict != Verdict::Ok)
        .collect();
    match open.first() {
        None => Ok(()),
        Some(case) => Err(Failure::plain(
            Class::Input,
            format!("{} needs a confirmation", case.judgement.disk),
        )
        .exit(exit::CONFIRM)
        .hint(ask::how(&open))),
    }
}

/// Fails if one target is refused.
fn verdict_of_all(cases: &[Case]) -> Result<(), Failure> {
    let Some(case) = cases
        .iter()
        .find(|case| case.judgement.verdict == Verdict::Refuse)
    else {
        return Ok(());
    };
    let grave = case
        .judgement
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Refuse);
    let mut codes: Vec<&str> = grave.map(|finding| finding.code.name()).collect();
    codes.dedup();
    let message = format!(
        "refused to write to {}: {}",
        case.judgement.disk,
        codes.join(", ")
    );
    Err(Failure::plain(Class::Input, message).exit(exit::REFUSED))
}

/// Writes all targets side by side.
fn write(
    args: &Flash,
    image: &Image,
    cases: &[Case],
    keeps: &[Keep],
    bars: &MultiProgress,
) -> Vec<Outcome> {
    thread::scope(|scope| {
        let spawn = |(case, keep)| scope.spawn(move || carry::carry(args, image, case, keep, bars));
        let threads: Vec<_> = cases.iter().zip(keeps).map(spawn).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a writer does not panic"))
            .collect()
    })
}

/// The failure of the whole command: the gravest one.
fn conclude(outcomes: Vec<Outcome>) -> Result<(), Failure> {
    let all = outcomes.len();
    let wrote = outcomes.iter().any(|outcome| outcome.written.is_some());
    let mut failures: Vec<Failure> = outcomes
        .into_iter()
        .filter_map(|outcome| outcome.failure)
        .map(|failure| if wrote { midway(failure) } else { failure })
        .collect();
    failures.sort_by_key(Failure::number);
    match failures.pop() {
        None => Ok(()),
        Some(last) if all > 1 => {
            failures.iter().for_each(Failure::print);
            Err(last)
        }
        Some(last) => Err(last),
    }
}

/// The same failure after something was written: no longer a refusal, which says that nothing was.
fn midway(failure: Failure) -> Failure {
    match failure.number() {
        exit::REFUSED => failure.exit(exit::DISK),
        _ => failure,
    }
}

/// Everything as JSON.
fn document(args: &Flash, image: &Image, cases: &[Case], outcomes: &[Outcome]) -> Value {
    let targets: Vec<Value> = cases
        .iter()
        .enumerate()
        .map(|(index, case)| {
            json!({
                "facts": case.facts,
                "report": case.judgement,
                "written": outcomes.get(index).map(Outcome::document),
            })
        })
        .collect();
    json!({ "node": args.node, "image": image.digest, "dry_run": args.dry_run, "targets": targets })
}

/// The last part of a path.
pub(crate) fn last(path: &str) -> String {
    Path::new(path).file_name().map_or_else(
        || path.to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}
