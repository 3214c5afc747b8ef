//! Is the plan sound? Everything that the cluster file alone can tell, before anything is fetched or built.
//!
//! [`Cluster::parse`] has made sure that each value is well-formed; here they are held against each other and against
//! the [`Catalog`]. Pure: the same file and catalog give the same findings, in document order.

pub mod cloud_init;
mod files;
mod kubernetes;
mod login;
mod network;
mod node;
mod profile;

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::catalog::Catalog;
use crate::cluster::Cluster;
use crate::finding::{Code, Finding, Severity};
use crate::yaml::{Located, Position};

/// Everything that is wrong, or looks wrong, with a cluster.
pub fn check(cluster: &Cluster, catalog: &Catalog) -> Vec<Finding> {
    let mut findings = Vec::new();
    let f = &mut findings;
    id(cluster, f);
    node::check(cluster, f);
    login::check(cluster, catalog, f);
    files::check(cluster, f);
    cloud_init::check(cluster, catalog, f);
    network::check(cluster, f);
    kubernetes::check(cluster, f);
    profile::check(cluster, catalog, f);
    crate::finding::sorted(findings)
}

/// Without an id, another cluster of this name has the same GUIDs on its disks.
fn id(cluster: &Cluster, f: &mut Vec<Finding>) {
    if cluster.id.is_none() {
        let name = &cluster.name;
        let message = "the cluster has no id, which tells it from another one of the same name";
        let finding = Finding::warning(Code::Id, name.position, name, message);
        f.push(finding.hint("`prejoin lock` writes a random one below this line"));
    }
}

/// Reads and checks a file in one go: the cluster with its warnings, or what stops it.
pub fn read(text: &str, catalog: &Catalog) -> Result<(Cluster, Vec<Finding>), Vec<Finding>> {
    let cluster = Cluster::parse(text)?;
    let findings = check(&cluster, catalog);
    let sound = findings
        .iter()
        .all(|finding| finding.severity != Severity::Error);
    if sound {
        Ok((cluster, findings))
    } else {
        Err(findings)
    }
}

/// Nobody reads more at once.
const SHOWN: usize = 50;

/// All findings (of many the first) as plain text, with a closing line that counts them; empty when there are none.
pub fn render(findings: &[Finding], file: &str, document: &str) -> String {
    if findings.is_empty() {
        return String::new();
    }
    let mut out = String::new();
    for finding in findings.iter().take(SHOWN) {
        out.push_str(&finding.render(file, document));
        out.push('\n');
    }
    let errors = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .count();
    if findings.len() > SHOWN {
        out.push_str(&format!("the first {SHOWN} of {}; ", findings.len()));
    }
    out.push_str(&format!(
        "{}, {}\n",
        count(errors, "error"),
        count(findings.len() - errors, "warning")
    ));
    out
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// A value's place, or another's when the value is a default that stands nowhere.
fn place<T, U>(value: &Located<T>, fallback: &Located<U>) -> Position {
    if value.position.line == 0 {
        fallback.position
    } else {
        value.position
    }
}

/// Values that must differ: calls `complain` with each repetition and the place of the first.
fn duplicates<'a, K: Ord, T: 'a>(
    items: impl Iterator<Item = (K, &'a Located<T>)>,
    mut complain: impl FnMut(&'a Located<T>, Position),
) {
    let mut seen = BTreeMap::new();
    for (key, item) in items {
        match seen.get(&key) {
            Some(first) => complain(item, *first),
            None => {
                seen.insert(key, item.position);
            }
        }
    }
}

/// An error about something that stands twice.
fn twice(code: Code, what: &str, item: &Located<impl Display>, first: Position) -> Finding {
    let message = format!(
        "{what} `{}` is given twice; first on line {}",
        item.value, first.line
    );
    Finding::error(code, item.position, item, message)
}
