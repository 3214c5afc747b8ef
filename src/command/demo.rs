//! `prejoin demo`
#![expect(clippy::disallowed_methods, reason = "makes the demo's folder")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use prejoin_image_builder::class::Class;
use prejoin_image_builder::io::export::{self, Format};
use prejoin_profiles::catalog::CLUSTERS;
use prejoin_profiles::cluster::{self, Cluster};
use prejoin_store::output;
use prejoin_wire::architecture::Architecture;

use super::build::{self, Wanted};
use super::inputs::Sources;
use super::project::Project;
use super::{id, ssh_key};
use super::{lock, verify};
use crate::args::Demo;
use crate::failure::{Failure, OrFail};
use crate::progress::Progress;
use crate::qemu::{self, Qemu};
use crate::report::Report;
use crate::settings::{self, Stopwatch};

/// Size of the demo's virtual disk; the file is sparse.
const DISK: u64 = 24 << 30;

/// Longest that a boot may take on an emulated processor and a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) fn run(args: &Demo, report: &Report) -> Result<(), Failure> {
    let stopwatch = Stopwatch::start();
    let (_, text) = CLUSTERS
        .iter()
        .find(|(name, _)| *name == "demo")
        .expect("the demo cluster is an example");
    fs::create_dir_all(&args.out)
        .map_err(output::at("making folder", &args.out))
        .or_fail(Class::Environment)?;
    let file = args.out.join("cluster.yaml");
    let mut known = None;
    if file.exists() {
        let before = settings::read(&file, "the cluster file")?;
        if before.lines().next() != text.lines().next() {
            let message = format!("{} is not the demo's", file.display());
            return Err(Failure::plain(Class::Input, message)
                .hint("name another folder with --out".to_owned()));
        }
        known = Cluster::parse(&before).ok().and_then(|cluster| cluster.id);
    }
    let id = known.map_or_else(id::draw, |id| Ok(id.value))?;
    let text = cluster::with_keys(text, &ssh_key::choose(None, report)?);
    let text = cluster::with_id(&text, &id).expect("examples are written line by line");
    output::write(&file, text.as_bytes()).or_fail(Class::Environment)?;
    let mut project = Project::open(&file, report)?;
    project.without_artifacts = true;
    report.say(
        "note: Kubernetes' own programs are left out of the demo; `prejoin build` puts them in and fails without them",
    );
    let sources = Sources::new(&args.inputs, &project)?;

    report.step("lock: every input by version and digest");
    let path = project.lock_path();
    let lock = if args.inputs.offline && path.exists() {
        lock::read(&project)?
    } else {
        let lock = lock::make(&project, &sources, &args.out, None, false)?;
        output::write(&path, lock.to_yaml().as_bytes()).or_fail(Class::Environment)?;
        lock
    };

    report.step("build: each system once, then its nodes");
    let wanted = Wanted {
        nodes: &[],
        sector_size: 512,
    };
    let made = build::all(&project, &lock, &sources, &args.out, &wanted, report)?;

    report.step("verify: read back by other code");
    for made in &made {
        verify::one(&args.out, &made.manifest.node)?;
    }
    report.result(
        || build::summary(&made, &args.out),
        || made.iter().map(build::as_json).collect(),
    )?;
    report.say(format!(
        "built and verified in {:.1} s",
        stopwatch.elapsed().as_secs_f64()
    ));
    if args.no_boot {
        report.say("not booted: --no-boot");
    } else {
        boot(&args.out, &project, report)?;
    }
    next_steps(&args.out, report);
    Ok(())
}

/// Boots the node of this machine's architecture.
fn boot(out: &Path, project: &Project, report: &Report) -> Result<(), Failure> {
    let architecture = if cfg!(target_arch = "aarch64") {
        Architecture::Arm64
    } else {
        Architecture::Amd64
    };
    let qemu = match Qemu::find(architecture) {
        Ok(qemu) => qemu,
        Err(missing) => {
            report.say(format!("not booted: {missing}"));
            return Ok(());
        }
    };
    let name = format!("demo-{architecture}");
    report.step(format!(
        "boot: {name} in QEMU, from its disk image alone, on an emulated processor"
    ));
    let opened = verify::open(out, &name)?;
    let progress = Progress::new();
    let disk = export::export(&opened.image, &opened.store, Format::Raw, out, &|event| {
        progress.show(event)
    });
    progress.clear();
    let disk = disk.or_fail(Class::Environment)?.remove(0);
    let environment = |error: std::io::Error| {
        Failure::plain(
            Class::Environment,
            format!("running {name} in QEMU: {error}"),
        )
    };
    qemu::enlarge(&disk, DISK).map_err(environment)?;
    let mac = project
        .cluster
        .node(&name)
        .and_then(|node| node.mac.as_ref())
        .map(|mac| mac.value.to_string());
    let log = out.join(format!("{name}.console"));
    let mut machine = qemu
        .start(&disk, &mac.unwrap_or_default())
        .map_err(environment)?;
    // Minutes on an emulated processor: what the machine says goes by, and what matters of it stays.
    progress.busy("booting", name.clone());
    let state = machine.watch(&log, PATIENCE, |line, at| {
        progress.busy("booting", shown(line));
        if line.contains("prejoin: ") || line.contains(" login:") || line.contains("demo: ") {
            progress.say(&format!("  {:>5.1} s  {}", at.as_secs_f64(), shown(line)));
        }
        line.split_once("demo: ").map(|(_, state)| state.to_owned())
    });
    progress.clear();
    drop(machine);
    match state.map_err(environment)? {
        Some(state) if state.starts_with("system is running, failed units: none") => Ok(()),
        Some(state) => Err(Failure::plain(
            Class::Integrity,
            format!("{name} started, but its {state}"),
        )
        .hint(format!("its console is in {}", log.display()))),
        None => Err(
            Failure::plain(Class::Integrity, format!("{name} did not reach its login"))
                .hint(format!("its console is in {}", log.display())),
        ),
    }
}

/// A console line without control sequences and the kernel's time stamp.
fn shown(line: &str) -> String {
    let mut text = String::new();
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            // An escape sequence ends with a letter.
            '\x1b' => {
                characters.by_ref().find(char::is_ascii_alphabetic);
            }
            character if character.is_control() => {}
            character => text.push(character),
        }
    }
    match text.split_once("] ") {
        Some((stamp, rest)) if stamp.trim_start().starts_with('[') => rest.to_owned(),
        _ => text,
    }
}

fn next_steps(out: &Path, report: &Report) {
    let out = out.display();
    report.say(format!(
        "next:\n  prejoin init                      write a cluster.yaml of your own\n  \
         prejoin check && prejoin lock     is it sound? resolve every input\n  \
         prejoin build                     images of your nodes\n  \
         prejoin export demo-rpi5 --out {out}   an image for Raspberry Pi Imager, Etcher or dd"
    ));
}
