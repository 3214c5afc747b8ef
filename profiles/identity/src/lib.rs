//! The documents that make a machine one particular node.
//!
//! The operating system is the same on every node of a fleet; what differs is here, and small. From the parsed cluster
//! and one of its nodes, [`Seed::of`] makes cloud-init's NoCloud seed and [`files`] the node's own files, which the
//! image carries as `node.cpio` on its identity partition. Both are pure: same cluster file, same bytes.
//!
//! Nothing here is secret. The join of a node (certificates, bootstrap kubeconfig, tokens, the first control plane's
//! latch) has its places reserved, documented in [`kubeadm`] and [`k3s`], and the units of the operating system stay
//! quiet until they are filled.

mod accounts;
mod cloud_config;
mod document;
mod error;
mod file;
mod hosts;
pub mod k3s;
pub mod kubeadm;
mod merge;
mod network_config;
mod own;
mod seed;

pub use accounts::FIRST_USER;
pub use error::{Error, Scope};
pub use file::{NodeFile, files};
pub use network_config::INTERFACE;
pub use seed::Seed;
