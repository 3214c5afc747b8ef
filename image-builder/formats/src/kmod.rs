//! Kernel modules: what they say of themselves, the index files kmod reads, and which ones to load in what order.
//!
//! No symbol is resolved: `modpost` has written every module's direct dependencies into it when the kernel was built.

mod closure;
mod index;
mod module;
mod trie;

pub use closure::Missing;
pub use index::Index;
pub use module::{BadModule, Module};
pub use trie::TooLarge;
