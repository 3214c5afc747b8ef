//! What a target does with bytes, on files and on loop devices.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::thread;

use prejoin_disk::device::{ReadAt, WriteAt};
use prejoin_disk::guard::Guarded;
use prejoin_disk::io::capacity::size_check;
use prejoin_disk::io::target::{Options, Reader, Target};
use prejoin_disk::io::{Buffer, Failed};
use prejoin_sys::block;
use prejoin_wire::disk::Extent;
use proptest::prelude::*;

use super::devices::{Loop, run, skip};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 3 * MIB + 4096;

#[derive(Clone, Debug)]
enum Step {
    Write {
        offset: u64,
        length: u64,
        aligned: bool,
    },
    Zero {
        offset: u64,
        length: u64,
    },
    Read {
        offset: u64,
        length: u64,
    },
    Forget,
}

/// Offsets and lengths near edges of sectors, blocks and bounce buffers, in units of `grain`.
fn steps(grain: u64) -> impl Strategy<Value = Vec<Step>> {
    let place = move || {
        let offset = prop_oneof![
            0..SIZE,
            Just(0),
            Just(4096),
            Just(MIB),
            Just(MIB - 512),
            Just(SIZE - 4096)
        ];
        let length = prop_oneof![
            1..9000u64,
            Just(512),
            Just(4096),
            Just(MIB),
            Just(MIB + 512),
            Just(2 * MIB),
            0..SIZE
        ];
        (offset, length).prop_map(move |(offset, length)| {
            let offset = offset / grain * grain;
            (offset, length.next_multiple_of(grain).min(SIZE - offset))
        })
    };
    let step = prop_oneof![
        4 => (place(), any::<bool>()).prop_map(|((offset, length), aligned)| Step::Write { offset, length, aligned }),
        3 => place().prop_map(|(offset, length)| Step::Zero { offset, length }),
        3 => place().prop_map(|(offset, length)| Step::Read { offset, length }),
        1 => Just(Step::Forget),
    ];
    prop::collection::vec(step, 1..12)
}

/// Does the same to the target and to memory, and compares.
fn follow(target: &Target, backing: &Path, steps: Vec<Step>) {
    let mut model = vec![0xa5; SIZE as usize];
    target.write_at(0, &model).unwrap();
    for (salt, step) in (1u8..).zip(steps) {
        match step {
            Step::Write {
                offset,
                length,
                aligned,
            } => {
                let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8 ^ salt).collect();
                match aligned {
                    true => target.write_at(offset, &Buffer::copy_of(&bytes)).unwrap(),
                    false => target.write_at(offset, &bytes).unwrap(),
                }
                model[offset as usize..(offset + length) as usize].copy_from_slice(&bytes);
            }
            Step::Zero { offset, length } => {
                target.zero(offset, length).unwrap();
                model[offset as usize..(offset + length) as usize].fill(0);
            }
            Step::Read { offset, length } => {
                let mut bytes = vec![1; length as usize];
                target.read_at(offset, &mut bytes).unwrap();
                assert!(
                    bytes == model[offset as usize..(offset + length) as usize],
                    "{offset} {length}"
                );
            }
            Step::Forget => target.forget().unwrap(),
        }
    }
    target.forget().unwrap();
    let mut bytes = vec![1; SIZE as usize];
    target.read_at(0, &mut bytes).unwrap();
    assert!(bytes == model, "at the end");
    assert!(fs::read(backing).unwrap() == model, "in the file");
}

/// Whether the only file that is open at a path passes the page cache by, as the kernel says.
fn is_direct(path: &Path) -> bool {
    let open = |entry: &fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|link| link == path);
    let entry = fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .find(open)
        .unwrap();
    let info = fs::read_to_string(Path::new("/proc/self/fdinfo").join(entry.file_name())).unwrap();
    let flags = info
        .lines()
        .find_map(|line| line.strip_prefix("flags:"))
        .unwrap()
        .trim();
    i32::from_str_radix(flags, 8).unwrap() & block::DIRECT != 0
}

fn options() -> impl Strategy<Value = Options> {
    (any::<bool>(), any::<bool>()).prop_map(|(direct, offload)| Options { direct, offload })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn files_hold_what_was_written(steps in steps(1), options in options()) {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("image");
        File::create(&path).unwrap().set_len(SIZE).unwrap();
        follow(&Target::open(&path, &options).unwrap(), &path, steps);
    }
}

