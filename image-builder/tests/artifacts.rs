//! Pinning and fetching of binaries against a server and folders of this machine.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests serve and write files"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use prejoin_formats::tree::{Content, Kind};
use prejoin_image_builder::class::Class;
use prejoin_image_builder::debian::sources::Source;
use prejoin_image_builder::events::Event;
use prejoin_image_builder::io::artifacts::{self, Error};
use prejoin_image_builder::io::cache::Cache;
use prejoin_image_builder::io::fetch::{Fetcher, Settings};
use prejoin_image_builder::io::mirror;
use prejoin_profiles::distribution::Wanted;
use prejoin_profiles::lock::{self, Lock};
use prejoin_wire::architecture::Architecture;
use prejoin_wire::digest::Digest;

/// What the server has at a path.
#[derive(Clone)]
enum Answer {
    File(Vec<u8>),
    /// Says it has all of it and closes the connection after this many bytes.
    Cut(Vec<u8>, usize),
}

type Answers = Arc<Mutex<BTreeMap<String, Answer>>>;

/// Serves on a free port until the process ends; everything unknown is 404.
fn serve() -> (String, Answers) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let answers = Answers::default();
    let shared = Arc::clone(&answers);
    thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap(), &shared);
        }
    });
    (address, answers)
}

fn answer(mut stream: TcpStream, answers: &Answers) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let request = lines.next().unwrap().unwrap();
    while lines
        .next()
        .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
    {}
    let path = request.split(' ').nth(1).unwrap().to_owned();
    let found = answers.lock().unwrap().get(&path).cloned();
    let (status, length, body) = match &found {
        Some(Answer::File(body)) => ("200 OK", body.len(), &body[..]),
        Some(Answer::Cut(body, end)) => ("200 OK", body.len(), &body[..*end]),
        None => ("404 Not Found", 0, &[][..]),
    };
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body));
}

fn kubelet(tail: &str) -> Vec<u8> {
    let mut content = b"\x7fELF\x02\x01\x01".to_vec();
    content.resize(18, 0);
    content.extend([183, 0]);
    content.extend(tail.repeat(1000).bytes());
    content
}

fn wanted(server: &str) -> BTreeMap<String, Wanted> {
    let wanted = Wanted {
        name: "kubelet".into(),
        version: "v1.36.3+x1".into(),
        architecture: Architecture::Arm64,
        url: format!("{server}/release/v1.36.3%2Bx1/kubelet"),
        checksum: format!("{server}/release/v1.36.3%2Bx1/kubelet.sha256"),
        file: "kubelet-v1.36.3+x1-arm64".into(),
        install: BTreeMap::from([("usr/bin/kubelet".into(), String::new())]),
    };
    BTreeMap::from([(wanted.key(), wanted)])
}

const KEY: &str = "kubelet_v1.36.3+x1_arm64";
const PATH: &str = "/release/v1.36.3%2Bx1/kubelet";
const CHECKSUM: &str = "/release/v1.36.3%2Bx1/kubelet.sha256";

/// A cache of its own and what was told.
struct Bench {
    folder: tempfile::TempDir,
    mirrors: mirror::Settings,
    warnings: Mutex<Vec<String>>,
}

impl Bench {
    fn new() -> Self {
        Bench {
            folder: tempfile::tempdir().unwrap(),
            mirrors: mirror::Settings::default(),
            warnings: Mutex::default(),
        }
    }

    fn lock(
        &self,
        from: Option<&str>,
        wanted: &BTreeMap<String, Wanted>,
        previous: Option<&Lock>,
    ) -> Result<BTreeMap<String, lock::Artifact>, Error> {
        self.with(from, wanted, |fetcher, mirrors| {
            artifacts::lock(fetcher, mirrors, wanted, previous)
        })
    }

    /// Locks, fetches and lays the programs over an empty tree.
    fn build(
        &self,
        from: Option<&str>,
        wanted: &BTreeMap<String, Wanted>,
        lock: &Lock,
    ) -> Result<usize, Error> {
        self.with(from, wanted, |fetcher, mirrors| {
            let paths = artifacts::fetch(fetcher, mirrors, wanted, lock)?;
            let programs = artifacts::programs(fetcher.cache, wanted, &paths)?;
            let kubelet = programs.tree.entry("usr/bin/kubelet").unwrap();
            assert_eq!((kubelet.mode, kubelet.uid), (0o755, 0));
            let Kind::File(Content::Blob { digest, .. }) = kubelet.kind else {
                panic!("{kubelet:?}")
            };
            assert_eq!(
                Digest::of(&std::fs::read(&programs.files[&Digest(digest)]).unwrap()),
                Digest(digest)
            );
            Ok(paths.len())
        })
    }

