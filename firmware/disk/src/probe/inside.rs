//! What file systems hold that decides what they are worth: Longhorn's disks, etcd, volumes, systems.

mod ext;
mod fat;
mod files;
mod state;
mod window;

use std::collections::BTreeSet;

use prejoin_wire::disk::{Extent, Inside, Partition, Signature};
use prejoin_wire::handoff::Handoff;
use serde_json::Value;

use self::ext::Ext;
use self::fat::Fat;
use self::files::{Entry, Files};
use self::window::Window;
use super::record::Recorder;

/// Entries of a directory that are told by name.
const MOST_TOLD: usize = 8;
/// Directories below the root that are looked into for Longhorn's.
const MOST_BELOW: usize = 64;
/// The agent's memory on a node's state.
const MEMORY: &str = "/lib/prejoin";
/// Longest text that is quoted.
const LONGEST: usize = 200;

/// File systems that can hold what is looked for, and that are not read.
const UNREAD: &[&str] = &[
    "xfs",
    "btrfs",
    "f2fs",
    "jfs",
    "reiserfs",
    "nilfs2",
    "bcachefs",
    "ntfs",
    "ReFS",
    "refs",
    "exfat",
    "apfs",
    "hfs",
    "hfsplus",
    "zfs_member",
];

/// Looks into the file system of an extent, if there is one that can be read. `named` says that the extent is called
/// as a node's state is; whatever it is called, one that a node has used is walked through.
pub(crate) fn look(disk: &Recorder, of: Extent, named: bool) -> Vec<Inside> {
    let mut found = Found {
        of,
        inside: Vec::new(),
    };
    let window = Window::new(disk, of);
    if let Some(ext) = Ext::open(&window) {
        found.linux(&ext);
        found.lacks(&ext);
        if named || ext.list(MEMORY).is_some() {
            // What the walk may read is its own.
            let window = Window::new(disk, of);
            let walked = Ext::open(&window).map(|ext| state::look(&ext, of));
            found.inside.extend(walked.unwrap_or_default());
        }
    }
    let window = Window::new(disk, of);
    if let Some(fat) = Fat::open(&window) {
        found.firmware(&fat);
        found.lacks(&fat);
    }
    found.inside
}

/// Says of every file system that it is not looked into.
pub(crate) fn unread(signatures: &[Signature]) -> Vec<Inside> {
    let of: BTreeSet<(Extent, &str)> = signatures
        .iter()
        .filter(|signature| UNREAD.contains(&signature.kind.as_str()))
        .map(|signature| (signature.of, signature.kind.as_str()))
        .collect();
    let entry = |(of, kind): (Extent, &str)| Inside {
        of,
        kind: "unread".into(),
        path: "/".into(),
        detail: vec![format!("type={kind}")],
    };
    of.into_iter().map(entry).collect()
}

/// Systems that name their partitions in a way of their own: kind, name, and how many of the names must be there.
const SYSTEMS: &[(&str, &str, usize, &[&str])] = &[
    ("talos", "Talos", 3, &["EFI", "META", "STATE", "EPHEMERAL"]),
    (
        "coreos",
        "Fedora CoreOS",
        3,
        &["EFI-SYSTEM", "boot", "root"],
    ),
    ("coreos", "Fedora CoreOS", 3, &["reserved", "boot", "root"]),
    ("coreos", "Fedora CoreOS", 2, &["boot-1", "root-1"]),
    ("flatcar", "Flatcar", 3, &["USR-A", "USR-B", "OEM", "ROOT"]),
    (
        "harvester",
        "Harvester",
        2,
        &["COS_OEM", "COS_STATE", "COS_PERSISTENT", "COS_RECOVERY"],
    ),
    ("harvester", "Harvester", 1, &["HARV_LH_DEFAULT"]),
    (
        "kairos",
        "Kairos",
        3,
        &["oem", "recovery", "state", "persistent"],
    ),
];

/// Systems whose partitions are on the disk, by their names.
pub(crate) fn systems(size: u64, partitions: &[Partition]) -> Vec<Inside> {
    let names: BTreeSet<&str> = partitions
        .iter()
        .map(|partition| partition.name.as_str())
        .collect();
    let mut found: Vec<Inside> = Vec::new();
    for (kind, name, least, own) in SYSTEMS {
        let seen: Vec<&str> = own
            .iter()
            .copied()
            .filter(|name| names.contains(name))
            .collect();
        if seen.len() >= *least && !found.iter().any(|inside| inside.kind == *kind) {
            found.push(Inside {
                of: Extent {
                    start: 0,
                    length: size,
                },
                kind: (*kind).into(),
                path: String::new(),
                detail: vec![
                    format!("name={name}"),
                    format!("partitions={}", seen.join(",")),
                ],
            });
        }
    }
    found
}

struct Found {
    of: Extent,
    inside: Vec<Inside>,
}

