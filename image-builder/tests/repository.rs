//! The archive client against repositories made by the field's own tools (dpkg-deb, reprepro, GnuPG), served by a small
//! HTTP server that can misbehave. gpgv, dpkg and apt are the judges.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests make files, run tools, and may panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use prejoin_image_builder::class::Class;
use prejoin_image_builder::debian::keyring::{self, Keyring, Rejection, SignatureError};
use prejoin_image_builder::debian::locking;
use prejoin_image_builder::debian::release::{Policy, Release, ReleaseError};
use prejoin_image_builder::debian::repository::Universe;
use prejoin_image_builder::debian::resolve::{Request, Resolution, Wanted, resolve};
use prejoin_image_builder::debian::version;
use prejoin_image_builder::events::Event;
use prejoin_image_builder::io::archive::{Query, Snapshot, snapshot};
use prejoin_image_builder::io::cache::Cache;
use prejoin_image_builder::io::error::FetchError;
use prejoin_image_builder::io::fetch::{Fetcher, Least, Settings, downloads};
use prejoin_image_builder::io::mirror::{self, Mirrors};
use prejoin_profiles::lock::Lock;
use prejoin_profiles::os::Repository;
use prejoin_wire::architecture::Architecture;
use prejoin_wire::digest::Digest;

#[path = "repository/archive.rs"]
mod archive;
#[path = "repository/server.rs"]
mod server;

use archive::{Archive, output, run};
use server::{Server, Trouble};

const SET: &str = "test-amd64";

/// One user's machine: a cache, a mirror address, and the keys of the profile.
struct Client {
    cache: Cache,
    mirrors: Mirrors,
    settings: Settings,
    repositories: BTreeMap<String, Repository>,
    keys: Vec<Vec<u8>>,
    now: i64,
    events: Mutex<Vec<Event>>,
}

impl Client {
    fn new(archive: &Archive, address: &str, cache: &Path) -> Self {
        let flags = BTreeMap::from([("ours".to_owned(), vec![address.to_owned()])]);
        let settings = mirror::Settings {
            flags,
            ..mirror::Settings::default()
        };
        let repository = Repository {
            archive: "ours".to_owned(),
            suite: "stable".to_owned(),
            components: vec!["main".to_owned()],
            keys: vec![archive.fingerprint.clone()],
            priority: 500,
        };
        Client {
            cache: Cache::new(cache),
            mirrors: Mirrors::find(["ours"], &settings).unwrap(),
            settings: Settings {
                attempts: 3,
                pause: Duration::from_millis(1),
                ..Settings::default()
            },
            repositories: BTreeMap::from([("main".to_owned(), repository)]),
            keys: vec![archive.key.clone()],
            now: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap()
                .as_secs() as i64,
            events: Mutex::default(),
        }
    }

    fn offline(mut self) -> Self {
        self.settings.offline = true;
        self
    }

    fn snapshot(&self, previous: Option<&Lock>) -> Result<Snapshot, FetchError> {
        let sink = |event| self.events.lock().unwrap().push(event);
        let fetcher = Fetcher::new(&self.cache, &self.mirrors, self.settings, &sink);
        let keys: Vec<&[u8]> = self.keys.iter().map(Vec::as_slice).collect();
        snapshot(
            &fetcher,
            &Query {
                repositories: &self.repositories,
                architectures: &[Architecture::Amd64],
                keys: &keys,
                previous,
                now: self.now,
                accept_expired: false,
            },
        )
    }

    /// `prejoin lock`.
    fn lock(&self, wanted: &str) -> Result<Lock, FetchError> {
        let snapshot = self.snapshot(None)?;
        let mut lock = locking::empty(None, snapshot.releases.clone());
        locking::add(
            &mut lock,
            SET,
            Digest::of(wanted.as_bytes()),
            &resolution(&snapshot, wanted),
        )
        .unwrap();
        Ok(lock)
    }

    /// What `prejoin build` fetches.
    fn fetch(&self, lock: &Lock) -> Result<Vec<PathBuf>, FetchError> {
        let sink = |event| self.events.lock().unwrap().push(event);
        Fetcher::new(&self.cache, &self.mirrors, self.settings, &sink)
            .fetch_all(&downloads(lock, SET).unwrap())
    }

