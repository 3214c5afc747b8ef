//! Kernel modules.

use std::ffi::CString;
use std::fs::File;
use std::io;

/// `MODULE_INIT_COMPRESSED_FILE` (`linux/module.h`): the kernel decompresses the file itself, if it was built to.
const COMPRESSED: i32 = 4;

/// Loads a module with its parameters (`name=value`, separated by spaces). `EEXIST` means that it is loaded already.
pub fn load(file: &File, compressed: bool, parameters: &str) -> io::Result<()> {
    let parameters = CString::new(parameters)?;
    Ok(rustix::system::finit_module(
        file,
        &parameters,
        if compressed { COMPRESSED } else { 0 },
    )?)
}
