use std::fmt;
use std::str::FromStr;

/// A 48-bit hardware address (IEEE 802), written `aa:bb:cc:dd:ee:ff`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

super::text_form!(
    Mac,
    "Mac",
    "hardware address",
    "^[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}$"
);

impl Mac {
    /// Whether the group bit is set: such an address never belongs to one machine.
    pub fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// Whether all bits are zero, as in tables of machines nobody filled in.
    pub fn is_zero(self) -> bool {
        self.0 == [0; 6]
    }

    /// With hyphens, as in PXE file names (`01-aa-bb-…`) and Raspberry Pi folders.
    pub fn hyphenated(self) -> String {
        self.to_string().replace(':', "-")
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = String;

    /// Accepts `aa:bb:cc:dd:ee:ff` and `AA-BB-CC-DD-EE-FF`.
    fn from_str(text: &str) -> Result<Self, String> {
        let error = || {
            "not a hardware address: six pairs of hexadecimal digits with colons are expected"
                .to_owned()
        };
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut bytes = [0; 6];
        let mut pairs = text.split(separator);
        for byte in &mut bytes {
            let pair = pairs.next().ok_or_else(error)?;
            if pair.len() != 2 || !pair.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(error());
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| error())?;
        }
        if pairs.next().is_some() {
            Err(error())
        } else {
            Ok(Mac(bytes))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read_and_one_is_written() {
        let mac: Mac = "D8-3A-DD-00-12-fF".parse().unwrap();
        assert_eq!(mac.to_string(), "d8:3a:dd:00:12:ff");
        assert_eq!(mac.hyphenated(), "d8-3a-dd-00-12-ff");
        assert_eq!(mac.to_string().parse(), Ok(mac));
        for bad in [
            "",
            "d8:3a",
            "d8:3a:dd:00:12:ff:00",
            "d8:3a:dd:00:12:+f",
            "d83add0012ff",
            "d8:3a-dd:00:12:ff",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
        assert!("01:00:5e:00:00:01".parse::<Mac>().unwrap().is_group());
    }
}