/// Where a thing is, in a root file system, in one mounted at `/var`, and at the root of one of its own.
const PLACES: &[(&str, &[&str])] = &[
    (
        "etcd",
        &[
            "/var/lib/etcd/member",
            "/lib/etcd/member",
            "/etcd/member",
            "/member",
        ],
    ),
    (
        "etcd",
        &[
            "/var/lib/rancher/k3s/server/db/etcd/member",
            "/lib/rancher/k3s/server/db/etcd/member",
        ],
    ),
    (
        "etcd",
        &[
            "/var/lib/rancher/rke2/server/db/etcd/member",
            "/lib/rancher/rke2/server/db/etcd/member",
        ],
    ),
    (
        "etcd",
        &["/k3s/server/db/etcd/member", "/rke2/server/db/etcd/member"],
    ),
    (
        "k3s",
        &[
            "/var/lib/rancher/k3s",
            "/lib/rancher/k3s",
            "/rancher/k3s",
            "/k3s",
        ],
    ),
    (
        "rke2",
        &[
            "/var/lib/rancher/rke2",
            "/lib/rancher/rke2",
            "/rancher/rke2",
            "/rke2",
        ],
    ),
    ("rancher", &["/var/lib/rancher", "/lib/rancher", "/rancher"]),
    ("kubelet", &["/var/lib/kubelet", "/lib/kubelet", "/kubelet"]),
    (
        "containerd",
        &[
            "/var/lib/containerd",
            "/lib/containerd",
            "/containerd",
            "/io.containerd.metadata.v1.bolt",
        ],
    ),
    (
        "containerd",
        &[
            "/var/lib/rancher/k3s/agent/containerd",
            "/lib/rancher/k3s/agent/containerd",
        ],
    ),
    (
        "containerd",
        &[
            "/var/lib/rancher/rke2/agent/containerd",
            "/lib/rancher/rke2/agent/containerd",
        ],
    ),
    (
        "local-volumes",
        &[
            "/opt/local-path-provisioner",
            "/var/local-path-provisioner",
            "/local-path-provisioner",
        ],
    ),
    (
        "local-volumes",
        &[
            "/var/lib/rancher/k3s/storage",
            "/lib/rancher/k3s/storage",
            "/rancher/k3s/storage",
        ],
    ),
    (
        "local-volumes",
        &[
            "/var/lib/local-path-provisioner",
            "/lib/local-path-provisioner",
            "/k3s/storage",
        ],
    ),
    (
        "openebs",
        &[
            "/var/openebs",
            "/openebs",
            "/var/lib/openebs",
            "/lib/openebs",
        ],
    ),
];

/// Directories that are Longhorn's in many clusters; those below the root are looked into as well.
const LONGHORN: &[&str] = &["", "/var/lib/longhorn", "/lib/longhorn", "/longhorn"];
/// Directories below which disks are mounted or kept.
const SHELVES: &[&str] = &[
    "",
    "/var/lib/longhorn",
    "/lib/longhorn",
    "/longhorn",
    "/mnt",
    "/var/mnt",
    "/data",
    "/srv",
];

impl Found {
    fn add(&mut self, kind: &str, path: &str, detail: Vec<String>) {
        let path = if path.is_empty() { "/" } else { path };
        let (kind, path) = (kind.to_owned(), path.to_owned());
        self.inside.push(Inside {
            of: self.of,
            kind,
            path,
            detail,
        });
    }

    fn lacks(&mut self, files: &dyn Files) {
        let gaps = files.gaps();
        if !gaps.is_empty() {
            self.add(
                "unread",
                "",
                gaps.into_iter()
                    .map(|gap| format!("reason={gap}"))
                    .collect(),
            );
        }
    }

    fn linux(&mut self, files: &Ext) {
        if files.list("/").is_none() {
            self.add(
                "unread",
                "",
                vec!["reason=its root directory cannot be read".into()],
            );
            return;
        }
        self.longhorn(files);
        for (kind, paths) in PLACES {
            for path in *paths {
                let signs = signs(kind, path);
                let is_one = |entries: &Vec<Entry>| {
                    signs.is_empty() || entries.iter().any(|e| signs.contains(&&*e.name))
                };
                // Empty directories are what an image brings for what may come.
                let found = files.list(path).filter(is_one);
                if let Some(entries) = found.filter(|_| !files.is_hollow(path)) {
                    self.add(kind, path, contents(&entries));
                }
            }
        }
        for path in ["/etc/os-release", "/usr/lib/os-release"] {
            if let Some(text) = files.read(path) {
                self.add("os-release", path, release(&text));
                break;
            }
        }
    }

