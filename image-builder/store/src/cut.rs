//! Cutting bytes into ranges.

use prejoin_wire::manifest::Range;

/// What is cut at: the block of file systems, and what disks write at once.
const BLOCK: usize = 4096;

/// Zero runs shorter than this stay inside a data chunk: a range costs a line in the manifest and a seek.
const GAP: u64 = 64 << 10;

/// Adds a range, joining zero to zero and skip to skip.
pub fn append(ranges: &mut Vec<Range>, range: Range) {
    match (ranges.last_mut(), range) {
        (Some(Range::Zero { length }), Range::Zero { length: more })
        | (Some(Range::Skip { length }), Range::Skip { length: more }) => *length += more,
        _ => ranges.push(range),
    }
}

/// Bytes of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First byte.
    pub start: usize,
    /// First byte behind it.
    pub end: usize,
    /// They are not zeroes only.
    pub data: bool,
}

/// Splits a window into data and zero runs at block boundaries; inner zero runs shorter than [`GAP`] stay data.
pub fn runs(bytes: &[u8]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (index, block) in bytes.chunks(BLOCK).enumerate() {
        let (start, data) = (index * BLOCK, !is_zero(block));
        let end = start + block.len();
        match runs.last_mut() {
            Some(run) if run.data == data => run.end = end,
            _ => runs.push(Run { start, end, data }),
        }
    }
    let mut joined: Vec<Run> = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        let short = !run.data && ((run.end - run.start) as u64) < GAP;
        let inner = index > 0 && index + 1 < runs.len();
        let data = run.data || short && inner;
        match joined.last_mut() {
            Some(last) if last.data && data => last.end = run.end,
            _ => joined.push(Run {
                start: run.start,
                end: run.end,
                data,
            }),
        }
    }
    joined
}

/// Whether all bytes are zero.
pub fn is_zero(bytes: &[u8]) -> bool {
    let (words, tail) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && tail.iter().all(|&byte| byte == 0)
}
