//! Disks and image files, opened to be read or written.
#![expect(clippy::disallowed_methods, reason = "opens devices and image files")]

use std::fs::{self, File, Metadata, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use prejoin_sys::block;
use prejoin_wire::disk::Device;

use super::buffer::{ALIGNMENT, Buffer, is_aligned};
use super::error::{EACCES, EBUSY, EINVAL, ENODEV, ENXIO, EOPNOTSUPP, EPERM, EROFS};
use super::{Error, Failed, Machine};
use crate::device::{ReadAt, WriteAt};

/// What is copied at once where memory is not aligned, and what zeroes are written in.
const BOUNCE: usize = 1 << 20;
/// udev locks a disk for as long as it looks at it, which is soon over.
const LOCK_STEPS: u32 = 60;
const LOCK_STEP: Duration = Duration::from_millis(50);

/// How a target is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Past the page cache (`O_DIRECT`), where the file system allows it.
    pub direct: bool,
    /// Zeroes by the hardware's own command, or by holes in a file.
    pub offload: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            direct: true,
            offload: true,
        }
    }
}

/// A disk or image file to be looked at. Several may be open at once, and nobody is kept out.
#[derive(Debug)]
pub struct Reader(Medium);

/// A disk or image file that is ours alone: claimed against mounts, swap and volumes (`O_EXCL`), locked against udev
/// and other runs (`flock`), until it is dropped.
///
/// Every method may be called from several threads at once, as long as no two write the same bytes.
#[derive(Debug)]
pub struct Target {
    medium: Medium,
    offload: AtomicBool,
    /// Held while a part of a block is exchanged, so that two parts of one block do not undo each other.
    edges: Mutex<()>,
}

#[derive(Debug)]
struct Medium {
    file: File,
    path: PathBuf,
    size: u64,
    sector_size: u32,
    is_device: bool,
    /// Past the page cache.
    direct: bool,
    /// What offsets and lengths must be multiples of: 1 for a file that is read through the page cache.
    grain: u64,
}

impl Reader {
    /// Opens for reading.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Medium::open(path, true, false).map(Reader)
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.0.size
    }

    /// Logical sector size in bytes; 0 for a file.
    pub fn sector_size(&self) -> u32 {
        self.0.sector_size
    }

    /// As [`WriteAt::forget`], for what others have written.
    pub fn forget(&self) -> io::Result<()> {
        self.0.forget()
    }
}

impl ReadAt for Reader {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, buffer)
    }
}

impl Target {
    /// Opens, claims and locks a whole disk or an image file, which must exist. Nothing is changed.
    pub fn open(path: &Path, options: &Options) -> Result<Self, Error> {
        let medium = Medium::open(path, options.direct, true)?;
        medium.lock()?;
        Ok(Target {
            medium,
            offload: AtomicBool::new(options.offload),
            edges: Mutex::new(()),
        })
    }

    /// Logical sector size in bytes; 0 for a file.
    pub fn sector_size(&self) -> u32 {
        self.medium.sector_size
    }

    /// Makes the kernel use the table that is on the disk now. Until then its partitions, and what it has cached of them,
    /// are those of the table before. Nothing is to be done for a file, for a disk on which the kernel neither has
    /// partitions nor looks for them (loop devices and device-mapper), and for one that is gone.
    ///
    /// Programs that look at every new partition without asking for the lock are waited for.
    pub fn reread(&self) -> io::Result<()> {
        if !self.medium.is_device {
            return Ok(());
        }
        for _ in 1..LOCK_STEPS {
            match block::reread(&self.medium.file) {
                Err(error) if error.raw_os_error() == Some(EBUSY) => thread::sleep(LOCK_STEP),
                Err(error) if matches!(error.raw_os_error(), Some(ENXIO | ENODEV)) => return Ok(()),
                Err(error) if error.raw_os_error() == Some(EINVAL) && !self.has_partitions() => {
                    return Ok(());
                }
                other => return other,
            }
        }
        block::reread(&self.medium.file)
    }

    /// Whether the kernel knows partitions of it.
    fn has_partitions(&self) -> bool {
        let machine = Machine::here();
        let number = self
            .medium
            .file
            .metadata()
            .map(|metadata| block::number(metadata.rdev()));
        number
            .ok()
            .and_then(|number| machine.name(&number))
            .is_some_and(|name| !machine.partitions(&name).is_empty())
    }

