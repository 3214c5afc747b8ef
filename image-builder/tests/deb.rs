//! Reading `.deb` files: real ones made by dpkg-deb and compared with what it unpacks itself, and hostile ones made by
//! hand; then packs, assembly and scripts on top of them.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests work on files, run dpkg-deb, may panic and say what they skip"
)]

mod made;

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use prejoin_formats::tree::{Content, Contents, Kind};
use prejoin_image_builder::class::Class;
use prejoin_image_builder::debian::deb::{self, Limits, Sink, SinkError};
use prejoin_image_builder::debian::scripts;
use prejoin_image_builder::io::build;
use prejoin_image_builder::io::known::Known;
use prejoin_image_builder::io::pack::{self, Store};
use prejoin_image_builder::io::unpack::{self, Deb, Unpacked, unpack};
use prejoin_image_builder::package::Package;
use prejoin_image_builder::tree::assemble::{self, Filter, assemble};
use prejoin_image_builder::tree::libraries;
use prejoin_profiles::scripts::Table;
use prejoin_wire::digest::Digest;

use made::{Member, ar, deb_of, tar};

/// Keeps contents in memory.
#[derive(Default)]
struct Memory(BTreeMap<[u8; 32], Vec<u8>>);

impl Sink for Memory {
    fn file(&mut self, _: &[u8], size: u64, content: &mut dyn Read) -> Result<[u8; 32], SinkError> {
        let mut bytes = Vec::new();
        content
            .read_to_end(&mut bytes)
            .map_err(SinkError::Content)?;
        assert_eq!(bytes.len() as u64, size);
        let digest = Digest::of(&bytes).0;
        self.0.insert(digest, bytes);
        Ok(digest)
    }
}

fn read(bytes: &[u8]) -> Result<(Package, Memory), String> {
    let mut memory = Memory::default();
    let limits = Limits {
        unpacked: 64 << 20,
        ..Limits::default()
    };
    let package = deb::read(bytes, &limits, &mut memory).map_err(|error| {
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        format!("{error}{}", source.unwrap_or_default())
    })?;
    Ok((package, memory))
}

/// The message a package is refused with.
fn refusal(members: &[Member]) -> String {
    read(&deb_of(members))
        .err()
        .unwrap_or_else(|| "it was accepted".into())
}

/// Whether `program` is there. Without it a test is skipped loudly, on CI it fails.
fn have(program: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success());
    assert!(
        found || std::env::var_os("CI").is_none(),
        "{program} is needed on CI"
    );
    if !found {
        eprintln!("SKIPPED: {program} is not installed");
    }
    found
}

