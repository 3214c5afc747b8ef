//! Device-mapper devices (`linux/dm-ioctl.h`): made, loaded with a table and started through `/dev/mapper/control`.
#![expect(unsafe_code, reason = "ioctls that rustix has no function for")]
#![expect(clippy::disallowed_methods, reason = "opens the control device")]

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};

const CREATE: u32 = 3;
const REMOVE: u32 = 4;
const SUSPEND: u32 = 6;
const TABLE_LOAD: u32 = 9;
const TABLE_STATUS: u32 = 12;

const READ_ONLY: u32 = 1 << 0;
const BUFFER_FULL: u32 = 1 << 8;

/// `struct dm_ioctl`, whose fields are read and written by offset.
const HEADER: usize = 312;
/// `struct dm_target_spec`.
const TARGET: usize = 40;
const NAME_SIZE: usize = 128;
const UUID_SIZE: usize = 129;
/// Enough for the status of one target; the kernel says so if it is not.
const STATUS_SIZE: usize = HEADER + 4096;

/// The control device.
#[derive(Debug)]
pub struct Mapper(File);

/// One target that makes up a whole device.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Its type, as `verity`.
    pub kind: &'a str,
    /// Length in 512-byte sectors.
    pub sectors: u64,
    /// Its parameters.
    pub parameters: &'a str,
}

impl Mapper {
    /// Opens `/dev/mapper/control`.
    pub fn open() -> io::Result<Self> {
        File::options()
            .read(true)
            .write(true)
            .open("/dev/mapper/control")
            .map(Mapper)
    }

    /// Makes a read-only device and starts it; returns its node in `/dev`. Nothing is left behind on failure.
    pub fn create(&self, name: &str, uuid: &str, target: Target<'_>) -> io::Result<PathBuf> {
        let device = self
            .call(
                CREATE,
                Request::new(name, HEADER)?.uuid(uuid)?.flags(READ_ONLY),
            )?
            .device();
        let started = self.start(name, target);
        if let Err(error) = started {
            // The first error is the one to report.
            let _ = self.remove(name);
            return Err(error);
        }
        Ok(Path::new("/dev").join(format!("dm-{}", minor(device))))
    }

    /// What the first target of the device says about itself.
    pub fn status(&self, name: &str) -> io::Result<String> {
        let answer = self.call(TABLE_STATUS, Request::new(name, STATUS_SIZE)?)?;
        if answer.word(28) & BUFFER_FULL != 0 {
            return Err(io::Error::other("the status is longer than expected"));
        }
        let bytes = answer.bytes();
        let start = (answer.word(16) as usize).saturating_add(TARGET);
        let text = bytes.get(start..).unwrap_or_default();
        let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    /// Takes a device away that nobody has open.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        self.call(REMOVE, Request::new(name, HEADER)?).map(drop)
    }

    fn start(&self, name: &str, target: Target<'_>) -> io::Result<()> {
        self.call(
            TABLE_LOAD,
            Request::new(name, HEADER)?.target(target)?.flags(READ_ONLY),
        )?;
        // Without the suspend flag this resumes: the loaded table becomes the live one.
        self.call(SUSPEND, Request::new(name, HEADER)?)?;
        Ok(())
    }

    fn call(&self, command: u32, mut request: Request) -> io::Result<Request> {
        let call = Call {
            command,
            request: &mut request,
        };
        // SAFETY: the implementation of `Ioctl` below describes the call.
        unsafe { ioctl(&self.0, call) }?;
        Ok(request)
    }
}

/// A `struct dm_ioctl` and what follows it, in memory aligned for its 64-bit fields.
struct Request(Vec<u64>);

impl Request {
    fn new(name: &str, size: usize) -> io::Result<Self> {
        let mut request = Request(vec![0; size.div_ceil(8)]);
        let size = request.0.len() * 8;
        for (at, word) in [
            (0, 4),
            (4, 0),
            (8, 0),
            (12, size as u32),
            (16, HEADER as u32),
        ] {
            request.put(at, &word.to_ne_bytes());
        }
        request.text(48, name, NAME_SIZE)?;
        Ok(request)
    }

