//! What debhelper wrote into a script, recognised by the digest of its lines once the words that differ from package
//! to package are taken out.

use std::collections::BTreeSet;

use prejoin_profiles::scripts::Snippet;
use prejoin_wire::digest::Digest;

const BEGIN: &str = "# Automatically added by ";
const END: &str = "# End automatically added section";

/// A recognised snippet and its variable parts, each once.
pub(super) struct Found<'t> {
    pub(super) tool: &'t str,
    pub(super) snippet: &'t Snippet,
    pub(super) words: Vec<String>,
}

/// Takes the snippets that match a template out of `text`; everything else, unknown snippets included, is left.
pub(super) fn take<'t>(text: &str, templates: &'t [Snippet]) -> (Vec<Found<'t>>, String) {
    let (mut found, mut left) = (Vec::new(), String::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.trim().strip_prefix(BEGIN) else {
            left.push_str(line);
            left.push('\n');
            continue;
        };
        let rest = lines.clone();
        let body: Vec<&str> = lines
            .by_ref()
            .take_while(|line| line.trim() != END)
            .collect();
        let tool = name.split('/').next().unwrap_or_default();
        match templates
            .iter()
            .find_map(|snippet| fit(snippet, tool, &body))
        {
            Some(snippet) => found.push(snippet),
            None => {
                // Not ours to judge: the body stays and lands in the digest.
                left.push_str(line);
                left.push('\n');
                lines = rest;
            }
        }
    }
    (found, left)
}

/// The generated parts of a script: the program that wrote each, and its lines.
pub(super) fn sections(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut sections = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.trim().strip_prefix(BEGIN) else {
            continue;
        };
        let body = lines.by_ref().take_while(|line| line.trim() != END);
        let tool = name.split('/').next().unwrap_or_default();
        sections.push((tool, body.collect()));
    }
    sections
}

fn fit<'t>(snippet: &'t Snippet, tool: &str, body: &[&str]) -> Option<Found<'t>> {
    let tool = snippet.tools.iter().find(|candidate| *candidate == tool)?;
    let mut words = Vec::new();
    let (mut text, mut last, mut number) = (String::new(), String::new(), 0);
    for line in logical(body.iter().copied()) {
        if snippet.repeats.contains(&number)
            && let Some((again, found)) = general(&line, number, snippet)
            && again == last
        {
            words.extend(found);
            continue;
        }
        number += 1;
        let (line, found) = general(&line, number, snippet)?;
        words.extend(found);
        text.push_str(&line);
        last = line;
    }
    let mut seen = BTreeSet::new();
    words.retain(|word| seen.insert(word.clone()));
    (Digest::of(text.as_bytes()) == snippet.digest).then_some(Found {
        tool,
        snippet,
        words,
    })
}

/// Lines without comments and blank ones; a backslash at the end joins the next.
pub(super) fn logical<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut logical: Vec<String> = Vec::new();
    let mut open = false;
    for line in lines
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let line = line.replace("${DPKG_ROOT:-}", "$DPKG_ROOT");
        let (text, continues) = line
            .strip_suffix('\\')
            .map_or((line.as_str(), false), |text| (text.trim_end(), true));
        match logical.last_mut() {
            Some(last) if open => {
                last.push(' ');
                last.push_str(text);
            }
            _ => logical.push(text.to_owned()),
        }
        open = continues;
    }
    logical
}

/// Line `number` of a snippet with `{}` where words differ, as it is hashed, and those words. None, if something else
/// than plain words stands there.
fn general(text: &str, number: usize, snippet: &Snippet) -> Option<(String, Vec<String>)> {
    let slot_at = |place| {
        let mut slots = snippet.words.iter();
        slots.find(|slot| slot.line == number && slot.word == place)
    };
    let mut text = tokens(text).peekable();
    let (mut line, mut words, mut place) = (String::new(), Vec::new(), 0);
    while let Some(word) = text.next() {
        place += 1;
        if place > 1 {
            line.push(' ');
        }
        let Some(slot) = slot_at(place) else {
            line.push_str(word);
            continue;
        };
        let end = word.len().checked_sub(slot.after)?;
        let inside = word.get(slot.before..end).filter(|word| plain(word))?;
        words.push(inside);
        while slot.more
            && let Some(word) = text.next_if(|word| plain(word))
        {
            words.push(word);
        }
        line.push_str(&word[..slot.before]);
        line.push_str("{}");
        line.push_str(&word[end..]);
    }
    line.push('\n');
    let bare = |word: &str| word.trim_matches('\'').to_owned();
    Some((line, words.into_iter().map(bare).collect()))
}

/// Words, with a semicolon at the end of one as a word of its own.
pub(super) fn tokens(line: &str) -> impl Iterator<Item = &str> {
    line.split_whitespace()
        .flat_map(|word| match word.strip_suffix(';') {
            Some(word) => [word, ";"],
            None => [word, ""],
        })
        .filter(|word| !word.is_empty())
}

/// A word without characters that the shell would act upon.
fn plain(word: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"@%._:+~/=,\\'-".contains(&byte);
    !word.is_empty() && word != "--" && word.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use prejoin_profiles::scripts::Slot;

    use super::*;

    /// A snippet of these lines, in the form that is hashed, with these words that differ.
    fn template(text: &str, words: &[(usize, usize)], repeats: &[usize]) -> Vec<Snippet> {
        let slot = |&(line, word): &(usize, usize)| Slot {
            line,
            word,
            more: true,
            ..Slot::default()
        };
        vec![Snippet {
            tools: vec!["dh_x".into()],
            rules: vec![],
            why: "test".into(),
            words: words.iter().map(slot).collect(),
            repeats: repeats.to_vec(),
            digest: Digest::of(text.as_bytes()),
        }]
    }

    #[test]
    fn a_snippet_is_matched_line_by_line() {
        let templates = template("if true ; then\nenable {} >/dev/null\nfi\n", &[(2, 2)], &[]);
        let script = "a\n# Automatically added by dh_x/13.1\n# why\nif true; then\n\tenable 'b.service' c >/dev/null\nfi\n\
                      # End automatically added section\nd\n";
        let (found, left) = take(script, &templates);
        assert_eq!(left, "a\nd\n");
        assert_eq!(found[0].words, ["b.service", "c"]);
        for change in [
            "enable $(rm) >/dev/null",
            "enable b; rm >/dev/null",
            "enable b >/dev/null\nrm",
            "enable >/dev/null",
        ] {
            let script = script.replace("enable 'b.service' c >/dev/null", change);
            let (found, left) = take(&script, &templates);
            assert!(found.is_empty() && left == script, "{change}");
        }
    }

    #[test]
    fn repeated_lines_and_continuations() {
        let templates = template("helper {} -- \"$@\"\n", &[(1, 2)], &[1]);
        let script = "# Automatically added by dh_x/13\nhelper a 1\\~ -- \"$@\"\nhelper \\\n b -- \"$@\"\n# End automatically added section\n";
        let (found, left) = take(script, &templates);
        assert_eq!((left.as_str(), found[0].words.len()), ("", 3));
    }
}
