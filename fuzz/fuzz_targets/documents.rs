//! The manifests of a system and of a node, an empty line between them: their way back to text, and the disk that they make
//! where every chunk is missing.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use prejoin_store::chunks::ChunkStore;
use prejoin_store::compose::compose;
use prejoin_wire::node::NodeManifest;
use prejoin_wire::system::SystemManifest;

fuzz_target!(|bytes: &[u8]| {
    let middle = bytes.windows(2).position(|pair| pair == b"\n\n");
    let (system, node) = bytes.split_at(middle.unwrap_or(bytes.len()));
    let (system, node) = (SystemManifest::parse(system), NodeManifest::parse(node));
    if let Ok(system) = &system {
        let text = system.to_json();
        assert_eq!(&SystemManifest::parse(text.as_bytes()).expect("what was written is read"), system);
    }
    if let Ok(node) = &node {
        let text = node.to_json();
        assert_eq!(&NodeManifest::parse(text.as_bytes()).expect("what was written is read"), node);
    }
    let (Ok(system), Ok(node)) = (system, node) else { return };
    let store = ChunkStore::open(Path::new("/nonexistent"));
    if let Ok(image) = compose(&system, &node, &store) {
        let total: u64 = image.manifest.ranges.iter().map(|range| range.length()).sum();
        assert_eq!(total, image.manifest.size);
        assert_eq!(image.table.partitions.len(), node.partitions.len());
    }
});
