//! xz files whose blocks are compressed on all processors, byte for byte the same on any number of them.
//!
//! One stream of independent blocks of [`BLOCK`] bytes: what decoders read one after the other, and what `xz -T` takes
//! apart in parallel, since every block says how long it is. liblzma compresses each block as a stream of its own;
//! the blocks are put into one stream here, with the index that names them (The .xz File Format 1.2.1, sections 2 to
//! 4). A block of zeroes is compressed once: most of an image is nothing else.

use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::thread;

use liblzma::read::XzEncoder;
use liblzma::stream::{Check, MtStreamBuilder};
use rayon::prelude::*;

/// Bytes in a block, before compression.
const BLOCK: usize = 8 << 20;
/// Of liblzma. `docs/benchmarks.md` has the table that it was chosen from.
const LEVEL: u32 = 0;
/// Blocks that are compressed at once, at most: each takes some 30 MiB.
const AT_ONCE: usize = 16;

/// Length of a stream's header, and of its footer.
const HEADER: usize = 12;

/// Compresses what is written to it.
pub(super) struct Writer<W> {
    out: W,
    /// Whole blocks that wait for enough others.
    waiting: Vec<Block>,
    /// The block that is being filled.
    open: Vec<u8>,
    /// Of every block written: its length without padding, and that of its content.
    index: Vec<(u64, u64)>,
    at_once: usize,
}

/// Content of a block.
enum Block {
    Zeroes,
    Bytes(Vec<u8>),
}

/// A compressed block, padded, and its record in the index.
#[derive(Clone)]
struct Packed {
    bytes: Vec<u8>,
    record: (u64, u64),
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    pub(super) fn new(out: W) -> io::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Writer::with(out, processors.min(AT_ONCE))
    }

    /// Compresses so many blocks at once.
    fn with(mut out: W, at_once: usize) -> io::Result<Self> {
        // Every block's stream begins with the same header: type of check, and its own checksum.
        out.write_all(&stream(&[])?[..HEADER])?;
        Ok(Writer {
            out,
            waiting: Vec::new(),
            open: Vec::new(),
            index: Vec::new(),
            at_once,
        })
    }

    /// Appends bytes.
    pub(super) fn bytes(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - self.open.len()));
            self.open.extend_from_slice(now);
            bytes = later;
            if self.open.len() == BLOCK {
                let block = std::mem::replace(&mut self.open, Vec::with_capacity(BLOCK));
                self.whole(Block::Bytes(block))?;
            }
        }
        Ok(())
    }

    /// Appends as many zeroes.
    pub(super) fn zeroes(&mut self, mut count: u64) -> io::Result<()> {
        while count > 0 {
            if self.open.is_empty() && count >= BLOCK as u64 {
                self.whole(Block::Zeroes)?;
                count -= BLOCK as u64;
                continue;
            }
            let room = (BLOCK - self.open.len()) as u64;
            let now = room.min(count);
            self.open.resize(self.open.len() + now as usize, 0);
            count -= now;
            if self.open.len() == BLOCK {
                let block = std::mem::take(&mut self.open);
                self.whole(Block::Bytes(block))?;
            }
        }
        Ok(())
    }

    /// Ends the file, and gives back what it was written to.
    pub(super) fn finish(mut self) -> io::Result<W> {
        if !self.open.is_empty() {
            let block = std::mem::take(&mut self.open);
            self.whole(Block::Bytes(block))?;
        }
        self.compress()?;
        let index = self::index(&self.index);
        self.out.write_all(&index)?;
        self.out.write_all(&footer(index.len()))?;
        Ok(self.out)
    }

    fn whole(&mut self, block: Block) -> io::Result<()> {
        self.waiting.push(block);
        // Zeroes cost nothing to keep; a long run of them is written now and then.
        let full = |block: &&Block| matches!(block, Block::Bytes(_));
        if self.waiting.iter().filter(full).count() >= self.at_once || self.waiting.len() >= 1024 {
            self.compress()?;
        }
        Ok(())
    }

    /// Compresses the blocks that wait, and writes them in their order.
    fn compress(&mut self) -> io::Result<()> {
        let packed: Vec<io::Result<Packed>> = self.waiting.par_drain(..).map(pack).collect();
        for block in packed {
            let block = block?;
            self.out.write_all(&block.bytes)?;
            self.index.push(block.record);
        }
        Ok(())
    }
}

/// A block with its record.
fn pack(block: Block) -> io::Result<Packed> {
    static ZEROES: OnceLock<Packed> = OnceLock::new();
    let zeroes = match &block {
        Block::Zeroes => true,
        Block::Bytes(bytes) => bytes.len() == BLOCK && bytes.iter().all(|&byte| byte == 0),
    };
    match (block, zeroes) {
        (Block::Bytes(bytes), false) => alone(&bytes),
        _ => {
            if let Some(packed) = ZEROES.get() {
                return Ok(packed.clone());
            }
            let packed = alone(&vec![0; BLOCK])?;
            Ok(ZEROES.get_or_init(|| packed).clone())
        }
    }
}

