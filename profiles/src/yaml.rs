//! Reading YAML that people wrote: bounded, strict, and with a position for every complaint.

mod plain;

use std::fmt;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_saphyr::{DuplicateKeyPolicy, MergeKeyPolicy, Options, Spanned};

use prejoin_wire::printable::printable;

/// Largest document that is looked at, in bytes. A cluster of a thousand nodes stays far below it.
pub const LIMIT: usize = 16 << 20;

/// A place in a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from 1; 0 when nothing in the document can be pointed at.
    pub line: u32,
    /// Column in characters, from 1; 0 when nothing in the document can be pointed at.
    pub column: u32,
    /// Length in characters, at least 1; may reach beyond the end of the line.
    pub length: u32,
}

/// A value and where it stands. Compares, orders and prints as the value alone.
#[derive(Clone, Copy, Default)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it was used; for an alias the place of the alias.
    pub position: Position,
}

/// What is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Where.
    pub position: Position,
    /// The key or value that is complained about; empty when it is not a single one.
    pub text: String,
    /// What is wrong, as a lower-case fragment.
    pub message: String,
    /// What the user can do.
    pub hint: Option<String>,
}

/// Reads one document.
///
/// Refuses unknown and duplicate keys, unknown tags, several documents, documents above [`LIMIT`], nesting above 48
/// levels, and anchors that expand to more than a hundred thousand nodes ("billion laughs").
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    if text.len() > LIMIT {
        return Err(Error {
            position: Position::default(),
            text: String::new(),
            message: format!(
                "the document has {} bytes; more than {LIMIT} are not read",
                text.len()
            ),
            hint: Some(
                "is this the right file? Put large contents into files of their own and name them"
                    .into(),
            ),
        });
    }
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| Error::new(&error, text))
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: 1_000_000,
            max_events: 3_000_000,
            max_depth: 48,
            flow_nesting_limit: 48,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
        },
        // Comments are what makes a cluster file readable; the parser's buffer for them holds only 32.
        emit_comments: false,
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Merge,
        // `yes` and `on` are booleans to the YAML 1.1 readers (cloud-init) that get the user's own parts.
        strict_booleans: false,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

impl Position {
    fn of(location: serde_saphyr::Location) -> Self {
        let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        if location.line() == 0 {
            return Position::default();
        }
        let length = number(location.span().len()).max(1);
        Position {
            line: number(location.line()),
            column: number(location.column()),
            length,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl<T> Located<T> {
    /// A value without a place, for defaults and tests.
    pub fn nowhere(value: T) -> Self {
        Located {
            value,
            position: Position::default(),
        }
    }

    /// The value with another one's place.
    pub fn at(value: T, position: Position) -> Self {
        Located { value, position }
    }

    /// Another value at the same place.
    pub fn map<U>(self, convert: impl FnOnce(T) -> U) -> Located<U> {
        Located {
            value: convert(self.value),
            position: self.position,
        }
    }
}

impl<T> Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Located<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Located<T> {}

impl<T: fmt::Display> fmt::Display for Located<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: fmt::Debug> fmt::Debug for Located<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: Serialize> Serialize for Located<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Located<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(deserializer)?;
        Ok(Located {
            value: spanned.value,
            position: Position::of(spanned.referenced),
        })
    }
}

impl<T: JsonSchema> JsonSchema for Located<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl Error {
    /// Whatever else is wrong follows from it: keys of the one are missing in the other.
    fn second(position: Position) -> Self {
        Error {
            position,
            text: "---".to_owned(),
            message: "a second document begins here, and a file holds one".to_owned(),
            hint: Some("put it into a file of its own, or remove this line".to_owned()),
        }
    }

