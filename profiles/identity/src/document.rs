//! Writing YAML that every reader understands alike.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::Value;

/// As YAML. Strings that YAML 1.1 readers (cloud-init, Go) take for something else are quoted: `on`, `012`, `1:30`.
/// Lines are never folded, so that keys and addresses can be searched for.
pub(crate) fn yaml(value: &impl Serialize) -> String {
    let options =
        serde_saphyr::ser_options! { folded_wrap_chars: 1 << 20, compact_list_indent: false };
    serde_saphyr::to_string_with_options(value, options)
        .expect("our documents have text keys and finite numbers")
}

/// JSON data with mappings in the order of their keys, whatever serde_json was compiled to do.
pub(crate) struct Sorted<'a>(pub(crate) &'a Value);

impl Serialize for Sorted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(map) => {
                let sorted: BTreeMap<&str, Sorted<'_>> = map
                    .iter()
                    .map(|(key, value)| (key.as_str(), Sorted(value)))
                    .collect();
                serializer.collect_map(sorted)
            }
            Value::Array(list) => serializer.collect_seq(list.iter().map(Sorted)),
            other => other.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn strings_stay_strings() {
        for trap in [
            "on",
            "no",
            "null",
            "~",
            "012",
            "0x1f",
            "1_000",
            "1:30",
            "1e3",
            ".5",
            "=",
            "<<",
            "2026-11-20",
            "",
            " a",
            "a: b",
            "- x",
            "#x",
            "é",
            "a\nb\n",
            "\u{7f}",
            "{{ x }}",
            "%y",
            "@a",
            "`b`",
            "!t",
            "&a",
            "*a",
            "|",
            ">",
            "'",
            "\"",
        ] {
            let text = yaml(&Sorted(&json!({ trap: [trap] })));
            let back: Value = prejoin_profiles::yaml::parse(&text).expect(&text);
            assert_eq!(back, json!({ trap: [trap] }), "{text}");
        }
    }

    #[test]
    fn long_lines_are_not_folded() {
        let key = format!("ssh-rsa {} someone at home", "A".repeat(700));
        assert_eq!(yaml(&json!({ "key": key })), format!("key: {key}\n"));
    }
}