    /// Fails unless this still is the disk that was looked at: sequence number, size and sector size are asked anew.
    pub fn unchanged(&self, device: &Device) -> Result<(), Error> {
        let Medium {
            file,
            path,
            is_device,
            ..
        } = &self.medium;
        let same = |what, was: u64, is: u64| match was == is {
            true => Ok(()),
            false => Err(Error::Changed {
                path: path.clone(),
                what,
                was,
                is,
            }),
        };
        let ask = |what| {
            move |source| Error::Ask {
                path: path.clone(),
                what,
                source,
            }
        };
        if !is_device {
            return same(
                "size",
                device.size,
                file.metadata().map_err(ask("size"))?.len(),
            );
        }
        if let Some(was) = device.diskseq {
            same(
                "sequence number",
                was,
                block::sequence(file).map_err(ask("sequence number"))?,
            )?;
        }
        same("size", device.size, block::size(file).map_err(ask("size"))?)?;
        let sector_size = block::sector_size(file).map_err(ask("sector size"))?;
        same("sector size", device.sector_size.into(), sector_size.into())?;
        match block::read_only(file).map_err(ask("write protection"))? {
            true => Err(Error::ReadOnly { path: path.clone() }),
            false => Ok(()),
        }
    }

    /// Whether the bytes are zero where it is looked at: at both ends and in the middle.
    fn looks_zero(&self, offset: u64, length: u64) -> io::Result<bool> {
        let sample = length.min(ALIGNMENT as u64);
        let grain = self.medium.grain;
        let middle = (offset + (length - sample) / 2) / grain * grain;
        let mut buffer = Buffer::new(sample as usize);
        for at in [offset, middle.max(offset), offset + length - sample] {
            self.medium.read(at, &mut buffer)?;
            if buffer.iter().any(|&byte| byte != 0) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Zeroes whole grains without writing them; says whether that has worked.
    fn offload(&self, offset: u64, length: u64) -> io::Result<bool> {
        if !self.offload.load(Ordering::Relaxed) {
            return Ok(false);
        }
        match block::punch(&self.medium.file, offset, length) {
            Ok(()) => {}
            Err(error) => {
                // Whatever else it is, writing zeroes will say it better, or get round it.
                if error.raw_os_error() == Some(EOPNOTSUPP) {
                    self.offload.store(false, Ordering::Relaxed);
                }
                return Ok(false);
            }
        }
        if self.looks_zero(offset, length)? {
            return Ok(true);
        }
        // A drive that says it has done what it has not is not asked again.
        self.offload.store(false, Ordering::Relaxed);
        Ok(false)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let grain = self.medium.grain as usize;
        let head = bytes
            .len()
            .min((offset.next_multiple_of(self.medium.grain) - offset) as usize);
        let (head, rest) = bytes.split_at(head);
        let (body, tail) = rest.split_at(rest.len() / grain * grain);
        self.edge(offset, head)?;
        self.body(offset + head.len() as u64, body)?;
        self.edge(offset + (head.len() + body.len()) as u64, tail)
    }

    /// Whole grains.
    fn body(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = &self.medium.file;
        if !self.medium.direct || is_aligned(bytes) {
            return file.write_all_at(bytes, offset);
        }
        let mut bounce = Buffer::new(bytes.len().min(BOUNCE));
        for (at, part) in (offset..).step_by(BOUNCE).zip(bytes.chunks(BOUNCE)) {
            let copy = &mut bounce[..part.len()];
            copy.copy_from_slice(part);
            file.write_all_at(copy, at)?;
        }
        Ok(())
    }

    /// A part of one grain of a file: an image of 512-byte sectors need not begin and end its writes at 4096.
    fn edge(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let start = offset / self.medium.grain * self.medium.grain;
        let within = (offset - start) as usize;
        let mut block = Buffer::new(self.medium.grain as usize);
        let _alone = self.edges.lock().unwrap_or_else(PoisonError::into_inner);
        self.medium.file.read_exact_at(&mut block, start)?;
        block[within..within + bytes.len()].copy_from_slice(bytes);
        self.medium.file.write_all_at(&block, start)
    }
}

impl ReadAt for Target {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.medium.read(offset, buffer)
    }
}

impl WriteAt for Target {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let failed = self.medium.failed("writing", offset, bytes.len() as u64);
        self.medium
            .check(offset, bytes.len() as u64)
            .and_then(|()| self.write(offset, bytes))
            .map_err(failed)
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        let failed = self.medium.failed("zeroing", offset, length);
        self.medium.check(offset, length).map_err(&failed)?;
        let grain = self
            .medium
            .grain
            .max(ALIGNMENT as u64 * u64::from(!self.medium.is_device));
        let end = offset + length;
        let inner = (
            offset.next_multiple_of(grain).min(end),
            (end / grain * grain).max(offset),
        );
        if inner.0 < inner.1 && self.offload(inner.0, inner.1 - inner.0)? {
            let zeroes = Buffer::new(grain as usize);
            self.write(offset, &zeroes[..(inner.0 - offset) as usize])
                .map_err(&failed)?;
            return self
                .write(inner.1, &zeroes[..(end - inner.1) as usize])
                .map_err(&failed);
        }
        let zeroes = Buffer::new(length.min(BOUNCE as u64) as usize);
        let mut at = offset;
        while at < end {
            // Steps end at multiples of their size: all but the first and last are aligned.
            let next = end.min((at / BOUNCE as u64 + 1) * BOUNCE as u64);
            self.write(at, &zeroes[..(next - at) as usize])
                .map_err(&failed)?;
            at = next;
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.medium
            .file
            .sync_data()
            .map_err(self.medium.failed("flushing", 0, self.medium.size))
    }

