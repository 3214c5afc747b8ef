//! The cluster's id: drawn, written into the cluster file, held against the lock's.
#![expect(
    clippy::disallowed_methods,
    reason = "draws from the system's randomness"
)]

use std::fs::File;
use std::io::Read;

use prejoin_image_builder::class::Class;
use prejoin_profiles::cluster;
use prejoin_profiles::lock::Lock;
use prejoin_store::output;
use uuid::Uuid;

use super::project::Project;
use crate::failure::Failure;

/// A new one.
pub(crate) fn draw() -> Result<Uuid, Failure> {
    const SOURCE: &str = "/dev/urandom";
    let mut bytes = [0; 16];
    let read = File::open(SOURCE).and_then(|mut source| source.read_exact(&mut bytes));
    read.map_err(|error| {
        let message = format!("drawing the cluster's id from {SOURCE}: {error}");
        Failure::plain(Class::Environment, message)
    })?;
    Ok(Uuid::from_bytes(bytes))
}

/// Writes an id into the cluster file, below its name.
pub(crate) fn write(project: &Project, id: &Uuid) -> Result<(), Failure> {
    let file = project.file.display();
    let by_hand = format!("add this line to it: id: {id}");
    let Some(text) = cluster::with_id(&project.text, id) else {
        let message = format!("{file} has no id, and no line can be added to it safely");
        return Err(Failure::plain(Class::Input, message).hint(by_hand));
    };
    output::replace(&project.file, project.text.as_bytes(), text.as_bytes())
        .map_err(|error| Failure::new(Class::Environment, &error).hint(by_hand))
}

/// The id that images are built with: the cluster file's and the lock's.
pub(crate) fn known(project: &Project, lock: &Lock) -> Result<Uuid, Failure> {
    let Some(id) = &project.cluster.id else {
        let file = project.file.display();
        let message =
            format!("{file} has no id, which tells its nodes' disks from those of another cluster");
        let line = lock.id.map_or_else(draw, Ok)?;
        let hint = format!("run `prejoin lock`, which writes it, or add this line: id: {line}");
        return Err(Failure::plain(Class::Input, message).hint(hint));
    };
    same_as_locked(project, lock)?;
    if lock.id.is_none() {
        let lock = project.lock_path();
        let message = format!("{} was made before the cluster had an id", lock.display());
        return Err(Failure::plain(Class::Input, message).hint("run `prejoin lock`".to_owned()));
    }
    Ok(id.value)
}

/// A lock that was made for a cluster with another id is not silently used, nor replaced: with another id no node knows
/// its own disk again.
pub(crate) fn same_as_locked(project: &Project, lock: &Lock) -> Result<(), Failure> {
    match (&project.cluster.id, &lock.id) {
        (Some(id), Some(locked)) if id.value != *locked => {
            let (file, lock) = (project.file.display(), project.lock_path());
            let lock = lock.display();
            let message =
                format!("{lock} is for the cluster with the id {locked}, and {file} has {id}");
            let hint = format!(
                "put the former back into {file}: with another id no node knows its own disk again; for another cluster \
                 delete {lock} and run `prejoin lock`"
            );
            Err(Failure::plain(Class::Input, message).hint(hint))
        }
        _ => Ok(()),
    }
}
