//! The initramfs: the agent, the modules that bring disk and root file system, and nothing else.

use std::collections::BTreeMap;
use std::io::Read;

use prejoin_formats::cpio;
use prejoin_formats::kmod::{Index, Missing, Module};
use prejoin_formats::modprobe::Config;
use prejoin_formats::tree::{Content, Contents, Entry, Kind, Tree};
use prejoin_wire::handoff;
use rayon::prelude::*;

use crate::image::system::{self, Spec};

/// zstd's level: 15 MB of modules shrink to a quarter in a quarter of a second; level 19 would save another tenth
/// for five seconds.
const LEVEL: i32 = 9;

/// Largest module in bytes when decompressed; amdgpu, the largest of all, has about 20 MB.
const MODULE_LIMIT: u64 = 128 << 20;

/// A finished initramfs.
pub struct Initramfs {
    /// The compressed archive.
    pub bytes: Vec<u8>,
    /// Paths of the modules in it, in the order in which they are loaded.
    pub modules: Vec<String>,
}

/// Why there is no initramfs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel package lacks one of its lists.
    #[error("{0} is in none of the packages")]
    List(String),
    /// The board asks for modules that the kernel does not have, neither as file nor built in.
    #[error("choosing the modules that board {board} loads at boot from kernel {version}")]
    Modules {
        /// Kernel release.
        version: String,
        /// Board name.
        board: String,
        /// Which ones.
        #[source]
        source: Missing,
    },
    /// A module could not be read or decompressed.
    #[error("reading module {path}")]
    Module {
        /// Its path.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The archive could not be written.
    #[error("writing the archive")]
    Archive(#[from] cpio::Error),
    /// The archive could not be compressed.
    #[error("compressing the archive")]
    Compress(#[source] std::io::Error),
}

/// Makes the initramfs of a board.
pub fn make(spec: &Spec, tree: &Tree, version: &str) -> Result<Initramfs, Error> {
    let paths = load_order(spec, tree, version)?;
    let loaded: Vec<(String, Vec<u8>)> = paths
        .par_iter()
        .map(|path| {
            let full = format!("usr/lib/modules/{version}/{path}");
            let read = || {
                let Some(Entry {
                    kind: Kind::File(content),
                    ..
                }) = tree.entry(&full)
                else {
                    return Err(std::io::ErrorKind::NotFound.into());
                };
                decompress(path, content, spec.contents)
            };
            let bytes = read().map_err(|source| Error::Module {
                path: full.clone(),
                source,
            })?;
            Ok((format!("modules/{}", plain_name(path)), bytes))
        })
        .collect::<Result<_, Error>>()?;

    let mut archive = Tree::new();
    for folder in ["dev", "proc", "sys", "run", "sysroot"] {
        archive.insert(folder, Entry::directory(0o755));
    }
    archive.insert("init", Entry::file(spec.agent, 0o755));
    let boot = handoff::Boot {
        version: handoff::VERSION,
        epoch: u64::try_from(spec.epoch).unwrap_or(0),
    };
    archive.insert(
        "etc/prejoin/boot.json",
        Entry::file(boot.to_json().into_bytes(), 0o644),
    );
    let list: String = loaded
        .iter()
        .map(|(path, _)| format!("/{path}\n"))
        .collect();
    archive.insert("modules.list", Entry::file(list.into_bytes(), 0o644));
    let names = loaded.iter().map(|(path, _)| module_name(path));
    let said = configuration(tree, spec.contents)?.about(names);
    if !said.is_empty() {
        archive.insert("modules.conf", Entry::file(said.into_bytes(), 0o644));
    }
    for (path, bytes) in loaded {
        archive.insert(path, Entry::file(bytes, 0o644));
    }
    for (_, entry) in archive.iter_mut() {
        entry.mtime = spec.epoch;
    }
    let bytes = self::archive(&archive, spec.contents)?;
    let bytes = zstd::bulk::compress(&bytes, LEVEL).map_err(Error::Compress)?;
    Ok(Initramfs {
        bytes,
        modules: paths,
    })
}

/// The modules that the board's list stands for, dependencies before those that need them.
fn load_order(spec: &Spec, tree: &Tree, version: &str) -> Result<Vec<String>, Error> {
    let folder = format!("usr/lib/modules/{version}");
    let list = |name: &str| {
        let path = format!("{folder}/{name}");
        let content = system::content(tree, &path).ok_or_else(|| Error::List(path.clone()))?;
        content
            .read(spec.contents)
            .map_err(|source| Error::Module { path, source })
    };
    let text = |name: &str| list(name).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let there = |module: &&Module| tree.entry(format!("{folder}/{}", module.path)).is_some();
    let modules: Vec<Module> = spec
        .packages
        .iter()
        .flat_map(|p| &p.modules)
        .filter(there)
        .cloned()
        .collect();
    let index = Index::new(
        &modules,
        &text("modules.order")?,
        &text("modules.builtin")?,
        &list("modules.builtin.modinfo")?,
    );
    let wanted: Vec<&str> = spec
        .board
        .initramfs_modules
        .iter()
        .map(String::as_str)
        .collect();
    let paths = index.closure(&wanted).map_err(|source| Error::Modules {
        version: version.to_owned(),
        board: spec.board.name.clone(),
        source,
    })?;
    Ok(paths.into_iter().map(str::to_owned).collect())
}

/// What the system's `modprobe.d` says. Of files of one name the one in `/etc` counts, and all are read in the order of
/// their names (modprobe.d(5)).
fn configuration(tree: &Tree, contents: &dyn Contents) -> Result<Config, Error> {
    let mut files = BTreeMap::new();
    for folder in [
        "usr/lib/modprobe.d",
        "usr/local/lib/modprobe.d",
        "etc/modprobe.d",
    ] {
        for (name, _) in tree.children(folder.as_bytes()) {
            let name = String::from_utf8_lossy(name).into_owned();
            if name.ends_with(".conf") {
                files.insert(name.clone(), format!("{folder}/{name}"));
            }
        }
    }
    let mut config = Config::default();
    for path in files.into_values() {
        // A link to /dev/null takes the place of a file that is not wanted.
        let Some(content) = system::content(tree, &path) else {
            continue;
        };
        let bytes = content
            .read(contents)
            .map_err(|source| Error::Module { path, source })?;
        config.add_file(&String::from_utf8_lossy(&bytes));
    }
    Ok(config)
}

/// A tree as cpio bytes.
pub fn archive(tree: &Tree, contents: &dyn Contents) -> Result<Vec<u8>, Error> {
    let image = cpio::write(tree)?;
    let mut bytes = vec![0; image.size() as usize];
    image
        .read_at(contents, 0, &mut bytes)
        .map_err(|source| Error::Module {
            path: "the archive".into(),
            source,
        })?;
    Ok(bytes)
}

/// The file name without the compression's suffix: modules are stored as the kernel loads them, since the whole
/// archive is compressed once.
fn plain_name(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.split_once(".ko")
        .map_or(name, |(stem, _)| &name[..stem.len() + 3])
}

/// The module in a file of the archive.
fn module_name(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.strip_suffix(".ko").unwrap_or(name)
}

fn decompress(path: &str, content: &Content, contents: &dyn Contents) -> std::io::Result<Vec<u8>> {
    let stored = content.read(contents)?;
    let mut plain = Vec::new();
    let reader: Box<dyn Read> = match path.rsplit('.').next() {
        Some("xz") => Box::new(liblzma::read::XzDecoder::new(&stored[..])),
        Some("zst") => Box::new(zstd::stream::read::Decoder::new(&stored[..])?),
        Some("gz") => Box::new(flate2::read::GzDecoder::new(&stored[..])),
        _ => return Ok(stored),
    };
    reader.take(MODULE_LIMIT + 1).read_to_end(&mut plain)?;
    if plain.len() as u64 > MODULE_LIMIT {
        return Err(std::io::Error::other(format!(
            "larger than {MODULE_LIMIT} bytes when decompressed"
        )));
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use prejoin_formats::tree::NoContents;

    use super::*;

    #[test]
    fn settings_of_modules_are_those_that_count_on_the_running_system() {
        let mut tree = Tree::new();
        for (path, text) in [
            (
                "usr/lib/modprobe.d/10-vendor.conf",
                "options loop max_loop=8\n",
            ),
            ("usr/lib/modprobe.d/20-vendor.conf", "blacklist uas\n"),
            ("usr/lib/modprobe.d/30-vendor.conf", "blacklist nvme\n"),
            ("etc/modprobe.d/10-vendor.conf", "options loop max_loop=9\n"),
            ("etc/modprobe.d/15-own.conf", "options loop max_part=3\n"),
            ("etc/modprobe.d/notes.txt", "blacklist ahci\n"),
        ] {
            tree.insert(path, Entry::file(text.as_bytes(), 0o644));
        }
        tree.insert("etc/modprobe.d/30-vendor.conf", Entry::symlink("/dev/null"));
        let config = configuration(&tree, &NoContents).unwrap();
        assert_eq!(config.parameters("loop"), "max_loop=9 max_part=3");
        let left_out = ["uas", "nvme", "ahci"].map(|name| config.is_left_out(name));
        assert_eq!(left_out, [true, false, false]);
        assert_eq!(module_name("modules/usb-storage.ko"), "usb-storage");
    }
}
