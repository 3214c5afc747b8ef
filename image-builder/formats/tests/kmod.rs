//! Module indexes, judged by depmod and modprobe on the modules of a real kernel.
//!
//! The modules are taken from below `$PREJOIN_TEST_MODULES/lib/modules/` (an unpacked kernel package), else from
//! below `/lib/modules/`.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "strangers judge, and strangers read files"
)]

mod tools;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use prejoin_formats::kmod::{Index, Module};
use tools::{Noise, have, run, run_any, skip_if};

/// A copy of a kernel's modules, decompressed, where index files can be written.
struct Kernel {
    base: tempfile::TempDir,
    version: String,
}

impl Kernel {
    fn new() -> Option<Kernel> {
        let given = std::env::var_os("PREJOIN_TEST_MODULES").map(PathBuf::from);
        let roots = given
            .iter()
            .map(|root| root.join("lib/modules"))
            .chain([PathBuf::from("/lib/modules")]);
        let kernels = roots
            .filter_map(|root| std::fs::read_dir(root).ok())
            .flatten()
            .flatten();
        let found = kernels
            .map(|entry| entry.path())
            .find(|path| path.join("kernel").is_dir());
        if !skip_if(
            found.is_none(),
            "no kernel modules, see $PREJOIN_TEST_MODULES",
        ) {
            return None;
        }
        let found = found.unwrap();
        let base = tempfile::tempdir().unwrap();
        let version = found.file_name().unwrap().to_str().unwrap().to_owned();
        let target = base.path().join("lib/modules").join(&version);
        std::fs::create_dir_all(&target).unwrap();
        let all = format!("{}/.", found.to_str().unwrap());
        run("cp", &["-r", &all, target.to_str().unwrap()]);
        let xz = ["-name", "*.ko.xz", "-exec", "xz", "-d", "{}", "+"];
        run("find", &[&[target.to_str().unwrap()], &xz[..]].concat());
        Some(Kernel { base, version })
    }

    fn base(&self) -> &str {
        self.base.path().to_str().unwrap()
    }

    fn directory(&self) -> PathBuf {
        self.base.path().join("lib/modules").join(&self.version)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.directory().join(name)).unwrap()
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    fn modules(&self) -> Vec<Module> {
        let mut modules = Vec::new();
        let mut directories = vec![self.directory()];
        while let Some(directory) = directories.pop() {
            for path in std::fs::read_dir(directory)
                .unwrap()
                .map(|entry| entry.unwrap().path())
            {
                if path.is_dir() {
                    directories.push(path);
                } else if path.extension().is_some_and(|extension| extension == "ko") {
                    let inside = path
                        .strip_prefix(self.directory())
                        .unwrap()
                        .to_str()
                        .unwrap();
                    modules.push(Module::parse(inside, &std::fs::read(&path).unwrap()).unwrap());
                }
            }
        }
        modules
    }

    fn modprobe(&self, arguments: &[&str]) -> (Option<i32>, String) {
        run_any(
            "modprobe",
            &[&["-d", self.base(), "-S", &self.version], arguments].concat(),
        )
    }
}

