//! `prejoin lock`

use std::collections::{BTreeMap, BTreeSet};

use prejoin_image_builder::class::Class;
use prejoin_image_builder::io::archive::{self, Query};
use prejoin_image_builder::io::output;
use prejoin_image_builder::locking;
use prejoin_image_builder::repository::Universe;
use prejoin_image_builder::resolve::{self, Request};
use prejoin_profiles::digest::Digest;
use prejoin_profiles::lock::Lock;
use prejoin_profiles::os::Repository;
use serde_json::json;

use super::id;
use super::inputs::Sources;
use super::project::{Project, SystemPlan};
use crate::args;
use crate::failure::{Failure, OrFail};
use crate::progress::Progress;
use crate::report::{Report, size};
use crate::settings;

pub(crate) fn run(args: &args::Lock, report: &Report) -> Result<(), Failure> {
    let mut project = Project::open(&args.cluster.file, report)?;
    let path = project.lock_path();
    let previous = if path.exists() {
        Some(read(&project)?)
    } else {
        None
    };
    if project.cluster.id.is_none() {
        project = with_id(&project, previous.as_ref(), report)?;
    }
    if let Some(previous) = &previous {
        id::same_as_locked(&project, previous)?;
    }
    let sources = Sources::new(&args.inputs, &project)?;
    let lock = make(&project, &sources, previous.as_ref(), args.accept_expired)?;
    output::write(&path, lock.to_yaml().as_bytes()).or_fail(Class::Environment)?;
    let bytes: u64 = lock.packages.values().map(|package| package.size).sum();
    report.result(
        || {
            changes(
                previous.as_ref(),
                &lock,
                &format!("{}: {} packages, {}", path.display(), lock.packages.len(), size(bytes)),
            )
        },
        || json!({ "file": path, "packages": lock.packages.len(), "bytes": bytes, "digest": lock.digest() }),
    )?;
    Ok(())
}

/// The project with an id in its cluster file: the one that it had when it was locked last, or else a new one.
fn with_id(
    project: &Project,
    previous: Option<&Lock>,
    report: &Report,
) -> Result<Project, Failure> {
    let file = project.file.display();
    let id = match previous.and_then(|lock| lock.id) {
        Some(id) => {
            report.say(format!(
                "{file} has lost its id: writing the lock's into it, {id}"
            ));
            id
        }
        None => {
            let id = id::draw()?;
            report.say(format!("{file} has no id: writing a new one into it, {id}"));
            id
        }
    };
    id::write(project, &id)?;
    Project::open(&project.file, report)
}

/// Resolves every input of a project.
pub(crate) fn make(
    project: &Project,
    sources: &Sources,
    previous: Option<&Lock>,
    accept_expired: bool,
) -> Result<Lock, Failure> {
    let plans = project.systems()?;
    let mut repositories: BTreeMap<String, Repository> = BTreeMap::new();
    let mut architectures = BTreeSet::new();
    for plan in &plans {
        repositories.extend(plan.os.repositories.clone());
        architectures.insert(plan.board.architecture);
    }
    let architectures: Vec<_> = architectures.into_iter().collect();
    let archives: Vec<&str> = repositories
        .values()
        .map(|repository| repository.archive.as_str())
        .collect();
    let keys: Vec<&[u8]> = project.keys.iter().map(Vec::as_slice).collect();
    let query = Query {
        repositories: &repositories,
        architectures: &architectures,
        keys: &keys,
        previous,
        now: settings::now(),
        accept_expired,
    };
    let progress = Progress::new();
    let snapshot = sources.fetch(archives, &progress, |fetcher| {
        archive::snapshot(fetcher, &query)
    })?;
    let id = project.cluster.id.as_ref().map(|id| id.value);
    let mut lock = locking::empty(id, snapshot.releases);
    for plan in &plans {
        let indexes = &snapshot.indexes[&plan.board.architecture];
        let universe = Universe::new(indexes, plan.board.architecture).or_fail(Class::Integrity)?;
        let request = Request {
            wanted: plan.wanted.clone(),
            waive: plan.os.waive.clone(),
            recommends: false,
        };
        let resolution = resolve::resolve(&universe, &request)
            .map_err(|error| Failure::new(Class::Input, &error).hint(error.hint()))?;
        locking::add(&mut lock, &plan.set, request_digest(plan), &resolution)
            .or_fail(Class::Input)?;
    }
    lock.artifacts = sources.lock_artifacts(project, &plans, previous, &progress)?;
    Ok(lock)
}

/// The lock beside a cluster file.
pub(crate) fn read(project: &Project) -> Result<Lock, Failure> {
    let path = project.lock_path();
    let text = settings::read(&path, "the lock").map_err(|failure| {
        failure.hint((!path.exists()).then(|| "make one with `prejoin lock`".to_owned()))
    })?;
    Lock::parse(&text).map_err(|error| {
        Failure::plain(Class::Input, format!("reading {}: {error}", path.display()))
            .hint("delete it and run `prejoin lock`, or restore it from version control".to_owned())
    })
}

/// A lock that was made for something else is not silently used.
pub(crate) fn check_current(
    lock: &Lock,
    plan: &SystemPlan,
    project: &Project,
) -> Result<(), Failure> {
    let path = project.lock_path();
    let problem = match lock.sets.get(&plan.set) {
        None => format!("{} knows nothing of {}", path.display(), plan.set),
        Some(set) if set.request != request_digest(plan) => {
            format!(
                "{} was made before the packages of {} changed",
                path.display(),
                plan.set
            )
        }
        Some(_) => return Ok(()),
    };
    Err(Failure::plain(Class::Input, problem).hint("run `prejoin lock`".to_owned()))
}

/// Digest of everything that decides which packages a system gets, the archive's state aside.
fn request_digest(plan: &SystemPlan) -> Digest {
    let mut text = String::new();
    for wanted in &plan.wanted {
        text.push_str(&format!("want {wanted}\n"));
    }
    for name in plan.os.waive.keys() {
        text.push_str(&format!("waive {name}\n"));
    }
    for (name, repository) in &plan.os.repositories {
        let Repository {
            archive,
            suite,
            components,
            priority,
            ..
        } = repository;
        text.push_str(&format!(
            "repository {name} {archive} {suite} {} {priority}\n",
            components.join(" ")
        ));
    }
    Digest::of(text.as_bytes())
}

/// What differs from the previous lock, one package a line.
fn changes(previous: Option<&Lock>, lock: &Lock, summary: &str) -> String {
    let names = |lock: &Lock| -> BTreeSet<String> { lock.packages.keys().cloned().collect() };
    let (old, new) = (previous.map(names).unwrap_or_default(), names(lock));
    let mut text = String::new();
    if previous.is_some() {
        old.difference(&new)
            .for_each(|name| text.push_str(&format!("- {name}\n")));
        new.difference(&old)
            .for_each(|name| text.push_str(&format!("+ {name}\n")));
    }
    text + summary
}
