//! What debhelper wrote into a script, matched against the templates of the table.

use std::collections::BTreeSet;

use prejoin_profiles::scripts::Snippet;

const BEGIN: &str = "# Automatically added by ";
const END: &str = "# End automatically added section";

/// `{configure}`: what debhelper's autoscripts for postinst begin with.
const CONFIGURE: &str = "if [ \"$1\" = \"configure\" ] || [ \"$1\" = \"abort-upgrade\" ] || [ \"$1\" = \"abort-deconfigure\" ] \
                         || [ \"$1\" = \"abort-remove\" ] ; then";

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

fn fit<'t>(snippet: &'t Snippet, tool: &str, body: &[&str]) -> Option<Found<'t>> {
    let tool = snippet.tools.iter().find(|candidate| *candidate == tool)?;
    let mut words = Vec::new();
    let lines = logical(body.iter().copied());
    let mut lines = lines.iter().peekable();
    for template in logical(snippet.text.lines()) {
        match template.strip_prefix("{repeat}") {
            None => line(&template, lines.next()?, &mut words)?,
            Some(template) => {
                while lines
                    .next_if(|candidate| line(template, candidate, &mut words).is_some())
                    .is_some()
                {}
            }
        }
    }
    let mut seen = BTreeSet::new();
    words.retain(|word| seen.insert(word.clone()));
    lines.next().is_none().then_some(Found {
        tool,
        snippet,
        words,
    })
}

/// Lines without comments and blank ones; a backslash at the end joins the next.
fn logical<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut logical: Vec<String> = Vec::new();
    let mut open = false;
    for line in lines
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let line = line
            .replace("{configure}", CONFIGURE)
            .replace("${DPKG_ROOT:-}", "$DPKG_ROOT");
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

/// Matches one line, word by word, and collects what the variables stand for.
fn line(template: &str, text: &str, words: &mut Vec<String>) -> Option<()> {
    let mut text = tokens(text).peekable();
    let mut found = Vec::new();
    for part in tokens(template) {
        let (before, after, many) = match (part.split_once("{words}"), part.split_once("{word}")) {
            (Some((before, after)), _) => (before, after, true),
            (None, Some((before, after))) => (before, after, false),
            (None, None) => {
                if text.next()? != part {
                    return None;
                }
                continue;
            }
        };
        let inside = |word: &'_ str| {
            word.strip_prefix(before)?
                .strip_suffix(after)
                .filter(|word| plain(word))
                .map(str::to_owned)
        };
        found.push(inside(text.next()?)?);
        while many && text.peek().is_some_and(|word| plain(word)) {
            found.extend(text.next().map(str::to_owned));
        }
    }
    if text.next().is_some() {
        return None;
    }
    words.extend(
        found
            .into_iter()
            .map(|word| word.trim_matches('\'').to_owned()),
    );
    Some(())
}

/// Words, with a semicolon at the end of one as a word of its own.
fn tokens(line: &str) -> impl Iterator<Item = &str> {
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
    use super::*;

    fn template(text: &str) -> Vec<Snippet> {
        vec![Snippet {
            tools: vec!["dh_x".into()],
            rules: vec![],
            why: "test".into(),
            text: text.into(),
        }]
    }

    #[test]
    fn a_snippet_is_matched_line_by_line() {
        let templates = template("if true; then\n  enable {words} >/dev/null\nfi\n");
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
        let templates = template("{repeat}helper {words} -- \"$@\"\n");
        let script = "# Automatically added by dh_x/13\nhelper a 1\\~ -- \"$@\"\nhelper \\\n b -- \"$@\"\n# End automatically added section\n";
        let (found, left) = take(script, &templates);
        assert_eq!((left.as_str(), found[0].words.len()), ("", 3));
    }
}