    fn retries(&self) -> usize {
        self.events
            .lock()
            .unwrap()
            .iter()
            .filter(|event| matches!(event, Event::Retry { .. }))
            .count()
    }
}

fn resolution(snapshot: &Snapshot, wanted: &str) -> Resolution {
    let universe =
        Universe::new(&snapshot.indexes[&Architecture::Amd64], Architecture::Amd64).unwrap();
    let wanted = wanted.split_whitespace().map(Wanted::parse).collect();
    resolve(
        &universe,
        &Request {
            wanted,
            ..Request::default()
        },
    )
    .unwrap()
}

/// The error with its causes, as the command line prints it.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

fn release_error(error: FetchError) -> ReleaseError {
    assert_eq!(error.class(), Class::Integrity);
    match error {
        FetchError::Release { source, .. } => source,
        other => panic!("{}", chain(&other)),
    }
}

/// No file under a finished name has another content, and none is there that should not be.
fn finished(cache: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for folder in fs::read_dir(cache.join("sha256")).into_iter().flatten() {
        for file in fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            assert_eq!(Digest::of(&fs::read(&path).unwrap()).to_string(), name);
            names.insert(name);
        }
    }
    names
}

macro_rules! archive {
    () => {
        match Archive::make() {
            Some(archive) => archive,
            None => return,
        }
    };
}

#[test]
fn locks_and_fetches_from_http_and_file_mirrors_and_then_offline() {
    let archive = archive!();
    let server = Server::start(&archive.root);
    let cache = archive.folder("cache");
    let client = Client::new(&archive, &server.address, &cache);
    let lock = client.lock("app").unwrap();
    let names: Vec<_> = lock.sets[SET].packages.iter().map(String::as_str).collect();
    assert_eq!(
        names,
        ["app_1.0_amd64", "data_3_all", "library_1:2.0-1_amd64"]
    );
    let paths = client.fetch(&lock).unwrap();
    for (path, name) in paths.iter().zip(["app", "data", "library"]) {
        assert_eq!(
            output("dpkg-deb", &["--field", path.to_str().unwrap(), "Package"]).trim(),
            name
        );
    }

    // The rest works without a server: from the cache alone, and from a folder.
    drop(server);
    let offline = Client::new(&archive, "http://192.0.2.1/debian", &cache).offline();
    assert_eq!(offline.lock("app").unwrap(), lock);
    assert_eq!(offline.fetch(&lock).unwrap(), paths);
    let local = format!("file://{}", archive.root.display());
    let local = Client::new(&archive, &local, &archive.folder("second"));
    assert_eq!(local.lock("app").unwrap(), lock);
    local.fetch(&lock).unwrap();
}

#[test]
fn apt_chooses_the_same() {
    let archive = archive!();
    let client = Client::new(
        &archive,
        &format!("file://{}", archive.root.display()),
        &archive.folder("cache"),
    );
    let snapshot = client.snapshot(None).unwrap();
    for wanted in [
        "app",
        "app other",
        "mailer",
        "mailer postfix",
        "picky",
        "picky other",
        "either",
        "either second",
    ] {
        let ours: BTreeSet<_> = resolution(&snapshot, wanted)
            .packages
            .into_iter()
            .map(|(name, p)| format!("{name} {}", p.version))
            .collect();
        assert_eq!(ours, archive.apt(wanted), "{wanted}");
    }
}

#[test]
fn signatures_are_judged_as_gpgv_does() {
    let archive = archive!();
    let client = || {
        Client::new(
            &archive,
            &format!("file://{}", archive.root.display()),
            &archive.folder("cache"),
        )
    };
    assert!(archive.gpgv() && client().snapshot(None).is_ok());

    // A word of the text, a byte of the signature, and a line before and behind.
    let good = fs::read_to_string(archive.in_release()).unwrap();
    let armor = good.find("-----BEGIN PGP SIGNATURE").unwrap() + 60;
    let mut flipped = good.clone().into_bytes();
    flipped[armor] = if flipped[armor] == b'A' { b'B' } else { b'A' };
    for (text, verdict) in [
        (good.replacen("Suite: stable", "Suite: stabld", 1), false),
        (String::from_utf8(flipped).unwrap(), false),
        (good[..good.len() / 2].to_owned(), false),
    ] {
        fs::write(archive.in_release(), &text).unwrap();
        assert_eq!(archive.gpgv(), verdict);
        let error = client().snapshot(None).unwrap_err();
        assert_eq!(error.class(), Class::Integrity, "{}", chain(&error));
    }
    // gpgv only warns of these, and apt looks at signed text alone: here they are refused outright.
    for text in [
        format!("Suite: evil\n{good}"),
        format!("{good}Suite: evil\n"),
    ] {
        fs::write(archive.in_release(), &text).unwrap();
        assert!(matches!(
            release_error(client().snapshot(None).unwrap_err()),
            ReleaseError::Cleartext(_)
        ));
    }
    assert!(
        finished(&archive.folder("cache")).len() <= 1,
        "nothing but the first index was ever taken"
    );
}

