use prejoin_wire::architecture::Architecture;

use super::*;
use crate::debian::repository::Index;

/// `name version` or `name version repository`, then fields, one stanza per paragraph.
fn universe(text: &str) -> Vec<Index> {
    let mut indexes: BTreeMap<&str, Index> = BTreeMap::new();
    for paragraph in text
        .split("\n\n")
        .map(str::trim)
        .filter(|paragraph| !paragraph.is_empty())
    {
        let (head, fields) = paragraph.split_once('\n').unwrap_or((paragraph, ""));
        let words: Vec<_> = head.split_whitespace().collect();
        let repository = words.get(2).copied().unwrap_or("main");
        let index = indexes.entry(repository).or_insert_with(|| Index {
            repository: repository.to_owned(),
            archive: "debian".to_owned(),
            priority: if repository == "backports" { 100 } else { 500 },
            text: String::new(),
        });
        let fields: String = fields
            .lines()
            .map(|line| format!("{}\n", line.trim()))
            .collect();
        index.text += &format!(
            "Package: {}\nVersion: {}\nArchitecture: amd64\n{fields}",
            words[0], words[1]
        );
        index.text += &format!(
            "Filename: pool/{}.deb\nSize: 1\nSHA256: {}\n\n",
            words[0],
            "0".repeat(64)
        );
    }
    indexes.into_values().collect()
}

fn run(text: &str, wanted: &str, waive: &str) -> Result<Resolution, ResolveError> {
    let indexes = universe(text);
    let universe = Universe::new(&indexes, Architecture::Amd64).unwrap();
    let waive = waive
        .split_whitespace()
        .map(|name| (name.to_owned(), "a reason".to_owned()))
        .collect();
    let wanted = wanted.split_whitespace().map(Wanted::parse).collect();
    resolve(
        &universe,
        &Request {
            wanted,
            waive,
            ..Request::default()
        },
    )
}

fn set(text: &str, wanted: &str) -> String {
    let resolution = run(text, wanted, "").unwrap();
    let shown: Vec<_> = resolution
        .packages
        .iter()
        .map(|(name, p)| format!("{name}={}", p.version))
        .collect();
    shown.join(" ")
}

fn error(text: &str, wanted: &str) -> String {
    run(text, wanted, "").unwrap_err().to_string()
}

#[test]
fn dependencies_are_followed_and_explained() {
    let text = "aa 1\nDepends: bb (>= 2)\n\nbb 2\nPre-Depends: cc:any\n\ncc 3\n\ndd 4";
    assert_eq!(set(text, "aa"), "aa=1 bb=2 cc=3");
    let resolution = run(text, "aa", "").unwrap();
    assert_eq!(resolution.chain("cc"), ["cc", "bb", "aa"]);
    assert_eq!(
        resolution.packages["bb"].why,
        Why::Needed {
            by: "aa".into(),
            group: "bb (>= 2)".into()
        }
    );
}

#[test]
fn a_missing_version_names_the_chain() {
    let text =
        "kubelet 1\nDepends: containerd\n\ncontainerd 1.7\nDepends: runc (>= 2)\n\nrunc 1.1.15";
    assert_eq!(
        error(text, "kubelet"),
        "containerd 1.7 wants runc (>= 2), but of runc there is 1.1.15 (in main) (wanted by kubelet, wanted by the profile)"
    );
    assert_eq!(
        error("aa 1\nDepends: bb", "aa"),
        "aa 1 wants bb, but no repository has bb (wanted by the profile)"
    );
    assert_eq!(
        error(text, "kubelet=2"),
        "no repository has `kubelet=2` for amd64; there is 1 in main"
    );
}

#[test]
fn alternatives_first_unless_another_is_in() {
    let text = "aa 1\nDepends: bb | cc\n\nbb 1\n\ncc 1\n\ndd 1\nDepends: cc";
    assert_eq!(set(text, "aa"), "aa=1 bb=1");
    assert_eq!(set(text, "aa cc"), "aa=1 cc=1");
    assert_eq!(set(text, "aa dd"), "aa=1 cc=1 dd=1");
    assert_eq!(
        set("aa 1\nDepends: bb (>= 2) | cc\n\nbb 1\n\ncc 1", "aa"),
        "aa=1 cc=1"
    );
}

