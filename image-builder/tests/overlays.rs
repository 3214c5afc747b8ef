//! Overlays of a boot partition: what is named is there and fits, or is an error.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use prejoin_formats::fdt::{DeviceTree, Node};
use prejoin_formats::tree::{Content, NoContents};
use prejoin_image_builder::image::overlays::{Error, Overlays, check_own, gather};
use prejoin_profiles::board::Board;
use serde_json::{Value, json};

/// A node of properties, each a text, and nodes.
fn node(properties: &[(&str, &str)], children: &[(&str, Node)]) -> Node {
    let text = |(name, value): &(&str, &str)| ((*name).to_owned(), format!("{value}\0").into());
    let child = |(name, node): &(&str, Node)| ((*name).to_owned(), node.clone());
    Node {
        properties: properties.iter().map(text).collect(),
        children: children.iter().map(child).collect(),
    }
}

fn bytes(root: Node) -> Vec<u8> {
    let tree = DeviceTree {
        root,
        ..DeviceTree::default()
    };
    tree.to_bytes().unwrap()
}

/// A board's tree with a label, and with parameters if there are any.
fn base(pins: &str, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut children = vec![
        ("pins", node(&[("compatible", pins)], &[])),
        (
            "__symbols__",
            node(&[("gpio", "/pins"), ("i2c1", "/pins")], &[]),
        ),
    ];
    if !parameters.is_empty() {
        children.push(("__overrides__", node(parameters, &[])));
    }
    bytes(node(
        &[("compatible", "raspberrypi,5-model-b\0brcm,bcm2712")],
        &children,
    ))
}

/// An overlay of the place that a label names.
fn overlay(label: &str, parameters: &[(&str, &str)]) -> Vec<u8> {
    let fragment = node(&[], &[("__overlay__", node(&[("status", "okay")], &[]))]);
    let fixups = node(&[(label, "/fragment@0:target:0")], &[]);
    let overrides = node(parameters, &[]);
    let children = [
        ("fragment@0", fragment),
        ("__fixups__", fixups),
        ("__overrides__", overrides),
    ];
    bytes(node(&[], &children))
}

/// Which overlays other chips have, and what became of some.
fn map() -> Vec<u8> {
    let entries = [
        ("fan", node(&[("bcm2711", ""), ("bcm2712", "fan-pi5")], &[])),
        ("audio", node(&[("bcm2711", "")], &[])),
        ("cooler", node(&[("renamed", "fan-pi5")], &[])),
        ("fan-pi5", node(&[("bcm2712", "")], &[])),
    ];
    bytes(node(&[], &entries))
}

fn package(parameters: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    let files = [
        ("chip/c0.dtb", base("c0", parameters)),
        ("chip/d0.dtb", base("d0", parameters)),
        ("overlays/fan-pi5.dtbo", overlay("gpio", &[("temp", "")])),
        ("overlays/audio.dtbo", overlay("gpio", &[])),
        ("overlays/theirs.dtbo", overlay("nowhere", &[])),
        ("overlays/overlay_map.dtb", map()),
    ];
    files.map(|(path, bytes)| (path.to_owned(), bytes)).into()
}

/// What a board gets; fields are laid over it.
fn gathered(
    fields: Value,
    package: &BTreeMap<String, Vec<u8>>,
    own: &[(&str, Vec<u8>)],
) -> Result<Overlays, Error> {
    let mut board = json!({
        "name": "test", "description": "a board", "architecture": "arm64", "firmware": "raspberry-pi",
        "sector_sizes": [512], "kernel": {}, "battery_clock": false, "initramfs_modules": [],
        "device_trees": ["chip/c0.dtb", "chip/d0.dtb"],
    });
    let fields = fields.as_object().unwrap().clone();
    board.as_object_mut().unwrap().extend(fields);
    let board: Board = serde_json::from_value(board).unwrap();
    let content = |(path, bytes): (&String, &Vec<u8>)| {
        (path.clone(), Content::Bytes(bytes.as_slice().into()))
    };
    let trees = package.iter().map(content).collect();
    let own = own
        .iter()
        .map(|(name, bytes)| ((*name).to_owned(), bytes.clone()))
        .collect();
    gather(&board, &trees, &own, &NoContents)
}

fn read(overlays: &Overlays, name: &str) -> Vec<u8> {
    overlays[name].read(&NoContents).unwrap()
}

/// The error of a board with all overlays of the package and these lines of `config.txt`.
fn refused(lines: &[&str], parameters: &[(&str, &str)]) -> Error {
    let fields = json!({ "overlays": ["overlays/*"], "config_txt": lines });
    gathered(fields, &package(parameters), &[]).unwrap_err()
}

#[test]
fn a_pattern_that_matches_nothing_is_an_error() {
    let patterns = json!({ "overlays": ["overlays/fan*.dtbo", "overlays/disable-bt.dtbo"] });
    let error = gathered(patterns.clone(), &package(&[]), &[]).unwrap_err();
    let message =
        "no overlay of the kernel's package or of your own is called overlays/disable-bt.dtbo";
    assert_eq!(error.to_string(), message);
    assert!(error.hint().unwrap().contains("profiles/overlays/"));

    let own = [("disable-bt.dtbo", overlay("gpio", &[]))];
    let overlays = gathered(patterns, &package(&[]), &own).unwrap();
    assert_eq!(
        overlays.keys().collect::<Vec<_>>(),
        ["disable-bt.dtbo", "fan-pi5.dtbo"]
    );
}

