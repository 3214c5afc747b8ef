//! How documents with lists of ranges are written.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

/// JSON with every member of an object on a line, and every list of plain values, such as a range, on one: two documents
/// can be compared with `diff`. Members are in the order of their names.
pub(crate) fn to_json(document: &impl Serialize) -> String {
    let value = serde_json::to_value(document).expect("only string keys and finite numbers");
    let mut text = String::new();
    put(&value, 0, &mut text);
    text.push('\n');
    text
}

fn put(value: &Value, depth: usize, text: &mut String) {
    let is_plain = |value: &Value| !value.is_object() && !value.is_array();
    match value {
        Value::Object(members) if !members.is_empty() => {
            let members = members
                .iter()
                .map(|(name, value)| (Some(name.as_str()), value));
            list(members, ['{', '}'], depth, text);
        }
        Value::Array(values) if !values.iter().all(is_plain) => {
            list(
                values.iter().map(|value| (None, value)),
                ['[', ']'],
                depth,
                text,
            );
        }
        value => write!(text, "{value}").expect("writing to a String cannot fail"),
    }
}

fn list<'a>(
    members: impl Iterator<Item = (Option<&'a str>, &'a Value)>,
    [open, close]: [char; 2],
    depth: usize,
    text: &mut String,
) {
    text.push(open);
    for (index, (name, value)) in members.enumerate() {
        text.push_str(if index == 0 { "\n" } else { ",\n" });
        text.push_str(&"  ".repeat(depth + 1));
        if let Some(name) = name {
            write!(text, "{}: ", Value::from(name)).expect("writing to a String cannot fail");
        }
        put(value, depth + 1, text);
    }
    text.push('\n');
    text.push_str(&"  ".repeat(depth));
    text.push(close);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_lines() {
        let value = serde_json::json!({ "b": [["data", 1, "\"x"], ["zero", 2]], "a": {}, "c": [] });
        let text = to_json(&value);
        assert_eq!(
            text,
            "{\n  \"a\": {},\n  \"b\": [\n    [\"data\",1,\"\\\"x\"],\n    [\"zero\",2]\n  ],\n  \"c\": []\n}\n"
        );
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
