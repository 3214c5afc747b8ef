//! F03: `/etc/nsswitch.conf` from libc-bin's template, edited as the scripts of the libnss packages (made by
//! dh_installnss) edit it. Byte-identical to an installed system's.

use super::{Cause, Context, Root};

const TEMPLATE: &str = "usr/share/libc-bin/nsswitch.conf";

/// One package's entry: service, and where it goes in a database's line.
struct Service {
    package: &'static str,
    databases: &'static [&'static str],
    words: &'static str,
    position: Position,
}

enum Position {
    Last,
    After(&'static str),
    Before(&'static str),
}

const SERVICES: [Service; 3] = [
    Service {
        package: "libnss-systemd",
        databases: &["passwd", "group", "shadow", "gshadow"],
        words: "systemd",
        position: Position::Last,
    },
    Service {
        package: "libnss-myhostname",
        databases: &["hosts"],
        words: "myhostname",
        position: Position::After("files"),
    },
    Service {
        package: "libnss-resolve",
        databases: &["hosts"],
        words: "resolve [!UNAVAIL=return]",
        position: Position::Before("dns"),
    },
];

pub(super) fn apply(root: &mut Root<'_>, context: &Context<'_>) -> Result<(), Cause> {
    if !context.has("libc-bin") {
        return Ok(());
    }
    let mut text = root.input("libc-bin", TEMPLATE)?;
    for service in SERVICES
        .iter()
        .filter(|service| context.has(service.package))
    {
        for database in service.databases {
            text = enter(&text, database, service).ok_or_else(|| Cause::Content {
                path: TEMPLATE.into(),
                line: None,
                problem: format!(
                    "has no line `{database}:` that {} can enter itself into",
                    service.package
                ),
            })?;
        }
    }
    root.write("etc/nsswitch.conf", text)
}

/// The text with the service in the database's line; none if the line, or the service beside which it goes, is
/// missing.
fn enter(text: &str, database: &str, service: &Service) -> Option<String> {
    let mut entered = false;
    let line = |line: &str| {
        let Some(services) = line
            .strip_prefix(database)
            .and_then(|rest| rest.strip_prefix(':'))
        else {
            return line.to_owned();
        };
        let blanks = services.len() - services.trim_start().len();
        let mut words: Vec<&str> = services.split_whitespace().collect();
        let found = |name: &str| words.iter().position(|word| *word == name);
        let index = match service.position {
            Position::Last => Some(words.len()),
            Position::After(name) => found(name).map(|index| index + 1),
            Position::Before(name) => found(name),
        };
        if let Some(index) = index {
            words.insert(index, service.words);
            entered = true;
        }
        format!("{database}:{}{}", &services[..blanks], words.join(" "))
    };
    let lines: Vec<String> = text.lines().map(line).collect();
    entered.then(|| lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    const FILE: &str = "# Where names are looked up.\n\
        passwd:  files\ngroup:   files\nshadow:  files\ngshadow: files\n\n\
        hosts:   files dns\nservices: db files\n";

    #[test]
    fn services_enter_themselves() {
        let bench = [
            "libc-bin",
            "libnss-systemd",
            "libnss-myhostname",
            "libnss-resolve",
        ]
        .into_iter()
        .fold(Bench::new(""), Bench::package);
        let mut root = bench.root(&[(TEMPLATE, FILE)]);
        apply(&mut root, &bench.context()).unwrap();
        let text = root.text("etc/nsswitch.conf").unwrap();
        let changed: Vec<&str> = text
            .lines()
            .filter(|line| !FILE.lines().any(|known| known == *line))
            .collect();
        assert_eq!(
            changed,
            [
                "passwd:  files systemd",
                "group:   files systemd",
                "shadow:  files systemd",
                "gshadow: files systemd",
                "hosts:   files myhostname resolve [!UNAVAIL=return] dns",
            ]
        );
        assert_eq!(text.lines().count(), FILE.lines().count());
    }

    #[test]
    fn alone_it_is_the_template() {
        let bench = Bench::new("").package("libc-bin");
        let mut root = bench.root(&[(TEMPLATE, FILE)]);
        apply(&mut root, &bench.context()).unwrap();
        assert_eq!(root.text("etc/nsswitch.conf").unwrap(), FILE);
    }

    #[test]
    fn a_changed_template_is_an_error() {
        let bench = Bench::new("").package("libc-bin").package("libnss-resolve");
        for text in ["hosts: files\n", "networks: files dns\n"] {
            let cause = apply(&mut bench.root(&[(TEMPLATE, text)]), &bench.context()).unwrap_err();
            assert!(cause.to_string().contains("libnss-resolve"), "{cause}");
        }
    }
}
