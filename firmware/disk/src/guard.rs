//! The last line of defence: nothing is written outside what the plan allows.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use prejoin_wire::disk::{Extent, merge};

use crate::device::{ReadAt, WriteAt};

/// A disk of which only the listed bytes can be written. Everything can be read.
#[derive(Debug)]
pub struct Guarded<T> {
    disk: T,
    /// Sorted, none touching another.
    allowed: Vec<Extent>,
    written: AtomicBool,
}

/// A write that was refused; nothing of it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("refusing to write {length} bytes at byte {offset}: the plan does not allow all of them")]
pub struct Refused {
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
}

impl<T: WriteAt> Guarded<T> {
    /// Lets writes to `allowed` through to `disk`, and no other.
    pub fn new(disk: T, allowed: Vec<Extent>) -> Self {
        Guarded {
            disk,
            allowed: merge(allowed),
            written: AtomicBool::new(false),
        }
    }

    /// Whether anything was let through: after that, no failure may say that nothing was written.
    pub fn has_written(&self) -> bool {
        self.written.load(Ordering::Relaxed)
    }

    /// Whether every byte of an extent may be written.
    pub fn allows(&self, offset: u64, length: u64) -> bool {
        let Some(end) = offset.checked_add(length) else {
            return false;
        };
        let before = self
            .allowed
            .partition_point(|extent| extent.start <= offset);
        let home = before
            .checked_sub(1)
            .and_then(|index| self.allowed.get(index));
        home.is_some_and(|home| {
            home.start
                .checked_add(home.length)
                .is_some_and(|limit| end <= limit)
        })
    }

    fn check(&self, offset: u64, length: u64) -> io::Result<()> {
        match self.allows(offset, length) {
            true => {
                self.written.store(true, Ordering::Relaxed);
                Ok(())
            }
            false => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                Refused { offset, length },
            )),
        }
    }
}

impl<T: WriteAt> ReadAt for Guarded<T> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.disk.read_at(offset, buffer)
    }
}

impl<T: WriteAt> WriteAt for Guarded<T> {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check(offset, bytes.len() as u64)?;
        self.disk.write_at(offset, bytes)
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        self.check(offset, length)?;
        self.disk.zero(offset, length)
    }

    fn flush(&self) -> io::Result<()> {
        self.disk.flush()
    }

    fn forget(&self) -> io::Result<()> {
        self.disk.forget()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::prelude::*;

    use super::*;

    /// A disk of 256 bytes.
    struct Memory(Mutex<Vec<u8>>);

    impl ReadAt for Memory {
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
            self.0.lock().unwrap().read_at(offset, buffer)
        }
    }

    impl WriteAt for Memory {
        fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            let start = offset as usize;
            self.0.lock().unwrap()[start..start + bytes.len()].copy_from_slice(bytes);
            Ok(())
        }

        fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
            self.write_at(offset, &vec![0; length as usize])
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }

        fn forget(&self) -> io::Result<()> {
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn bytes_outside_never_change_and_inside_always_can(
            allowed in prop::collection::vec((0u64..256, 0u64..80), 0..6),
            (offset, length) in (0u64..256, 1u64..80),
            zero: bool,
        ) {
            let length = length.min(256 - offset);
            let of = |(start, length): (u64, u64)| Extent::between(start, (start + length).min(256));
            let allowed: Vec<Extent> = allowed.into_iter().map(of).collect();
            // Byte by byte, without any of the arithmetic of the guard.
            let may = |byte: u64| allowed.iter().any(|extent| (extent.start..extent.start + extent.length).contains(&byte));
            let expected = (offset..offset + length).all(may);

            let disk = Guarded::new(Memory(Mutex::new(vec![7; 256])), allowed.clone());
            let result = match zero {
                true => disk.zero(offset, length),
                false => disk.write_at(offset, &vec![0; length as usize]),
            };
            prop_assert_eq!(result.is_ok(), expected);
            for (at, &byte) in (0u64..).zip(disk.disk.0.lock().unwrap().iter()) {
                let written = expected && (offset..offset + length).contains(&at);
                prop_assert_eq!(byte, if written { 0 } else { 7 });
            }
        }

        #[test]
        fn no_number_overflows(start in edge(), length in edge(), offset in edge(), count in edge()) {
            let disk = Guarded::new(Memory(Mutex::new(Vec::new())), vec![Extent { start, length }]);
            let [from, until, first, end] =
                [(start, 0), (start, length), (offset, 0), (offset, count)].map(|(a, b)| u128::from(a) + u128::from(b));
            // An extent that goes on after the last number there is allows nothing.
            let expected = length > 0 && until <= u128::from(u64::MAX) && from <= first && end <= until;
            prop_assert_eq!(disk.allows(offset, count), expected);
        }
    }

    fn edge() -> impl Strategy<Value = u64> {
        prop_oneof![0u64..6, u64::MAX - 5..=u64::MAX]
    }

    #[test]
    fn a_refusal_names_the_bytes() {
        let disk = Guarded::new(
            Memory(Mutex::new(vec![7; 16])),
            vec![Extent::between(0, 4), Extent::between(4, 8)],
        );
        assert!(disk.write_at(6, &[0; 4]).is_err() && !disk.has_written());
        assert!(
            disk.write_at(2, &[0; 4]).is_ok(),
            "across extents that touch"
        );
        assert!(disk.has_written());
        let error = disk.write_at(6, &[0; 4]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(
            error.to_string(),
            "refusing to write 4 bytes at byte 6: the plan does not allow all of them"
        );
        assert!(
            disk.zero(u64::MAX, 2).is_err() && disk.write_at(u64::MAX - 1, &[1, 2, 3]).is_err()
        );
        assert_eq!(
            *disk.disk.0.lock().unwrap(),
            [7, 7, 0, 0, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]
        );
    }
}
