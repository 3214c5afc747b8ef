//! A FAT file system, read as `prejoin verify` reads it. The input holds only the sectors that are not empty; FAT32
//! begins at 33 MiB.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use prejoin_fuzz::unpack;
use prejoin_image_builder::image::readback;

fuzz_target!(|bytes: &[u8]| {
    let image = unpack(bytes, 34 << 20);
    let size = image.len() as u64;
    let _ = readback::fat(Cursor::new(image), size, |_, file| {
        // Any file may be a kernel.
        let _ = readback::command_line(file);
        let _ = file.rewind();
        let _ = readback::bytes(file, 1 << 20);
        Ok(())
    });
});
