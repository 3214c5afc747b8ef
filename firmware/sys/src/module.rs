//! Kernel modules.

use std::fs::File;
use std::io;

/// `MODULE_INIT_COMPRESSED_FILE` (`linux/module.h`): the kernel decompresses the file itself, if it was built to.
const COMPRESSED: i32 = 4;

/// Loads a module without parameters. `EEXIST` means that it is loaded already.
pub fn load(file: &File, compressed: bool) -> io::Result<()> {
    Ok(rustix::system::finit_module(
        file,
        c"",
        if compressed { COMPRESSED } else { 0 },
    )?)
}
