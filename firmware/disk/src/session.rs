//! One disk, from the first look to the last table. What may be done next is a type, so that nobody who writes disks (the
//! command line, a node, a test) can leave a step out:
//!
//! | step | by | makes |
//! |---|---|---|
//! | hold the disk, look at it | [`Session::hold`] | [`Looked`] |
//! | pass a verdict | [`Looked::judge`] | [`Judged`] |
//! | ask, for all disks or for none | [`agree`] | [`Agreed`] |
//! | look again if somebody was asked, keep the old tables, write, read back, commit | [`Agreed::write`] | [`Written`] |
//!
//! The caller brings the image's bytes ([`Chunks`]), and a [`Person`] who says yes and sees what happens. An interrupted run
//! is completed by the same calls: the journal and the tables of before are found in [`Session::folder`].

mod error;
mod restore;
mod view;

use std::path::{Path, PathBuf};
use std::slice;

use prejoin_wire::disk::{Device, Facts, Mode, Plan, Report, Severity, Verdict};
use prejoin_wire::manifest::Range;

use crate::guard::Guarded;
use crate::io::keep::{self, Keep};
use crate::io::target::{self, Target};
use crate::io::{self, FileJournal, inventory};
use crate::judge::{Intent, judge, usual_mode};
use crate::plan::{self, Image, Wish};
use crate::write::{self, Chunks, Event, Job, Options};

pub use error::{Error, Stopped};
pub use restore::{Confirmed, Return, Returned};
pub use view::look;

/// What is written, and how: the same for every disk of a run.
#[derive(Clone, Copy)]
pub struct Session<'a> {
    /// The image.
    pub image: Image<'a>,
    /// Where its bytes come from.
    pub chunks: &'a dyn Chunks,
    /// Where the old tables and the journal go. Without a folder, disks can be judged and not written.
    pub folder: Option<&'a Path>,
    /// How it is written. Whether the size of a disk is checked is decided here.
    pub options: Options,
}

/// Who decides, and who watches.
pub trait Person: Sync {
    /// Why there is no answer.
    type Error: From<Error>;

    /// Whether a disk may be written. Asked only when all disks of a run can be.
    fn consent(&self, judged: &Judged) -> Result<Consent, Self::Error>;

    /// Something happened to a disk, by its path. Called from several threads.
    fn show(&self, _disk: &str, _event: Event) {}
}

/// Nobody is there to be asked: what anything speaks against is not written.
pub struct Unattended;

impl Person for Unattended {
    type Error = Error;

    fn consent(&self, _judged: &Judged) -> Result<Consent, Error> {
        Ok(Consent::Unasked)
    }
}

/// A yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Consent {
    /// Nobody was asked, which is enough where nothing speaks against it.
    Unasked,
    /// Tokens of verdicts that were agreed to before; one of them must be of this verdict.
    Tokens(Vec<String>),
    /// What somebody typed just now: it must be the [`typed_name`] of the disk. He may have taken his time, so that it is
    /// looked at again before it is written.
    Typed(String),
}

/// A disk that was looked at.
pub struct Looked<'a> {
    session: Session<'a>,
    /// The name that the disk was asked for by.
    asked: PathBuf,
    facts: Facts,
    hold: Option<Target>,
}

/// A disk with a verdict.
pub struct Judged<'a> {
    session: Session<'a>,
    facts: Facts,
    intent: Intent,
    report: Report,
    /// `None`: it is only looked at, or somebody else has it.
    hold: Option<Target>,
}

/// A disk that may be written.
pub struct Agreed<'a> {
    session: Session<'a>,
    device: Device,
    intent: Intent,
    plan: Plan,
    token: String,
    keep: Keep,
    hold: Option<Target>,
    /// Time has passed since it was looked at. A hold keeps out mounts and volumes, not everybody.
    has_waited: bool,
}

/// A disk that was written, read back and committed.
#[derive(Debug)]
pub struct Written {
    /// What was done.
    pub report: write::Written,
    /// The tables that were there before; if an earlier run was interrupted, before that one.
    pub saved: PathBuf,
    /// Why the kernel does not use the new table, if so.
    pub kernel: Option<std::io::Error>,
}

impl<'a> Session<'a> {
    /// Writes an image as it is usually done, with the old tables and the journal in `folder`.
    pub fn new(image: Image<'a>, chunks: &'a dyn Chunks, folder: &'a Path) -> Self {
        Session {
            image,
            chunks,
            folder: Some(folder),
            options: Options::default(),
        }
    }

