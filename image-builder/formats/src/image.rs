//! A disk, partition or file as a list of pieces: planned bytes and references, with zeroes between.

use std::sync::Arc;

use crate::tree::{Content, ContentDigest, Contents};

/// `size` bytes, made of non-overlapping pieces in ascending order; what no piece covers is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    size: u64,
    pieces: Vec<Piece>,
}

/// One covered range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it starts in the image, in bytes.
    pub offset: u64,
    /// How long it is, in bytes; never 0.
    pub length: u64,
    /// Where its bytes come from.
    pub source: Source,
}

/// Where a piece's bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `bytes[start..start + length]`.
    Bytes {
        /// The shared buffer.
        bytes: Arc<[u8]>,
        /// First byte used.
        start: u64,
    },
    /// `length` bytes of a blob from `start`.
    Blob {
        /// SHA-256 of the whole blob.
        digest: ContentDigest,
        /// First byte used.
        start: u64,
    },
}

impl Source {
    /// The same without its first `skip` bytes.
    fn skipped(&self, skip: u64) -> Self {
        match self {
            Source::Bytes { bytes, start } => Source::Bytes {
                bytes: bytes.clone(),
                start: start + skip,
            },
            Source::Blob { digest, start } => Source::Blob {
                digest: *digest,
                start: start + skip,
            },
        }
    }
}

impl Image {
    /// `size` zero bytes.
    pub fn zero(size: u64) -> Self {
        Image {
            size,
            pieces: Vec::new(),
        }
    }

    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The covered ranges, ascending.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Covers `offset..` with `bytes`. Pieces may be put in any order; call [`Image::sort`] once at the end.
    pub fn put_bytes(&mut self, offset: u64, bytes: impl Into<Arc<[u8]>>) {
        let bytes = bytes.into();
        let length = bytes.len() as u64;
        self.put(Piece {
            offset,
            length,
            source: Source::Bytes { bytes, start: 0 },
        });
    }

    /// Covers `offset..` with `length` bytes of `content` from `start`.
    pub fn put_content(&mut self, offset: u64, content: &Content, start: u64, length: u64) {
        let source = match content {
            Content::Bytes(bytes) => Source::Bytes {
                bytes: bytes.clone(),
                start,
            },
            Content::Blob { digest, .. } => Source::Blob {
                digest: *digest,
                start,
            },
            Content::Image(image) => return self.put_part(offset, image, start, length),
        };
        self.put(Piece {
            offset,
            length,
            source,
        });
    }

    /// Covers `offset..` with `length` bytes of another image from `start`.
    fn put_part(&mut self, offset: u64, image: &Image, start: u64, length: u64) {
        let end = start + length;
        for piece in &image.pieces[image.first_piece(start)..] {
            if piece.offset >= end {
                break;
            }
            let from = piece.offset.max(start);
            let to = (piece.offset + piece.length).min(end);
            let source = piece.source.skipped(from - piece.offset);
            self.put(Piece {
                offset: offset + (from - start),
                length: to - from,
                source,
            });
        }
    }

    /// The bytes `offset..offset + length` as an image of their own.
    pub fn part(&self, offset: u64, length: u64) -> Image {
        let mut part = Image::zero(length);
        part.put_part(0, self, offset, length);
        part
    }

    /// Covers `offset..offset + image.size()` with another image (a partition in a disk, a file in a partition).
    pub fn put_image(&mut self, offset: u64, image: &Image) {
        for piece in &image.pieces {
            self.put(Piece {
                offset: offset + piece.offset,
                ..piece.clone()
            });
        }
    }

    fn put(&mut self, piece: Piece) {
        if piece.length > 0 {
            self.pieces.push(piece);
        }
    }

    /// Brings pieces into ascending order.
    ///
    /// # Panics
    /// If two pieces overlap or one reaches past the end: a writer of this crate has miscounted.
    pub fn sort(&mut self) {
        self.pieces.sort_by_key(|piece| piece.offset);
        let mut end = 0;
        for piece in &self.pieces {
            assert!(
                piece.offset >= end,
                "pieces overlap at byte {}",
                piece.offset
            );
            end = piece.offset + piece.length;
        }
        assert!(
            end <= self.size,
            "a piece reaches past the end: {end} > {}",
            self.size
        );
    }

    /// Whether `offset..offset + length` is covered by no piece (and so is zero without being read).
    pub fn is_hole(&self, offset: u64, length: u64) -> bool {
        let first = self.first_piece(offset);
        self.pieces
            .get(first)
            .is_none_or(|piece| piece.offset >= offset + length)
    }

    /// Fills `buffer` with the image's bytes from `offset`.
    ///
    /// # Panics
    /// If the range reaches past the end of the image.
    pub fn read_at(
        &self,
        contents: &dyn Contents,
        offset: u64,
        buffer: &mut [u8],
    ) -> std::io::Result<()> {
        let end = offset + buffer.len() as u64;
        assert!(
            end <= self.size,
            "reading past the end: {end} > {}",
            self.size
        );
        let mut at = offset;
        for piece in &self.pieces[self.first_piece(offset)..] {
            if piece.offset >= end {
                break;
            }
            let from = piece.offset.max(offset);
            let to = (piece.offset + piece.length).min(end);
            buffer[(at - offset) as usize..(from - offset) as usize].fill(0);
            let target = &mut buffer[(from - offset) as usize..(to - offset) as usize];
            let skip = from - piece.offset;
            match &piece.source {
                Source::Bytes { bytes, start } => {
                    let start = (start + skip) as usize;
                    target.copy_from_slice(&bytes[start..start + target.len()]);
                }
                Source::Blob { digest, start } => contents.read_at(digest, start + skip, target)?,
            }
            at = to;
        }
        buffer[(at - offset) as usize..].fill(0);
        Ok(())
    }

    /// Index of the first piece that ends after `offset`.
    fn first_piece(&self, offset: u64) -> usize {
        self.pieces
            .partition_point(|piece| piece.offset + piece.length <= offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::NoContents;

    #[test]
    fn reads_across_pieces_and_holes() {
        let mut inner = Image::zero(8);
        inner.put_bytes(2, *b"abc");
        let mut image = Image::zero(20);
        image.put_bytes(0, *b"xy");
        image.put_image(4, &inner);
        image.sort();
        let mut all = [1; 20];
        image.read_at(&NoContents, 0, &mut all).unwrap();
        assert_eq!(&all, b"xy\0\0\0\0abc\0\0\0\0\0\0\0\0\0\0\0");
        let mut some = [1; 4];
        image.read_at(&NoContents, 7, &mut some).unwrap();
        assert_eq!(&some, b"bc\0\0");
        assert!(image.is_hole(9, 11) && !image.is_hole(8, 2));
    }

    #[test]
    fn an_image_can_be_the_content_of_another() {
        let mut inner = Image::zero(10);
        inner.put_bytes(1, *b"abc");
        inner.put_bytes(6, *b"defg");
        inner.sort();
        let content = Content::Image(inner.into());
        let mut outer = Image::zero(8);
        outer.put_content(1, &content, 2, 6);
        outer.sort();
        let mut all = [1; 8];
        outer.read_at(&NoContents, 0, &mut all).unwrap();
        assert_eq!(&all, b"\0bc\0\0de\0");
        assert_eq!(content.read(&NoContents).unwrap(), b"\0abc\0\0defg");
        assert_eq!(outer.part(2, 4).pieces().len(), 2);
    }
}