#[test]
fn virtual_packages() {
    let text = "aa 1\nDepends: mta\n\nexim 1\nProvides: mta\nPriority: optional\n\nsendmail 1\nProvides: mta\nPriority: important";
    assert_eq!(set(text, "aa"), "aa=1 sendmail=1");
    assert_eq!(set(text, "aa exim"), "aa=1 exim=1");
    assert_eq!(set(text, "mta"), "sendmail=1");
    let versioned = "aa 1\nDepends: bb (>= 2)\n\ncc 1\nProvides: bb\n\ndd 1\nProvides: bb (= 3)";
    assert_eq!(set(versioned, "aa"), "aa=1 dd=1");
    let real = "aa 1\nDepends: bb\n\nb0 1\nProvides: bb\nPriority: required\n\nbb 1";
    assert_eq!(set(real, "aa"), "aa=1 bb=1");
}

#[test]
fn conflicts_take_a_choice_back() {
    let text =
        "aa 1\nDepends: bb | cc\n\nbb 1\nDepends: b2\n\nb2 1\nBreaks: dd (<< 2)\n\ncc 1\n\ndd 1";
    assert_eq!(set(text, "aa dd"), "aa=1 cc=1 dd=1");
    assert_eq!(set(text, "aa"), "aa=1 b2=1 bb=1");
    assert_eq!(
        error(text, "bb dd"),
        "bb 1 wants b2, but b2 1 conflicts with dd (<< 2), which is in (wanted by the profile)"
    );
    let own = "aa 1\nProvides: mta\nConflicts: mta\n\nbb 1\nProvides: mta\nConflicts: mta";
    assert_eq!(set(own, "aa"), "aa=1");
    assert!(
        error(own, "aa bb")
            .starts_with("the profile wants bb, but bb 1 conflicts with mta, which is in")
    );
}

#[test]
fn a_jump_skips_choices_that_are_not_to_blame() {
    // Thirty independent choices lie between the one that is wrong and where that shows.
    let mut text = "aa 1\nDepends: bad | good, ".to_owned();
    text += &(0..30)
        .map(|n| format!("x{n} | y{n}, "))
        .collect::<String>();
    text +=
        "late | later\n\nbad 1\n\ngood 1\n\nlate 1\nConflicts: bad\n\nlater 1\nConflicts: bad\n\n";
    text += &(0..30)
        .map(|n| format!("x{n} 1\n\ny{n} 1\n\n"))
        .collect::<String>();
    let resolution = run(&text, "aa", "").unwrap();
    assert!(resolution.packages.contains_key("good") && resolution.packages.contains_key("late"));
    assert!((0..30).all(|n| resolution.packages.contains_key(&format!("x{n}"))));
}

