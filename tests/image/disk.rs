//! Partition table, file systems and dm-verity, each judged by the tool that everybody uses for it.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::cluster::{NODES, lab};
use crate::tools::{absent, checked, folder, line, tried};

#[test]
fn the_partition_table_is_sound() {
    let Some(lab) = lab() else { return };
    if absent(&["sgdisk"]) {
        return;
    }
    for node in NODES {
        let said = checked(&mut line("sgdisk -v {}", &[&lab.image(node)]));
        assert!(said.contains("No problems found"), "{node}: {said}");
        let manifest = lab.manifest(node);
        for partition in &manifest.partitions {
            let info = checked(
                line("sgdisk -i", &[])
                    .arg(partition.number.to_string())
                    .arg(lab.image(node)),
            );
            for expected in [
                partition.type_guid.to_string().to_uppercase(),
                partition.guid.to_string().to_uppercase(),
                format!("'{}'", partition.name),
                format!("First sector: {} ", partition.start / 512),
                format!("Partition size: {} sectors", partition.size / 512),
            ] {
                assert!(
                    info.contains(&expected),
                    "{node}: {expected} is not in\n{info}"
                );
            }
        }
    }
}

#[test]
fn no_two_partitions_have_the_same_name_for_ever() {
    let Some(lab) = lab() else { return };
    let mut guids = BTreeSet::new();
    for node in NODES {
        let manifest = lab.manifest(node);
        for partition in &manifest.partitions {
            assert!(
                guids.insert(partition.guid.to_string()),
                "{node} {}: {}",
                partition.name,
                partition.guid
            );
        }
        if !absent(&["sgdisk"]) {
            let said = checked(&mut line("sgdisk -p {}", &[&lab.image(node)]));
            let disk = said
                .lines()
                .find(|line| line.starts_with("Disk identifier"))
                .unwrap()
                .to_owned();
            assert!(guids.insert(disk.clone()), "{node}: {disk}");
        }
    }
}

#[test]
fn fat_is_clean() {
    let Some(lab) = lab() else { return };
    if absent(&["fsck.vfat"]) {
        return;
    }
    for node in NODES {
        for partition in ["boot", "identity"] {
            let (clean, said) = tried(&mut line(
                "fsck.vfat -n -v {}",
                &[&lab.extract(node, partition)],
            ));
            assert!(clean, "{node} {partition}: {said}");
        }
    }
}

#[test]
fn ext4_is_clean() {
    let Some(lab) = lab() else { return };
    if absent(&["e2fsck", "dumpe2fs"]) {
        return;
    }
    for node in NODES {
        let partition = lab.extract(node, "root-a");
        let (clean, said) = tried(&mut line("e2fsck -f -n {}", &[&partition]));
        assert!(clean, "{node}: {said}");
        let said = checked(&mut line("dumpe2fs -h {}", &[&partition]));
        let field = |name: &str| {
            let line = said
                .lines()
                .find(|line| line.starts_with(name))
                .unwrap_or_else(|| panic!("{name}: {said}"));
            line[name.len()..].trim().to_owned()
        };
        assert_eq!(
            field("Filesystem features:"),
            "ext_attr dir_index filetype extent flex_bg sparse_super large_file huge_file dir_nlink extra_isize metadata_csum read-only"
        );
        assert_eq!(field("Filesystem state:"), "clean");
        assert_eq!(
            (field("Mount count:"), field("Last mount time:")),
            ("0".into(), "n/a".into())
        );
        assert_eq!(
            (field("Block size:"), field("Filesystem volume name:")),
            ("4096".into(), "root".into())
        );
    }
}

#[test]
fn verity_holds_and_notices() {
    let Some(lab) = lab() else { return };
    if absent(&["veritysetup"]) {
        return;
    }
    for node in NODES {
        let manifest = lab.manifest(node);
        let hash = manifest.root_hash.to_string();
        let [root, hashes] = ["root-a", "root-a-verity"].map(|name| lab.extract(node, name));
        checked(line("veritysetup verify {} {}", &[&root, &hashes]).arg(&hash));
        if node != NODES[0] {
            continue;
        }
        // One bit in the middle of what the file system uses, and one in the tree itself.
        let used = manifest.partition("root-a").unwrap().used;
        for (path, at) in [(&root, used / 3), (&hashes, 4096 + 77)] {
            let changed = folder("partitions").join("changed");
            checked(&mut line("cp --sparse=always {} {}", &[path, &changed]));
            let file = File::options()
                .read(true)
                .write(true)
                .open(&changed)
                .unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
            let parts = if path == &root {
                [&changed, &hashes]
            } else {
                [&root, &changed]
            };
            let (held, said) =
                tried(line("veritysetup verify {} {}", &parts.map(|p| p.as_path())).arg(&hash));
            assert!(!held, "a changed bit is not noticed: {said}");
        }
    }
}

#[test]
fn other_readers_read_it_back() {
    let Some(lab) = lab() else { return };
    // ext4-view and fatfs, and every chunk by its digest.
    let said = checked(&mut lab.prejoin("verify"));
    for node in NODES {
        assert!(said.contains(node), "{said}");
    }
}