    fn new(error: &serde_saphyr::Error, document: &str) -> Self {
        use serde_saphyr::Error as Yaml;
        let error = error.without_snippet();
        if let Some(position) = plain::second_document(document) {
            return Error::second(position);
        }
        let mut position = error.location().map(Position::of).unwrap_or_default();
        let mut text = String::new();
        let mut hint = None;
        let error = match error {
            Yaml::AliasError { error, .. } => error.as_ref(),
            error => error,
        };
        let message = match error {
            Yaml::SerdeUnknownField {
                field, expected, ..
            } => {
                text = field.clone();
                hint = Some(nearest(field, expected));
                format!("unknown key `{}`", shorten(field))
            }
            Yaml::SerdeUnknownVariant {
                variant, expected, ..
            } => {
                text = variant.clone();
                hint = Some(nearest(variant, expected));
                format!("unknown value `{}`", shorten(variant))
            }
            Yaml::SerdeMissingField { field, .. } => {
                hint = Some(format!("add `{field}:`"));
                format!("the key `{field}` is missing")
            }
            Yaml::DuplicateMappingKey { key, .. } => {
                text = key.clone().unwrap_or_default();
                hint = Some("keep one of the two".into());
                format!("the key `{}` is given twice", shorten(&text))
            }
            Yaml::SerdeInvalidType {
                unexpected,
                expected,
                ..
            } => {
                format!(
                    "found {}, where {expected} is expected",
                    shorten(unexpected)
                )
            }
            Yaml::SerdeInvalidValue {
                unexpected,
                expected,
                ..
            } => {
                format!(
                    "found {}, where {expected} is expected",
                    shorten(unexpected)
                )
            }
            Yaml::InvalidScalar { ty, .. } => said(plain::scalar(ty), &mut hint),
            Yaml::InvalidBooleanStrict { .. } => said(plain::scalar("bool"), &mut hint),
            Yaml::NullIntoString { .. } => said(plain::nothing(), &mut hint),
            Yaml::Unexpected { expected, .. } => said(plain::event(expected), &mut hint),
            Yaml::Budget { .. }
            | Yaml::AliasReplayLimitExceeded { .. }
            | Yaml::AliasExpansionLimitExceeded { .. } => {
                hint = Some("write it out, or move parts into files of their own".into());
                "the document is nested too deeply, or repeats too much".into()
            }
            Yaml::Eof { .. } => "the document ends too early, or is empty".into(),
            other => {
                let message = other.to_string();
                if let Some(open) = plain::open_quote(document, position) {
                    position = open;
                    text = excerpt(document, open);
                    hint = Some("close it on this line".into());
                    "a quote is opened here and not closed".into()
                } else if let Some(words) = plain::syntax(&message) {
                    said(words, &mut hint)
                } else {
                    first_line(&message)
                }
            }
        };
        if position.line == 0 {
            position = Position {
                line: 1,
                column: 1,
                length: 1,
            };
        }
        if text.is_empty() {
            text = excerpt(document, position);
        }
        position.length = u32::try_from(text.chars().count())
            .unwrap_or(u32::MAX)
            .max(1);
        Error {
            position,
            text: shorten(&text),
            message,
            hint,
        }
    }
}

/// The message of plain words; their hint goes where hints are kept.
fn said(words: (String, Option<&'static str>), hint: &mut Option<String>) -> String {
    let (message, advice) = words;
    *hint = advice.map(str::to_owned);
    message
}

/// The word of `document` at `position`, for errors that do not carry the text themselves.
fn excerpt(document: &str, position: Position) -> String {
    let line = document
        .lines()
        .nth(position.line.saturating_sub(1) as usize)
        .unwrap_or("");
    let rest = line
        .chars()
        .skip(position.column.saturating_sub(1) as usize)
        .take(80);
    let word: String = rest
        .take_while(|&c| !matches!(c, '#' | ',' | ']' | '}'))
        .collect();
    word.trim_end().to_owned()
}

/// At most 60 characters of something that may be long or hold control characters.
pub fn shorten(text: &str) -> String {
    let clean: String = printable(text).chars().take(61).collect();
    if clean.chars().count() > 60 {
        clean.chars().take(59).chain(['…']).collect()
    } else {
        clean
    }
}

/// The message of an error without the position that we print ourselves.
fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or("").trim();
    let line = line.split(" at line ").next().unwrap_or(line);
    let line = line
        .split(": line ")
        .next()
        .unwrap_or(line)
        .trim_end_matches(['.', ':', ' ']);
    let mut letters = shorten_to(line, 200).chars().collect::<Vec<_>>();
    // Lower-case fragment, but leave abbreviations ("YAML …") alone.
    if letters.get(1).is_some_and(|c| c.is_lowercase())
        && let Some(first) = letters.first_mut()
    {
        *first = first.to_ascii_lowercase();
    }
    letters.into_iter().collect()
}

fn shorten_to(text: &str, limit: usize) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(limit)
        .collect()
}

