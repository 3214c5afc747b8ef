//! Going back to the tables of before: the same steps as for writing an image.

use std::path::{Path, PathBuf};

use prejoin_wire::disk::{Device, Extent, Kept, Usage};

use super::{Error, check_named};
use crate::device::ReadAt;
use crate::guard::Guarded;
use crate::io::keep::{self, Identity, Tables};
use crate::io::target::{self, Reader, Target};
use crate::io::{inventory, usage};
use crate::write;

/// A disk that may have its old tables back, if somebody agrees.
#[derive(Debug)]
pub struct Return {
    file: PathBuf,
    tables: Tables,
    device: Device,
    areas: Vec<Extent>,
    kept: Vec<(Kept, bool)>,
    dropped: Vec<(u32, String)>,
}

/// Somebody has agreed.
#[derive(Debug)]
pub struct Confirmed<'a>(&'a Return);

/// A disk that has its old tables again.
#[derive(Debug)]
pub struct Returned {
    /// Why the kernel does not use them, if so.
    pub kernel: Option<std::io::Error>,
}

impl Return {
    /// Looks whether `disk` is the one that the tables in `file` are from, and carries what was written over them.
    pub fn look(file: &Path, disk: &Path) -> Result<Self, Error> {
        let tables = Tables::read(file)?;
        let device = inventory::device(disk)?;
        let found = Identity::of(&device);
        if found != tables.disk {
            return Err(Error::OtherDisk {
                file: file.to_owned(),
                saved: Box::new(tables.disk),
                disk: device.path,
                found: Box::new(found),
            });
        }
        check_free(&device, usage::usage(&device))?;
        let reader = Reader::open(disk)?;
        if !is_about(file, &tables, &reader)? {
            return Err(Error::OtherTable {
                file: file.to_owned(),
                disk: device.path,
            });
        }
        let areas = tables.saved.writes()?;
        let kept = tables.saved.compare(&reader)?.into_iter();
        let kept = kept.map(|(kept, same)| (kept.clone(), same)).collect();
        let dropped = tables.saved.drops(&reader);
        Ok(Return {
            file: file.to_owned(),
            tables,
            device,
            areas,
            kept,
            dropped,
        })
    }

    /// The disk.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Where the old tables go.
    pub fn areas(&self) -> &[Extent] {
        &self.areas
    }

    /// Each partition that was kept when the tables were replaced, and whether it is what it was.
    pub fn kept(&self) -> &[(Kept, bool)] {
        &self.kept
    }

    /// Partitions that will not be listed any more: number and name.
    pub fn dropped(&self) -> &[(u32, String)] {
        &self.dropped
    }

    /// Takes what somebody typed, who may have taken his time: the [`typed_name`](super::typed_name) of the disk.
    pub fn confirm(&self, typed: &str) -> Result<Confirmed<'_>, Error> {
        check_named(&self.device, typed)?;
        Ok(Confirmed(self))
    }
}

impl Confirmed<'_> {
    /// Holds the disk, looks again, and puts the tables back.
    pub fn write(self) -> Result<Returned, Error> {
        let Return {
            file,
            tables,
            device,
            areas,
            ..
        } = self.0;
        let target = Target::open(Path::new(&device.path), &target::Options::default())?;
        target.unchanged(device)?;
        check_free(device, usage::while_held(device))?;
        if !is_about(file, tables, &target)? {
            return Err(Error::changed(
                "it was divided anew since it was looked at".into(),
            ));
        }
        write::restore(&Guarded::new(&target, areas.clone()), &tables.saved)?;
        Ok(Returned {
            kernel: target.reread().err(),
        })
    }
}

/// Fails if the disk has users who would have another table under their feet.
fn check_free(device: &Device, users: Vec<Usage>) -> Result<(), Error> {
    let user = users
        .into_iter()
        .find(|user| !matches!(user, Usage::Open { .. }));
    match user {
        None => Ok(()),
        Some(user) => Err(Error::InUse {
            disk: device.path.clone(),
            user,
        }),
    }
}

/// Whether a disk carries what the tables in `file` are about, or those of a file beside it.
fn is_about(file: &Path, tables: &Tables, disk: &dyn ReadAt) -> Result<bool, Error> {
    Ok(tables.saved.is_of(disk)? || keep::neighbour_is_of(file, &tables.disk, disk))
}
