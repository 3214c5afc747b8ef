//! The manifest: one node's disk image as a list of chunks.
//!
//! Raw files, compressed downloads, flashing, resume, verification and delta are all readings of this document. A
//! chunk is stored once under its digest as an independent zstd frame, whatever images it occurs in.

use std::fmt;

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::ser::{SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::architecture::Architecture;
use crate::digest::{ChunkDigest, Digest};

/// Version of the document.
pub const VERSION: u32 = 3;

/// Largest chunk in bytes; a reader needs no more memory than this for one.
pub const CHUNK_LIMIT: u64 = 1 << 20;

/// Largest image in bytes that a manifest may describe: 1 PiB, far above any disk, far below an overflow.
pub const SIZE_LIMIT: u64 = 1 << 50;

/// One node's image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`VERSION`].
    pub version: u32,
    /// Cluster name.
    pub cluster: String,
    /// Node name.
    pub node: String,
    /// Board name.
    pub board: String,
    /// Machine architecture.
    pub architecture: Architecture,
    /// Logical sector size that the partition table is written for.
    pub sector_size: u32,
    /// Image size in bytes: the smallest disk that takes it, not counting what is made on first boot.
    pub size: u64,
    /// Root hash of the dm-verity tree over the root partition.
    pub root_hash: Digest,
    /// Digest of the lock that the image was built from.
    pub lock: Digest,
    /// Partitions in table order.
    pub partitions: Vec<Partition>,
    /// What the bytes are, from 0 to [`Manifest::size`] without gaps.
    pub ranges: Vec<Range>,
}

/// One partition of the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// Number in the table, from 1.
    pub number: u32,
    /// Partition name (PARTLABEL).
    pub name: String,
    /// Type GUID.
    #[serde(rename = "type")]
    pub type_guid: Uuid,
    /// Unique GUID (PARTUUID).
    pub guid: Uuid,
    /// First byte in the image.
    pub start: u64,
    /// Length in bytes.
    pub size: u64,
    /// Bytes from the start that the image defines; the remainder is `skip`.
    pub used: u64,
    /// [`digest_of`] the ranges that make up the defined bytes: equal digests are equal content.
    pub digest: Digest,
}

/// A run of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// A stored chunk of at most [`CHUNK_LIMIT`] bytes.
    Data {
        /// Length in bytes.
        length: u64,
        /// BLAKE3 of the bytes.
        digest: ChunkDigest,
    },
    /// Zeroes, which must be written: the bytes are part of the image.
    Zero {
        /// Length in bytes.
        length: u64,
    },
    /// Bytes that the image does not define; whatever a disk holds there stays.
    Skip {
        /// Length in bytes.
        length: u64,
    },
}

/// Why a manifest is not one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not JSON, or not of this form.
    #[error("parsing the manifest at line {line}, column {column}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// Written by another version of prejoin.
    #[error("the manifest has version {found}, this program reads version {VERSION}")]
    Version {
        /// What it says.
        found: u32,
    },
    /// Numbers that contradict each other.
    #[error("the manifest contradicts itself: {0}")]
    Inconsistent(String),
}

/// Says where a text is not JSON, or not of the form that it should have.
pub(crate) fn syntax(source: serde_json::Error) -> Error {
    Error::Syntax {
        line: source.line(),
        column: source.column(),
        source,
    }
}

/// A document of another version is called that before its form is looked at.
pub(crate) fn check_version(text: &[u8]) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let Versioned { version } = serde_json::from_slice(text).map_err(syntax)?;
    if version == VERSION {
        Ok(())
    } else {
        Err(Error::Version { found: version })
    }
}

