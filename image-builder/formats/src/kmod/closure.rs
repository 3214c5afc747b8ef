//! Which modules to load, and in what order.

use super::index::{Index, normalised, underscored};

/// Names that are neither a module nor an alias nor built in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this kernel has no module {}", names.join(", "))]
pub struct Missing {
    /// The names, in the order they were asked for.
    pub names: Vec<String>,
}

/// What a name stands for.
enum Found {
    Modules(Vec<usize>),
    Builtin,
    Nothing,
}

/// A module that is still to be looked at, or to be put on the list now that everything before it is there.
enum Step {
    Enter(usize),
    Emit(usize),
}

impl Index<'_> {
    /// Paths of everything needed for `wanted` (module names or aliases), in the order to load them.
    ///
    /// Soft dependencies count: `pre:` before a module, `post:` after it. They name *aliases* (`ext4` asks for
    /// `crc32c`, which several modules offer) and may name what this kernel does not have. An alias stands for every
    /// module that claims it; what is built in is there already.
    pub fn closure(&self, wanted: &[&str]) -> Result<Vec<&str>, Missing> {
        let mut missing = Vec::new();
        let mut entered = vec![false; self.modules.len()];
        let mut paths = Vec::new();
        for &name in wanted {
            match self.find(name) {
                Found::Modules(modules) => {
                    modules
                        .into_iter()
                        .for_each(|module| self.load(module, &mut entered, &mut paths));
                }
                Found::Builtin => {}
                Found::Nothing => missing.push(name.to_owned()),
            }
        }
        if missing.is_empty() {
            Ok(paths)
        } else {
            Err(Missing { names: missing })
        }
    }

    fn load<'s>(&'s self, module: usize, entered: &mut [bool], paths: &mut Vec<&'s str>) {
        let mut stack = vec![Step::Enter(module)];
        while let Some(step) = stack.pop() {
            match step {
                Step::Emit(at) => paths.push(&self.modules[at].path),
                Step::Enter(at) if !std::mem::replace(&mut entered[at], true) => {
                    let (before, after) = self.soft(at);
                    stack.extend(after.into_iter().rev().map(Step::Enter));
                    stack.push(Step::Emit(at));
                    let before: Vec<_> = before.into_iter().chain(self.direct(at)).collect();
                    stack.extend(before.into_iter().rev().map(Step::Enter));
                }
                Step::Enter(_) => {}
            }
        }
    }

    /// Modules a module's soft dependencies stand for: those to load before it and those after it.
    fn soft(&self, at: usize) -> (Vec<usize>, Vec<usize>) {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for line in &self.modules[at].softdeps {
            let mut list = None;
            for word in line.split_whitespace() {
                match word {
                    "pre:" => list = Some(&mut before),
                    "post:" => list = Some(&mut after),
                    _ => {
                        if let (Some(list), Found::Modules(modules)) = (&mut list, self.find(word))
                        {
                            list.extend(modules);
                        }
                    }
                }
            }
        }
        (before, after)
    }

    /// Looks a name up as modprobe does: modules, then what is built in, then aliases.
    fn find(&self, name: &str) -> Found {
        let plain = underscored(name);
        if let Some(&module) = self.by_name.get(plain.as_str()) {
            return Found::Modules(vec![module]);
        }
        if self.builtin.contains(&plain) {
            return Found::Builtin;
        }
        let name = normalised(name);
        let claims = |at: &usize| {
            self.modules[*at]
                .aliases
                .iter()
                .any(|alias| matches(alias, &name))
        };
        let modules: Vec<usize> = (0..self.modules.len()).filter(claims).collect();
        let builtin = || {
            self.builtin_aliases
                .iter()
                .any(|(alias, _)| matches(alias, &name))
        };
        match modules.is_empty() {
            false => Found::Modules(modules),
            true if builtin() => Found::Builtin,
            true => Found::Nothing,
        }
    }
}

/// Whether an alias, which may be a pattern, covers a (normalised) name.
fn matches(alias: &str, name: &str) -> bool {
    // Most aliases differ in the first bytes: look before making a normalised copy.
    let dashless = |byte: &u8| if *byte == b'-' { b'_' } else { *byte };
    for (a, n) in alias.as_bytes().iter().zip(name.as_bytes()) {
        match a {
            b'*' | b'?' | b'[' => break,
            a if dashless(a) != *n => return false,
            _ => {}
        }
    }
    glob(normalised(alias).as_bytes(), name.as_bytes())
}