/// A package folder as dpkg-deb builds from.
fn source(root: &Path) {
    let long = "d/".repeat(60) + &"f".repeat(200);
    for (path, bytes, mode) in [
        (
            "DEBIAN/control",
            "Package: sample\nVersion: 1:2-3\nArchitecture: all\nMaintainer: A <a@b>\nDescription: x\n",
            0o644,
        ),
        ("DEBIAN/conffiles", "/etc/sample.conf\n", 0o644),
        ("DEBIAN/postinst", "#!/bin/sh\nset -e\nexit 0\n", 0o755),
        ("DEBIAN/triggers", "activate-noawait ldconfig\n", 0o644),
        ("etc/sample.conf", "a = 1\n", 0o600),
        ("usr/bin/sample", "#!/bin/sh\n", 0o4755),
        ("usr/share/empty", "", 0o644),
        ("usr/share/f\u{151}tan\u{fa} x", "name\n", 0o644),
        (long.as_str(), "long\n", 0o644),
    ] {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    std::fs::write(
        root.join("usr/share/large"),
        (0..300_000_u32)
            .flat_map(u32::to_le_bytes)
            .collect::<Vec<u8>>(),
    )
    .unwrap();
    std::fs::hard_link(root.join("usr/bin/sample"), root.join("usr/bin/sample-too")).unwrap();
    std::os::unix::fs::symlink(
        "../share/".to_owned() + &"s".repeat(150),
        root.join("usr/bin/link"),
    )
    .unwrap();
    std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn packages_made_by_dpkg_deb_are_read_as_dpkg_deb_unpacks_them() {
    if !have("dpkg-deb") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    source(&folder.path().join("source"));
    for compression in ["xz", "zstd", "gzip", "none"] {
        let deb = folder.path().join(format!("{compression}.deb"));
        let mut build = Command::new("dpkg-deb");
        build.args([
            "--root-owner-group",
            "--uniform-compression",
            "-Z",
            compression,
            "--build",
        ]);
        let output = build
            .arg(folder.path().join("source"))
            .arg(&deb)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let unpacked = folder.path().join(compression);
        assert!(
            Command::new("dpkg-deb")
                .arg("-x")
                .args([&deb, &unpacked])
                .status()
                .unwrap()
                .success()
        );

        let (package, contents) = read(&std::fs::read(&deb).unwrap()).unwrap();
        assert_eq!(
            (package.name.as_str(), package.version.as_str()),
            ("sample", "1:2-3")
        );
        assert_eq!(package.conffiles, ["/etc/sample.conf"]);
        assert_eq!(
            package.scripts.keys().collect::<Vec<_>>(),
            ["postinst", "triggers"]
        );
        let mut files = 0;
        for (path, entry) in &package.entries {
            let path = unpacked.join(std::str::from_utf8(path).unwrap());
            let found = std::fs::symlink_metadata(&path).unwrap();
            match &entry.kind {
                Kind::Directory => assert!(found.is_dir()),
                Kind::File(Content::Blob { digest, .. }) => {
                    assert_eq!(std::fs::read(&path).unwrap(), contents.0[digest]);
                    files += 1;
                }
                Kind::Symlink(target) => {
                    assert_eq!(
                        std::fs::read_link(&path)
                            .unwrap()
                            .as_os_str()
                            .as_encoded_bytes(),
                        target
                    );
                }
                Kind::HardLink(target) => {
                    let target = unpacked.join(std::str::from_utf8(target).unwrap());
                    assert_eq!(found.ino(), std::fs::metadata(target).unwrap().ino());
                    files += 1;
                }
                other => panic!("{other:?}"),
            }
            if !matches!(entry.kind, Kind::Symlink(_) | Kind::HardLink(_)) {
                assert_eq!(
                    u32::from(entry.mode),
                    found.mode() & 0o7777,
                    "{}",
                    path.display()
                );
            }
            if matches!(entry.kind, Kind::File(_)) {
                assert_eq!(entry.mtime, found.mtime(), "{}", path.display());
            }
        }
        let find = Command::new("find")
            .arg(&unpacked)
            .args(["-type", "f"])
            .output()
            .unwrap();
        assert_eq!(
            files,
            find.stdout.iter().filter(|&&byte| byte == b'\n').count()
        );
    }
}

#[test]
fn paths_outside_of_the_tree_are_refused() {
    for (path, expected) in [
        (
            "../etc/passwd",
            "member `../etc/passwd`: its path has a `..` component",
        ),
        (
            "./usr/../../x",
            "member `./usr/../../x`: its path has a `..` component",
        ),
        ("/etc/passwd", "member `/etc/passwd`: its path is absolute"),
        (".//etc", "member `.//etc`: its path has an empty component"),
        (
            "./a/./b",
            "member `./a/./b`: its path has an empty component",
        ),
    ] {
        assert_eq!(refusal(&[Member::file(path, b"x")]), expected);
    }
    assert!(refusal(&[Member::pax("path", b"a\0b"), Member::file("x", b"")]).contains("NUL"));
    assert!(refusal(&[Member::pax("path", b"../b"), Member::file("x", b"")]).contains("`..`"));
}

#[test]
fn kinds_that_no_package_may_ship_are_refused() {
    for (kind, what) in [
        (b'3', "a device node"),
        (b'4', "a device node"),
        (b'6', "a named pipe"),
        (b'S', "a sparse file"),
        (b'Z', "of an unknown kind"),
    ] {
        let refusal = refusal(&[Member {
            kind,
            ..Member::file("./dev/x", b"")
        }]);
        assert_eq!(
            refusal,
            format!("member `./dev/x`: it is {what}, which a package may not ship")
        );
    }
    let link = |target| Member {
        kind: b'1',
        link: target,
        ..Member::file("./b", b"")
    };
    for target in ["/etc/shadow", "../x", "./later", "./"] {
        assert!(
            refusal(&[link(target), Member::file("./later", b"")]).contains("hard link"),
            "{target}"
        );
    }
    assert!(
        refusal(&[Member {
            kind: b'2',
            link: "",
            ..Member::file("./b", b"")
        }])
        .contains("symbolic link")
    );
    assert!(refusal(&[Member::file("./b", b""), Member::file("./b", b"")]).contains("twice"));
}

#[test]
fn extended_attributes_and_merged_directories() {
    let (package, _) = read(&deb_of(&[
        Member {
            kind: b'2',
            link: "usr/bin",
            ..Member::file("./bin", b"")
        },
        Member::pax("SCHILY.xattr.security.capability", b"\x01\0\x02"),
        Member::file("./bin/ping", b"x"),
        Member {
            kind: b'5',
            ..Member::file("./lib/", b"")
        },
        Member {
            kind: b'1',
            link: "./bin/ping",
            ..Member::file("./sbin/ping6", b"")
        },
    ]))
    .unwrap();
    let paths: Vec<_> = package
        .entries
        .iter()
        .map(|(path, _)| String::from_utf8_lossy(path).into_owned())
        .collect();
    assert_eq!(paths, ["bin", "usr/bin/ping", "usr/lib", "usr/sbin/ping6"]);
    assert_eq!(
        package.entries[1].1.xattrs[&b"security.capability"[..]],
        b"\x01\0\x02"
    );
    assert_eq!(
        package.entries[3].1.kind,
        Kind::HardLink(b"usr/bin/ping".to_vec())
    );
}

#[test]
fn archives_that_grow_out_of_proportion_are_refused() {
    let zeros = vec![0; 65 << 20];
    assert_eq!(
        refusal(&[Member::file("./zero", &zeros)]),
        "data.tar unpacks to more than 64.0 MiB"
    );
    // The header alone claims 8 TiB: refused before anything is read.
    let claim = Member {
        size: Some(8 << 40),
        ..Member::file("./claim", b"")
    };
    assert!(refusal(&[claim]).contains("unpacks to more than"));
    let limits = Limits {
        entries: 3,
        ..Limits::default()
    };
    let names = ["./a", "./b", "./c", "./d"];
    let members: Vec<Member> = names.iter().map(|name| Member::file(name, b"")).collect();
    let error =
        deb::read(deb_of(&members).as_slice(), &limits, &mut Memory::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "member `./d`: the archive has more than 3 members"
    );
    assert!(
        refusal(&[Member {
            kind: b'x',
            size: Some(2 << 20),
            ..Member::file("./x", b"")
        }])
        .contains("extension header")
    );
}

#[test]
fn damaged_archives_are_errors_wherever_the_damage_is() {
    let good = deb_of(&[Member::file("./a", &[7; 5000]), Member::file("./b", b"x")]);
    assert!(read(&good).is_ok());
    for length in (0..good.len() - 1).step_by(7) {
        assert!(
            read(&good[..length]).is_err(),
            "cut to {length} of {}",
            good.len()
        );
    }
    // Damage in any byte is an error or gives another package, but never a panic.
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x55;
        let _ = read(&bad);
    }
    assert_eq!(
        read(b"PK\x03\x04 and more").err().unwrap(),
        "not a Debian package: it does not start with `!<arch>`"
    );
    let version = ar(&[("debian-binary", b"3.0\n")]);
    assert_eq!(
        read(&version).err().unwrap(),
        "the package format is not 2.x but `3.0`"
    );
    let control = tar(&[Member::file(
        "./control",
        b"Package: a\nVersion: 1\nArchitecture: all\n",
    )]);
    let lzma = ar(&[
        ("debian-binary", b"2.0\n"),
        ("control.tar", &control),
        ("data.tar.lzma", b""),
    ]);
    assert_eq!(
        read(&lzma).err().unwrap(),
        "`data.tar.lzma` is compressed in a way that is not supported"
    );
    let nothing = ar(&[
        ("debian-binary", b"2.0\n"),
        ("control.tar", &tar(&[])),
        ("data.tar", &tar(&[])),
    ]);
    assert_eq!(
        read(&nothing).err().unwrap(),
        "control.tar has no control file"
    );
    let mut header = good.clone();
    header[8 + 48..8 + 58].copy_from_slice(b"-1        ");
    assert_eq!(
        read(&header).err().unwrap(),
        "not a Debian package: an ar header has a damaged size"
    );
}

/// Writes a package into `folder`.
fn write(folder: &Path, name: &str, control: &str, members: &[Member]) -> Deb {
    let bytes = made::deb(name, control, members);
    let path = folder.join(format!("{name}.deb"));
    std::fs::write(&path, &bytes).unwrap();
    Deb {
        path,
        sha256: Digest::of(&bytes),
        name: format!("{name}_2_all"),
    }
}

/// With the cache's folder as the output folder, too.
fn unpacked(debs: &[Deb], cache: &Path) -> Unpacked {
    let known = Known::open(cache);
    let unpacked = unpack(debs, cache, &known, &Limits::default(), &|_| {}).unwrap();
    known.save(cache).unwrap();
    unpacked
}

fn content(store: &Store, package: &Package, path: &str) -> Vec<u8> {
    let (_, entry) = package
        .entries
        .iter()
        .find(|(candidate, _)| candidate == path.as_bytes())
        .unwrap();
    let Kind::File(content) = &entry.kind else {
        panic!("{path} is no file")
    };
    content.read(store).unwrap()
}

#[test]
fn a_pack_gives_what_the_package_gave() {
    let folder = tempfile::tempdir().unwrap();
    let large: Vec<u8> = (0..2_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let debs = [
        write(
            folder.path(),
            "b",
            "",
            &[
                Member::file("./large", &large),
                Member::file("./x", b"same"),
            ],
        ),
        write(
            folder.path(),
            "a",
            "",
            &[
                Member::file("./small", b"small"),
                Member::file("./y", b"same"),
            ],
        ),
    ];
    let first = unpacked(&debs, folder.path());
    std::fs::remove_file(&debs[0].path).unwrap();
    let second = unpacked(&debs, folder.path());
    assert_eq!(first.packages, second.packages);
    assert_eq!(first.packages[0].name, "b");
    for Unpacked { packages, store } in [&first, &second] {
        assert_eq!(content(store, &packages[0], "large"), large);
        assert_eq!(content(store, &packages[1], "small"), b"small");
        assert_eq!(content(store, &packages[1], "y"), b"same");
        let digest = Digest::of(&large).0;
        let mut buffer = [0; 8];
        store.read_at(&digest, 4000, &mut buffer).unwrap();
        assert_eq!(buffer, large[4000..4008]);
        assert!(
            store
                .read_at(&digest, large.len() as u64 - 7, &mut buffer)
                .is_err()
        );
        assert!(store.read_at(&[1; 32], 0, &mut buffer).is_err());
    }
    let left: Vec<_> = std::fs::read_dir(folder.path().join("unpacked"))
        .unwrap()
        .collect();
    assert_eq!(left.len(), 2, "no partial file stays");
}

#[test]
fn a_torn_pack_is_made_again_and_a_damaged_content_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let deb = write(
        folder.path(),
        "a",
        "",
        &[Member::file("./file", &[9; 10_000])],
    );
    let debs = [deb];
    unpacked(&debs, folder.path());
    let path = pack::path(folder.path(), &debs[0].sha256);
    let whole = std::fs::read(&path).unwrap();
    for length in [0, 1, 16, 5000, whole.len() - 56, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(pack::open(&path).is_err(), "cut to {length}");
        unpacked(&debs, folder.path());
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }
    let mut index = whole.clone();
    index[whole.len() - 100] ^= 1;
    std::fs::write(&path, &index).unwrap();
    assert!(pack::open(&path).is_err());
    let mut damaged = whole.clone();
    damaged[5000] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    let error = read_all(&path).unwrap_err().to_string();
    assert!(error.starts_with(path.to_str().unwrap()), "{error}");
    assert!(
        error.contains(" is damaged at byte 16; it was removed"),
        "{error}"
    );
    unpacked(&debs, folder.path());
    assert_eq!(std::fs::read(&path).unwrap(), whole);
    read_all(&path).unwrap();
}

/// Reads every content of a pack.
fn read_all(path: &Path) -> std::io::Result<()> {
    let (package, pack) = pack::open(path)?;
    let mut store = Store::new();
    store.add(pack);
    for (_, entry) in &package.entries {
        if let Kind::File(content) = &entry.kind {
            content.read(&store)?;
        }
    }
    Ok(())
}

/// A pack whose content somebody changed, with every checksum of its own computed anew, is another package's.
#[test]
fn a_pack_of_other_content_is_not_this_packages() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, out) = (folder.path().join("cache"), folder.path().join("out"));
    let member = |content: &[u8]| [Member::file("./usr/bin/hello", content)];
    let deb = write(folder.path(), "a", "", &member(b"good"));
    let evil = write(folder.path(), "evil", "", &member(b"evil"));
    let build = |deb: &Deb, out: &Path| {
        let known = Known::open(out);
        let debs = std::slice::from_ref(deb);
        let made = unpack(debs, &cache, &known, &Limits::default(), &|_| {})?;
        known.save(out).unwrap();
        Ok::<_, unpack::Error>(content(&made.store, &made.packages[0], "usr/bin/hello"))
    };
    build(&evil, &folder.path().join("elsewhere")).unwrap();
    let (path, forged) = [&deb, &evil]
        .map(|deb| pack::path(&cache, &deb.sha256))
        .into();
    let forge = || std::fs::copy(&forged, &path).unwrap();
    forge();
    assert!(pack::open(&path).is_ok(), "it is whole in itself");
    assert_eq!(
        build(&deb, &out).unwrap(),
        b"good",
        "found by the first build"
    );
    forge();
    assert_eq!(build(&deb, &out).unwrap(), b"good", "changed after a build");
    assert_eq!(build(&deb, &out).unwrap(), b"good");
    forge();
    std::fs::remove_file(&deb.path).unwrap();
    let error = build(&deb, &out).unwrap_err();
    assert!(matches!(error, unpack::Error::Open { .. }), "{error}");
}

