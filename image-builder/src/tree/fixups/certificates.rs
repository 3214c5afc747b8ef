//! F06: certificate authorities where programs look for them, as update-ca-certificates and `openssl rehash` leave
//! them: a list, one bundle, and a link per certificate under its name and under the hash of its subject.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

use super::root::show;
use super::{Cause, Context, Root, der};

const STORE: &str = "usr/share/ca-certificates";
const OUT: &str = "etc/ssl/certs";

pub(super) fn apply(root: &mut Root<'_>, context: &Context<'_>) -> Result<(), Cause> {
    if !context.has("ca-certificates") {
        return Ok(());
    }
    // Byte order of the names, as `sort` in the C locale does in the script.
    let names: Vec<String> = root
        .tree()
        .below(STORE)
        .filter(|(path, _)| path.ends_with(b".crt"))
        .map(|(path, _)| show(&path[STORE.len() + 1..]))
        .collect();
    if names.is_empty() {
        return Err(Cause::Input {
            package: "ca-certificates".into(),
            path: format!("{STORE}/*.crt"),
        });
    }
    let mut list = "# Every certificate of the package.\n".to_owned();
    let mut bundle = Vec::new();
    let mut hashes: Vec<(String, String)> = Vec::new();
    for name in &names {
        let path = format!("{STORE}/{name}");
        let bytes = root.bytes(&path)?;
        let hash = subject_hash(&bytes).ok_or_else(|| Cause::Content {
            path: path.clone(),
            line: None,
            problem: "is no certificate in PEM form".into(),
        })?;
        list.push_str(&format!("{name}\n"));
        bundle.extend(&bytes);
        if !bytes.ends_with(b"\n") {
            bundle.push(b'\n');
        }
        let pem = link_name(name);
        root.link(&format!("{OUT}/{pem}"), &format!("/{path}"))?;
        hashes.push((hash, pem));
    }
    for (index, (hash, pem)) in hashes.iter().enumerate() {
        // Certificates with equal subjects are told apart by a number.
        let number = hashes[..index]
            .iter()
            .filter(|(other, _)| other == hash)
            .count();
        root.link(&format!("{OUT}/{hash}.{number}"), pem)?;
    }
    root.write("etc/ca-certificates.conf", list)?;
    root.write(&format!("{OUT}/ca-certificates.crt"), bundle)
}

/// The name of a certificate's link, by the replacements of update-ca-certificates.
fn link_name(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let name = name.strip_suffix(".crt").unwrap_or(name);
    let letter = |c| match c {
        ' ' | ',' => '_',
        '(' | ')' => '=',
        other => other,
    };
    name.chars().map(letter).collect::<String>() + ".pem"
}

/// What `openssl x509 -subject_hash` prints: the first four bytes, little-endian, of the SHA-1 of the canonical
/// subject. SHA-1 only names a file here; nothing is trusted for it.
fn subject_hash(pem: &[u8]) -> Option<String> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    let text = std::str::from_utf8(pem).ok()?;
    let body = text
        .split_once(BEGIN)?
        .1
        .split_once("-----END CERTIFICATE-----")?
        .0;
    let body: String = body.split_ascii_whitespace().collect();
    let certificate = STANDARD.decode(body).ok()?;
    let subject = der::canonical(der::subject(&certificate)?)?;
    let digest = Sha1::digest(subject);
    Some(format!(
        "{:08x}",
        u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]])
    ))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    #[test]
    fn names_of_links() {
        assert_eq!(
            link_name("mozilla/NetLock_Főtanúsítvány.crt"),
            "NetLock_Főtanúsítvány.pem"
        );
        assert_eq!(link_name("mozilla/A, B (C).crt"), "A__B_=C=.pem");
    }

    #[test]
    fn what_is_no_certificate_is_an_error() {
        let bench = Bench::new("").package("ca-certificates");
        for text in [
            "",
            "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
        ] {
            let cause = apply(
                &mut bench.root(&[("usr/share/ca-certificates/a.crt", text)]),
                &bench.context(),
            )
            .unwrap_err();
            assert_eq!(
                cause.to_string(),
                "`usr/share/ca-certificates/a.crt`: is no certificate in PEM form"
            );
        }
        assert!(matches!(
            apply(&mut bench.root(&[]), &bench.context()),
            Err(Cause::Input { .. })
        ));
    }
}
