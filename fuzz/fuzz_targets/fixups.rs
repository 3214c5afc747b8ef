//! Files of packages that fix-ups read and take apart. The first byte says which one is hostile.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use prejoin_formats::tree::{Entry, NoContents, Tree};
use prejoin_image_builder::fixups::{self, Context, Root};
use prejoin_image_builder::package::Package;
use prejoin_profiles::architecture::Architecture;
use prejoin_profiles::os::Os;
use prejoin_profiles::yaml;

/// A file, the package that brings it, and content that the rules accept.
const FILES: &[(&str, &str, &[u8])] = &[
    ("usr/lib/sysusers.d/a.conf", "a", b"g a 900\nu a 900:a \"A\" /a\n"),
    ("usr/share/pam-configs/unix", "libpam-runtime", UNIX),
    ("usr/lib/systemd/system/a.service", "systemd", b"[Install]\nWantedBy=multi-user.target\nAlias=b.service\n"),
    ("usr/share/base-passwd/passwd.master", "base-passwd", b"root:*:0:0:root:/root:/bin/bash\n"),
    ("usr/share/base-passwd/group.master", "base-passwd", b"root:*:0:\n"),
    ("etc/nsswitch.conf", "libc6", b"passwd: files\nhosts: files dns\n"),
    ("usr/share/libc-bin/nsswitch.conf", "libc-bin", b"passwd: files\nhosts: files dns\n"),
    ("usr/share/debianutils/shells", "debianutils", b"/bin/sh\n"),
    ("etc/cloud/cloud.cfg", "cloud-init", b"cloud_init_modules:\n  - growpart\n"),
    ("usr/lib/os-release", "base-files", b"ID=debian\nVERSION_ID=13\n"),
    ("usr/lib/tmpfiles.d/a.conf", "a", b"d /var/lib/a 0755 root root -\n"),
];

const UNIX: &[u8] = b"Name: Unix\nDefault: yes\nPriority: 256\nAuth-Type: Primary\nAuth:\n\t[success=end default=ignore]\tpam_unix.so nullok try_first_pass\nAuth-Initial:\n\t[success=end default=ignore]\tpam_unix.so nullok\nAccount-Type: Primary\nAccount:\n\t[success=end new_authtok_reqd=done default=ignore]\tpam_unix.so\n";

static OS: LazyLock<Os> = LazyLock::new(|| {
    yaml::parse("{name: test, description: test, node: {enable: [a.service], accounts: [g b 901]}, ids: {users: {a: 900}}}")
        .expect("a well-formed document")
});

static PACKAGES: LazyLock<Vec<Package>> = LazyLock::new(|| {
    let package = |&(_, name, _): &(&str, &str, &[u8])| Package {
        name: name.into(),
        version: "1".into(),
        architecture: "amd64".into(),
        control: format!("Package: {name}\nVersion: 1\n"),
        ..Package::default()
    };
    FILES.iter().map(package).collect()
});

fuzz_target!(|bytes: &[u8]| {
    let Some((&which, bytes)) = bytes.split_first() else { return };
    let hostile = usize::from(which) % FILES.len();
    let mut tree = Tree::new();
    for (index, (path, _, sound)) in FILES.iter().enumerate() {
        let content = if index == hostile { bytes } else { sound };
        tree.insert(path, Entry::file(content, 0o644));
    }
    for folder in ["boot", "dev", "proc", "run", "sys", "tmp", "var/lib", "root", "home", "usr/bin", "usr/sbin"] {
        tree.insert(folder, Entry::directory(0o755));
    }
    let packages: Vec<&Package> = PACKAGES.iter().collect();
    let context =
        Context { os: &OS, board: "board", architecture: Architecture::Amd64, epoch: 1_700_000_000, packages: &packages };
    let mut root = Root::new(tree, &NoContents, context.epoch);
    if let Err(error) = fixups::apply(&mut root, &context) {
        let _ = (error.to_string(), error.hint());
    }
});