#[test]
fn waived_groups_are_dropped_and_recorded() {
    let text = "aa 1\nDepends: debconf (>= 0.5) | debconf-2.0, bb | ucf\n\ndebconf 1\nProvides: debconf-2.0\n\n\
                cdebconf 1\nProvides: debconf-2.0\n\nbb 1\nDepends: adduser\n\nadduser 1\n\nucf 1";
    let resolution = run(text, "aa", "debconf cdebconf adduser ucf").unwrap();
    assert_eq!(resolution.packages.keys().collect::<Vec<_>>(), ["aa", "bb"]);
    let waived: Vec<_> = resolution
        .waived
        .iter()
        .map(|(name, by)| format!("{name}<-{by:?}"))
        .collect();
    assert_eq!(waived, [r#"adduser<-{"bb"}"#, r#"debconf<-{"aa"}"#]);
    // Another provider would still do, and what is asked for is not waived.
    assert!(
        run(text, "aa", "debconf")
            .unwrap()
            .packages
            .contains_key("cdebconf")
    );
    assert!(
        run(text, "aa adduser", "adduser")
            .unwrap()
            .packages
            .contains_key("adduser")
    );
}

#[test]
fn low_priority_repositories_are_asked_for() {
    let text = "linux 6.12\nDepends: base\n\nbase 1\n\nlinux 6.18~bpo backports\nDepends: base (>= 2), tool\n\n\
                base 2~bpo backports\n\nbase 2 backports\n\ntool 1\n\ntool 9 backports\n\nonly 1 backports";
    assert_eq!(set(text, "linux"), "base=1 linux=6.12");
    assert_eq!(set(text, "linux/backports"), "base=2 linux=6.18~bpo tool=1");
    // What was settled on the default version first gives way.
    assert_eq!(
        set(
            &format!("{text}\n\nother 1\nDepends: base"),
            "other linux/backports"
        ),
        "base=2 linux=6.18~bpo other=1 tool=1"
    );
    assert_eq!(
        error(text, "only"),
        "no repository has `only` for amd64; there is 1 in backports"
    );
    assert_eq!(set(text, "only/backports"), "only=1");
}

#[test]
fn newest_of_equal_repositories_and_version_pins() {
    let text = "aa 1\n\naa 1+deb13u1 security\n\nbb 1\nDepends: aa (>= 1+deb13u1)";
    assert_eq!(set(text, "aa"), "aa=1+deb13u1");
    assert_eq!(set(text, "aa=1"), "aa=1");
    assert_eq!(set(text, "aa/main"), "aa=1");
    assert!(error(text, "aa=1 bb").contains("aa 1 was asked for"));
}

#[test]
fn recommends_are_followed_where_possible() {
    let indexes = universe(
        "aa 1\nRecommends: bb, cc, dd\n\nbb 1\n\ncc 1\nDepends: none\n\ndd 1\nConflicts: aa",
    );
    let universe = Universe::new(&indexes, Architecture::Amd64).unwrap();
    let request = Request {
        wanted: vec![Wanted::name("aa")],
        recommends: true,
        ..Request::default()
    };
    let resolution = resolve(&universe, &request).unwrap();
    assert_eq!(resolution.packages.keys().collect::<Vec<_>>(), ["aa", "bb"]);
}

#[test]
fn rings_end() {
    assert_eq!(
        set("aa 1\nDepends: bb\n\nbb 1\nDepends: aa", "aa"),
        "aa=1 bb=1"
    );
}

#[test]
fn what_is_asked_for_brings_what_the_base_leaves_out() {
    let text = "base 1\nDepends: libldap (>= 1), debconf\n\ncurl 1\nDepends: libcurl, debconf\n\n\
                libcurl 1\nDepends: libldap\n\nlibldap 2\n\ndebconf 1";
    let indexes = universe(text);
    let universe = Universe::new(&indexes, Architecture::Amd64).unwrap();
    let reason = |name: &str| BTreeMap::from([(name.to_owned(), "a reason".to_owned())]);
    let names = |request: &Request| -> Vec<String> {
        let resolution = resolve(&universe, request).unwrap();
        resolution.packages.into_keys().collect()
    };
    let mut request = Request {
        wanted: vec![Wanted::name("base")],
        waive: reason("debconf"),
        waive_own: reason("libldap"),
        ..Request::default()
    };
    let own = names(&request);
    assert_eq!(own, ["base"]);
    request.own = Some(own.into_iter().collect());
    assert_eq!(names(&request), ["base"]);
    request.wanted.push(Wanted::name("curl"));
    assert_eq!(names(&request), ["base", "curl", "libcurl", "libldap"]);
}

#[test]
fn what_is_asked_for_takes_the_place_of_the_bases() {
    let text = "timesyncd 257\nProvides: time-daemon\nConflicts: time-daemon\n\n\
                chrony 4\nProvides: time-daemon\nConflicts: time-daemon\n\nhtop 3\n\nother 1\nBreaks: htop (<< 3)";
    let indexes = universe(text);
    let universe = Universe::new(&indexes, Architecture::Amd64).unwrap();
    let own = [Wanted::name("timesyncd"), Wanted::name("other")];
    let gone = |asked: &str| replaced(&universe, &own, &[Wanted::name(asked)]).unwrap();
    assert_eq!(
        gone("chrony"),
        [Replaced {
            name: "timesyncd".to_owned(),
            by: "chrony".to_owned()
        }]
    );
    assert_eq!(gone("htop"), []);
    assert_eq!(gone("timesyncd"), []);
    assert_eq!(gone("nowhere"), [], "the search says that there is none");
}

/// Steps that a set of packages takes, and how many of them are in the end.
fn steps(text: &str, wanted: &str) -> (usize, Result<usize, ResolveError>) {
    let indexes = universe(text);
    let universe = Universe::new(&indexes, Architecture::Amd64).unwrap();
    let request = Request {
        wanted: wanted.split_whitespace().map(Wanted::parse).collect(),
        ..Request::default()
    };
    let mut search = search::Search::new(&universe, &request).unwrap();
    let resolution = search.run();
    (
        search.steps(),
        resolution.map(|resolution| resolution.packages.len()),
    )
}

/// Stanzas `stanza(0)`, `stanza(1)` ...
fn many(count: usize, stanza: impl Fn(usize) -> String) -> String {
    (0..count).map(stanza).collect::<Vec<_>>().join("\n\n")
}

#[test]
fn steps_grow_with_the_packages_and_not_faster() {
    let next = |at: usize, last: usize| (at + 1 < last).then_some(at + 1);
    let depends = |on: Option<usize>, text: &str| {
        on.map_or(String::new(), |on| {
            format!("\nDepends: {}", text.replace('#', &on.to_string()))
        })
    };
    type Shape = Box<dyn Fn(usize) -> (String, String)>;
    let shapes: [(&str, Shape); 5] = [
        (
            "a chain, each with a conflict",
            Box::new(move |count| {
                let one = |at| {
                    let depends = depends(next(at, count), "p#");
                    format!("p{at} 1{depends}\nConflicts: x{at}, virtual (>= 9)")
                };
                (many(count, one), "p0".into())
            }),
        ),
        (
            "a chain of choices",
            Box::new(move |count| {
                let one = |at| {
                    let depends = depends(next(at, count), "p# | q#");
                    format!("p{at} 1{depends}\n\nq{at} 1")
                };
                (many(count, one), "p0".into())
            }),
        ),
        (
            "one name that all provide and all want",
            Box::new(move |count| {
                let one = |at| {
                    let depends = depends(next(at, count), "p#, virtual | other");
                    format!("p{at} 1{depends}\nProvides: virtual")
                };
                (many(count, one), "p0".into())
            }),
        ),
        (
            "one that all provide and nobody is to have beside it",
            Box::new(move |count| {
                let one = |at: usize| format!("p{at} 1\nProvides: virtual\nConflicts: virtual");
                let user = |at| format!("u{at} 1\nDepends: virtual");
                let wanted: Vec<String> = (0..count / 4).map(|at| format!("u{at}")).collect();
                let text = format!("{}\n\n{}", many(count, one), many(count / 4, user));
                (text, wanted.join(" "))
            }),
        ),
        (
            "a chain that ends nowhere, with one choice at its beginning",
            Box::new(move |count| {
                let one = |at| {
                    let depends = depends(Some(at + 1), "p#");
                    format!("p{at} 1{depends}")
                };
                let start = "start 1\nDepends: p0 | good\n\ngood 1\n\n";
                (start.to_owned() + &many(count, one), "start".into())
            }),
        ),
    ];
    for (name, shape) in shapes {
        let [few, more] = [1000, 8000].map(|count| {
            let (text, wanted) = shape(count);
            let (steps, result) = steps(&text, &wanted);
            let packages = result.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(packages >= 1, "{name}");
            assert!(steps < 40 * count, "{name}: {steps} steps for {count}");
            steps
        });
        assert!(more <= 10 * few, "{name}: {few} steps became {more}");
    }
}

#[test]
fn a_search_without_end_is_ended_and_says_so() {
    // Of nine in eight holes each pair conflicts, and which hole is to blame is never plain.
    let hole = |pigeon: usize, hole: usize| {
        let others = (0..pigeon).map(|other| format!("p{other}-{hole}"));
        let others = others.collect::<Vec<_>>().join(", ");
        let conflicts = match pigeon {
            0 => String::new(),
            _ => format!("\nConflicts: {others}"),
        };
        format!("p{pigeon}-{hole} 1{conflicts}")
    };
    let pigeon = |pigeon: usize| {
        let holes = (0..11).map(|hole| format!("p{pigeon}-{hole}"));
        let holes = holes.collect::<Vec<_>>().join(" | ");
        let each = many(11, |at| hole(pigeon, at));
        format!("pigeon{pigeon} 1\nDepends: {holes}\n\n{each}")
    };
    let wanted: Vec<String> = (0..12).map(|at| format!("pigeon{at}")).collect();
    let (steps, result) = steps(&many(12, pigeon), &wanted.join(" "));
    let error = result.unwrap_err();
    assert!(matches!(error, ResolveError::TooHard { .. }), "{error}");
    assert!(steps < 11_000_000, "{steps}");
    assert!(error.to_string().contains("the first obstacle: pigeon"));
}

#[test]
fn messages_stay_short() {
    let text = format!(
        "aa 1\nDepends: virtual (>= 2)\n\n{}",
        many(500, |at| format!("p{at} 1\nProvides: virtual (= 1)"))
    );
    let error = error(&text, "aa");
    assert!(error.contains("p9 1 that provides it, 490 more"), "{error}");
    assert!(error.len() < 1000, "{error}");
}
