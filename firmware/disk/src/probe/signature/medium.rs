//! The bytes of one extent, looked at through a few small windows, and the fields in them.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};

use prejoin_wire::disk::{Extent, Unreadable};

use crate::device::ReadAt;

/// Bytes read at once at either end of an extent: nearly everything that has a signature has it there.
const END: u64 = 1 << 20;
/// The most that is read at once anywhere else.
pub(super) const LIMIT: usize = 256 << 10;
/// Smaller and smaller pieces in which a window is tried again when it cannot be read as a whole: one bad sector must
/// not hide the others.
const PIECES: [usize; 2] = [64 << 10, 4 << 10];
/// After so many errors a disk counts as dead, and a window is not taken apart any more.
const PATIENCE: u32 = 64;
/// After so many, and not one byte read, nothing is asked of it any more: each may take its time.
const DEAD: u32 = 128;

/// An extent of a disk. Offsets are from the extent's start; nothing outside of it is read.
pub(super) struct Medium<'a> {
    disk: &'a dyn ReadAt,
    of: Extent,
    head: Window,
    tail: Window,
    errors: Cell<u32>,
    alive: Cell<bool>,
    unreadable: RefCell<Vec<Unreadable>>,
}

#[derive(Default)]
struct Window {
    start: u64,
    bytes: Vec<u8>,
    holes: Vec<Extent>,
}

impl<'a> Medium<'a> {
    pub(super) fn new(disk: &'a dyn ReadAt, of: Extent) -> Self {
        let mut medium = Medium {
            disk,
            of,
            head: Window::default(),
            tail: Window::default(),
            errors: Cell::new(0),
            alive: Cell::new(false),
            unreadable: RefCell::default(),
        };
        medium.head = medium.window(0);
        medium.tail = medium.window(
            of.length
                .saturating_sub(END)
                .max(medium.head.bytes.len() as u64),
        );
        medium
    }

    /// Number of bytes.
    pub(super) fn size(&self) -> u64 {
        self.of.length
    }

    /// Exactly `length` bytes from `offset` on, at most [`LIMIT`]; nothing if they are not all in the extent, or
    /// cannot be read.
    pub(super) fn bytes(&self, offset: u64, length: usize) -> Option<Cow<'_, [u8]>> {
        let wanted = Extent {
            start: offset,
            length: length as u64,
        };
        if length > LIMIT || offset.checked_add(length as u64)? > self.of.length {
            return None;
        }
        for window in [&self.head, &self.tail] {
            if window.extent().covers(&wanted) {
                let start = usize::try_from(offset - window.start).ok()?;
                let whole = window.holes.iter().all(|hole| !hole.meets(&wanted));
                return window
                    .bytes
                    .get(start..start + length)
                    .filter(|_| whole)
                    .map(Cow::Borrowed);
            }
        }
        let mut buffer = vec![0; length];
        self.read(offset, &mut buffer).then_some(Cow::Owned(buffer))
    }

    /// What could not be read, with offsets from the disk's first byte.
    pub(super) fn unreadable(self) -> Vec<Unreadable> {
        let mut all = self.unreadable.into_inner();
        all.sort_by_key(|unreadable| unreadable.extent);
        let mut merged: Vec<Unreadable> = Vec::new();
        for next in all {
            match merged.last_mut() {
                Some(last)
                    if last.error == next.error && last.extent.end() >= next.extent.start =>
                {
                    last.extent = Extent::between(
                        last.extent.start,
                        last.extent.end().max(next.extent.end()),
                    );
                }
                _ => merged.push(next),
            }
        }
        merged
    }

    fn window(&self, start: u64) -> Window {
        let length = self.of.length.saturating_sub(start).min(END) as usize;
        let mut window = Window {
            start,
            bytes: vec![0; length],
            holes: Vec::new(),
        };
        if length > 0 {
            self.fill(start, &mut window.bytes, &PIECES, &mut window.holes);
        }
        window
    }

    fn fill(&self, start: u64, buffer: &mut [u8], pieces: &[usize], holes: &mut Vec<Extent>) {
        let of = Extent {
            start,
            length: buffer.len() as u64,
        };
        match pieces {
            [piece, smaller @ ..] if self.errors.get() < PATIENCE => {
                if self.try_read(start, buffer).is_ok() {
                    return;
                }
                for (index, part) in buffer.chunks_mut(*piece).enumerate() {
                    self.fill(start + (index * piece) as u64, part, smaller, holes);
                }
            }
            _ if self.read(start, buffer) => {}
            _ => holes.push(of),
        }
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> bool {
        let read = self.try_read(offset, buffer);
        if let Err(error) = &read {
            let extent = Extent {
                start: self.of.start.saturating_add(offset),
                length: buffer.len() as u64,
            };
            self.unreadable.borrow_mut().push(Unreadable {
                extent,
                error: error.to_string(),
            });
        }
        read.is_ok()
    }

    fn try_read(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        if self.errors.get() >= DEAD && !self.alive.get() {
            return Err(std::io::Error::other(
                "not tried, since nothing else could be read",
            ));
        }
        let read = self
            .disk
            .read_at(self.of.start.saturating_add(offset), buffer);
        match &read {
            Ok(()) => self.alive.set(true),
            Err(_) => self.errors.set(self.errors.get().saturating_add(1)),
        }
        read
    }
}