    fn longhorn(&mut self, files: &dyn Files) {
        let mut folders: BTreeSet<String> =
            LONGHORN.iter().map(|&folder| folder.to_owned()).collect();
        for shelf in SHELVES {
            let below = files
                .list(if shelf.is_empty() { "/" } else { shelf })
                .unwrap_or_default();
            let below = below
                .into_iter()
                .filter(|entry| entry.directory && entry.name != "lost+found");
            folders.extend(
                below
                    .take(MOST_BELOW)
                    .map(|entry| format!("{shelf}/{}", entry.name)),
            );
        }
        for folder in folders {
            let config = files.read(&format!("{folder}/longhorn-disk.cfg"));
            // A directory of this name alone says little; one with Longhorn's own kind of entries is a disk whose
            // file was lost (longhorn/longhorn #12700).
            let replicas = files.list(&format!("{folder}/replicas"));
            let ours = |entry: &Entry| entry.directory && entry.name.starts_with("pvc-");
            if config.is_none()
                && !replicas
                    .as_ref()
                    .is_some_and(|replicas| replicas.iter().any(ours))
            {
                continue;
            }
            let mut detail = Vec::new();
            if let Some(config) = config {
                let json: Option<Value> = serde_json::from_slice(&config).ok();
                let identity = json
                    .as_ref()
                    .and_then(|json| json.get("diskUUID")?.as_str());
                match identity {
                    Some(identity) => detail.push(format!("diskUUID={}", text(identity))),
                    None => detail.push("error=longhorn-disk.cfg cannot be understood".into()),
                }
            } else {
                detail.push("error=longhorn-disk.cfg is missing".into());
            }
            if let Some(replicas) = replicas {
                detail.push(format!("replicas={}", replicas.len()));
                detail.extend(
                    replicas
                        .iter()
                        .take(MOST_TOLD)
                        .map(|entry| format!("replica={}", text(&entry.name))),
                );
            }
            self.add("longhorn-disk", &folder, detail);
        }
    }

    fn firmware(&mut self, files: &dyn Files) {
        let Some(root) = files.list("/") else { return };
        if let Some(json) = files.read("/node.json") {
            let detail = match Handoff::parse(&json) {
                Ok(handoff) => {
                    let partitions = handoff.partitions.iter();
                    let guid = |p: &prejoin_wire::handoff::Partition| {
                        format!("{}={}", text(&p.name), p.guid)
                    };
                    std::iter::once(format!("node={}", text(&handoff.node)))
                        .chain(partitions.map(guid))
                        .collect()
                }
                Err(error) => vec![format!("error={}", text(&error.to_string()))],
            };
            self.add("prejoin-node", "/node.json", detail);
        }
        if root
            .iter()
            .any(|entry| entry.name.eq_ignore_ascii_case("user-data"))
            && root
                .iter()
                .any(|entry| entry.name.eq_ignore_ascii_case("meta-data"))
        {
            self.add("cloud-init", "/", Vec::new());
        }
        for entry in files
            .list("/EFI")
            .unwrap_or_default()
            .iter()
            .filter(|entry| entry.directory)
            .take(MOST_BELOW)
        {
            let kind = match entry.name.to_ascii_lowercase().as_str() {
                "microsoft" => "windows",
                "systemd" => "systemd-boot",
                "boot" => "efi-boot",
                _ => "efi-vendor",
            };
            let path = format!("/EFI/{}", text(&entry.name));
            self.add(
                kind,
                &path,
                contents(&files.list(&path).unwrap_or_default()),
            );
        }
        if root
            .iter()
            .any(|entry| entry.name.eq_ignore_ascii_case("config.txt"))
        {
            let firmware = |entry: &&Entry| {
                let name = entry.name.to_ascii_lowercase();
                name.starts_with("bcm27") || name.starts_with("start4") || name == "cmdline.txt"
            };
            let detail = root.iter().filter(firmware).take(MOST_TOLD);
            self.add(
                "raspberry-pi",
                "/config.txt",
                detail
                    .map(|entry| format!("file={}", text(&entry.name)))
                    .collect(),
            );
        }
    }
}

/// What must be in a directory whose name alone says little: one of these.
fn signs(kind: &str, path: &str) -> &'static [&'static str] {
    match kind {
        _ if path.matches('/').count() > 1 => &[],
        "etcd" => &["snap", "wal"],
        "k3s" | "rke2" => &["agent", "data", "server", "storage"],
        "rancher" => &["k3s", "rke2"],
        "kubelet" => &["pods", "plugins", "pki", "config.yaml"],
        _ => &[],
    }
}

/// How many entries a directory has, and the first of them.
fn contents(entries: &[Entry]) -> Vec<String> {
    let mut names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    names.sort_unstable();
    let count = std::iter::once(format!("entries={}", names.len()));
    count
        .chain(
            names
                .iter()
                .take(MOST_TOLD)
                .map(|name| format!("entry={}", text(name))),
        )
        .collect()
}

/// What os-release(5) says of the system.
fn release(file: &[u8]) -> Vec<String> {
    let file = String::from_utf8_lossy(file);
    let mut detail = Vec::new();
    for (key, name) in [
        ("PRETTY_NAME", "name"),
        ("NAME", "name"),
        ("ID", "id"),
        ("VERSION_ID", "version"),
        ("IMAGE_ID", "image"),
        ("IMAGE_VERSION", "image-version"),
    ] {
        let value = file
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let known = detail
            .iter()
            .any(|line: &String| line.starts_with(&format!("{name}=")));
        if let Some(value) = value.filter(|_| !known) {
            detail.push(format!(
                "{name}={}",
                text(value.trim().trim_matches(['"', '\'']))
            ));
        }
    }
    detail
}

/// A name off the disk as it may be shown: short, without control characters.
fn text(name: &str) -> String {
    name.chars()
        .take(LONGEST)
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}
