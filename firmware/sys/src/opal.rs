//! Drives that encrypt themselves: whether they are locked (`linux/sed-opal.h`).
#![expect(unsafe_code, reason = "an ioctl that rustix has no function for")]

use std::fs::File;
use std::io;

use rustix::ioctl::{Getter, Opcode, ioctl};

/// `_IOR('p', 236, struct opal_status)`.
const GET_STATUS: Opcode = 0x8008_70ec;
const LOCKING_ENABLED: u32 = 0x04;
const LOCKED: u32 = 0x08;
const SHADOW_ENABLED: u32 = 0x10;
const SHADOW_DONE: u32 = 0x20;

/// What a drive says of its locks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Somebody has taken locking into use.
    pub locking: bool,
    /// At least one range is locked.
    pub locked: bool,
    /// Its first blocks are the shadow MBR's, not its own.
    pub shadowed: bool,
}

/// Asks a drive for its locks: `EOPNOTSUPP` if it does not encrypt itself, `ENOTTY` from drivers and kernels that do not
/// know the question, `EACCES` without `CAP_SYS_ADMIN` (block/sed-opal.c, `sed_ioctl`).
pub fn status(device: &File) -> io::Result<Status> {
    // SAFETY: IOC_OPAL_GET_STATUS writes one `struct opal_status` to its argument and reads nothing
    // (block/sed-opal.c, `opal_get_status`); both structures are two 32-bit words.
    let answer = unsafe { ioctl(device, Getter::<GET_STATUS, Answer>::new()) }?;
    Ok(Status::parse(answer.flags))
}

impl Status {
    /// From the flags `OPAL_FL_*`.
    pub fn parse(flags: u32) -> Self {
        let has = |flag: u32| flags & flag != 0;
        Status {
            locking: has(LOCKING_ENABLED),
            locked: has(LOCKED),
            shadowed: has(SHADOW_ENABLED) && !has(SHADOW_DONE),
        }
    }
}

/// `struct opal_status`.
#[repr(C)]
struct Answer {
    flags: u32,
    reserved: u32,
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::disallowed_methods,
        reason = "reads the kernel's header, and opens a file that is no drive"
    )]

    use super::*;

    #[test]
    fn numbers_are_the_headers() {
        assert_eq!(GET_STATUS, rustix::ioctl::opcode::read::<Answer>(b'p', 236));
        let Ok(header) = std::fs::read_to_string("/usr/include/linux/sed-opal.h") else {
            assert!(
                std::env::var_os("CI").is_none(),
                "linux-libc-dev is missing"
            );
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                b"SKIPPED: needs linux-libc-dev\n",
            );
            return;
        };
        let value = |name: &str| {
            let line = header
                .lines()
                .find(|line| line.split_whitespace().nth(1) == Some(name))
                .unwrap();
            line.split_once(name).unwrap().1.trim().to_owned()
        };
        assert_eq!(
            value("IOC_OPAL_GET_STATUS"),
            "_IOR('p', 236, struct opal_status)"
        );
        let flags = [
            ("OPAL_FL_LOCKING_ENABLED", LOCKING_ENABLED),
            ("OPAL_FL_LOCKED", LOCKED),
            ("OPAL_FL_MBR_ENABLED", SHADOW_ENABLED),
            ("OPAL_FL_MBR_DONE", SHADOW_DONE),
        ];
        for (name, flag) in flags {
            assert_eq!(value(name), format!("{flag:#010x}"), "{name}");
        }
    }

    #[test]
    fn locks() {
        let status = |locking, locked, shadowed| Status {
            locking,
            locked,
            shadowed,
        };
        // Supported and never used; in use and open; locked, asking for the password; locked without asking.
        assert_eq!(Status::parse(0x03), status(false, false, false));
        assert_eq!(Status::parse(0x37), status(true, false, false));
        assert_eq!(Status::parse(0x1f), status(true, true, true));
        assert_eq!(Status::parse(0x0f), status(true, true, false));
    }

    #[test]
    fn what_is_no_drive_is_refused() {
        assert!(status(&File::open("/dev/null").unwrap()).is_err());
    }
}