/// The one block of a stream that liblzma makes of these bytes.
fn alone(bytes: &[u8]) -> io::Result<Packed> {
    let mut stream = stream(bytes)?;
    let wrong = || io::Error::other("liblzma wrote something other than one block");
    let end = stream.len().checked_sub(HEADER).ok_or_else(wrong)?;
    let size = stream[end..][4..8].try_into().map_err(|_| wrong())?;
    let index_length = (u32::from_le_bytes(size) as usize + 1) * 4;
    let start = end.checked_sub(index_length).ok_or_else(wrong)?;
    let mut index = &stream[start..end];
    let mut number = || number(&mut index).ok_or_else(wrong);
    // An indicator, which is zero, then the number of records.
    let (indicator, count, record) = (number()?, number()?, (number()?, number()?));
    if (indicator, count, record.1) != (0, 1, bytes.len() as u64) {
        return Err(wrong());
    }
    stream.truncate(start);
    stream.drain(..HEADER);
    let bytes = stream;
    Ok(Packed { bytes, record })
}

/// What liblzma makes of these bytes: its encoder for threads, with none, writes lengths into the block's header.
fn stream(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let encoder = MtStreamBuilder::new()
        .threads(1)
        .block_size(BLOCK as u64)
        .preset(LEVEL)
        .check(Check::Crc64)
        .encoder()
        .map_err(io::Error::from)?;
    let mut stream = Vec::new();
    XzEncoder::new_stream(bytes, encoder).read_to_end(&mut stream)?;
    Ok(stream)
}

/// The index of all blocks (section 4).
fn index(records: &[(u64, u64)]) -> Vec<u8> {
    let mut index = vec![0];
    put_number(&mut index, records.len() as u64);
    for (packed, plain) in records {
        put_number(&mut index, *packed);
        put_number(&mut index, *plain);
    }
    index.resize(index.len().next_multiple_of(4), 0);
    let sum = checksum(&index);
    index.extend_from_slice(&sum);
    index
}

/// The end of the stream (section 2.1.2), of which only the length of the index is ours to say.
fn footer(index: usize) -> [u8; HEADER] {
    let mut footer = [0; HEADER];
    let words = u32::try_from(index / 4 - 1).expect("an index of 16 GiB would be of petabytes");
    footer[4..8].copy_from_slice(&words.to_le_bytes());
    footer[9] = Check::Crc64 as u8;
    let sum = checksum(&footer[4..10]);
    footer[..4].copy_from_slice(&sum);
    footer[10..].copy_from_slice(b"YZ");
    footer
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    let mut sum = flate2::Crc::new();
    sum.update(bytes);
    sum.sum().to_le_bytes()
}

/// A number in groups of seven bits, the lowest first (section 1.2).
fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that compress somewhat, and differ everywhere.
    fn bytes(count: usize) -> Vec<u8> {
        (0..count)
            .map(|place| (place as u32).wrapping_mul(2_654_435_761).to_be_bytes()[1] & 15)
            .collect()
    }

    fn file(at_once: usize, write: impl Fn(&mut Writer<Vec<u8>>)) -> Vec<u8> {
        let mut writer = Writer::with(Vec::new(), at_once).unwrap();
        write(&mut writer);
        writer.finish().unwrap()
    }

    fn plain(file: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        // One stream: a decoder that stops at the end of the first one has everything.
        liblzma::read::XzDecoder::new(file)
            .read_to_end(&mut plain)
            .unwrap();
        plain
    }

    #[test]
    fn any_number_of_threads_writes_the_same_file() {
        let content = bytes(2 * BLOCK + 12345);
        let write = |writer: &mut Writer<Vec<u8>>| {
            writer.bytes(&content[..100]).unwrap();
            writer.zeroes(3 * BLOCK as u64 + 7).unwrap();
            writer.bytes(&content[100..]).unwrap();
            writer.zeroes(5).unwrap();
        };
        let one = file(1, write);
        assert!(one == file(2, write) && one == file(7, write));
        let mut expected = content[..100].to_vec();
        expected.resize(100 + 3 * BLOCK + 7, 0);
        expected.extend_from_slice(&content[100..]);
        expected.extend_from_slice(&[0; 5]);
        assert!(plain(&one) == expected);
        // However the content was cut into pieces.
        let pieces = file(3, |writer| {
            expected
                .chunks(1 << 20)
                .for_each(|piece| writer.bytes(piece).unwrap());
        });
        assert!(one == pieces);
    }

    #[test]
    fn nothing_is_a_file_too() {
        let empty = file(1, |_| ());
        assert_eq!(empty, stream(&[]).unwrap());
        assert!(plain(&empty).is_empty());
    }

    #[test]
    fn one_block_is_what_liblzma_writes() {
        let content = bytes(1000);
        let ours = file(4, |writer| writer.bytes(&content).unwrap());
        assert_eq!(ours, stream(&content).unwrap());
    }

    #[test]
    fn numbers_are_read_as_they_were_written() {
        for expected in [0, 1, 127, 128, 300, u64::from(u32::MAX), (1 << 62) - 1] {
            let mut out = Vec::new();
            put_number(&mut out, expected);
            assert_eq!(number(&mut out.as_slice()), Some(expected));
        }
        assert_eq!(number(&mut [0x80].as_slice()), None);
    }
}
