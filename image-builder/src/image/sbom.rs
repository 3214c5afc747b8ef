//! The bill of materials: SPDX 2.3 JSON, which scanners and registries read.

use std::collections::{BTreeMap, BTreeSet};

use prejoin_profiles::distribution::Wanted;
use prejoin_profiles::lock::Lock;
use prejoin_wire::digest::Digest;
use serde_json::{Value, json};

use crate::debian::control::Stanza;
use crate::package::Package;

/// Where the parts of a system come from.
pub struct Origin<'a> {
    /// Name of the operating system: `raspios-13`.
    pub os: &'a str,
    /// Name of the one that it is derived from in the end: `debian-13`; advisories know its packages by this name.
    pub base: &'a str,
    /// Archives that the base has, too: `debian`, `debian-security`. What is from others is not the base's.
    pub base_archives: BTreeSet<&'a str>,
    /// What was built, by digest.
    pub lock: &'a Lock,
    /// The programs that are not packages, by their keys in the lock.
    pub programs: &'a BTreeMap<String, Wanted>,
}

impl Origin<'_> {
    /// The distribution that a package is of.
    fn distribution(&self, package: &Package) -> &str {
        let id = format!(
            "{}_{}_{}",
            package.name, package.version, package.architecture
        );
        let archive = self
            .lock
            .packages
            .get(&id)
            .map(|package| package.archive.as_str());
        if archive.is_some_and(|archive| self.base_archives.contains(archive)) {
            self.base
        } else {
            self.os
        }
    }
}

/// The packages and programs of one system as an SPDX 2.3 document (spdx.github.io/spdx-spec/v2.3). `epoch` is the
/// image's time; the document is the same for the same packages.
pub fn spdx(
    set: &str,
    packages: &[&Package],
    origin: &Origin,
    root_hash: &Digest,
    epoch: i64,
) -> String {
    let mut sorted = packages.to_vec();
    sorted.sort_by(|a, b| (&a.name, &a.architecture).cmp(&(&b.name, &b.architecture)));
    let debs = sorted
        .iter()
        .map(|package| describe(package, origin.distribution(package)));
    let programs = origin.programs.iter().map(|(key, wanted)| {
        let known = origin.lock.artifacts.get(key);
        program(wanted, known.map(|known| &known.sha256))
    });
    let listed: Vec<Value> = debs.chain(programs).collect();
    let relationships: Vec<Value> = listed
        .iter()
        .map(|package| {
            json!({
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": package["SPDXID"],
            })
        })
        .collect();
    let document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": format!("prejoin {set}"),
        "documentNamespace": format!("urn:prejoin:{}:{root_hash}", set.replace('/', ":")),
        "creationInfo": {
            "created": timestamp(epoch),
            "creators": [format!("Tool: prejoin-{}", env!("CARGO_PKG_VERSION"))],
        },
        "packages": listed,
        "relationships": relationships,
    });
    let mut text = serde_json::to_string_pretty(&document).expect("a JSON value always serialises");
    text.push('\n');
    text
}

fn describe(package: &Package, distribution: &str) -> Value {
    let stanza = Stanza::new(&package.control);
    let field = |name: &str| stanza.field(name).map(str::to_owned);
    // The source package is what advisories name; its version stands in parentheses when it differs.
    let source = field("Source").unwrap_or_else(|| package.name.clone());
    let upstream = source.split(' ').next().unwrap_or(&source).to_owned();
    json!({
        "SPDXID": identifier("Package", &package.name, &package.architecture),
        "name": package.name,
        "versionInfo": package.version,
        "supplier": field("Maintainer").map_or("NOASSERTION".to_owned(), |text| format!("Person: {text}")),
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "sourceInfo": format!("built package from: {source}"),
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": format!(
                "pkg:deb/{}/{}@{}?arch={}&distro={}&upstream={}",
                encoded(vendor(distribution)), encoded(&package.name), encoded(&package.version),
                package.architecture, encoded(distribution), encoded(&upstream)
            ),
        }],
    })
}

/// Whose distribution it is: its name without the release (`debian` of `debian-13`).
fn vendor(distribution: &str) -> &str {
    match distribution.rsplit_once('-') {
        Some((vendor, release)) if release.starts_with(|c: char| c.is_ascii_digit()) => vendor,
        _ => distribution,
    }
}

