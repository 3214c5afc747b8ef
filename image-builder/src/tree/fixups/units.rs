//! F09, F21: what systemd starts.
//!
//! Debian enables what each package's script lists, not what presets say. The list is data; what enabling a unit
//! means is in its `[Install]` section (systemd.unit(5)) and is evaluated here, as `systemctl enable` does.

use std::collections::BTreeSet;

use super::{Cause, Context, Root};
use crate::debian::scripts;

const CONFIGURATION: &str = "etc/systemd/system";
/// Where units are looked for, first hit wins.
const DIRECTORIES: [&str; 2] = [CONFIGURATION, "usr/lib/systemd/system"];

pub(super) fn apply(root: &mut Root<'_>, context: &Context<'_>) -> Result<(), Cause> {
    let mut seen = BTreeSet::new();
    for (package, recipe) in context.recipes() {
        for unit in &recipe.enable {
            enable(root, unit, package, &mut seen)?;
        }
    }
    asked(root, context, &mut seen)?;
    for (package, recipe) in context.recipes() {
        for unit in &recipe.mask {
            if seen.contains(unit) {
                return Err(fault(unit, package, "is both enabled and masked"));
            }
            root.link(&format!("{CONFIGURATION}/{unit}"), "/dev/null")?;
        }
    }
    Ok(())
}

/// Whoever asks for a package by name gets its units as its script enables them, unless a recipe says which. What comes
/// along with it stays off.
fn asked(
    root: &mut Root<'_>,
    context: &Context<'_>,
    seen: &mut BTreeSet<String>,
) -> Result<(), Cause> {
    let left_off: BTreeSet<&String> = context
        .recipes()
        .flat_map(|(_, recipe)| recipe.leave_off.iter().chain(&recipe.mask))
        .collect();
    for package in context.packages {
        let recipe = context.os.recipes.get(&package.name);
        if !context.os.asked.contains(&package.name)
            || recipe.is_some_and(|recipe| !recipe.enable.is_empty())
        {
            continue;
        }
        let postinst = package.scripts.get("postinst").map(Vec::as_slice);
        let text = String::from_utf8_lossy(postinst.unwrap_or_default());
        for unit in scripts::units(&text) {
            // As deb-systemd-helper does: a unit of another init system's, or without anything to install, is none.
            if left_off.contains(&unit) || find(root, &unit).is_none() {
                continue;
            }
            match enable(root, &unit, &package.name, seen) {
                Err(Cause::Unit { problem, .. }) if problem.starts_with("has nothing") => {}
                other => other?,
            }
        }
    }
    Ok(())
}

fn fault(unit: &str, origin: &str, problem: &str) -> Cause {
    Cause::Unit {
        unit: unit.to_owned(),
        origin: origin.to_owned(),
        problem: problem.to_owned(),
    }
}

fn enable(
    root: &mut Root<'_>,
    unit: &str,
    origin: &str,
    seen: &mut BTreeSet<String>,
) -> Result<(), Cause> {
    if !valid(unit) {
        return Err(fault(unit, origin, "has no valid name"));
    }
    if !seen.insert(unit.to_owned()) {
        return Ok(());
    }
    let path = find(root, unit).ok_or_else(|| fault(unit, origin, "does not exist"))?;
    let install = Install::read(root, unit, &path)?;
    if install.is_empty() {
        return Err(fault(unit, origin, "has nothing in its [Install] section"));
    }
    let name = match unit.split_once("@.") {
        None => unit.to_owned(),
        Some((prefix, suffix)) => {
            let instance = install.instance.as_deref();
            let instance = instance
                .ok_or_else(|| fault(unit, origin, "is a template without default instance"))?;
            format!("{prefix}@{instance}.{suffix}")
        }
    };
    let target = format!("/{path}");
    for (targets, directory) in [
        (&install.wanted, "wants"),
        (&install.required, "requires"),
        (&install.upheld, "upholds"),
    ] {
        for wanting in targets {
            let wanting = expand(wanting, &name, origin)?;
            root.link(
                &format!("{CONFIGURATION}/{wanting}.{directory}/{name}"),
                &target,
            )?;
        }
    }
    for alias in &install.aliases {
        let alias = expand(alias, &name, origin)?;
        root.link(&format!("{CONFIGURATION}/{alias}"), &target)?;
    }
    for also in &install.also {
        let also = expand(also, &name, origin)?;
        // A unit that another one names need not have anything to install.
        match enable(root, &also, unit, seen) {
            Err(Cause::Unit { problem, .. }) if problem.starts_with("has nothing") => {}
            other => other?,
        }
    }
    Ok(())
}

