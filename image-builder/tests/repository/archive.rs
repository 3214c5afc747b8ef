//! A signed Debian archive made by reprepro from packages made by dpkg-deb.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use prejoin_wire::digest::Digest;

/// The archive and the key it is signed with, in a folder of its own.
pub(crate) struct Archive {
    folder: tempfile::TempDir,
    /// Root, where `dists` and `pool` are.
    pub(crate) root: PathBuf,
    /// Fingerprint of the primary key.
    pub(crate) fingerprint: String,
    /// The public key, armored.
    pub(crate) key: Vec<u8>,
}

/// Name, version, architecture, further control fields.
const PACKAGES: [(&str, &str, &str, &str); 11] = [
    ("app", "1.0", "amd64", "Depends: library (>= 1:2), data\n"),
    ("library", "1:2.0-1", "amd64", "Pre-Depends: data (>= 3)\n"),
    ("data", "3", "all", ""),
    ("other", "1", "amd64", "Breaks: first (<< 2)\n"),
    ("mailer", "1", "amd64", "Depends: mail-transport\n"),
    (
        "exim",
        "1",
        "amd64",
        "Provides: mail-transport\nConflicts: mail-transport\nPriority: standard\n",
    ),
    (
        "postfix",
        "1",
        "amd64",
        "Provides: mail-transport\nConflicts: mail-transport\nPriority: optional\n",
    ),
    ("picky", "1", "amd64", "Depends: first (>= 2) | second\n"),
    ("either", "1", "amd64", "Depends: first | second (>= 1)\n"),
    ("first", "1", "amd64", ""),
    ("second", "1", "amd64", ""),
];

/// Whether a tool is missing, said loudly; on CI it must be there.
pub(crate) fn absent(tool: &str) -> bool {
    let absent = Command::new(tool).arg("--version").output().is_err();
    if absent {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "{tool} is needed on CI"
        );
        let message = format!("SKIPPED: {tool} is not installed\n");
        std::io::Write::write_all(&mut std::io::stderr(), message.as_bytes()).unwrap();
    }
    absent
}

/// Whether a command succeeds.
pub(crate) fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .output()
        .unwrap()
        .status
        .success()
}

/// What a command prints.
pub(crate) fn output(program: &str, arguments: &[&str]) -> String {
    checked(Command::new(program).args(arguments))
}

fn checked(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    assert!(
        status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&stderr)
    );
    String::from_utf8(stdout).unwrap()
}

impl Archive {
    /// Makes one; none without the tools.
    pub(crate) fn make() -> Option<Self> {
        if ["dpkg-deb", "reprepro", "gpg", "gpgv", "apt-get"]
            .into_iter()
            .any(absent)
        {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("archive");
        fs::create_dir_all(folder.path().join("gnupg")).unwrap();
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(folder.path().join("gnupg"), permissions).unwrap();
        let mut archive = Archive {
            folder,
            root,
            fingerprint: String::new(),
            key: Vec::new(),
        };
        archive.fingerprint = archive.generate("archive@example.org", "1y");
        archive.key = archive.export(&archive.fingerprint);
        archive.publish();
        Some(archive)
    }

    /// A folder beside the archive, not made yet.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn in_release(&self) -> PathBuf {
        self.root.join("dists/stable/InRelease")
    }

    /// A new key's fingerprint.
    pub(crate) fn generate(&self, user: &str, expire: &str) -> String {
        checked(self.gpg().args([
            "--passphrase",
            "",
            "--quick-generate-key",
            user,
            "ed25519",
            "sign",
            expire,
        ]));
        let listing = checked(self.gpg().args(["--with-colons", "--list-keys", user]));
        let line = listing
            .lines()
            .find(|line| line.starts_with("fpr"))
            .unwrap();
        line.split(':').nth(9).unwrap().to_owned()
    }

    /// Signs the release anew.
    pub(crate) fn sign(&self, options: &[&str], key: &str) {
        let release = self.root.join("dists/stable/Release");
        let mut command = self.gpg();
        command
            .args(["--yes", "--local-user", key])
            .args(options)
            .args(["--output"])
            .arg(self.in_release());
        checked(command.arg("--clearsign").arg(release));
    }

    /// The archive's key after its revocation.
    pub(crate) fn revoked(&self) -> Vec<u8> {
        let certificate = self.folder(&format!("gnupg/openpgp-revocs.d/{}.rev", self.fingerprint));
        let text = fs::read_to_string(certificate)
            .unwrap()
            .replace(":-----BEGIN", "-----BEGIN");
        let path = self.folder("revocation.asc");
        fs::write(&path, text).unwrap();
        let key = self.folder("key.asc");
        fs::write(&key, &self.key).unwrap();
        let home = self.folder("revoked");
        fs::create_dir_all(&home).unwrap();
        for file in [&key, &path] {
            checked(
                Command::new("gpg")
                    .args(["--batch", "--quiet", "--homedir"])
                    .arg(&home)
                    .arg("--import")
                    .arg(file),
            );
        }
        let mut command = Command::new("gpg");
        checked(
            command
                .args(["--batch", "--armor", "--homedir"])
                .arg(&home)
                .args(["--export", &self.fingerprint]),
        )
        .into()
    }

    /// Whether gpgv takes the release.
    pub(crate) fn gpgv(&self) -> bool {
        let ring = self.folder("ring.gpg");
        let mut command = self.gpg();
        checked(
            command
                .args(["--yes", "--output"])
                .arg(&ring)
                .args(["--export", &self.fingerprint]),
        );
        Command::new("gpgv")
            .arg("--keyring")
            .arg(&ring)
            .arg(self.in_release())
            .output()
            .unwrap()
            .status
            .success()
    }

