//! Control files: stanzas of fields, as in `Packages`, `Release` and `*.sources` (deb822(5), Debian Policy 5.1).
//!
//! Nothing is copied: a [`Stanza`] borrows the text and looks its fields up when asked. `Packages` of a Debian suite
//! is 56 MB of 69 000 stanzas, and a resolver wants five fields of two hundred of them.

use std::iter;

/// One stanza, borrowed. A field's lines are kept as they stand, folded lines included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stanza<'a> {
    text: &'a str,
}

impl<'a> Stanza<'a> {
    /// The only stanza of `text`.
    pub fn only(text: &'a str) -> Result<Self, ControlError> {
        let mut all = stanzas(text);
        let stanza = all.next().ok_or(ControlError::Empty)?;
        if all.next().is_some() {
            return Err(ControlError::Several);
        }
        stanza.check()?;
        Ok(stanza)
    }

    /// A stanza that is already cut out of its file.
    pub fn new(text: &'a str) -> Self {
        Stanza { text }
    }

    /// Its text without the empty line that ends it.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// Value of a field, without white space around it, folded lines included. Names are compared without case
    /// (Policy 5.1); of a field that stands twice the first counts, as in apt.
    pub fn field(&self, name: &str) -> Option<&'a str> {
        self.fields()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// All fields in order. Lines that are no fields are passed over: [`Stanza::check`] names them.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut rest = self.text;
        iter::from_fn(move || {
            while !rest.is_empty() {
                let field = &rest[..field_end(rest)];
                rest = &rest[field.len()..];
                if let Some((name, value)) = field
                    .split_once(':')
                    .filter(|(name, _)| is_field_name(name))
                {
                    return Some((name, value.trim()));
                }
            }
            None
        })
    }

    /// Refuses a stanza with a line that is neither a field nor the continuation of one, or with a field twice.
    pub fn check(&self) -> Result<(), ControlError> {
        let mut names: Vec<String> = Vec::new();
        let mut rest = self.text;
        while !rest.is_empty() {
            let field = &rest[..field_end(rest)];
            rest = &rest[field.len()..];
            let name = field
                .split_once(':')
                .map(|(name, _)| name)
                .filter(|name| is_field_name(name));
            let Some(name) = name else {
                return Err(ControlError::Line {
                    line: shorten(field),
                });
            };
            let name = name.to_ascii_lowercase();
            if names.contains(&name) {
                return Err(ControlError::Twice { field: name });
            }
            names.push(name);
        }
        Ok(())
    }
}

/// The stanzas of a file: runs of lines between empty ones.
pub fn stanzas(text: &str) -> impl Iterator<Item = Stanza<'_>> {
    let mut rest = text;
    iter::from_fn(move || {
        rest = rest.trim_start_matches(['\n', '\r']);
        if rest.is_empty() {
            return None;
        }
        let end = rest.find("\n\n").map_or(rest.len(), |at| at + 1);
        let stanza = Stanza { text: &rest[..end] };
        rest = &rest[end..];
        Some(stanza)
    })
}

/// Why text is no control file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// No stanza.
    #[error("nothing in it")]
    Empty,
    /// More than the one stanza that may be there.
    #[error("more than one stanza")]
    Several,
    /// A line that is no field.
    #[error("`{line}` is not a field (`Name: value`)")]
    Line {
        /// The line, shortened.
        line: String,
    },
    /// A field that stands twice.
    #[error("field `{field}` stands twice")]
    Twice {
        /// Its name in lower case.
        field: String,
    },
}

/// Length of the first field of `text` with its folded lines, which begin with white space.
pub(crate) fn field_end(text: &str) -> usize {
    let mut end = 0;
    while let Some(at) = text[end..].find('\n') {
        end += at + 1;
        if !text[end..].starts_with([' ', '\t']) {
            return end;
        }
    }
    text.len()
}

/// Policy 5.1: printable ASCII without space and colon, not beginning with `#` or `-`.
fn is_field_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(['#', '-'])
        && name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// At most 80 characters of the first line, for an error message.
pub(crate) fn shorten(text: &str) -> String {
    text.lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(80)
        .filter(|c| !c.is_control())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "Package: a\nDescription: one\n two\n .\n three\nSize:  7 \n\n\nPackage: b\n";

    #[test]
    fn stanzas_fields_and_folded_lines() {
        let all: Vec<_> = stanzas(TWO).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].field("description"), Some("one\n two\n .\n three"));
        assert_eq!(all[0].field("Size"), Some("7"));
        assert_eq!(all[0].field("Siz"), None);
        assert_eq!(all[1].fields().collect::<Vec<_>>(), [("Package", "b")]);
    }

    #[test]
    fn what_is_not_a_field_is_named() {
        assert_eq!(
            Stanza::only("A: 1\nB 2\n"),
            Err(ControlError::Line { line: "B 2".into() })
        );
        assert_eq!(
            Stanza::only(" A: 1\n"),
            Err(ControlError::Line {
                line: " A: 1".into()
            })
        );
        assert_eq!(
            Stanza::only("A: 1\na: 2\n"),
            Err(ControlError::Twice { field: "a".into() })
        );
        assert_eq!(Stanza::only(TWO), Err(ControlError::Several));
        assert_eq!(Stanza::only("\n\n"), Err(ControlError::Empty));
    }
}
