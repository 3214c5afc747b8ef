//! F08, F22: the kernel's modules and what surrounds them.

use std::collections::{BTreeMap, BTreeSet};

use prejoin_formats::kmod::{Index, Module};

use super::root::show;
use super::{Cause, Context, Root};

const MODULES: &str = "usr/lib/modules";

/// Leaves out the modules that no node needs, checks that the needed ones are there, and writes the indexes that
/// depmod(8) would.
pub(super) fn apply(root: &mut Root<'_>, context: &Context<'_>) -> Result<(), Cause> {
    let versions: Vec<String> = root
        .tree()
        .children(MODULES.as_bytes())
        .map(|(name, _)| show(name))
        .collect();
    for version in versions {
        let modules = packed(root, context, &version);
        if modules.is_empty() {
            continue;
        }
        let pruned = pruned(&modules, context);
        for path in &pruned {
            root.remove(&format!("{MODULES}/{version}/{path}"))?;
        }
        remove_empty(root, &format!("{MODULES}/{version}"));
        let kept: Vec<&Module> = modules
            .into_iter()
            .filter(|module| !pruned.contains(module.path.as_str()))
            .collect();
        required(root, context, &version, &kept)?;
        index(root, &version, &kept)?;
    }
    Ok(())
}

/// F22: `/boot` is the mount point of nothing; kernel, device trees and configuration are in the boot partition.
pub(super) fn boot(root: &mut Root<'_>, _: &Context<'_>) -> Result<(), Cause> {
    for pattern in ["boot/*", "usr/lib/linux-image-*"] {
        root.remove_matching(pattern)?;
    }
    root.directory("boot", 0o755)
}

/// The modules of a kernel that are in the tree (packages may hold more: the filter left some out).
fn packed<'a>(root: &Root<'_>, context: &Context<'a>, version: &str) -> Vec<&'a Module> {
    let prefix = format!("{MODULES}/{version}/");
    let of_version = |package: &&&crate::package::Package| {
        package
            .entries
            .iter()
            .any(|(path, _)| path.starts_with(prefix.as_bytes()))
    };
    let there = |module: &&Module| {
        root.tree()
            .entry(format!("{prefix}{}", module.path))
            .is_some()
    };
    context
        .packages
        .iter()
        .filter(of_version)
        .flat_map(|package| &package.modules)
        .filter(there)
        .collect()
}

/// Paths of the modules below a pruned directory that no kept module depends on.
///
/// Directories say what a driver is for, not who uses it: graphics drivers need `drivers/media/cec`, the Raspberry
/// Pi's needs the core of `sound`.
fn pruned<'a>(modules: &[&'a Module], context: &Context<'_>) -> BTreeSet<&'a str> {
    let directories: Vec<String> = context
        .os
        .pruned_modules
        .keys()
        .map(|path| format!("kernel/{path}/"))
        .collect();
    let names: BTreeMap<&str, &Module> = modules
        .iter()
        .map(|module| (module.name.as_str(), *module))
        .collect();
    let mut pruned = BTreeSet::new();
    let mut pending = Vec::new();
    for module in modules {
        if directories
            .iter()
            .any(|directory| module.path.starts_with(directory))
        {
            pruned.insert(module.path.as_str());
        } else {
            pending.push(*module);
        }
    }
    while let Some(module) = pending.pop() {
        for name in &module.depends {
            let needed = names.get(name.replace('-', "_").as_str());
            if let Some(needed) = needed.filter(|needed| pruned.remove(needed.path.as_str())) {
                pending.push(needed);
            }
        }
    }
    pruned
}

/// Takes away directories that hold nothing any more.
fn remove_empty(root: &mut Root<'_>, directory: &str) {
    let empty = |root: &Root<'_>| {
        let mut directories: Vec<(Vec<u8>, bool)> = Vec::new();
        for (path, entry) in root.tree().below(directory) {
            // In byte order what follows a directory directly is in it, or it is empty but for names that sort
            // between (`a-b` before `a/b`), which are looked up.
            if entry.kind == prejoin_formats::tree::Kind::Directory {
                directories.push((path.to_vec(), root.tree().below(path).next().is_none()));
            }
        }
        directories
            .into_iter()
            .filter(|(_, empty)| *empty)
            .map(|(path, _)| path)
            .collect::<Vec<_>>()
    };
    loop {
        let paths = empty(root);
        if paths.is_empty() {
            return;
        }
        for path in paths {
            root.remove_place(path);
        }
    }
}

/// Kubernetes networking and storage fail late and with strange messages when a module is missing; here it is cheap.
fn required(
    root: &Root<'_>,
    context: &Context<'_>,
    version: &str,
    modules: &[&Module],
) -> Result<(), Cause> {
    if context.os.required_modules.is_empty() {
        return Ok(());
    }
    let built_in = root.text(format!("{MODULES}/{version}/modules.builtin"))?;
    let mut names: BTreeSet<String> = modules.iter().map(|module| module.name.clone()).collect();
    names.extend(built_in.lines().map(|path| {
        let name = path.rsplit('/').next().unwrap_or(path);
        name.strip_suffix(".ko").unwrap_or(name).replace('-', "_")
    }));
    for (feature, wanted) in &context.os.required_modules {
        let missing: Vec<String> = wanted
            .iter()
            .filter(|name| !names.contains(*name))
            .cloned()
            .collect();
        if !missing.is_empty() {
            return Err(Cause::Modules {
                kernel: version.to_owned(),
                feature: feature.clone(),
                modules: missing,
            });
        }
    }
    Ok(())
}

