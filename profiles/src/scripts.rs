//! What is known of a distribution's maintainer scripts: the data files under `scripts/`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::yaml;
use prejoin_wire::digest::Digest;

/// The tables that come with the program, by name of the operating system's base (`debian-13`).
pub const BUILT_IN: [(&str, &str); 1] = [("debian-13", include_str!("../scripts/debian-13.yaml"))];

/// What is known of a distribution's scripts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// What debhelper's programs write into scripts, between `# Automatically added by <program>` marks.
    pub snippets: Vec<Snippet>,
    /// Triggers that packages activate in others, and what becomes of each.
    pub triggers: BTreeMap<String, Trigger>,
    /// The rest of a script once known snippets and what has no effect are taken out.
    pub scripts: Vec<Script>,
}

/// A generated piece of a script.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snippet {
    /// The programs that write it.
    pub tools: Vec<String>,
    /// The fix-ups that do it, `F01` to `F22`; none when nothing need be done.
    #[serde(default)]
    pub rules: Vec<String>,
    /// Why nothing need be done, or how the rules do it.
    pub why: String,
    /// Where words stand that differ from package to package.
    #[serde(default)]
    pub words: Vec<Slot>,
    /// Numbers of lines that may stand there several times, with other words.
    #[serde(default)]
    pub repeats: Vec<usize>,
    /// SHA-256 of its lines without comments and indentation, one blank between words, and `{}` for a differing word
    /// or several in a row.
    pub digest: Digest,
}

/// Where in a snippet words stand that differ from package to package, none of them with characters that the shell
/// would act upon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    /// The line, from 1, comments and continuations not counted.
    pub line: usize,
    /// The word in it, from 1; a semicolon at a word's end is a word of its own.
    pub word: usize,
    /// Whether further words may follow.
    #[serde(default)]
    pub more: bool,
    /// Bytes before the part of the word that differs.
    #[serde(default)]
    pub before: usize,
    /// Bytes after it.
    #[serde(default)]
    pub after: usize,
}

/// A trigger that a package activates.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// The fix-ups that do what the trigger starts; none when nothing need be done.
    #[serde(default)]
    pub rules: Vec<String>,
    /// Why nothing need be done, or how the rules do it.
    pub why: String,
}

/// One hand-written script of one package, in all versions that were read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// `package/script`; a `*` in the package's name stands for a kernel version.
    pub script: String,
    /// The fix-ups that do it, `F01` to `F22`; none when nothing need be done.
    #[serde(default)]
    pub rules: Vec<String>,
    /// Why nothing need be done, or how the rules do it.
    pub why: String,
    /// SHA-256 of the normalised bodies that were read.
    pub digests: Vec<Digest>,
}

impl Table {
    /// Reads a table.
    pub fn parse(text: &str) -> Result<Table, yaml::Error> {
        yaml::parse(text)
    }

    /// The table for the operating system called `name`, empty when there is none.
    ///
    /// # Panics
    /// If a built-in table is malformed, which a test rules out.
    pub fn built_in(name: &str) -> Table {
        let text = BUILT_IN
            .iter()
            .find(|(table, _)| *table == name)
            .map(|(_, text)| *text);
        text.map(|text| Table::parse(text).expect("a test reads every built-in table"))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_tables_are_well_formed_and_give_reasons() {
        for (name, text) in BUILT_IN {
            let table = Table::parse(text)
                .unwrap_or_else(|error| panic!("{name}: {error} at {:?}", error.position));
            let snippets = table
                .snippets
                .iter()
                .map(|snippet| (&snippet.rules, &snippet.why));
            let triggers = table
                .triggers
                .values()
                .map(|trigger| (&trigger.rules, &trigger.why));
            let scripts = table
                .scripts
                .iter()
                .map(|script| (&script.rules, &script.why));
            for (rules, why) in snippets.chain(triggers).chain(scripts) {
                assert!(why.len() > 8, "{name}: {why}");
                let known = |rule: &String| (1..=22).any(|number| *rule == format!("F{number:02}"));
                assert!(rules.iter().all(known), "{name}: {rules:?}");
            }
            let names: Vec<_> = table.scripts.iter().map(|script| &script.script).collect();
            assert!(
                names.is_sorted_by(|a, b| a < b),
                "{name}: scripts are sorted and listed once"
            );
        }
    }
}
