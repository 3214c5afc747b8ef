//! The pack: an unpacked package as one file of the cache.
//!
//! ```text
//! "prejoin pack 1\n\0"          16 bytes
//! contents                      every regular file's bytes, back to back, in the order of the index
//! index                         the package without contents, see [`encode`]
//! trailer                       u64 offset of the index, u64 its length, its SHA-256, "pack end"  (56 bytes)
//! ```
//!
//! All numbers are little-endian. The trailer is written last and names both offset and length, so a file that was
//! cut, or whose writing stopped, is not a pack. A pack depends on its `.deb` alone (never on what a profile leaves
//! out), and its file name carries the `.deb`'s SHA-256 and [`VERSION`]: whoever finds it need not ask whether it is
//! current.

use std::collections::BTreeMap;

use prejoin_formats::kmod::Module;
use prejoin_formats::tree::{Content, ContentDigest, Entry, Kind};
use sha2::{Digest as _, Sha256};

use crate::package::{Linkage, Package};

/// Raised whenever the same `.deb` would give another pack.
pub const VERSION: u32 = 1;

/// First bytes of a pack.
pub const MAGIC: &[u8; 16] = b"prejoin pack 1\n\0";

/// Bytes of the trailer.
pub const TRAILER: usize = 56;

/// Most bytes of an index that are read: a kernel's is 4 MB.
pub const INDEX: u64 = 256 << 20;

/// Where the index is, and what it must hash to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Offset of the index in the file.
    pub offset: u64,
    /// Its length.
    pub length: u64,
    /// Its SHA-256.
    pub digest: ContentDigest,
}

/// A pack that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pack is damaged: {0}")]
pub struct Damaged(pub &'static str);

impl Trailer {
    /// The trailer of an index at `offset`.
    pub fn of(index: &[u8], offset: u64) -> Self {
        Trailer {
            offset,
            length: index.len() as u64,
            digest: Sha256::digest(index).into(),
        }
    }

    /// As written.
    pub fn bytes(&self) -> [u8; TRAILER] {
        let mut bytes = [0; TRAILER];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.length.to_le_bytes());
        bytes[16..48].copy_from_slice(&self.digest);
        bytes[48..].copy_from_slice(b"pack end");
        bytes
    }

    /// Reads the trailer of a file of `size` bytes; the whole must fit together to the byte.
    pub fn parse(bytes: &[u8; TRAILER], size: u64) -> Result<Self, Damaged> {
        if &bytes[48..] != b"pack end" {
            return Err(Damaged("it has no end mark"));
        }
        let mut input = Input(bytes);
        let (offset, length) = (input.u64()?, input.u64()?);
        let digest = input.array()?;
        let fits = offset
            .checked_add(length)
            .and_then(|end| end.checked_add(TRAILER as u64))
            == Some(size);
        if !fits || offset < MAGIC.len() as u64 || length > INDEX {
            return Err(Damaged("its length is wrong"));
        }
        Ok(Trailer {
            offset,
            length,
            digest,
        })
    }
}

/// One content of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// SHA-256 of the content.
    pub digest: ContentDigest,
    /// Offset in the pack.
    pub offset: u64,
    /// Length in bytes.
    pub size: u64,
}

/// The index of `package`: strings and lists with a `u32` length before them, in the order of the struct.
///
/// # Panics
/// If a list or string has more than 4 GiB, which [`crate::debian::deb::Limits`] rule out.
pub fn encode(package: &Package) -> Vec<u8> {
    let mut output = Output(Vec::with_capacity(package.entries.len() * 128));
    for text in [
        &package.name,
        &package.version,
        &package.architecture,
        &package.control,
    ] {
        output.bytes(text.as_bytes());
    }
    output.list(&package.conffiles, |output, path| {
        output.bytes(path.as_bytes())
    });
    output.map(&package.scripts);
    output.list(&package.entries, |output, (path, entry)| {
        output.bytes(path);
        output.entry(entry);
    });
    output.list(&package.modules, Output::module);
    output.count(package.libraries.len());
    for (path, linkage) in &package.libraries {
        output.bytes(path);
        output.strings(&linkage.needed);
        output.strings(linkage.soname.as_slice());
        output.strings(&linkage.runpath);
    }
    output.0
}

