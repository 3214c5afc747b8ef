//! The checksum of every metadata structure: CRC-32C without the final inversion (kernel `ext4_chksum`).

use crc::{Algorithm, Crc, Table};

/// As in `lib/crc32.c`, `__crc32c_le`: the caller gives the register's start value and nothing is inverted.
const CASTAGNOLI: Algorithm<u32> = Algorithm {
    width: 32,
    poly: 0x1edc_6f41,
    init: 0xffff_ffff,
    refin: true,
    refout: true,
    xorout: 0,
    check: 0x1cf9_6d7c,
    residue: 0,
};

static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CASTAGNOLI);

/// A running checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checksum(u32);

impl Checksum {
    /// The start that the superblock and the file system's seed use.
    pub(super) const START: Checksum = Checksum(!0);

    /// The checksum of what was there before followed by `bytes`.
    pub(super) fn then(self, bytes: &[u8]) -> Checksum {
        // The crate takes the register's start unreflected.
        let mut digest = CRC.digest_with_initial(self.0.reverse_bits());
        digest.update(bytes);
        Checksum(digest.finalize())
    }

    /// The seed of everything that belongs to one inode of generation 0.
    pub(super) fn of_inode(self, number: u32) -> Checksum {
        self.then(&number.to_le_bytes()).then(&[0; 4])
    }

    /// The value as stored.
    pub(super) fn value(self) -> u32 {
        self.0
    }

    /// The half that a 32-byte group descriptor has room for.
    pub(super) fn low(self) -> u16 {
        self.0 as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_value_and_continuation() {
        assert_eq!(!Checksum::START.then(b"123456789").value(), 0xe306_9283);
        assert_eq!(
            Checksum::START.then(b"12345").then(b"6789"),
            Checksum::START.then(b"123456789")
        );
    }
}