#[test]
fn weak_expired_revoked_and_foreign_keys_are_refused() {
    let archive = archive!();
    let address = format!("file://{}", archive.root.display());
    let rejections = |client: &Client| match release_error(client.snapshot(None).unwrap_err()) {
        ReleaseError::Signature(SignatureError::NoneGood { rejected, .. }) => rejected,
        other => panic!("{other}"),
    };
    let client = || Client::new(&archive, &address, &archive.folder("cache"));
    // Whoever has a wrong clock is not to look for new keys first.
    let asks_clock = |client: &Client| {
        let hint = client.snapshot(None).err().and_then(|error| error.hint());
        hint.is_some_and(|hint| hint.starts_with("this machine's clock says "))
    };

    archive.sign(
        &["--digest-algo", "SHA1", "--allow-weak-digest-algos"],
        &archive.fingerprint,
    );
    assert_eq!(
        rejections(&client()),
        [Rejection::Weak {
            hash: "SHA1".into()
        }]
    );
    archive.sign(&[], &archive.fingerprint);
    client().snapshot(None).unwrap();

    let mut early = client();
    early.now -= 3600;
    assert!(matches!(rejections(&early)[..], [Rejection::Future { .. }]));
    assert!(asks_clock(&early));
    assert!(!asks_clock(&client()));
    let mut late = client();
    late.now += 2 * 365 * 86400;
    assert!(matches!(
        rejections(&late)[..],
        [Rejection::KeyExpired { .. }]
    ));
    assert!(asks_clock(&late));

    let other = archive.generate("other@example.org", "0");
    archive.sign(&[], &other);
    assert!(matches!(
        rejections(&client())[..],
        [Rejection::Unknown { .. }]
    ));
    archive.sign(&["--local-user", &archive.fingerprint], &other);
    client().snapshot(None).unwrap();

    let mut missing = client();
    missing.keys.clear();
    assert!(matches!(
        missing.snapshot(None),
        Err(FetchError::Keyring { .. })
    ));
    let mut revoked = client();
    revoked.keys = vec![archive.revoked()];
    archive.sign(&[], &archive.fingerprint);
    assert!(matches!(
        rejections(&revoked)[..],
        [Rejection::KeyRevoked { .. }]
    ));
}

#[test]
fn a_release_past_its_end_of_another_suite_or_older_than_the_lock_is_refused() {
    let archive = archive!();
    let client = || {
        Client::new(
            &archive,
            &format!("file://{}", archive.root.display()),
            &archive.folder("cache"),
        )
    };
    let lock = client().lock("app").unwrap();

    let mut late = client();
    late.now += 8 * 86400;
    let error = release_error(late.snapshot(None).unwrap_err());
    assert!(matches!(error, ReleaseError::Expired { .. }), "{error}");
    assert!(error.hint().unwrap().contains("'s clock says "));

    let mut other = client();
    other.repositories.get_mut("main").unwrap().suite = "testing".to_owned();
    fs::create_dir_all(archive.root.join("dists/testing")).unwrap();
    fs::copy(
        archive.in_release(),
        archive.root.join("dists/testing/InRelease"),
    )
    .unwrap();
    assert!(matches!(
        release_error(other.snapshot(None).unwrap_err()),
        ReleaseError::Suite { .. }
    ));

    let mut newer = lock.clone();
    newer.releases.get_mut("main").unwrap().date += 1;
    let error = release_error(client().snapshot(Some(&newer)).unwrap_err());
    assert_eq!(error, ReleaseError::RolledBack { seconds: 1 });
    client().snapshot(Some(&lock)).unwrap();
}

