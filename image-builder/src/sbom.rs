//! The bill of materials: SPDX 2.3 JSON, which scanners and registries read.

use prejoin_profiles::digest::Digest;
use serde_json::{Value, json};

use crate::control::Stanza;
use crate::package::Package;

/// The packages of one system as an SPDX 2.3 document (spdx.github.io/spdx-spec/v2.3). `epoch` is the image's time;
/// the document is the same for the same packages.
pub fn spdx(set: &str, packages: &[&Package], root_hash: &Digest, epoch: i64) -> String {
    let mut sorted = packages.to_vec();
    sorted.sort_by(|a, b| (&a.name, &a.architecture).cmp(&(&b.name, &b.architecture)));
    let listed: Vec<Value> = sorted.iter().map(|package| describe(package)).collect();
    let relationships: Vec<Value> = sorted
        .iter()
        .map(|package| {
            json!({
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": identifier(package),
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

fn describe(package: &Package) -> Value {
    let stanza = Stanza::new(&package.control);
    let field = |name: &str| stanza.field(name).map(str::to_owned);
    // The source package is what advisories name; its version stands in parentheses when it differs.
    let source = field("Source").unwrap_or_else(|| package.name.clone());
    let upstream = source.split(' ').next().unwrap_or(&source).to_owned();
    json!({
        "SPDXID": identifier(package),
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
                "pkg:deb/debian/{}@{}?arch={}&upstream={}&distro=debian-13",
                encoded(&package.name), encoded(&package.version), package.architecture, encoded(&upstream)
            ),
        }],
    })
}

/// SPDX identifiers have letters, digits, dots and hyphens only.
fn identifier(package: &Package) -> String {
    let plain: String = format!("{}-{}", package.name, package.architecture)
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .collect();
    format!("SPDXRef-Package-{plain}")
}

/// Percent-encoded for a package URL (purl specification, "Character encoding").
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => char::from(byte).to_string(),
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
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
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
}
