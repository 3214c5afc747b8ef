//! The boot report in the kernel log, the rescue screen on the consoles.
#![expect(
    clippy::disallowed_methods,
    reason = "kernel log and consoles are devices"
)]

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Mutex, PoisonError, TryLockError};
use std::thread::sleep;
use std::time::Duration;

use prejoin_sys::{clock, process};

use crate::VERSION;
use crate::cmdline::Options;
use crate::error::Error;
use crate::rescue::{self, Context};

use super::root;

/// Seconds until the restart after a failure, if the boot loader has another slot to try.
const FALLBACK: u64 = 10;
/// Seconds until the restart after a failure, if one was asked for.
const REBOOT: u64 = 60;
/// Do not become this process's controlling terminal; do not wait for a carrier or for a full buffer.
const CONSOLE_FLAGS: i32 = 0o400 | 0o4000;

/// What the panic hook needs: it cannot borrow anything.
static EMERGENCY: Mutex<Emergency> = Mutex::new(Emergency {
    consoles: Vec::new(),
    context: None,
});

struct Emergency {
    consoles: Vec<File>,
    context: Option<Context>,
}

/// The steps so far and what they took.
#[derive(Debug)]
pub(super) struct Log {
    steps: Vec<(&'static str, Duration)>,
    context: Context,
}

impl Log {
    /// Begins the report.
    pub(super) fn start() -> Self {
        let log = Log {
            steps: Vec::new(),
            context: Context {
                kernel: process::kernel_release(),
                ..Context::default()
            },
        };
        log.share();
        log
    }

    /// Begins a step: its name in the report, and what is being done, for the rescue screen.
    pub(super) fn begin(&mut self, name: &'static str, doing: &str) {
        self.steps.push((name, clock::uptime()));
        self.context.step = doing.to_owned();
        self.share();
    }

    /// Takes over what the command line says about consoles and failures. Consoles are opened now: they stay usable
    /// when `/dev` has moved.
    pub(super) fn configure(&mut self, options: &Options) {
        self.context.restart = match options {
            Options { fallback: true, .. } => Some(FALLBACK),
            Options { reboot: true, .. } => Some(REBOOT),
            _ => None,
        };
        self.share();
        emergency(|emergency| emergency.consoles = open_consoles(&options.consoles));
        self.say(&format!("prejoin-agent {VERSION}"));
        for option in &options.unknown {
            self.say(&format!(
                "ignoring `{option}` on the command line: no such option or value"
            ));
        }
    }

    /// Notes the node's name.
    pub(super) fn node(&mut self, name: &str) {
        self.context.node = Some(name.to_owned());
        self.share();
    }

    /// Writes a line to the kernel log.
    pub(super) fn say(&self, text: &str) {
        say(text);
    }

    /// Says how long the boot took, step by step.
    pub(super) fn report(&self, slot: char) {
        let now = clock::uptime();
        let ends = self
            .steps
            .iter()
            .skip(1)
            .map(|(_, start)| *start)
            .chain([now]);
        let times: Vec<String> = self
            .steps
            .iter()
            .zip(ends)
            .map(|((name, start), end)| {
                format!("{name} {}", end.saturating_sub(*start).as_millis())
            })
            .collect();
        let first = self.steps.first().map_or(now, |(_, start)| *start);
        let node = self.context.node.as_deref().unwrap_or("?");
        let total = now.saturating_sub(first).as_millis();
        self.say(&format!(
            "node {node}, slot {slot}: handing over after {total} ms ({})",
            times.join(", ")
        ));
    }

    /// Shows what went wrong, and waits or restarts.
    pub(super) fn rescue(mut self, error: &Error) -> ! {
        self.context.corrupted = root::corrupted();
        self.share();
        self.say(&format!("{} failed: {error}", self.context.step));
        let screen = rescue::screen(&self.context, error);
        emergency(|emergency| show(&mut emergency.consoles, &screen));
        end(self.context.restart)
    }

    fn share(&self) {
        let context = self.context.clone();
        emergency(|emergency| emergency.context = Some(context));
    }
}

/// Makes a panic end in the rescue screen: with `panic = "abort"` process 1 would otherwise take the kernel with it.
pub(super) fn catch_panics() {
    std::panic::set_hook(Box::new(|info| {
        let what = info.to_string();
        say(&what);
        let show_panic = |emergency: &mut Emergency| {
            let context = emergency.context.clone().unwrap_or_default();
            show(&mut emergency.consoles, &rescue::panic(&context, &what));
            context.restart
        };
        // Whoever panicked may hold the lock.
        let restart = match EMERGENCY.try_lock() {
            Ok(mut emergency) => show_panic(&mut emergency),
            Err(TryLockError::Poisoned(emergency)) => show_panic(&mut emergency.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        end(restart)
    }));
}

fn emergency<T>(work: impl FnOnce(&mut Emergency) -> T) -> T {
    work(&mut EMERGENCY.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Bytes of a line: the kernel refuses records of more than 1024.
const LONGEST_LINE: usize = 900;

/// The log is opened for every line: the kernel lets ten lines through for each opener and drops the rest
/// (`kernel/printk/printk.c`, `devkmsg_write`). A line that cannot be written is lost.
fn say(text: &str) {
    let mut line = text.replace('\n', " | ");
    line.truncate(line.floor_char_boundary(LONGEST_LINE));
    if let Ok(mut log) = File::options().write(true).open("/dev/kmsg") {
        let _ = log.write_all(format!("<5>prejoin: {line}").as_bytes());
    }
}

/// Every console of the command line, or else the one the kernel chose, and the screen if there is one (a machine whose
/// console is a serial line may have somebody in front of it).
fn open_consoles(names: &[String]) -> Vec<File> {
    let open = |name: &str| {
        let path = format!("/dev/{name}");
        File::options()
            .write(true)
            .custom_flags(CONSOLE_FLAGS)
            .open(path)
            .ok()
    };
    let mut consoles: Vec<File> = names.iter().filter_map(|name| open(name)).collect();
    if consoles.is_empty() {
        consoles.extend(open("console"));
    }
    if !names.iter().any(|name| name.starts_with("tty0")) {
        consoles.extend(open("tty0"));
    }
    consoles
}

fn show(consoles: &mut Vec<File>, text: &str) {
    if consoles.is_empty() {
        *consoles = open_consoles(&[]);
    }
    for console in consoles {
        write_slowly(console, text.as_bytes());
    }
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

fn end(restart: Option<u64>) -> ! {
    process::sync();
    if let Some(seconds) = restart {
        sleep(Duration::from_secs(seconds));
        let error = process::reboot();
        say(&format!("restarting: {error}"));
    }
    loop {
        process::reap();
        sleep(Duration::from_secs(1));
    }
}
