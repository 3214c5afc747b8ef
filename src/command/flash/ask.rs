//! Whether somebody agrees: by typing the disk's serial number, or by the token of a dry run; and what he sees meanwhile.

use std::io::{BufRead as _, IsTerminal as _};

use indicatif::MultiProgress;
use prejoin_disk::session::{Consent, Judged, Person, typed_name};
use prejoin_disk::write::Event;
use prejoin_image_builder::class::Class;
use prejoin_wire::disk::{Device, Verdict};

use super::meter::{Meter, Took};
use super::{exit, last, show};
use crate::args::Flash;
use crate::failure::Failure;
use crate::report::Report;
use crate::terminal;

/// Whoever has given the command.
pub(crate) struct User<'a> {
    args: &'a Flash,
    report: &'a Report,
    /// One for each disk, by its path.
    meters: Vec<(String, Meter)>,
}

impl<'a> User<'a> {
    /// Who will be asked about these.
    pub(crate) fn new(args: &'a Flash, report: &'a Report, cases: &[Judged]) -> Self {
        let bars = MultiProgress::new();
        let meter = |case: &Judged| {
            let disk = case.report().disk.clone();
            let meter = Meter::new(&bars, &last(&disk));
            (disk, meter)
        };
        User {
            args,
            report,
            meters: cases.iter().map(meter).collect(),
        }
    }

    /// Nothing more happens to a disk: how long each phase took.
    pub(crate) fn finish(&self, disk: &str) -> Vec<Took> {
        self.meter(disk).map(Meter::finish).unwrap_or_default()
    }

    fn meter(&self, disk: &str) -> Option<&Meter> {
        let mut meters = self.meters.iter();
        meters.find(|(of, _)| of == disk).map(|(_, meter)| meter)
    }
}

impl Person for User<'_> {
    type Error = Failure;

    fn consent(&self, judged: &Judged) -> Result<Consent, Failure> {
        let (device, verdict) = (&judged.facts().device, judged.report().verdict);
        if !self.args.confirm.is_empty() {
            return Ok(Consent::Tokens(self.args.confirm.clone()));
        }
        let is_attended = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        if is_attended && !self.report.is_json() {
            // Once more, right above the question: a plan is longer than a terminal is high.
            let colour = self.report.is_coloured(true);
            let text = show::judgement(judged.report(), colour);
            self.report.say(text.trim_end());
            return typed(device).map(Consent::Typed);
        }
        if device.file && verdict == Verdict::Ok {
            return Ok(Consent::Unasked);
        }
        let message = format!(
            "{} needs a confirmation, and there is no terminal to ask on",
            device.path
        );
        Err(Failure::plain(Class::Input, message)
            .exit(exit::CONFIRM)
            .hint(how(&[judged])))
    }

    fn show(&self, disk: &str, event: Event) {
        if let Some(meter) = self.meter(disk) {
            meter.show(event);
        }
    }
}

/// How these are confirmed where nobody can be asked.
pub(crate) fn how(cases: &[&Judged]) -> String {
    let tokens: Vec<String> = cases
        .iter()
        .filter_map(|case| Some(format!("--confirm {}", case.report().token.as_ref()?)))
        .collect();
    format!("run it on a terminal, or add {}", tokens.join(" "))
}

/// Asks on the terminal for what is typed to agree.
pub(crate) fn typed(device: &Device) -> Result<String, Failure> {
    let (what, expected) = typed_name(device);
    let question = format!(
        "\nType the {what} of {} to write to it ({expected}): ",
        device.path
    );
    let mut line = String::new();
    terminal::ask(&question)
        .and_then(|()| std::io::stdin().lock().read_line(&mut line))
        .map_err(|error| Failure::new(Class::Environment, &error))?;
    Ok(line.trim().to_owned())
}
