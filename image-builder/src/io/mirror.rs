//! Where archives are: no address is built in, because mirrors differ from user to user.
#![expect(
    clippy::disallowed_methods,
    reason = "reads the environment and the host's apt settings"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::FetchError;
use crate::debian::sources::{self, Source};

/// Base addresses by archive name, the best first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirrors {
    bases: BTreeMap<String, Vec<String>>,
    /// The host's apt proxy, which applies when nothing in the environment names one.
    pub proxy: Option<String>,
}

/// Who may say where an archive is, in falling order. The first that names an archive decides for it alone.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// From the command line.
    pub flags: BTreeMap<String, Vec<String>>,
    /// From the cluster file.
    pub cluster: BTreeMap<String, Vec<String>>,
    /// The host's apt settings.
    pub host: Vec<Source>,
    /// The host's proxy for apt.
    pub proxy: Option<String>,
}

/// Environment variable that names mirrors of an archive, separated by white space: `PREJOIN_MIRROR_DEBIAN_SECURITY`.
pub fn variable(archive: &str) -> String {
    let name: String = archive
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect();
    format!("PREJOIN_MIRROR_{name}")
}

impl Mirrors {
    /// Finds the mirrors of `archives`. One that nobody names is an error only when it is used: a build from the cache
    /// needs none.
    pub fn find<'a>(
        archives: impl IntoIterator<Item = &'a str>,
        settings: &Settings,
    ) -> Result<Self, FetchError> {
        let mut bases = BTreeMap::new();
        for archive in archives {
            let variable = variable(archive);
            let environment: Vec<String> = std::env::var(&variable)
                .unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned)
                .collect();
            let host = settings
                .host
                .iter()
                .filter(|source| source.is(archive) && is_address(&source.address));
            let host: Vec<String> = host.map(|source| source.address.clone()).collect();
            let named = [
                (settings.flags.get(archive), "--mirror"),
                (Some(&environment), variable.as_str()),
                (settings.cluster.get(archive), "cluster file"),
                (Some(&host), "apt settings"),
            ];
            let first = named
                .into_iter()
                .find_map(|(list, by)| list.filter(|l| !l.is_empty()).map(|l| (l, by)));
            if let Some((addresses, by)) = first {
                bases.insert(archive.to_owned(), check(addresses, by)?);
            }
        }
        Ok(Mirrors {
            bases,
            proxy: settings.proxy.clone(),
        })
    }

    /// Base addresses of an archive without slash at the end; at least one.
    pub fn of(&self, archive: &str) -> Result<&[String], FetchError> {
        match self.bases.get(archive) {
            Some(addresses) => Ok(addresses),
            None => Err(FetchError::NoMirror {
                archive: archive.to_owned(),
            }),
        }
    }
}

impl Settings {
    /// Adds what apt on this host uses; a host without apt adds nothing.
    pub fn with_host(mut self) -> Self {
        let apt = Path::new("/etc/apt");
        let lists = fs::read_to_string(apt.join("sources.list")).unwrap_or_default();
        self.host = sources::one_line(&lists);
        for (path, text) in folder(&apt.join("sources.list.d")) {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("list") => self.host.extend(sources::one_line(&text)),
                Some("sources") => self.host.extend(sources::deb822(&text)),
                _ => {}
            }
        }
        let mut settings: Vec<_> = folder(&apt.join("apt.conf.d"))
            .into_iter()
            .map(|(_, text)| text)
            .collect();
        settings.extend(fs::read_to_string(apt.join("apt.conf")));
        self.proxy = settings.iter().rev().find_map(|text| sources::proxy(text));
        self
    }
}

/// Text files of a folder in the order of their names.
fn folder(path: &Path) -> Vec<(PathBuf, String)> {
    let mut paths: Vec<PathBuf> = fs::read_dir(path)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    paths.sort();
    paths
        .into_iter()
        .filter_map(|path| fs::read_to_string(&path).ok().map(|text| (path, text)))
        .collect()
}

