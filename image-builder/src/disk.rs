//! A disk as a plan: partitions with their content, and the table that lists them.

use prejoin_formats::gpt::{self, Table};
use prejoin_formats::image::Image;
use uuid::Uuid;

/// A whole disk image before a byte of it is read.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Disk GUID.
    pub guid: Uuid,
    /// Logical sector size, 512 or 4096.
    pub sector_size: u32,
    /// Partitions, ascending.
    pub partitions: Vec<Partition>,
}

/// One planned partition.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Name in the table.
    pub name: String,
    /// Type GUID.
    pub type_guid: Uuid,
    /// Unique GUID.
    pub guid: Uuid,
    /// Attribute bits.
    pub attributes: u64,
    /// Length in bytes, a multiple of [`gpt::ALIGNMENT`].
    pub size: u64,
    /// What the image defines of it, from its start; without, all of it is `skip`.
    pub content: Option<Image>,
}

/// A run of the disk in order: defined by an image, or left alone.
#[derive(Debug)]
pub enum Part<'a> {
    /// Bytes of an image from its start; its size is the length.
    Defined(&'a Image),
    /// So many bytes that the image does not define.
    Skip(u64),
}

/// A disk with its tables written: every byte is accounted for.
#[derive(Debug)]
pub struct Layout {
    /// Size in bytes.
    pub size: u64,
    /// The partition table.
    pub table: Table,
    primary: Image,
    backup: Image,
}

impl Disk {
    /// Lays the partitions out from 1 MiB on, in order and without gaps, and writes both copies of the table.
    ///
    /// # Errors
    /// When the table would be invalid: a name too long, a size that does not align.
    pub fn layout(&self) -> Result<Layout, gpt::Error> {
        let mut start = gpt::ALIGNMENT;
        let mut partitions = Vec::new();
        for (index, partition) in self.partitions.iter().enumerate() {
            partitions.push(gpt::Partition {
                number: index as u32 + 1,
                type_guid: partition.type_guid,
                guid: partition.guid,
                start,
                size: partition.size,
                attributes: partition.attributes,
                name: partition.name.clone(),
            });
            start += partition.size;
        }
        // One more alignment unit holds the backup table, whatever the sector size.
        let size = start + gpt::ALIGNMENT;
        let table = Table {
            disk_guid: self.guid,
            sector_size: self.sector_size,
            disk_size: size,
            partitions,
        };
        let mut primary = Image::zero(gpt::ALIGNMENT);
        primary.put_bytes(0, table.primary()?);
        primary.sort();
        let mut backup = Image::zero(gpt::ALIGNMENT);
        let (offset, bytes) = table.backup()?;
        backup.put_bytes(offset - (size - gpt::ALIGNMENT), bytes);
        backup.sort();
        Ok(Layout {
            size,
            table,
            primary,
            backup,
        })
    }

    /// The disk from its first byte to its last: the table, each partition's content and remainder, the backup.
    pub fn parts<'a>(&'a self, layout: &'a Layout) -> Vec<(Option<usize>, Part<'a>)> {
        let mut parts = vec![(None, Part::Defined(&layout.primary))];
        for (index, partition) in self.partitions.iter().enumerate() {
            let used = partition.content.as_ref().map_or(0, Image::size);
            if let Some(content) = &partition.content {
                parts.push((Some(index), Part::Defined(content)));
            }
            if partition.size > used {
                parts.push((Some(index), Part::Skip(partition.size - used)));
            }
        }
        parts.push((None, Part::Defined(&layout.backup)));
        parts
    }
}
