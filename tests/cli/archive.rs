//! A signed Debian archive, made with `dpkg-deb`, `apt-ftparchive` and `gpg`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::session::{absent, checked};

/// Folder of everything that the tests of one run share.
static BASE: LazyLock<PathBuf> = LazyLock::new(|| {
    let parent = std::env::temp_dir();
    // A static is never dropped: what earlier runs left is removed by the next.
    for entry in fs::read_dir(&parent).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(process) = name.strip_prefix("prejoin-cli-") else {
            continue;
        };
        if !Path::new("/proc").join(process).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let base = parent.join(format!("prejoin-cli-{}", std::process::id()));
    fs::create_dir_all(base.join("gnupg")).unwrap();
    fs::set_permissions(base.join("gnupg"), fs::Permissions::from_mode(0o700)).unwrap();
    base
});

/// One use of the key ring at a time, after which its agent is stopped.
static KEYS: Mutex<()> = Mutex::new(());

pub fn base() -> &'static Path {
    &BASE
}

/// A throw-away OpenPGP key.
pub struct Key {
    pub fingerprint: String,
    /// Public key, armored.
    pub public: String,
}

impl Key {
    /// Makes one.
    pub fn make(user: &str) -> Self {
        let _one = KEYS.lock().unwrap_or_else(PoisonError::into_inner);
        gpg(&[
            "--passphrase",
            "",
            "--quick-generate-key",
            user,
            "ed25519",
            "sign",
            "1y",
        ]);
        let listing = gpg(&["--with-colons", "--list-keys", user]);
        let line = listing
            .lines()
            .find(|line| line.starts_with("fpr"))
            .unwrap();
        let fingerprint = line.split(':').nth(9).unwrap().to_owned();
        let public = gpg(&["--armor", "--export", &fingerprint]);
        stop();
        Key {
            fingerprint,
            public,
        }
    }

    /// Signs a release file, in place of an earlier signature.
    fn sign(&self, release: &Path) {
        let _one = KEYS.lock().unwrap_or_else(PoisonError::into_inner);
        let (release, signed) = (
            release.to_str().unwrap(),
            release.with_file_name("InRelease"),
        );
        gpg(&[
            "--yes",
            "--local-user",
            &self.fingerprint,
            "--output",
            signed.to_str().unwrap(),
            "--clearsign",
            release,
        ]);
        stop();
    }
}

fn gpg(arguments: &[&str]) -> String {
    checked(
        Command::new("gpg")
            .args(["--batch", "--quiet", "--homedir"])
            .arg(BASE.join("gnupg"))
            .args(arguments),
    )
}

fn stop() {
    checked(
        Command::new("gpgconf")
            .arg("--homedir")
            .arg(BASE.join("gnupg"))
            .args(["--kill", "gpg-agent"]),
    );
}

/// Whether the tools are missing.
pub fn cannot() -> bool {
    ["dpkg-deb", "apt-ftparchive", "gpg", "gpgconf"]
        .into_iter()
        .any(absent)
}

/// One package before it is packed.
#[derive(Default)]
pub struct Package {
    pub name: &'static str,
    pub version: &'static str,
    pub architecture: &'static str,
    /// Further control fields, a line each.
    pub fields: &'static str,
    /// Path and content; `-> target` makes a link, a path with a slash at its end a folder.
    pub files: Vec<(String, Vec<u8>)>,
    /// Maintainer scripts by name.
    pub scripts: Vec<(&'static str, &'static str)>,
    /// `dpkg-deb -Z`.
    pub compression: Option<&'static str>,
}

impl Package {
    /// Adds a file.
    pub fn with(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.files
            .push((path.to_owned(), content.as_ref().to_vec()));
        self
    }

    /// Packs it with dpkg-deb into `folder`.
    pub fn pack(&self, folder: &Path) {
        let Package {
            name,
            version,
            architecture,
            fields,
            ..
        } = self;
        let file = format!("{name}_{version}_{architecture}.deb");
        let folder_of_tree = tempfile::tempdir_in(&*BASE).unwrap();
        let tree = folder_of_tree.path().join("tree");
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nSection: misc\nPriority: optional\n\
             {fields}Maintainer: Nobody <nobody@example.org>\nDescription: test\n"
        );
        fs::write(tree.join("DEBIAN/control"), control).unwrap();
        for (script, text) in &self.scripts {
            let path = tree.join("DEBIAN").join(script);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        for (path, content) in &self.files {
            let full = tree.join(path);
            fs::create_dir_all(full.parent().unwrap()).unwrap();
            match content.strip_prefix(b"-> ") {
                _ if path.ends_with('/') => fs::create_dir_all(&full).unwrap(),
                Some(target) => {
                    std::os::unix::fs::symlink(std::str::from_utf8(target).unwrap(), &full).unwrap()
                }
                None => fs::write(&full, content).unwrap(),
            }
        }
        fs::create_dir_all(folder).unwrap();
        let mut command = Command::new("dpkg-deb");
        command
            .arg("--root-owner-group")
            .arg(format!("-Z{}", self.compression.unwrap_or("xz")));
        checked(command.arg("--build").arg(&tree).arg(folder.join(file)));
    }
}

