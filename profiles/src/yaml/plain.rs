//! The parser's complaints in the words of someone who writes YAML, and blamed on the line where the mistake is.

use super::Position;

/// What is wrong, and what can be done about it.
type Words = (String, Option<&'static str>);

const WRITE_A_VALUE: &str = "write a value after the colon, or remove the key";

/// The word that is meant by one from elsewhere (k3s, older Kubernetes, cloud-init, Ansible), if it is known here.
pub(super) fn synonym<'a, S: AsRef<str>>(word: &str, known: &'a [S]) -> Option<&'a str> {
    const TABLE: &[(&str, &[&str])] = &[
        (
            "control-plane",
            &["server", "master", "controller", "controlplane", "manager"],
        ),
        ("worker", &["agent", "node", "minion", "slave", "compute"]),
        ("address", &["ip", "ip_address", "ipaddress", "addresses"]),
        ("name", &["hostname", "host_name"]),
        ("dns", &["nameservers", "nameserver", "dns_servers"]),
        ("ssh_keys", &["ssh_authorized_keys", "authorized_keys"]),
        ("password_hash", &["passwd", "password", "hashed_passwd"]),
        ("nodes", &["machines", "hosts", "servers"]),
        ("cloud_init", &["user_data", "cloud_config"]),
        ("transport", &["bus", "interface"]),
        ("timezone", &["time_zone", "tz"]),
    ];
    let folded = word.to_lowercase().replace('-', "_");
    let (meant, _) = TABLE
        .iter()
        .find(|(_, words)| words.contains(&folded.as_str()))?;
    known
        .iter()
        .map(AsRef::as_ref)
        .find(|candidate| candidate == meant)
}

/// A single value of another kind than the one wanted; `kind` is the parser's name for it.
pub(super) fn scalar(kind: &str) -> Words {
    let (what, hint) = match kind {
        "bool" | "boolean" => ("`true` or `false` is expected here", None),
        "u8" => ("a whole number from 0 to 255 is expected here", None),
        "u16" => ("a whole number from 0 to 65535 is expected here", None),
        "null" | "unit" => ("no value is expected here", Some("remove what stands here")),
        kind if kind.starts_with(['u', 'i']) => ("a whole number is expected here", None),
        kind if kind.starts_with('f') => ("a number is expected here", None),
        _ => ("another kind of value is expected here", None),
    };
    (what.to_owned(), hint)
}

/// A key with nothing behind it.
pub(super) fn nothing() -> Words {
    ("a value is missing here".to_owned(), Some(WRITE_A_VALUE))
}

/// A parser's event that did not come.
pub(super) fn event(expected: &str) -> Words {
    let (what, hint) = match expected {
        "sequence start" => (
            "a list",
            Some("put it into `[ ]`, or on lines of their own after `-`"),
        ),
        "mapping start" | "struct mapping start" => (
            "a group of keys",
            Some("write `key: value` on indented lines, or in `{ }`"),
        ),
        other if other.contains("scalar") => (
            "a single value",
            Some("quote it when it holds `:`, `#`, `{` or `[`"),
        ),
        _ => ("something else", None),
    };
    (format!("{what} is expected here"), hint)
}

/// What the scanner says of text that is not YAML. Unknown messages are left as they are.
pub(super) fn syntax(message: &str) -> Option<Words> {
    const TABLE: &[(&str, &str, Option<&str>)] = &[
        (
            "tabs disallowed",
            "a tab stands where spaces are expected",
            Some("YAML is indented by spaces only"),
        ),
        (
            "mapping values are not allowed",
            "a second `:` on one line",
            Some("quote a value that holds `: `, or put the key on a line of its own"),
        ),
        (
            "mismatched bracket",
            "a bracket is closed by one of another kind",
            Some("`[` goes with `]`, `{` with `}`"),
        ),
        (
            "flow mapping, did not find expected",
            "a `,` is missing before this, or a `}`",
            Some("in `{ }` keys are separated by commas"),
        ),
        (
            "flow sequence, did not find expected",
            "a `,` is missing before this, or a `]`",
            Some("in `[ ]` values are separated by commas"),
        ),
        (
            "block mapping, did not find expected key",
            "this line is not a key of the group above it",
            Some("indent it like the other keys of its group"),
        ),
        (
            "block collection, did not find expected '-'",
            "this line is not an item of the list above it",
            Some("items of one list begin with `-` in the same column"),
        ),
        (
            "did not find expected node content",
            "a value is missing here",
            Some(WRITE_A_VALUE),
        ),
        (
            "unknown anchor",
            "nothing is marked by that `&` name above",
            Some("quote a value that begins with `*`"),
        ),
        (
            "invalid indentation",
            "the indentation does not fit the lines above",
            Some("indent the keys of one group alike, by spaces"),
        ),
        (
            "unsupported tag",
            "a word with `!` in front means nothing here",
            Some("remove it, or quote the value"),
        ),
        (
            "did not find expected alphabetic or numeric",
            "a `*` or `&` without a name",
            Some("quote a value that begins with `*` or `&`"),
        ),
    ];
    let row = TABLE.iter().find(|(part, ..)| message.contains(part));
    row.map(|(_, plain, hint)| ((*plain).to_owned(), *hint))
}

/// Where a second document begins. `---` at the beginning of a line means nothing else in YAML.
pub(super) fn second_document(text: &str) -> Option<Position> {
    let mut begun = false;
    for (index, line) in text.lines().enumerate() {
        let marker = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
        if marker && begun {
            return Some(place(index, 0, 3));
        }
        let empty = line.trim().is_empty() || line.trim_start().starts_with('#');
        begun |= marker || !(empty || line.starts_with('%'));
    }
    None
}

