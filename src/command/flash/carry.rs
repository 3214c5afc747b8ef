//! Carrying out what was agreed to, on all targets side by side.

use std::path::PathBuf;
use std::thread;

use prejoin_disk::session::Agreed;
use prejoin_disk::write::Written;
use serde_json::{Value, json};

use super::ask::User;
use super::failed;
use super::image::Image;
use super::meter::Took;
use crate::command::disk::look;
use crate::failure::Failure;

/// What became of one target.
pub(crate) struct Outcome {
    pub(crate) node: String,
    pub(crate) path: String,
    pub(crate) written: Option<Written>,
    pub(crate) failure: Option<Failure>,
    pub(crate) phases: Vec<Took>,
    /// Where the old tables are.
    pub(crate) saved: Option<PathBuf>,
    /// Why the kernel does not use the new table, if so.
    pub(crate) kernel: Option<String>,
}

impl Outcome {
    /// As JSON.
    pub(crate) fn document(&self) -> Value {
        let words = self
            .failure
            .as_ref()
            .map(|failure| (failure.number(), failure.words()));
        json!({
            "result": self.written,
            "phases": self.phases,
            "saved": self.saved,
            "kernel": self.kernel,
            "error": words.map(|(code, (message, hint))| json!({"exit_code": code, "message": message, "hint": hint})),
        })
    }
}

/// Writes all targets.
pub(crate) fn carry_all(agreed: Vec<Agreed>, image: &Image, user: &User) -> Vec<Outcome> {
    thread::scope(|scope| {
        let spawn = |agreed| scope.spawn(move || carry(agreed, image, user));
        let threads: Vec<_> = agreed.into_iter().map(spawn).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a writer does not panic"))
            .collect()
    })
}

fn carry(agreed: Agreed, image: &Image, user: &User) -> Outcome {
    let path = agreed.disk().to_owned();
    let (written, failure, saved, kernel) = match agreed.write(user) {
        Ok(written) => (
            Some(written.report),
            None,
            Some(written.saved),
            written.kernel,
        ),
        Err(stopped) => {
            let failure = failed::stopped(&stopped, image).of(&path);
            (None, Some(failure), stopped.saved, stopped.kernel)
        }
    };
    Outcome {
        node: image.manifest.node.clone(),
        written,
        failure,
        phases: user.finish(&path),
        saved,
        kernel: kernel.as_ref().map(look::stale),
        path,
    }
}
