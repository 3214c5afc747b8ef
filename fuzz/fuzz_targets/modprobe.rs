//! What `modprobe.d` and the kernel command line say about modules.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prejoin_formats::modprobe::Config;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let mut file = Config::default();
    file.add_file(&text);
    // What is said about modules says the same when it is read again. A name does not begin a comment.
    let names: Vec<&str> = text.split_ascii_whitespace().filter(|name| !name.starts_with('#')).take(100).collect();
    let mut again = Config::default();
    again.add_file(&file.about(names.iter().copied()));
    for name in &names {
        assert_eq!(file.is_left_out(name), again.is_left_out(name));
        assert_eq!(file.parameters(name).is_empty(), again.parameters(name).is_empty());
    }
    file.add_command_line(text.split('\n'));
    assert!(names.iter().all(|name| !file.parameters(name).contains('\0')));
});
