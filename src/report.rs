//! How results look: data on stdout, talk on stderr, JSON where asked for.

use std::fmt::Display;
use std::io::IsTerminal;

use prejoin_profiles::finding::{Finding, Severity};
use prejoin_wire::printable::printable_lines;
pub(crate) use prejoin_wire::size::amount as size;
use serde_json::{Value, json};

use crate::args::Colour;
use crate::failure::Failure;
use crate::settings;
use crate::terminal::{self, Form};

/// Where and how to print.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    json: bool,
    colour: bool,
    /// Colour on stdout.
    data_colour: bool,
}

impl Report {
    /// A report in the wanted form.
    pub(crate) fn new(json: bool, colour: Colour) -> Self {
        let wanted = |is_terminal: bool| match colour {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => is_terminal && settings::variable("NO_COLOR").is_none(),
        };
        Report {
            json,
            colour: wanted(std::io::stderr().is_terminal()),
            data_colour: wanted(std::io::stdout().is_terminal()),
        }
    }

    /// Whether results are wanted as JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a result is to be coloured; `talk` asks the same of what goes to stderr.
    pub(crate) fn is_coloured(&self, talk: bool) -> bool {
        if talk { self.colour } else { self.data_colour }
    }

    /// A result, on stdout.
    pub(crate) fn data(&self, text: impl Display) -> Result<(), Failure> {
        terminal::result(&text.to_string(), Form::Plain)
    }

    /// A document, on stdout.
    pub(crate) fn document(&self, value: &Value) -> Result<(), Failure> {
        terminal::result(&format!("{value:#}"), Form::Json)
    }

    /// A result in both forms; the one that was asked for is printed.
    pub(crate) fn result(
        &self,
        text: impl FnOnce() -> String,
        value: impl FnOnce() -> Value,
    ) -> Result<(), Failure> {
        if self.json {
            self.document(&value())
        } else {
            self.data(text().trim_end())
        }
    }

    /// The same where the text has colours: whoever paints makes foreign text printable first.
    pub(crate) fn picture(
        &self,
        text: impl FnOnce() -> String,
        value: impl FnOnce() -> Value,
    ) -> Result<(), Failure> {
        if self.json {
            self.document(&value())
        } else {
            terminal::result(text().trim_end(), Form::Painted)
        }
    }

    /// Talk, on stderr.
    pub(crate) fn say(&self, text: impl Display) {
        terminal::talk(&text.to_string(), Form::Plain);
    }

    /// Talk with colours in it.
    pub(crate) fn say_painted(&self, text: &str) {
        terminal::talk(text, Form::Painted);
    }

    /// A heading of a step, in bold where there is colour.
    pub(crate) fn step(&self, text: impl Display) {
        if self.colour {
            self.say_painted(&terminal::paint(&printable_lines(&text.to_string()), "1"))
        } else {
            self.say(text)
        }
    }

    /// Findings about a cluster file: snippets on stderr, or a JSON list on stdout.
    pub(crate) fn findings(
        &self,
        file: &str,
        text: &str,
        findings: &[Finding],
    ) -> Result<(), Failure> {
        if self.json {
            let list: Vec<Value> = findings
                .iter()
                .map(|finding| as_json(file, finding))
                .collect();
            return self.document(&Value::from(list));
        }
        for finding in findings {
            let plain = finding.render(file, text);
            if self.colour {
                self.say_painted(&self.coloured(finding, &plain));
            } else {
                self.say(plain);
            }
        }
        Ok(())
    }

    fn coloured(&self, finding: &Finding, plain: &str) -> String {
        let name = finding.severity.name();
        let colour = if finding.severity == Severity::Error {
            "1;31"
        } else {
            "1;33"
        };
        plain.replacen(name, &terminal::paint(name, colour), 1)
    }
}

fn as_json(file: &str, finding: &Finding) -> Value {
    json!({
        "code": finding.code.name(),
        "severity": finding.severity.name(),
        "file": file,
        "line": finding.position.line,
        "column": finding.position.column,
        "text": finding.text,
        "message": finding.message,
        "hint": finding.hint,
    })
}

/// Rows in columns as wide as they need to be, the first row the heading.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}
