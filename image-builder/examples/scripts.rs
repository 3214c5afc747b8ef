//! Lists the maintainer scripts that no table knows, for whoever extends the table.
//!
//! `cargo run -p prejoin-image-builder --example scripts -- <table> <cache> <folder of .deb>...` prints one line for each:
//! digest, package, version, script; and writes the normalised rest of the script to `<cache>/scripts/<digest>`.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a tool on the command line"
)]

use std::error::Error;
use std::path::Path;

use prejoin_image_builder::debian::deb::{self, Limits};
use prejoin_image_builder::debian::scripts::{recognise, rest};
use prejoin_profiles::scripts::Table;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, table, cache, folders @ ..] = arguments.as_slice() else {
        return Err("usage: scripts <table> <cache> <folder of .deb>...".into());
    };
    let table = Table::parse(&std::fs::read_to_string(table)?)?;
    let output = Path::new(cache).join("scripts");
    std::fs::create_dir_all(&output)?;
    for folder in folders {
        let mut paths = std::fs::read_dir(folder)?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<Vec<_>, std::io::Error>>()?;
        paths.sort();
        for path in paths
            .into_iter()
            .filter(|path| path.extension().is_some_and(|end| end == "deb"))
        {
            let package = deb::read_control(std::fs::File::open(&path)?, &Limits::default())?;
            for (script, body) in &package.scripts {
                if let Err(unknown) = recognise(&package, script, body, &table) {
                    println!(
                        "{} {} {} {script}",
                        unknown.digest, package.name, package.version
                    );
                    std::fs::write(
                        output.join(unknown.digest.to_string()),
                        rest(&unknown.left, &package.name, &package.version),
                    )?;
                }
            }
        }
    }
    Ok(())
}
