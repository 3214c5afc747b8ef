//! `prejoin init`
#![expect(clippy::disallowed_methods, reason = "writes the cluster file")]

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use prejoin_image_builder::class::Class;
use prejoin_profiles::catalog::CLUSTERS;
use prejoin_profiles::cluster::{self, Cluster};
use prejoin_store::output;

use super::{id, ssh_key};
use crate::args::Init;
use crate::failure::{Failure, OrFail};
use crate::report::{Report, table};
use crate::settings;

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
    let path = args.file.display();
    if args.file.exists() {
        // Before anything is asked. Whether it is there is decided again when it is written.
        return Err(exists(&path.to_string()));
    }
    let keys = ssh_key::choose(args.ssh_key.as_deref(), report)?;
    let text = cluster::with_keys(text, &keys);
    let text = cluster::with_id(&text, &id::draw()?).expect("examples are written line by line");
    let text = format!("# yaml-language-server: $schema={SCHEMA}\n{text}");
    // Never over an existing file: it may be the only description of a running cluster.
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&args.file)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            return exists(&path.to_string());
        }
        Failure::plain(Class::Environment, format!("writing {path}: {error}"))
    })?;
    schema(&args.file, report)?;
    report.say(format!("wrote {path}; edit it, then run `prejoin check`"));
    Ok(())
}

/// What the first line of the file names: editors look for it beside the file.
const SCHEMA: &str = "prejoin.schema.json";

fn exists(path: &str) -> Failure {
    Failure::plain(Class::Input, format!("{path} is there already"))
        .hint("choose another name with --file".to_owned())
}

/// Writes the schema beside the cluster file, anew where an older one is there.
fn schema(file: &Path, report: &Report) -> Result<(), Failure> {
    let path = file.with_file_name(SCHEMA);
    let text = Cluster::schema();
    if settings::read_bytes(&path).is_ok_and(|known| known == text.as_bytes()) {
        return Ok(());
    }
    output::write(&path, text.as_bytes()).or_fail(Class::Environment)?;
    report.say(format!(
        "wrote {}; editors that know yaml-language-server check the file while you type",
        path.display()
    ));
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
