//! A package file, from its outer archive to the tree it becomes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prejoin_fuzz::Nowhere;
use prejoin_image_builder::tree::assemble::{Filter, assemble};
use prejoin_image_builder::debian::deb::{self, Limits};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits {
        unpacked: 4 << 20,
        control: 1 << 20,
        control_file: 64 << 10,
        entries: 1000,
        ratio: 100,
        memory: 8 << 20,
        threads: 1,
    };
    let early = deb::read_control(bytes, &limits);
    let Ok(package) = deb::read(bytes, &limits, &mut Nowhere) else { return };
    assert_eq!(early.expect("control comes before the payload").control, package.control);
    for (path, _) in &package.entries {
        assert!(!path.is_empty() && !path.starts_with(b"/"));
        assert!(path.split(|&byte| byte == b'/').all(|part| !matches!(part, b"" | b"." | b"..")));
    }
    if let Ok(assembled) = assemble(&[&package], &Filter::new(["usr/share/doc/**"], ["**/copyright"])) {
        assert!(assembled.tree.len() <= 1 + package.entries.iter().map(|(path, _)| path.len()).sum::<usize>());
    }
});
