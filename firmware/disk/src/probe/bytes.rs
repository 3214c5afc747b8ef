//! Numbers out of bytes that may be too short: what is not there is 0.

/// Two bytes, the lowest first.
pub(crate) fn le16(bytes: &[u8], at: usize) -> u16 {
    chunk(bytes, at).map_or(0, u16::from_le_bytes)
}

/// Four bytes, the lowest first.
pub(crate) fn le32(bytes: &[u8], at: usize) -> u32 {
    chunk(bytes, at).map_or(0, u32::from_le_bytes)
}

/// Eight bytes, the lowest first.
pub(crate) fn le64(bytes: &[u8], at: usize) -> u64 {
    chunk(bytes, at).map_or(0, u64::from_le_bytes)
}

/// Two bytes, the highest first.
pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    chunk(bytes, at).map_or(0, u16::from_be_bytes)
}

/// Four bytes, the highest first.
pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    chunk(bytes, at).map_or(0, u32::from_be_bytes)
}

/// Sixteen bytes.
pub(crate) fn sixteen(bytes: &[u8], at: usize) -> [u8; 16] {
    chunk(bytes, at).unwrap_or_default()
}

fn chunk<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}
