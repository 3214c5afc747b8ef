//! Reading `.deb` files (deb(5)): an `ar` archive of `debian-binary`, `control.tar.*` and `data.tar.*`.
//!
//! A package comes from outside and is hostile until proven otherwise. Everything is read in one pass and in
//! bounded memory, nothing is written anywhere: file contents are handed to a [`Sink`], the rest becomes a
//! [`Package`]. Paths that leave the tree, device nodes, named pipes (Debian Policy 10.6) and archives that grow out
//! of proportion are errors that name the member.

mod ar;
mod error;
mod tar;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};

use prejoin_formats::tree::{Content, ContentDigest, Entry, Kind};

pub use self::error::{Error, Problem, SinkError};
use self::tar::{Header, Type};
use crate::debian::control::{ControlError, Stanza};
use crate::image::readback::DEEPEST;
use crate::package::Package;

/// The scripts and declarations of the control archive that [`Package::scripts`] keeps.
pub const SCRIPTS: [&str; 6] = [
    "config", "postinst", "postrm", "preinst", "prerm", "triggers",
];

/// Top-level directories that are links into `/usr` on a merged system (Debian bug 978636, base-files).
const MERGED: [&[u8]; 6] = [b"bin", b"lib", b"lib32", b"lib64", b"libx32", b"sbin"];

/// Read and decompress in pieces of this size.
const BUFFER: usize = 256 << 10;

/// How much one package may hold.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of the decompressed data archive.
    pub unpacked: u64,
    /// Bytes of the decompressed control archive.
    pub control: u64,
    /// Bytes of one file of the control archive.
    pub control_file: u64,
    /// Members of the data archive.
    pub entries: usize,
    /// Decompressed bytes per compressed byte, beyond an allowance of 256 MiB.
    pub ratio: u64,
    /// Bytes of memory a decompressor may use.
    pub memory: u64,
    /// Threads a decompressor may use: dpkg-deb compresses large packages in blocks that do not need each other.
    pub threads: u32,
}

impl Default for Limits {
    /// Far above the largest package of a node (a kernel: 110 MB compressed, 4500 files), far below harm.
    fn default() -> Self {
        Limits {
            unpacked: 4 << 30,
            control: 64 << 20,
            control_file: 16 << 20,
            entries: 500_000,
            ratio: 100,
            memory: 100 << 20,
            threads: 1,
        }
    }
}

/// Takes the content of the payload's regular files.
pub trait Sink {
    /// Reads exactly `size` bytes of the file at `path` from `content`, keeps them and returns their SHA-256.
    fn file(
        &mut self,
        path: &[u8],
        size: u64,
        content: &mut dyn Read,
    ) -> Result<ContentDigest, SinkError>;
}

/// Reads one package from beginning to end, its file contents into `sink`.
///
/// The returned package's `modules` and `libraries` are empty: only the sink has seen the contents.
pub fn read(input: impl Read, limits: &Limits, sink: &mut dyn Sink) -> Result<Package, Error> {
    let mut archive = ar::Reader::new(input)?;
    version(&mut archive)?;
    let mut package = control(&mut archive, limits)?;
    let member = archive.member("data.tar")?;
    let compression = Compression::of(&member.name)?;
    let allowed = limits
        .unpacked
        .min((256 << 20) + member.size.saturating_mul(limits.ratio));
    let mut payload = Payload {
        entries: Vec::new(),
        regular: BTreeSet::new(),
        seen: BTreeSet::new(),
        limits,
    };
    let tar = compression.reader(archive.content(), limits)?;
    let mut tar = tar::Reader::new(tar, "data.tar", allowed);
    while let Some(header) = tar.next()? {
        payload.add(header, &mut tar, sink)?;
    }
    tar.finish()?;
    archive.finish()?;
    package.entries = payload.entries;
    Ok(package)
}

/// Reads only what comes before the payload: `control`, `conffiles` and scripts.
pub fn read_control(input: impl Read, limits: &Limits) -> Result<Package, Error> {
    let mut archive = ar::Reader::new(input)?;
    version(&mut archive)?;
    control(&mut archive, limits)
}

fn version<R: Read>(archive: &mut ar::Reader<R>) -> Result<(), Error> {
    let member = archive.member("debian-binary")?;
    if member.size > 64 {
        return Err(Error::Version(format!("{} bytes long", member.size)));
    }
    let mut text = String::new();
    archive
        .content()
        .read_to_string(&mut text)
        .map_err(|source| Error::Read {
            part: "debian-binary",
            source,
        })?;
    if text
        .lines()
        .next()
        .is_none_or(|line| !line.starts_with("2."))
    {
        return Err(Error::Version(
            text.lines().next().unwrap_or_default().to_owned(),
        ));
    }
    Ok(())
}

