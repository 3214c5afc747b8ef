//! An ext4 file system, read as `prejoin verify` reads it. The input holds only the sectors that are not empty.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prejoin_fuzz::unpack;
use prejoin_image_builder::image::readback;

fuzz_target!(|bytes: &[u8]| {
    let image = unpack(bytes, 4 << 20);
    let size = image.len() as u64;
    let _ = readback::ext4(Box::new(image), size);
});
