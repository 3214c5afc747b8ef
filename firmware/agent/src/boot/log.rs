//! The boot report in the kernel log, the rescue screen on the consoles.
#![expect(clippy::disallowed_methods, reason = "the kernel log is a device")]

use std::fs::File;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError, TryLockError};
use std::thread::sleep;
use std::time::Duration;

use prejoin_sys::{clock, process};
use prejoin_wire::role::Slot;

use crate::VERSION;
use crate::cmdline::Options;
use crate::error::Error;
use crate::menu::{Answer, Choice, Menu};
use crate::rescue::{self, Context};

use super::console::{self, Consoles};
use super::root;

/// Seconds until the restart after a failure, if the boot loader has another slot to try.
const FALLBACK: u64 = 10;
/// Seconds until the restart after a failure, if one was asked for.
const REBOOT: u64 = 60;
/// Time between two looks at what was typed.
const PAUSE: Duration = Duration::from_millis(100);

/// What the panic hook needs: it cannot borrow anything.
static EMERGENCY: Mutex<Emergency> = Mutex::new(Emergency {
    consoles: Consoles::NONE,
    context: None,
});

struct Emergency {
    consoles: Consoles,
    context: Option<Context>,
}

/// The steps so far and what they took.
#[derive(Debug)]
pub(super) struct Log {
    steps: Vec<(&'static str, Duration)>,
    context: Context,
    /// The root partition, once it is open.
    root: Option<String>,
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
            root: None,
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
        emergency(|emergency| emergency.consoles = Consoles::open(&options.consoles));
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

    /// Notes which partition the root file system is on.
    pub(super) fn root(&mut self, partition: &str) {
        self.root = Some(partition.to_owned());
    }

    /// Writes a line to the kernel log.
    pub(super) fn say(&self, text: &str) {
        say(text);
    }

    /// Says how long the boot took, step by step.
    pub(super) fn report(&self, slot: Slot) {
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
            "node {node}, slot {}: handing over after {total} ms ({})",
            slot.name(),
            times.join(", ")
        ));
    }

    /// Shows what went wrong, and waits or restarts.
    pub(super) fn rescue(mut self, error: &Error) -> ! {
        loop {
            self.ask(error, &[]);
        }
    }

    /// Shows what went wrong and what can be done about it, and does what somebody chooses. Returns one of `choices`;
    /// the others end here.
    pub(super) fn ask(&mut self, error: &Error, choices: &[Choice]) -> Choice {
        self.context.corrupted = self.root.clone().filter(|_| root::is_corrupted());
        self.share();
        self.say(&format!("{} failed: {error}", self.context.step));
        process::sync();
        // What a corrupted root partition leads to is not put right elsewhere.
        let choices = match self.context.corrupted {
            Some(_) => &[],
            None => choices,
        };
        let wait = self.context.restart.map(Duration::from_secs);
        let mut menu = Menu::new(choices, wait.map(|wait| clock::uptime() + wait));
        show(&rescue::screen(&self.context, error, &menu));
        loop {
            sleep(PAUSE);
            process::reap();
            if menu.is_over(clock::uptime()) {
                restart();
            }
            for line in emergency(|emergency| emergency.consoles.lines()) {
                match menu.line(&line, clock::uptime()) {
                    Answer::Say(text) => show(&text),
                    Answer::Do(Choice::Messages) => {
                        show(&format!("{}{}", console::messages(), menu.text()));
                    }
                    Answer::Do(Choice::Restart) => restart(),
                    Answer::Do(Choice::PowerOff) => power_off(),
                    Answer::Do(choice) => {
                        self.say(&format!("{choice:?} was chosen"));
                        return choice;
                    }
                }
            }
        }
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
            emergency.consoles.show(&rescue::panic(&context, &what));
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

fn show(text: &str) {
    emergency(|emergency| emergency.consoles.show(text));
}

fn end(seconds: Option<u64>) -> ! {
    process::sync();
    if let Some(seconds) = seconds {
        sleep(Duration::from_secs(seconds));
        restart();
    }
    loop {
        process::reap();
        sleep(Duration::from_secs(1));
    }
}

fn restart() {
    process::sync();
    let error = process::reboot();
    say(&format!("restarting: {error}"));
}

fn power_off() {
    process::sync();
    let error = process::power_off();
    say(&format!("switching off: {error}"));
}