/// An archive with one suite.
pub struct Archive {
    /// Root, where `dists` and `pool` are.
    pub root: PathBuf,
    pub suite: &'static str,
}

impl Archive {
    /// Where packages are, before [`Archive::publish`].
    pub fn pool(&self) -> PathBuf {
        self.root.join("pool")
    }

    pub fn in_release(&self) -> PathBuf {
        self.root.join("dists").join(self.suite).join("InRelease")
    }

    /// `file://` address.
    pub fn address(&self) -> String {
        format!("file://{}", self.root.display())
    }

    /// A copy that a test may change.
    pub fn copy(&self, root: PathBuf) -> Archive {
        checked(Command::new("cp").arg("-a").arg(&self.root).arg(&root));
        Archive {
            root,
            suite: self.suite,
        }
    }

    /// Writes the indexes of what is in the pool, and a release of now that `key` signs.
    pub fn publish(&self, key: &Key) {
        let dists = self.root.join("dists").join(self.suite);
        for architecture in ["amd64", "arm64"] {
            let folder = dists.join(format!("main/binary-{architecture}"));
            fs::create_dir_all(&folder).unwrap();
            let mut command = Command::new("apt-ftparchive");
            command
                .current_dir(&self.root)
                .args(["--arch", architecture, "packages", "pool"]);
            fs::write(folder.join("Packages"), checked(&mut command)).unwrap();
            checked(
                Command::new("xz")
                    .args(["--keep", "--force"])
                    .arg(folder.join("Packages")),
            );
        }
        self.release(key, 0, 7);
    }

    /// Adds a stanza to the indexes as they were published, and signs that.
    pub fn vouch(&self, key: &Key, stanza: &str) {
        for architecture in ["amd64", "arm64"] {
            let path = self.root.join(format!(
                "dists/{}/main/binary-{architecture}/Packages",
                self.suite
            ));
            let published = self.root.join(format!("published-{architecture}"));
            if !published.exists() {
                fs::copy(&path, &published).unwrap();
            }
            fs::write(
                &path,
                fs::read_to_string(published).unwrap() + "\n" + stanza,
            )
            .unwrap();
            checked(Command::new("xz").args(["--keep", "--force"]).arg(&path));
        }
        self.release(key, 0, 7);
    }

    /// Writes and signs the release alone, as if so many days ago; it is valid for some days.
    pub fn release(&self, key: &Key, ago: i64, valid: i64) {
        let dists = self.root.join("dists").join(self.suite);
        for old in ["Release", "InRelease"] {
            let _ = fs::remove_file(dists.join(old));
        }
        let suite = self.suite;
        let mut command = Command::new("apt-ftparchive");
        for field in [
            format!("Suite={suite}"),
            format!("Codename={suite}"),
            "Origin=Ours".into(),
            "Architectures=amd64 arm64".into(),
            "Components=main".into(),
        ] {
            command
                .arg("-o")
                .arg(format!("APT::FTPArchive::Release::{field}"));
        }
        let text = checked(command.arg("release").arg(&dists));
        let kept = text
            .lines()
            .filter(|line| !line.starts_with("Date:") && !line.starts_with("Valid-Until:"));
        let day = |days: i64| {
            checked(Command::new("date").args([
                "-u",
                "-d",
                &format!("{days} days"),
                "+%a, %d %b %Y %T UTC",
            ]))
        };
        let head = format!(
            "Date: {}\nValid-Until: {}\n",
            day(-ago).trim(),
            day(valid - ago).trim()
        );
        let text: String = head + &kept.map(|line| format!("{line}\n")).collect::<String>();
        fs::write(dists.join("Release"), text).unwrap();
        key.sign(&dists.join("Release"));
    }
}

/// An archive made by reprepro from packages in `debs`, in `folder`: what people run who are not Debian.
pub fn reprepro(folder: &Path, suite: &'static str, key: &Key, debs: &Path) -> Archive {
    let _one = KEYS.lock().unwrap_or_else(PoisonError::into_inner);
    let root = folder.join("archive");
    fs::create_dir_all(folder.join("conf")).unwrap();
    let distribution = format!(
        "Codename: {suite}\nSuite: {suite}\nOrigin: Theirs\nArchitectures: amd64 arm64\nComponents: main\nValidFor: 7d\n\
         SignWith: {}\nDebIndices: Packages Release . .xz .gz\n",
        key.fingerprint
    );
    fs::write(folder.join("conf/distributions"), distribution).unwrap();
    let mut packages: Vec<PathBuf> = fs::read_dir(debs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    packages.sort();
    let mut command = Command::new("reprepro");
    command
        .env("GNUPGHOME", BASE.join("gnupg"))
        .arg("--basedir")
        .arg(folder)
        .arg("--outdir")
        .arg(&root);
    checked(command.args(["includedeb", suite]).args(packages));
    stop();
    Archive { root, suite }
}
