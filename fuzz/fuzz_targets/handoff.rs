//! The two documents that the agent reads.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prejoin_wire::handoff::{Boot, Handoff};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(boot) = Boot::parse(bytes) {
        assert_eq!(Boot::parse(boot.to_json().as_bytes()).expect("what was written is read"), boot);
    }
    if let Ok(handoff) = Handoff::parse(bytes) {
        let _ = (handoff.state(), handoff.data());
        assert_eq!(Handoff::parse(handoff.to_json().as_bytes()).expect("what was written is read"), handoff);
    }
});
