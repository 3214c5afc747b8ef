//! The index files of one kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::module::{self, Module};
use super::trie::{TooLarge, Trie};

/// All modules of one kernel.
pub struct Index<'a> {
    /// In the order of `modules.order`; the position is a module's priority among those that claim the same alias.
    pub(super) modules: Vec<&'a Module>,
    pub(super) by_name: BTreeMap<&'a str, usize>,
    pub(super) builtin: BTreeSet<String>,
    /// Normalised alias and module name.
    pub(super) builtin_aliases: Vec<(String, String)>,
}

impl<'a> Index<'a> {
    /// Takes the modules of a kernel in any order, and the three files that come with it: `modules.order`,
    /// `modules.builtin` and `modules.builtin.modinfo`.
    ///
    /// Of two modules with the same name, the one below `updates/` counts, as depmod has it by default.
    pub fn new(modules: &'a [Module], order: &str, builtin: &str, builtin_modinfo: &[u8]) -> Self {
        let stem = |path: &'a str| path.split_once(".ko").map_or(path, |(stem, _)| stem);
        let order: BTreeMap<String, usize> = order
            .lines()
            .zip(0..)
            .map(|(line, at)| (line.split(".ko").next().unwrap_or(line).to_owned(), at))
            .collect();
        let mut keyed: Vec<_> = modules
            .iter()
            .map(|module| {
                let position = order.get(stem(&module.path)).copied().unwrap_or(usize::MAX);
                (
                    (
                        !module.path.starts_with("updates/"),
                        position,
                        module.path.as_str(),
                    ),
                    module,
                )
            })
            .collect();
        keyed.sort_by_key(|(key, _)| *key);
        let mut names = BTreeSet::new();
        keyed.retain(|(_, module)| names.insert(module.name.as_str()));
        keyed.sort_by_key(|((_, position, path), _)| (*position, *path));
        let modules: Vec<_> = keyed.into_iter().map(|(_, module)| module).collect();
        let by_name = modules
            .iter()
            .zip(0..)
            .map(|(module, at)| (module.name.as_str(), at))
            .collect();
        Index {
            modules,
            by_name,
            builtin: builtin.lines().map(module::name).collect(),
            builtin_aliases: builtin_aliases(builtin_modinfo),
        }
    }

    /// The files depmod would write next to the modules: name and content.
    pub fn files(&self) -> Result<Vec<(&'static str, Vec<u8>)>, TooLarge> {
        let dependencies = self.dependency_lines();
        let mut files = self.text_files(&dependencies);
        files.extend(self.binary_files(&dependencies)?);
        Ok(files)
    }

    /// What people read, and softdep, weakdep and devname, which have no other form.
    fn text_files(&self, dependencies: &[String]) -> Vec<(&'static str, Vec<u8>)> {
        let dependencies: String = dependencies
            .iter()
            .flat_map(|line| [line.as_str(), "\n"])
            .collect();
        let aliases = self.text(
            "# Aliases extracted from modules themselves.",
            |module, text| {
                module
                    .aliases
                    .iter()
                    .try_for_each(|alias| writeln!(text, "alias {alias} {}", module.name))
            },
        );
        let symbols = self.text(
            "# Aliases for symbols, used by symbol_request().",
            |module, text| {
                module
                    .symbols
                    .iter()
                    .try_for_each(|symbol| writeln!(text, "alias symbol:{symbol} {}", module.name))
            },
        );
        let soft = self.text(
            "# Soft dependencies extracted from modules themselves.",
            |module, text| {
                module
                    .softdeps
                    .iter()
                    .try_for_each(|line| writeln!(text, "softdep {} {line}", module.name))
            },
        );
        let weak = self.text(
            "# Weak dependencies extracted from modules themselves.",
            |module, text| {
                module
                    .weakdeps
                    .iter()
                    .try_for_each(|line| writeln!(text, "weakdep {} {line}", module.name))
            },
        );
        let nodes = self.text(
            "# Device nodes to trigger on-demand module loading.",
            |module, text| {
                device_node(module).map_or(Ok(()), |node| writeln!(text, "{} {node}", module.name))
            },
        );
        vec![
            ("modules.dep", dependencies.into_bytes()),
            ("modules.alias", aliases),
            ("modules.symbols", symbols),
            ("modules.softdep", soft),
            ("modules.weakdep", weak),
            ("modules.devname", nodes),
        ]
    }

