//! Where the parts of a volume are.

use super::{Error, Options, Width};

/// Bytes of a directory record.
pub(super) const RECORD: u64 = 32;
/// Boundary of the data area and of large files in larger FAT32 volumes.
pub(super) const LARGE: u64 = 1 << 20;
/// Every reader can do this much, some no more.
const LARGEST_CLUSTER: u64 = 32 << 10;
/// Readers disagree by a few clusters about where one type ends and the next begins; the specification advises to
/// keep this far from the limits.
const MARGIN: u64 = 16;

/// Positions and sizes; in sectors, if nothing else is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) width: Width,
    /// Bytes.
    pub(super) sector_size: u64,
    pub(super) sectors: u64,
    pub(super) cluster_sectors: u64,
    /// Before the first table.
    pub(super) reserved: u64,
    /// Of one of the two tables.
    pub(super) table: u64,
    /// Records of the fixed root directory; 0 with FAT32.
    pub(super) root_records: u64,
    /// Number of clusters.
    pub(super) clusters: u64,
}

impl Geometry {
    /// Chooses type and cluster size for a volume whose root directory has `root_records` records.
    pub(super) fn new(options: &Options, root_records: u64) -> Result<Self, Error> {
        let &Options {
            size,
            sector_size,
            width,
            ..
        } = options;
        if !matches!(sector_size, 512 | 4096) {
            return Err(Error::SectorSize(sector_size));
        }
        // The limits of mkfs.fat.
        let usual = if size <= 4 << 20 {
            Width::Fat12
        } else if size < 512 << 20 {
            Width::Fat16
        } else {
            Width::Fat32
        };
        let widths = match width {
            Some(width) => vec![width],
            None => vec![usual, Width::Fat12, Width::Fat16, Width::Fat32],
        };
        let fit = widths
            .into_iter()
            .find_map(|width| Self::of_width(width, options, root_records));
        let fit = fit.ok_or(Error::Size {
            size,
            sector_size,
            width,
        })?;
        if fit.root_records > 65_520 {
            return Err(Error::Directory("the root directory".to_owned()));
        }
        Ok(fit)
    }

    fn of_width(width: Width, options: &Options, root_records: u64) -> Option<Self> {
        let sector = u64::from(options.sector_size);
        let sizes = std::iter::successors(Some(sector), |size| Some(size * 2))
            .take_while(|&size| size <= LARGEST_CLUSTER);
        let fitting = |cluster| Self::of_cluster(width, options, root_records, cluster);
        if width == Width::Fat32 {
            // 4 KiB, a page, up to 8 GiB; smaller only to have enough clusters.
            let best = (options.size >> 21)
                .next_power_of_two()
                .clamp(4096, LARGEST_CLUSTER);
            sizes
                .filter(|&size| size <= best)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .find_map(fitting)
        } else {
            sizes.into_iter().find_map(fitting)
        }
    }

    fn of_cluster(
        width: Width,
        options: &Options,
        root_records: u64,
        cluster_size: u64,
    ) -> Option<Self> {
        let sector_size = u64::from(options.sector_size);
        let sectors = options.size / sector_size;
        let (reserved, root_records) = match width {
            // 512 is what every other formatter writes.
            Width::Fat12 | Width::Fat16 => (
                1,
                root_records.max(512).next_multiple_of(sector_size / RECORD),
            ),
            Width::Fat32 => (32, 0),
        };
        let root = root_records * RECORD / sector_size;
        let cluster_sectors = cluster_size / sector_size;

        // A table for the clusters there would be without tables: a little too large, and no reader minds.
        let most = sectors.checked_sub(reserved + root)? / cluster_sectors;
        let table = match width {
            Width::Fat12 => ((most + 2) * 3).div_ceil(2),
            Width::Fat16 => (most + 2) * 2,
            Width::Fat32 => (most + 2) * 4,
        };
        let table = table.div_ceil(sector_size);

        // More reserved sectors bring the data area to a round offset.
        let round = if width == Width::Fat32 && options.size >= 64 * LARGE {
            LARGE
        } else {
            cluster_size.max(4096)
        };
        let data = (reserved + 2 * table + root).next_multiple_of(round / sector_size);
        let reserved = data - 2 * table - root;
        let clusters = sectors.checked_sub(data)? / cluster_sectors;
        let allowed = match width {
            Width::Fat12 => 1..=4084 - MARGIN,
            Width::Fat16 => 4085 + MARGIN..=65_524 - MARGIN,
            Width::Fat32 => 65_525 + MARGIN..=0x0fff_fff4 - MARGIN,
        };
        let fits = allowed.contains(&clusters) && sectors <= u64::from(u32::MAX);
        fits.then_some(Geometry {
            width,
            sector_size,
            sectors,
            cluster_sectors,
            reserved,
            table,
            root_records,
            clusters,
        })
    }

