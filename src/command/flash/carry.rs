//! Carrying a plan out on one target: hold it, look again if time has passed, save, write.

use std::path::{Path, PathBuf};

use indicatif::MultiProgress;
use prejoin_disk::device::ReadAt;
use prejoin_disk::guard::Guarded;
use prejoin_disk::io::target::{self, Target};
use prejoin_disk::io::{Failed, FileJournal};
use prejoin_disk::judge::judge;
use prejoin_disk::plan;
use prejoin_disk::write::{self, Job, Journal as _, Record, Written};
use prejoin_image_builder::class::Class;
use prejoin_store::chunks::{self, ChunkStore};
use prejoin_wire::disk::{Code, Plan, Verdict};
use serde_json::{Value, json};

use super::image::Image;
use super::meter::{Meter, Took};
use super::saved::Keep;
use super::{Case, exit, last, midway};
use crate::args::Flash;
use crate::command::disk::look;
use crate::command::verify;
use crate::failure::Failure;

/// What became of one target.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) node: String,
    pub(crate) path: String,
    pub(crate) written: Option<Written>,
    pub(crate) failure: Option<Failure>,
    pub(crate) phases: Vec<Took>,
    /// Where the old tables are.
    pub(crate) saved: Option<PathBuf>,
    /// Why the kernel does not use the new table, if so.
    pub(crate) kernel: Option<String>,
}

impl Outcome {
    /// As JSON.
    pub(crate) fn document(&self) -> Value {
        let words = self
            .failure
            .as_ref()
            .map(|failure| (failure.number(), failure.words()));
        json!({
            "result": self.written,
            "phases": self.phases,
            "saved": self.saved,
            "kernel": self.kernel,
            "error": words.map(|(code, (message, hint))| json!({"exit_code": code, "message": message, "hint": hint})),
        })
    }
}

/// Writes the image to one target, which was judged and agreed to.
pub(crate) fn carry(
    args: &Flash,
    image: &Image,
    case: &Case,
    keep: &Keep,
    bars: &MultiProgress,
) -> Outcome {
    let path = case.judgement.disk.clone();
    let meter = Meter::new(bars, &last(&path));
    let mut outcome = Outcome {
        node: args.node.clone(),
        path,
        ..Outcome::default()
    };
    match steps(args, image, case, keep, &meter, &mut outcome) {
        Ok(written) => outcome.written = Some(written),
        Err(failure) => outcome.failure = Some(failure.of(&outcome.path)),
    }
    outcome.phases = meter.finish();
    outcome
}

fn steps(
    args: &Flash,
    image: &Image,
    case: &Case,
    keep: &Keep,
    meter: &Meter,
    outcome: &mut Outcome,
) -> Result<Written, Failure> {
    let opened;
    let target = match &case.hold {
        Some(target) => target,
        None => {
            opened = Target::open(
                Path::new(&case.facts.device.path),
                &target::Options::default(),
            )
            .map_err(|error| look::unusable(&error))?;
            &opened
        }
    };
    let plan = match &case.judgement.plan {
        Some(plan) if case.hold.is_some() && !case.asked => plan.clone(),
        _ => again(image, case, target)?,
    };
    let disk = Guarded::new(target, plan::writes(&plan));

    let journal = FileJournal::open(&keep.journal()).map_err(|error| {
        Failure::new(Class::Environment, &error)
            .of(format!("the journal {}", keep.journal().display()))
    })?;
    let old =
        write::before(&plan, &disk).map_err(|error| failed(&error, &args.node, &image.store))?;
    outcome.saved = Some(saved(keep, &journal, &plan, &disk, &old)?);

    let options = write::Options {
        verify_first: args.verify_first,
        read_back: !args.no_read_back,
        // A file is as large as the file system that it is in lets it be.
        size_check: !args.verify_first && !case.facts.device.file,
        threads: args.threads.into(),
        ..write::Options::default()
    };
    let job = Job {
        plan: &plan,
        manifest: &image.manifest,
        chunks: image,
        disk: &disk,
        journal: Some(&journal),
        options,
        events: &|event| meter.show(event),
    };
    let written = write::write(&job).map_err(|error| {
        let failure = failed(&error, &args.node, &image.store);
        match disk.has_written() {
            true => midway(failure),
            false => failure,
        }
    });
    // Also where it failed: partitions of the old table may be overwritten in part.
    outcome.kernel = target.reread().err().map(|error| look::stale(&error));
    written.inspect(|_| keep.finish())
}

/// Where the tables are that were there before; if an earlier run was interrupted, before that one.
fn saved(
    keep: &Keep,
    journal: &FileJournal,
    plan: &Plan,
    disk: &dyn ReadAt,
    now: &write::Saved,
) -> Result<PathBuf, Failure> {
    let ended = journal
        .load()
        .is_ok_and(|records| records.contains(&Record::Done));
    let precedes = |first: &write::Saved| first.precedes(plan, disk).unwrap_or(false);
    let first = keep
        .unfinished()
        .filter(|(_, first)| !ended && precedes(first));
    // What is there now is kept in any case: somebody may have changed it between the runs.
    let path = keep.save(now)?;
    match first {
        Some((first, _)) => Ok(first),
        None => keep.begin(&path).map(|()| path),
    }
}

