//! The inner archives: POSIX ustar with pax headers, and GNU long names (tar(5) of libarchive; GNU tar manual,
//! "Basic Tar Format"). dpkg-deb writes the GNU form.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};

use super::{Error, Problem};

const BLOCK: usize = 512;

/// Most bytes of one pax or long-name member.
const EXTENSION: u64 = 1 << 20;

/// One member, extensions applied; names are as in the archive.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) kind: Type,
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: i64,
    pub(super) size: u64,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Regular,
    Directory,
    Symlink,
    HardLink,
    Refused(&'static str),
}

impl Type {
    /// What it is, if that is no regular file.
    pub(super) fn not_a_file(self) -> Option<&'static str> {
        match self {
            Type::Regular => None,
            Type::Directory => Some("a directory"),
            Type::Symlink => Some("a symbolic link"),
            Type::HardLink => Some("a hard link"),
            Type::Refused(what) => Some(what),
        }
    }
}

/// Reads headers one by one; between two headers it is the content of the member.
pub(super) struct Reader<'a> {
    input: Box<dyn BufRead + 'a>,
    part: &'static str,
    /// Bytes that may still be read.
    allowed: u64,
    limit: u64,
    left: u64,
    padding: usize,
}

/// What pax records and GNU long names say of the member that follows them.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<i64>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(input: Box<dyn BufRead + 'a>, part: &'static str, limit: u64) -> Self {
        Reader {
            input,
            part,
            allowed: limit,
            limit,
            left: 0,
            padding: 0,
        }
    }

    /// The next member, or `None` at the end-of-archive mark.
    pub(super) fn next(&mut self) -> Result<Option<Header>, Error> {
        let mut extensions = Extensions::default();
        loop {
            self.skip()?;
            let Some(block) = self.block()? else {
                return Ok(None);
            };
            let size = number(&block[124..136]).ok_or_else(|| self.damaged("size", &block))?;
            let kind = block[156];
            match kind {
                b'x' | b'g' | b'L' | b'K' => {
                    if size > EXTENSION {
                        return Err(self.broken(format!("an extension header of {size} bytes")));
                    }
                    self.start(size)?;
                    let mut bytes = Vec::new();
                    self.read_to_end(&mut bytes)
                        .map_err(|source| failure(source, self.part))?;
                    self.extend(&mut extensions, kind, bytes)?;
                }
                _ => {
                    let header = self.header(&block, size, extensions)?;
                    self.start(if header.kind == Type::Regular {
                        header.size
                    } else {
                        0
                    })?;
                    return Ok(Some(header));
                }
            }
        }
    }

    /// Reads to the end of the stream, so that a decompressor checks its own checksum and a cut is noticed.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        let mut rest = [0; BLOCK];
        loop {
            let count = self
                .input
                .read(&mut rest)
                .map_err(|source| failure(source, self.part))?;
            if count == 0 {
                return Ok(());
            }
            if rest[..count].iter().any(|&byte| byte != 0) {
                return Err(self.broken("data after the end of the archive".into()));
            }
            self.spend(count as u64)?;
        }
    }

    fn header(
        &self,
        block: &[u8; BLOCK],
        size: u64,
        extensions: Extensions,
    ) -> Result<Header, Error> {
        let short = |range: std::ops::Range<usize>| until_nul(&block[range]).to_vec();
        let mut path = short(0..100);
        if &block[257..263] == b"ustar\0" && block[345] != 0 {
            path = [until_nul(&block[345..500]), b"/", &path].concat();
        }
        let path = extensions.path.unwrap_or(path);
        let fail = |what| Error::Tar {
            part: self.part,
            problem: format!(
                "`{}` has a damaged {what} field",
                String::from_utf8_lossy(&path)
            ),
        };
        let id = |range: std::ops::Range<usize>, what| {
            number(&block[range])
                .and_then(|id| u32::try_from(id).ok())
                .ok_or_else(|| fail(what))
        };
        let mode = number(&block[100..108]).ok_or_else(|| fail("mode"))?;
        let uid = extensions.uid.map_or_else(|| id(108..116, "owner"), Ok)?;
        let gid = extensions.gid.map_or_else(|| id(116..124, "group"), Ok)?;
        let mtime = match extensions.mtime {
            Some(mtime) => mtime,
            None => number(&block[136..148])
                .and_then(|time| i64::try_from(time).ok())
                .ok_or_else(|| fail("time"))?,
        };
        let kind = match block[156] {
            b'0' | b'7' | 0 if path.ends_with(b"/") => Type::Directory,
            b'0' | b'7' | 0 => Type::Regular,
            b'1' => Type::HardLink,
            b'2' => Type::Symlink,
            b'3' | b'4' => Type::Refused("a device node"),
            b'5' => Type::Directory,
            b'6' => Type::Refused("a named pipe"),
            b'S' => Type::Refused("a sparse file"),
            _ => Type::Refused("of an unknown kind"),
        };
        Ok(Header {
            kind,
            link: extensions.link.unwrap_or_else(|| short(157..257)),
            mode: (mode & 0o7777) as u16,
            uid,
            gid,
            mtime,
            size: extensions.size.unwrap_or(size),
            xattrs: extensions.xattrs,
            path,
        })
    }

    fn extend(
        &self,
        extensions: &mut Extensions,
        kind: u8,
        mut bytes: Vec<u8>,
    ) -> Result<(), Error> {
        match kind {
            b'L' | b'K' => {
                bytes.truncate(until_nul(&bytes).len());
                let slot = if kind == b'L' {
                    &mut extensions.path
                } else {
                    &mut extensions.link
                };
                *slot = Some(bytes);
                Ok(())
            }
            _ => {
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    let (key, value);
                    (key, value, rest) =
                        record(rest).ok_or_else(|| self.broken("a damaged pax record".into()))?;
                    if kind == b'g' && key != b"comment" {
                        return Err(self.broken("a global pax header".into()));
                    }
                    extensions
                        .record(key, value)
                        .map_err(|what| self.broken(what))?;
                }
                Ok(())
            }
        }
    }

    /// A header block whose checksum holds; `None` for the zero block that ends the archive.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        let mut block = [0; BLOCK];
        self.spend(BLOCK as u64)?;
        self.input
            .read_exact(&mut block)
            .map_err(|source| failure(source, self.part))?;
        if block.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
        let expected = sum(&block[..148]) + 8 * u64::from(b' ') + sum(&block[156..]);
        if number(&block[148..156]) != Some(expected) {
            return Err(self.damaged("checksum", &block));
        }
        Ok(Some(block))
    }

    fn start(&mut self, size: u64) -> Result<(), Error> {
        self.left = size;
        self.padding = ((BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64) as usize;
        self.spend(size.saturating_add(self.padding as u64))
    }

    /// Passes over what is left of the member and its padding.
    fn skip(&mut self) -> Result<(), Error> {
        let part = self.part;
        io::copy(self, &mut io::sink()).map_err(|source| failure(source, part))?;
        let padding = std::mem::take(&mut self.padding);
        self.input
            .read_exact(&mut [0; BLOCK][..padding])
            .map_err(|source| failure(source, part))
    }

    fn spend(&mut self, bytes: u64) -> Result<(), Error> {
        let (part, limit) = (self.part, self.limit);
        self.allowed = self
            .allowed
            .checked_sub(bytes)
            .ok_or(Error::Bomb { part, limit })?;
        Ok(())
    }

    fn broken(&self, problem: String) -> Error {
        Error::Tar {
            part: self.part,
            problem,
        }
    }

    fn damaged(&self, what: &str, block: &[u8; BLOCK]) -> Error {
        self.broken(format!(
            "the header of `{}` has a damaged {what}",
            String::from_utf8_lossy(until_nul(&block[..100]))
        ))
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.input.read(&mut buffer[..wanted])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

impl Extensions {
    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let bad = || format!("a damaged pax record `{}`", String::from_utf8_lossy(key));
        let id = || {
            decimal(value)
                .and_then(|id| u32::try_from(id).ok())
                .ok_or_else(bad)
        };
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => {
                self.size = Some(
                    decimal(value)
                        .and_then(|size| u64::try_from(size).ok())
                        .ok_or_else(bad)?,
                )
            }
            b"uid" => self.uid = Some(id()?),
            b"gid" => self.gid = Some(id()?),
            b"mtime" => self.mtime = Some(seconds(value).ok_or_else(bad)?),
            key if key.starts_with(b"GNU.sparse.") => {
                return Err(Problem::Kind("a sparse file").to_string());
            }
            key => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.insert(name.to_vec(), value.to_vec());
                }
            }
        }
        Ok(())
    }
}

