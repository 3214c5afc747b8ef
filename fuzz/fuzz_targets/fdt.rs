//! Device trees and overlays, and the difference of two that stand one behind the other.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prejoin_formats::fdt::{DeviceTree, difference};

fuzz_target!(|bytes: &[u8]| {
    let Ok(first) = DeviceTree::parse(bytes) else { return };
    let written = first.to_bytes().expect("inputs are small");
    assert_eq!(DeviceTree::parse(&written), Ok(first.clone()));
    if let Ok(overlay) = difference(&first, &first) {
        assert_eq!(overlay, DeviceTree::default());
    }
    let length = u32::from_be_bytes(bytes[4..8].try_into().expect("four bytes"));
    let Ok(second) = DeviceTree::parse(&bytes[length as usize..]) else { return };
    if let Ok(overlay) = difference(&first, &second) {
        let written = overlay.to_bytes().expect("inputs are small");
        assert_eq!(DeviceTree::parse(&written), Ok(overlay));
    }
});
