//! What the real tools make, and what libblkid says of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use prejoin_disk::device::ReadAt;
use prejoin_wire::disk::Signature;

use super::hand::{self, Blkid};
use super::{MIB, signatures, text, whole};

const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
const GIB: u64 = 1 << 30;

/// A disk image in a file.
struct Image {
    file: File,
    path: PathBuf,
    size: u64,
}

impl Image {
    fn new(path: PathBuf, size: u64) -> Self {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .unwrap();
        file.set_len(size).unwrap();
        Image { file, path, size }
    }

    fn found(&self) -> Vec<Signature> {
        signatures(self, whole(self.size))
    }

    fn zero(&self, offset: u64, length: u64) {
        self.file
            .write_all_at(&vec![0; length as usize], offset)
            .unwrap();
    }
}

impl ReadAt for Image {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

fn run(tool: &str, arguments: &[&str], path: &Path) -> Output {
    let path = path.to_str().unwrap();
    let arguments = arguments
        .iter()
        .map(|argument| argument.replace("FILE", path));
    // What asks for confirmation gets it.
    let script = "yes | \"$@\"";
    let mut command = Command::new("sh");
    command
        .env("PATH", PATH)
        .args(["-c", script, "sh", tool])
        .args(arguments);
    command.output().unwrap()
}

/// What libblkid sees, by name; nothing at all, or `AMBIVALENT`.
fn blkid(path: &Path) -> BTreeMap<String, String> {
    let output = Command::new("blkid")
        .env("PATH", PATH)
        .args(["-p", "-o", "export"])
        .arg(path)
        .output()
        .unwrap();
    if output.status.code() == Some(8) {
        return [("TYPE".into(), "AMBIVALENT".into())].into();
    }
    let plain = |value: &str| value.replace('\\', "").trim_end().to_owned();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.into(), plain(value)))
        .collect()
}

fn absent(tools: &[&str]) -> bool {
    let found = |tool: &str| {
        PATH.split(':')
            .any(|folder| Path::new(folder).join(tool).exists())
    };
    let missing: Vec<_> = tools.iter().filter(|tool| !found(tool)).collect();
    if !missing.is_empty() {
        skipped(&format!(
            "{missing:?} not installed: tests/setup installs them"
        ));
    }
    !missing.is_empty()
}

fn skipped(why: &str) {
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "CI must run everything: {why}"
    );
    std::io::stderr()
        .write_all(format!("\n*** SKIPPED: {why} ***\n").as_bytes())
        .unwrap();
}

/// The name, UUID, label and version that libblkid gives are those of a signature that is no copy.
fn agrees(name: &str, found: &[Signature], seen: &BTreeMap<String, String>) {
    let Some(kind) = seen.get("TYPE") else {
        panic!("{name}: libblkid sees nothing\n{}", text(found))
    };
    let own = found
        .iter()
        .find(|signature| signature.kind == *kind && !signature.copy);
    let Some(own) = own else {
        panic!("{name}: no {kind} in\n{}", text(found))
    };
    let fields = [
        ("UUID", &own.uuid),
        ("LABEL", &own.label),
        ("VERSION", &own.version),
    ];
    for (field, value) in fields {
        // Some of what it leaves out is found here; `M-` is how it prints what is not ASCII.
        if let Some(seen) = seen.get(field).filter(|seen| !seen.contains("M-")) {
            assert_eq!(
                value.as_ref(),
                Some(seen),
                "{name}: {field}\n{}",
                text(found)
            );
        }
    }
}

