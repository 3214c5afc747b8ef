use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An IP network, written `192.168.10.0/24` or `fd00:10::/64`. Bits beyond the prefix are zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet {
    base: IpAddr,
    prefix: u8,
}

/// Addresses from one to another, both included, of one family.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange {
    first: IpAddr,
    last: IpAddr,
}

super::text_form!(
    Subnet,
    "Subnet",
    "IP network with prefix length, such as `192.168.10.0/24`",
    "^[0-9A-Fa-f:.]+/[0-9]{1,3}$"
);
super::text_form!(
    AddressRange,
    "AddressRange",
    "range of addresses: `192.168.10.150-192.168.10.160`, a network, or one address",
    "^[0-9A-Fa-f:.]+([-/][0-9A-Fa-f:.]+)?$"
);

impl Subnet {
    /// The first address.
    pub fn base(self) -> IpAddr {
        self.base
    }

    /// Prefix length in bits.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The last address; in IPv4 the broadcast address.
    pub fn last(self) -> IpAddr {
        let host = host_mask(self.base, self.prefix);
        address(self.base, number(self.base) | host)
    }

    /// Whether `other` lies in it.
    pub fn contains(self, other: IpAddr) -> bool {
        AddressRange::from(self).contains(other)
    }

    /// Whether the two share an address.
    pub fn overlaps(self, other: Subnet) -> bool {
        AddressRange::from(self).overlaps(other.into())
    }

    /// The `index`th address, if it lies in the network.
    pub fn nth(self, index: u128) -> Option<IpAddr> {
        (index <= host_mask(self.base, self.prefix))
            .then(|| address(self.base, number(self.base) + index))
    }

    /// Number of bits that tell hosts apart.
    pub fn host_bits(self) -> u8 {
        width(self.base) - self.prefix
    }
}

impl AddressRange {
    /// First address.
    pub fn first(self) -> IpAddr {
        self.first
    }

    /// Last address.
    pub fn last(self) -> IpAddr {
        self.last
    }

    /// Whether `other` lies in it.
    pub fn contains(self, other: IpAddr) -> bool {
        same_family(self.first, other) && (self.first..=self.last).contains(&other)
    }

    /// Whether the two share an address.
    pub fn overlaps(self, other: AddressRange) -> bool {
        same_family(self.first, other.first) && self.first <= other.last && other.first <= self.last
    }
}

impl From<IpAddr> for AddressRange {
    fn from(address: IpAddr) -> Self {
        AddressRange {
            first: address,
            last: address,
        }
    }
}

impl From<Subnet> for AddressRange {
    fn from(subnet: Subnet) -> Self {
        AddressRange {
            first: subnet.base,
            last: subnet.last(),
        }
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl fmt::Debug for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl fmt::Debug for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || {
            "not a network: an address and a prefix length such as `192.168.10.0/24` are expected"
                .to_owned()
        };
        let (base, prefix) = text.split_once('/').ok_or_else(error)?;
        let base: IpAddr = base.parse().map_err(|_| error())?;
        let digits = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
        let prefix: u8 = prefix.parse().map_err(|_| error())?;
        if !digits || prefix > width(base) {
            return Err(error());
        }
        let network = address(base, number(base) & !host_mask(base, prefix));
        if network != base {
            return Err(format!(
                "bits are set beyond the prefix; the network is written `{network}/{prefix}`"
            ));
        }
        Ok(Subnet { base, prefix })
    }
}

impl FromStr for AddressRange {
    type Err = String;

    /// Accepts `A-B`, a network, or a single address; `192.168.10.150-160` is short for the last number.
    fn from_str(text: &str) -> Result<Self, String> {
        let error =
            || "not a range: `192.168.10.150-192.168.10.160` or a network is expected".to_owned();
        if text.contains('/') {
            return text.parse::<Subnet>().map(AddressRange::from);
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let first: IpAddr = first.trim().parse().map_err(|_| error())?;
        let last = match (first, last.trim().parse::<u8>()) {
            (IpAddr::V4(v4), Ok(end)) => {
                let [a, b, c, _] = v4.octets();
                IpAddr::from([a, b, c, end])
            }
            _ => last.trim().parse().map_err(|_| error())?,
        };
        if !same_family(first, last) {
            return Err("the two ends are of different families".to_owned());
        }
        if first > last {
            Err("the range ends before it begins".to_owned())
        } else {
            Ok(AddressRange { first, last })
        }
    }
}

fn same_family(one: IpAddr, other: IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4()
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn host_mask(base: IpAddr, prefix: u8) -> u128 {
    let bits = u32::from(width(base) - prefix);
    1u128.checked_shl(bits).map_or(u128::MAX, |bound| bound - 1)
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => v6.into(),
    }
}

/// The number as an address of the family of `like`.
fn address(like: IpAddr, number: u128) -> IpAddr {
    match like {
        // Masks of IPv4 networks stay below 32 bits.
        IpAddr::V4(_) => IpAddr::V4(u32::try_from(number).unwrap_or(u32::MAX).into()),
        IpAddr::V6(_) => IpAddr::V6(number.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_know_their_members() {
        let net: Subnet = "192.168.10.0/24".parse().unwrap();
        assert!(net.contains("192.168.10.255".parse().unwrap()));
        assert!(!net.contains("192.168.11.0".parse().unwrap()));
        assert!(!net.contains("::".parse().unwrap()));
        assert_eq!(net.last().to_string(), "192.168.10.255");
        assert_eq!(net.nth(1).unwrap().to_string(), "192.168.10.1");
        assert_eq!(net.nth(256), None);
        assert!(net.overlaps("192.168.0.0/16".parse().unwrap()));
        let all: Subnet = "::/0".parse().unwrap();
        assert_eq!(
            all.last().to_string(),
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
        );
        assert!(
            "0.0.0.0/0"
                .parse::<Subnet>()
                .unwrap()
                .contains("255.255.255.255".parse().unwrap())
        );
        assert_eq!(
            "192.168.10.7/24"
                .parse::<Subnet>()
                .unwrap_err()
                .matches("192.168.10.0/24")
                .count(),
            1
        );
        for bad in [
            "",
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "::/129",
            "10.0.0/8",
        ] {
            assert!(bad.parse::<Subnet>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ranges_have_a_short_form() {
        let pool: AddressRange = "192.168.10.150-160".parse().unwrap();
        assert_eq!(pool.to_string(), "192.168.10.150-192.168.10.160");
        assert!(pool.contains("192.168.10.151".parse().unwrap()));
        assert!(
            "fd00::1-fd00::9"
                .parse::<AddressRange>()
                .unwrap()
                .contains("fd00::5".parse().unwrap())
        );
        for bad in [
            "",
            "a-b",
            "10.0.0.9-10.0.0.1",
            "10.0.0.1-::1",
            "10.0.0.1-256",
        ] {
            assert!(bad.parse::<AddressRange>().is_err(), "{bad}");
        }
    }
}
