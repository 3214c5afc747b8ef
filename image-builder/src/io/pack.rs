//! Packs as files: written under a name of their own and renamed, opened and read at any offset by any number of threads.

#![expect(clippy::disallowed_methods, reason = "packs are files of the cache")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use prejoin_formats::kmod::Module;
use prejoin_formats::tree::{ContentDigest, Contents};
use prejoin_wire::digest::Digest;
use rayon::Scope;
use sha2::{Digest as _, Sha256};

use crate::debian::deb::{Sink, SinkError};
use crate::pack::{self, Damaged, Location, TRAILER, Trailer};
use crate::package::{Linkage, Package};
use crate::tree::elf;
use crate::tree::module;
use prejoin_store::part::Part;

/// Files up to this size are read whole, larger ones pass through in pieces.
const SMALL: u64 = 4 << 20;

/// Pieces of large files.
const PIECE: usize = 256 << 10;

/// Bytes of compressed kernel modules that may wait for a thread.
const WAITING: usize = 32 << 20;

/// Where the pack of the `.deb` with this SHA-256 lies.
pub fn path(cache: &Path, deb: &Digest) -> PathBuf {
    cache
        .join("unpacked")
        .join(format!("{deb}-v{}.pack", pack::VERSION))
}

/// An open pack.
#[derive(Debug)]
pub struct Pack {
    path: PathBuf,
    file: File,
    locations: Vec<Location>,
    /// SHA-256 of the index, which names every content by its own: what the whole pack is recognised by.
    index: Digest,
}

impl Pack {
    /// SHA-256 of its index.
    pub fn index(&self) -> Digest {
        self.index
    }
}

/// SHA-256 of the index of the pack at `path`, as its trailer has it; none if it was not written to its end.
pub fn index_of(path: &Path) -> Option<Digest> {
    let trailer = File::open(path).and_then(|file| trailer(&file)).ok()?;
    Some(Digest(trailer.digest))
}

fn trailer(file: &File) -> io::Result<Trailer> {
    let damaged = |damaged: Damaged| io::Error::new(io::ErrorKind::InvalidData, damaged);
    let size = file.metadata()?.len();
    let start = size
        .checked_sub(TRAILER as u64)
        .ok_or_else(|| damaged(Damaged("it is too short")))?;
    let mut trailer = [0; TRAILER];
    file.read_exact_at(&mut trailer, start)?;
    Trailer::parse(&trailer, size).map_err(damaged)
}

/// Opens the pack at `path`: its package, and the handle its contents are read through. A file that is not a whole
/// pack is an error of kind [`io::ErrorKind::InvalidData`]; contents are checked when a [`Store`] reads them.
pub fn open(path: &Path) -> io::Result<(Package, Pack)> {
    let file = File::open(path)?;
    let damaged = |damaged: Damaged| io::Error::new(io::ErrorKind::InvalidData, damaged);
    let trailer = trailer(&file)?;
    let mut magic = [0; pack::MAGIC.len()];
    file.read_exact_at(&mut magic, 0)?;
    let mut index = vec![0; trailer.length as usize];
    file.read_exact_at(&mut index, trailer.offset)?;
    if &magic != pack::MAGIC || Trailer::of(&index, trailer.offset) != trailer {
        return Err(damaged(Damaged("its checksum is wrong")));
    }
    let (package, locations) = pack::decode(&index, trailer.offset).map_err(damaged)?;
    Ok((
        package,
        Pack {
            path: path.to_owned(),
            file,
            locations,
            index: Digest(trailer.digest),
        },
    ))
}

/// Contents by digest, out of any number of files. Each file keeps one descriptor open.
///
/// A cache can lie on a disk that loses bits, be cut off from power before all was written, or be somebody else's to
/// write to: every content is compared with its digest when it is first read, also when it was written just now.
#[derive(Debug, Default)]
pub struct Store {
    files: Vec<(PathBuf, File)>,
    contents: HashMap<ContentDigest, Place>,
}

/// Where a content lies.
#[derive(Debug)]
struct Place {
    file: u32,
    offset: u64,
    size: u64,
    checked: AtomicBool,
}

