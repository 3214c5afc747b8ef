//! As much of DER (X.690) as it takes to find a certificate's subject, and its canonical form.

/// Bytes of a DER value, read element by element; every length is checked against what is there.
#[derive(Clone, Copy)]
pub(super) struct Der<'a>(pub(super) &'a [u8]);

/// One element.
pub(super) struct Element<'a> {
    /// The tag; the high tag number form is not read.
    pub(super) tag: u8,
    /// The contents.
    pub(super) value: &'a [u8],
    /// Tag, length and contents.
    pub(super) whole: &'a [u8],
}

pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
pub(super) const UTF8_STRING: u8 = 0x0c;
/// `[0]`, constructed: the version of a certificate.
const VERSION: u8 = 0xa0;

impl<'a> Der<'a> {
    /// The next element; none at the end or when it is broken.
    pub(super) fn next(&mut self) -> Option<Element<'a>> {
        let all = self.0;
        let (&tag, rest) = all.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first & 0x80 != 0 {
            let count = usize::from(first & 0x7f);
            // Four bytes are 4 GiB; none is the indefinite form, which DER does not have.
            if !(1..=4).contains(&count) || rest.len() < count {
                return None;
            }
            let (bytes, after) = rest.split_at(count);
            length = bytes
                .iter()
                .fold(0, |length, &byte| length << 8 | usize::from(byte));
            rest = after;
        }
        if rest.len() < length || tag & 0x1f == 0x1f {
            return None;
        }
        let (value, after) = rest.split_at(length);
        self.0 = after;
        Some(Element {
            tag,
            value,
            whole: &all[..all.len() - after.len()],
        })
    }

    /// The contents of the next element if it has this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Option<Der<'a>> {
        self.next()
            .filter(|element| element.tag == tag)
            .map(|element| Der(element.value))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One element with this tag.
pub(super) fn encode(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = value.len();
    let mut out = vec![tag];
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let bytes = length.to_be_bytes();
        let bytes = &bytes[bytes.iter().take_while(|&&byte| byte == 0).count()..];
        out.push(0x80 | bytes.len() as u8);
        out.extend(bytes);
    }
    out.extend(value);
    out
}

/// The subject of a certificate (RFC 5280, section 4.1): the contents of its `Name`.
pub(super) fn subject(certificate: &[u8]) -> Option<Der<'_>> {
    let mut body = Der(certificate).expect(SEQUENCE)?.expect(SEQUENCE)?;
    let version = body.next()?;
    // The serial number, unless that was it; then signature algorithm, issuer and validity.
    let skip = if version.tag == VERSION { 4 } else { 3 };
    for _ in 0..skip {
        body.next()?;
    }
    body.expect(SEQUENCE)
}

/// The canonical form of a name that OpenSSL hashes (`x509_name_canon()` in crypto/x509/x_name.c): its sets without
/// the sequence around them, every string as UTF8String in ASCII lower case with blanks trimmed and collapsed.
pub(super) fn canonical(mut name: Der<'_>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    while !name.is_empty() {
        let mut set = name.expect(SET)?;
        let mut attributes = Vec::new();
        while !set.is_empty() {
            let mut attribute = set.expect(SEQUENCE)?;
            let kind = attribute.next()?;
            let value = attribute.next()?;
            let value = match text(value.tag, value.value) {
                Some(text) => encode(UTF8_STRING, fold(&text?).as_bytes()),
                None => value.whole.to_vec(),
            };
            attributes.push(encode(SEQUENCE, &[kind.whole, &value].concat()));
        }
        // DER orders the members of a SET OF by their bytes (X.690, section 11.6).
        attributes.sort();
        out.extend(encode(SET, &attributes.concat()));
    }
    Some(out)
}

/// The text of a string; `None` if the tag is no kind of string that OpenSSL converts, `Some(None)` if it is broken.
fn text(tag: u8, value: &[u8]) -> Option<Option<String>> {
    let text = match tag {
        UTF8_STRING => String::from_utf8(value.to_vec()).ok(),
        // PrintableString, TeletexString (which OpenSSL takes for Latin-1), IA5String, VisibleString.
        0x13 | 0x14 | 0x16 | 0x1a => Some(value.iter().map(|&byte| char::from(byte)).collect()),
        // UniversalString and BMPString.
        0x1c if value.len().is_multiple_of(4) => value
            .chunks_exact(4)
            .map(|c| char::from_u32(u32::from_be_bytes([c[0], c[1], c[2], c[3]])))
            .collect(),
        0x1e if value.len().is_multiple_of(2) => value
            .chunks_exact(2)
            .map(|c| char::from_u32(u32::from(u16::from_be_bytes([c[0], c[1]]))))
            .collect(),
        0x1c | 0x1e => None,
        _ => return None,
    };
    Some(text)
}

/// Lower case and single blanks, in ASCII only.
fn fold(text: &str) -> String {
    let blank = |c: char| matches!(c, ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r');
    text.split(blank)
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_bounded() {
        for broken in [
            &[][..],
            &[0x30],
            &[0x30, 0x01],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x81],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x30, 0x85, 0, 0, 0, 0, 0],
            &[0x3f, 0x01, 0x00],
        ] {
            assert!(Der(broken).next().is_none(), "{broken:02x?}");
        }
        for length in [0, 1, 127, 128, 255, 256, 70_000] {
            let bytes = encode(SEQUENCE, &vec![7; length]);
            let mut der = Der(&bytes);
            assert_eq!(
                der.next()
                    .map(|element| (element.value.len(), element.whole.len())),
                Some((length, bytes.len()))
            );
            assert!(der.is_empty());
        }
    }

    #[test]
    fn names_become_canonical() {
        let attribute = |tag, value: &[u8]| {
            encode(
                SEQUENCE,
                &[&[0x06, 0x03, 0x55, 0x04, 0x0a][..], &encode(tag, value)].concat(),
            )
        };
        let name = |tag, value: &[u8]| encode(SET, &attribute(tag, value));
        let expected = name(UTF8_STRING, "über net".as_bytes());
        for (tag, value) in [
            (UTF8_STRING, "  über \t NET ".as_bytes()),
            (0x14, b"\xfcber  Net"),
            (0x1e, b"\0\xfc\0b\0e\0r\0 \0N\0e\0t"),
            (
                0x1c,
                b"\0\0\0\xfc\0\0\0b\0\0\0e\0\0\0r\0\0\0 \0\0\0n\0\0\0e\0\0\0t",
            ),
        ] {
            assert_eq!(
                canonical(Der(&name(tag, value))),
                Some(expected.clone()),
                "{tag:#x}"
            );
        }
        let bits = name(0x03, &[0, 1]);
        assert_eq!(canonical(Der(&bits)), Some(bits.clone()));
        for broken in [
            name(UTF8_STRING, b"\xff"),
            name(0x1e, b"a"),
            name(0x1c, &[0, 0x11, 0, 0]),
        ] {
            assert_eq!(canonical(Der(&broken)), None);
        }
        let (a, b) = (attribute(UTF8_STRING, b"a"), attribute(UTF8_STRING, b"b"));
        let two = encode(SET, &[&b[..], &a].concat());
        assert_eq!(canonical(Der(&two)), Some(encode(SET, &[a, b].concat())));
    }
}
