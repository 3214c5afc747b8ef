//! What is said when a node does not boot.

use std::fmt::Write as _;

use crate::VERSION;
use crate::error::Error;
use crate::menu::Menu;

/// Columns of the narrowest console.
const WIDTH: usize = 80;

/// What is known about the boot when it fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Context {
    /// The step that failed, as "opening the root partition".
    pub(crate) step: String,
    /// The node's name, once known.
    pub(crate) node: Option<String>,
    /// Kernel release.
    pub(crate) kernel: String,
    /// The root partition, if dm-verity has found a block in it that does not match its hash.
    pub(crate) corrupted: Option<String>,
    /// Seconds until the restart; `None` waits.
    pub(crate) restart: Option<u64>,
}

/// The rescue screen for an error, in ASCII, at most 80 columns wide.
pub(crate) fn screen(context: &Context, error: &Error, menu: &Menu) -> String {
    let mut why = error.to_string();
    let mut hint = error.hint().to_owned();
    if let Some(device) = &context.corrupted {
        why = format!(
            "the content of {device} does not match the root hash this boot entry vouches for; nothing of what does \
             not match was used. ({why})"
        );
        hint = "The system on this disk was damaged or changed, or it belongs to another boot entry. If the \
                boot menu has another entry, choose that; otherwise write the image again. If it happens again, the disk is failing: replace it."
            .to_owned();
    }
    let end = match context.restart {
        Some(seconds) => {
            format!("The machine restarts in {seconds} seconds. Type a letter, then Enter:")
        }
        None => "The machine waits. Type a letter, then Enter:".to_owned(),
    };
    let end = format!("{end}\n{}", menu.text());
    text(context, &why, &hint, &end)
}

/// The rescue screen for a bug of ours.
pub(crate) fn panic(context: &Context, what: &str) -> String {
    text(
        context,
        &format!("the agent has a bug: {what}"),
        "Please report it, with a picture of this screen.",
        &match context.restart {
            Some(seconds) => format!("The machine restarts in {seconds} seconds.\n"),
            None => "The machine waits. Switch it off, or restart it (Ctrl-Alt-Del).\n".to_owned(),
        },
    )
}

fn text(context: &Context, why: &str, hint: &str, end: &str) -> String {
    let rule = "=".repeat(WIDTH - 1);
    let mut text = format!("\n{rule}\nThis node did not boot.\n\n");
    paragraph(&mut text, "What failed:  ", &context.step);
    paragraph(&mut text, "Why:          ", why);
    paragraph(&mut text, "What to do:   ", hint);
    let node = context.node.as_deref().unwrap_or("not known yet");
    paragraph(&mut text, "Node:         ", node);
    paragraph(
        &mut text,
        "Versions:     ",
        &format!("prejoin-agent {VERSION}, kernel {}", context.kernel),
    );
    let _ = writeln!(text, "\n{end}{rule}");
    text
}

/// Writes `words` after a label, wrapped and indented to its width.
fn paragraph(text: &mut String, label: &str, words: &str) {
    let indent = " ".repeat(label.len());
    let mut column = label.len();
    text.push_str(label);
    let mut first = true;
    // What comes off a disk must not drive the terminal, and a serial console may know no UTF-8.
    let plain = |c: char| if c.is_ascii_graphic() { c } else { '?' };
    for word in words.split_whitespace() {
        let word: String = word.chars().map(plain).collect();
        if !first && column + 1 + word.len() >= WIDTH {
            text.push('\n');
            text.push_str(&indent);
            column = indent.len();
            first = true;
        }
        if !first {
            text.push(' ');
            column += 1;
        }
        column += word.len();
        text.push_str(&word);
        first = false;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use prejoin_disk::layout::Error as Problem;

    use super::*;
    use crate::layout;

    fn context() -> Context {
        Context {
            step: "making the partitions".to_owned(),
            node: Some("worker-1".to_owned()),
            kernel: "6.12.117+deb13-amd64".to_owned(),
            ..Context::default()
        }
    }

    #[test]
    fn says_what_failed_why_and_what_to_do() {
        let full = prejoin_disk::layout::Error::Full {
            name: "state".to_owned(),
            needed: 1024,
            free: 12,
        };
        let error = Error::Layout {
            disk: "/dev/vda".to_owned(),
            source: full.into(),
        };
        let expected = format!(
            "
===============================================================================
This node did not boot.

What failed:  making the partitions
Why:          /dev/vda: partition `state` needs 1024 MiB, and the disk has 12
              MiB left
What to do:   Use a larger disk, or ask for smaller partitions in cluster.yaml
              and write the image again.
Node:         worker-1
Versions:     prejoin-agent {VERSION}, kernel 6.12.117+deb13-amd64

The machine waits. Type a letter, then Enter:
  m  show the last messages of the kernel
  b  restart
  o  switch off
===============================================================================
"
        );
        let menu = Menu::new(error.choices(), None);
        assert_eq!(screen(&context(), &error, &menu), expected);
    }

    #[test]
    fn corruption_is_named_before_the_error_it_led_to() {
        let error = Error::Io {
            doing: "mounting".to_owned(),
            source: std::io::ErrorKind::InvalidData.into(),
        };
        let context = Context {
            corrupted: Some("/dev/vda2".to_owned()),
            restart: Some(10),
            ..context()
        };
        let screen = screen(&context, &error, &Menu::new(&[], None));
        assert!(
            screen.contains("content of /dev/vda2 does not match the root hash"),
            "{screen}"
        );
        assert!(screen.contains("restarts in 10 seconds"));
    }

    #[test]
    fn nothing_off_a_disk_drives_the_terminal() {
        let name = "\u{1b}[2J\u{7}é".to_owned();
        let source = layout::Error::Table(Problem::Full {
            name,
            needed: 1024,
            free: 0,
        });
        let screen = screen(
            &context(),
            &Error::Layout {
                disk: "/dev/vda".to_owned(),
                source,
            },
            &Menu::new(&[], None),
        );
        assert!(
            screen
                .bytes()
                .all(|byte| byte == b'\n' || byte == b' ' || byte.is_ascii_graphic()),
            "{screen:?}"
        );
        assert!(screen.lines().all(|line| line.len() < WIDTH));
        let long = Error::Ambiguous {
            wanted: String::new(),
            disks: "x".repeat(300),
        };
        assert!(
            super::screen(&context(), &long, &Menu::new(long.choices(), None))
                .contains(&"x".repeat(300))
        );
    }
}
