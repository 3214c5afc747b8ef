//! NVMe drives: what they say of themselves and of their health (`linux/nvme_ioctl.h`, NVMe base specification 2.0).
#![expect(unsafe_code, reason = "ioctls that rustix has no function for")]

use std::ffi::c_void;
use std::fs::File;
use std::io;

use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};

/// `_IOWR('N', 0x41, struct nvme_admin_cmd)`.
const ADMIN: Opcode = 0xc048_4e41;
const GET_LOG_PAGE: u8 = 0x02;
const IDENTIFY: u8 = 0x06;
const SMART: u32 = 0x02;
const CONTROLLER: u32 = 0x01;
/// Every namespace: the health of the whole drive.
const ALL: u32 = 0xffff_ffff;
/// A drive that does not answer is not waited for: nothing that is asked here decides alone.
const PATIENCE: u32 = 5_000;

/// SMART / health information (figure 207), of the whole drive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Smart {
    /// Bits: 0 spare below threshold, 1 temperature, 2 reliability, 3 read-only, 4 volatile memory backup failed.
    pub critical_warning: u8,
    /// Kelvin.
    pub temperature: u16,
    /// Spare capacity left, percent.
    pub spare: u8,
    /// Percent at which the drive warns.
    pub spare_threshold: u8,
    /// Percent of the promised endurance that is used; may go above 100.
    pub used: u8,
    /// Bytes written by the host.
    pub written: u64,
    /// Hours.
    pub power_on_hours: u64,
    /// Times it lost power without warning.
    pub unsafe_shutdowns: u64,
    /// Times data could not be read back right.
    pub media_errors: u64,
}

/// What a controller says it is (Identify, CNS 1, figure 276).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Controller {
    /// Serial number, without surrounding blanks.
    pub serial: String,
    /// Model, without surrounding blanks.
    pub model: String,
    /// Firmware revision, without surrounding blanks.
    pub firmware: String,
    /// It has the Write Zeroes command.
    pub write_zeroes: bool,
    /// It has a cache that is lost with the power, so that flushes matter.
    pub volatile_cache: bool,
}

/// Reads a drive's health through its controller or one of its namespaces.
pub fn smart(device: &File) -> io::Result<Smart> {
    let mut log = [0; 512];
    let words = (log.len() / 4 - 1) as u32;
    admin(
        device,
        Command {
            opcode: GET_LOG_PAGE,
            namespace: ALL,
            word10: words << 16 | SMART,
            ..Command::new()
        },
        &mut log,
    )?;
    Ok(Smart::parse(&log))
}

/// Asks a drive's controller what it is.
pub fn controller(device: &File) -> io::Result<Controller> {
    let mut page = [0; 4096];
    admin(
        device,
        Command {
            opcode: IDENTIFY,
            word10: CONTROLLER,
            ..Command::new()
        },
        &mut page,
    )?;
    Ok(Controller::parse(&page))
}

impl Smart {
    /// From the log page. The counters have 128 bits; what does not fit into 64 is the highest number that does.
    pub fn parse(log: &[u8; 512]) -> Self {
        let counter = |at: usize| {
            let value = log[at..at + 16]
                .iter()
                .rev()
                .fold(0u128, |value, &byte| value << 8 | u128::from(byte));
            u64::try_from(value).unwrap_or(u64::MAX)
        };
        Smart {
            critical_warning: log[0],
            temperature: u16::from_le_bytes([log[1], log[2]]),
            spare: log[3],
            spare_threshold: log[4],
            used: log[5],
            // Thousands of 512-byte units.
            written: counter(48).saturating_mul(512_000),
            power_on_hours: counter(128),
            unsafe_shutdowns: counter(144),
            media_errors: counter(160),
        }
    }
}

impl Controller {
    /// From the identify page.
    pub fn parse(page: &[u8; 4096]) -> Self {
        let text = |from: usize, to: usize| {
            let printable = page[from..to].iter().map(|&byte| {
                if (0x20..0x7f).contains(&byte) {
                    byte as char
                } else {
                    ' '
                }
            });
            printable.collect::<String>().trim().to_owned()
        };
        Controller {
            serial: text(4, 24),
            model: text(24, 64),
            firmware: text(64, 72),
            write_zeroes: page[520] & 1 << 3 != 0,
            volatile_cache: page[525] & 1 != 0,
        }
    }
}

