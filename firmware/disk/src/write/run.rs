//! One run: the phases in their order.

use std::ops::Range;
use std::sync::Mutex;

use prejoin_wire::digest::ChunkDigest;
use prejoin_wire::disk::{Extent, merge};
use prejoin_wire::manifest::CHUNK_LIMIT;

use super::error::{Error, Spot};
use super::journal::{self, Past, Record};
use super::pieces::{Content, Piece, Pieces};
use super::table::{Copies, Tables};
use super::{Event, Job, Phase, REPAIRS, Written, kept};
use crate::io::Buffer;
use crate::io::capacity::{self, Fake};
use crate::pool;

/// What is compared, and written, as one: the file system's block, and no less than any disk's sector.
const BLOCK: usize = 4096;

/// A write costs as much as this many bytes more in the one before it.
const NEAR: usize = 16 << 10;

/// Bytes that are compared with zeroes at once.
static ZEROES: [u8; 1 << 16] = [0; 1 << 16];

pub(super) fn write(job: &Job) -> Result<Written, Error> {
    // Everything that can be refused is refused here.
    let pieces = Pieces::of(job.plan, job.manifest, &job.options.sizes)?;
    let tables = Tables::of(job.plan)?;
    let run = Run {
        job,
        pieces: &pieces,
        report: Mutex::default(),
    };
    // An interrupted run may have left something in a cache that was never flushed.
    run.flush(Phase::Compare)?;
    run.forget(Phase::Compare)?;
    let relied = tables.relied(job.disk, Phase::Compare)?;
    let before = kept::fingerprints(job.plan, job.disk, Phase::Compare)?;
    let past = run.past(&tables)?;
    let end = tables.whole.backup_extent();
    if job.options.size_check && !relied.iter().any(|extent| extent.meets(&end)) {
        run.check_size(end)?;
    }

    let todo = if job.options.verify_first {
        run.compare()?
    } else {
        run.remaining(&past)
    };
    if !(todo.is_empty() && tables.whole.count(job.disk) == 2) {
        run.carry_out(&todo, &tables, &relied, &before)?;
    }
    let proofs = kept::prove(job.plan, job.disk, &before, Phase::Commit)?;
    run.record(Phase::Commit, &Record::Done)?;
    let mut report = run
        .report
        .into_inner()
        .expect("nothing panics while it holds the lock");
    report.kept = proofs;
    if job.options.verify_first {
        let image: u64 = pieces.image().map(|piece| piece.extent.length).sum();
        report.equal = image.saturating_sub(report.written + report.zeroed);
    }
    Ok(report)
}

/// What is to be written, by phase.
struct Todo<'a> {
    clear: Vec<&'a Piece>,
    bulk: Vec<&'a Piece>,
    heads: Vec<&'a Piece>,
    boot: Vec<&'a Piece>,
}

impl Todo<'_> {
    fn is_empty(&self) -> bool {
        [&self.clear, &self.bulk, &self.heads, &self.boot]
            .iter()
            .all(|pieces| pieces.is_empty())
    }
}

struct Run<'a> {
    job: &'a Job<'a>,
    pieces: &'a Pieces,
    report: Mutex<Written>,
}

/// Memory of one thread.
struct Scratch {
    chunk: Buffer,
    found: Buffer,
}

impl<'a> Run<'a> {
    /// Begins or goes on with the journal.
    fn past(&self, tables: &Tables) -> Result<Past, Error> {
        let phase = Phase::Compare;
        let Some(journal) = self.job.journal else {
            return Ok(Past::default());
        };
        let failed = |source| Error::Journal { phase, source };
        let plan = journal::identity(self.job.plan);
        if let Some(past) = Past::of(&journal.load().map_err(failed)?, &plan) {
            // The image's bytes come after the table. Without it, this is not the disk that the journal is about.
            let copies = |copies: &Copies| copies.count(self.job.disk) > 0;
            if past.is_empty() || copies(&tables.partial) || copies(&tables.whole) {
                return Ok(past);
            }
        }
        journal.reset().map_err(failed)?;
        journal.append(&Record::Intent { plan }).map_err(failed)?;
        Ok(Past::default())
    }

