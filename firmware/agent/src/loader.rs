//! What the boot loader says of itself.

use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// The variable of the Boot Loader Interface with the GUID of the partition that the boot loader was started from
/// (systemd, `BOOT_LOADER_INTERFACE`); systemd-boot and the stub of a unified kernel image set it.
pub(crate) const VARIABLE: &str = "LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// Most bytes of it that are read.
pub(crate) const LONGEST: usize = 4 + 2 * 64;

/// The partition that the boot loader was started from, out of the variable's bytes as efivarfs shows them: four bytes
/// of attributes, then a text in UTF-16 (kernel `Documentation/filesystems/efivarfs.rst`).
pub(crate) fn device_partition(bytes: &[u8]) -> Option<Uuid> {
    let (units, rest) = bytes.get(4..)?.as_chunks::<2>();
    let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    let text = String::from_utf16(&units).ok()?;
    let guid = text.trim_end_matches('\0').parse::<Hyphenated>().ok()?;
    Some(guid.into_uuid()).filter(|guid| rest.is_empty() && !guid.is_nil())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "0C6FA1C1-0000-4000-8000-000000000001";

    fn variable(text: &str) -> Vec<u8> {
        let units = text.encode_utf16().flat_map(u16::to_le_bytes);
        [6, 0, 0, 0].into_iter().chain(units).collect()
    }

    #[test]
    fn says_which_partition() {
        let guid = TEXT.parse().ok();
        assert_eq!(device_partition(&variable(TEXT)), guid);
        assert_eq!(device_partition(&variable(&format!("{TEXT}\0"))), guid);
        let lower = TEXT.to_lowercase();
        assert_eq!(device_partition(&variable(&lower)), guid);
        assert!(variable(TEXT).len() <= LONGEST);
    }

    #[test]
    fn says_nothing_else() {
        let nil = "00000000-0000-0000-0000-000000000000";
        for text in [
            "",
            "0",
            nil,
            &TEXT[1..],
            &format!("{TEXT}0"),
            &format!("\0{TEXT}"),
        ] {
            assert_eq!(device_partition(&variable(text)), None, "{text:?}");
        }
        let whole = variable(TEXT);
        for bytes in [
            &[][..],
            &whole[..3],
            &whole[..whole.len() - 1],
            &[0; 5],
            &[0xff; 76],
        ] {
            assert_eq!(device_partition(bytes), None);
        }
        // Half of a pair of surrogates.
        assert_eq!(device_partition(&[0, 0, 0, 0, 0, 0xd8]), None);
    }
}