#[test]
fn disks_hold_what_was_written() {
    for sector_size in [512u64, 4096] {
        let Some(disk) = Loop::new(SIZE, &["-b", &sector_size.to_string()]) else {
            return;
        };
        let config = ProptestConfig {
            cases: 24,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        proptest!(config, |(steps in steps(sector_size), options in options())| {
            let target = Target::open(&disk.path, &options).unwrap();
            assert_eq!(is_direct(&disk.path), options.direct);
            follow(&target, &disk.file(), steps);
        });
    }
}

#[test]
fn threads_share_blocks_without_undoing_each_other() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("image");
    File::create(&path).unwrap().set_len(MIB).unwrap();
    let target = Target::open(&path, &Options::default()).unwrap();
    thread::scope(|scope| {
        for thread in 0..4u64 {
            let target = &target;
            scope.spawn(move || {
                for sector in (thread..2048).step_by(4) {
                    target
                        .write_at(sector * 512, &[sector as u8 ^ 0x5a; 512])
                        .unwrap();
                }
            });
        }
    });
    let bytes = fs::read(&path).unwrap();
    assert!(
        (0u64..)
            .zip(bytes.chunks(512))
            .all(|(sector, bytes)| bytes.iter().all(|&byte| byte == sector as u8 ^ 0x5a))
    );
}

#[test]
fn what_is_no_whole_sector_or_past_the_end_is_refused() {
    let Some(disk) = Loop::new(MIB, &["-b", "4096"]) else {
        return;
    };
    for direct in [true, false] {
        let target = Target::open(
            &disk.path,
            &Options {
                direct,
                offload: true,
            },
        )
        .unwrap();
        assert_eq!(target.sector_size(), 4096);
        for (offset, length) in [(512, 4096), (0, 512), (4096, 4608)] {
            let error = target.write_at(offset, &vec![1; length]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(
                error
                    .to_string()
                    .ends_with("the disk has sectors of 4096 bytes"),
                "{error}"
            );
            assert_eq!(
                target.zero(offset, length as u64).unwrap_err().kind(),
                io::ErrorKind::InvalidInput
            );
        }
        for offset in [MIB, MIB - 4096, u64::MAX - 8191] {
            assert!(target.write_at(offset, &[1; 8192]).is_err());
            assert!(target.zero(offset, 8192).is_err());
            assert!(target.read_at(offset, &mut [0; 8192]).is_err());
        }
        // Reads may be of any bytes.
        let mut odd = [1; 5];
        target.read_at(4095, &mut odd).unwrap();
        assert_eq!(odd, [0; 5]);
    }
    assert!(
        fs::read(disk.file()).unwrap().iter().all(|&byte| byte == 0),
        "nothing was written"
    );
}

#[test]
fn a_file_of_no_whole_blocks_keeps_its_size() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("image");
    fs::write(&path, vec![7; 10_000]).unwrap();
    let target = Target::open(&path, &Options::default()).unwrap();
    assert!(!is_direct(&path));
    target.write_at(9_000, &[1; 1_000]).unwrap();
    target.zero(100, 8_900).unwrap();
    assert!(target.write_at(9_001, &[1; 1_000]).is_err());
    target.forget().unwrap();
    let mut expected = vec![7; 100];
    expected.resize(9_000, 0);
    expected.resize(10_000, 1);
    assert!(fs::read(&path).unwrap() == expected);
}

#[test]
fn zeroes_take_no_room() {
    let Some(disk) = Loop::new(16 * MIB, &[]) else {
        return;
    };
    for (path, options) in [
        (&disk.path, Options::default()),
        (&disk.file(), Options::default()),
    ] {
        let target = Target::open(path, &options).unwrap();
        target.write_at(0, &vec![1; 16 << 20]).unwrap();
        target.flush().unwrap();
        let full = fs::metadata(disk.file()).unwrap().blocks();
        target.zero(MIB, 14 * MIB).unwrap();
        target.flush().unwrap();
        let left = fs::metadata(disk.file()).unwrap().blocks();
        assert!(left < full / 4, "{left} of {full} blocks");
    }
}

#[test]
fn what_was_forgotten_comes_from_the_medium() {
    let Some(disk) = Loop::new(MIB, &[]) else {
        return;
    };
    let target = Target::open(
        &disk.path,
        &Options {
            direct: false,
            offload: true,
        },
    )
    .unwrap();
    let byte = || {
        let mut byte = [0];
        target.read_at(8192, &mut byte).unwrap();
        byte[0]
    };
    assert_eq!(byte(), 0);
    File::options()
        .write(true)
        .open(disk.file())
        .unwrap()
        .write_all_at(&[9], 8192)
        .unwrap();
    assert_eq!(byte(), 0, "still cached");
    target.forget().unwrap();
    assert_eq!(byte(), 9);
}

