//! A machine's `/sys`, `/proc` and `/dev`: the running one's, or a recorded copy.
#![expect(clippy::disallowed_methods, reason = "reads sysfs and procfs")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use prejoin_sys::block;

/// No attribute of sysfs is longer than a page; `/proc` has longer files, and a limit all the same.
const LONGEST_ATTRIBUTE: u64 = 4096;
const LONGEST_LIST: u64 = 16 << 20;
/// Volumes stacked deeper than this are cut off: the kernel itself gives up far earlier.
const DEEPEST_STACK: usize = 32;

/// Where disks and their users are looked up. What is missing there is unknown, never an error.
#[derive(Clone, Debug)]
pub struct Machine {
    sys: PathBuf,
    proc: PathBuf,
    dev: PathBuf,
    is_live: bool,
}

/// One line of `mountinfo` (proc_pid_mountinfo(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// Major and minor number; of no device for file systems such as btrfs.
    pub(super) number: String,
    /// Mount point.
    pub(super) at: String,
    /// File system.
    pub(super) kind: String,
    /// What is mounted, in the words of who mounted it.
    pub(super) source: String,
}

impl Machine {
    /// The machine this runs on.
    pub fn here() -> Self {
        Machine {
            sys: "/sys".into(),
            proc: "/proc".into(),
            dev: "/dev".into(),
            is_live: true,
        }
    }

    /// One whose `sys`, `proc` and `dev` were copied to `root`. No device is opened.
    pub fn recorded(root: &Path) -> Self {
        Machine {
            sys: root.join("sys"),
            proc: root.join("proc"),
            dev: root.join("dev"),
            is_live: false,
        }
    }

    /// Whether devices can be asked themselves.
    pub(super) fn is_live(&self) -> bool {
        self.is_live
    }

    /// Every whole disk the kernel knows, by name, in order.
    pub(super) fn disks(&self) -> Vec<String> {
        names(&self.sys.join("block"))
    }

    /// The kernel's name of a device number (`8:1`).
    pub(super) fn name(&self, number: &str) -> Option<String> {
        let numbers = self.sys.join("dev/block");
        if numbers.is_dir() {
            let target = fs::read_link(numbers.join(number)).ok()?;
            return Some(target.file_name()?.to_string_lossy().into_owned());
        }
        let all = names(&self.sys.join("class/block"));
        all.into_iter()
            .find(|name| self.text(name, "dev").as_deref() == Some(number))
    }

    /// Device node of a disk or partition; sysfs has `!` where the name has `/`.
    pub(super) fn node(name: &str) -> String {
        format!("/dev/{}", name.replace('!', "/"))
    }

    /// Where a disk really is in the tree of devices, from `devices` on: `/devices/pci0000:00/…/block/sda`.
    pub(super) fn place(&self, name: &str) -> Option<String> {
        let real = fs::canonicalize(self.directory(name)).ok()?;
        let sys = fs::canonicalize(&self.sys).ok()?;
        Some(format!(
            "/{}",
            real.strip_prefix(sys).ok()?.to_string_lossy()
        ))
    }

    /// A file in a disk's or partition's directory: one line of text, without what would confuse a terminal.
    pub(super) fn text(&self, name: &str, attribute: &str) -> Option<String> {
        Some(printable(&self.bytes(name, attribute)?)).filter(|text| !text.is_empty())
    }

    /// A file that holds a number.
    pub(super) fn number(&self, name: &str, attribute: &str) -> Option<u64> {
        self.text(name, attribute)?.parse().ok()
    }

    /// A file in a disk's or partition's directory as it is.
    pub(super) fn bytes(&self, name: &str, attribute: &str) -> Option<Vec<u8>> {
        read(&self.directory(name).join(attribute), LONGEST_ATTRIBUTE)
    }

    /// An attribute of the closest device above a disk that has it: `serial` of the USB device, ...
    pub(super) fn above(&self, name: &str, witness: &str, attribute: &str) -> Option<String> {
        let real = fs::canonicalize(self.directory(name)).ok()?;
        let sys = fs::canonicalize(&self.sys).ok()?;
        let home = real
            .ancestors()
            .take_while(|place| place.starts_with(&sys))
            .find(|place| place.join(witness).is_file())?;
        Some(printable(&read(&home.join(attribute), LONGEST_ATTRIBUTE)?))
            .filter(|text| !text.is_empty())
    }

    /// An EFI variable's value, without its attributes.
    pub(super) fn efi_variable(&self, name: &str) -> Option<Vec<u8>> {
        let bytes = read(
            &self.sys.join("firmware/efi/efivars").join(name),
            LONGEST_ATTRIBUTE,
        )?;
        Some(bytes.get(4..)?.to_vec())
    }

