//! `prejoin init`
#![expect(clippy::disallowed_methods, reason = "writes the cluster file")]

use std::fs::OpenOptions;
use std::io::Write;

use prejoin_image_builder::class::Class;
use prejoin_profiles::catalog::CLUSTERS;
use prejoin_profiles::cluster;

use super::id;
use crate::args::Init;
use crate::failure::Failure;
use crate::report::{Report, table};

pub(crate) fn run(args: &Init, report: &Report) -> Result<(), Failure> {
    if args.example == "list" {
        report.data(table(&rows()).trim_end())?;
        return Ok(());
    }
    let Some((_, text)) = CLUSTERS.iter().find(|(name, _)| *name == args.example) else {
        return Err(Failure::plain(
            Class::Input,
            format!("there is no example `{}`", args.example),
        )
        .hint("`prejoin init --example list` shows them".to_owned()));
    };
    let text = cluster::with_id(text, &id::draw()?).expect("examples are written line by line");
    let path = args.file.display();
    // Never over an existing file: it may be the only description of a running cluster.
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&args.file)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let exists = error.kind() == std::io::ErrorKind::AlreadyExists;
        let class = if exists {
            Class::Input
        } else {
            Class::Environment
        };
        Failure::plain(class, format!("writing {path}: {error}"))
            .hint(exists.then(|| "choose another name with --file".to_owned()))
    })?;
    report.say(format!("wrote {path}; edit it, then run `prejoin check`"));
    Ok(())
}

/// Name and first comment line of each example.
fn rows() -> Vec<Vec<String>> {
    CLUSTERS
        .iter()
        .map(|(name, text)| {
            let about = text
                .lines()
                .next()
                .unwrap_or_default()
                .trim_start_matches(['#', ' ']);
            vec![(*name).to_owned(), about.to_owned()]
        })
        .collect()
}
