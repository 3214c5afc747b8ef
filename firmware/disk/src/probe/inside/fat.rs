//! Reading FAT12, FAT16 and FAT32, as much of them as finding a few paths needs (Microsoft, "FAT: General Overview of
//! On-Disk Format").

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::files::{Entry, Files, LARGEST_FILE, MOST_ENTRIES};
use super::window::Window;
use crate::probe::bytes::{le16, le32};

/// Largest directory that is read, in bytes; the format allows 2 MiB.
const LARGEST_DIRECTORY: usize = 2 << 20;

/// A file system.
pub(crate) struct Fat<'a> {
    window: &'a Window<'a>,
    cluster: u64,
    clusters: u32,
    /// First byte of the table, of the root directory (not FAT32), of the data.
    table: u64,
    root: u64,
    root_size: u64,
    data: u64,
    /// FAT32's root directory.
    root_cluster: u32,
    bits: u32,
    gaps: RefCell<BTreeSet<String>>,
}

struct Record {
    name: String,
    short: String,
    directory: bool,
    cluster: u32,
    size: u32,
}

impl<'a> Fat<'a> {
    /// Opens it; `None` if it is none, or if its boot sector makes no sense.
    pub(crate) fn open(window: &'a Window<'a>) -> Option<Self> {
        let boot = window
            .bytes(0, 512)
            .filter(|bytes| le16(bytes, 510) == 0xaa55 && matches!(bytes[0], 0xeb | 0xe9))?;
        let half = |at| u64::from(le16(&boot, at));
        let word = |at| u64::from(le32(&boot, at));
        let either = |short: u64, long: u64| if short == 0 { long } else { short };
        let (sector, per_cluster, tables) = (half(11), u64::from(boot[13]), u64::from(boot[16]));
        if !matches!(sector, 512 | 1024 | 2048 | 4096)
            || !per_cluster.is_power_of_two()
            || !(1..=2).contains(&tables)
        {
            return None;
        }
        let (reserved, table_size) = (half(14), either(half(22), word(36)));
        let root = (reserved + tables * table_size) * sector;
        let root_size = half(17) * 32;
        let data = root + root_size.next_multiple_of(sector);
        let total = either(half(19), word(32)) * sector;
        let clusters = total.checked_sub(data)? / (per_cluster * sector);
        if reserved == 0 || table_size == 0 || data >= window.size() {
            return None;
        }
        let bits = match clusters {
            0..4085 => 12,
            4085..65525 => 16,
            _ => 32,
        };
        Some(Fat {
            window,
            cluster: per_cluster * sector,
            clusters: u32::try_from(clusters).ok()?,
            table: reserved * sector,
            root,
            root_size,
            data,
            root_cluster: le32(&boot, 44),
            bits,
            gaps: RefCell::default(),
        })
    }

    fn lacks(&self, what: &str) {
        self.gaps.borrow_mut().insert(what.to_owned());
    }

    fn bytes(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        let bytes = self.window.bytes(offset, length);
        if bytes.is_none() {
            self.lacks(if self.window.is_exhausted() {
                "it leads in circles"
            } else {
                "a cluster cannot be read"
            });
        }
        bytes
    }

    /// The cluster after this one; `None` at the end.
    fn next(&self, cluster: u32) -> Option<u32> {
        let at = self.table + u64::from(cluster) * u64::from(self.bits) / 8;
        let next = match self.bits {
            12 => {
                let pair = le16(&self.bytes(at, 2)?, 0);
                u32::from(if cluster.is_multiple_of(2) {
                    pair & 0xfff
                } else {
                    pair >> 4
                })
            }
            16 => u32::from(le16(&self.bytes(at, 2)?, 0)),
            _ => le32(&self.bytes(at, 4)?, 0) & 0x0fff_ffff,
        };
        Some(next).filter(|&next| self.has(next))
    }

    fn has(&self, cluster: u32) -> bool {
        cluster >= 2 && cluster - 2 < self.clusters
    }

    /// The first bytes of a chain of clusters.
    fn chain(&self, first: u32, most: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut cluster = Some(first).filter(|&first| self.has(first));
        while let Some(number) = cluster.filter(|_| bytes.len() < most) {
            let offset = self.data + u64::from(number - 2) * self.cluster;
            let length = (self.cluster as usize).min(most - bytes.len());
            let Some(found) = self.bytes(offset, length) else {
                break;
            };
            bytes.extend(found);
            cluster = self.next(number);
        }
        bytes
    }

