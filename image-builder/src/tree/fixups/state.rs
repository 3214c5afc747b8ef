//! F17: `/var` is a volume of its own, empty at first. Every directory that packages ship there, and what scripts
//! would have made, becomes a line of tmpfiles.d(5); the image's `/var` is emptied.

use std::collections::BTreeMap;

use prejoin_formats::tree::Kind;

use super::accounts::Accounts;
use super::root::show;
use super::{Cause, Context, Root};

/// Not taken from the payload: runit is not there, and what base-files ships as directories become links.
const SKIPPED: [&str; 5] = [
    "var/lib/dpkg",
    "var/lib/pam",
    "var/lock",
    "var/log/runit",
    "var/run",
];

pub(super) fn apply(root: &mut Root<'_>, context: &Context<'_>) -> Result<(), Cause> {
    let accounts = Accounts::read(root)?;
    let mut lines: BTreeMap<String, String> = BTreeMap::new();
    for (path, entry) in root.tree().below("var") {
        let path = show(path);
        if SKIPPED.iter().any(|skipped| {
            path.strip_prefix(skipped)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }) {
            continue;
        }
        match &entry.kind {
            Kind::Directory => {
                let (user, group) = (
                    accounts.user(entry.uid, &path)?,
                    accounts.group(entry.gid, &path)?,
                );
                lines.insert(
                    path.clone(),
                    format!("d /{path} {:04o} {user} {group} -", entry.mode),
                );
            }
            Kind::Symlink(target) => {
                lines.insert(path.clone(), format!("L /{path} - - - - {}", show(target)));
            }
            // None is known; one would be lost without a word.
            _ => {
                let problem = "is a file in /var, which is not part of the image; exclude it or ship it elsewhere";
                return Err(Cause::Content {
                    path,
                    line: None,
                    problem: problem.into(),
                });
            }
        }
    }
    for (package, recipe) in context.recipes() {
        for line in &recipe.state {
            let path = line
                .split_ascii_whitespace()
                .nth(1)
                .and_then(|path| path.strip_prefix('/'))
                .ok_or_else(|| Cause::Content {
                    path: format!("state of {package}"),
                    line: None,
                    problem: format!("`{line}` is no line of tmpfiles.d(5) with an absolute path"),
                })?;
            lines.insert(path.to_owned(), line.clone());
        }
    }
    let mut text =
        "# Made with the image: the layout of the state volume and of what is mutable elsewhere.\n"
            .to_owned();
    // In byte order of the paths, so that a directory comes before what is in it.
    for line in lines.values() {
        text.push_str(line);
        text.push('\n');
    }
    root.write("usr/lib/tmpfiles.d/00-image-var.conf", text)?;
    let below: Vec<Vec<u8>> = root
        .tree()
        .children(b"var")
        .map(|(name, _)| [b"var/", name].concat())
        .collect();
    for path in below {
        root.remove_place(path);
    }
    root.directory("var", 0o755)?;
    // Mount points of the kernel's file systems; only base-files ships some of them.
    for (path, mode) in [
        ("dev", 0o755),
        ("proc", 0o755),
        ("run", 0o755),
        ("sys", 0o755),
        ("tmp", 0o1777),
    ] {
        root.remove(path)?;
        root.directory(path, mode)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, modes};
    use super::*;

    #[test]
    fn the_payload_and_the_data_become_lines() {
        let bench = Bench::new(
            "node: {state: ['L /var/run - - - - ../run', 'd /var/mail 2775 root mail -']}",
        );
        let mut root = bench.root(&[
            ("etc/passwd", "a:x:7:7::/:\n"),
            ("etc/group", "a:x:7:\nmail:x:8:\n"),
            ("run/x", ""),
            ("var/lib/l", "-> ../x"),
        ]);
        root.directory("var/lib/a", 0o700).unwrap();
        root.access("var/lib/a", 0o700, 7, 7).unwrap();
        root.directory("var/mail", 0o755).unwrap();
        root.directory("var/log/runit/ssh", 0o755).unwrap();
        apply(&mut root, &bench.context()).unwrap();
        let text = root.text("usr/lib/tmpfiles.d/00-image-var.conf").unwrap();
        assert_eq!(
            text.lines().skip(1).collect::<Vec<_>>(),
            [
                "d /var/lib 0755 root root -",
                "d /var/lib/a 0700 a a -",
                "L /var/lib/l - - - - ../x",
                "d /var/log 0755 root root -",
                "d /var/mail 2775 root mail -",
                "L /var/run - - - - ../run",
            ]
        );
        assert_eq!(
            modes(&root, &["var", "var/lib", "run/x", "tmp"]),
            "var/ 0755 0:0\nvar/lib absent\nrun/x absent\ntmp/ 1777 0:0\n"
        );
    }

    #[test]
    fn nothing_is_lost_silently() {
        let bench = Bench::new("");
        let cause = apply(&mut bench.root(&[("var/lib/data", "x")]), &bench.context()).unwrap_err();
        assert!(
            cause
                .to_string()
                .starts_with("`var/lib/data`: is a file in /var"),
            "{cause}"
        );
        let mut root = bench.root(&[]);
        root.directory("var/x", 0o755).unwrap();
        root.access("var/x", 0o755, 9, 0).unwrap();
        assert!(matches!(
            apply(&mut root, &bench.context()),
            Err(Cause::Account { kind: "user", .. })
        ));
        let bench = Bench::new("node: {state: ['d var/x']}");
        assert!(matches!(
            apply(&mut bench.root(&[]), &bench.context()),
            Err(Cause::Content { .. })
        ));
    }
}
