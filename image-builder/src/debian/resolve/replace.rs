//! Who gives way: of two packages for one role, the one that was asked for by name.

use super::Wanted;
use crate::debian::repository::{DEFAULT_PRIORITY, Entry, IndexError, Universe};

/// A package of the operating system that gives way to one that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// The one that is left out.
    pub name: String,
    /// The one that is there instead.
    pub by: String,
}

/// Those of `own` that a package of `asked` conflicts with, either way. So `chrony` takes the place of
/// systemd-timesyncd: both provide, and conflict with, `time-daemon`.
pub fn replaced(
    universe: &Universe<'_>,
    own: &[Wanted],
    asked: &[Wanted],
) -> Result<Vec<Replaced>, IndexError> {
    let mut replaced = Vec::new();
    for wanted in asked {
        let Some(new) = candidate(universe, wanted) else {
            continue;
        };
        for other in own.iter().filter(|other| other.name != wanted.name) {
            let Some(old) = candidate(universe, other) else {
                continue;
            };
            if conflict(new, old)? || conflict(old, new)? {
                replaced.push(Replaced {
                    name: other.name.clone(),
                    by: wanted.name.clone(),
                });
            }
        }
    }
    Ok(replaced)
}

/// The entry that is taken for a name, as far as it is clear without a search.
fn candidate<'u, 'a>(universe: &'u Universe<'a>, wanted: &Wanted) -> Option<&'u Entry<'a>> {
    let fits = |entry: &&Entry<'_>| match (&wanted.version, &wanted.repository) {
        (Some(version), _) => version == entry.version,
        (None, Some(repository)) => *repository == entry.index.repository,
        (None, None) => entry.index.priority >= DEFAULT_PRIORITY,
    };
    let mut versions = universe.versions(&wanted.name).map(|(_, entry)| entry);
    versions.find(fits)
}

fn conflict(one: &Entry<'_>, other: &Entry<'_>) -> Result<bool, IndexError> {
    let provides = other.provides()?;
    let conflicts = one.conflicts()?;
    Ok(conflicts
        .iter()
        .any(|relation| other.satisfies(relation, &provides)))
}
