use std::collections::BTreeMap;

use super::Source;
use crate::lock;
use prejoin_wire::architecture::Architecture;
use prejoin_wire::digest::Digest;

/// One file to fetch: an exact version of something for one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What it is: `kubelet`.
    pub name: String,
    /// Version as upstream writes it.
    pub version: String,
    /// Machine architecture.
    pub architecture: Architecture,
    /// Upstream's address.
    pub url: String,
    /// Address of a file that has its SHA-256 digest, alone or in a list.
    pub checksum: String,
    /// Name in a flat folder.
    pub file: String,
    /// Programs in it: path on the node -> member of the archive, or nothing if the file itself is the program.
    pub install: BTreeMap<String, String>,
}

impl Wanted {
    /// Fills in a source's texts.
    pub(super) fn new(
        name: &str,
        source: &Source,
        version: String,
        architecture: Architecture,
    ) -> Self {
        let number = version.strip_prefix('v').unwrap_or(&version);
        let suffix = source.suffix.get(&architecture).map_or("", String::as_str);
        let fill = |text: &str, version: &str, number: &str| {
            text.replace("{version}", version)
                .replace("{number}", number)
                .replace("{architecture}", architecture.name())
                .replace("{suffix}", suffix)
        };
        // A plus in a path means itself to RFC 3986, and a blank to some servers; k3s' releases are found under `%2B`.
        let address = |text: &str| {
            fill(
                text,
                &version.replace('+', "%2B"),
                &number.replace('+', "%2B"),
            )
        };
        let url = address(&source.url);
        Wanted {
            name: name.to_owned(),
            architecture,
            checksum: address(&source.checksum).replace("{url}", &url),
            file: fill(&source.file, &version, number),
            install: source.install.clone(),
            url,
            version,
        }
    }

    /// Its name in the lock: `kubelet_v1.36.3_arm64`.
    pub fn key(&self) -> String {
        format!("{}_{}_{}", self.name, self.version, self.architecture)
    }

    /// Paths below a folder or mirror's address at which it is looked for, in this order: as `wget --mirror` and the
    /// mirrors of kubespray have it (`dl.k8s.io/release/…`), then flat (`kubelet-v1.36.3-arm64`).
    pub fn places(&self) -> [String; 2] {
        [below_scheme(&self.url).to_owned(), self.file.clone()]
    }

    /// Where its checksum file is, beside each of [`Wanted::places`]; flat, it is called after the file.
    pub fn checksum_places(&self) -> [String; 2] {
        [
            below_scheme(&self.checksum).to_owned(),
            format!("{}.sha256", self.file),
        ]
    }

    /// Its last part of upstream's path: the name under which checksum lists have it.
    pub fn upstream_name(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or(&self.url)
    }

    /// Whether it is an archive that programs are taken out of.
    pub fn is_archive(&self) -> bool {
        self.install.values().any(|member| !member.is_empty())
    }

    /// The entry of the lock.
    pub fn locked(&self, size: u64, sha256: Digest) -> lock::Artifact {
        lock::Artifact {
            version: self.version.clone(),
            architecture: self.architecture,
            url: below_scheme(&self.url).to_owned(),
            size,
            sha256,
        }
    }
}

fn below_scheme(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest)
}
