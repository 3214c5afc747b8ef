//! Writing images to files: what is on them stays, what is written is the image, and what must not be written is not.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use prejoin_wire::digest::Digest;
use prejoin_wire::manifest::{Manifest, Range};
use serde_json::Value;

use crate::session::{Session, absent, checked, skipped};
use crate::tiny::{self, built, files};

const MIB: u64 = 1 << 20;
/// The image has 240 or 304 MiB, the state behind everything at least 1 GiB.
const DISK: u64 = 1500 * MIB;
/// Somebody's data.
const DATA: (u64, u64) = (384 * MIB, 64 * MIB);
/// A file has no serial number, the cluster file asks for one.
const FLASH: &str = "flash one disk.img --save state --accept ID-EXPECTMISMATCH";

/// An empty disk.
fn blank(session: &Session, name: &str, size: u64) -> PathBuf {
    let path = session.path(name);
    File::create(&path).unwrap().set_len(size).unwrap();
    path
}

/// A disk with one partition, an ext4 file system full of noise.
fn with_data(session: &Session, name: &str) -> PathBuf {
    let path = blank(session, name, DISK);
    let (start, size) = DATA;
    let partition = format!("9:{}M:+{}M", start / MIB, size / MIB);
    let mut table = Command::new("sgdisk");
    table.args([
        "-n",
        &partition,
        "-c",
        "9:keepsake",
        "-t",
        "9:8300",
        "-u",
        "9:6b1bbd0a-98ef-4a5d-8c1c-1c0e4c3e2a11",
    ]);
    checked(
        table
            .args(["-U", "0f7f1c6a-54a4-4b6f-9b31-2f0f2a8bb111"])
            .arg(&path),
    );
    session.write("keep/noise", crate::kernel::noise("keepsake", 20 << 20));
    let mut make = Command::new("mkfs.ext4");
    make.args([
        "-q",
        "-F",
        "-L",
        "keepsake",
        "-U",
        "a5f2c1de-0f0b-4b0f-9a52-7a4b6a7a9c10",
        "-d",
    ])
    .arg(session.path("keep"));
    checked(
        make.args(["-E", &format!("offset={start}")])
            .arg(&path)
            .arg(format!("{}k", size >> 10)),
    );
    path
}

fn bytes(path: &Path, start: u64, size: u64) -> Vec<u8> {
    let mut bytes = vec![0; size as usize];
    File::open(path)
        .unwrap()
        .read_exact_at(&mut bytes, start)
        .unwrap();
    bytes
}

fn data(path: &Path) -> Digest {
    Digest::of(&bytes(path, DATA.0, DATA.1))
}

fn copy(from: &Path, to: &Path) {
    checked(Command::new("cp").arg("--sparse=always").arg(from).arg(to));
}

fn same(one: &Path, other: &Path) {
    checked(Command::new("cmp").arg(one).arg(other));
}

fn sound(path: &Path) -> String {
    let said = checked(Command::new("sgdisk").arg("-v").arg(path));
    assert!(said.contains("No problems found."), "{said}");
    checked(Command::new("sgdisk").arg("-p").arg(path))
}

fn manifest(session: &Session) -> Arc<Manifest> {
    session.image("one").image
}

/// Every byte that the image defines in its partitions is on the disk as it is in the file that `export` writes.
fn holds_image(session: &Session, disk: &Path) {
    session.quietly("export one --format raw --to raw");
    let (raw, disk) = (
        File::open(session.path("raw/one.raw")).unwrap(),
        File::open(disk).unwrap(),
    );
    let manifest = manifest(session);
    for (start, range) in manifest.placed() {
        let inside = manifest
            .partitions
            .iter()
            .any(|p| p.start <= start && start < p.start + p.size);
        if !inside || matches!(range, Range::Skip { .. }) {
            continue;
        }
        let mut at = start;
        while at < start + range.length() {
            let count = MIB.min(start + range.length() - at) as usize;
            let (mut one, mut other) = (vec![0; count], vec![1; count]);
            raw.read_exact_at(&mut one, at).unwrap();
            disk.read_exact_at(&mut other, at).unwrap();
            assert!(one == other, "bytes {at} to {}", at + count as u64);
            at += count as u64;
        }
    }
}

