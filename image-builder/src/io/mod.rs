//! Everything of the builder that touches files and the network.

pub mod cache;
pub mod mirror;
pub mod unpack;
