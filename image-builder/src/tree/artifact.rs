//! Programs that are not packages: out of what upstream publishes, onto the paths they have on a node.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use prejoin_profiles::distribution::Wanted;
use prejoin_wire::architecture::Architecture;

/// Largest program, bytes. The largest there is (k3s) has a seventh of it.
pub const MAX_PROGRAM: u64 = 512 << 20;

/// Most bytes that an archive is unpacked to.
const MAX_UNPACKED: u64 = 1 << 30;

/// A program, to be laid over the tree with mode 0755 and root as its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Path without a leading slash.
    pub path: String,
    /// Its bytes: an ELF file for the right machine.
    pub content: Vec<u8>,
}

/// Why there is no program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Damaged, or not an archive at all.
    #[error("unpacking {file}")]
    Archive {
        /// Upstream's file name.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// It ends, or goes on for too long.
    #[error("{file} has no {member}")]
    Member {
        /// Upstream's file name.
        file: String,
        /// What should be in it.
        member: String,
    },
    /// Larger than any program is.
    #[error("{member} of {file} has more than {MAX_PROGRAM} bytes")]
    Size {
        /// Upstream's file name.
        file: String,
        /// What is so large.
        member: String,
    },
    /// Not a program, or one for other machines: the answer of a captive portal, a renamed download.
    #[error("{file} is not a program for {architecture}{}", if member.is_empty() { String::new() } else { format!(" (its member {member})") })]
    Program {
        /// Upstream's file name.
        file: String,
        /// Member of the archive, or nothing.
        member: String,
        /// What it should be for.
        architecture: Architecture,
    },
}

/// The programs in a fetched file, in path order. Memory is what they take, and [`MAX_PROGRAM`] at most for each.
pub fn unpack(wanted: &Wanted, input: impl Read) -> Result<Vec<Program>, Error> {
    let members = if wanted.is_archive() {
        archive(wanted, input)?
    } else {
        whole(wanted, input)?
    };
    let mut programs = Vec::with_capacity(members.len());
    for (path, member) in &wanted.install {
        let file = || wanted.upstream_name().to_owned();
        let content = members
            .get(member.as_str())
            .cloned()
            .ok_or_else(|| Error::Member {
                file: file(),
                member: member.clone(),
            })?;
        if !is_program(&content, wanted.architecture) {
            let architecture = wanted.architecture;
            return Err(Error::Program {
                file: file(),
                member: member.clone(),
                architecture,
            });
        }
        programs.push(Program {
            path: path.clone(),
            content,
        });
    }
    Ok(programs)
}

fn whole(wanted: &Wanted, input: impl Read) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let content = bounded(wanted, "", input)?;
    Ok(BTreeMap::from([(String::new(), content)]))
}