#[test]
fn an_altered_index_or_package_is_never_taken() {
    let archive = archive!();
    let cache = archive.folder("cache");
    let client = || {
        Client::new(
            &archive,
            &format!("file://{}", archive.root.display()),
            &cache,
        )
    };
    let index = archive
        .root
        .join("dists/stable/main/binary-amd64/Packages.gz");
    let good = fs::read(&index).unwrap();
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    fs::write(&index, &bad).unwrap();
    let error = client().snapshot(None).unwrap_err();
    assert!(
        matches!(error, FetchError::Altered { .. }),
        "{}",
        chain(&error)
    );
    assert!(finished(&cache).is_empty());
    // Longer and shorter than signed for.
    fs::write(&index, [&good[..], b"more"].concat()).unwrap();
    assert_eq!(
        client().snapshot(None).unwrap_err().class(),
        Class::Integrity
    );
    fs::write(&index, &good[..good.len() - 1]).unwrap();
    assert_eq!(client().snapshot(None).unwrap_err().class(), Class::Network);
    fs::write(&index, &good).unwrap();

    let lock = client().lock("app").unwrap();
    let package = archive.root.join(&lock.packages["app_1.0_amd64"].path);
    let mut bytes = fs::read(&package).unwrap();
    bytes[100] ^= 1;
    fs::write(&package, &bytes).unwrap();
    let error = client().fetch(&lock).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("app_1.0_amd64 is not what was signed for"),
        "{error}"
    );
    assert!(!finished(&cache).contains(&lock.packages["app_1.0_amd64"].sha256.to_string()));

    // And one that has vanished is named with all that is needed to find it elsewhere.
    fs::remove_file(&package).unwrap();
    let error = client().fetch(&lock).unwrap_err();
    let text = error.to_string();
    let (path, sha256) = (
        &lock.packages["app_1.0_amd64"].path,
        lock.packages["app_1.0_amd64"].sha256.to_string(),
    );
    assert!(
        text.contains("app_1.0_amd64") && text.contains(path) && text.contains(&sha256),
        "{text}"
    );
    assert!(error.hint().unwrap().contains("PREJOIN_MIRROR_OURS"));
}

#[test]
fn interrupted_downloads_go_on_where_they_broke_off() {
    let archive = archive!();
    let server = Server::start(&archive.root);
    let lock = Client::new(&archive, &server.address, &archive.folder("first"))
        .lock("app")
        .unwrap();
    let package = &lock.packages["app_1.0_amd64"];

    let client = Client::new(&archive, &server.address, &archive.folder("cut"));
    server.trouble(
        &package.path,
        [
            Trouble::CutAfter(30_000),
            Trouble::Status(503),
            Trouble::CutAfter(10_000),
        ],
    );
    client.fetch(&lock).unwrap();
    assert_eq!(client.retries(), 3);
    let ranges = server.ranges(&package.path);
    assert_eq!(
        ranges,
        [None, Some(30_000), Some(30_000), Some(40_000)],
        "each attempt asks for the rest only"
    );

    // A server that knows no ranges sends everything again, and one that lies about them is found out.
    for trouble in [Trouble::IgnoreRange, Trouble::WrongRange] {
        let client = Client::new(
            &archive,
            &server.address,
            &archive.folder(&format!("{trouble:?}")),
        );
        server.trouble(&package.path, [Trouble::CutAfter(30_000), trouble]);
        client.fetch(&lock).unwrap();
        assert_eq!(finished(client.cache.root()).len(), 3);
    }

    // What another build left half done is no reason to fail, even if it is rubbish.
    let client = Client::new(&archive, &server.address, &archive.folder("rubbish"));
    let partial = client.cache.root().join("partial");
    fs::create_dir_all(&partial).unwrap();
    fs::write(partial.join(package.sha256.to_string()), b"rubbish").unwrap();
    client.fetch(&lock).unwrap();

    let client = Client::new(&archive, &server.address, &archive.folder("down"));
    server.trouble(&package.path, [Trouble::Status(500); 3]);
    let error = client.fetch(&lock).unwrap_err();
    assert_eq!(
        (error.class(), client.retries()),
        (Class::Network, 2),
        "{error}"
    );
}