    fn forget(&self) -> io::Result<()> {
        self.flush()?;
        self.medium.forget()
    }
}

impl Medium {
    fn open(path: &Path, direct: bool, write: bool) -> Result<Self, Error> {
        let metadata = fs::metadata(path).map_err(|error| Error::open(path, error))?;
        let is_device = metadata.file_type().is_block_device();
        if !is_device && !metadata.is_file() {
            return Err(Error::Kind {
                path: path.to_owned(),
            });
        }
        if write && is_device {
            let machine = Machine::here();
            let name = machine.name(&block::number(metadata.rdev()));
            if let Some(disk) = name.and_then(|name| machine.parent(&name)) {
                return Err(Error::Partition {
                    path: path.to_owned(),
                    disk: Machine::node(&disk),
                });
            }
        }
        // The last part of a block could only be written past the page cache by making the file longer.
        let direct = direct && (is_device || metadata.len().is_multiple_of(ALIGNMENT as u64));
        let flags = if is_device && write {
            block::EXCLUSIVE
        } else {
            0
        };
        let open = |flags: i32| {
            File::options()
                .read(true)
                .write(write)
                .custom_flags(flags)
                .open(path)
        };
        // A file system without O_DIRECT refuses it when opening, some only when reading.
        let past_cache = || open(flags | block::DIRECT).and_then(|file| try_read(file, is_device));
        let opened = match direct.then(past_cache) {
            Some(Err(error)) if error.raw_os_error() == Some(EINVAL) => {
                open(flags).map(|file| (file, false))
            }
            Some(opened) => opened.map(|file| (file, true)),
            None => open(flags).map(|file| (file, false)),
        };
        let (file, direct) = opened.map_err(|error| refused(path, error))?;
        // Some drivers let a read-only disk be opened for writing, and refuse only the writes.
        if write && is_device && block::read_only(&file).unwrap_or(false) {
            return Err(Error::ReadOnly {
                path: path.to_owned(),
            });
        }
        Medium {
            file,
            path: path.to_owned(),
            size: 0,
            sector_size: 0,
            is_device,
            direct,
            grain: 1,
        }
        .measured(&metadata)
    }

    /// Asks for the sizes, of what was opened and not of what was at the path before.
    fn measured(mut self, asked: &Metadata) -> Result<Self, Error> {
        let path = || self.path.clone();
        let ask = |what| {
            move |source| Error::Ask {
                path: path(),
                what,
                source,
            }
        };
        let found = self.file.metadata().map_err(ask("kind"))?;
        if (found.rdev(), found.is_file()) != (asked.rdev(), asked.is_file()) {
            return Err(Error::Changed {
                path: path(),
                what: "device number",
                was: asked.rdev(),
                is: found.rdev(),
            });
        }
        if !self.is_device {
            let grain = if self.direct { ALIGNMENT as u64 } else { 1 };
            return Ok(Medium {
                size: found.len(),
                grain,
                ..self
            });
        }
        let size = block::size(&self.file).map_err(ask("size"))?;
        let sector_size = block::sector_size(&self.file).map_err(ask("sector size"))?;
        if size == 0 {
            return Err(Error::NoMedium { path: path() });
        }
        // Also through the page cache: what is no whole sector is a mistake of the caller.
        self.grain = sector_size.max(512).into();
        Ok(Medium {
            size,
            sector_size,
            ..self
        })
    }

