//! A distribution of a few small packages, its profiles, and a cluster of two nodes.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use prejoin_profiles::lock::Lock;

use crate::archive::{self, Archive, Key, Package};
use crate::kernel::{self, noise};
use crate::session::Session;

/// The archive and the key that it is signed with.
pub struct Tiny {
    pub key: Key,
    pub archive: Archive,
}

/// Made once; tests that change it copy it.
pub static TINY: LazyLock<Tiny> = LazyLock::new(|| {
    let key = Key::make("tiny@example.org");
    let archive = Archive {
        root: archive::base().join("tiny"),
        suite: "tiny",
    };
    for package in packages() {
        package.pack(&archive.pool());
    }
    archive.publish(&key);
    Tiny { key, archive }
});

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n\
                      nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
const GROUP: &str =
    "root:x:0:\ndaemon:x:1:\nadm:x:4:\nsudo:x:27:\nshadow:x:42:\nnogroup:x:65534:\n";

fn all(name: &'static str, version: &'static str) -> Package {
    Package {
        name,
        version,
        architecture: "all",
        ..Package::default()
    }
}

fn packages() -> Vec<Package> {
    let mut packages = vec![
        all("base-files", "13")
            .with(
                "usr/lib/os-release",
                "ID=tiny\nNAME=Tiny\nPRETTY_NAME=\"Tiny 1\"\nVERSION_ID=1\n",
            )
            .with("etc/os-release", "-> ../usr/lib/os-release")
            .with("bin", "-> usr/bin")
            .with("sbin", "-> usr/sbin")
            .with("lib", "-> usr/lib")
            .with("usr/bin/", "")
            .with("usr/sbin/", "")
            .with("var/log/", ""),
        all("base-passwd", "3.6")
            .with("usr/share/base-passwd/passwd.master", PASSWD)
            .with("usr/share/base-passwd/group.master", GROUP),
        Package {
            fields: "Depends: greeting (>= 2)\n",
            ..all("hello", "1.0")
        }
        .with("usr/bin/hello", "#!/bin/sh\ncat /usr/share/greeting/text\n")
        .with("usr/share/doc/hello/changelog", "excluded\n")
        .with("usr/share/doc/hello/copyright", "kept\n"),
        all("greeting", "2.0")
            .with("usr/share/greeting/text", "Hello!\n")
            .with("usr/share/greeting/noise", noise("greeting", 3 << 20)),
        Package {
            scripts: vec![(
                "postinst",
                "#!/bin/sh\nset -e\nif [ \"$1\" = configure ]; then\n\tmake-key > /etc/key\nfi\n",
            )],
            ..all("scripted", "1.2-3")
        }
        .with("usr/share/scripted", "x"),
        Package {
            compression: Some("none"),
            ..all("bulk", "1")
        }
        .with("usr/share/bulk/one", noise("one", 24 << 20))
        .with("usr/share/bulk/two", noise("two", 24 << 20)),
        all("victim", "1").with("usr/share/victim", noise("victim", 200 << 10)),
        Package {
            fields: "Depends: nowhere-to-be-found\n",
            ..all("lonely", "1")
        },
    ];
    for architecture in ["amd64", "arm64"] {
        packages.push(kernel::boot_loader(architecture));
        packages.push(kernel::package(
            "linux-image-6.12.1-tiny",
            "6.12.1-1",
            "6.12.1-tiny",
            architecture,
        ));
        packages.push(Package {
            name: "linux-image-tiny",
            version: "6.12.1-1",
            architecture,
            fields: "Depends: linux-image-6.12.1-tiny (= 6.12.1-1)\n",
            ..Package::default()
        });
    }
    packages
}

const CLUSTER: &str = "\
name: lab
os: tiny
kubernetes: { distribution: none }
network: { subnet: 10.0.0.0/24, gateway: 10.0.0.1 }
users:
  - name: you
    sudo: true
    ssh_keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIABlOcBMddiKzm5nnTEJPs9MNvNNanpaFCwQiPyP1gMD you@laptop]
defaults: { role: worker, layout: tiny, disk: { serial: X1 } }
nodes:
  - { name: one, board: tiny-amd64, address: 10.0.0.11, disk: { serial: A1 } }
  - { name: two, board: tiny-arm64, address: 10.0.0.12, disk: { serial: A2 } }
