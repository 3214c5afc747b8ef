//! A cluster file: read, checked, and its findings shown.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use prejoin_profiles::catalog::Catalog;
use prejoin_profiles::check;

static CATALOG: LazyLock<Catalog> = LazyLock::new(Catalog::embedded);

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match check::read(text, &CATALOG) {
        Ok((cluster, warnings)) => {
            let _ = (cluster.api_host(), cluster.api_port(), cluster.api_address());
            check::render(&warnings, "cluster.yaml", text);
        }
        Err(findings) => {
            assert!(!findings.is_empty(), "refused without a reason");
            check::render(&findings, "cluster.yaml", text);
        }
    }
});
