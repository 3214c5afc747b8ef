//! Relationships between packages: `Depends`, `Provides`, `Conflicts` and their kin (Debian Policy 7.1).

use std::cmp::Ordering;
use std::fmt;

use crate::debian::control::shorten;
use crate::debian::version;

/// One alternative: `name:qualifier (operator version) [architectures] <profiles>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relation<'a> {
    /// Package name.
    pub name: &'a str,
    /// Architecture qualifier: `any`, `native` or an architecture.
    pub qualifier: Option<&'a str>,
    /// Versions that will do; all when missing.
    pub constraint: Option<Constraint<'a>>,
    /// Inside of `[...]`: architectures that the relationship is for, or with `!` not for.
    pub architectures: Option<&'a str>,
    /// From the first `<` to the last `>`: build profiles.
    pub profiles: Option<&'a str>,
}

/// `(operator version)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constraint<'a> {
    /// How versions are compared with [`Constraint::version`].
    pub operator: Operator,
    /// The version on the right.
    pub version: &'a str,
}

/// Comparison of versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`
    LaterOrEqual,
    /// `>>`
    Later,
}

/// Alternatives of which one is enough, in the order of preference; never empty.
pub type Group<'a> = Vec<Relation<'a>>;

impl<'a> Relation<'a> {
    /// Whether a package of exactly this version satisfies the constraint.
    pub fn accepts(&self, version: &str) -> bool {
        self.constraint
            .is_none_or(|constraint| constraint.accepts(version))
    }

    /// Whether the relationship is about packages of `architecture` at all.
    pub fn applies(&self, architecture: &str) -> bool {
        let foreign = !matches!(self.qualifier, None | Some("any" | "native"))
            && self.qualifier != Some(architecture);
        let listed = self.architectures.is_none_or(|list| {
            let (exclusions, names): (Vec<_>, Vec<_>) = list
                .split_whitespace()
                .partition(|name| name.starts_with('!'));
            let matches = |name: &str| name == architecture || name == "any" || name == "linux-any";
            match names.is_empty() {
                true => !exclusions.iter().any(|name| matches(&name[1..])),
                false => names.into_iter().any(matches),
            }
        });
        !foreign && listed
    }

    fn parse(text: &'a str) -> Result<Self, RelationError> {
        let error = || RelationError {
            text: shorten(text),
        };
        let end = text
            .find([' ', '\t', '\n', '(', '[', '<'])
            .unwrap_or(text.len());
        let (head, mut rest) = text.split_at(end);
        let (name, qualifier) = match head.split_once(':') {
            Some((name, qualifier)) => (name, Some(qualifier)),
            None => (head, None),
        };
        if !is_name(name) || qualifier.is_some_and(|q| !is_architecture(q)) {
            return Err(error());
        }
        let mut relation = Relation {
            name,
            qualifier,
            constraint: None,
            architectures: None,
            profiles: None,
        };
        loop {
            rest = rest.trim_start();
            let Some(open) = rest.chars().next() else {
                return Ok(relation);
            };
            let close = match open {
                '(' => rest.find(')'),
                '[' => rest.find(']'),
                '<' => rest.rfind('>'),
                _ => None,
            };
            let close = close.ok_or_else(error)?;
            let inside = rest[1..close].trim();
            match open {
                '(' if relation.constraint.is_none() => {
                    relation.constraint = Some(Constraint::parse(inside).ok_or_else(error)?);
                }
                '[' if relation.architectures.is_none() => relation.architectures = Some(inside),
                '<' => relation.profiles = Some(inside),
                _ => return Err(error()),
            }
            rest = &rest[close + 1..];
        }
    }
}

impl<'a> Constraint<'a> {
    /// Whether `version` lies in the wanted range.
    pub fn accepts(&self, version: &str) -> bool {
        let order = version::compare(version, self.version);
        match self.operator {
            Operator::Earlier => order == Ordering::Less,
            Operator::EarlierOrEqual => order != Ordering::Greater,
            Operator::Equal => order == Ordering::Equal,
            Operator::LaterOrEqual => order != Ordering::Less,
            Operator::Later => order == Ordering::Greater,
        }
    }