/// A program that is not a package: what was downloaded, by upstream's address and digest.
fn program(wanted: &Wanted, sha256: Option<&Digest>) -> Value {
    let installed: Vec<&str> = wanted.install.keys().map(String::as_str).collect();
    let mut package = json!({
        "SPDXID": identifier("Program", &wanted.name, wanted.architecture.name()),
        "name": wanted.name,
        "versionInfo": wanted.version,
        "packageFileName": wanted.upstream_name(),
        "primaryPackagePurpose": "APPLICATION",
        "supplier": "NOASSERTION",
        "downloadLocation": wanted.url,
        "filesAnalyzed": false,
        "sourceInfo": format!("installed as: {}", installed.join(", ")),
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
    });
    // Qualifiers of a package URL are sorted by name.
    let mut locator = format!(
        "{}@{}?arch={}",
        upstream(wanted),
        encoded(&wanted.version),
        wanted.architecture
    );
    if let Some(sha256) = sha256 {
        package["checksums"] =
            json!([{ "algorithm": "SHA256", "checksumValue": sha256.to_string() }]);
        locator.push_str(&format!("&checksum=sha256:{sha256}"));
    }
    locator.push_str(&format!("&download_url={}", encoded(&wanted.url)));
    package["externalRefs"] = json!([{
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": locator,
    }]);
    package
}

/// The beginning of a program's package URL: its repository where the address tells (purl type `github`, names in
/// lower case), else only its name.
fn upstream(wanted: &Wanted) -> String {
    let repository = wanted
        .url
        .strip_prefix("https://github.com/")
        .and_then(|path| {
            let mut parts = path.split('/');
            Some(format!("{}/{}", encoded(parts.next()?), encoded(parts.next()?)).to_lowercase())
        });
    repository.map_or_else(
        || format!("pkg:generic/{}", encoded(&wanted.name)),
        |repository| format!("pkg:github/{repository}"),
    )
}

/// SPDX identifiers have letters, digits, dots and hyphens only.
fn identifier(kind: &str, name: &str, architecture: &str) -> String {
    let plain: String = format!("{name}-{architecture}")
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        })
        .collect();
    format!("SPDXRef-{kind}-{plain}")
}

