//! Maintainer scripts: none is run, all are recognised.
//!
//! A script is taken apart into what debhelper generated (matched line by line against known templates, not merely
//! skipped by its marks), what has no effect, and the rest. The rest must be in a table that says, by digest, which
//! fix-up does the same or why nothing need be done. So a package update that brings a *new* action stops the build
//! instead of silently losing it.
//!
//! `prerm` and `postrm` do not run when a package is installed for the first time (Debian Policy 6.5 and 6.8), and an
//! image is never upgraded package by package: they need no answer.

mod generated;
mod normal;
mod snippet;

use std::fmt;

use prejoin_profiles::scripts::Table;
use prejoin_wire::digest::Digest;

pub use self::generated::{alternatives, units};
pub use self::normal::rest;
use crate::package::Package;

/// What becomes of one action of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Package name.
    pub package: String,
    /// `postinst`, `preinst`, `config`, `triggers`.
    pub script: String,
    /// What it is: a debhelper program, a trigger, or `script` for the rest of the body.
    pub action: String,
    /// The variable parts of a generated snippet: unit names, tmpfiles.d files, alternatives.
    pub words: Vec<String>,
    /// Fix-ups that do the same; empty when nothing need be done.
    pub rules: Vec<String>,
    /// The reason.
    pub why: String,
}

/// A script that nobody has read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// Package name.
    pub package: String,
    /// Its version.
    pub version: String,
    /// Script name.
    pub script: String,
    /// SHA-256 of [`rest`], that the table and the cluster file know it by.
    pub digest: Digest,
    /// The whole script.
    pub body: String,
    /// What is left of it without known snippets.
    pub left: String,
}

/// Scripts that were not recognised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", list(.0))]
pub struct Error(pub Vec<Unknown>);

impl Error {
    /// What the user can do: read the scripts, then accept them.
    pub fn hint(&self) -> Option<String> {
        let lines: Vec<String> = self
            .0
            .iter()
            .map(|unknown| format!("  - {}", unknown.acceptance()))
            .collect();
        Some(format!(
            "read what the scripts do; where an image does not need it, accept them in the cluster file:\naccept_scripts:\n{}",
            lines.join("\n")
        ))
    }
}

impl Unknown {
    /// The entry of `accept_scripts` in the cluster file that accepts exactly this script.
    pub fn acceptance(&self) -> String {
        format!("{}/{}@sha256:{}", self.package, self.script, self.digest)
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unknown {
            package,
            version,
            script,
            digest,
            body,
            ..
        } = self;
        write!(
            f,
            "{package} {version}: {script} is not known (sha256:{digest})\n{body}"
        )
    }
}

fn list(unknown: &[Unknown]) -> String {
    let texts: Vec<String> = unknown.iter().map(Unknown::to_string).collect();
    match unknown.len() {
        1 => format!("a maintainer script is not known\n{}", texts[0]),
        count => format!(
            "{count} maintainer scripts are not known\n{}",
            texts.join("\n")
        ),
    }
}

/// Recognises the scripts of all packages. `accepted` are the cluster file's `accept_scripts`.
pub fn check<'a>(
    packages: impl IntoIterator<Item = &'a Package>,
    table: &Table,
    accepted: &[String],
) -> Result<Vec<Finding>, Error> {
    let (mut findings, mut unknown) = (Vec::new(), Vec::new());
    for package in packages {
        for (script, body) in &package.scripts {
            match recognise(package, script, body, table) {
                Ok(found) => findings.extend(found),
                Err(error) if accepted.contains(&error.acceptance()) => findings.push(Finding {
                    package: package.name.clone(),
                    script: script.clone(),
                    action: "script".into(),
                    words: Vec::new(),
                    rules: Vec::new(),
                    why: "accepted in the cluster file".into(),
                }),
                Err(error) => unknown.push(*error),
            }
        }
    }
    if unknown.is_empty() {
        Ok(findings)
    } else {
        Err(Error(unknown))
    }
}

