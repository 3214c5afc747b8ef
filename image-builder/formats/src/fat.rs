//! FAT12, FAT16 and FAT32 volumes with long names, written once from a tree
//! (Microsoft, "FAT: General Overview of On-Disk Format", version 1.03).
//!
//! Everything is contiguous: directories first, then files. In a FAT32 volume of 64 MiB or more, files of 1 MiB and
//! more begin on 1 MiB boundaries where there is room, so that one kernel that grew does not move the others.

mod geometry;
mod name;
mod volume;

use std::collections::BTreeMap;

use crate::image::Image;
use crate::tree::Tree;

/// What the volume is like besides its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of the volume; a multiple of the sector size.
    pub size: u64,
    /// Logical sector size of the disk in bytes: 512 or 4096.
    pub sector_size: u32,
    /// The type to make, or the usual one for this size.
    pub width: Option<Width>,
    /// Volume label: at most 11 of the characters short names may have, spaces inside; empty for none.
    pub label: String,
    /// Volume serial number: `UUID=1234-ABCD` to Linux.
    pub volume_id: u32,
    /// Time of the label, seconds since 1970. Files and directories have their own times; all are kept in steps of
    /// two seconds and clamped to 1980..2107.
    pub time: i64,
    /// Where the volume begins on its disk, in sectors.
    pub hidden_sectors: u32,
}

/// The three types, by the bits of a table entry. Readers tell them apart by the number of clusters alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Width {
    /// Up to 4084 clusters.
    Fat12,
    /// 4085 to 65 524 clusters.
    Fat16,
    /// From 65 525 clusters.
    Fat32,
}

/// A volume that cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither 512 nor 4096.
    #[error("a sector size of {0} bytes is not supported")]
    SectorSize(u32),
    /// No number of clusters makes the wanted type in this size.
    #[error("a volume of {size} bytes in sectors of {sector_size} cannot be {}", width.map_or("FAT", Width::name))]
    Size {
        /// Bytes of the volume.
        size: u64,
        /// Bytes of a sector.
        sector_size: u32,
        /// The wanted type, if one was.
        width: Option<Width>,
    },
    /// The content is larger than the volume.
    #[error("files and directories take {needed} bytes, the volume has room for {available}")]
    NoSpace {
        /// Bytes of all clusters in use.
        needed: u64,
        /// Bytes of all clusters.
        available: u64,
    },
    /// The label is too long, or has characters labels cannot have.
    #[error("{0:?} cannot be a FAT volume label")]
    Label(String),
    /// Something that is neither a regular file nor a directory.
    #[error("{0} is neither a file nor a directory, and FAT knows nothing else")]
    Kind(String),
    /// The name has characters FAT cannot hold (or none, or more than 255).
    #[error("{0} has a name that FAT cannot hold")]
    Name(String),
    /// Two names that differ only by case.
    #[error("{0} and {1} are the same name on FAT")]
    SameName(String, String),
    /// A file of 4 GiB or more.
    #[error("{path} has {size} bytes, more than a file on FAT can have")]
    Large {
        /// The file.
        path: String,
        /// Its size.
        size: u64,
    },
    /// A directory with more than 65 535 entries (a long name takes several), or a FAT12 or FAT16 root directory
    /// with more than 65 520.
    #[error("{0} has too many entries for a FAT directory")]
    Directory(String),
}

/// A volume, and where its files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its bytes.
    pub image: Image,
    /// First byte of every file that is not empty, by path. Files are contiguous, and no two share 4096 bytes unless the
    /// volume is too full for that.
    pub files: BTreeMap<Vec<u8>, u64>,
}

/// Writes a tree as a volume. Owners, permissions and extended attributes are dropped: the format has no place for
/// them.
pub fn write(tree: &Tree, options: &Options) -> Result<Volume, Error> {
    let label = label(&options.label)?;
    let directories = volume::directories(tree, label.is_some())?;
    let root_records = directories.root_records();
    let geometry = geometry::Geometry::new(options, root_records)?;
    volume::write(&directories, &geometry, options, label)
}

impl Error {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::NoSpace { needed, available } => Some(format!(
                "make the partition at least {} MiB larger",
                (needed - available).div_ceil(1 << 20)
            )),
            Error::Size {
                width: Some(Width::Fat32),
                sector_size,
                ..
            } => {
                let least = 65_541 * u64::from(*sector_size) / (1 << 20) + 2;
                Some(format!(
                    "FAT32 in sectors of {sector_size} bytes needs about {least} MiB"
                ))
            }
            _ => None,
        }
    }
}

impl Width {
    fn name(self) -> &'static str {
        match self {
            Width::Fat12 => "FAT12",
            Width::Fat16 => "FAT16",
            Width::Fat32 => "FAT32",
        }
    }
}

/// The label padded to 11 bytes, if there is one.
fn label(text: &str) -> Result<Option<[u8; 11]>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let sound = text.len() <= 11
        && text
            .bytes()
            .all(|byte| byte == b' ' || name::is_short(byte))
        && !text.starts_with(' ')
        && !text.ends_with(' ');
    if !sound {
        return Err(Error::Label(text.to_owned()));
    }
    let mut label = [b' '; 11];
    label[..text.len()].copy_from_slice(text.as_bytes());
    Ok(Some(label))
}
