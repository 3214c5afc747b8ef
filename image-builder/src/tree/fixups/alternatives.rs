//! F05: alternatives as plain links, without `/etc/alternatives`: what scripts register with update-alternatives(1), the
//! highest priority of each name. What a recipe or a package has at that place already stays.

use std::collections::BTreeMap;

use prejoin_profiles::os::Alternative;

use super::{Cause, Context, Root};
use crate::debian::scripts;

pub(super) fn apply(root: &mut Root<'_>, context: &Context<'_>) -> Result<(), Cause> {
    let mut best: BTreeMap<String, Alternative> = BTreeMap::new();
    for (package, recipe) in context.recipes() {
        for alternative in &recipe.alternatives {
            if !root.has(&alternative.target) {
                return Err(Cause::Input {
                    package: package.to_owned(),
                    path: alternative.target.clone(),
                });
            }
            offer(&mut best, alternative.clone());
        }
    }
    for package in context.packages {
        let postinst = package.scripts.get("postinst").map(Vec::as_slice);
        let text = String::from_utf8_lossy(postinst.unwrap_or_default());
        for alternative in scripts::alternatives(&text) {
            // Manual pages go along with programs, and most are left out.
            if root.has(&alternative.target) {
                offer(&mut best, alternative);
            }
        }
    }
    for Alternative { link, target, .. } in best.values() {
        if root.has(link) {
            continue;
        }
        let folder = |path: &str| path.rsplit_once('/').map(|(folder, _)| folder.to_owned());
        if folder(link) == folder(target) {
            let name = target.rsplit('/').next().unwrap_or(target);
            root.link(link, name)?;
        } else {
            root.link(link, &format!("/{target}"))?;
        }
    }
    Ok(())
}

fn offer(best: &mut BTreeMap<String, Alternative>, alternative: Alternative) {
    let known = best.get(&alternative.link);
    if known.is_none_or(|known| known.priority < alternative.priority) {
        best.insert(alternative.link.clone(), alternative);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, modes, package};
    use super::*;

    #[test]
    fn the_highest_priority_gets_the_name() {
        let mut vim = package("vim");
        let script = "# Automatically added by dh_installalternatives/13\n\
            update-alternatives --install /usr/bin/editor editor /usr/bin/vim.basic 30\n\
            update-alternatives --install /usr/bin/vi vi /usr/bin/vim.basic 30 \\\n\
            --slave /usr/share/vi.1 vi.1 /usr/share/none.1\n\
            update-alternatives --install /usr/bin/awk awk /usr/bin/vim.basic 99\n\
            # End automatically added section\n";
        vim.scripts.insert("postinst".into(), script.into());
        let bench = Bench::new(
            "recipes: {nano: {alternatives: ['40 usr/bin/editor bin/nano', '1 usr/bin/vi bin/nano']}}",
        )
        .package("nano")
        .with(vim);
        let files = [
            ("bin", "-> usr/bin"),
            ("usr/bin/nano", ""),
            ("usr/bin/vim.basic", ""),
            ("usr/bin/awk", "-> mawk"),
        ];
        let mut root = bench.root(&files);
        apply(&mut root, &bench.context()).unwrap();
        assert_eq!(
            modes(
                &root,
                &[
                    "usr/bin/editor",
                    "usr/bin/vi",
                    "usr/bin/awk",
                    "usr/share/vi.1"
                ]
            ),
            "usr/bin/editor -> /bin/nano\nusr/bin/vi -> vim.basic\nusr/bin/awk -> mawk\n\
             usr/share/vi.1 absent\n"
        );
        let mut root = bench.root(&files[2..]);
        assert!(matches!(
            apply(&mut root, &bench.context()),
            Err(Cause::Input { .. })
        ));
    }
}
