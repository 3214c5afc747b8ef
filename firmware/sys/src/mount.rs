//! Mounts.

use std::ffi::CString;
use std::io;
use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags};

/// Restrictions on a mount; all off by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flags {
    /// Nothing can be written.
    pub read_only: bool,
    /// Set-user-id bits are ignored.
    pub no_suid: bool,
    /// Device nodes are dead.
    pub no_dev: bool,
    /// Nothing can be executed.
    pub no_exec: bool,
    /// Reading does not change access times.
    pub no_atime: bool,
}

impl Flags {
    fn bits(self) -> MountFlags {
        [
            (self.read_only, MountFlags::RDONLY),
            (self.no_suid, MountFlags::NOSUID),
            (self.no_dev, MountFlags::NODEV),
            (self.no_exec, MountFlags::NOEXEC),
            (self.no_atime, MountFlags::NOATIME),
        ]
        .into_iter()
        .filter_map(|(on, flag)| on.then_some(flag))
        .collect()
    }
}

/// Mounts `source` at `target`; `data` holds the file system's own options, separated by commas.
pub fn mount(source: &Path, target: &Path, kind: &str, flags: Flags, data: &str) -> io::Result<()> {
    let data = CString::new(data)?;
    Ok(rustix::mount::mount(
        source,
        target,
        kind,
        flags.bits(),
        data.as_c_str(),
    )?)
}

/// Makes the directory `source` appear at `target` too, without what is mounted below it.
pub fn bind(source: &Path, target: &Path) -> io::Result<()> {
    Ok(rustix::mount::mount_bind(source, target)?)
}

/// Moves a mount and all that is mounted below it.
pub fn relocate(source: &Path, target: &Path) -> io::Result<()> {
    Ok(rustix::mount::mount_move(source, target)?)
}

/// Takes a mount away; fails with `EBUSY` while it is in use.
pub fn unmount(target: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(target, UnmountFlags::NOFOLLOW)?)
}

/// Whether `path` lies on a file system that is nothing but memory (ramfs or tmpfs), as an initramfs does.
pub fn is_memory(path: &Path) -> io::Result<bool> {
    const RAMFS: u64 = 0x8584_58f6;
    const TMPFS: u64 = 0x0102_1994;
    Ok(matches!(
        rustix::fs::statfs(path)?.f_type as u64,
        RAMFS | TMPFS
    ))
}
