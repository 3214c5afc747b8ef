//! A certificate authority of a package, whose subject is hashed; the input is its DER form.
#![no_main]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use prejoin_formats::tree::{Entry, NoContents, Tree};
use prejoin_image_builder::tree::fixups::{self, Context, Root};
use prejoin_image_builder::package::Package;
use prejoin_wire::architecture::Architecture;
use prejoin_profiles::os::Os;
use prejoin_profiles::yaml;

static OS: LazyLock<Os> =
    LazyLock::new(|| yaml::parse("{name: test, description: test}").expect("a well-formed document"));

static PACKAGE: LazyLock<Package> =
    LazyLock::new(|| Package { name: "ca-certificates".into(), version: "1".into(), ..Package::default() });

fuzz_target!(|bytes: &[u8]| {
    let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(bytes));
    let mut tree = Tree::new();
    tree.insert("usr/share/ca-certificates/a.crt", Entry::file(pem.into_bytes(), 0o644));
    let packages = [&*PACKAGE];
    let context = Context {
        os: &OS,
        board: "board",
        architecture: Architecture::Amd64,
        epoch: 1_700_000_000,
        packages: &packages,
    };
    let _ = fixups::apply(&mut Root::new(tree, &NoContents, context.epoch), &context);
});
