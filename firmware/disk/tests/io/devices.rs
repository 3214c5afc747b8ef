//! Loop devices of this machine, with what the system's own programs do to them.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use prejoin_disk::io::Error;
use prejoin_disk::io::inventory::{device, disks, identity};
use prejoin_disk::io::target::{Options, Reader, Target};
use prejoin_disk::io::usage::{usage, while_held};
use prejoin_sys::block;
use prejoin_wire::disk::{Device, Usage};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// A disk over a file; goes away with everything on top of it that a failed test has left.
pub(crate) struct Loop {
    pub(crate) home: TempDir,
    pub(crate) path: PathBuf,
    /// What has to be undone, last first.
    undo: Vec<Vec<String>>,
}

impl Loop {
    /// With `losetup`'s further options. Nothing if this machine has no loop devices for us.
    pub(crate) fn new(size: u64, options: &[&str]) -> Option<Self> {
        let home = tempfile::tempdir().unwrap();
        File::create(home.path().join("disk"))
            .unwrap()
            .set_len(size)
            .unwrap();
        let path = Self::over(&home.path().join("disk"), options)?;
        let disk = Loop {
            home,
            path,
            undo: Vec::new(),
        };
        disk.forget_partitions();
        Some(disk)
    }

    /// They outlive the file behind the device, and are in the way of its next user.
    fn forget_partitions(&self) {
        for number in 1..=8 {
            let _ = block::delete_partition(&File::open(&self.path).unwrap(), number);
        }
    }

    fn over(file: &Path, options: &[&str]) -> Option<PathBuf> {
        let output = Command::new("losetup")
            .args(options)
            .args(["-f", "--show"])
            .arg(file)
            .output();
        match output {
            Ok(output) if output.status.success() => {
                Some(String::from_utf8_lossy(&output.stdout).trim().into())
            }
            failed => skip(&format!("loop devices: {failed:?}")),
        }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.home.path().join("disk")
    }

    pub(crate) fn text(&self) -> String {
        self.path.display().to_string()
    }

    fn undo(&mut self, command: &[&str]) {
        self.undo
            .push(command.iter().map(|&word| word.to_owned()).collect());
    }

    /// Makes a partition known to the kernel, which need not be able to read tables.
    fn partition(&mut self, number: u32, start: u64, length: u64) -> String {
        block::add_partition(&File::open(&self.path).unwrap(), number, start, length).unwrap();
        format!("{}p{number}", self.path.display())
    }

    fn device(&self) -> Device {
        device(&self.path).unwrap()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        for command in self.undo.iter().rev() {
            let _ = Command::new(&command[0])
                .args(&command[1..])
                .stderr(Stdio::null())
                .status();
        }
        self.forget_partitions();
        let _ = Command::new("losetup").arg("-d").arg(&self.path).status();
    }
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

pub(crate) fn skip<T>(why: &str) -> Option<T> {
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "needed: {why}"
    );
    // Past the test harness, which keeps what passing tests print to itself.
    let _ = writeln!(std::io::stderr(), "SKIPPED: needs {why}");
    None
}

