//! What an output folder knows of packs: which one came of which package file.
//!
//! A cache may be shared with people who must not decide what goes into an image. A pack's own checksums say that it is
//! whole, not whose it is, and only unpacking the `.deb` again, which the lock names by its digest, tells whether this
//! is what comes of it. That is done once for each output folder, and remembered there: whoever can write to it can
//! change the images themselves. Decision 8 says why it is kept in no other place.
//!
//! ```text
//! <SHA-256 of the .deb> <SHA-256 of the pack's index>      a line each, sorted
//! ```
#![expect(
    clippy::disallowed_methods,
    reason = "it is a file of the output folder"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use prejoin_wire::digest::Digest;

use prejoin_store::hold::Hold;
use prejoin_store::output;

/// Largest file that is read: 30 000 packages.
const LARGEST: u64 = 4 << 20;

/// Packs that were made for one output folder.
#[derive(Debug, Default)]
pub struct Known {
    /// Where what cannot be put into the cache lies while it is used.
    folder: Option<PathBuf>,
    packs: Mutex<BTreeMap<Digest, Digest>>,
}

/// The folder of what builds remember, below an output folder.
pub fn folder(out: &Path) -> PathBuf {
    out.join("memo")
}

fn path(out: &Path) -> PathBuf {
    folder(out).join("packs")
}

impl Known {
    /// What earlier builds into `out` made. A file that is missing or damaged knows nothing.
    pub fn open(out: &Path) -> Self {
        let path = path(out);
        let small = fs::metadata(&path).is_ok_and(|found| found.len() <= LARGEST);
        let text = if small {
            fs::read_to_string(&path).unwrap_or_default()
        } else {
            String::new()
        };
        Known {
            folder: Some(folder(out)),
            packs: Mutex::new(parse(&text).unwrap_or_default()),
        }
    }

    /// A folder of the output folder, for packs that the cache does not take.
    pub(super) fn aside(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Whether the pack with this index was made of this `.deb`.
    pub fn vouches(&self, deb: &Digest, index: &Digest) -> bool {
        self.packs().get(deb) == Some(index)
    }

    /// Remembers what was just made.
    pub(super) fn insert(&self, deb: Digest, index: Digest) {
        self.packs().insert(deb, index);
    }

    /// Keeps it, and what others have remembered meanwhile, for the next build into `out`.
    pub fn save(&self, out: &Path) -> Result<(), output::Error> {
        let mut packs = self.packs();
        let folder = folder(out);
        fs::create_dir_all(&folder).map_err(output::at("making folder", &folder))?;
        let _turn = Hold::alone(&folder, |_| {});
        let stored = std::mem::take(&mut *Known::open(out).packs());
        let before = stored.len();
        let news = packs
            .iter()
            .any(|(deb, index)| stored.get(deb) != Some(index));
        for (deb, index) in stored {
            packs.entry(deb).or_insert(index);
        }
        if !news && packs.len() == before {
            return Ok(());
        }
        let mut text = String::new();
        for (deb, index) in packs.iter() {
            writeln!(text, "{deb} {index}").expect("writing to a string cannot fail");
        }
        output::write(&path(out), text.as_bytes())
    }

    fn packs(&self) -> MutexGuard<'_, BTreeMap<Digest, Digest>> {
        self.packs.lock().expect("nothing panics under this lock")
    }
}

fn parse(text: &str) -> Option<BTreeMap<Digest, Digest>> {
    text.lines()
        .map(|line| {
            let (deb, index) = line.split_once(' ')?;
            Some((deb.parse().ok()?, index.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_vouches_for_what_was_made_and_for_nothing_else() {
        let out = tempfile::tempdir().unwrap();
        let [deb, index, other] = [1, 2, 3].map(|byte| Digest([byte; 32]));
        let known = Known::open(out.path());
        assert!(!known.vouches(&deb, &index));
        known.insert(deb, index);
        known.save(out.path()).unwrap();
        let again = Known::open(out.path());
        assert!(again.vouches(&deb, &index));
        assert!(!again.vouches(&deb, &other));
        assert!(!again.vouches(&other, &index));
        fs::write(path(out.path()), format!("{deb} {index}\nrubbish\n")).unwrap();
        assert!(!Known::open(out.path()).vouches(&deb, &index));
    }
}
