//! sysusers.d(5): what packages say about the system users and groups they need.

use super::Cause;

/// One line of a sysusers.d file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// `g`: a group.
    Group {
        /// Name.
        name: String,
        /// Number, when the package says it.
        id: Option<u32>,
    },
    /// `u`, `u!`: a user, and a group of the same name unless `group` is another one.
    User {
        /// Name.
        name: String,
        /// Number, when the package says it.
        id: Option<u32>,
        /// Primary group, by name or number.
        group: Option<String>,
        /// Full name.
        gecos: String,
        /// Home directory.
        home: String,
        /// Login shell.
        shell: String,
        /// `u!`: expired, so that no login is possible at all.
        locked: bool,
    },
    /// `m`: a user is a member of a group; both are made when missing.
    Member {
        /// The user.
        user: String,
        /// The group.
        group: String,
    },
}

/// Reads one line; none when it is empty, a comment or says nothing that matters here (`r`, a range of numbers).
pub(super) fn parse(text: &str) -> Result<Option<Line>, String> {
    if text.trim_start().starts_with('#') {
        return Ok(None);
    }
    let words = words(text)?;
    if let Some(word) = words.iter().find(|word| word.contains('%')) {
        return Err(format!(
            "`{word}` has a specifier, which only a running system can fill in"
        ));
    }
    let word = |index: usize| {
        words
            .get(index)
            .map(String::as_str)
            .filter(|word| *word != "-")
    };
    let Some(kind) = word(0) else { return Ok(None) };
    if kind.trim_end_matches('!') == "r" {
        return Ok(None);
    }
    let name = word(1)
        .filter(|name| valid_name(name))
        .ok_or("has no valid name")?
        .to_owned();
    match kind {
        "g" => Ok(Some(Line::Group {
            name,
            id: word(2).map(number).transpose()?,
        })),
        "u" | "u!" => user(name, word, kind == "u!").map(Some),
        "m" => {
            let group = word(2)
                .filter(|name| valid_name(name))
                .ok_or("has no valid group")?
                .to_owned();
            Ok(Some(Line::Member { user: name, group }))
        }
        _ => Err(format!("is of unknown type `{kind}`")),
    }
}

/// Every line of a file, with the place in error messages.
pub(super) fn parse_file(path: &str, text: &str) -> Result<Vec<Line>, Cause> {
    let line = |(index, line): (usize, &str)| {
        parse(line)
            .map_err(|problem| Cause::Content {
                path: path.to_owned(),
                line: Some(index + 1),
                problem,
            })
            .transpose()
    };
    text.lines().enumerate().filter_map(line).collect()
}

fn user<'a>(
    name: String,
    word: impl Fn(usize) -> Option<&'a str>,
    locked: bool,
) -> Result<Line, String> {
    let (id, group) = match word(2).map(|id| {
        id.split_once(':')
            .map_or((id, None), |(id, group)| (id, Some(group)))
    }) {
        None => (None, None),
        Some(("-", group)) => (None, group.map(str::to_owned)),
        Some((id, group)) => (Some(number(id)?), group.map(str::to_owned)),
    };
    let field = |index, default: &str| word(index).unwrap_or(default).to_owned();
    let (gecos, home, shell) = (field(3, ""), field(4, "/"), field(5, "/usr/sbin/nologin"));
    if [&gecos, &home, &shell]
        .iter()
        .any(|field| field.contains([':', '\n']))
    {
        return Err("has a colon in a field of passwd(5)".into());
    }
    Ok(Line::User {
        name,
        id,
        group,
        gecos,
        home,
        shell,
        locked,
    })
}

fn number(text: &str) -> Result<u32, String> {
    // The two largest numbers mean "none" to the kernel (16 and 32 bit).
    match text.parse() {
        Ok(id) if id != u32::MAX && id != 0xffff => Ok(id),
        _ => Err(format!(
            "`{text}` is no number of a user or group (owners of files are not looked up)"
        )),
    }
}

/// As systemd's valid_user_group_name(): what every tool accepts.
fn valid_name(name: &str) -> bool {
    let first = name
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    first
        && name.len() <= 31
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// Splits at blanks; single and double quotes keep blanks together.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), close) if open == close => quote = None,
            (None, open @ ('"' | '\'')) => {
                quote = Some(open);
                word.get_or_insert_default();
            }
            (None, blank) if blank.is_ascii_whitespace() => words.extend(word.take()),
            (_, '\\') => match letters.next() {
                Some(escaped @ ('"' | '\'' | '\\' | ' ')) => {
                    word.get_or_insert_default().push(escaped)
                }
                _ => return Err("has an escape that is not understood".into()),
            },
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err("has a quote that does not end".into());
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_that_debian_uses() {
        let group = |name: &str, id| Line::Group {
            name: name.into(),
            id,
        };
        assert_eq!(
            parse("g adm        4     -").unwrap(),
            Some(group("adm", Some(4)))
        );
        assert_eq!(parse("g sgx  -").unwrap(), Some(group("sgx", None)));
        assert_eq!(parse("g kvm").unwrap(), Some(group("kvm", None)));
        let user = |text: &str| match parse(text).unwrap() {
            Some(Line::User {
                name,
                id,
                group,
                gecos,
                home,
                shell,
                locked,
            }) => {
                format!("{name} {id:?} {group:?} {gecos:?} {home} {shell} {locked}")
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(
            user("u sshd -:nogroup \"sshd user\" /run/sshd"),
            "sshd None Some(\"nogroup\") \"sshd user\" /run/sshd /usr/sbin/nologin false"
        );
        assert_eq!(
            user("u! systemd-network - \"systemd Network Management\""),
            "systemd-network None None \"systemd Network Management\" / /usr/sbin/nologin true"
        );
        assert_eq!(
            user("u games 5:60 - /usr/games"),
            "games Some(5) Some(\"60\") \"\" /usr/games /usr/sbin/nologin false"
        );
        assert_eq!(
            parse("m games adm").unwrap(),
            Some(Line::Member {
                user: "games".into(),
                group: "adm".into()
            })
        );
        for nothing in ["", "   ", "# u x", "r - 500-900"] {
            assert_eq!(parse(nothing).unwrap(), None, "{nothing}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in [
            "u",
            "g -",
            "x name",
            "u name /path/to/file",
            "g a 4294967295",
            "g a 65535",
            "u na:me 1",
            "u a 1 \"open",
            "u a 1 \"a:b\"",
            "u a - %H",
            "u a 1 \\x41",
            "g 4a",
            "m a",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        let error = parse_file("usr/lib/sysusers.d/a.conf", "# fine\ng ok 1\ng -\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`usr/lib/sysusers.d/a.conf`, line 3: has no valid name"
        );
    }
}
