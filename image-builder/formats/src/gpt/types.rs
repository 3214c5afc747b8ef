//! Partition types and attributes of the Discoverable Partitions Specification (UAPI.2), and a few older ones.

use uuid::{Uuid, uuid};

/// EFI system partition.
pub const ESP: Uuid = uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
/// Extended boot loader partition.
pub const XBOOTLDR: Uuid = uuid!("bc13c2ff-59e6-4262-a352-b275fd6f7172");
/// Root file system, x86-64.
pub const ROOT_AMD64: Uuid = uuid!("4f68bce3-e8cd-4db1-96e7-fbcaf984b709");
/// Root file system, 64-bit ARM.
pub const ROOT_ARM64: Uuid = uuid!("b921b045-1df0-41c3-af44-4c6f280d3fae");
/// dm-verity hashes of the root file system, x86-64.
pub const ROOT_VERITY_AMD64: Uuid = uuid!("2c7357ed-ebd2-46d9-aec1-23d437ec2bf5");
/// dm-verity hashes of the root file system, 64-bit ARM.
pub const ROOT_VERITY_ARM64: Uuid = uuid!("df3300ce-d69f-4c92-978c-9bfb0f38d820");
/// `/var`.
pub const VAR: Uuid = uuid!("4d21b016-b534-45c2-a9fb-5c16e091fd2d");
/// Any Linux data that nothing mounts by itself.
pub const LINUX: Uuid = uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4");
/// Swap.
pub const SWAP: Uuid = uuid!("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f");
/// Microsoft basic data: FAT and NTFS volumes that other systems should see.
pub const BASIC_DATA: Uuid = uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7");

/// Attribute: the platform needs this partition; leave it alone (UEFI 2.10 table 5.8).
pub const REQUIRED: u64 = 1 << 0;
/// Attribute: legacy BIOS boots from here.
pub const LEGACY_BOOT: u64 = 1 << 2;
/// Attribute: grow the file system to the partition on first mount.
pub const GROW_FILE_SYSTEM: u64 = 1 << 59;
/// Attribute: mount read-only.
pub const READ_ONLY: u64 = 1 << 60;
/// Attribute: do not mount by itself.
pub const NO_AUTO: u64 = 1 << 63;
