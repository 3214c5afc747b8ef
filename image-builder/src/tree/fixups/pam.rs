//! F04: `/etc/pam.d/common-*`, byte for byte as pam-auth-update writes them.
//!
//! pam-auth-update is Perl; this is its algorithm for a system without local changes: the profiles in
//! `/usr/share/pam-configs` that are on by default, by falling priority, between the marker comments of the
//! templates in `/usr/share/pam`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cause, Context, Root};

const PROFILES: &str = "usr/share/pam-configs";
const TYPES: [&str; 5] = [
    "auth",
    "account",
    "password",
    "session",
    "session-noninteractive",
];

pub(super) fn apply(root: &mut Root<'_>, context: &Context<'_>) -> Result<(), Cause> {
    if !context.has("libpam-runtime") {
        return Ok(());
    }
    let mut profiles = Vec::new();
    for path in root.files_in(PROFILES, "")? {
        let profile = Profile::parse(&path, &root.text(&path)?)?;
        if profile.field("Default") == "yes" {
            profiles.push(profile);
        }
    }
    if profiles.is_empty() {
        return Err(Cause::Input {
            package: "libpam-runtime".into(),
            path: format!("{PROFILES}/unix"),
        });
    }
    // Of equal priority, the later name comes first: as the program does.
    profiles.sort_by(|one, other| (other.priority, &other.name).cmp(&(one.priority, &one.name)));
    let refused: BTreeSet<String> = profiles
        .iter()
        .flat_map(|profile| profile.conflicts(&profiles))
        .collect();
    profiles.retain(|profile| !refused.contains(&profile.name));
    for kind in TYPES {
        let template = format!("usr/share/pam/common-{kind}");
        let text = root.input("libpam-runtime", &template)?;
        let text = fill(&text, kind, &profiles).ok_or_else(|| Cause::Content {
            path: template,
            line: None,
            problem: "lacks the comments between which the modules go".into(),
        })?;
        root.write(&format!("etc/pam.d/common-{kind}"), text)?;
    }
    Ok(())
}

/// A file of `/usr/share/pam-configs`.
struct Profile {
    name: String,
    priority: i64,
    /// Fields; continuation lines, without blanks around them, are joined by line feeds.
    fields: BTreeMap<String, String>,
}

impl Profile {
    fn parse(path: &str, text: &str) -> Result<Self, Cause> {
        let wrong = |line: usize, problem: &str| Cause::Content {
            path: path.to_owned(),
            line: Some(line),
            problem: problem.to_owned(),
        };
        let mut fields: BTreeMap<String, String> = BTreeMap::new();
        let mut current: Option<String> = None;
        for (index, line) in text.lines().enumerate() {
            let field = line.split_once(':').filter(|(key, value)| {
                !key.is_empty()
                    && !key.contains(char::is_whitespace)
                    && (value.is_empty() || value.starts_with(char::is_whitespace))
            });
            if let Some((key, value)) = field {
                // What the first version of the format called "Auth-Final".
                let key = key.strip_suffix("-Final").unwrap_or(key).to_owned();
                fields.insert(key.clone(), value.trim().to_owned());
                current = Some(key);
            } else if !line.trim().is_empty() {
                let key = current
                    .as_ref()
                    .ok_or_else(|| wrong(index + 1, "continues no field"))?;
                let value = fields.entry(key.clone()).or_default();
                if !value.is_empty() {
                    value.push('\n');
                }
                value.push_str(line.trim());
            }
        }
        let number = fields.get("Priority").map_or(Ok(0), |text| text.parse());
        let priority = number.map_err(|_| wrong(1, "has a priority that is no number"))?;
        let name = path.rsplit('/').next().unwrap_or(path).to_owned();
        Ok(Profile {
            name,
            priority,
            fields,
        })
    }

    fn field(&self, key: &str) -> &str {
        self.fields.get(key).map_or("", String::as_str)
    }

    /// Names of profiles of lower rank that this one excludes.
    fn conflicts(&self, profiles: &[Profile]) -> Vec<String> {
        let conflict = |one: &Profile, other: &Profile| {
            one.field("Conflicts")
                .split(", ")
                .any(|name| name == other.name)
        };
        let below = profiles
            .iter()
            .skip_while(|profile| profile.name != self.name)
            .skip(1);
        below
            .filter(|other| conflict(self, other) || conflict(other, self))
            .map(|other| other.name.clone())
            .collect()
    }

