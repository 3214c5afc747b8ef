//! A package index, and what the resolver makes of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prejoin_image_builder::debian::repository::{Index, Universe};
use prejoin_image_builder::debian::resolve::{Request, Wanted, resolve};
use prejoin_wire::architecture::Architecture;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let indexes = [Index { repository: "main".into(), archive: "debian".into(), priority: 500, text: text.into() }];
    let Ok(universe) = Universe::new(&indexes, Architecture::Amd64) else { return };
    let mut wanted = Vec::new();
    for number in 0..universe.len() as u32 {
        let entry = universe.entry(number);
        let _ = (entry.depends(), entry.recommends(), entry.conflicts(), entry.rank());
        if let Ok(file) = entry.file() {
            assert!(!file.path.starts_with('/') && !file.path.split('/').any(|part| part == ".."));
        }
        wanted.push(Wanted::name(entry.name));
    }
    for recommends in [false, true] {
        let request = Request { wanted: wanted.clone(), recommends, ..Request::default() };
        if let Ok(resolution) = resolve(&universe, &request) {
            assert!(resolution.packages.len() <= universe.len());
            resolution.packages.keys().for_each(|name| drop(resolution.chain(name)));
        }
    }
});
