//! Raspberry Pi OS: Debian and the Raspberry Pi archive with its kernel and firmware, as far as that can be had
//! without the archive itself. A stand-in with packages of the same names and layout is made by reprepro; boards and
//! repository are the program's own profiles, but for the keys.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use prejoin_formats::fdt::{DeviceTree, Node};
use prejoin_profiles::catalog::Catalog;
use prejoin_profiles::lock::Lock;
use serde_json::json;

use crate::archive::{Archive, Key, Package, reprepro};
use crate::kernel::{self, noise};
use crate::session::{Session, absent, checked};
use crate::tiny::{self, TINY};

const RELEASE: &str = "6.12.47+rpt-rpi-v8";
const VERSION: &str = "1:6.12.47-1+rpt1";

/// Device trees and overlays of the real package that boards ask for, and one that none does.
const TREES: &[&str] = &[
    "broadcom/bcm2711-rpi-4-b.dtb",
    "broadcom/bcm2711-rpi-400.dtb",
    "broadcom/bcm2711-rpi-cm4.dtb",
    "broadcom/bcm2712-rpi-5-b.dtb",
    "broadcom/bcm2712d0-rpi-5-b.dtb",
    "broadcom/bcm2837-rpi-3-b.dtb",
    "overlays/overlay_map.dtb",
    "overlays/bcm2712d0.dtbo",
    "overlays/disable-bt.dtbo",
];

/// The key of the archive that stands in for Raspberry Pi's.
static KEY: LazyLock<Key> = LazyLock::new(|| Key::make("raspberrypi@example.org"));

/// A device tree with a parameter and a label, or an overlay of that label, that tells its name.
fn device_tree(name: &str) -> Vec<u8> {
    let mut root = node(&[("model", name), ("compatible", "brcm,bcm2712")]);
    if name.ends_with(".dtb") {
        let children = [
            ("__overrides__", "fan_temp0", "x"),
            ("__symbols__", "uart0", "/"),
        ];
        for (child, property, value) in children {
            root.children
                .insert(child.to_owned(), node(&[(property, value)]));
        }
    } else {
        let mut fragment = Node::default();
        fragment
            .children
            .insert("__overlay__".to_owned(), node(&[("status", "okay")]));
        root.children.insert("fragment@0".to_owned(), fragment);
        let fixups = node(&[("uart0", "/fragment@0:target:0")]);
        root.children.insert("__fixups__".to_owned(), fixups);
    }
    if name.ends_with("overlay_map.dtb") {
        root = Node::default();
    }
    let tree = DeviceTree {
        root,
        ..DeviceTree::default()
    };
    tree.to_bytes().unwrap()
}

fn node(properties: &[(&str, &str)]) -> Node {
    let properties = properties.iter();
    Node {
        properties: properties
            .map(|(name, value)| ((*name).to_owned(), format!("{value}\0").into()))
            .collect(),
        ..Node::default()
    }
}

fn arm64(name: &'static str, version: &'static str) -> Package {
    Package {
        name,
        version,
        architecture: "arm64",
        ..Package::default()
    }
}

/// What Raspberry Pi's archive has.
fn theirs() -> Vec<Package> {
    let mut kernel = kernel::package("linux-image-6.12.47+rpt-rpi-v8", VERSION, RELEASE, "arm64");
    for tree in TREES {
        let path = format!("usr/lib/linux-image-{RELEASE}/{tree}");
        kernel = kernel.with(&path, device_tree(tree));
    }
    let depends = "Depends: linux-image-6.12.47+rpt-rpi-v8 (= 1:6.12.47-1+rpt1)\n";
    let firmware = "usr/lib/raspi-firmware";
    vec![
        kernel,
        Package {
            fields: depends,
            ..arm64("linux-image-rpi-v8", VERSION)
        },
        arm64("raspi-firmware", "1:1.20250915-1")
            .with(
                &format!("{firmware}/start4.elf"),
                noise("start4", 200 << 10),
            )
            .with(&format!("{firmware}/fixup4.dat"), noise("fixup4", 5 << 10))
            .with(
                &format!("{firmware}/bootcode.bin"),
                noise("bootcode", 50 << 10),
            ),
        Package {
            architecture: "all",
            ..arm64("greeting", "2.0+rpt1")
        }
        .with("usr/share/greeting/text", "Hello, Pi!\n"),
    ]
}