impl Store {
    /// A store without packs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one content that is a file of its own.
    pub fn add_file(&mut self, digest: ContentDigest, path: &Path) -> io::Result<()> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        let file = self.file(path.to_owned(), file);
        self.contents.entry(digest).or_insert(Place {
            file,
            offset: 0,
            size,
            checked: AtomicBool::new(false),
        });
        Ok(())
    }

    /// Adds a pack's contents; those that are there already stay where they are.
    pub fn add(&mut self, pack: Pack) {
        let file = self.file(pack.path, pack.file);
        self.contents.reserve(pack.locations.len());
        for Location {
            digest,
            offset,
            size,
        } in pack.locations
        {
            let checked = AtomicBool::new(false);
            self.contents.entry(digest).or_insert(Place {
                file,
                offset,
                size,
                checked,
            });
        }
    }

    fn file(&mut self, path: PathBuf, file: File) -> u32 {
        self.files.push((path, file));
        u32::try_from(self.files.len() - 1).expect("file descriptors are fewer")
    }

    /// Compares a content with its digest.
    fn check(&self, digest: &ContentDigest, place: &Place) -> io::Result<()> {
        let (path, file) = &self.files[place.file as usize];
        let mut found = Sha256::new();
        let mut buffer = vec![0; PIECE.min(usize::try_from(place.size).unwrap_or(PIECE))];
        let (mut offset, end) = (place.offset, place.offset + place.size);
        while offset < end {
            let count = usize::try_from(end - offset).unwrap_or(PIECE).min(PIECE);
            file.read_exact_at(&mut buffer[..count], offset)?;
            found.update(&buffer[..count]);
            offset += count as u64;
        }
        if ContentDigest::from(found.finalize()) != *digest {
            // Whoever looks for it next makes it, or fetches it, again.
            let next = match fs::remove_file(path) {
                Ok(()) => "it was removed, and the next run makes it again",
                Err(_) => "delete it, and it will be made again",
            };
            let path = path.display();
            let message = format!("{path} is damaged at byte {}; {next}", place.offset);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        place.checked.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Contents for Store {
    fn read_at(&self, digest: &ContentDigest, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let place = self.contents.get(digest).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("no pack holds content {}", Digest(*digest)),
            )
        })?;
        if offset
            .checked_add(buffer.len() as u64)
            .is_none_or(|end| end > place.size)
        {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !place.checked.load(Ordering::Relaxed) {
            self.check(digest, place)?;
        }
        self.files[place.file as usize]
            .1
            .read_exact_at(buffer, place.offset + offset)
    }
}

/// Writes one pack. Dropped before [`Writer::finish`], it leaves nothing behind.
pub(super) struct Writer {
    output: BufWriter<Part>,
    /// What the file will be called; none if it has no other name than that of a file under way.
    target: Option<PathBuf>,
    offset: u64,
    linked: Vec<(Vec<u8>, Linkage)>,
    buffer: Vec<u8>,
}

fn start(folder: &Path, name: &str) -> io::Result<Part> {
    fs::create_dir_all(folder)?;
    Part::create(folder, name)
}

fn is_read_only(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem)
}

/// Kernel modules of one package that are read, on any thread, while the package is still being decompressed.
#[derive(Default)]
pub(super) struct Modules {
    read: Mutex<Vec<(usize, Result<Module, module::Error>)>>,
    waiting: AtomicUsize,
}

impl Modules {
    /// What was read, in the order of the package.
    pub(super) fn finish(self) -> Result<Vec<Module>, module::Error> {
        let mut read = self.read.into_inner().expect("no reader of modules panics");
        read.sort_by_key(|&(number, _)| number);
        read.into_iter().map(|(_, module)| module).collect()
    }
}

/// Takes contents into a [`Writer`] and hands modules to the threads of `scope`.
pub(super) struct Feed<'a, 'scope> {
    pub(super) writer: &'a mut Writer,
    pub(super) scope: &'a Scope<'scope>,
    pub(super) modules: &'scope Modules,
    count: usize,
}

