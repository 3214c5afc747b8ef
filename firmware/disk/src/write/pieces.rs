//! An image cut into what is written at once, after checking that it goes where the plan says.

use prejoin_formats::gpt::types;
use prejoin_wire::digest::{ChunkDigest, Digest};
use prejoin_wire::disk::{Entry, Extent, Origin, Plan, merge};
use prejoin_wire::manifest::{CHUNK_LIMIT, Manifest, Partition, Range};

use super::Sizes;
use super::error::{Error, Spot};

/// What is written, read or compared at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Where on the disk.
    pub(super) extent: Extent,
    /// What is to be there.
    pub(super) content: Content,
    /// What it belongs to, as an index into [`Pieces::owners`].
    owner: usize,
}

/// What is to be in a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Zeroes.
    Zero,
    /// A part of a chunk.
    Chunk {
        /// The chunk.
        digest: ChunkDigest,
        /// Bytes of the whole chunk.
        length: u64,
        /// Bytes of it that lie before the piece.
        skip: u64,
    },
}

impl Piece {
    /// The digest of the piece's bytes, if they are a whole chunk.
    pub(super) fn digest(&self) -> Option<ChunkDigest> {
        match self.content {
            Content::Chunk { digest, length, .. } if length == self.extent.length => Some(digest),
            _ => None,
        }
    }
}

/// Everything that is to be written, apart from tables.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// What goes away first.
    pub(super) clear: Vec<Piece>,
    /// The image without the first bytes of each partition.
    pub(super) bulk: Vec<Piece>,
    /// The first bytes of partitions that no firmware starts from.
    pub(super) heads: Vec<Piece>,
    /// The first bytes of those it may start from.
    pub(super) boot: Vec<Piece>,
    owners: Vec<String>,
}

impl Pieces {
    /// Cuts the image, and refuses a plan that would put any of it elsewhere or over something kept.
    pub(super) fn of(plan: &Plan, manifest: &Manifest, sizes: &Sizes) -> Result<Self, Error> {
        if Digest::of(manifest.to_json().as_bytes()) != plan.image {
            return Err(Error::Plan("it was made for another manifest".into()));
        }
        let mut pieces = Pieces {
            owners: vec!["no partition".into()],
            ..Pieces::default()
        };
        pieces.cut(plan, manifest, sizes)?;
        pieces.check(plan)?;
        pieces.cut_clear(plan, sizes)?;
        Ok(pieces)
    }

    /// A piece's place, for messages.
    pub(super) fn spot(&self, piece: &Piece) -> Spot {
        let Extent { start, length } = piece.extent;
        Spot {
            offset: start,
            length,
            owner: self.owners[piece.owner].clone(),
        }
    }

    /// All pieces of the image, in the order in which they are written.
    pub(super) fn image(&self) -> impl Iterator<Item = &Piece> {
        self.bulk.iter().chain(&self.heads).chain(&self.boot)
    }

