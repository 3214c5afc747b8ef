//! The sections of a PE file, and a stub that sections are appended to.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prejoin_formats::tree::Content;
use prejoin_formats::uki;

fuzz_target!(|bytes: &[u8]| {
    let _ = uki::sections(bytes);
    let content = Content::Bytes(b"quiet"[..].into());
    if let Ok(unified) = uki::build(bytes, &[(".cmdline", content.clone()), (".linux", content)]) {
        assert!(unified.image.size() >= 10);
    }
});