    fn records(&self, directory: Option<u32>) -> Vec<Record> {
        let bytes = match directory {
            None if self.bits != 32 => self
                .bytes(self.root, self.root_size as usize)
                .unwrap_or_default(),
            None => self.chain(self.root_cluster, LARGEST_DIRECTORY),
            Some(cluster) => self.chain(cluster, LARGEST_DIRECTORY),
        };
        let mut long = Vec::new();
        let mut records = Vec::new();
        for bytes in bytes
            .chunks_exact(32)
            .take_while(|record| record[0] != 0)
            .take(MOST_ENTRIES)
        {
            match (bytes[0], bytes[11]) {
                (0xe5, _) => long.clear(),
                // The parts of a long name come last part first; the checksum ties it to the short one, and is not
                // asked for.
                (_, 0x0f) => {
                    let units = [1..11, 14..26, 28..32]
                        .into_iter()
                        .flat_map(|part| part.step_by(2));
                    let mut part: Vec<u16> = units.map(|at| le16(bytes, at)).collect();
                    if bytes[0] & 0x40 != 0 || long.len() > 255 {
                        long.clear();
                    }
                    part.append(&mut long);
                    long = part;
                }
                // The volume's label.
                (_, attributes) if attributes & 8 != 0 => long.clear(),
                (_, attributes) => {
                    let units: Vec<u16> = long.drain(..).take_while(|&unit| unit != 0).collect();
                    let short = short_name(bytes);
                    let name = if units.is_empty() {
                        short.clone()
                    } else {
                        String::from_utf16_lossy(&units)
                    };
                    records.push(Record {
                        name,
                        short,
                        directory: attributes & 0x10 != 0,
                        cluster: u32::from(le16(bytes, 20)) << 16 | u32::from(le16(bytes, 26)),
                        size: le32(bytes, 28),
                    });
                }
            }
        }
        records.retain(|record| record.short != "." && record.short != "..");
        records
    }

    /// The record of a path; `Err` for the root directory, which has none.
    fn find(&self, path: &str) -> Option<Result<Record, ()>> {
        let mut found = Err(());
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let directory = match &found {
                Err(()) => None,
                Ok(record) => Some(
                    Some(record)
                        .filter(|record: &&Record| record.directory)?
                        .cluster,
                ),
            };
            let is = |record: &Record| {
                [&record.name, &record.short]
                    .iter()
                    .any(|n| n.eq_ignore_ascii_case(name))
            };
            found = Ok(self.records(directory).into_iter().find(is)?);
        }
        Some(found)
    }
}

impl Files for Fat<'_> {
    fn list(&self, path: &str) -> Option<Vec<Entry>> {
        let records = match self.find(path)? {
            Err(()) => self.records(None),
            Ok(record) if record.directory => self.records(Some(record.cluster)),
            Ok(_) => return None,
        };
        Some(
            records
                .into_iter()
                .map(|record| Entry {
                    name: record.name,
                    directory: record.directory,
                })
                .collect(),
        )
    }

    fn read(&self, path: &str) -> Option<Vec<u8>> {
        let record = self.find(path)?.ok().filter(|record| !record.directory)?;
        let bytes = self.chain(record.cluster, (record.size as usize).min(LARGEST_FILE));
        if bytes.len() < (record.size as usize).min(LARGEST_FILE) {
            self.lacks("a file ends before its size");
        }
        Some(bytes)
    }

    fn gaps(&self) -> Vec<String> {
        self.gaps.borrow().iter().cloned().collect()
    }
}

/// Eight and three characters, padded with blanks; two bits say whether they are meant in lower case (Windows NT).
fn short_name(record: &[u8]) -> String {
    let part = |bytes: &[u8], lower: u8| {
        let text = String::from_utf8_lossy(bytes).trim_end().to_owned();
        if record[12] & lower != 0 {
            text.to_lowercase()
        } else {
            text
        }
    };
    let (name, extension) = (part(&record[..8], 8), part(&record[8..11], 16));
    if extension.is_empty() {
        name
    } else {
        format!("{name}.{extension}")
    }
}