    /// Looks at a disk or image file that will be judged and not written.
    pub fn look(&self, disk: &Path) -> Result<Looked<'a>, io::Error> {
        let facts = view::look(disk, &self.image.starts())?;
        Ok(self.looked(disk, facts, None))
    }

    /// Holds a disk or image file, so that nobody mounts it from now on, and looks at it. Where somebody else has it, that
    /// is among the facts, and a refusal.
    pub fn hold(&self, disk: &Path) -> Result<Looked<'a>, io::Error> {
        match Target::open(disk, &target::Options::default()) {
            Ok(hold) => {
                let facts = view::held(&hold, disk, &self.image.starts())?;
                Ok(self.looked(disk, facts, Some(hold)))
            }
            Err(_) => self.look(disk),
        }
    }

    /// A disk that was looked at elsewhere. Its facts know no other name of it than the kernel's.
    pub fn recorded(&self, facts: Facts) -> Looked<'a> {
        let asked = PathBuf::from(&facts.device.path);
        self.looked(&asked, facts, None)
    }

    fn looked(&self, asked: &Path, facts: Facts, hold: Option<Target>) -> Looked<'a> {
        Looked {
            session: *self,
            asked: asked.to_owned(),
            facts,
            hold,
        }
    }

    /// Fails if a chunk is missing: that is seen before the first write.
    fn check_complete(&self) -> Result<(), Error> {
        let manifest = self.image.manifest;
        for range in &manifest.ranges {
            if let Range::Data { length, digest } = range {
                self.chunks
                    .find(digest, *length)
                    .map_err(|source| Error::Chunk {
                        node: manifest.node.clone(),
                        source,
                    })?;
            }
        }
        Ok(())
    }
}

impl<'a> Looked<'a> {
    /// What is on it, and who uses it.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The mode that keeps most.
    pub fn usual_mode(&self) -> Mode {
        usual_mode(&self.facts.content, &self.session.image)
    }

    /// What is usually wanted: the image's own node, in the mode that keeps most.
    pub fn usual_intent(&self) -> Intent {
        Intent {
            wish: Wish {
                mode: self.usual_mode(),
                ..Wish::default()
            },
            node: self.session.image.manifest.node.clone(),
            ..Intent::default()
        }
    }

    /// Passes the verdict on writing the image there. How the disk was named, and what earlier runs were given to delete,
    /// is known here: of the intent, that does not count.
    pub fn judge(self, intent: Intent) -> Judged<'a> {
        let Looked {
            session,
            asked,
            facts,
            hold,
        } = self;
        let mut intent = Intent {
            by_kernel_name: !facts.device.file && inventory::is_kernel_name(&asked),
            ..intent
        };
        intent.named_before = match session.folder {
            Some(folder) if !intent.wish.delete.is_empty() => {
                keep(folder, &facts, &intent).named_before()
            }
            _ => Default::default(),
        };
        let report = judge(&facts, &intent, &session.image);
        Judged {
            session,
            facts,
            intent,
            report,
            hold,
        }
    }
}

impl<'a> Judged<'a> {
    /// What is on it, and who uses it.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The verdict with its reasons, and what would be written.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// As [`agree`], for one disk.
    pub fn agree<P: Person>(&mut self, person: &P) -> Result<Agreed<'a>, P::Error> {
        let mut agreed = agree(slice::from_mut(self), person)?;
        Ok(agreed.pop().expect("one was given"))
    }

    /// Fails if it is refused.
    pub fn check_allowed(&self) -> Result<(), Error> {
        if self.report.verdict != Verdict::Refuse {
            return Ok(());
        }
        let findings = self.report.findings.iter();
        let grave = findings.filter(|finding| finding.severity == Severity::Refuse);
        let mut codes: Vec<&str> = grave.map(|finding| finding.code.name()).collect();
        codes.dedup();
        Err(Error::Refused {
            disk: self.report.disk.clone(),
            codes: codes.join(", "),
        })
    }

    fn keep(&self) -> Result<Keep, Error> {
        let folder = self.session.folder.ok_or(Error::NoFolder)?;
        let keep = keep(folder, &self.facts, &self.intent);
        keep.make_folder()?;
        Ok(keep)
    }

    /// Whether a yes is one for this.
    fn check(&self, consent: &Consent) -> Result<(), Error> {
        let device = &self.facts.device;
        let disk = || device.path.clone();
        match consent {
            Consent::Unasked if self.report.verdict == Verdict::Ok => Ok(()),
            Consent::Unasked => Err(Error::Unasked { disk: disk() }),
            Consent::Tokens(tokens) => match &self.report.token {
                Some(token) if tokens.contains(token) => Ok(()),
                _ => Err(Error::Unconfirmed { disk: disk() }),
            },
            Consent::Typed(text) => check_named(device, text),
        }
    }

    /// Once it is certain that it may be written.
    fn agreed(&mut self, keep: Keep, has_waited: bool) -> Result<Agreed<'a>, Error> {
        let (Some(plan), Some(token)) = (&self.report.plan, &self.report.token) else {
            return Err(Error::Unasked {
                disk: self.report.disk.clone(),
            });
        };
        Ok(Agreed {
            session: self.session,
            device: self.facts.device.clone(),
            intent: self.intent.clone(),
            plan: plan.clone(),
            token: token.clone(),
            keep,
            // Whoever agrees a second time has no hold, and looks again.
            hold: self.hold.take(),
            has_waited,
        })
    }
}

