//! From packages to bootable images: resolve, unpack, fix up, plan, render.
//!
//! `Profile + Lock -> plan -> SystemManifest + NodeManifest`. Everything but [`io`] is pure. [`debian`] is all that knows
//! Debian's repositories and packages; [`tree`] makes a root file system of unpacked packages; [`image`] makes partitions
//! of it.

pub mod class;
pub mod debian;
pub mod events;
pub mod image;
pub mod io;
pub mod pack;
pub mod package;
pub mod tree;
