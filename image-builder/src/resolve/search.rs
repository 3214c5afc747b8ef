//! The search: forced decisions first, then choices, with jumps back to the choice that is to blame (conflict-directed
//! backjumping; Prosser, "Hybrid algorithms for the constraint satisfaction problem", 1993).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::rc::Rc;

use super::{Chosen, Request, Resolution, ResolveError, Wanted, Why};
use crate::relation::{self, Group, Relation};
use crate::repository::{DEFAULT_PRIORITY, Entry, IndexError, Universe};

/// Bound for taking choices back. Real package sets need none or a handful.
const MAX_STEPS: usize = 10_000;

/// Numbers of the choices (places in [`Search::choices`]) that led to something.
type Blame = Rc<BTreeSet<usize>>;

/// One run of the resolver.
pub(super) struct Search<'u, 'a> {
    universe: &'u Universe<'a>,
    request: &'u Request,
    /// Entries that alone will do for a name, because a version or repository was asked for.
    pins: BTreeMap<&'u str, u32>,
    /// Names asked for.
    wanted: BTreeSet<&'u str>,
    /// Repositories below the default priority that something was asked for from.
    open: BTreeSet<&'u str>,
    facts: RefCell<HashMap<u32, Rc<Facts<'a>>>>,
    state: State<'a>,
    choices: Vec<Choice<'a>>,
    first: Option<ResolveError>,
}

/// An entry's relationships, parsed once.
struct Facts<'a> {
    depends: Vec<Group<'a>>,
    recommends: Vec<Group<'a>>,
    conflicts: Vec<Relation<'a>>,
    provides: Vec<Relation<'a>>,
}

/// Everything that a choice changes.
#[derive(Clone, Default)]
struct State<'a> {
    selected: BTreeMap<&'a str, Selected<'a>>,
    /// Dependencies still to satisfy, by [`Task::tier`].
    pending: [VecDeque<Rc<Task<'a>>>; 4],
    waived: BTreeSet<(&'a str, &'a str)>,
}

#[derive(Clone)]
struct Selected<'a> {
    number: u32,
    /// The task that brought it in.
    task: Rc<Task<'a>>,
    blame: Blame,
}

/// A dependency to satisfy.
struct Task<'a> {
    group: Group<'a>,
    /// Who has it; nobody, if it was asked for.
    by: Option<u32>,
    /// Entries that would do, in the order of preference, whatever else is selected.
    candidates: Vec<u32>,
    /// Whether it may stay unsatisfied.
    optional: bool,
    blame: Blame,
}

/// A place to come back to.
struct Choice<'a> {
    before: State<'a>,
    task: Rc<Task<'a>>,
    /// Candidates not yet tried; `None` is to leave an optional task alone.
    rest: VecDeque<Option<u32>>,
    /// Earlier choices that ruled candidates out.
    blame: BTreeSet<usize>,
}

impl<'u, 'a> Search<'u, 'a> {
    /// Looks up what was asked for.
    pub(super) fn new(
        universe: &'u Universe<'a>,
        request: &'u Request,
    ) -> Result<Self, ResolveError> {
        let mut search = Search {
            universe,
            request,
            pins: BTreeMap::new(),
            wanted: request
                .wanted
                .iter()
                .map(|wanted| wanted.name.as_str())
                .collect(),
            open: BTreeSet::new(),
            facts: RefCell::default(),
            state: State::default(),
            choices: Vec::new(),
            first: None,
        };
        for wanted in &request.wanted {
            search.pin(wanted)?;
        }
        for wanted in &request.wanted {
            let task = search.root(wanted)?;
            search.push(task);
        }
        Ok(search)
    }

    /// Satisfies task after task.
    pub(super) fn run(mut self) -> Result<Resolution, ResolveError> {
        let mut steps = 0;
        while let Some(task) = self.state.pending.iter_mut().find_map(VecDeque::pop_front) {
            let Err((blame, error)) = self.satisfy(&task)? else {
                continue;
            };
            let first = self.first.get_or_insert(error).clone();
            steps += 1;
            if steps > MAX_STEPS {
                return Err(ResolveError::TooHard {
                    steps: MAX_STEPS,
                    first: Box::new(first),
                });
            }
            if !self.back(blame)? {
                return Err(first);
            }
        }
        self.resolution()
    }

