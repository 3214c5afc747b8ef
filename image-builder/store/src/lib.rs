//! The output folder of builds: every piece of every image once, and what says how they make one.
//!
//! The builder writes it; whoever flashes, exports, verifies or serves images reads it, and needs to know nothing of how
//! they are made. Files appear whole or not at all ([`output`]), programs that share a folder take turns ([`hold`]), and
//! what interrupted ones left is recognised ([`part`]).

pub mod chunks;
pub mod compose;
pub mod cut;
pub mod folder;
pub mod hold;
pub mod input;
pub mod output;
pub mod part;
pub mod reader;
