//! Flattened device trees, judged by dtc and fdtoverlay.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "strangers judge, and strangers read files"
)]

mod tools;

use std::fs;
use std::path::{Path, PathBuf};

use prejoin_formats::fdt::{DeviceTree, DifferenceError, Error, Node, Reservation, difference};
use tools::{Noise, have, run};

/// A folder in which strangers read and write.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Option<Bench> {
        have(&["dtc", "fdtoverlay"]).then(|| Bench(tempfile::tempdir().unwrap()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A tree as dtc compiles it, with labels kept.
    fn compiled(&self, name: &str, source: &str) -> Vec<u8> {
        let (dts, dtb) = (
            self.path(&format!("{name}.dts")),
            self.path(&format!("{name}.dtb")),
        );
        fs::write(&dts, format!("/dts-v1/;\n{source}")).unwrap();
        let arguments = [
            "-q",
            "-@",
            "-I",
            "dts",
            "-O",
            "dtb",
            "-o",
            text(&dtb),
            text(&dts),
        ];
        run("dtc", &arguments);
        fs::read(dtb).unwrap()
    }

    /// What dtc reads in a tree, in order of names.
    fn source(&self, name: &str, bytes: &[u8]) -> String {
        let dtb = self.path(&format!("{name}.dtb"));
        fs::write(&dtb, bytes).unwrap();
        run("dtc", &["-q", "-s", "-I", "dtb", "-O", "dts", text(&dtb)])
    }

    /// What fdtoverlay makes of a tree.
    fn applied(&self, base: &[u8], overlay: &DeviceTree) -> Vec<u8> {
        let [base_path, overlay_path, made] =
            ["base.dtb", "overlay.dtbo", "made.dtb"].map(|name| self.path(name));
        fs::write(&base_path, base).unwrap();
        fs::write(&overlay_path, overlay.to_bytes().unwrap()).unwrap();
        let files = [
            "-i",
            text(&base_path),
            "-o",
            text(&made),
            text(&overlay_path),
        ];
        run("fdtoverlay", &files);
        fs::read(made).unwrap()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn tree(bytes: &[u8]) -> DeviceTree {
    DeviceTree::parse(bytes).unwrap()
}

const BOARD: &str = r#"
/memreserve/ 0x1000 0x2000;
/ {
    compatible = "example,board", "example,chip";
    #address-cells = <1>;
    #size-cells = <1>;
    aliases { serial0 = &uart; };
    intc: interrupt-controller@1 { reg = <1 1>; #interrupt-cells = <1>; interrupt-controller; };
    pins: pinctrl@2 {
        reg = <2 0x30>;
        compatible = "example,c0-pinctrl";
        uart_pins: uart-state { pins = "a", "b"; };
        old_pins: old-state { pins = "z"; };
    };
    osc: clock { #clock-cells = <0>; };
    pll: clocks@4 { reg = <4 1>; #clock-cells = <1>; };
    uart: serial@3 {
        reg = <3 1>;
        interrupt-parent = <&intc>;
        interrupts = <0x79>;
        clocks = <&osc>, <&pll 2>;
        pinctrl-0 = <&uart_pins>;
        example,partner = <&osc>;
        status = "disabled";
    };
    fan { compatible = "example,fan"; };
};
"#;

#[test]
fn dtc_reads_what_we_write() {
    let Some(bench) = Bench::new() else { return };
    let compiled = bench.compiled("board", BOARD);
    let ours = tree(&compiled);
    assert_eq!(
        ours.reservations,
        [Reservation {
            address: 0x1000,
            size: 0x2000
        }]
    );
    let uart = ours.root.descendant("/serial@3").unwrap();
    assert_eq!(
        (uart.cell("interrupts"), uart.text("status")),
        (Some(0x79), Some("disabled"))
    );
    let written = ours.to_bytes().unwrap();
    assert_eq!(
        bench.source("ours", &written),
        bench.source("theirs", &compiled)
    );
    assert_eq!(tree(&written), ours);
}

#[test]
fn nothing_is_the_difference_of_a_tree_and_itself() {
    let Some(bench) = Bench::new() else { return };
    let board = tree(&bench.compiled("board", BOARD));
    let overlay = difference(&board, &board).unwrap();
    assert_eq!(overlay, DeviceTree::default());
}

#[test]
fn a_later_stepping_is_made_of_the_earlier_one() {
    let Some(bench) = Bench::new() else { return };
    let before = bench.compiled("before", BOARD);
    let stepping = BOARD
        .replace("c0-pinctrl", "d0-pinctrl")
        .replace(
            "reg = <2 0x30>",
            "reg = <2 0x20>; line-names = \"x\", \"\"; wide",
        )
        .replace("interrupts = <0x79>", "interrupts = <0x78>")
        .replace("fan {", "rtc { battery { }; }; fan {");
    let after = bench.compiled("after", &stepping);
    let overlay = difference(&tree(&before), &tree(&after)).unwrap();
    let made = bench.applied(&before, &overlay);
    assert_eq!(bench.source("made", &made), bench.source("after", &after));
}

/// Labels that come first number every node anew, so that nearly every reference is another number.
const RENUMBERED: &str = r#"
/memreserve/ 0x1000 0x2000;
/ {
    compatible = "example,board", "example,chip";
    #address-cells = <1>;
    #size-cells = <1>;
    aliases { serial0 = &uart; };
    first: first { #clock-cells = <2>; };
    msi: msi-controller { #interrupt-cells = <2>; #address-cells = <1>; };
    intc: interrupt-controller@1 { reg = <1 1>; #interrupt-cells = <1>; interrupt-controller; };
    pins: pinctrl@2 {
        reg = <2 0x30>;
        compatible = "example,c0-pinctrl";
        uart_pins: uart-state { pins = "a", "b"; };
        new_pins: new-state { pins = "y"; };
    };
    osc: clock { #clock-cells = <0>; };
    pll: clocks@4 { reg = <4 1>; #clock-cells = <1>; };
    uart: serial@3 {
        reg = <3 1>;
        interrupt-parent = <&intc>;
        interrupts = <0x79>;
        clocks = <&pll 7>, <0>, <&first 1 2>, <&osc>;
        pinctrl-0 = <&uart_pins>, <&new_pins>;
        reset-gpios = <&fan 3>;
        vcc-supply = <&osc>;
        example,partner = <&osc>;
        status = "disabled";
    };
    fan: fan { compatible = "example,fan"; #gpio-cells = <1>; };
    pcie {
        #address-cells = <3>;
        #interrupt-cells = <1>;
        interrupt-map = <0 0 0 1 &intc 5>, <0 0 0 2 &msi 0 6 7>, <0 0 0 3 &intc 8>;
        msi-map = <0 &msi 0 0x1000>;
    };
};
"#;

#[test]
fn references_keep_their_nodes_where_trees_number_differently() {
    let Some(bench) = Bench::new() else { return };
    let before = bench.compiled("before", BOARD);
    let after = bench.compiled("after", RENUMBERED);
    let overlay = difference(&tree(&before), &tree(&after)).unwrap();
    let made = tree(&bench.applied(&before, &overlay));

    let references = [
        ("serial@3", "interrupt-parent", 0, "interrupt-controller@1"),
        ("serial@3", "clocks", 0, "clocks@4"),
        ("serial@3", "clocks", 3, "first"),
        ("serial@3", "clocks", 6, "clock"),
        ("serial@3", "pinctrl-0", 0, "pinctrl@2/uart-state"),
        ("serial@3", "pinctrl-0", 1, "pinctrl@2/new-state"),
        ("serial@3", "reset-gpios", 0, "fan"),
        ("serial@3", "vcc-supply", 0, "clock"),
        ("serial@3", "example,partner", 0, "clock"),
        ("pcie", "interrupt-map", 4, "interrupt-controller@1"),
        ("pcie", "interrupt-map", 10, "msi-controller"),
        ("pcie", "interrupt-map", 18, "interrupt-controller@1"),
        ("pcie", "msi-map", 1, "msi-controller"),
    ];
    let wanted = tree(&after);
    // Strangers' trees, ours without the numbers of nodes: what is left is the same.
    let [mut made_plain, mut wanted_plain] = [made.clone(), wanted.clone()];
    for (tree, plain) in [(&made, &mut made_plain), (&wanted, &mut wanted_plain)] {
        for (node, property, cell, target) in references {
            let target = tree
                .root
                .descendant(target)
                .unwrap()
                .cell("phandle")
                .unwrap();
            let value = value_mut(&mut plain.root, node, property);
            let place = &mut value[cell * 4..cell * 4 + 4];
            assert_eq!(place, target.to_be_bytes(), "{node} {property} {cell}");
            place.fill(0);
        }
        unnumber(&mut plain.root);
    }
    // What is gone is switched off, and its label stays.
    let old = made_plain
        .root
        .children
        .get_mut("pinctrl@2")
        .unwrap()
        .children
        .remove("old-state");
    assert_eq!(old.unwrap().text("status"), Some("disabled"));
    value_mut(&mut made_plain.root, "__symbols__", "old_pins");
    let symbols = made_plain.root.children.get_mut("__symbols__").unwrap();
    symbols.properties.remove("old_pins");
    assert_eq!(made_plain, wanted_plain);
}

fn value_mut<'a>(root: &'a mut Node, node: &str, property: &str) -> &'a mut Vec<u8> {
    let node = root.children.get_mut(node).unwrap();
    node.properties.get_mut(property).unwrap()
}

fn unnumber(node: &mut Node) {
    node.properties.remove("phandle");
    node.children.values_mut().for_each(unnumber);
}

#[test]
fn what_an_overlay_cannot_say_is_refused_by_name() {
    let Some(bench) = Bench::new() else { return };
    let before = tree(&bench.compiled("before", BOARD));
    let without = BOARD
        .replace("example,partner = <&osc>;", "")
        .replace("pins = \"a\", \"b\";", "");
    let after = tree(&bench.compiled("after", &without));
    let lost = ["/pinctrl@2/uart-state/pins", "/serial@3/example,partner"];
    let lost = lost.map(str::to_owned).to_vec();
    assert_eq!(
        difference(&before, &after),
        Err(DifferenceError::Lost(lost))
    );

    let mut after = before.clone();
    after.reservations.clear();
    assert_eq!(difference(&before, &after), Err(DifferenceError::Header));

    // A phandle that two nodes have.
    let mut after = before.clone();
    let taken = after.root.children["clock"].properties["phandle"].clone();
    let fan = after.root.children.get_mut("fan").unwrap();
    fan.properties.insert("phandle".to_owned(), taken);
    let path = "/fan".to_owned();
    assert_eq!(
        difference(&before, &after),
        Err(DifferenceError::Phandle { path })
    );

    // A reference to a node that is not there, where numbers have to be translated.
    let mut after = tree(&bench.compiled("renumbered", RENUMBERED));
    *value_mut(&mut after.root, "serial@3", "clocks") = vec![0, 0, 0, 99];
    let path = "/serial@3/clocks".to_owned();
    assert_eq!(
        difference(&before, &after),
        Err(DifferenceError::Reference { path })
    );
}

#[test]
fn a_status_that_is_gone_is_okay() {
    let Some(bench) = Bench::new() else { return };
    let before = bench.compiled("before", BOARD);
    let after = bench.compiled("after", &BOARD.replace("status = \"disabled\";", ""));
    let overlay = difference(&tree(&before), &tree(&after)).unwrap();
    let made = tree(&bench.applied(&before, &overlay));
    assert_eq!(made.root.children["serial@3"].text("status"), Some("okay"));
}

#[test]
fn random_trees_become_each_other() {
    let Some(bench) = Bench::new() else { return };
    let mut noise = Noise::new(2712);
    for round in 0..40 {
        let mut before = DeviceTree::default();
        grow(&mut before.root, &mut noise, 3);
        let mut after = before.clone();
        grow(&mut after.root, &mut noise, 3);
        let overlay = difference(&before, &after).unwrap();
        let made = bench.applied(&before.to_bytes().unwrap(), &overlay);
        assert_eq!(tree(&made), after, "round {round}");
    }
}

/// Sets some properties, and does the same with some nodes below, which are added where they are not there.
fn grow(node: &mut Node, noise: &mut Noise, levels: usize) {
    for _ in 0..noise.below(4) {
        let name = format!("property-{}", noise.below(6));
        let length = noise.below(20);
        node.properties.insert(name, noise.bytes(length));
    }
    if levels == 0 {
        return;
    }
    for _ in 0..noise.below(4) {
        let name = format!("node@{}", noise.below(5));
        grow(node.children.entry(name).or_default(), noise, levels - 1);
    }
}

#[test]
fn broken_bytes_are_refused() {
    let mut small = DeviceTree::default();
    let mut child = Node::default();
    child.properties.insert("reg".to_owned(), vec![0, 0, 0, 1]);
    small.root.children.insert("child".to_owned(), child);
    let bytes = small.to_bytes().unwrap();
    assert_eq!(tree(&bytes), small);
    for length in 0..bytes.len() {
        assert!(
            DeviceTree::parse(&bytes[..length]).is_err(),
            "{length} bytes"
        );
    }
    assert_eq!(DeviceTree::parse(b"MZ"), Err(Error::Magic));
    // Whatever is read is written and read as the same.
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            let Ok(read) = DeviceTree::parse(&changed) else {
                continue;
            };
            assert_eq!(tree(&read.to_bytes().unwrap()), read);
        }
    }
    let changed = |at: usize, word: u32| {
        let mut changed = bytes.clone();
        changed[at..at + 4].copy_from_slice(&word.to_be_bytes());
        DeviceTree::parse(&changed)
    };
    assert_eq!(changed(4, u32::MAX), Err(Error::Large));
    assert_eq!(changed(20, 16), Err(Error::Version(16)));
    let mut deep = Node::default();
    for _ in 0..100 {
        let children = [("a".to_owned(), deep)].into();
        deep = Node {
            children,
            ..Node::default()
        };
    }
    let deep = DeviceTree {
        root: deep,
        ..DeviceTree::default()
    }
    .to_bytes()
    .unwrap();
    let error = Error::Broken("its nodes are nested too deeply");
    assert_eq!(DeviceTree::parse(&deep), Err(error));
}
