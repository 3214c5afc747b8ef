//! Everything of the builder that touches files and the network.

pub mod archive;
pub mod artifacts;
pub mod build;
pub mod cache;
pub mod chunks;
pub mod error;
pub mod export;
pub mod fetch;
pub mod hold;
pub mod known;
pub mod memo;
pub mod mirror;
pub mod output;
pub mod pack;
pub mod part;
pub mod prune;
pub mod reader;
pub mod render;
pub mod unpack;
pub mod verify;
mod xz;
