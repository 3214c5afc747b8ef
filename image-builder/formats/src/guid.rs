//! GUIDs: 128-bit names of disks, partitions and partition types.

use std::fmt;
use std::str::FromStr;

/// A GUID, held in the order of its text form (RFC 9562 section 4).
///
/// On disk, GPT keeps the first three fields little-endian (UEFI 2.10 appendix A): [`Guid::to_disk`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid([u8; 16]);

/// A text that is not of the form `c12a7328-f81f-11d2-ba4b-00a0c93ec93b`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a GUID")]
pub struct NotGuid(pub String);

impl Guid {
    /// All zero: an unused partition entry.
    pub const NIL: Guid = Guid([0; 16]);

    /// From 16 bytes in text order (half a dm-verity root hash, for example).
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Guid(bytes)
    }

    /// The 16 bytes in text order.
    pub const fn bytes(&self) -> [u8; 16] {
        self.0
    }

    /// From the mixed-endian form on disk.
    pub const fn from_disk(bytes: [u8; 16]) -> Self {
        Guid(swap(bytes))
    }

    /// The mixed-endian form on disk.
    pub const fn to_disk(&self) -> [u8; 16] {
        swap(self.0)
    }

    /// Whether it is [`Guid::NIL`].
    pub fn is_nil(&self) -> bool {
        *self == Self::NIL
    }

    /// Reads the canonical text form, either case; `None` if it is anything else.
    pub const fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 36 {
            return None;
        }
        let mut bytes = [0; 16];
        let (mut at, mut byte) = (0, 0);
        while byte < 16 {
            if matches!(at, 8 | 13 | 18 | 23) {
                if text[at] != b'-' {
                    return None;
                }
                at += 1;
            }
            match (digit(text[at]), digit(text[at + 1])) {
                (Some(high), Some(low)) => bytes[byte] = high << 4 | low,
                _ => return None,
            }
            at += 2;
            byte += 1;
        }
        Some(Guid(bytes))
    }
}

const fn digit(text: u8) -> Option<u8> {
    match text {
        b'0'..=b'9' => Some(text - b'0'),
        b'a'..=b'f' => Some(text - b'a' + 10),
        b'A'..=b'F' => Some(text - b'A' + 10),
        _ => None,
    }
}

/// Turns the three little-endian fields around; its own inverse.
const fn swap(b: [u8; 16]) -> [u8; 16] {
    [
        b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13],
        b[14], b[15],
    ]
}

impl fmt::Display for Guid {
    /// Canonical lower-case text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for Guid {
    type Err = NotGuid;

    fn from_str(text: &str) -> Result<Self, NotGuid> {
        Guid::parse(text).ok_or_else(|| NotGuid(text.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn esp_type_on_disk_is_mixed_endian() {
        let esp: Guid = "C12A7328-f81f-11d2-ba4b-00a0c93ec93b".parse().unwrap();
        assert_eq!(
            esp.to_disk(),
            [
                0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e,
                0xc9, 0x3b
            ]
        );
        assert_eq!(Guid::from_disk(esp.to_disk()), esp);
        assert_eq!(esp.to_string(), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    }

    #[test]
    fn refuses_other_texts() {
        for text in [
            "",
            "c12a7328f81f11d2ba4b00a0c93ec93b",
            "c12a7328-f81f-11d2-ba4b-00a0c93ec93g",
            "{c12a7328",
        ] {
            assert_eq!(text.parse::<Guid>(), Err(NotGuid(text.to_owned())));
        }
        assert!(
            "c12a7328-f81f-11d2-ba4b+00a0c93ec93b"
                .parse::<Guid>()
                .is_err()
        );
        assert!(
            "é12a7328-f81f-11d2-ba4b-00a0c93ec93"
                .parse::<Guid>()
                .is_err()
        );
    }
}
