//! `prejoin disk` and `prejoin flash` on drives behind the kernel's own drivers: NVMe of both sector sizes, a USB stick
//! that is pulled out, and a disk that device-mapper makes fail. They are there at a node's second start.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use prejoin_wire::manifest::{Manifest, Range};

use crate::cluster::{Lab, PROGRAM, open};
use crate::qemu::{PATIENCE, free_port};
use crate::ssh::Login;
use crate::tools::{absent, checked, folder, golden, line, say, tried};

const MIB: u64 = 1 << 20;
/// What is done on the node.
const SCRIPT: &str = include_str!("drives.sh");
/// Its parts.
const PARTS: [&str; 3] = ["look", "nvme", "mapper"];
/// The node whose images are written.
const NODE: &str = "server";
/// Somebody's partition on the disk that fails.
const DATA: (u64, u64) = (9 << 30, 64 * MIB);

/// The drives of one machine, as files.
pub struct Drives<'a> {
    lab: &'a Lab,
    folder: PathBuf,
    /// Where QEMU can be told to unplug something.
    monitor: u16,
    /// Somebody's data.
    keepsake: Vec<u8>,
}

impl Drives<'_> {
    /// Makes them; none where a tool is missing.
    pub fn make(lab: &Lab) -> Option<Drives<'_>> {
        if absent(&["sgdisk", "mke2fs", "e2fsck", "fsck.vfat"]) {
            return None;
        }
        let folder = folder("drives");
        fs::remove_dir_all(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
        let mut drives = Drives {
            lab,
            folder,
            monitor: free_port(),
            keepsake: Vec::new(),
        };
        for (name, gibibytes) in [("small", 80), ("large", 80), ("stick", 32), ("mapped", 24)] {
            File::create(drives.file(name))
                .unwrap()
                .set_len(gibibytes << 30)
                .unwrap();
        }
        drives.pack();
        drives.keepsake = drives.with_data();
        Some(drives)
    }

    /// How QEMU attaches them. The machine's own disk stays the first one.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            "-qmp".to_owned(),
            format!("tcp:127.0.0.1:{},server=on,wait=off", self.monitor),
        ];
        for name in ["lab", "mapped", "small", "large", "stick"] {
            let flags = if name == "lab" {
                "readonly=on"
            } else {
                "cache=unsafe,discard=unmap,detect-zeroes=unmap"
            };
            let file = self.file(name);
            arguments.extend([
                "-drive".into(),
                format!(
                    "file={},format=raw,if=none,id={name},{flags}",
                    file.display()
                ),
            ]);
        }
        let devices = [
            "virtio-blk-pci,drive=lab,serial=LAB",
            "virtio-blk-pci,drive=mapped,serial=MAPPED",
            "nvme,id=nvme-small,serial=SMALL",
            "nvme-ns,bus=nvme-small,drive=small,logical_block_size=512,physical_block_size=512",
            // It says that it is no longer reliable (NVM Express base specification 2.0, figure 207, bit 2).
            "nvme,id=nvme-large,serial=LARGE,smart_critical_warning=4",
            "nvme-ns,bus=nvme-large,drive=large,logical_block_size=4096,physical_block_size=4096",
            "qemu-xhci,id=usb",
            "usb-storage,id=plug,bus=usb.0,drive=stick,serial=STICK,removable=on",
        ];
        arguments.extend(
            devices
                .iter()
                .flat_map(|device| ["-device".to_owned(), (*device).to_owned()]),
        );
        arguments
    }

    /// What the running node says.
    pub fn check(&self, login: &Login) {
        let mut said: String = PARTS.iter().map(|part| self.part(login, part)).collect();
        said.push_str(&self.unplugged(login));
        golden("boot/golden/drives.txt", &brief(&said));
    }

    /// What was written, after the machine was switched off: by other programs, and byte by byte. Removes the drives.
    pub fn check_off(&self) {
        for name in ["small", "mapped"] {
            let said = checked(&mut line("sgdisk -v {}", &[&self.file(name)]));
            assert!(said.contains("No problems found."), "{name}: {said}");
        }
        let table = checked(&mut line("sgdisk -i 9 {}", &[&self.file("mapped")]));
        assert!(
            table.contains("6B1BBD0A-98EF-4A5D-8C1C-1C0E4C3E2A11"),
            "{table}"
        );
        assert!(
            bytes(&self.file("mapped"), DATA.0, DATA.1) == self.keepsake,
            "somebody's data has changed"
        );

        let manifest = self.lab.manifest(NODE);
        self.same_as_image(&manifest);
        for (partition, tool) in [
            ("boot", "fsck.vfat -n {}"),
            ("root-a", "e2fsck -fn {}"),
            ("identity", "fsck.vfat -n {}"),
        ] {
            let at = manifest.partition(partition).unwrap();
            let path = self.file(partition);
            let mut copy = line(
                "dd if={} of={} bs=1M iflag=skip_bytes,count_bytes conv=sparse",
                &[&self.file("small"), &path],
            );
            checked(copy.args([format!("skip={}", at.start), format!("count={}", at.size)]));
            File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_len(at.size)
                .unwrap();
            let (sound, said) = tried(&mut line(tool, &[&path]));
            assert!(sound, "{partition}: {said}");
        }
        fs::remove_dir_all(&self.folder).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.raw"))
    }

    /// The disk with the program, the cluster file and the images: links to their files, packed by mke2fs.
    fn pack(&self) {
        let files = self.folder.join("lab");
        let link = |from: &Path, to: &str| {
            fs::create_dir_all(files.join(to).parent().unwrap()).unwrap();
            fs::hard_link(from, files.join(to))
                .or_else(|_| fs::copy(from, files.join(to)).map(drop))
                .unwrap();
        };
        link(Path::new(PROGRAM), "prejoin");
        link(&self.lab.folder.join("cluster.yaml"), "cluster.yaml");
        // Its layouts, without which the cluster file means nothing.
        for layout in fs::read_dir(self.lab.folder.join("profiles/layouts")).unwrap() {
            let layout = layout.unwrap();
            let name = layout.file_name().into_string().unwrap();
            link(&layout.path(), &format!("profiles/layouts/{name}"));
        }
        // Most chunks are those of the other image.
        let other = self.folder.join("out-4096");
        fs::create_dir(&other).unwrap();
        checked(&mut line(
            "cp -al {} {}",
            &[&self.lab.folder.join("out/chunks"), &other],
        ));
        checked(
            self.lab
                .prejoin(&format!("build {NODE} --sector-size 4096 --out"))
                .arg(&other),
        );
        for (name, out) in [("out", self.lab.folder.join("out")), ("out-4096", other)] {
            let manifest = format!("{NODE}.manifest.json");
            link(&out.join(&manifest), &format!("{name}/{manifest}"));
            let opened = open(&out, NODE);
            let system = format!("systems/{}.json", opened.node.system);
            link(&out.join(&system), &format!("{name}/{system}"));
            let own = opened.node.identity.values().flatten();
            for range in opened.image.ranges.iter().chain(own) {
                let Range::Data { digest, .. } = range else {
                    continue;
                };
                let digest = digest.to_string();
                let chunk = format!("chunks/{}/{digest}.zst", &digest[..2]);
                // What is made in memory is in no file.
                if out.join(&chunk).exists() && !files.join(name).join(&chunk).exists() {
                    link(&out.join(&chunk), &format!("{name}/{chunk}"));
                }
            }
        }
        checked(&mut line(
            "mke2fs -q -t ext4 -O ^has_journal -m 0 -d {} {} 1G",
            &[&files, &self.file("lab")],
        ));
        fs::remove_dir_all(files).unwrap();
    }

    /// Makes the disk with somebody's partition; returns its bytes.
    fn with_data(&self) -> Vec<u8> {
        let disk = self.file("mapped");
        let mut table = line("sgdisk -n 9:9G:+64M -c 9:keepsake -t 9:8300 -u", &[]);
        table.args([
            "9:6b1bbd0a-98ef-4a5d-8c1c-1c0e4c3e2a11",
            "-U",
            "0f7f1c6a-54a4-4b6f-9b31-2f0f2a8bb111",
        ]);
        checked(table.arg(&disk));
        let mut make = line(
            "mke2fs -q -t ext4 -F -L keepsake -U a5f2c1de-0f0b-4b0f-9a52-7a4b6a7a9c10 -E",
            &[],
        );
        checked(make.arg(format!("offset={}", DATA.0)).arg(&disk).arg("64M"));
        bytes(&disk, DATA.0, DATA.1)
    }

    fn part(&self, login: &Login, part: &str) -> String {
        let started = Instant::now();
        let said = login.run(&format!(
            "exec sudo part={part} bash -c \"$(cat <<'END'\n{SCRIPT}\nEND\n)\""
        ));
        say(&format!(
            "drives: {part} took {:.0} s",
            started.elapsed().as_secs_f64()
        ));
        said
    }

    /// Pulls the stick out when some of the image is on it.
    fn unplugged(&self, login: &Login) -> String {
        std::thread::scope(|scope| {
            let flash = scope.spawn(|| self.part(login, "unplug"));
            let started = Instant::now();
            while !flash.is_finished()
                && fs::metadata(self.file("stick")).unwrap().blocks() * 512 < 20 * MIB
            {
                assert!(
                    started.elapsed() < PATIENCE,
                    "nothing is written to the stick"
                );
                std::thread::sleep(Duration::from_millis(20));
            }
            self.pull("plug");
            flash.join().unwrap()
        })
    }

    /// Takes a device out of the machine (QEMU machine protocol).
    fn pull(&self, device: &str) {
        let monitor = TcpStream::connect(("127.0.0.1", self.monitor)).unwrap();
        let mut lines = BufReader::new(&monitor).lines();
        lines.next().unwrap().unwrap();
        let delete = format!(r#"{{"execute": "device_del", "arguments": {{"id": "{device}"}}}}"#);
        for command in [r#"{"execute": "qmp_capabilities"}"#, &delete] {
            (&monitor).write_all(command.as_bytes()).unwrap();
            // Events may come before the answer.
            let answer = lines
                .find(|line| !line.as_ref().unwrap().contains("\"event\""))
                .unwrap()
                .unwrap();
            assert!(answer.contains("\"return\""), "{command}: {answer}");
        }
    }

    /// Every byte that the image defines in its partitions is on the disk.
    fn same_as_image(&self, manifest: &Manifest) {
        let (image, disk) = (self.lab.image(NODE), self.file("small"));
        for (start, range) in manifest.placed() {
            let inside = manifest
                .partitions
                .iter()
                .any(|at| at.start <= start && start < at.start + at.size);
            if inside && !matches!(range, Range::Skip { .. }) {
                for at in (start..start + range.length()).step_by(MIB as usize) {
                    let length = MIB.min(start + range.length() - at);
                    assert!(
                        bytes(&image, at, length) == bytes(&disk, at, length),
                        "bytes {at} to {}",
                        at + length
                    );
                }
            }
        }
    }
}

