//! Whether somebody agrees: by typing the disk's serial number, or by the token of a dry run.

use std::io::{BufRead as _, IsTerminal as _};

use prejoin_image_builder::class::Class;
use prejoin_wire::disk::{Code, Device, Verdict};

use super::{Case, exit, last, show};
use crate::args::Flash;
use crate::failure::Failure;
use crate::report::Report;
use crate::terminal;

/// Fails unless every target may be written; says whether somebody was asked, who may have taken his time.
pub(crate) fn consent(args: &Flash, cases: &[Case], report: &Report) -> Result<bool, Failure> {
    let mut asked = false;
    for case in cases {
        asked |= one(args, case, report)?;
    }
    Ok(asked)
}

fn one(args: &Flash, case: &Case, report: &Report) -> Result<bool, Failure> {
    let (device, verdict) = (&case.facts.device, case.judgement.verdict);
    if !args.confirm.is_empty() {
        let token = case.judgement.token.as_ref();
        if token.is_some_and(|token| args.confirm.contains(token)) {
            return Ok(false);
        }
        let message = format!(
            "{}: {} is not as it was when it was confirmed, or it was something else that was confirmed",
            Code::IdChanged,
            device.path
        );
        return Err(Failure::plain(Class::Input, message)
            .exit(exit::REFUSED)
            .hint("look at the verdict again with --dry-run, and confirm that one".to_owned()));
    }
    if !report.is_json() && std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        // Once more, right above the question: a plan is longer than a terminal is high.
        let colour = report.is_coloured(true);
        report.say(show::judgement(&case.judgement, colour).trim_end());
        return typed(device).map(|()| true);
    }
    if device.file && verdict == Verdict::Ok {
        return Ok(false);
    }
    let message = format!(
        "{} needs a confirmation, and there is no terminal to ask on",
        device.path
    );
    Err(Failure::plain(Class::Input, message)
        .exit(exit::CONFIRM)
        .hint(how(&[case])))
}

/// How these are confirmed where nobody can be asked.
pub(crate) fn how(cases: &[&Case]) -> String {
    let tokens: Vec<String> = cases
        .iter()
        .filter_map(|case| Some(format!("--confirm {}", case.judgement.token.as_ref()?)))
        .collect();
    format!("run it on a terminal, or add {}", tokens.join(" "))
}

/// What is typed to agree: the serial number, or the last part of the path.
pub(crate) fn password(device: &Device) -> (&'static str, String) {
    match &device.serial {
        Some(serial) => ("serial number", serial.clone()),
        None => ("name", last(&device.path)),
    }
}

/// Asks on the terminal.
pub(crate) fn typed(device: &Device) -> Result<(), Failure> {
    let (what, expected) = password(device);
    let mut line = String::new();
    let asked = terminal::ask(&format!(
        "\nType the {what} of {} to write to it ({expected}): ",
        device.path
    ))
    .and_then(|()| std::io::stdin().lock().read_line(&mut line));
    match asked {
        Ok(_) if line.trim() == expected => Ok(()),
        Ok(_) => Err(Failure::plain(
            Class::Input,
            format!("that is not the {what} of {}", device.path),
        )
        .exit(exit::CONFIRM)
        .hint("nothing was written".to_owned())),
        Err(error) => Err(Failure::new(Class::Environment, &error)),
    }
}
