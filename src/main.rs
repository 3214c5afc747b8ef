//! The command line: arguments to settings to one library call per command. All drawing lives here.

mod args;
mod command;
mod failure;
mod picture;
mod progress;
mod qemu;
mod report;
mod settings;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = args::Args::parse();
    match command::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            failure.code()
        }
    }
}