    /// Fails if the disk is smaller than it says.
    fn check_size(&self, end: Extent) -> Result<(), Error> {
        let Extent { start, length } = end;
        let checked = capacity::size_check(self.job.disk, end, self.job.plan.size);
        checked.map_err(|source| match Fake::of(&source) {
            Some(fake) => Error::Fake(fake),
            None => Error::Io {
                phase: Phase::Compare,
                doing: "testing",
                spot: Spot {
                    offset: start,
                    length,
                    owner: "end of the disk".into(),
                },
                source,
            },
        })
    }

    /// Everything that the journal does not know to be done.
    fn remaining(&self, past: &Past) -> Todo<'a> {
        let rest = |pieces: &'a [Piece]| {
            let rest: Vec<&Piece> = pieces
                .iter()
                .filter(|piece| !past.covers(&piece.extent))
                .collect();
            self.report(|report| {
                report.resumed += bytes(&pieces.iter().collect::<Vec<_>>()) - bytes(&rest)
            });
            rest
        };
        let Pieces {
            clear,
            bulk,
            heads,
            boot,
            ..
        } = self.pieces;
        Todo {
            clear: clear.iter().collect(),
            bulk: rest(bulk),
            heads: rest(heads),
            boot: rest(boot),
        }
    }

    /// Everything that differs, or cannot be read.
    fn compare(&self) -> Result<Todo<'a>, Error> {
        let Pieces {
            clear,
            bulk,
            heads,
            boot,
            ..
        } = self.pieces;
        let areas = [clear, bulk, heads, boot].map(|pieces| pieces.iter().collect::<Vec<_>>());
        let total = areas.iter().map(|pieces| bytes(pieces)).sum();
        let meter = Meter::new(self, Phase::Compare, total);
        let [clear, bulk, heads, boot] =
            areas.map(|pieces| self.differing(&meter, pieces).map(|(bad, _)| bad));
        let todo = Todo {
            clear: clear?,
            bulk: bulk?,
            heads: heads?,
            boot: boot?,
        };
        self.end(Phase::Compare)?;
        Ok(todo)
    }

    fn carry_out(
        &self,
        todo: &Todo<'a>,
        tables: &Tables,
        relied: &[Extent],
        before: &[kept::Fingerprint],
    ) -> Result<(), Error> {
        if let Some(released) = tables.released.as_ref().filter(|_| !todo.clear.is_empty()) {
            self.table(Phase::Table, tables, released)?;
        }
        // A stale copy of the table that was the only good one goes when the new table stands.
        let (late, early): (Vec<&Piece>, Vec<&Piece>) = todo
            .clear
            .iter()
            .partition(|piece| relied.iter().any(|extent| extent.meets(&piece.extent)));
        self.clear(&early)?;
        self.table(Phase::Table, tables, &tables.partial)?;
        self.clear(&late)?;

        self.put(Phase::Write, &todo.bulk)?;
        self.end(Phase::Write)?;
        // What was compared and left alone has been read already. What an earlier run verified has not: somebody else may
        // have had the disk since.
        let all = |pieces: &'a [Piece]| pieces.iter().collect::<Vec<_>>();
        let proven = self.job.options.verify_first;
        if self.job.options.read_back {
            let bulk = if proven {
                todo.bulk.clone()
            } else {
                all(&self.pieces.bulk)
            };
            self.settle(Phase::Verify, bulk)?;
            self.end(Phase::Verify)?;
        }

        for (todo, whole) in [
            (&todo.heads, &self.pieces.heads),
            (&todo.boot, &self.pieces.boot),
        ] {
            self.put(Phase::Heads, todo)?;
            if self.job.options.read_back {
                self.settle(Phase::Heads, if proven { todo.clone() } else { all(whole) })?;
            }
        }
        self.end(Phase::Heads)?;

        self.forget(Phase::Commit)?;
        kept::prove(self.job.plan, self.job.disk, before, Phase::Commit)?;
        self.table(Phase::Commit, tables, &tables.whole)
    }

    fn clear(&self, pieces: &[&'a Piece]) -> Result<(), Error> {
        if pieces.is_empty() {
            return Ok(());
        }
        self.put(Phase::Clear, pieces)?;
        if self.job.options.read_back {
            self.settle(Phase::Clear, pieces.to_vec())?;
        }
        self.end(Phase::Clear)
    }

    fn table(&self, phase: Phase, tables: &Tables, copies: &Copies) -> Result<(), Error> {
        (self.job.events)(Event::Begin { phase, total: 0 });
        let written = tables
            .put(copies, self.job.disk, phase)
            .map_err(|error| match error {
                Error::NotListed { number, name } if self.has_written() => Error::Unlisted {
                    phase,
                    number,
                    name,
                },
                other => other,
            })?;
        self.report(|report| report.tables += written);
        self.end(phase)
    }

    /// Writes pieces and flushes.
    fn put(&self, phase: Phase, pieces: &[&'a Piece]) -> Result<(), Error> {
        if pieces.is_empty() {
            return Ok(());
        }
        let meter = Meter::new(self, phase, bytes(pieces));
        self.each(pieces, |piece, scratch| {
            self.put_piece(phase, piece, scratch)?;
            meter.written(piece.extent)
        })?;
        meter.flush()
    }

    fn put_piece(&self, phase: Phase, piece: &Piece, scratch: &mut Scratch) -> Result<(), Error> {
        let Extent { start, length } = piece.extent;
        let failed = |doing| {
            move |source| Error::Io {
                phase,
                doing,
                spot: self.pieces.spot(piece),
                source,
            }
        };
        match piece.content {
            Content::Zero => self
                .job
                .disk
                .zero(start, length)
                .map_err(failed("zeroing"))?,
            Content::Chunk { .. } => {
                let bytes = self.bytes(phase, piece, &mut scratch.chunk)?;
                let found = &mut scratch.found[..bytes.len()];
                // What cannot be read is written whole: that may mend it.
                let runs = match self.job.options.verify_first
                    && self.job.disk.read_at(start, found).is_ok()
                {
                    true => runs(bytes, found),
                    false => std::iter::once(0..bytes.len()).collect(),
                };
                for run in &runs {
                    let at = start + run.start as u64;
                    self.job
                        .disk
                        .write_at(at, &bytes[run.clone()])
                        .map_err(failed("writing"))?;
                }
                let written: u64 = runs.iter().map(|run| run.len() as u64).sum();
                self.report(|report| report.written += written);
            }
        }
        self.report(|report| match (phase, piece.content) {
            (Phase::Clear, _) => report.cleared += length,
            (_, Content::Zero) => report.zeroed += length,
            (_, Content::Chunk { .. }) => {}
        });
        Ok(())
    }

    /// Reads pieces from the medium until all of them are right; writes anew what is not.
    fn settle(&self, phase: Phase, mut pieces: Vec<&'a Piece>) -> Result<(), Error> {
        for repairs in 0.. {
            if pieces.is_empty() {
                break;
            }
            self.forget(phase)?;
            let total = bytes(&pieces);
            let (bad, error) = self.differing(&Meter::new(self, phase, total), pieces)?;
            self.report(|report| report.verified += total - bytes(&bad));
            if repairs == REPAIRS
                && let Some(piece) = bad.first()
            {
                let spot = self.pieces.spot(piece);
                return Err(error.unwrap_or(Error::Unstable {
                    phase,
                    spot,
                    repairs,
                }));
            }
            pieces = bad;
            for piece in &pieces {
                (self.job.events)(Event::Repair {
                    phase,
                    spot: self.pieces.spot(piece),
                });
            }
            self.report(|report| report.repairs += pieces.len() as u64);
            self.put(phase, &pieces)?;
        }
        Ok(())
    }

    /// The pieces that are not on the disk, in order, and why one of them could not be read, if that is so.
    fn differing(
        &self,
        meter: &Meter,
        pieces: Vec<&'a Piece>,
    ) -> Result<(Vec<&'a Piece>, Option<Error>), Error> {
        let bad = Mutex::new((Vec::new(), None));
        self.each(&pieces, |piece, scratch| {
            let there = match self.is_there(meter.phase, piece, scratch) {
                // It may be mended by writing to it.
                Err(error @ Error::Io { .. }) => Err(error),
                other => Ok(other?),
            };
            if !matches!(there, Ok(true)) {
                let mut bad = bad.lock().expect("nothing panics while it holds the lock");
                bad.0.push(*piece);
                bad.1 = there.err().or(bad.1.take());
            }
            meter.read(piece.extent.length);
            Ok(())
        })?;
        let (mut bad, error) = bad
            .into_inner()
            .expect("nothing panics while it holds the lock");
        bad.sort_by_key(|piece| piece.extent);
        Ok((bad, error))
    }

    fn is_there(&self, phase: Phase, piece: &Piece, scratch: &mut Scratch) -> Result<bool, Error> {
        let Extent { mut start, length } = piece.extent;
        let failed = |source| Error::Io {
            phase,
            doing: "reading",
            spot: self.pieces.spot(piece),
            source,
        };
        if piece.content == Content::Zero {
            while start < piece.extent.end() {
                let window = CHUNK_LIMIT.min(piece.extent.end() - start) as usize;
                let window = &mut scratch.found[..window];
                self.job.disk.read_at(start, window).map_err(failed)?;
                if !window
                    .chunks(ZEROES.len())
                    .all(|bytes| *bytes == ZEROES[..bytes.len()])
                {
                    return Ok(false);
                }
                start += window.len() as u64;
            }
            return Ok(true);
        }
        let found = &mut scratch.found[..length as usize];
        self.job.disk.read_at(start, found).map_err(failed)?;
        match piece.digest() {
            Some(digest) => Ok(ChunkDigest::of(found) == digest),
            None => Ok(self.bytes(phase, piece, &mut scratch.chunk)? == found),
        }
    }

    /// What belongs into a piece, checked.
    fn bytes<'b>(
        &self,
        phase: Phase,
        piece: &Piece,
        buffer: &'b mut Buffer,
    ) -> Result<&'b [u8], Error> {
        let Content::Chunk {
            digest,
            length,
            skip,
        } = piece.content
        else {
            return Ok(&[]);
        };
        let spot = || self.pieces.spot(piece);
        let chunk = &mut buffer[..length as usize];
        let failed = |source| Error::Fetch {
            phase,
            digest,
            spot: spot(),
            source,
        };
        self.job.chunks.read(&digest, chunk).map_err(failed)?;
        let found = ChunkDigest::of(chunk);
        if found != digest {
            return Err(Error::Chunk {
                phase,
                digest,
                found,
                spot: spot(),
            });
        }
        Ok(&chunk[skip as usize..][..piece.extent.length as usize])
    }

    fn each(
        &self,
        pieces: &[&'a Piece],
        work: impl Fn(&&'a Piece, &mut Scratch) -> Result<(), Error> + Sync,
    ) -> Result<(), Error> {
        let scratch = || Scratch {
            chunk: Buffer::new(CHUNK_LIMIT as usize),
            found: Buffer::new(CHUNK_LIMIT as usize),
        };
        pool::each(self.job.options.threads, pieces, scratch, work)
    }

    fn flush(&self, phase: Phase) -> Result<(), Error> {
        self.job
            .disk
            .flush()
            .map_err(|source| Error::Flush { phase, source })
    }

    fn forget(&self, phase: Phase) -> Result<(), Error> {
        self.job
            .disk
            .forget()
            .map_err(|source| Error::Flush { phase, source })
    }

    fn record(&self, phase: Phase, record: &Record) -> Result<(), Error> {
        let Some(journal) = self.job.journal else {
            return Ok(());
        };
        journal
            .append(record)
            .map_err(|source| Error::Journal { phase, source })
    }

    fn report(&self, change: impl FnOnce(&mut Written)) {
        change(
            &mut self
                .report
                .lock()
                .expect("nothing panics while it holds the lock"),
        );
    }

    fn has_written(&self) -> bool {
        let report = self
            .report
            .lock()
            .expect("nothing panics while it holds the lock");
        [report.cleared, report.tables, report.written, report.zeroed]
            .iter()
            .any(|&bytes| bytes > 0)
    }

    fn end(&self, phase: Phase) -> Result<(), Error> {
        (self.job.events)(Event::End { phase });
        self.record(phase, &Record::Reached { phase })
    }
}

/// Counts the bytes of a portion of a phase, and flushes when there are enough of them.
struct Meter<'a> {
    run: &'a Run<'a>,
    phase: Phase,
    total: u64,
    count: Mutex<Count>,
    /// Held while the disk is flushed: records and events come one after the other.
    turn: Mutex<()>,
}