    /// The module lines for a type in a block, when the profile has any there.
    fn lines(&self, kind: &str, block: &str, first: bool) -> Option<Vec<&str>> {
        let key = match kind {
            "auth" => "Auth",
            "account" => "Account",
            "password" => "Password",
            "session-noninteractive" if self.field("Session-Interactive-Only") == "yes" => {
                return None;
            }
            _ => "Session",
        };
        if self.field(&format!("{key}-Type")) != block {
            return None;
        }
        let initial = self.field(&format!("{key}-Initial"));
        let text = if first && !initial.is_empty() {
            initial
        } else {
            self.field(key)
        };
        Some(text.lines().collect())
    }
}

/// The template with the modules of both blocks; none if its marker comments are not there.
fn fill(template: &str, kind: &str, profiles: &[Profile]) -> Option<String> {
    const MARKERS: [(&str, &str, &str); 2] = [
        (
            "# here are the per-package modules (the \"Primary\" block)",
            "Primary",
            "# here's the fallback if no module succeeds",
        ),
        (
            "# and here are more per-package modules (the \"Additional\" block)",
            "Additional",
            "# end of pam-auth-update config",
        ),
    ];
    let mut out = String::new();
    let mut lines = template.lines();
    for (begin, name, end) in MARKERS {
        loop {
            let line = lines.next()?;
            out.push_str(line);
            out.push('\n');
            if line.starts_with(begin) {
                break;
            }
        }
        out.push_str(&block(kind, name, profiles));
        let line = lines.find(|line| line.starts_with(end))?;
        out.push_str(line);
        out.push('\n');
    }
    lines.for_each(|line| {
        out.push_str(line);
        out.push('\n');
    });
    Some(out)
}

/// The lines of one block; `end` in a jump becomes the number of lines that follow in it.
fn block(kind: &str, name: &str, profiles: &[Profile]) -> String {
    let word = kind.trim_end_matches("-noninteractive");
    let mut lines: Vec<&str> = Vec::new();
    let mut first = true;
    for profile in profiles {
        if let Some(more) = profile.lines(kind, name, first) {
            lines.extend(more);
            first = false;
        }
    }
    if name == "Primary" && lines.is_empty() {
        return format!("{word}\t[default=1]\t\t\tpam_permit.so\n");
    }
    // A jump out of the additional block would leave the stack, so it ends one earlier.
    let last = lines.len() - usize::from(name == "Additional" && !lines.is_empty());
    let line = |(index, line): (usize, &&str)| {
        format!("{word}\t{}\n", module(line, last.saturating_sub(index)))
    };
    lines.iter().enumerate().map(line).collect()
}