    /// A partition's own GUID, in lower case, as the kernel (from 6.10) or udev says it.
    pub(super) fn partition_guid(&self, name: &str) -> Option<String> {
        let uevent = self.bytes(name, "uevent").unwrap_or_default();
        let told = String::from_utf8_lossy(&uevent)
            .lines()
            .find_map(|line| Some(line.strip_prefix("PARTUUID=")?.to_lowercase()));
        told.or_else(|| {
            let links = self.dev.join("disk/by-partuuid");
            let leads_here = |link: &String| {
                fs::read_link(links.join(link))
                    .is_ok_and(|target| target.file_name().is_some_and(|last| last == name))
            };
            names(&links)
                .into_iter()
                .find(leads_here)
                .map(|link| link.to_lowercase())
        })
    }

    /// The disk's partitions.
    pub(super) fn partitions(&self, disk: &str) -> Vec<String> {
        let directory = self.directory(disk);
        names(&directory)
            .into_iter()
            .filter(|name| directory.join(name).join("partition").is_file())
            .collect()
    }

    /// The whole disk a partition is part of; nothing for a whole disk.
    pub(super) fn parent(&self, name: &str) -> Option<String> {
        let real = fs::canonicalize(self.directory(name)).ok()?;
        real.join("partition")
            .is_file()
            .then(|| Some(real.parent()?.file_name()?.to_string_lossy().into_owned()))?
    }

    /// What is made of a disk or partition: md, dm, bcache.
    pub(super) fn holders(&self, name: &str) -> Vec<String> {
        names(&self.directory(name).join("holders"))
    }

    /// The loop devices that have a file, and its path.
    pub(super) fn loops(&self) -> Vec<(String, String)> {
        let all = self
            .disks()
            .into_iter()
            .filter(|name| name.starts_with("loop"));
        all.filter_map(|name| {
            Some((self.text(&name, "loop/backing_file")?, name)).map(|(file, name)| (name, file))
        })
        .collect()
    }

    /// What is mounted, as this process sees it.
    pub(super) fn mounts(&self) -> Vec<Mount> {
        let bytes = read(&self.proc.join("self/mountinfo"), LONGEST_LIST).unwrap_or_default();
        String::from_utf8_lossy(&bytes)
            .lines()
            .filter_map(Mount::parse)
            .collect()
    }

    /// Devices and files that are swapped to.
    pub(super) fn swaps(&self) -> Vec<String> {
        let bytes = read(&self.proc.join("swaps"), LONGEST_LIST).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        text.lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().next())
            .map(unescape)
            .collect()
    }

    /// The block devices a file system is on: its device number's, else those its source names, with all members of a
    /// btrfs.
    pub(super) fn devices(&self, mount: &Mount) -> Vec<String> {
        let Some(name) = self
            .name(&mount.number)
            .or_else(|| self.named(&mount.source))
        else {
            return Vec::new();
        };
        let pools = self.sys.join("fs/btrfs");
        let members = names(&pools)
            .into_iter()
            .map(|pool| names(&pools.join(pool).join("devices")));
        let mut members =
            members.filter(|members| mount.kind == "btrfs" && members.contains(&name));
        members.next().unwrap_or_else(|| vec![name])
    }

    /// The kernel's name of the block device at a path, by its number: a node may be anywhere and be called anything.
    pub(super) fn at(&self, path: &Path) -> Option<String> {
        let metadata = self.is_live.then(|| fs::metadata(path).ok())??;
        metadata
            .file_type()
            .is_block_device()
            .then(|| self.name(&block::number(metadata.rdev())))?
    }

    /// The kernel's name of a device that a path in `/dev` leads to.
    pub(super) fn named(&self, path: &str) -> Option<String> {
        let rest = path.strip_prefix("/dev/")?;
        if let Some(name) = self.at(Path::new(path)) {
            return Some(name);
        }
        let name = rest.replace('/', "!");
        if self.directory(&name).is_dir() {
            return Some(name);
        }
        let volume = rest.strip_prefix("mapper/")?;
        self.disks()
            .into_iter()
            .find(|name| self.text(name, "dm/name").as_deref() == Some(volume))
    }

    /// The whole disks below a device, through partitions, md, dm and loop devices.
    pub(super) fn disks_below(&self, name: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut next = vec![(name.to_owned(), 0)];
        while let Some((name, depth)) = next.pop() {
            if depth > DEEPEST_STACK || !seen.insert(name.clone()) {
                continue;
            }
            let disk = self.parent(&name).unwrap_or_else(|| name.clone());
            let mut below = names(&self.directory(&name).join("slaves"));
            below.extend(names(&self.directory(&disk).join("slaves")));
            if let Some(file) = self.text(&disk, "loop/backing_file") {
                below.extend(
                    self.named(&file)
                        .map_or_else(|| self.home(&file), |name| vec![name]),
                );
            }
            if below.is_empty() {
                found.insert(disk);
            }
            next.extend(below.into_iter().map(|name| (name, depth + 1)));
        }
        found
    }

    /// The devices of the file system a file is on.
    fn home(&self, file: &str) -> Vec<String> {
        let mounts = self.mounts();
        // Of two mounts at one place the later one is seen.
        let mount = mounts
            .iter()
            .filter(|mount| Path::new(file).starts_with(&mount.at))
            .max_by_key(|mount| mount.at.len());
        mount.map(|mount| self.devices(mount)).unwrap_or_default()
    }

    /// Programs other than this one, with the paths they have open, each with where it can be looked at.
    pub(super) fn open_files(&self) -> BTreeMap<u32, Vec<(String, PathBuf)>> {
        let own = std::process::id();
        let processes = names(&self.proc)
            .into_iter()
            .filter_map(|name| name.parse::<u32>().ok());
        let files = |process: u32| {
            let directory = self.proc.join(process.to_string()).join("fd");
            let links = names(&directory)
                .into_iter()
                .map(|name| directory.join(name));
            links
                .filter_map(|link| {
                    Some((
                        fs::read_link(&link).ok()?.to_string_lossy().into_owned(),
                        link,
                    ))
                })
                .collect()
        };
        processes
            .filter(|&process| process != own || !self.is_live)
            .map(|process| (process, files(process)))
            .collect()
    }

    /// The inode number of an open file (proc_pid_fdinfo(5), Linux 5.14), without asking the file system it is on.
    pub(super) fn inode(&self, link: &Path) -> Option<u64> {
        let about = link
            .parent()?
            .with_file_name("fdinfo")
            .join(link.file_name()?);
        let bytes = read(&about, LONGEST_ATTRIBUTE)?;
        String::from_utf8_lossy(&bytes)
            .lines()
            .find_map(|line| line.strip_prefix("ino:")?.trim().parse().ok())
    }

    /// A process's name.
    pub(super) fn program(&self, process: u32) -> String {
        let bytes = read(
            &self.proc.join(process.to_string()).join("comm"),
            LONGEST_ATTRIBUTE,
        );
        printable(&bytes.unwrap_or_default())
    }

    fn directory(&self, name: &str) -> PathBuf {
        self.sys.join("class/block").join(name)
    }
}

