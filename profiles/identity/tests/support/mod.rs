//! What several tests need.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests read files and run tools"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use prejoin_identity::{Error, NodeFile};
use prejoin_profiles::cluster::{Cluster, Node};
use prejoin_profiles::os::Os;

/// The example clusters and the one of traps, by name.
pub(crate) fn clusters() -> Vec<(String, Cluster)> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<PathBuf> = here
        .join("../clusters")
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.push(here.join("tests/traps.yaml"));
    paths.sort();
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let cluster =
            Cluster::parse(&text).unwrap_or_else(|findings| panic!("{name}: {findings:?}"));
        (name, cluster)
    };
    paths.iter().map(read).collect()
}

/// The cluster of traps, changed.
pub(crate) fn traps(change: impl Fn(String) -> String) -> Cluster {
    Cluster::parse(&change(include_str!("../traps.yaml").to_owned())).unwrap()
}

pub(crate) fn files(cluster: &Cluster, node: &Node) -> Result<Vec<NodeFile>, Error> {
    let ids = Os::built_in("debian-13").unwrap().ids;
    let source = |path: &str| match path {
        "./missing" => Err("no such file".to_owned()),
        _ => Ok(format!("bytes of {path}\n").into_bytes()),
    };
    prejoin_identity::files(cluster, node, &ids, &source)
}

/// Debian 13's cloud-init, run from a folder; `None` if it cannot be had, which on CI is a failure.
pub(crate) struct CloudInit {
    packages: PathBuf,
}

impl CloudInit {
    pub(crate) fn find() -> Option<CloudInit> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cloud-init");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cloud-init");
        let unpacked = Command::new(script).arg(&folder).output();
        let found = CloudInit {
            packages: folder.join("usr/lib/python3/dist-packages"),
        };
        let said = match unpacked {
            Ok(output) if output.status.success() => {
                let version = found.run(&["--version"], &folder);
                if version.status.success() {
                    return Some(found);
                }
                version.stderr
            }
            Ok(output) => output.stderr,
            Err(error) => error.to_string().into_bytes(),
        };
        let said = String::from_utf8_lossy(&said);
        let reason =
            format!("cloud-init or its Python modules are missing: run tests/setup\n{said}");
        assert!(std::env::var_os("CI").is_none(), "{reason}");
        eprintln!("SKIPPED: {reason}");
        None
    }

    pub(crate) fn run(&self, arguments: &[&str], folder: &Path) -> Output {
        self.python(folder)
            .args(["-m", "cloudinit.cmd.main"])
            .args(arguments)
            .output()
            .unwrap()
    }

    pub(crate) fn python(&self, folder: &Path) -> Command {
        let mut python = Command::new("/usr/bin/python3");
        python
            .env("PYTHONPATH", &self.packages)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .current_dir(folder);
        python
    }
}
