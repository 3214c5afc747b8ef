//! The cleartext signature framework (RFC 9580, section 7): text that people can read, with its signatures below.
//!
//! Split by hand and strictly: nothing may stand before, between or after the parts, so that no text outside the
//! signature can be taken for signed. (The reader of the `pgp` crate searches its whole buffer once per line, which
//! takes minutes on a few megabytes of empty lines.)

/// A cleartext signed document, taken apart but not yet verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleartext<'a> {
    /// The text as it was before signing, lines ended by `\n`, white space at line ends removed as it is not signed.
    pub text: String,
    /// The armored signatures, from `-----BEGIN` to `-----END`.
    pub armor: &'a str,
}

const BEGIN_MESSAGE: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const BEGIN_SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const END_SIGNATURE: &str = "-----END PGP SIGNATURE-----";

impl<'a> Cleartext<'a> {
    /// Takes `document` apart.
    pub fn parse(document: &'a str) -> Result<Self, CleartextError> {
        let mut at = 0;
        let mut lines = document.split_inclusive('\n').map(|line| {
            let start = at;
            at += line.len();
            (start, line.trim_end_matches(['\n', '\r', ' ', '\t']))
        });
        if lines.next().map(|(_, line)| line) != Some(BEGIN_MESSAGE) {
            return Err(CleartextError::NotSigned);
        }
        // Armor headers: RFC 9580 section 7.1 allows `Hash` alone.
        for (_, line) in lines.by_ref() {
            match line {
                "" => break,
                _ if line.starts_with("Hash: ") => {}
                _ => return Err(CleartextError::Header),
            }
        }

        let mut text = String::with_capacity(document.len());
        let mut signature = None;
        for (start, line) in lines.by_ref() {
            match line.strip_prefix("- ") {
                Some(escaped) => text.push_str(escaped),
                None if line == BEGIN_SIGNATURE => {
                    signature = Some(start);
                    break;
                }
                None if line.starts_with('-') && line != "-" => return Err(CleartextError::Dash),
                None => text.push_str(line),
            }
            text.push('\n');
        }
        let start = signature.ok_or(CleartextError::Cut)?;
        let end = lines
            .by_ref()
            .find(|(_, line)| *line == END_SIGNATURE)
            .ok_or(CleartextError::Cut)?
            .0;
        if lines.any(|(_, line)| !line.is_empty()) {
            return Err(CleartextError::Trailing);
        }
        Ok(Cleartext {
            text,
            armor: &document[start..end + END_SIGNATURE.len()],
        })
    }

    /// What was hashed: lines ended by `\r\n`, the last one not ended (RFC 9580, section 7.2).
    pub fn signed(&self) -> String {
        let text = self.text.strip_suffix('\n').unwrap_or(&self.text);
        text.replace('\n', "\r\n")
    }
}

/// Why a document is not cleartext signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CleartextError {
    /// Does not begin as a signed message.
    #[error("it does not begin with `{BEGIN_MESSAGE}`")]
    NotSigned,
    /// An armor header other than `Hash`.
    #[error("an armor header other than `Hash`")]
    Header,
    /// A line begins with a dash that is not escaped.
    #[error("a line with an unescaped dash inside of the signed text")]
    Dash,
    /// Ends too early.
    #[error("it ends before `{END_SIGNATURE}`")]
    Cut,
    /// Something stands behind the signature.
    #[error("text behind the signature")]
    Trailing,
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nA: 1 \n- -b\n\n\
                        -----BEGIN PGP SIGNATURE-----\n\nabcd\n-----END PGP SIGNATURE-----\n";

    #[test]
    fn parts() {
        let cleartext = Cleartext::parse(GOOD).unwrap();
        assert_eq!(cleartext.text, "A: 1\n-b\n\n");
        assert_eq!(cleartext.signed(), "A: 1\r\n-b\r\n");
        assert!(
            cleartext.armor.starts_with(BEGIN_SIGNATURE)
                && cleartext.armor.ends_with(END_SIGNATURE)
        );
        assert_eq!(
            Cleartext::parse(&GOOD.replace('\n', "\r\n")).unwrap().text,
            cleartext.text
        );
    }

    #[test]
    fn only_signed_text_counts() {
        assert_eq!(
            Cleartext::parse(&format!("A: 2\n{GOOD}")),
            Err(CleartextError::NotSigned)
        );
        assert_eq!(
            Cleartext::parse(&format!("{GOOD}A: 2\n")),
            Err(CleartextError::Trailing)
        );
        assert_eq!(
            Cleartext::parse(&GOOD.replace("Hash: ", "Suite: ")),
            Err(CleartextError::Header)
        );
        assert_eq!(
            Cleartext::parse(&GOOD.replace("- -b", "-----b")),
            Err(CleartextError::Dash)
        );
        for end in 0..GOOD.len() - 1 {
            assert!(Cleartext::parse(&GOOD[..end]).is_err(), "{end}");
        }
    }
}