    fn uuid(mut self, uuid: &str) -> io::Result<Self> {
        self.text(48 + NAME_SIZE, uuid, UUID_SIZE)?;
        Ok(self)
    }

    fn flags(mut self, flags: u32) -> Self {
        self.put(28, &flags.to_ne_bytes());
        self
    }

    fn target(mut self, target: Target<'_>) -> io::Result<Self> {
        let parameters = HEADER + TARGET;
        let size = (parameters + target.parameters.len() + 1).next_multiple_of(8);
        self.0.resize(size / 8, 0);
        self.put(12, &(size as u32).to_ne_bytes());
        self.put(20, &1u32.to_ne_bytes());
        self.put(HEADER + 8, &target.sectors.to_ne_bytes());
        self.put(HEADER + 20, &((size - HEADER) as u32).to_ne_bytes());
        self.text(HEADER + 24, target.kind, 16)?;
        self.text(parameters, target.parameters, size - parameters)?;
        Ok(self)
    }

    /// A NUL-terminated string in a field of `size` bytes.
    fn text(&mut self, at: usize, text: &str, size: usize) -> io::Result<()> {
        if text.len() >= size || text.contains('\0') {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.put(at, text.as_bytes());
        Ok(())
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        for (at, &byte) in (at..).zip(bytes) {
            let mut word = self.0[at / 8].to_ne_bytes();
            word[at % 8] = byte;
            self.0[at / 8] = u64::from_ne_bytes(word);
        }
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn word(&self, at: usize) -> u32 {
        let bytes = self.0[at / 8].to_ne_bytes();
        let half = at % 8;
        u32::from_ne_bytes([
            bytes[half],
            bytes[half + 1],
            bytes[half + 2],
            bytes[half + 3],
        ])
    }

    fn device(&self) -> u64 {
        self.0[5]
    }
}

/// `new_decode_dev` of `linux/kdev_t.h`.
fn minor(device: u64) -> u64 {
    device & 0xff | (device >> 12) & 0xfff00
}

struct Call<'a> {
    command: u32,
    request: &'a mut Request,
}

// SAFETY: every device-mapper command takes a `struct dm_ioctl` and reads and writes at most its `data_size` bytes,
// which `Request` keeps equal to the length of the buffer (drivers/md/dm-ioctl.c, `ctl_ioctl`). The buffer is borrowed
// mutably for the whole call, and any bytes are valid for it afterwards.
unsafe impl Ioctl for Call<'_> {
    type Output = ();
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        // _IOWR(0xfd, command, struct dm_ioctl)
        (3 << 30 | (HEADER as u32) << 16 | 0xfd << 8 | self.command) as Opcode
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.request.0.as_mut_ptr().cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_kernels_layout() {
        let target = Target {
            kind: "verity",
            sectors: 4096,
            parameters: "1 8:1 8:2",
        };
        let request = Request::new("root", HEADER)
            .unwrap()
            .target(target)
            .unwrap()
            .flags(READ_ONLY);
        let bytes = request.bytes();
        assert_eq!(bytes.len(), (HEADER + TARGET + 10usize).next_multiple_of(8));
        assert_eq!(
            (request.word(0), request.word(12), request.word(16)),
            (4, bytes.len() as u32, 312)
        );
        assert_eq!((request.word(20), request.word(28)), (1, READ_ONLY));
        assert_eq!(&bytes[48..53], b"root\0");
        assert_eq!(bytes[320..328], 4096u64.to_ne_bytes());
        assert_eq!(request.word(332), (bytes.len() - HEADER) as u32);
        assert_eq!(&bytes[336..343], b"verity\0");
        assert_eq!(&bytes[352..362], b"1 8:1 8:2\0");
    }

    #[test]
    fn texts_that_do_not_fit_are_refused() {
        assert!(Request::new(&"x".repeat(NAME_SIZE), HEADER).is_err());
        assert!(Request::new("a\0b", HEADER).is_err());
        assert_eq!(minor(0xfe05), 5);
        assert_eq!(minor(0x0010_fe05), 0x105);
    }
}