    fn with<T>(
        &self,
        from: Option<&str>,
        wanted: &BTreeMap<String, Wanted>,
        work: impl FnOnce(&Fetcher<'_>, &mirror::Mirrors) -> T,
    ) -> T {
        let cache = Cache::new(self.folder.path().join("cache"));
        let mirrors = artifacts::mirrors(from, self.folder.path(), wanted, &self.mirrors).unwrap();
        let events = |event: Event| {
            if let Event::Warning { message } = event {
                self.warnings.lock().unwrap().push(message);
            }
        };
        let settings = Settings {
            attempts: 2,
            pause: Duration::ZERO,
            ..Settings::default()
        };
        let fetcher = Fetcher::new(&cache, &mirrors, settings, &events);
        work(&fetcher, &mirrors)
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.lock().unwrap().drain(..).collect()
    }

    fn forget(&self) {
        fs::remove_dir_all(self.folder.path().join("cache")).unwrap();
    }
}

fn lock_of(artifacts: BTreeMap<String, lock::Artifact>) -> Lock {
    serde_json::from_value(serde_json::json!({
        "version": lock::VERSION, "epoch": 0, "releases": {}, "sets": {}, "packages": {}, "artifacts": artifacts,
    }))
    .unwrap()
}

fn set(answers: &Answers, path: &str, answer: Answer) {
    answers.lock().unwrap().insert(path.to_owned(), answer);
}

#[test]
fn what_was_pinned_is_what_is_built() {
    let (server, answers) = serve();
    let (bench, wanted) = (Bench::new(), wanted(&server));
    let good = kubelet("good");
    set(&answers, PATH, Answer::File(good.clone()));
    set(
        &answers,
        CHECKSUM,
        Answer::File(Digest::of(&good).to_string().into_bytes()),
    );
    let locked = bench.lock(None, &wanted, None).unwrap();
    assert_eq!(bench.warnings(), [""; 0]);
    assert_eq!(locked[KEY].sha256, Digest::of(&good));
    assert_eq!(locked[KEY].size, good.len() as u64);
    assert!(
        locked[KEY].url.ends_with("/release/v1.36.3%2Bx1/kubelet")
            && !locked[KEY].url.contains("://")
    );
    let lock = lock_of(locked);

    // From the cache, with nobody to ask.
    answers.lock().unwrap().clear();
    assert_eq!(bench.build(None, &wanted, &lock).unwrap(), 1);
    // From the server again.
    bench.forget();
    let error = bench.build(None, &wanted, &lock).unwrap_err();
    assert!(
        matches!(&error, Error::Missing { looked, named: false, .. } if looked.len() == 1),
        "{error}"
    );
    assert_eq!(error.class(), Class::Network);
    set(&answers, PATH, Answer::File(good.clone()));
    assert_eq!(bench.build(None, &wanted, &lock).unwrap(), 1);
    // Another file under the same address is not taken, neither for a build nor for a new lock.
    bench.forget();
    set(&answers, PATH, Answer::File(kubelet("evil")));
    set(
        &answers,
        CHECKSUM,
        Answer::File(Digest::of(&kubelet("evil")).to_string().into_bytes()),
    );
    for error in [
        bench.build(None, &wanted, &lock).unwrap_err(),
        bench.lock(None, &wanted, Some(&lock)).unwrap_err(),
    ] {
        assert_eq!(error.class(), Class::Integrity, "{error}");
        assert!(error.hint().unwrap().contains("never changes"));
    }
    let error = bench
        .build(None, &wanted, &lock_of(BTreeMap::new()))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the lock has no kubelet v1.36.3+x1 for arm64"
    );
}

#[test]
fn what_cannot_be_right_is_not_pinned() {
    let (server, answers) = serve();
    let (bench, wanted) = (Bench::new(), wanted(&server));
    let good = kubelet("good");

    let error = bench.lock(None, &wanted, None).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("kubelet v1.36.3+x1 for arm64 cannot be found: http://127.0.0.1:"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("artifacts: {from: "));

    set(&answers, PATH, Answer::File(good.clone()));
    set(
        &answers,
        CHECKSUM,
        Answer::File(Digest::of(b"other").to_string().into_bytes()),
    );
    let error = bench.lock(None, &wanted, None).unwrap_err();
    assert_eq!(error.class(), Class::Integrity, "{error}");

    set(&answers, PATH, Answer::Cut(good.clone(), 300));
    let error = bench.lock(None, &wanted, None).unwrap_err();
    assert_eq!(error.class(), Class::Network, "{error}");

    // There is a checksum, and it does not get through: nobody may decide by that that nothing is compared.
    set(&answers, PATH, Answer::File(good.clone()));
    set(
        &answers,
        CHECKSUM,
        Answer::Cut(Digest::of(&good).to_string().into_bytes(), 20),
    );
    let error = bench.lock(None, &wanted, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "kubelet v1.36.3+x1 for arm64 was not pinned: its checksum file cannot be read"
    );
    assert_eq!(error.class(), Class::Network);
    assert!(error.hint().unwrap().contains("try again"));
    assert_eq!(bench.warnings(), [""; 0]);

    set(
        &answers,
        PATH,
        Answer::File(b"<html>please log in</html>".to_vec()),
    );
    answers.lock().unwrap().remove(CHECKSUM);
    let error = bench.lock(None, &wanted, None).unwrap_err();
    assert_eq!(error.to_string(), "kubelet is not a program for arm64");
    assert_eq!(error.class(), Class::Integrity);
    bench.warnings();

    // Without a checksum, or with one for something else: pinned, and said.
    set(&answers, PATH, Answer::File(good.clone()));
    assert!(bench.lock(None, &wanted, None).is_ok());
    let warning = &bench.warnings()[0];
    assert!(
        warning.contains("pinned on first use") && warning.contains("there is no checksum file"),
        "{warning}"
    );
    set(
        &answers,
        CHECKSUM,
        Answer::File(format!("{}  kubectl\n", Digest::of(&good)).into_bytes()),
    );
    assert!(bench.lock(None, &wanted, None).is_ok());
    assert!(bench.warnings()[0].contains("does not list it"));
}

