//! Which numbers in a property's value are another node's `phandle`. The format does not tell them from any other
//! number; what is known is what the kernel itself goes by when it looks for suppliers (drivers/of/property.c), and
//! what the Devicetree Specification and its bindings define beside it.

use super::Node;

/// How a value refers to other nodes.
#[derive(Clone, Copy)]
enum Form {
    /// Groups of so many numbers, of which one refers.
    Groups { cells: usize, at: usize },
    /// References, each followed by as many numbers as that property of the node it refers to says.
    Specifiers(&'static str),
    /// An interrupt map (Devicetree Specification v0.4, section 2.4.3.1).
    InterruptMap,
}

const LIST: Form = Form::Groups { cells: 1, at: 0 };

const FORMS: &[(&str, Form)] = &[
    (
        "access-controllers",
        Form::Specifiers("#access-controller-cells"),
    ),
    ("assigned-clock-parents", Form::Specifiers("#clock-cells")),
    ("assigned-clocks", Form::Specifiers("#clock-cells")),
    ("backlight", LIST),
    ("clocks", Form::Specifiers("#clock-cells")),
    ("cooling-device", Form::Specifiers("#cooling-cells")),
    ("cpu", LIST),
    ("ddc", LIST),
    ("ddc-i2c-bus", LIST),
    ("dmas", Form::Specifiers("#dma-cells")),
    ("extcon", LIST),
    ("firmware", LIST),
    ("gpio-ranges", Form::Groups { cells: 4, at: 0 }),
    ("gpios", Form::Specifiers("#gpio-cells")),
    ("hwlocks", Form::Specifiers("#hwlock-cells")),
    ("interconnects", Form::Specifiers("#interconnect-cells")),
    ("interrupt-affinity", LIST),
    ("interrupt-map", Form::InterruptMap),
    ("interrupt-parent", LIST),
    ("interrupts-extended", Form::Specifiers("#interrupt-cells")),
    ("io-backends", Form::Specifiers("#io-backend-cells")),
    ("io-channels", Form::Specifiers("#io-channel-cells")),
    ("iommu-map", Form::Groups { cells: 4, at: 1 }),
    ("iommus", Form::Specifiers("#iommu-cells")),
    ("leds", LIST),
    ("mboxes", Form::Specifiers("#mbox-cells")),
    ("memory-region", LIST),
    ("mmc-pwrseq", LIST),
    ("msi-map", Form::Groups { cells: 4, at: 1 }),
    ("msi-parent", Form::Specifiers("#msi-cells")),
    ("next-level-cache", LIST),
    ("nvmem", LIST),
    ("nvmem-cells", Form::Specifiers("#nvmem-cell-cells")),
    ("operating-points-v2", LIST),
    ("panel", LIST),
    ("phy", LIST),
    ("phy-handle", LIST),
    ("phys", Form::Specifiers("#phy-cells")),
    ("post-init-providers", LIST),
    ("power-domains", Form::Specifiers("#power-domain-cells")),
    ("pwms", Form::Specifiers("#pwm-cells")),
    ("remote-endpoint", LIST),
    ("resets", Form::Specifiers("#reset-cells")),
    ("sound-dai", Form::Specifiers("#sound-dai-cells")),
    ("thermal-sensors", Form::Specifiers("#thermal-sensor-cells")),
    ("trip", LIST),
    ("wakeup-parent", LIST),
];

fn form(property: &str) -> Option<Form> {
    if let Ok(index) = FORMS.binary_search_by_key(&property, |&(name, _)| name) {
        return Some(FORMS[index].1);
    }
    let state = property.strip_prefix("pinctrl-");
    if state.is_some_and(is_number) || property.ends_with("-supply") {
        return Some(LIST);
    }
    let pins = property.ends_with("-gpios") || property.ends_with("-gpio");
    // `nr-gpios` is a count.
    (pins && !property.ends_with("nr-gpios")).then_some(Form::Specifiers("#gpio-cells"))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a property is known to refer to other nodes.
pub(super) fn is_known(property: &str) -> bool {
    form(property).is_some()
}

/// The offsets of all references in the value of a node's property; nothing where a value is not of its form, or
/// refers to a node that is not there. `by_phandle` finds nodes.
pub(super) fn offsets<'a>(
    node: &Node,
    property: &str,
    value: &[u8],
    by_phandle: &impl Fn(u32) -> Option<&'a Node>,
) -> Option<Vec<usize>> {
    let Some(form) = form(property) else {
        return Some(Vec::new());
    };
    let all = super::cells(value)?;
    let mut found = Vec::new();
    let mut at = 0;
    while at < all.len() {
        let (before, after) = match form {
            Form::Groups { cells, at } => (at, cells - at - 1),
            Form::Specifiers(count) => (0, following(*all.get(at)?, &[count], by_phandle)?),
            Form::InterruptMap => {
                let own = cell_count(node, "#address-cells") + cell_count(node, "#interrupt-cells");
                let parent = *all.get(at + own)?;
                let counts = ["#address-cells", "#interrupt-cells"];
                (own, following(parent, &counts, by_phandle)?)
            }
        };
        let reference = at + before;
        let target = *all.get(reference)?;
        // Zero stands for an entry that is left out.
        if target != 0 {
            by_phandle(target)?;
            found.push(reference * 4);
        }
        at = reference + 1 + after;
    }
    (at == all.len()).then_some(found)
}

/// How many numbers follow a reference.
fn following<'a>(
    phandle: u32,
    counts: &[&str],
    by_phandle: &impl Fn(u32) -> Option<&'a Node>,
) -> Option<usize> {
    if phandle == 0 {
        return Some(0);
    }
    let node = by_phandle(phandle)?;
    Some(counts.iter().map(|count| cell_count(node, count)).sum())
}

/// A number of cells; nothing real has more than a few, and what a node does not say is none.
fn cell_count(node: &Node, property: &str) -> usize {
    node.cell(property).unwrap_or(0).min(64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_in_order() {
        assert!(FORMS.is_sorted_by_key(|&(name, _)| name));
    }

    #[test]
    fn what_only_looks_like_a_reference_is_none() {
        for known in [
            "clocks",
            "pinctrl-0",
            "pinctrl-12",
            "cd-gpios",
            "vqmmc-supply",
            "phys",
        ] {
            assert!(is_known(known), "{known}");
        }
        let others = [
            "reg",
            "interrupts",
            "pinctrl-names",
            "pinctrl-",
            "ngpios",
            "brcm,nr-gpios",
        ];
        for other in others {
            assert!(!is_known(other), "{other}");
        }
    }
}
