//! The command line: arguments to settings to one library call per command. All drawing lives here.

mod args;
mod command;
mod failure;
mod picture;
mod private;
mod progress;
mod qemu;
mod report;
mod settings;
mod terminal;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser;

use crate::failure::Failure;
use crate::terminal::Form;

/// Exit code of wrong usage.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let done = match args::Args::try_parse() {
        Ok(args) => command::run(args),
        Err(error) => say(&error),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            failure.code()
        }
    }
}

/// Help, the version, or what is wrong with the arguments.
fn say(error: &clap::Error) -> Result<(), Failure> {
    let is_terminal = match error.use_stderr() {
        true => std::io::stderr().is_terminal(),
        false => std::io::stdout().is_terminal(),
    };
    let is_coloured = is_terminal && settings::variable("NO_COLOR").is_none();
    let text = error.render();
    let text = match is_coloured {
        true => text.ansi().to_string(),
        false => text.to_string(),
    };
    if !error.use_stderr() {
        return terminal::result(text.trim_end_matches('\n'), Form::Painted);
    }
    terminal::talk(text.trim_end_matches('\n'), Form::Painted);
    Err(Failure::silent(USAGE))
}
