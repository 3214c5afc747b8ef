//! F16: which image this is, and the earliest time it can be.

use super::{Cause, Context, Root};

const RELEASE: &str = "usr/lib/os-release";

/// Appends `IMAGE_ID` and `IMAGE_VERSION` (os-release(5)) to Debian's file, which has no drop-ins, and makes the file
/// whose modification time systemd advances a clock to that runs behind (systemd-timesyncd.service(8), "Files").
pub(super) fn apply(root: &mut Root<'_>, context: &Context<'_>) -> Result<(), Cause> {
    if context.has("base-files") {
        let mut text = root.input("base-files", RELEASE)?;
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let (year, month, day) = date(context.epoch);
        let (os, board) = (&context.os.name, context.board);
        text.push_str(&format!(
            "IMAGE_ID=prejoin-{os}-{board}\nIMAGE_VERSION={year:04}{month:02}{day:02}\n"
        ));
        root.write(RELEASE, text)?;
    }
    root.write("usr/lib/clock-epoch", "")
}

/// Year, month and day of a time in seconds since 1970, in the Gregorian calendar (Fliegel and Van Flandern's method
/// on years that begin in March).
pub(crate) fn date(epoch: i64) -> (i64, i64, i64) {
    let days = epoch.div_euclid(86_400) + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, EPOCH};
    use super::*;

    #[test]
    fn dates() {
        for (epoch, expected) in [
            (0, (1970, 1, 1)),
            (951_782_400, (2000, 2, 29)),
            (1_763_000_000, (2025, 11, 13)),
            (4_107_542_399, (2100, 2, 28)),
            (4_107_542_400, (2100, 3, 1)),
            (-1, (1969, 12, 31)),
        ] {
            assert_eq!(date(epoch), expected, "{epoch}");
        }
    }

    #[test]
    fn release_is_debian_and_more() {
        let bench = Bench::new("").package("base-files");
        let mut root = bench.root(&[
            ("usr/lib/os-release", "ID=debian"),
            ("etc/os-release", "-> ../usr/lib/os-release"),
        ]);
        apply(&mut root, &bench.context()).unwrap();
        assert_eq!(
            root.text("etc/os-release").unwrap(),
            "ID=debian\nIMAGE_ID=prejoin-test-board\nIMAGE_VERSION=20241004\n"
        );
        assert_eq!(
            root.tree().entry("usr/lib/clock-epoch").unwrap().mtime,
            EPOCH
        );
    }
}