/// One module line as the program prints it: control and module as they are, one blank, options with one blank
/// between them.
fn module(line: &str, jump: usize) -> String {
    let control = if line.starts_with('[') {
        line.find(']').map_or(line.len(), |end| end + 1)
    } else {
        line.find(char::is_whitespace).unwrap_or(line.len())
    };
    let (control, rest) = line.split_at(control);
    let name = rest.len() - rest.trim_start().len();
    let name = rest[name..]
        .find(char::is_whitespace)
        .map_or(rest.len(), |end| name + end);
    let (name, options) = rest.split_at(name);
    let control = if control.starts_with('[') {
        control.replace("end", &jump.to_string())
    } else {
        control.to_owned()
    };
    format!(
        "{control}{name} {}",
        options.split_whitespace().collect::<Vec<_>>().join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    /// A profile of every type, with other lines where it comes first.
    const FILES: &str = "Name: Passwords in files\nDefault: yes\nPriority: 256\n\
        Auth-Type: Primary\nAuth:\n\t[success=end default=ignore]\tpam_files.so later\n\
        Auth-Initial:\n\t[success=end default=ignore]\tpam_files.so first\n\
        Account-Type: Primary\nAccount:\n\t[success=end new=done default=ignore]\tpam_files.so\n\
        Session-Type: Additional\nSession:\n\trequired\tpam_files.so\n\
        Password-Type: Primary\nPassword:\n\t[success=end default=ignore]\tpam_files.so later\n\
        Password-Initial:\n\t[success=end default=ignore]\tpam_files.so a b\n";
    const PEOPLE: &str = "Name: Sessions of people\nDefault: yes\nPriority: 0\n\
        Session-Interactive-Only: yes\nSession-Type: Additional\nSession:\n\toptional\tpam_people.so\n";
    const UNASKED: &str = "Name: Off unless asked for\nDefault: no\nPriority: 0\n\
        Session-Type: Additional\nSession:\n\toptional\tpam_off.so\n";

    fn templates() -> Vec<(String, String)> {
        let template = |kind: &str| {
            let begin =
                "# top\n# here are the per-package modules (the \"Primary\" block)\n$x_primary\n";
            let middle = "# here's the fallback if no module succeeds\n# middle\n# and here are more per-package modules (the \"Additional\" block)\n$x_additional\n";
            (
                format!("usr/share/pam/common-{kind}"),
                format!("{begin}{middle}# end of pam-auth-update config\n"),
            )
        };
        TYPES.map(template).into()
    }

    fn modules(profiles: &[(&str, &str)], kind: &str) -> Vec<String> {
        let bench = Bench::new("").package("libpam-runtime");
        let templates = templates();
        let mut files: Vec<(&str, &str)> = templates
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
            .collect();
        let profiles: Vec<_> = profiles
            .iter()
            .map(|(name, text)| (format!("{PROFILES}/{name}"), *text))
            .collect();
        files.extend(profiles.iter().map(|(path, text)| (path.as_str(), *text)));
        let mut root = bench.root(&files);
        apply(&mut root, &bench.context()).unwrap();
        let text = root.text(format!("etc/pam.d/common-{kind}")).unwrap();
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn each_type_takes_the_profiles_that_are_on() {
        let profiles = [("files", FILES), ("people", PEOPLE), ("unasked", UNASKED)];
        assert_eq!(
            modules(&profiles, "auth"),
            ["auth\t[success=1 default=ignore]\tpam_files.so first"]
        );
        assert_eq!(
            modules(&profiles, "account"),
            ["account\t[success=1 new=done default=ignore]\tpam_files.so "]
        );
        assert_eq!(
            modules(&profiles, "password"),
            ["password\t[success=1 default=ignore]\tpam_files.so a b"]
        );
        let permit = "session\t[default=1]\t\t\tpam_permit.so";
        assert_eq!(
            modules(&profiles, "session"),
            [
                permit,
                "session\trequired\tpam_files.so ",
                "session\toptional\tpam_people.so "
            ]
        );
        assert_eq!(
            modules(&profiles, "session-noninteractive"),
            [permit, "session\trequired\tpam_files.so "]
        );
    }

    #[test]
    fn jumps_count_what_follows() {
        let first = "Name: a\nDefault: yes\nPriority: 300\nAuth-Type: Primary\nAuth-Final:\n\t[success=end default=ignore]\tpam_a.so  x\ty\n\t[success=end]\tpam_b.so\n";
        assert_eq!(
            modules(&[("files", FILES), ("a", first)], "auth"),
            [
                "auth\t[success=3 default=ignore]\tpam_a.so x y",
                "auth\t[success=2]\tpam_b.so ",
                "auth\t[success=1 default=ignore]\tpam_files.so later"
            ]
        );
        let against = "Name: b\nDefault: yes\nPriority: 100\nConflicts: zz, files\nAuth-Type: Primary\nAuth:\n\trequired pam_c.so\n";
        assert_eq!(
            modules(&[("files", FILES), ("b", against)], "auth").len(),
            1
        );
    }

    #[test]
    fn changed_inputs_are_errors() {
        let bench = Bench::new("").package("libpam-runtime");
        let apply = |files: &[(&str, &str)]| {
            apply(&mut bench.root(files), &bench.context())
                .unwrap_err()
                .to_string()
        };
        let files = ("usr/share/pam-configs/files", FILES);
        assert_eq!(
            apply(&[]),
            "package `libpam-runtime` is unpacked but has no `usr/share/pam-configs/unix`"
        );
        assert_eq!(
            apply(&[files]),
            "package `libpam-runtime` is unpacked but has no `usr/share/pam/common-auth`"
        );
        assert!(
            apply(&[files, ("usr/share/pam/common-auth", "$auth_primary\n")])
                .contains("lacks the comments")
        );
        assert!(
            apply(&[("usr/share/pam-configs/x", " lost\n")]).contains("line 1: continues no field")
        );
    }
}
