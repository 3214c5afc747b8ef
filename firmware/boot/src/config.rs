//! Lines of `config.txt` that name overlays and parameters of device trees. The firmware says nothing of what it does
//! not find, unless somebody watches its serial port, and starts the kernel without it.

use std::collections::{BTreeMap, BTreeSet};

/// Parameters and labels that the firmware itself makes out of others ("i2c_arm" is the bus of the header's pins, whichever that
/// is on the board): raspberrypi/utils, dtmerge.c.
const SYNONYMS: [(&str, [&str; 2]); 6] = [
    ("i2c", ["i2c0", "i2c1"]),
    ("i2c_arm", ["i2c0", "i2c1"]),
    ("i2c_arm_baudrate", ["i2c0_baudrate", "i2c1_baudrate"]),
    ("i2c_baudrate", ["i2c0_baudrate", "i2c1_baudrate"]),
    ("i2c_vc", ["i2c0", "i2c1"]),
    ("i2c_vc_baudrate", ["i2c0_baudrate", "i2c1_baudrate"]),
];

/// What device trees and overlays of a boot partition can be asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Parameters of the device trees.
    pub parameters: BTreeSet<String>,
    /// Overlays by the names that the firmware knows, and their parameters.
    pub overlays: BTreeMap<String, BTreeSet<String>>,
}

/// What a line of `config.txt` asks for in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unmatched {
    /// An overlay that is not there.
    Overlay(String),
    /// A parameter that neither the device trees nor the overlay have.
    Parameter {
        /// Its name.
        name: String,
        /// The overlay that was named before it.
        overlay: Option<String>,
    },
}

/// The names of all overlays that lines load.
pub fn overlays(lines: &[String]) -> impl Iterator<Item = &str> {
    lines
        .iter()
        .filter_map(|line| overlay(line))
        .map(|(name, _)| name)
        .filter(|name| !name.is_empty())
}

/// What lines ask for that is not on offer, in their order. Which model of a board a line is for (`[pi4]`) makes no
/// difference: what is on none of the trees is on no model.
pub fn unmatched(lines: &[String], offer: &Offer) -> Vec<Unmatched> {
    let mut unmatched = Vec::new();
    let mut scope = None;
    for line in lines {
        if let Some((name, parameters)) = overlay(line) {
            // No name ends what was said of the one before.
            scope = (!name.is_empty()).then_some(name);
            let Some(known) = scope.map(|name| offer.overlays.get(name)) else {
                continue;
            };
            match known {
                None => unmatched.push(Unmatched::Overlay(name.to_owned())),
                Some(known) => unmatched.extend(
                    names(parameters)
                        .filter(|parameter| !known.contains(*parameter))
                        .map(|parameter| missing(parameter, scope)),
                ),
            }
        } else if let Some(parameters) = value(line, "dtparam") {
            let known = scope.and_then(|name| offer.overlays.get(name));
            // An overlay's parameters come before the tree's.
            let lacking = names(parameters).filter(|parameter| {
                !known.is_some_and(|known| known.contains(*parameter))
                    && !of_the_tree(parameter, offer)
            });
            unmatched.extend(lacking.map(|parameter| missing(parameter, scope)));
        }
    }
    unmatched
}

fn missing(parameter: &str, overlay: Option<&str>) -> Unmatched {
    Unmatched::Parameter {
        name: parameter.to_owned(),
        overlay: overlay.map(str::to_owned),
    }
}

fn of_the_tree(parameter: &str, offer: &Offer) -> bool {
    offer.parameters.contains(parameter)
        || originals(parameter)
            .iter()
            .any(|name| offer.parameters.contains(*name))
}

/// The parameters or labels of a device tree, one of which the firmware also knows under this name.
pub fn originals(name: &str) -> &'static [&'static str] {
    let synonym = SYNONYMS.iter().find(|(synonym, _)| *synonym == name);
    synonym.map_or(&[][..], |(_, originals)| originals)
}

/// Name and parameters of `dtoverlay=name,parameter=value,...`; a colon after the name is older.
fn overlay(line: &str) -> Option<(&str, &str)> {
    let value = value(line, "dtoverlay")?;
    Some(value.split_once([',', ':']).unwrap_or((value, "")))
}

/// The value of a line with that key.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let rest = line.trim().strip_prefix(key)?.trim_start();
    rest.strip_prefix('=').map(str::trim)
}

/// Names in `parameter=value,parameter`.
fn names(parameters: &str) -> impl Iterator<Item = &str> {
    parameters
        .split(',')
        .map(|parameter| {
            parameter
                .split_once('=')
                .map_or(parameter, |(name, _)| name)
                .trim()
        })
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn asked(lines: &[&str]) -> Vec<Unmatched> {
        let offer = Offer {
            parameters: set(&["fan_temp0", "i2c1", "audio"]),
            overlays: BTreeMap::from([
                ("disable-bt".to_owned(), set(&[])),
                ("gpio-fan".to_owned(), set(&["gpiopin", "temp"])),
            ]),
        };
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        unmatched(&lines, &offer)
    }

    #[test]
    fn what_is_there_is_found() {
        let lines = [
            "# dtoverlay=nothing",
            "[pi5]",
            "dtparam=fan_temp0=45000,audio=on",
            "dtparam = i2c_arm",
            "dtoverlay=disable-bt",
            "dtoverlay=gpio-fan,gpiopin=14,temp=55000",
            "dtparam=temp=60000",
            "dtparam=audio=off",
            "dtoverlay=",
            "enable_uart=1",
        ];
        assert_eq!(asked(&lines), []);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let parameter = |name: &str, overlay: Option<&str>| missing(name, overlay);
        assert_eq!(
            asked(&[
                "dtoverlay=vc4-kms-v3d,cma-512",
                "dtparam=spi=on",
                "dtoverlay=gpio-fan:gpiopin=14,fan_temp0=1",
                "dtparam=pin=1",
                "dtoverlay=",
                "dtparam=temp=1",
            ]),
            [
                Unmatched::Overlay("vc4-kms-v3d".to_owned()),
                parameter("spi", Some("vc4-kms-v3d")),
                parameter("fan_temp0", Some("gpio-fan")),
                parameter("pin", Some("gpio-fan")),
                // No overlay is meant any more.
                parameter("temp", None),
            ]
        );
    }

    #[test]
    fn overlays_are_listed() {
        let lines = [
            "dtoverlay=a:b=1",
            "dtparam=x",
            "dtoverlay=",
            " dtoverlay=c ",
        ];
        let lines = lines.map(str::to_owned);
        assert_eq!(overlays(&lines).collect::<Vec<_>>(), ["a", "c"]);
    }
}
