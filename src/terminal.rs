//! The only way to stdout and stderr. What goes there is made of names, messages and scripts of strangers: nothing in it
//! that a terminal would obey goes through but our own colours.

use std::io::{self, Write as _};

use prejoin_image_builder::class::Class;
use prejoin_wire::printable::{escaped, is_mute, printable_lines};

use crate::failure::Failure;

/// Our colours and those of the help, as parameters of SGR (ECMA-48, 8.3.117).
const PAINTS: [&str; 14] = [
    "0", "1", "4", "31", "32", "33", "34", "36", "90", "1;31", "1;32", "1;33", "1;34", "1;36",
];

/// Exit code of a program whose reader has gone, as the shell shows it: 128 and SIGPIPE.
const CLOSED: u8 = 141;

/// What a text is, and so what may be in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Words.
    Plain,
    /// Words in which [`paint`] was used. Who uses it makes foreign text printable before it goes in.
    Painted,
    /// A document.
    Json,
}

/// Text in one of our colours.
pub(crate) fn paint(text: &str, paint: &str) -> String {
    debug_assert!(PAINTS.contains(&paint), "{paint}");
    format!("\x1b[{paint}m{text}\x1b[0m")
}

/// A result, on stdout.
pub(crate) fn result(text: &str, form: Form) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let text = visible(text, form);
    out.write_all(text.as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
        .map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::silent(CLOSED),
            _ => Failure::plain(
                Class::Environment,
                format!("writing the result to stdout: {error}"),
            ),
        })
}

/// Talk, on stderr. Nobody can be told that nobody listens, and what is being done is worth it all the same.
pub(crate) fn talk(text: &str, form: Form) {
    let _ = writeln!(io::stderr(), "{}", visible(text, form));
}

/// A question, on stderr: the cursor stays behind it.
pub(crate) fn ask(text: &str) -> io::Result<()> {
    let mut out = io::stderr();
    out.write_all(visible(text, Form::Plain).as_bytes())?;
    out.flush()
}

fn visible(text: &str, form: Form) -> String {
    match form {
        Form::Json => escaped(text),
        Form::Plain => printable_lines(text).into_owned(),
        Form::Painted => painted(text),
    }
}

/// The text with nothing that a terminal obeys but our colours.
fn painted(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut parts = text.split("\x1b[");
    shown.push_str(&printable_lines(parts.next().unwrap_or_default()));
    for part in parts {
        match part.split_once('m') {
            Some((paint, rest)) if PAINTS.contains(&paint) => {
                shown.push_str(&format!("\x1b[{paint}m"));
                shown.push_str(&printable_lines(rest));
            }
            _ => shown.push_str(&printable_lines(&format!("\x1b[{part}"))),
        }
    }
    debug_assert!(
        !shown
            .replace("\x1b[", "")
            .chars()
            .any(|c| { is_mute(c) && !matches!(c, '\n' | '\t') })
    );
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_colours_go_through_and_nothing_else() {
        let foreign = "a\x1b[2Jb\x1b[8mc\r\x1b]0;title\x07\u{9b}2Jd\u{202e}";
        let instead =
            "a\u{fffd}[2Jb\u{fffd}[8mc\u{fffd}\u{fffd}]0;title\u{fffd}\u{fffd}2Jd\u{fffd}";
        assert_eq!(visible(foreign, Form::Plain), instead);
        assert_eq!(visible(foreign, Form::Painted), instead);
        let red = paint("x\ty\n", "31");
        assert_eq!(visible(&red, Form::Painted), "\x1b[31mx\ty\n\x1b[0m");
        assert_eq!(visible(&red, Form::Plain), "\u{fffd}[31mx\ty\n\u{fffd}[0m");
        assert_eq!(
            visible("{\n \"a\": \"\u{7f}\u{9b}\"}", Form::Json),
            "{\n \"a\": \"\\u007f\\u009b\"}"
        );
    }
}
