//! Block devices: their geometry, and telling the kernel about new partitions (`linux/fs.h`, `linux/blkpg.h`).
#![expect(unsafe_code, reason = "ioctls that rustix has no function for")]

use std::ffi::c_void;
use std::fs::File;
use std::io;

use rustix::ioctl::{Getter, NoArg, Opcode, Setter, ioctl};

const BLKPG: Opcode = 0x1269;
const BLKFLSBUF: Opcode = 0x1261;
const BLKSSZGET: Opcode = 0x1268;
const BLKGETSIZE64: Opcode = 0x8008_1272;
const ADD_PARTITION: i32 = 1;

/// Length of a block device in bytes.
pub fn size(device: &File) -> io::Result<u64> {
    // SAFETY: BLKGETSIZE64 writes one u64 to its argument and reads nothing (block/ioctl.c).
    Ok(unsafe { ioctl(device, Getter::<BLKGETSIZE64, u64>::new()) }?)
}

/// Logical sector size in bytes.
pub fn sector_size(device: &File) -> io::Result<u32> {
    // SAFETY: BLKSSZGET writes one int to its argument and reads nothing (block/ioctl.c).
    let size = unsafe { ioctl(device, Getter::<BLKSSZGET, i32>::new()) }?;
    u32::try_from(size).map_err(|_| io::Error::other(format!("kernel says a sector has {size} bytes")))
}

/// Writes what the kernel holds of a block device to it and forgets it, so that the next read comes from the device.
pub fn flush(device: &File) -> io::Result<()> {
    // SAFETY: BLKFLSBUF takes no argument (block/ioctl.c).
    Ok(unsafe { ioctl(device, NoArg::<BLKFLSBUF>::new()) }?)
}

/// Makes a partition known to the kernel: `start` and `length` in bytes, whole sectors. The table on the disk is not
/// looked at. Fails with `EBUSY` if the kernel knows an overlapping or equally numbered partition.
pub fn add_partition(disk: &File, number: u32, start: u64, length: u64) -> io::Result<()> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let mut partition = Partition {
        start: i64::try_from(start).map_err(invalid)?,
        length: i64::try_from(length).map_err(invalid)?,
        number: i32::try_from(number).map_err(invalid)?,
        names: [0; 128],
    };
    let request = Request {
        operation: ADD_PARTITION,
        flags: 0,
        size: size_of::<Partition>() as i32,
        data: (&raw mut partition).cast(),
    };
    // SAFETY: BLKPG reads a `struct blkpg_ioctl_arg` and through its pointer a `struct blkpg_partition`; both have the
    // C layout, and `partition` lives until after the call.
    Ok(unsafe { ioctl(disk, Setter::<BLKPG, Request>::new(request)) }?)
}

/// `struct blkpg_ioctl_arg`.
#[repr(C)]
struct Request {
    operation: i32,
    flags: i32,
    size: i32,
    data: *mut c_void,
}

/// `struct blkpg_partition`.
#[repr(C)]
struct Partition {
    start: i64,
    length: i64,
    number: i32,
    names: [u8; 128],
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "opens a file that is no block device")]

    use super::*;

    #[test]
    fn structures_have_the_kernels_size() {
        assert_eq!(size_of::<Request>(), 24);
        assert_eq!(size_of::<Partition>(), 152);
    }

    #[test]
    fn what_is_no_block_device_is_refused() {
        let file = File::open("/dev/null").unwrap();
        assert!(size(&file).is_err() && sector_size(&file).is_err() && flush(&file).is_err());
        assert!(add_partition(&file, 1, 0, 512).is_err());
        assert_eq!(add_partition(&file, 1, u64::MAX, 512).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