    /// What kmod reads.
    fn binary_files(
        &self,
        dependencies: &[String],
    ) -> Result<Vec<(&'static str, Vec<u8>)>, TooLarge> {
        let (mut dependency, mut alias, mut symbol) =
            (Trie::default(), Trie::default(), Trie::default());
        for ((module, line), priority) in self.modules.iter().zip(dependencies).zip(0..) {
            let name = module.name.as_str();
            dependency.insert(name, line, priority);
            module
                .aliases
                .iter()
                .for_each(|text| alias.insert(normalised(text), name, priority));
            module
                .symbols
                .iter()
                .for_each(|text| symbol.insert(format!("symbol:{text}"), name, priority));
        }
        let (mut builtin, mut builtin_alias) = (Trie::default(), Trie::default());
        self.builtin
            .iter()
            .for_each(|name| builtin.insert(name.as_str(), "", 0));
        self.builtin_aliases
            .iter()
            .for_each(|(text, name)| builtin_alias.insert(text.as_str(), name, 0));
        Ok(vec![
            ("modules.dep.bin", dependency.encode()?),
            ("modules.alias.bin", alias.encode()?),
            ("modules.symbols.bin", symbol.encode()?),
            ("modules.builtin.bin", builtin.encode()?),
            ("modules.builtin.alias.bin", builtin_alias.encode()?),
        ])
    }

    /// A text file: a heading, then what `lines` writes for each module.
    fn text(
        &self,
        heading: &str,
        lines: impl Fn(&Module, &mut String) -> std::fmt::Result,
    ) -> Vec<u8> {
        let mut text = format!("{heading}\n");
        for module in &self.modules {
            lines(module, &mut text).expect("writing to a String cannot fail");
        }
        text.into_bytes()
    }

    /// Positions of the modules this one depends on directly. Names that are no module of this kernel (built in,
    /// since) are left out, as depmod does.
    pub(super) fn direct(&self, at: usize) -> impl Iterator<Item = usize> {
        self.modules[at]
            .depends
            .iter()
            .filter_map(|name| self.by_name.get(underscored(name).as_str()).copied())
    }

    /// Lines of `modules.dep`: a path and those of everything it needs, dependants before what they depend on.
    fn dependency_lines(&self) -> Vec<String> {
        let direct: Vec<Vec<usize>> = (0..self.modules.len())
            .map(|at| self.direct(at).collect())
            .collect();
        let rank = ranks(&direct);
        // `seen[x] == at` while collecting for `at`.
        let mut seen = vec![usize::MAX; self.modules.len()];
        let line = |at: usize| {
            seen[at] = at;
            let mut needed = Vec::new();
            let mut stack = vec![at];
            while let Some(next) = stack.pop() {
                for &below in &direct[next] {
                    if seen[below] != at {
                        seen[below] = at;
                        needed.push(below);
                        stack.push(below);
                    }
                }
            }
            needed.sort_by_key(|&below| std::cmp::Reverse(rank[below]));
            let mut line = format!("{}:", self.modules[at].path);
            for below in needed {
                line.push(' ');
                line.push_str(&self.modules[below].path);
            }
            line
        };
        (0..self.modules.len()).map(line).collect()
    }
}

/// A number for each module that is larger than those of everything it depends on (if there are no cycles).
fn ranks(direct: &[Vec<usize>]) -> Vec<usize> {
    let mut rank = vec![usize::MAX; direct.len()];
    let mut entered = vec![false; direct.len()];
    let mut next = 0;
    for root in 0..direct.len() {
        // A module, and whether everything below it is done.
        let mut stack = vec![(root, false)];
        while let Some((at, done)) = stack.pop() {
            if done {
                rank[at] = next;
                next += 1;
            } else if !std::mem::replace(&mut entered[at], true) {
                stack.push((at, true));
                stack.extend(direct[at].iter().rev().map(|&below| (below, false)));
            }
        }
    }
    rank
}

