//! FAT, exFAT, NTFS, ReFS and BitLocker: boot sectors, and the copies that their formats keep.
//!
//! A boot sector ends in 55 AA as an MBR does; what tells it apart is what it says of itself.

use super::Found;
use super::medium::{Fields, LIMIT, Medium};

/// FAT clusters, or sectors of an exFAT directory, that are searched for a label.
const CHAIN: usize = 16;

pub(super) fn find(medium: &Medium, found: &mut Vec<Found>) {
    fat_all(medium, found);
    exfat_all(medium, found);
    ntfs_all(medium, found);
    refs_all(medium, found);
    bitlocker(medium, found);
}

/// Microsoft's FAT specification (fatgen103), section 3; FAT32 has a copy in sector 6.
fn fat_all(medium: &Medium, found: &mut Vec<Found>) {
    let primary = medium
        .bytes(0, 512)
        .and_then(|bytes| fat(medium, 0, &bytes));
    found.extend(primary);
    for offset in [6 * 512, 6 * 1024, 6 * 2048, 6 * 4096] {
        let copy = medium.bytes(offset, 512).filter(|bytes| {
            bytes.has(0x52, b"FAT32   ")
                && bytes
                    .le16(11)
                    .is_some_and(|sector| u64::from(sector) * 6 == offset)
        });
        found.extend(
            copy.and_then(|bytes| fat(medium, offset, &bytes))
                .map(|found| found.backup(true)),
        );
    }
}

fn fat(medium: &Medium, offset: u64, bytes: &[u8]) -> Option<Found> {
    let magics = [
        (0x52, &b"FAT32   "[..]),
        (0x52, b"MSWIN"),
        (0x36, b"FAT16   "),
        (0x36, b"FAT12   "),
    ];
    let magics = magics
        .into_iter()
        .chain([(0x36, &b"FAT     "[..]), (0x36, b"MSDOS")]);
    let named = magics.clone().find(|(at, magic)| bytes.has(*at, magic));
    let other = [&b"NTFS    "[..], b"EXFAT   ", b"-FVE-FS-"]
        .iter()
        .any(|name| bytes.has(3, name));
    // Old disks have no such text, only the jump; and OS/2 puts what looks like one before JFS and HPFS.
    let foreign = bytes.has(0x36, b"JFS     ") || bytes.has(0x36, b"HPFS    ");
    let jumps = matches!(bytes.byte(0)?, 0xeb | 0xe9) && bytes.has(510, &[0x55, 0xaa]) && !foreign;
    let sector = u64::from(bytes.le16(11)?);
    let (cluster, reserved, tables) =
        (bytes.byte(13)?, u64::from(bytes.le16(14)?), bytes.byte(16)?);
    let media = bytes.byte(21)?;
    let sound = sector.is_power_of_two()
        && (512..=4096).contains(&sector)
        && cluster.is_power_of_two()
        && reserved > 0
        && (1..=2).contains(&tables)
        && (media >= 0xf8 || media == 0xf0);
    if !sound || other || (named.is_none() && !jumps) {
        return None;
    }
    let small = u64::from(bytes.le16(22)?);
    let wide = small == 0;
    let length = if wide {
        u64::from(bytes.le32(36)?)
    } else {
        small
    };
    let sectors = match bytes.le16(19)? {
        0 => u64::from(bytes.le32(32)?),
        sectors => u64::from(sectors),
    };
    let entries = u64::from(bytes.le16(17)?);
    let data = reserved + length * u64::from(tables) + (entries * 32).div_ceil(sector);
    let clusters = sectors.checked_sub(data)? / u64::from(cluster);
    if length == 0 || clusters == 0 {
        return None;
    }
    let version = match clusters {
        _ if wide => "FAT32",
        0..4085 => "FAT12",
        _ => "FAT16",
    };
    let serial_at = if wide { 67 } else { 39 };
    let signed = wide || matches!(bytes.byte(38)?, 0x28 | 0x29);
    let label = if wide {
        let volume = Volume {
            sector,
            cluster: u64::from(cluster) * sector,
            table: reserved * sector,
            data: data * sector,
        };
        volume.label(medium, bytes.le32(44)?)
    } else {
        let root = (reserved + length * u64::from(tables)) * sector;
        medium
            .bytes(root, (entries as usize * 32).min(LIMIT))
            .and_then(|directory| fat_label(&directory).found())
    };
    let (at, magic) = named.map_or((0, 1), |(at, magic)| (at as u64, magic.len() as u64));
    let found = Found::new("vfat", offset, sector, magic)
        .after(at)
        .size(Some(sectors), sector)
        .version(version);
    Some(
        found
            .uuid(serial(bytes, serial_at).filter(|_| signed))
            .label(label),
    )
}