/// The file of a unit, or of the template that it is an instance of.
fn find(root: &Root<'_>, unit: &str) -> Option<String> {
    let there = |name: &str| {
        DIRECTORIES
            .iter()
            .map(|directory| format!("{directory}/{name}"))
            .find(|path| root.has(path))
    };
    there(unit).or_else(|| {
        let (prefix, rest) = unit.split_once('@')?;
        let (_, suffix) = rest.rsplit_once('.')?;
        there(&format!("{prefix}@.{suffix}"))
    })
}

/// As systemd's unit_name_is_valid(): so that a name from a unit file cannot be a path.
fn valid(unit: &str) -> bool {
    let letter =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'-' | b'_' | b'.' | b'\\' | b'@');
    unit.len() < 256
        && unit.bytes().all(letter)
        && unit
            .split_once('.')
            .is_some_and(|(name, kind)| !name.is_empty() && !kind.is_empty())
}

/// The specifiers that Debian's units use in `[Install]`.
fn expand(text: &str, unit: &str, origin: &str) -> Result<String, Cause> {
    let stem = unit.rsplit_once('.').map_or(unit, |(stem, _)| stem);
    let (prefix, instance) = stem.split_once('@').unwrap_or((stem, ""));
    let mut out = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, if letter == '%' { letters.next() } else { None }) {
            ('%', Some('i')) => out.push_str(instance),
            ('%', Some('p')) => out.push_str(prefix),
            ('%', Some('n')) => out.push_str(unit),
            ('%', Some('N')) => out.push_str(stem),
            ('%', _) => {
                return Err(fault(
                    unit,
                    origin,
                    &format!("uses a specifier in `{text}` that is not understood"),
                ));
            }
            (letter, _) => out.push(letter),
        }
    }
    if valid(&out) {
        Ok(out)
    } else {
        Err(fault(
            unit,
            origin,
            &format!("names `{out}`, which is no unit"),
        ))
    }
}

/// An `[Install]` section, drop-ins included.
#[derive(Default)]
struct Install {
    wanted: Vec<String>,
    required: Vec<String>,
    upheld: Vec<String>,
    aliases: Vec<String>,
    also: Vec<String>,
    instance: Option<String>,
}

impl Install {
    fn read(root: &Root<'_>, unit: &str, path: &str) -> Result<Self, Cause> {
        let mut install = Install::default();
        install.parse(&root.text(path)?);
        for directory in DIRECTORIES.iter().rev() {
            for drop_in in root.files_in(&format!("{directory}/{unit}.d"), ".conf")? {
                install.parse(&root.text(&drop_in)?);
            }
        }
        Ok(install)
    }

    fn parse(&mut self, text: &str) {
        let mut inside = false;
        let joined = text.replace("\\\n", " ");
        for line in joined.lines().map(str::trim) {
            if line.starts_with('[') {
                inside = line == "[Install]";
            } else if inside
                && !line.starts_with(['#', ';'])
                && let Some((key, value)) = line.split_once('=')
            {
                let list = match key.trim() {
                    "WantedBy" => &mut self.wanted,
                    "RequiredBy" => &mut self.required,
                    "UpheldBy" => &mut self.upheld,
                    "Alias" => &mut self.aliases,
                    "Also" => &mut self.also,
                    "DefaultInstance" => {
                        self.instance =
                            Some(value.trim().to_owned()).filter(|instance| !instance.is_empty());
                        continue;
                    }
                    _ => continue,
                };
                // An empty value takes back what was said before.
                if value.trim().is_empty() {
                    list.clear();
                }
                list.extend(value.split_whitespace().map(str::to_owned));
            }
        }
    }

    fn is_empty(&self) -> bool {
        [
            &self.wanted,
            &self.required,
            &self.upheld,
            &self.aliases,
            &self.also,
        ]
        .iter()
        .all(|list| list.is_empty())
    }
}