/// The quote that an error at `blamed` comes from: one that was opened on an earlier line and, by what the parser made
/// of it, goes on to there or further. The parser blames what it stumbles over, which is lines below.
pub(super) fn open_quote(text: &str, blamed: Position) -> Option<Position> {
    let mut scan = Scan::default();
    for (index, line) in text.lines().enumerate() {
        let at_error = index + 1 >= blamed.line as usize;
        scan.line(index, line);
        match scan.open {
            // Still open where the parser gave up.
            Some(open) if at_error => return (open.line < blamed.line).then_some(open),
            // Closed there, by the quote that was to open another text.
            None if at_error => {
                return scan
                    .closed
                    .filter(|(open, close)| {
                        open.line < blamed.line
                            && close.line == blamed.line
                            && close.column < blamed.column
                    })
                    .map(|(open, _)| open);
            }
            _ => {}
        }
    }
    scan.open
}

/// Quotes of a text, line by line.
#[derive(Default)]
struct Scan {
    quote: char,
    open: Option<Position>,
    /// The first text in quotes that ended on the last line that was looked at, but did not begin there.
    closed: Option<(Position, Position)>,
    /// How many `[` and `{` are open: only there does a comma separate values.
    depth: usize,
    /// Indentation of the key whose text stands below it (`|`): quotes are nothing special there.
    block: Option<usize>,
}

impl Scan {
    fn line(&mut self, index: usize, line: &str) {
        self.closed = None;
        let indent = line.len() - line.trim_start().len();
        if self
            .block
            .is_some_and(|key| indent > key || line.trim().is_empty())
        {
            return;
        }
        self.block = None;
        let characters: Vec<char> = line.chars().collect();
        let mut column = 0;
        // Whether a value may begin here, and with it a quote.
        let mut fresh = true;
        while let Some(&c) = characters.get(column) {
            let next = characters.get(column + 1).copied();
            if let Some(open) = self.open {
                column += usize::from(self.inside(c, next, open, place(index, column, 1)));
                fresh = false;
            } else if fresh && matches!(c, '"' | '\'') {
                self.open = Some(place(index, column, 1));
                self.quote = c;
            } else if c == '#' && (column == 0 || characters[column - 1] == ' ') {
                return;
            } else {
                if fresh && matches!(c, '|' | '>') && self.depth == 0 {
                    self.block = Some(indent);
                    return;
                }
                fresh = self.outside(c, next, fresh);
            }
            column += 1;
        }
    }

    /// A character within quotes; whether the next one belongs to it.
    fn inside(&mut self, c: char, next: Option<char>, open: Position, here: Position) -> bool {
        let escape = match self.quote {
            '"' => c == '\\',
            _ => c == '\'' && next == Some('\''),
        };
        if !escape && c == self.quote {
            self.open = None;
            if open.line < here.line {
                self.closed.get_or_insert((open, here));
            }
        }
        escape
    }

    /// A character that is in no quotes; whether a value may begin behind it.
    fn outside(&mut self, c: char, next: Option<char>, fresh: bool) -> bool {
        match c {
            '[' | '{' if fresh => {
                self.depth += 1;
                true
            }
            ']' | '}' => {
                self.depth = self.depth.saturating_sub(1);
                false
            }
            ',' => self.depth > 0,
            ':' => matches!(next, Some(' ' | '"' | '\'')),
            '-' => fresh && next == Some(' '),
            ' ' => fresh,
            _ => false,
        }
    }
}

fn place(line: usize, column: usize, length: u32) -> Position {
    let number = |index: usize| u32::try_from(index + 1).unwrap_or(u32::MAX);
    Position {
        line: number(line),
        column: number(column),
        length,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quote(text: &str, line: u32, column: u32) -> Option<(u32, u32)> {
        let blamed = Position {
            line,
            column,
            length: 1,
        };
        open_quote(text, blamed).map(|open| (open.line, open.column))
    }

    #[test]
    fn the_line_of_an_open_quote_is_found() {
        let text = "a: { b: \"x, c: 1 }\nd: \"y\"\n";
        assert_eq!(quote(text, 2, 5), Some((1, 9)));
        assert_eq!(quote("a: \"x\nb: 1\n", 2, 1), Some((1, 4)));
        assert_eq!(quote("a: 'it''s\nb: 1\n", 2, 1), Some((1, 4)));
    }

    #[test]
    fn sound_quotes_are_not_blamed() {
        let text = "a: \"x \\\" y\" # it's\nb: it's\nc: [ 'p', \"q\" ]\nd: {\n";
        assert_eq!(quote(text, 4, 4), None);
        let script = "a: |\n  echo 'x\n  - \"y\nb: {\nc: 1\n";
        assert_eq!(quote(script, 5, 1), None);
        assert_eq!(quote("a: so, \"x\nb: {\nc: 1\n", 3, 1), None);
        let long = "a: \"one\n  two\"\nb: {\nc: 1\n";
        assert_eq!(quote(long, 4, 1), None);
    }

    #[test]
    fn a_second_document_is_found() {
        let line = |text: &str| second_document(text).map(|at| at.line);
        assert_eq!(line("# x\n---\na: 1\n"), None);
        assert_eq!(line("a: 1\n--- # y\n"), Some(2));
        assert_eq!(line("---\na: 1\n---\n"), Some(3));
        assert_eq!(line("a: |\n  ---\n----: 1\n"), None);
    }
}