#[test]
fn an_overlay_of_ones_own_comes_before_the_packages() {
    let own = [("fan-pi5.dtbo", overlay("gpio", &[("mine", "")]))];
    let fields =
        json!({ "overlays": ["overlays/fan-pi5.dtbo"], "config_txt": ["dtoverlay=fan-pi5,mine"] });
    let overlays = gathered(fields, &package(&[]), &own).unwrap();
    assert_eq!(read(&overlays, "fan-pi5.dtbo"), own[0].1);
}

#[test]
fn one_tree_is_made_of_another() {
    let difference = json!({ "from": "chip/c0.dtb", "to": "chip/d0.dtb" });
    let fields = json!({ "overlay_differences": { "d0.dtbo": difference } });
    let overlays = gathered(fields.clone(), &package(&[]), &[]).unwrap();
    let tree = DeviceTree::parse(&read(&overlays, "d0.dtbo")).unwrap();
    let pins = tree.root.descendant("fragment@0/__overlay__/pins").unwrap();
    assert_eq!(pins.text("compatible"), Some("d0"));
    check_own("d0.dtbo", &read(&overlays, "d0.dtbo")).unwrap();

    // What cannot be said is an error, and an overlay of one's own is the way out.
    let mut package = package(&[]);
    package.insert("chip/d0.dtb".to_owned(), bytes(node(&[], &[])));
    let error = gathered(fields.clone(), &package, &[]).unwrap_err();
    assert!(matches!(error, Error::Difference { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("profiles/overlays/d0.dtbo"));
    let own = [("d0.dtbo", overlay("gpio", &[]))];
    let overlays = gathered(fields.clone(), &package, &own).unwrap();
    assert_eq!(read(&overlays, "d0.dtbo"), own[0].1);

    package.remove("chip/d0.dtb");
    let error = gathered(fields, &package, &[]).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error:?}");
}

#[test]
fn what_config_txt_names_is_there() {
    let lines = [
        "dtparam=i2c_arm=on",
        "dtoverlay=fan,temp=50",
        "dtoverlay=cooler,temp=60",
        "dtoverlay=fan-pi5",
        "dtparam=temp=40",
        "dtoverlay=",
    ];
    let fields = json!({ "overlays": ["overlays/*"], "config_txt": lines });
    gathered(fields, &package(&[("i2c1", "")]), &[]).unwrap();
}

#[test]
fn what_config_txt_names_and_is_not_there_is_an_error() {
    let error = refused(&["dtoverlay=vc4-kms-v3d"], &[]);
    assert!(
        matches!(&error, Error::Overlay { name } if name == "vc4-kms-v3d"),
        "{error:?}"
    );
    // There, but not for this chip.
    let error = refused(&["dtoverlay=audio"], &[]);
    assert!(
        matches!(&error, Error::Overlay { name } if name == "audio"),
        "{error:?}"
    );

    let error = refused(&["dtparam=fan_temp0=45000"], &[]);
    let message =
        "config.txt sets the parameter `fan_temp0`, which the board's device trees do not have";
    assert_eq!(error.to_string(), message);
    assert!(
        error.hint().unwrap().contains("raspios-13"),
        "{:?}",
        error.hint()
    );
    let error = refused(&["dtparam=fan_temp9=1"], &[("fan_temp0", "")]);
    assert_eq!(error.hint(), None);
    let error = refused(&["dtoverlay=fan", "dtparam=speed=1"], &[("i2c1", "")]);
    let message = "config.txt sets the parameter `speed`, \
                   which overlay `fan` and the board's device trees do not have";
    assert_eq!(error.to_string(), message);
}

#[test]
fn an_overlay_for_another_tree_is_an_error() {
    let error = refused(&["dtoverlay=theirs"], &[]);
    let message =
        "the overlay `theirs` changes nowhere, which the board's device trees do not have";
    assert_eq!(error.to_string(), message);

    let fragment = node(
        &[("target-path", "/soc")],
        &[("__overlay__", Node::default())],
    );
    let own = [("mine.dtbo", bytes(node(&[], &[("fragment@0", fragment)])))];
    let fields = json!({ "overlays": ["overlays/mine.dtbo"], "config_txt": ["dtoverlay=mine"] });
    let error = gathered(fields, &package(&[]), &own).unwrap_err();
    assert!(
        matches!(&error, Error::Place { place, .. } if place == "/soc"),
        "{error:?}"
    );
}

#[test]
fn a_file_of_ones_own_is_an_overlay() {
    check_own("mine.dtbo", &overlay("gpio", &[])).unwrap();
    let error = check_own("mine.dtbo", b"/dts-v1/;\n/plugin/;\n").unwrap_err();
    assert!(matches!(error, Error::Tree { .. }), "{error:?}");
    let error = check_own("mine.dtbo", &base("c0", &[])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "mine.dtbo is no overlay: it has no fragment"
    );
}
