//! Unified kernel images, judged by objdump, sbsign and the `object` crate, on systemd's own stub.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "strangers judge, and strangers read files"
)]

mod tools;

use object::{Object, ObjectSection};
use prejoin_formats::tree::{Content, NoContents};
use prejoin_formats::uki::{build, sections};
use tools::{Noise, bytes, have, run, skip_if};

/// The stub as Debian's systemd-boot-efi installs it.
fn stub() -> Option<Vec<u8>> {
    let directory = "/usr/lib/systemd/boot/efi";
    let stubs = ["linuxx64.efi.stub", "linuxaa64.efi.stub"];
    let found = stubs
        .iter()
        .find_map(|name| std::fs::read(format!("{directory}/{name}")).ok());
    skip_if(found.is_none(), "no systemd stub (systemd-boot-efi)").then(|| found.unwrap())
}

fn parts() -> Vec<(&'static str, Vec<u8>)> {
    let mut noise = Noise::new(11);
    vec![
        (".osrel", b"ID=debian\nVERSION_ID=13\n".to_vec()),
        (".cmdline", b"ro panic=30\0".to_vec()),
        (".uname", b"6.12.117".to_vec()),
        (".initrd", noise.bytes(1_000_003)),
        (".linux", noise.bytes(300_001)),
    ]
}

fn uki(stub: &[u8]) -> Vec<u8> {
    let parts = parts();
    let sections: Vec<_> = parts
        .iter()
        .map(|(name, bytes)| (*name, Content::Bytes(bytes.as_slice().into())))
        .collect();
    bytes(&build(stub, &sections).unwrap().image, &NoContents)
}

#[test]
fn sections_are_read_back_by_us_and_by_object() {
    let Some(stub) = stub() else { return };
    let uki = uki(&stub);
    let before = sections(&stub).unwrap();
    let after = sections(&uki).unwrap();
    assert_eq!(after[..before.len()], before);
    let pe = object::read::pe::PeFile64::parse(&uki[..]).unwrap();
    for ((name, content), section) in parts().iter().zip(&after[before.len()..]) {
        assert_eq!(
            (section.name.as_str(), &uki[section.range.clone()]),
            (*name, &content[..])
        );
        assert!(pe.section_by_name(name).unwrap().data().unwrap() == content);
    }
    assert_eq!(pe.sections().count(), before.len() + 5);
}

#[test]
fn objdump_agrees_and_the_image_can_be_signed() {
    if !have(&["objdump", "openssl", "sbsign", "sbverify"]) {
        return;
    }
    let Some(stub) = stub() else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (file, signed, key, certificate) = (
        path("uki.efi"),
        path("signed.efi"),
        path("key"),
        path("certificate"),
    );
    std::fs::write(&file, uki(&stub)).unwrap();

    let list = run("objdump", &["-h", &file]);
    for (name, content) in parts() {
        let size = format!("{:08x}", content.len());
        assert!(
            list.lines()
                .any(|line| line.contains(name) && line.contains(&size)),
            "{name} {size}: {list}"
        );
    }
    for (name, content) in parts() {
        let target = path("section");
        run(
            "objcopy",
            &["-O", "binary", "--only-section", name, &file, &target],
        );
        let dumped = std::fs::read(&target).unwrap();
        assert!(
            dumped.starts_with(&content) && dumped[content.len()..].iter().all(|&byte| byte == 0),
            "{name}"
        );
    }

    let request = [
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-keyout", &key,
    ];
    run("openssl", &[&request[..], &["-out", &certificate]].concat());
    let said = run(
        "sbsign",
        &[
            "--key",
            &key,
            "--cert",
            &certificate,
            "--output",
            &signed,
            &file,
        ],
    );
    assert!(!said.contains("warning"), "{said}");
    run("sbverify", &["--cert", &certificate, &signed]);
}

#[test]
fn no_mutant_makes_the_reader_panic() {
    let Some(stub) = stub() else { return };
    let head = 1200.min(stub.len());
    let mut mutant = stub.clone();
    let mut noise = Noise::new(12);
    let mut read = 0;
    for _ in 0..30_000 {
        let times = 1 + noise.below(6);
        noise.spoil(&mut mutant[..head], times);
        if let Ok(sections) = sections(&mutant) {
            read += 1;
            assert!(
                sections
                    .iter()
                    .all(|section| section.range.end <= mutant.len())
            );
            let _ = build(&mutant[..], &[(".a", Content::Bytes([1].into()))])
                .map(|unified| unified.image.size());
        }
        mutant[..head].copy_from_slice(&stub[..head]);
    }
    assert!(read > 1000, "{read}");
}