fn control<R: Read>(archive: &mut ar::Reader<R>, limits: &Limits) -> Result<Package, Error> {
    let member = archive.member("control.tar")?;
    let compression = Compression::of(&member.name)?;
    let tar = compression.reader(archive.content(), limits)?;
    let mut tar = tar::Reader::new(tar, "control.tar", limits.control);
    let mut control = None;
    let mut conffiles = Vec::new();
    let mut scripts = BTreeMap::new();
    let mut seen = BTreeSet::new();
    while let Some(header) = tar.next()? {
        let fail = |problem| Error::member(&header.path, problem);
        let path = normalise(&header.path).map_err(fail)?;
        if path.is_empty() && header.kind == Type::Directory {
            continue;
        }
        // dpkg would run, or read, whatever a link leads to on the node: nothing that was looked at here.
        if let Some(what) = header.kind.not_a_file() {
            return Err(fail(Problem::Kind(what)));
        }
        if path.contains(&b'/') {
            return Err(fail(Problem::Kind("a file in a folder of control.tar")));
        }
        let name = String::from_utf8_lossy(&path).into_owned();
        if !seen.insert(name.clone()) {
            return Err(fail(Problem::Twice));
        }
        let script = SCRIPTS.contains(&name.as_str());
        if !(script || name == "control" || name == "conffiles") {
            continue;
        }
        if header.size > limits.control_file {
            return Err(fail(Problem::TooLarge {
                size: header.size,
                limit: limits.control_file,
            }));
        }
        let mut bytes = Vec::new();
        tar.read_to_end(&mut bytes)
            .map_err(|source| tar::failure(source, "control.tar"))?;
        match name.as_str() {
            "control" => control = Some(plain_text(bytes).map_err(fail)?),
            "conffiles" => conffiles = conffile_paths(&plain_text(bytes).map_err(fail)?),
            _ => drop(scripts.insert(name, bytes)),
        }
    }
    tar.finish()?;
    let control = control.ok_or(Error::NoControl)?;
    let control = one_stanza(&control)
        .map_err(|problem| Error::member(b"control", Problem::Control(problem)))?
        .to_owned();
    let (name, version, architecture) = (
        required(&control, "Package", "+-.")?,
        required(&control, "Version", "+-.:~")?,
        required(&control, "Architecture", "-")?,
    );
    Ok(Package {
        name,
        version,
        architecture,
        control,
        conffiles,
        scripts,
        ..Package::default()
    })
}

/// The text of the control file: one stanza, as dpkg has it, and not even the beginning of another one, since it goes
/// into the package database as it stands.
fn one_stanza(control: &str) -> Result<&str, ControlError> {
    let text = Stanza::only(control)?.text();
    match text.trim_end().lines().find(|line| line.trim().is_empty()) {
        Some(_) => Err(ControlError::Several),
        None => Ok(text),
    }
}

/// A field that every package has. File names and lists are made of these three: letters, digits and `others`, as dpkg
/// has it (lib/dpkg/parsehelp.c, `pkg_name_is_illegal`, `parseversion`), beginning with a letter or digit.
fn required(control: &str, name: &'static str, others: &str) -> Result<String, Error> {
    let value = field(control, name)
        .filter(|value| !value.is_empty())
        .ok_or(Error::Field(name))?;
    let may_be = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
    if !value.chars().all(may_be) || value.starts_with(|c: char| !c.is_ascii_alphanumeric()) {
        return Err(Error::Value { field: name, value });
    }
    Ok(value)
}

/// Text that other text can be made of: line ends and tabulators are its only control characters.
fn plain_text(bytes: Vec<u8>) -> Result<String, Problem> {
    let text = String::from_utf8(bytes).map_err(|_| Problem::Encoding)?;
    match text.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\t')) {
        true => Err(Problem::ControlCharacter("its text")),
        false => Ok(text),
    }
}

/// `conffiles` holds one absolute path a line; a `remove-on-upgrade` flag marks one that is not in the payload
/// (deb-conffiles(5)).
fn conffile_paths(text: &str) -> Vec<String> {
    text.lines()
        .map(str::trim)
        .filter(|line| line.starts_with('/'))
        .map(str::to_owned)
        .collect()
}

