//! Users add boards, layouts and package sets as files, without touching Rust.

use prejoin_profiles::catalog::{Catalog, Error, Kind};
use prejoin_profiles::check;
use prejoin_profiles::cluster::with_keys;
use prejoin_profiles::layout::Disk;
use prejoin_wire::size::Size;

fn extended(kind: Kind, name: &str, text: &str) -> Result<Catalog, Error> {
    let mut catalog = Catalog::embedded();
    catalog.extend(
        kind,
        name,
        &format!("profiles/{}/{name}.yaml", kind.folder()),
        text,
    )?;
    Ok(catalog)
}

fn complaint(kind: Kind, name: &str, text: &str) -> String {
    let result = extended(kind, name, text).and_then(|catalog| match kind {
        Kind::Board => catalog.board(name).map(drop),
        Kind::Layout => catalog.layout(name).map(drop),
        Kind::Set => catalog.set(name).map(drop),
        Kind::Os => catalog.os(name).map(drop),
    });
    let error = result.expect_err("this file is bad");
    format!(
        "{error}{}",
        error
            .hint()
            .map(|hint| format!(" ({hint})"))
            .unwrap_or_default()
    )
}

#[test]
fn a_user_board_adds_to_the_one_it_inherits() {
    let text = "name: pi5-fan\ninherits: rpi5\ndescription: Pi 5 in a case with a fan\nconfig_txt: [dtparam=fan_temp0=45000]\n\
                initramfs_modules: [r8152, nvme]\n";
    let catalog = extended(Kind::Board, "pi5-fan", text).unwrap();
    let (board, base) = (
        catalog.board("pi5-fan").unwrap(),
        catalog.board("rpi5").unwrap(),
    );
    assert_eq!(board.name, "pi5-fan");
    assert_eq!(board.kernel, base.kernel);
    assert_eq!(board.config_txt.last().unwrap(), "dtparam=fan_temp0=45000");
    assert_eq!(board.config_txt.len(), base.config_txt.len() + 1);
    // nvme was there already.
    assert_eq!(
        board.initramfs_modules.len(),
        base.initramfs_modules.len() + 1
    );
    assert!(catalog.names(Kind::Board).contains(&"pi5-fan".to_owned()));

    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIABlOcBMddiKzm5nnTEJPs9MNvNNanpaFCwQiPyP1gMD"
        .parse()
        .unwrap();
    let cluster = with_keys(
        include_str!("../clusters/pi5-kubeadm-longhorn.yaml"),
        &[key],
    )
    .replace("board: rpi5", "board: pi5-fan")
    .replace(
        "name: shelf\n",
        "name: shelf\nid: 7c1f0a52-3b0e-4c8b-9a55-0d8f6f3a1e01\n",
    );
    assert!(check::read(&cluster, &catalog).unwrap().1.is_empty());
    assert!(check::read(&cluster, &Catalog::embedded()).is_err());
}

#[test]
fn what_only_one_kernel_needs_is_added_for_it() {
    let board = Catalog::embedded().board("rpi5").unwrap();
    let (debian, kernel) = board.on("debian-13").unwrap();
    assert_eq!(kernel.package, "linux-image-arm64");
    assert!(
        debian
            .device_trees
            .contains(&"broadcom/bcm2712-rpi-5-b.dtb".to_owned())
    );
    assert!(
        debian
            .initramfs_modules
            .contains(&"irq_bcm2712_mip".to_owned())
    );
    let (raspios, _) = board.on("raspios-13").unwrap();
    assert!(
        raspios
            .kernel_args
            .contains(&"cgroup_enable=memory".to_owned())
    );
    assert!(!raspios.initramfs_modules.contains(&"rp1_pci".to_owned()));
    assert!(board.on("talos").is_none());
}

#[test]
fn a_user_layout_changes_sizes_by_name() {
    let text = "name: big\ninherits: longhorn\nsizes: { state: 100 GiB }\n";
    let catalog = extended(Kind::Layout, "big", text).unwrap();
    let big = catalog.layout("big").unwrap();
    let names: Vec<_> = big.partitions.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "boot",
            "root-a",
            "root-a-verity",
            "root-b",
            "root-b-verity",
            "identity",
            "state",
            "data"
        ]
    );
    assert_eq!(big.partitions[6].size, Some(Size(100 << 30)));
    let base = catalog.layout("longhorn").unwrap();
    assert_eq!(
        big.min_size(Disk::System).bytes() - base.min_size(Disk::System).bytes(),
        60 << 30
    );
}