/// Reads an index back: the package, and where its contents lie. `end` is the offset of the index, where the
/// contents must end.
pub fn decode(index: &[u8], end: u64) -> Result<(Package, Vec<Location>), Damaged> {
    let mut input = Input(index);
    let (name, version, architecture, control) = (
        input.string()?,
        input.string()?,
        input.string()?,
        input.string()?,
    );
    let conffiles = input.strings()?;
    let scripts = input.map(Input::string)?;
    let mut locations = Vec::new();
    let mut offset = MAGIC.len() as u64;
    let entries = input.list(|input| {
        let entry = (input.bytes()?.to_vec(), input.entry()?);
        if let Kind::File(Content::Blob { digest, size }) = entry.1.kind {
            locations.push(Location {
                digest,
                offset,
                size,
            });
            offset = offset
                .checked_add(size)
                .ok_or(Damaged("its contents are too long"))?;
        }
        Ok(entry)
    })?;
    let modules = input.list(Input::module)?;
    let libraries = input.list(|input| {
        let path = input.bytes()?.to_vec();
        let (needed, soname, runpath) =
            (input.strings()?, input.strings()?.pop(), input.strings()?);
        Ok((
            path,
            Linkage {
                needed,
                soname,
                runpath,
            },
        ))
    })?;
    if !input.0.is_empty() || offset != end {
        return Err(Damaged("its contents do not fit its index"));
    }
    let libraries = libraries.into_iter().collect();
    let package = Package {
        name,
        version,
        architecture,
        control,
        conffiles,
        scripts,
        entries,
        modules,
        libraries,
    };
    Ok((package, locations))
}

struct Output(Vec<u8>);