impl Mount {
    /// `36 35 98:0 /root /mnt rw,noatime master:1 - ext3 /dev/sda1 rw,errors=continue`
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(2);
        let mut after = after.split(' ');
        let number = before.next()?.to_owned();
        let at = unescape(before.nth(1)?);
        Some(Mount {
            number,
            at,
            kind: after.next()?.to_owned(),
            source: unescape(after.next()?),
        })
    }
}

/// Entries of a directory, in order; none if it cannot be read.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

fn read(path: &Path, most: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .ok()?
        .take(most)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(bytes)
}

/// Drives write into their names what they like: blanks, NULs, anything.
pub(super) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text: String = text
        .chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect();
    text.trim().to_owned()
}

/// Undoes the kernel's `\040` for blanks and the like (`mangle_path`).
fn unescape(text: &str) -> String {
    let mut rest = text.as_bytes();
    let mut plain = Vec::new();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.first_chunk::<3>().filter(|digits| {
            byte == b'\\' && digits.iter().all(|digit| (b'0'..b'8').contains(digit))
        });
        plain.push(digits.map_or(byte, |digits| {
            digits
                .iter()
                .fold(0, |value, digit| value << 3 | (digit - b'0'))
        }));
        rest = if digits.is_some() { &after[3..] } else { after };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts() {
        let line = "36 35 98:0 /mnt1 /mnt\\0402\\134 rw,noatime master:1 shared:7 - ext3 /dev/my\\040root rw,errors=continue";
        let mount = Mount::parse(line).unwrap();
        assert_eq!(
            (
                mount.number.as_str(),
                mount.at.as_str(),
                mount.kind.as_str()
            ),
            ("98:0", "/mnt 2\\", "ext3")
        );
        assert_eq!(mount.source, "/dev/my root");
        for broken in [
            "",
            "36 35 98:0",
            "36 35 98:0 / /mnt rw",
            "36 35 98:0 / /mnt rw - ext4",
            " - ",
        ] {
            assert_eq!(Mount::parse(broken), None, "{broken}");
        }
        assert_eq!(unescape("a\\04"), "a\\04");
        assert_eq!(unescape("\\777"), "\u{fffd}");
    }

    #[test]
    fn names_of_drives() {
        assert_eq!(printable(b"  SSD \x1b[2J 1\0\n"), "SSD  [2J 1");
    }
}
