//! What nodes start from: the system, its initramfs and boot partition, a node's own part, and reading it back.

pub mod initramfs;
pub mod node;
pub mod overlays;
pub mod readback;
pub mod sbom;
pub mod system;