impl Writer {
    /// Starts a pack that will be renamed to `path`. Several writers of one pack do not meet: whoever is last wins,
    /// with the same bytes. Where its folder is not ours to write to, the pack is a file in `aside` that goes with the
    /// [`Pack`]: a cache that is only read is of use all the same.
    pub(super) fn create(path: &Path, aside: Option<&Path>) -> io::Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let (part, target) = match (start(folder, &name), aside) {
            (Err(error), Some(aside)) if is_read_only(&error) => {
                (start(aside, &name).map_err(|_| error)?, None)
            }
            (part, _) => (part?, Some(path.to_owned())),
        };
        let mut output = BufWriter::with_capacity(PIECE, part);
        output.write_all(pack::MAGIC)?;
        Ok(Writer {
            output,
            target,
            offset: pack::MAGIC.len() as u64,
            linked: Vec::new(),
            buffer: Vec::new(),
        })
    }

    /// Adds what was learnt from the contents to `package`, writes the index and gives the file its name.
    pub(super) fn finish(mut self, mut package: Package) -> io::Result<(Package, Pack)> {
        package.libraries = self.linked.into_iter().collect();
        let index = pack::encode(&package);
        self.output.write_all(&index)?;
        let trailer = Trailer::of(&index, self.offset);
        self.output.write_all(&trailer.bytes())?;
        let mut part = self
            .output
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        let file = part.file().try_clone()?;
        let path = match self.target {
            Some(target) => part.rename(&target).map(|()| target)?,
            None => part.path().to_owned(),
        };
        let (_, locations) = pack::decode(&index, self.offset).map_err(io::Error::other)?;
        Ok((
            package,
            Pack {
                path,
                file,
                locations,
                index: Digest(trailer.digest),
            },
        ))
    }

    fn small(
        &mut self,
        path: &[u8],
        size: u64,
        content: &mut dyn Read,
    ) -> Result<ContentDigest, SinkError> {
        let mut bytes = std::mem::take(&mut self.buffer);
        bytes.clear();
        content
            .take(size)
            .read_to_end(&mut bytes)
            .map_err(SinkError::Content)?;
        if bytes.len() as u64 != size {
            return Err(SinkError::Content(io::ErrorKind::UnexpectedEof.into()));
        }
        self.output.write_all(&bytes).map_err(SinkError::Keep)?;
        let digest = Sha256::digest(&bytes).into();
        if bytes.starts_with(b"\x7fELF") && !module::is_module(path) {
            let mut read = |offset: u64, buffer: &mut [u8]| {
                let rest = usize::try_from(offset)
                    .ok()
                    .and_then(|start| bytes.get(start..)?.get(..buffer.len()));
                buffer.copy_from_slice(rest.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            };
            self.linked
                .extend(elf::linkage(&mut read).map(|linkage| (path.to_vec(), linkage)));
        }
        self.buffer = bytes;
        Ok(digest)
    }

    fn large(
        &mut self,
        path: &[u8],
        size: u64,
        content: &mut dyn Read,
    ) -> Result<ContentDigest, SinkError> {
        let mut digest = Sha256::new();
        let mut piece = vec![0; PIECE];
        let mut left = size;
        while left > 0 {
            let count = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let piece = &mut piece[..count];
            content.read_exact(piece).map_err(SinkError::Content)?;
            digest.update(&*piece);
            self.output.write_all(piece).map_err(SinkError::Keep)?;
            left -= count as u64;
        }
        self.output.flush().map_err(SinkError::Keep)?;
        let (file, start) = (self.output.get_ref().as_file(), self.offset);
        let mut read = |offset: u64, buffer: &mut [u8]| {
            if offset
                .checked_add(buffer.len() as u64)
                .is_none_or(|end| end > size)
            {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.read_exact_at(buffer, start + offset)
        };
        self.linked
            .extend(elf::linkage(&mut read).map(|linkage| (path.to_vec(), linkage)));
        Ok(digest.finalize().into())
    }

    fn file(
        &mut self,
        path: &[u8],
        size: u64,
        content: &mut dyn Read,
    ) -> Result<ContentDigest, SinkError> {
        let whole = size
            <= if module::is_module(path) {
                module::LARGEST
            } else {
                SMALL
            };
        let digest = if whole {
            self.small(path, size, content)
        } else {
            self.large(path, size, content)
        }?;
        self.offset += size;
        Ok(digest)
    }
}

impl<'a, 'scope> Feed<'a, 'scope> {
    pub(super) fn new(
        writer: &'a mut Writer,
        scope: &'a Scope<'scope>,
        modules: &'scope Modules,
    ) -> Self {
        Feed {
            writer,
            scope,
            modules,
            count: 0,
        }
    }
}

impl Sink for Feed<'_, '_> {
    fn file(
        &mut self,
        path: &[u8],
        size: u64,
        content: &mut dyn Read,
    ) -> Result<ContentDigest, SinkError> {
        let digest = self.writer.file(path, size, content)?;
        if module::is_module(path) && size <= module::LARGEST {
            let (path, bytes) = (path.to_vec(), std::mem::take(&mut self.writer.buffer));
            let (modules, number, size) = (self.modules, self.count, bytes.len());
            self.count += 1;
            modules.waiting.fetch_add(size, Ordering::Relaxed);
            self.scope.spawn(move |_| {
                let module = BUFFER.with_borrow_mut(|buffer| module::read(&path, &bytes, buffer));
                modules
                    .read
                    .lock()
                    .expect("no reader of modules panics")
                    .push((number, module));
                modules.waiting.fetch_sub(size, Ordering::Relaxed);
            });
            // Too much waits: help. What is left over gives the other threads something to do at the end.
            while modules.waiting.load(Ordering::Relaxed) > WAITING {
                if rayon::yield_local() != Some(rayon::Yield::Executed) {
                    std::thread::yield_now();
                }
            }
        }
        Ok(digest)
    }
}

thread_local! {
    /// Room for one decompressed module: mapping 500 MB of fresh memory page by page would cost more than reading.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}