/// Paths of `modules.dep` and what each needs.
fn dependencies(text: &str) -> BTreeMap<&str, Vec<&str>> {
    let line = |line| -> Option<(&str, Vec<&str>)> {
        let (path, needed) = str::split_once(line, ':')?;
        Some((path, needed.split_whitespace().collect()))
    };
    text.lines().map(|text| line(text).unwrap()).collect()
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn depmod_and_modprobe_agree() {
    if !have(&["depmod", "modprobe", "cp", "find"]) {
        return;
    }
    let Some(kernel) = Kernel::new() else { return };
    let modules = kernel.modules();
    let modinfo = kernel.read("modules.builtin.modinfo");
    let index = Index::new(
        &modules,
        &kernel.text("modules.order"),
        &kernel.text("modules.builtin"),
        &modinfo,
    );
    let ours: BTreeMap<_, _> = index.files().unwrap().into_iter().collect();
    let our_text = |name: &str| std::str::from_utf8(&ours[name]).unwrap();

    run("depmod", &["-b", kernel.base(), &kernel.version]);
    for name in ["modules.alias", "modules.softdep", "modules.devname"] {
        assert_eq!(sorted(our_text(name)), sorted(&kernel.text(name)), "{name}");
    }
    let theirs = kernel.text("modules.symbols");
    let lines = |text| {
        sorted(text)
            .into_iter()
            .map(str::to_owned)
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(lines(our_text("modules.symbols")), lines(&theirs));
    let their_dependencies = kernel.text("modules.dep");
    let (our_dependencies, their_dependencies) = (
        dependencies(our_text("modules.dep")),
        dependencies(&their_dependencies),
    );
    let sets = |map: &BTreeMap<&str, Vec<&str>>| -> Vec<BTreeSet<String>> {
        map.values()
            .map(|needed| needed.iter().map(|&path| path.to_owned()).collect())
            .collect()
    };
    assert!(our_dependencies.keys().eq(their_dependencies.keys()));
    assert_eq!(sets(&our_dependencies), sets(&their_dependencies));
    for (path, needed) in &our_dependencies {
        // Whatever a module needs stands before what that needs in turn.
        for (position, below) in needed.iter().enumerate() {
            assert!(
                !needed[..position]
                    .iter()
                    .any(|above| our_dependencies[below].contains(above)),
                "{path}"
            );
        }
    }
    for name in [
        "modules.builtin.bin",
        "modules.builtin.alias.bin",
        "modules.alias.bin",
    ] {
        assert!(
            ours[name] == kernel.read(name),
            "{name} is not what depmod writes"
        );
    }

    let answers = |kernel: &Kernel| -> Vec<(Option<i32>, BTreeSet<String>)> {
        let mut answers = Vec::new();
        let step = modules.len().div_ceil(50);
        let names = index_names(&modules).step_by(step);
        let aliases = modules
            .iter()
            .step_by(step)
            .filter_map(|module| module.aliases.first());
        let asked = names.map(|name| vec!["--show-depends".to_owned(), name]);
        let asked =
            asked.chain(aliases.map(|alias| vec!["-R".to_owned(), alias.replace('*', "00")]));
        let asked = asked.chain([
            vec!["-R".to_owned(), "crc32c".to_owned()],
            vec!["-R".to_owned(), "nope".to_owned()],
        ]);
        for question in asked {
            let question: Vec<&str> = question.iter().map(String::as_str).collect();
            let (code, text) = kernel.modprobe(&question);
            answers.push((code, text.lines().map(str::to_owned).collect()));
        }
        answers
    };
    let theirs = answers(&kernel);
    assert!(
        theirs.iter().filter(|answer| answer.0 == Some(0)).count() >= 50,
        "{theirs:?}"
    );
    for (name, bytes) in &ours {
        std::fs::write(kernel.directory().join(name), bytes).unwrap();
    }
    assert_eq!(answers(&kernel), theirs);
    check_closures(&kernel, &index, &modules);
}

fn index_names(modules: &[Module]) -> impl Iterator<Item = String> {
    modules.iter().map(|module| module.name.clone())
}

/// Everything modprobe would load is in our closure, and nothing comes before what it needs.
fn check_closures(kernel: &Kernel, index: &Index<'_>, modules: &[Module]) {
    let dependencies_text = kernel.text("modules.dep");
    let dependencies = dependencies(&dependencies_text);
    for name in index_names(modules).step_by(modules.len().div_ceil(100)) {
        let paths = index.closure(&[&name]).unwrap();
        let loaded: BTreeSet<_> = paths.iter().copied().collect();
        assert_eq!(loaded.len(), paths.len(), "{name}: {paths:?}");
        for (position, path) in paths.iter().enumerate() {
            assert!(
                dependencies[path]
                    .iter()
                    .all(|needed| paths[..position].contains(needed)),
                "{name}: {paths:?}"
            );
        }
        let (_, text) = kernel.modprobe(&["--show-depends", &name]);
        let directory = kernel.directory();
        for line in text.lines().filter_map(|line| line.strip_prefix("insmod ")) {
            // What follows the path are options from the configuration of this machine.
            let path = line.split_whitespace().next().unwrap();
            let path = Path::new(path)
                .strip_prefix(&directory)
                .unwrap()
                .to_str()
                .unwrap();
            assert!(
                loaded.contains(path),
                "{name}: modprobe would load {path}, the closure has {paths:?}"
            );
        }
    }
}

#[test]
fn no_mutant_makes_the_reader_panic() {
    let Some(kernel) = Kernel::new() else { return };
    let modules = kernel.modules();
    let smallest = modules
        .iter()
        .filter(|module| !module.symbols.is_empty() && !module.aliases.is_empty());
    let smallest = smallest
        .min_by_key(|module| kernel.read(&module.path).len())
        .unwrap();
    let good = kernel.read(&smallest.path);
    let mut noise = Noise::new(21);
    let mut read = 0;
    let table = usize::try_from(u64::from_le_bytes(good[40..48].try_into().unwrap())).unwrap();
    for _ in 0..20_000 {
        let mut mutant = good.clone();
        let times = 1 + noise.below(5);
        match noise.below(3) {
            0 => noise.spoil(&mut mutant, 50),
            1 => noise.spoil(&mut mutant[..64], times),
            _ => noise.spoil(&mut mutant[table..], times),
        }
        read += u32::from(Module::parse("kernel/x.ko", &mutant).is_ok());
    }
    assert!(read > 1000, "{read}");
}
