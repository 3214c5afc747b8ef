//! What was done so far, kept elsewhere than on the disk that is written.
//!
//! A journal is a list of records, each durable before the next thing happens. One record is one line: eight hexadecimal
//! digits of the SHA-256 of the rest, a space, and a JSON object. A line that was torn by a power cut fails its digits
//! and ends the journal; everything before it holds.

use std::io;

use prejoin_wire::digest::Digest;
use prejoin_wire::disk::{Entry, Extent, Plan, merge};
use serde::{Deserialize, Serialize};

use super::{Phase, pieces};

/// Where records are kept.
pub trait Journal: Sync {
    /// All records so far, the oldest first.
    fn load(&self) -> io::Result<Vec<Record>>;

    /// Adds a record; it survives a power cut when this returns.
    fn append(&self, record: &Record) -> io::Result<()>;

    /// Forgets all records.
    fn reset(&self) -> io::Result<()>;
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Record {
    /// Writing begins.
    Intent {
        /// [`identity`] of the plan.
        plan: Digest,
    },
    /// These bytes of the image are on the medium.
    Written {
        /// Where, in order.
        extents: Vec<Extent>,
    },
    /// A phase is over.
    Reached {
        /// Which.
        phase: Phase,
    },
    /// Everything is done.
    Done,
}

impl Record {
    /// The record as a line of a journal.
    pub fn to_line(&self) -> String {
        let json = serde_json::to_string(self).expect("a record has only string keys");
        format!("{} {json}\n", Digest::of(json.as_bytes()).short())
    }

    /// The records of a journal's text, and how many bytes of it they are: what follows is torn.
    pub fn parse(text: &[u8]) -> (Vec<Record>, usize) {
        let mut records = Vec::new();
        let mut whole = 0;
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            let Some(record) = line.strip_suffix(b"\n").and_then(record) else {
                break;
            };
            records.push(record);
            whole += line.len();
        }
        (records, whole)
    }
}

fn record(line: &[u8]) -> Option<Record> {
    let (digits, json) = (line.get(..8)?, line.get(9..)?);
    let matches = Digest::of(json).short().as_bytes() == digits;
    matches.then(|| serde_json::from_slice(json).ok()).flatten()
}

/// Digest of what decides where an image's bytes go, and of the table that lists them. How the disk looked before is not
/// part of it, nor what the earlier of two runs has made and the later one keeps: a plan that is made anew after an
/// interruption is the same plan.
pub fn identity(plan: &Plan) -> Digest {
    let entry = |entry: &Entry| {
        let Entry {
            number,
            extent,
            type_guid,
            guid,
            name,
            attributes,
            origin: _,
        } = entry.clone();
        (number, extent, type_guid, guid, name, attributes)
    };
    let after: Vec<_> = plan.after.iter().map(entry).collect();
    let place = (
        plan.size,
        plan.sector_size,
        &plan.disk_guid,
        &plan.table_extents,
    );
    let identity = (plan.image, place, after, &plan.image_extents);
    Digest::of(&serde_json::to_vec(&identity).expect("a plan has only string keys"))
}

/// What an interrupted run left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Past {
    /// On the medium, merged.
    written: Vec<Extent>,
}

impl Past {
    /// From the records of a journal; `None` if they are not about this plan, or if that run came to its end.
    pub(super) fn of(records: &[Record], plan: &Digest) -> Option<Self> {
        let (Record::Intent { plan: first }, rest) = records.split_first()? else {
            return None;
        };
        if first != plan || rest.contains(&Record::Done) {
            return None;
        }
        let extents = rest.iter().filter_map(|record| match record {
            Record::Written { extents } => Some(extents.as_slice()),
            _ => None,
        });
        let written = merge(extents.flatten().copied().collect());
        Some(Past { written })
    }

    /// Whether nothing of the image was written.
    pub(super) fn is_empty(&self) -> bool {
        self.written.is_empty()
    }

    /// Whether all of `extent` is on the medium.
    pub(super) fn covers(&self, extent: &Extent) -> bool {
        pieces::covers(&self.written, extent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<Record> {
        vec![
            Record::Intent {
                plan: Digest::of(b"plan"),
            },
            Record::Written {
                extents: vec![Extent {
                    start: 4096,
                    length: 8192,
                }],
            },
            Record::Reached {
                phase: Phase::Write,
            },
            Record::Written {
                extents: vec![Extent {
                    start: 0,
                    length: 4096,
                }],
            },
        ]
    }

    #[test]
    fn a_torn_line_ends_a_journal() {
        let lines: Vec<String> = records().iter().map(Record::to_line).collect();
        let text = lines.concat();
        assert_eq!(
            lines[1], "ba4337e3 {\"written\":{\"extents\":[{\"start\":4096,\"length\":8192}]}}\n",
            "a journal outlives the program that wrote it"
        );
        for cut in 0..=text.len() {
            let (found, whole) = Record::parse(&text.as_bytes()[..cut]);
            assert_eq!(found, records()[..found.len()]);
            assert_eq!(whole, lines[..found.len()].concat().len());
            assert!(cut - whole < lines.get(found.len()).map_or(1, String::len));
        }
        let damaged = text.replacen("8192", "8193", 1);
        assert_eq!(Record::parse(damaged.as_bytes()).0.len(), 1);
    }

    #[test]
    fn another_plan_or_a_finished_run_is_no_past() {
        let plan = Digest::of(b"plan");
        let past = Past::of(&records(), &plan).unwrap();
        let of = Extent::between;
        assert!(
            past.covers(&of(0, 12288)) && past.covers(&of(5, 6)) && !past.covers(&of(4096, 12289))
        );
        assert!(!past.is_empty());
        assert_eq!(Past::of(&records(), &Digest::of(b"other")), None);
        assert_eq!(Past::of(&records()[1..], &plan), None);
        assert_eq!(Past::of(&[], &plan), None);
        assert_eq!(
            Past::of(&[records(), vec![Record::Done]].concat(), &plan),
            None
        );
    }
}
