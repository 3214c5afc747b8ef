//! The search: forced decisions first, then choices, with jumps back to the choice that is to blame (conflict-directed
//! backjumping; Prosser, "Hybrid algorithms for the constraint satisfaction problem", 1993).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::iter;
use std::rc::Rc;

use super::{Chosen, Request, Resolution, ResolveError, Wanted, Why};
use crate::debian::relation::{self, Group, Relation};
use crate::debian::repository::{DEFAULT_PRIORITY, Entry, IndexError, Universe};

/// Bound for all that is looked at, far above what the sets of nodes take.
const MAX_STEPS: usize = 10_000_000;

/// Reasons, versions or providers that one message lists.
const MOST_REASONS: usize = 10;

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
    /// What satisfies a group of alternatives, by its text: the same name is wanted by thousands.
    known: HashMap<(String, bool), Found<'a>>,
    state: State<'a>,
    choices: Vec<Choice<'a>>,
    /// Places in it are [`Blame`]s.
    blames: Vec<Reason>,
    first: Option<ResolveError>,
    steps: Cell<usize>,
}

/// Which choices led to something: a place in [`Search::blames`]. Sets of their own for every package would be as long
/// as the way to it.
type Blame = usize;

/// The blame of what depends on no choice.
const NOBODY: Blame = 0;

/// One link of the ways from what was asked for to what is selected.
#[derive(Default)]
struct Reason {
    /// Place in [`Search::choices`].
    choice: Option<usize>,
    parents: Vec<Blame>,
}

/// An entry's relationships, parsed once.
struct Facts<'a> {
    depends: Vec<Group<'a>>,
    recommends: Vec<Group<'a>>,
    conflicts: Vec<Relation<'a>>,
    provides: Vec<Relation<'a>>,
}

/// Entries that satisfy a group, best first, and the first waived name that was passed over.
#[derive(Clone)]
struct Found<'a> {
    candidates: Rc<[u32]>,
    waived: Option<&'a str>,
}

/// Everything that a choice changes, and how to take it back.
#[derive(Default)]
struct State<'a> {
    selected: BTreeMap<&'a str, Selected<'a>>,
    /// Names of selected packages by what they provide.
    providers: HashMap<&'a str, Vec<&'a str>>,
    /// What selected packages conflict with, by name: whose relation it is, and which one.
    enemies: HashMap<&'a str, Vec<(&'a str, Relation<'a>)>>,
    /// Dependencies still to satisfy, by [`Task::tier`].
    pending: [VecDeque<Rc<Task<'a>>>; 4],
    waived: BTreeSet<(&'a str, &'a str)>,
    /// What was done, in order: taking back costs as much as doing, and remembering a choice costs nothing.
    trail: Vec<Done<'a>>,
}

/// One change of a [`State`].
enum Done<'a> {
    Selected(&'a str),
    Pushed(usize),
    Popped(usize, Rc<Task<'a>>),
    Waived((&'a str, &'a str)),
}

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
    candidates: Rc<[u32]>,
    /// Whether it may stay unsatisfied.
    optional: bool,
    blame: Blame,
}

/// A place to come back to.
struct Choice<'a> {
    /// Length of [`State::trail`] before it.
    trail: usize,
    /// Its own place in [`Search::blames`], and their number before it.
    reason: Blame,
    task: Rc<Task<'a>>,
    /// The candidate in hand; after the last one an optional task is left alone.
    next: usize,
    /// What led to it and ruled candidates out before it was made.
    parents: BTreeSet<Blame>,
    /// Earlier choices that ruled candidates out later.
    blame: BTreeSet<usize>,
}

