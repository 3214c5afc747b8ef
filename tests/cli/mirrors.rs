//! Archives that lie, servers that fail, and building without either.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use crate::archive::Key;
use crate::server::{Server, Trouble};
use crate::session::{Session, checked};
use crate::tiny::{self, TINY, built, cached, manifests, own_archive};

/// Runs the command, which must fail with this class and leave no lock.
fn refused(session: &mut Session, what: &str, code: i32) {
    session.note(&format!("{what}\n"));
    let output = session.run("lock");
    assert_eq!(output.status.code(), Some(code), "{what}");
    assert!(!session.path("prejoin.lock").exists(), "{what}");
}

#[test]
fn releases_that_are_refused() {
    let Some((mut session, archive)) = own_archive() else {
        return;
    };
    let in_release = archive.in_release();
    let good = fs::read_to_string(&in_release).unwrap();

    fs::write(&in_release, good.replace("Origin: Ours", "Origin: Evil")).unwrap();
    refused(
        &mut session,
        "a release that was changed after it was signed",
        5,
    );
    fs::write(&in_release, "<html>log in first</html>\n").unwrap();
    refused(&mut session, "a login page instead of a release", 5);
    archive.release(&Key::make("stranger@example.org"), 0, 7);
    refused(
        &mut session,
        "a release signed with a key that nobody named",
        5,
    );
    archive.release(&TINY.key, 30, 7);
    refused(&mut session, "a release that expired", 5);
    assert_eq!(session.run("lock --accept-expired").status.code(), Some(0));
    fs::remove_file(session.path("prejoin.lock")).unwrap();
    archive.release(&TINY.key, 0, 7);
    session.edit("profiles/os/tiny.yaml", "suite: tiny", "suite: tony");
    refused(&mut session, "a suite that the archive does not have", 4);
    session.edit("profiles/os/tiny.yaml", "suite: tony", "suite: tiny");
    session.edit(
        "profiles/os/tiny.yaml",
        &TINY.key.fingerprint,
        &"AB".repeat(20),
    );
    refused(&mut session, "a key that no file holds", 3);
    session.golden("releases");
}

#[test]
fn a_mirror_that_was_rolled_back() {
    let Some((mut session, archive)) = own_archive() else {
        return;
    };
    session.quietly("lock");
    let lock = session.read("prejoin.lock");
    archive.release(&TINY.key, 2, 7);
    assert_eq!(session.run("lock").status.code(), Some(5));
    assert_eq!(session.read("prejoin.lock"), lock);
    session.golden("rolled-back");
}

#[test]
fn an_index_that_is_not_the_signed_one() {
    let Some((mut session, archive)) = own_archive() else {
        return;
    };
    let index = archive
        .root
        .join("dists/tiny/main/binary-amd64/Packages.xz");
    let mut bytes = fs::read(&index).unwrap();
    bytes[100] ^= 1;
    fs::write(&index, bytes).unwrap();
    refused(&mut session, "an index with one byte changed", 5);
    fs::remove_file(&index).unwrap();
    refused(&mut session, "an index that is gone", 4);
    session.golden("index");
}

#[test]
fn packages_that_cannot_be_had() {
    let Some(mut session) = tiny::session() else {
        return;
    };
    session.write(
        "cluster.yaml",
        session.read("cluster.yaml") + "packages: [nonesuch]\n",
    );
    session.run("lock");
    session.edit("cluster.yaml", "nonesuch", "lonely");
    session.run("lock");
    session.golden("unresolvable");
}

#[test]
fn a_lock_that_no_longer_fits() {
    let Some(mut session) = tiny::session() else {
        return;
    };
    session.run("lock");
    session.run("lock --json");
    session.write(
        "cluster.yaml",
        session.read("cluster.yaml") + "packages: [victim]\n",
    );
    session.run("build");
    session.run("lock");
    session.edit(
        "profiles/os/tiny.yaml",
        "[base-files, base-passwd, hello]",
        "[base-files, base-passwd]",
    );
    session.run("build");
    session.run("lock");
    session.run("build three");
    session.golden("stale");
}

/// A lock, as somebody else made it: without the packages that it fetched and what it remembers of them.
fn locked_alone(session: &Session) {
    session.quietly("lock");
    for folder in ["cache", "out"] {
        fs::remove_dir_all(session.path(folder)).unwrap();
    }
}

#[test]
fn packages_that_are_not_the_locked_ones() {
    let Some((mut session, archive)) = own_archive() else {
        return;
    };
    locked_alone(&session);
    let deb = archive.pool().join("greeting_2.0_all.deb");
    let good = fs::read(&deb).unwrap();
    let refused = |session: &mut Session, what: &str, code: i32| {
        session.note(&format!("{what}\n"));
        assert_eq!(session.run("build one").status.code(), Some(code), "{what}");
        assert!(tiny::files(&session.path("out")).is_empty(), "{what}");
    };
    let mut bytes = good.clone();
    bytes[good.len() / 2] ^= 1;
    fs::write(&deb, &bytes).unwrap();
    refused(&mut session, "one byte changed", 5);
    fs::write(&deb, &good[..100_000]).unwrap();
    refused(&mut session, "cut short", 4);
    fs::remove_file(&deb).unwrap();
    refused(&mut session, "gone", 4);
    fs::write(&deb, &good).unwrap();
    session.quietly("build one");
    session.golden("packages");
}

