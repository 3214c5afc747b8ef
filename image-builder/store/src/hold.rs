//! Holding a folder: programs that use it do so side by side, one that clears it up has it alone.
//!
//! The lock is on the folder itself (`flock`), so that it leaves nothing behind, needs no right to write, ends with its
//! program however that ends, and counts between containers that share the folder. Where a file system has no such
//! locks there is none: every file is still written under a name of its own ([`crate::part`]).
#![expect(clippy::disallowed_methods, reason = "locks are on folders")]

use std::fs::{File, TryLockError};
use std::path::Path;

/// A folder that is held until this is dropped.
#[derive(Debug)]
pub struct Hold(#[expect(dead_code, reason = "it is held by being open")] Option<File>);

impl Hold {
    /// Uses the folder beside others who use it. `waiting` is told when it has to wait for one who wants it alone.
    pub fn shared(folder: &Path, waiting: impl FnOnce(&Path)) -> Self {
        Self::take(folder, waiting, File::try_lock_shared, File::lock_shared)
    }

    /// Has the folder alone. `waiting` is told when it has to wait for somebody.
    pub fn alone(folder: &Path, waiting: impl FnOnce(&Path)) -> Self {
        Self::take(folder, waiting, File::try_lock, File::lock)
    }

    fn take(
        folder: &Path,
        waiting: impl FnOnce(&Path),
        now: fn(&File) -> Result<(), TryLockError>,
        wait: fn(&File) -> std::io::Result<()>,
    ) -> Self {
        // A folder that is not there, or not ours to read: whoever opens its files will say so.
        let Ok(file) = File::open(folder) else {
            return Hold(None);
        };
        if let Err(TryLockError::WouldBlock) = now(&file) {
            waiting(folder);
            // It can only fail where the first attempt would have failed otherwise.
            let _ = wait(&file);
        }
        Hold(Some(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    #[test]
    fn whoever_wants_it_alone_waits_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let quiet = |_: &Path| panic!("it waits");
        let (one, two) = (
            Hold::shared(folder.path(), quiet),
            Hold::shared(folder.path(), quiet),
        );
        let (said, asked) = mpsc::channel();
        let waits = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _alone = Hold::alone(folder.path(), |_: &Path| {
                    waits.fetch_add(1, Ordering::Relaxed);
                    said.send(()).unwrap();
                });
            });
            asked.recv().unwrap();
            drop((one, two));
        });
        assert_eq!(waits.into_inner(), 1);
        drop(Hold::alone(folder.path(), quiet));
        drop(Hold::shared(&folder.path().join("nowhere"), quiet));
    }
}
