//! A cluster file: read, checked, its findings shown, and a line for its id put into it.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use prejoin_profiles::catalog::Catalog;
use prejoin_profiles::check;
use prejoin_profiles::cluster::{Cluster, with_id};
use uuid::Uuid;

static CATALOG: LazyLock<Catalog> = LazyLock::new(Catalog::embedded);

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let id = Uuid::from_bytes([7; 16]);
    if let (Some(edited), Ok(_)) = (with_id(text, &id), Cluster::parse(text)) {
        let found = Cluster::parse(&edited).expect("a sound file stays one").id;
        assert_eq!(found.map(|id| id.value), Some(id));
    }
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