    /// Bytes of a cluster.
    pub(super) fn cluster_size(&self) -> u64 {
        self.cluster_sectors * self.sector_size
    }

    /// Byte offset of the fixed root directory.
    pub(super) fn root_offset(&self) -> u64 {
        (self.reserved + 2 * self.table) * self.sector_size
    }

    /// Byte offset of a cluster; the first one is number 2.
    pub(super) fn cluster_offset(&self, cluster: u64) -> u64 {
        self.root_offset() + self.root_records * RECORD + (cluster - 2) * self.cluster_size()
    }

    /// Clusters between the boundaries large files begin on.
    pub(super) fn large_clusters(&self) -> u64 {
        let aligned = self.cluster_offset(2).is_multiple_of(LARGE);
        if aligned {
            LARGE / self.cluster_size()
        } else {
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn geometry(
        size: u64,
        sector_size: u32,
        width: Option<Width>,
    ) -> Result<(Width, u64, u64), Error> {
        let options = Options {
            size,
            sector_size,
            width,
            label: String::new(),
            volume_id: 0,
            time: 0,
            hidden_sectors: 0,
        };
        Geometry::new(&options, 0)
            .map(|geometry| (geometry.width, geometry.cluster_size(), geometry.clusters))
    }

    #[test]
    fn chooses_a_type_readers_agree_on() {
        assert_eq!(geometry(MIB, 512, None), Ok((Width::Fat12, 512, 2000)));
        assert_eq!(
            geometry(16 * MIB, 512, None),
            Ok((Width::Fat16, 512, 32_472))
        );
        assert_eq!(
            geometry(16 * MIB, 4096, None).map(|g| g.0),
            Ok(Width::Fat12)
        );
        assert_eq!(
            geometry(64 * MIB, 512, Some(Width::Fat32)),
            Ok((Width::Fat32, 512, 129_024 - 2048))
        );
        assert_eq!(
            geometry(512 * MIB, 512, None),
            Ok((Width::Fat32, 4096, 130_560))
        );
        assert_eq!(
            geometry(512 * MIB, 4096, None),
            Ok((Width::Fat32, 4096, 130_560))
        );
        assert_eq!(geometry(100 << 30, 512, None).map(|g| g.1), Ok(32 << 10));
    }

    #[test]
    fn says_when_a_type_is_impossible() {
        let refused = |size, sector_size, width| {
            Err(Error::Size {
                size,
                sector_size,
                width,
            })
        };
        for (size, sector_size, width) in [
            (32 * MIB, 512, Some(Width::Fat32)),
            (200 * MIB, 4096, Some(Width::Fat32)),
            (1 << 30, 512, Some(Width::Fat12)),
            (100, 512, None),
            (0, 512, None),
            (u64::MAX, 512, None),
        ] {
            assert_eq!(
                geometry(size, sector_size, width),
                refused(size, sector_size, width)
            );
        }
        assert_eq!(geometry(MIB, 1024, None), Err(Error::SectorSize(1024)));
    }
}
