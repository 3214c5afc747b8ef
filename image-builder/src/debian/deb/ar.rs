//! The outer archive: `ar` with short names only (deb(5)).

use std::io::{self, Read};

use super::Error;

/// Members are visited in order; each is drained before the next header is read.
pub(super) struct Reader<R> {
    input: R,
    left: u64,
    padding: bool,
}

/// One member's header.
pub(super) struct Member {
    pub(super) name: String,
    pub(super) size: u64,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(mut input: R) -> Result<Self, Error> {
        let mut magic = [0; 8];
        input.read_exact(&mut magic).map_err(failure)?;
        if &magic != b"!<arch>\n" {
            return Err(Error::Archive("it does not start with `!<arch>`".into()));
        }
        Ok(Reader {
            input,
            left: 0,
            padding: false,
        })
    }

    /// The next member, whose name must be `expected` or `expected.<compression>`. Members whose name starts with an
    /// underscore are skipped (deb(5)).
    pub(super) fn member(&mut self, expected: &str) -> Result<Member, Error> {
        loop {
            let member = self
                .next()?
                .ok_or_else(|| Error::Archive(format!("it has no {expected}")))?;
            let rest = member.name.strip_prefix(expected);
            if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) {
                return Ok(member);
            }
            if !member.name.starts_with('_') {
                return Err(Error::Archive(format!(
                    "it has `{}` where {expected} belongs",
                    member.name
                )));
            }
        }
    }

    /// The current member's bytes; fewer than announced is an error.
    pub(super) fn content(&mut self) -> Content<'_, R> {
        Content(self)
    }

    /// Reads what follows the last member: deb(5) allows further members, and they are ignored.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        while self.next()?.is_some() {}
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Member>, Error> {
        io::copy(&mut self.content(), &mut io::sink()).map_err(failure)?;
        if std::mem::take(&mut self.padding) {
            self.input.read_exact(&mut [0; 1]).map_err(failure)?;
        }
        let mut header = Vec::with_capacity(60);
        self.input
            .by_ref()
            .take(60)
            .read_to_end(&mut header)
            .map_err(failure)?;
        if header.is_empty() {
            return Ok(None);
        }
        if header.len() < 60 {
            return Err(Error::Truncated("an ar header"));
        }
        let damaged = |what: &str| Error::Archive(format!("an ar header has a damaged {what}"));
        if &header[58..60] != b"`\n" {
            return Err(damaged("end"));
        }
        let name = std::str::from_utf8(&header[..16])
            .map_err(|_| damaged("name"))?
            .trim_end()
            .trim_end_matches('/');
        let size = std::str::from_utf8(&header[48..58])
            .map_err(|_| damaged("size"))?
            .trim_end();
        if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(damaged("size"));
        }
        let size = size.parse().map_err(|_| damaged("size"))?;
        self.left = size;
        self.padding = size % 2 == 1;
        Ok(Some(Member {
            name: name.to_owned(),
            size,
        }))
    }
}

/// See [`Reader::content`].
pub(super) struct Content<'a, R>(&'a mut Reader<R>);

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.0.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.0.input.read(&mut buffer[..wanted])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.0.left -= count as u64;
        Ok(count)
    }
}

fn failure(source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::UnexpectedEof => Error::Truncated("the archive"),
        _ => Error::Read {
            part: "the archive",
            source,
        },
    }
}
