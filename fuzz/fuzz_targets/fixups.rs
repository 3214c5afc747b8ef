//! Files of packages that fix-ups read and take apart. The first byte says which one of them the input is.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use prejoin_formats::tree::{Entry, NoContents, Tree};
use prejoin_image_builder::tree::fixups::{self, Context, Root};
use prejoin_image_builder::package::Package;
use prejoin_wire::architecture::Architecture;
use prejoin_profiles::os::Os;
use prejoin_profiles::yaml;

/// Path, package, and content that the rules accept.
const FILES: &[(&str, &str, &str)] = &[
    ("usr/lib/sysusers.d/a.conf", "a", "g a 900\nu a 900:a \"A\" /a\n"),
    ("usr/share/pam-configs/unix", "libpam-runtime", UNIX),
    ("usr/lib/systemd/system/a.service", "systemd", "[Install]\nWantedBy=multi-user.target\nAlias=c.service\n"),
    ("usr/share/base-passwd/passwd.master", "base-passwd", "root:*:0:0:root:/root:/bin/sh\n"),
    ("usr/share/base-passwd/group.master", "base-passwd", "root:*:0:\n"),
    ("usr/lib/systemd/system/b@.service", "systemd", "[Install]\nWantedBy=multi-user.target\nDefaultInstance=x\n"),
    (
        "usr/share/libc-bin/nsswitch.conf",
        "libc-bin",
        "passwd: files\ngroup: files\nshadow: files\ngshadow: files\nhosts: files dns\n",
    ),
    ("usr/share/debianutils/shells", "debianutils", "/bin/sh\n"),
    ("etc/cloud/cloud.cfg", "cloud-init", "cloud_init_modules:\n  - growpart\n"),
    ("usr/lib/os-release", "base-files", "ID=debian\nVERSION_ID=13\n"),
    ("usr/share/pam/common-auth", "libpam-runtime", COMMON),
    ("usr/share/pam/common-account", "libpam-runtime", COMMON),
    ("usr/share/pam/common-password", "libpam-runtime", COMMON),
    ("usr/share/pam/common-session", "libpam-runtime", COMMON),
    ("usr/share/pam/common-session-noninteractive", "libpam-runtime", COMMON),
];

const UNIX: &str =
    "Name: Unix\nDefault: yes\nPriority: 256\nAuth-Type: Primary\nAuth:\n\t[success=end default=ignore]\tpam_unix.so\n";

const COMMON: &str = "# here are the per-package modules (the \"Primary\" block)\n$x_primary\n\
                      # here's the fallback if no module succeeds\n# middle\n\
                      # and here are more per-package modules (the \"Additional\" block)\n$x_additional\n\
                      # end of pam-auth-update config\n";

static OS: LazyLock<Os> = LazyLock::new(|| {
    yaml::parse(
        "{name: test, description: test, ids: {users: {a: 900}}, cloud_init: {cloud_init_modules: [seed_random]},
          node: {enable: [a.service, b@.service], accounts: [g b 901]}}",
    )
    .expect("a well-formed document")
});

static PACKAGES: LazyLock<Vec<Package>> = LazyLock::new(|| {
    let names = FILES.iter().map(|(_, name, _)| *name).chain(["libnss-systemd", "libnss-resolve"]);
    let package = |name: &str| Package { name: name.into(), version: "1".into(), ..Package::default() };
    names.map(package).collect()
});

fn fix(hostile: Option<(usize, &[u8])>) -> Result<(), fixups::Error> {
    let mut tree = Tree::new();
    for (index, (path, _, sound)) in FILES.iter().enumerate() {
        let content = hostile.filter(|(which, _)| *which == index).map_or(sound.as_bytes(), |(_, bytes)| bytes);
        tree.insert(path, Entry::file(content, 0o644));
    }
    for folder in ["boot", "dev", "proc", "run", "sys", "tmp", "var/lib", "root", "bin"] {
        tree.insert(folder, Entry::directory(0o755));
    }
    let packages: Vec<&Package> = PACKAGES.iter().collect();
    let context = Context {
        os: &OS,
        board: "board",
        architecture: Architecture::Amd64,
        epoch: 1_700_000_000,
        packages: &packages,
    };
    fixups::apply(&mut Root::new(tree, &NoContents, context.epoch), &context).map(drop)
}

fuzz_target!(
    init: fix(None).expect("the rules accept what is here, or the input would not get far"),
    |bytes| {
        let Some((&which, bytes)) = bytes.split_first() else { return };
        if let Err(error) = fix(Some((usize::from(which) % FILES.len(), bytes))) {
            let _ = (error.to_string(), error.hint());
        }
    }
);
