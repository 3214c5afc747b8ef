//! What must be true of every image, whatever the other rules did.

use std::collections::BTreeSet;

use prejoin_formats::tree::Kind;

use super::accounts::Accounts;
use super::root::show;
use super::{Cause, Context, Root};

/// Places that are filled when a node runs; a link into them may dangle in the image.
const LATER: [&str; 5] = ["dev", "proc", "run", "sys", "var"];
/// Files that make a node this node: secrets, and names that must be unique.
const UNIQUE: [&str; 9] = [
    "etc/hostid",
    "etc/hostname",
    "etc/iscsi/initiatorname.iscsi",
    "etc/lvm/devices/system.devices",
    "etc/nvme/hostid",
    "etc/nvme/hostnqn",
    "var/lib/dbus/machine-id",
    "var/lib/systemd/credential.secret",
    "var/lib/systemd/random-seed",
];

/// Every link leads to something in the image, or into a place that is filled later.
pub(super) fn links(root: &mut Root<'_>, _: &Context<'_>) -> Result<(), Cause> {
    let mut some = Vec::new();
    let mut count = 0;
    for (path, entry) in root.tree().iter() {
        let Kind::Symlink(target) = &entry.kind else {
            continue;
        };
        let leads = root.resolve(path).is_ok_and(|real| {
            let top = real.split(|&b| b == b'/').next().unwrap_or_default();
            root.tree().entry(&real).is_some() || LATER.iter().any(|later| later.as_bytes() == top)
        });
        if !leads {
            count += 1;
            if some.len() < 10 {
                some.push(format!("`{}` -> `{}`", show(path), show(target)));
            }
        }
    }
    if count == 0 {
        Ok(())
    } else {
        Err(Cause::Dangling { count, some })
    }
}

/// Every program that somebody needs is there and can be run. What is missing shows late otherwise: a partition that is
/// never made, a volume that is never mounted.
pub(super) fn programs(root: &mut Root<'_>, context: &Context<'_>) -> Result<(), Cause> {
    for (feature, wanted) in &context.os.required_programs {
        let missing: Vec<String> = wanted
            .iter()
            .filter(|path| !executable(root, path))
            .cloned()
            .collect();
        if !missing.is_empty() {
            return Err(Cause::Programs {
                feature: feature.clone(),
                programs: missing,
            });
        }
    }
    Ok(())
}

fn executable(root: &Root<'_>, path: &str) -> bool {
    let place = root.resolve(path).ok();
    let mut entry = place.and_then(|place| root.tree().entry(place));
    if let Some(Kind::HardLink(target)) = entry.map(|entry| &entry.kind) {
        entry = root.tree().entry(target);
    }
    entry.is_some_and(|entry| matches!(entry.kind, Kind::File(_)) && entry.mode & 0o111 != 0)
}

/// Every owner has a name: files of nobody would be somebody's as soon as a user is added.
pub(super) fn owners(root: &mut Root<'_>, _: &Context<'_>) -> Result<(), Cause> {
    let accounts = Accounts::read(root)?;
    let mut seen = BTreeSet::new();
    for (path, entry) in root.tree().iter() {
        if seen.insert((entry.uid, entry.gid)) {
            accounts.user(entry.uid, &show(path))?;
            accounts.group(entry.gid, &show(path))?;
        }
    }
    Ok(())
}

/// Nothing that must be unique to a node is in an image that many nodes start from.
pub(super) fn identity(root: &mut Root<'_>, _: &Context<'_>) -> Result<(), Cause> {
    let identity = |path: &str| {
        Err(Cause::Identity {
            path: path.to_owned(),
        })
    };
    if let Some(path) = UNIQUE.iter().find(|path| root.has(path)) {
        return identity(path);
    }
    if root.has("etc/machine-id") && !root.bytes("etc/machine-id")?.is_empty() {
        return identity("etc/machine-id");
    }
    for path in root.files_in("etc/ssh", "")? {
        if path.starts_with("etc/ssh/ssh_host_") {
            return identity(&path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    #[test]
    fn dangling_links_are_found() {
        let bench = Bench::new("");
        let mut root = bench.root(&[
            ("etc/a", "-> /dev/null"),
            ("etc/b", "-> ../run/x"),
            ("etc/c", "-> a"),
            ("etc/d", "-> ../etc/file"),
            ("etc/file", ""),
        ]);
        links(&mut root, &bench.context()).unwrap();
        let mut root = bench.root(&[
            ("etc/a", "-> b"),
            ("etc/b", "-> a"),
            ("etc/c", "-> /usr/none"),
            ("etc/d", "-> devil"),
        ]);
        match links(&mut root, &bench.context()) {
            Err(Cause::Dangling { count: 4, some }) => {
                assert_eq!(some[2], "`etc/c` -> `/usr/none`")
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn missing_programs_are_found() {
        let bench = Bench::new(
            "required_programs: {file system xfs: [usr/sbin/mkfs.xfs], x: [usr/bin/there, usr/bin/link]}",
        );
        let mut files = vec![
            ("usr/bin/there", "x"),
            ("usr/bin/link", "-> there"),
            ("usr/sbin/mkfs.xfs", "x"),
        ];
        let mut whole = bench.root(&files);
        for path in ["usr/bin/there", "usr/sbin/mkfs.xfs"] {
            whole.access(path, 0o755, 0, 0).unwrap();
        }
        programs(&mut whole, &bench.context()).unwrap();
        whole.access("usr/sbin/mkfs.xfs", 0o644, 0, 0).unwrap();
        files.pop();
        for mut root in [whole, bench.root(&files)] {
            let cause = programs(&mut root, &bench.context()).unwrap_err();
            assert_eq!(
                cause.to_string(),
                "the image has no program usr/sbin/mkfs.xfs (file system xfs)"
            );
        }
    }

    #[test]
    fn nameless_owners_are_found() {
        let bench = Bench::new("");
        let mut root = bench.root(&[("a", "")]);
        owners(&mut root, &bench.context()).unwrap();
        root.access("a", 0o644, 0, 42).unwrap();
        assert!(matches!(
            owners(&mut root, &bench.context()),
            Err(Cause::Account { kind: "group", .. })
        ));
    }

    #[test]
    fn identities_are_found() {
        let bench = Bench::new("");
        let check = |files: &[(&str, &str)]| identity(&mut bench.root(files), &bench.context());
        check(&[("etc/machine-id", ""), ("etc/ssh/sshd_config", "x")]).unwrap();
        for path in [
            "etc/machine-id",
            "etc/hostname",
            "etc/ssh/ssh_host_ed25519_key",
            "etc/ssh/ssh_host_rsa_key.pub",
            "etc/nvme/hostnqn",
        ] {
            match check(&[(path, "x")]) {
                Err(Cause::Identity { path: found }) => assert_eq!(found, path),
                other => panic!("{other:?}"),
            }
        }
    }
}
