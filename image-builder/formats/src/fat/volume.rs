//! Placing directories and files, and the bytes around them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::geometry::{Geometry, LARGE, RECORD};
use super::name::{self, Short};
use super::{Error, Options, Volume, Width};
use crate::image::Image;
use crate::tree::{Entry, Kind, Tree};

/// Cluster numbers begin here; the two table entries before hold the media type and flags.
const FIRST: u64 = 2;
const MOST_RECORDS: u64 = 65_535;
const MEDIA: u8 = 0xf8;
/// What is written to a disk at once: no two files share one.
const PAGE: u64 = 4096;

/// All directories by path, the root first.
pub(super) struct Directories<'a> {
    tree: &'a Tree,
    by_path: BTreeMap<&'a [u8], Directory<'a>>,
}

struct Directory<'a> {
    members: Vec<Member<'a>>,
    /// 32-byte records it takes, `.`, `..` or the label included.
    records: u64,
}

/// One file or directory in its directory.
struct Member<'a> {
    path: &'a [u8],
    entry: &'a Entry,
    /// Empty if the short name says it all.
    long: Vec<u16>,
    short: Short,
}

/// Collects directories, names their members and checks everything that does not depend on the volume's size.
pub(super) fn directories(tree: &Tree, labelled: bool) -> Result<Directories<'_>, Error> {
    let mut members: BTreeMap<&[u8], Vec<(&[u8], &Entry)>> = BTreeMap::from([(&b""[..], vec![])]);
    for (path, entry) in tree.iter().skip(1) {
        match &entry.kind {
            Kind::Directory => drop(members.insert(path, vec![])),
            Kind::File(content) if content.len() > u64::from(u32::MAX) => {
                return Err(Error::Large {
                    path: text(path),
                    size: content.len(),
                });
            }
            Kind::File(_) => {}
            _ => return Err(Error::Kind(text(path))),
        }
        let directory = members
            .get_mut(split(path).0)
            .expect("a tree holds the parents of its entries");
        directory.push((path, entry));
    }
    let mut by_path = BTreeMap::new();
    for (path, members) in members {
        let members = named(&members)?;
        let own = if path.is_empty() {
            u64::from(labelled)
        } else {
            2
        };
        let records = own
            + members
                .iter()
                .map(|member| 1 + name::records(&member.long) as u64)
                .sum::<u64>();
        if records > MOST_RECORDS {
            return Err(Error::Directory(text(path)));
        }
        by_path.insert(path, Directory { members, records });
    }
    Ok(Directories { tree, by_path })
}

/// Gives every member its short name: first those that are short by themselves, so that no other takes it.
fn named<'a>(entries: &[(&'a [u8], &'a Entry)]) -> Result<Vec<Member<'a>>, Error> {
    let mut used = BTreeSet::new();
    let mut seen: BTreeMap<String, &[u8]> = BTreeMap::new();
    let mut members = Vec::with_capacity(entries.len());
    for &(path, entry) in entries {
        let (long, name) = name::long(split(path).1)
            .zip(std::str::from_utf8(split(path).1).ok())
            .ok_or_else(|| Error::Name(text(path)))?;
        if let Some(other) = seen.insert(name::folded(name), path) {
            return Err(Error::SameName(text(other), text(path)));
        }
        let short = name::as_short(name);
        used.extend(short);
        // Lower case could be kept in two flag bits instead, which not every firmware knows.
        let long = if short.is_some() && !name.contains(|c: char| c.is_ascii_lowercase()) {
            vec![]
        } else {
            long
        };
        members.push((
            Member {
                path,
                entry,
                long,
                short: [0; 11],
            },
            name,
            short,
        ));
    }
    let finish = |(member, name, short): (Member<'a>, &str, Option<Short>)| {
        let short = short.unwrap_or_else(|| {
            let short = name::made_up(name, &used);
            used.insert(short);
            short
        });
        Member { short, ..member }
    };
    Ok(members.into_iter().map(finish).collect())
}

