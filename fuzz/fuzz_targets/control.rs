//! Control files, the relations and versions in them, and apt's own settings.
#![no_main]

use std::cmp::Ordering;

use libfuzzer_sys::fuzz_target;
use prejoin_image_builder::debian::{control, relation, sources, version};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for stanza in control::stanzas(text) {
        let _ = stanza.check();
        for (name, value) in stanza.fields() {
            assert!(stanza.field(name).is_some(), "{name}");
            if let Ok(groups) = relation::groups(value) {
                let again: Vec<String> = groups.iter().map(|group| relation::display(group)).collect();
                for relation in groups.iter().flatten() {
                    assert!(relation::is_name(relation.name));
                    let _ = (relation.accepts("1:2.3-4"), relation.applies("amd64"));
                }
                relation::groups(&again.join(", ")).expect("what is displayed is a relation");
            }
        }
    }
    for line in text.lines() {
        if let Some((a, b)) = line.split_once(' ') {
            assert_eq!(version::compare(a, b), version::compare(b, a).reverse());
            assert_eq!(version::compare(a, a), Ordering::Equal);
        }
    }
    let _ = (sources::one_line(text), sources::deb822(text), sources::proxy(text));
});
