//! `prejoin flash`: arguments to a session of [`prejoin_disk`], and what it says to the screen.

pub(crate) mod ask;
mod carry;
mod failed;
mod image;
mod intent;
mod meter;
mod show;

use std::path::{Path, PathBuf};

use prejoin_disk::io::inventory;
use prejoin_disk::session::{self, Judged, Session};
use prejoin_disk::write::Options;
use prejoin_image_builder::class::Class;
use prejoin_profiles::cluster::Node;
use prejoin_wire::disk::Verdict;
use serde_json::{Value, json};

use self::ask::User;
use self::carry::Outcome;
use self::image::Image;
use super::disk::look;
use super::project::Project;
use crate::args::Flash;
use crate::failure::Failure;
use crate::picture;
use crate::report::Report;
use crate::settings;

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

pub(crate) fn run(args: &Flash, report: &Report) -> Result<(), Failure> {
    let project = Project::open(&args.cluster.file, report)?;
    let node = project.node(&args.node)?;
    let image = Image::open(&args.out, &args.node)?;
    let folder = args.save.clone().or_else(default_folder);
    let session = Session {
        image: image.view(),
        chunks: &image,
        folder: folder.as_deref(),
        options: options(args),
    };
    let mut cases = judged(args, &project, node, &session)?;
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
    let user = User::new(args, report, &cases);
    let agreed = match session::agree(&mut cases, &user) {
        Ok(agreed) => agreed,
        Err(failure) => {
            if report.is_json() {
                report.document(&document(args, &image, &cases, &[]))?;
            }
            return Err(failure);
        }
    };
    let outcomes = carry::carry_all(agreed, &image, &user);
    let shown = report.result(
        || show::outcomes(&outcomes),
        || document(args, &image, &cases, &outcomes),
    );
    // What became of the disks is worse than nobody having read it.
    conclude(outcomes)?;
    shown
}

fn options(args: &Flash) -> Options {
    Options {
        verify_first: args.verify_first,
        read_back: !args.no_read_back,
        threads: args.threads.into(),
        ..Options::default()
    }
}

/// `$XDG_STATE_HOME/prejoin` (XDG Base Directory Specification 0.8), for old tables and journals.
fn default_folder() -> Option<PathBuf> {
    let state = settings::variable("XDG_STATE_HOME").map(PathBuf::from);
    let state = state
        .or_else(|| settings::variable("HOME").map(|home| Path::new(&home).join(".local/state")))?;
    Some(state.join("prejoin"))
}

/// The verdict on every target; those that will be written are held.
fn judged<'a>(
    args: &Flash,
    project: &Project,
    node: &Node,
    session: &Session<'a>,
) -> Result<Vec<Judged<'a>>, Failure> {
    let mut looked = Vec::new();
    if let Some(file) = &args.facts {
        looked.push(session.recorded(look::read(file)?));
    }
    are_different(&args.targets)?;
    for path in &args.targets {
        let one = match args.dry_run {
            true => session.look(path),
            false => session.hold(path),
        };
        looked.push(one.map_err(|error| look::unusable(&error))?);
    }
    let mut judged = Vec::new();
    for one in looked {
        let intent = intent::intent(args, project, node, &one)?;
        judged.push(one.judge(intent));
    }
    Ok(judged)
}

/// The same disk twice is a mistake.
fn are_different(targets: &[PathBuf]) -> Result<(), Failure> {
    let mut seen = Vec::new();
    for path in targets {
        let found = inventory::identity(path);
        if found.is_some() && seen.contains(&found) {
            let message = format!("{} is given twice", path.display());
            return Err(Failure::plain(Class::Input, message));
        }
        seen.push(found);
    }
    Ok(())
}

/// The verdicts on all targets, as they are shown.
fn shown(cases: &[Judged], report: &Report, talk: bool) -> String {
    let (width, colour) = (picture::width(talk), report.is_coloured(talk));
    let texts: Vec<String> = cases
        .iter()
        .map(|case| show::case(case, width, colour))
        .collect();
    texts.join("\n")
}

/// What a dry run ends with.
fn verdict(cases: &[Judged]) -> Result<(), Failure> {
    for case in cases {
        case.check_allowed()?;
    }
    let open: Vec<&Judged> = cases
        .iter()
        .filter(|case| case.report().verdict != Verdict::Ok)
        .collect();
    match open.first() {
        None => Ok(()),
        Some(case) => Err(Failure::plain(
            Class::Input,
            format!("{} needs a confirmation", case.report().disk),
        )
        .exit(exit::CONFIRM)
        .hint(ask::how(&open))),
    }
}

/// The failure of the whole command: the gravest one.
fn conclude(outcomes: Vec<Outcome>) -> Result<(), Failure> {
    let all = outcomes.len();
    let wrote = outcomes.iter().any(|outcome| outcome.written.is_some());
    let mut failures: Vec<Failure> = outcomes
        .into_iter()
        .filter_map(|outcome| outcome.failure)
        .map(|failure| {
            if wrote {
                failed::midway(failure)
            } else {
                failure
            }
        })
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

/// Everything as JSON.
fn document(args: &Flash, image: &Image, cases: &[Judged], outcomes: &[Outcome]) -> Value {
    let targets: Vec<Value> = cases
        .iter()
        .enumerate()
        .map(|(index, case)| {
            json!({
                "facts": case.facts(),
                "report": case.report(),
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
