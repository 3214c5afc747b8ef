//! What runs on a node before its operating system: process 1 of the initramfs.
//!
//! [`boot`] is the sequence of steps, in order, each in a file of its own. What can be decided without looking at the
//! machine is in the other modules and tested there: [`cmdline`] (what we were told), [`loader`] (by whom), [`layout`] (which partitions,
//! and where new ones go), [`superblock`] (what is in one), [`archive`] (where the node's files may go), [`rescue`]
//! (what is said when it fails), [`menu`] (what can be done then).

mod archive;
mod boot;
mod cmdline;
mod error;
mod layout;
mod loader;
mod menu;
mod rescue;
mod superblock;

use std::io::Write as _;
use std::process::ExitCode;

/// As printed by `--version` and on the rescue screen.
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn main() -> ExitCode {
    // The kernel hands every word of its command line that it does not know to process 1: they are not for us.
    if std::process::id() == 1 {
        boot::run();
    }
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [flag] if flag == "--version" => {
            let _ = writeln!(std::io::stdout(), "prejoin-agent {VERSION}");
            ExitCode::SUCCESS
        }
        arguments => {
            let what = match arguments.first() {
                None => "it is not process 1".to_owned(),
                Some(argument) => format!("it does not know `{}`", argument.display()),
            };
            let _ = writeln!(
                std::io::stderr(),
                "prejoin-agent: started as process 1 it boots a node, with --version it says its version; {what}"
            );
            ExitCode::from(2)
        }
    }
}
