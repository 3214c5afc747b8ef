//! Everything of the builder that touches files and the network.

pub mod archive;
pub mod artifacts;
pub mod build;
pub mod cache;
pub mod error;
pub mod export;
pub mod fetch;
pub mod known;
pub mod memo;
pub mod mirror;
pub mod pack;
pub mod prune;
pub mod render;
pub mod unpack;
pub mod verify;
mod xz;
