//! systemd judges the units that distributions bring.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests write files and run tools"
)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use prejoin_profiles::distribution::{BUILT_IN, Definition};

/// `systemd-analyze verify` of the units of a part in a root that has their programs; empty if it has no complaint.
fn complaints(files: &[(&str, &str)]) -> Option<String> {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str, mode: u32| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    for program in ["kubelet", "containerd", "k3s", "cp"] {
        write(&format!("usr/bin/{program}"), "", 0o755);
    }
    // What the units refer to comes from the host, so that only ours are judged.
    for target in [
        "network-online",
        "time-sync",
        "network",
        "multi-user",
        "sysinit",
        "basic",
        "shutdown",
    ] {
        write(
            &format!("usr/lib/systemd/system/{target}.target"),
            "[Unit]\nDescription=x\n",
            0o644,
        );
    }
    symlink("usr/lib", root.path().join("lib")).unwrap();
    for (path, text) in files {
        write(path, text, 0o644);
    }
    let units = files.iter().filter(|(path, _)| path.ends_with(".service"));
    let units: Vec<&str> = units
        .map(|(path, _)| Path::new(path).file_name().unwrap().to_str().unwrap())
        .collect();
    let output = Command::new("systemd-analyze")
        .args([
            "verify",
            "--man=no",
            "--generators=no",
            "--recursive-errors=no",
        ])
        .arg(format!("--root={}", root.path().display()))
        .args(units)
        .output();
    let Ok(output) = output else {
        assert!(
            std::env::var_os("CI").is_none(),
            "systemd-analyze is missing: run tests/setup"
        );
        eprintln!("SKIPPED: systemd-analyze is missing: run tests/setup");
        return None;
    };
    let mut text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    if !output.status.success() {
        text += "exit code\n";
    }
    Some(text)
}

#[test]
fn units_are_sound() {
    for (distribution, _) in BUILT_IN {
        let definition = Definition::built_in(distribution).unwrap();
        let mut files = definition.base.recipe.files.clone();
        files.extend(
            definition
                .runtime
                .map(|part| part.recipe.files)
                .unwrap_or_default(),
        );
        let units: Vec<(&str, &str)> = files
            .iter()
            .filter(|(path, _)| path.contains("/systemd/"))
            .map(|(path, text)| (path.as_str(), text.as_str()))
            .collect();
        assert!(!units.is_empty());
        if let Some(text) = complaints(&units) {
            assert_eq!(text, "", "{}", distribution.name());
        }
    }
}

#[test]
fn the_judge_is_awake() {
    let unit =
        "[Unit]\nConditionFileIsExecutable=x\nAftr=y\n[Service]\nExecStart=/usr/bin/nothing\n";
    if let Some(text) = complaints(&[("usr/lib/systemd/system/bad.service", unit)]) {
        assert!(
            text.contains("Aftr") && text.contains("/usr/bin/nothing"),
            "{text}"
        );
    }
}