#[test]
fn a_server_that_sends_a_byte_now_and_then_is_given_up() {
    let archive = archive!();
    let server = Server::start(&archive.root);
    let lock = Client::new(&archive, &server.address, &archive.folder("first"))
        .lock("app")
        .unwrap();
    let client = |name: &str| {
        let mut client = Client::new(&archive, &server.address, &archive.folder(name));
        client.settings.least = Least {
            bytes: 5000,
            window: Duration::from_millis(100),
        };
        client
    };
    // It is never silent for long, and each attempt brings something.
    let package = &lock.packages["app_1.0_amd64"];
    server.trouble(&package.path, [Trouble::Drip(10, 20); 40]);
    let slow = client("slow");
    let error = slow.fetch(&lock).unwrap_err();
    assert_eq!(error.class(), Class::Network);
    let text = chain(&error);
    assert!(
        text.contains("less than 5000 in 0.1 s is too slow"),
        "{text}"
    );
    assert!(slow.retries() >= 2);
    // The same of a file whose size nobody knows.
    server.trouble("dists/stable/InRelease", [Trouble::Drip(10, 20); 40]);
    let error = client("release").snapshot(None).unwrap_err();
    assert!(chain(&error).contains("is too slow"), "{}", chain(&error));
}

#[test]
fn concurrent_builds_share_one_download() {
    let archive = archive!();
    let server = Server::start(&archive.root);
    let cache = archive.folder("cache");
    let lock = Client::new(&archive, &server.address, &archive.folder("first"))
        .lock("app")
        .unwrap();
    let before = server.ranges(&lock.packages["app_1.0_amd64"].path).len();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                Client::new(&archive, &server.address, &cache)
                    .fetch(&lock)
                    .unwrap()
            });
        }
    });
    assert_eq!(finished(&cache).len(), 3);
    assert_eq!(
        server.ranges(&lock.packages["app_1.0_amd64"].path).len() - before,
        1
    );
    assert_eq!(fs::read_dir(cache.join("partial")).unwrap().count(), 0);
}

#[test]
fn offline_names_what_is_missing_or_altered() {
    let archive = archive!();
    let cache = archive.folder("cache");
    let client = || {
        Client::new(
            &archive,
            &format!("file://{}", archive.root.display()),
            &cache,
        )
    };
    let error = client().offline().snapshot(None).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the release of ours stable is not in the cache"),
        "{error}"
    );
    let lock = client().lock("app").unwrap();
    client().fetch(&lock).unwrap();

    let sha256 = lock.packages["library_1:2.0-1_amd64"].sha256;
    let path = Cache::new(&cache).path(&sha256);
    let good = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let error = client().offline().fetch(&lock).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("library_1:2.0-1_amd64 is not in the cache"),
        "{error}"
    );
    assert!(error.to_string().contains(&sha256.to_string()), "{error}");

    fs::write(&path, &good[1..]).unwrap();
    let error = client().offline().fetch(&lock).unwrap_err();
    assert!(
        matches!(&error, FetchError::Cache { path: named, .. } if *named == path),
        "{error}"
    );
    // With a network it is said and put right.
    let online = client();
    online.fetch(&lock).unwrap();
    assert_eq!(fs::read(&path).unwrap(), good);
    assert!(
        online
            .events
            .lock()
            .unwrap()
            .iter()
            .any(|event| matches!(event, Event::Warning { .. }))
    );
}

#[test]
fn a_cache_that_cannot_be_written_is_an_error_unless_all_is_there() {
    let archive = archive!();
    let local = format!("file://{}", archive.root.display());
    let lock = Client::new(&archive, &local, &archive.folder("good"))
        .lock("app")
        .unwrap();
    // A file in the way works as a test for root, too, whom permissions do not stop.
    let cache = archive.folder("blocked");
    fs::create_dir_all(&cache).unwrap();
    fs::write(cache.join("partial"), b"").unwrap();
    let error = Client::new(&archive, &local, &cache)
        .fetch(&lock)
        .unwrap_err();
    assert_eq!(error.class(), Class::Environment);
    assert!(
        error
            .to_string()
            .contains(cache.join("partial").to_str().unwrap()),
        "{error}"
    );

    let ready = archive.folder("good");
    Client::new(&archive, &local, &ready).fetch(&lock).unwrap();
    for folder in [&ready, &ready.join("partial"), &ready.join("sha256")] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o555)).unwrap();
    }
    Client::new(&archive, &local, &ready).fetch(&lock).unwrap();
    for folder in [&ready, &ready.join("partial"), &ready.join("sha256")] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn a_full_disk_is_named_and_nothing_is_left_half_written() {
    let archive = archive!();
    let local = format!("file://{}", archive.root.display());
    let lock = Client::new(&archive, &local, &archive.folder("good"))
        .lock("app")
        .unwrap();
    let full = archive.folder("full");
    fs::create_dir_all(&full).unwrap();
    let Some(_mounted) = archive::Mounted::small(&full) else {
        return;
    };
    let error = Client::new(&archive, &local, &full)
        .fetch(&lock)
        .unwrap_err();
    match &error {
        FetchError::Io { source, .. } if source.kind() == ErrorKind::StorageFull => {
            assert!(error.hint().unwrap().contains("free some space"), "{error}");
        }
        other => panic!("{}", chain(other)),
    }
    assert!(finished(&full).is_empty());
}

