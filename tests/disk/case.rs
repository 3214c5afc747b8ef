//! One disk of the gallery, and how it is made.

use std::borrow::Cow;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use prejoin_wire::digest::Digest;

use crate::tools::{checked, folder, tool};

/// Shell words that recipes are made of.
const WORDS: &str = include_str!("gallery/tools.sh");
/// Labels that are written by hand.
const LABELS: &str = include_str!("gallery/labels.py");

/// One disk.
#[derive(Debug)]
pub struct Case {
    /// Name of its golden text.
    pub name: &'static str,
    /// What it is, for people.
    pub about: &'static str,
    /// Somebody may want something of it back.
    pub live: bool,
    /// All of it is in partitions that leave room for a node: it can stay.
    pub beside: bool,
    /// Beginnings of lines that we have and the usual tools have not.
    pub unseen: &'static [&'static str],
    /// Further tools whose word on the disk is in the golden text; the disk is their last argument.
    pub asked: &'static [&'static str],
    /// Shell commands, in the words of `gallery/tools.sh`.
    pub recipe: Cow<'static, str>,
}

/// A disk with data.
pub fn live(name: &'static str, about: &'static str, recipe: impl Into<Cow<'static, str>>) -> Case {
    Case {
        name,
        about,
        live: true,
        beside: false,
        unseen: &[],
        asked: &[],
        recipe: recipe.into(),
    }
}

/// A disk that nobody would miss.
pub fn dead(name: &'static str, about: &'static str, recipe: impl Into<Cow<'static, str>>) -> Case {
    Case {
        live: false,
        ..live(name, about, recipe)
    }
}

/// A disk that was made.
#[derive(Debug)]
pub struct Made {
    /// The file; sparse, not to be changed.
    pub disk: PathBuf,
    /// What tools drew by lot.
    masks: Vec<String>,
}

impl Case {
    /// Says what the usual tools do not see.
    pub fn unseen(mut self, lines: &'static [&'static str]) -> Self {
        self.unseen = lines;
        self
    }

    /// Says that a node fits beside the data.
    pub fn beside(mut self) -> Self {
        self.beside = true;
        self
    }

    /// Puts what these tools say into the golden text.
    pub fn asked(mut self, tools: &'static [&'static str]) -> Self {
        self.asked = tools;
        self
    }

    /// The disk, made if this recipe has not been followed before.
    pub fn made(&self) -> Made {
        let gallery = folder("disks/gallery");
        let digest = Digest::of([WORDS, LABELS, &self.recipe].concat().as_bytes()).to_string();
        let disk = gallery.join(format!("{}-{}.raw", self.name, &digest[..12]));
        let masks = disk.with_extension("raw.masks");
        if !disk.exists() {
            self.forget(&gallery);
            let new = gallery.join(format!("{}.new", self.name));
            self.make(&new);
            let drawn = gallery.join(format!("{}.new.masks", self.name));
            if drawn.exists() {
                fs::rename(drawn, &masks).unwrap();
            }
            fs::rename(new, &disk).unwrap();
        }
        let masks = fs::read_to_string(masks)
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect();
        Made { disk, masks }
    }

    fn make(&self, disk: &Path) {
        let sources = folder("disks/gallery").join(format!("{}.d", self.name));
        fs::create_dir_all(&sources).unwrap();
        File::create(disk).unwrap();
        let words = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/disk/gallery");
        let script = format!(
            "gallery={}\ndisk={}\n{WORDS}\n{}",
            words.display(),
            disk.display(),
            self.recipe
        );
        checked(tool("sh").args(["-c", &script]).current_dir(&sources));
        fs::remove_dir_all(sources).unwrap();
    }

    /// Removes what another recipe of this name made, or began to make.
    fn forget(&self, gallery: &Path) {
        for entry in fs::read_dir(gallery).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let rest = name.strip_prefix(self.name);
            let digest = rest
                .and_then(|rest| rest.strip_prefix('-'))
                .and_then(|rest| rest.split('.').next());
            let old = digest.is_some_and(|digest| {
                digest.len() == 12 && digest.bytes().all(|b| b.is_ascii_hexdigit())
            });
            match rest {
                Some(".d") => fs::remove_dir_all(path).unwrap(),
                Some(".new" | ".new.masks") => fs::remove_file(path).unwrap(),
                _ if old => fs::remove_file(path).unwrap(),
                _ => {}
            }
        }
    }
}

impl Made {
    /// A text about it with its path and what was drawn by lot replaced.
    pub fn masked(&self, text: &str) -> String {
        let text = text.replace(&self.disk.display().to_string(), "DISK");
        self.masks
            .iter()
            .fold(text, |text, mask| text.replace(mask.as_str(), "?"))
    }
}