/// Percent-encoded for a package URL (purl specification, "Character encoding").
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// Seconds since 1970 as `YYYY-MM-DDThh:mm:ssZ` (civil-from-days after Howard Hinnant's algorithm).
fn timestamp(epoch: i64) -> String {
    let (days, seconds) = (epoch.div_euclid(86_400), epoch.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_people_expect() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00Z");
        assert_eq!(timestamp(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(timestamp(1_763_000_000), "2025-11-13T02:13:20Z");
        assert_eq!(timestamp(4_107_542_399), "2100-02-28T23:59:59Z");
    }

    #[test]
    fn versions_survive_in_package_urls() {
        assert_eq!(encoded("1:2.5+b1~deb13u1"), "1%3A2.5%2Bb1~deb13u1");
    }

    fn lock(archives: &[(&str, &str)], artifacts: &[&str]) -> Lock {
        let packages: BTreeMap<_, _> = archives
            .iter()
            .map(|(id, archive)| {
                (id, json!({ "archive": archive, "path": "x", "size": 1, "sha256": Digest::of(id.as_bytes()) }))
            })
            .collect();
        let artifacts: BTreeMap<_, _> = artifacts
            .iter()
            .map(|key| {
                let sha256 = Digest::of(key.as_bytes());
                (key, json!({ "version": "x", "architecture": "arm64", "url": "x", "size": 1, "sha256": sha256 }))
            })
            .collect();
        serde_json::from_value(json!({
            "version": 1, "epoch": 0, "releases": {}, "sets": {}, "packages": packages, "artifacts": artifacts,
        }))
        .unwrap()
    }

    fn package(name: &str) -> Package {
        let control = format!("Package: {name}\nMaintainer: Nobody <nobody@example.org>\n");
        Package {
            name: name.into(),
            version: "1:2".into(),
            architecture: "arm64".into(),
            control,
            ..Package::default()
        }
    }

    fn wanted(name: &str, version: &str, url: &str) -> (String, Wanted) {
        let wanted = Wanted {
            name: name.into(),
            version: version.into(),
            architecture: prejoin_wire::architecture::Architecture::Arm64,
            url: url.into(),
            checksum: String::new(),
            file: String::new(),
            install: BTreeMap::from([(format!("usr/bin/{name}"), String::new())]),
        };
        (wanted.key(), wanted)
    }

    /// What a document says of each package: name, package URL, download location, checksum.
    fn listed(document: &str) -> Vec<[String; 4]> {
        let document: Value = serde_json::from_str(document).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let packages = document["packages"].as_array().unwrap();
        assert_eq!(
            document["relationships"].as_array().unwrap().len(),
            packages.len()
        );
        packages
            .iter()
            .map(|package| {
                [
                    text(&package["name"]),
                    text(&package["externalRefs"][0]["referenceLocator"]),
                    text(&package["downloadLocation"]),
                    text(&package["checksums"][0]["checksumValue"]),
                ]
            })
            .collect()
    }

    #[test]
    fn packages_are_of_the_distribution_that_they_come_from() {
        let (bash, kernel) = (package("bash"), package("linux-image-rpi"));
        let lock = lock(
            &[
                ("bash_1:2_arm64", "debian"),
                ("linux-image-rpi_1:2_arm64", "raspberrypi"),
            ],
            &[],
        );
        let origin = Origin {
            os: "raspios-13",
            base: "debian-13",
            base_archives: ["debian", "debian-security"].into(),
            lock: &lock,
            programs: &BTreeMap::new(),
        };
        let urls: Vec<String> = listed(&spdx(
            "raspios-13/rpi4",
            &[&kernel, &bash],
            &origin,
            &Digest::of(b""),
            0,
        ))
        .into_iter()
        .map(|[_, url, ..]| url)
        .collect();
        assert_eq!(
            urls,
            [
                "pkg:deb/debian/bash@1%3A2?arch=arm64&distro=debian-13&upstream=bash",
                "pkg:deb/raspios/linux-image-rpi@1%3A2?arch=arm64&distro=raspios-13&upstream=linux-image-rpi",
            ]
        );
    }

    #[test]
    fn programs_are_listed_with_their_digests() {
        let runc = "https://github.com/OpenContainers/runc/releases/download/v1.4.3/runc.arm64";
        let kubelet = "https://dl.k8s.io/release/v1.36.3%2Bx/bin/linux/arm64/kubelet";
        let programs = BTreeMap::from([
            wanted("runc", "v1.4.3", runc),
            wanted("kubelet", "v1.36.3+x", kubelet),
        ]);
        let keys = ["runc_v1.4.3_arm64", "kubelet_v1.36.3+x_arm64"];
        let lock = lock(&[], &keys);
        let origin = Origin {
            os: "debian-13",
            base: "debian-13",
            base_archives: BTreeSet::new(),
            lock: &lock,
            programs: &programs,
        };
        let [runc_digest, kubelet_digest] = keys.map(|key| Digest::of(key.as_bytes()).to_string());
        let document = spdx("debian-13/rpi4", &[], &origin, &Digest::of(b""), 0);
        assert_eq!(
            listed(&document),
            [
                [
                    "kubelet".to_owned(),
                    format!(
                        "pkg:generic/kubelet@v1.36.3%2Bx?arch=arm64&checksum=sha256:{kubelet_digest}&download_url=\
                         https%3A%2F%2Fdl.k8s.io%2Frelease%2Fv1.36.3%252Bx%2Fbin%2Flinux%2Farm64%2Fkubelet"
                    ),
                    kubelet.to_owned(),
                    kubelet_digest,
                ],
                [
                    "runc".to_owned(),
                    format!(
                        "pkg:github/opencontainers/runc@v1.4.3?arch=arm64&checksum=sha256:{runc_digest}&download_url=\
                         https%3A%2F%2Fgithub.com%2FOpenContainers%2Frunc%2Freleases%2Fdownload%2Fv1.4.3%2Frunc.arm64"
                    ),
                    runc.to_owned(),
                    runc_digest,
                ],
            ]
        );
        assert!(
            document.contains("\"SPDXID\": \"SPDXRef-Program-kubelet-arm64\""),
            "{document}"
        );
    }
}
