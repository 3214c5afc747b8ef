//! Hash devices, judged by veritysetup.
#![expect(
    clippy::disallowed_methods,
    reason = "strangers judge, and strangers read files"
)]

mod tools;

use prejoin_formats::verity::{BLOCK, Superblock, Verity, hash_size, leaf, zero_leaf};
use tools::{Noise, have, run, run_any};
use uuid::Uuid;

const SALT: [u8; 32] = *b"0123456789abcdefghijklmnopqrstuv";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn veritysetup_makes_the_same_bytes_and_accepts_ours() {
    if !have(&["veritysetup"]) {
        return;
    }
    let uuid: Uuid = "c0ffee00-1234-5678-9abc-def012345678".parse().unwrap();
    for blocks in [1usize, 2, 128, 129, 20_000] {
        let mut data = Noise::new(blocks as u64).bytes(blocks * BLOCK);
        if blocks > 100 {
            data[50 * BLOCK..90 * BLOCK].fill(0);
        }
        let zero = zero_leaf(&SALT);
        let leaves = data.as_chunks::<BLOCK>().0.iter();
        let leaves = leaves
            .map(|block| {
                if *block == [0; BLOCK] {
                    zero
                } else {
                    leaf(&SALT, block)
                }
            })
            .collect();
        let ours = Verity::from_leaves(leaves, &SALT, uuid);
        assert_eq!(ours.bytes.len() as u64, hash_size(data.len() as u64));

        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let (data_file, hash_file, their_file) = (path("data"), path("hash"), path("theirs"));
        std::fs::write(&data_file, &data).unwrap();
        std::fs::write(&hash_file, &ours.bytes).unwrap();
        let salt = format!("--salt={}", hex(&SALT));
        let said = run(
            "veritysetup",
            &[
                "format",
                &salt,
                &format!("--uuid={uuid}"),
                &data_file,
                &their_file,
            ],
        );
        assert!(
            said.contains(&hex(&ours.root_hash)),
            "{blocks} blocks: {said}"
        );
        let mut theirs = std::fs::read(&their_file).unwrap();
        theirs.resize(ours.bytes.len().max(theirs.len()), 0);
        assert!(
            theirs == ours.bytes,
            "{blocks} blocks: the hash devices differ"
        );

        run(
            "veritysetup",
            &["verify", &data_file, &hash_file, &hex(&ours.root_hash)],
        );
        let dump = run("veritysetup", &["dump", &hash_file]);
        let superblock = Superblock::parse(&ours.bytes).unwrap();
        assert!(
            dump.contains(&superblock.uuid.to_string()) && dump.contains(&hex(&superblock.salt)),
            "{dump}"
        );
        data[blocks * BLOCK - 1] ^= 1;
        std::fs::write(&data_file, &data).unwrap();
        assert_ne!(
            run_any(
                "veritysetup",
                &["verify", &data_file, &hash_file, &hex(&ours.root_hash)]
            )
            .0,
            Some(0)
        );
    }
}
