//! The cluster that the system tests look at: built once by the program, from Debian's archive.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use prejoin_store::folder::{self, Opened};
use prejoin_store::hold::Hold;
use prejoin_wire::manifest::Manifest;

use crate::tools::{checked, folder, line, say, skipped, tool};

/// The program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_prejoin");

/// The cluster file, before the key is put in.
const CLUSTER: &str = include_str!("cluster.yaml");

/// Names of its nodes, one of every board.
pub const NODES: [&str; 4] = ["pc", "server", "pi4", "pi5"];

/// A folder with a cluster file, its lock, a key to log in with, and `out/`.
pub struct Lab {
    /// Where it is.
    pub folder: PathBuf,
}

/// The cluster, locked, built, and exported as raw files; none where Debian's archive cannot be reached.
pub fn lab() -> Option<&'static Lab> {
    static LAB: OnceLock<Option<Lab>> = OnceLock::new();
    LAB.get_or_init(Lab::make).as_ref()
}

impl Lab {
    fn make() -> Option<Lab> {
        let lab = Lab {
            folder: folder("lab"),
        };
        let key = lab.key();
        if !key.exists() {
            checked(line("ssh-keygen -q -t ed25519 -C tester@test -f {} -N", &[&key]).arg(""));
        }
        let key = fs::read_to_string(key.with_extension("pub")).unwrap();
        fs::write(
            lab.folder.join("cluster.yaml"),
            CLUSTER.replace("KEY", key.trim()),
        )
        .unwrap();
        lab.layouts();
        say("lock and build: a node of every board");
        let output = lab.prejoin("lock").output().unwrap();
        if output.status.code() == Some(4) {
            skipped(&format!(
                "no way to Debian's archive:\n{}",
                String::from_utf8_lossy(&output.stderr)
            ));
            return None;
        }
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        say(&checked(&mut lab.prejoin("build")));
        for node in NODES {
            checked(&mut lab.prejoin(&format!("export {node} --format raw")));
        }
        Some(lab)
    }

    /// Layouts of its own, with data at and in trees that the image mounts.
    fn layouts(&self) {
        let folder = self.folder.join("profiles/layouts");
        fs::create_dir_all(&folder).unwrap();
        for (name, mount) in [
            ("at-srv", "/srv"),
            ("at-opt", "/opt"),
            ("in-srv", "/srv/some-data"),
        ] {
            let text = format!(
                "name: {name}\ndescription: data at {mount}\ninherits: single\nsizes: {{ state: 8 GiB }}\n\
                 partitions:\n  - {{ name: data, purpose: data, min_size: 1 GiB, filesystem: ext4, mount: {mount} }}\n"
            );
            fs::write(folder.join(format!("{name}.yaml")), text).unwrap();
        }
    }

    /// The program in the folder.
    pub fn prejoin(&self, arguments: &str) -> Command {
        let mut command = tool(PROGRAM);
        command
            .args(arguments.split_whitespace())
            .current_dir(&self.folder)
            .env("PREJOIN_CACHE", cache());
        command
    }

    /// The private key of the user `tester`.
    pub fn key(&self) -> PathBuf {
        self.folder.join("key")
    }

    /// What the image of a node is.
    pub fn manifest(&self, node: &str) -> Manifest {
        Manifest::clone(&open(&self.folder.join("out"), node).image)
    }

    /// The raw image of a node. Not to be changed.
    pub fn image(&self, node: &str) -> PathBuf {
        self.folder.join(format!("out/{node}.raw"))
    }

    /// A node's image on a larger disk of its own.
    pub fn disk(&self, node: &str, name: &str, size: u64) -> PathBuf {
        let disk = folder("disks").join(format!("{name}.raw"));
        checked(&mut line(
            "cp --sparse=always {} {}",
            &[&self.image(node), &disk],
        ));
        fs::File::options()
            .write(true)
            .open(&disk)
            .unwrap()
            .set_len(size)
            .unwrap();
        disk
    }

    /// One partition of a node as a file of its own.
    pub fn extract(&self, node: &str, partition: &str) -> PathBuf {
        let at = self.manifest(node).partition(partition).unwrap().clone();
        let path = folder("partitions").join(format!("{node}-{partition}"));
        once(path, |path| {
            let flags = "bs=1M iflag=skip_bytes,count_bytes conv=sparse status=none";
            let mut copy = line(
                &format!("dd if={{}} of={{}} {flags}"),
                &[&self.image(node), path],
            );
            checked(copy.args([format!("skip={}", at.start), format!("count={}", at.size)]));
            fs::File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(at.size)
                .unwrap();
        })
    }

    /// A FAT partition of a node, as mtools name it.
    pub fn fat(&self, node: &str, partition: &str) -> String {
        let start = self.manifest(node).partition(partition).unwrap().start;
        format!("{}@@{start}", self.image(node).display())
    }

    /// All files of a FAT partition.
    pub fn files(&self, node: &str, partition: &str) -> Vec<String> {
        let mut list = tool("mdir");
        let text = checked(list.args(["-/", "-b", "-i", &self.fat(node, partition)]));
        let mut names: Vec<String> = text
            .lines()
            .filter_map(|line| line.strip_prefix("::/").map(str::to_owned))
            .collect();
        names.retain(|name| !name.ends_with('/'));
        names.sort();
        names
    }

    /// One file of a FAT partition.
    pub fn read(&self, node: &str, partition: &str, file: &str) -> Vec<u8> {
        let to =
            folder("partitions").join(format!("{node}-{partition}-{}", file.replace('/', "-")));
        let path = once(to, |to| {
            let mut copy = tool("mcopy");
            checked(
                copy.args([
                    "-n",
                    "-o",
                    "-i",
                    &self.fat(node, partition),
                    &format!("::{file}"),
                ])
                .arg(to),
            );
        });
        fs::read(path).unwrap()
    }
}

/// Makes a file once in this process, whichever test asks first.
fn once(path: PathBuf, make: impl FnOnce(&Path)) -> PathBuf {
    static MADE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    // A test that failed while it made a file leaves it to the next one to fail, too.
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if !made.contains(&path) {
        make(&path);
        made.insert(path.clone());
    }
    path
}

/// Downloads and unpacked packages; `PREJOIN_CACHE` names a folder that lives longer.
pub fn cache() -> PathBuf {
    match std::env::var_os("PREJOIN_CACHE") {
        Some(path) => PathBuf::from(path),
        None => folder("cache"),
    }
}

/// A path of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The image of a node in an output folder.
pub fn open(out: &Path, node: &str) -> Opened {
    folder::open(out, node, Hold::shared(out, |_| {})).unwrap()
}