/// What becomes of everything that one script does.
pub fn recognise(
    package: &Package,
    script: &str,
    body: &[u8],
    table: &Table,
) -> Result<Vec<Finding>, Box<Unknown>> {
    let finding = |action: &str, words: Vec<String>, rules: &[String], why: &str| Finding {
        package: package.name.clone(),
        script: script.to_owned(),
        action: action.to_owned(),
        words,
        rules: rules.to_vec(),
        why: why.to_owned(),
    };
    let text = String::from_utf8_lossy(body);
    let unknown = |digest, left| {
        let (package, version) = (package.name.clone(), package.version.clone());
        Box::new(Unknown {
            package,
            version,
            script: script.to_owned(),
            digest,
            body: text.clone().into_owned(),
            left,
        })
    };
    match script {
        "prerm" | "postrm" => return Ok(Vec::new()),
        "triggers" => {
            let mut findings = Vec::new();
            for name in activated(&text) {
                let answer = table
                    .triggers
                    .get(name)
                    .ok_or_else(|| unknown(Digest::of(body), text.clone().into_owned()))?;
                findings.push(finding(name, Vec::new(), &answer.rules, &answer.why));
            }
            return Ok(findings);
        }
        _ => {}
    }
    let (snippets, left) = snippet::take(&text, &table.snippets);
    let mut findings: Vec<Finding> = snippets
        .into_iter()
        .map(|found| {
            finding(
                found.tool,
                found.words,
                &found.snippet.rules,
                &found.snippet.why,
            )
        })
        .collect();
    let rest = normal::rest(&left, &package.name, &package.version);
    if !rest.is_empty() {
        let digest = if std::str::from_utf8(body).is_ok() {
            Digest::of(rest.as_bytes())
        } else {
            Digest::of(body)
        };
        let known = table
            .scripts
            .iter()
            .find(|known| names(&known.script, &package.name, script));
        match known.filter(|known| known.digests.contains(&digest)) {
            Some(known) => findings.push(finding("script", Vec::new(), &known.rules, &known.why)),
            None => return Err(unknown(digest, left)),
        }
    }
    Ok(findings)
}

/// The triggers that a package activates in others; those it is interested in run its own `postinst`
/// (deb-triggers(5)).
fn activated(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter_map(|line| {
            let (directive, name) = line.split_once(char::is_whitespace)?;
            (!matches!(
                directive,
                "interest" | "interest-await" | "interest-noawait"
            ))
            .then_some(name.trim())
        })
}

/// Whether `pattern` of the table is about this script of this package.
fn names(pattern: &str, package: &str, script: &str) -> bool {
    let Some(pattern) = pattern
        .strip_suffix(script)
        .and_then(|pattern| pattern.strip_suffix('/'))
    else {
        return false;
    };
    match pattern.split_once('*') {
        None => pattern == package,
        Some((before, after)) => {
            let middle = package
                .strip_prefix(before)
                .and_then(|rest| rest.strip_suffix(after));
            middle.is_some_and(|middle| middle.starts_with(|first: char| first.is_ascii_digit()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_in_a_package_name_is_a_version() {
        assert!(names(
            "linux-image-*/postinst",
            "linux-image-6.12.117+deb13-amd64",
            "postinst"
        ));
        assert!(!names(
            "linux-image-*/postinst",
            "linux-image-amd64",
            "postinst"
        ));
        assert!(!names(
            "linux-image-*/postinst",
            "linux-image-6.12.117+deb13-amd64",
            "preinst"
        ));
        assert!(names("bash/postinst", "bash", "postinst"));
    }

    #[test]
    fn only_activated_triggers_need_an_answer() {
        let text =
            "# comment\ninterest-noawait /usr/lib/udev/hwdb.d\nactivate-noawait ldconfig # x\n\n";
        assert_eq!(activated(text).collect::<Vec<_>>(), ["ldconfig"]);
    }
}