/// Sends a command that reads `answer.len()` bytes.
fn admin(device: &File, command: Command, answer: &mut [u8]) -> io::Result<()> {
    let length = u32::try_from(answer.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let command = Command {
        data: answer.as_mut_ptr() as u64,
        length,
        timeout: PATIENCE,
        ..command
    };
    // SAFETY: NVME_IOCTL_ADMIN_CMD takes a `struct nvme_admin_cmd` (drivers/nvme/host/ioctl.c, `nvme_user_cmd`) and,
    // for the two commands above, which transfer from the drive to the host (lowest bits 10), writes at most
    // `data_len` bytes to `addr`: all of `answer`, which is borrowed mutably until after the call.
    let status = unsafe { ioctl(device, Call(command)) }?;
    match status {
        0 => Ok(()),
        status => Err(io::Error::other(format!(
            "the drive answers with NVMe status {status:#x}"
        ))),
    }
}

/// `struct nvme_admin_cmd`, the same as `struct nvme_passthru_cmd`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Command {
    opcode: u8,
    flags: u8,
    reserved: u16,
    namespace: u32,
    word2: u32,
    word3: u32,
    metadata: u64,
    data: u64,
    metadata_length: u32,
    length: u32,
    word10: u32,
    word11: u32,
    word12: u32,
    word13: u32,
    word14: u32,
    word15: u32,
    timeout: u32,
    result: u32,
}

impl Command {
    fn new() -> Self {
        Command {
            opcode: 0,
            flags: 0,
            reserved: 0,
            namespace: 0,
            word2: 0,
            word3: 0,
            metadata: 0,
            data: 0,
            metadata_length: 0,
            length: 0,
            word10: 0,
            word11: 0,
            word12: 0,
            word13: 0,
            word14: 0,
            word15: 0,
            timeout: 0,
            result: 0,
        }
    }
}

struct Call(Command);

// SAFETY: the kernel reads the structure and writes its `result`; both fit, since the structure has the size that the
// opcode names. What it writes through `data` is the concern of `admin`.
unsafe impl Ioctl for Call {
    /// 0, or the status the drive answered with.
    type Output = i64;
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        ADMIN
    }

    fn as_ptr(&mut self) -> *mut c_void {
        (&raw mut self.0).cast()
    }

    unsafe fn output_from_ptr(status: IoctlOutput, _: *mut c_void) -> rustix::io::Result<i64> {
        Ok(i64::from(status))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "opens a file that is no drive")]

    use std::mem::offset_of;

    use super::*;

    #[test]
    fn the_command_has_the_kernels_layout() {
        assert_eq!(size_of::<Command>(), 72);
        assert_eq!(ADMIN as usize >> 16 & 0x3fff, size_of::<Command>());
        assert_eq!(
            (offset_of!(Command, metadata), offset_of!(Command, data)),
            (16, 24)
        );
        assert_eq!(
            (offset_of!(Command, length), offset_of!(Command, word10)),
            (36, 40)
        );
        assert_eq!(
            (offset_of!(Command, timeout), offset_of!(Command, result)),
            (64, 68)
        );
    }

    #[test]
    fn health() {
        // The layout of figure 207, filled as a worn 1 TB drive would.
        let mut log = [0; 512];
        log[..6].copy_from_slice(&[0b101, 0x3b, 0x01, 4, 10, 103]);
        log[48..56].copy_from_slice(&1_000_000u64.to_le_bytes());
        log[128..130].copy_from_slice(&8_760u16.to_le_bytes());
        log[144] = 17;
        log[160] = 3;
        let expected = Smart {
            critical_warning: 5,
            temperature: 315,
            spare: 4,
            spare_threshold: 10,
            used: 103,
            written: 512_000_000_000,
            power_on_hours: 8_760,
            unsafe_shutdowns: 17,
            media_errors: 3,
        };
        assert_eq!(Smart::parse(&log), expected);
        log[175] = 1;
        assert_eq!(Smart::parse(&log).media_errors, u64::MAX);
        assert_eq!(Smart::parse(&[0xff; 512]).written, u64::MAX);
    }

    #[test]
    fn identity() {
        let mut page = [b' '; 4096];
        page[4..24].copy_from_slice(b"S4EWNX0R123456      ");
        page[24..51].copy_from_slice(b"Samsung SSD 970 EVO Plus\x1b[2");
        page[64..72].copy_from_slice(b"2B2QEXM7");
        page[520] = 0x5f;
        page[525] = 7;
        let expected = Controller {
            serial: "S4EWNX0R123456".into(),
            model: "Samsung SSD 970 EVO Plus [2".into(),
            firmware: "2B2QEXM7".into(),
            write_zeroes: true,
            volatile_cache: true,
        };
        assert_eq!(Controller::parse(&page), expected);
    }

    #[test]
    fn what_is_no_drive_is_refused() {
        let file = File::open("/dev/null").unwrap();
        assert!(smart(&file).is_err() && controller(&file).is_err());
    }
}