id: 7c1f0a52-3b0e-4c8b-9a55-0d8f6f3a1e01
";

const LAYOUT: &str = "\
name: tiny
description: Small partitions
partitions:
  - { name: boot, purpose: boot, size: 40 MiB }
  - { name: root-a, purpose: root, size: 96 MiB }
  - { name: root-a-verity, purpose: verity, size: 1 MiB }
  - { name: root-b, purpose: root, size: 96 MiB }
  - { name: root-b-verity, purpose: verity, size: 1 MiB }
  - { name: identity, purpose: identity, size: 4 MiB }
  - { name: state, purpose: state, min_size: 1 GiB, filesystem: ext4, mount: /var }
";

/// Text of the tiny operating system's profile.
pub fn os(name: &str, repositories: &str) -> String {
    format!(
        "name: {name}\ndescription: A few small packages\nrepositories:\n{repositories}\
         packages: [base-files, base-passwd, hello]\nexclude: [usr/share/doc/**]\nkeep: [usr/share/doc/*/copyright]\n\
         required_modules: {{ image: [ext4, dm_verity, overlay] }}\nfilesystems: {{ ext4: {{}} }}\nnode: {{ files: {{ etc/machine-id: \"\" }} }}\n"
    )
}

/// The entry of a repository in an operating system's profile.
pub fn repository(name: &str, archive: &str, suite: &str, fingerprint: &str) -> String {
    format!(
        "  {name}: {{ archive: {archive}, suite: {suite}, components: [main], keys: [{fingerprint}] }}\n"
    )
}

/// A session with a cluster of two nodes on the tiny distribution, from files; none without the tools.
pub fn session() -> Option<Session> {
    if archive::cannot() {
        return None;
    }
    let mut session = Session::new();
    let repository = repository("main", "tiny", "tiny", &TINY.key.fingerprint);
    session.write("cluster.yaml", CLUSTER);
    session.write("profiles/keys/tiny.asc", &TINY.key.public);
    session.write("profiles/os/tiny.yaml", os("tiny", &repository));
    session.write("profiles/layouts/tiny.yaml", LAYOUT);
    for architecture in ["amd64", "arm64"] {
        let board = format!(
            "name: tiny-{architecture}\ndescription: A virtual machine\narchitecture: {architecture}\nfirmware: uefi\n\
             sector_sizes: [512, 4096]\nbattery_clock: true\nkernel: {{ tiny: {{ package: linux-image-tiny }} }}\n\
             packages: [systemd-boot-efi]\ninitramfs_modules: [ext4, dm_verity, tiny_disk]\n"
        );
        session.write(&format!("profiles/boards/tiny-{architecture}.yaml"), board);
    }
    session.set("PREJOIN_MIRROR_TINY", TINY.archive.address());
    Some(session)
}

/// A session whose archive is a copy that may be changed.
pub fn own_archive() -> Option<(Session, Archive)> {
    let mut session = session()?;
    let archive = TINY.archive.copy(session.path("archive"));
    session.set("PREJOIN_MIRROR_TINY", archive.address());
    Some((session, archive))
}

/// A session that is locked and built.
pub fn built() -> Option<Session> {
    let session = session()?;
    session.quietly("lock");
    session.quietly("build");
    Some(session)
}

/// The manifests of the nodes, by their names.
pub fn manifests(session: &Session, out: &str) -> [String; 2] {
    ["one", "two"].map(|node| session.read(&format!("{out}/{node}.manifest.json")))
}

/// Where the cache has a package file; the digest is the lock's.
pub fn cached(session: &Session, package: &str) -> PathBuf {
    let lock = Lock::parse(&session.read("prejoin.lock")).unwrap();
    let (_, entry) = lock
        .packages
        .iter()
        .find(|(key, _)| key.starts_with(&format!("{package}_")))
        .unwrap();
    let digest = entry.sha256.to_string();
    session.path("cache/sha256").join(&digest[..2]).join(digest)
}

/// Every file below a folder, by path from there.
pub fn files(folder: &std::path::Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                folders.push(path)
            } else {
                found.push(path.strip_prefix(folder).unwrap().to_owned())
            }
        }
    }
    found.sort();
    found
}