#[test]
fn libblkid_judges_what_is_made_by_hand() {
    if absent(&["blkid"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (mut same, mut less) = (0, 0);
    let mut wrong = Vec::new();
    for case in hand::cases() {
        let image = Image::new(folder.path().join("disk"), case.disk.size);
        for (at, bytes) in &case.disk.pieces {
            image.file.write_all_at(bytes, *at).unwrap();
        }
        let found = image.found();
        let seen = blkid(&image.path);
        let kind = seen.get("TYPE");
        let known = kind.is_some_and(|kind| found.iter().any(|signature| signature.kind == *kind));
        match case.blkid {
            Blkid::Same => {
                same += 1;
                if known {
                    agrees(case.name, &found, &seen);
                } else {
                    wrong.push(format!("{}: {seen:?}", case.name));
                }
            }
            Blkid::Kind if known => same += 1,
            Blkid::Blind if seen.is_empty() => less += 1,
            Blkid::Later if known || seen.is_empty() => less += 1,
            expected => wrong.push(format!("{}: not {expected:?}: {seen:?}", case.name)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        same > 40 && less > 8,
        "{same} the same, {less} that it does not see"
    );
}

/// What a tool makes, and the kinds that must be listed; `FILE` is the image.
struct Made {
    name: &'static str,
    mib: u64,
    tool: &'static str,
    arguments: &'static [&'static str],
    kind: &'static str,
    /// Copies beside the first.
    copies: usize,
    label: Option<&'static str>,
    /// How many are left when the first MiB is gone, where libblkid says there is nothing.
    left: usize,
}

const fn made(
    name: &'static str,
    mib: u64,
    tool: &'static str,
    arguments: &'static [&'static str],
    kind: &'static str,
) -> Made {
    Made {
        name,
        mib,
        tool,
        arguments,
        kind,
        copies: 0,
        label: None,
        left: 0,
    }
}

const UUID: &str = "6f1d9a2e-304b-4c5d-8e7f-102132435465";

#[rustfmt::skip]
fn all() -> Vec<Made> {
    vec![
        Made { copies: 2, label: Some("root"), left: 2, ..made("ext4", 512, "mkfs.ext4", &["-q", "-F", "-b", "4096", "-L", "root", "-U", UUID, "FILE"], "ext4") },
        Made { copies: 5, left: 5, ..made("ext4, 1 KiB blocks", 128, "mkfs.ext4", &["-q", "-F", "-b", "1024", "FILE"], "ext4") },
        Made { copies: 4, left: 4, ..made("ext4, 2 KiB blocks", 256, "mkfs.ext4", &["-q", "-F", "-b", "2048", "FILE"], "ext4") },
        Made { copies: 2, left: 2, ..made("ext4 without checksums", 512, "mkfs.ext4", &["-q", "-F", "-b", "4096", "-O", "^metadata_csum,^64bit", "FILE"], "ext4") },
        Made { copies: 3, left: 0, ..made("ext4, groups of another size", 128, "mkfs.ext4", &["-q", "-F", "-b", "4096", "-g", "6144", "FILE"], "ext4") },
        Made { copies: 1, left: 1, ..made("ext3", 256, "mkfs.ext3", &["-q", "-F", "-b", "4096", "-L", "three", "FILE"], "ext3") },
        Made { copies: 1, left: 1, ..made("ext2", 256, "mkfs.ext2", &["-q", "-F", "-b", "4096", "FILE"], "ext2") },
        Made { copies: 1, left: 1, ..made("ext2, revision 0", 256, "mkfs.ext2", &["-q", "-F", "-b", "4096", "-r", "0", "FILE"], "ext2") },
        made("external journal", 64, "mke2fs", &["-q", "-F", "-O", "journal_dev", "-L", "log", "FILE"], "jbd"),
        Made { copies: 3, label: Some("data"), left: 3, ..made("xfs", 600, "mkfs.xfs", &["-q", "-L", "data", "FILE"], "xfs") },
        Made { copies: 1, left: 1, ..made("xfs, two groups", 640, "mkfs.xfs", &["-q", "-d", "agcount=2", "FILE"], "xfs") },
        Made { copies: 15, left: 7, ..made("xfs, sixteen groups", 2048, "mkfs.xfs", &["-q", "-d", "agcount=16", "FILE"], "xfs") },
        Made { copies: 3, left: 3, ..made("xfs of 4 KiB sectors", 1000, "mkfs.xfs", &["-q", "-s", "size=4096", "FILE"], "xfs") },
        Made { copies: 3, left: 3, ..made("xfs of 2 TiB", 2 << 20, "mkfs.xfs", &["-q", "FILE"], "xfs") },
        Made { copies: 1, label: Some("pool"), left: 1, ..made("btrfs", 200, "mkfs.btrfs", &["-q", "-L", "pool", "FILE"], "btrfs") },
        Made { copies: 1, left: 1, ..made("btrfs, SHA-256", 200, "mkfs.btrfs", &["-q", "--csum", "sha256", "FILE"], "btrfs") },
        Made { copies: 2, left: 2, ..made("btrfs of 300 GiB", 300 << 10, "mkfs.btrfs", &["-q", "FILE"], "btrfs") },
        Made { copies: 1, label: Some("flash"), ..made("f2fs", 128, "mkfs.f2fs", &["-q", "-l", "flash", "FILE"], "f2fs") },
        Made { copies: 1, label: Some("EFI"), ..made("FAT32", 512, "mkfs.vfat", &["-F", "32", "-n", "EFI", "FILE"], "vfat") },
        Made { copies: 1, ..made("FAT32 of 4 KiB sectors", 512, "mkfs.vfat", &["-F", "32", "-S", "4096", "FILE"], "vfat") },
        made("FAT16", 64, "mkfs.vfat", &["-F", "16", "-n", "SIXTEEN", "FILE"], "vfat"),
        made("FAT12", 4, "mkfs.vfat", &["-F", "12", "-n", "TWELVE", "FILE"], "vfat"),
        Made { copies: 1, label: Some("Stick Ü"), ..made("exFAT", 128, "mkfs.exfat", &["-L", "Stick Ü", "FILE"], "exfat") },
        Made { copies: 1, label: Some("Windows"), left: 1, ..made("NTFS", 128, "mkntfs", &["-q", "-F", "-Q", "-L", "Windows", "FILE"], "ntfs") },
        Made { copies: 1, ..made("JFS", 64, "mkfs.jfs", &["-q", "-L", "jay", "FILE"], "jfs") },
        Made { copies: 1, left: 1, label: Some("log"), ..made("NILFS2", 256, "mkfs.nilfs2", &["-q", "-L", "log", "FILE"], "nilfs2") },
        made("ReiserFS", 128, "mkreiserfs", &["-q", "-f", "-f", "-l", "old", "FILE"], "reiserfs"),
        made("UDF", 64, "mkudffs", &["--utf8", "-l", "Disc", "FILE"], "udf"),
        made("UDF of 2 KiB blocks", 64, "mkudffs", &["--utf8", "-b", "2048", "-l", "Scheibe Ü", "FILE"], "udf"),
        Made { copies: 0, left: 0, ..made("OCFS2", 512, "mkfs.ocfs2", &["-q", "-F", "-M", "local", "-L", "shared", "FILE"], "ocfs2") },
        Made { copies: 1, left: 1, ..made("OCFS2 with a backup", 2048, "mkfs.ocfs2", &["-q", "-F", "-M", "local", "FILE"], "ocfs2") },
        made("GFS2", 256, "mkfs.gfs2", &["-q", "-O", "-p", "lock_nolock", "-t", "kube:one", "FILE"], "gfs2"),
        made("APFS", 1024, "mkapfs", &["FILE"], "apfs"),
        made("swap", 64, "mkswap", &["-L", "pages", "FILE"], "swap"),
        made("swap, 64 KiB pages", 64, "mkswap", &["-p", "65536", "-L", "arm", "FILE"], "swap"),
        Made { copies: 1, ..made("LUKS2", 64, "cryptsetup", &["luksFormat", "-q", "--type", "luks2", "--label", "vault", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--key-file", "/dev/urandom", "--keyfile-size", "32", "FILE"], "crypto_LUKS") },
        made("LUKS1", 64, "cryptsetup", &["luksFormat", "-q", "--type", "luks1", "--pbkdf-force-iterations", "1000", "--key-file", "/dev/urandom", "--keyfile-size", "32", "FILE"], "crypto_LUKS"),
        made("dm-verity", 64, "veritysetup", &["format", "--uuid", UUID, "/dev/null", "FILE"], "DM_verity_hash"),
        made("bcache, backing", 64, "make-bcache", &["-B", "FILE"], "bcache"),
        made("bcache, cache", 64, "make-bcache", &["-C", "FILE"], "bcache"),
    ]
}

#[test]
fn tools_and_libblkid_agree() {
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for made in all() {
        if absent(&[made.tool, "blkid"]) {
            continue;
        }
        let image = Image::new(folder.path().join("disk"), made.mib * MIB);
        let mut arguments = made.arguments.to_vec();
        let data = folder.path().join("data");
        if made.tool == "veritysetup" {
            std::fs::write(&data, vec![7; 1 << 20]).unwrap();
            arguments[3] = data.to_str().unwrap();
        }
        let output = run(made.tool, &arguments, &image.path);
        assert!(
            output.status.success(),
            "{}: {}",
            made.name,
            String::from_utf8_lossy(&output.stderr)
        );
        let found = image.found();
        agrees(made.name, &found, &blkid(&image.path));
        let copies = found
            .iter()
            .filter(|signature| signature.kind == made.kind && signature.copy)
            .count();
        let others = found
            .iter()
            .filter(|signature| signature.kind != made.kind)
            .count();
        let labelled = made
            .label
            .is_none_or(|label| found.iter().any(|one| one.label.as_deref() == Some(label)));
        if copies != made.copies || others != 0 || !labelled {
            wrong.push(format!(
                "{}: {copies} copies, not {}, {others} others\n{}",
                made.name,
                made.copies,
                text(&found)
            ));
        }
        // Every copy says the same of itself as the first one.
        let uuids: Vec<_> = found
            .iter()
            .map(|signature| (&signature.uuid, &signature.label))
            .collect();
        assert!(
            uuids.windows(2).all(|pair| pair[0] == pair[1]),
            "{}:\n{}",
            made.name,
            text(&found)
        );

        image.zero(0, MIB.min(image.size));
        let left = image.found();
        if left.len() != made.left || left.first().is_some_and(|first| first.copy) {
            wrong.push(format!(
                "{}, first MiB gone: {} left, not {}\n{}",
                made.name,
                left.len(),
                made.left,
                text(&left)
            ));
        }
        // NILFS2's and GFS2's second superblocks are the only ones it looks for.
        if made.kind != "nilfs2" {
            assert!(
                !blkid(&image.path).contains_key("TYPE"),
                "{}: libblkid sees it, too",
                made.name
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Clearing every header that is listed leaves nothing, for us and for `wipefs`.
#[test]
fn headers_are_all_there_is() {
    let folder = tempfile::tempdir().unwrap();
    for made in all() {
        if absent(&[made.tool, "wipefs"]) || made.mib > 4096 || made.tool == "veritysetup" {
            continue;
        }
        let image = Image::new(folder.path().join("disk"), made.mib * MIB);
        let output = run(made.tool, made.arguments, &image.path);
        assert!(
            output.status.success(),
            "{}: {}",
            made.name,
            String::from_utf8_lossy(&output.stderr)
        );
        for signature in image.found() {
            image.zero(signature.header.start, signature.header.length);
        }
        assert_eq!(text(&image.found()), "", "{}", made.name);
        let seen = run("wipefs", &["FILE"], &image.path);
        assert_eq!(String::from_utf8_lossy(&seen.stdout), "", "{}", made.name);
    }
}

/// Images of folders.
#[test]
fn images_of_folders() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("a"), vec![1; 100_000]).unwrap();
    let source = source.to_str().unwrap();
    let tools: [(&str, &str, &[&str]); 5] = [
        (
            "squashfs",
            "mksquashfs",
            &[source, "FILE", "-quiet", "-noappend"],
        ),
        (
            "erofs",
            "mkfs.erofs",
            &["--quiet", "-U", UUID, "FILE", source],
        ),
        ("cramfs", "mkfs.cramfs", &["-n", "small", source, "FILE"]),
        (
            "iso9660",
            "xorriso",
            &[
                "-as",
                "mkisofs",
                "-quiet",
                "-V",
                "INSTALL_MEDIUM",
                "-o",
                "FILE",
                source,
            ],
        ),
        (
            "iso9660",
            "xorriso",
            &[
                "-as",
                "mkisofs",
                "-quiet",
                "-J",
                "-V",
                "Install Medium 2026",
                "-o",
                "FILE",
                source,
            ],
        ),
    ];
    for (kind, tool, arguments) in tools {
        if absent(&[tool, "blkid"]) {
            continue;
        }
        let path = folder.path().join("image");
        let _ = std::fs::remove_file(&path);
        let output = run(tool, arguments, &path);
        assert!(
            output.status.success(),
            "{kind}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        // On a disk there is room behind it.
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let size = (file.metadata().unwrap().len() + MIB).next_multiple_of(MIB);
        file.set_len(size).unwrap();
        let image = Image {
            file,
            path: path.clone(),
            size,
        };
        let found = image.found();
        assert_eq!(
            found
                .iter()
                .map(|one| one.kind.as_str())
                .collect::<Vec<_>>(),
            [kind]
        );
        agrees(kind, &found, &blkid(&image.path));
    }
}

/// Two tools' signatures on one disk, where libblkid names one or none.
#[test]
fn one_hit_hides_no_other() {
    if absent(&["mkfs.ext4", "mkswap", "mkfs.xfs", "blkid"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let kinds = |image: &Image| {
        let found = image.found();
        found
            .iter()
            .filter(|one| !one.copy)
            .map(|one| one.kind.clone())
            .collect::<Vec<_>>()
    };

    // An image's file system over an old member of an array, whose superblock is behind its end.
    let image = Image::new(folder.path().join("raid"), 256 * MIB);
    run("mkfs.ext4", &["-q", "-F", "FILE", "128M"], &image.path);
    let md = hand::cases()
        .into_iter()
        .find(|case| case.name == "md 1.0")
        .unwrap();
    let (_, mut superblock) = md.disk.pieces[0].clone();
    let last = image.size - 8192;
    // Its own sector, and the sum that has it in it.
    let difference =
        (last / 512).wrapping_sub(u64::from_le_bytes(superblock[144..152].try_into().unwrap()));
    superblock[144..152].copy_from_slice(&(last / 512).to_le_bytes());
    let sum = u32::from_le_bytes(superblock[216..220].try_into().unwrap())
        .wrapping_add(difference as u32);
    superblock[216..220].copy_from_slice(&sum.to_le_bytes());
    image.file.write_all_at(&superblock, last).unwrap();
    assert_eq!(kinds(&image), ["ext4", "linux_raid_member"]);
    assert_eq!(blkid(&image.path)["TYPE"], "linux_raid_member");

    // A file system where swap was: libblkid does not choose.
    let image = Image::new(folder.path().join("swap"), 256 * MIB);
    run("mkfs.ext4", &["-q", "-F", "FILE"], &image.path);
    image.file.write_all_at(b"SWAP-SPACE", 0xfff6).unwrap();
    assert_eq!(kinds(&image), ["ext4", "swap"]);
    assert_eq!(blkid(&image.path)["TYPE"], "AMBIVALENT");

    // xfs made over ext4: what mkfs.xfs does not overwrite is no longer an ext4, what it leaves are backups.
    let image = Image::new(folder.path().join("over"), 600 * MIB);
    run(
        "mkfs.ext4",
        &["-q", "-F", "-b", "4096", "FILE"],
        &image.path,
    );
    run("mkfs.xfs", &["-q", "-f", "FILE"], &image.path);
    assert_eq!(kinds(&image), ["xfs", "ext4"]);
    assert_eq!(blkid(&image.path)["TYPE"], "xfs");
}

/// mdadm reads the superblocks that were made by hand as its own.
#[test]
fn mdadm_judges_members() {
    if absent(&["mdadm"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for case in hand::cases()
        .into_iter()
        .filter(|case| case.name.starts_with("md "))
    {
        // It reads only its own machine's order.
        if case.name.contains("big-endian") {
            continue;
        }
        let image = Image::new(folder.path().join("disk"), case.disk.size);
        for (at, bytes) in &case.disk.pieces {
            image.file.write_all_at(bytes, *at).unwrap();
        }
        let output = run("mdadm", &["--examine", "FILE"], &image.path);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let [own] = image.found().try_into().unwrap();
        let version = own.version.unwrap().trim_end_matches(".3").to_owned();
        // It writes a UUID as four words.
        let digits: Vec<char> = own
            .uuid
            .unwrap()
            .chars()
            .filter(|&char| char != '-')
            .collect();
        let uuid = digits
            .chunks(8)
            .map(String::from_iter)
            .collect::<Vec<_>>()
            .join(":");
        // The checksum of 0.90 is over a whole page, and is not made here.
        let judged = said.contains(&format!("Version : {version}")) && said.contains(&uuid);
        assert!(
            judged && (version == "0.90" || said.contains("- correct")),
            "{}: {said}",
            case.name
        );
    }
}

/// Flash for `ubi` is built from a description.
#[test]
fn flash_image() {
    if absent(&["ubinize", "blkid"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let description =
        "[root]\nmode=ubi\nvol_id=0\nvol_size=4MiB\nvol_type=dynamic\nvol_name=root\n";
    let path = folder.path().join("description");
    std::fs::write(&path, description).unwrap();
    let image = folder.path().join("image");
    let arguments = [
        "-Q",
        "4711",
        "-p",
        "131072",
        "-m",
        "2048",
        "-o",
        "FILE",
        path.to_str().unwrap(),
    ];
    let output = run("ubinize", &arguments, &image);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let file = File::options().read(true).write(true).open(&image).unwrap();
    let size = 64 * MIB;
    file.set_len(size).unwrap();
    let image = Image {
        file,
        path: image,
        size,
    };
    let found = image.found();
    assert_eq!(
        found
            .iter()
            .map(|one| one.kind.as_str())
            .collect::<Vec<_>>(),
        ["ubi"]
    );
    assert_eq!(found[0].uuid.as_deref(), Some("4711"));
    agrees("ubi", &found, &blkid(&image.path));
}

/// External logs and physical volumes need block devices: loop devices, which only root has.
#[test]
fn on_loop_devices() {
    if absent(&["losetup", "pvcreate", "mkfs.xfs", "drbdmeta", "blkid"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = Image::new(folder.path().join("disk"), 512 * MIB);
    let attached = Command::new("losetup")
        .env("PATH", PATH)
        .args(["--find", "--show"])
        .arg(&image.path)
        .output()
        .unwrap();
    let device = PathBuf::from(String::from_utf8_lossy(&attached.stdout).trim());
    if !attached.status.success() {
        return skipped("loop devices are root's");
    }
    let tools = [
        (
            "pvcreate",
            &[
                "-ff",
                "-y",
                "--config",
                "devices{use_devicesfile=0 filter=[\"a|FILE|\",\"r|.*|\"]}",
                "FILE",
            ][..],
            "LVM2_member",
        ),
        (
            "drbdmeta",
            &["--force", "0", "v08", "FILE", "internal", "create-md"],
            "drbd",
        ),
        (
            "drbdmeta",
            &["--force", "0", "v09", "FILE", "internal", "create-md", "3"],
            "drbd",
        ),
        (
            "mkfs.xfs",
            &["-q", "-f", "-l", "logdev=FILE", "DATA"],
            "xfs_external_log",
        ),
    ];
    let results: Vec<_> = tools
        .into_iter()
        .map(|(tool, arguments, kind)| {
            image.zero(0, image.size);
            let data = Image::new(folder.path().join("data"), GIB);
            let arguments: Vec<_> = arguments
                .iter()
                .map(|text| text.replace("DATA", data.path.to_str().unwrap()))
                .collect();
            let output = run(
                tool,
                &arguments.iter().map(String::as_str).collect::<Vec<_>>(),
                &device,
            );
            (tool, kind, output, image.found(), blkid(&image.path))
        })
        .collect();
    // Whatever happened, the device is given back.
    assert!(
        Command::new("losetup")
            .env("PATH", PATH)
            .arg("-d")
            .arg(&device)
            .status()
            .unwrap()
            .success()
    );
    for (tool, kind, output, found, seen) in results {
        assert!(
            output.status.success(),
            "{tool}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(
            found
                .iter()
                .map(|one| one.kind.as_str())
                .collect::<Vec<_>>(),
            [kind],
            "{tool}"
        );
        agrees(tool, &found, &seen);
    }
}