    /// A version or repository that was asked for rules the others out, for everybody.
    fn pin(&mut self, wanted: &'u Wanted) -> Result<(), ResolveError> {
        if wanted.version.is_none() && wanted.repository.is_none() {
            return Ok(());
        }
        let fits = |entry: &Entry<'_>| {
            wanted
                .version
                .as_ref()
                .is_none_or(|version| version == entry.version)
                && wanted
                    .repository
                    .as_ref()
                    .is_none_or(|repository| *repository == entry.index.repository)
        };
        let found = self
            .universe
            .versions(&wanted.name)
            .find(|(_, entry)| fits(entry));
        let (number, entry) = found.ok_or_else(|| self.unknown(wanted))?;
        if entry.index.priority < DEFAULT_PRIORITY {
            self.open.insert(&entry.index.repository);
        }
        self.pins.insert(&wanted.name, number);
        Ok(())
    }

    fn root(&mut self, wanted: &'u Wanted) -> Result<Task<'a>, ResolveError> {
        let mut name = self
            .universe
            .versions(&wanted.name)
            .next()
            .map(|(_, entry)| entry.name);
        if let Some((number, _)) = self.universe.providers(&wanted.name).next() {
            let facts = self.facts(number)?;
            name = name.or(facts
                .provides
                .iter()
                .map(|provided| provided.name)
                .find(|name| *name == wanted.name));
        }
        let name = name.ok_or_else(|| self.unknown(wanted))?;
        let relation = Relation {
            name,
            qualifier: None,
            constraint: None,
            architectures: None,
            profiles: None,
        };
        let task = self.task(vec![relation], None, false, &Blame::default())?;
        task.filter(|task| !task.candidates.is_empty())
            .ok_or_else(|| self.unknown(wanted))
    }

    /// Selects a package for `task`, or says which choices are to blame that there is none.
    fn satisfy(
        &mut self,
        task: &Rc<Task<'a>>,
    ) -> Result<Result<(), (BTreeSet<usize>, ResolveError)>, ResolveError> {
        if self.is_satisfied(&task.group)? {
            return Ok(Ok(()));
        }
        let mut blame = BTreeSet::clone(&task.blame);
        let mut possible = VecDeque::new();
        let mut blocked = Vec::new();
        for number in &task.candidates {
            match self.obstacle(*number)? {
                None => possible.push_back(Some(*number)),
                Some((other, reason)) => {
                    blame.extend(other.iter());
                    blocked.push(reason);
                }
            }
        }
        if task.optional {
            possible.push_back(None);
        }
        let Some(best) = possible.pop_front() else {
            let error = self.unsatisfied(task, blocked);
            return Ok(Err((blame, error)));
        };
        if possible.is_empty() {
            self.select(best, task, Rc::new(blame))?;
        } else {
            let mut selected_for = blame.clone();
            selected_for.insert(self.choices.len());
            let before = self.state.clone();
            self.choices.push(Choice {
                before,
                task: task.clone(),
                rest: possible,
                blame,
            });
            self.select(best, task, Rc::new(selected_for))?;
        }
        Ok(Ok(()))
    }

    /// Goes back to the latest choice that is to blame and takes its next candidate. `false`: there is none.
    fn back(&mut self, mut blame: BTreeSet<usize>) -> Result<bool, ResolveError> {
        while let Some(latest) = blame.pop_last() {
            self.choices.truncate(latest + 1);
            let choice = self
                .choices
                .last_mut()
                .expect("blame names choices that are still on the stack");
            choice.blame.append(&mut blame);
            if let Some(next) = choice.rest.pop_front() {
                self.state = choice.before.clone();
                let task = choice.task.clone();
                let mut selected_for = choice.blame.clone();
                selected_for.insert(latest);
                self.select(next, &task, Rc::new(selected_for))?;
                return Ok(true);
            }
            blame = self
                .choices
                .pop()
                .map(|choice| choice.blame)
                .unwrap_or_default();
        }
        Ok(false)
    }

    fn select(
        &mut self,
        number: Option<u32>,
        task: &Rc<Task<'a>>,
        blame: Blame,
    ) -> Result<(), ResolveError> {
        let Some(number) = number else { return Ok(()) };
        let facts = self.facts(number)?;
        let name = self.universe.entry(number).name;
        self.state.selected.insert(
            name,
            Selected {
                number,
                task: task.clone(),
                blame: blame.clone(),
            },
        );
        let recommends = facts
            .recommends
            .iter()
            .filter(|_| self.request.recommends)
            .map(|group| (group, true));
        for (group, optional) in facts
            .depends
            .iter()
            .map(|group| (group, false))
            .chain(recommends)
        {
            if let Some(task) = self.task(group.clone(), Some(number), optional, &blame)? {
                self.push(task);
            }
        }
        Ok(())
    }

    /// What has one answer comes first, then the choice of a version, then the choice of a package.
    fn push(&mut self, task: Task<'a>) {
        let name = |number: &u32| self.universe.entry(*number).name;
        let tier = match &task.candidates[..] {
            _ if task.optional => 3,
            [] | [_] => 0,
            [first, rest @ ..] if rest.iter().all(|number| name(number) == name(first)) => 1,
            _ => 2,
        };
        self.state.pending[tier].push_back(Rc::new(task));
    }

    /// A task for a group of alternatives; none, if nothing but waived packages would do.
    fn task(
        &mut self,
        group: Group<'a>,
        by: Option<u32>,
        optional: bool,
        blame: &Blame,
    ) -> Result<Option<Task<'a>>, ResolveError> {
        let (candidates, waived) = self.candidates(&group, by)?;
        match waived {
            Some(name) if candidates.is_empty() => {
                let by = by.map_or("the profile", |number| self.universe.entry(number).name);
                self.state.waived.insert((name, by));
                Ok(None)
            }
            _ => Ok(Some(Task {
                group,
                by,
                candidates,
                optional,
                blame: blame.clone(),
            })),
        }
    }

    /// Entries that satisfy a group, best first, and the first waived name that was passed over.
    fn candidates(
        &self,
        group: &[Relation<'a>],
        by: Option<u32>,
    ) -> Result<(Vec<u32>, Option<&'a str>), ResolveError> {
        let architecture = self.universe.architecture.name();
        let mut found = Vec::new();
        let mut last_resort = Vec::new();
        let mut waived = None;
        for relation in group
            .iter()
            .filter(|relation| relation.applies(architecture))
        {
            if self.is_waived(relation.name, by) {
                waived.get_or_insert(relation.name);
                continue;
            }
            let mut providers = Vec::new();
            for (number, entry) in self.universe.providers(relation.name) {
                if entry.satisfies(relation, &self.facts(number)?.provides)
                    && entry.name != relation.name
                {
                    providers.push((entry.rank(), entry.name, number));
                }
            }
            providers.sort_by_key(|(rank, name, _)| (*rank, *name));
            let real = self
                .universe
                .versions(relation.name)
                .filter(|(_, entry)| relation.accepts(entry.version));
            let real: Vec<_> = real.map(|(number, _)| number).collect();
            for number in real
                .into_iter()
                .chain(providers.into_iter().map(|(_, _, number)| number))
            {
                let name = self.universe.entry(number).name;
                if self.is_waived(name, by) {
                    waived.get_or_insert(name);
                } else if self.is_candidate(number) {
                    found.push(number);
                } else if self.is_last_resort(number) {
                    last_resort.push(number);
                }
            }
        }
        found.append(&mut last_resort);
        let mut seen = BTreeSet::new();
        found.retain(|number| seen.insert(*number));
        Ok((found, waived))
    }

    /// Whether `name` is left out where `by` depends on it.
    fn is_waived(&self, name: &str, by: Option<u32>) -> bool {
        let Request {
            waive,
            waive_own,
            own,
            ..
        } = self.request;
        let by_own =
            |own: &BTreeSet<String>| by.is_none_or(|by| own.contains(self.universe.entry(by).name));
        !self.wanted.contains(name)
            && (waive.contains_key(name)
                || waive_own.contains_key(name) && own.as_ref().is_none_or(by_own))
    }

    /// Whether an entry is the one version of its name that is taken without being asked for, or the pinned one.
    fn is_candidate(&self, number: u32) -> bool {
        let entry = self.universe.entry(number);
        match self.pins.get(entry.name) {
            Some(pinned) => *pinned == number,
            None => {
                let best = self.universe.versions(entry.name).next();
                entry.index.priority >= DEFAULT_PRIORITY
                    && best.is_some_and(|(best, _)| best == number)
            }
        }
    }

    /// Whether an entry is the best version of its name in a repository of low priority that is in use.
    fn is_last_resort(&self, number: u32) -> bool {
        let entry = self.universe.entry(number);
        let repository = entry.index.repository.as_str();
        let mut own = self
            .universe
            .versions(entry.name)
            .filter(|(_, other)| other.index.repository == repository);
        !self.pins.contains_key(entry.name)
            && self.open.contains(repository)
            && own.next().is_some_and(|(best, _)| best == number)
    }

    fn is_satisfied(&self, group: &[Relation<'a>]) -> Result<bool, ResolveError> {
        let architecture = self.universe.architecture.name();
        for relation in group
            .iter()
            .filter(|relation| relation.applies(architecture))
        {
            if self.selected(relation)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The selected package that satisfies a relation.
    fn selected(&self, relation: &Relation<'_>) -> Result<Option<&Selected<'a>>, ResolveError> {
        if let Some(selected) = self.state.selected.get(relation.name)
            && relation.accepts(self.universe.entry(selected.number).version)
        {
            return Ok(Some(selected));
        }
        for (number, entry) in self.universe.providers(relation.name) {
            if let Some(selected) = self
                .state
                .selected
                .get(entry.name)
                .filter(|selected| selected.number == number)
                && entry.satisfies(relation, &self.facts(number)?.provides)
            {
                return Ok(Some(selected));
            }
        }
        Ok(None)
    }

    /// What in the set rules an entry out: another version of it, or a conflict either way.
    fn obstacle(&self, number: u32) -> Result<Option<(Blame, String)>, ResolveError> {
        let entry = self.universe.entry(number);
        let facts = self.facts(number)?;
        if let Some(other) = self.state.selected.get(entry.name) {
            let version = self.universe.entry(other.number).version;
            return Ok(Some((
                other.blame.clone(),
                format!("{} is already in at {version}", entry.name),
            )));
        }
        for relation in &facts.conflicts {
            if let Some(other) = self.selected(relation)? {
                let reason = format!(
                    "{} {} conflicts with {relation}, which is in",
                    entry.name, entry.version
                );
                return Ok(Some((other.blame.clone(), reason)));
            }
        }
        for (name, other) in &self.state.selected {
            for relation in &self.facts(other.number)?.conflicts {
                if entry.satisfies(relation, &facts.provides) {
                    let reason = format!(
                        "{name}, which is in, conflicts with {relation} ({} {})",
                        entry.name, entry.version
                    );
                    return Ok(Some((other.blame.clone(), reason)));
                }
            }
        }
        Ok(None)
    }

    fn facts(&self, number: u32) -> Result<Rc<Facts<'a>>, IndexError> {
        if let Some(facts) = self.facts.borrow().get(&number) {
            return Ok(facts.clone());
        }
        let entry = self.universe.entry(number);
        let facts = Rc::new(Facts {
            depends: entry.depends()?,
            recommends: if self.request.recommends {
                entry.recommends()?
            } else {
                Vec::new()
            },
            conflicts: entry.conflicts()?,
            provides: entry.provides()?,
        });
        self.facts.borrow_mut().insert(number, facts.clone());
        Ok(facts)
    }

    fn resolution(&self) -> Result<Resolution, ResolveError> {
        let mut packages = BTreeMap::new();
        for (name, selected) in &self.state.selected {
            let entry = self.universe.entry(selected.number);
            let file = entry.file()?;
            let why = selected.task.by.map_or(Why::Wanted, |by| Why::Needed {
                by: self.universe.entry(by).name.to_owned(),
                group: relation::display(&selected.task.group),
            });
            let chosen = Chosen {
                version: entry.version.to_owned(),
                architecture: entry.architecture.to_owned(),
                repository: entry.index.repository.clone(),
                archive: entry.index.archive.clone(),
                path: file.path,
                size: file.size,
                sha256: file.sha256,
                why,
            };
            packages.insert((*name).to_owned(), chosen);
        }
        let mut waived: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (name, by) in &self.state.waived {
            waived
                .entry((*name).to_owned())
                .or_default()
                .insert((*by).to_owned());
        }
        Ok(Resolution { packages, waived })
    }

    fn unknown(&self, wanted: &Wanted) -> ResolveError {
        let shown = |(_, entry): (u32, &Entry<'_>)| {
            format!("{} in {}", entry.version, entry.index.repository)
        };
        ResolveError::Unknown {
            wanted: wanted.clone(),
            architecture: self.universe.architecture.to_string(),
            available: self.universe.versions(&wanted.name).map(shown).collect(),
        }
    }

    fn unsatisfied(&self, task: &Task<'a>, blocked: Vec<String>) -> ResolveError {
        let by = task.by.map(|number| self.universe.entry(number));
        let mut chain = Vec::new();
        let mut next = by.and_then(|entry| self.state.selected.get(entry.name));
        while let Some(selected) = next.filter(|_| chain.len() < 50) {
            let parent = selected
                .task
                .by
                .map(|number| self.universe.entry(number).name);
            chain.push(parent.unwrap_or("the profile").to_owned());
            next = parent.and_then(|name| self.state.selected.get(name));
        }
        let mut reasons = blocked;
        if task.candidates.is_empty() {
            reasons = task
                .group
                .iter()
                .map(|relation| self.missing(relation, task.by))
                .collect();
        }
        ResolveError::Unsatisfied {
            by: by.map_or("the profile".to_owned(), |entry| {
                format!("{} {}", entry.name, entry.version)
            }),
            group: relation::display(&task.group),
            reasons,
            chain,
        }
    }

    /// Why no entry at all does for a relation.
    fn missing(&self, relation: &Relation<'_>, by: Option<u32>) -> String {
        let name = relation.name;
        let waived = |name: &str| {
            if self.is_waived(name, by) {
                ", waived"
            } else {
                ""
            }
        };
        let shown = |entry: &Entry<'_>| {
            let low = entry.index.priority < DEFAULT_PRIORITY
                && !self.open.contains(entry.index.repository.as_str());
            let low = if low {
                ", taken from there only when asked for"
            } else {
                ""
            };
            format!(
                "{} (in {}{low}{})",
                entry.version,
                entry.index.repository,
                waived(name)
            )
        };
        let mut there: Vec<_> = self
            .universe
            .versions(name)
            .map(|(_, entry)| shown(entry))
            .collect();
        there.extend(self.universe.providers(name).map(|(_, entry)| {
            format!(
                "{} {} that provides it{}",
                entry.name,
                entry.version,
                waived(entry.name)
            )
        }));
        match (there.is_empty(), self.pins.get(name)) {
            (true, _) => format!("no repository has {name}"),
            (false, Some(pin)) => {
                format!("{name} {} was asked for", self.universe.entry(*pin).version)
            }
            (false, None) => format!("of {name} there is {}", there.join(", ")),
        }
    }
}
