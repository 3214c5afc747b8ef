//! Progress bars for long work. They vanish when the work is done, and are not drawn where stderr is no terminal.
//!
//! Whatever is drawn fits a terminal of 80 columns, and something moves even while nothing is counted.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use prejoin_image_builder::events::Event;
use prejoin_wire::printable::printable;

use crate::terminal::{self, Form};

/// Draws events.
pub(crate) struct Progress {
    bars: MultiProgress,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// One bar for each kind of work.
    work: BTreeMap<&'static str, ProgressBar>,
    /// Bytes done of each running download.
    downloads: BTreeMap<String, u64>,
    finished: u64,
}

const DOWNLOADING: &str = "downloading";

/// Work that is counted in bytes, in other things, and not at all.
const BYTES: &str =
    "{spinner} {prefix:>11} [{bar:20}] {bytes}/{total_bytes} {binary_bytes_per_sec} {wide_msg}";
const COUNT: &str = "{spinner} {prefix:>11} [{bar:20}] {pos}/{len} {wide_msg}";
const BUSY: &str = "{spinner} {prefix:>11} {elapsed} {wide_msg}";
/// How often something moves.
const TICK: Duration = Duration::from_millis(200);

impl Progress {
    /// Nothing is shown until something happens.
    pub(crate) fn new() -> Self {
        Progress::on(MultiProgress::new())
    }

    fn on(bars: MultiProgress) -> Self {
        Progress {
            bars,
            state: Mutex::new(State::default()),
        }
    }

    /// Shows one event.
    pub(crate) fn show(&self, event: Event) {
        let mut state = self.state.lock().expect("drawing does not panic");
        match event {
            Event::Downloads { bytes, .. } if bytes > 0 => {
                state.finished = 0;
                let bar = self.bar(DOWNLOADING, bytes, BYTES);
                state.work.insert(DOWNLOADING, bar);
            }
            Event::Downloads { .. } => {}
            Event::Download { name, done, total } => {
                if done >= total {
                    state.downloads.remove(&name);
                    state.finished += total;
                } else {
                    state.downloads.insert(name.clone(), done);
                }
                let sum = state.finished + state.downloads.values().sum::<u64>();
                if let Some(bar) = state.work.get(DOWNLOADING) {
                    bar.set_message(printable(&name).into_owned());
                    bar.set_position(sum);
                }
            }
            Event::Progress {
                doing,
                name,
                done,
                total,
            } => {
                let template = match doing {
                    "unpacking" | "pinning" => COUNT,
                    _ => BYTES,
                };
                let bar = state
                    .work
                    .entry(doing)
                    .or_insert_with(|| self.bar(doing, total, template));
                bar.set_length(total);
                bar.set_message(printable(&name).into_owned());
                bar.set_position(done);
            }
            Event::Retry {
                name,
                attempt,
                reason,
            } => self.say(&format!("{name}: attempt {attempt} failed: {reason}")),
            Event::Waiting { folder } => self.say(&format!(
                "waiting for another prejoin that uses {}",
                folder.display()
            )),
            Event::Warning { message } => self.say(&format!("warning: {message}")),
            _ => {}
        }
    }

    /// Says what goes on, and for how long, until the bars are taken away: work of which nobody knows how much is left.
    pub(crate) fn busy(&self, doing: &'static str, what: impl Into<String>) {
        let mut state = self.state.lock().expect("drawing does not panic");
        let bar = state
            .work
            .entry(doing)
            .or_insert_with(|| self.bar(doing, 0, BUSY));
        bar.set_message(what.into());
    }

    /// A line above the bars, or plain on stderr where there are none.
    pub(crate) fn say(&self, line: &str) {
        self.bars.suspend(|| terminal::talk(line, Form::Plain));
    }

    /// Takes all bars away.
    pub(crate) fn clear(&self) {
        let Ok(mut state) = self.state.lock() else {
            return;
        };
        for bar in state.work.values() {
            bar.finish_and_clear();
        }
        state.work.clear();
    }

    fn bar(&self, doing: &'static str, total: u64, template: &str) -> ProgressBar {
        let style = ProgressStyle::with_template(template)
            .expect("the template is a constant")
            .progress_chars("=> ");
        let bar = ProgressBar::new(total).with_style(style).with_prefix(doing);
        let bar = self.bars.add(bar);
        bar.enable_steady_tick(TICK);
        bar
    }
}

impl Drop for Progress {
    /// Nothing stays behind on the terminal when an error ends the work.
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use indicatif::{ProgressDrawTarget, TermLike};

    use super::*;

    /// A terminal of 80 columns that keeps what was written to it.
    #[derive(Clone, Debug, Default)]
    struct Terminal(Arc<Mutex<String>>);

    impl Terminal {
        fn put(&self, text: &str) -> io::Result<()> {
            self.0.lock().expect("no writer panics").push_str(text);
            Ok(())
        }
    }

    impl TermLike for Terminal {
        fn width(&self) -> u16 {
            80
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            self.put("\n")
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            self.put("\n")
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            self.put("\n")
        }
        fn write_line(&self, line: &str) -> io::Result<()> {
            self.put(&format!("{line}\n"))
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.put(text)
        }
        fn clear_line(&self) -> io::Result<()> {
            self.put("\n")
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is drawn for one event.
    fn drawn(show: impl FnOnce(&Progress)) -> String {
        let terminal = Terminal::default();
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(terminal.clone()), 255);
        let progress = Progress::on(MultiProgress::with_draw_target(target));
        show(&progress);
        terminal.0.lock().expect("no writer panics").clone()
    }

    #[test]
    fn what_is_drawn_fits_80_columns() {
        let name = "linux-image-6.12.117+deb13-amd64 and a name that is longer still";
        let event = |doing| Event::Progress {
            doing,
            name: name.to_owned(),
            done: (1023 << 20) + 900_000,
            total: (1023 << 20) + 999_999,
        };
        for doing in ["exporting", "unpacking", "verifying"] {
            // Twice: what is drawn with the name has the position of before.
            let text = drawn(|progress| (0..2).for_each(|_| progress.show(event(doing))));
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(text.contains(doing), "{text}");
            assert!(widest <= Some(80), "{text}");
            assert!(text.contains("linux-"), "the name is gone: {text}");
        }
    }

    #[test]
    fn work_that_nobody_counts_is_named() {
        let text = drawn(|progress| progress.busy("building", "debian-13/rpi5"));
        assert!(
            text.contains("building") && text.contains("debian-13/rpi5"),
            "{text}"
        );
    }
}
