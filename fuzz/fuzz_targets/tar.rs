//! The payload of a package: the input is `data.tar`, whose header checksums are made to fit.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use prejoin_formats::tree::Kind;
use prejoin_fuzz::Nowhere;
use prejoin_image_builder::tree::assemble::{Filter, assemble};
use prejoin_image_builder::debian::deb::{self, Limits};

const CONTROL: &[u8] = b"Package: a\nVersion: 1\nArchitecture: all\n";

fuzz_target!(|bytes: &[u8]| {
    let mut data = bytes.to_vec();
    for block in data.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
        seal(block);
    }
    let mut control = vec![0; 512];
    control[..7].copy_from_slice(b"control");
    control[124..127].copy_from_slice(format!("{:03o}", CONTROL.len()).as_bytes());
    control[156] = b'0';
    seal(&mut control);
    control.extend(CONTROL);
    control.resize(512 * 4, 0);

    let mut package = b"!<arch>\n".to_vec();
    for (name, bytes) in [("debian-binary", &b"2.0\n"[..]), ("control.tar", &control), ("data.tar", &data)] {
        package.extend(format!("{name:16}{:12}{:6}{:6}{:8}{:<10}`\n", 0, 0, 0, 100_644, bytes.len()).bytes());
        package.extend(bytes);
        package.resize(package.len().next_multiple_of(2), b'\n');
    }
    let limits = Limits {
        unpacked: 4 << 20,
        control: 1 << 20,
        control_file: 64 << 10,
        entries: 1000,
        ratio: 100,
        memory: 8 << 20,
        threads: 1,
    };
    let Ok(package) = deb::read(&package[..], &limits, &mut Nowhere) else { return };
    let mut paths = BTreeSet::new();
    for (path, entry) in &package.entries {
        assert!(path.split(|&byte| byte == b'/').all(|part| !matches!(part, b"" | b"." | b"..")));
        assert!(paths.insert(path) || entry.kind == Kind::Directory, "a path twice");
    }
    if let Ok(assembled) = assemble(&[&package], &Filter::new(["usr/share/doc/**"], ["**/copyright"])) {
        let size = prejoin_formats::ext4::recommended_size(&assembled.tree);
        let options = prejoin_formats::ext4::Options::new(size.min(64 << 20), [1; 16]);
        let _ = prejoin_formats::ext4::plan(&assembled.tree, &options);
    }
});

/// Writes the checksum of a header.
fn seal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}
