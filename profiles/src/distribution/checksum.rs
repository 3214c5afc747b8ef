use prejoin_wire::digest::Digest;

/// The digest that a checksum file gives for the file called `name`.
///
/// Upstreams differ: dl.k8s.io has the bare digest, GitHub releases lines of sha256sum(1), one or many, runc's inside
/// of an OpenPGP clear-signed message (whose signature is not looked at: beside the file, it guards against damage
/// and not against a bad mirror). Lines that are neither are skipped. A digest without a name counts only if it is
/// the only one.
pub fn listed(text: &str, name: &str) -> Option<Digest> {
    let mut bare = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(digest) = words.next().and_then(|word| word.parse::<Digest>().ok()) else {
            continue;
        };
        match words.next() {
            None => bare.push(digest),
            Some(file) => {
                let file = file.trim_start_matches('*');
                if file.rsplit('/').next() == Some(name) {
                    return Some(digest);
                }
            }
        }
    }
    match bare[..] {
        [digest] => Some(digest),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_upstream_forms_are_read() {
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        assert_eq!(listed(&one.to_string(), "kubelet"), Some(one));
        assert_eq!(listed(&format!("{one}\r\n"), "kubelet"), Some(one));
        let list = format!("{one}  k3s\n{two} *dist/k3s-arm64\n");
        assert_eq!(listed(&list, "k3s"), Some(one));
        assert_eq!(listed(&list, "k3s-arm64"), Some(two));
        assert_eq!(listed(&list, "k3s-armhf"), None);
        let signed = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{two} runc.amd64\n-----BEGIN PGP SIGNATURE-----\niQ\n"
        );
        assert_eq!(listed(&signed, "runc.amd64"), Some(two));
        for none in [
            "",
            "<html>404</html>",
            "abcd  kubelet",
            &format!("{one}\n{two}\n"),
        ] {
            assert_eq!(listed(none, "kubelet"), None, "{none}");
        }
    }
}