/// A control field's value, continuation lines included, without surrounding blanks.
pub(crate) fn field(control: &str, name: &str) -> Option<String> {
    let mut lines = control.lines();
    let first = lines.by_ref().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })?;
    let more = lines.take_while(|line| line.starts_with([' ', '\t']));
    Some(
        more.fold(first.to_owned(), |value, line| value + line)
            .trim()
            .to_owned(),
    )
}

/// The payload so far.
struct Payload<'a> {
    entries: Vec<(Vec<u8>, Entry)>,
    regular: BTreeSet<Vec<u8>>,
    seen: BTreeSet<Vec<u8>>,
    limits: &'a Limits,
}

impl Payload<'_> {
    fn add(
        &mut self,
        header: Header,
        content: &mut dyn Read,
        sink: &mut dyn Sink,
    ) -> Result<(), Error> {
        let fail = |problem| Error::member(&header.path, problem);
        if self.entries.len() >= self.limits.entries {
            return Err(fail(Problem::TooMany(self.limits.entries)));
        }
        let directory = header.kind == Type::Directory;
        let path = merge(normalise(&header.path).map_err(fail)?, directory);
        if path.is_empty() {
            return if directory {
                Ok(())
            } else {
                Err(fail(Problem::Root))
            };
        }
        if !self.seen.insert(path.clone()) && !directory {
            return Err(fail(Problem::Twice));
        }
        let kind = match header.kind {
            Type::Directory => Kind::Directory,
            Type::Regular => {
                let digest =
                    sink.file(&path, header.size, content)
                        .map_err(|error| match error {
                            SinkError::Content(source) => tar::failure(source, "data.tar"),
                            SinkError::Keep(source) => Error::Keep(source),
                        })?;
                self.regular.insert(path.clone());
                Kind::File(Content::Blob {
                    digest,
                    size: header.size,
                })
            }
            Type::Symlink
                if header.link.is_empty()
                    || header.link.len() > 4095
                    || header.link.contains(&0) =>
            {
                return Err(fail(Problem::Target(
                    String::from_utf8_lossy(&header.link).into_owned(),
                )));
            }
            Type::Symlink if has_control(&header.link) => {
                return Err(fail(Problem::ControlCharacter("the target of its link")));
            }
            Type::Symlink => Kind::Symlink(header.link.clone()),
            Type::HardLink => {
                let target = normalise(&header.link)
                    .map(|target| merge(target, false))
                    .ok();
                match target.filter(|target| self.regular.contains(target)) {
                    Some(target) => Kind::HardLink(target),
                    None => {
                        return Err(fail(Problem::HardLink(
                            String::from_utf8_lossy(&header.link).into_owned(),
                        )));
                    }
                }
            }
            Type::Refused(what) => return Err(fail(Problem::Kind(what))),
        };
        let Header {
            mode,
            uid,
            gid,
            mtime,
            xattrs,
            ..
        } = header;
        self.entries.push((
            path,
            Entry {
                kind,
                mode,
                uid,
                gid,
                mtime,
                xattrs,
            },
        ));
        Ok(())
    }
}

/// A member's path as the tree wants it: no leading `./`, no trailing slash; anything unusual is refused.
fn normalise(path: &[u8]) -> Result<Vec<u8>, Problem> {
    if path.starts_with(b"/") {
        return Err(Problem::Absolute);
    }
    if path.contains(&0) {
        return Err(Problem::Nul);
    }
    if has_control(path) {
        return Err(Problem::ControlCharacter("its path"));
    }
    if path.len() > 4096 {
        return Err(Problem::Long);
    }
    let path = path.strip_prefix(b"./").unwrap_or(path);
    let path = path.strip_suffix(b"/").unwrap_or(path);
    if path.is_empty() || path == b"." {
        return Ok(Vec::new());
    }
    for component in path.split(|&byte| byte == b'/') {
        match component {
            b".." => return Err(Problem::Parent),
            b"" | b"." => return Err(Problem::Empty),
            long if long.len() > 255 => return Err(Problem::Long),
            _ => {}
        }
    }
    if path.iter().filter(|&&byte| byte == b'/').count() >= DEEPEST {
        return Err(Problem::Deep(DEEPEST));
    }
    Ok(path.to_vec())
}

/// Whether there is a control character in a path. Paths become lines of lists (`modules.dep`, `info/*.list`, the bill of
/// materials) and are shown on terminals: a line end would make two of one. No package of Debian has one.
fn has_control(path: &[u8]) -> bool {
    String::from_utf8_lossy(path).contains(char::is_control)
}

