//! What somebody in front of a node that did not boot can do.
//!
//! By lines and not by keys: a serial line and a screen both deliver them without being set up, and noise is rarely a
//! letter with a line end.

use std::fmt::Write as _;
use std::time::Duration;

/// How long a restart that was announced waits for somebody who has typed something.
const THINKING: Duration = Duration::from_secs(300);

/// One of the things to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The step that failed, again.
    Retry,
    /// ... with what is damaged repaired as far as possible.
    Repair,
    /// ... with a new file system.
    Make,
    /// Show the kernel's last messages.
    Messages,
    Restart,
    PowerOff,
}

/// What can be done whatever went wrong. No shell: the initramfs has none, and it would make root of whoever brings a
/// keyboard.
const ALWAYS: [Choice; 3] = [Choice::Messages, Choice::Restart, Choice::PowerOff];

impl Choice {
    fn letter(self) -> &'static str {
        match self {
            Choice::Retry => "t",
            Choice::Repair => "r",
            Choice::Make => "f",
            Choice::Messages => "m",
            Choice::Restart => "b",
            Choice::PowerOff => "o",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Choice::Retry => "try again",
            Choice::Repair => "repair the file system; what is damaged may be lost",
            Choice::Make => "make a new file system; all that is on it is lost",
            Choice::Messages => "show the last messages of the kernel",
            Choice::Restart => "restart",
            Choice::PowerOff => "switch off",
        }
    }

    /// What has to be typed so that nobody loses data by a slip.
    fn word(self) -> Option<&'static str> {
        match self {
            Choice::Repair => Some("repair"),
            Choice::Make => Some("format"),
            _ => None,
        }
    }
}

/// What comes of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// This was chosen.
    Do(Choice),
    /// This is to be shown.
    Say(String),
}

/// The things to choose from, and what was typed so far.
#[derive(Clone, Debug)]
pub(crate) struct Menu {
    offered: Vec<Choice>,
    /// Chosen, and waiting for its word.
    asked: Option<Choice>,
    /// When the machine restarts by itself.
    restart: Option<Duration>,
}

impl Menu {
    /// Offers what helps against the error, and what always can be done. `restart` is the time when the machine restarts
    /// by itself.
    pub(crate) fn new(choices: &[Choice], restart: Option<Duration>) -> Self {
        Menu {
            offered: choices.iter().copied().chain(ALWAYS).collect(),
            asked: None,
            restart,
        }
    }

    /// What can be typed.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for choice in &self.offered {
            let _ = writeln!(text, "  {}  {}", choice.letter(), choice.text());
        }
        text
    }

    /// Takes a line that was typed at `now`.
    pub(crate) fn line(&mut self, line: &str, now: Duration) -> Answer {
        self.restart = self.restart.map(|restart| restart.max(now + THINKING));
        let line = line.trim().to_ascii_lowercase();
        if let Some(choice) = self.asked.take() {
            if choice.word() == Some(line.as_str()) {
                return Answer::Do(choice);
            }
            return Answer::Say(format!("Nothing was done.\n{}", self.text()));
        }
        let chosen = self.offered.iter().find(|choice| choice.letter() == line);
        match chosen.copied().map(|choice| (choice, choice.word())) {
            Some((choice, None)) => Answer::Do(choice),
            Some((choice, Some(word))) => {
                self.asked = Some(choice);
                let text = choice.text();
                Answer::Say(format!(
                    "To {text}: type the word {word}, then Enter. Anything else does nothing.\n"
                ))
            }
            None => Answer::Say(self.text()),
        }
    }

    /// Whether the time has come to restart.
    pub(crate) fn is_over(&self, now: Duration) -> bool {
        self.restart.is_some_and(|restart| now >= restart)
    }
}

/// A record of the kernel log as a line (kernel `Documentation/ABI/testing/dev-kmsg`): `6,339,5140900,-;text`, where the
/// third number counts microseconds. In ASCII: nothing drives the terminal.
pub(crate) fn message(record: &[u8]) -> Option<String> {
    const LONGEST: usize = 200;
    let record = record.split(|&byte| byte == b'\n').next()?;
    let at = record.iter().position(|&byte| byte == b';')?;
    let (head, text) = (std::str::from_utf8(&record[..at]).ok()?, &record[at + 1..]);
    let time: u64 = head.split(',').nth(2)?.parse().ok()?;
    let plain = |&byte: &u8| match byte {
        b' '..=b'~' => byte as char,
        _ => '?',
    };
    let text: String = text.iter().take(LONGEST).map(plain).collect();
    Some(format!(
        "[{:5}.{:06}] {text}",
        time / 1_000_000,
        time % 1_000_000
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn said(menu: &mut Menu, line: &str) -> String {
        match menu.line(line, NOW) {
            Answer::Say(text) => text,
            Answer::Do(choice) => panic!("{line:?} does {choice:?}"),
        }
    }

    #[test]
    fn data_goes_only_by_its_word() {
        let mut menu = Menu::new(&[Choice::Repair, Choice::Make], None);
        for (letter, word, choice) in [
            ("f", "format", Choice::Make),
            (" R\r", " Repair ", Choice::Repair),
        ] {
            assert!(said(&mut menu, letter).contains("does nothing"));
            assert_eq!(menu.line(word, NOW), Answer::Do(choice));
            // The word of the other, the letter again, an empty line: all the same.
            for other in ["f", "r", "", "yes"] {
                said(&mut menu, letter);
                assert!(said(&mut menu, other).starts_with("Nothing was done."));
            }
            // The word alone is no choice.
            assert_eq!(said(&mut menu, word), menu.text());
        }
    }

    #[test]
    fn nothing_is_chosen_that_is_not_offered() {
        let mut menu = Menu::new(&[Choice::Retry], None);
        assert_eq!(menu.line("t", NOW), Answer::Do(Choice::Retry));
        assert_eq!(menu.line("m", NOW), Answer::Do(Choice::Messages));
        assert_eq!(menu.line("b", NOW), Answer::Do(Choice::Restart));
        assert_eq!(menu.line("o", NOW), Answer::Do(Choice::PowerOff));
        for line in ["f", "r", "format", "", "\u{1b}[A", "tt"] {
            assert_eq!(said(&mut menu, line), menu.text());
        }
        assert_eq!(
            menu.text(),
            "  t  try again\n  m  show the last messages of the kernel\n  b  restart\n  o  switch off\n"
        );
    }

    #[test]
    fn a_restart_waits_for_whoever_types() {
        let at = |seconds| Duration::from_secs(seconds);
        let mut menu = Menu::new(&[], Some(at(110)));
        assert!(!menu.is_over(at(109)) && menu.is_over(at(110)));
        said(&mut menu, "?");
        assert!(!menu.is_over(at(399)) && menu.is_over(at(400)));
        assert!(!Menu::new(&[], None).is_over(at(1 << 40)));
    }

    #[test]
    fn kernel_messages_are_plain() {
        let record = b"6,339,5140900,-;NET: \x1b[2J\xc3\xa9 registered\n SUBSYSTEM=net\n";
        let line = "[    5.140900] NET: ?[2J?? registered";
        assert_eq!(message(record).as_deref(), Some(line));
        for record in [&b""[..], b"6,1,2", b"6,1;x", b"6,1,x,-;x", b";"] {
            assert_eq!(message(record), None);
        }
        assert!(
            message(&[b"6,1,2,-;".as_slice(), &[b'x'; 9000]].concat())
                .unwrap()
                .len()
                < 230
        );
    }
}