#[test]
fn a_folder_is_enough() {
    let wanted = wanted("https://dl.example.org");
    let good = kubelet("good");
    let write = |bench: &Bench, path: &str, content: &[u8]| {
        let path = bench.folder.path().join("files").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    let checksum = format!("{}  kubelet-v1.36.3+x1-arm64\n", Digest::of(&good));
    let upstream = "dl.example.org/release/v1.36.3+x1/kubelet";
    for (path, checksum_path) in [
        (upstream, format!("{upstream}.sha256")),
        (
            "kubelet-v1.36.3+x1-arm64",
            "kubelet-v1.36.3+x1-arm64.sha256".to_owned(),
        ),
    ] {
        let bench = Bench::new();
        let error = bench.lock(Some("./files"), &wanted, None).unwrap_err();
        assert!(
            matches!(&error, Error::Missing { looked, named: true, .. } if looked.len() == 2),
            "{error}"
        );
        assert_eq!(error.class(), Class::Input);
        write(&bench, path, &good);
        write(&bench, &checksum_path, checksum.as_bytes());
        let lock = lock_of(bench.lock(Some("./files"), &wanted, None).unwrap());
        assert_eq!(bench.warnings(), [""; 0], "{path}");
        assert_eq!(
            lock.artifacts[KEY].url,
            "dl.example.org/release/v1.36.3%2Bx1/kubelet"
        );
        bench.forget();
        assert_eq!(
            bench.build(Some("./files"), &wanted, &lock).unwrap(),
            1,
            "{path}"
        );
        // A lock from a folder serves a machine that takes the same file from a mirror.
        let (mirror, answers) = serve();
        set(
            &answers,
            "/dl.example.org/release/v1.36.3%2Bx1/kubelet",
            Answer::File(good.clone()),
        );
        bench.forget();
        assert_eq!(bench.build(Some(&mirror), &wanted, &lock).unwrap(), 1);
    }
}

#[test]
fn mirrors_are_named_for_all_artifacts_or_for_one_host() {
    let (good, wanted) = (kubelet("mirrored"), wanted("https://upstream.invalid"));
    let named = |archive: &str, folder: &Path| {
        BTreeMap::from([(
            archive.to_owned(),
            vec![format!("file://{}", folder.display())],
        )])
    };
    let digest = |bench: &Bench, from| {
        bench
            .lock(from, &wanted, None)
            .map(|locked| locked[KEY].sha256)
    };
    let mut bench = Bench::new();
    // By the host's name, with the host's paths; by the name of all, with the paths of folders of artifacts.
    let (host, all) = (
        bench.folder.path().join("host"),
        bench.folder.path().join("all"),
    );
    for (folder, path) in [
        (&host, "release/v1.36.3+x1/kubelet"),
        (&all, "kubelet-v1.36.3+x1-arm64"),
    ] {
        fs::create_dir_all(folder.join(path).parent().unwrap()).unwrap();
        fs::write(folder.join(path), &good).unwrap();
    }
    let other = kubelet("other");
    fs::create_dir(bench.folder.path().join("own")).unwrap();
    fs::write(
        bench.folder.path().join("own/kubelet-v1.36.3+x1-arm64"),
        &other,
    )
    .unwrap();

    for (archive, folder) in [("upstream.invalid", &host), ("artifacts", &all)] {
        bench.mirrors = mirror::Settings {
            flags: named(archive, folder),
            ..Default::default()
        };
        assert_eq!(
            digest(&bench, None).unwrap(),
            Digest::of(&good),
            "{archive}"
        );
        bench.mirrors = mirror::Settings {
            cluster: named(archive, folder),
            ..Default::default()
        };
        assert_eq!(
            digest(&bench, None).unwrap(),
            Digest::of(&good),
            "{archive}"
        );
    }
    // The cluster file's `artifacts:` decides over its `mirrors:`, the command line over both.
    assert_eq!(digest(&bench, Some("own")).unwrap(), Digest::of(&other));
    bench.mirrors = mirror::Settings {
        flags: named("artifacts", &all),
        ..Default::default()
    };
    assert_eq!(digest(&bench, Some("own")).unwrap(), Digest::of(&good));
    // What apt uses is for packages.
    let source = Source {
        address: format!("file://{}/artifacts", host.display()),
        suites: Vec::new(),
    };
    bench.mirrors = mirror::Settings {
        host: vec![source],
        ..Default::default()
    };
    assert_eq!(digest(&bench, Some("own")).unwrap(), Digest::of(&other));
}
