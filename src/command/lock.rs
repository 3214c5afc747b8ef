//! `prejoin lock`

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use prejoin_image_builder::class::Class;
use prejoin_image_builder::debian::deb::Limits;
use prejoin_image_builder::debian::locking;
use prejoin_image_builder::debian::repository::Universe;
use prejoin_image_builder::debian::resolve::{self, Replaced, Request, Resolution, Wanted};
use prejoin_image_builder::debian::scripts;
use prejoin_image_builder::io::archive::{self, Query};
use prejoin_image_builder::io::known::Known;
use prejoin_image_builder::io::unpack::{self, Deb, Unpacked};
use prejoin_image_builder::package::Package;
use prejoin_image_builder::tree::fixups;
use prejoin_profiles::lock::Lock;
use prejoin_profiles::os::Repository;
use prejoin_profiles::scripts::Table;
use prejoin_store::{output, part};
use prejoin_wire::digest::Digest;
use serde_json::json;

use super::inputs::Sources;
use super::project::{Project, SystemPlan};
use super::{build, id};
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
    part::sweep(path.parent().unwrap_or(Path::new("")));
    let sources = Sources::new(&args.inputs, &project)?;
    let lock = make(
        &project,
        &sources,
        &args.out,
        previous.as_ref(),
        args.accept_expired,
    )?;
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

/// Resolves every input of a project. The folder `out` remembers which packages were unpacked.
pub(crate) fn make(
    project: &Project,
    sources: &Sources,
    out: &Path,
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
        progress.busy("resolving", plan.set.clone());
        let indexes = &snapshot.indexes[&plan.board.architecture];
        let universe = Universe::new(indexes, plan.board.architecture).or_fail(Class::Integrity)?;
        let resolution = resolution(&universe, plan, &progress)?;
        locking::add(&mut lock, &plan.set, request_digest(plan), &resolution)
            .or_fail(Class::Input)?;
    }
    progress.clear();
    let packages = Reading {
        project,
        sources,
        out,
        plans: &plans,
        progress: &progress,
    };
    packages.read(previous, &mut lock)?;
    lock.artifacts = sources.lock_artifacts(project, &plans, previous, &progress)?;
    Ok(lock)
}

/// Chooses the packages of a system: first those of the operating system and the board alone, whose dependencies may
/// be left out where they are not missed, then with them what was asked for.
fn resolution(
    universe: &Universe<'_>,
    plan: &SystemPlan,
    progress: &Progress,
) -> Result<Resolution, Failure> {
    let resolve = |request: &Request| {
        resolve::resolve(universe, request)
            .map_err(|error| Failure::new(Class::Input, &error).hint(error.hint()))
    };
    let own: Vec<Wanted> = plan
        .wanted
        .iter()
        .filter(|wanted| !plan.asked.contains(wanted))
        .cloned()
        .collect();
    let mut request = Request {
        wanted: own.clone(),
        waive: plan.os.waive.clone(),
        waive_own: plan.os.waive_own.clone(),
        own: None,
        recommends: false,
    };
    let base = resolve(&request)?;
    if plan.asked.is_empty() {
        return Ok(base);
    }
    let replaced = resolve::replaced(universe, &own, &plan.asked).or_fail(Class::Integrity)?;
    for Replaced { name, by } in &replaced {
        progress.clear();
        progress.say(&format!("{}: {by} takes the place of {name}", plan.set));
    }
    let stays = |wanted: &Wanted| replaced.iter().all(|gone| gone.name != wanted.name);
    request.wanted = own.into_iter().filter(stays).collect();
    request.wanted.extend(plan.asked.iter().cloned());
    request.own = Some(base.packages.into_keys().collect());
    resolve(&request)
}

/// What packages are read with.
struct Reading<'a> {
    project: &'a Project,
    sources: &'a Sources,
    out: &'a Path,
    plans: &'a [SystemPlan<'a>],
    progress: &'a Progress,
}

impl Reading<'_> {
    /// What only the packages themselves can say, read before anything is written: scripts that nobody knows, and
    /// accounts that need a number. The packages stay in the cache, unpacked, where `build` finds them.
    fn read(&self, previous: Option<&Lock>, lock: &mut Lock) -> Result<(), Failure> {
        let Reading { sources, out, .. } = self;
        let debs = sources.packages(lock, self.plans, out, self.progress)?;
        let every: BTreeMap<Digest, Deb> = debs
            .values()
            .flatten()
            .map(|deb| (deb.sha256, deb.clone()))
            .collect();
        let one_each: Vec<Deb> = every.values().cloned().collect();
        let unpacked = self.unpack(&one_each, lock)?;
        let by_digest: BTreeMap<Digest, &Package> =
            every.into_keys().zip(&unpacked.packages).collect();
        let accepted = self.project.accepted();
        let mut ids = previous.map(|lock| lock.ids.clone()).unwrap_or_default();
        let mut unknown: Vec<scripts::Unknown> = Vec::new();
        for plan in self.plans {
            let packages: Vec<&Package> = debs[&plan.set]
                .iter()
                .map(|deb| by_digest[&deb.sha256])
                .collect();
            let table = Table::built_in(&plan.base);
            if let Err(error) = scripts::check(packages.iter().copied(), &table, &accepted) {
                unknown.extend(error.0);
                continue;
            }
            let mut os = plan.os.clone();
            os.ids.extend(ids.clone());
            let derived = fixups::derive_ids(&packages, &unpacked.store, &os)
                .map_err(|error| Failure::new(Class::Input, &error).hint(error.hint()))?;
            ids.extend(derived);
        }
        if !unknown.is_empty() {
            unknown.sort_by_key(scripts::Unknown::acceptance);
            unknown.dedup();
            let error = scripts::Error(unknown);
            return Err(Failure::new(Class::Input, &error).hint(error.hint()));
        }
        lock.ids = ids;
        Ok(())
    }

    /// Unpacks those that this cache and this output folder do not have yet.
    fn unpack(&self, debs: &[Deb], lock: &Lock) -> Result<Unpacked, Failure> {
        let known = Known::open(self.out);
        let events = |event| self.progress.show(event);
        let (cache, limits) = (self.sources.cache(), Limits::default());
        let unpacked = unpack::unpack(debs, cache, &known, &limits, &events);
        self.progress.clear();
        // Without it the build unpacks them once more.
        let _ = known.save(self.out);
        unpacked.map_err(|error| build::named(error.into(), lock))
    }
}

/// The lock beside a cluster file.
pub(crate) fn read(project: &Project) -> Result<Lock, Failure> {
    let path = project.lock_path();
    let text = settings::read(&path, "the lock")
        .map_err(|failure| failure.hint((!path.exists()).then(|| how_to_make(project))))?;
    Lock::parse(&text).map_err(|error| {
        Failure::plain(Class::Input, format!("reading {}: {error}", path.display()))
            .hint("delete it and run `prejoin lock`, or restore it from version control".to_owned())
    })
}

/// How a lock that is not there is made, and whose the one beside it is.
fn how_to_make(project: &Project) -> String {
    let other = project.file.with_file_name("prejoin.lock");
    if project.lock_path() == other {
        return "make one with `prejoin lock`".to_owned();
    }
    let make = format!(
        "make one with `prejoin lock --file {}`",
        project.file.display()
    );
    match other.exists() {
        true => format!("{make}; {} is the lock of cluster.yaml", other.display()),
        false => make,
    }
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
    for name in plan.os.waive_own.keys() {
        text.push_str(&format!("waive {name} where only own packages need it\n"));
    }
    for wanted in &plan.asked {
        text.push_str(&format!("ask for {wanted}\n"));
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
