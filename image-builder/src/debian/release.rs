//! A repository's `InRelease`: who signed it, whether it is the one wanted, and what it vouches for
//! (wiki.debian.org/DebianRepository/Format, apt's `apt-pkg/deb/debmetaindex.cc`).

use std::collections::BTreeMap;

use prejoin_wire::digest::Digest;
use prejoin_wire::size::amount;

use crate::debian::cleartext::{Cleartext, CleartextError};
use crate::debian::control::{ControlError, Stanza, shorten};
use crate::debian::keyring::{CLOCK_TOLERANCE, Keyring, SignatureError, Signer, ask_clock};

/// Largest `InRelease` that is read, bytes. Debian's is 140 kB.
pub const MAX_SIZE: u64 = 8 << 20;

/// A verified release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// `Suite`, empty when missing.
    pub suite: String,
    /// `Codename`, empty when missing.
    pub codename: String,
    /// `Date`, seconds since 1970.
    pub date: i64,
    /// `Valid-Until`, seconds since 1970.
    pub valid_until: Option<i64>,
    /// Whether indexes can be fetched by digest (`Acquire-By-Hash`), which a mirror's update cannot pull away.
    pub by_hash: bool,
    /// Whether packages of architecture `all` have an index of their own that must be read beside the others.
    pub separate_all: bool,
    /// Index files by path below the release: size and digest.
    pub files: BTreeMap<String, (u64, Digest)>,
    /// Whose signature was good.
    pub signer: Signer,
    /// Digest of the `InRelease` file itself.
    pub sha256: Digest,
}

/// What a release must be so that it is taken.
#[derive(Clone, Debug)]
pub struct Policy<'a> {
    /// Wanted suite or code name.
    pub suite: &'a str,
    /// The time, seconds since 1970.
    pub now: i64,
    /// `Date` of the release seen last: an older one is a roll-back.
    pub newest: Option<i64>,
    /// Take a release past its `Valid-Until`: wanted for dated archives alone (apt's Acquire::Check-Valid-Until).
    pub accept_expired: bool,
}

impl Release {
    /// Verifies an `InRelease` file and reads it. Only what stands inside of the signature is looked at.
    pub fn open(file: &[u8], keyring: &Keyring, policy: &Policy<'_>) -> Result<Self, ReleaseError> {
        if file.len() as u64 > MAX_SIZE {
            return Err(ReleaseError::TooLarge {
                size: file.len() as u64,
            });
        }
        let document = std::str::from_utf8(file)
            .map_err(|_| ReleaseError::Cleartext(CleartextError::NotSigned))?;
        let cleartext = Cleartext::parse(document)?;
        let signer = keyring.verify(&cleartext, policy.now)?;
        let release = Release::parse(&cleartext.text, signer, Digest::of(file))?;
        release.check(policy)?;
        Ok(release)
    }

    /// Path of an index below the archive's root: by digest where the repository offers that.
    pub fn index_path(&self, suite: &str, file: &str, digest: &Digest) -> String {
        match file.rsplit_once('/').filter(|_| self.by_hash) {
            Some((folder, _)) => format!("dists/{suite}/{folder}/by-hash/SHA256/{digest}"),
            None => format!("dists/{suite}/{file}"),
        }
    }

    /// Reads a document as if its signature were good, for the fuzz target alone: no mutated one gets past a signature.
    #[cfg(fuzzing)]
    pub fn open_unverified(file: &[u8]) -> Result<Self, ReleaseError> {
        let document = std::str::from_utf8(file)
            .map_err(|_| ReleaseError::Cleartext(CleartextError::NotSigned))?;
        let signer = Signer {
            fingerprint: String::new(),
            time: 0,
        };
        Release::parse(&Cleartext::parse(document)?.text, signer, Digest::of(file))
    }