/// What comes of looking for the next candidate that nothing rules out.
struct Look {
    /// Its place among the candidates; the place after the last one is to leave an optional task alone.
    place: Option<usize>,
    /// Whose fault it is that those before it will not do.
    blamed: BTreeSet<Blame>,
    /// Why they will not.
    reasons: Vec<String>,
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
            known: HashMap::new(),
            state: State::default(),
            choices: Vec::new(),
            blames: vec![Reason::default()],
            first: None,
            steps: Cell::new(0),
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
    pub(super) fn run(&mut self) -> Result<Resolution, ResolveError> {
        while let Some(task) = self.state.pop() {
            self.spend(1)?;
            let Err((blame, error)) = self.satisfy(&task)? else {
                continue;
            };
            let first = self.first.get_or_insert(error).clone();
            if !self.back(blame)? {
                return Err(first);
            }
        }
        self.resolution()
    }

    #[cfg(test)]
    /// Steps so far: entries, relations and reasons that were looked at.
    pub(super) fn steps(&self) -> usize {
        self.steps.get()
    }

    /// Counts steps. Time and memory are bounded by them: whatever is kept was a step to make.
    fn spend(&self, steps: usize) -> Result<(), ResolveError> {
        self.steps.set(self.steps.get().saturating_add(steps));
        match self.steps.get() > MAX_STEPS {
            true => Err(ResolveError::TooHard {
                steps: MAX_STEPS,
                first: self.first.clone().map(Box::new),
            }),
            false => Ok(()),
        }
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
        let task = self.task(vec![relation], None, false, NOBODY)?;
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
        let Look {
            place,
            blamed,
            reasons,
        } = self.look(task, 0)?;
        let mut parents = blamed;
        parents.insert(task.blame);
        let Some(place) = place else {
            let error = self.unsatisfied(task, reasons);
            return Ok(Err((self.choices_of(&parents)?, error)));
        };
        let second = self.look(task, place + 1)?;
        let mut choice = None;
        if second.place.is_some() {
            choice = Some(self.choices.len());
            self.choices.push(Choice {
                trail: self.state.trail.len(),
                reason: self.blames.len(),
                task: task.clone(),
                next: place,
                parents: parents.clone(),
                blame: BTreeSet::new(),
            });
        } else {
            // There would be something to come back to, had the others not been ruled out.
            parents.extend(second.blamed);
        }
        let blame = self.reason(choice, parents)?;
        self.select(task.candidates.get(place).copied(), task, blame)?;
        Ok(Ok(()))
    }

    /// The first candidate from a place on that nothing rules out.
    fn look(&self, task: &Task<'a>, from: usize) -> Result<Look, ResolveError> {
        let mut look = Look {
            place: None,
            blamed: BTreeSet::new(),
            reasons: Vec::new(),
        };
        for (place, number) in task.candidates.iter().enumerate().skip(from) {
            match self.obstacle(*number)? {
                None => {
                    look.place = Some(place);
                    return Ok(look);
                }
                Some((blame, reason)) => {
                    look.blamed.insert(blame);
                    if look.reasons.len() <= MOST_REASONS {
                        look.reasons.push(reason);
                    }
                }
            }
        }
        if task.optional && from <= task.candidates.len() {
            look.place = Some(task.candidates.len());
        }
        Ok(look)
    }

