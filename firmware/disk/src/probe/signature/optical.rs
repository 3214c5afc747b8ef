//! ISO 9660 and UDF, which hybrid images bring onto disks.

use super::Found;
use super::medium::{Fields, Medium};

/// Where both begin to describe themselves, in descriptors of 2 KiB.
const START: u64 = 0x8000;
const DESCRIPTOR: u64 = 2048;

pub(super) fn find(medium: &Medium, found: &mut Vec<Found>) {
    found.extend(iso(medium));
    found.extend(udf(medium));
}

/// ECMA-119, 8.4 (primary volume descriptor), and Joliet's supplementary one.
fn iso(medium: &Medium) -> Option<Found> {
    let descriptor = |index| medium.bytes(START + index * DESCRIPTOR, DESCRIPTOR as usize);
    let is = |bytes: &[u8], kind| bytes.byte(0) == Some(kind) && bytes.has(1, b"CD001");
    let number = (0..16).find(|&index| descriptor(index).is_some_and(|bytes| is(&bytes, 1)))?;
    let primary = descriptor(number)?;
    let block = primary.le16(128)?;
    if primary.byte(6)? != 1 || block == 0 || primary.be16(130)? != block {
        return None;
    }
    let joliet = (0..16)
        .filter_map(descriptor)
        .take_while(|bytes| bytes.has(1, b"CD001"))
        .find(|bytes| {
            let level = bytes.part(88, 3).unwrap_or_default();
            is(bytes, 2) && matches!(level, b"%/@" | b"%/C" | b"%/E")
        });
    let mut label = primary.text(40, 32);
    let start = START + number * DESCRIPTOR;
    let mut found = Found::new("iso9660", start, DESCRIPTOR, 5).after(1);
    if let Some(joliet) = joliet {
        found = found.version("Joliet Extension");
        label = merge(label, joliet.wide(40, 32, u16::from_be_bytes));
    }
    // Modified, or else created.
    let date = [830, 813].into_iter().find_map(|at| {
        let digits = primary.part(at, 16)?;
        let set =
            digits.iter().all(u8::is_ascii_digit) && digits.iter().any(|&digit| digit != b'0');
        let text = str::from_utf8(digits).ok().filter(|_| set)?;
        let pairs = [4..6, 6..8, 8..10, 10..12, 12..14, 14..16]
            .map(|range| text.get(range).unwrap_or_default());
        Some(format!("{}-{}", text.get(..4)?, pairs.join("-")))
    });
    Some(found.uuid(date).label(label))
}

/// Joliet's label has the right case but only 16 characters of it.
fn merge(plain: Option<String>, joliet: Option<String>) -> Option<String> {
    let (Some(plain), Some(joliet)) = (&plain, &joliet) else {
        return joliet.or(plain);
    };
    let mut rest = plain.chars();
    let prefix = joliet.chars().all(|wide| {
        rest.next().is_some_and(|narrow| {
            narrow == '_' || wide == '_' || narrow.eq_ignore_ascii_case(&wide)
        })
    });
    Some(if prefix {
        format!("{joliet}{}", rest.as_str())
    } else {
        joliet.clone()
    })
}

/// ECMA-167 and OSTA UDF 2.60: a recognition sequence, an anchor in sector 256, and the descriptors it points to.
fn udf(medium: &Medium) -> Option<Found> {
    let (sequence, _) = [2048, 4096]
        .into_iter()
        .find_map(|step| recognition(medium, step))?;
    let mut found = Found::new("udf", sequence, DESCRIPTOR, 5).after(1);
    let Some((sector, anchor)) = [512, 1024, 2048, 4096].into_iter().find_map(|sector| {
        let bytes = medium.bytes(256 * sector, 512)?;
        (bytes.le16(0)? == 2 && bytes.le32(12)? == 256).then_some((sector, bytes))
    }) else {
        return Some(found);
    };
    let (count, first) = (
        u64::from(anchor.le32(16)?) / sector,
        u64::from(anchor.le32(20)?),
    );
    for number in first..first + count.min(64) {
        let Some(bytes) = medium.bytes(number * sector, 512) else {
            break;
        };
        match bytes.le16(0)? {
            1 => found = found.uuid(bytes.part(72, 128).and_then(udf_uuid)),
            6 => {
                let revision = bytes.le16(240)?;
                found = found.version(format!("{:x}.{:02x}", revision >> 8, revision & 0xff));
                found = found.label(bytes.part(84, 128).and_then(text));
            }
            0 | 8 => break,
            _ => {}
        }
    }
    Some(found)
}

fn recognition(medium: &Medium, step: u64) -> Option<(u64, u64)> {
    for index in 0..64 {
        let offset = START + index * step;
        let bytes = medium.bytes(offset, 7)?;
        match bytes.part(1, 5)? {
            b"NSR02" | b"NSR03" => return Some((offset, step)),
            b"BEA01" | b"BOOT2" | b"CD001" | b"CDW02" | b"TEA01" => {}
            _ => return None,
        }
    }
    None
}

/// OSTA compressed Unicode: 8 or 16 bits a character, and the length in the last byte.
fn text(field: &[u8]) -> Option<String> {
    let length = usize::from(*field.last()?).clamp(1, field.len() - 1) - 1;
    match field.first()? {
        8 => {
            let wide: Vec<u8> = field
                .part(1, length)?
                .iter()
                .flat_map(|&byte| [0, byte])
                .collect();
            wide.wide(0, wide.len(), u16::from_be_bytes)
        }
        16 => field.wide(1, length, u16::from_be_bytes),
        _ => None,
    }
}

/// The first 16 characters of the volume set's name should be a number of its own; libblkid's rule for those that are
/// not.
fn udf_uuid(field: &[u8]) -> Option<String> {
    let text = text(field)?;
    let bytes = &text.as_bytes()[..text.len().min(16)];
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let lower = |bytes: &[u8]| String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let digits = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    match digits {
        16 => Some(lower(bytes)),
        8.. => Some(lower(bytes.get(..8)?) + &hex(bytes.get(8..12)?)),
        _ => Some(hex(bytes.get(..8)?)),
    }
}