struct Volume {
    sector: u64,
    cluster: u64,
    table: u64,
    data: u64,
}

impl Volume {
    /// The label of a FAT32 is in its root directory, which is a chain of clusters.
    fn label(&self, medium: &Medium, root: u32) -> Option<String> {
        let mut next = root;
        for _ in 0..CHAIN {
            let index = u64::from(next)
                .checked_sub(2)
                .filter(|_| next < 0x0fff_fff7)?;
            let length = usize::try_from(self.cluster).ok()?.min(LIMIT);
            let directory = medium.bytes(
                self.data.checked_add(index.checked_mul(self.cluster)?)?,
                length,
            )?;
            match fat_label(&directory) {
                Search::Found(label) => return label,
                Search::End => return None,
                Search::More => {}
            }
            let entry = self.table.checked_add(u64::from(next) * 4)?;
            let within = (entry % self.sector) as usize;
            next = medium
                .bytes(entry - within as u64, 512.max(within + 4))?
                .le32(within)?
                & 0x0fff_ffff;
        }
        None
    }
}

enum Search {
    Found(Option<String>),
    End,
    More,
}

impl Search {
    fn found(self) -> Option<String> {
        match self {
            Search::Found(label) => label,
            Search::End | Search::More => None,
        }
    }
}

fn fat_label(directory: &[u8]) -> Search {
    for entry in directory.as_chunks::<32>().0 {
        let attributes = entry[11];
        match entry[0] {
            0 => return Search::End,
            0xe5 => continue,
            _ if attributes & 0x3f == 0x0f || attributes & 0x18 != 0x08 => continue,
            first => {
                let mut name = entry[..11].to_vec();
                name[0] = if first == 0x05 { 0xe5 } else { first };
                return Search::Found(name.text(0, 11));
            }
        }
    }
    Search::More
}

fn serial(bytes: &[u8], at: usize) -> Option<String> {
    let number = bytes.le32(at)?;
    (number != 0).then(|| format!("{:04X}-{:04X}", number >> 16, number & 0xffff))
}

/// Microsoft's exFAT specification, section 3; the backup boot region begins in sector 12.
fn exfat_all(medium: &Medium, found: &mut Vec<Found>) {
    for (offset, sector) in [
        (0, 0),
        (12 * 512, 512),
        (12 * 1024, 1024),
        (12 * 2048, 2048),
        (12 * 4096, 4096),
    ] {
        let boot = medium
            .bytes(offset, 512)
            .and_then(|bytes| exfat(medium, offset, &bytes));
        let own = boot.filter(|found| sector == 0 || found.header.length == 12 * sector);
        found.extend(own.map(|found| found.backup(offset > 0)));
    }
}

fn exfat(medium: &Medium, offset: u64, bytes: &[u8]) -> Option<Found> {
    let (sector, cluster) = (bytes.byte(108)?, bytes.byte(109)?);
    let sound = bytes.has(0, b"\xeb\x76\x90EXFAT   ")
        && bytes.part(11, 53)?.iter().all(|&byte| byte == 0)
        && (9..=12).contains(&sector)
        && cluster <= 25 - sector
        && (1..=2).contains(&bytes.byte(110)?)
        && bytes.has(510, &[0x55, 0xaa]);
    if !sound {
        return None;
    }
    let size = 1u64 << sector;
    let root = u64::from(bytes.le32(96)?).checked_sub(2);
    let place = root.and_then(|root| {
        (root << cluster)
            .checked_add(u64::from(bytes.le32(88)?))?
            .checked_mul(size)
    });
    let length = (1usize << (sector + cluster)).min(LIMIT);
    let directory = place.and_then(|place| medium.bytes(place, length));
    let entries = directory
        .iter()
        .flat_map(|directory| directory.as_chunks::<32>().0);
    let entry = entries
        .take_while(|entry| entry[0] != 0)
        .find(|entry| entry[0] == 0x83);
    let label = entry
        .and_then(|entry| entry.wide(2, usize::from(entry[1]).min(11) * 2, u16::from_le_bytes));
    let found = Found::new("exfat", offset, 12 * size, 8)
        .after(3)
        .size(bytes.le64(72), size);
    let found = found.version(format!("{}.{}", bytes.byte(105)?, bytes.byte(104)?));
    Some(found.uuid(serial(bytes, 100)).label(label))
}