/// What Debian has under the same names, and what its backports have.
fn ours() -> Package {
    arm64("raspi-firmware", "1.20250430+ds-1").with("usr/lib/raspi-firmware/start4.elf", "Debian's")
}

fn backports() -> Package {
    Package {
        architecture: "all",
        ..arm64("greeting", "9")
    }
    .with("usr/share/greeting/text", "From backports\n")
}

/// The archives, and a session whose operating system takes from all of them.
pub fn session() -> Option<Session> {
    if ["reprepro", "mdir", "mtype", "mcopy"]
        .into_iter()
        .any(absent)
    {
        return None;
    }
    let (mut session, debian) = tiny::own_archive()?;
    ours().pack(&debian.pool());
    debian.publish(&TINY.key);
    let key = &*KEY;
    for package in theirs() {
        package.pack(&session.path("debs"));
    }
    let raspberrypi = reprepro(
        &session.path("reprepro"),
        "trixie",
        key,
        &session.path("debs"),
    );
    let later = Archive {
        root: session.path("backports"),
        suite: "tiny-backports",
    };
    backports().pack(&later.pool());
    later.publish(&TINY.key);

    let catalog = Catalog::embedded();
    let mut repository = catalog.os("raspios-13").unwrap().repositories["raspberrypi"].clone();
    repository.keys = vec![key.fingerprint.clone()];
    let os = json!({
        "name": "tiny-raspios", "description": "The tiny distribution on Raspberry Pis", "inherits": "tiny",
        "repositories": {
            "raspberrypi": repository,
            "backports": {
                "archive": "later", "suite": "tiny-backports", "components": ["main"],
                "keys": [TINY.key.fingerprint], "priority": 100,
            },
        },
        "packages": ["raspi-firmware"],
        "recipes": { "raspi-firmware": { "remove": ["usr/lib/raspi-firmware"] } },
    });
    session.write("profiles/os/tiny-raspios.yaml", os.to_string());
    session.write("profiles/keys/raspberrypi.asc", &key.public);
    for name in ["rpi4", "rpi5"] {
        let kernel = &catalog.board(name).unwrap().kernel["raspios-13"];
        let board = json!({ "name": format!("tiny-{name}"), "inherits": name, "kernel": { "tiny-raspios": kernel } });
        session.write(
            &format!("profiles/boards/tiny-{name}.yaml"),
            board.to_string(),
        );
    }
    session.edit("cluster.yaml", "os: tiny\n", "os: tiny-raspios\n");
    session.edit("cluster.yaml", "tiny-amd64", "tiny-rpi4");
    session.edit("cluster.yaml", "tiny-arm64", "tiny-rpi5");
    session.set("PREJOIN_MIRROR_RASPBERRYPI", raspberrypi.address());
    session.set("PREJOIN_MIRROR_LATER", later.address());
    Some(session)
}

