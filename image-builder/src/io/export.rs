//! Exporting: one file that any flashing tool takes, from a manifest and the chunk store.
#![expect(clippy::disallowed_methods, reason = "writes the exported files")]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use prejoin_wire::digest::Digest;
use prejoin_wire::manifest::{CHUNK_LIMIT, Manifest, Range};
use sha2::{Digest as _, Sha256};

use super::xz;
use crate::events::{Event, Sink, waiting};
use prejoin_store::chunks::{self, ChunkStore};
use prejoin_store::hold::Hold;
use prejoin_store::{output, part};

/// What kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The bare disk, sparse where the file system allows.
    Raw,
    /// The stored zstd frames in a row.
    RawZst,
    /// xz, with a block map and checksums beside it: what Raspberry Pi Imager, Etcher and bmaptool take.
    ImgXz,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 3] = [Format::Raw, Format::RawZst, Format::ImgXz];

    /// File name extension.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Raw => "raw",
            Format::RawZst => "raw.zst",
            Format::ImgXz => "img.xz",
        }
    }
}

/// Why exporting failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The output could not be written.
    #[error(transparent)]
    Output(#[from] output::Error),
    /// A chunk could not be read.
    #[error(transparent)]
    Store(#[from] chunks::Error),
}

/// Writes `<folder>/<node>.<extension>`, and for [`Format::ImgXz`] `.bmap` and `SHA256SUMS` beside it. Returns the
/// files written. A failed export leaves an older file of that name as it was.
pub fn export(
    manifest: &Manifest,
    store: &ChunkStore,
    format: Format,
    folder: &Path,
    events: Sink,
) -> Result<Vec<PathBuf>, Error> {
    let path = folder.join(format!("{}.{}", manifest.node, format.extension()));
    fs::create_dir_all(folder).map_err(output::at("making folder", folder))?;
    part::sweep(folder);
    let mut pending = output::Pending::create(&path)?;
    let io = output::at("writing", &path);
    let done = match format {
        Format::Raw => raw(manifest, store, pending.file(), events).map_err(|e| e.into_error(io)),
        Format::RawZst => {
            raw_zst(manifest, store, pending.file(), events).map_err(|e| e.into_error(io))
        }
        Format::ImgXz => {
            img_xz(manifest, store, pending.file(), events).map_err(|e| e.into_error(io))
        }
    }?;
    pending.commit()?;
    let mut written = vec![path.clone()];
    if format == Format::ImgXz {
        let map = path.with_extension("").with_extension("bmap");
        output::write(&map, block_map(manifest, &done.blocks).as_bytes())?;
        let sums = folder.join("SHA256SUMS");
        let _turn = Hold::alone(&turn(folder), waiting(events));
        output::write(
            &sums,
            checksums(&sums, &[(&path, done.compressed)])?.as_bytes(),
        )?;
        written.extend([map, sums]);
    }
    Ok(written)
}

/// What is held while a file is changed that several exports share. The folder of a build itself is held by whoever
/// reads its chunks.
fn turn(folder: &Path) -> PathBuf {
    let chunks = folder.join("chunks");
    if chunks.is_dir() {
        chunks
    } else {
        folder.to_owned()
    }
}

/// What a pass over the image found out.
struct Done {
    /// Digest of the file as written.
    compressed: Digest,
    /// Every run of defined blocks with its digest: first block, last block.
    blocks: Vec<(u64, u64, Digest)>,
}

/// An error on either side of the copy.
enum Trouble {
    Write(io::Error),
    Store(chunks::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Trouble::Write(error)
    }
}

impl From<chunks::Error> for Trouble {
    fn from(error: chunks::Error) -> Self {
        Trouble::Store(error)
    }
}

impl Trouble {
    fn into_error(self, place: impl FnOnce(io::Error) -> output::Error) -> Error {
        match self {
            Trouble::Write(error) => place(error).into(),
            Trouble::Store(error) => error.into(),
        }
    }
}

fn raw(
    manifest: &Manifest,
    store: &ChunkStore,
    file: &mut File,
    events: Sink,
) -> Result<Done, Trouble> {
    file.set_len(manifest.size)?;
    for (offset, range) in manifest.placed() {
        if let Range::Data { length, digest } = range {
            file.seek(SeekFrom::Start(offset))?;
            file.write_all(&store.read(&digest, length)?)?;
        }
        progress(manifest, offset + range.length(), events);
    }
    Ok(Done {
        compressed: Digest([0; 32]),
        blocks: Vec::new(),
    })
}

fn raw_zst(
    manifest: &Manifest,
    store: &ChunkStore,
    file: &mut File,
    events: Sink,
) -> Result<Done, Trouble> {
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let mut compressor = chunks::compressor()?;
    let zeroes = vec![0; CHUNK_LIMIT as usize];
    let whole = compressor.compress(&zeroes)?;
    for (offset, range) in manifest.placed() {
        match range {
            // Read through the check, so that damage is not passed on.
            Range::Data { length, digest } => {
                store.read(&digest, length)?;
                out.write_all(&store.frame(&digest)?)?;
            }
            Range::Zero { length } | Range::Skip { length } => {
                for _ in 0..length / CHUNK_LIMIT {
                    out.write_all(&whole)?;
                }
                let rest = (length % CHUNK_LIMIT) as usize;
                if rest > 0 {
                    out.write_all(&compressor.compress(&zeroes[..rest])?)?;
                }
            }
        }
        progress(manifest, offset + range.length(), events);
    }
    out.flush()?;
    Ok(Done {
        compressed: Digest([0; 32]),
        blocks: Vec::new(),
    })
}

fn img_xz(
    manifest: &Manifest,
    store: &ChunkStore,
    file: &mut File,
    events: Sink,
) -> Result<Done, Trouble> {
    let mut packed = xz::Writer::new(Hashing {
        inner: BufWriter::with_capacity(1 << 20, file),
        sha256: Sha256::new(),
    })?;
    let zeroes = vec![0; CHUNK_LIMIT as usize];
    let mut blocks = Blocks::default();
    for (offset, range) in manifest.placed() {
        match range {
            Range::Data { length, digest } => {
                let bytes = store.read(&digest, length)?;
                packed.bytes(&bytes)?;
                blocks.defined(offset, &bytes);
            }
            Range::Zero { length } => {
                packed.zeroes(length)?;
                let mut left = length;
                while left > 0 {
                    let part = &zeroes[..left.min(CHUNK_LIMIT) as usize];
                    blocks.defined(offset + length - left, part);
                    left -= part.len() as u64;
                }
            }
            Range::Skip { length } => packed.zeroes(length)?,
        }
        progress(manifest, offset + range.length(), events);
    }
    let mut hashing = packed.finish()?;
    hashing.inner.flush()?;
    Ok(Done {
        compressed: Digest(hashing.sha256.finalize().into()),
        blocks: blocks.finish(),
    })
}

fn progress(manifest: &Manifest, done: u64, events: Sink) {
    events(Event::Progress {
        doing: "exporting",
        name: manifest.node.clone(),
        done,
        total: manifest.size,
    });
}

/// Counts a digest of what passes through.
struct Hashing<W> {
    inner: W,
    sha256: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.sha256.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

const BLOCK: u64 = 4096;

/// Joins defined bytes to runs of blocks. Ranges start at multiples of the block size except inside the table's
/// first MiB, which is one run anyway.
#[derive(Default)]
struct Blocks {
    runs: Vec<(u64, u64, Digest)>,
    open: Option<(u64, u64, Sha256)>,
}

impl Blocks {
    fn defined(&mut self, offset: u64, bytes: &[u8]) {
        let end = offset + bytes.len() as u64;
        match &mut self.open {
            Some((_, until, sha256)) if *until == offset => {
                sha256.update(bytes);
                *until = end;
            }
            _ => {
                self.close();
                self.open = Some((offset, end, Sha256::new_with_prefix(bytes)));
            }
        }
    }

    fn close(&mut self) {
        if let Some((start, end, sha256)) = self.open.take() {
            self.runs.push((
                start / BLOCK,
                (end - 1) / BLOCK,
                Digest(sha256.finalize().into()),
            ));
        }
    }

    fn finish(mut self) -> Vec<(u64, u64, Digest)> {
        self.close();
        self.runs
    }
}

/// bmap-tools' format 2.0: the file's own digest is computed with zeroes in its place.
fn block_map(manifest: &Manifest, blocks: &[(u64, u64, Digest)]) -> String {
    let count = manifest.size.div_ceil(BLOCK);
    let mapped: u64 = blocks.iter().map(|(first, last, _)| last - first + 1).sum();
    let zeroes = "0".repeat(64);
    let mut text = format!(
        "<?xml version=\"1.0\" ?>\n<bmap version=\"2.0\">\n  <ImageSize> {} </ImageSize>\n  <BlockSize> {BLOCK} \
         </BlockSize>\n  <BlocksCount> {count} </BlocksCount>\n  <MappedBlocksCount> {mapped} </MappedBlocksCount>\n  \
         <ChecksumType> sha256 </ChecksumType>\n  <BmapFileChecksum> {zeroes} </BmapFileChecksum>\n  <BlockMap>\n",
        manifest.size
    );
    for (first, last, digest) in blocks {
        let range = if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        };
        writeln!(text, "    <Range chksum=\"{digest}\"> {range} </Range>")
            .expect("writing to a string cannot fail");
    }
    text.push_str("  </BlockMap>\n</bmap>\n");
    let own = Digest::of(text.as_bytes()).to_string();
    text.replacen(&zeroes, &own, 1)
}

/// `SHA256SUMS` with these files' lines renewed and the others kept.
fn checksums(sums: &Path, files: &[(&Path, Digest)]) -> Result<String, output::Error> {
    let old = match fs::read_to_string(sums) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        other => other.map_err(output::at("reading", sums))?,
    };
    let name = |path: &Path| {
        path.file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let mut lines: Vec<String> = old
        .lines()
        .filter(|line| {
            !files
                .iter()
                .any(|(path, _)| line.get(66..) == Some(name(path).as_str()))
        })
        .map(str::to_owned)
        .collect();
    lines.extend(
        files
            .iter()
            .map(|(path, digest)| format!("{digest}  {}", name(path))),
    );
    lines.sort_by(|a, b| a.get(66..).cmp(&b.get(66..)));
    Ok(lines.join("\n") + "\n")
}