/// The wanted members of a `.tar.gz`; of two of one name the later one, as tar(1) has it.
fn archive(wanted: &Wanted, input: impl Read) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let failure = |source| Error::Archive {
        file: wanted.upstream_name().to_owned(),
        source,
    };
    let plain = MultiGzDecoder::new(BufReader::new(input)).take(MAX_UNPACKED);
    let mut members = BTreeMap::new();
    let mut archive = tar::Archive::new(plain);
    for entry in archive.entries().map_err(failure)? {
        let entry = entry.map_err(failure)?;
        let name = String::from_utf8_lossy(&entry.path_bytes())
            .trim_start_matches("./")
            .to_owned();
        if entry.header().entry_type().is_file()
            && wanted.install.values().any(|member| *member == name)
        {
            let content = bounded(wanted, &name, entry)?;
            members.insert(name, content);
        }
    }
    // To the end, where gzip's checksum is: a download that was cut behind the last member is noticed, too.
    let mut rest = archive.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(failure)?;
    if rest.limit() == 0 {
        return Err(failure(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(members)
}

fn bounded(wanted: &Wanted, member: &str, input: impl Read) -> Result<Vec<u8>, Error> {
    let file = || wanted.upstream_name().to_owned();
    let mut content = Vec::new();
    let read = input.take(MAX_PROGRAM + 1).read_to_end(&mut content);
    read.map_err(|source| Error::Archive {
        file: file(),
        source,
    })?;
    if content.len() as u64 > MAX_PROGRAM {
        return Err(Error::Size {
            file: file(),
            member: member.to_owned(),
        });
    }
    Ok(content)
}

/// A 64-bit little-endian ELF file for the machine (ELF-64 Object File Format, "File header").
fn is_program(content: &[u8], architecture: Architecture) -> bool {
    let machine: u16 = match architecture {
        Architecture::Amd64 => 62,
        Architecture::Arm64 => 183,
    };
    content.starts_with(b"\x7fELF\x02\x01") && content.get(18..20) == Some(&machine.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn elf(machine: u8, tail: &str) -> Vec<u8> {
        let mut content = b"\x7fELF\x02\x01\x01".to_vec();
        content.resize(18, 0);
        content.extend([machine, 0]);
        content.extend(tail.bytes());
        content
    }

    fn wanted(install: &[(&str, &str)]) -> Wanted {
        Wanted {
            name: "tool".into(),
            version: "v1".into(),
            architecture: Architecture::Arm64,
            url: "https://example.org/v1/tool.tgz".into(),
            checksum: "https://example.org/v1/tool.tgz.sha256".into(),
            file: "tool-v1-arm64.tgz".into(),
            install: install
                .iter()
                .map(|(path, member)| ((*path).into(), (*member).into()))
                .collect(),
        }
    }

    fn tgz(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, content) in members {
            let mut header = tar::Header::new_ustar();
            // Written by hand: the library refuses what hostile archives have.
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(content.len() as u64);
            header.set_mode(0o4777);
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn only_what_is_wanted_is_taken() {
        let (one, two) = (elf(183, "one"), elf(183, "two"));
        let archive = tgz(&[
            ("./LICENSE", b"x"),
            ("./one", &one),
            ("../../etc/passwd", b"x"),
            ("bin/two", &two),
        ]);
        let wanted = wanted(&[("usr/bin/a", "one"), ("usr/bin/b", "bin/two")]);
        let programs = unpack(&wanted, archive.as_slice()).unwrap();
        assert_eq!(
            programs,
            [
                Program {
                    path: "usr/bin/a".into(),
                    content: one
                },
                Program {
                    path: "usr/bin/b".into(),
                    content: two
                }
            ]
        );
    }

    #[test]
    fn what_is_not_a_program_for_the_machine_is_refused() {
        let single = wanted(&[("usr/bin/tool", "")]);
        assert!(unpack(&single, elf(183, "").as_slice()).is_ok());
        for content in [
            elf(62, ""),
            b"<html>log in first</html>".to_vec(),
            Vec::new(),
            b"\x7fELF".to_vec(),
        ] {
            assert!(matches!(
                unpack(&single, content.as_slice()),
                Err(Error::Program { .. })
            ));
        }
        let error = unpack(
            &wanted(&[("usr/bin/a", "one")]),
            tgz(&[("one", b"#!/bin/sh")]).as_slice(),
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "tool.tgz is not a program for arm64 (its member one)"
        );
    }

    #[test]
    fn damaged_archives_are_refused() {
        let wanted = wanted(&[("usr/bin/a", "one")]);
        let whole = tgz(&[("one", &elf(183, &"x".repeat(5000)))]);
        assert!(unpack(&wanted, whole.as_slice()).is_ok());
        for end in 0..whole.len() - 1 {
            assert!(
                unpack(&wanted, &whole[..end]).is_err(),
                "{end} of {}",
                whole.len()
            );
        }
        assert!(matches!(
            unpack(&wanted, tgz(&[("two", b"")]).as_slice()),
            Err(Error::Member { .. })
        ));
        assert!(unpack(&wanted, b"<html></html>".as_slice()).is_err());
        let mut bomb = GzEncoder::new(Vec::new(), Compression::fast());
        bomb.write_all(&[0; 4096]).unwrap();
        assert!(matches!(
            unpack(&wanted, bomb.finish().unwrap().as_slice()),
            Err(Error::Member { .. })
        ));
    }
}
