//! Work shared by several threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// Calls `work` for every item, the items in their order, on as many threads as asked for; each thread has a state of
/// its own. After an error no further item is begun, and the first item's error is returned.
pub(crate) fn each<T: Sync, S, E: Send>(
    threads: usize,
    items: &[T],
    state: impl Fn() -> S + Sync,
    work: impl Fn(&T, &mut S) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let first: Mutex<Option<(usize, E)>> = Mutex::new(None);
    let run = || {
        let mut state = state();
        while !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return };
            if let Err(error) = work(item, &mut state) {
                stop.store(true, Ordering::Relaxed);
                let mut first = first
                    .lock()
                    .expect("nothing panics while it holds the lock");
                if first.as_ref().is_none_or(|(earlier, _)| index < *earlier) {
                    *first = Some((index, error));
                }
            }
        }
    };
    match threads.min(items.len()) {
        0 | 1 => run(),
        threads => thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(run);
            }
        }),
    }
    match first
        .into_inner()
        .expect("nothing panics while it holds the lock")
    {
        Some((_, error)) => Err(error),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_once_and_the_first_error() {
        for threads in [0, 1, 3, 100] {
            let items: Vec<usize> = (0..50).collect();
            let seen = Mutex::new(Vec::new());
            let result: Result<(), ()> = each(
                threads,
                &items,
                || (),
                |item, ()| {
                    seen.lock().unwrap().push(*item);
                    Ok(())
                },
            );
            assert_eq!(result, Ok(()));
            let mut seen = seen.into_inner().unwrap();
            seen.sort_unstable();
            assert_eq!(seen, items);
            let result = each(
                threads,
                &items,
                || (),
                |item, ()| if *item < 7 { Ok(()) } else { Err(*item) },
            );
            assert_eq!(
                result,
                Err(7),
                "items are begun in order, so 7 fails first or together with later ones"
            );
        }
    }
}