/// "did you mean …" or the list of what is known.
pub fn nearest<S: AsRef<str>>(word: &str, known: &[S]) -> String {
    if let Some(meant) = plain::synonym(word, known) {
        return format!("`{meant}` is what it is called here");
    }
    let folded = |text: &str| text.to_lowercase().replace(['-', ' '], "_");
    let wanted: Vec<char> = folded(word).chars().take(40).collect();
    let best = known
        .iter()
        .map(|candidate| {
            (
                distance(
                    &wanted,
                    &folded(candidate.as_ref()).chars().collect::<Vec<_>>(),
                ),
                candidate.as_ref(),
            )
        })
        .min();
    match best {
        Some((distance, candidate))
            if distance <= wanted.len().max(3) / 3 + usize::from(wanted.len() > 3) =>
        {
            format!("did you mean `{candidate}`?")
        }
        Some(_) => {
            let list: Vec<_> = known
                .iter()
                .map(|name| format!("`{}`", name.as_ref()))
                .collect();
            format!("known here: {}", list.join(", "))
        }
        None => "nothing is known here".into(),
    }
}

/// Levenshtein's edit distance of two short words.
fn distance(one: &[char], other: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Document {
        name: Located<String>,
        #[serde(default)]
        list: Vec<Located<u8>>,
    }

    #[test]
    fn values_know_where_they_stand() {
        let document: Document = parse("# comment\nname: \"é x\"\nlist: [1, 22]\n").unwrap();
        assert_eq!(
            document.name.position,
            Position {
                line: 2,
                column: 7,
                length: 5
            }
        );
        assert_eq!(
            document.list[1].position,
            Position {
                line: 3,
                column: 11,
                length: 2
            }
        );
        let document: Document = parse("name: &a x\nlist: []").unwrap();
        assert_eq!(document.name.value, "x");
    }

    #[test]
    fn complaints_point_and_help() {
        let error = parse::<Document>("name: x\nlits: [1]\n").unwrap_err();
        assert_eq!(
            (
                error.position.line,
                error.position.column,
                error.text.as_str()
            ),
            (2, 1, "lits")
        );
        assert_eq!(error.hint.as_deref(), Some("did you mean `list`?"));
        let error = parse::<Document>("name: x\nlist: [1, 300]\n").unwrap_err();
        assert_eq!(
            (
                error.position.line,
                error.position.column,
                error.text.as_str()
            ),
            (2, 11, "300")
        );
        let error = parse::<Document>("list: []\n").unwrap_err();
        assert_eq!(error.message, "the key `name` is missing");
        let error = parse::<Document>("name: a\nname: b\n").unwrap_err();
        assert_eq!(
            (error.position.line, error.message.as_str()),
            (2, "the key `name` is given twice")
        );
    }

    #[test]
    fn hostile_documents_end_early() {
        let mut bomb = String::from("name: x\nlist: []\na0: &a0 [x,x,x,x,x,x,x,x,x]\n");
        for i in 1..20 {
            let items = vec![format!("*a{}", i - 1); 9].join(",");
            bomb.push_str(&format!("a{i}: &a{i} [{items}]\n"));
        }
        assert!(parse::<serde_json::Value>(&bomb).is_err());
        assert!(parse::<serde_json::Value>(&"[".repeat(100_000)).is_err());
        assert!(parse::<serde_json::Value>(&"- ".repeat(100_000)).is_err());
        let deep: String = (0..2000)
            .map(|i| format!("{}a:\n", " ".repeat(i)))
            .collect();
        assert!(parse::<serde_json::Value>(&deep).is_err());
        let error = parse::<serde_json::Value>(&"#".repeat(100 << 20)).unwrap_err();
        assert!(error.message.contains("16777216"), "{error}");
    }
}
