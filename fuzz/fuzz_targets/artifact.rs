//! A fetched program, alone or in a `.tar.gz`, and the digest that a checksum file gives for it.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use prejoin_image_builder::tree::artifact::unpack;
use prejoin_wire::architecture::Architecture;
use prejoin_profiles::distribution::{Wanted, listed};

fn wanted(file: &str, member: &str) -> Wanted {
    Wanted {
        name: "runc".into(),
        version: "v1".into(),
        architecture: Architecture::Amd64,
        url: format!("https://example.org/{file}"),
        checksum: String::new(),
        file: file.into(),
        install: BTreeMap::from([("usr/bin/runc".into(), member.into())]),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let _ = unpack(&wanted("runc", ""), bytes);
    let _ = unpack(&wanted("runc.tar.gz", "bin/runc"), bytes);
    let _ = listed(&String::from_utf8_lossy(bytes), "runc");
});
