//! Proof that a kept partition stays what it is.

use std::fmt;

use prejoin_wire::digest::Digest;
use prejoin_wire::disk::{Extent, Kept, Plan};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Phase;
use super::error::{Error, Spot};
use crate::device::ReadAt;
use crate::io::Buffer;

/// Bytes of a partition's start that are hashed: superblocks and headers of everything in use lie there.
const HEAD: u64 = 2 << 20;
/// Bytes of its end: backup superblocks, mdraid and ZFS labels, and what a table written over it would hit.
const TAIL: u64 = 1 << 20;
const WINDOW: usize = 1 << 18;

/// Digest of a partition's first 2 MiB and last 1 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint(pub Digest);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.short())
    }
}

/// A kept partition, as it was and as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The partition.
    pub partition: Kept,
    /// Before the first write.
    pub before: Fingerprint,
    /// After the last one.
    pub after: Fingerprint,
}

/// One fingerprint for each partition of [`Plan::kept`].
pub(super) fn fingerprints(
    plan: &Plan,
    disk: &dyn ReadAt,
    phase: Phase,
) -> Result<Vec<Fingerprint>, Error> {
    plan.kept
        .iter()
        .map(|kept| fingerprint(kept, disk, phase))
        .collect()
}

/// Reads all kept partitions again; a difference is an error.
pub(super) fn prove(
    plan: &Plan,
    disk: &dyn ReadAt,
    before: &[Fingerprint],
    phase: Phase,
) -> Result<Vec<Proof>, Error> {
    let mut proofs = Vec::new();
    for (kept, &before) in plan.kept.iter().zip(before) {
        let after = fingerprint(kept, disk, phase)?;
        if after != before {
            return Err(Error::DataChanged {
                phase,
                number: kept.number,
                name: kept.name.clone(),
                before,
                after,
            });
        }
        proofs.push(Proof {
            partition: kept.clone(),
            before,
            after,
        });
    }
    Ok(proofs)
}

pub(super) fn fingerprint(
    kept: &Kept,
    disk: &dyn ReadAt,
    phase: Phase,
) -> Result<Fingerprint, Error> {
    let Extent { start, length } = kept.extent;
    let end = kept.extent.end();
    let mut hash = Sha256::new();
    let mut buffer = Buffer::new(WINDOW);
    for part in [
        Extent {
            start,
            length: length.min(HEAD),
        },
        Extent::between(end - length.min(TAIL), end),
    ] {
        let mut at = part.start;
        while at < part.end() {
            let window = (WINDOW as u64).min(part.end() - at) as usize;
            let bytes = &mut buffer[..window];
            let length = bytes.len() as u64;
            disk.read_at(at, bytes).map_err(|source| {
                let owner = format!("kept partition {} {:?}", kept.number, kept.name);
                Error::Io {
                    phase,
                    doing: "reading",
                    spot: Spot {
                        offset: at,
                        length,
                        owner,
                    },
                    source,
                }
            })?;
            hash.update(&*bytes);
            at += length;
        }
    }
    Ok(Fingerprint(Digest(hash.finalize().into())))
}