#[test]
fn raspberry_pis_start_from_their_own_kernel() {
    let Some(mut session) = session() else { return };
    session.run("check");
    session.run("lock");
    let lock = Lock::parse(&session.read("prejoin.lock")).unwrap();
    for (name, set) in &lock.sets {
        session.note(&format!("{name}: {}\n", set.packages.join(" ")));
    }
    session.run("build");
    session.run("verify");
    for node in ["one", "two"] {
        session.quietly(&format!("export {node} --format raw"));
        // The boot partition is the first, at 1 MiB.
        let image = format!("{}@@1M", session.path(&format!("out/{node}.raw")).display());
        let list = checked(Command::new("mdir").args(["-/", "-b", "-i", &image, "::"]));
        session.note(&format!(
            "boot partition of {node}\n{}",
            list.replace("::/", "  ")
        ));
        for file in ["config.txt", "cmdline.txt"] {
            let text = checked(Command::new("mtype").args(["-i", &image, &format!("::{file}")]));
            session.note(&format!("{file} of {node}\n{}", without_guids(&text)));
        }
        let folder = session.path(node);
        fs::create_dir(&folder).unwrap();
        checked(
            Command::new("mcopy")
                .args(["-s", "-i", &image, "::*"])
                .arg(&folder),
        );
        let kernel = [
            b"MZ".as_slice(),
            b"linux-image-6.12.47+rpt-rpi-v8",
            &noise("linux-image-6.12.47+rpt-rpi-v8", 400 << 10),
        ];
        assert!(
            fs::read(folder.join("kernel8.img")).unwrap() == kernel.concat(),
            "kernel8.img of {node}"
        );
        assert_eq!(folder.join("start4.elf").exists(), node == "one");
        trees(&folder);
    }
    assert!(fs::read(session.path("one/start4.elf")).unwrap() == noise("start4", 200 << 10));
    session.golden("raspios");
}

/// Every device tree is the one of its name.
fn trees(folder: &Path) {
    for tree in TREES {
        let name = tree.rsplit('/').next().unwrap();
        let path = if tree.starts_with("overlays") {
            folder.join("overlays").join(name)
        } else {
            folder.join(name)
        };
        let Ok(bytes) = fs::read(path) else { continue };
        assert_eq!(bytes, device_tree(tree), "{name}");
    }
}

fn without_guids(text: &str) -> String {
    let mut parts = text.split("PARTUUID=");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        format!("{text}PARTUUID=[GUID]{}", &part[36..])
    })
}

#[test]
fn overlays_and_parameters_that_match_nothing_stop_the_build() {
    let Some(mut session) = session() else { return };
    session.quietly("lock");
    let kernel = &Catalog::embedded().board("rpi5").unwrap().kernel["raspios-13"];
    // The board's own overlays and lines of config.txt, and what the build says if it does not succeed.
    let fan = ["dtoverlay=disable-bt", "dtparam=fan_temp0=45000"];
    let mine = ["overlays/mine.dtbo"];
    let boards: [(&[&str], &[&str], &str); 6] = [
        (&["overlays/disable-*.dtbo"], &fan, ""),
        (&["overlays/vc4-*.dtbo"], &[], "overlays/vc4-*.dtbo"),
        (&[], &["dtoverlay=disable-bt"], "`disable-bt`"),
        (&[], &["dtparam=pciex1_gen=3"], "`pciex1_gen`"),
        (&mine, &["dtoverlay=mine"], "overlays/mine.dtbo"),
        (&mine, &["dtoverlay=mine"], ""),
    ];
    for (index, (overlays, lines, said)) in boards.into_iter().enumerate() {
        let board = json!({
            "name": "tiny-rpi5", "inherits": "rpi5", "kernel": { "tiny-raspios": kernel },
            "overlays": overlays, "config_txt": lines,
        });
        session.write("profiles/boards/tiny-rpi5.yaml", board.to_string());
        // The last one has the overlay beside the cluster file.
        if index == 5 {
            let own = device_tree("overlays/mine.dtbo");
            session.write("profiles/overlays/mine.dtbo", own);
        }
        let output = session.run("build two");
        let text = String::from_utf8_lossy(&output.stderr);
        let code = if said.is_empty() { 0 } else { 3 };
        assert_eq!(output.status.code(), Some(code), "{lines:?}: {text}");
        assert!(text.contains(said), "{lines:?}: {text}");
    }
    session.write("profiles/overlays/mine.dtbo", "/dts-v1/;\n/plugin/;\n");
    assert_eq!(session.run("check").status.code(), Some(3));
}

#[test]
fn the_archive_is_held_to_its_own_key() {
    let Some(mut session) = session() else { return };
    // Debian's key is trusted, but not for Raspberry Pi's packages.
    let archive = Archive {
        root: session.path("reprepro/archive"),
        suite: "trixie",
    };
    archive.release(&TINY.key, 0, 7);
    assert_eq!(session.run("lock").status.code(), Some(5));
    session.golden("raspios-key");
}