fn check(addresses: &[String], by: &str) -> Result<Vec<String>, FetchError> {
    let mut checked: Vec<String> = Vec::new();
    for address in addresses {
        let wrong = || FetchError::Address {
            address: address.clone(),
            origin: by.to_owned(),
        };
        let address = local(address).ok_or_else(wrong)?;
        let trimmed = address.trim_end_matches('/');
        if !is_address(trimmed) {
            return Err(wrong());
        }
        if !checked.iter().any(|known| known == trimmed) {
            checked.push(trimmed.to_owned());
        }
    }
    Ok(checked)
}

/// An address in the form that is used here. A folder may be named by its path alone, `/srv/mirror`, `./mirror`. Behind
/// `file://` stands a path as the file system has it: what an address says as `%20` is a blank.
fn local(address: &str) -> Option<String> {
    let address = address.trim();
    if let Some(path) = address.strip_prefix("file://") {
        return Some(format!("file://{}", decoded(path)?));
    }
    if !address.starts_with(['/', '.']) {
        return Some(address.to_owned());
    }
    let path = std::path::absolute(address).ok()?;
    Some(format!("file://{}", path.to_str()?))
}

/// A path with `%20` and its kind resolved; none if that is no text, or a byte that no path has.
fn decoded(path: &str) -> Option<String> {
    let mut pieces = path.split('%');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let byte = u8::from_str_radix(piece.get(..2)?, 16).ok()?;
        bytes.push(byte);
        bytes.extend_from_slice(&piece.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

fn is_address(text: &str) -> bool {
    if let Some(path) = text.strip_prefix("file://") {
        return path.starts_with('/') && path.len() > 1 && !path.contains(char::is_control);
    }
    let rest = ["http://", "https://"]
        .into_iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    rest.is_some_and(|rest| {
        !rest.is_empty()
            && !rest.starts_with('/')
            && !rest.contains(|c: char| c.is_whitespace() || c.is_control())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(archive: &str, address: &str) -> BTreeMap<String, Vec<String>> {
        BTreeMap::from([(archive.to_owned(), vec![address.to_owned()])])
    }

    #[test]
    fn the_first_who_names_an_archive_decides() {
        let host = vec![Source {
            address: "http://host.example/ours".into(),
            suites: vec!["trixie".into()],
        }];
        let mut settings = Settings {
            cluster: map("ours", "file:///srv/ours/"),
            host,
            ..Settings::default()
        };
        let base = |settings: &Settings| {
            Mirrors::find(["ours"], settings)
                .unwrap()
                .of("ours")
                .unwrap()
                .to_vec()
        };
        assert_eq!(base(&settings), ["file:///srv/ours"]);
        settings.flags = map("ours", "https://flag.example/ours");
        assert_eq!(base(&settings), ["https://flag.example/ours"]);
        settings = Settings {
            host: settings.host,
            ..Settings::default()
        };
        assert_eq!(base(&settings), ["http://host.example/ours"]);
        let error = Mirrors::find(["other"], &settings)
            .unwrap()
            .of("other")
            .unwrap_err();
        assert!(
            error.hint().unwrap().contains("PREJOIN_MIRROR_OTHER=URL"),
            "{error}"
        );
    }

    #[test]
    fn addresses_are_checked() {
        for bad in [
            "mirror.example/debian",
            "ftp://m.example/debian",
            "file://host/x",
            "http:///x",
            "http://",
            "http://a b",
            "file:///srv/a%0ab",
            "file:///srv/100%",
            "file:///",
        ] {
            let settings = Settings {
                flags: map("ours", bad),
                ..Settings::default()
            };
            assert!(
                matches!(
                    Mirrors::find(["ours"], &settings),
                    Err(FetchError::Address { .. })
                ),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_folder_is_an_address() {
        let here = std::env::current_dir().unwrap();
        let here = here.to_str().unwrap();
        for (given, expected) in [
            ("/srv/mirror/", "file:///srv/mirror"),
            ("/srv/a b", "file:///srv/a b"),
            ("/srv/100%", "file:///srv/100%"),
            ("./a b", &format!("file://{here}/a b")),
            ("file:///srv/a b", "file:///srv/a b"),
            ("file:///srv/a%20b%25", "file:///srv/a b%"),
        ] {
            let settings = Settings {
                flags: map("ours", given),
                ..Settings::default()
            };
            let mirrors = Mirrors::find(["ours"], &settings).unwrap();
            assert_eq!(mirrors.of("ours").unwrap(), [expected], "{given}");
        }
    }
}