/// `fnmatch(3)` with `*`, `?` and `[...]`; time is bounded by the product of both lengths.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on after the last `*` if what follows it does not match.
    let mut again: Option<(usize, usize)> = None;
    while t < text.len() {
        let one = match pattern.get(p) {
            Some(b'*') => {
                again = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some(b'?') => Some(1),
            Some(b'[') => class(&pattern[p..], text[t]),
            Some(&literal) => (literal == text[t]).then_some(1),
            None => None,
        };
        match (one, again) {
            (Some(length), _) => (p, t) = (p + length, t + 1),
            (None, Some((after, from))) => {
                again = Some((after, from + 1));
                (p, t) = (after, from + 1);
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// Length of a `[...]` at the start of `pattern` if it covers `byte`.
fn class(pattern: &[u8], byte: u8) -> Option<usize> {
    let end = pattern.iter().skip(2).position(|&byte| byte == b']')? + 2;
    let members = &pattern[1..end];
    let (negated, members) = match members.split_first() {
        Some((b'!' | b'^', rest)) => (true, rest),
        _ => (false, members),
    };
    let mut at = 0;
    let mut covered = false;
    while at < members.len() {
        if members.get(at + 1) == Some(&b'-') && at + 2 < members.len() {
            covered |= (members[at]..=members[at + 2]).contains(&byte);
            at += 3;
        } else {
            covered |= members[at] == byte;
            at += 1;
        }
    }
    (covered != negated).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kmod::Module;

    fn module(name: &str, depends: &[&str], aliases: &[&str], softdeps: &[&str]) -> Module {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Module {
            path: format!("kernel/{name}.ko"),
            name: name.to_owned(),
            depends: owned(depends),
            aliases: owned(aliases),
            softdeps: owned(softdeps),
            ..Module::default()
        }
    }

    #[test]
    fn soft_dependencies_name_aliases() {
        let modules = [
            module(
                "ext4",
                &["jbd2", "mbcache"],
                &["fs-ext4"],
                &["pre: crc32c pre: gone"],
            ),
            module("jbd2", &[], &[], &["post: later"]),
            module("mbcache", &[], &[], &[]),
            module(
                "crc32c_intel",
                &[],
                &["crc32c", "cpu:type:x86,ven*feature:*0094*"],
                &[],
            ),
            module(
                "crc32c_generic",
                &["libcrc"],
                &["crypto-crc32c", "crc32c"],
                &[],
            ),
            module("libcrc", &[], &[], &[]),
            module("later", &["ext4"], &[], &[]),
        ];
        let order: String = modules
            .iter()
            .map(|module| format!("{}\n", module.path))
            .collect();
        let index = Index::new(
            &modules,
            &order,
            "kernel/fs/built-in.ko\n",
            b"built_in.alias=fs-in-*\0",
        );
        let names = |wanted: &[&str]| {
            let strip = |path: &str| path["kernel/".len()..path.len() - 3].to_owned();
            index
                .closure(wanted)
                .map(|paths| paths.into_iter().map(strip).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(
            names(&["ext4"]).unwrap(),
            "crc32c_intel libcrc crc32c_generic jbd2 later mbcache ext4"
        );
        assert_eq!(names(&["fs_ext4"]), names(&["ext4"]));
        assert_eq!(
            names(&["built_in", "fs-in-x", "mbcache", "mbcache"]).unwrap(),
            "mbcache"
        );
        assert_eq!(
            names(&["cpu:type:x86,ven0000fam6mod55:feature:,0093,0094,"]).unwrap(),
            "crc32c_intel"
        );
        let missing = names(&["nope", "mbcache", "fs-nope"]).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "this kernel has no module nope, fs-nope"
        );
    }

    #[test]
    fn patterns() {
        let cases = [
            (
                "pci:v00008086d*sv*sd*bc*sc*i*",
                "pci:v00008086d0000100Esv1sd2bc02sc00i00",
                true,
            ),
            ("pci:v00008086d*", "pci:v00008087d1", false),
            ("a[0-9b]?c", "a5xc", true),
            ("a[0-9b]?c", "abxc", true),
            ("a[!0-9]", "a5", false),
            ("a[!0-9]", "ax", true),
            ("a[", "a[", false),
            ("*a*b", "xxaxxabxb", true),
            ("*a*b", "xxaxxabx", false),
            ("", "", true),
            ("*", "", true),
            ("", "x", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(
                glob(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        assert!(!glob(&b"*a".repeat(100), &b"ab".repeat(1000)));
    }
}