#[test]
fn writers_of_one_pack_do_not_meet() {
    let folder = tempfile::tempdir().unwrap();
    let large: Vec<u8> = (0..500_000_u32).flat_map(u32::to_le_bytes).collect();
    let debs = [write(
        folder.path(),
        "a",
        "",
        &[Member::file("./large", &large)],
    )];
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let Unpacked { packages, store } = unpacked(&debs, folder.path());
                assert_eq!(content(&store, &packages[0], "large"), large);
            });
        }
    });
    read_all(&pack::path(folder.path(), &debs[0].sha256)).unwrap();
}

#[test]
fn a_package_that_is_not_the_locked_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut deb = write(folder.path(), "a", "", &[Member::file("./../x", b"")]);
    let error = unpack(
        std::slice::from_ref(&deb),
        folder.path(),
        &Known::default(),
        &Limits::default(),
        &|_| {},
    )
    .unwrap_err();
    assert!(matches!(error, unpack::Error::Deb { .. }), "{error}");
    deb.sha256 = Digest::of(b"other");
    let error = unpack(
        &[deb],
        folder.path(),
        &Known::default(),
        &Limits::default(),
        &|_| {},
    )
    .unwrap_err();
    assert!(matches!(error, unpack::Error::Digest { .. }), "{error}");
    assert_eq!(
        std::fs::read_dir(folder.path().join("unpacked"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn a_package_is_what_the_lock_calls_it() {
    let folder = tempfile::tempdir().unwrap();
    let deb = write(folder.path(), "a", "", &[Member::file("./x", b"")]);
    let debs = [deb.clone()];
    unpacked(&debs, folder.path());
    for name in ["b_2_all", "a_3_all", "a_2_amd64"] {
        // Once from the pack that is there, once from the package itself.
        for cache in [folder.path().to_owned(), folder.path().join(name)] {
            let called = [Deb {
                name: name.into(),
                ..deb.clone()
            }];
            let known = Known::open(folder.path());
            let error = unpack(&called, &cache, &known, &Limits::default(), &|_| {}).unwrap_err();
            assert!(matches!(error, unpack::Error::Identity { .. }), "{error}");
            let text = error.to_string();
            assert!(text.ends_with(&format!("is a_2_all, not {name}")), "{text}");
            assert_eq!(build::Error::from(error).class(), Class::Integrity);
        }
    }
}

/// The message a package with these members of its control archive is refused with.
fn control_refusal(members: &[Member]) -> String {
    let deb = ar(&[
        ("debian-binary", b"2.0\n"),
        ("control.tar", &tar(members)),
        ("data.tar", &tar(&[])),
    ]);
    read(&deb).err().unwrap_or_else(|| "it was accepted".into())
}

#[test]
fn what_is_no_file_in_the_control_archive_is_refused() {
    let control = Member::file("./control", b"Package: a\nVersion: 1\nArchitecture: all\n");
    let root = Member {
        kind: b'5',
        ..Member::file("./", b"")
    };
    assert_eq!(control_refusal(&[root, control.clone()]), "it was accepted");
    for (kind, what) in [
        (b'1', "a hard link"),
        (b'2', "a symbolic link"),
        (b'3', "a device node"),
        (b'5', "a directory"),
        (b'6', "a named pipe"),
    ] {
        for path in [
            "./postinst",
            "./triggers",
            "./conffiles",
            "./md5sums",
            "config",
        ] {
            let member = Member {
                kind,
                link: "/bin/sh",
                ..Member::file(path, b"")
            };
            assert_eq!(
                control_refusal(&[control.clone(), member]),
                format!("member `{path}`: it is {what}, which a package may not ship")
            );
        }
    }
    let script = Member::file("./postinst", b"#!/bin/sh\n");
    assert_eq!(
        control_refusal(&[control.clone(), script.clone(), script]),
        "member `./postinst`: it is in the archive twice"
    );
    let below = Member::file("./x/postinst", b"");
    assert!(control_refusal(&[control, below]).contains("a file in a folder"));
}

#[test]
fn a_path_is_no_deeper_than_verify_reads() {
    let deep = |folders: usize| {
        let path = "d/".repeat(folders) + "f";
        refusal(&[Member::pax("path", path.as_bytes()), Member::file("x", b"")])
    };
    assert_eq!(deep(63), "it was accepted");
    assert!(
        deep(64).ends_with("it lies deeper than 64 folders"),
        "{}",
        deep(64)
    );
    assert!(deep(1200).ends_with("it lies deeper than 64 folders"));
}

#[test]
fn what_text_is_made_of_is_plain() {
    let member = |path: &str| {
        let path = Member::pax("path", path.as_bytes());
        refusal(&[path, Member::file("x", b"")])
    };
    for path in ["usr/a\nb", "usr/\x1b[2Jx", "usr/a\x7fb", "usr/a\u{9b}b"] {
        let refusal = member(path);
        assert!(
            refusal.ends_with("its path holds a control character"),
            "{refusal}"
        );
    }
    assert_eq!(member("usr/F\u{151}tan\u{fa}s a.crt"), "it was accepted");
    let link = Member {
        kind: b'2',
        link: "a\x1b[1mb",
        ..Member::file("./b", b"")
    };
    assert!(refusal(&[link]).ends_with("the target of its link holds a control character"));

    let control = |text: &str| control_refusal(&[Member::file("./control", text.as_bytes())]);
    let fields = "Package: a\nVersion: 1\nArchitecture: all\n";
    assert_eq!(control(&format!("\n{fields}\n")), "it was accepted");
    for (text, expected) in [
        (
            fields.replace(": a\n", ": ../a\n"),
            "`Package` of the control file is `../a`",
        ),
        (
            fields.replace(": a\n", ": a b\n"),
            "`Package` of the control file is `a b`",
        ),
        (
            fields.replace(": 1\n", ": 1_2\n"),
            "`Version` of the control file is `1_2`",
        ),
        (
            fields.replace("all", "a/b"),
            "`Architecture` of the control file is `a/b`",
        ),
        (format!("{fields}\nPackage: b\n"), "more than one stanza"),
        (format!("{fields} x\n \n y\n"), "more than one stanza"),
        (
            format!("{fields}Description: \x1b[2J\n"),
            "its text holds a control character",
        ),
        (
            format!("{fields}Package: b\n"),
            "field `package` stands twice",
        ),
        (format!("{fields}b\n"), "`b` is not a field"),
    ] {
        let refusal = control(&text);
        assert!(refusal.contains(expected), "{text:?}: {refusal}");
    }
    let conffiles = Member::file("./conffiles", b"/etc/a\x1b\n");
    let control = Member::file("./control", fields.as_bytes());
    assert!(control_refusal(&[control, conffiles]).contains("control character"));
}

#[test]
fn a_module_that_would_write_a_line_of_its_own_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a b.ko", "a:b.ko", "a\u{2028}b.ko"] {
        let path = format!("./usr/lib/modules/6.1/{name}");
        let deb = write(folder.path(), "a", "", &[Member::file(&path, b"\x7fELF")]);
        let (known, limits) = (Known::default(), Limits::default());
        let error = unpack(&[deb], folder.path(), &known, &limits, &|_| {}).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(
            source.ends_with("its path cannot stand in modules.dep"),
            "{source}"
        );
    }
}

/// A package that was read from memory.
fn package(name: &str, control: &str, members: &[Member]) -> Package {
    read(&made::deb(name, control, members)).unwrap().0
}

#[test]
fn packages_merge_into_one_tree() {
    let directory = |path, mode| Member {
        kind: b'5',
        mode,
        ..Member::file(path, b"")
    };
    let link = |path, target| Member {
        kind: b'2',
        link: target,
        ..Member::file(path, b"")
    };
    let a = package(
        "aa",
        "",
        &[
            directory("./usr/", 0o755),
            Member::file("./usr/x", b"1"),
            link("./usr/l", "x"),
        ],
    );
    let base = package(
        "base-files",
        "",
        &[directory("./usr/", 0o700), link("./bin", "usr/bin")],
    );
    let same = package(
        "cc",
        "",
        &[
            Member::file("./usr/x", b"1"),
            link("./usr/l", "x"),
            Member::file("./bin/sh", b"2"),
        ],
    );
    let Ok(assembled) = assemble(&[&a, &same, &base], &Filter::default()) else {
        panic!()
    };
    assert_eq!(
        assembled.tree.entry("usr").unwrap().mode,
        0o700,
        "base-files comes first"
    );
    assert_eq!(assembled.owners[&b"usr/x"[..]], "aa");
    assert!(assembled.tree.entry("usr/bin/sh").is_some());

    let other = package("dd", "", &[Member::file("./usr/x", b"other")]);
    let error = assemble(&[&a, &other], &Filter::default()).unwrap_err();
    assert_eq!(error.to_string(), "`usr/x` is shipped by both aa and dd");
    let replacing = package(
        "dd",
        "Replaces: bb,\n aa (<< 3)\n",
        &[Member::file("./usr/x", b"other")],
    );
    let assembled = assemble(&[&a, &replacing], &Filter::default()).unwrap();
    assert_eq!(assembled.owners[&b"usr/x"[..]], "dd");
    let replacing = package(
        "dd",
        "Replaces: aa (<< 1)\n",
        &[Member::file("./usr/x", b"other")],
    );
    assert!(
        assemble(&[&a, &replacing], &Filter::default()).is_err(),
        "the version does not fit"
    );
    let earlier = package("00", "Replaces: aa\n", &[Member::file("./usr/x", b"other")]);
    assert_eq!(
        assemble(&[&a, &earlier], &Filter::default())
            .unwrap()
            .owners[&b"usr/x"[..]],
        "00"
    );

    let below = package("ee", "", &[Member::file("./usr/l/y", b"")]);
    let error = assemble(&[&a, &below], &Filter::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "ee ships `usr/l/y`, but `usr/l` of aa is not a directory"
    );
    assert_eq!(
        assemble(&[&a, &a], &Filter::default()).unwrap_err(),
        assemble::Error::Twice("aa".into())
    );
}

#[test]
fn filters_leave_out_and_keep() {
    let directory = |path| Member {
        kind: b'5',
        mode: 0o750,
        ..Member::file(path, b"")
    };
    let a = package(
        "a",
        "",
        &[
            directory("./usr/share/doc/"),
            directory("./usr/share/doc/a/"),
            Member::file("./usr/share/doc/a/copyright", b"c"),
            Member::file("./usr/share/doc/a/changelog", b"1234"),
            directory("./usr/share/man/"),
            Member::file("./etc/rc2.d/x", b""),
            Member::file("./etc/rc.local", b""),
        ],
    );
    let filter = Filter::new(
        ["usr/share/doc/**", "usr/share/man", "etc/rc?.d"],
        ["usr/share/doc/*/copyright"],
    );
    let assembled = assemble(&[&a], &filter).unwrap();
    let paths: Vec<_> = assembled
        .tree
        .iter()
        .map(|(path, _)| String::from_utf8_lossy(path).into_owned())
        .collect();
    assert_eq!(
        paths,
        [
            "",
            "etc",
            "etc/rc.local",
            "usr",
            "usr/share",
            "usr/share/doc",
            "usr/share/doc/a",
            "usr/share/doc/a/copyright"
        ]
    );
    assert_eq!(
        assembled.tree.entry("usr/share/doc/a").unwrap().mode,
        0o750,
        "its own metadata, not made-up ones"
    );
    assert_eq!((assembled.skipped, assembled.skipped_bytes), (5, 4));

    for (pattern, path, expected) in [
        ("**/x", "a/b/x", true),
        ("**/x", "x", true),
        ("a/**/x", "a/x", true),
        ("a/**/x", "a/b/c/x/y", true),
        ("a/*/x", "a/b/c/x", false),
        ("*.ko", "a.ko", true),
        ("*.ko", "d/a.ko", false),
        ("**.ko", "d/a.ko", true),
        ("a*b*c", "aXbYbZc", true),
        ("a*b*c", "aXbYbZ", false),
        ("a?c", "a/c", false),
        ("usr/lib", "usr/library", false),
        ("usr/lib/**", "usr/lib/x/y", true),
        ("usr/lib/x*/y", "usr/lib/x1/z/x2/y", false),
    ] {
        assert_eq!(
            Filter::new([pattern], []).leaves_out(path.as_bytes()),
            expected,
            "{pattern} {path}"
        );
    }
}

#[test]
fn missing_libraries_are_found() {
    if !have("cc") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("l.c"), "int f(void) { return 1; }").unwrap();
    std::fs::write(path("p.c"), "int f(void); int main(void) { return f(); }").unwrap();
    let cc = |arguments: &[&str]| {
        assert!(
            Command::new("cc")
                .args(arguments)
                .status()
                .unwrap()
                .success()
        )
    };
    cc(&[
        "-shared",
        "-fPIC",
        "-nostdlib",
        "-Wl,-soname,libf.so.1",
        "-o",
        &path("libf.so.1"),
        &path("l.c"),
    ]);
    cc(&[
        "-nostdlib",
        "-Wl,-e,main",
        "-Wl,--enable-new-dtags",
        "-Wl,-rpath,$ORIGIN/../lib/private",
        "-o",
        &path("p"),
        &path("p.c"),
        &path("libf.so.1"),
    ]);
    let (program, library) = (
        std::fs::read(path("p")).unwrap(),
        std::fs::read(path("libf.so.1")).unwrap(),
    );
    for (place, found) in [
        ("./usr/lib/private/libf.so.1", true),
        ("./usr/lib/libf.so.1", true),
        ("./opt/libf.so.1", false),
    ] {
        let deb = write(
            folder.path(),
            "a",
            "",
            &[
                Member::file("./usr/bin/p", &program),
                Member::file(place, &library),
            ],
        );
        let Unpacked { packages, .. } = unpacked(&[deb], folder.path());
        let linkage = &packages[0].libraries[&b"usr/bin/p"[..]];
        assert_eq!(
            (linkage.needed.as_slice(), linkage.runpath.as_slice()),
            (
                &["libf.so.1".to_owned()][..],
                &["$ORIGIN/../lib/private".to_owned()][..]
            )
        );
        let packages = [&packages[0]];
        let missing =
            libraries::missing(&assemble(&packages, &Filter::default()).unwrap(), &packages);
        let texts: Vec<String> = missing.iter().map(ToString::to_string).collect();
        let expected = ["/usr/bin/p of a needs libf.so.1, which is nowhere"];
        assert_eq!(
            texts,
            if found { &expected[..0] } else { &expected[..] },
            "{place}"
        );
    }
}

