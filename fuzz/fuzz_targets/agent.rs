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
#[path = "../../firmware/agent/src/menu.rs"]
mod menu;
#[allow(dead_code)]
#[path = "../../firmware/agent/src/superblock.rs"]
mod superblock;

use libfuzzer_sys::fuzz_target;
use prejoin_wire::handoff::{Format, Partition};
use uuid::Uuid;

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
    // The bytes stand at every place that is looked at.
    let read = |_, buffer: &mut [u8]| {
        let length = bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        Ok(())
    };
    for (format, is_partial) in [(Format::Ext4, false), (Format::Ext4, true), (Format::Xfs, false)] {
        let uuid = Uuid::from_bytes([5; 16]);
        let wanted = Partition { name: String::new(), type_guid: uuid, guid: uuid, size: None, min_size: None, format, uuid };
        let content = superblock::look(read, 1 << 40, &wanted, is_partial).unwrap();
        let step = content.step(is_partial, superblock::Remedy::None);
        assert!(is_partial || step != superblock::Step::Make, "formatted unasked");
    }
    if let Some(message) = menu::message(bytes) {
        assert!(message.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{message:?}");
    }
    let line = String::from_utf8_lossy(bytes);
    let mut menu = menu::Menu::new(&[menu::Choice::Make], None);
    for line in line.lines() {
        let _ = menu.line(line, std::time::Duration::ZERO);
    }
    let _ = (cmdline::Target::parse(&line), cmdline::Options::parse(&line));
});
