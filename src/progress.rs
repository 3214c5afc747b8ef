//! Progress bars for long work. They vanish when the work is done, and are not drawn where stderr is no terminal.

use std::collections::BTreeMap;
use std::sync::Mutex;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use prejoin_image_builder::events::Event;
use prejoin_profiles::printable::printable;

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

impl Progress {
    /// Nothing is shown until something happens.
    pub(crate) fn new() -> Self {
        Progress {
            bars: MultiProgress::new(),
            state: Mutex::new(State::default()),
        }
    }

    /// Shows one event.
    pub(crate) fn show(&self, event: Event) {
        let mut state = self.state.lock().expect("drawing does not panic");
        match event {
            Event::Downloads { bytes, .. } if bytes > 0 => {
                state.finished = 0;
                let bar = self.bar(DOWNLOADING, bytes, true);
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
                let bytes = doing != "unpacking";
                let bar = state
                    .work
                    .entry(doing)
                    .or_insert_with(|| self.bar(doing, total, bytes));
                bar.set_length(total);
                bar.set_message(printable(&name).into_owned());
                bar.set_position(done);
            }
            Event::Retry {
                name,
                attempt,
                reason,
            } => self.say(&format!("{name}: attempt {attempt} failed: {reason}")),
            Event::Warning { message } => self.say(&format!("warning: {message}")),
            _ => {}
        }
    }

    /// A line above the bars, or plain on stderr where there are none.
    pub(crate) fn say(&self, line: &str) {
        self.bars.suspend(|| terminal::talk(line, Form::Plain));
    }

    /// Takes all bars away.
    pub(crate) fn clear(&self) {
        let mut state = self.state.lock().expect("drawing does not panic");
        for bar in state.work.values() {
            bar.finish_and_clear();
        }
        state.work.clear();
    }

    fn bar(&self, doing: &'static str, total: u64, bytes: bool) -> ProgressBar {
        let template = if bytes {
            "{prefix:>12} [{bar:30}] {bytes}/{total_bytes} {binary_bytes_per_sec} {wide_msg}"
        } else {
            "{prefix:>12} [{bar:30}] {pos}/{len} {wide_msg}"
        };
        let style = ProgressStyle::with_template(template)
            .expect("the template is a constant")
            .progress_chars("=> ");
        self.bars
            .add(ProgressBar::new(total).with_style(style).with_prefix(doing))
    }
}
