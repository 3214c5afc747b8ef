//! Numbers of users and groups: files are made before the node has ever run, so names must be numbers by then.

use prejoin_profiles::cluster::Cluster;
use prejoin_profiles::os::Ids;

/// Number of the first user of the cluster file (and of that user's own group); the others follow in file order.
/// Debian gives people numbers from here on (`FIRST_UID` of adduser.conf).
pub const FIRST_USER: u32 = 1000;

/// Users and groups that Debian's base-passwd numbers for all time (Debian Policy 9.2.1; `group.master` of base-passwd
/// 3.6.7), without those that no file on a node would belong to.
const USERS: &[(&str, u32)] = &[
    ("root", 0),
    ("daemon", 1),
    ("www-data", 33),
    ("backup", 34),
    ("nobody", 65534),
];
const GROUPS: &[(&str, u32)] = &[
    ("root", 0),
    ("daemon", 1),
    ("adm", 4),
    ("tty", 5),
    ("disk", 6),
    ("sudo", 27),
    ("www-data", 33),
    ("backup", 34),
    ("shadow", 42),
    ("utmp", 43),
    ("staff", 50),
    ("users", 100),
    ("nogroup", 65534),
];

/// The number of the cluster's `index`th user.
pub(crate) fn person(index: usize) -> u32 {
    u32::try_from(index).map_or(u32::MAX, |index| FIRST_USER.saturating_add(index))
}

/// A user's number.
pub(crate) fn user(name: &str, cluster: &Cluster, ids: &Ids) -> Option<u32> {
    let fixed = USERS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, id)| *id);
    person_named(name, cluster)
        .or_else(|| ids.users.get(name).copied())
        .or(fixed)
}

/// A group's number.
pub(crate) fn group(name: &str, cluster: &Cluster, ids: &Ids) -> Option<u32> {
    let fixed = GROUPS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, id)| *id);
    let system = ids
        .groups
        .get(name)
        .or_else(|| ids.users.get(name))
        .copied();
    person_named(name, cluster).or(system).or(fixed)
}

/// The number of one of the cluster's own people; each has a group of the same name and number.
pub(crate) fn person_named(name: &str, cluster: &Cluster) -> Option<u32> {
    cluster
        .users
        .iter()
        .position(|user| user.name.value == name)
        .map(person)
}
