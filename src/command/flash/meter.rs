//! Progress of one target: a bar, and how long each phase took.

use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use prejoin_disk::write::{Event, Phase};
use prejoin_wire::printable::printable;
use serde::Serialize;

use crate::settings::Stopwatch;

const BYTES: &str =
    "{prefix} {msg:>10} [{wide_bar}] {bytes}/{total_bytes} {binary_bytes_per_sec}, {eta} left";
const PLAIN: &str = "{prefix} {msg}";

/// How much was done in a phase, and how long it took.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Took {
    pub(crate) phase: Phase,
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
}

/// Follows the events of one writer.
pub(crate) struct Meter {
    bar: ProgressBar,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    took: Vec<Took>,
    current: Option<Current>,
}

/// The portion of a phase that is under way.
struct Current {
    phase: Phase,
    watch: Stopwatch,
    done: u64,
}

impl Meter {
    /// A bar below those of other targets.
    pub(crate) fn new(bars: &MultiProgress, name: &str) -> Self {
        let bar = bars.add(
            ProgressBar::new(0)
                .with_style(style(PLAIN))
                .with_prefix(printable(name).into_owned()),
        );
        Meter {
            bar,
            state: Mutex::default(),
        }
    }

    /// Shows one event.
    pub(crate) fn show(&self, event: Event) {
        match event {
            Event::Begin { phase, total } => {
                self.settle();
                self.state().current = Some(Current {
                    phase,
                    watch: Stopwatch::start(),
                    done: 0,
                });
                self.bar
                    .set_style(style(if total > 0 { BYTES } else { PLAIN }));
                self.bar.set_message(phase.to_string());
                self.bar.set_length(total);
                self.bar.reset();
            }
            // What only a cache has is not done.
            Event::Progress { done, .. } => {
                if let Some(current) = &mut self.state().current {
                    current.done = done;
                }
                self.bar.set_position(done);
            }
            Event::Repair { phase, spot } => {
                self.bar.println(format!("{phase}: {spot} is written anew"))
            }
            Event::End { .. } => self.settle(),
        }
    }

    /// Takes the bar away, and says how long each phase took.
    pub(crate) fn finish(&self) -> Vec<Took> {
        self.settle();
        self.bar.finish_and_clear();
        self.state().took.clone()
    }

    /// Adds the portion that has ended to its phase.
    fn settle(&self) {
        let mut state = self.state();
        let Some(Current { phase, watch, done }) = state.current.take() else {
            return;
        };
        let seconds = watch.elapsed().as_secs_f64();
        match state.took.iter_mut().find(|took| took.phase == phase) {
            Some(took) => (took.bytes, took.seconds) = (took.bytes + done, took.seconds + seconds),
            None => state.took.push(Took {
                phase,
                bytes: done,
                seconds,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the template is a constant")
        .progress_chars("=> ")
}
