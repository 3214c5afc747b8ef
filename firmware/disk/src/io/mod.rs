//! Everything of this crate that touches devices and files.

mod buffer;
pub mod capacity;
mod error;
pub mod inventory;
pub mod journal;
pub mod keep;
mod machine;
mod shared;
pub mod target;
pub mod usage;

pub use buffer::{ALIGNMENT, Buffer};
pub use error::{Error, Failed};
pub use journal::FileJournal;
pub use machine::Machine;
pub use shared::Shared;