impl Manifest {
    /// Reads and checks a manifest: after this, ranges add up to the size, chunks are bounded and partitions lie
    /// inside, in order and apart.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let manifest: Manifest = serde_json::from_slice(text).map_err(syntax)?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), Error> {
        if self.version != VERSION {
            return Err(Error::Version {
                found: self.version,
            });
        }
        let wrong = |what: String| Err(Error::Inconsistent(what));
        let label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.node.is_empty() || self.node.len() > 63 || !self.node.bytes().all(label) {
            // The name becomes part of file names.
            return wrong("its node's name is not a DNS label".into());
        }
        if self.size > SIZE_LIMIT {
            return wrong(format!("an image of {} bytes", self.size));
        }
        if ![512, 4096].contains(&self.sector_size)
            || !self.size.is_multiple_of(u64::from(self.sector_size))
        {
            return wrong(format!(
                "{} bytes in sectors of {}",
                self.size, self.sector_size
            ));
        }
        let mut total: u64 = 0;
        for range in &self.ranges {
            let length = range.length();
            if length == 0 || matches!(range, Range::Data { .. }) && length > CHUNK_LIMIT {
                return wrong(format!("a range of {length} bytes at byte {total}"));
            }
            total = match total.checked_add(length) {
                Some(sum) if sum <= self.size => sum,
                _ => return wrong(format!("ranges reach past the image's {} bytes", self.size)),
            };
        }
        if total != self.size {
            return wrong(format!("ranges cover {total} of {} bytes", self.size));
        }
        self.check_partitions()
    }

    fn check_partitions(&self) -> Result<(), Error> {
        let mut end = 0;
        for partition in &self.partitions {
            let last = partition.start.checked_add(partition.size);
            let inside = last.is_some_and(|last| last <= self.size);
            if partition.start < end || !inside || partition.used > partition.size {
                return Err(Error::Inconsistent(format!(
                    "partition {} ({}) at {}+{} overlaps or lies outside",
                    partition.number, partition.name, partition.start, partition.size
                )));
            }
            end = partition.start + partition.size;
        }
        self.check_digests()
    }

    /// A partition's digest is that of its ranges: whoever compares two images by it must not be told otherwise.
    fn check_digests(&self) -> Result<(), Error> {
        let mut placed = self.placed().peekable();
        for partition in &self.partitions {
            while placed.next_if(|(at, _)| *at < partition.start).is_some() {}
            let (mut ranges, mut length) = (Vec::new(), 0);
            let used = partition.start + partition.used;
            while let Some((_, range)) = placed.next_if(|(at, _)| *at < used) {
                length += range.length();
                ranges.push(range);
            }
            if length != partition.used || digest_of(&ranges) != partition.digest {
                return Err(Error::Inconsistent(format!(
                    "partition {} ({}) has another digest than its ranges",
                    partition.number, partition.name
                )));
            }
        }
        Ok(())
    }

    /// The document as it is stored: one range a line, so that two manifests can be compared with `diff`.
    pub fn to_json(&self) -> String {
        let mut head = serde_json::to_value(Manifest {
            ranges: Vec::new(),
            ..self.clone()
        })
        .expect("a manifest has only string keys and finite numbers");
        if let Some(object) = head.as_object_mut() {
            object.remove("ranges");
        }
        let head = serde_json::to_string_pretty(&head).expect("a JSON value always serialises");
        let mut text = head.trim_end_matches(['}', '\n']).to_owned();
        text.push_str(",\n  \"ranges\": [");
        for (index, range) in self.ranges.iter().enumerate() {
            text.push_str(if index == 0 { "\n    " } else { ",\n    " });
            text.push_str(&range.line());
        }
        text.push_str("\n  ]\n}\n");
        text
    }

    /// Ranges with the offset each starts at.
    pub fn placed(&self) -> impl Iterator<Item = (u64, Range)> {
        self.ranges.iter().scan(0, |offset, range| {
            let start = *offset;
            *offset += range.length();
            Some((start, *range))
        })
    }

    /// The partition called `name`.
    pub fn partition(&self, name: &str) -> Option<&Partition> {
        self.partitions
            .iter()
            .find(|partition| partition.name == name)
    }
}

/// One digest for a run of ranges: SHA-256 over their lines as the manifest writes them. Whoever has checked every
/// chunk has checked this, without hashing the content a second time.
pub fn digest_of(ranges: &[Range]) -> Digest {
    let lines: String = ranges.iter().map(Range::line).collect();
    Digest::of(lines.as_bytes())
}

impl Range {
    /// The range as one line of the manifest.
    fn line(&self) -> String {
        serde_json::to_string(self).expect("a range is a flat list")
    }

    /// Length in bytes.
    pub fn length(&self) -> u64 {
        match *self {
            Range::Data { length, .. } | Range::Zero { length } | Range::Skip { length } => length,
        }
    }
}

/// `["data", length, "digest"]`, `["zero", length]` or `["skip", length]`: thousands of these make a manifest, so
/// field names are left out.
impl Serialize for Range {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        match self {
            Range::Data { length, digest } => {
                list.serialize_element("data")?;
                list.serialize_element(length)?;
                list.serialize_element(digest)?;
            }
            Range::Zero { length } => {
                list.serialize_element("zero")?;
                list.serialize_element(length)?;
            }
            Range::Skip { length } => {
                list.serialize_element("skip")?;
                list.serialize_element(length)?;
            }
        }
        list.end()
    }
}

