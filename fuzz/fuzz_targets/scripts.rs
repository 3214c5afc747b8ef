//! A maintainer script, held against the table of known ones.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use prejoin_image_builder::package::Package;
use prejoin_image_builder::debian::scripts::{recognise, rest};
use prejoin_profiles::scripts::Table;

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::built_in("debian-13"));

fuzz_target!(|bytes: &[u8]| {
    let name = "linux-image-6.12.117+deb13-amd64";
    let package = Package { name: name.into(), version: "6.12.117-1".into(), ..Package::default() };
    for script in ["postinst", "triggers"] {
        if let Ok(findings) = recognise(&package, script, bytes, &TABLE) {
            // What is recognised never carries anything that a shell would act upon.
            for word in findings.iter().filter(|_| script == "postinst").flat_map(|finding| &finding.words) {
                assert!(!word.contains(['$', '`', ';', '&', '|', '(', '<', '>', '\n']), "{word}");
            }
        }
    }
    let text = String::from_utf8_lossy(bytes);
    let once = rest(&text, name, "6.12.117-1");
    let _ = rest(&once, name, "6.12.117-1");
});
