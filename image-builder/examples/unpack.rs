//! Unpacks a folder of `.deb` files into a cache and builds one tree of them, with the times of each step.
//!
//! `cargo run --release -p prejoin-image-builder --example unpack -- <folder of .deb> <cache> [jobs]`
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measuring tool on the command line"
)]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use prejoin_image_builder::debian::deb::{self, Limits};
use prejoin_image_builder::io::known::Known;
use prejoin_image_builder::io::unpack::{Deb, unpack};
use prejoin_image_builder::tree::assemble::{Filter, assemble};
use prejoin_image_builder::tree::libraries;
use prejoin_wire::digest::Digest;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, cache, ..] = arguments.as_slice() else {
        return Err("usage: unpack <folder of .deb> <cache>".into());
    };
    let mut debs = Vec::new();
    let mut paths: Vec<_> = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_, std::io::Error>>()?;
    paths.sort();
    let start = Instant::now();
    for path in paths
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "deb"))
    {
        let bytes = std::fs::read(&path)?;
        let (sha256, limits) = (Digest::of(&bytes), Limits::default());
        let name = deb::read_control(bytes.as_slice(), &limits)?.id();
        debs.push(Deb { path, sha256, name });
    }
    println!("{} packages, hashed in {:?}", debs.len(), start.elapsed());
    let start = Instant::now();
    let unpacked = unpack(
        &debs,
        Path::new(cache),
        &Known::default(),
        &Limits::default(),
        &|_| {},
    )?;
    println!("unpacked or opened in {:?}", start.elapsed());
    let start = Instant::now();
    let packages: Vec<_> = unpacked.packages.iter().collect();
    let assembled = assemble(&packages, &Filter::default())?;
    println!(
        "{} paths assembled in {:?}",
        assembled.tree.len(),
        start.elapsed()
    );
    let start = Instant::now();
    let missing = libraries::missing(&assembled, &packages);
    println!("libraries checked in {:?}", start.elapsed());
    for finding in missing {
        println!("  {finding}");
    }
    let modules: usize = packages.iter().map(|package| package.modules.len()).sum();
    println!("{modules} modules");
    let status = std::fs::read_to_string("/proc/self/status")?;
    println!(
        "{}",
        status
            .lines()
            .find(|line| line.starts_with("VmHWM"))
            .unwrap_or_default()
    );
    Ok(())
}