#[test]
fn smallest_disks_are_what_they_are_sold_as() {
    let catalog = Catalog::embedded();
    let min = |name: &str, disk| catalog.layout(name).unwrap().min_size(disk).bytes();
    // A "16 GB" card has at least 14.9 GiB; every partition starts on a MiB.
    assert!(min("single", Disk::System) < 15_500_000_000);
    assert!(min("longhorn", Disk::System) < 120_000_000_000);
    for name in catalog.names(Kind::Layout) {
        assert_eq!(min(&name, Disk::System) % (1 << 20), 0);
    }
    assert_eq!(min("ceph", Disk::Data), (16 << 30) + (2 << 20));
}

#[test]
fn layouts_are_what_image_and_agent_look_for() {
    let single = include_str!("../layouts/single.yaml").replace("name: single", "name: mine");
    let said = |text: &str| {
        complaint(Kind::Layout, "mine", text)
            .split_once(": ")
            .unwrap()
            .1
            .to_owned()
    };
    let changed = |from: &str, to: &str| {
        assert!(single.contains(from), "{from}");
        said(&single.replace(from, to))
    };
    let without = |name: &str| {
        let lines = single
            .lines()
            .filter(|line| !line.contains(&format!("{{ name: {name},")));
        said(&lines.collect::<Vec<_>>().join("\n"))
    };
    for name in ["boot", "root-a", "root-a-verity", "identity", "state"] {
        assert_eq!(
            without(name),
            format!("there is no partition `{name}` on the system disk")
        );
    }
    assert_eq!(
        without("root-b"),
        "there is a partition `root-b-verity`, but no `root-b`"
    );
    assert_eq!(
        without("root-b-verity"),
        "there is a partition `root-b`, but no `root-b-verity`"
    );
    assert_eq!(
        changed(
            "name: root-a, purpose: root",
            "name: root-a, purpose: verity"
        ),
        "a partition called `root-a` has the purpose `root`, not `verity`"
    );
    assert!(
        changed("name: root-a,", "name: root,")
            .starts_with("the system disk has no use for a partition `root`")
    );
    assert_eq!(
        changed("size: 16 MiB }", "size: 16 MiB, disk: data }"),
        "partition `identity` is for `identity`, and not on the system disk"
    );
    assert_eq!(
        changed(
            "name: boot, purpose: boot",
            "name: identity, purpose: identity"
        )
        .replace("`", ""),
        "two partitions are called identity"
    );
    let swapped = single
        .replace("root-a", "root-x")
        .replace("root-b", "root-a")
        .replace("root-x", "root-b");
    assert_eq!(
        said(&swapped),
        "partition `root-b` stands before `root-a-verity`, and must come after it"
    );
    assert_eq!(
        changed("min_size: 7 GiB", "min_size: 1023 MiB"),
        "partition `state` needs at least 1024 MiB"
    );
    for (from, to) in [
        ("filesystem: ext4", "filesystem: xfs"),
        (", mount: /var", ""),
        ("mount: /var", "mount: /srv"),
    ] {
        assert_eq!(
            changed(from, to),
            "partition `state` is ext4, and mounted at `/var`"
        );
    }
    assert_eq!(
        changed("size: 16 MiB }", "size: 16 MiB, mount: /srv }"),
        "partition `identity` has neither `filesystem` nor `mount` of your choice"
    );
}