    /// Ranges and partitions are both in order ([`Manifest::parse`]), so one walk finds what they have in common.
    fn cut(&mut self, plan: &Plan, manifest: &Manifest, sizes: &Sizes) -> Result<(), Error> {
        let mut partitions = manifest.partitions.iter().peekable();
        for (start, range) in manifest.placed() {
            let here = Extent {
                start,
                length: range.length(),
            };
            while partitions
                .next_if(|partition| extent(partition).end() <= here.start)
                .is_some()
            {}
            match range {
                Range::Skip { .. } => continue,
                Range::Data { length, .. } if length > CHUNK_LIMIT => {
                    return Err(Error::Plan(format!(
                        "the image has a chunk of {length} bytes"
                    )));
                }
                _ => {}
            }
            for partition in partitions
                .clone()
                .take_while(|partition| partition.start < here.end())
            {
                if let Some(part) = here.common(&extent(partition)) {
                    let entry = entry(plan, partition)?;
                    self.put(range, start, part, entry, sizes);
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, range: Range, start: u64, part: Extent, entry: &Entry, sizes: &Sizes) {
        let owner = format!("partition {} {:?}", entry.number, entry.name);
        if self.owners.last() != Some(&owner) {
            self.owners.push(owner);
        }
        let owner = self.owners.len() - 1;
        let head = Extent {
            start: entry.extent.start,
            length: sizes.head.min(entry.extent.length),
        };
        let rest = Extent::between(head.end(), entry.extent.end());
        let first = if is_boot(entry) {
            &mut self.boot
        } else {
            &mut self.heads
        };
        for (area, pieces) in [(head, first), (rest, &mut self.bulk)] {
            let Some(extent) = part.common(&area) else {
                continue;
            };
            match range {
                Range::Data { digest, length } => {
                    let content = Content::Chunk {
                        digest,
                        length,
                        skip: extent.start - start,
                    };
                    pieces.push(Piece {
                        extent,
                        content,
                        owner,
                    });
                }
                Range::Zero { .. } => pieces.extend(zeroes(extent, owner, sizes)),
                Range::Skip { .. } => {}
            }
        }
    }

    fn check(&self, plan: &Plan) -> Result<(), Error> {
        let wrong = |what: String| Err(Error::Plan(what));
        let planned = merge(plan.image_extents.clone());
        for piece in self.image() {
            if !covers(&planned, &piece.extent) {
                let spot = self.spot(piece);
                return wrong(format!(
                    "{spot} is part of the image, and not of what the plan writes"
                ));
            }
        }
        let written = plan.image_extents.iter().chain(&plan.table_extents);
        for extent in written.chain(plan.clear.iter().map(|clear| &clear.extent)) {
            if extent
                .start
                .checked_add(extent.length)
                .is_none_or(|end| end > plan.size)
            {
                return wrong(format!(
                    "{}+{} is not on the disk",
                    extent.start, extent.length
                ));
            }
            if let Some(kept) = plan.kept.iter().find(|kept| kept.extent.meets(extent)) {
                let (number, name) = (kept.number, &kept.name);
                return wrong(format!(
                    "{}+{} meets kept partition {number} {name:?}",
                    extent.start, extent.length
                ));
            }
        }
        Ok(())
    }

    /// What the image or a table brings its own bytes for is not cleared before.
    fn cut_clear(&mut self, plan: &Plan, sizes: &Sizes) -> Result<(), Error> {
        let own = self
            .image()
            .map(|piece| piece.extent)
            .chain(plan.table_extents.iter().copied());
        let own = merge(own.collect());
        for extent in merge(plan.clear.iter().map(|clear| clear.extent).collect()) {
            let mut at = extent.start;
            for own in own.iter().filter(|own| own.meets(&extent)) {
                self.clear
                    .extend(zeroes(Extent::between(at, own.start), 0, sizes));
                at = own.end();
            }
            self.clear
                .extend(zeroes(Extent::between(at, extent.end()), 0, sizes));
        }
        Ok(())
    }
}

/// Whether `extent` lies in one of several extents that are in order and apart.
pub(super) fn covers(extents: &[Extent], extent: &Extent) -> bool {
    let after = extents.partition_point(|other| other.start <= extent.start);
    after
        .checked_sub(1)
        .is_some_and(|last| extents[last].covers(extent))
}

fn extent(partition: &Partition) -> Extent {
    Extent {
        start: partition.start,
        length: partition.size,
    }
}

/// The entry of the new table that a partition of the image becomes.
fn entry<'a>(plan: &'a Plan, partition: &Partition) -> Result<&'a Entry, Error> {
    let place = extent(partition);
    let same = |entry: &&Entry| {
        entry.origin == Origin::Image
            && entry.extent == place
            && entry.guid == partition.guid.to_string()
    };
    plan.after.iter().find(same).ok_or_else(|| {
        let Partition { number, name, start, size, .. } = partition;
        Error::Plan(format!("the new table has no place for the image's partition {number} {name:?} at {start}+{size}"))
    })
}

/// Whether firmware may start from it: an EFI system partition, or the FAT that a Raspberry Pi looks for.
fn is_boot(entry: &Entry) -> bool {
    let is = |guid: uuid::Uuid| entry.type_guid.eq_ignore_ascii_case(&guid.to_string());
    is(types::ESP)
        || is(types::XBOOTLDR)
        || is(types::BASIC_DATA) && entry.attributes & types::NO_AUTO == 0
}

fn zeroes(extent: Extent, owner: usize, sizes: &Sizes) -> impl Iterator<Item = Piece> {
    let step = sizes.zero.max(1);
    let starts = (0..extent.length.div_ceil(step)).map(move |index| extent.start + index * step);
    starts.map(move |start| {
        let extent = Extent::between(start, extent.end().min(start.saturating_add(step)));
        Piece {
            extent,
            content: Content::Zero,
            owner,
        }
    })
}