/// A line without the fingerprints of what mkfs has made: it writes the time into it.
fn timeless(line: &str) -> String {
    match line.split_once(", fingerprint ") {
        Some((partition, prints)) => {
            let words: Vec<&str> = prints.split_whitespace().collect();
            assert!(words.len() == 5 && words[0] == words[3], "{line}");
            format!("{partition}, fingerprint [SAME] before and after\n")
        }
        None => line.to_owned(),
    }
}

/// What was said without what depends on the size of the agent: where exactly the image's bytes are.
fn brief(output: Output) -> Output {
    let keep = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let mut left = String::new();
        let mut is_list = false;
        for line in text.split_inclusive('\n') {
            let ends = line.ends_with(" in all\n");
            if !is_list && !ends {
                left.push_str(&timeless(line));
            }
            is_list = line.starts_with("Written, and") || is_list && !ends;
        }
        left.into_bytes()
    };
    Output {
        stdout: keep(&output.stdout),
        stderr: keep(&output.stderr),
        status: output.status,
    }
}

/// Runs, records briefly, and expects an exit code.
fn expect(session: &mut Session, arguments: &str, code: i32) -> Output {
    let output = session.command(arguments).output().unwrap();
    let text =
        String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments}\n{text}");
    session.record(&format!("prejoin {arguments}"), &brief(output.clone()));
    output
}

/// Runs without a record, and expects an exit code; what was said.
fn ends(session: &Session, arguments: &str, code: i32) -> String {
    let output = session.command(arguments).output().unwrap();
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments}\n{said}");
    said
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}\n{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn an_image_on_a_blank_disk() {
    let Some(mut session) = built() else { return };
    if absent("sgdisk") {
        return;
    }
    let disk = blank(&session, "disk.img", DISK);
    expect(
        &mut session,
        "flash one disk.img --save state --dry-run",
        10,
    );
    expect(&mut session, &format!("{FLASH} --dry-run"), 0);
    assert_eq!(
        fs::metadata(&disk).unwrap().blocks(),
        0,
        "a dry run writes nothing"
    );
    expect(&mut session, "flash one disk.img --save state", 10);
    expect(&mut session, FLASH, 0);
    session.note(&format!(
        "sgdisk -p\n{}",
        sound(&disk).split_once("Number").unwrap().1
    ));
    holds_image(&session, &disk);

    // Again, without need: the system is replaced by itself, or found to be there.
    expect(&mut session, &format!("{FLASH} --verify-first"), 0);
    let before = fs::metadata(&disk).unwrap().mtime_nsec();
    let output = session
        .command(&format!("{FLASH} --verify-first --json"))
        .output()
        .unwrap();
    let written = &json(&output)["targets"][0]["written"]["result"];
    for amount in ["written", "zeroed", "cleared", "tables", "repairs"] {
        assert_eq!(written[amount], 0, "{amount}: {written}");
    }
    assert!(written["equal"].as_u64().unwrap() > 0);
    assert_eq!(fs::metadata(&disk).unwrap().mtime_nsec(), before);
    session.golden("flash");
}

#[test]
fn a_reimage_keeps_what_is_not_the_systems() {
    let Some(mut session) = built() else { return };
    if ["sgdisk", "mkfs.ext4"].into_iter().any(absent) {
        return;
    }
    let disk = with_data(&session, "disk.img");
    let original = session.path("original");
    copy(&disk, &original);
    let keepsake = data(&disk);
    expect(&mut session, FLASH, 0);
    sound(&disk);
    assert_eq!(data(&disk), keepsake);

    // The node makes its state, and gets another image.
    let state = state(&session, &disk);
    checked(
        Command::new("mkfs.ext4")
            .args(["-q", "-F", "-E", &format!("offset={}", state.0)])
            .arg(&disk)
            .arg(format!("{}k", state.1 >> 10)),
    );
    let kept = Digest::of(&bytes(&disk, state.0, state.1));
    session.edit("cluster.yaml", "10.0.0.11", "10.0.0.13");
    session.quietly("build");
    let output = expect(&mut session, &format!("{FLASH} --verify-first"), 0);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("Plan: reimage: the node's state and data stay"),
        "{said}"
    );
    assert_eq!(
        (data(&disk), Digest::of(&bytes(&disk, state.0, state.1))),
        (keepsake, kept)
    );
    sound(&disk);
    holds_image(&session, &disk);

    // Its state may go, when somebody says so.
    expect(&mut session, &format!("{FLASH} --mode wipe-state"), 10);
    assert_eq!(Digest::of(&bytes(&disk, state.0, state.1)), kept);
    expect(
        &mut session,
        &format!("{FLASH} --mode wipe-state --accept DT-STATE"),
        0,
    );
    assert_eq!(bytes(&disk, state.0, MIB), vec![0; MIB as usize]);
    assert_eq!(data(&disk), keepsake);
    sound(&disk);

    // Somebody's data may go, when it is named. A name that stands for nothing stops, also on the node's own disk.
    let name = "6b1bbd0a-98ef-4a5d-8c1c-1c0e4c3e2a11";
    let mistyped = "11111111-98ef-4a5d-8c1c-1c0e4c3e2a11";
    let said = ends(
        &session,
        &format!("{FLASH} --delete {mistyped} --dry-run"),
        20,
    );
    let unknown = format!("nothing on it is called {mistyped}, which was named for deletion");
    assert!(said.contains(&unknown), "{said}");
    expect(&mut session, &format!("{FLASH} --delete {name}"), 10);
    // By what blkid calls it, too.
    expect(
        &mut session,
        &format!("{FLASH} --delete a5f2c1de-0f0b-4b0f-9a52-7a4b6a7a9c10 --dry-run"),
        10,
    );
    assert_eq!(data(&disk), keepsake);
    expect(
        &mut session,
        &format!("{FLASH} --delete {name} --accept DT-DELETE"),
        0,
    );
    assert!(!sound(&disk).contains("keepsake"));

    // The same command again: an earlier run was given the name, as the folder with its tables says; another does not.
    let again = format!("--verify-first --delete {name}");
    let said = ends(&session, &format!("{FLASH} {again}"), 0);
    assert!(said.contains("nothing was written"), "{said}");
    let forgotten = FLASH.replace("--save state", "--save elsewhere");
    ends(&session, &format!("{forgotten} {again}"), 20);

    // The first table is still there to be put back.
    let mut saved = files(&session.path("state"));
    saved.retain(|path| path.to_string_lossy().ends_with(".saved.json"));
    let first = |path: &&PathBuf| {
        let text = session.read(&format!("state/{}", path.display()));
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        let before = document["tables"]["saved"]["plan"]["before"].to_string();
        before.contains("keepsake") && !before.contains("\"state\"")
    };
    let saved = saved.iter().find(first);
    let arguments = format!(
        "disk restore state/{} disk.img --confirm",
        saved.unwrap().display()
    );
    expect(&mut session, &format!("{arguments} disk.raw"), 10);
    expect(&mut session, &format!("{arguments} disk.img"), 0);
    let table = |path| checked(Command::new("sgdisk").arg("-p").arg(path));
    let part = |path| table(path).split_once("Number").unwrap().1.to_owned();
    assert_eq!(part(&disk), part(&original));
    session.golden("reimage");
}

