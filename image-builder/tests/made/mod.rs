//! Packages made by hand, well-formed or not.

/// One member of a tar archive; `size` may lie.
#[derive(Clone)]
pub(crate) struct Member<'a> {
    pub(crate) path: &'a str,
    pub(crate) kind: u8,
    pub(crate) link: &'a str,
    pub(crate) mode: u32,
    pub(crate) bytes: Vec<u8>,
    pub(crate) size: Option<u64>,
}

impl<'a> Member<'a> {
    pub(crate) fn file(path: &'a str, bytes: &[u8]) -> Self {
        Member {
            path,
            kind: b'0',
            link: "",
            mode: 0o644,
            bytes: bytes.to_vec(),
            size: None,
        }
    }

    /// A pax record for the member that follows.
    pub(crate) fn pax(key: &str, value: &[u8]) -> Self {
        let rest = key.len() + value.len() + 3;
        let length = (1..)
            .find(|length| rest + length.to_string().len() == *length)
            .unwrap();
        let bytes = [format!("{length} {key}=").as_bytes(), value, b"\n"].concat();
        Member {
            kind: b'x',
            ..Member::file("pax", &bytes)
        }
    }
}

/// A tar archive in the GNU form.
pub(crate) fn tar(members: &[Member]) -> Vec<u8> {
    let mut archive = Vec::new();
    for member in members {
        let mut block = [0_u8; 512];
        block[..member.path.len()].copy_from_slice(member.path.as_bytes());
        block[100..107].copy_from_slice(format!("{:07o}", member.mode).as_bytes());
        block[108..115].copy_from_slice(b"0000000");
        block[116..123].copy_from_slice(b"0000000");
        let size = member.size.unwrap_or(member.bytes.len() as u64);
        match size < 1 << 33 {
            true => block[124..135].copy_from_slice(format!("{size:011o}").as_bytes()),
            false => {
                block[124] = 0x80;
                block[128..136].copy_from_slice(&size.to_be_bytes());
            }
        }
        block[136..147].copy_from_slice(b"14000000000");
        block[156] = member.kind;
        block[157..157 + member.link.len()].copy_from_slice(member.link.as_bytes());
        block[257..265].copy_from_slice(b"ustar  \0");
        let sum = block.iter().map(|&byte| u32::from(byte)).sum::<u32>() + 8 * u32::from(b' ');
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend(block);
        archive.extend(&member.bytes);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

/// An ar archive.
pub(crate) fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = b"!<arch>\n".to_vec();
    for (name, bytes) in members {
        archive.extend(
            format!(
                "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
                0,
                0,
                0,
                100_644,
                bytes.len()
            )
            .bytes(),
        );
        archive.extend(*bytes);
        archive.resize(archive.len().next_multiple_of(2), b'\n');
    }
    archive
}

/// A package with this payload, further control fields included.
pub(crate) fn deb(name: &str, fields: &str, members: &[Member]) -> Vec<u8> {
    let control = format!("Package: {name}\nVersion: 2\nArchitecture: all\n{fields}");
    let control = tar(&[Member::file("./control", control.as_bytes())]);
    ar(&[
        ("debian-binary", b"2.0\n"),
        ("control.tar", &control),
        ("data.tar", &tar(members)),
    ])
}

/// A package with this payload.
pub(crate) fn deb_of(members: &[Member]) -> Vec<u8> {
    deb("a", "", members)
}
