//! The manifest of an image, and its way back to text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prejoin_wire::manifest::Manifest;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = Manifest::parse(bytes) {
        let again = Manifest::parse(manifest.to_json().as_bytes()).expect("what was written is read");
        assert_eq!(again, manifest);
        assert_eq!(manifest.placed().map(|(_, range)| range.length()).sum::<u64>(), manifest.size);
    }
});