#[test]
fn a_release_of_debian_is_taken_with_the_keys_of_the_profile() {
    const CAPTURED: &[u8] = include_bytes!("repository/captured/trixie-security.InRelease");
    const SECURITY: &[u8] =
        include_bytes!("../../profiles/keys/debian-archive-trixie-security-automatic.asc");
    const AUTOMATIC: &[u8] =
        include_bytes!("../../profiles/keys/debian-archive-trixie-automatic.asc");
    const STABLE: &[u8] = include_bytes!("../../profiles/keys/debian-archive-trixie-stable.asc");
    let fingerprint = |file: &[u8]| keyring::fingerprints(file).unwrap();
    assert_eq!(
        fingerprint(SECURITY),
        ["5E04A1E3223A19A20706E20F9904613D4CCE68C6"]
    );
    assert_eq!(
        fingerprint(AUTOMATIC),
        ["04B54C3CDCA79751B16BC6B5225629DF75B188BD"]
    );
    assert_eq!(
        fingerprint(STABLE),
        ["41587F7DB8C774BCCF131416762F67A0B2C39DE4"]
    );

    let open = |key: &[u8], now: i64| {
        let keyring = Keyring::pinned(&fingerprint(key), [SECURITY, AUTOMATIC, STABLE]).unwrap();
        let policy = Policy {
            suite: "trixie-security",
            now,
            newest: None,
            accept_expired: false,
        };
        Release::open(CAPTURED, &keyring, &policy)
    };
    // 2026-11-20, three days after it was signed by a subkey.
    let release = open(SECURITY, 1_795_132_800).unwrap();
    assert_eq!(
        (
            release.suite.as_str(),
            release.by_hash,
            release.separate_all
        ),
        ("stable-security", true, false)
    );
    assert_eq!(
        release.signer.fingerprint,
        "5E04A1E3223A19A20706E20F9904613D4CCE68C6"
    );
    assert!(release.files.contains_key("main/binary-arm64/Packages.xz"));
    for other in [AUTOMATIC, STABLE] {
        assert!(matches!(
            open(other, 1_795_132_800),
            Err(ReleaseError::Signature(_))
        ));
    }
    assert!(matches!(
        open(SECURITY, 1_795_132_800 + 14 * 86400),
        Err(ReleaseError::Expired { .. })
    ));
    assert!(
        matches!(
            open(SECURITY, 2_100_000_000),
            Err(ReleaseError::Signature(_))
        ),
        "the key ends in 2035"
    );
}

#[test]
fn versions_are_ordered_as_dpkg_does() {
    if archive::absent("dpkg") {
        return;
    }
    const VERSIONS: [&str; 14] = [
        "1",
        "1.0",
        "1.0-1",
        "1:0.9",
        "1.0~rc1-1",
        "1.0-1+b1",
        "1.0-1+deb13u1",
        "1.0+dfsg-1",
        "1.00-1",
        "1.0a",
        "1.0~~",
        "1.0-1~bpo13+1",
        "0:1.0",
        "1.0.0.0.0.0.0.00000000000000000000000000000001",
    ];
    for a in VERSIONS {
        for b in VERSIONS {
            let ours = version::compare(a, b);
            for (operator, expected) in [
                ("lt", ours.is_lt()),
                ("eq", ours.is_eq()),
                ("gt", ours.is_gt()),
            ] {
                let status = run("dpkg", &["--compare-versions", a, operator, b]);
                assert_eq!(status, expected, "{a} {operator} {b}");
            }
        }
    }
}
