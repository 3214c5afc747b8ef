//! `prejoin disk restore`

use prejoin_disk::session::{Return, typed_name};
use prejoin_image_builder::class::Class;
use prejoin_wire::disk::Kept;
use serde_json::{Value, json};

use super::look::stale;
use crate::args::Restore;
use crate::command::flash::{ask, exit};
use crate::failure::Failure;
use crate::picture;
use crate::report::Report;

pub(crate) fn run(args: &Restore, report: &Report) -> Result<(), Failure> {
    let found = Return::look(&args.saved, &args.disk)?;
    let (device, areas) = (found.device(), found.areas());
    let (kept, dropped) = (found.kept(), found.dropped());
    for area in areas {
        report.say(format!(
            "bytes {} to {} of {} get the old partition table",
            area.start,
            area.end(),
            device.path
        ));
    }
    for (partition, same) in kept {
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
    for (number, name) in dropped {
        report.say(format!(
            "partition {number} \"{}\" will not be listed any more",
            picture::printable(name)
        ));
    }
    let (what, expected) = typed_name(device);
    let typed = match &args.confirm {
        None => ask::typed(device)?,
        Some(given) if *given == expected => expected,
        Some(_) => {
            let message = format!(
                "{expected} is the {what} of {}, and another one was confirmed",
                device.path
            );
            return Err(Failure::plain(Class::Input, message).exit(exit::CONFIRM));
        }
    };
    let returned = found.confirm(&typed)?.write()?;
    let kernel = returned.kernel.as_ref().map(stale);
    let count = areas.len();
    let document =
        |(partition, same): &(Kept, bool)| json!({ "partition": partition, "same": same });
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
