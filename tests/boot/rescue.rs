//! A state that does not begin as it should is left as it is until somebody at the keyboard says what becomes of it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use prejoin_formats::gpt;

use crate::cluster::lab;
use crate::qemu::{self, Machine};
use crate::tools::{folder, say};

/// What the agent says when it is done.
const DONE: &str = "handing over after";
const MIB: u64 = 1 << 20;
/// Destroys the first superblock and its first copy, and leaves the next one.
const DESTROYED: u64 = 256 * MIB;

#[test]
fn a_damaged_state_is_formatted_by_a_word_alone() {
    if qemu::absent() {
        return;
    }
    let Some(lab) = lab() else { return };
    qemu::fresh("rescue");
    let disk = lab.disk("pc", "rescue", 80 << 30);
    let (address, mac) = ("10.0.2.15", "52:54:00:12:34:15");
    say("rescue: the first start makes the state");
    let mut machine = Machine::pc(&disk, address, mac, &[]);
    machine.wait_for(&[DONE]);
    drop(machine);

    let file = File::options().read(true).write(true).open(&disk).unwrap();
    let state = state(&file);
    let noise: Vec<u8> = (0..MIB).map(|at| ((at * at) >> 7) as u8 | 1).collect();
    for at in (0..DESTROYED).step_by(MIB as usize) {
        file.write_all_at(&noise, state + at).unwrap();
    }

    say("rescue: the second start finds noise in it");
    let socket = folder("consoles").join("rescue.qmp");
    let qmp = format!("unix:{},server=on,wait=off", socket.display());
    let mut machine = Machine::pc(&disk, address, mac, &["-qmp".to_owned(), qmp]);
    let seen = machine.wait_for(&["o  switch off", DONE]);
    assert!(seen.contains("before block 98304 are lost"), "{seen}");
    let mut keyboard = Keyboard::connect(&socket);
    for (typed, expected) in [("f", "type the word format"), ("yes", "Nothing was done.")] {
        keyboard.line(typed);
        machine.wait_for(&[expected]);
    }
    let mut found = vec![0; noise.len()];
    for at in [0, DESTROYED - MIB] {
        file.read_exact_at(&mut found, state + at).unwrap();
        assert!(found == noise, "something was written at {at}");
    }
    keyboard.line("f");
    keyboard.line("format");
    machine.wait_for(&[DONE]);
}

/// Where the state begins, by the table that the node has made.
fn state(disk: &File) -> u64 {
    let size = disk.metadata().unwrap().len();
    let found = gpt::read(|at, buffer| disk.read_exact_at(buffer, at), size, 512).unwrap();
    let partitions = &found.table.partitions;
    partitions.iter().find(|p| p.name == "state").unwrap().start
}

/// The machine's keyboard, by the emulator's own protocol (QEMU Machine Protocol).
struct Keyboard(BufReader<UnixStream>);

impl Keyboard {
    fn connect(socket: &Path) -> Self {
        let mut keyboard = Keyboard(BufReader::new(UnixStream::connect(socket).unwrap()));
        keyboard.answer("QMP");
        keyboard.execute(r#"{"execute":"qmp_capabilities"}"#);
        keyboard
    }

    fn line(&mut self, text: &str) {
        for key in text.chars().map(String::from).chain(["ret".to_owned()]) {
            self.execute(&format!(
                r#"{{"execute":"send-key","arguments":{{"keys":[{{"type":"qcode","data":"{key}"}}]}}}}"#
            ));
            // A key is held for 100 ms; the next one meanwhile would be lost.
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
    }

    fn execute(&mut self, command: &str) {
        writeln!(self.0.get_mut(), "{command}").unwrap();
        self.answer("return");
    }

    /// Reads until a line has the word: events come between answers.
    fn answer(&mut self, word: &str) {
        let mut line = String::new();
        while !line.contains(&format!("\"{word}\"")) {
            line.clear();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "no answer");
            assert!(!line.contains("\"error\""), "{line}");
        }
    }
}
