//! ZFS: four labels without a magic number of their own (OpenZFS `vdev_impl.h`, `vdev_label_t`).

use super::Found;
use super::medium::{Fields, LIMIT, Medium};

const LABEL: u64 = 256 << 10;
/// The label's list of names and values, up to its uberblocks.
const LIST: u64 = 16 << 10;
const UBERBLOCKS: u64 = 128 << 10;

pub(super) fn find(medium: &Medium, found: &mut Vec<Found>) {
    let size = medium.size() / LABEL * LABEL;
    if size < 4 * LABEL {
        return;
    }
    for (index, offset) in [0, LABEL, size - 2 * LABEL, size - LABEL]
        .into_iter()
        .enumerate()
    {
        found.extend(label(medium, offset).map(|found| found.backup(index > 0)));
    }
}

/// A label counts with a pool's names in it, or with uberblocks alone.
fn label(medium: &Medium, offset: u64) -> Option<Found> {
    let bytes = medium.bytes(offset, LIMIT)?;
    let list = bytes
        .part(LIST as usize, (UBERBLOCKS - LIST) as usize)
        .and_then(Pool::read);
    let found = |at, magic| Found::new("zfs_member", offset, LABEL, magic).after(at);
    if let Some(pool) = list {
        let found = found(LIST, 16)
            .uuid(pool.pool_guid.map(|guid| guid.to_string()))
            .label(pool.name);
        return Some(Found {
            version: pool.version.map(|version| version.to_string()),
            ..found
        });
    }
    let uberblock = (UBERBLOCKS..LABEL)
        .step_by(1024)
        .find(|&at| is_uberblock(&bytes, at as usize).unwrap_or(false))?;
    Some(found(uberblock, 8))
}

/// `struct uberblock`: magic, version, transaction group, sum of GUIDs; either byte order.
fn is_uberblock(bytes: &[u8], at: usize) -> Option<bool> {
    let little = bytes.le64(at)? == 0x00ba_b10c;
    let read = |at| {
        if little {
            bytes.le64(at)
        } else {
            bytes.be64(at)
        }
    };
    Some(read(at)? == 0x00ba_b10c && matches!(read(at + 8)?, 1..=28 | 5000) && read(at + 16)? > 0)
}

#[derive(Default)]
struct Pool {
    name: Option<String>,
    version: Option<u64>,
    pool_guid: Option<u64>,
    guid: Option<u64>,
    state: Option<u64>,
    txg: Option<u64>,
}

impl Pool {
    /// A list in XDR (`nvpair.c`, `nvs_xdr`): a header of 12 bytes, then pairs of their own length, the length when
    /// unpacked, a name, a type, a number of elements and the value.
    fn read(bytes: &[u8]) -> Option<Pool> {
        if bytes.byte(0)? != 1 || bytes.byte(1)? > 1 {
            return None;
        }
        let mut pool = Pool::default();
        let mut at = 12;
        // The top of a label has about twenty.
        for _ in 0..256 {
            let length = bytes.be32(at)? as usize;
            if length == 0 {
                break;
            }
            pool.take(bytes.part(at, length)?);
            at += length;
        }
        // Spares and cache devices (states 3 and 4) have no transactions.
        let alive = pool.txg.is_some_and(|txg| txg > 0) || matches!(pool.state?, 3 | 4);
        (pool.guid? > 0 && pool.state? <= 7 && alive).then_some(pool)
    }

    fn take(&mut self, pair: &[u8]) -> Option<()> {
        let length = pair.be32(8)? as usize;
        let value = 12 + length.checked_next_multiple_of(4)?;
        let (name, kind) = (pair.part(12, length)?, pair.be32(value)?);
        // DATA_TYPE_UINT64 and DATA_TYPE_STRING.
        let number = || pair.be64(value + 8).filter(|_| kind == 8);
        match name {
            b"version" => self.version = number(),
            b"state" => self.state = number(),
            b"txg" => self.txg = number(),
            b"pool_guid" => self.pool_guid = number(),
            b"guid" => self.guid = number(),
            b"name" if kind == 9 => {
                self.name = pair.text(value + 12, pair.be32(value + 8)? as usize)
            }
            _ => {}
        }
        Some(())
    }
}
