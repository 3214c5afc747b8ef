//! Debian version numbers and how they are ordered (Debian Policy 5.6.12, deb-version(7)).
//!
//! Own code rather than the `debversion` crate: comparing in place needs neither its regular expressions nor its big
//! integers, and a resolver compares slices of a 56 MB text that nobody wants copied.

use std::cmp::Ordering;

/// Whether `text` is a version at all: characters of Policy 5.6.12, an epoch that is a number, something upstream.
pub fn is_version(text: &str) -> bool {
    let (epoch, upstream, revision) = parts(text);
    let allowed = |part: &str, extra: &str| {
        part.chars()
            .all(|c| c.is_ascii_alphanumeric() || "+.~".contains(c) || extra.contains(c))
    };
    epoch.len() <= 10
        && (!text.contains(':') || !epoch.is_empty())
        && epoch.bytes().all(|byte| byte.is_ascii_digit())
        && !upstream.is_empty()
        && allowed(upstream, "-:_")
        && allowed(revision, "_")
        && !text.ends_with('-')
}

/// Orders two versions as `dpkg --compare-versions` does.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a_epoch, a_upstream, a_revision) = parts(a);
    let (b_epoch, b_upstream, b_revision) = parts(b);
    compare_numbers(a_epoch.as_bytes(), b_epoch.as_bytes())
        .then_with(|| compare_part(a_upstream.as_bytes(), b_upstream.as_bytes()))
        .then_with(|| compare_part(a_revision.as_bytes(), b_revision.as_bytes()))
}

/// Epoch before the first colon, revision after the last hyphen; both may be missing, which counts as `0`.
fn parts(text: &str) -> (&str, &str, &str) {
    let (epoch, rest) = text.split_once(':').unwrap_or(("", text));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, upstream, revision)
}

/// Alternating runs of non-digits, by [`weight`], and of digits, as numbers of any length.
fn compare_part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (a_text, a_rest) = split(a, |byte| !byte.is_ascii_digit());
        let (b_text, b_rest) = split(b, |byte| !byte.is_ascii_digit());
        for at in 0..a_text.len().max(b_text.len()) {
            match weight(a_text.get(at)).cmp(&weight(b_text.get(at))) {
                Ordering::Equal => {}
                unequal => return unequal,
            }
        }
        let (a_number, a_rest) = split(a_rest, u8::is_ascii_digit);
        let (b_number, b_rest) = split(b_rest, u8::is_ascii_digit);
        match compare_numbers(a_number, b_number) {
            Ordering::Equal => (a, b) = (a_rest, b_rest),
            unequal => return unequal,
        }
    }
    Ordering::Equal
}

/// `~` before the end, the end before letters, letters before everything else.
fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        None => 0,
        Some(b'~') => -1,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(*other) + 256,
    }
}

fn compare_numbers(a: &[u8], b: &[u8]) -> Ordering {
    let (_, a) = split(a, |byte| *byte == b'0');
    let (_, b) = split(b, |byte| *byte == b'0');
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

fn split(bytes: &[u8], run: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    bytes.split_at(
        bytes
            .iter()
            .position(|byte| !run(byte))
            .unwrap_or(bytes.len()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_the_policy_manual() {
        let ascending = [
            "~~",
            "~~a",
            "~",
            "",
            "1~rc1",
            "1-0~bpo1",
            "1",
            "1-1",
            "1-1+b2",
            "1-1+deb13u1",
            "a",
            "a+",
        ];
        for (at, low) in ascending.iter().enumerate() {
            assert_eq!(compare(low, low), Ordering::Equal);
            for high in &ascending[at + 1..] {
                assert_eq!(compare(low, high), Ordering::Less, "{low} < {high}");
                assert_eq!(compare(high, low), Ordering::Greater, "{high} > {low}");
            }
        }
        for (a, b) in [
            ("1.0", "1.0-0"),
            ("0:1", "1"),
            ("1.00", "1.0"),
            ("1-", "1"),
            ("1a0", "1a"),
        ] {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} = {b}");
        }
        assert_eq!(
            compare("1:0.1", "99999999999999999999999999"),
            Ordering::Greater
        );
        assert_eq!(
            compare(
                "1.99999999999999999999999999",
                "1.100000000000000000000000000"
            ),
            Ordering::Less
        );
    }

    #[test]
    fn what_is_no_version() {
        for good in [
            "1",
            "1:2-3",
            "0.1~rc1+dfsg-1~bpo13+1",
            "2.0.37+cvs.JCW_PRE2_2037-1",
            "1:2:3-4-5",
        ] {
            assert!(is_version(good), "{good}");
        }
        for bad in [
            "",
            "1-",
            ":1",
            "a:1",
            "-1",
            "1 2",
            "1/2",
            "1\n",
            "1:",
            "ü",
            "99999999999:1",
        ] {
            assert!(!is_version(bad), "{bad}");
        }
    }
}
