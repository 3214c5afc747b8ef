//! The names of time zones that nodes know.

use crate::yaml::nearest;

/// One name on each line, sorted. A test compares them with what is in the image.
const NAMES: &str = include_str!("timezones.txt");

/// All of them, in order.
pub fn names() -> impl Iterator<Item = &'static str> {
    NAMES.lines().filter(|line| !line.starts_with('#'))
}

/// Whether a node knows the time zone.
pub fn is_known(name: &str) -> bool {
    names().any(|known| known == name)
}

/// What the user can do about one that it does not know.
pub(crate) fn advice(name: &str) -> String {
    let known: Vec<&str> = names().collect();
    let city = |name: &str| name.rsplit('/').next().map(str::to_lowercase);
    let same = known.iter().find(|known| city(known) == city(name));
    let meant = nearest(name, &known);
    match same {
        Some(known) => format!("did you mean `{known}`?"),
        None if meant.starts_with("did you mean") => meant,
        None => "names are those of `timedatectl list-timezones` in Debian 13 (package tzdata), such as \
                 `Europe/Berlin`; `US/…` and other old names are not among them"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_typos_are_helped() {
        let known: Vec<&str> = names().collect();
        assert!(known.is_sorted() && known.len() > 400);
        assert!(is_known("Europe/Vienna") && is_known("UTC") && !is_known("europe/vienna"));
        assert_eq!(advice("Europe/Viena"), "did you mean `Europe/Vienna`?");
        assert_eq!(advice("Vienna"), "did you mean `Europe/Vienna`?");
        assert!(advice("CEST").contains("timedatectl"));
    }
}
