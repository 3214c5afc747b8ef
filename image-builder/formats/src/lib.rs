//! Disk and file formats: bytes to structures and back.
//!
//! Nothing here opens a file. A writer takes a structure (a [`tree::Tree`], a list of partitions) and returns an
//! [`image::Image`]: the few bytes it made up itself, and references to the file contents that it placed. So an
//! image of half a gigabyte is planned in a few megabytes of memory, can be read at any offset by any number of
//! threads, and is written only once, at the end.

pub mod cpio;
pub mod ext4;
pub mod fat;
pub mod fdt;
pub mod gpt;
pub mod image;
pub mod kmod;
pub mod modprobe;
pub mod tree;
pub mod uki;
pub mod verity;
