//! The accounts of a tree: `/etc/passwd` and `/etc/group` (passwd(5), group(5)).

use std::collections::BTreeMap;

use super::{Cause, Root};

/// Names and numbers of the accounts of a tree.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    users: BTreeMap<String, u32>,
    groups: BTreeMap<String, u32>,
}

impl Accounts {
    /// Reads the account files; a tree without them has none.
    pub(super) fn read(root: &Root<'_>) -> Result<Self, Cause> {
        Ok(Accounts {
            users: numbers(root, "etc/passwd")?,
            groups: numbers(root, "etc/group")?,
        })
    }

    /// The number of a user, who is needed for `origin`.
    pub(super) fn uid(&self, name: &str, origin: &str) -> Result<u32, Cause> {
        find(&self.users, "user", name, origin)
    }

    /// The number of a group, which is needed for `origin`.
    pub(super) fn gid(&self, name: &str, origin: &str) -> Result<u32, Cause> {
        find(&self.groups, "group", name, origin)
    }

    /// The name of a user by number.
    pub(super) fn user(&self, uid: u32, origin: &str) -> Result<&str, Cause> {
        name(&self.users, "user", uid, origin)
    }

    /// The name of a group by number.
    pub(super) fn group(&self, gid: u32, origin: &str) -> Result<&str, Cause> {
        name(&self.groups, "group", gid, origin)
    }
}

fn find(
    accounts: &BTreeMap<String, u32>,
    kind: &'static str,
    name: &str,
    origin: &str,
) -> Result<u32, Cause> {
    let account = || Cause::Account {
        kind,
        name: name.to_owned(),
        origin: origin.to_owned(),
    };
    // root is root in a tree without account files, too.
    accounts
        .get(name)
        .copied()
        .or((name == "root").then_some(0))
        .ok_or_else(account)
}

fn name<'a>(
    accounts: &'a BTreeMap<String, u32>,
    kind: &'static str,
    id: u32,
    origin: &str,
) -> Result<&'a str, Cause> {
    let account = || Cause::Account {
        kind,
        name: id.to_string(),
        origin: origin.to_owned(),
    };
    let found = accounts
        .iter()
        .find(|(_, number)| **number == id)
        .map(|(name, _)| name.as_str());
    found.or((id == 0).then_some("root")).ok_or_else(account)
}

fn numbers(root: &Root<'_>, path: &str) -> Result<BTreeMap<String, u32>, Cause> {
    let text = match root.text(path) {
        Err(Cause::Missing { .. }) => return Ok(BTreeMap::new()),
        other => other?,
    };
    let account = |(index, line): (usize, &str)| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next(), fields.nth(1).and_then(|id| id.parse().ok()));
        match (name, id) {
            (Some(name), Some(id)) => Ok((name.to_owned(), id)),
            _ => Err(Cause::Content {
                path: path.into(),
                line: Some(index + 1),
                problem: "is no account".into(),
            }),
        }
    };
    text.lines().enumerate().map(account).collect()
}
