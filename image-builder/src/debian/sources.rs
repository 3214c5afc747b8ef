//! The host's own apt settings: which mirrors it uses (sources.list(5), both formats) and through which proxy.

use crate::debian::control::stanzas;

/// One enabled source of binary packages: an address and the suites taken from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// `http://.../debian`, without slashes at the end.
    pub address: String,
    /// Suites below `dists/`.
    pub suites: Vec<String>,
}

impl Source {
    /// Whether the source is a mirror of `archive`: its path ends in the archive's name, as on every Debian mirror, or
    /// its suites tell (`debian-security` from a mirror that calls it otherwise).
    pub fn is(&self, archive: &str) -> bool {
        let last = self.address.rsplit('/').next().unwrap_or_default();
        let security =
            !self.suites.is_empty() && self.suites.iter().all(|suite| suite.ends_with("-security"));
        match archive {
            "debian" => last == "debian" && !security,
            "debian-security" => {
                last == "debian-security" || (security && !matches!(last, "ubuntu" | "debian"))
            }
            // Raspberry Pi OS: archive `raspberrypi` lies at `<host>/debian`, told apart by its host's name alone.
            _ => last == archive,
        }
    }
}

/// Sources of a one-line style file: `deb [options] address suite component...`.
pub fn one_line(text: &str) -> Vec<Source> {
    let source = |line: &str| {
        let line = line.split('#').next().unwrap_or_default().trim();
        let mut rest = line
            .strip_prefix("deb")?
            .strip_prefix([' ', '\t'])?
            .trim_start();
        if rest.starts_with('[') {
            rest = rest.split_once(']')?.1.trim_start();
        }
        let mut words = rest.split_whitespace();
        let (address, suite) = (words.next()?, words.next()?);
        Some(Source {
            address: address.trim_end_matches('/').to_owned(),
            suites: vec![suite.to_owned()],
        })
    };
    text.lines().filter_map(source).collect()
}

/// Sources of a deb822 style file (`*.sources`).
pub fn deb822(text: &str) -> Vec<Source> {
    let plain: String = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect();
    let mut sources = Vec::new();
    for stanza in stanzas(&plain) {
        let words = |name: &str| {
            stanza
                .field(name)
                .unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned)
        };
        let enabled = !words("Enabled")
            .any(|word| ["no", "false", "without", "off", "disable"].contains(&word.as_str()));
        if enabled && words("Types").any(|word| word == "deb") {
            let suites: Vec<String> = words("Suites").collect();
            let addresses = words("URIs").map(|address| address.trim_end_matches('/').to_owned());
            sources.extend(addresses.map(|address| Source {
                address,
                suites: suites.clone(),
            }));
        }
    }
    sources
}

/// The value of a plain `Acquire::http::Proxy "..."` line of an apt.conf(5) file.
pub fn proxy(text: &str) -> Option<String> {
    let value = |line: &str| {
        let line = line.trim();
        const KEY: &str = "acquire::http::proxy";
        let rest = line
            .get(..KEY.len())
            .filter(|key| key.eq_ignore_ascii_case(KEY))
            .map(|_| &line[KEY.len()..])?;
        let value = rest.trim_start().strip_prefix('"')?.split_once('"')?.0;
        (!value.is_empty() && !value.eq_ignore_ascii_case("direct")).then(|| value.to_owned())
    };
    text.lines().rev().find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats() {
        let one = one_line(
            "# deb http://mirror.example/no x\ndeb-src http://mirror.example/debian trixie main\n\
             deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian/ trixie main # x\n\ndeb cdrom\n",
        );
        assert_eq!(
            one,
            [Source {
                address: "http://mirror.example/debian".into(),
                suites: vec!["trixie".into()]
            }]
        );
        let text = "# c\nTypes: deb deb-src\nURIs: http://a.example/debian/\n http://b.example/debian\n# in between\n\
                    Suites: trixie trixie-updates\n\nTypes: deb\nEnabled: no\nURIs: http://c.example/debian\nSuites: sid\n\n\
                    Types: deb-src\nURIs: http://d.example/debian\nSuites: sid\n";
        let addresses: Vec<_> = deb822(text)
            .into_iter()
            .map(|source| source.address)
            .collect();
        assert_eq!(
            addresses,
            ["http://a.example/debian", "http://b.example/debian"]
        );
    }

    #[test]
    fn archives_are_told_by_path_and_suite() {
        let source = |address: &str, suite: &str| Source {
            address: address.into(),
            suites: vec![suite.into()],
        };
        assert!(source("http://m.example/debian", "bookworm").is("debian"));
        assert!(!source("http://m.example/debian", "bookworm").is("debian-security"));
        assert!(
            source("http://m.example/debian-security", "trixie-security").is("debian-security")
        );
        assert!(source("http://m.example/security", "trixie-security").is("debian-security"));
        assert!(!source("http://m.example/ubuntu", "noble-security").is("debian-security"));
        assert!(!source("http://m.example/ubuntu", "noble").is("debian"));
    }

    #[test]
    fn proxies() {
        assert_eq!(
            proxy("Acquire::http::Proxy \"http://p.example:3142\";\n").as_deref(),
            Some("http://p.example:3142")
        );
        assert_eq!(
            proxy("Acquire::http::Proxy \"DIRECT\";\n// Acquire::http::Proxy \"x\";"),
            None
        );
        assert_eq!(
            proxy("Acquire::http::Proxy::mirror.example \"http://p.example\";"),
            None
        );
    }
}
