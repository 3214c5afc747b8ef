//! From packages to bootable images: resolve, unpack, fix up, plan, render.
//!
//! `Profile + Lock -> ImagePlan -> Image + Manifest`. Everything but [`io`] is pure.

pub mod control;
pub mod deb;
pub mod fixups;
pub mod io;
pub mod package;
pub mod release;
pub mod repository;
pub mod resolve;
pub mod scripts;