pub(crate) fn run(command: &[&str]) {
    let output = Command::new(command[0])
        .args(&command[1..])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn claimed() -> Usage {
    Usage::Claimed {
        error: "device or resource busy".into(),
    }
}

#[test]
fn a_loop_device_as_lsblk_sees_it() {
    for sector_size in ["512", "4096"] {
        let Some(disk) = Loop::new(8 * MIB, &["-b", sector_size]) else {
            return;
        };
        let found = disk.device();
        let columns = "PATH,SIZE,LOG-SEC,PHY-SEC,ROTA,RO";
        let output = Command::new("lsblk")
            .args(["-b", "-d", "-n", "-r", "-o", columns])
            .arg(&disk.path)
            .output()
            .unwrap();
        let flag = |flag: bool| u8::from(flag);
        let Device {
            path,
            size,
            sector_size,
            physical_sector_size: physical,
            read_only,
            rotational,
            ..
        } = &found;
        let rotational = flag(rotational.unwrap());
        let own = format!(
            "{path} {size} {sector_size} {physical} {rotational} {}\n",
            flag(*read_only)
        );
        assert_eq!(own, String::from_utf8_lossy(&output.stdout));
        let file = File::open(&disk.path).unwrap();
        assert_eq!(found.diskseq, Some(block::sequence(&file).unwrap()));
        assert_eq!(
            (
                block::size(&file).unwrap(),
                block::physical_sector_size(&file).unwrap()
            ),
            (*size, *physical)
        );
        assert!(
            found.is_virtual
                && !found.file
                && found.twins.is_empty()
                && found.boot_medium.is_none()
        );
        assert_eq!(usage(&found), []);
    }
}

#[test]
fn the_machine_came_from_one_of_its_disks() {
    let disks = disks().unwrap();
    assert!(
        disks
            .iter()
            .all(|disk| !disk.path.starts_with("/dev/loop") && disk.size > 0)
    );
    // A device number of its own for "/" means that it is on a block device.
    let root = fs::metadata("/").unwrap().dev();
    if Path::new(&format!("/sys/dev/block/{}", block::number(root))).exists() {
        assert!(
            disks.iter().any(|disk| disk.boot_medium.is_some()),
            "{disks:?}"
        );
    }
    assert!(matches!(
        device(Path::new("/dev/null")),
        Err(Error::Kind { .. })
    ));
    assert!(device(Path::new("/dev/none")).unwrap_err().hint().is_some());
}

#[test]
fn a_mounted_partition() {
    let Some(mut disk) = Loop::new(32 * MIB, &[]) else {
        return;
    };
    let partition = disk.partition(1, MIB, 16 * MIB);
    assert!(
        matches!(device(Path::new(&partition)), Err(Error::Partition { disk: whole, .. }) if whole == disk.text())
    );
    assert!(matches!(
        Target::open(Path::new(&partition), &Options::default()),
        Err(Error::Partition { .. })
    ));
    let at = disk.home.path().join("a b").display().to_string();
    fs::create_dir(&at).unwrap();
    run(&["mkfs.ext4", "-q", &partition]);
    run(&["mount", &partition, &at]);
    disk.undo(&["umount", &at]);
    let device = disk.device();
    assert_eq!(
        usage(&device),
        [
            Usage::Mounted {
                device: partition,
                at: at.clone()
            },
            claimed()
        ]
    );
    let error = Target::open(&disk.path, &Options::default()).unwrap_err();
    assert!(
        matches!(error, Error::Busy { .. }) && error.hint().unwrap().contains("lsblk"),
        "{error:?}"
    );
    Reader::open(&disk.path).unwrap();
    run(&["umount", &at]);
    assert_eq!(usage(&device), []);
    Target::open(&disk.path, &Options::default()).unwrap();
}

#[test]
fn swap() {
    let Some(mut disk) = Loop::new(32 * MIB, &[]) else {
        return;
    };
    let partition = disk.partition(2, 4 * MIB, 8 * MIB);
    run(&["mkswap", &partition]);
    if !Command::new("swapon")
        .arg(&partition)
        .status()
        .unwrap()
        .success()
    {
        return skip("a kernel with swap").unwrap_or_default();
    }
    disk.undo(&["swapoff", &partition]);
    assert_eq!(
        usage(&disk.device()),
        [Usage::Swap { device: partition }, claimed()]
    );
}

#[test]
fn a_loop_device_over_a_partition_over_a_loop_device() {
    let Some(mut disk) = Loop::new(32 * MIB, &[]) else {
        return;
    };
    let partition = disk.partition(3, 8 * MIB, 16 * MIB);
    // Under another name, as in a container: the path that sysfs tells leads nowhere.
    let alias = disk.home.path().join("alias").display().to_string();
    let number = block::number(fs::metadata(&partition).unwrap().rdev());
    let (major, minor) = number.split_once(':').unwrap();
    run(&["mknod", &alias, "b", major, minor]);
    let above = Loop::over(Path::new(&alias), &[])
        .unwrap()
        .display()
        .to_string();
    disk.undo(&["losetup", "-d", &above]);
    let at = disk.home.path().join("mnt").display().to_string();
    fs::create_dir(&at).unwrap();
    run(&["mkfs.ext4", "-q", &above]);
    run(&["mount", &above, &at]);
    disk.undo(&["umount", &at]);
    // Neither O_EXCL nor `holders` shows it: there is no `Claimed`.
    let expected = [
        Usage::Mounted {
            device: above.clone(),
            at,
        },
        Usage::Loop {
            device: partition,
            by: above.clone(),
        },
    ];
    assert_eq!(usage(&disk.device()), expected);

    // The file, by a name that the loop device does not know it by.
    let other_name = disk.home.path().join("link");
    fs::hard_link(disk.file(), &other_name).unwrap();
    let file = device(&other_name).unwrap();
    assert!(file.file && file.size == 32 * MIB && file.sector_size == 0 && !file.read_only);
    let users = usage(&file);
    assert_eq!(users.len(), 3, "{users:?}");
    assert!(
        users.contains(&Usage::Loop {
            device: other_name.display().to_string(),
            by: disk.text()
        }),
        "{users:?}"
    );
    assert!(
        users.contains(&expected[0]) && users.contains(&expected[1]),
        "{users:?}"
    );
}

#[test]
fn other_loop_devices_over_the_same_file() {
    let Some(mut disk) = Loop::new(32 * MIB, &[]) else {
        return;
    };
    // By a name that the first one does not know.
    let other_name = disk.home.path().join("other");
    fs::hard_link(disk.file(), &other_name).unwrap();
    let other = Loop::over(&other_name, &[]).unwrap().display().to_string();
    disk.undo(&["losetup", "-d", &other]);
    let at = disk.home.path().join("mnt").display().to_string();
    fs::create_dir(&at).unwrap();
    run(&["mkfs.ext4", "-q", &other]);
    run(&["mount", &other, &at]);
    disk.undo(&["umount", &at]);
    let mounted = Usage::Mounted {
        device: other.clone(),
        at,
    };
    let read = |file: &Path, by: &str| Usage::Loop {
        device: file.display().to_string(),
        by: by.into(),
    };
    assert_eq!(
        usage(&disk.device()),
        [mounted.clone(), read(&disk.file(), &other)]
    );
    // Of the file, whichever name is asked for.
    let users = |file: &Path| usage(&device(file).unwrap());
    for file in [disk.file(), other_name.clone()] {
        let (own, mut all) = (
            disk.text(),
            vec![
                mounted.clone(),
                read(&file, &other),
                read(&file, &disk.text()),
            ],
        );
        all.sort();
        assert_eq!(users(&file), all, "{own}");
    }
    // A new file of the old name is nobody's.
    fs::remove_file(&other_name).unwrap();
    File::create(&other_name).unwrap().set_len(MIB).unwrap();
    assert_eq!(users(&other_name), []);
}

#[test]
fn a_loop_device_over_a_partition_that_others_use() {
    let Some(mut disk) = Loop::new(32 * MIB, &[]) else {
        return;
    };
    let partition = disk.partition(4, MIB, 16 * MIB);
    let above = Loop::over(Path::new(&partition), &[])
        .unwrap()
        .display()
        .to_string();
    disk.undo(&["losetup", "-d", &above]);
    let at = disk.home.path().join("mnt").display().to_string();
    fs::create_dir(&at).unwrap();
    run(&["mkfs.ext4", "-q", &partition]);
    run(&["mount", &partition, &at]);
    disk.undo(&["umount", &at]);
    assert_eq!(
        usage(&device(Path::new(&above)).unwrap()),
        [Usage::Mounted {
            device: partition,
            at
        }]
    );
}

#[test]
fn programs_that_have_the_file_of_a_loop_device_open() {
    let Some(disk) = Loop::new(MIB, &[]) else {
        return;
    };
    let other_name = disk.home.path().join("other");
    fs::hard_link(disk.file(), &other_name).unwrap();
    let file = File::open(&other_name).unwrap();
    let program = Running(
        Command::new("sleep")
            .arg("600")
            .stdin(file)
            .spawn()
            .unwrap(),
    );
    let open = Usage::Open {
        device: disk.file().display().to_string(),
        process: program.0.id(),
        program: "sleep".into(),
    };
    assert_eq!(usage(&disk.device()), [open]);
}

#[test]
fn one_file_has_one_name() {
    let home = tempfile::tempdir().unwrap();
    let (path, link) = (home.path().join("disk.img"), home.path().join("link"));
    File::create(&path).unwrap().set_len(MIB).unwrap();
    std::os::unix::fs::symlink("disk.img", &link).unwrap();
    let found = device(&path).unwrap();
    assert_eq!(
        found.path,
        fs::canonicalize(&path).unwrap().display().to_string()
    );
    for name in [
        home.path().join("./disk.img"),
        home.path().join("../").join(&path),
        link,
    ] {
        assert_eq!(device(&name).unwrap(), found, "{}", name.display());
        assert_eq!(identity(&name), identity(&path));
    }
    let (twin, copy) = (home.path().join("twin"), home.path().join("copy"));
    fs::hard_link(&path, &twin).unwrap();
    fs::copy(&path, &copy).unwrap();
    assert_eq!(
        (identity(&twin), identity(&home.path().join("none"))),
        (identity(&path), None)
    );
    assert_ne!(identity(&copy), identity(&path));
}

/// Set to what is to be looked at where there is no `/dev`.
const LOOK_AT: &str = "PREJOIN_TEST_ALIASES";

#[test]
fn disks_are_found_by_number_under_any_name() {
    if let Ok(aliases) = std::env::var(LOOK_AT) {
        return found_by_number(&aliases);
    }
    let Some(mut disk) = Loop::new(32 * MIB, &[]) else {
        return;
    };
    let partition = disk.partition(5, MIB, 16 * MIB);
    let at = disk.home.path().join("mnt").display().to_string();
    fs::create_dir(&at).unwrap();
    run(&["mkfs.ext4", "-q", &partition]);
    run(&["mount", &partition, &at]);
    disk.undo(&["umount", &at]);
    let Some(medium) = disks()
        .unwrap()
        .into_iter()
        .find(|disk| disk.boot_medium.is_some())
    else {
        return skip("a machine that was started from one of its disks").unwrap_or_default();
    };
    let alias = |name: &str, of: &str| {
        let alias = disk.home.path().join(name).display().to_string();
        let number = block::number(fs::metadata(of).unwrap().rdev());
        let (major, minor) = number.split_once(':').unwrap();
        run(&["mknod", &alias, "b", major, minor]);
        alias
    };
    let aliases = [alias("used", &disk.text()), alias("medium", &medium.path)].join(" ");
    let myself = std::env::current_exe().unwrap();
    let script = "mount -t tmpfs none /dev && exec \"$0\" --exact devices::disks_are_found_by_number_under_any_name";
    let mut child = Command::new("unshare");
    let output = child
        .args(["-m", "sh", "-c", script])
        .arg(myself)
        .env(LOOK_AT, aliases)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

fn found_by_number(aliases: &str) {
    let (used, medium) = aliases.split_once(' ').unwrap();
    let found = device(Path::new(used)).unwrap();
    assert_eq!((found.path.as_str(), &found.twins), (used, &vec![]));
    let users = usage(&found);
    assert!(
        matches!(&users[..], [Usage::Mounted { .. }, Usage::Claimed { .. }]),
        "{users:?}"
    );
    let found = device(Path::new(medium)).unwrap();
    assert!(
        found.boot_medium.is_some() && found.twins.is_empty(),
        "{found:?}"
    );
}

#[test]
fn somebody_who_claims_it() {
    let Some(disk) = Loop::new(MIB, &[]) else {
        return;
    };
    let device = disk.device();
    let held = File::options()
        .read(true)
        .custom_flags(block::EXCLUSIVE)
        .open(&disk.path)
        .unwrap();
    assert_eq!(usage(&device), [claimed()]);
    assert!(matches!(
        Target::open(&disk.path, &Options::default()),
        Err(Error::Busy { .. })
    ));
    drop(held);
    let target = Target::open(&disk.path, &Options::default()).unwrap();
    assert_eq!(
        (usage(&device), while_held(&device)),
        (vec![claimed()], vec![])
    );
    drop(target);
    assert_eq!(usage(&device), []);
}

#[test]
fn programs_that_have_it_open() {
    let Some(disk) = Loop::new(MIB, &[]) else {
        return;
    };
    let sleep = |path: &Path| {
        let file = File::open(path).unwrap();
        Running(
            Command::new("sleep")
                .arg("600")
                .stdin(file)
                .spawn()
                .unwrap(),
        )
    };
    let open = |running: &Running, device: &Path| {
        let device = device.display().to_string();
        Usage::Open {
            device,
            process: running.0.id(),
            program: "sleep".into(),
        }
    };
    let program = sleep(&disk.path);
    assert_eq!(usage(&disk.device()), [open(&program, &disk.path)]);
    drop(program);
    let program = sleep(&disk.file());
    let users = usage(&device(&disk.file()).unwrap());
    assert!(users.contains(&open(&program, &disk.file())), "{users:?}");
    drop(program);
    // Our own open files are no users.
    let _own = File::open(&disk.path).unwrap();
    assert_eq!(usage(&disk.device()), []);
}

#[test]
fn a_locked_target() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("image");
    File::create(&path).unwrap().set_len(MIB).unwrap();
    let _first = Target::open(&path, &Options::default()).unwrap();
    let error = Target::open(&path, &Options::default()).unwrap_err();
    assert!(
        matches!(error, Error::Locked { .. }) && error.hint().is_some(),
        "{error:?}"
    );
}

#[test]
fn a_read_only_disk() {
    let Some(disk) = Loop::new(MIB, &["-r"]) else {
        return;
    };
    assert!(disk.device().read_only);
    let error = Target::open(&disk.path, &Options::default()).unwrap_err();
    assert!(
        matches!(error, Error::ReadOnly { .. }) && error.hint().is_some(),
        "{error:?}"
    );
    Reader::open(&disk.path).unwrap();
}

#[test]
fn a_disk_that_changes() {
    let Some(disk) = Loop::new(4 * MIB, &[]) else {
        return;
    };
    let before = disk.device();
    let target = Target::open(&disk.path, &Options::default()).unwrap();
    target.unchanged(&before).unwrap();
    File::options()
        .write(true)
        .open(disk.file())
        .unwrap()
        .set_len(2 * MIB)
        .unwrap();
    run(&["losetup", "-c", &disk.text()]);
    let error = target.unchanged(&before).unwrap_err();
    let expected = format!(
        "{} has changed: its size was 4194304 and is 2097152",
        disk.text()
    );
    assert_eq!(error.to_string(), expected);
    assert!(error.hint().is_some());
    drop(target);

    // Another disk of the same size, as if it had been plugged in where the first one was.
    let Some(other) = Loop::new(2 * MIB, &[]) else {
        return;
    };
    let target = Target::open(&other.path, &Options::default()).unwrap();
    target.unchanged(&other.device()).unwrap();
    assert!(matches!(
        target.unchanged(&disk.device()),
        Err(Error::Changed {
            what: "sequence number",
            ..
        })
    ));

    let file = device(&disk.file()).unwrap();
    drop(target);
    let target = Target::open(&disk.file(), &Options::default()).unwrap();
    target.unchanged(&file).unwrap();
    File::options()
        .write(true)
        .open(disk.file())
        .unwrap()
        .set_len(MIB)
        .unwrap();
    assert!(matches!(
        target.unchanged(&file),
        Err(Error::Changed { what: "size", .. })
    ));
}
