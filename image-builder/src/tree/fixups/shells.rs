//! F15: `/etc/shells`, as update-shells writes it: debianutils' template, then what packages register in
//! `shells.d`, each under its name and under its name with links in the directory resolved.

use super::root::show;
use super::{Cause, Context, Root};

const TEMPLATE: &str = "usr/share/debianutils/shells";
const REGISTERED: &str = "usr/share/debianutils/shells.d";

pub(super) fn apply(root: &mut Root<'_>, context: &Context<'_>) -> Result<(), Cause> {
    if !context.has("debianutils") {
        return Ok(());
    }
    let template = root.input("debianutils", TEMPLATE)?;
    let mut text = template.clone();
    let mut known: Vec<String> = template.lines().map(str::to_owned).collect();
    let mut sources = vec![template];
    for path in root.files_in(REGISTERED, "")? {
        sources.push(root.text(path)?);
    }
    for line in sources.iter().flat_map(|source| source.lines()) {
        let shell = line.split('#').next().unwrap_or_default().trim_end();
        let Some((directory, name)) = shell.rsplit_once('/') else {
            continue;
        };
        let real = format!("/{}/{name}", show(root.resolve(directory)?));
        for shell in [shell.to_owned(), real] {
            if !known.contains(&shell) {
                text.push_str(&shell);
                text.push('\n');
                known.push(shell);
            }
        }
    }
    root.write("etc/shells", text)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    #[test]
    fn shells_have_both_names() {
        let bench = Bench::new("").package("debianutils");
        let mut root = bench.root(&[
            ("bin", "-> usr/bin"),
            ("usr/bin/dash", ""),
            (TEMPLATE, "# Login shells.\n/bin/sh\n"),
            (
                "usr/share/debianutils/shells.d/bash",
                "/bin/bash\n/bin/rbash\n",
            ),
            ("usr/share/debianutils/shells.d/dash", "/bin/dash # small\n"),
        ]);
        apply(&mut root, &bench.context()).unwrap();
        assert_eq!(
            root.text("etc/shells").unwrap(),
            "# Login shells.\n/bin/sh\n/usr/bin/sh\n/bin/bash\n/usr/bin/bash\n/bin/rbash\n\
             /usr/bin/rbash\n/bin/dash\n/usr/bin/dash\n"
        );
    }
}
