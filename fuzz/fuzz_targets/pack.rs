//! The index of a pack in the cache.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prejoin_image_builder::pack::{MAGIC, TRAILER, Trailer, decode, encode};

fuzz_target!(|bytes: &[u8]| {
    if let Some(trailer) = bytes.last_chunk::<TRAILER>() {
        let _ = Trailer::parse(trailer, bytes.len() as u64);
    }
    // The first eight bytes are where the contents end.
    let Some((end, index)) = bytes.split_first_chunk::<8>() else { return };
    let end = u64::from_le_bytes(*end);
    for end in [end, MAGIC.len() as u64] {
        if let Ok((package, locations)) = decode(index, end) {
            assert_eq!(decode(&encode(&package), end), Ok((package, locations)), "a package round-trips");
        }
    }
});