    fn parse(text: &str, signer: Signer, sha256: Digest) -> Result<Self, ReleaseError> {
        let stanza = Stanza::only(text)?;
        let word = |name: &str| stanza.field(name).unwrap_or_default().to_owned();
        let time = |name: &'static str| match stanza.field(name) {
            Some(text) => {
                let error = || ReleaseError::Field {
                    field: name,
                    value: shorten(text),
                };
                parse_date(text).map(Some).ok_or_else(error)
            }
            None => Ok(None),
        };
        let has = |name: &str, wanted: &str| {
            stanza
                .field(name)
                .is_some_and(|v| v.split_whitespace().any(|w| w == wanted))
        };
        Ok(Release {
            suite: word("Suite"),
            codename: word("Codename"),
            date: time("Date")?.ok_or(ReleaseError::Missing { field: "Date" })?,
            valid_until: time("Valid-Until")?,
            by_hash: stanza
                .field("Acquire-By-Hash")
                .is_some_and(|value| value.eq_ignore_ascii_case("yes")),
            separate_all: has("Architectures", "all")
                && !has("No-Support-for-Architecture-all", "Packages"),
            files: parse_files(
                stanza
                    .field("SHA256")
                    .ok_or(ReleaseError::Missing { field: "SHA256" })?,
            )?,
            signer,
            sha256,
        })
    }

    fn check(&self, policy: &Policy<'_>) -> Result<(), ReleaseError> {
        if policy.suite != self.suite && policy.suite != self.codename {
            return Err(ReleaseError::Suite {
                suite: shorten(&self.suite),
                codename: shorten(&self.codename),
            });
        }
        if self.date > policy.now.saturating_add(CLOCK_TOLERANCE) {
            return Err(ReleaseError::Future {
                seconds: self.date - policy.now,
                now: policy.now,
            });
        }
        match self.valid_until {
            Some(until) if until < policy.now && !policy.accept_expired => {
                return Err(ReleaseError::Expired {
                    seconds: policy.now - until,
                    now: policy.now,
                });
            }
            _ => {}
        }
        match policy.newest {
            Some(newest) if self.date < newest => Err(ReleaseError::RolledBack {
                seconds: newest - self.date,
            }),
            _ => Ok(()),
        }
    }
}

/// Why a release was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// Larger than [`MAX_SIZE`].
    #[error("it has {}, more than a release can have ({})", amount(*.size), amount(MAX_SIZE))]
    TooLarge {
        /// Bytes.
        size: u64,
    },
    /// Not cleartext signed.
    #[error("it is not a signed document: {0}")]
    Cleartext(#[from] CleartextError),
    /// Not signed by whom it should be.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Signed, but no control file.
    #[error("it is malformed: {0}")]
    Control(#[from] ControlError),
    /// A field that must be there.
    #[error("it is malformed: no field `{field}`")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A field with a value that makes no sense.
    #[error("it is malformed: field `{field}` has `{value}`")]
    Field {
        /// The field.
        field: &'static str,
        /// Its value or the line in question, shortened.
        value: String,
    },
    /// Another suite under the wanted one's address.
    #[error("it is for suite `{suite}`, code name `{codename}`")]
    Suite {
        /// Suite in the release.
        suite: String,
        /// Code name in the release.
        codename: String,
    },
    /// Dated in the future.
    #[error("its date is {seconds} s ahead of this machine's clock")]
    Future {
        /// How far.
        seconds: i64,
        /// What the clock said, in seconds since 1970.
        now: i64,
    },
    /// Past its `Valid-Until`: an attacker, or a mirror that stopped following.
    #[error("it expired {} ago (`Valid-Until`)", span(*seconds))]
    Expired {
        /// How long.
        seconds: i64,
        /// What the clock said, in seconds since 1970.
        now: i64,
    },
    /// Older than one that was already seen.
    #[error("it is {} older than the release in the lock: the mirror was rolled back", span(*seconds))]
    RolledBack {
        /// By how much.
        seconds: i64,
    },
}

impl ReleaseError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            ReleaseError::Future { now, .. } => ask_clock(*now),
            ReleaseError::Expired { now, .. } => format!(
                "{} if it is, use another mirror; for a dated archive, `prejoin lock --accept-expired`",
                ask_clock(*now)
            ),
            ReleaseError::RolledBack { .. } => {
                "use another mirror, or remove the lock if going back is what you want".to_owned()
            }
            ReleaseError::Signature(error) => error.hint(),
            ReleaseError::Cleartext(_) => {
                "is the mirror's address right? (a login page answers like this)".to_owned()
            }
            ReleaseError::Suite { .. } => {
                "name the suite in the profile by its code name".to_owned()
            }
            _ => return None,
        })
    }
}

