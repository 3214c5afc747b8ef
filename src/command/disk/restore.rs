//! `prejoin disk restore`

use std::path::Path;

use prejoin_disk::guard::Guarded;
use prejoin_disk::io::target::{self, Reader, Target};
use prejoin_disk::io::{inventory, usage};
use prejoin_disk::write;
use prejoin_image_builder::class::Class;
use prejoin_profiles::disk::{Extent, Kept, Usage};
use serde_json::{Value, json};

use super::look::{stale, unusable};
use crate::args::Restore;
use crate::command::flash::saved::Tables;
use crate::command::flash::{ask, carry, exit};
use crate::failure::Failure;
use crate::picture;
use crate::report::Report;
use crate::settings;

pub(crate) fn run(args: &Restore, report: &Report) -> Result<(), Failure> {
    let Tables {
        serial,
        wwid,
        saved,
        ..
    } = read(&args.saved)?;
    let device = inventory::device(&args.disk).map_err(|error| unusable(&error))?;
    if device.size != saved.size {
        let message = format!(
            "{} has {} bytes, and {} was saved from a disk of {}",
            device.path,
            device.size,
            args.saved.display(),
            saved.size
        );
        return Err(Failure::plain(Class::Input, message).exit(exit::REFUSED));
    }
    if (&device.serial, &device.wwid) != (&serial, &wwid) {
        let name = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".into());
        let message = format!(
            "{} has the serial number {} and the wwid {}, and {} was saved from one with {} and {}",
            device.path,
            name(&device.serial),
            name(&device.wwid),
            args.saved.display(),
            name(&serial),
            name(&wwid)
        );
        return Err(Failure::plain(Class::Input, message)
            .exit(exit::REFUSED)
            .hint("is it the right disk?".to_owned()));
    }
    let users = usage::usage(&device);
    if let Some(user) = users
        .iter()
        .find(|user| !matches!(user, Usage::Open { .. }))
    {
        let message = format!("{} is in use: {}", device.path, picture::usage(user));
        return Err(Failure::plain(Class::Input, message).exit(exit::REFUSED));
    }
    let areas: Vec<Extent> = saved
        .areas
        .iter()
        .map(|area| Extent {
            start: area.offset,
            length: area.bytes.len() as u64,
        })
        .collect();
    for area in &areas {
        report.say(format!(
            "bytes {} to {} of {} will be as they were",
            area.start,
            area.end(),
            device.path
        ));
    }
    let reader = Reader::open(&args.disk).map_err(|error| unusable(&error))?;
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
            json!({ "disk": device.path, "areas": saved.areas.len(), "kept": kept, "dropped": dropped, "kernel": kernel })
        },
    );
    Ok(())
}

fn read(path: &Path) -> Result<Tables, Failure> {
    let text = settings::read(path, "saved tables")?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::new(Class::Input, &error).of(path.display()))
}
