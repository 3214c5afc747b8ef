//! A file of OpenPGP keys, armored or binary, as a cluster file or a profile pins them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prejoin_image_builder::debian::keyring::{Keyring, fingerprints};

fuzz_target!(|bytes: &[u8]| {
    let Ok(found) = fingerprints(bytes) else { return };
    // Fingerprints of old versions of keys cannot be pinned.
    let pinned: Vec<String> = found.into_iter().filter(|text| matches!(text.len(), 40 | 64)).collect();
    Keyring::pinned(&pinned, [bytes]).expect("what is in the file can be pinned");
});
