use std::fmt;
use std::str::FromStr;

/// A version of Kubernetes or k3s: `v1.36.3`, `v1.37.0-rc.1`, `v1.36.3+k3s1`.
///
/// Orders by numbers only; use [`Version::minor`] for skew rules.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Version {
    /// Almost always 1.
    pub major: u16,
    /// What the skew policy counts.
    pub minor: u16,
    /// Patch release.
    pub patch: u16,
    /// What follows a hyphen: `rc.1`.
    pub pre: Option<String>,
    /// What follows a plus: `k3s1`.
    pub build: Option<String>,
}

super::text_form!(
    Version,
    "Version",
    "exact version: `v1.36.3` for kubeadm, `v1.36.3+k3s1` for k3s",
    r"^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$"
);

impl Version {
    /// The three numbers, for comparisons.
    pub fn numbers(&self) -> (u16, u16, u16) {
        (self.major, self.minor, self.patch)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}.{}", self.major, self.minor, self.patch)?;
        if let Some(pre) = &self.pre {
            write!(f, "-{pre}")?;
        }
        self.build
            .as_ref()
            .map_or(Ok(()), |build| write!(f, "+{build}"))
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Version {
    type Err = String;

    /// The leading `v` is wanted: release addresses have it, and one spelling is enough.
    fn from_str(text: &str) -> Result<Self, String> {
        let error =
            || "not an exact version: three numbers such as `v1.36.3` are expected".to_owned();
        let rest = text.strip_prefix('v').ok_or_else(error)?;
        let (rest, build) = split_tail(rest, '+');
        let (rest, pre) = split_tail(rest, '-');
        let mut numbers = rest.split('.').map(|number| {
            let plain = number.bytes().all(|b| b.is_ascii_digit())
                && (number == "0" || !number.starts_with('0'));
            if plain { number.parse().ok() } else { None }
        });
        let mut next = || numbers.next().flatten().ok_or_else(error);
        let (major, minor, patch) = (next()?, next()?, next()?);
        let clean = |part: &Option<&str>| {
            part.is_none_or(|p| {
                !p.is_empty()
                    && p.bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b))
            })
        };
        if numbers.next().is_some() || !clean(&pre) || !clean(&build) {
            return Err(error());
        }
        Ok(Version {
            major,
            minor,
            patch,
            pre: pre.map(str::to_owned),
            build: build.map(str::to_owned),
        })
    }
}

fn split_tail(text: &str, separator: char) -> (&str, Option<&str>) {
    text.split_once(separator)
        .map_or((text, None), |(head, tail)| (head, Some(tail)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_round_trip_and_vague_ones_are_refused() {
        for good in [
            "v1.36.3",
            "v1.36.3+k3s1",
            "v1.37.0-rc.1",
            "v1.37.0-rc.1+k3s2",
        ] {
            assert_eq!(good.parse::<Version>().unwrap().to_string(), good);
        }
        for bad in [
            "1.36.3",
            "v1.36",
            "v1.36.x",
            "latest",
            "v1.36.3+",
            "v1.36.3.4",
            "v01.2.3",
            "v1.36.3+a b",
            "v1.99999.1",
        ] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }
}