/// Looks at the disk again, now that it is ours alone, and makes the plan anew: it must be the one that was agreed to.
fn again(image: &Image, case: &Case, target: &Target) -> Result<Plan, Failure> {
    let changed = |what: String| {
        Failure::plain(Class::Input, format!("{}: {what}", Code::IdChanged))
            .exit(exit::REFUSED)
            .hint("nothing was written; look again with --dry-run".to_owned())
    };
    target
        .unchanged(&case.facts.device)
        .map_err(|error| changed(error.to_string()))?;
    let path = Path::new(&case.facts.device.path);
    let facts = look::held(target, path, &image.view().starts())?;
    let judgement = judge(&facts, &case.intent, &image.view());
    if judgement.verdict == Verdict::Refuse {
        let first = judgement
            .findings
            .first()
            .map(|finding| format!("{}: {}", finding.code, finding.evidence));
        return Err(changed(format!(
            "it must not be written any more: {}",
            first.unwrap_or_default()
        )));
    }
    match judgement.plan {
        Some(plan) if judgement.token == case.judgement.token => Ok(plan),
        _ => Err(changed(
            "what is on it has changed since it was looked at".into(),
        )),
    }
}

/// A failure of writing, with the exit code that stands for it.
fn failed(error: &write::Error, node: &str, store: &ChunkStore) -> Failure {
    use write::Error;
    let disk = |source| {
        Failed::of(source)
            .and_then(Failed::hint)
            .or_else(|| error.hint())
    };
    let failure = |class| Failure::new(class, error);
    match error {
        Error::Fetch { source, .. } => match source.downcast_ref::<chunks::Error>() {
            Some(inner) => verify::damage(inner, node),
            None => failure(Class::Environment).hint(error.hint()),
        },
        Error::Chunk { digest, found, .. } => {
            let what = format!("its content has digest {found}");
            let damaged = chunks::Error::Damaged {
                digest: *digest,
                path: store.path(digest),
                what,
            };
            verify::damage(&damaged, node)
        }
        Error::Io { source, .. } | Error::Flush { source, .. } => failure(Class::Environment)
            .exit(exit::DISK)
            .hint(disk(source)),
        Error::Fake(fake) => {
            let message = format!("{}: {fake}", Code::DvFake);
            Failure::plain(Class::Environment, message)
                .exit(exit::DISK)
                .hint(error.hint())
        }
        Error::Unlisted { .. } => failure(Class::Environment)
            .exit(exit::DISK)
            .hint(error.hint()),
        Error::Journal { .. } => failure(Class::Environment).hint(error.hint()),
        Error::Unstable { .. } => failure(Class::Environment)
            .exit(exit::READ_BACK)
            .hint(error.hint()),
        Error::DataChanged { .. } => failure(Class::Environment)
            .exit(exit::DATA)
            .hint(error.hint()),
        _ => failure(Class::Input).exit(exit::REFUSED).hint(error.hint()),
    }
}

/// The same for what puts old tables back.
pub(crate) fn restored(error: &write::Error) -> Failure {
    use write::Error;
    let code = match error {
        Error::Plan(_) | Error::Table(_) | Error::Appeared { .. } => exit::REFUSED,
        _ => exit::DISK,
    };
    Failure::new(Class::Environment, error)
        .exit(code)
        .hint(error.hint())
}

#[cfg(test)]
mod tests {
    use std::io;

    use prejoin_disk::write::{Error, Fingerprint, Phase, Spot};
    use prejoin_wire::digest::{ChunkDigest, Digest};

    use super::*;

    #[test]
    fn exit_codes() {
        let spot = || Spot {
            offset: 0,
            length: 1,
            owner: "partition 1".into(),
        };
        let phase = Phase::Write;
        let broken = || io::Error::other("broken");
        let print = Fingerprint(Digest::of(b""));
        let store = ChunkStore::open(Path::new("out"));
        let digest = ChunkDigest::of(b"chunk");
        let missing = Box::new(chunks::Error::Missing(digest));
        for (error, code) in [
            (Error::Plan("it cannot be".into()), 20),
            (
                Error::NotListed {
                    number: 1,
                    name: "data".into(),
                },
                20,
            ),
            (
                Error::Fake(prejoin_disk::io::capacity::Fake::Lost { size: 1 }),
                30,
            ),
            (
                Error::Unlisted {
                    phase,
                    number: 1,
                    name: "data".into(),
                },
                30,
            ),
            (
                Error::Io {
                    phase,
                    doing: "writing",
                    spot: spot(),
                    source: broken(),
                },
                30,
            ),
            (
                Error::Flush {
                    phase,
                    source: broken(),
                },
                30,
            ),
            (
                Error::Unstable {
                    phase,
                    spot: spot(),
                    repairs: 3,
                },
                31,
            ),
            (
                Error::DataChanged {
                    phase,
                    number: 1,
                    name: "data".into(),
                    before: print,
                    after: print,
                },
                32,
            ),
            (
                Error::Journal {
                    phase,
                    source: broken(),
                },
                6,
            ),
            (
                Error::Chunk {
                    phase,
                    digest,
                    found: digest,
                    spot: spot(),
                },
                5,
            ),
            (
                Error::Fetch {
                    phase,
                    digest,
                    spot: spot(),
                    source: missing,
                },
                5,
            ),
        ] {
            assert_eq!(failed(&error, "w1", &store).number(), code, "{error}");
            // Nothing says that nothing was written once something was.
            let late = if code == 20 { 30 } else { code };
            assert_eq!(midway(failed(&error, "w1", &store)).number(), late);
        }
    }
}
