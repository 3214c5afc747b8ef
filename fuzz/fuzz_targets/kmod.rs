//! Kernel modules, and the indexes made of what they say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prejoin_formats::kmod::{Index, Module};

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut module) = Module::parse("kernel/fs/a-b.ko.xz", bytes) else { return };
    let other =
        Module { path: "kernel/c.ko".into(), name: "c".into(), depends: vec![module.name.clone()], ..module.clone() };
    module.depends.push("c".into());
    let names: Vec<String> = module.aliases.iter().chain(&module.softdeps).cloned().collect();
    let modules = [module, other];
    let index = Index::new(&modules, "kernel/c.ko\n", "kernel/d.ko\n", bytes);
    let _ = index.files();
    for name in names.iter().map(String::as_str).chain(["a_b", "c", "d"]) {
        if let Ok(paths) = index.closure(&[name]) {
            assert!(paths.len() <= modules.len());
        }
    }
});