    /// What apt would install, as `name version`.
    pub(crate) fn apt(&self, wanted: &str) -> BTreeSet<String> {
        let home = self.folder("apt");
        let path = |name: &str| home.join(name).display().to_string();
        for name in ["lists/partial", "cache/archives/partial", "etc"] {
            fs::create_dir_all(home.join(name)).unwrap();
        }
        fs::write(home.join("status"), "").unwrap();
        fs::write(home.join("key.asc"), &self.key).unwrap();
        let source = format!(
            "deb [signed-by={}] file://{} stable main\n",
            path("key.asc"),
            self.root.display()
        );
        fs::write(home.join("sources.list"), source).unwrap();
        let settings = format!(
            "Dir::State \"{0}\";\nDir::State::status \"{0}/status\";\nDir::Cache \"{0}/cache\";\nDir::Etc \"{0}/etc\";\n\
             Dir::Etc::sourcelist \"{0}/sources.list\";\nDir::Etc::sourceparts \"/dev/null\";\n\
             APT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\nAPT::Sandbox::User \"root\";\n\
             Acquire::Languages \"none\";\n",
            home.display()
        );
        fs::write(home.join("apt.conf"), settings).unwrap();
        let apt = || {
            let mut command = Command::new("apt-get");
            command.env("APT_CONFIG", home.join("apt.conf"));
            command
        };
        checked(apt().args(["-qq", "update"]));
        let text = checked(
            apt()
                .args(["-s", "--no-install-recommends", "install"])
                .args(wanted.split(' ')),
        );
        let installed = text.lines().filter_map(|line| line.strip_prefix("Inst "));
        installed
            .map(|line| {
                let (name, rest) = line.split_once(" (").unwrap();
                format!(
                    "{} {}",
                    name.split(':').next().unwrap(),
                    rest.split(' ').next().unwrap()
                )
            })
            .collect()
    }

    fn publish(&self) {
        let conf = self.folder("reprepro/conf");
        fs::create_dir_all(&conf).unwrap();
        let distribution = format!(
            "Codename: stable\nSuite: stable\nOrigin: Ours\nArchitectures: amd64\nComponents: main\nValidFor: 7d\n\
             SignWith: {}\nDebIndices: Packages Release . .gz\n",
            self.fingerprint
        );
        fs::write(conf.join("distributions"), distribution).unwrap();
        let packages: Vec<_> = PACKAGES
            .iter()
            .map(|package| self.package(package))
            .collect();
        let mut command = Command::new("reprepro");
        command
            .env("GNUPGHOME", self.folder("gnupg"))
            .arg("--basedir")
            .arg(self.folder("reprepro"));
        command
            .arg("--outdir")
            .arg(&self.root)
            .args(["includedeb", "stable"])
            .args(packages);
        checked(&mut command);
    }

    fn package(&self, (name, version, architecture, fields): &(&str, &str, &str, &str)) -> PathBuf {
        let tree = self.folder(&format!("build/{name}"));
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        fs::create_dir_all(tree.join("usr/share").join(name)).unwrap();
        fs::write(tree.join("usr/share").join(name).join("noise"), noise(name)).unwrap();
        let priority = if fields.contains("Priority:") {
            ""
        } else {
            "Priority: optional\n"
        };
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nSection: misc\n{priority}{fields}\
             Maintainer: Nobody <nobody@example.org>\nDescription: test\n"
        );
        fs::write(tree.join("DEBIAN/control"), control).unwrap();
        let file = self.folder(&format!("{name}.deb"));
        checked(
            Command::new("dpkg-deb")
                .args(["--root-owner-group", "--build"])
                .arg(&tree)
                .arg(&file),
        );
        file
    }

    fn export(&self, key: &str) -> Vec<u8> {
        checked(self.gpg().args(["--armor", "--export", key])).into()
    }

    fn gpg(&self) -> Command {
        let mut command = Command::new("gpg");
        command
            .args(["--batch", "--quiet", "--homedir"])
            .arg(self.folder("gnupg"));
        command
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        for home in ["gnupg", "revoked"] {
            let mut command = Command::new("gpgconf");
            let _ = command
                .arg("--homedir")
                .arg(self.folder(home))
                .args(["--kill", "gpg-agent"])
                .output();
        }
    }
}

/// A file system too small for any package, until dropped.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    /// None where nothing may be mounted.
    pub(crate) fn small(path: &Path) -> Option<Self> {
        if run(
            "mount",
            &[
                "-t",
                "tmpfs",
                "-o",
                "size=48k",
                "tmpfs",
                path.to_str().unwrap(),
            ],
        ) {
            return Some(Mounted(path.to_owned()));
        }
        std::io::Write::write_all(
            &mut std::io::stderr(),
            b"SKIPPED: mounting a file system needs root\n",
        )
        .unwrap();
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &[self.0.to_str().unwrap()]);
    }
}

/// 64 KiB that do not compress, so that a package is long enough to be cut.
fn noise(seed: &str) -> Vec<u8> {
    let mut block = Digest::of(Path::new(seed).as_os_str().as_encoded_bytes());
    let mut bytes = Vec::new();
    while bytes.len() < 64 << 10 {
        bytes.extend_from_slice(&block.0);
        block = Digest::of(&block.0);
    }
    bytes
}
