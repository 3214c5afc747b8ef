//! Names of partition types.

/// Type GUIDs (UAPI Group's Discoverable Partitions Specification; Wikipedia's list of those that others gave out), and
/// the type bytes of an MBR.
const NAMES: &[(&str, &str)] = &[
    ("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "EFI system"),
    ("21686148-6449-6e6f-744e-656564454649", "BIOS boot"),
    (
        "bc13c2ff-59e6-4262-a352-b275fd6f7172",
        "Linux extended boot",
    ),
    ("0fc63daf-8483-4772-8e79-3d69d8477de4", "Linux file system"),
    ("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f", "Linux swap"),
    ("e6d6d379-f507-44c2-a23c-238f2a3df928", "Linux LVM"),
    ("a19d880f-05fc-4d3b-a006-743f0f84911e", "Linux RAID"),
    (
        "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
        "Linux root (x86-64)",
    ),
    (
        "b921b045-1df0-41c3-af44-4c6f280d3fae",
        "Linux root (ARM-64)",
    ),
    (
        "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5",
        "Linux root verity (x86-64)",
    ),
    (
        "df3300ce-d69f-4c92-978c-9bfb0f38d820",
        "Linux root verity (ARM-64)",
    ),
    (
        "4d21b016-b534-45c2-a9fb-5c16e091fd2d",
        "Linux variable data",
    ),
    ("933ac7e1-2eb4-4f13-b844-0e14e2aef915", "Linux home"),
    ("3b8f8425-20e0-4f3b-907f-1a25a76f98e8", "Linux server data"),
    ("e3c9e316-0b5c-4db8-817d-f92df00215ae", "Microsoft reserved"),
    (
        "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7",
        "Microsoft basic data",
    ),
    ("de94bba4-06d1-4d40-a16a-bfd50179d6ac", "Windows recovery"),
    (
        "5808c8aa-7e8f-42e0-85d2-e1e90434cfb3",
        "Microsoft LDM metadata",
    ),
    ("af9b60a0-1431-4f62-bc68-3311714a69ad", "Microsoft LDM data"),
    (
        "e75caf8f-f680-4cee-afa3-b001e56efc2d",
        "Microsoft Storage Spaces",
    ),
    ("7c3457ef-0000-11aa-aa11-00306543ecac", "Apple APFS"),
    ("48465300-0000-11aa-aa11-00306543ecac", "Apple HFS+"),
    ("6a898cc3-1dd2-11b2-99a6-080020736631", "ZFS"),
    ("516e7cba-6ecf-11d6-8ff8-00022d09712b", "FreeBSD ZFS"),
    ("516e7cb6-6ecf-11d6-8ff8-00022d09712b", "FreeBSD UFS"),
    ("4fbd7e29-9d25-41b8-afd0-062c0ceff05d", "Ceph OSD"),
    ("aa31e02a-400f-11db-9590-000c2911d1b8", "VMware VMFS"),
    ("381cfccc-7288-11e0-92ee-000c2911d0b2", "VMware vSAN"),
    (
        "a9e5177f-8d53-4732-8f48-a9b1d50c6590",
        "prejoin, not written to its end",
    ),
    ("01", "FAT12"),
    ("04", "FAT16"),
    ("05", "extended"),
    ("06", "FAT16"),
    ("07", "NTFS or exFAT"),
    ("0b", "FAT32"),
    ("0c", "FAT32"),
    ("0e", "FAT16"),
    ("0f", "extended"),
    ("27", "Windows recovery"),
    ("42", "Windows dynamic disk"),
    ("82", "Linux swap"),
    ("83", "Linux"),
    ("85", "Linux extended"),
    ("8e", "Linux LVM"),
    ("a5", "FreeBSD"),
    ("a8", "Apple UFS"),
    ("af", "Apple HFS+"),
    ("ee", "GPT"),
    ("ef", "EFI system"),
    ("fb", "VMware VMFS"),
    ("fd", "Linux RAID"),
];

/// What a type is called; its number where it has no name.
pub(crate) fn name(type_id: &str) -> &str {
    let known = NAMES
        .iter()
        .find(|(id, _)| id.eq_ignore_ascii_case(type_id));
    known.map_or(type_id, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use prejoin_disk::write::PARTIAL;

    use super::*;

    #[test]
    fn every_type_has_one_name() {
        let mut ids: Vec<&str> = NAMES.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), NAMES.len());
        assert!(
            ids.iter()
                .all(|id| [2, 36].contains(&id.len()) && *id == id.to_lowercase())
        );
        assert_eq!(name("C12A7328-F81F-11D2-BA4B-00A0C93EC93B"), "EFI system");
        assert_eq!((name("83"), name("99")), ("Linux", "99"));
        assert_eq!(
            name(&PARTIAL.to_string()),
            "prejoin, not written to its end"
        );
    }
}
