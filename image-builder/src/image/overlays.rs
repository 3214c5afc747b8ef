//! Device tree overlays of a boot partition: those of the kernel's package and the user's own that the board asks
//! for, and differences of two trees. What is named and would not be found, or would not fit, is an error here: the
//! firmware drops it without a word that anybody sees.

use std::collections::{BTreeMap, BTreeSet};

use prejoin_boot::config::{self, Offer, Unmatched};
use prejoin_formats::fdt::{self, DeviceTree, Node};
use prejoin_formats::tree::{Content, Contents};
use prejoin_profiles::board::{Board, TreeDifference};

use crate::tree::assemble::Glob;

/// Folder of overlays, in kernel packages and on the boot partition.
const FOLDER: &str = "overlays/";
/// Which overlays have other names on which chip (raspberrypi/linux, arch/arm/boot/dts/overlays/overlay_map.dts).
const MAP: &str = "overlay_map.dtb";

/// Overlays by file name.
pub type Overlays = BTreeMap<String, Content>;

/// Why a board's overlays cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A pattern of the board that matches nothing.
    #[error("no overlay of the kernel's package or of your own is called {pattern}")]
    Pattern {
        /// As the board has it.
        pattern: String,
    },
    /// A tree that is not in the kernel package.
    #[error("{overlay} is made from {tree}, which the kernel's package does not have")]
    Missing {
        /// File name of the overlay.
        overlay: String,
        /// File name of the tree.
        tree: String,
    },
    /// A tree or an overlay that cannot be read.
    #[error("reading {name}")]
    Tree {
        /// File name.
        name: String,
        /// Why.
        #[source]
        source: fdt::Error,
    },
    /// A file that is a device tree, but changes none.
    #[error("{name} is no overlay: it has no fragment")]
    NoFragment {
        /// File name.
        name: String,
    },
    /// Two trees whose difference cannot be said as an overlay.
    #[error("making {overlay} of {} and {}", trees.from, trees.to)]
    Difference {
        /// File name of the overlay.
        overlay: String,
        /// Of which trees.
        trees: TreeDifference,
        /// Why.
        #[source]
        source: fdt::DifferenceError,
    },
    /// An overlay that `config.txt` names and that is not there.
    #[error("config.txt names the overlay `{name}`, which is not on the boot partition")]
    Overlay {
        /// Its name.
        name: String,
    },
    /// A parameter that `config.txt` names and that nothing has.
    #[error(
        "config.txt sets the parameter `{name}`, which {} not have",
        lacking(overlay.as_deref())
    )]
    Parameter {
        /// Its name.
        name: String,
        /// The overlay that it was meant for.
        overlay: Option<String>,
        /// Whether the device trees have any parameter at all.
        any: bool,
    },
    /// An overlay for another device tree.
    #[error("the overlay `{name}` changes {place}, which the board's device trees do not have")]
    Place {
        /// Name of the overlay.
        name: String,
        /// A label or a path.
        place: String,
    },
    /// A content could not be read from the cache.
    #[error("reading {name} from the cache")]
    Content {
        /// File name.
        name: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

fn lacking(overlay: Option<&str>) -> String {
    match overlay {
        Some(overlay) => format!("overlay `{overlay}` and the board's device trees do"),
        None => "the board's device trees do".to_owned(),
    }
}

impl Error {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::Pattern { .. } => {
                "your own overlays belong into profiles/overlays/ beside the cluster file"
            }
            Error::Overlay { name } => {
                return Some(format!(
                    "add `overlays/{name}.dtbo` to the board's `overlays:`"
                ));
            }
            Error::Parameter { any: false, .. } => {
                "device trees of Debian's kernel have no parameters, those of raspios-13 have; \
                 an overlay of your own in profiles/overlays/ can do the same"
            }
            Error::Difference { overlay, .. } => {
                return Some(format!(
                    "an overlay of your own, profiles/overlays/{overlay}, takes its place"
                ));
            }
            Error::Place { .. } => "it was written for another kernel's device tree",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// The overlays of a board's boot partition. `trees` are the kernel package's device trees and overlays by path, `own`
/// the user's overlays by file name; those come first where both have a name.
pub fn gather(
    board: &Board,
    trees: &BTreeMap<String, Content>,
    own: &BTreeMap<String, Vec<u8>>,
    contents: &dyn Contents,
) -> Result<Overlays, Error> {
    let mut all = trees.clone();
    for (name, bytes) in own {
        let content = Content::Bytes(bytes.as_slice().into());
        all.insert(format!("{FOLDER}{name}"), content);
    }
    let mut overlays = Overlays::new();
    for (name, trees) in &board.overlay_differences {
        let bytes = match own.get(name) {
            Some(bytes) => bytes.clone(),
            None => difference(name, trees, &all, contents)?,
        };
        overlays.insert(name.clone(), Content::Bytes(bytes.into()));
    }
    for pattern in &board.overlays {
        let glob = Glob::new(pattern);
        let mut matches = false;
        for (path, content) in all.iter().filter(|(path, _)| glob.matches(path.as_bytes())) {
            let name = path.rsplit('/').next().unwrap_or(path);
            overlays.insert(name.to_owned(), content.clone());
            matches = true;
        }
        if !matches {
            return Err(Error::Pattern {
                pattern: pattern.clone(),
            });
        }
    }
    Firmware::new(board, trees, &overlays, contents)?.check(&board.config_txt)?;
    Ok(overlays)
}

/// Refuses a file of the user's that is no overlay.
pub fn check_own(name: &str, bytes: &[u8]) -> Result<(), Error> {
    let tree = DeviceTree::parse(bytes).map_err(|source| Error::Tree {
        name: name.to_owned(),
        source,
    })?;
    if !tree.root.children.values().any(is_fragment) {
        return Err(Error::NoFragment {
            name: name.to_owned(),
        });
    }
    Ok(())
}

/// What is dormant is woken by a parameter.
fn is_fragment(node: &Node) -> bool {
    ["__overlay__", "__dormant__"]
        .iter()
        .any(|part| node.children.contains_key(*part))
}

/// The overlay that turns one tree of the kernel's package into another.
fn difference(
    overlay: &str,
    trees: &TreeDifference,
    all: &BTreeMap<String, Content>,
    contents: &dyn Contents,
) -> Result<Vec<u8>, Error> {
    let [from, to] = [&trees.from, &trees.to].map(|name| {
        let content = all.get(name).ok_or_else(|| Error::Missing {
            overlay: overlay.to_owned(),
            tree: name.clone(),
        })?;
        read(name, content, contents)
    });
    let (from, to) = (from?, to?);
    let made = fdt::difference(&from, &to).map_err(|source| Error::Difference {
        overlay: overlay.to_owned(),
        trees: trees.clone(),
        source,
    })?;
    made.to_bytes().map_err(|source| Error::Tree {
        name: overlay.to_owned(),
        source,
    })
}

fn read(name: &str, content: &Content, contents: &dyn Contents) -> Result<DeviceTree, Error> {
    // Not read at all, as its size may be anything.
    let tree = if content.len() > fdt::MOST_BYTES as u64 {
        Err(fdt::Error::Large)
    } else {
        let bytes = content.read(contents).map_err(|source| Error::Content {
            name: name.to_owned(),
            source,
        })?;
        DeviceTree::parse(&bytes)
    };
    tree.map_err(|source| Error::Tree {
        name: name.to_owned(),
        source,
    })
}

/// What the firmware sees when it reads `config.txt`.
struct Firmware<'a> {
    /// The trees that it begins with, one per model of the board.
    bases: Vec<DeviceTree>,
    /// Other names of overlays.
    map: DeviceTree,
    overlays: &'a Overlays,
    contents: &'a dyn Contents,
}

impl<'a> Firmware<'a> {
    fn new(
        board: &Board,
        trees: &BTreeMap<String, Content>,
        overlays: &'a Overlays,
        contents: &'a dyn Contents,
    ) -> Result<Self, Error> {
        let mut bases = Vec::new();
        for name in &board.device_trees {
            // One that is not there is an error of the boot partition's.
            if let Some(content) = trees.get(name) {
                bases.push(read(name, content, contents)?);
            }
        }
        let map = match overlays.get(MAP) {
            Some(content) => read(MAP, content, contents)?,
            None => DeviceTree::default(),
        };
        Ok(Firmware {
            bases,
            map,
            overlays,
            contents,
        })
    }

    /// Whether everything that lines of `config.txt` name is there and fits.
    fn check(&self, lines: &[String]) -> Result<(), Error> {
        let mut offer = Offer::default();
        for base in &self.bases {
            offer.parameters.extend(parameters(base));
        }
        let mut loaded: Vec<(&str, DeviceTree)> = Vec::new();
        for name in config::overlays(lines) {
            if let Some(overlay) = self.overlay(name)? {
                offer
                    .overlays
                    .insert(name.to_owned(), parameters(&overlay).collect());
                loaded.push((name, overlay));
            }
        }
        if let Some(unmatched) = config::unmatched(lines, &offer).into_iter().next() {
            return Err(match unmatched {
                Unmatched::Overlay(name) => Error::Overlay { name },
                Unmatched::Parameter { name, overlay } => Error::Parameter {
                    name,
                    overlay,
                    any: !offer.parameters.is_empty(),
                },
            });
        }
        // Labels of one overlay are there for the next.
        let mut labels = BTreeSet::new();
        for (name, overlay) in &loaded {
            self.check_places(name, overlay, &labels)?;
            labels.extend(properties(overlay, "__symbols__"));
        }
        Ok(())
    }

    /// The overlay that the firmware takes for a name, if it is there.
    fn overlay(&self, name: &str) -> Result<Option<DeviceTree>, Error> {
        let Some(file) = self.file_of(name) else {
            return Ok(None);
        };
        let file = format!("{file}.dtbo");
        let content = self.overlays.get(&file);
        content
            .map(|content| read(&file, content, self.contents))
            .transpose()
    }

    /// As the firmware looks names up (raspberrypi/utils, dtmerge/dtoverlay.c, `dtoverlay_remap_overlay`). A name that
    /// is not on the map is that of the file; one that is there, but not for this chip, is none.
    fn file_of(&self, name: &str) -> Option<String> {
        let Some(entry) = self.map.root.children.get(name) else {
            return Some(name.to_owned());
        };
        if let Some(other) = entry.properties.get(self.chip()?) {
            let other = other.strip_suffix(b"\0").unwrap_or(other);
            let other = std::str::from_utf8(other).ok()?;
            return Some(if other.is_empty() { name } else { other }.to_owned());
        }
        entry.text("renamed").map(str::to_owned)
    }

    /// The chip as the map calls it.
    fn chip(&self) -> Option<&'static str> {
        let compatible = self.bases.first()?.root.properties.get("compatible")?;
        let mut names = compatible.split(|&byte| byte == 0);
        let chips = [("brcm,bcm2711", "bcm2711"), ("brcm,bcm2712", "bcm2712")];
        names.find_map(|name| {
            let chip = chips
                .iter()
                .find(|(compatible, _)| compatible.as_bytes() == name);
            chip.map(|(_, chip)| *chip)
        })
    }

    /// Whether one of the trees has every place that an overlay changes: the firmware drops an overlay whole if one
    /// is not there.
    fn check_places(
        &self,
        name: &str,
        overlay: &DeviceTree,
        labels: &BTreeSet<String>,
    ) -> Result<(), Error> {
        let mut missing = None;
        for base in &self.bases {
            match missing_place(base, overlay, labels) {
                None => return Ok(()),
                Some(place) => missing = Some(place),
            }
        }
        match missing {
            Some(place) => Err(Error::Place {
                name: name.to_owned(),
                place,
            }),
            None => Ok(()),
        }
    }
}