/// What depmod(8) writes. Compared with kmod 34.2's for both architectures: same dependencies, aliases and text.
fn index(root: &mut Root<'_>, version: &str, modules: &[&Module]) -> Result<(), Cause> {
    let file = |name: &str| format!("{MODULES}/{version}/{name}");
    let order = root.text(file("modules.order"))?;
    let built_in = root.text(file("modules.builtin"))?;
    let built_in_information = root.bytes(file("modules.builtin.modinfo"))?;
    let modules: Vec<Module> = modules.iter().copied().cloned().collect();
    let files = Index::new(&modules, &order, &built_in, &built_in_information).files();
    let files = files.map_err(|error| Cause::Content {
        path: format!("{MODULES}/{version}"),
        line: None,
        problem: error.to_string(),
    })?;
    for (name, bytes) in files {
        root.write(&file(name), bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use prejoin_formats::tree::Entry;

    use super::super::testing::{Bench, package};
    use super::*;
    use crate::package::Package;

    fn kernel(modules: &[(&str, &[&str])]) -> Package {
        let module = |(path, depends): &(&str, &[&str])| {
            let file = path.rsplit('/').next().unwrap();
            Module {
                path: format!("kernel/{path}"),
                name: file.strip_suffix(".ko.xz").unwrap().replace('-', "_"),
                depends: depends.iter().map(|name| (*name).to_owned()).collect(),
                ..Module::default()
            }
        };
        let modules: Vec<Module> = modules.iter().map(module).collect();
        let path = |module: &Module| format!("usr/lib/modules/6/{}", module.path).into_bytes();
        let entries = modules
            .iter()
            .map(|module| (path(module), Entry::file(*b"", 0o644)))
            .collect();
        Package {
            modules,
            entries,
            ..package("linux-image")
        }
    }

    const MODULES: &[(&str, &[&str])] = &[
        ("drivers/gpu/drm.ko.xz", &["cec-core"]),
        ("drivers/media/cec/cec-core.ko.xz", &["rc_core"]),
        ("drivers/media/rc/rc-core.ko.xz", &[]),
        ("drivers/media/dvb/dvb.ko.xz", &["rc_core"]),
        ("net/overlay.ko.xz", &[]),
    ];

    fn root(bench: &Bench) -> Root<'static> {
        let mut files: Vec<(String, &str)> = MODULES
            .iter()
            .map(|(path, _)| (format!("usr/lib/modules/6/kernel/{path}"), ""))
            .collect();
        files.push((
            "usr/lib/modules/6/modules.builtin".into(),
            "kernel/fs/nls/nls-utf8.ko\n",
        ));
        files.push(("usr/lib/modules/6/modules.builtin.modinfo".into(), ""));
        files.push(("usr/lib/modules/6/modules.order".into(), ""));
        bench.root(
            &files
                .iter()
                .map(|(path, text)| (path.as_str(), *text))
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn pruned_modules_go_unless_needed() {
        let bench = Bench::new(
            "pruned_modules: {drivers/media: no cameras}, required_modules: {x: [overlay, nls_utf8, cec_core]}",
        )
        .with(kernel(MODULES));
        let mut root = root(&bench);
        apply(&mut root, &bench.context()).unwrap();
        let has = |path: &str| root.has(&format!("usr/lib/modules/6/kernel/{path}"));
        assert!(has("drivers/media/cec/cec-core.ko.xz") && has("drivers/media/rc/rc-core.ko.xz"));
        assert!(!has("drivers/media/dvb") && has("drivers/gpu/drm.ko.xz"));
        assert_eq!(
            root.text("usr/lib/modules/6/modules.dep")
                .unwrap()
                .lines()
                .next(),
            Some(
                "kernel/drivers/gpu/drm.ko.xz: kernel/drivers/media/cec/cec-core.ko.xz kernel/drivers/media/rc/rc-core.ko.xz"
            )
        );
        assert!(root.has("usr/lib/modules/6/modules.alias.bin"));
    }

    #[test]
    fn needed_modules_must_be_there() {
        let bench = Bench::new("required_modules: {network: [overlay, vxlan, wireguard]}")
            .with(kernel(MODULES));
        let cause = apply(&mut root(&bench), &bench.context()).unwrap_err();
        assert_eq!(
            cause.to_string(),
            "kernel 6 has no module vxlan, wireguard (network)"
        );
    }

    #[test]
    fn the_boot_partition_is_elsewhere() {
        let bench = Bench::new("");
        let mut root = bench.root(&[
            ("boot/vmlinuz-6", "x"),
            ("usr/lib/linux-image-6/a.dtb", "x"),
            ("usr/lib/linux", "x"),
        ]);
        boot(&mut root, &bench.context()).unwrap();
        let paths: Vec<_> = root.tree().iter().map(|(path, _)| show(path)).collect();
        assert_eq!(paths, ["", "boot", "usr", "usr/lib", "usr/lib/linux"]);
    }
}