/// Asks whether disks may be written: all of them, or none. Nobody is asked for what cannot be done.
pub fn agree<'a, P: Person>(
    cases: &mut [Judged<'a>],
    person: &P,
) -> Result<Vec<Agreed<'a>>, P::Error> {
    for case in cases.iter() {
        case.check_allowed()?;
    }
    for case in cases.iter() {
        case.session.check_complete()?;
    }
    let keeps: Vec<Keep> = cases.iter().map(Judged::keep).collect::<Result<_, _>>()?;
    let mut has_waited = false;
    for case in cases.iter() {
        let consent = person.consent(case)?;
        case.check(&consent)?;
        has_waited |= matches!(consent, Consent::Typed(_));
    }
    let mut agreed = Vec::new();
    for (case, keep) in cases.iter_mut().zip(keeps) {
        agreed.push(case.agreed(keep, has_waited)?);
    }
    Ok(agreed)
}

impl Agreed<'_> {
    /// Path of the disk.
    pub fn disk(&self) -> &str {
        &self.device.path
    }

    /// Writes the image. What stops it leaves the disk so that the same session again completes it.
    pub fn write<P: Person>(mut self, person: &P) -> Result<Written, Stopped> {
        let early = Stopped::before_writing;
        let held = self.hold.take();
        let is_fresh = held.is_some() && !self.has_waited;
        let target = match held {
            Some(target) => target,
            None => self.open().map_err(early)?,
        };
        let plan = match is_fresh {
            true => self.plan.clone(),
            false => self.look_again(&target).map_err(early)?,
        };
        let disk = Guarded::new(&target, plan::writes(&plan));
        let (journal, saved) = self.save(&plan, &disk).map_err(early)?;
        let job = Job {
            plan: &plan,
            manifest: self.session.image.manifest,
            chunks: self.session.chunks,
            disk: &disk,
            journal: Some(&journal),
            options: self.options(),
            events: &|event| person.show(&self.device.path, event),
        };
        let written = write::write(&job);
        // Also where it failed: partitions of the old table may be overwritten in part.
        let kernel = target.reread().err();
        match written {
            Ok(report) => {
                self.keep.finish();
                Ok(Written {
                    report,
                    saved,
                    kernel,
                })
            }
            Err(error) => Err(Stopped {
                error: Box::new(error.into()),
                saved: Some(saved),
                kernel,
                has_begun: disk.has_written(),
            }),
        }
    }

    fn open(&self) -> Result<Target, Error> {
        let path = Path::new(&self.device.path);
        Ok(Target::open(path, &target::Options::default())?)
    }

    /// Looks at the disk again, now that it is ours alone, and makes the plan anew: it must be the one that was agreed to.
    fn look_again(&self, target: &Target) -> Result<Plan, Error> {
        let image = &self.session.image;
        target
            .unchanged(&self.device)
            .map_err(|error| Error::changed(error.to_string()))?;
        let facts = view::held(target, Path::new(&self.device.path), &image.starts())?;
        let report = judge(&facts, &self.intent, image);
        if report.verdict == Verdict::Refuse {
            let first = report.findings.first();
            let why = first.map(|finding| format!("{}: {}", finding.code, finding.evidence));
            let why = why.unwrap_or_default();
            return Err(Error::changed(format!(
                "it must not be written any more: {why}"
            )));
        }
        match report.plan {
            Some(plan) if report.token.as_ref() == Some(&self.token) => Ok(plan),
            _ => Err(Error::changed(
                "what is on it has changed since it was looked at".into(),
            )),
        }
    }

    /// Keeps the old tables, and opens the journal.
    fn save(&self, plan: &Plan, disk: &Guarded<&Target>) -> Result<(FileJournal, PathBuf), Error> {
        let path = self.keep.journal();
        let journal = match FileJournal::open(&path) {
            Ok(journal) => journal,
            Err(source) => return Err(Error::Journal { path, source }),
        };
        let old = write::before(plan, disk)?;
        let saved = self.keep.save(&journal, plan, disk, &old)?;
        Ok((journal, saved))
    }

    fn options(&self) -> Options {
        let options = self.session.options;
        Options {
            // A file is as large as the file system that it is in lets it be.
            size_check: !options.verify_first && !self.device.file,
            ..options
        }
    }
}

/// What is typed to agree: the serial number, or the last part of the path.
pub fn typed_name(device: &Device) -> (&'static str, String) {
    match &device.serial {
        Some(serial) => ("serial number", serial.clone()),
        None => ("name", keep::last(Path::new(&device.path))),
    }
}

/// Fails unless `text` is what is typed for this disk.
fn check_named(device: &Device, text: &str) -> Result<(), Error> {
    let (what, name) = typed_name(device);
    match text == name {
        true => Ok(()),
        false => Err(Error::NotNamed {
            what,
            disk: device.path.clone(),
        }),
    }
}

fn keep(folder: &Path, facts: &Facts, intent: &Intent) -> Keep {
    Keep::new(folder, &intent.node, &facts.device, &intent.wish.delete)
}
