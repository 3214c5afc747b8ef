//! An operating system for one board: the root file system's tree, and what starts it.
//!
//! All nodes of one board with the same packages share it byte for byte; nothing in here knows of a node.

use std::collections::BTreeMap;

use prejoin_formats::tree::{Content, Contents, Entry, Kind, Tree};
use prejoin_profiles::board::{Board, Firmware};
use prejoin_profiles::os::Os;

use crate::image::initramfs::{self, Initramfs};
use crate::package::Package;
use crate::tree::assemble::{self, Assembled, Filter, Glob};
use crate::tree::fixups::{self, Applied};
use crate::tree::libraries;

/// Everything that decides what the system is.
pub struct Spec<'a> {
    /// Board with everything it inherits.
    pub board: &'a Board,
    /// Operating system with everything it inherits.
    pub os: &'a Os,
    /// Unpacked packages, in any order.
    pub packages: &'a [&'a Package],
    /// Their contents.
    pub contents: &'a dyn Contents,
    /// Files laid over the packages' (the Kubernetes distribution's), before the fix-ups.
    pub overlay: &'a Tree,
    /// The agent for the board's architecture.
    pub agent: &'a [u8],
    /// The image's time in seconds since 1970.
    pub epoch: i64,
}

/// A finished system.
pub struct System {
    /// The root file system.
    pub root: Tree,
    /// Package that shipped each path of the root, where one did.
    pub owners: BTreeMap<Vec<u8>, String>,
    /// What the fix-ups did.
    pub applied: Vec<Applied>,
    /// What goes onto the boot partition.
    pub boot: Boot,
}

/// What starts a system.
pub struct Boot {
    /// Kernel release (`6.12.117+deb13-amd64`).
    pub version: String,
    /// The kernel as packaged.
    pub kernel: Content,
    /// What the kernel unpacks first: CPU microcode as an uncompressed archive if there is any, then the initramfs.
    /// One file, since packaged boot stubs have room for five section headers only.
    pub initrd: Content,
    /// The part of it that is the initramfs: agent, and modules that find the disk.
    pub initramfs: Initramfs,
    /// Device trees and overlays by path below the kernel package's folder.
    pub device_trees: BTreeMap<String, Content>,
    /// Files of the root that a boot partition may want (boot loader, stub, Raspberry Pi firmware), by path.
    pub files: BTreeMap<String, Content>,
    /// `/usr/lib/os-release`.
    pub os_release: Vec<u8>,
}