/// A label or path that an overlay changes and that neither a tree nor overlays before it have.
fn missing_place(
    base: &DeviceTree,
    overlay: &DeviceTree,
    labels: &BTreeSet<String>,
) -> Option<String> {
    let symbols: BTreeSet<String> = properties(base, "__symbols__").collect();
    let wanted = properties(overlay, "__fixups__").find(|label| {
        let there = match label.starts_with('/') {
            true => base.root.descendant(label).is_some(),
            false => symbols.contains(label) || labels.contains(label),
        };
        !there
            && !config::originals(label)
                .iter()
                .any(|name| symbols.contains(*name))
    });
    let mut fragments = overlay.root.children.values();
    wanted.or_else(|| {
        fragments.find_map(|fragment| {
            let path = fragment.text("target-path")?;
            let active = fragment.children.contains_key("__overlay__");
            (active && base.root.descendant(path).is_none())
                .then(|| path.escape_debug().to_string())
        })
    })
}

/// Parameters that a tree or an overlay can be given.
fn parameters(tree: &DeviceTree) -> impl Iterator<Item = String> {
    properties(tree, "__overrides__")
}

/// Names of the properties of a node below the root.
fn properties(tree: &DeviceTree, node: &str) -> impl Iterator<Item = String> {
    let node = tree.root.children.get(node);
    node.into_iter()
        .flat_map(|node| node.properties.keys().cloned())
}