#[test]
fn data_is_mounted_where_a_node_can() {
    let mounted = |at: &str, filesystem: &str| {
        format!(
            "name: mine\ninherits: single\nsizes: {{ state: 8 GiB }}\npartitions:\n  \
             - {{ name: data, purpose: data, min_size: 1 GiB, mount: \"{at}\"{filesystem} }}\n"
        )
    };
    let ext4 = ", filesystem: ext4";
    for at in [
        "/var/lib/longhorn",
        "/srv",
        "/srv/nfs",
        "/opt",
        "/var/lib/prejoin-data",
        "/var/a_b/c.d-e",
    ] {
        extended(Kind::Layout, "mine", &mounted(at, ext4))
            .unwrap()
            .layout("mine")
            .unwrap();
    }
    for at in [
        "/",
        "",
        "srv",
        "/srv/",
        "/srv/../etc",
        "/etc",
        "/etc/kubernetes",
        "/usr",
        "/usr/local",
        "/boot",
        "/home",
        "/root/x",
        "/mnt/x",
        "/run/x",
        "/var/lib",
        "/var/lib/overlay/etc.upper",
        "/var/lib/cloud",
        "/srv/a b",
        "/srv/ü",
    ] {
        let said = complaint(Kind::Layout, "mine", &mounted(at, ext4));
        assert!(
            said.contains(&format!("partition `data` cannot be mounted at `{at}`: ")),
            "{said}"
        );
    }
    let said = complaint(Kind::Layout, "mine", &mounted("/var", ext4));
    assert!(said.contains("`/var` cannot be written"), "{said}");
    let said = complaint(Kind::Layout, "mine", &mounted("/srv", ""));
    assert!(
        said.ends_with("partition `data` has a `mount` and no `filesystem`"),
        "{said}"
    );
    let two = mounted("/srv", ext4).replace("min_size: 1 GiB", "size: 1 GiB, disk: data")
        + "  - { name: more, purpose: data, min_size: 1 GiB, mount: /srv, filesystem: xfs, disk: data }\n";
    let said = complaint(Kind::Layout, "mine", &two);
    assert!(
        said.ends_with("two partitions are mounted at `/srv`"),
        "{said}"
    );
}

#[test]
fn bad_files_are_named_with_line_and_column() {
    assert_eq!(
        complaint(
            Kind::Board,
            "mine",
            "name: mine\ninherits: rpi5\nkernal: {}\n"
        ),
        "profiles/boards/mine.yaml:3:1: unknown key `kernal` (did you mean `kernel`?)"
    );
    assert_eq!(
        complaint(Kind::Board, "mine", "name: other\n"),
        "profiles/boards/mine.yaml:1:1: the file is called `mine`, but names itself `other`"
    );
    assert_eq!(
        complaint(Kind::Board, "mine", "name: mine\n\ninherits: rpi6\n"),
        "profiles/boards/mine.yaml:3:1: there is no board `rpi6`"
    );
    assert_eq!(
        complaint(Kind::Board, "mine", "name: mine\ninherits: mine\n"),
        "profiles/boards/mine.yaml:2:1: `mine` inherits from itself"
    );
    assert_eq!(
        complaint(Kind::Board, "mine", "name: mine\narchitecture: arm64\n"),
        "profiles/boards/mine.yaml:1:1: the key `description` is missing"
    );
    assert_eq!(
        complaint(Kind::Board, "rpi5", "name: rpi5\n"),
        "profiles/boards/rpi5.yaml: board `rpi5` is there already (give yours another name, and `inherits: rpi5`)"
    );
    assert_eq!(
        complaint(
            Kind::Layout,
            "mine",
            "name: mine\ninherits: single\nsizes: { stat: 1 GiB }\n"
        ),
        "profiles/layouts/mine.yaml:1:1: `sizes` names `stat`, which is no partition"
    );
    assert_eq!(
        complaint(
            Kind::Layout,
            "mine",
            "name: mine\ninherits: single\npartitions: [{ name: data, purpose: data, size: 1 GiB }]\n"
        ),
        "profiles/layouts/mine.yaml:3:1: partition `state` takes the rest of its disk, but others follow"
    );
    assert_eq!(
        complaint(
            Kind::Layout,
            "mine",
            "name: mine\ninherits: single\nsizes: { boot: 1500 kB }\n"
        ),
        "profiles/layouts/mine.yaml:1:1: partition `boot` needs a `size`, or a `min_size`, in whole MiB"
    );
    assert_eq!(
        complaint(Kind::Set, "mine", "name: mine\npackages: htop\n"),
        "profiles/sets/mine.yaml:2:11: a list is expected here (put it into `[ ]`, or on lines of their own after `-`)"
    );
}
