//! What a program says it is linked with.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prejoin_image_builder::tree::elf::linkage;

fuzz_target!(|bytes: &[u8]| {
    let mut read = |offset: u64, buffer: &mut [u8]| {
        let found = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)?.get(..buffer.len()));
        buffer.copy_from_slice(found.ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    };
    let _ = linkage(&mut read);
});
