//! Block devices: their geometry, what the kernel holds of them, zeroing, and telling the kernel about partitions
//! (`linux/fs.h`, `linux/blkpg.h`, `linux/loop.h`).
#![expect(unsafe_code, reason = "ioctls that rustix has no function for")]

use std::ffi::c_void;
use std::fs::File;
use std::io;

use rustix::fs::{Advice, FallocateFlags, OFlags, fadvise, fallocate};
use rustix::ioctl::{Getter, NoArg, Opcode, Setter, ioctl};

const BLKPG: Opcode = 0x1269;
const BLKRRPART: Opcode = 0x125f;
const BLKFLSBUF: Opcode = 0x1261;
const BLKSSZGET: Opcode = 0x1268;
const BLKGETSIZE64: Opcode = 0x8008_1272;
const BLKROGET: Opcode = 0x125e;
const BLKPBSZGET: Opcode = 0x127b;
const BLKGETDISKSEQ: Opcode = 0x8008_1280;
const LOOP_GET_STATUS64: Opcode = 0x4c05;
const ADD_PARTITION: i32 = 1;
const DELETE_PARTITION: i32 = 2;

/// Flag for opening a file or device past the page cache; its value depends on the architecture.
pub const DIRECT: i32 = OFlags::DIRECT.bits() as i32;
/// Flag for opening a block device for ourselves alone: `EBUSY` while a mount, swap, md or dm has it.
pub const EXCLUSIVE: i32 = OFlags::EXCL.bits() as i32;
/// Flag for opening a device without waiting for a medium or a lock.
pub const NONBLOCKING: i32 = OFlags::NONBLOCK.bits() as i32;

/// Length of a block device in bytes.
pub fn size(device: &File) -> io::Result<u64> {
    // SAFETY: BLKGETSIZE64 writes one u64 to its argument and reads nothing (block/ioctl.c).
    Ok(unsafe { ioctl(device, Getter::<BLKGETSIZE64, u64>::new()) }?)
}

/// Logical sector size in bytes.
pub fn sector_size(device: &File) -> io::Result<u32> {
    // SAFETY: BLKSSZGET writes one int to its argument and reads nothing (block/ioctl.c).
    let size = unsafe { ioctl(device, Getter::<BLKSSZGET, i32>::new()) }?;
    u32::try_from(size)
        .map_err(|_| io::Error::other(format!("kernel says a sector has {size} bytes")))
}

/// Physical sector size in bytes.
pub fn physical_sector_size(device: &File) -> io::Result<u32> {
    // SAFETY: BLKPBSZGET writes one unsigned int to its argument and reads nothing (block/ioctl.c).
    Ok(unsafe { ioctl(device, Getter::<BLKPBSZGET, u32>::new()) }?)
}

/// Whether writing to the device is not allowed.
pub fn read_only(device: &File) -> io::Result<bool> {
    // SAFETY: BLKROGET writes one int to its argument and reads nothing (block/ioctl.c).
    Ok(unsafe { ioctl(device, Getter::<BLKROGET, i32>::new()) }? != 0)
}

/// The disk's sequence number, which no other disk had since the machine was started (Linux 5.15).
pub fn sequence(device: &File) -> io::Result<u64> {
    // SAFETY: BLKGETDISKSEQ writes one u64 to its argument and reads nothing (block/ioctl.c).
    Ok(unsafe { ioctl(device, Getter::<BLKGETDISKSEQ, u64>::new()) }?)
}

/// What a loop device reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backing {
    /// Device of the file system that the backing file is on, as in [`std::os::unix::fs::MetadataExt::dev`].
    pub device: u64,
    /// The backing file's inode.
    pub inode: u64,
    /// The block device that is read, as in [`std::os::unix::fs::MetadataExt::rdev`]; 0 for a file.
    pub special: u64,
}

/// What a loop device reads, by number: its path in sysfs is as another name space may see it. `ENXIO` if nothing.
pub fn backing(device: &File) -> io::Result<Backing> {
    // SAFETY: LOOP_GET_STATUS64 writes one `struct loop_info64` to its argument and reads nothing
    // (drivers/block/loop.c, `loop_get_status64`); it has 232 bytes, of which `LoopStatus` names the first three words.
    let status = unsafe { ioctl(device, Getter::<LOOP_GET_STATUS64, LoopStatus>::new()) }?;
    Ok(Backing {
        device: status.words[0],
        inode: status.words[1],
        special: status.words[2],
    })
}

