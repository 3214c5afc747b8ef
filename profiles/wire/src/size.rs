//! Numbers of bytes, with their units.

use std::fmt;
use std::str::FromStr;

/// A number of bytes, written with a unit: `512 MiB`, `32 GB`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

const UNITS: [(&str, u64); 10] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
];

impl Size {
    /// One mebibyte, the alignment of every partition.
    pub const MIB: Size = Size(1 << 20);
    /// One gibibyte.
    pub const GIB: Size = Size(1 << 30);

    /// The number of bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

/// Bytes for people, rounded: `512.0 MiB`. A document has the exact number, as [`Size`] writes it.
pub fn amount(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

impl fmt::Display for Size {
    /// In the largest unit that divides it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS
            .iter()
            .filter(|(_, bytes)| self.0 != 0 && self.0.is_multiple_of(*bytes))
            .max_by_key(|(_, b)| *b);
        match unit {
            Some((name, bytes)) => write!(f, "{} {name}", self.0 / bytes),
            None => write!(f, "{} B", self.0),
        }
    }
}

impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Size {
    type Err = String;

    /// Accepts a whole number and a unit of [`UNITS`], with or without a space between; without a unit it is bytes.
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim();
        let factor = match unit {
            "" => 1,
            _ => UNITS.iter().find(|(name, _)| *name == unit).map(|(_, bytes)| *bytes).ok_or_else(|| {
                "not a size: a whole number and one of B, kB, MB, GB, TB, KiB, MiB, GiB, TiB is expected".to_owned()
            })?,
        };
        let number: u64 = number
            .parse()
            .map_err(|_| "not a size: it must begin with a whole number".to_owned())?;
        number
            .checked_mul(factor)
            .map(Size)
            .ok_or_else(|| "the size does not fit 64 bits".to_owned())
    }
}

impl serde::Serialize for Size {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Size {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <String as serde::Deserialize>::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Size {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": ["string", "integer"],
            "description": "size such as `512 MiB` or `32 GB`; bytes without a unit",
            "pattern": "^[0-9]+ *([kKMGT]i?B|B)?$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_exact_and_overflow_is_refused() {
        assert_eq!("512MiB".parse(), Ok(Size(512 << 20)));
        assert_eq!("32 GB".parse(), Ok(Size(32_000_000_000)));
        assert_eq!("7".parse(), Ok(Size(7)));
        assert_eq!(Size(3 << 30).to_string(), "3 GiB");
        assert_eq!(Size(32_000_000_000).to_string(), "32 GB");
        assert_eq!(Size(1025).to_string(), "1025 B");
        for bad in [
            "",
            "GiB",
            "1.5 GiB",
            "-1",
            "99999999999999999999",
            "99999999999 TiB",
            "5 gb",
            "5G",
        ] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }
}