/// Why a system could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Packages do not fit together.
    #[error("putting the packages together")]
    Assemble(#[from] assemble::Error),
    /// A program would not find a library.
    #[error("checking shared libraries: {0}")]
    Libraries(String),
    /// A fix-up failed.
    #[error(transparent)]
    Fixup(#[from] fixups::Error),
    /// The initramfs cannot be made.
    #[error("making the initramfs")]
    Initramfs(#[from] initramfs::Error),
    /// A board's profile asks for something that no package brings.
    #[error("{what} is in none of the packages of board {board}")]
    Missing {
        /// Board name.
        board: String,
        /// A file or pattern.
        what: String,
    },
    /// No kernel, or several.
    #[error("the packages of board {board} bring {count} kernels, one is needed")]
    Kernels {
        /// Board name.
        board: String,
        /// How many there are.
        count: usize,
    },
    /// A content could not be read from the cache.
    #[error("reading {path} from the cache")]
    Content {
        /// Path in the tree.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Makes the system: packages together, what boots taken out, fix-ups applied.
pub fn make(spec: &Spec) -> Result<System, Error> {
    let filter = Filter::of_system(spec.os, &spec.board.exclude, spec.packages);
    let mut assembled = assemble::assemble(spec.packages, &filter)?;
    let mut tree = std::mem::take(&mut assembled.tree);
    for (path, entry) in spec.overlay.iter().skip(1) {
        tree.insert(path, entry.clone().dated(spec.epoch));
    }
    let (version, kernel) = Source { spec, tree: &tree }.kernel()?;
    // Compressing the initramfs takes as long as all the rest.
    let plain = tree.clone();
    let (boot, root) = rayon::join(
        || boot(spec, &plain, version.clone(), &kernel),
        || root(spec, assembled, tree, &version),
    );
    let (mut boot, (assembled, applied)) = (boot?, root?);
    let Assembled {
        tree: root, owners, ..
    } = assembled;
    boot.os_release = read(&root, "usr/lib/os-release", spec)?;
    Ok(System {
        root,
        owners,
        applied,
        boot,
    })
}

/// What boots, taken from the packages as they are.
fn boot(spec: &Spec, tree: &Tree, version: String, kernel: &str) -> Result<Boot, Error> {
    let source = Source { spec, tree };
    let initramfs = initramfs::make(spec, tree, &version)?;
    let initrd = [
        source.microcode()?.unwrap_or_default(),
        initramfs.bytes.clone(),
    ]
    .concat();
    Ok(Boot {
        kernel: source.file(kernel)?,
        initrd: Content::Bytes(initrd.into()),
        initramfs,
        device_trees: source.device_trees(&version),
        files: source.boot_files()?,
        os_release: Vec::new(),
        version,
    })
}

/// The root: without what only boots, and with all fix-ups.
fn root(
    spec: &Spec,
    mut assembled: Assembled,
    mut tree: Tree,
    version: &str,
) -> Result<(Assembled, Vec<Applied>), Error> {
    keep_kernel_config(&mut tree, version);
    drop_microcode(&mut tree, spec.board);
    for path in [format!("usr/lib/modules/{version}/vmlinuz")]
        .iter()
        .chain(&device_tree_folders(version))
    {
        tree.remove(path);
    }

    let context = fixups::Context {
        os: spec.os,
        board: &spec.board.name,
        architecture: spec.board.architecture,
        epoch: spec.epoch,
        packages: spec.packages,
    };
    let mut root = fixups::Root::new(tree, spec.contents, spec.epoch);
    let applied = fixups::apply(&mut root, &context)?;
    assembled.tree = root.into_tree();
    let missing = libraries::missing(&assembled, spec.packages);
    if !missing.is_empty() {
        return Err(Error::Libraries(
            missing
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; "),
        ));
    }
    Ok((assembled, applied))
}

/// The assembled tree, before fix-ups, as a source of what boots.
struct Source<'a> {
    spec: &'a Spec<'a>,
    tree: &'a Tree,
}

impl Source<'_> {
    fn missing(&self, what: impl Into<String>) -> Error {
        Error::Missing {
            board: self.spec.board.name.clone(),
            what: what.into(),
        }
    }

    /// The one kernel: its release and where it lies. Debian's packages put it into `/boot`; since 7.1 they split it
    /// off into `linux-binary-*`, beside its modules.
    fn kernel(&self) -> Result<(String, String), Error> {
        let text = |name: &[u8]| std::str::from_utf8(name).ok().map(str::to_owned);
        let in_boot = self.tree.children(b"boot").filter_map(|(name, _)| {
            let name = text(name)?;
            Some((
                name.strip_prefix("vmlinuz-")?.to_owned(),
                format!("boot/{name}"),
            ))
        });
        let beside = self
            .tree
            .children(b"usr/lib/modules")
            .filter_map(|(name, _)| {
                let version = text(name)?;
                let path = format!("usr/lib/modules/{version}/vmlinuz");
                matches!(self.tree.entry(&path)?.kind, Kind::File(_)).then_some((version, path))
            });
        let found: BTreeMap<String, String> = in_boot.chain(beside).collect();
        let count = found.len();
        found
            .into_iter()
            .next()
            .filter(|_| count == 1)
            .ok_or_else(|| Error::Kernels {
                board: self.spec.board.name.clone(),
                count,
            })
    }

    /// A file's content, following links inside the tree.
    fn file(&self, path: &str) -> Result<Content, Error> {
        content(self.tree, path)
            .cloned()
            .ok_or_else(|| self.missing(path))
    }

    /// Microcode of all CPUs of a vendor is one file, concatenated
    /// (Documentation/arch/x86/microcode.rst, "Early load microcode").
    fn microcode(&self) -> Result<Option<Vec<u8>>, Error> {
        let mut archive = Tree::new();
        for (destination, patterns) in &self.spec.board.microcode {
            let mut bytes = Vec::new();
            for pattern in patterns {
                let glob = Glob::new(pattern);
                let mut found = false;
                for (path, entry) in self.tree.iter() {
                    let Kind::File(content) = &entry.kind else {
                        continue;
                    };
                    if glob.matches(path) {
                        found = true;
                        bytes.extend(content.read(self.spec.contents).map_err(|source| {
                            Error::Content {
                                path: String::from_utf8_lossy(path).into_owned(),
                                source,
                            }
                        })?);
                    }
                }
                if !found {
                    return Err(self.missing(pattern));
                }
            }
            archive.insert(
                destination,
                Entry::file(bytes, 0o644).dated(self.spec.epoch),
            );
        }
        if archive.len() == 1 {
            return Ok(None);
        }
        Ok(Some(initramfs::archive(&archive, self.spec.contents)?))
    }

    /// Raspberry Pi boards need device trees beside the kernel; UEFI firmware brings its own.
    fn device_trees(&self, version: &str) -> BTreeMap<String, Content> {
        if self.spec.board.firmware == Firmware::Uefi {
            return BTreeMap::new();
        }
        let mut trees = BTreeMap::new();
        for folder in device_tree_folders(version) {
            for (path, entry) in self.tree.below(&folder) {
                let name = std::str::from_utf8(&path[folder.len() + 1..]);
                if let (Kind::File(content), Ok(name)) = (&entry.kind, name) {
                    trees.insert(name.to_owned(), content.clone());
                }
            }
        }
        trees
    }

    fn boot_files(&self) -> Result<BTreeMap<String, Content>, Error> {
        let board = self.spec.board;
        let mut paths: Vec<String> = board.boot_files.values().cloned().collect();
        if board.firmware == Firmware::Uefi {
            let short = board.architecture.efi();
            paths.push(stub_path(board));
            paths.push(format!("usr/lib/systemd/boot/efi/systemd-boot{short}.efi"));
        }
        paths
            .into_iter()
            .map(|path| self.file(&path).map(|content| (path, content)))
            .collect()
    }
}

/// Path of systemd's stub for unified kernel images.
pub fn stub_path(board: &Board) -> String {
    format!(
        "usr/lib/systemd/boot/efi/linux{}.efi.stub",
        board.architecture.efi()
    )
}

/// Where kernel packages have their device trees: up to 7.0, and since.
fn device_tree_folders(version: &str) -> [String; 2] {
    [
        format!("usr/lib/linux-image-{version}"),
        format!("usr/lib/modules/{version}/dtb"),
    ]
}

/// kubeadm's preflight reads the kernel's configuration, and looks here too when `/boot` is empty
/// (k8s.io/system-validators, kernel_validator.go).
fn keep_kernel_config(tree: &mut Tree, version: &str) {
    if let Some(entry) = tree.entry(format!("boot/config-{version}")).cloned() {
        tree.insert(format!("usr/lib/modules/{version}/config"), entry);
    }
}

/// Microcode is loaded before there is a root file system; there it would only take room.
fn drop_microcode(tree: &mut Tree, board: &Board) {
    let globs: Vec<Glob> = board
        .microcode
        .values()
        .flatten()
        .map(|pattern| Glob::new(pattern))
        .collect();
    let paths: Vec<Vec<u8>> = tree
        .iter()
        .filter(|(path, _)| globs.iter().any(|glob| glob.matches(path)))
        .map(|(path, _)| path.to_vec())
        .collect();
    for path in paths {
        tree.remove(path);
    }
}

/// The content of the regular file that `path` leads to, through links in its last component.
pub fn content<'a>(tree: &'a Tree, path: &str) -> Option<&'a Content> {
    let mut path = path.as_bytes().to_vec();
    // As many links as the kernel follows.
    for _ in 0..40 {
        match &tree.entry(&path)?.kind {
            Kind::File(content) => return Some(content),
            Kind::HardLink(target) => path = target.clone(),
            Kind::Symlink(target) if target.starts_with(b"/") => path = target[1..].to_vec(),
            Kind::Symlink(target) => {
                let folder = path
                    .iter()
                    .rposition(|&byte| byte == b'/')
                    .map_or(&[][..], |slash| &path[..slash]);
                let mut parts: Vec<&[u8]> = folder
                    .split(|&byte| byte == b'/')
                    .filter(|p| !p.is_empty())
                    .collect();
                for part in target.split(|&byte| byte == b'/') {
                    match part {
                        b"" | b"." => {}
                        b".." => {
                            parts.pop();
                        }
                        name => parts.push(name),
                    }
                }
                path = parts.join(&b'/');
            }
            _ => return None,
        }
    }
    None
}

fn read(tree: &Tree, path: &str, spec: &Spec) -> Result<Vec<u8>, Error> {
    let content = content(tree, path).ok_or_else(|| Error::Missing {
        board: spec.board.name.clone(),
        what: path.to_owned(),
    })?;
    content
        .read(spec.contents)
        .map_err(|source| Error::Content {
            path: path.to_owned(),
            source,
        })
}
