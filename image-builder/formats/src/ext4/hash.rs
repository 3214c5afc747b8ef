//! Two hashes: the one that directories are indexed by, and the one that places are derived from.

/// Half MD4 over a name, taking its bytes as signed (kernel `fs/ext4/hash.c`, `DX_HASH_HALF_MD4`; the superblock says
/// which of the two is meant, but readers exist that know this one only, `ext4-view` among them).
///
/// The lowest bit is always clear: in an index it says that a run of equal hashes continues in the next block.
pub(super) fn half_md4(name: &[u8], seed: &[u32; 4]) -> u32 {
    let mut state = if *seed == [0; 4] {
        [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476]
    } else {
        *seed
    };
    let mut rest = name;
    while !rest.is_empty() {
        transform(&mut state, &words(rest));
        rest = &rest[rest.len().min(32)..];
    }
    let hash = state[1] & !1;
    // The largest value means "end of directory" to readdir.
    if hash == 0xffff_fffe {
        0xffff_fffc
    } else {
        hash
    }
}

/// The next 32 bytes as big-endian words, filled up with the length (`str2hashbuf_signed`).
fn words(rest: &[u8]) -> [u32; 8] {
    let length = rest.len() as u32;
    let pad = length | (length << 8) | (length << 16) | (length << 24);
    let mut words = [pad; 8];
    for (word, bytes) in words.iter_mut().zip(rest[..rest.len().min(32)].chunks(4)) {
        for &byte in bytes {
            *word = (*word << 8).wrapping_add(byte as i8 as u32);
        }
    }
    words
}

fn transform(state: &mut [u32; 4], input: &[u32; 8]) {
    const SECOND: u32 = 0x5a82_7999;
    const THIRD: u32 = 0x6ed9_eba1;
    let select = |x: u32, y: u32, z: u32| z ^ (x & (y ^ z));
    let majority = |x: u32, y: u32, z: u32| (x & y).wrapping_add((x ^ y) & z);
    let parity = |x: u32, y: u32, z: u32| x ^ y ^ z;
    let [mut a, mut b, mut c, mut d] = *state;
    let mut step = |mix: &dyn Fn(u32, u32, u32) -> u32, word: u32, turn: u32| {
        let sum = a
            .wrapping_add(mix(b, c, d))
            .wrapping_add(word)
            .rotate_left(turn);
        (a, b, c, d) = (d, sum, b, c);
    };
    for (at, turn) in (0..8).zip([3, 7, 11, 19].into_iter().cycle()) {
        step(&select, input[at], turn);
    }
    for (at, turn) in [1, 3, 5, 7, 0, 2, 4, 6]
        .into_iter()
        .zip([3, 5, 9, 13].into_iter().cycle())
    {
        step(&majority, input[at].wrapping_add(SECOND), turn);
    }
    for (at, turn) in [3, 7, 2, 6, 1, 5, 0, 4]
        .into_iter()
        .zip([3, 9, 11, 15].into_iter().cycle())
    {
        step(&parity, input[at].wrapping_add(THIRD), turn);
    }
    for (word, add) in state.iter_mut().zip([a, b, c, d]) {
        *word = word.wrapping_add(add);
    }
}

/// What a path's places are derived from: FNV-1a, then mixed. Changing it moves every file of every image.
pub(super) fn key(path: &[u8]) -> u64 {
    mix(path.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    }))
}

/// Spreads every input bit over the output (the finaliser of MurmurHash3).
pub(super) fn mix(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

/// The `attempt`th of the pseudo-random places in `0..bound` that `key` stands for.
pub(super) fn probe(key: u64, attempt: u64, bound: u64) -> u64 {
    let spread = if attempt == 0 {
        key
    } else {
        mix(key.wrapping_add(attempt.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    };
    ((u128::from(spread) * u128::from(bound)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_debugfs_does() {
        // debugfs: dx_hash -h half_md4 -s <seed> <name>
        let seed = [0x7072_656a, 0x6f69_6e2d, 0x6578_7434, 0x2d75_6964].map(u32::swap_bytes);
        for (name, hash) in [
            ("a", 0xd135_19fe),
            ("lost+found", 0x2add_46d6),
            ("Főtanúsítvány-日本語", 0x1640_60da),
            ("libc.so.6", 0xc84f_7208),
            ("0123456789abcdef0123456789abcdef", 0x501e_8424),
            ("0123456789abcdef0123456789abcdef-and-more", 0xdb0d_dd42),
            (&"n".repeat(255), 0xba94_3f1a),
        ] {
            assert_eq!(half_md4(name.as_bytes(), &seed), hash, "{name}");
        }
    }
}