/// Where the state partition is, by sgdisk.
fn state(session: &Session, disk: &Path) -> (u64, u64) {
    let table = sound(disk);
    let line = table
        .lines()
        .find(|line| line.ends_with(" state"))
        .unwrap_or_else(|| panic!("{table}"));
    let numbers: Vec<u64> = line
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    assert!(
        numbers[0] > manifest(session).partitions.len() as u64,
        "{line}"
    );
    (numbers[1] * 512, (numbers[2] + 1 - numbers[1]) * 512)
}

#[test]
fn killed_at_any_time_and_run_again() {
    let Some(session) = tiny::session() else {
        return;
    };
    if ["sgdisk", "mkfs.ext4"].into_iter().any(absent) {
        return;
    }
    // Enough to write to be killed in the middle of.
    session.write(
        "cluster.yaml",
        session.read("cluster.yaml") + "packages: [bulk]\n",
    );
    for (from, to) in [
        (
            "root-a, purpose: root, size: 96",
            "root-a, purpose: root, size: 160",
        ),
        (
            "root-a-verity, purpose: verity, size: 1",
            "root-a-verity, purpose: verity, size: 2",
        ),
    ] {
        session.edit("profiles/layouts/tiny.yaml", from, to);
    }
    session.quietly("lock");
    session.quietly("build one");
    let original = with_data(&session, "original");
    let keepsake = data(&original);
    let (disk, expected) = (session.path("disk.img"), session.path("expected"));
    copy(&original, &disk);
    session.quietly(FLASH);
    fs::rename(&disk, &expected).unwrap();
    fs::remove_dir_all(session.path("state")).unwrap();

    let blocks = |path: &Path| fs::metadata(path).unwrap().blocks();
    let (none, all) = (blocks(&original), blocks(&expected));
    let mut killed = 0;
    for step in 1..=10 {
        copy(&original, &disk);
        let mut child = session
            .command(FLASH)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Eight times while the image is written, twice while it is read back.
        let point = none + (all - none) * step.min(9) / 9;
        while child.try_wait().unwrap().is_none() && blocks(&disk) < point {
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(Duration::from_millis(if step > 8 { step * 5 } else { 0 }));
        child.kill().unwrap();
        killed += usize::from(child.wait().unwrap().code().is_none());
        assert_eq!(data(&disk), keepsake, "killed at point {step}");
        let table = checked(Command::new("sgdisk").arg("-p").arg(&disk));
        assert!(
            table.contains("keepsake"),
            "killed at point {step}:\n{table}"
        );
        // With the journal, and by comparing.
        let again = if step % 2 == 0 {
            FLASH.to_owned()
        } else {
            format!("{FLASH} --verify-first")
        };
        session.quietly(&again);
        same(&disk, &expected);
        fs::remove_dir_all(session.path("state")).unwrap();
    }
    assert!(killed >= 5, "only {killed} runs were killed");
}

#[test]
fn somebody_types_the_name_of_the_disk() {
    let Some(session) = built() else { return };
    if absent("script") {
        return;
    }
    let disk = blank(&session, "disk.img", DISK);
    let typed = |line: &str| {
        let command = format!(
            "{} flash one disk.img --save state",
            crate::session::PROGRAM
        );
        let command = format!("exec script -qec '{command}' /dev/null");
        let mut terminal = session.wrapped(&["sh", "-c", &command, "sh"], "");
        let mut child = terminal
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(format!("{line}\n").as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    let (code, said) = typed("yes");
    assert_eq!(code, Some(10), "{said}");
    let real = fs::canonicalize(&disk).unwrap();
    assert!(
        said.contains(&format!(
            "Type the name of {} to write to it (disk.img)",
            real.display()
        )),
        "{said}"
    );
    assert_eq!(fs::metadata(&disk).unwrap().blocks(), 0);
    // On a terminal of 24 lines, which has scrolled, the verdict and its reasons are still to be seen.
    let lines: Vec<&str> = said.lines().collect();
    let asked = lines
        .iter()
        .position(|line| line.starts_with("Type the name of"));
    let seen = &lines[asked.unwrap().saturating_sub(22)..asked.unwrap()];
    let verdict = seen
        .iter()
        .position(|line| line.starts_with("Verdict on writing node one: "));
    assert!(seen[verdict.expect("no verdict")..].len() < 12, "{said}");
    let (code, said) = typed("disk.img");
    assert_eq!(code, Some(0), "{said}");
    holds_image(&session, &disk);
}

#[test]
fn several_disks_at_once() {
    let Some(mut session) = built() else { return };
    let names = ["a.img", "b.img", "c.img"];
    let disks = names.map(|name| blank(&session, name, DISK));
    let all = "flash one a.img b.img c.img --save state --accept ID-EXPECTMISMATCH --threads 2";
    let output = session.command(&format!("{all} --json")).output().unwrap();
    let document = json(&output);
    assert_eq!(document["targets"].as_array().unwrap().len(), 3);
    same(&disks[0], &disks[1]);
    same(&disks[0], &disks[2]);
    holds_image(&session, &disks[2]);

    // One that must not be written: none is.
    let before = Digest::of(&bytes(&disks[0], 0, 64 * MIB));
    blank(&session, "b.img", 100 * MIB);
    session.edit("cluster.yaml", "10.0.0.11", "10.0.0.13");
    session.quietly("build");
    let output = session.command(all).output().unwrap();
    assert_eq!(output.status.code(), Some(20));
    assert_eq!(Digest::of(&bytes(&disks[0], 0, 64 * MIB)), before);
    expect(&mut session, "flash one a.img a.img", 3);
    std::os::unix::fs::symlink("a.img", session.path("link.img")).unwrap();
    fs::hard_link(&disks[0], session.path("twin.img")).unwrap();
    for other in ["./a.img", "link.img", "twin.img"] {
        let output = expect(&mut session, &format!("flash one a.img {other}"), 3);
        assert!(String::from_utf8_lossy(&output.stderr).contains("is given twice"));
    }
    // One file is confirmed under any of its names.
    let token = |name: &str| {
        let dry =
            format!("flash one {name} --save state --accept ID-EXPECTMISMATCH --dry-run --json");
        json(&session.command(&dry).output().unwrap())["targets"][0]["report"]["token"].clone()
    };
    let first = token("c.img");
    std::os::unix::fs::symlink("c.img", session.path("third.img")).unwrap();
    assert!(first.is_string());
    for name in ["./c.img", "third.img", &disks[2].display().to_string()] {
        assert_eq!(token(name), first, "{name}");
    }
}

#[test]
fn what_cannot_be_a_target() {
    let Some(mut session) = built() else { return };
    let flash =
        |target: &str| format!("flash one {target} --save state --accept ID-EXPECTMISMATCH");
    expect(&mut session, &flash("nothing.img"), 3);
    fs::create_dir(session.path("folder")).unwrap();
    expect(&mut session, &flash("folder"), 3);
    checked(Command::new("mkfifo").arg(session.path("pipe")));
    expect(&mut session, &flash("pipe"), 3);
    expect(&mut session, &flash("/dev/null"), 3);
    blank(&session, "small.img", 100 * MIB);
    expect(&mut session, &flash("small.img"), 20);
    blank(&session, "empty.img", 0);
    expect(&mut session, &flash("empty.img"), 20);
    blank(&session, "cramped.img", 300 * MIB);
    expect(&mut session, &flash("cramped.img"), 20);
    let disk = blank(&session, "disk.img", DISK);
    expect(&mut session, &format!("{FLASH} --mode reimage"), 20);
    expect(&mut session, "flash three disk.img", 3);
    expect(&mut session, &format!("{FLASH} --confirm 0123"), 20);
    expect(
        &mut session,
        "flash one disk.img --accept ID-EXPECTMISMATCH",
        6,
    );
    for usage in [
        "flash one",
        "flash one disk.img --accept DT-MAYBE",
        "flash one --facts x",
        "flash one x --mode maybe",
    ] {
        expect(&mut session, usage, 2);
    }
    assert_eq!(fs::metadata(&disk).unwrap().blocks(), 0);

    // What nobody may write to.
    let mut permissions = fs::metadata(&disk).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&disk, permissions).unwrap();
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let wrapper: &[&str] = if root { &nobody } else { &["env"] };
    let output = session.wrapped(wrapper, FLASH).output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(20),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    session.record("prejoin flash one disk.img (read-only)", &brief(output));
    session.golden("flash-targets");
}

#[test]
fn images_that_must_not_be_written() {
    let Some(mut session) = built() else { return };
    let disk = blank(&session, "disk.img", DISK);
    let untouched = |what: &str| assert_eq!(fs::metadata(&disk).unwrap().blocks(), 0, "{what}");
    let text = session.read("out/one.manifest.json");
    let path = "out/one.manifest.json";

    session.note("a manifest cut short\n");
    session.write(path, &text[..text.len() / 2]);
    expect(&mut session, FLASH, 5);
    session.note("a manifest with another partition\n");
    session.write(
        path,
        text.replace("\"name\": \"root-a\"", "\"name\": \"root-b\""),
    );
    expect(&mut session, FLASH, 5);
    session.note("the manifest of another node\n");
    session.write(path, session.read("out/two.manifest.json"));
    expect(&mut session, FLASH, 5);
    session.note("no manifest\n");
    fs::remove_file(session.path(path)).unwrap();
    expect(&mut session, FLASH, 3);
    session.write(path, &text);

    session.note("another architecture\n");
    session.edit(
        "cluster.yaml",
        "name: one, board: tiny-amd64",
        "name: one, board: tiny-arm64",
    );
    expect(&mut session, FLASH, 20);
    session.edit(
        "cluster.yaml",
        "name: one, board: tiny-arm64",
        "name: one, board: tiny-amd64",
    );
    untouched("a wrong image");

    // A chunk far inside the root partition.
    let manifest = manifest(&session);
    let root = manifest.partition("root-a").unwrap().clone();
    let inside = |start: u64| root.start + 2 * MIB < start && start < root.start + root.size;
    let data = |(start, range): (u64, Range)| match range {
        Range::Data { length, digest } if inside(start) => Some((start, length, digest)),
        _ => None,
    };
    let (start, length, digest) = manifest.placed().filter_map(data).last().unwrap();
    let name = digest.to_string();
    let chunk = session.path(&format!("out/chunks/{}/{name}.zst", &name[..2]));
    let good = fs::read(&chunk).unwrap();
    session.note("a chunk is missing\n");
    fs::remove_file(&chunk).unwrap();
    expect(&mut session, FLASH, 5);
    untouched("a missing chunk");

    session.note("a chunk is cut short\n");
    fs::write(&chunk, &good[..good.len() / 2]).unwrap();
    expect(&mut session, FLASH, 5);
    assert_eq!(
        bytes(&disk, start, length),
        vec![0; length as usize],
        "nothing of a damaged chunk is written"
    );
    session.note("a chunk is another one\n");
    let forged = vec![7; length as usize];
    session.write("forged", &forged);
    checked(
        Command::new("zstd")
            .args(["-q", "-f"])
            .arg(session.path("forged"))
            .arg("-o")
            .arg(&chunk),
    );
    expect(&mut session, FLASH, 5);
    assert_eq!(
        bytes(&disk, start, length),
        vec![0; length as usize],
        "nothing of a forged chunk is written"
    );

    // Until it is whole, nothing starts from the disk; then the same command completes it.
    let partitions = checked(Command::new("sgdisk").args(["-i", "1"]).arg(&disk));
    assert!(!partitions.contains("C12A7328"), "{partitions}");
    fs::write(&chunk, good).unwrap();
    session.quietly(FLASH);
    sound(&disk);
    holds_image(&session, &disk);
    session.golden("flash-images");
}

/// What a run that was interrupted has left is not what anybody wants to go back to.
#[test]
fn the_table_to_go_back_to_is_that_of_before_the_first_run() {
    let Some(session) = built() else { return };
    if ["sgdisk", "mkfs.ext4"].into_iter().any(absent) {
        return;
    }
    let disk = with_data(&session, "disk.img");
    let part = |path: &Path| {
        checked(Command::new("sgdisk").arg("-p").arg(path))
            .split_once("Number")
            .unwrap()
            .1
            .to_owned()
    };
    let original = part(&disk);
    let flash = |code: i32| {
        // What an earlier image left where the old table lists nothing has to be named.
        let look = session.command(&format!("{FLASH} --dry-run --json"));
        let report = &json(&{ look }.output().unwrap())["targets"][0]["report"];
        let findings = report["findings"].as_array().unwrap().iter();
        let names: String = findings
            .filter_map(|finding| Some(finding["advice"].as_str()?.rsplit_once("--delete @")?.1))
            .map(|start| format!(" --delete @{start}"))
            .collect();
        let output = session
            .command(&format!("{FLASH} --accept DT-DELETE --json{names}"))
            .output()
            .unwrap();
        let said = [&output.stderr, &output.stdout].map(|text| String::from_utf8_lossy(text));
        assert_eq!(output.status.code(), Some(code), "{}", said[0]);
        json(&output)["targets"][0]["written"]["saved"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let manifest = manifest(&session);
    let root = manifest.partition("root-a").unwrap().clone();
    let inside = |start: u64| root.start + 2 * MIB < start && start < root.start + root.size;
    let data = |(start, range): (u64, Range)| match range {
        Range::Data { digest, .. } if inside(start) => Some(digest.to_string()),
        _ => None,
    };
    let name = manifest.placed().filter_map(data).last().unwrap();
    let chunk = session.path(&format!("out/chunks/{}/{name}.zst", &name[..2]));
    let good = fs::read(&chunk).unwrap();
    fs::write(&chunk, &good[..good.len() / 2]).unwrap();
    let first = flash(5);
    assert_ne!(
        part(&disk),
        original,
        "it was not interrupted in the middle"
    );
    assert_eq!(flash(5), first);

    // Another image of the node, which is another plan, completes it.
    fs::write(&chunk, &good).unwrap();
    session.edit("cluster.yaml", "10.0.0.11", "10.0.0.13");
    session.quietly("build");
    assert_eq!(flash(0), first);
    sound(&disk);
    let whole = part(&disk);

    // The next run goes back to what this one has made.
    let second = flash(0);
    assert_ne!(second, first);
    let restore =
        |saved: &str| session.quietly(&format!("disk restore {saved} disk.img --confirm disk.img"));
    not_to_another_disk(&session, &second);
    restore(&second);
    assert_eq!(part(&disk), whole);
    restore(&first);
    assert_eq!(part(&disk), original);

    // Somebody divides the disk between two runs: the first one's table does not list what stays now.
    fs::write(&chunk, &good[..good.len() / 2]).unwrap();
    let third = flash(5);
    checked(
        Command::new("sgdisk")
            .args(["--delete=10", "--new=20:-16M:-8M", "--change-name=20:later"])
            .arg(&disk),
    );
    let fourth = flash(5);
    assert_ne!(fourth, third);
    let output = session
        .command(&format!("disk restore {third} disk.img --confirm disk.img"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told.contains("partition 20 \"later\" will not be listed any more"),
        "{told}"
    );
    restore(&fourth);
    assert!(part(&disk).contains("later"));
}

/// A saved table that was damaged, and disks that it was not saved from: nothing is written.
fn not_to_another_disk(session: &Session, saved: &str) {
    let refused = |saved: &str, disk: &str, why: &str| {
        let before = fs::read(session.path(disk)).unwrap();
        let output = session
            .command(&format!("disk restore {saved} {disk} --confirm {disk}"))
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(20), "{told}");
        assert!(told.contains(why), "{told}");
        assert!(fs::read(session.path(disk)).unwrap() == before, "{why}");
    };
    // One digit of the saved bytes; one of a number.
    let text = fs::read_to_string(saved).unwrap();
    for (part, flipped) in [
        ("55aa", "55ab"),
        ("\"sector_size\":512", "\"sector_size\":4096"),
    ] {
        assert!(text.contains(part), "{part}");
        session.write("flipped.saved.json", text.replacen(part, flipped, 1));
        let why = "was changed since it was written";
        refused("flipped.saved.json", "disk.img", why);
    }
    let disk = session.path("disk.img");
    fs::copy(&disk, session.path("twin.img")).unwrap();
    refused(saved, "twin.img", "was saved from another disk");
    // An image of the same size in its place.
    let size = fs::metadata(&disk).unwrap().len();
    fs::rename(&disk, session.path("away.img")).unwrap();
    let other = fs::File::create(&disk).unwrap();
    other.set_len(size).unwrap();
    checked(Command::new("mkfs.ext4").arg("-q").arg(&disk));
    refused(saved, "disk.img", "carries neither");
    fs::rename(session.path("away.img"), &disk).unwrap();
}

#[test]
fn a_disk_that_fails_in_the_middle() {
    let (Some(session), Some(way)) = (built(), crate::session::own_mounts()) else {
        return;
    };
    fs::create_dir(session.path("small")).unwrap();
    // A file with holes where there is not room for all of it: the first writes succeed.
    let script = "mount -t tmpfs -o size=4m tmpfs small && truncate -s 1500M small/disk.img && \
                  \"$0\" flash one small/disk.img --save state --accept ID-EXPECTMISMATCH; code=$?; \
                  mount -o remount,size=1g small && sgdisk -p small/disk.img; \
                  \"$0\" flash one small/disk.img --save state --accept ID-EXPECTMISMATCH && \
                  sgdisk -v small/disk.img && sgdisk -p small/disk.img; exit $code";
    let output = session
        .wrapped(&[way.as_slice(), &["sh", "-c", script]].concat(), "")
        .output()
        .unwrap();
    let (said, told) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(30), "{said}{told}");
    assert!(
        told.contains("there is no space left") && told.contains("hint: make room"),
        "{told}"
    );
    assert!(
        said.contains("small/disk.img is not written to its end"),
        "{said}"
    );
    assert!(
        told.contains("This is: an image that was not written to its end"),
        "{told}"
    );
    assert!(
        said.contains("small/disk.img is written: node one starts from it"),
        "{said}"
    );
    assert!(said.contains("No problems found."), "{said}");
    let (before, after) = said.split_once("is written").unwrap();
    assert!(
        before.contains("FFFF  boot") && after.contains("EF00  boot"),
        "{said}"
    );
}

#[test]
fn a_block_device_needs_a_token_of_its_state() {
    let Some(session) = built() else { return };
    let file = blank(&session, "disk.img", DISK);
    let Some(device) = Loop::attach(&file) else {
        return;
    };
    let flash = format!(
        "flash one {} --save state --accept ID-EXPECTMISMATCH",
        device.0
    );
    let run = |arguments: &str| {
        session
            .command(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let code = |arguments: &str| run(arguments).status.code();
    let token = |arguments: &str| {
        json(&run(arguments))["targets"][0]["report"]["token"]
            .as_str()
            .map(str::to_owned)
    };
    // The serial number of a loop device cannot be what the cluster file asks for.
    assert_eq!(code(&format!("{flash} --dry-run")), Some(10));
    assert_eq!(code(&flash), Some(10));
    assert_eq!(fs::metadata(&file).unwrap().blocks(), 0);
    let first = token(&format!("{flash} --dry-run --json")).unwrap();

    // Somebody writes to it: what was confirmed was another state.
    checked(
        Command::new("mkfs.ext4")
            .args(["-q", "-F", "-U", "a5f2c1de-0f0b-4b0f-9a52-7a4b6a7a9c10"])
            .arg(&device.0),
    );
    let said =
        String::from_utf8_lossy(&run(&format!("{flash} --confirm {first}")).stderr).into_owned();
    assert!(said.contains("DT-WHOLEDISK"), "{said}");
    let delete = format!("{flash} --delete a5f2c1de-0f0b-4b0f-9a52-7a4b6a7a9c10");
    let stale = run(&format!("{delete} --confirm {first}"));
    assert_eq!(stale.status.code(), Some(20));
    assert!(String::from_utf8_lossy(&stale.stderr).contains("ID-CHANGED"));

    let second = token(&format!("{delete} --dry-run --json")).unwrap();
    let done = run(&format!("{delete} --confirm {second}"));
    assert_eq!(
        done.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(
        !said.contains("the kernel"),
        "no partitions are looked for on it: {said}"
    );
    let name = Path::new(&device.0).file_name().unwrap().to_owned();
    let mut mounted = File::open(Path::new("/dev").join(name)).unwrap();
    mounted.seek(SeekFrom::Start(512)).unwrap();
    let mut header = [0; 8];
    mounted.read_exact(&mut header).unwrap();
    assert_eq!(&header, b"EFI PART");
    drop((mounted, device));
    sound(&file);
    holds_image(&session, &file);

    // A kernel that looks for partitions is told of the new ones, unless somebody has an old one open.
    let Some(device) = Loop::attach_with(&file, &["--partscan"]) else {
        return;
    };
    let flash = format!(
        "flash one {} --save state --accept ID-EXPECTMISMATCH",
        device.0
    );
    checked(Command::new("addpart").args([&device.0, "1", "2048", "2048"]));
    let partition = File::open(format!("{}p1", device.0)).unwrap();
    let written = || {
        let token = token(&format!("{flash} --dry-run --json")).unwrap();
        let done = json(&run(&format!("{flash} --confirm {token} --json")));
        assert!(done["targets"][0]["written"]["error"].is_null(), "{done}");
        done["targets"][0]["written"]["kernel"]
            .as_str()
            .map(str::to_owned)
    };
    let said = written().unwrap();
    assert!(
        said.starts_with("the kernel still uses the old table (")
            && said.contains("unplug the disk"),
        "{said}"
    );
    drop(partition);
    assert_eq!(written(), None);
}

/// A loop device over a file.
struct Loop(String);

impl Loop {
    fn attach(file: &Path) -> Option<Self> {
        Self::attach_with(file, &[])
    }

    fn attach_with(file: &Path, options: &[&str]) -> Option<Self> {
        let output = Command::new("losetup")
            .args(["--find", "--show"])
            .args(options)
            .arg(file)
            .output()
            .ok()?;
        if output.status.success() {
            return Some(Loop(
                String::from_utf8(output.stdout).unwrap().trim().to_owned(),
            ));
        }
        skipped("loop devices need root");
        None
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        checked(Command::new("losetup").args(["--detach", &self.0]));
    }
}