impl Window {
    fn extent(&self) -> Extent {
        Extent {
            start: self.start,
            length: self.bytes.len() as u64,
        }
    }
}

/// Fields of a structure; nothing where it ends too early.
pub(super) trait Fields {
    fn part(&self, at: usize, length: usize) -> Option<&[u8]>;

    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.part(at, N)?.try_into().ok()
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.array(at).map(u8::from_le_bytes)
    }

    fn le16(&self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    fn le32(&self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    fn le64(&self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_le_bytes)
    }

    fn be16(&self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_be_bytes)
    }

    fn be32(&self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_be_bytes)
    }

    fn be64(&self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_be_bytes)
    }

    /// Whether `magic` is at `at`.
    fn has(&self, at: usize, magic: &[u8]) -> bool {
        self.part(at, magic.len()) == Some(magic)
    }

    /// A UUID in its usual form; one of zeroes is none.
    fn uuid(&self, at: usize) -> Option<String> {
        let bytes = self.part(at, 16)?;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let parts = [
            hex.get(..8)?,
            hex.get(8..12)?,
            hex.get(12..16)?,
            hex.get(16..20)?,
            hex.get(20..)?,
        ];
        bytes.iter().any(|&byte| byte != 0).then(|| parts.join("-"))
    }

    /// Text up to the first zero, without blanks at its end; none where that is empty.
    fn text(&self, at: usize, length: usize) -> Option<String> {
        let bytes = self.part(at, length)?;
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(length);
        clean(&String::from_utf8_lossy(&bytes[..end]))
    }

    /// The same in UTF-16 of either order.
    fn wide(&self, at: usize, length: usize, unit: fn([u8; 2]) -> u16) -> Option<String> {
        let bytes = self.part(at, length)?;
        let units = bytes
            .as_chunks()
            .0
            .iter()
            .map(|&pair| unit(pair))
            .take_while(|&unit| unit != 0);
        clean(
            &char::decode_utf16(units)
                .map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect::<String>(),
        )
    }
}

impl Fields for [u8] {
    fn part(&self, at: usize, length: usize) -> Option<&[u8]> {
        self.get(at..at.checked_add(length)?)
    }
}

/// What stands on a foreign disk is shown on a terminal: control characters have no business in it.
fn clean(text: &str) -> Option<String> {
    let text = text.trim_end();
    let shown = text.chars().map(|char| {
        if char.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            char
        }
    });
    (!text.is_empty()).then(|| shown.collect())
}
