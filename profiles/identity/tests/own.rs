//! What prejoin makes true of the user's cloud-config itself, judged by systemd and by Debian's own program.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests write files and run tools"
)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use prejoin_identity::Seed;
use prejoin_profiles::cluster::Cluster;
use support::{files, traps};

const GENERATOR: &str = "/usr/lib/systemd/system-generators/systemd-fstab-generator";
const UPDATE: &str = "/usr/sbin/update-ca-certificates";

fn cluster() -> Cluster {
    let own = "cloud_init:\n  mounts:\n    - [\"10.0.0.9:/a share\", /srv/nas, nfs4]\n    - [LABEL=backup, /mnt, null, \
               \"ro,nofail\"]\n    - [\"//nas/films\", /srv/films, cifs, guest]\n";
    traps(|text| {
        text.replace(
            "cloud_init:\n  bootcmd: [echo cluster]",
            &format!("{own}  bootcmd: [echo cluster]"),
        )
    })
}

fn file(cluster: &Cluster, path: &str) -> Option<String> {
    let node = cluster.node("012").unwrap();
    let file = files(cluster, node).unwrap();
    let file = file.into_iter().find(|file| file.path == path)?;
    Some(String::from_utf8(file.content).unwrap())
}

fn is_there(program: &str) -> bool {
    let there = Path::new(program).exists();
    assert!(
        there || std::env::var_os("CI").is_none(),
        "{program} is missing: run tests/setup"
    );
    if !there {
        eprintln!("SKIPPED: {program} is missing: run tests/setup");
    }
    there
}

#[test]
fn mounts_are_lines_of_fstab() {
    assert_eq!(
        file(&cluster(), "etc/fstab").unwrap(),
        "10.0.0.9:/a\\040share\t/srv/nas\tnfs4\tdefaults,nofail,_netdev\t0\t0\n\
         LABEL=backup\t/mnt\tauto\tro,nofail\t0\t2\n\
         //nas/films\t/srv/films\tcifs\tguest,nofail,_netdev\t0\t0\n"
    );
    // A node without any keeps the image's file.
    assert_eq!(file(&traps(|text| text), "etc/fstab"), None);
}

#[test]
fn systemd_makes_units_of_them() {
    if !is_there(GENERATOR) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("fstab");
    fs::write(&table, file(&cluster(), "etc/fstab").unwrap()).unwrap();
    let units = ["normal", "early", "late"].map(|name| folder.path().join(name));
    for unit in &units {
        fs::create_dir(unit).unwrap();
    }
    let output = Command::new(GENERATOR)
        .args(&units)
        .env("SYSTEMD_FSTAB", &table)
        .env("SYSTEMD_IN_INITRD", "0")
        .env("SYSTEMD_PROC_CMDLINE", "")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let read = |path: &str| fs::read_to_string(units[0].join(path)).unwrap();
    let share = read("srv-nas.mount");
    for line in [
        "What=10.0.0.9:/a share",
        "Where=/srv/nas",
        "Type=nfs4",
        "Options=defaults,nofail,_netdev",
    ] {
        assert!(share.lines().any(|found| found == line), "{line}:\n{share}");
    }
    // Wanted, and not required: what cannot be mounted stops nothing.
    for unit in [
        "remote-fs.target.wants/srv-nas.mount",
        "remote-fs.target.wants/srv-films.mount",
        "local-fs.target.wants/mnt.mount",
    ] {
        assert!(units[0].join(unit).is_symlink(), "{unit}");
    }
    for targets in ["remote-fs.target.requires", "local-fs.target.requires"] {
        assert!(!units[0].join(targets).exists(), "{targets}");
    }
}

/// A certificate, and the cluster that trusts it.
fn trusting(folder: &Path) -> Option<(String, Cluster)> {
    let path = folder.join("made.pem");
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args([
            "-days",
            "2",
            "-subj",
            "/CN=lab authority",
            "-keyout",
            "/dev/null",
            "-out",
        ])
        .arg(&path)
        .output();
    if !made.is_ok_and(|output| output.status.success()) {
        assert!(
            std::env::var_os("CI").is_none(),
            "openssl is missing: run tests/setup"
        );
        eprintln!("SKIPPED: openssl is missing: run tests/setup");
        return None;
    }
    let certificate = fs::read_to_string(path).unwrap();
    let lines: String = certificate
        .lines()
        .map(|line| format!("        {line}\n"))
        .collect();
    let own = format!("cloud_init:\n  ca_certs:\n    trusted:\n      - |\n{lines}");
    let cluster = traps(|text| text.replacen("cloud_init:\n", &own, 1));
    Some((certificate, cluster))
}

#[test]
fn certificates_are_trusted_at_every_start() {
    let folder = tempfile::tempdir().unwrap();
    let Some((certificate, cluster)) = trusting(folder.path()) else {
        return;
    };
    let written = file(&cluster, "etc/ssl/prejoin/own-1.crt").unwrap();
    assert_eq!(written, certificate);
    let seed = Seed::of(&cluster, cluster.node("012").unwrap()).unwrap();
    let user_data: serde_json::Value = prejoin_profiles::yaml::parse(&seed.user_data).unwrap();
    assert!(user_data.get("ca_certs").is_none());
    let command = &user_data["bootcmd"][0];
    let command: Vec<&str> = command
        .as_array()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap())
        .collect();
    assert_eq!(command[..2], ["update-ca-certificates", "--localcertsdir"]);
    assert_eq!(command[2], "/etc/ssl/prejoin");
    if !is_there(UPDATE) {
        return;
    }
    // The program itself, in folders of its own.
    let [own, out, hooks] = ["own", "out", "hooks"].map(|name| folder.path().join(name));
    for folder in [&own, &out, &hooks] {
        fs::create_dir(folder).unwrap();
    }
    fs::write(own.join("own-1.crt"), &written).unwrap();
    let list = folder.path().join("list");
    fs::write(&list, "").unwrap();
    let output = Command::new(UPDATE)
        .arg(command[1])
        .arg(&own)
        .arg("--etccertsdir")
        .arg(&out)
        .arg("--certsconf")
        .arg(&list)
        .arg("--hooksdir")
        .arg(&hooks)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let bundle = fs::read_to_string(out.join("ca-certificates.crt")).unwrap();
    assert_eq!(bundle.trim(), certificate.trim());
}