/// Every link below `/etc/systemd/system` as one line, for comparison.
#[cfg(test)]
pub(super) fn listing(root: &Root<'_>) -> String {
    use prejoin_formats::tree::Kind;

    use super::root::show;
    let link = |(path, entry): (&[u8], &prejoin_formats::tree::Entry)| match &entry.kind {
        Kind::Symlink(target) => Some(format!(
            "{} -> {}\n",
            show(&path[CONFIGURATION.len() + 1..]),
            show(target)
        )),
        _ => None,
    };
    root.tree().below(CONFIGURATION).filter_map(link).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    fn enabled(data: &str, units: &[(&str, &str)]) -> Result<String, Cause> {
        let bench = Bench::new(&format!("node: {{{data}}}"));
        let units: Vec<_> = units
            .iter()
            .map(|(name, text)| (format!("usr/lib/systemd/system/{name}"), *text))
            .collect();
        let units: Vec<_> = units
            .iter()
            .map(|(path, text)| (path.as_str(), *text))
            .collect();
        let mut root = bench.root(&units);
        apply(&mut root, &bench.context())?;
        Ok(listing(&root))
    }

    #[test]
    fn install_sections_are_evaluated() {
        let listing = enabled(
            "enable: [a.service, getty@.service, tty@x.service], mask: [b.service]",
            &[
                (
                    "a.service",
                    "[Unit]\nWantedBy=no.target\n[Install]\nWantedBy=multi-user.target \\\n  other.target\n# WantedBy=no.target\nAlias=dbus-a.service\nAlso=a.socket plain.service\n",
                ),
                (
                    "a.socket",
                    "[Install]\nRequiredBy=sockets.target\nUpheldBy=up.target\nAlso=a.service\n",
                ),
                ("plain.service", "[Service]\nExecStart=/bin/true\n"),
                (
                    "getty@.service",
                    "[Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n",
                ),
                (
                    "tty@.service",
                    "[Install]\nWantedBy=on-%i.target\nAlias=%p-%i.service\n",
                ),
                (
                    "a.service.d/10.conf",
                    "[Install]\nWantedBy=\nWantedBy=third.target\n",
                ),
            ],
        );
        assert_eq!(
            listing.unwrap(),
            "b.service -> /dev/null\n\
             dbus-a.service -> /usr/lib/systemd/system/a.service\n\
             getty.target.wants/getty@tty1.service -> /usr/lib/systemd/system/getty@.service\n\
             on-x.target.wants/tty@x.service -> /usr/lib/systemd/system/tty@.service\n\
             sockets.target.requires/a.socket -> /usr/lib/systemd/system/a.socket\n\
             third.target.wants/a.service -> /usr/lib/systemd/system/a.service\n\
             tty-x.service -> /usr/lib/systemd/system/tty@.service\n\
             up.target.upholds/a.socket -> /usr/lib/systemd/system/a.socket\n"
        );
    }

    #[test]
    fn what_cannot_be_enabled_is_an_error() {
        let error = |data: &str, text: &str| {
            enabled(data, &[("a.service", text), ("t@.service", text)])
                .unwrap_err()
                .to_string()
        };
        let install = "[Install]\nWantedBy=x.target\n";
        assert_eq!(
            error("enable: [b.service]", install),
            "unit `b.service` (node) does not exist"
        );
        assert_eq!(
            error("enable: [a.service]", ""),
            "unit `a.service` (node) has nothing in its [Install] section"
        );
        assert!(error("enable: [t@.service]", install).contains("without default instance"));
        assert!(
            error("enable: [a.service], mask: [a.service]", install)
                .contains("both enabled and masked")
        );
        assert!(error("enable: [../a.service]", install).contains("no valid name"));
        for wrong in ["../../etc/passwd", "%H.target", "x%"] {
            assert!(
                enabled(
                    "enable: [a.service]",
                    &[("a.service", &format!("[Install]\nAlias={wrong}\n"))]
                )
                .is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn what_was_asked_for_is_enabled_as_its_script_does() {
        let script = |unit: &str| {
            format!(
                "# Automatically added by dh_installsystemd/13\n\
                 deb-systemd-helper enable '{unit}' >/dev/null || true\n\
                 # End automatically added section\n"
            )
        };
        let scripted = |name: &str, unit: &str| {
            let mut package = super::super::testing::package(name);
            let postinst = script(unit).into_bytes();
            package.scripts.insert("postinst".into(), postinst);
            package
        };
        let bench = Bench::new(
            "recipes: {off: {leave_off: [off.service]}, own: {enable: [other.service]}}",
        )
        .asked(scripted("asked", "asked.service"))
        .asked(scripted("gone", "gone.service"))
        .asked(scripted("off", "off.service"))
        .asked(scripted("own", "own.service"))
        .with(scripted("needed", "needed.service"));
        let install = "[Install]\nWantedBy=multi-user.target\n";
        let names = ["asked", "needed", "off", "other", "own"];
        let paths = names.map(|name| format!("usr/lib/systemd/system/{name}.service"));
        let files: Vec<_> = paths.iter().map(|path| (path.as_str(), install)).collect();
        let mut root = bench.root(&files);
        apply(&mut root, &bench.context()).unwrap();
        assert_eq!(
            listing(&root),
            "multi-user.target.wants/asked.service -> /usr/lib/systemd/system/asked.service\n\
             multi-user.target.wants/other.service -> /usr/lib/systemd/system/other.service\n"
        );
    }
}