#[test]
fn downloads_go_on_where_they_ended() {
    let Some(mut session) = tiny::session() else {
        return;
    };
    locked_alone(&session);
    let server = Server::start(&TINY.archive.root);
    session.set("PREJOIN_MIRROR_TINY", server.address.clone());
    let deb = "pool/greeting_2.0_all.deb";
    server.trouble(
        deb,
        [
            Trouble::CutAfter(100_000),
            Trouble::Status(503),
            Trouble::CutAfter(200_000),
        ],
    );
    let output = session.run("build one");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        server.ranges(deb),
        [None, Some(100_000), Some(100_000), Some(300_000)]
    );
    session.quietly("verify one");

    session.note("a server that only ever fails\n");
    fs::remove_dir_all(session.path("cache")).unwrap();
    server.trouble(deb, [Trouble::Status(503); 40]);
    assert_eq!(session.run("build two").status.code(), Some(4));
    assert!(!session.path("out/two.manifest.json").exists());

    session.note("a server that is not there\n");
    drop(server);
    session.set("PREJOIN_MIRROR_TINY", "http://127.0.0.1:1");
    assert_eq!(session.run("build two").status.code(), Some(4));
    session.golden("downloads");
}

#[test]
fn offline_means_the_cache_alone() {
    let Some(mut session) = built() else { return };
    let before = manifests(&session, "out");
    session.set("PREJOIN_MIRROR_TINY", "http://127.0.0.1:1");
    session.note("everything is cached\n");
    assert_eq!(
        session.run("build --offline --out again").status.code(),
        Some(0)
    );
    assert_eq!(manifests(&session, "again"), before);
    assert_eq!(session.run("lock --offline").status.code(), Some(0));

    let deb = cached(&session, "greeting");
    let good = fs::read(&deb).unwrap();
    session.note("a package is missing that was unpacked before\n");
    fs::remove_file(&deb).unwrap();
    assert_eq!(
        session.run("build --offline --out again").status.code(),
        Some(0)
    );
    assert_eq!(manifests(&session, "again"), before);
    session.note("a package is missing\n");
    fs::remove_dir_all(session.path("cache/unpacked")).unwrap();
    assert_eq!(session.run("build --offline").status.code(), Some(4));
    session.note("a package was altered\n");
    let mut bytes = good;
    bytes[5000] ^= 1;
    fs::write(&deb, bytes).unwrap();
    assert_eq!(session.run("build --offline").status.code(), Some(5));
    assert_eq!(manifests(&session, "out"), before);

    session.note("nothing is cached\n");
    fs::remove_dir_all(session.path("cache")).unwrap();
    assert_eq!(session.run("build --offline").status.code(), Some(4));
    assert_eq!(session.run("lock --offline").status.code(), Some(4));
    assert_eq!(manifests(&session, "out"), before);
    session.quietly("verify");
    session.golden("offline");
}

#[test]
fn a_redirect_from_https_to_http_is_not_followed() {
    let Some(mut session) = tiny::session() else {
        return;
    };
    // What answers with https sends to a server that would answer everything rightly.
    let plain = Server::start(&TINY.archive.root);
    let path = "dists/tiny/InRelease";
    let answer = |place: &str| {
        format!(
            "HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
    };
    session.write(
        &format!("tls/{path}"),
        answer(&format!("{}/{path}", plain.address)),
    );
    // A certificate that may sign others, as `req` makes it unasked, is none for a server.
    session.write(
        "tls/request",
        "[req]\ndistinguished_name = name\nx509_extensions = server\nprompt = no\n[name]\nCN = localhost\n\
         [server]\nsubjectAltName = IP:127.0.0.1\nbasicConstraints = critical, CA:FALSE\n",
    );
    let mut make = Command::new("openssl");
    make.args([
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
    ])
    .args([
        "-config",
        "request",
        "-keyout",
        "key.pem",
        "-out",
        "certificate.pem",
    ])
    .current_dir(session.path("tls"));
    checked(&mut make);
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut server = Command::new("openssl")
        .args([
            "s_server",
            "-quiet",
            "-HTTP",
            "-key",
            "key.pem",
            "-cert",
            "certificate.pem",
        ])
        .args(["-accept", &format!("127.0.0.1:{port}")])
        .current_dir(session.path("tls"))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(
            server.try_wait().unwrap().is_none(),
            "openssl s_server has ended"
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    session.set("PREJOIN_MIRROR_TINY", format!("https://127.0.0.1:{port}"));
    let certificate = session.path("tls/certificate.pem").display().to_string();
    session.set("SSL_CERT_FILE", certificate);
    let output = session.run("lock");
    server.kill().unwrap();
    server.wait().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("which is not https"), "{said}");
    assert!(plain.ranges(path).is_empty(), "the other server was asked");
}