impl Directories<'_> {
    /// Records of the root directory.
    pub(super) fn root_records(&self) -> u64 {
        self.by_path[&b""[..]].records
    }
}

/// Writes the volume.
pub(super) fn write(
    directories: &Directories<'_>,
    geometry: &Geometry,
    options: &Options,
    label: Option<[u8; 11]>,
) -> Result<Volume, Error> {
    let places = Places::new(directories, geometry)?;
    let mut image = Image::zero(options.size);

    // Boot sector and its copy.
    let boot = boot_sector(geometry, options, label);
    if geometry.width == Width::Fat32 {
        let info = info_sector(geometry, &places);
        for sector in [0, 6] {
            image.put_bytes(sector * geometry.sector_size, boot.clone());
            image.put_bytes((sector + 1) * geometry.sector_size, info.clone());
        }
    } else {
        image.put_bytes(0, boot);
    }

    // Both tables.
    let table: Arc<[u8]> = places.table(geometry.width).into();
    for copy in 0..2 {
        image.put_bytes(
            (geometry.reserved + copy * geometry.table) * geometry.sector_size,
            table.clone(),
        );
    }

    // Directories and files.
    for (path, directory) in &directories.by_path {
        let offset = match places.first(path) {
            0 => geometry.root_offset(),
            cluster => geometry.cluster_offset(cluster),
        };
        image.put_bytes(
            offset,
            directory_bytes(
                path,
                directory,
                directories.tree,
                &places,
                label,
                options.time,
            ),
        );
    }
    let mut files = BTreeMap::new();
    for (path, entry) in directories.tree.iter() {
        if let Kind::File(content) = &entry.kind
            && !content.is_empty()
        {
            let offset = geometry.cluster_offset(places.first(path));
            image.put_content(offset, content, 0, content.len());
            files.insert(path.to_vec(), offset);
        }
    }
    image.sort();
    Ok(Volume { image, files })
}

/// Which clusters belong to what.
struct Places<'a> {
    /// First cluster and number of clusters.
    runs: BTreeMap<&'a [u8], (u64, u64)>,
    /// One past the last cluster in use.
    end: u64,
    used: u64,
}

impl<'a> Places<'a> {
    /// Directories, then small files, then large ones, each in path order. Large files begin on round offsets, or
    /// closer to each other if the volume is too full for that.
    fn new(directories: &Directories<'a>, geometry: &Geometry) -> Result<Self, Error> {
        let cluster = geometry.cluster_size();
        let mut small = Vec::new();
        for (&path, directory) in &directories.by_path {
            if !path.is_empty() || geometry.width == Width::Fat32 {
                // Even an empty root directory has a cluster.
                small.push((path, (directory.records * RECORD).div_ceil(cluster).max(1)));
            }
        }
        let mut large = Vec::new();
        for (path, entry) in directories.tree.iter() {
            match &entry.kind {
                Kind::File(content) if content.len() >= LARGE => {
                    large.push((path, content.len().div_ceil(cluster)))
                }
                Kind::File(content) if !content.is_empty() => {
                    small.push((path, content.len().div_ceil(cluster)))
                }
                _ => {}
            }
        }
        let used: u64 = small
            .iter()
            .chain(&large)
            .map(|(_, clusters)| clusters)
            .sum();
        if used > geometry.clusters {
            return Err(Error::NoSpace {
                needed: used * cluster,
                available: geometry.clusters * cluster,
            });
        }
        let page = (PAGE / cluster).max(1);
        for rounds in [[page, geometry.large_clusters()], [page, page]] {
            let round = Self::placed([&small, &large], rounds, used);
            if round.end <= FIRST + geometry.clusters {
                return Ok(round);
            }
        }
        Ok(Self::placed([&small, &large], [1, 1], used))
    }

