//! Numbers for system accounts that nobody has pinned: derived from the name, so that the same package has the same
//! number in most clusters, and recorded in the lock, so that one never changes where it was given once.
//!
//! They lie in the middle of Debian's range for system accounts (100 to 999, Debian Policy 9.2.2): adduser counts from
//! 100 upwards and systemd-sysusers from 999 downwards, and what a node adds by itself meets neither.

use std::collections::{BTreeMap, BTreeSet};

use prejoin_formats::tree::{Contents, Kind};
use prejoin_profiles::os::{Ids, Os};
use prejoin_wire::digest::Digest;

use super::sysusers::{self, Line};
use super::{Cause, Error};
use crate::package::Package;

/// First number that is derived.
const FIRST: u32 = 300;
/// How many there are.
const COUNT: u32 = 600;
/// Files of sysusers.d(5) in a package.
const SYSUSERS: &[u8] = b"usr/lib/sysusers.d/";

/// Numbers for the accounts that `packages` and their recipes in `os` make, have no number in there, and are not in
/// `os.ids` yet.
///
/// # Errors
///
/// A file that is not of the form of sysusers.d(5), or cannot be read.
pub fn derive_ids(packages: &[&Package], contents: &dyn Contents, os: &Os) -> Result<Ids, Error> {
    let failed = |cause| Error {
        rule: "users",
        cause,
    };
    let mut lines = Vec::new();
    for package in packages {
        lines.extend(shipped(package, contents).map_err(failed)?);
        if let Some(recipe) = os.recipes.get(&package.name) {
            let origin = format!("accounts of {}", package.name);
            let text = recipe.accounts.join("\n");
            lines.extend(sysusers::parse_file(&origin, &text).map_err(failed)?);
        }
    }
    let taken = taken(os, &lines);
    Ok(allot(&lines, &os.ids, taken))
}

/// What the sysusers.d files of a package say.
fn shipped(package: &Package, contents: &dyn Contents) -> Result<Vec<Line>, Cause> {
    let mut lines = Vec::new();
    for (path, entry) in &package.entries {
        let (true, true, Kind::File(content)) = (
            path.starts_with(SYSUSERS),
            path.ends_with(b".conf"),
            &entry.kind,
        ) else {
            continue;
        };
        let path = String::from_utf8_lossy(path).into_owned();
        let bytes = content.read(contents).map_err(|source| Cause::Read {
            path: path.clone(),
            source,
        })?;
        lines.extend(sysusers::parse_file(
            &path,
            &String::from_utf8_lossy(&bytes),
        )?);
    }
    Ok(lines)
}

fn taken(os: &Os, lines: &[Line]) -> BTreeSet<u32> {
    let pinned = os.ids.users.values().chain(os.ids.groups.values()).copied();
    let named = lines.iter().filter_map(|line| match line {
        Line::Group { id, .. } | Line::User { id, .. } => *id,
        Line::Member { .. } => None,
    });
    pinned.chain(named).collect()
}

/// A user and a group of one name have one number.
fn allot(lines: &[Line], pinned: &Ids, mut taken: BTreeSet<u32>) -> Ids {
    let open = |known: &BTreeMap<String, u32>, name: &String| !known.contains_key(name);
    let (mut users, mut groups) = (BTreeSet::new(), BTreeSet::new());
    for line in lines {
        match line {
            Line::Group { name, id: None } if open(&pinned.groups, name) => {
                groups.insert(name.clone());
            }
            Line::User { name, id: None, .. } if open(&pinned.users, name) => {
                users.insert(name.clone());
            }
            _ => {}
        }
    }
    let mut ids = Ids::default();
    for name in users.union(&groups) {
        let known = pinned.users.get(name).or(pinned.groups.get(name));
        let number = known.copied().unwrap_or_else(|| free(name, &taken));
        taken.insert(number);
        if users.contains(name) {
            ids.users.insert(name.clone(), number);
        }
        if groups.contains(name) {
            ids.groups.insert(name.clone(), number);
        }
    }
    ids
}

/// The first free number from the one that the name's digest says.
fn free(name: &str, taken: &BTreeSet<u32>) -> u32 {
    let digest = Digest::of(name.as_bytes()).0;
    let start = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    (0..COUNT)
        .map(|step| FIRST + start.wrapping_add(step) % COUNT)
        .find(|number| !taken.contains(number))
        // Six hundred accounts: the fix-up `users` refuses a number that is used twice.
        .unwrap_or(FIRST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<Line> {
        sysusers::parse_file("test", text).unwrap()
    }

    #[test]
    fn a_name_has_its_number_and_nobody_elses() {
        let text = lines("u alone - \ng alone -\ng one -\nu said 7\n");
        let ids = allot(&text, &Ids::default(), BTreeSet::new());
        let (alone, one) = (ids.users["alone"], ids.groups["one"]);
        assert_eq!(ids.groups["alone"], alone);
        assert!((FIRST..FIRST + COUNT).contains(&alone) && alone != one);
        assert!(!ids.users.contains_key("said"), "it has a number");
        // Who comes along changes nothing, unless the number is gone.
        let among = allot(
            &lines("g zero -\nu alone -\n"),
            &Ids::default(),
            BTreeSet::new(),
        );
        assert_eq!(among.users["alone"], alone);
        let late = allot(&text, &Ids::default(), BTreeSet::from([alone]));
        assert_ne!(late.users["alone"], alone);
        // What is pinned is not given again, and a group follows its user.
        let pinned = Ids {
            users: BTreeMap::from([("alone".to_owned(), 450)]),
            groups: BTreeMap::from([("one".to_owned(), 451)]),
        };
        let ids = allot(&text, &pinned, BTreeSet::from([450, 451]));
        assert!(ids.users.is_empty() && ids.groups["alone"] == 450);
    }
}