#[test]
fn an_unknown_script_can_be_accepted_by_digest() {
    let mut package = Package {
        name: "a".into(),
        version: "1".into(),
        ..Package::default()
    };
    package
        .scripts
        .insert("postinst".into(), b"#!/bin/sh\nmake-something\n".to_vec());
    package
        .scripts
        .insert("prerm".into(), b"anything\n".to_vec());
    let table = Table::built_in("debian-13");
    let error = scripts::check([&package], &table, &[]).unwrap_err();
    let digest = Digest::of(b"make-something\n");
    assert_eq!(
        error.to_string(),
        format!(
            "a maintainer script is not known\na 1: postinst is not known (sha256:{digest})\n#!/bin/sh\nmake-something\n"
        )
    );
    let accepted = [format!("a/postinst@sha256:{digest}")];
    assert_eq!(
        scripts::check([&package], &table, &accepted).unwrap()[0].why,
        "accepted in the cluster file"
    );
    package.scripts.insert(
        "postinst".into(),
        b"#!/bin/sh\nmake-something else\n".to_vec(),
    );
    assert!(scripts::check([&package], &table, &accepted).is_err());
    package.scripts =
        BTreeMap::from([("triggers".into(), b"activate-noawait something\n".to_vec())]);
    assert!(scripts::check([&package], &table, &[]).is_err());
}