fn span(seconds: i64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} minutes", seconds / 60),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86400),
    }
}

/// ` digest size path` lines.
fn parse_files(field: &str) -> Result<BTreeMap<String, (u64, Digest)>, ReleaseError> {
    let mut files = BTreeMap::new();
    for line in field.lines().filter(|line| !line.trim().is_empty()) {
        let error = || ReleaseError::Field {
            field: "SHA256",
            value: shorten(line),
        };
        let mut words = line.split_whitespace();
        let (Some(digest), Some(size), Some(path), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(error());
        };
        let digest = digest.parse().map_err(|_| error())?;
        let size = size.parse().map_err(|_| error())?;
        if !is_path(path)
            || files
                .insert(path.to_owned(), (size, digest))
                .is_some_and(|known| known != (size, digest))
        {
            return Err(error());
        }
    }
    Ok(files)
}

/// A path below an archive's root that leads nowhere else, in characters that need no escaping in an address.
pub(crate) fn is_path(path: &str) -> bool {
    path.len() <= 1024
        && path
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"/._+-~:@%=,^".contains(&byte))
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
        && !path.to_ascii_lowercase().contains("%2e")
}

/// `Sat, 12 Sep 2026 07:55:41 UTC` in seconds since 1970 (RFC 2822 with the zone that repositories must use).
fn parse_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (_, date) = text.split_once(", ").unwrap_or(("", text));
    let words: Vec<_> = date.split_whitespace().collect();
    let [day, month, year, time, "UTC" | "GMT" | "Z" | "+0000"] = words[..] else {
        return None;
    };
    let number = |text: &str, range: std::ops::RangeInclusive<i64>| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i64>()
            .ok()
            .filter(|value| digits && range.contains(value))
    };
    let month = MONTHS.iter().position(|name| *name == month)? as i64 + 1;
    let (day, year) = (number(day, 1..=31)?, number(year, 1970..=9999)?);
    let [hour, minute, second] = time.split(':').collect::<Vec<_>>()[..] else {
        return None;
    };
    let (hour, minute, second) = (
        number(hour, 0..=23)?,
        number(minute, 0..=59)?,
        number(second, 0..=60)?,
    );
    // Days since 1970-01-01 of the proleptic Gregorian calendar, years counted from March.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719_468;
    Some(days * 86400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(
            parse_date("Sat, 12 Sep 2026 07:55:41 UTC"),
            Some(1_789_199_741)
        );
        assert_eq!(parse_date("Thu, 01 Jan 1970 00:00:00 UTC"), Some(0));
        assert_eq!(
            parse_date("Tue, 29 Feb 2000 23:59:59 +0000"),
            Some(951_868_799)
        );
        for bad in [
            "",
            "Sat, 12 Sep 2026 07:55:41 CEST",
            "12 Sep",
            "Sat, 32 Sep 2026 07:55:41 UTC",
            "1 Sep 2026 7:5 UTC",
        ] {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn paths_stay_below_the_root() {
        for good in [
            "main/binary-amd64/Packages.xz",
            "pool/main/g/g++/g++_1%3a2~rc1-1_amd64.deb",
        ] {
            assert!(is_path(good), "{good}");
        }
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            "a b",
            "a\\b",
            "a/%2e%2E/b",
            "a/./b",
            "a?b",
            "a#b",
        ] {
            assert!(!is_path(bad), "{bad}");
        }
    }

    #[test]
    fn file_lists() {
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(
            parse_files(&format!("\n {digest} 7 a/b\n")).unwrap()["a/b"].0,
            7
        );
        for bad in [
            format!("{digest} 7 ../b"),
            format!("{digest} -7 b"),
            format!("{digest} b"),
            "x 7 b".into(),
        ] {
            assert!(parse_files(&bad).is_err(), "{bad}");
        }
        assert!(parse_files(&format!("{digest} 7 a\n{digest} 8 a")).is_err());
    }
}
