//! The line `id:` in a cluster file that somebody wrote.

use serde::Deserialize;

use crate::yaml::{self, Located};
use uuid::Uuid;

/// What is said of the line where it stands.
const ABOUT: &str = "# this cluster's alone: its nodes know their disks by it";

/// The text of a cluster file with a line `id:` below its `name:` and no other change; nothing where such a line would
/// not say just that, as in a mapping in braces.
pub fn with_id(text: &str, id: &Uuid) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        name: Located<String>,
    }
    let named: Named = yaml::parse(text).ok()?;
    let above = usize::try_from(named.name.position.line).ok()?;
    let mut lines = text.split_inclusive('\n');
    let name = lines.clone().nth(above.checked_sub(1)?)?;
    let at: usize = lines.by_ref().take(above).map(str::len).sum();
    let indent = &name[..name.len() - name.trim_start_matches(' ').len()];
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let before = if name.ends_with('\n') { "" } else { end };
    let edited = format!(
        "{}{before}{indent}id: {id} {ABOUT}{end}{}",
        &text[..at],
        &text[at..]
    );
    says_the_same_but_for_the_id(text, &edited, id).then_some(edited)
}

/// The parser is asked, not the eye: an anchor, a text of several lines, a second `name` further in.
fn says_the_same_but_for_the_id(text: &str, edited: &str, id: &Uuid) -> bool {
    type Mapping = serde_json::Map<String, serde_json::Value>;
    let (Ok(before), Ok(mut after)) =
        (yaml::parse::<Mapping>(text), yaml::parse::<Mapping>(edited))
    else {
        return false;
    };
    let written = after.remove("id");
    written == Some(serde_json::Value::String(id.to_string())) && before == after
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> Uuid {
        Uuid::from_bytes([7; 16])
    }

    fn line() -> String {
        format!("id: {} {ABOUT}", id())
    }

    #[test]
    fn the_line_is_put_below_the_name_and_nothing_else_is_touched() {
        let line = line();
        for (text, expected) in [
            ("name: lab\nos: x\n", format!("name: lab\n{line}\nos: x\n")),
            (
                "# mine\n---\nos: x\n\n\"name\": lab   # the lab\n\nnodes: [{name: a}] # one\n",
                format!(
                    "# mine\n---\nos: x\n\n\"name\": lab   # the lab\n{line}\n\nnodes: [{{name: a}}] # one\n"
                ),
            ),
            (
                "os: x\r\nname: lab\r\n",
                format!("os: x\r\nname: lab\r\n{line}\r\n"),
            ),
            (
                "nodes:\n- name: a\nname: lab",
                format!("nodes:\n- name: a\nname: lab\n{line}\n"),
            ),
            (
                "  name: lab\n  os: x\n",
                format!("  name: lab\n  {line}\n  os: x\n"),
            ),
        ] {
            assert_eq!(with_id(text, &id()).as_deref(), Some(expected.as_str()));
        }
    }

    #[test]
    fn what_cannot_be_edited_safely_is_left_alone() {
        for text in [
            "",
            "name: [lab]\n",
            "{ name: lab, os: x }\n",
            "{\n  name: lab,\n  os: x\n}\n",
            "name:\n  lab\nos: x\n",
            "name: >-\n  lab\nos: x\n",
            "name: lab\nid: 00000000-0000-0000-0000-000000000000\n",
            "not: yaml: at all\n",
        ] {
            if let Some(edited) = with_id(text, &id()) {
                panic!("{text:?} was made {edited:?}");
            }
        }
    }
}
