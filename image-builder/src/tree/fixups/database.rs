//! F22: the package database, so that scanners (and people, with dpkg-query elsewhere) see what is in the image.
//!
//! It lives in `/usr/lib/sysimage/dpkg`, since a running node has its state at `/var`: there it is mounted at
//! `/var/lib/dpkg` (`profiles/os/`). Who looks into an image has no mounts, so that the same files have a second name
//! there, which the state hides from a running node.

use prejoin_formats::tree::Kind;

use super::{Cause, Context, Root};
use crate::package::Package;

const DATABASE: &str = "usr/lib/sysimage/dpkg";
/// Where dpkg has it, and scanners look for it: trivy for `var/lib/dpkg/status` and `info/*.list`, syft and grype for
/// `**/lib/dpkg/status`. None of them follows a link there.
const LOOKED_FOR: &str = "var/lib/dpkg";

pub(super) fn apply(root: &mut Root<'_>, context: &Context<'_>) -> Result<(), Cause> {
    let mut packages: Vec<&Package> = context.packages.to_vec();
    packages.sort_by(|one, other| {
        (&one.name, &one.architecture).cmp(&(&other.name, &other.architecture))
    });
    let mut status = String::new();
    for package in &packages {
        status.push_str(&stanza(package));
        let list = list(root, package);
        root.write(&format!("{DATABASE}/info/{}.list", instance(package)), list)?;
    }
    root.write(&format!("{DATABASE}/status"), status)?;
    root.write(&format!("{DATABASE}/available"), "")?;
    root.write(
        &format!("{DATABASE}/arch-native"),
        format!("{}\n", context.architecture),
    )?;
    // The layout that dpkg itself makes (lib/dpkg/db-fsys-files.c): one file per package instance.
    root.write(&format!("{DATABASE}/info/format"), "1\n")?;
    root.directory(&format!("{DATABASE}/updates"), 0o755)
}

/// Gives the database its second name. After `state`, which empties `/var`.
pub(super) fn offline(root: &mut Root<'_>, _: &Context<'_>) -> Result<(), Cause> {
    let below: Vec<(Vec<u8>, bool)> = root
        .tree()
        .below(DATABASE)
        .map(|(path, entry)| (path.to_vec(), entry.kind == Kind::Directory))
        .collect();
    root.directory(LOOKED_FOR, 0o755)?;
    for (path, is_directory) in below {
        let name = [LOOKED_FOR.as_bytes(), &path[DATABASE.len()..]].concat();
        if is_directory {
            root.directory(&String::from_utf8_lossy(&name), 0o755)?;
        } else {
            root.hard_link(name, path);
        }
    }
    Ok(())
}

/// The control stanza with its status as second field.
fn stanza(package: &Package) -> String {
    let (first, rest) = package
        .control
        .trim_end()
        .split_once('\n')
        .unwrap_or((package.control.trim_end(), ""));
    let rest = if rest.is_empty() {
        String::new()
    } else {
        format!("{rest}\n")
    };
    format!("{first}\nStatus: install ok installed\n{rest}\n")
}

/// The name of a package's files in `info/`: with the architecture when several may be installed side by side.
fn instance(package: &Package) -> String {
    let mut fields = package
        .control
        .lines()
        .filter_map(|line| line.split_once(':'));
    let same =
        fields.any(|(key, value)| key.eq_ignore_ascii_case("Multi-Arch") && value.trim() == "same");
    if same {
        format!("{}:{}", package.name, package.architecture)
    } else {
        package.name.clone()
    }
}

/// What the package brought that is still there, as dpkg lists it.
fn list(root: &Root<'_>, package: &Package) -> Vec<u8> {
    let mut list = b"/.\n".to_vec();
    for (path, _) in package
        .entries
        .iter()
        .filter(|(path, _)| !path.is_empty() && root.tree().entry(path).is_some())
    {
        list.push(b'/');
        list.extend(path);
        list.push(b'\n');
    }
    list
}

#[cfg(test)]
mod tests {
    use prejoin_formats::tree::Entry;

    use super::super::testing::{Bench, package};
    use super::*;

    #[test]
    fn packages_are_recorded() {
        let library = Package {
            control: "Package: lib\nVersion: 2\nMulti-Arch: same\nDescription: a\n b\n".into(),
            entries: vec![
                (Vec::new(), Entry::directory(0o755)),
                (b"usr".to_vec(), Entry::directory(0o755)),
                (b"usr/lib.so".to_vec(), Entry::file(*b"", 0o644)),
                (b"usr/gone".to_vec(), Entry::file(*b"", 0o644)),
            ],
            ..package("lib")
        };
        let bench = Bench::new("").package("z").with(library);
        let mut root = bench.root(&[("usr/lib.so", "")]);
        apply(&mut root, &bench.context()).unwrap();
        assert_eq!(
            root.text("usr/lib/sysimage/dpkg/status").unwrap(),
            "Package: lib\nStatus: install ok installed\nVersion: 2\nMulti-Arch: same\nDescription: a\n b\n\n\
             Package: z\nStatus: install ok installed\nVersion: 1\n\n"
        );
        assert_eq!(
            root.text("usr/lib/sysimage/dpkg/info/lib:amd64.list")
                .unwrap(),
            "/.\n/usr\n/usr/lib.so\n"
        );
        assert_eq!(
            root.text("usr/lib/sysimage/dpkg/info/z.list").unwrap(),
            "/.\n"
        );
        assert_eq!(
            root.text("usr/lib/sysimage/dpkg/arch-native").unwrap(),
            "amd64\n"
        );
    }

    #[test]
    fn scanners_of_an_image_find_the_packages() {
        let bench = Bench::new("").package("z");
        let mut root = bench.root(&[("var", "")]);
        root.remove("var").unwrap();
        apply(&mut root, &bench.context()).unwrap();
        offline(&mut root, &bench.context()).unwrap();
        for file in ["status", "info/z.list", "arch-native"] {
            let entry = root.tree().entry(format!("var/lib/dpkg/{file}")).unwrap();
            let target = format!("{DATABASE}/{file}").into_bytes();
            assert_eq!(entry.kind, Kind::HardLink(target), "{file}");
        }
        assert!(
            root.text("var/lib/dpkg/status")
                .unwrap()
                .contains("Package: z\n")
        );
        let updates = root.tree().entry("var/lib/dpkg/updates").unwrap();
        assert_eq!(updates.kind, Kind::Directory);
    }
}