#[derive(Default)]
struct Count {
    sent: u64,
    done: u64,
    unflushed: Vec<Extent>,
    waiting: u64,
}

impl<'a> Meter<'a> {
    fn new(run: &'a Run<'a>, phase: Phase, total: u64) -> Self {
        (run.job.events)(Event::Begin { phase, total });
        Meter {
            run,
            phase,
            total,
            count: Mutex::default(),
            turn: Mutex::default(),
        }
    }

    fn read(&self, length: u64) {
        self.count(|count| {
            count.sent += length;
            count.done += length;
        });
        self.show();
    }

    fn written(&self, extent: Extent) -> Result<(), Error> {
        let waiting = self.count(|count| {
            count.sent += extent.length;
            count.waiting += extent.length;
            count.unflushed.push(extent);
            count.waiting
        });
        self.show();
        if waiting < self.run.job.options.sizes.group {
            Ok(())
        } else {
            self.flush()
        }
    }

    /// What was written before a flush begins is on the medium when it ends; other threads write on meanwhile.
    fn flush(&self) -> Result<(), Error> {
        let _turn = self
            .turn
            .lock()
            .expect("a panic in another thread has ended this run");
        let group = self.count(|count| {
            count.waiting = 0;
            std::mem::take(&mut count.unflushed)
        });
        if group.is_empty() {
            return Ok(());
        }
        self.run.flush(self.phase)?;
        let length: u64 = group.iter().map(|extent| extent.length).sum();
        if self.phase != Phase::Clear {
            self.run.record(
                self.phase,
                &Record::Written {
                    extents: merge(group),
                },
            )?;
        }
        self.count(|count| count.done += length);
        self.show();
        Ok(())
    }

