//! One file per command; each is settings, one library call, and a report.

mod build;
mod check;
mod compared;
mod demo;
mod disk;
mod export;
mod flash;
mod id;
mod init;
mod inputs;
mod lock;
mod project;
mod prune;
mod ssh_key;
mod verify;

use prejoin_profiles::cluster::Cluster;

use crate::args::{Args, Command};
use crate::failure::Failure;
use crate::report::Report;

/// Runs what was asked for.
pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let report = Report::new(args.json, args.color);
    match args.command {
        Command::Init(init) => init::run(&init, &report),
        Command::Check(file) => check::run(&file, &report),
        Command::Schema => report.data(Cluster::schema().trim_end()),
        Command::Lock(lock) => lock::run(&lock, &report),
        Command::Build(build) => build::run(&build, &report),
        Command::Export(export) => export::run(&export, &report),
        Command::Verify(verify) => verify::run(&verify, &report),
        Command::Prune(prune) => prune::run(&prune, &report),
        Command::Disk(disk) => disk::run(&disk, &report),
        Command::Flash(flash) => flash::run(&flash, &report),
        Command::Demo(demo) => demo::run(&demo, &report),
    }
}