/// `bin/x` becomes `usr/bin/x`; a *link* at `bin` stays (base-files ships those), a directory does not.
fn merge(path: Vec<u8>, directory: bool) -> Vec<u8> {
    let top = path.split(|&byte| byte == b'/').next().unwrap_or_default();
    if MERGED.contains(&top) && (directory || top.len() < path.len()) {
        [b"usr/", path.as_slice()].concat()
    } else {
        path
    }
}

/// How a member of the package is compressed, by the end of its name (deb(5)).
#[derive(Clone, Copy, Debug)]
enum Compression {
    None,
    Gzip,
    Xz,
    Zstandard,
}

impl Compression {
    fn of(name: &str) -> Result<Self, Error> {
        match name.split_once(".tar").map(|(_, end)| end) {
            Some("") => Ok(Compression::None),
            Some(".gz") => Ok(Compression::Gzip),
            Some(".xz") => Ok(Compression::Xz),
            Some(".zst") => Ok(Compression::Zstandard),
            _ => Err(Error::Compression(name.to_owned())),
        }
    }

    fn reader<'a>(
        self,
        input: impl Read + 'a,
        limits: &Limits,
    ) -> Result<Box<dyn BufRead + 'a>, Error> {
        let input = BufReader::with_capacity(BUFFER, input);
        let failed = |source| Error::Read {
            part: "a decompressor",
            source,
        };
        Ok(match self {
            Compression::None => Box::new(input),
            Compression::Gzip => Box::new(BufReader::with_capacity(
                BUFFER,
                flate2::bufread::MultiGzDecoder::new(input),
            )),
            Compression::Xz => {
                // The caller compares the package's digest: the checksums inside would only cost time.
                let ignore = liblzma::stream::IGNORE_CHECK;
                let stream = match limits.threads {
                    0 | 1 => liblzma::stream::Stream::new_stream_decoder(limits.memory, ignore),
                    threads => liblzma::stream::MtStreamBuilder::new()
                        .threads(threads)
                        .memlimit_threading(limits.memory * u64::from(threads))
                        .memlimit_stop(limits.memory)
                        .decoder(),
                };
                let stream = stream.map_err(|error| failed(error.into()))?;
                Box::new(BufReader::with_capacity(
                    BUFFER,
                    liblzma::bufread::XzDecoder::new_stream(input, stream),
                ))
            }
            Compression::Zstandard => {
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(input).map_err(failed)?;
                decoder
                    .window_log_max(limits.memory.max(1 << 10).ilog2())
                    .map_err(failed)?;
                Box::new(BufReader::with_capacity(BUFFER, decoder))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_the_tree_are_refused() {
        assert_eq!(normalise(b"./usr/bin/").as_deref(), Ok(&b"usr/bin"[..]));
        assert_eq!(normalise(b"./").as_deref(), Ok(&b""[..]));
        assert_eq!(normalise(b"/etc/passwd"), Err(Problem::Absolute));
        assert_eq!(normalise(b".//etc"), Err(Problem::Empty));
        assert_eq!(normalise(b"./a/../b"), Err(Problem::Parent));
        assert_eq!(normalise(b".."), Err(Problem::Parent));
        assert_eq!(normalise(b"a//b"), Err(Problem::Empty));
        assert_eq!(normalise(b"a/./b"), Err(Problem::Empty));
        assert_eq!(normalise(b"a\0b"), Err(Problem::Nul));
        for path in [&b"a\nb"[..], b"a\x1b[2Jb", b"a\x7f", "a\u{85}b".as_bytes()] {
            let expected = Err(Problem::ControlCharacter("its path"));
            assert_eq!(normalise(path), expected, "{path:?}");
        }
        assert!(normalise("usr/share/F\u{151}tan\u{fa}s.crt".as_bytes()).is_ok());
        assert_eq!(normalise(&[b'a'; 256]), Err(Problem::Long));
    }

    #[test]
    fn merged_directories_move_below_usr_and_their_links_stay() {
        assert_eq!(merge(b"bin/sh".to_vec(), false), b"usr/bin/sh");
        assert_eq!(merge(b"lib".to_vec(), true), b"usr/lib");
        assert_eq!(merge(b"lib".to_vec(), false), b"lib");
        assert_eq!(merge(b"libexec/x".to_vec(), false), b"libexec/x");
    }
}
