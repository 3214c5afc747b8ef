//! What maintainer scripts would have done to an unpacked tree, and what a read-only root needs beyond that.
//!
//! Each rule is small, has a name, and says why it exists and how we know; most of what is done is data in the
//! operating system's file ([`prejoin_profiles::os::Recipe`]). A rule whose package is absent does nothing; a rule
//! that finds its package and not the file it works on is an error, because then Debian changed under it.
//!
//! The rules were derived from a comparison with a system that was installed with scripts: of 14211 paths the scripts
//! changed no content, 7 modes or owners, and made 275 paths; the rules account for each of them, or say why it is
//! left out. What no rule makes, on purpose:
//!
//! * `/etc/ld.so.cache`: every library is in glibc's built-in directories or found by RUNPATH; without the cache a
//!   start costs three more file look-ups.
//! * `hwdb.bin`, the journal's message catalogue, `locale-archive`, `/usr/share/info/dir`: convenience for people.
//! * `/var/lib/{ucf,pam,python}`, `/var/lib/shells.state`, backups such as `passwd-`: memory of the scripts.
//! * Python byte-code: needs CPython of the same version, see `cloud-init` in `profiles/os/debian-13.yaml`.

mod accounts;
mod alternatives;
mod certificates;
mod checks;
mod cloud_init;
mod context;
mod database;
mod der;
mod error;
mod kernel;
mod nsswitch;
mod numbers;
mod pam;
mod recipes;
mod release;
mod root;
mod shells;
mod state;
mod sysusers;
mod times;
mod units;
mod users;

pub use context::Context;
pub use error::{Cause, Error};
pub use numbers::derive_ids;
pub(crate) use release::date;
pub use root::{Action, Change, Root};

/// One fix-up.
pub struct Rule {
    /// Short name, for reports and errors.
    pub name: &'static str,
    /// Why it is done, in one line for people.
    pub reason: &'static str,
    apply: fn(&mut Root<'_>, &Context<'_>) -> Result<(), Cause>,
}

/// What one rule did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The rule's name.
    pub rule: &'static str,
    /// Its changes in order.
    pub changes: Vec<Change>,
}

/// Every rule, in the order in which they are applied.
///
/// Files first, since units and removals look at them; owners after the accounts exist; the package database and
/// `/var` when nothing else changes the tree; checks last.
pub static RULES: &[Rule] = &[
    rule(
        "directories",
        "places that scripts make and packages do not ship",
        recipes::directories,
    ),
    rule(
        "copies",
        "configuration that ucf and debconf put into /etc",
        recipes::copies,
    ),
    rule(
        "files",
        "configuration of a Kubernetes node with a read-only root",
        recipes::files,
    ),
    rule(
        "links",
        "names of programs and configuration, and links into /run",
        recipes::links,
    ),
    rule(
        "alternatives",
        "the best of several programs for one name, as a plain link",
        alternatives::apply,
    ),
    rule(
        "users",
        "accounts with fixed numbers, the same in every version of the image",
        users::apply,
    ),
    rule(
        "nsswitch",
        "name services as the libnss packages enter themselves",
        nsswitch::apply,
    ),
    rule(
        "pam",
        "the common-* files, as pam-auth-update would write them",
        pam::apply,
    ),
    rule(
        "certificates",
        "certificate authorities where OpenSSL and others look",
        certificates::apply,
    ),
    rule("shells", "valid login shells", shells::apply),
    rule(
        "cloud-init",
        "only the modules that make sense on a read-only root",
        cloud_init::apply,
    ),
    rule(
        "remove",
        "programs that cannot run, generators that must not",
        recipes::remove,
    ),
    rule(
        "kernel",
        "modules without the useless ones, and the indexes that modprobe reads",
        kernel::apply,
    ),
    rule(
        "boot",
        "the boot partition has its own content",
        kernel::boot,
    ),
    rule(
        "units",
        "what is started: an explicit list, nothing by preset",
        units::apply,
    ),
    rule(
        "release",
        "the image's name in os-release, the earliest possible time",
        release::apply,
    ),
    rule(
        "access",
        "modes and owners that scripts would have set",
        recipes::access,
    ),
    rule(
        "packages",
        "the package database, for scanners and for people",
        database::apply,
    ),
    rule(
        "state",
        "/var is a volume of its own: its layout becomes tmpfiles.d lines",
        state::apply,
    ),
    rule(
        "scanners",
        "the package database where scanners of an image look for it",
        database::offline,
    ),
    rule("times", "no file is newer than the image", times::apply),
    rule("check-links", "every link leads somewhere", checks::links),
    rule(
        "check-programs",
        "what layout, sets and agent call is there",
        checks::programs,
    ),
    rule("check-owners", "every owner has a name", checks::owners),
    rule(
        "check-identity",
        "nothing that must be unique to a node is in an image for all",
        checks::identity,
    ),
];

const fn rule(
    name: &'static str,
    reason: &'static str,
    apply: fn(&mut Root<'_>, &Context<'_>) -> Result<(), Cause>,
) -> Rule {
    Rule {
        name,
        reason,
        apply,
    }
}

/// Applies every rule.
///
/// The tree must hold the unpacked payload of `context.packages`. Files of the boot partition (`boot/vmlinuz-*`,
/// device trees, Raspberry Pi firmware) are gone afterwards: take them out before.
///
/// # Errors
///
/// The first rule that fails, with its cause; the tree is then half done and of no use.
pub fn apply(root: &mut Root<'_>, context: &Context<'_>) -> Result<Vec<Applied>, Error> {
    RULES
        .iter()
        .map(|rule| {
            (rule.apply)(root, context).map_err(|cause| Error {
                rule: rule.name,
                cause,
            })?;
            Ok(Applied {
                rule: rule.name,
                changes: root.take_changes(),
            })
        })
        .collect()
}

#[cfg(test)]
mod testing;