#[test]
fn the_end_of_a_real_disk() {
    let Some(disk) = Loop::new(5 * MIB, &[]) else {
        return;
    };
    let target = Target::open(&disk.path, &Options::default()).unwrap();
    let content: Vec<u8> = (0..5 * MIB).map(|at| (at / 7) as u8).collect();
    target.write_at(0, &content).unwrap();
    let end = Extent::between(5 * MIB - 33 * 512, 5 * MIB);
    size_check(&Guarded::new(&target, vec![end]), end, 5 * MIB).unwrap();
    let elsewhere = vec![Extent::between(0, 4 * MIB)];
    assert!(size_check(&Guarded::new(&target, elsewhere), end, 5 * MIB).is_err());
    target.flush().unwrap();
    assert!(fs::read(disk.file()).unwrap() == content);
}

/// Whether the kernel has a first partition of a disk.
fn has_partition(disk: &Loop) -> bool {
    let name = disk
        .path
        .file_name()
        .unwrap()
        .to_string_lossy()
        .into_owned();
    Path::new(&format!("/sys/block/{name}/{name}p1")).exists()
}

/// A partition that is in no table, as those of an old one are in none any more.
#[test]
fn the_kernel_forgets_partitions_of_the_old_table() {
    let Some(disk) = Loop::new(4 * MIB, &["--partscan"]) else {
        return;
    };
    block::add_partition(&File::open(&disk.path).unwrap(), 1, MIB, MIB).unwrap();
    let target = Target::open(&disk.path, &Options::default()).unwrap();
    assert!(has_partition(&disk));
    let partition = File::open(format!("{}p1", disk.text())).unwrap();
    assert_eq!(
        target.reread().unwrap_err().raw_os_error(),
        Some(16),
        "somebody has it open"
    );
    assert!(has_partition(&disk));
    drop(partition);
    target.reread().unwrap();
    assert!(!has_partition(&disk));
}

#[test]
fn where_the_kernel_looks_for_no_partitions_there_is_nothing_to_forget() {
    let Some(disk) = Loop::new(4 * MIB, &[]) else {
        return;
    };
    let target = Target::open(&disk.path, &Options::default()).unwrap();
    assert_eq!(
        block::reread(&File::open(&disk.path).unwrap())
            .unwrap_err()
            .raw_os_error(),
        Some(22)
    );
    target.reread().unwrap();
    // As partx does, which it takes away again.
    block::add_partition(&File::open(&disk.path).unwrap(), 1, MIB, MIB).unwrap();
    assert_eq!(target.reread().unwrap_err().raw_os_error(), Some(22));
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("image");
    File::create(&path).unwrap().set_len(MIB).unwrap();
    Target::open(&path, &Options::default())
        .unwrap()
        .reread()
        .unwrap();
}

fn code(error: &io::Error) -> i32 {
    let failed = Failed::of(error).unwrap_or_else(|| panic!("{error}"));
    assert!(failed.hint().is_some(), "{error}");
    failed.code.unwrap()
}

#[test]
fn a_disk_full_of_errors() {
    let Some(disk) = Loop::new(8 * MIB, &[]) else {
        return;
    };
    // The file behind the device ends early: everything after it cannot be read.
    File::options()
        .write(true)
        .open(disk.file())
        .unwrap()
        .set_len(4 * MIB)
        .unwrap();
    let reader = Reader::open(&disk.path).unwrap();
    assert_eq!((reader.size(), reader.sector_size()), (8 * MIB, 512));
    let error = reader.read_at(4 * MIB - 512, &mut [0; 1024]).unwrap_err();
    assert_eq!(code(&error), 5);
    let text = format!(
        "reading 1024 bytes at byte 4193792 of {}: the device reports an input/output error",
        disk.text()
    );
    assert_eq!(error.to_string(), text);
    reader.read_at(4 * MIB - 512, &mut [0; 512]).unwrap();
    let target = Target::open(&disk.path, &Options::default()).unwrap();
    assert_eq!(
        code(&target.read_at(6 * MIB, &mut Buffer::new(4096)).unwrap_err()),
        5
    );
}

#[test]
fn no_space_left() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path().display().to_string();
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1M", "none", &at])
        .output();
    if !mount.is_ok_and(|output| output.status.success()) {
        return skip("the right to mount").unwrap_or_default();
    }
    let path = home.path().join("image");
    File::create(&path).unwrap().set_len(8 * MIB).unwrap();
    let target = Target::open(&path, &Options::default()).unwrap();
    let error = target.write_at(0, &vec![1; 4 << 20]).unwrap_err();
    target.zero(0, 8 * MIB).unwrap();
    drop(target);
    run(&["umount", &at]);
    assert_eq!(code(&error), 28);
    assert!(
        error.to_string().ends_with("there is no space left"),
        "{error}"
    );
}