    /// Goes back to the latest choice that is to blame and takes its next candidate. `false`: there is none.
    fn back(&mut self, mut blame: BTreeSet<usize>) -> Result<bool, ResolveError> {
        while let Some(latest) = blame.pop_last() {
            self.choices.truncate(latest + 1);
            let Some(mut choice) = self.choices.pop() else {
                unreachable!("blame names choices that are still on the stack")
            };
            self.spend(blame.len())?;
            choice.blame.append(&mut blame);
            self.undo(choice.trail)?;
            self.blames.truncate(choice.reason);
            let task = choice.task.clone();
            let mut look = self.look(&task, choice.next + 1)?;
            choice.parents.append(&mut look.blamed);
            let Some(place) = look.place else {
                blame = choice.blame;
                blame.append(&mut self.choices_of(&choice.parents)?);
                continue;
            };
            choice.next = place;
            let earlier = choice.blame.iter().map(|at| self.choices[*at].reason);
            let parents = choice.parents.iter().copied().chain(earlier).collect();
            self.choices.push(choice);
            let blame = self.reason(Some(latest), parents)?;
            self.select(task.candidates.get(place).copied(), &task, blame)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// A new reason; none is needed where there is but one parent and no choice.
    fn reason(
        &mut self,
        choice: Option<usize>,
        parents: BTreeSet<Blame>,
    ) -> Result<Blame, ResolveError> {
        if let (None, 1, Some(parent)) = (choice, parents.len(), parents.first()) {
            return Ok(*parent);
        }
        self.spend(1 + parents.len())?;
        let parents = parents.into_iter().collect();
        self.blames.push(Reason { choice, parents });
        Ok(self.blames.len() - 1)
    }

    /// All choices that led to something.
    fn choices_of(&self, blames: &BTreeSet<Blame>) -> Result<BTreeSet<usize>, ResolveError> {
        let (mut choices, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let mut ahead: Vec<Blame> = blames.iter().copied().collect();
        while let Some(blame) = ahead.pop() {
            if blame == NOBODY || !seen.insert(blame) {
                continue;
            }
            let reason = &self.blames[blame];
            self.spend(1 + reason.parents.len())?;
            choices.extend(reason.choice);
            ahead.extend(&reason.parents);
        }
        Ok(choices)
    }

    /// Takes back what was done since the trail had this length.
    fn undo(&mut self, trail: usize) -> Result<(), ResolveError> {
        while self.state.trail.len() > trail {
            let Some(done) = self.state.trail.pop() else {
                unreachable!("it is longer than something")
            };
            self.spend(1)?;
            match done {
                Done::Pushed(tier) => drop(self.state.pending[tier].pop_back()),
                Done::Popped(tier, task) => self.state.pending[tier].push_front(task),
                Done::Waived(waived) => _ = self.state.waived.remove(&waived),
                Done::Selected(name) => {
                    let selected = self.state.selected.remove(name);
                    let selected = selected.expect("it was selected, and is taken back once");
                    let facts = self.facts(selected.number)?;
                    self.spend(facts.conflicts.len() + facts.provides.len())?;
                    // The last of each list is its own: later ones were taken back before.
                    for relation in &facts.conflicts {
                        self.state.enemies.get_mut(relation.name).map(Vec::pop);
                    }
                    for relation in &facts.provides {
                        self.state.providers.get_mut(relation.name).map(Vec::pop);
                    }
                }
            }
        }
        Ok(())
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
        self.spend(1 + facts.conflicts.len() + facts.provides.len() + facts.depends.len())?;
        self.state.selected.insert(
            name,
            Selected {
                number,
                task: task.clone(),
                blame,
            },
        );
        for relation in &facts.conflicts {
            let enemies = self.state.enemies.entry(relation.name).or_default();
            enemies.push((name, *relation));
        }
        for relation in &facts.provides {
            let providers = self.state.providers.entry(relation.name).or_default();
            providers.push(name);
        }
        self.state.trail.push(Done::Selected(name));
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
            if let Some(task) = self.task(group.clone(), Some(number), optional, blame)? {
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
        self.state.trail.push(Done::Pushed(tier));
    }

    /// A task for a group of alternatives; none, if nothing but waived packages would do.
    fn task(
        &mut self,
        group: Group<'a>,
        by: Option<u32>,
        optional: bool,
        blame: Blame,
    ) -> Result<Option<Task<'a>>, ResolveError> {
        let Found { candidates, waived } = self.found(&group, by)?;
        match waived {
            Some(name) if candidates.is_empty() => {
                let by = by.map_or("the profile", |number| self.universe.entry(number).name);
                if self.state.waived.insert((name, by)) {
                    self.state.trail.push(Done::Waived((name, by)));
                }
                Ok(None)
            }
            _ => Ok(Some(Task {
                group,
                by,
                candidates,
                optional,
                blame,
            })),
        }
    }

    /// What satisfies a group of a package `by`, looked up once for those of the base and once for the others.
    fn found(
        &mut self,
        group: &[Relation<'a>],
        by: Option<u32>,
    ) -> Result<Found<'a>, ResolveError> {
        let key = (relation::display(group), self.is_own(by));
        self.spend(group.len())?;
        if let Some(found) = self.known.get(&key) {
            return Ok(found.clone());
        }
        let (candidates, waived) = self.candidates(group, by)?;
        let found = Found {
            candidates: candidates.into(),
            waived,
        };
        self.known.insert(key, found.clone());
        Ok(found)
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
                self.spend(1)?;
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
            self.spend(self.universe.versions(relation.name).count())?;
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
            waive, waive_own, ..
        } = self.request;
        let is_left_out =
            waive.contains_key(name) || waive_own.contains_key(name) && self.is_own(by);
        is_left_out && !self.wanted.contains(name)
    }

    /// Whether `by` is a package of the base, whose dependencies count less.
    fn is_own(&self, by: Option<u32>) -> bool {
        match (&self.request.own, by) {
            (Some(own), Some(by)) => own.contains(self.universe.entry(by).name),
            _ => true,
        }
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

    /// Whether something that is selected already satisfies a group.
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
        for name in self
            .state
            .providers
            .get(relation.name)
            .into_iter()
            .flatten()
        {
            self.spend(1)?;
            let selected = self.state.selected.get(name);
            let selected = selected.expect("providers are taken back with what is selected");
            let facts = self.facts(selected.number)?;
            let entry = self.universe.entry(selected.number);
            if entry.satisfies(relation, &facts.provides) {
                return Ok(Some(selected));
            }
        }
        Ok(None)
    }

    /// What in the set rules an entry out: another version of it, or a conflict either way.
    fn obstacle(&self, number: u32) -> Result<Option<(Blame, String)>, ResolveError> {
        self.spend(1)?;
        let entry = self.universe.entry(number);
        let facts = self.facts(number)?;
        if let Some(other) = self.state.selected.get(entry.name) {
            let version = self.universe.entry(other.number).version;
            return Ok(Some((
                other.blame,
                format!("{} is already in at {version}", entry.name),
            )));
        }
        for relation in &facts.conflicts {
            if let Some(other) = self.selected(relation)? {
                let reason = format!(
                    "{} {} conflicts with {relation}, which is in",
                    entry.name, entry.version
                );
                return Ok(Some((other.blame, reason)));
            }
        }
        let provided = facts.provides.iter().map(|provided| provided.name);
        for called in iter::once(entry.name).chain(provided) {
            for (name, relation) in self.state.enemies.get(called).into_iter().flatten() {
                self.spend(1)?;
                if entry.satisfies(relation, &facts.provides) {
                    let reason = format!(
                        "{name}, which is in, conflicts with {relation} ({} {})",
                        entry.name, entry.version
                    );
                    return Ok(Some((self.state.selected[name].blame, reason)));
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
            available: {
                let versions = self.universe.versions(&wanted.name);
                let shown = versions.map(shown).take(MOST_REASONS + 1).collect();
                shortened(shown, self.universe.versions(&wanted.name).count())
            },
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
        let mut reasons = shortened(blocked, task.candidates.len());
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
        let all = there.len();
        let there = shortened(there, all);
        match (there.is_empty(), self.pins.get(name)) {
            (true, _) => format!("no repository has {name}"),
            (false, Some(pin)) => {
                format!("{name} {} was asked for", self.universe.entry(*pin).version)
            }
            (false, None) => format!("of {name} there is {}", there.join(", ")),
        }
    }
}

impl<'a> State<'a> {
    /// The next task, those with one answer first.
    fn pop(&mut self) -> Option<Rc<Task<'a>>> {
        let tier = self.pending.iter().position(|tasks| !tasks.is_empty())?;
        let task = self.pending[tier].pop_front()?;
        self.trail.push(Done::Popped(tier, task.clone()));
        Some(task)
    }
}

/// The first of `all` things, and how many more there are.
fn shortened(mut list: Vec<String>, all: usize) -> Vec<String> {
    if list.len() > MOST_REASONS {
        list.truncate(MOST_REASONS);
        list.push(format!("{} more", all - MOST_REASONS));
    }
    list
}
