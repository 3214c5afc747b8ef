//! The memo of an output folder: what was rendered before.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prejoin_image_builder::io::memo::rewrite;
use prejoin_wire::digest::Digest;

const MAGIC: &[u8] = b"prejoin memo 3\n\0";

fuzz_target!(|bytes: &[u8]| {
    let _ = rewrite(bytes);
    // Once more with a beginning and a checksum that fit, which no mutation would hit.
    let sealed = sealed([MAGIC, bytes].concat());
    if let Some(again) = rewrite(&sealed) {
        // Everything is a build older, and a key that was there twice is there once.
        assert!(again.len() <= sealed.len());
        assert!(rewrite(&again).is_some(), "what is written can be read");
    }
});

fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let digest = Digest::of(&bytes);
    bytes.extend(digest.0);
    bytes
}
