//! `InRelease`: the frame around the signed text, the signatures, and the text as if it had been signed.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use prejoin_image_builder::debian::keyring::{self, Keyring};
use prejoin_image_builder::debian::release::{Policy, Release};

static KEYRING: LazyLock<Keyring> = LazyLock::new(|| {
    let files = prejoin_profiles::keys::ALL;
    let pinned: Vec<String> =
        files.iter().flat_map(|file| keyring::fingerprints(file).expect("our own keys are readable")).collect();
    Keyring::pinned(&pinned, files.iter().copied()).expect("our own keys are there")
});

fuzz_target!(|bytes: &[u8]| {
    let policy = Policy { suite: "trixie", now: 1_800_000_000, newest: Some(0), accept_expired: true };
    let _ = Release::open(bytes, &KEYRING, &policy);
    if let Ok(release) = Release::open_unverified(bytes) {
        for (path, (_, digest)) in &release.files {
            let path = release.index_path("trixie", path, digest);
            assert!(path.starts_with("dists/trixie/") && !path.split('/').any(|part| part == ".."));
        }
    }
});