impl<'de> Deserialize<'de> for Range {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(RangeVisitor)
    }
}

struct RangeVisitor;

impl<'de> Visitor<'de> for RangeVisitor {
    type Value = Range;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("[\"data\", length, digest], [\"zero\", length] or [\"skip\", length]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Range, A::Error> {
        let short = |index| move || de::Error::invalid_length(index, &"a whole range");
        let kind: String = list.next_element()?.ok_or_else(short(0))?;
        let length = list.next_element()?.ok_or_else(short(1))?;
        let range = match kind.as_str() {
            "data" => Range::Data {
                length,
                digest: list.next_element()?.ok_or_else(short(2))?,
            },
            "zero" => Range::Zero { length },
            "skip" => Range::Skip { length },
            _ => return Err(de::Error::unknown_variant(&kind, &["data", "zero", "skip"])),
        };
        match list.next_element::<de::IgnoredAny>()? {
            None => Ok(range),
            Some(_) => Err(de::Error::custom("a range with too many elements")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Manifest {
        Manifest {
            version: VERSION,
            cluster: "lab".into(),
            node: "w1".into(),
            board: "uefi-amd64".into(),
            architecture: Architecture::Amd64,
            sector_size: 512,
            size: 5 << 20,
            root_hash: Digest::of(b"root"),
            lock: Digest::of(b"lock"),
            partitions: vec![Partition {
                number: 1,
                name: "esp".into(),
                type_guid: uuid::uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"),
                guid: uuid::uuid!("00000000-0000-8000-8000-000000000001"),
                start: 1 << 20,
                size: 3 << 20,
                used: 3 << 20,
                digest: digest_of(&[Range::Zero { length: 3 << 20 }]),
            }],
            ranges: vec![
                Range::Data {
                    length: 1 << 20,
                    digest: ChunkDigest::of(b"a"),
                },
                Range::Zero { length: 3 << 20 },
                Range::Skip { length: 1 << 20 },
            ],
        }
    }

    #[test]
    fn text_round_trips() {
        let manifest = example();
        let text = manifest.to_json();
        assert_eq!(Manifest::parse(text.as_bytes()).unwrap(), manifest);
        assert_eq!(
            text.lines().filter(|line| line.contains("[\"")).count(),
            3,
            "one range a line:\n{text}"
        );
        assert_eq!(
            manifest
                .placed()
                .map(|(offset, _)| offset)
                .collect::<Vec<_>>(),
            [0, 1 << 20, 4 << 20]
        );
    }

    #[test]
    fn contradictions_are_refused() {
        let refused = |change: fn(&mut Manifest)| {
            let mut manifest = example();
            change(&mut manifest);
            Manifest::parse(manifest.to_json().as_bytes())
                .unwrap_err()
                .to_string()
        };
        assert!(refused(|m| m.node = "../x".into()).contains("DNS label"));
        assert!(refused(|m| m.version = 9).contains("version 9"));
        assert!(refused(|m| m.size += 512).contains("cover"));
        assert!(refused(|m| m.size -= 512).contains("reach past"));
        assert!(refused(|m| m.ranges[1] = Range::Zero { length: u64::MAX }).contains("reach past"));
        assert!(
            refused(|m| m.ranges[0] = Range::Data {
                length: 2 << 20,
                digest: ChunkDigest::of(b"")
            })
            .contains("a range")
        );
        assert!(refused(|m| m.partitions[0].size = 1 << 40).contains("partition 1"));
        assert!(refused(|m| m.partitions[0].used = 4 << 20).contains("partition 1"));
        // Digests of others, and ranges that were exchanged below them.
        let digest = "has another digest than its ranges";
        assert!(refused(|m| m.partitions[0].digest = Digest::of(b"esp")).contains(digest));
        assert!(refused(|m| m.partitions[0].used = 1 << 20).contains(digest));
        assert!(refused(|m| m.ranges.swap(0, 1)).contains(digest));
        assert!(
            refused(|m| m.ranges[1] = Range::Data {
                length: 1 << 20,
                digest: ChunkDigest::of(b"b")
            })
            .contains("cover")
        );
        assert!(refused(|m| m.sector_size = 513).contains("sectors of 513"));
        let cut = &example().to_json()[..300];
        assert!(matches!(
            Manifest::parse(cut.as_bytes()),
            Err(Error::Syntax { .. })
        ));
    }
}