/// One pax record, `<length> <key>=<value>\n`, and what follows it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().position(|&byte| byte == b' ')?;
    let length = usize::try_from(decimal(&bytes[..space])?).ok()?;
    let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], &bytes[length..]))
}

fn decimal(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Whole seconds of `1700000000.25`, rounded down.
fn seconds(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    match text.split_once('.') {
        None => text.parse().ok(),
        Some((whole, fraction)) if fraction.bytes().all(|byte| byte.is_ascii_digit()) => {
            let whole_seconds: i64 = whole.parse().ok()?;
            let below = whole.starts_with('-') && fraction.bytes().any(|digit| digit != b'0');
            whole_seconds.checked_sub(i64::from(below))
        }
        Some(_) => None,
    }
}

/// A header number: octal text, or big-endian binary when the first bit is set (GNU). Negative ones are refused.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let mut value = u64::from(field[0] & 0x7f);
        for &byte in &field[1..] {
            value = value.checked_mul(256)?.checked_add(u64::from(byte))?;
        }
        return Some(value);
    }
    let text = std::str::from_utf8(until_nul(field))
        .ok()?
        .trim_matches(' ');
    if text.is_empty() {
        return Some(0);
    }
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| u64::from_str_radix(text, 8).ok())
        .flatten()
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// An I/O error that passed through a reader, as ours.
pub(super) fn failure(source: io::Error, part: &'static str) -> Error {
    match source.kind() {
        io::ErrorKind::UnexpectedEof => Error::Truncated(part),
        _ => Error::Read { part, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(number(b"0000755\0"), Some(0o755));
        assert_eq!(number(b"  644 \0\0"), Some(0o644));
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 1, 0]), Some(256));
        assert_eq!(number(b"+000001\0"), None);
        assert_eq!(number(&[0xff; 12]), None);
    }

    #[test]
    fn pax_records() {
        assert_eq!(
            record(b"12 path=abc\nrest"),
            Some((&b"path"[..], &b"abc"[..], &b"rest"[..]))
        );
        assert_eq!(record(b"99 path=abc\n"), None);
        assert_eq!(record(b"0 path=abc\n"), None);
        assert_eq!(record(b"-5 path=abc\n"), None);
        assert_eq!(seconds(b"-1.5"), Some(-2));
        assert_eq!(seconds(b"17.9"), Some(17));
    }
}