/// `NUL`-separated `module.alias=...` among other keys.
fn builtin_aliases(modinfo: &[u8]) -> Vec<(String, String)> {
    let lines = modinfo
        .split(|&byte| byte == 0)
        .map(String::from_utf8_lossy);
    let alias = |line: std::borrow::Cow<'_, str>| {
        let (key, value) = line.split_once('=')?;
        let name = key.strip_suffix(".alias")?;
        Some((normalised(value), underscored(name)))
    };
    lines.filter_map(alias).collect()
}

/// `NAME c10:200`-like line of a module that wants a device node before it is loaded.
fn device_node(module: &Module) -> Option<String> {
    let name = module
        .aliases
        .iter()
        .find_map(|alias| alias.strip_prefix("devname:"))?;
    let number = |alias: &String, kind: &str| {
        let (major, minor) = alias.strip_prefix(kind)?.split_once('-')?;
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    };
    module.aliases.iter().find_map(|alias| {
        let (kind, (major, minor)) = number(alias, "char-major-")
            .map(|number| ('c', number))
            .or_else(|| number(alias, "block-major-").map(|number| ('b', number)))?;
        Some(format!("{name} {kind}{major}:{minor}"))
    })
}

/// `-` and `_` are one in module names.
pub(super) fn underscored(name: &str) -> String {
    name.replace('-', "_")
}

/// An alias as kmod compares it: underscores for dashes, but not within brackets, where a dash means a range.
pub(super) fn normalised(alias: &str) -> String {
    let mut brackets = false;
    let normal = |c: char| {
        match c {
            '[' => brackets = true,
            ']' => brackets = false,
            '-' if !brackets => return '_',
            _ => {}
        }
        c
    };
    alias.chars().map(normal).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &str, depends: &[&str], aliases: &[&str]) -> Module {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let (name, path) = (module::name(path), path.to_owned());
        Module {
            path,
            name,
            depends: owned(depends),
            aliases: owned(aliases),
            ..Module::default()
        }
    }

    fn file(index: &Index<'_>, name: &str) -> String {
        let files = index.files().unwrap();
        let file = files.into_iter().find(|file| file.0 == name).unwrap();
        String::from_utf8(file.1).unwrap()
    }

    #[test]
    fn dependencies_are_transitive_and_leaves_come_last() {
        let modules = [
            module("kernel/a.ko.xz", &["b-one", "c", "built-in"], &[]),
            module("kernel/b-one.ko.xz", &["d"], &[]),
            module("kernel/c.ko.xz", &["b_one"], &[]),
            module("kernel/d.ko.xz", &[], &[]),
            module("kernel/x.ko.xz", &["y"], &[]),
            module("kernel/y.ko.xz", &["x"], &[]),
            module("updates/d.ko.xz", &[], &[]),
        ];
        let index = Index::new(&modules, "kernel/c.ko\nkernel/a.ko\nkernel/d.ko\n", "", b"");
        assert_eq!(
            file(&index, "modules.dep"),
            "\
kernel/c.ko.xz: kernel/b-one.ko.xz updates/d.ko.xz
kernel/a.ko.xz: kernel/c.ko.xz kernel/b-one.ko.xz updates/d.ko.xz
kernel/b-one.ko.xz: updates/d.ko.xz
kernel/x.ko.xz: kernel/y.ko.xz
kernel/y.ko.xz: kernel/x.ko.xz
updates/d.ko.xz:
"
        );
    }

    #[test]
    fn device_nodes_need_name_and_number() {
        let modules = [
            module("tun.ko", &[], &["devname:net/tun", "char-major-10-200"]),
            module("loop.ko", &[], &["block-major-7-0", "devname:loop-control"]),
            module("all.ko", &[], &["char-major-10-*", "devname:x"]),
        ];
        let index = Index::new(&modules, "", "", b"");
        let expected = "# Device nodes to trigger on-demand module loading.\nloop loop-control b7:0\ntun net/tun c10:200\n";
        assert_eq!(file(&index, "modules.devname"), expected);
    }

    #[test]
    fn dashes_in_aliases() {
        assert_eq!(normalised("acpi*:PNP0A-[0-9]*-x"), "acpi*:PNP0A_[0-9]*_x");
        let builtin =
            builtin_aliases(b"ext-4.license=GPL\0ext-4.alias=fs-ext4\0broken\0ext4.alias\0");
        assert_eq!(builtin, [("fs_ext4".to_owned(), "ext_4".to_owned())]);
    }
}