/// A kernel's script names its version in many lines; what is known of it holds for the next one too.
#[test]
fn a_kernel_update_stays_known() {
    let known = Digest::of(b"index-modules {kernel}\nsay \"{kernel} is there\"\n");
    let table = Table::parse(&format!(
        "snippets: []\ntriggers: {{}}\nscripts:\n  - script: linux-image-*/postinst\n    \
         rules: [F08]\n    why: indexes are made with the image\n    digests: [{known}]\n"
    ))
    .unwrap();
    let recognise = |version: &str, line: &str| {
        let text = format!(
            "#!/bin/sh\nset -e\n\n  index-modules {version}\nsay \"{version} is there\"\n{line}exit 0\n"
        );
        let package = Package {
            name: format!("linux-image-{version}"),
            version: "6.12.1-1".into(),
            scripts: BTreeMap::from([("postinst".into(), text.into_bytes())]),
            ..Package::default()
        };
        scripts::check([&package], &table, &[])
    };
    for version in [
        "6.12.117+deb13-amd64",
        "6.12.999+deb13-arm64",
        "6.13.1-cloud-amd64",
    ] {
        let findings = recognise(version, "").unwrap();
        assert_eq!(
            (findings.len(), findings[0].rules.as_slice()),
            (1, &["F08".to_owned()][..])
        );
        assert!(recognise(version, "do-more\n").is_err());
    }
}
