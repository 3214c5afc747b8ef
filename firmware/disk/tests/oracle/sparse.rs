//! Disks of gigabytes in memory, of which only what was written takes room, and whose power can fail.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use prejoin_disk::device::{ReadAt, WriteAt};
use prejoin_wire::disk::Extent;

use crate::support::Random;

const BLOCK: u64 = 4096;
/// What a power cut writes whole or not at all.
const SECTOR: u64 = 512;

type Block = Arc<[u8; BLOCK as usize]>;

/// Bytes; a copy shares the blocks that are the same.
#[derive(Clone, Debug)]
pub(crate) struct Sparse {
    pub(crate) size: u64,
    blocks: BTreeMap<u64, Block>,
}

impl Sparse {
    pub(crate) fn new(size: u64) -> Self {
        Sparse {
            size,
            blocks: BTreeMap::new(),
        }
    }

    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) {
        let mut done = 0;
        while done < buffer.len() {
            let at = offset + done as u64;
            let (number, from) = (at / BLOCK, (at % BLOCK) as usize);
            let part = (BLOCK as usize - from).min(buffer.len() - done);
            let into = &mut buffer[done..done + part];
            match self.blocks.get(&number) {
                Some(block) => into.copy_from_slice(&block[from..from + part]),
                None => into.fill(0),
            }
            done += part;
        }
    }

    pub(crate) fn bytes(&self, extent: Extent) -> Vec<u8> {
        let mut bytes = vec![0; extent.length as usize];
        self.read(extent.start, &mut bytes);
        bytes
    }

    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        assert!(
            offset + bytes.len() as u64 <= self.size,
            "a write past the end"
        );
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let (number, from) = (at / BLOCK, (at % BLOCK) as usize);
            let part = (BLOCK as usize - from).min(bytes.len() - done);
            let bytes = &bytes[done..done + part];
            done += part;
            if bytes.iter().all(|&byte| byte == 0) && !self.blocks.contains_key(&number) {
                continue;
            }
            let block = self
                .blocks
                .entry(number)
                .or_insert_with(|| Arc::new([0; BLOCK as usize]));
            Arc::make_mut(block)[from..from + part].copy_from_slice(bytes);
        }
    }

    pub(crate) fn zero(&mut self, extent: Extent) {
        let whole = extent.start.next_multiple_of(BLOCK)..extent.end() / BLOCK * BLOCK;
        if whole.start >= whole.end {
            self.write(extent.start, &vec![0; extent.length as usize]);
            return;
        }
        self.write(
            extent.start,
            &vec![0; (whole.start - extent.start) as usize],
        );
        self.write(whole.end, &vec![0; (extent.end() - whole.end) as usize]);
        let numbers = whole.start / BLOCK..whole.end / BLOCK;
        let numbers: Vec<u64> = self.blocks.range(numbers).map(|block| *block.0).collect();
        for number in numbers {
            self.blocks.remove(&number);
        }
    }

    /// Blocks of 4096 bytes that are not the same.
    pub(crate) fn differences(&self, other: &Sparse) -> Vec<Extent> {
        let numbers: BTreeSet<&u64> = self.blocks.keys().chain(other.blocks.keys()).collect();
        let extent = |number: u64| {
            let end = ((number + 1) * BLOCK).min(self.size);
            Extent::between(number * BLOCK, end)
        };
        let shared = |number: &u64| match (self.blocks.get(number), other.blocks.get(number)) {
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            _ => false,
        };
        numbers
            .into_iter()
            .filter(|number| !shared(number))
            .map(|number| extent(*number))
            .filter(|extent| self.bytes(*extent) != other.bytes(*extent))
            .collect()
    }
}

impl ReadAt for Sparse {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match offset.checked_add(buffer.len() as u64) {
            Some(end) if end <= self.size => {
                self.read(offset, buffer);
                Ok(())
            }
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// A disk with a cache. From a certain write on it answers nothing any more.
pub(crate) struct Disk(Mutex<State>);

struct State {
    /// What was flushed.
    medium: Sparse,
    /// What is read.
    cache: Sparse,
    /// What was not flushed, in order; zeroes without bytes.
    pending: Vec<(Extent, Option<Vec<u8>>)>,
    writes: u64,
    cut: Option<u64>,
}

impl Disk {
    pub(crate) fn new(bytes: Sparse, cut: Option<u64>) -> Self {
        Disk(Mutex::new(State {
            medium: bytes.clone(),
            cache: bytes,
            pending: Vec::new(),
            writes: 0,
            cut,
        }))
    }

    pub(crate) fn is_cut(&self) -> bool {
        let state = self.state();
        state.cut.is_some_and(|cut| state.writes >= cut)
    }

    pub(crate) fn writes(&self) -> u64 {
        self.state().writes
    }

    /// What is on it, if nothing was lost.
    pub(crate) fn bytes(&self) -> Sparse {
        self.state().cache.clone()
    }

    /// What the power cut has left: all, nothing or some sectors of what was not flushed, in any order.
    pub(crate) fn left(&self, random: &mut Random) -> Sparse {
        let state = self.state();
        match random.below(3) {
            0 => return state.cache.clone(),
            1 => return state.medium.clone(),
            _ => {}
        }
        let mut left = state.medium.clone();
        let share = 10 + random.below(81);
        for (extent, bytes) in &state.pending {
            let step = if extent.length > 1 << 20 {
                1 << 18
            } else {
                SECTOR
            };
            let mut at = extent.start;
            while at < extent.end() {
                let part = Extent::between(at, (at + step).min(extent.end()));
                at = part.end();
                if !random.chance(share) {
                    continue;
                }
                match bytes {
                    Some(bytes) => {
                        let from = (part.start - extent.start) as usize;
                        left.write(part.start, &bytes[from..from + part.length as usize]);
                    }
                    None => left.zero(part),
                }
            }
        }
        left
    }

    fn store(&self, extent: Extent, bytes: Option<&[u8]>) -> io::Result<()> {
        let mut state = self.state();
        if state.cut.is_some_and(|cut| state.writes >= cut) {
            return Err(io::Error::other("the power has failed"));
        }
        state.writes += 1;
        match bytes {
            Some(bytes) => state.cache.write(extent.start, bytes),
            None => state.cache.zero(extent),
        }
        state.pending.push((extent, bytes.map(<[u8]>::to_vec)));
        match state.cut {
            Some(cut) if state.writes >= cut => Err(io::Error::other("the power fails")),
            _ => Ok(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl ReadAt for Disk {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.state().cache.read_at(offset, buffer)
    }
}

impl WriteAt for Disk {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let length = bytes.len() as u64;
        self.store(
            Extent {
                start: offset,
                length,
            },
            Some(bytes),
        )
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        self.store(
            Extent {
                start: offset,
                length,
            },
            None,
        )
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.state();
        if state.cut.is_some_and(|cut| state.writes >= cut) {
            return Err(io::Error::other("the power has failed"));
        }
        state.pending.clear();
        state.medium = state.cache.clone();
        Ok(())
    }

    fn forget(&self) -> io::Result<()> {
        Ok(())
    }
}
