//! `prejoin disk restore`

use prejoin_disk::guard::Guarded;
use prejoin_disk::io::target::{self, Reader, Target};
use prejoin_disk::io::{inventory, usage};
use prejoin_disk::write;
use prejoin_image_builder::class::Class;
use prejoin_wire::disk::{Kept, Usage};
use serde_json::{Value, json};

use super::look::{stale, unusable};
use crate::args::Restore;
use crate::command::flash::saved::{self, Identity, Tables};
use crate::command::flash::{ask, carry, exit};
use crate::failure::Failure;
use crate::picture;
use crate::report::Report;

pub(crate) fn run(args: &Restore, report: &Report) -> Result<(), Failure> {
    let Tables { disk, saved, .. } = Tables::read(&args.saved)?;
    let device = inventory::device(&args.disk).map_err(|error| unusable(&error))?;
    let found = Identity::of(&device);
    if found != disk {
        let message = format!(
            "{} was saved from another disk ({disk}) than {} ({found})",
            args.saved.display(),
            device.path,
        );
        return Err(refused(message).hint("is it the right disk?".to_owned()));
    }
    let users = usage::usage(&device);
    if let Some(user) = users
        .iter()
        .find(|user| !matches!(user, Usage::Open { .. }))
    {
        let message = format!("{} is in use: {}", device.path, picture::usage(user));
        return Err(refused(message));
    }
    let reader = Reader::open(&args.disk).map_err(|error| unusable(&error))?;
    let is_of = saved
        .is_of(&reader)
        .map_err(|error| carry::restored(&error))?;
    if !is_of && !saved::neighbour_is_of(&args.saved, &disk, &reader) {
        let message = format!(
            "{} carries neither the partition table that was saved as {} nor the one that was written over it",
            device.path,
            args.saved.display(),
        );
        let hint = "it was divided anew since, or it is another disk; nothing was written";
        return Err(refused(message).hint(hint.to_owned()));
    }
    let areas = saved.writes().map_err(|error| carry::restored(&error))?;
    for area in &areas {
        report.say(format!(
            "bytes {} to {} of {} get the old partition table",
            area.start,
            area.end(),
            device.path
        ));
    }
    let kept = saved
        .compare(&reader)
        .map_err(|error| carry::restored(&error))?;
    for (partition, same) in &kept {
        let state = if *same {
            "is what it was"
        } else {
            "has changed since"
        };
        let (number, name) = (partition.number, picture::printable(&partition.name));
        report.say(format!(
            "partition {number} \"{name}\", which was kept, {state}"
        ));
    }
    let dropped = saved.drops(&reader);
    for (number, name) in &dropped {
        report.say(format!(
            "partition {number} \"{}\" will not be listed any more",
            picture::printable(name)
        ));
    }
    let (what, expected) = ask::password(&device);
    match &args.confirm {
        None => ask::typed(&device)?,
        Some(given) if *given == expected => {}
        Some(_) => {
            let message = format!(
                "{expected} is the {what} of {}, and another one was confirmed",
                device.path
            );
            return Err(Failure::plain(Class::Input, message).exit(exit::CONFIRM));
        }
    }
    let target =
        Target::open(&args.disk, &target::Options::default()).map_err(|error| unusable(&error))?;
    target
        .unchanged(&device)
        .map_err(|error| unusable(&error))?;
    let count = areas.len();
    write::restore(&Guarded::new(&target, areas), &saved)
        .map_err(|error| carry::restored(&error))?;
    let kernel = target.reread().err().map(|error| stale(&error));
    let document =
        |(partition, same): &(&Kept, bool)| json!({ "partition": partition, "same": same });
    report.result(
        || {
            let note = kernel.as_ref().map(|kernel| format!("\n{kernel}")).unwrap_or_default();
            format!("{} has its old partition tables again{note}", device.path)
        },
        || {
            let kept: Vec<Value> = kept.iter().map(document).collect();
            let dropped: Vec<Value> = dropped.iter().map(|(number, name)| json!([number, name])).collect();
            json!({ "disk": device.path, "areas": count, "kept": kept, "dropped": dropped, "kernel": kernel })
        },
    )?;
    Ok(())
}

fn refused(message: String) -> Failure {
    Failure::plain(Class::Input, message).exit(exit::REFUSED)
}