fn bytes(path: &Path, start: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; length as usize];
    File::open(path)
        .unwrap()
        .read_exact_at(&mut bytes, start)
        .unwrap();
    bytes
}

/// Indented lines of a report that say how much there was to do and how long it took, by their beginnings.
const AMOUNTS: [&str; 8] = [
    "phase ",
    "clearing ",
    "preparing ",
    "writing ",
    "verifying ",
    "committing ",
    "the old tables are",
    "prejoin disk",
];

/// What was said, without what another build of the image or another start changes: plans, amounts, places.
fn brief(said: &str) -> String {
    let mut text = String::new();
    let mut is_plan = false;
    let mut lines = said.lines().peekable();
    while let Some(line) = lines.next() {
        is_plan = line.starts_with("Plan: ")
            || is_plan
                && !["Token: ", "error: ", "$ "]
                    .iter()
                    .any(|end| line.starts_with(end));
        let is_amount = line.strip_prefix("  ").is_some_and(|line| {
            let line = line.trim_start();
            AMOUNTS.iter().any(|start| line.starts_with(start))
                || line.contains(" written, ")
                || line.ends_with(" read back")
        });
        if is_plan || is_amount || line.is_empty() || line.starts_with("Token: ") {
            continue;
        }
        text.push_str(&lasting(line));
        text.push('\n');
        // Of all places that cannot be read the first one is enough.
        if line.contains(" DV-IOERROR ") {
            let advice = lines.next().unwrap_or_default();
            writeln!(text, "{advice}").unwrap();
            while lines
                .next_if(|line| line.contains(" DV-IOERROR ") || *line == advice)
                .is_some()
            {}
        }
        if line.starts_with("error: ") {
            lines.next_if(|line| line.starts_with("hint: run it on a terminal"));
        }
    }
    text.replace("\n== ", "\n\n== ")
}

/// A line with its numbers and digests by name.
fn lasting(line: &str) -> String {
    if line.starts_with("This is: blank in the ") {
        return "This is: blank in the [SIZE] that were looked at".into();
    }
    // What containerd has in its folder is containerd's affair.
    let line = line
        .split_once(", containerd (")
        .map_or(line, |(before, _)| before);
    let words: Vec<&str> = line.split(' ').collect();
    let same = |at: usize| {
        at > 0 && words[at - 1] == "fingerprint" && words.get(at + 3) == Some(&words[at])
    };
    let mut text = Vec::new();
    for (at, &word) in words.iter().enumerate() {
        let number = word.trim_end_matches(':');
        let is_number = number.len() > 4
            && number
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'+');
        let is_digest = word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        text.push(match word {
            _ if is_number && number != word => "[N]:",
            _ if is_number => "[N]",
            _ if is_digest => "[DIGEST]",
            _ if same(at) || at > 3 && same(at - 3) => "[SAME]",
            // Whether there is data or nothing at a place depends on the build.
            "zeroing" => "writing",
            word => word,
        });
    }
    text.join(" ")
}