impl Output {
    fn count(&mut self, count: usize) {
        let count = u32::try_from(count).expect("packages are limited far below 4 GiB");
        self.0.extend(count.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend(bytes);
    }

    fn list<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Self, &T)) {
        self.count(items.len());
        items.iter().for_each(|item| each(self, item));
    }

    fn strings(&mut self, strings: &[String]) {
        self.list(strings, |output, text| output.bytes(text.as_bytes()));
    }

    fn map<K: AsRef<[u8]>>(&mut self, map: &BTreeMap<K, Vec<u8>>) {
        self.count(map.len());
        for (key, value) in map {
            self.bytes(key.as_ref());
            self.bytes(value);
        }
    }

    fn entry(&mut self, entry: &Entry) {
        let kind = match &entry.kind {
            Kind::Directory => 0,
            Kind::File(_) => 1,
            Kind::Symlink(_) => 2,
            Kind::HardLink(_) => 3,
            Kind::Device { .. } | Kind::Fifo => {
                unreachable!("packages with device nodes are refused")
            }
        };
        self.0.push(kind);
        self.0.extend(entry.mode.to_le_bytes());
        self.0.extend(entry.uid.to_le_bytes());
        self.0.extend(entry.gid.to_le_bytes());
        self.0.extend(entry.mtime.to_le_bytes());
        self.map(&entry.xattrs);
        match &entry.kind {
            Kind::File(Content::Blob { digest, size }) => {
                self.0.extend(digest);
                self.0.extend(size.to_le_bytes());
            }
            Kind::File(Content::Bytes(_) | Content::Image(_)) => {
                unreachable!("a payload's contents are in the pack")
            }
            Kind::Symlink(target) | Kind::HardLink(target) => self.bytes(target),
            _ => {}
        }
    }

    fn module(&mut self, module: &Module) {
        self.bytes(module.path.as_bytes());
        self.bytes(module.name.as_bytes());
        let Module {
            aliases,
            depends,
            softdeps,
            weakdeps,
            symbols,
            firmware,
            ..
        } = module;
        for list in [aliases, depends, softdeps, weakdeps, symbols, firmware] {
            self.strings(list);
        }
    }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(Damaged("its index is cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        Ok(self
            .take(N)?
            .try_into()
            .expect("take returns what was asked for"))
    }

    fn u32(&mut self) -> Result<u32, Damaged> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Damaged> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Result<&'a [u8], Damaged> {
        let length = self.u32()?;
        self.take(length as usize)
    }

    fn string(&mut self) -> Result<String, Damaged> {
        std::str::from_utf8(self.bytes()?)
            .map(str::to_owned)
            .map_err(|_| Damaged("its index has text that is none"))
    }

    /// A list whose items take at least one byte each, so that a false count cannot reserve memory.
    fn list<T>(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<T, Damaged>,
    ) -> Result<Vec<T>, Damaged> {
        let count = self.u32()? as usize;
        if count > self.0.len() {
            return Err(Damaged("its index is cut short"));
        }
        let mut items = Vec::with_capacity(count.min(64 << 10));
        for _ in 0..count {
            items.push(each(self)?);
        }
        Ok(items)
    }

    fn strings(&mut self) -> Result<Vec<String>, Damaged> {
        self.list(Self::string)
    }

    fn map<K: Ord>(
        &mut self,
        key: impl Fn(&mut Self) -> Result<K, Damaged>,
    ) -> Result<BTreeMap<K, Vec<u8>>, Damaged> {
        Ok(self
            .list(|input| Ok((key(input)?, input.bytes()?.to_vec())))?
            .into_iter()
            .collect())
    }

    fn entry(&mut self) -> Result<Entry, Damaged> {
        let [kind] = self.array()?;
        let mode = self.array().map(u16::from_le_bytes)?;
        let (uid, gid) = (self.u32()?, self.u32()?);
        let mtime = self.array().map(i64::from_le_bytes)?;
        let xattrs = self.map(|input| Ok(input.bytes()?.to_vec()))?;
        let kind = match kind {
            0 => Kind::Directory,
            1 => Kind::File(Content::Blob {
                digest: self.array()?,
                size: self.u64()?,
            }),
            2 => Kind::Symlink(self.bytes()?.to_vec()),
            3 => Kind::HardLink(self.bytes()?.to_vec()),
            _ => return Err(Damaged("its index has an unknown kind of entry")),
        };
        Ok(Entry {
            kind,
            mode,
            uid,
            gid,
            mtime,
            xattrs,
        })
    }

    fn module(&mut self) -> Result<Module, Damaged> {
        Ok(Module {
            path: self.string()?,
            name: self.string()?,
            aliases: self.strings()?,
            depends: self.strings()?,
            softdeps: self.strings()?,
            weakdeps: self.strings()?,
            symbols: self.strings()?,
            firmware: self.strings()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Package {
        let text = |text: &str| text.to_owned();
        let xattrs = BTreeMap::from([(b"security.capability".to_vec(), vec![1, 0, 255])]);
        Package {
            name: text("a"),
            version: text("1:2-3"),
            architecture: text("all"),
            control: text("Package: a\n"),
            conffiles: vec![text("/etc/a")],
            scripts: BTreeMap::from([(text("postinst"), b"#!/bin/sh\n\xff".to_vec())]),
            entries: vec![
                (b"etc".to_vec(), Entry::directory(0o755).dated(-1)),
                (
                    b"etc/\xff".to_vec(),
                    Entry {
                        xattrs,
                        ..Entry::blob([7; 32], 5, 0o4755).owned(1, 2)
                    },
                ),
                (b"etc/b".to_vec(), Entry::symlink("/usr")),
                (
                    b"etc/c".to_vec(),
                    Entry {
                        kind: Kind::HardLink(b"etc/\xff".to_vec()),
                        ..Entry::directory(0o644)
                    },
                ),
            ],
            modules: vec![Module {
                path: text("kernel/x.ko"),
                aliases: vec![text("pci:*")],
                ..Module::default()
            }],
            libraries: BTreeMap::from([(
                b"etc/\xff".to_vec(),
                Linkage {
                    needed: vec![text("libc.so.6")],
                    soname: Some(text("x")),
                    runpath: vec![],
                },
            )]),
        }
    }

    #[test]
    fn an_index_round_trips() {
        let package = sample();
        let end = MAGIC.len() as u64 + 5;
        let (read, locations) = decode(&encode(&package), end).unwrap();
        assert_eq!(read, package);
        assert_eq!(
            locations,
            [Location {
                digest: [7; 32],
                offset: 16,
                size: 5
            }]
        );
        assert!(decode(&encode(&package), end + 1).is_err());
    }

    #[test]
    fn a_damaged_index_is_an_error() {
        let index = encode(&sample());
        for length in 0..index.len() {
            assert!(decode(&index[..length], 21).is_err(), "cut to {length}");
        }
        for at in 0..index.len() {
            let mut index = index.clone();
            index[at] ^= 0x80;
            let _ = decode(&index, 21);
        }
    }

    #[test]
    fn a_trailer_fits_its_file_exactly() {
        let trailer = Trailer::of(b"index", 16);
        let size = 16 + 5 + TRAILER as u64;
        assert_eq!(Trailer::parse(&trailer.bytes(), size), Ok(trailer));
        assert!(Trailer::parse(&trailer.bytes(), size - 1).is_err());
        assert!(Trailer::parse(&[0; TRAILER], size).is_err());
    }
}
