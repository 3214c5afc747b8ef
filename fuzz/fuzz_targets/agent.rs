//! What the agent reads before there is a system: the identity archive, its own lists, a partition's beginning, the
//! kernel command line. Its modules are private to a program, so they are included by path.
#![no_main]

#[allow(dead_code)]
#[path = "../../firmware/agent/src/archive.rs"]
mod archive;
#[allow(dead_code)]
#[path = "../../firmware/agent/src/cmdline.rs"]
mod cmdline;
#[allow(dead_code)]
#[path = "../../firmware/agent/src/superblock.rs"]
mod superblock;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(archive) = archive::Archive::parse(bytes) {
        for entry in &archive.entries {
            let (steps, name) = entry.path.steps();
            assert!(steps.iter().chain([&name]).all(|step| !step.is_empty() && *step != ".." && *step != "."));
            assert!(!steps.iter().any(|step| step.as_encoded_bytes().contains(&b'/')));
        }
        let files = archive.files();
        assert_eq!(archive::unlist(&archive::list(&files)), files, "the list round-trips");
    }
    let _ = archive::unlist(bytes);
    let _ = superblock::any(bytes);
    let _ = superblock::ext4(bytes, bytes);
    let line = String::from_utf8_lossy(bytes);
    let _ = (cmdline::Target::parse(&line), cmdline::Options::parse(&line));
});