/// The copy of the boot sector is in the volume's last sector, which is one more than it says it has.
fn ntfs_all(medium: &Medium, found: &mut Vec<Found>) {
    let primary = medium
        .bytes(0, 512)
        .and_then(|bytes| ntfs(medium, 0, &bytes));
    let own = primary.as_ref().map(|(_, end)| *end);
    found.extend(primary.map(|(found, _)| found));
    let mut places: Vec<u64> = own
        .into_iter()
        .chain([512, 4096].map(|sector| last(medium, sector)))
        .collect();
    places.dedup();
    for place in places.into_iter().filter(|&place| place > 0) {
        let copy = medium
            .bytes(place, 512)
            .and_then(|bytes| ntfs(medium, place, &bytes));
        found.extend(copy.map(|(found, _)| found.backup(true)));
    }
}

/// Where the last sector begins.
fn last(medium: &Medium, sector: u64) -> u64 {
    (medium.size() / sector).saturating_sub(1) * sector
}

/// A boot sector, and where its copy is.
fn ntfs(medium: &Medium, offset: u64, bytes: &[u8]) -> Option<(Found, u64)> {
    let sector = u64::from(bytes.le16(11)?);
    let per_cluster = match bytes.byte(13)? {
        count if count.is_power_of_two() => u64::from(count),
        count @ 240..=249 => 1u64 << (256 - u16::from(count)),
        _ => return None,
    };
    let zeroes = [(14, 2), (16, 1), (17, 2), (19, 2), (22, 2), (32, 4)];
    let sound = bytes.has(3, b"NTFS    ")
        && sector.is_power_of_two()
        && (256..=4096).contains(&sector)
        && zeroes.iter().all(|&(at, length)| {
            bytes
                .part(at, length)
                .is_some_and(|part| part.iter().all(|&b| b == 0))
        });
    let sectors = bytes.le64(40)?;
    if !sound || sectors == 0 {
        return None;
    }
    let cluster = sector.checked_mul(per_cluster)?;
    let table = [48, 56].map(|at| bytes.le64(at)?.checked_mul(cluster));
    let record = match bytes.byte(64)? as i8 {
        shift @ -31..=-9 => 1u64 << -shift,
        clusters @ 1.. => cluster.checked_mul(clusters as u64)?,
        _ => return None,
    };
    let label = table
        .into_iter()
        .flatten()
        .find_map(|table| ntfs_label(medium, table, record));
    // Behind its last sector is one more, with the copy of the first.
    let found = Found::new("ntfs", offset, sector, 8)
        .after(3)
        .size(sectors.checked_add(1), sector);
    let uuid = bytes
        .le64(72)
        .filter(|&serial| serial != 0)
        .map(|serial| format!("{serial:016X}"));
    Some((found.uuid(uuid).label(label), sectors.checked_mul(sector)?))
}

/// Record 3 of the master file table, and of its mirror, is the volume; attribute 0x60 its name.
fn ntfs_label(medium: &Medium, table: u64, record: u64) -> Option<String> {
    let length = usize::try_from(record)
        .ok()
        .filter(|length| (256..=65536).contains(length))?;
    let bytes = medium.bytes(table.checked_add(3 * record)?, length)?;
    let mut at = usize::from(bytes.le16(20).filter(|_| bytes.has(0, b"FILE"))?);
    for _ in 0..64 {
        let (kind, size) = (bytes.le32(at)?, bytes.le32(at + 4)? as usize);
        if kind == 0x60 {
            let value = at.checked_add(usize::from(bytes.le16(at + 20)?))?;
            return bytes.wide(value, bytes.le32(at + 16)? as usize, u16::from_le_bytes);
        }
        at = at
            .checked_add(size)
            .filter(|&next| size > 0 && kind != u32::MAX && next < length)?;
    }
    None
}