    fn show(&self) {
        let Meter { phase, total, .. } = *self;
        let (sent, done) = self.count(|count| (count.sent, count.done));
        (self.run.job.events)(Event::Progress {
            phase,
            sent,
            done,
            total,
        });
    }

    fn count<T>(&self, change: impl FnOnce(&mut Count) -> T) -> T {
        change(
            &mut self
                .count
                .lock()
                .expect("nothing panics while it holds the lock"),
        )
    }
}

/// Where two equally long runs of bytes differ, in whole blocks of 4096 bytes; differences with less than [`NEAR`]
/// between them are one.
fn runs(wanted: &[u8], found: &[u8]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (index, (wanted, found)) in wanted.chunks(BLOCK).zip(found.chunks(BLOCK)).enumerate() {
        if wanted == found {
            continue;
        }
        let start = index * BLOCK;
        match runs.last_mut() {
            Some(last) if start - last.end < NEAR => last.end = start + wanted.len(),
            _ => runs.push(start..start + wanted.len()),
        }
    }
    runs
}

fn bytes(pieces: &[&Piece]) -> u64 {
    pieces.iter().map(|piece| piece.extent.length).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_written() {
        let old = vec![1; 20 * BLOCK + 7];
        let mut new = old.clone();
        assert!(runs(&new, &old).is_empty());
        new[5] = 2;
        new[2 * BLOCK] = 2;
        new[10 * BLOCK - 1] = 2;
        *new.last_mut().expect("not empty") = 2;
        assert_eq!(
            runs(&new, &old),
            [
                0..3 * BLOCK,
                9 * BLOCK..10 * BLOCK,
                20 * BLOCK..20 * BLOCK + 7
            ]
        );
    }
}