    fn lock(&self) -> Result<(), Error> {
        for _ in 0..LOCK_STEPS {
            match self.file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => thread::sleep(LOCK_STEP),
                Err(TryLockError::Error(source)) => {
                    return Err(Error::Ask {
                        path: self.path.clone(),
                        what: "lock",
                        source,
                    });
                }
            }
        }
        Err(Error::Locked {
            path: self.path.clone(),
        })
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let failed = self.failed("reading", offset, buffer.len() as u64);
        self.inside(offset, buffer.len() as u64)
            .and_then(|()| self.read_any(offset, buffer))
            .map_err(failed)
    }

    /// Reads whole grains into aligned memory, whatever is asked for.
    fn read_any(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let grain = self.grain;
        let whole = offset.is_multiple_of(grain) && (buffer.len() as u64).is_multiple_of(grain);
        if !self.direct || (whole && is_aligned(buffer)) {
            return self.file.read_exact_at(buffer, offset);
        }
        let end = offset + buffer.len() as u64;
        let (mut at, last) = (offset / grain * grain, end.next_multiple_of(grain));
        let mut bounce = Buffer::new((last - at).min(BOUNCE as u64) as usize);
        while at < last {
            let length = (last - at).min(BOUNCE as u64);
            let part = &mut bounce[..length as usize];
            self.file.read_exact_at(part, at)?;
            let (from, to) = (offset.max(at), end.min(at + length));
            buffer[(from - offset) as usize..(to - offset) as usize]
                .copy_from_slice(&part[(from - at) as usize..(to - at) as usize]);
            at += length;
        }
        Ok(())
    }

    fn forget(&self) -> io::Result<()> {
        let failed = self.failed("forgetting what is cached of", 0, self.size);
        if self.is_device {
            match block::flush(&self.file) {
                // Without the right to it, what passes the cache by needs no empty cache.
                Err(error)
                    if self.direct && matches!(error.raw_os_error(), Some(EACCES | EPERM)) => {}
                result => result.map_err(&failed)?,
            }
        }
        // Writing past the cache leaves old pages in it where others have read before.
        block::forget(&self.file).map_err(failed)
    }

    /// Fails unless bytes can be written there: within the size it had when it was opened, in whole sectors.
    fn check(&self, offset: u64, length: u64) -> io::Result<()> {
        self.inside(offset, length)?;
        let grain = if self.is_device { self.grain } else { 1 };
        match offset.is_multiple_of(grain) && length.is_multiple_of(grain) {
            true => Ok(()),
            false => Err(invalid(format!("the disk has sectors of {grain} bytes"))),
        }
    }

    fn inside(&self, offset: u64, length: u64) -> io::Result<()> {
        match offset.checked_add(length) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("it ends at byte {}", self.size),
            )),
        }
    }

    fn failed(
        &self,
        doing: &'static str,
        offset: u64,
        length: u64,
    ) -> impl Fn(io::Error) -> io::Error + '_ {
        move |error| {
            let (code, text) = (error.raw_os_error(), error.to_string());
            let failed = Failed {
                doing,
                path: self.path.clone(),
                offset,
                length,
                code,
                error: text,
            };
            io::Error::new(error.kind(), failed)
        }
    }
}

fn try_read(file: File, is_device: bool) -> io::Result<File> {
    // A disk that cannot be read is one all the same, and its driver knows O_DIRECT.
    if !is_device {
        file.read_at(&mut Buffer::new(ALIGNMENT), 0)?;
    }
    Ok(file)
}

/// A device that was made read-only is refused as if the right to it were missing.
fn refused(path: &Path, error: io::Error) -> Error {
    let is_read_only = || {
        File::open(path)
            .and_then(|file| block::read_only(&file))
            .unwrap_or(false)
    };
    match error.raw_os_error() {
        Some(EACCES | EPERM) if is_read_only() => {
            Error::open(path, io::Error::from_raw_os_error(EROFS))
        }
        _ => Error::open(path, error),
    }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drive_that_does_not_zero_is_found_out() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        for direct in [true, false] {
            let target = Target::open(
                file.path(),
                &Options {
                    direct,
                    offload: true,
                },
            )
            .unwrap();
            assert!(
                target.looks_zero(0, 1 << 20).unwrap() && target.looks_zero(4096, 4096).unwrap()
            );
            for at in [0, (1 << 19) - 1, (1 << 20) - 1] {
                target.write_at(at, &[1]).unwrap();
                assert!(!target.looks_zero(0, 1 << 20).unwrap(), "{at}");
                target.write_at(at, &[0]).unwrap();
            }
        }
    }
}
