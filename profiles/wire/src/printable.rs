//! Text of strangers (names, link targets, scripts, labels, what a server answers), made fit to be shown.
//!
//! A terminal obeys control characters: text could hide what stands before it, set the title or fill the clipboard. And
//! characters that turn the direction of writing show something else than what is there.

use std::borrow::Cow;
use std::fmt::Write as _;

/// What is shown in place of such a character.
pub const INSTEAD: char = '\u{fffd}';

/// Whether a terminal obeys a character instead of showing it: C0 and C1, line and paragraph separators, marks and
/// overrides of direction (Unicode Standard Annex 9), and tags.
pub fn is_mute(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200e}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// One line. A tabulator is a blank.
pub fn printable(text: &str) -> Cow<'_, str> {
    with(text, |c| match c {
        '\t' => ' ',
        c if is_mute(c) => INSTEAD,
        c => c,
    })
}

/// Any number of lines, with tabulators.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    with(text, |c| match c {
        '\n' | '\t' => c,
        c if is_mute(c) => INSTEAD,
        c => c,
    })
}

/// JSON that says the same without a character that a terminal would obey: serializers escape C0 alone. In JSON the
/// others can stand nowhere but in strings.
pub fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c == '\n' || !is_mute(c) {
            text.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            write!(text, "\\u{unit:04x}").expect("writing to a String cannot fail");
        }
    }
    text
}

fn with(text: &str, instead: impl Fn(char) -> char) -> Cow<'_, str> {
    if text.chars().all(|c| instead(c) == c) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(instead).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind, beside letters that stay.
    const FOREIGN: &str =
        "é\x1b[2J\r\0\x7f\u{9b}8m\u{202e}\u{2066}\u{200f}\u{61c}\u{2028}\u{e0041}ő";

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        for text in [printable(FOREIGN), printable_lines(FOREIGN)] {
            assert!(!text.chars().any(is_mute), "{text:?}");
            assert!(text.starts_with("é\u{fffd}[2J") && text.ends_with("ő"));
            assert_eq!(text.chars().count(), FOREIGN.chars().count());
        }
        assert_eq!(printable("a\n\tb"), "a\u{fffd} b");
        assert_eq!(printable_lines("a\n\tb\r"), "a\n\tb\u{fffd}");
        assert!(matches!(printable("plain ő"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_says_the_same_without_them() {
        let value = serde_json::json!({ "name": FOREIGN, FOREIGN: ["a\nb\t"] });
        for json in [value.to_string(), format!("{value:#}")] {
            let text = escaped(&json);
            assert!(!text.replace('\n', "").chars().any(is_mute), "{text:?}");
            let read: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(read, value);
        }
    }
}
