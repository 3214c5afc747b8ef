//! No file is newer than the image, so that the same packages give the same bytes whenever they are unpacked and a
//! node whose clock starts at `/usr/lib/clock-epoch` sees no file from the future.

use super::{Cause, Context, Root};

pub(super) fn apply(root: &mut Root<'_>, context: &Context<'_>) -> Result<(), Cause> {
    for (_, entry) in root.tree_mut().iter_mut() {
        entry.mtime = entry.mtime.min(context.epoch);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, EPOCH};
    use super::*;

    #[test]
    fn newer_times_are_clamped() {
        let bench = Bench::new("");
        let mut root = bench.root(&[("a/old", ""), ("a/new", "")]);
        root.tree_mut().entry_mut("a/new").unwrap().mtime = i64::MAX;
        root.tree_mut().entry_mut("a").unwrap().mtime = EPOCH + 1;
        apply(&mut root, &bench.context()).unwrap();
        let time = |path: &str| root.tree().entry(path).unwrap().mtime;
        assert_eq!((time("a"), time("a/old"), time("a/new")), (EPOCH, 0, EPOCH));
    }
}