/// `ReFS` at 3 and `FSRS` at 16, with a copy in the last sector.
fn refs_all(medium: &Medium, found: &mut Vec<Found>) {
    let mut places = vec![0, last(medium, 512), last(medium, 4096)];
    places.dedup();
    for place in places {
        let bytes = medium
            .bytes(place, 512)
            .filter(|bytes| bytes.has(3, b"ReFS\0") && bytes.has(16, b"FSRS"));
        let version =
            bytes.and_then(|bytes| Some(format!("{}.{}", bytes.byte(40)?, bytes.byte(41)?)));
        let boot =
            version.map(|version| Found::new("ReFS", place, 512, 4).after(3).version(version));
        found.extend(boot.map(|found| found.backup(place > 0)));
    }
}

/// libbde's `BitLocker Drive Encryption (BDE) format`: three copies of the metadata, whose places the boot sector has.
fn bitlocker(medium: &Medium, found: &mut Vec<Found>) {
    let Some(bytes) = medium.bytes(0, 512) else {
        return;
    };
    let (at, to_go) = match () {
        () if bytes.has(0, b"\xeb\x52\x90-FVE-FS-") => (None, false),
        () if bytes.has(0, b"\xeb\x58\x90-FVE-FS-") => (Some(176), false),
        () if bytes.has(0, b"\xeb\x58\x90MSWIN4.1") => (Some(440), true),
        () => return,
    };
    let places: Vec<u64> = match at {
        Some(at) => (0..3)
            .filter_map(|index| bytes.le64(at + 8 * index))
            .collect(),
        // Vista has the first one's cluster.
        None => {
            let cluster = bytes
                .le16(11)
                .zip(bytes.byte(13))
                .map(|(sector, count)| u64::from(sector) * u64::from(count));
            bytes
                .le64(56)
                .zip(cluster)
                .and_then(|(number, size)| number.checked_mul(size))
                .into_iter()
                .collect()
        }
    };
    let metadata = |&place: &u64| {
        metadata(medium, place, to_go).filter(|_| place > 0 && place.is_multiple_of(64))
    };
    let copies: Vec<Found> = places.iter().filter_map(metadata).collect();
    // A stick for other systems begins as an ordinary FAT32 does: only the metadata tell them apart.
    if to_go && copies.is_empty() {
        return;
    }
    let mut boot = Found::new("BitLocker", 0, 512, 11);
    if let Some(first) = copies.first() {
        boot = boot.uuid(first.uuid.clone()).label(first.label.clone());
        boot.version.clone_from(&first.version);
    }
    if to_go {
        found.retain(|other| other.kind != "vfat" || other.header.start > 0);
    }
    found.push(boot);
    found.extend(copies);
}

fn metadata(medium: &Medium, offset: u64, to_go: bool) -> Option<Found> {
    let bytes = medium
        .bytes(offset, 4096)
        .filter(|bytes| bytes.has(0, b"-FVE-FS-"))?;
    let version = format!("{}{}", bytes.le16(10)?, if to_go { " (to go)" } else { "" });
    let size = bytes.le32(64)?;
    let end = usize::try_from(size).ok()?.min(bytes.len() - 64);
    let mut label = None;
    let mut at = 48;
    while let (Some(length), true) = (bytes.le16(64 + at).map(usize::from), at + 8 <= end) {
        if bytes.le16(64 + at + 2) == Some(7) && bytes.le16(64 + at + 4) == Some(2) {
            label = bytes.wide(64 + at + 8, length.saturating_sub(8), u16::from_le_bytes);
            break;
        }
        at += length.max(8);
    }
    let guid = guid(&bytes, 64 + 16);
    let length = (64 + u64::from(size)).min(64 << 10);
    Some(
        Found::new("BitLocker", offset, length, 8)
            .backup(true)
            .version(version)
            .uuid(guid)
            .label(label),
    )
}

/// The first three fields are little-endian.
fn guid(bytes: &[u8], at: usize) -> Option<String> {
    let mut order: [u8; 16] = bytes.array(at)?;
    order[..4].reverse();
    order[4..6].reverse();
    order[6..8].reverse();
    order.uuid(0)
}
