//! The rest of a script, in the form that is hashed.

/// Conditions and words of the usual skeleton. A script made of nothing else does nothing.
const INERT: [&str; 14] = [
    "case \"$1\" in",
    "case \"${1}\" in",
    "case $1 in",
    "case \"$1\" in configure)",
    "esac",
    ";;",
    ":",
    "true",
    "exit 1",
    "exit 0;",
    "set -e;",
    ". /usr/share/debconf/confmodule",
    "db_stop",
    "db_stop || true",
];

/// `text` without comments, blank lines, indentation, `set -e` and `exit 0`, and with the kernel's version (as the
/// package's name has it) and the package's own version made general, so that an update which changes nothing else
/// keeps its digest. Empty when only a skeleton without effect is left.
pub fn rest(text: &str, package: &str, version: &str) -> String {
    let mut rest = String::with_capacity(text.len());
    for line in text.lines().map(str::trim) {
        if !(line.is_empty()
            || line.starts_with('#')
            || matches!(line, "set -e" | "set -u" | "set -eu" | "exit 0"))
        {
            rest.push_str(line);
            rest.push('\n');
        }
    }
    if rest.lines().all(inert) {
        return String::new();
    }
    if let Some(kernel) = kernel(package) {
        rest = rest.replace(kernel, "{kernel}");
    }
    // A short version (`7.6`) could be part of anything.
    if version.len() >= 5 {
        rest.replace(version, "{version}")
    } else {
        rest
    }
}

fn inert(line: &str) -> bool {
    let pattern = line.strip_suffix(')').is_some_and(|pattern| {
        pattern
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_|* \"?.".contains(&byte))
    });
    let text = line
        .trim_end_matches(">&2")
        .trim_end_matches('1')
        .replace("\\`", "");
    let complaint = text.starts_with("echo ")
        && (text.contains("unknown argument") || text.contains("didn't understand being called"))
        && text.bytes().all(|byte| !b"`;&|(<>".contains(&byte));
    INERT.contains(&line) || pattern || complaint
}

/// `6.12.117+deb13-amd64` of `linux-image-6.12.117+deb13-amd64`.
fn kernel(package: &str) -> Option<&str> {
    let (kind, version) = package.strip_prefix("linux-")?.split_once('-')?;
    let known = matches!(kind, "image" | "binary" | "modules" | "base" | "headers");
    (known && version.starts_with(|first: char| first.is_ascii_digit())).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skeletons_are_nothing() {
        let text = "#!/bin/sh\nset -e\n\ncase \"$1\" in\n  configure)\n  ;;\n  abort-upgrade|abort-remove)\n  ;;\n  *)\n    echo \
                    \"postinst called with unknown argument \\`$1'\" >&2\n    exit 1\n  ;;\nesac\nexit 0\n";
        assert_eq!(rest(&text.replace('`', "'"), "a", "1.2.3-4"), "");
        assert_ne!(rest(&text.replace(";;", "rm -r /\n;;"), "a", "1.2.3-4"), "");
        assert_ne!(
            rest("echo unknown argument > /etc/passwd; rm\n", "a", "1"),
            ""
        );
        assert_ne!(rest("echo \"unknown argument $(rm)\"\n", "a", "1"), "");
    }

    #[test]
    fn versions_are_made_general() {
        let text = "\tdepmod 6.12.117+deb13-amd64 # 6.12.117-1\n";
        assert_eq!(
            rest(text, "linux-image-6.12.117+deb13-amd64", "6.12.117-1"),
            "depmod {kernel} # {version}\n"
        );
        assert_eq!(
            rest(text, "linux-image-amd64", "7"),
            "depmod 6.12.117+deb13-amd64 # 6.12.117-1\n"
        );
    }
}
