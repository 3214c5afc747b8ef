//! `prejoin export`

use prejoin_image_builder::class::Class;
use prejoin_image_builder::io::error::room;
use prejoin_image_builder::io::export::{self, Format};
use serde_json::json;

use super::verify::{damage, open_sound};
use crate::args::Export;
use crate::failure::Failure;
use crate::private;
use crate::progress::Progress;
use crate::report::Report;

pub(crate) fn run(args: &Export, report: &Report) -> Result<(), Failure> {
    let opened = open_sound(&args.out, &args.node)?;
    let format = Format::ALL
        .into_iter()
        .find(|format| format.extension() == args.format)
        .unwrap_or(Format::ImgXz);
    if private::is_closed(&args.out, &args.node) {
        private::begin();
    }
    let folder = args.to.as_deref().unwrap_or(&args.out);
    let progress = Progress::new();
    let written = export::export(&opened.image, &opened.store, format, folder, &|event| {
        progress.show(event)
    });
    progress.clear();
    let written = written.map_err(|error| match &error {
        export::Error::Store(error) => damage(error, &args.node),
        _ => Failure::new(Class::Environment, &error)
            .hint(room(&error, "name another one with --to")),
    })?;
    let paths: Vec<String> = written
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    report.result(|| paths.join("\n"), || json!({ "files": paths }))
}