    fn parse(text: &'a str) -> Option<Self> {
        // `<` and `>` are obsolete and mean `<=` and `>=` (Policy 7.1).
        const OPERATORS: [(&str, Operator); 7] = [
            ("<<", Operator::Earlier),
            ("<=", Operator::EarlierOrEqual),
            (">=", Operator::LaterOrEqual),
            (">>", Operator::Later),
            ("=", Operator::Equal),
            ("<", Operator::EarlierOrEqual),
            (">", Operator::LaterOrEqual),
        ];
        let (sign, operator) = OPERATORS
            .into_iter()
            .find(|(sign, _)| text.starts_with(sign))?;
        let version = text[sign.len()..].trim();
        version::is_version(version).then_some(Constraint { operator, version })
    }
}

/// The groups of a relationship field, separated by commas. Empty groups are passed over, as in apt.
pub fn groups(field: &str) -> Result<Vec<Group<'_>>, RelationError> {
    let groups = field
        .split(',')
        .map(str::trim)
        .filter(|group| !group.is_empty());
    groups
        .map(|group| {
            group
                .split('|')
                .map(|alternative| Relation::parse(alternative.trim()))
                .collect()
        })
        .collect()
}

/// Whether `name` can be a package's name (Policy 5.6.1, with the upper case that some archives have).
pub fn is_name(name: &str) -> bool {
    name.len() >= 2
        && name.len() <= 200
        && name.as_bytes()[0].is_ascii_alphanumeric()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+.-_".contains(&byte))
}

fn is_architecture(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

impl fmt::Display for Relation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if let Some(qualifier) = self.qualifier {
            write!(f, ":{qualifier}")?;
        }
        match self.constraint {
            Some(Constraint { operator, version }) => write!(f, " ({operator} {version})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operator::Earlier => "<<",
            Operator::EarlierOrEqual => "<=",
            Operator::Equal => "=",
            Operator::LaterOrEqual => ">=",
            Operator::Later => ">>",
        })
    }
}

/// A group as it is written in a control file.
pub fn display(group: &[Relation<'_>]) -> String {
    group
        .iter()
        .map(Relation::to_string)
        .collect::<Vec<_>>()
        .join(" | ")
}

/// Text that is no relationship.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a relationship between packages (`name (>= version)`)")]
pub struct RelationError {
    /// The text, shortened.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_alternatives_and_everything_around_a_name() {
        let text = "libc6 (>= 2.38), python3:any, debconf (>= 0.5)|debconf-2.0,\n init [linux-any] <!nocheck>, a1(=1:2-3),";
        let groups = groups(text).unwrap();
        let shown: Vec<_> = groups.iter().map(|group| display(group)).collect();
        assert_eq!(
            shown,
            [
                "libc6 (>= 2.38)",
                "python3:any",
                "debconf (>= 0.5) | debconf-2.0",
                "init",
                "a1 (= 1:2-3)"
            ]
        );
        assert_eq!(groups[3][0].architectures, Some("linux-any"));
        assert_eq!(groups[3][0].profiles, Some("!nocheck"));
        assert!(groups[0][0].accepts("2.41-12") && !groups[0][0].accepts("2.36-9"));
        assert!(groups[1][0].applies("arm64"));
    }

    #[test]
    fn architectures_choose() {
        let applies = |text, architecture| groups(text).unwrap()[0][0].applies(architecture);
        assert!(applies("aa:amd64", "amd64") && !applies("aa:amd64", "arm64"));
        assert!(applies("aa [amd64 arm64]", "arm64") && !applies("aa [i386]", "arm64"));
        assert!(applies("aa [!i386]", "arm64") && !applies("aa [!arm64 !i386]", "arm64"));
    }

    #[test]
    fn rubbish_is_refused() {
        for text in [
            "a",
            "aa (",
            "aa ()",
            "aa (>= )",
            "aa (1)",
            "aa bb",
            "aa | ",
            "-aa",
            "aa (>= 1) (<< 2)",
            "aa/bb",
        ] {
            assert!(groups(text).is_err(), "{text}");
        }
    }
}