/// Major and minor number as the kernel writes them in `/proc` and `/sys`: `8:1`.
pub fn number(device: u64) -> String {
    format!(
        "{}:{}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    )
}

/// Makes bytes of a block device or file zero without writing them; a file keeps its size.
///
/// On a block device this is a zero-out without fallback (`block/fops.c`, `blkdev_fallocate`): `EOPNOTSUPP` if the
/// hardware has no command for it, `EINVAL` unless both numbers are whole sectors.
pub fn punch(file: &File, offset: u64, length: u64) -> io::Result<()> {
    Ok(fallocate(
        file,
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        offset,
        length,
    )?)
}

/// Drops clean pages that the kernel holds of a file or device.
pub fn forget(file: &File) -> io::Result<()> {
    Ok(fadvise(file, 0, None, Advice::DontNeed)?)
}

/// Writes what the kernel holds of a block device to it and forgets it, so that the next read comes from the device.
pub fn flush(device: &File) -> io::Result<()> {
    // SAFETY: BLKFLSBUF takes no argument (block/ioctl.c).
    Ok(unsafe { ioctl(device, NoArg::<BLKFLSBUF>::new()) }?)
}

/// Makes the kernel forget the partitions that it knows, with what it has cached of them, and read the table on the disk.
/// Fails with `EBUSY` while somebody has one of them open, or the whole disk for himself through another file, and with
/// `EINVAL` on a device whose partitions it does not look for (a loop device without `--partscan`).
pub fn reread(disk: &File) -> io::Result<()> {
    // SAFETY: BLKRRPART takes no argument (block/ioctl.c).
    Ok(unsafe { ioctl(disk, NoArg::<BLKRRPART>::new()) }?)
}

/// Makes a partition known to the kernel: `start` and `length` in bytes, whole sectors. The table on the disk is not
/// looked at. Fails with `EBUSY` if the kernel knows an overlapping or equally numbered partition.
pub fn add_partition(disk: &File, number: u32, start: u64, length: u64) -> io::Result<()> {
    change_partition(disk, ADD_PARTITION, number, start, length)
}

/// Makes the kernel forget a partition. Fails with `EBUSY` while somebody has it open, with `ENXIO` if it has none.
pub fn delete_partition(disk: &File, number: u32) -> io::Result<()> {
    change_partition(disk, DELETE_PARTITION, number, 0, 0)
}

fn change_partition(
    disk: &File,
    operation: i32,
    number: u32,
    start: u64,
    length: u64,
) -> io::Result<()> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let mut partition = Partition {
        start: i64::try_from(start).map_err(invalid)?,
        length: i64::try_from(length).map_err(invalid)?,
        number: i32::try_from(number).map_err(invalid)?,
        names: [0; 128],
    };
    let request = Request {
        operation,
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

/// `struct loop_info64`.
#[repr(C)]
struct LoopStatus {
    words: [u64; 29],
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::disallowed_methods,
        reason = "opens a file that is no block device"
    )]

    use super::*;

    #[test]
    fn structures_have_the_kernels_size() {
        assert_eq!(size_of::<Request>(), 24);
        assert_eq!(size_of::<Partition>(), 152);
        assert_eq!(size_of::<LoopStatus>(), 232);
    }

    #[test]
    fn what_is_no_block_device_is_refused() {
        let file = File::open("/dev/null").unwrap();
        assert!(size(&file).is_err() && sector_size(&file).is_err() && flush(&file).is_err());
        assert!(
            physical_sector_size(&file).is_err()
                && read_only(&file).is_err()
                && sequence(&file).is_err()
        );
        assert!(reread(&file).is_err() && backing(&file).is_err() && punch(&file, 0, 512).is_err());
        assert!(add_partition(&file, 1, 0, 512).is_err() && delete_partition(&file, 1).is_err());
        assert_eq!(
            add_partition(&file, 1, u64::MAX, 512).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }
    #[test]
    fn numbers_are_written_as_the_kernel_does() {
        assert_eq!(number(rustix::fs::makedev(259, 3)), "259:3");
    }
}