    /// Files of both kinds, each beginning on a multiple of so many clusters.
    fn placed(files: [&[(&'a [u8], u64)]; 2], rounds: [u64; 2], used: u64) -> Self {
        let mut runs = BTreeMap::new();
        let mut end = FIRST;
        for (files, round) in files.into_iter().zip(rounds) {
            for &(path, clusters) in files {
                let first = FIRST + (end - FIRST).next_multiple_of(round);
                runs.insert(path, (first, clusters));
                end = first + clusters;
            }
        }
        Places { runs, end, used }
    }

    /// First cluster of a file or directory; 0 for empty files and a fixed root directory.
    fn first(&self, path: &[u8]) -> u64 {
        self.runs.get(path).map_or(0, |run| run.0)
    }

    /// The allocation table up to the last cluster in use.
    fn table(&self, width: Width) -> Vec<u8> {
        let bits = match width {
            Width::Fat12 => 12,
            Width::Fat16 => 16,
            Width::Fat32 => 28,
        };
        let last = (1u32 << bits) - 1;
        let mut next = vec![0u32; self.end as usize];
        (next[0], next[1]) = (last - 0xff + u32::from(MEDIA), last);
        for &(first, clusters) in self.runs.values() {
            for cluster in first..first + clusters - 1 {
                next[cluster as usize] = cluster as u32 + 1;
            }
            next[(first + clusters - 1) as usize] = last;
        }
        match width {
            Width::Fat12 => next.chunks(2).flat_map(packed).collect(),
            Width::Fat16 => next
                .iter()
                .flat_map(|&next| (next as u16).to_le_bytes())
                .collect(),
            Width::Fat32 => next.iter().flat_map(|next| next.to_le_bytes()).collect(),
        }
    }
}

/// Two 12-bit entries in three bytes.
fn packed(pair: &[u32]) -> [u8; 3] {
    let both = pair[0] | pair.get(1).unwrap_or(&0) << 12;
    let [a, b, c, _] = both.to_le_bytes();
    [a, b, c]
}

fn directory_bytes(
    path: &[u8],
    directory: &Directory<'_>,
    tree: &Tree,
    places: &Places<'_>,
    label: Option<[u8; 11]>,
    time: i64,
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity((directory.records * RECORD) as usize);
    if path.is_empty() {
        if let Some(label) = label {
            bytes.extend(record(&label, 0x08, time, 0, 0));
        }
    } else {
        let parent = split(path).0;
        // To the root directory, `..` says 0 even with FAT32.
        let parent_first = if parent.is_empty() {
            0
        } else {
            places.first(parent)
        };
        let time = |path| tree.entry(path).map_or(0, |entry| entry.mtime);
        bytes.extend(record(
            b".          ",
            0x10,
            time(path),
            places.first(path),
            0,
        ));
        bytes.extend(record(b"..         ", 0x10, time(parent), parent_first, 0));
    }
    for Member {
        path,
        entry,
        long,
        short,
    } in &directory.members
    {
        bytes.extend(name::long_records(long, short));
        let (attributes, size) = match &entry.kind {
            Kind::File(content) => (0x20, content.len()),
            _ => (0x10, 0),
        };
        bytes.extend(record(
            short,
            attributes,
            entry.mtime,
            places.first(path),
            size,
        ));
    }
    bytes
}

/// A short directory record; `size` is below 4 GiB.
fn record(short: &Short, attributes: u8, mtime: i64, cluster: u64, size: u64) -> [u8; 32] {
    let (date, time) = stamp(mtime);
    let mut record = [0; 32];
    record[..11].copy_from_slice(short);
    record[11] = attributes;
    for (at, value) in [(14, time), (16, date), (18, date), (22, time), (24, date)] {
        record[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    record[20..22].copy_from_slice(&((cluster >> 16) as u16).to_le_bytes());
    record[26..28].copy_from_slice(&(cluster as u16).to_le_bytes());
    record[28..32].copy_from_slice(&(size as u32).to_le_bytes());
    record
}

/// FAT date and time (UTC, steps of two seconds) of seconds since 1970, clamped to 1980..=2107.
fn stamp(mtime: i64) -> (u16, u16) {
    const YEAR_1980: i64 = 315_532_800;
    const YEAR_2108: i64 = 4_354_819_200;
    let seconds = mtime.clamp(YEAR_1980, YEAR_2108 - 2);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Civil date from days (H. Hinnant, "chrono-compatible low-level date algorithms"), years beginning in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let date = ((year - 1980) << 9) | (month << 5) | day;
    let time = ((second / 3600) << 11) | ((second / 60 % 60) << 5) | (second % 60 / 2);
    (date as u16, time as u16)
}

fn boot_sector(geometry: &Geometry, options: &Options, label: Option<[u8; 11]>) -> Vec<u8> {
    let mut sector = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
    let wide = geometry.width == Width::Fat32;
    put(
        0,
        if wide {
            b"\xeb\x58\x90"
        } else {
            b"\xeb\x3c\x90"
        },
    );
    put(3, b"prejoin ");
    put(11, &(geometry.sector_size as u16).to_le_bytes());
    put(13, &[geometry.cluster_sectors as u8]);
    put(14, &(geometry.reserved as u16).to_le_bytes());
    put(16, &[2]);
    put(17, &(geometry.root_records as u16).to_le_bytes());
    put(21, &[MEDIA]);
    put(24, &63u16.to_le_bytes()); // sectors per track and heads: what partitioning tools assume
    put(26, &255u16.to_le_bytes());
    put(28, &options.hidden_sectors.to_le_bytes());
    match u16::try_from(geometry.sectors) {
        Ok(sectors) if !wide => put(19, &sectors.to_le_bytes()),
        _ => put(32, &(geometry.sectors as u32).to_le_bytes()),
    }
    if wide {
        put(36, &(geometry.table as u32).to_le_bytes());
        put(44, &(FIRST as u32).to_le_bytes()); // the root directory
        put(48, &1u16.to_le_bytes()); // info sector
        put(50, &6u16.to_le_bytes()); // copies of both
    } else {
        put(22, &(geometry.table as u16).to_le_bytes());
    }
    let at = if wide { 64 } else { 36 };
    put(at, &[0x80, 0, 0x29]);
    put(at + 3, &options.volume_id.to_le_bytes());
    put(at + 7, &label.unwrap_or(*b"NO NAME    "));
    put(at + 18, format!("{:8}", geometry.width.name()).as_bytes());
    put(510, &[0x55, 0xaa]);
    sector
}

fn info_sector(geometry: &Geometry, places: &Places<'_>) -> Vec<u8> {
    let mut sector = vec![0; 512];
    let free = (geometry.clusters - places.used) as u32;
    // The search for a free cluster begins after the last one in use, or at the start if that was the very last.
    let next = if places.end < FIRST + geometry.clusters {
        places.end as u32
    } else {
        FIRST as u32
    };
    for (at, value) in [
        (0, 0x4161_5252),
        (484, 0x6141_7272),
        (488, free),
        (492, next),
        (508, 0xaa55_0000),
    ] {
        sector[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    sector
}

/// Parent and last component of a path.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps() {
        let day = |year: u16, month: u16, day: u16| ((year - 1980) << 9) | (month << 5) | day;
        assert_eq!(stamp(0), (day(1980, 1, 1), 0));
        assert_eq!(stamp(i64::MIN), (day(1980, 1, 1), 0));
        assert_eq!(
            stamp(951_782_399),
            (day(2000, 2, 28), 23 << 11 | 59 << 5 | 29)
        );
        assert_eq!(stamp(951_782_400), (day(2000, 2, 29), 0));
        assert_eq!(
            stamp(1_735_689_599),
            (day(2024, 12, 31), 23 << 11 | 59 << 5 | 29)
        );
        assert_eq!(
            stamp(i64::MAX),
            (day(2107, 12, 31), 23 << 11 | 59 << 5 | 29)
        );
    }
}
