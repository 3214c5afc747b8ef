//! Builds the agent for both architectures, so that one program carries all it puts into images.
//!
//! The agent is a static musl binary linked by the toolchain's own linker: no C compiler and no emulator, and the
//! same bytes whichever machine builds them. It goes into its own target folder, shared by all profiles.
#![expect(
    clippy::disallowed_methods,
    reason = "a build script runs programs and reads its environment"
)]

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian name and Rust target of each architecture.
const TARGETS: [(&str, &str); 2] = [
    ("AMD64", "x86_64-unknown-linux-musl"),
    ("ARM64", "aarch64-unknown-linux-musl"),
];

fn main() {
    for path in [
        "Cargo.toml",
        "Cargo.lock",
        ".cargo",
        "firmware/agent",
        "firmware/disk/Cargo.toml",
        "firmware/disk/src",
        "firmware/sys",
        "image-builder/formats/Cargo.toml",
        "image-builder/formats/src",
        "profiles/wire",
    ] {
        println!("cargo::rerun-if-changed={path}");
    }
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let folder = target_folder().join("agent");
    for (architecture, target) in TARGETS {
        let binary = build(&root, &folder, target);
        println!(
            "cargo::rustc-env=PREJOIN_AGENT_{architecture}={}",
            binary.display()
        );
    }
}

fn build(root: &Path, folder: &Path, target: &str) -> PathBuf {
    install(target);
    let status = Command::new(variable("CARGO"))
        .current_dir(root)
        .args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            "prejoin-agent",
            "--profile",
            "agent",
        ])
        .args(["--target", target, "--target-dir"])
        .arg(folder)
        .arg("--config")
        .arg(format!("target.{target}.rustflags=[{}]", plain_paths(root)))
        // Flags and wrappers meant for the program (coverage, clippy) must not reach the agent.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("CLIPPY_ARGS")
        .status();
    match status {
        Ok(status) if status.success() => folder.join(target).join("agent/prejoin-agent"),
        Ok(status) => panic!("building the agent for {target} failed: {status}"),
        Err(error) => {
            panic!("building the agent for {target}: cargo could not be started: {error}")
        }
    }
}

/// Flags that keep this machine's folders out of the agent's panic messages: the same source is the same agent.
fn plain_paths(root: &Path) -> String {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let plain = |path: &Path, name: &str| {
        format!(
            "{:?}",
            format!("--remap-path-prefix={}={name}", path.display())
        )
    };
    let cargo = cargo.map(|cargo| plain(&cargo, "/cargo"));
    cargo
        .into_iter()
        .chain([plain(root, "/prejoin")])
        .collect::<Vec<_>>()
        .join(",")
}

/// Installs the target's standard library where it is missing; rustup does not do it unasked.
fn install(target: &str) {
    let installed = Command::new(variable("RUSTC"))
        .args(["--print", "target-libdir", "--target", target])
        .output()
        .ok()
        .is_some_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir());
    if installed {
        return;
    }
    let added = Command::new("rustup")
        .args(["target", "add", target])
        .status();
    if !added.is_ok_and(|status| status.success()) {
        panic!("the Rust target {target} is missing; install it with `rustup target add {target}`");
    }
}

/// `target/` of this build: the folder above `<profile>/build/<package>/out`.
fn target_folder() -> PathBuf {
    let out = PathBuf::from(variable("OUT_DIR"));
    out.ancestors().nth(4).map(Path::to_owned).unwrap_or(out)
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}
