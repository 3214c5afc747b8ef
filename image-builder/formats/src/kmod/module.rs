//! One module file.

use std::collections::BTreeSet;

use object::read::elf::{ElfFile64, FileHeader};
use object::{Endianness, Object, ObjectSection, ObjectSymbol};
use serde::{Deserialize, Serialize};

/// `.modinfo` and `__ksymtab_strings` of the largest real modules have some 100 KiB.
const LARGEST_SECTION: u64 = 16 << 20;

/// What one kernel module says of itself in `.modinfo` and `__ksymtab_strings`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Path below `/usr/lib/modules/<version>/` (`kernel/fs/ext4/ext4.ko.xz`).
    pub path: String,
    /// Module name with underscores.
    pub name: String,
    /// `alias=`
    pub aliases: Vec<String>,
    /// `depends=`, split at commas.
    pub depends: Vec<String>,
    /// `softdep=` lines.
    pub softdeps: Vec<String>,
    /// `weakdep=` lines.
    pub weakdeps: Vec<String>,
    /// Exported symbols.
    pub symbols: Vec<String>,
    /// `firmware=` files.
    pub firmware: Vec<String>,
}

/// A file that is no kernel module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("reading kernel module {path}: {problem}")]
pub struct BadModule {
    /// The module.
    pub path: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Module {
    /// Reads an uncompressed module; `path` is relative to its `/usr/lib/modules/<version>/` and may have the ending
    /// of a compressed file.
    pub fn parse(path: &str, elf: &[u8]) -> Result<Self, BadModule> {
        let fail = |problem: String| BadModule {
            path: path.to_owned(),
            problem,
        };
        let file: ElfFile64<'_, Endianness> =
            ElfFile64::parse(elf).map_err(|error| fail(error.to_string()))?;
        if file.elf_header().e_type(file.endian()) != object::elf::ET_REL {
            return Err(fail("it is no relocatable ELF file".to_owned()));
        }
        let mut module = Module {
            path: path.to_owned(),
            name: name(path),
            ..Module::default()
        };
        for line in strings(&file, ".modinfo").map_err(fail)? {
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            let value = value.to_owned();
            match key {
                "alias" => module.aliases.push(value),
                "depends" => module.depends.extend(
                    value
                        .split(',')
                        .filter(|name| !name.is_empty())
                        .map(str::to_owned),
                ),
                "softdep" => module.softdeps.push(value),
                "weakdep" => module.weakdeps.push(value),
                "firmware" => module.firmware.push(value),
                _ => {}
            }
        }
        module.symbols = exported(&file).map_err(fail)?;
        Ok(module)
    }
}

/// The module name of a path: the file name without `.ko` and what follows, with underscores.
pub(super) fn name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

/// The strings of a section; none if there is no such section. The index files are lines of text, in which a string of
/// two lines could pretend to be something else: only descriptions of parameters, which nobody asks for, have several.
fn strings(file: &ElfFile64<'_, Endianness>, section: &str) -> Result<Vec<String>, String> {
    let Some(section) = file.section_by_name(section) else {
        return Ok(Vec::new());
    };
    if section.size() > LARGEST_SECTION {
        return Err(format!("section of {} bytes", section.size()));
    }
    let bytes = section.data().map_err(|error| error.to_string())?;
    let strings = bytes
        .split(|&byte| byte == 0)
        .filter(|string| !string.is_empty());
    Ok(strings
        .map(|string| String::from_utf8_lossy(string).into_owned())
        .filter(|string| !string.contains(char::is_control))
        .collect())
}

/// Exported symbols. `__ksymtab_strings` has the names of name spaces too; where the symbol table was kept, its
/// `__ksymtab_NAME` symbols tell them apart.
fn exported(file: &ElfFile64<'_, Endianness>) -> Result<Vec<String>, String> {
    let mut names = strings(file, "__ksymtab_strings")?;
    if !names.is_empty() {
        let symbols = file
            .symbols()
            .filter_map(|symbol| symbol.name_bytes().ok()?.strip_prefix(b"__ksymtab_"));
        let known: BTreeSet<&[u8]> = symbols.collect();
        if !known.is_empty() {
            names.retain(|name| known.contains(name.as_bytes()));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (path, expected) in [
            (
                "kernel/drivers/usb/storage/usb-storage.ko.xz",
                "usb_storage",
            ),
            ("nvme.ko", "nvme"),
            ("kernel/a.b/x-y_z.ko.zst", "x_y_z"),
            ("", ""),
        ] {
            assert_eq!(name(path), expected);
        }
    }

    #[test]
    fn garbage_is_refused() {
        for garbage in [&b""[..], b"\x7fELF", &[0x7f; 4096]] {
            assert!(Module::parse("kernel/x.ko", garbage).is_err());
        }
    }
}
