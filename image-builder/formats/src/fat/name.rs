//! Long names, and the short ones every file has besides.

use std::collections::BTreeSet;

/// A short name: eight and three characters, padded with spaces.
pub(super) type Short = [u8; 11];

/// Longest long name, in UTF-16 units.
const LONGEST: usize = 255;
/// UTF-16 units in one long-name record.
const PER_RECORD: usize = 13;

/// Whether a character can stand in a short name (and in a label).
pub(super) fn is_short(byte: u8) -> bool {
    matches!(byte, b'A'..=b'Z' | b'0'..=b'9') || b"!#$%&'()-@^_`{}~".contains(&byte)
}

/// The UTF-16 form of a name; `None` if FAT cannot hold it.
///
/// Refused besides control and reserved characters: characters beyond the basic plane (long names are UCS-2), and
/// names ending in a dot or a space, which Windows and Linux strip.
pub(super) fn long(name: &[u8]) -> Option<Vec<u16>> {
    let name = std::str::from_utf8(name).ok()?;
    let sound = |c: char| c >= ' ' && c != '\x7f' && c <= '\u{ffff}' && !"\"*/:<>?\\|".contains(c);
    if name.is_empty() || !name.chars().all(sound) || name.ends_with(['.', ' ']) {
        return None;
    }
    let units: Vec<u16> = name.encode_utf16().collect();
    (units.len() <= LONGEST).then_some(units)
}

/// The form in which names are compared: FAT ignores case, and maps one character to one.
pub(super) fn folded(name: &str) -> String {
    let fold = |c: char| {
        let mut upper = c.to_uppercase();
        if upper.len() == 1 {
            upper.next().unwrap_or(c)
        } else {
            c
        }
    };
    name.chars().map(fold).collect()
}

/// The name as a short name if it is one but for case.
pub(super) fn as_short(name: &str) -> Option<Short> {
    let name = name.to_ascii_uppercase();
    let (base, extension) = name.split_once('.').unwrap_or((&name, ""));
    let ends_well = !name.ends_with('.');
    let sound = ends_well && (1..=8).contains(&base.len()) && extension.len() <= 3;
    let sound = sound && base.bytes().chain(extension.bytes()).all(is_short);
    sound.then(|| padded(base.as_bytes(), extension.as_bytes()))
}

/// A short name for a long one that is in nobody's use: the first characters, `~` and a number.
pub(super) fn made_up(name: &str, used: &BTreeSet<Short>) -> Short {
    let (base, extension) = name
        .trim_start_matches('.')
        .rsplit_once('.')
        .unwrap_or((name, ""));
    let (base, extension) = (reduced(base, 8), reduced(extension, 3));
    let numbers = 1u32..;
    let mut candidates = numbers.map(|number| {
        let tail = format!("~{number}");
        let kept = base.len().min(8 - tail.len());
        padded(&[&base[..kept], tail.as_bytes()].concat(), &extension)
    });
    candidates
        .find(|short| !used.contains(short))
        .expect("a directory has fewer files than there are numbers")
}

/// At most `most` characters, upper-case, without dots and spaces, the rest of what is not allowed as `_`.
fn reduced(text: &str, most: usize) -> Vec<u8> {
    let kept = text.chars().filter(|c| !matches!(c, '.' | ' ')).take(most);
    kept.map(|c| {
        u8::try_from(c.to_ascii_uppercase())
            .ok()
            .filter(|&byte| is_short(byte))
            .unwrap_or(b'_')
    })
    .collect()
}

fn padded(base: &[u8], extension: &[u8]) -> Short {
    let mut short = [b' '; 11];
    short[..base.len()].copy_from_slice(base);
    short[8..8 + extension.len()].copy_from_slice(extension);
    short
}

/// Number of records a long name takes.
pub(super) fn records(long: &[u16]) -> usize {
    long.len().div_ceil(PER_RECORD)
}

/// The records of a long name as they stand before the short one: the last part first.
pub(super) fn long_records(long: &[u16], short: &Short) -> Vec<u8> {
    let sum = short
        .iter()
        .fold(0u8, |sum, &byte| sum.rotate_right(1).wrapping_add(byte));
    let count = records(long);
    let mut bytes = Vec::with_capacity(count * 32);
    for index in (0..count).rev() {
        let mut units = [0xffff; PER_RECORD];
        let part = &long[index * PER_RECORD..long.len().min((index + 1) * PER_RECORD)];
        units[..part.len()].copy_from_slice(part);
        if let Some(end) = units.get_mut(part.len()) {
            *end = 0;
        }
        let last = if index + 1 == count { 0x40 } else { 0 };
        bytes.push((index as u8 + 1) | last);
        bytes.extend(units[..5].iter().flat_map(|unit| unit.to_le_bytes()));
        bytes.extend([0x0f, 0, sum]);
        bytes.extend(units[5..11].iter().flat_map(|unit| unit.to_le_bytes()));
        bytes.extend([0, 0]);
        bytes.extend(units[11..].iter().flat_map(|unit| unit.to_le_bytes()));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str, used: &[&[u8; 11]]) -> String {
        let used = used.iter().map(|&&short| short).collect();
        String::from_utf8(made_up(name, &used).to_vec()).unwrap()
    }

    #[test]
    fn short_names() {
        assert_eq!(as_short("BOOTX64.EFI").as_ref(), Some(b"BOOTX64 EFI"));
        assert_eq!(as_short("efi").as_ref(), Some(b"EFI        "));
        for name in [
            "a+b",
            "a.b.c",
            ".a",
            "a.",
            "ninechars",
            "a.long",
            "a b",
            "ä",
        ] {
            assert_eq!(as_short(name), None, "{name}");
        }
        assert_eq!(made("network-config", &[]), "NETWOR~1   ");
        assert_eq!(made("user-data.yaml", &[b"USER-D~1YAM"]), "USER-D~2YAM");
        assert_eq!(made("a+3.efi", &[]), "A_3~1   EFI");
        assert_eq!(made(".config", &[]), "CONFIG~1   ");
        assert_eq!(made("bcm2712-rpi-5-b.dtb", &[]), "BCM271~1DTB");
        assert_eq!(made("Ünï cödé", &[]), "_N_C_D~1   ");
        assert_eq!(made("...", &[]), "~1         ");
    }

    #[test]
    fn names_fat_cannot_hold() {
        for name in [
            "",
            "a.",
            "a ",
            "a:b",
            "a\\b",
            "a\tb",
            "tab\x7f",
            "\u{1f600}",
            &"x".repeat(256),
        ] {
            assert_eq!(long(name.as_bytes()), None, "{name:?}");
        }
        assert_eq!(long(b"\xff"), None);
        assert_eq!(long("ä.b".as_bytes()), Some(vec![0xe4, 0x2e, 0x62]));
        assert_eq!(
            (folded("Straße"), folded("ÄÖ")),
            (folded("straße"), folded("äö"))
        );
        assert_ne!(folded("ß"), folded("SS"));
    }
}
