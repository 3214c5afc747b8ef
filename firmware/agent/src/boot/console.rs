//! The consoles: where the rescue screen goes, and where somebody answers.
#![expect(clippy::disallowed_methods, reason = "consoles are devices")]

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::thread::sleep;
use std::time::Duration;

use prejoin_sys::clock;

use crate::menu;

/// Do not become this process's controlling terminal; do not wait for a carrier, a full buffer, or somebody who types.
const FLAGS: i32 = 0o400 | 0o4000;
/// Longest line that somebody types; what is longer is noise.
const LONGEST: usize = 80;
/// Messages of the kernel that are shown: a screen full.
const SHOWN: usize = 40;

/// All that are there.
pub(super) struct Consoles(Vec<Console>);

struct Console {
    file: File,
    typed: Vec<u8>,
}

impl Consoles {
    pub(super) const NONE: Consoles = Consoles(Vec::new());

    /// Every console of the command line, or else the one the kernel chose, and the screen if there is one (a machine
    /// whose console is a serial line may have somebody in front of it).
    pub(super) fn open(names: &[String]) -> Self {
        let mut consoles: Vec<Console> = names.iter().filter_map(|name| open(name)).collect();
        if consoles.is_empty() {
            consoles.extend(open("console"));
        }
        if !names.iter().any(|name| name.starts_with("tty0")) {
            consoles.extend(open("tty0"));
        }
        Consoles(consoles)
    }

    /// Writes a text to all of them.
    pub(super) fn show(&mut self, text: &str) {
        if self.0.is_empty() {
            *self = Consoles::open(&[]);
        }
        for console in &mut self.0 {
            write_slowly(&mut console.file, text.as_bytes());
        }
    }

    /// The lines that were typed since.
    pub(super) fn lines(&mut self) -> Vec<String> {
        self.0.iter_mut().flat_map(Console::lines).collect()
    }
}

impl Console {
    /// A terminal that nobody has set up delivers whole lines, and echoes what is typed (termios(3), `ICANON`). One that
    /// hangs up, or was opened for writing alone, delivers errors, which say nothing.
    fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut buffer = [0; 256];
        // One read: a line that never falls silent must not hold up the rest.
        let length = self.file.read(&mut buffer).unwrap_or(0);
        for &byte in &buffer[..length] {
            if matches!(byte, b'\n' | b'\r') {
                let line = std::mem::take(&mut self.typed);
                lines.push(String::from_utf8_lossy(&line).into_owned());
            } else if self.typed.len() < LONGEST {
                self.typed.push(byte);
            }
        }
        lines
    }
}

fn open(name: &str) -> Option<Console> {
    let path = format!("/dev/{name}");
    let open = |read| {
        let mut options = File::options();
        options.read(read).write(true).custom_flags(FLAGS);
        options.open(&path).ok()
    };
    // A console that takes no input still shows.
    let file = open(true).or_else(|| open(false))?;
    Some(Console {
        file,
        typed: Vec::new(),
    })
}

/// Writes what a slow line takes within ten seconds; one that is held up must not hold up the restart.
fn write_slowly(console: &mut File, mut bytes: &[u8]) {
    let end = clock::uptime() + Duration::from_secs(10);
    while !bytes.is_empty() && clock::uptime() < end {
        match console.write(bytes) {
            Ok(0) => return,
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(Duration::from_millis(20)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// The last messages of the kernel, each on a line.
pub(super) fn messages() -> String {
    const RECORDS: usize = 1 << 20;
    let mut last = VecDeque::new();
    let log = File::options()
        .read(true)
        .custom_flags(FLAGS)
        .open("/dev/kmsg");
    let mut log = match log {
        Ok(log) => log,
        Err(error) => return format!("reading the kernel log: {error}\n"),
    };
    // A record a read (kernel Documentation/ABI/testing/dev-kmsg).
    let mut record = vec![0; 8192];
    for _ in 0..RECORDS {
        match log.read(&mut record) {
            Ok(length) => last.extend(menu::message(&record[..length])),
            // Overwritten meanwhile: the next read is at the oldest that is left.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(_) => break,
        }
        if last.len() > SHOWN {
            last.pop_front();
        }
    }
    last.into_iter().map(|line| line + "\n").collect()
}
