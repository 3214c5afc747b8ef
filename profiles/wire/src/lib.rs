//! What crosses a crate or a wire as bytes.
//!
//! Every document here has a version where it outlives a run, is checked when it is read, and round-trips in a test.
//! Nothing here knows what people write: the cluster file and the profiles are `prejoin_profiles`'. The agent is built
//! on this crate, so it stays small: serde, digests, UUIDs.
//!
//! ```
//! use prejoin_wire::disk::Extent;
//! use prejoin_wire::manifest::{Range, digest_of};
//!
//! let boot = Extent { start: 1 << 20, length: 512 << 20 };
//! assert!(!boot.meets(&Extent::between(0, 1 << 20)));
//! assert_ne!(digest_of(&[Range::Zero { length: 1 }]), digest_of(&[Range::Skip { length: 1 }]));
//! ```

pub mod architecture;
pub mod derived;
pub mod digest;
pub mod disk;
mod document;
pub mod handoff;
pub mod manifest;
pub mod node;
pub mod path;
pub mod printable;
pub mod role;
pub mod selector;
pub mod size;
pub mod system;
