//! `prejoin disk`

pub(crate) mod inspect;
mod list;
pub(crate) mod look;
mod partition_type;
mod restore;

use crate::args::Disk;
use crate::failure::Failure;
use crate::report::Report;

pub(crate) fn run(args: &Disk, report: &Report) -> Result<(), Failure> {
    match args {
        Disk::Inspect(args) => inspect::run(args, report),
        Disk::List(args) => list::run(args, report),
        Disk::Restore(args) => restore::run(args, report),
    }
}
