//! What the operating system's file asks for, package by package: no algorithm, only data.

use super::accounts::Accounts;
use super::{Cause, Context, Root};

/// F01, F12, F20: directories that scripts make and packages do not ship.
pub(super) fn directories(root: &mut Root<'_>, context: &Context<'_>) -> Result<(), Cause> {
    for (_, recipe) in context.recipes() {
        for (path, access) in &recipe.directories {
            root.directory(path, access.mode)?;
        }
    }
    Ok(())
}

/// F01, F11, F14, F15: configuration that ucf and debconf would have copied into `/etc`.
pub(super) fn copies(root: &mut Root<'_>, context: &Context<'_>) -> Result<(), Cause> {
    for (package, recipe) in context.recipes() {
        for (path, from) in &recipe.copies {
            let text = root.input(package, from)?;
            root.write(path, text)?;
        }
    }
    Ok(())
}

/// F11, F13, F15, F16, F18 to F20: files that are the same on every node.
pub(super) fn files(root: &mut Root<'_>, context: &Context<'_>) -> Result<(), Cause> {
    for (_, recipe) in context.recipes() {
        for (path, text) in &recipe.files {
            root.write(path, text)?;
        }
    }
    Ok(())
}

/// F05, F16: alternatives and links into `/run`. A relative target beside the link must exist: a missing `nc` went
/// unnoticed until nothing of cloud-init ran.
pub(super) fn links(root: &mut Root<'_>, context: &Context<'_>) -> Result<(), Cause> {
    for (package, recipe) in context.recipes() {
        for (path, target) in &recipe.links {
            if !target.contains('/') {
                let sibling = path.rsplit_once('/').map_or_else(
                    || target.clone(),
                    |(parent, _)| format!("{parent}/{target}"),
                );
                if !root.has(&sibling) {
                    return Err(Cause::Input {
                        package: package.to_owned(),
                        path: sibling,
                    });
                }
            }
            root.link(path, target)?;
        }
    }
    Ok(())
}

/// F04, F06, F16, F21: what cannot run in the image or must not.
pub(super) fn remove(root: &mut Root<'_>, context: &Context<'_>) -> Result<(), Cause> {
    for (package, recipe) in context.recipes() {
        for pattern in &recipe.remove {
            if root.remove_matching(pattern)? == 0 {
                return Err(Cause::Input {
                    package: package.to_owned(),
                    path: pattern.clone(),
                });
            }
        }
    }
    Ok(())
}

/// F12: modes and owners that scripts would have set. `/etc/sudoers` is shipped 0644 and sudo refuses it so.
///
/// Directories with an owner are done here too, since `directories` runs before there are accounts.
pub(super) fn access(root: &mut Root<'_>, context: &Context<'_>) -> Result<(), Cause> {
    let accounts = Accounts::read(root)?;
    for (package, recipe) in context.recipes() {
        for (path, access) in recipe.access.iter().chain(&recipe.directories) {
            let (uid, gid) = match &access.owner {
                None => (0, 0),
                Some((user, group)) => (accounts.uid(user, path)?, accounts.gid(group, path)?),
            };
            root.access(path, access.mode, uid, gid)
                .map_err(|cause| match cause {
                    Cause::Missing { path } => Cause::Input {
                        package: package.to_owned(),
                        path,
                    },
                    other => other,
                })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, modes};
    use super::*;

    #[test]
    fn recipes_of_absent_packages_do_nothing() {
        let bench = Bench::new(
            "recipes: {absent: {copies: {etc/a: usr/none}, remove: [none], links: {usr/a: b}, access: {x: '0600'}}}",
        );
        let mut root = bench.root(&[]);
        let before = root.tree().clone();
        for rule in [directories, copies, files, links, remove, access] {
            rule(&mut root, &bench.context()).unwrap();
        }
        assert_eq!(*root.tree(), before);
    }

    #[test]
    fn present_packages_must_have_their_files() {
        for (recipe, rule) in [
            (
                "copies: {etc/a: usr/none}",
                copies as fn(&mut Root<'_>, &Context<'_>) -> Result<(), Cause>,
            ),
            ("links: {usr/bin/a: none}", links),
            ("remove: ['usr/no*']", remove),
            ("access: {none: '0600'}", access),
        ] {
            let bench = Bench::new(&format!("recipes: {{pack: {{{recipe}}}}}")).package("pack");
            match rule(&mut bench.root(&[]), &bench.context()) {
                Err(Cause::Input { package, path }) => {
                    assert!(package == "pack" && path.contains("no"), "{path}")
                }
                other => panic!("{recipe}: {other:?}"),
            }
        }
    }

    #[test]
    fn data_becomes_files() {
        let bench = Bench::new(
            "recipes: {pack: {copies: {etc/a: usr/share/a}, files: {etc/b: text}, links: {usr/bin/vi: vim},
               directories: {srv/x: 2770 root:shadow}, access: {etc/b: 0640 daemon:shadow}, remove: [usr/share/a]}},
             node: {links: {etc/mtab: ../proc/self/mounts}}",
        )
        .package("pack");
        let mut root = bench.root(&[
            ("usr/share/a", "A"),
            ("usr/bin/vim", ""),
            ("etc/passwd", "daemon:x:1:1::/:/bin/sh\n"),
            ("etc/group", "shadow:x:42:\n"),
        ]);
        for rule in [directories, copies, files, links, remove, access] {
            rule(&mut root, &bench.context()).unwrap();
        }
        assert_eq!(
            modes(
                &root,
                &[
                    "etc/a",
                    "etc/b",
                    "usr/bin/vi",
                    "srv/x",
                    "usr/share/a",
                    "etc/mtab"
                ]
            ),
            "etc/a 0644 0:0 A\netc/b 0640 1:42 text\nusr/bin/vi -> vim\nsrv/x/ 2770 0:42\nusr/share/a absent\n\
             etc/mtab -> ../proc/self/mounts\n"
        );
    }
}
